"""Copies of the state between SQLite or PostgreSQL and a DynamoDB table."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import Settings, settings_for_database
from quoteapi.storage import database, dynamodb, dynamodb_table, state_copy
from quoteapi.storage.database_copy import CopyFailed
from quoteapi.storage.dynamodb import Table
from quoteapi.storage.dynamodb_state import TABLE_KEY, DynamoDbState
from quoteapi.storage.models import Quote, Subscriber
from quoteapi.storage.models import database as bound
from quoteapi.storage.sql_state import SqlState
from quoteapi.storage.state import State, StateUnavailable
from tests.helpers import dynamodb_server, postgresql_server, states
from tests.helpers.clock import FakeClock
from tests.helpers.data import ALCOTT, AUSTEN, MIRA, NOON, NOOR, ZOLA
from tests.helpers.databases import open_migrated, rows_by_table
from tests.helpers.states import ANOTHER_TOPIC, AUCKLAND, BEFORE, DIGEST, LIMIT, LOG_KEYS, POLICY, TODAY, TOPIC

DAY = timedelta(days=1)
NEW = Quotation("A quote of the upstream API", "Nobody", "new", "2026")
OWN_QUOTE = Quotation("A quote of the operator", "Operator", "own")
MADE_BY_TARGET = {"id", "otp_request_id", "updated_at", "quote"}
"""Columns with ids, and the one that tells when a log was changed."""
MakeDatabase = Callable[[str], Settings]


@pytest.fixture(autouse=True)
def _prepare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BATCH_SIZE", 3)
    monkeypatch.setattr(dynamodb, "BATCH_SIZE", 4)
    monkeypatch.setattr("quoteapi.clock.now", FakeClock())
    for name, value in dynamodb_server.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def new(tmp_path: Path, bundled_catalogue: Callable[[list[Quotation]], Path]) -> Iterator[MakeDatabase]:
    """Return a function that makes the settings of a new database: of a file, on a server, or of a table."""
    bundled_catalogue([ALCOTT, AUSTEN, ZOLA])
    numbers = count()
    with ExitStack() as stack:

        def make(kind: str) -> Settings:
            if kind == "file":
                return settings_for_database(f"sqlite:///{tmp_path}/copy {next(numbers)}.db")
            if kind == "table":
                table = dynamodb_server.new_table()
                return settings_for_database(f"dynamodb://{table.name}?region={table.region}")
            return settings_for_database(stack.enter_context(postgresql_server.create_database(with_tables=False)))

        yield make


@contextmanager
def open_state(settings: Settings) -> Iterator[State]:
    if settings.dynamodb_table is not None:
        yield DynamoDbState(Table(*settings.dynamodb_table))
        return
    with open_migrated(settings):
        yield SqlState()


def table_of(settings: Settings) -> Table:
    assert settings.dynamodb_table is not None
    return Table(*settings.dynamodb_table)


def fill(settings: Settings) -> None:
    """Store data of every kind; `MIRA` has a code under way."""
    if settings.dynamodb_table is None:
        database.connect(settings)
        bound.obj.close()
        postgresql_server.close_connections()
    else:
        database.migrate_database(settings)
    with open_state(settings) as state:
        states.add_bystanders(state)
        moved = states.sync(state, states.activate(state, NOOR, now=BEFORE), now=BEFORE)
        assert state.set_time_zone(moved.id, AUCKLAND, now=BEFORE)
        assert state.pause(NOOR, until=NOON + DAY, now=BEFORE)
        held = states.acquire_lease(state, moved, None, now=BEFORE)
        assert state.finish_sync(held, None, None, last_sms_date=TODAY, due_at=NOON + DAY)
        assert state.report_delivery(TODAY, TOPIC, now=NOON, claimed_before=NOON, sending_before=NOON)
        states.generate_otp(state)
        state.set_sms_switch(NOON, off=True)
        for n, quotation in enumerate((ALCOTT, NEW, AUSTEN)):
            state.store_daily_quote(TODAY - n * DAY, quotation, NOON)


@pytest.fixture
def source(new: MakeDatabase) -> Settings:
    made = new("file")
    fill(made)
    return made


def rows_of_state(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of the state without what a target makes."""
    rows = rows_by_table(settings)
    return {
        table: sorted(
            ({name: value for name, value in row.items() if name not in MADE_BY_TARGET} for row in rows[table]), key=str
        )
        for table in (*state_copy.COLUMNS, "subscribercount")
    }


def read_state(settings: Settings) -> list[object]:
    """Return what the methods of the state tell, without ids."""
    days = [TODAY + n * DAY for n in range(-3, 3)]
    with open_state(settings) as state:
        return [
            sorted((subscriber._replace(id="") for subscriber in state.subscribers()), key=lambda it: it.mobile),
            [state.find_delivery(day, topic) for day in days for topic in (TOPIC, ANOTHER_TOPIC)],
            [state.last_delivery(topic) for topic in (TOPIC, ANOTHER_TOPIC)],
            [state.read_rate_limit_log(key) for key in LOG_KEYS],
            [state.read_sms_count(day) for day in days],
            state.sms_disabled_at(),
            state.daily_quotes(date.min, date.max),
            (state.subscriber_count(), state.count_out_of_sync(NOON), len(list(state.out_of_sync(NOON)))),
            (state.topics_in_use(), state.count_in_sync_with(TOPIC)),
            [state.has_joined_before(TOPIC, moment) for moment in (BEFORE, NOON)],
        ]


def copy(source: Settings, target: Settings, progress: Callable[[int], object] = lambda _: None) -> dict[str, int]:
    """Copy the state. Return the number of records by kind."""
    return {copied.table: copied.rows for copied in state_copy.copy_database(source, target, progress)}


@pytest.mark.parametrize("kind", ["file", "server"])
def test_a_copy_to_dynamodb_and_back_has_all_that_the_source_has(new: MakeDatabase, kind: str) -> None:
    source, table, back = new(kind), new("table"), new(kind)
    fill(source)
    copied = copy(source, table)
    rows = rows_of_state(source)
    assert copied == {name: len(rows[name]) for name in state_copy.COLUMNS}
    assert all(copied.values())
    assert read_state(table) == read_state(source)
    assert copy(table, back) == copied
    assert rows_of_state(back) == rows
    assert read_state(back) == read_state(source)
    with open_migrated(back):
        texts = {row.quote for row in Quote.select()}
    assert texts == {quotation.quote for quotation in (ALCOTT, AUSTEN, ZOLA, NEW)}, "bundled, and those of days"


def test_a_copy_between_tables_has_all_that_the_source_has(new: MakeDatabase) -> None:
    source, target = new("table"), new("table")
    fill(source)
    copy(source, target)
    assert read_state(target) == read_state(source)
    assert table_of(target).get(TABLE_KEY) != table_of(source).get(TABLE_KEY), "each table has a key of its own"


@pytest.mark.parametrize("kinds", [("file", "table"), ("table", "file")])
def test_a_code_under_way_is_valid_in_the_copy(new: MakeDatabase, kinds: tuple[str, str]) -> None:
    source, target = map(new, kinds)
    fill(source)
    copy(source, target)
    with open_state(target) as state:
        assert not state.try_otp(MIRA, "subscribe", "0" * 32, now=NOON, policy=POLICY).otp.is_used  # type: ignore[union-attr]
        compared = state.try_otp(MIRA, "subscribe", DIGEST, now=NOON, policy=POLICY)
        assert compared.is_compared
        assert compared.otp is not None
        assert (compared.otp.digest, compared.otp.tries_left) == (DIGEST, POLICY.tries - 1)
        assert state.find_otp(compared.otp.otp_request_id) == compared.otp, "its id was made by the target"
        before = state.subscriber_count()
        assert states.confirm(state, compared.otp)
        assert state.subscriber_count() == before + 1


def test_the_newest_subscribers_of_a_copy_are_those_that_confirmed_last(new: MakeDatabase) -> None:
    source, target = new("table"), new("file")
    database.migrate_database(source)
    mobiles = [f"+9190280{n:05}" for n in (7, 3, 9, 1, 5)]
    with open_state(source) as state:
        for n, mobile in enumerate(mobiles):
            states.activate(state, mobile, now=NOON + n * DAY)
    copy(source, target)
    with open_state(target) as state:
        assert [subscriber.mobile for subscriber in state.newest_subscribers(9)] == mobiles[::-1]


def test_progress_counts_each_record_twice(source: Settings, new: MakeDatabase) -> None:
    calls: list[int] = []
    copied = copy(source, table := new("table"), calls.append)
    assert sum(calls) == 2 * state_copy.count_rows(source) == 2 * sum(copied.values())
    assert state_copy.count_rows(table) == state_copy.count_rows(source)


def interrupt_after(records: int) -> Callable[[int], object]:
    left = iter(range(records))

    def interrupt(_: int) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    return interrupt


def test_a_table_cannot_be_used_until_an_interrupted_copy_was_run_again(source: Settings, new: MakeDatabase) -> None:
    target = new("table")
    records = state_copy.count_rows(source)
    for last in (0, records // 2, records, 2 * records - 1):
        with pytest.raises(KeyboardInterrupt):
            copy(source, target, interrupt_after(last))
        with open_state(target) as state:
            for use in (
                lambda: state.find_subscriber(MIRA),
                lambda: state.find_otp("-"),
                lambda: list(state.subscribers()),
                state.subscriber_count,
                lambda: state.last_delivery(TOPIC),
                lambda: state.read_rate_limit_log(LOG_KEYS[0]),
                lambda: state.count_sms(TODAY, LIMIT),
                lambda: state.set_sms_switch(NOON, off=True),
                lambda: state.daily_quotes(TODAY, TODAY),
            ):
                with pytest.raises(StateUnavailable, match=r"is not complete; `quoteapi db copy` runs, or must be run"):
                    use()
        with pytest.raises(CopyFailed, match="in FROM is not complete"):
            copy(target, new("file"))
    with open_state(source) as state:  # what was copied by then must not be left over
        assert state.delete_number(MIRA, list(LOG_KEYS))
    copy(source, target)
    assert read_state(target) == read_state(source)


@pytest.mark.parametrize("kind", ["file", "server"])
def test_an_interrupted_copy_to_sql_leaves_nothing(new: MakeDatabase, kind: str) -> None:
    source, target = new("table"), new(kind)
    fill(source)
    for last in (0, 9, 2 * state_copy.count_rows(source) - 1):
        with pytest.raises(KeyboardInterrupt):
            copy(source, target, interrupt_after(last))
        if kind == "file":
            assert target.database_path is not None
            assert not target.database_path.exists()
        else:
            with database.open_database(target) as opened:
                assert opened.get_tables() == []


@pytest.mark.parametrize("kind", ["file", "table"])
def test_a_target_with_data_is_refused_and_stays_as_it_is(new: MakeDatabase, source: Settings, kind: str) -> None:
    target, full_table = new(kind), new("table")
    copy(source, full_table)
    database.migrate_database(target) if kind == "table" else fill(target)
    with open_state(target) as state:
        states.send_delivery(state, TODAY, "a topic", now=NOON)
    before = read_state(target)
    with pytest.raises(CopyFailed, match="TO already has data"):
        copy(full_table, target)
    assert read_state(target) == before


def test_a_table_is_not_copied_into_itself(new: MakeDatabase) -> None:
    table = new("table")
    with pytest.raises(CopyFailed, match="the same table"):
        copy(table, table)


def test_a_source_that_changes_meanwhile_is_noticed(source: Settings, new: MakeDatabase) -> None:
    target, records = new("table"), state_copy.count_rows(source)
    calls = count(1)

    def change(_: int) -> None:
        if next(calls) == records:
            states.activate(SqlState(), NOOR)

    with pytest.raises(CopyFailed, match="another process is writing to FROM or TO"):
        copy(source, target, change)
    with open_state(target) as state, pytest.raises(StateUnavailable):
        state.subscriber_count()


def test_a_second_copy_into_the_same_table_is_noticed(source: Settings, new: MakeDatabase) -> None:
    target, records = new("table"), state_copy.count_rows(source)
    calls = count(1)

    def copy_too(_: int) -> None:
        if next(calls) == 2 * records:
            copy(source, target)

    with pytest.raises(CopyFailed, match="another copy to TO began meanwhile"):
        copy(source, target, copy_too)


def test_subscribers_without_a_time_zone_are_refused_until_they_have_one(source: Settings, new: MakeDatabase) -> None:
    target = new("table")
    with open_state(source) as state:
        subscriber = states.stored_subscriber(state, NOOR)
        Subscriber.update(time_zone=None).where(Subscriber.mobile == NOOR).execute()
    for refused in lambda: copy(source, target), lambda: state_copy.count_rows(source):
        with pytest.raises(
            CopyFailed, match=r"FROM has subscribers without a time zone\. Run `quoteapi reconcile` on it"
        ):
            refused()
    with open_state(source) as state:
        assert state.set_time_zone(subscriber.id, AUCKLAND, now=NOON, is_move=False)
        assert state.deactivate(NOOR, now=NOON)
        Subscriber.update(time_zone=None).where(Subscriber.mobile == NOOR).execute()
    copy(source, target)
    with open_state(target) as state:
        assert states.stored_subscriber(state, NOOR).time_zone is None, "it gets one if it subscribes again"
        assert states.activate(state, NOOR, time_zone=None).time_zone == states.KOLKATA


def test_the_last_run_of_the_schedule_is_not_copied_and_does_not_prevent_a_copy(new: MakeDatabase) -> None:
    source, target, back = new("table"), new("table"), new("file")
    fill(source)
    for settings in source, target:
        database.migrate_database(settings)
        with open_state(settings) as state:
            state.store_due_run(NOON if settings is source else NOON + DAY)
    copy(source, target)
    with open_state(target) as state:
        assert state.last_due_run() == NOON + DAY
    copy(target, back)
    with open_state(back) as state:
        assert state.last_due_run() is None


def test_expired_items_are_not_copied(new: MakeDatabase) -> None:
    source, target = new("table"), new("file")
    database.migrate_database(source)
    with open_state(source) as state:
        for log, keep_until in (("1", NOON - DAY), ("2", NOON + DAY)):
            assert state.swap_rate_limit_log(log * 32, "", log, now=NOON, keep_until=keep_until)
    assert state_copy.count_rows(source) == 1
    assert copy(source, target)["tokenbucket"] == 1
    with open_state(target) as state:
        assert [state.read_rate_limit_log(n * 32) for n in "12"] == ["", "2"]


def test_items_that_aws_does_not_process_are_sent_again_after_a_pause(new: MakeDatabase) -> None:
    slept: list[float] = []
    table = dynamodb_server.create_table()
    throttled = Table(table.name, table.region, sleep=slept.append, uniform=lambda _, most: most)
    write, left = table.client.batch_write_item, iter([3, 2, 2])

    class Client:
        def batch_write_item(self, *, RequestItems: dict[str, list[Any]]) -> dict[str, Any]:  # noqa: N803 boto3's name
            (name, writes) = next(iter(RequestItems.items()))
            unprocessed = len(writes) if is_down else next(left, 0)
            done, later = writes[unprocessed:], writes[:unprocessed]
            if done:
                write(RequestItems={name: done})
            return {"UnprocessedItems": {name: later} if later else {}}

    is_down = False
    throttled.__dict__["client"] = Client()
    throttled.write_batches([{"pk": f"item {n}", "sk": "-", "n": n} for n in range(9)])
    assert [table.get((f"item {n}", "-")) for n in range(9)] == [
        {"pk": f"item {n}", "sk": "-", "n": n} for n in range(9)
    ]
    assert slept == sorted(slept)
    assert len(slept) == 3
    is_down = True
    with pytest.raises(StateUnavailable, match="no capacity for so many writes"):
        throttled.write_batches([{"pk": "item", "sk": "-"}])
    assert len(slept) == 3 + dynamodb.MAX_CONFLICTS


def test_a_process_reads_the_key_of_the_table_once(monkeypatch: pytest.MonkeyPatch) -> None:
    table = dynamodb_server.create_table()
    keys: list[object] = []
    get = table.get

    def record(key: tuple[str, str]) -> dict[str, Any] | None:
        keys.append(key)
        return get(key)

    monkeypatch.setattr(table, "get", record)
    state = DynamoDbState(table)
    assert keys == []
    for _ in range(3):
        state.find_subscriber(MIRA)
        state.subscriber_count()
    assert keys.count(TABLE_KEY) == 1


def test_quotes_that_are_not_in_the_bundled_catalogue_are_counted(source: Settings, new: MakeDatabase) -> None:
    own = state_copy.count_own_quotes(source)
    with open_migrated(source):
        SqlState().store_daily_quote(TODAY + 9 * DAY, OWN_QUOTE, NOON)
    assert state_copy.count_own_quotes(source) == own + 1 == 2
    assert state_copy.count_own_quotes(new("table")) == 0


def test_the_items_of_a_copy_expire(source: Settings, new: MakeDatabase) -> None:
    copy(source, target := new("table"))
    now = NOON.timestamp()
    items = table_of(target).client.scan(TableName=table_of(target).name)["Items"]
    expiring = [item for item in items if item["sk"]["S"].startswith("otp#") or "#" in item["pk"]["S"][:11]]
    ttls = {item["pk"]["S"].partition("#")[0]: int(item["ttl"]["N"]) for item in expiring if "ttl" in item}
    assert set(ttls) == {"number", "rate_limit"}
    assert all(now < ttl <= now + 31 * 86_400 for ttl in ttls.values())
    assert dynamodb_table.list_parts(table_of(target))["table"] == "applied"
