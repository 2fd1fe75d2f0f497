"""The dead-letter queue of a stage: Lambda puts asynchronous work there that failed three times."""

from collections.abc import Iterator
from typing import Any

from quoteapi.deploy.aws_account import AwsAccount, aws_errors, error_code
from quoteapi.deploy.setup_result import SetupResult
from quoteapi.deploy.stage_names import StageNames

_RETENTION = {"MessageRetentionPeriod": "1209600"}
"""14 days in seconds, the longest that SQS allows."""
_ENCRYPTION = {"SqsManagedSseEnabled": "true"}
_WAIT = "SQS reserves the name of a deleted queue for a minute. Then run the command again."
_TO_DO = {"AWS.SimpleQueueService.QueueDeletedRecently": _WAIT, "QueueDeletedRecently": _WAIT}


def set_up_dead_letter_queue(names: StageNames) -> Iterator[SetupResult]:
    """Create the queue, encrypted, with a retention of 14 days. Raises `CheckFailed`.

    If the settings of the stage name another queue, that one stays as it is.
    """
    if names.dead_letter_arn is not None:
        yield SetupResult("dead letters", "ok", f"go to {names.dead_letter_arn}, as your settings say")
        return
    with aws_errors("dead letters", _TO_DO):
        client = names.account.client("sqs")
        url = find_queue(names)
        changes = {**_RETENTION, **_ENCRYPTION} if url is None else _differences(client, url)
        if url is None:
            client.create_queue(QueueName=names.queue, Attributes=changes)
        elif changes:
            client.set_queue_attributes(QueueUrl=url, Attributes=changes)
    yield SetupResult("dead letters", "done" if changes else "ok", f"kept for 14 days in the queue {names.queue}")


def find_queue(names: StageNames) -> str | None:
    """Return the URL of the queue that `quoteapi setup` creates; None if there is none. Raises errors of boto3."""
    return find_queue_by_arn(names.account, names.account.arn("sqs", names.queue))


def find_queue_by_arn(account: AwsAccount, arn: str) -> str | None:
    """Return the URL of a queue; None if there is none. Raises errors of boto3."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 slow

    _, _, _, region, owner, name = arn.split(":")
    try:
        url: str = account.client("sqs", region).get_queue_url(QueueName=name, QueueOwnerAWSAccountId=owner)["QueueUrl"]
    except ClientError as error:
        if error_code(error) in {"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"}:
            return None
        raise
    return url


def _differences(client: Any, url: str) -> dict[str, str]:  # noqa: ANN401 boto3
    """Return the attributes of a queue to change. Encryption with a key of the operator's stays."""
    found = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    wanted = _RETENTION | ({} if found.get("KmsMasterKeyId") else _ENCRYPTION)
    return {name: value for name, value in wanted.items() if found.get(name) != value}
