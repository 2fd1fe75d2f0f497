"""Creates the DynamoDB table of the state, and adds to an existing one what it lacks."""

import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from quoteapi.storage.dynamodb import ConditionFailed, Table, translated_errors
from quoteapi.storage.dynamodb_state import COUNT_KEY, OUT_OF_SYNC_INDEX, TABLE_KEY, TOPIC_INDEX
from quoteapi.storage.state import StateUnavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TableDescriptionTypeDef

CREATION_TIMEOUT_SECONDS = 600
"""For an index: AWS fills it from the items that exist."""
POLL_SECONDS = 2
TTL_ATTRIBUTE = "ttl"
_KEY_TYPES = {"pk": "S", "sk": "S", "active": "N", "topic": "S", "out_of_sync": "N", "sync_due_at": "N"}
_PRIMARY_KEY: Any = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
_INDEXES: dict[str, Any] = {
    OUT_OF_SYNC_INDEX: {
        "KeySchema": [
            {"AttributeName": "out_of_sync", "KeyType": "HASH"},
            {"AttributeName": "sync_due_at", "KeyType": "RANGE"},
        ],
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    },
    TOPIC_INDEX: {
        "KeySchema": [{"AttributeName": "active", "KeyType": "HASH"}, {"AttributeName": "topic", "KeyType": "RANGE"}],
        "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["joined_at", "sync_due_at"]},
    },
}
"""Both are sparse: they have only subscribers whose sync is due now or later, and only active ones on a topic."""


def list_parts(table: Table) -> dict[str, str]:
    """Return the parts of the table by name, each `applied` or `missing`. Raises `StateUnavailable`."""
    with translated_errors(table.name):
        return {name: "applied" if exists else "missing" for name, exists in _find_parts(table).items()}


def set_up_table(table: Table, sleep: Callable[[float], None] = time.sleep) -> list[str]:
    """Create the table or what it lacks. Return the names of the parts that were created. Idempotent.

    The table is billed on demand, and has point-in-time recovery, deletion protection, and a TTL for expired items.
    Raises `StateUnavailable`.
    """
    create: dict[str, Callable[[], object]] = {
        "table": lambda: _create_table(table),
        **{f"index {name}": lambda name=name: _create_index(table, name) for name in _INDEXES},  # type: ignore[misc]
        "deletion protection": lambda: table.client.update_table(TableName=table.name, DeletionProtectionEnabled=True),
        "expiry of items": lambda: table.client.update_time_to_live(
            TableName=table.name, TimeToLiveSpecification={"Enabled": True, "AttributeName": TTL_ATTRIBUTE}
        ),
        "point-in-time recovery": lambda: _turn_on_recovery(table, sleep),
        "first items": lambda: _create_first_items(table),
    }
    created = []
    with translated_errors(table.name):
        while missing := [name for name, exists in _find_parts(table).items() if not exists]:
            create[missing[0]]()
            created.append(missing[0])
            _wait_until_active(table, sleep)
    return created


def _find_parts(table: Table) -> dict[str, bool]:
    """Return whether each part of the table exists, in the order in which they are created."""
    description = _describe(table)
    if description is None:
        return {"table": False}
    if description.get("KeySchema") != _PRIMARY_KEY:
        raise StateUnavailable(f"the DynamoDB table {table.name} is not of QuoteAPI; name another in DATABASE_URL")
    has_key = _has_key(table)
    indexes = {index.get("IndexName") for index in description.get("GlobalSecondaryIndexes", [])}
    expiry = table.client.describe_time_to_live(TableName=table.name)["TimeToLiveDescription"]
    backups = table.client.describe_continuous_backups(TableName=table.name)["ContinuousBackupsDescription"]
    recovery = backups.get("PointInTimeRecoveryDescription", {})
    return {
        "table": True,
        **{f"index {name}": name in indexes for name in _INDEXES},
        "deletion protection": description.get("DeletionProtectionEnabled", False),
        "expiry of items": expiry.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"},
        "point-in-time recovery": recovery.get("PointInTimeRecoveryStatus") == "ENABLED",
        "first items": has_key and table.get(COUNT_KEY) is not None,
    }


def _has_key(table: Table) -> bool:
    """Return whether the table has its key. Raises `StateUnavailable` if it has other items: a new key finds none."""
    if table.get(TABLE_KEY) is not None:
        return True
    has_items = bool(table.client.scan(TableName=table.name, Limit=1, ConsistentRead=True)["Items"])
    if has_items and table.get(TABLE_KEY) is None:  # else another process has created both meanwhile
        raise StateUnavailable(
            f"the DynamoDB table {table.name} has items, but not the key with which QuoteAPI finds numbers. If it is"
            " not of QuoteAPI, name another in DATABASE_URL; else restore it from a backup"
        )
    return has_items


def _describe(table: Table) -> "TableDescriptionTypeDef | None":
    try:
        return table.client.describe_table(TableName=table.name)["Table"]
    except table.client.exceptions.ResourceNotFoundException:
        return None


def _create_table(table: Table) -> None:
    indexes: Any = [{"IndexName": name, **index} for name, index in _INDEXES.items()]
    with suppress(table.client.exceptions.ResourceInUseException):  # another process creates it
        table.client.create_table(
            TableName=table.name,
            KeySchema=_PRIMARY_KEY,
            AttributeDefinitions=_attribute_types(_KEY_TYPES),
            GlobalSecondaryIndexes=indexes,
            BillingMode="PAY_PER_REQUEST",
            DeletionProtectionEnabled=True,
        )


def _create_index(table: Table, name: str) -> None:
    creation: Any = [{"Create": {"IndexName": name, **_INDEXES[name]}}]
    table.client.update_table(
        TableName=table.name,
        AttributeDefinitions=_attribute_types(key["AttributeName"] for key in _INDEXES[name]["KeySchema"]),
        GlobalSecondaryIndexUpdates=creation,
    )


def _turn_on_recovery(table: Table, sleep: Callable[[float], None]) -> None:
    """Turn on point-in-time recovery, which AWS refuses for the first minutes of a table. Raises `StateUnavailable`."""
    for _ in range(CREATION_TIMEOUT_SECONDS // POLL_SECONDS):
        with suppress(table.client.exceptions.ContinuousBackupsUnavailableException):
            table.client.update_continuous_backups(
                TableName=table.name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
            )
            return
        sleep(POLL_SECONDS)
    raise _not_finished(table)


def _attribute_types(names: Iterable[str]) -> Any:  # noqa: ANN401 a literal type of boto3's
    return [{"AttributeName": name, "AttributeType": _KEY_TYPES[name]} for name in names]


def _wait_until_active(table: Table, sleep: Callable[[float], None]) -> None:
    """Wait until the table and its indexes can be used. Raises `StateUnavailable`."""
    for _ in range(CREATION_TIMEOUT_SECONDS // POLL_SECONDS):
        description: Any = _describe(table) or {}
        indexes = description.get("GlobalSecondaryIndexes", [])
        if {description.get("TableStatus"), *(index["IndexStatus"] for index in indexes)} == {"ACTIVE"}:
            return
        sleep(POLL_SECONDS)
    raise _not_finished(table)


def _not_finished(table: Table) -> StateUnavailable:
    minutes = CREATION_TIMEOUT_SECONDS // 60
    return StateUnavailable(f"AWS has not finished the DynamoDB table {table.name} after {minutes} minutes")


def _create_first_items(table: Table) -> None:
    """Store the key of the HMACs of numbers, which never changes, and a subscriber count of 0, unless they exist."""
    with suppress(ConditionFailed):
        table.update(TABLE_KEY, "SET #hash_key = :key", "attribute_not_exists(#pk)", key=secrets.token_hex(32))
    table.update(COUNT_KEY, "SET #count = if_not_exists(#count, :zero)", zero=0)
