"""The dead-letter queue of a function: the target of its failed asynchronous work.

Zappa sends `dead_letter_arn` only when it creates a function, so this sets it on one that exists. It changes nothing
if the stage names no target: the operator may have set one by hand.
"""

from collections.abc import Iterator
from typing import Any

from quoteapi.deploy.aws_account import aws_errors
from quoteapi.deploy.aws_resources.dead_letter_queue import find_queue_by_arn
from quoteapi.deploy.aws_resources.lambda_function import update_function
from quoteapi.deploy.checks.check import Check, CheckFailed
from quoteapi.deploy.setup_result import SetupResult
from quoteapi.deploy.stage_names import StageNames
from quoteapi.deploy.zappa_settings import Stage
from quoteapi.printable import counted

NAME = "dead letters"


def set_dead_letter_target(names: StageNames, stage: Stage) -> Iterator[SetupResult]:
    """Have Lambda send failed asynchronous work to the stage's `dead_letter_arn`. Raises `CheckFailed`."""
    if not (target := str(stage.get("dead_letter_arn") or "")):
        return
    with aws_errors(NAME):
        if _is_queue(target) and find_queue_by_arn(names.account, target) is None:
            raise CheckFailed(NAME, "wrong", *_missing(names, target))
        configuration = names.account.client("lambda").get_function_configuration(FunctionName=names.function)
        is_set = dead_letter_target(configuration) == target
        if not is_set:
            update_function(names, DeadLetterConfig={"TargetArn": target})
        yield SetupResult(NAME, "ok" if is_set else "done", f"go to {_short_name(target)}")


def check_dead_letters(names: StageNames, stage: Stage, configuration: dict[str, Any]) -> Iterator[Check]:
    """Yield whether the function has the target that the stage names, and whether its queue is empty.

    `configuration` is that of the function. Raises an error of boto3.
    """
    target, wanted = dead_letter_target(configuration), stage.get("dead_letter_arn")
    if wanted and target != wanted:
        found = f"failed work does not go to {_short_name(wanted)}"
        yield Check(NAME, "wrong", found, f"Run `zappa update {names.stage}`.")
    if not target:
        if not wanted:
            found = "none: asynchronous work that fails three times is lost"
            yield Check(
                NAME, "advice", found, f"Run `quoteapi setup {names.stage}`, then `zappa update {names.stage}`."
            )
    elif not _is_queue(target):
        yield Check(NAME, "ok", f"go to {_short_name(target)}")
    else:
        yield _check_queue(names, target)


def _check_queue(names: StageNames, target: str) -> Check:
    if (url := find_queue_by_arn(names.account, target)) is None:
        return Check(NAME, "wrong", *_missing(names, target))
    client, attribute = names.account.client("sqs", _region(target)), "ApproximateNumberOfMessages"
    count = int(client.get_queue_attributes(QueueUrl=url, AttributeNames=[attribute])["Attributes"][attribute])
    if count == 0:
        return Check(NAME, "ok", f"none in {_short_name(target)}")
    to_do = (
        f"To read them, run `aws sqs receive-message --queue-url {url} --region {_region(target)}"
        " --message-attribute-names All --max-number-of-messages 10`. For what to do then, see docs/stages.md."
    )
    return Check(NAME, "wrong", f"{counted(count, 'message')} in {_short_name(target)}: work that failed", to_do)


def dead_letter_target(configuration: dict[str, Any]) -> str | None:
    """Return the ARN of the target in the configuration of a function; None if it has none."""
    return (configuration.get("DeadLetterConfig") or {}).get("TargetArn")


def _missing(names: StageNames, target: str) -> tuple[str, str]:
    found = f"there is no queue {_short_name(target)}: asynchronous work that fails three times is lost"
    return found, f"Run `quoteapi setup {names.stage}`, then `zappa update {names.stage}`."


def _is_queue(arn: str) -> bool:
    return arn.split(":")[2] == "sqs"


def _region(arn: str) -> str:
    return arn.split(":")[3]


def _short_name(arn: str) -> str:
    return arn.rpartition(":")[2]
