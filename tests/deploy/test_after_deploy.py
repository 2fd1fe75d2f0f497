import json
from typing import Any

import click
import pytest

from quoteapi.deploy.after_deploy import MIGRATE, _set_public_url, set_up_deployment
from quoteapi.deploy.setup_result import SetupResult, run_steps
from quoteapi.deploy.zappa_callbacks import set_up
from tests.deploy.conftest import REMOTE
from tests.deploy.deployed_stage import (
    FUNCTION,
    REGION,
    DeployedStage,
    client,
    deployed_fixture,
    recorded_calls,
)
from tests.helpers.data import SECRET_KEY

__all__ = ["deployed_fixture"]

WRITING = ("Create", "Delete", "Put", "Set", "Subscribe", "Update")


def results(deployed: DeployedStage) -> dict[str, SetupResult]:
    return {result.name: result for result in set_up_deployment(deployed.deployment())}


def url(deployed: DeployedStage) -> str:
    return f"https://{deployed.api}.execute-api.{REGION}.amazonaws.com/dev"


def test_a_second_update_finds_everything_right_and_writes_nothing(
    deployed: DeployedStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {name: result.state for name, result in results(deployed).items()} == {
        "database": "done",
        "address": "done",
        "dead letters": "ok",
        "log group": "ok",
    }
    with recorded_calls(monkeypatch) as calls:
        again = results(deployed)
    assert {result.state for result in again.values()} == {"ok"}
    assert [call for call in calls if call.startswith(WRITING)] == []
    assert len(calls) < 20, calls


# ---- the database


def test_the_table_is_created_in_the_region_of_the_stage(deployed: DeployedStage) -> None:
    assert results(deployed)["database"].found.startswith(f"the DynamoDB table {FUNCTION}, created: table, ")
    assert results(deployed)["database"].found == f"the DynamoDB table {FUNCTION} is up to date"
    tables = [client("dynamodb", region).list_tables()["TableNames"] for region in (REGION, "us-east-1")]
    assert tables == [[FUNCTION], []]


def test_the_table_is_the_one_that_database_url_names(deployed: DeployedStage) -> None:
    deployed.put_remote(**REMOTE | {"DATABASE_URL": "dynamodb://another?region=ap-south-1"})
    results(deployed)
    tables = [client("dynamodb", region).list_tables()["TableNames"] for region in (REGION, "ap-south-1")]
    assert tables == [[], ["another"]]


def test_the_migrations_of_postgresql_run_in_the_function(deployed: DeployedStage) -> None:
    deployed.put_remote(**REMOTE)
    assert results(deployed)["database"].state == "ok"
    assert deployed.invoked == [(FUNCTION, json.dumps({"command": MIGRATE}), "RequestResponse")]
    deployed.response = {"FunctionError": "Unhandled"}
    assert results(deployed)["database"] == SetupResult(
        "database", "failed", "its migration failed", "For the reason, run `zappa tail dev --since 10m`."
    )


@pytest.mark.parametrize("values", [{}, {"SMS_ALLOWED_REGIONS": "IN"}, {"SECRET_KEY": SECRET_KEY}])
def test_a_stage_that_serves_quotes_only_is_told_what_to_set(deployed: DeployedStage, values: dict[str, str]) -> None:
    deployed.put_remote(**values)
    assert results(deployed)["database"] == SetupResult(
        "database",
        "skipped",
        "dev serves quotes only",
        "For the daily SMS, run `quoteapi setup dev --countries CODES`, then `zappa update dev`.",
    )
    assert client("dynamodb").list_tables()["TableNames"] == []


def test_a_step_that_fails_stops_no_other_but_fails_the_command(
    deployed: DeployedStage, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed.put_remote(SECRET_KEY=SECRET_KEY, SMS_ALLOWED_REGIONS="IN", SMS_DAILY_CAP="many")
    client("sqs").delete_queue(QueueUrl=client("sqs").get_queue_url(QueueName=f"{FUNCTION}-failures")["QueueUrl"])
    client("logs").delete_log_group(logGroupName=f"/aws/lambda/{FUNCTION}")
    with pytest.raises(click.ClickException) as failed:
        set_up(deployed.cli("deploy"))
    assert failed.value.message == (
        "The code of dev is on Lambda, but this is not ready: database, dead letters. Correct each line marked ✗,"
        " then run `zappa update dev` again."
    )
    printed = capsys.readouterr().out
    assert "✗ database         SMS_DAILY_CAP must be a whole number" in printed
    assert f"✗ dead letters     there is no queue {FUNCTION}-failures: " in printed
    assert "Run `quoteapi setup dev`, then `zappa update dev`.\n" in printed
    assert f"+ log group        /aws/lambda/{FUNCTION}, kept for 30 days\n" in printed
    assert f"The address of dev is {url(deployed)}\n" in printed


def test_a_missing_bucket_stops_no_step_that_does_not_need_it(deployed: DeployedStage) -> None:
    deployed.change(remote_env="s3://nobody/quoteapi-dev.json")
    found = results(deployed)
    assert {name: result.state for name, result in found.items()} == {
        "remote env": "failed",
        "dead letters": "ok",
        "log group": "ok",
    }
    assert found["remote env"].found == "there is no bucket nobody"


# ---- the address


def address(deployed: DeployedStage) -> SetupResult | None:
    deployment = deployed.deployment()
    return next(run_steps([lambda: _set_public_url(deployment)]), None)


def test_the_address_of_the_api_becomes_the_public_url_and_new_containers_read_it(deployed: DeployedStage) -> None:
    before = deployed.remote()
    assert address(deployed) == SetupResult("address", "done", f"PUBLIC_URL is {url(deployed)}")
    assert deployed.remote() == before | {"PUBLIC_URL": url(deployed)}
    assert deployed.function()["Description"] == f"PUBLIC_URL is {url(deployed)}"


def test_the_address_of_an_api_that_was_deleted_is_replaced(deployed: DeployedStage) -> None:
    address(deployed)
    client("apigateway").delete_rest_api(restApiId=deployed.api)
    deployed.api = deployed.create_api()
    assert address(deployed) == SetupResult("address", "done", f"PUBLIC_URL is {url(deployed)}")
    assert deployed.remote()["PUBLIC_URL"] == url(deployed)


@pytest.mark.parametrize(
    "chosen",
    [
        "https://quotes.example.org",
        "https://0123456789.execute-api.eu-west-1.amazonaws.com",
        "https://0123456789.execute-api.eu-west-1.amazonaws.com/another",
        "https://0123456789.execute-api.eu-west-1.amazonaws.com/dev/v1",
    ],
)
def test_a_public_url_that_the_operator_chose_stays(deployed: DeployedStage, chosen: str) -> None:
    deployed.put_remote(PUBLIC_URL=chosen)
    assert address(deployed) is None
    assert deployed.remote() == {"PUBLIC_URL": chosen}
    assert deployed.function()["Description"] == "Zappa Deployment"


def test_the_address_of_another_api_that_exists_stays(deployed: DeployedStage) -> None:
    chosen = url(deployed)
    deployed.put_remote(PUBLIC_URL=chosen)
    deployed.api = deployed.create_api()
    assert address(deployed) is None
    assert deployed.remote() == {"PUBLIC_URL": chosen}


@pytest.mark.parametrize(
    "settings",
    [
        {"domain": "quotes.example.org"},
        {"environment_variables": {"PUBLIC_URL": "https://quotes.example.org"}},
        {"remote_env": None},
    ],
)
def test_the_public_url_is_set_only_where_it_counts(deployed: DeployedStage, settings: dict[str, Any]) -> None:
    before = deployed.remote()
    deployed.change(**settings)
    assert address(deployed) is None
    assert deployed.remote() == before


def test_a_change_of_the_function_waits_until_the_one_before_is_done(
    deployed: DeployedStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorded_calls(monkeypatch) as calls:
        address(deployed)
    wait = ["GetFunctionConfiguration"]
    assert [call for call in calls if "Function" in call] == [*wait * 2, "UpdateFunctionConfiguration", *wait]
