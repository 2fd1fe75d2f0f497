"""The log group of a stage's function. Lambda creates it without a retention, so that logs stay, and cost, forever."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from quoteapi.deploy.aws_account import aws_errors
from quoteapi.deploy.setup_result import SetupResult
from quoteapi.deploy.stage_names import StageNames

RETENTION_DAYS = 30


def set_up_log_group(names: StageNames) -> Iterator[SetupResult]:
    """Create the log group, and limit its retention unless it has a limit. Raises `CheckFailed`."""
    with aws_errors("log group"):
        client = names.account.client("logs")
        group = find_log_group(names)
        if group is None:
            with suppress(client.exceptions.ResourceAlreadyExistsException):  # Lambda has just created it
                client.create_log_group(logGroupName=names.log_group)
        days = (group or {}).get("retentionInDays")
        if days is None:
            client.put_retention_policy(logGroupName=names.log_group, retentionInDays=RETENTION_DAYS)
    kept = f"{names.log_group}, kept for {days or RETENTION_DAYS} days"
    yield SetupResult("log group", "ok" if days else "done", kept)


def find_log_group(names: StageNames) -> dict[str, Any] | None:
    """Return the description of the log group; None if there is none. Raises errors of boto3."""
    pages = (
        names.account.client("logs").get_paginator("describe_log_groups").paginate(logGroupNamePrefix=names.log_group)
    )
    groups = (group for page in pages for group in page["logGroups"])
    return next((group for group in groups if group["logGroupName"] == names.log_group), None)
