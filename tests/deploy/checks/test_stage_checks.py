from datetime import date
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from quoteapi.deploy.checks.check import Check
from quoteapi.deploy.checks.stage_checks import check_account, check_aws
from tests.deploy.deployed_stage import (
    ACCOUNT,
    BUCKET,
    FUNCTION,
    MAIL,
    QUEUE_ARN,
    REGION,
    RUNTIME,
    DeployedStage,
    client,
    deployed_fixture,
    recorded_calls,
)
from tests.rehearsal import moto_extensions

__all__ = ["deployed_fixture"]

TODAY = date(2026, 12, 1)


def checks(deployed: DeployedStage, today: date = TODAY) -> list[Check]:
    return list(check_aws(deployed.path, "dev", today))


def problems(deployed: DeployedStage) -> list[Check]:
    return [check for check in checks(deployed) if check.state != "ok"]


def reject(monkeypatch: pytest.MonkeyPatch, operation: str, status: int, code: str) -> None:
    """Have AWS respond to an operation with an error."""
    call = BaseClient._make_api_call  # type: ignore[attr-defined]

    def respond(self: Any, name: str, parameters: Any) -> Any:  # noqa: ANN401
        if name == operation:
            response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
            raise ClientError(response, operation)
        return call(self, name, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", respond)


def test_every_check_of_a_stage_that_is_set_up_and_deployed_is_ok(
    deployed: DeployedStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorded_calls(monkeypatch) as calls:
        found = checks(deployed)
    assert [(check.name, check.state, check.to_do) for check in found] == [
        (name, "ok", "")
        for name in (
            *("account", "bucket", "function", "runtime", "remote env", "dead letters", "log group", "mail"),
            *("error alarm", "queue alarm"),
        )
    ]
    assert found[0].found.startswith(f"{ACCOUNT}, {REGION}, as arn:aws:")
    assert len(calls) <= 10, calls


def test_checks_change_nothing(deployed: DeployedStage, monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded_calls(monkeypatch) as calls:
        checks(deployed)
    assert all(call.startswith(("Describe", "Get", "Head", "List", "Simulate")) for call in calls), calls


def test_a_stage_that_is_not_deployed_is_checked_as_far_as_that_is_possible(deployed: DeployedStage) -> None:
    client("lambda").delete_function(FunctionName=FUNCTION)
    assert [check.name for check in checks(deployed)] == ["account", "bucket", "function", "runtime"]
    assert problems(deployed) == [
        Check("function", "advice", f"{FUNCTION} is not deployed yet", "Run `zappa deploy dev`.")
    ]


def test_credentials_that_are_missing_are_one_line(deployed: DeployedStage, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (check,) = checks(deployed)
    assert check == check_account(deployed.path, "dev")
    assert (check.name, check.state) == ("account", "wrong")
    assert check.found == "no usable AWS credentials were found (NoCredentialsError)"


def test_a_bucket_that_does_not_exist_is_reported(deployed: DeployedStage) -> None:
    deployed.change(s3_bucket="nobody")
    assert problems(deployed) == [
        Check("bucket", "wrong", "there is no bucket nobody", "Run `quoteapi setup dev`."),
    ]


def test_a_bucket_of_another_account_is_reported(deployed: DeployedStage, monkeypatch: pytest.MonkeyPatch) -> None:
    reject(monkeypatch, "HeadBucket", 403, "403")
    (check,) = problems(deployed)
    assert check == Check(
        "bucket",
        "wrong",
        f"{BUCKET} belongs to another account than your credentials, or you may not read it",
        "Check AWS_PROFILE, and profile_name of the stage.",
    )


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        ("HeadBucket", "bucket"),
        ("GetFunctionConfiguration", "function"),
        ("SimulatePrincipalPolicy", "remote env"),
        ("GetQueueUrl", "dead letters"),
        ("DescribeLogGroups", "log group"),
        ("ListSubscriptionsByTopic", "mail"),
        ("DescribeAlarms", "alarms"),
    ],
)
def test_a_check_that_fails_stops_no_other_and_is_no_problem_of_the_stage(
    deployed: DeployedStage, monkeypatch: pytest.MonkeyPatch, operation: str, name: str
) -> None:
    reject(monkeypatch, operation, 400, "AccessDenied")
    (check,) = problems(deployed)
    assert (check.name, check.state) == (name, "advice")
    assert check.found == f"unknown: you have no permission for {operation}"


def test_a_function_that_cannot_run_is_reported(deployed: DeployedStage, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = deployed.function() | {"LastUpdateStatus": "Failed", "LastUpdateStatusReason": "no such subnet"}
    call = BaseClient._make_api_call  # type: ignore[attr-defined]
    monkeypatch.setattr(
        BaseClient,
        "_make_api_call",
        lambda self, name, parameters: broken if name == "GetFunctionConfiguration" else call(self, name, parameters),
    )
    assert problems(deployed) == [
        Check("function", "wrong", "it cannot run: no such subnet", "Run `zappa update dev`.")
    ]


def test_the_end_of_the_runtime_of_the_function_is_reported(deployed: DeployedStage) -> None:
    client("lambda").update_function_configuration(FunctionName=FUNCTION, Runtime="python3.11")
    (check,) = [check for check in checks(deployed, date(2027, 3, 1)) if check.state != "ok"]
    assert (check.name, check.state) == ("runtime", "advice")
    assert check.found.startswith("AWS ends python3.11 on ")


def test_a_role_that_may_not_read_the_secrets_is_reported(deployed: DeployedStage) -> None:
    deployed.allow({"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/other.json"})
    assert problems(deployed) == [
        Check(
            "remote env",
            "wrong",
            f"the function may not read s3://{BUCKET}/{FUNCTION}.json, so it has no settings",
            "Run `zappa update dev`, which corrects its role.",
        )
    ]


def test_messages_in_the_dead_letter_queue_are_reported(deployed: DeployedStage) -> None:
    queue = client("sqs").get_queue_url(QueueName=f"{FUNCTION}-failures")["QueueUrl"]
    client("sqs").send_message(QueueUrl=queue, MessageBody="work")
    (check,) = problems(deployed)
    assert (check.name, check.state) == ("dead letters", "wrong")
    assert check.found == f"1 message in {FUNCTION}-failures: work that failed"
    assert f"`aws sqs receive-message --queue-url {queue} --region {REGION} " in check.to_do


@pytest.mark.parametrize(
    ("settings", "target", "expected"),
    [
        ({}, "", ["wrong: failed work does not go to quoteapi-dev-failures"]),
        ({}, QUEUE_ARN + "-2", ["wrong: failed work does not go to quoteapi-dev-failures", "wrong: there is no queue"]),
        ({"dead_letter_arn": None}, "", ["advice: none: asynchronous work that fails three times is lost"]),
        ({"dead_letter_arn": None}, QUEUE_ARN, []),
    ],
)
def test_a_function_whose_dead_letters_go_elsewhere_is_reported(
    deployed: DeployedStage, settings: dict[str, None], target: str, expected: list[str]
) -> None:
    deployed.change(**settings)
    client("lambda").update_function_configuration(FunctionName=FUNCTION, DeadLetterConfig={"TargetArn": target})
    found = [f"{check.state}: {check.found}" for check in problems(deployed) if check.name == "dead letters"]
    assert len(found) == len(expected)
    assert all(one.startswith(start) for one, start in zip(found, expected, strict=True)), found


def test_a_deleted_dead_letter_queue_is_reported(deployed: DeployedStage) -> None:
    client("sqs").delete_queue(QueueUrl=client("sqs").get_queue_url(QueueName=f"{FUNCTION}-failures")["QueueUrl"])
    (check,) = problems(deployed)
    assert (check.name, check.state) == ("dead letters", "wrong")
    assert check.to_do == "Run `quoteapi setup dev`, then `zappa update dev`."


def test_logs_without_retention_are_reported(deployed: DeployedStage) -> None:
    client("logs").delete_retention_policy(logGroupName=f"/aws/lambda/{FUNCTION}")
    (check,) = problems(deployed)
    assert check.found == f"/aws/lambda/{FUNCTION} has no retention: logs stay, and cost, for ever"


def test_alarms_that_are_missing_or_in_alarm_are_reported(deployed: DeployedStage) -> None:
    client("cloudwatch").delete_alarms(AlarmNames=[f"{FUNCTION}-errors"])
    client("cloudwatch").set_alarm_state(AlarmName=f"{FUNCTION}-failures", StateValue="ALARM", StateReason="test")
    assert problems(deployed) == [
        Check("error alarm", "advice", f"there is no alarm {FUNCTION}-errors", "Run `quoteapi setup dev`."),
        Check(
            "queue alarm",
            "wrong",
            f"{FUNCTION}-failures is in alarm",
            "For the reason, run `zappa tail dev --since 1h`.",
        ),
    ]


def test_mail_that_is_not_confirmed_is_reported(deployed: DeployedStage) -> None:
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:UnhandledException"
    client("sns").subscribe(TopicArn=topic, Protocol="email", Endpoint="other@example.org")
    (check,) = problems(deployed)
    assert (check.name, check.state) == ("mail", "advice")
    assert check.to_do == "Click the link in the mail that AWS sent to other@example.org within 48 hours."
    moto_extensions.confirm_mail_addresses(REGION)
    assert problems(deployed) == []


def test_without_a_mail_address_no_alarm_is_missing(deployed: DeployedStage) -> None:
    client("sns").delete_topic(TopicArn=f"arn:aws:sns:{REGION}:{ACCOUNT}:UnhandledException")
    client("cloudwatch").delete_alarms(AlarmNames=[f"{FUNCTION}-errors", f"{FUNCTION}-failures"])
    to_do = "Run `quoteapi setup dev --email ADDRESS`."
    assert problems(deployed) == [Check("mail", "advice", "nobody gets mail about failures", to_do)]
    assert MAIL not in str(checks(deployed))


def test_a_certificate_that_is_not_issued_is_reported(deployed: DeployedStage) -> None:
    acm = client("acm", "us-east-1")
    arn = acm.request_certificate(DomainName="quotes.example.org", ValidationMethod="DNS")["CertificateArn"]
    deployed.change(domain="quotes.example.org", certificate_arn=arn, runtime=RUNTIME)
    (check,) = problems(deployed)
    assert (check.name, check.state) == ("certificate", "wrong")
