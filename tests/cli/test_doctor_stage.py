import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from quoteapi.container import Container
from quoteapi.deploy import operated_stage, zappa_settings
from quoteapi.deploy.after_deploy import set_up_deployment
from quoteapi.subscriptions.dispatcher import InlineDispatcher
from tests.cli.conftest import CLIENT_IP, Command
from tests.deploy.deployed_stage import (
    FUNCTION,
    REGION,
    DeployedStage,
    client,
    deployed_fixture,
    recorded_calls,
)
from tests.helpers.data import MIRA, NOON, SECRET_KEY
from tests.helpers.sms_sandbox import sms_sandbox
from tests.helpers.sns_emulator import backend, count_people

__all__ = ["deployed_fixture"]

SETTINGS = {
    "SECRET_KEY": SECRET_KEY,
    "SMS_ALLOWED_REGIONS": "IN",
    "SNS_REGION": REGION,
    "UNSUBSCRIBE_REQUIRES_OTP": "true",
}


@pytest.fixture
def healthy(deployed: DeployedStage, monkeypatch: pytest.MonkeyPatch) -> DeployedStage:
    """Return a stage without any problem."""
    for module in (operated_stage, zappa_settings):
        monkeypatch.setattr(module, "ZAPPA_SETTINGS", deployed.path)
    count_people(monkeypatch)
    monkeypatch.setattr("quoteapi.clock.now", lambda: NOON)  # when AWS supports the Python of the tests
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    deployed.put_remote(**SETTINGS)
    list(set_up_deployment(deployed.deployment()))
    client("sns").set_sms_attributes(attributes={"MonthlySpendLimit": "1"})
    return deployed


def run(quoteapi: Command, *options: str) -> list[dict[str, str]]:
    checks: list[dict[str, str]] = json.loads(quoteapi("doctor", "--stage", "dev", "--json", *options).stdout)
    return checks


def problems(quoteapi: Command, name: str | None = None) -> list[tuple[str, str, str]]:
    return [
        (check["state"], check["found"], check["to_do"].replace(command_path(check["to_do"]), ""))
        for check in run(quoteapi)
        if check["state"] != "ok" and name in {None, check["name"]}
    ]


def command_path(text: str) -> str:
    """Return the folder of the command in a text, if any."""
    match = re.search(r"`(\S*/)quoteapi ", text)
    return match[1] if match else "\0"


def test_every_check_of_a_healthy_stage_is_ok(healthy: DeployedStage, quoteapi: Command) -> None:
    found = quoteapi("doctor", "--stage", "dev")
    assert (found.returncode, found.stderr) == (0, "")
    assert [line for line in found.stdout.splitlines() if not line.startswith("✓ ")] == []
    assert [check["name"] for check in run(quoteapi)] == [
        *("stage", "file", "remote env", "settings", "database"),
        *("account", "bucket", "function", "runtime", "remote env", "dead letters", "log group"),
        *("mail", "error alarm", "queue alarm"),
        *("database", "catalogue", "secret key", "subscribers", "switch", "daily cap", "daily SMS"),
        *("gateway", "sandbox", "cost", "spending", "unsubscribe"),
    ]


def test_the_checks_of_a_healthy_stage_make_few_requests_and_change_nothing(
    healthy: DeployedStage, quoteapi: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(quoteapi)  # creates the topic of SNS, as each use of the gateway does
    with recorded_calls(monkeypatch) as calls:
        run(quoteapi)
    writing = [call for call in calls if call.startswith(("Create", "Delete", "Put", "Set", "Subscribe", "Update"))]
    assert writing == ["CreateTopic"]
    assert len(calls) <= 40, calls


def test_with_an_environment_file_the_doctor_of_a_stage_stays_offline(
    healthy: DeployedStage, quoteapi: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = healthy.path.with_name("remote.json")
    file.write_text(json.dumps(SETTINGS))
    file.chmod(0o600)
    with recorded_calls(monkeypatch) as calls:
        checks = run(quoteapi, "--env-file", str(file))
    assert calls == []
    assert {"settings", "database"} <= {check["name"] for check in checks}


def test_missing_credentials_are_one_line_after_the_checks_that_need_none(
    healthy: DeployedStage, quoteapi: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    found = quoteapi("doctor", "--stage", "dev")
    assert found.returncode == 1
    assert re.findall(r"^(.) (\w+)", found.stdout, re.MULTILINE) == [("✓", "stage"), ("✓", "file"), ("✗", "account")]
    assert "no usable AWS credentials were found (NoCredentialsError)\n" in found.stdout
    assert (
        "Run `aws configure` or `aws sso login`. To check a local file without AWS, add --env-file FILE."
        in found.stdout
    )


def test_a_stage_without_a_remote_environment_is_checked_without_credentials(
    healthy: DeployedStage, quoteapi: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy.change(remote_env=None)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    names = [check["name"] for check in run(quoteapi)]
    assert names.count("account") == 1
    assert {"settings", "database"} <= set(names)


def test_rejected_credentials_are_one_line(
    healthy: DeployedStage, quoteapi: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    reject_credentials(monkeypatch)
    assert problems(quoteapi) == [
        (
            "wrong",
            "AWS rejects your credentials (ExpiredToken)",
            "Run `aws sso login` or `aws configure`. To check a local file without AWS, add --env-file FILE.",
        )
    ]


def reject_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.client import BaseClient  # noqa: PLC0415
    from botocore.exceptions import ClientError  # noqa: PLC0415

    def respond(self: Any, operation: str, parameters: Any) -> Any:  # noqa: ANN401
        raise ClientError({"Error": {"Code": "ExpiredToken"}}, operation)

    monkeypatch.setattr(BaseClient, "_make_api_call", respond)


def test_a_stage_that_is_not_deployed_has_no_checks_of_its_database(healthy: DeployedStage, quoteapi: Command) -> None:
    client("lambda").delete_function(FunctionName=FUNCTION)
    assert problems(quoteapi) == [("advice", f"{FUNCTION} is not deployed yet", "Run `zappa deploy dev`.")]
    assert run(quoteapi)[-1]["name"] == "runtime"


def test_a_stage_that_does_not_exist_is_one_line(healthy: DeployedStage, quoteapi: Command) -> None:
    (check,) = json.loads(quoteapi("doctor", "--stage", "dve", "--json").stdout)
    assert (check["name"], check["state"], check["to_do"]) == ("stage", "wrong", "Did you mean dev?")


def test_a_stage_whose_remote_environment_is_missing_is_checked_further(
    healthy: DeployedStage, quoteapi: Command
) -> None:
    healthy.change(remote_env=f"s3://nobody/{FUNCTION}.json")
    names = [check["name"] for check in run(quoteapi) if check["state"] == "wrong"]
    assert names[:2] == ["remote env", "remote env"]


def test_a_missing_table_is_reported(healthy: DeployedStage, quoteapi: Command) -> None:
    healthy.put_remote(**SETTINGS, DATABASE_URL="dynamodb://another", PUBLIC_URL="https://quotes.example.org")
    ((state, found, to_do),) = problems(quoteapi)
    assert (state, found) == ("wrong", "dynamodb://another has missing migrations: table")
    assert to_do == "Run `quoteapi --stage dev db migrate`."


def test_a_database_that_only_a_private_network_leads_to_is_no_problem(
    healthy: DeployedStage, quoteapi: Command
) -> None:
    url = "postgresql://me:pw@127.0.0.1:9/quoteapi"
    healthy.put_remote(**SETTINGS, DATABASE_URL=url, PUBLIC_URL="https://quotes.example.org")
    assert [problem[0] for problem in problems(quoteapi, "database")] == ["wrong"]
    healthy.change(vpc_config={"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]})
    ((state, _, to_do),) = problems(quoteapi, "database")
    assert state == "advice"
    assert to_do.startswith("If only the private network of dev leads to it, ignore this. Else: Check that the server")


def test_a_stage_that_serves_quotes_only_has_no_checks_of_its_database(
    healthy: DeployedStage, quoteapi: Command
) -> None:
    healthy.put_remote(SNS_REGION=REGION)
    assert [problem[:2] for problem in problems(quoteapi)] == [("advice", "quotes only: nobody can subscribe")]
    assert run(quoteapi)[-1]["name"] == "queue alarm"


def test_the_sms_sandbox_of_the_stage_is_reported(healthy: DeployedStage, quoteapi: Command) -> None:
    sms_sandbox(REGION).is_in_sandbox = True
    ((state, found, _),) = problems(quoteapi)
    assert (state, found) == ("wrong", "the account is in the SMS sandbox: only verified numbers get SMS")


def test_a_missing_spending_limit_is_reported(healthy: DeployedStage, quoteapi: Command) -> None:
    backend(REGION).sms_attributes.clear()
    ((state, found, _),) = problems(quoteapi)
    assert (state, found[:26]) == ("advice", "$0.00 this month; no limit")


def test_topics_and_the_schedule_of_the_stage_are_compared_with_its_table(
    healthy: DeployedStage, quoteapi: Command, set_clock: Callable[[datetime], None]
) -> None:
    set_clock(NOON)
    container = Container(operated_stage.load_stage_settings("dev"), now=lambda: NOON - timedelta(hours=2))
    dispatcher = InlineDispatcher(container.subscriptions.send_otp, container.topic_sync.sync)
    container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, dispatcher)
    container.subscriptions.subscribe(MIRA, last_code(), CLIENT_IP, dispatcher)
    container.state.store_due_run(NOON)
    assert problems(quoteapi, "topic") == problems(quoteapi, "schedule") == []
    for arn, subscription in list(backend(REGION).subscriptions.items()):
        if subscription.endpoint == MIRA:
            backend(REGION).subscriptions.pop(arn)
    container.state.store_due_run(NOON - timedelta(hours=8))
    ((state, found, to_do),) = problems(quoteapi, "topic")
    assert (state, found.endswith("0 subscriptions in SNS, but 1 subscriber in the database")) == ("wrong", True)
    assert "run `quoteapi --stage dev reconcile --all`" in to_do
    ((state, _, to_do),) = problems(quoteapi, "schedule")
    assert (state, to_do) == ("wrong", "Run `zappa schedule dev`. For errors, run `zappa tail dev --since 1h`.")


def last_code() -> str:
    *_, sent = (sms for sms in backend(REGION).sms_messages.values() if sms[0] == MIRA)
    return str(sent[1])[:6]


def test_texts_of_the_checks_name_commands_for_the_stage(healthy: DeployedStage, quoteapi: Command) -> None:
    client("sns").delete_topic(TopicArn=f"arn:aws:sns:{REGION}:123456789012:UnhandledException")
    for words in (("doctor", "--stage", "dev"), ("--stage", "dev", "doctor")):
        shown = quoteapi(*words).stdout
        assert re.search(r"Run `\S*quoteapi setup dev --email ADDRESS`", shown)
