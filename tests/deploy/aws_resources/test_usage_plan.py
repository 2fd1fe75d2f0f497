from typing import Any

import pytest
from botocore.exceptions import ClientError

from quoteapi.deploy.aws_resources.usage_plan import set_up_usage_plan
from quoteapi.deploy.setup_result import SetupResult, run_steps
from quoteapi.deploy.zappa_callbacks import prepare
from tests.deploy.deployed_stage import FUNCTION, DeployedStage, client, deployed_fixture

__all__ = ["deployed_fixture"]


def set_up(deployed: DeployedStage) -> SetupResult:
    deployment = deployed.deployment()
    (result,) = run_steps([lambda: set_up_usage_plan(deployment.names, deployment.stage, deployed.api)])
    return result


@pytest.fixture
def with_key(deployed: DeployedStage) -> DeployedStage:
    """Return a deployed stage that requires API keys, with the key that Zappa makes."""
    deployed.change(api_key_required=True)
    client("apigateway").create_api_key(name=f"dev_{deployed.api}", enabled=True)
    return deployed


def plans() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client("apigateway").get_usage_plans()["items"]
    return found


def keys_of(plan: str) -> list[str]:
    return [key["name"] for key in client("apigateway").get_usage_plan_keys(usagePlanId=plan)["items"]]


def test_a_stage_that_requires_api_keys_gets_a_usage_plan_with_its_key(with_key: DeployedStage) -> None:
    done = SetupResult("usage plan", "done", f"{FUNCTION}, 5 requests a second, 1,000 a day")
    assert set_up(with_key) == done
    (plan,) = plans()
    assert (plan["name"], plan["apiStages"]) == (FUNCTION, [{"apiId": with_key.api, "stage": "dev"}])
    assert (plan["throttle"], plan["quota"]) == (
        {"rateLimit": 5, "burstLimit": 10},
        {"limit": 1_000, "period": "DAY"},
    )
    assert keys_of(plan["id"]) == [f"dev_{with_key.api}"]
    assert set_up(with_key).state == "ok"


def test_a_usage_plan_keeps_limits_and_keys_that_the_operator_changed(with_key: DeployedStage) -> None:
    set_up(with_key)
    (plan,) = plans()
    gateway = client("apigateway")
    other = gateway.create_api_key(name="mira", enabled=True)["id"]
    gateway.create_usage_plan_key(usagePlanId=plan["id"], keyId=other, keyType="API_KEY")
    gateway.update_usage_plan(
        usagePlanId=plan["id"], patchOperations=[{"op": "replace", "path": "/throttle/rateLimit", "value": "50"}]
    )
    gateway.delete_usage_plan_key(
        usagePlanId=plan["id"], keyId=gateway.get_api_keys(nameQuery="dev_")["items"][0]["id"]
    )
    expected = SetupResult("usage plan", "done", f"{FUNCTION}, 50 requests a second, 1,000 a day")
    assert set_up(with_key) == expected
    assert sorted(keys_of(plan["id"])) == [f"dev_{with_key.api}", "mira"]


def test_a_usage_plan_of_another_name_that_has_the_stage_is_used(with_key: DeployedStage) -> None:
    stages = [{"apiId": with_key.api, "stage": "dev"}]
    plan = client("apigateway").create_usage_plan(name="quoteapi", apiStages=stages)["id"]
    assert set_up(with_key).found == "quoteapi, without limits"
    assert [each["id"] for each in plans()] == [plan]
    assert keys_of(plan) == [f"dev_{with_key.api}"]


def test_the_api_of_a_later_deploy_joins_the_usage_plan(with_key: DeployedStage) -> None:
    client("apigateway").create_usage_plan(name=FUNCTION)
    set_up(with_key)
    (plan,) = plans()
    assert plan["apiStages"] == [{"apiId": with_key.api, "stage": "dev"}]


def test_the_usage_plan_gets_the_key_that_the_settings_name(with_key: DeployedStage) -> None:
    own = client("apigateway").create_api_key(name="own", enabled=True)["id"]
    with_key.change(api_key_required=True, api_key=own)
    set_up(with_key)
    assert keys_of(plans()[0]["id"]) == ["own"]


def test_a_stage_without_an_api_key_is_told_to_create_one(with_key: DeployedStage) -> None:
    for key in client("apigateway").get_api_keys()["items"]:
        client("apigateway").delete_api_key(apiKey=key["id"])
    assert set_up(with_key) == SetupResult(
        "usage plan",
        "failed",
        "the stage has no API key",
        "Create one, and set its ID as api_key of dev. Then run `zappa update dev`.",
    )


# ---- undeploying a stage with a usage plan


def test_an_api_in_a_usage_plan_cannot_be_deleted(with_key: DeployedStage) -> None:
    set_up(with_key)
    with pytest.raises(ClientError):
        client("apigateway").delete_rest_api(restApiId=with_key.api)


@pytest.mark.parametrize(("option", "answer"), [(True, ""), (False, "y")])
def test_undeploying_deletes_the_usage_plan_and_zappa_does_not_ask_again(
    with_key: DeployedStage, monkeypatch: pytest.MonkeyPatch, option: bool, answer: str
) -> None:
    set_up(with_key)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    cli = with_key.cli("undeploy", yes=option)
    prepare(cli)
    assert (plans(), cli.vargs["yes"]) == ([], True)
    client("apigateway").delete_rest_api(restApiId=with_key.api)


def test_undeploying_that_is_not_confirmed_changes_nothing(
    with_key: DeployedStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(with_key)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    with pytest.raises(SystemExit) as stopped:
        prepare(with_key.cli("undeploy", yes=False))
    assert (stopped.value.code, len(plans())) == (0, 1)


def test_undeploying_keeps_a_usage_plan_that_the_operator_made_or_that_has_another_api(with_key: DeployedStage) -> None:
    gateway, other = client("apigateway"), with_key.create_api()
    own = [{"apiId": with_key.api, "stage": "dev"}]
    gateway.create_usage_plan(name="quoteapi", apiStages=own)
    gateway.create_usage_plan(name=FUNCTION, apiStages=[*own, {"apiId": other, "stage": "dev"}])
    prepare(with_key.cli("undeploy", yes=True))
    assert {plan["name"]: plan["apiStages"] for plan in plans()} == {
        "quoteapi": [],
        FUNCTION: [{"apiId": other, "stage": "dev"}],
    }


@pytest.mark.parametrize("is_deployed", [True, False])
def test_without_a_usage_plan_zappa_asks_before_it_undeploys(with_key: DeployedStage, is_deployed: bool) -> None:
    with_key.api = with_key.api if is_deployed else None  # type: ignore[assignment]
    cli = with_key.cli("undeploy", yes=False)
    prepare(cli)
    assert cli.vargs["yes"] is False
