from collections.abc import Iterator
from typing import Any

import pytest

from quoteapi.deploy.aws_account import AwsAccount
from quoteapi.deploy.aws_resources.alarms import set_up_alarms
from quoteapi.deploy.aws_resources.failure_mail import failure_topic_arn
from tests.deploy.aws import ADDRESS, REGION, described, emulate_account, names_of, record_calls, writing_calls

ERRORS, FAILURES = "quoteapi-dev-errors", "quoteapi-dev-failures"


@pytest.fixture
def account() -> Iterator[AwsAccount]:
    with emulate_account() as account:
        yield account


def set_up(account: AwsAccount, address: str | None = ADDRESS, sns_region: str = REGION, **stage: Any) -> list[str]:  # noqa: ANN401
    return described(set_up_alarms(names_of(account, **stage), stage, sns_region, address))


def alarms(account: AwsAccount) -> dict[str, dict[str, Any]]:
    found = account.client("cloudwatch").describe_alarms()["MetricAlarms"]
    return {alarm["AlarmName"]: alarm for alarm in found}


def test_errors_and_dead_letters_send_mail(account: AwsAccount) -> None:
    assert set_up(account) == [f"done {ERRORS} sends mail", f"done {FAILURES} sends mail"]
    errors, failures = alarms(account)[ERRORS], alarms(account)[FAILURES]
    assert (errors["Namespace"], errors["MetricName"], errors["Statistic"]) == ("AWS/Lambda", "Errors", "Sum")
    assert errors["Dimensions"] == [{"Name": "FunctionName", "Value": "quoteapi-dev"}]
    assert (failures["Namespace"], failures["MetricName"]) == ("AWS/SQS", "ApproximateNumberOfMessagesVisible")
    assert failures["Dimensions"] == [{"Name": "QueueName", "Value": "quoteapi-dev-failures"}]
    for alarm in (errors, failures):
        assert (alarm["Period"], alarm["EvaluationPeriods"], alarm["Threshold"]) == (300, 1, 0)
        assert (alarm["ComparisonOperator"], alarm["TreatMissingData"]) == ("GreaterThanThreshold", "notBreaching")
        assert alarm["AlarmActions"] == [failure_topic_arn(account, REGION)]
    calls = record_calls()
    assert set_up(account) == [f"ok {ERRORS} sends mail", f"ok {FAILURES} sends mail"]
    assert writing_calls(calls) == []


def test_what_the_operator_changed_of_an_alarm_stays(account: AwsAccount) -> None:
    set_up(account)
    mine = "arn:aws:sns:eu-west-1:123456789012:mine"
    account.client("cloudwatch").put_metric_alarm(
        AlarmName=ERRORS,
        Namespace="AWS/Lambda",
        MetricName="Errors",
        Dimensions=[{"Name": "FunctionName", "Value": "quoteapi-dev"}],
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=5,
        Threshold=3,
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=[mine],
        OKActions=[mine],
    )
    assert set_up(account) == [f"done {ERRORS} sends mail", f"ok {FAILURES} sends mail"]
    changed = alarms(account)[ERRORS]
    assert (changed["Period"], changed["EvaluationPeriods"], changed["Threshold"]) == (60, 5, 3)
    assert changed["AlarmActions"] == [mine, failure_topic_arn(account, REGION)]
    assert changed["OKActions"] == [mine]
    assert set_up(account)[0].startswith("ok ")


def test_a_disabled_alarm_is_enabled(account: AwsAccount) -> None:
    set_up(account)
    account.client("cloudwatch").disable_alarm_actions(AlarmNames=[ERRORS])
    assert set_up(account)[0].startswith("done ")
    assert alarms(account)[ERRORS]["ActionsEnabled"] is True


def test_without_an_address_there_are_no_alarms(account: AwsAccount) -> None:
    assert set_up(account, None) == ["skipped there is no mail address for it"] * 2
    assert alarms(account) == {}


def test_a_topic_in_another_region_cannot_be_told(account: AwsAccount) -> None:
    found = "its topic is in us-east-1, and AWS allows only a topic in the alarm's region"
    expected = f"skipped {found} For alarms, set SNS_REGION to eu-west-1."
    assert set_up(account, sns_region="us-east-1") == [expected, expected]
    assert alarms(account) == {}


def test_a_stage_with_an_authorizer_has_no_alarm_for_errors(account: AwsAccount) -> None:
    authorizer = {"function": "quoteapi.aws.authorizer.authorize"}
    assert set_up(account, authorizer=authorizer) == [
        "skipped Lambda counts each token that the authorizer rejects as an error",
        f"done {FAILURES} sends mail",
    ]
    assert set(alarms(account)) == {FAILURES}
    arn = {"arn": "arn:aws:lambda:eu-west-1:123456789012:function:another"}
    assert set_up(account, authorizer=arn)[0] == f"done {ERRORS} sends mail", "the errors are of another function"


def test_a_queue_of_the_settings_has_alarms_of_the_operator(account: AwsAccount) -> None:
    mine = "arn:aws:sqs:eu-west-1:123456789012:mine"
    assert set_up(account, dead_letter_arn=mine)[1] == "skipped the queue is one of yours, with alarms of yours"
    assert set(alarms(account)) == {ERRORS}
