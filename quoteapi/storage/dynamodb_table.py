"""Creates the DynamoDB table of the state, and adds to an existing one what it lacks."""

import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from quoteapi.storage.dynamodb import ConditionFailed, Table, translated_errors
from quoteapi.storage.dynamodb_state import OUT_OF_SYNC_INDEX, TABLE_KEY, TOPIC_INDEX

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TableDescriptionTypeDef

CREATION_TIMEOUT_SECONDS = 600
"""For an index: AWS fills it from the items that exist."""
POLL_SECONDS = 2
_KEY_TYPES = {"pk": "S", "sk": "S", "active": "N", "topic": "S", "out_of_sync": "N", "sync_needed_since": "N"}
_INDEXES: dict[str, Any] = {
    OUT_OF_SYNC_INDEX: {
        "KeySchema": [
            {"AttributeName": "out_of_sync", "KeyType": "HASH"},
            {"AttributeName": "sync_needed_since", "KeyType": "RANGE"},
        ],
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    },
    TOPIC_INDEX: {
        "KeySchema": [{"AttributeName": "active", "KeyType": "HASH"}, {"AttributeName": "topic", "KeyType": "RANGE"}],
        "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["confirmed_at", "sync_needed_since"]},
    },
}
"""Both are sparse: they have only active subscribers, and only those that are out of sync."""


def set_up_table(
    table: Table, progress: Callable[[str], object] = lambda _: None, sleep: Callable[[float], None] = time.sleep
) -> list[str]:
    """Create the table or what it lacks. Return what was done, in words. Idempotent.

    The table is billed on demand, and has point-in-time recovery, deletion protection, and a TTL for expired items.
    `progress` is called with what is about to be done, as AWS may take minutes. Raises `StateUnavailable`.
    """
    done: list[str] = []

    def say(what: str) -> None:
        progress(what)
        done.append(what)

    with translated_errors(table.name):
        description = _describe(table)
        if description is None:
            say(f"create the DynamoDB table {table.name} in {table.region}")
            _create(table)
            description = _wait_until_active(table, sleep)
        for name in sorted(
            _INDEXES.keys() - {index["IndexName"] for index in description.get("GlobalSecondaryIndexes", [])}
        ):
            say(f"create the index {name}")
            _create_index(table, name)
            description = _wait_until_active(table, sleep)
        if not description.get("DeletionProtectionEnabled"):
            say("turn on deletion protection")
            table.client.update_table(TableName=table.name, DeletionProtectionEnabled=True)
            _wait_until_active(table, sleep)
        _set_up_expiry_and_recovery(table, say)
        _create_table_key(table)
    return done


def _set_up_expiry_and_recovery(table: Table, say: Callable[[str], None]) -> None:
    expiry = table.client.describe_time_to_live(TableName=table.name)["TimeToLiveDescription"]
    if expiry.get("TimeToLiveStatus") not in {"ENABLED", "ENABLING"}:
        say("turn on the deletion of expired items (TTL)")
        specification: Any = {"Enabled": True, "AttributeName": "ttl"}
        table.client.update_time_to_live(TableName=table.name, TimeToLiveSpecification=specification)
    backups = table.client.describe_continuous_backups(TableName=table.name)["ContinuousBackupsDescription"]
    recovery = backups.get("PointInTimeRecoveryDescription", {})
    if recovery.get("PointInTimeRecoveryStatus") != "ENABLED":
        say("turn on point-in-time recovery")
        table.client.update_continuous_backups(
            TableName=table.name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )


def _describe(table: Table) -> "TableDescriptionTypeDef | None":
    try:
        return table.client.describe_table(TableName=table.name)["Table"]
    except table.client.exceptions.ResourceNotFoundException:
        return None


def _create(table: Table) -> None:
    keys: Any = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
    types: Any = [{"AttributeName": name, "AttributeType": type_} for name, type_ in _KEY_TYPES.items()]
    indexes: Any = [{"IndexName": name, **index} for name, index in _INDEXES.items()]
    table.client.create_table(
        TableName=table.name,
        KeySchema=keys,
        AttributeDefinitions=types,
        GlobalSecondaryIndexes=indexes,
        BillingMode="PAY_PER_REQUEST",
        DeletionProtectionEnabled=True,
    )


def _create_index(table: Table, name: str) -> None:
    types: Any = [{"AttributeName": name, "AttributeType": type_} for name, type_ in _KEY_TYPES.items()]
    update: Any = [{"Create": {"IndexName": name, **_INDEXES[name]}}]
    table.client.update_table(TableName=table.name, AttributeDefinitions=types, GlobalSecondaryIndexUpdates=update)


def _wait_until_active(table: Table, sleep: Callable[[float], None]) -> "TableDescriptionTypeDef":
    """Return the description of the table once it and its indexes can be used. Raises `TimeoutError`."""
    for _ in range(CREATION_TIMEOUT_SECONDS // POLL_SECONDS):
        description = _describe(table) or {}
        statuses = [
            description.get("TableStatus"),
            *(i.get("IndexStatus") for i in description.get("GlobalSecondaryIndexes", [])),
        ]
        if all(status == "ACTIVE" for status in statuses):
            return description
        sleep(POLL_SECONDS)
    raise TimeoutError(
        f"AWS has not finished the DynamoDB table {table.name} in {CREATION_TIMEOUT_SECONDS // 60} minutes"
    )


def _create_table_key(table: Table) -> None:
    """Store the key of the HMACs of numbers, which never changes, and the subscriber count, unless they exist."""
    try:
        table.update(TABLE_KEY, "SET #hash_key = :key", "attribute_not_exists(#pk)", key=secrets.token_hex(32))
        table.update(("subscriber_count", "-"), "SET #count = if_not_exists(#count, :zero)", zero=0)
    except ConditionFailed:
        return
