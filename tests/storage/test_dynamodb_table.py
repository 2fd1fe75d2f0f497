"""Creating the table of the state, and adding to one what it lacks."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from quoteapi.storage import dynamodb_table
from quoteapi.storage.dynamodb import Table
from quoteapi.storage.dynamodb_state import COUNT_KEY, TABLE_KEY
from quoteapi.storage.dynamodb_table import POLL_SECONDS, list_parts, set_up_table
from quoteapi.storage.state import StateUnavailable
from tests.helpers import dynamodb_server
from tests.helpers.dynamodb_server import RawBody

PARTS = (
    *("table", "index out_of_sync", "index topic", "deletion protection", "expiry of items", "point-in-time recovery"),
    "first items",
)
PRIMARY_KEY: Any = {
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
    "BillingMode": "PAY_PER_REQUEST",
}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    """Return a table that does not exist yet."""
    for name, value in dynamodb_server.environment().items():
        monkeypatch.setenv(name, value)
    return Table(dynamodb_server.new_table().name, dynamodb_server.REGION)


def do_not_sleep(_: float) -> None:
    pytest.fail("the emulator needs no waiting")


def create_by_hand(table: Table) -> None:
    """Create a table with nothing but the primary key."""
    table.client.create_table(TableName=table.name, **PRIMARY_KEY)


def describe(table: Table) -> Any:  # noqa: ANN401 boto3's type has all keys optional
    return table.client.describe_table(TableName=table.name)["Table"]


def expiry(table: Table) -> Any:  # noqa: ANN401
    found: Any = table.client.describe_time_to_live(TableName=table.name)["TimeToLiveDescription"]
    return found["TimeToLiveStatus"], found.get("AttributeName")


def recovery(table: Table) -> str:
    backups: Any = table.client.describe_continuous_backups(TableName=table.name)["ContinuousBackupsDescription"]
    return str(backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"])


def hash_key(table: Table) -> str:
    return str((table.get(TABLE_KEY) or {})["hash_key"])


def assert_complete(table: Table) -> None:
    description = describe(table)
    assert description["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert description["DeletionProtectionEnabled"]
    indexes = {index["IndexName"]: index for index in description["GlobalSecondaryIndexes"]}
    keys = {name: [key["AttributeName"] for key in index["KeySchema"]] for name, index in indexes.items()}
    assert keys == {"out_of_sync": ["out_of_sync", "sync_due_at"], "topic": ["active", "topic"]}
    assert expiry(table) == ("ENABLED", "ttl")
    assert recovery(table) == "ENABLED"
    assert len(bytes.fromhex(hash_key(table))) == 32
    assert (table.get(COUNT_KEY) or {})["count"] >= 0
    assert list_parts(table) == dict.fromkeys(PARTS, "applied")


def test_a_table_is_created_with_all_that_protects_it(table: Table) -> None:
    assert list_parts(table) == {"table": "missing"}
    created = set_up_table(table, do_not_sleep)
    assert (created[0], created[-1]) == ("table", "first items")
    assert_complete(table)


def test_nothing_is_changed_the_second_time(table: Table) -> None:
    set_up_table(table)
    table.update(COUNT_KEY, "SET #count = :count", count=7)
    before = describe(table), hash_key(table)
    assert set_up_table(table, do_not_sleep) == []
    assert (describe(table), hash_key(table), table.get(COUNT_KEY)) == (*before, {
        "pk": COUNT_KEY[0],
        "sk": COUNT_KEY[1],
        "count": 7,
    })  # fmt: skip


def test_a_table_made_by_hand_gets_all_that_it_lacks(table: Table) -> None:
    create_by_hand(table)
    parts = list_parts(table)
    assert parts == {"table": "applied"} | dict.fromkeys(PARTS[1:], "missing")
    assert set_up_table(table) == list(PARTS[1:])
    assert_complete(table)


def test_a_table_of_another_application_is_not_changed(table: Table) -> None:
    """Such as one whose name was mistyped in `DATABASE_URL`."""
    key: Any = {
        "KeySchema": PRIMARY_KEY["KeySchema"][:1],
        "AttributeDefinitions": PRIMARY_KEY["AttributeDefinitions"][:1],
    }
    table.client.create_table(TableName=table.name, **{**PRIMARY_KEY, **key})
    before = describe(table)
    for call in list_parts, set_up_table:
        with pytest.raises(StateUnavailable, match="is not of QuoteAPI; name another in DATABASE_URL"):
            call(table)
    assert (describe(table), expiry(table)[0], recovery(table)) == (before, "DISABLED", "DISABLED")


@pytest.mark.parametrize("is_of_another_application", [True, False])
def test_a_table_with_items_and_without_its_key_is_not_changed(
    table: Table, *, is_of_another_application: bool
) -> None:
    """A new key would find none of the subscribers, so that nobody could unsubscribe."""
    if is_of_another_application:
        create_by_hand(table)
        table.update(("user#1", "profile"), "SET #name = :name", name="Mira")
    else:
        set_up_table(table)
        table.delete(TABLE_KEY)
    before = describe(table), expiry(table), recovery(table)
    for call in list_parts, set_up_table:
        with pytest.raises(StateUnavailable, match="has items, but not the key with which QuoteAPI finds numbers"):
            call(table)
    assert (describe(table), expiry(table), recovery(table)) == before
    assert table.get(TABLE_KEY) is None


@pytest.mark.parametrize("refusals", [1, 3])
def test_recovery_is_turned_on_once_aws_has_enabled_backups(
    table: Table, refusals: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS enables them within minutes of the creation of a table, which the emulator does at once."""
    monkeypatch.setattr(dynamodb_table, "CREATION_TIMEOUT_SECONDS", 2 * POLL_SECONDS)
    waits: list[float] = []
    refused = {"__type": "ContinuousBackupsUnavailableException", "message": "Backups are being enabled"}
    response = AWSResponse("http://127.0.0.1", 400, cast("Any", {}), RawBody(json.dumps(refused).encode()))

    def refuse(**_: object) -> AWSResponse | None:
        response.raw.seek(0)
        return response if len(waits) < refusals else None

    hook: Any = refuse
    table.client.meta.events.register("before-send.dynamodb.UpdateContinuousBackups", hook)
    if refusals == 1:
        set_up_table(table, waits.append)
        assert_complete(table)
    else:
        with pytest.raises(StateUnavailable, match="AWS has not finished the DynamoDB table"):
            set_up_table(table, waits.append)
    assert waits == [POLL_SECONDS] * min(refusals, 2)


def delete_index(name: str, table: Table) -> None:
    table.client.update_table(TableName=table.name, GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": name}}])


def turn_protection_off(table: Table) -> None:
    table.client.update_table(TableName=table.name, DeletionProtectionEnabled=False)


def turn_expiry_off(table: Table) -> None:
    off: Any = {"Enabled": False, "AttributeName": "ttl"}
    table.client.update_time_to_live(TableName=table.name, TimeToLiveSpecification=off)


def turn_recovery_off(table: Table) -> None:
    off: Any = {"PointInTimeRecoveryEnabled": False}
    table.client.update_continuous_backups(TableName=table.name, PointInTimeRecoverySpecification=off)


REMOVALS: dict[str, Callable[[Table], object]] = {
    "index out_of_sync": lambda table: delete_index("out_of_sync", table),
    "index topic": lambda table: delete_index("topic", table),
    "deletion protection": turn_protection_off,
    "expiry of items": turn_expiry_off,
    "point-in-time recovery": turn_recovery_off,
    "first items": lambda table: table.delete(COUNT_KEY),
}


@pytest.mark.parametrize("part", REMOVALS)
def test_the_part_that_a_table_lacks_is_added_and_no_other(table: Table, part: str) -> None:
    set_up_table(table)
    key = hash_key(table)
    REMOVALS[part](table)
    assert list_parts(table) == dict.fromkeys(PARTS, "applied") | {part: "missing"}
    assert set_up_table(table) == [part]
    assert_complete(table)
    assert hash_key(table) == key


def test_an_index_is_added_with_the_types_of_its_keys_alone(table: Table) -> None:
    """AWS refuses attribute types that no key uses, which the emulator does not."""
    create_by_hand(table)
    types = []

    def record(params: dict[str, Any], **_: object) -> None:
        if "GlobalSecondaryIndexUpdates" in params:
            types.append({kind["AttributeName"]: kind["AttributeType"] for kind in params["AttributeDefinitions"]})

    table.client.meta.events.register("provide-client-params.dynamodb.UpdateTable", record)
    set_up_table(table)
    assert types == [{"out_of_sync": "N", "sync_due_at": "N"}, {"active": "N", "topic": "S"}]


def test_the_subscribers_of_a_table_without_indexes_are_in_them_afterwards(table: Table) -> None:
    create_by_hand(table)
    dynamodb_table._create_first_items(table)
    table.update(
        ("number#1", "subscriber"), "SET #active = :one, #topic = :topic, #out_of_sync = :one", one=1, topic="t"
    )
    set_up_table(table)
    found = list(table.query(index="topic", when="#active = :one AND #topic = :topic", one=1, topic="t"))
    assert [item["pk"] for item in found] == ["number#1"]


@pytest.mark.parametrize("request_number", range(0, 20, 4))
def test_another_process_that_sets_the_table_up_meanwhile_does_no_harm(table: Table, request_number: int) -> None:
    """It does all its requests before one of this process."""
    other, keys, seen = Table(table.name, table.region), [], [0]

    def interrupt(request: AWSPreparedRequest, **_: object) -> None:
        if seen[0] == request_number:
            seen[0] += 1
            set_up_table(other)
            keys.append(hash_key(other))
        seen[0] += 1

    table.client.meta.events.register("before-send.dynamodb", interrupt)
    try:
        set_up_table(table)
    except StateUnavailable:  # as when AWS refuses what the other did already
        set_up_table(table)
    assert_complete(table)
    assert keys == [hash_key(table)]


def test_an_interrupted_set_up_is_completed_by_the_next(table: Table) -> None:
    """Each set-up is interrupted one request later than the one before."""
    requests_left, keys = 0, set()

    def interrupt(request: AWSPreparedRequest, **_: object) -> None:
        nonlocal requests_left
        requests_left -= 1
        if requests_left < 0:
            raise KeyboardInterrupt

    interrupted = Table(table.name, table.region)
    interrupted.client.meta.events.register("before-send.dynamodb", interrupt)
    for number in range(30):
        requests_left = number
        with suppress(KeyboardInterrupt):
            set_up_table(interrupted)
            break
        if list_parts(table)["table"] == "applied" and (item := table.get(TABLE_KEY)) is not None:
            keys.add(item["hash_key"])
    assert requests_left >= 0, "the last one was not interrupted"
    assert_complete(table)
    assert keys == {hash_key(table)}


def test_a_table_that_aws_does_not_finish_is_unavailable_after_some_minutes(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def still_creating(parsed: dict[str, Any], **_: object) -> None:
        if "Table" in parsed:
            parsed["Table"]["TableStatus"] = "CREATING"

    table.client.meta.events.register("after-call.dynamodb.DescribeTable", still_creating)
    waits: list[float] = []
    monkeypatch.setattr(dynamodb_table, "CREATION_TIMEOUT_SECONDS", 6)
    create_by_hand(table)
    with pytest.raises(StateUnavailable, match="AWS has not finished the DynamoDB table"):
        set_up_table(table, waits.append)
    assert waits == [POLL_SECONDS] * 3
