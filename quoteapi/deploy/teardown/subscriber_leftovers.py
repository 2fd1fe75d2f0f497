"""The subscribers of a stage that is undeployed: the table with their data, and the topics that they are on."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from quoteapi.deploy.stage_names import StageNames
from quoteapi.deploy.teardown.leftover import FREE, TABLE_PRICE, Group, Leftover, storage_cost
from quoteapi.deploy.teardown.other_stages import OtherStages, say_used
from quoteapi.printable import counted
from quoteapi.settings import Settings
from quoteapi.settings.parsers import DynamoDbTable
from quoteapi.sms.topics import TimeZoneTopics
from quoteapi.storage.database import describe_database

BACKUP = "AWS keeps a backup for 35 days, at no cost"
"""https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/PointInTimeRecovery_Howitworks.html."""


def find_subscribers(names: StageNames, settings: Settings, others: OtherStages) -> Iterator[Leftover]:
    """Yield the topics of all time zones, and the table or the PostgreSQL database. Raises errors of boto3."""
    if settings.database_url is None:  # also if the stage has no SECRET_KEY any more, by which the table is found
        settings = replace(settings, database_url=f"dynamodb://{names.function}")
    if settings.dynamodb_table is None:
        kept = "PostgreSQL is never touched"
        yield from _find_topics(names, settings, "the subscribers in PostgreSQL are on them", "subscribers")
        yield Leftover("database", describe_database(settings), "PostgreSQL", "as your provider says", _nothing, kept)
        return
    tables = list(_find_table(names, settings.dynamodb_table, others))
    used = say_used(others.with_settings(lambda other: _topics(other) == _topics(settings)))
    kept = used or next((table.kept for table in tables if table.kept), "")
    yield from _find_topics(names, settings, kept, "subscribers" if tables else "parts")
    yield from tables


def _nothing() -> None:
    """Delete nothing."""


def _topics(settings: Settings) -> tuple[str, str]:
    return settings.sns_region, settings.sns_topic


def _find_topics(names: StageNames, settings: Settings, kept: str, group: Group) -> Iterator[Leftover]:
    client = names.account.client("sns", settings.sns_region)
    topics = TimeZoneTopics(settings.sns_topic, settings.default_time_zone)
    arns = [
        topic["TopicArn"]
        for page in client.get_paginator("list_topics").paginate()
        for topic in page["Topics"]
        if topics.time_zone(topic["TopicArn"].rpartition(":")[2]) is not None
    ]
    if arns:
        counts = [client.get_topic_attributes(TopicArn=arn)["Attributes"]["SubscriptionsConfirmed"] for arn in arns]
        contents = f"{counted(len(arns), 'topic')} with {counted(sum(map(int, counts)), 'subscription')}"
        yield Leftover("topics", settings.sns_topic, contents, FREE, partial(_delete_topics, client, arns), kept, group)


def _delete_topics(client: Any, arns: list[str]) -> None:  # noqa: ANN401 boto3
    for arn in arns:  # with its subscriptions
        client.delete_topic(TopicArn=arn)


def _find_table(names: StageNames, table: DynamoDbTable, others: OtherStages) -> Iterator[Leftover]:
    client = names.account.client("dynamodb", table.region)
    try:
        found = client.describe_table(TableName=table.name)["Table"]
    except client.exceptions.ResourceNotFoundException:
        return
    if found["TableStatus"] == "DELETING":
        return
    used = others.with_settings(lambda other: (other.dynamodb_table or DynamoDbTable("", None)).name == table.name)
    size, delete = found["TableSizeBytes"], partial(_delete_table, client, found)
    contents = counted(_count_subscribers(client, table.name), "subscriber")
    cost = storage_cost(size, TABLE_PRICE)
    yield Leftover("table", table.name, contents, cost, delete, say_used(used), "subscribers")


def _count_subscribers(client: Any, table: str) -> int:  # noqa: ANN401 boto3
    from quoteapi.storage.dynamodb_state import COUNT_KEY  # noqa: PLC0415 only for a table

    key = {name: {"S": value} for name, value in zip(("pk", "sk"), COUNT_KEY, strict=True)}
    item = client.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {})
    return int(item.get("count", {"N": "0"})["N"])


def _delete_table(client: Any, table: dict[str, Any]) -> None:  # noqa: ANN401 boto3
    name = table["TableName"]
    if table.get("DeletionProtectionEnabled"):
        client.update_table(TableName=name, DeletionProtectionEnabled=False)
        client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 2, "MaxAttempts": 30})
    client.delete_table(TableName=name)
