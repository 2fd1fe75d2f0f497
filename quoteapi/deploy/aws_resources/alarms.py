"""CloudWatch alarms of a stage, which send mail by the topic of failures.

Each costs about $0.10 a month, and the first ten of an account are free (https://aws.amazon.com/cloudwatch/pricing/,
December 2026).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from quoteapi.deploy.aws_account import aws_errors
from quoteapi.deploy.aws_resources.failure_mail import failure_topic_arn
from quoteapi.deploy.checks.check import Check
from quoteapi.deploy.setup_result import SetupResult
from quoteapi.deploy.stage_names import StageNames
from quoteapi.deploy.zappa_settings import Stage, get_nested_object

_WHEN: dict[str, Any] = {
    "Period": 300,
    "EvaluationPeriods": 1,
    "Threshold": 0.0,
    "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "notBreaching",
}
"""When a new alarm goes off. An operator may change that of an existing one."""
_KEPT = {*_WHEN, "Statistic", "OKActions", "InsufficientDataActions"}


class _Alarm(NamedTuple):
    label: str
    name: str
    metric: dict[str, Any]
    statistic: str
    description: str


def set_up_alarms(names: StageNames, stage: Stage, sns_region: str, address: str | None) -> Iterator[SetupResult]:
    """Create the alarms, if there is a mail address for them, or make existing ones watch and tell the right thing.

    Raises `CheckFailed`.
    """
    for alarm in (_error_alarm(names), _queue_alarm(names)):
        if reason := _reason_for_none(alarm, names, stage, sns_region, address):
            yield SetupResult(alarm.label, "skipped", *reason)
        else:
            with aws_errors(alarm.label):
                yield from _set_up(alarm, names, failure_topic_arn(names.account, sns_region))


def check_alarms(names: StageNames, stage: Stage, sns_region: str, address: str | None) -> Iterator[Check]:
    """Yield whether the alarms that `quoteapi setup` creates exist, and which are in alarm. Raises `CheckFailed`."""
    alarms = [
        (alarm.label, alarm.name)
        for alarm in (_error_alarm(names), _queue_alarm(names))
        if not _reason_for_none(alarm, names, stage, sns_region, address)
    ]
    if not alarms:
        return
    with aws_errors("alarms"):
        found = names.account.client("cloudwatch").describe_alarms(AlarmNames=[name for _, name in alarms])[
            "MetricAlarms"
        ]
    states = {alarm["AlarmName"]: alarm["StateValue"] for alarm in found}
    for label, name in alarms:
        if name not in states:
            yield Check(label, "advice", f"there is no alarm {name}", f"Run `quoteapi setup {names.stage}`.")
        elif states[name] == "ALARM":
            to_do = f"For the reason, run `zappa tail {names.stage} --since 1h`."
            yield Check(label, "wrong", f"{name} is in alarm", to_do)
        else:
            yield Check(label, "ok", f"{name} is not in alarm")


def _error_alarm(names: StageNames) -> _Alarm:
    metric = _metric("AWS/Lambda", "Errors", "FunctionName", names.function)
    return _Alarm("error alarm", names.error_alarm, metric, "Sum", "An invocation of the function failed.")


def _queue_alarm(names: StageNames) -> _Alarm:
    metric = _metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", names.queue)
    return _Alarm("queue alarm", names.queue_alarm, metric, "Maximum", "Work that failed is in the dead-letter queue.")


def _metric(namespace: str, metric: str, dimension: str, value: str) -> dict[str, Any]:
    return {"Namespace": namespace, "MetricName": metric, "Dimensions": [{"Name": dimension, "Value": value}]}


def _reason_for_none(
    alarm: _Alarm, names: StageNames, stage: Stage, sns_region: str, address: str | None
) -> tuple[str, ...]:
    """Return why an alarm is not wanted, and what to do; empty if it is."""
    is_of_queue = alarm.name == names.queue_alarm
    if address is None:
        return ("there is no mail address for it",)
    if sns_region != names.account.region:
        found = f"its topic is in {sns_region}, and AWS allows only a topic in the alarm's region"
        return found, f"For alarms, set SNS_REGION to {names.account.region}."
    if not is_of_queue and get_nested_object(stage, "authorizer").get("function"):
        return ("Lambda counts each token that the authorizer rejects as an error",)
    if is_of_queue and names.dead_letter_arn is not None:
        return ("the queue is one of yours, with alarms of yours",)
    return ()


def _set_up(alarm: _Alarm, names: StageNames, topic: str) -> Iterator[SetupResult]:
    client = names.account.client("cloudwatch")
    (found,) = client.describe_alarms(AlarmNames=[alarm.name])["MetricAlarms"] or [{}]
    actions = [*found.get("AlarmActions", []), *([] if topic in found.get("AlarmActions", []) else [topic])]
    wanted = {**alarm.metric, "AlarmActions": actions, "ActionsEnabled": True}
    is_right = all(found.get(name) == value for name, value in wanted.items())
    if not is_right:
        kept = {name: value for name, value in found.items() if name in _KEPT}
        usual = {**_WHEN, "Statistic": alarm.statistic, "AlarmDescription": alarm.description}
        client.put_metric_alarm(AlarmName=alarm.name, **{**usual, **kept, **wanted})
    yield SetupResult(alarm.label, "ok" if is_right else "done", f"{alarm.name} sends mail")
