"""What stages may share: the topic of failures, the budget, and what setting up needs: bucket and settings."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from quoteapi.deploy.aws_account import AwsAccount, error_code
from quoteapi.deploy.aws_resources.budget import BUDGET, find_budget
from quoteapi.deploy.aws_resources.failure_mail import failure_topic_arn, list_mail_addresses
from quoteapi.deploy.stage_names import StageNames
from quoteapi.deploy.teardown.leftover import FILES_PRICE, FREE, Leftover, describe_size, storage_cost
from quoteapi.deploy.teardown.other_stages import OtherStages, say_used
from quoteapi.deploy.zappa_settings import local_settings_file, read_local_stage, write_local_stage
from quoteapi.printable import counted

_ENVIRONMENT = r"quoteapi-(?!.*-template-)[^/]+\.json"
"""Not a template of CloudFormation, which Zappa leaves if it fails."""


def find_failure_topic(account: AwsAccount, region: str, others: OtherStages, foreign: list[str]) -> Iterator[Leftover]:
    """Yield the topic of error reports and alarms. Raises errors of boto3."""
    client, arn = account.client("sns", region), failure_topic_arn(account, region)
    try:
        client.get_topic_attributes(TopicArn=arn)
    except client.exceptions.NotFoundException:
        return
    contents = ", ".join(list_mail_addresses(account, region)) or "no mail address"
    used = say_used([*others.with_settings(lambda settings: settings.sns_region == region), *foreign])
    yield Leftover("mail", arn.rpartition(":")[2], contents, FREE, partial(client.delete_topic, TopicArn=arn), used)


def find_account_budget(account: AwsAccount, others: OtherStages, foreign: list[str]) -> Iterator[Leftover]:
    """Yield the budget. Raises errors of boto3."""
    client = account.client("budgets")
    try:
        budget = find_budget(account)
    except client.exceptions.AccessDeniedException:
        return  # `quoteapi setup` could not create one either
    if budget is not None:
        delete = partial(client.delete_budget, AccountId=account.account_id, BudgetName=BUDGET)
        contents = f"${budget.get('BudgetLimit', {}).get('Amount', '?')} a month"
        yield Leftover("budget", BUDGET, contents, FREE, delete, say_used([*others.stages, *foreign]))


def find_files(names: StageNames, others: OtherStages) -> Iterator[Leftover]:
    """Yield the remote environment, and the bucket unless it has other files. Raises errors of boto3."""
    client, (bucket, key) = names.account.client("s3"), _place(names.remote_env)
    sizes = _file_sizes(client, bucket)
    if sizes is not None and key in sizes:
        delete = partial(client.delete_object, Bucket=bucket, Key=key)
        used = say_used(others.with_setting("remote_env", names.remote_env))
        cost = storage_cost(sizes[key], FILES_PRICE)
        yield Leftover("remote env", names.remote_env, describe_size(sizes[key]), cost, delete, used, "settings")
    sizes = sizes if bucket == names.bucket else _file_sizes(client, names.bucket)
    if sizes is not None:
        other_files = set(sizes) - ({key} if bucket == names.bucket else set())
        kept = f"it has {counted(len(other_files), 'other file')}" if other_files else ""
        kept = say_used(others.with_setting("s3_bucket", names.bucket)) or kept
        kept = kept or ("" if names.is_own_bucket else "it is yours")
        delete = partial(client.delete_bucket, Bucket=names.bucket)
        yield Leftover("bucket", names.bucket, "no other files", FREE, delete, kept, "settings")


def list_foreign_environments(names: StageNames, others: OtherStages) -> list[str]:
    """Return the files in the bucket that are remote environments of no stage here, but maybe of another operator's.

    Raises errors of boto3.
    """
    sizes = _file_sizes(names.account.client("s3"), names.bucket) or {}
    known = {names.remote_env, *(stage.get("remote_env") for stage in others.stages.values())}
    return [key for key in sizes if re.fullmatch(_ENVIRONMENT, key) and f"s3://{names.bucket}/{key}" not in known]


def has_remote_environment(names: StageNames) -> bool:
    """Return whether the remote environment exists. Raises errors of boto3."""
    bucket, key = _place(names.remote_env)
    return key in (_file_sizes(names.account.client("s3"), bucket) or {})


def _place(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.netloc, parts.path.strip("/")


def _file_sizes(client: Any, bucket: str) -> dict[str, int] | None:  # noqa: ANN401 boto3
    """Return the size of each file of a bucket; None if there is no such bucket."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 slow

    try:
        pages = list(
            client.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"MaxItems": 5_000})
        )
    except ClientError as error:
        if error_code(error) == "NoSuchBucket":
            return None
        raise
    return {file["Key"]: file["Size"] for page in pages for file in page.get("Contents", [])}


def find_local_settings(path: Path, stage: str) -> Iterator[Leftover]:
    """Yield the operator's local settings of the stage. Raises `CheckFailed`."""
    if settings := read_local_stage(path, stage):
        delete = partial(write_local_stage, path, stage, {})
        contents = counted(len(settings), "setting")
        name = f"{stage} in {local_settings_file(path).name}"
        yield Leftover("local settings", name, contents, FREE, delete, group="settings")
