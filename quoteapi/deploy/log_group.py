"""The function's log group, whose lines are deleted after some time."""

from collections.abc import Iterator

from quoteapi.deploy.aws_account import aws_errors
from quoteapi.deploy.setup_result import SetupResult
from quoteapi.deploy.stage_names import StageNames

RETENTION_DAYS = 30


def set_up_log_group(names: StageNames) -> Iterator[SetupResult]:
    """Create the log group, and set its retention unless the operator set one. Raises `CheckFailed`."""
    with aws_errors("logs"):
        client = names.account.client("logs")
        groups = client.describe_log_groups(logGroupNamePrefix=names.log_group)["logGroups"]
        group = next((group for group in groups if group["logGroupName"] == names.log_group), None)
        if group is None:
            client.create_log_group(logGroupName=names.log_group)
        if days := (group or {}).get("retentionInDays"):
            yield SetupResult("logs", "ok", f"{names.log_group}, kept for {days} days")
            return
        client.put_retention_policy(logGroupName=names.log_group, retentionInDays=RETENTION_DAYS)
        yield SetupResult("logs", "done", f"{names.log_group}, kept for {RETENTION_DAYS} days")
