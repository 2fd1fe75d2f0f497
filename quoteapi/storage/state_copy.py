"""Copying the state where FROM or TO is a DynamoDB table (`quoteapi db copy`). The catalogue is not copied.

A record is a dictionary of the columns of `COLUMNS`; ids are made by the target. A copy to SQL is one transaction.
DynamoDB has none that is large enough: there, a marker keeps the table from being used until the copy is complete, and
a copy that failed is run again from the start.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from operator import itemgetter
from secrets import token_hex
from typing import Any, Protocol

from peewee import chunked

from quoteapi import clock
from quoteapi.settings import Settings
from quoteapi.storage import database, models
from quoteapi.storage.catalogue import Quotation, fingerprint
from quoteapi.storage.database_copy import (
    CopiedTable,
    CopyFailed,
    Progress,
    TableSummary,
    open_source,
    open_target,
    require_equal,
)
from quoteapi.storage.dynamodb import ConditionFailed, Item, Table
from quoteapi.storage.dynamodb_state import COPY_MARKER, COUNT_KEY, DUE_RUN_KEY, TABLE_KEY, item_of, record_of
from quoteapi.storage.dynamodb_table import set_up_table
from quoteapi.storage.models import database as bound
from quoteapi.storage.sql_state import SMS_SWITCH, SqlState
from quoteapi.storage.state import ACTIVE, Delivery, Otp, Subscriber

Records = Iterable[tuple[str, Item]]
"""Records with their kinds."""
COLUMNS: dict[str, tuple[str, ...]] = {
    "subscriber": tuple(name for name in Subscriber._fields if name != "id"),
    "otp": tuple(name for name in Otp._fields if name != "otp_request_id"),
    "delivery": Delivery._fields,
    "tokenbucket": ("key", "timestamps"),
    "smscount": ("date", "count"),
    "switch": ("disabled_at",),
    "dailyquote": ("date", *Quotation._fields),
}
"""The columns of each kind of record. The kinds are named like the tables of SQL."""
_MODELS: dict[str, Any] = {model._meta.table_name: model for model in models.STATE_MODELS}
_IS_RECORD = "NOT #pk IN (:table, :total, :due_run)"
_IS_LIVE_RECORD = f"{_IS_RECORD} AND (attribute_not_exists(#ttl) OR #ttl > :now)"
_KEYS: Item = {"table": TABLE_KEY[0], "total": COUNT_KEY[0], "due_run": DUE_RUN_KEY[0]}


class _Store(Protocol):
    """One side of a copy."""

    def count(self) -> int:
        """Return the number of records."""

    def read(self) -> Records:
        """Yield all records."""

    def write(self, records: Records) -> None:
        """Add records."""


def count_rows(settings: Settings) -> int:
    """Return the number of records of the state. Raises as `copy_database`."""
    with _open_source(settings) as source:
        return source.count()


def copy_database(source: Settings, target: Settings, progress: Progress = lambda _: None) -> list[CopiedTable]:
    """Copy the state from `source` to `target`. Return the copied kinds of records.

    `progress` counts each record twice: when it is copied and when it is compared. Raises `CopyFailed`,
    `StateUnavailable`, `SettingsError`, `peewee.PeeweeException`.
    """
    if source.dynamodb_table == target.dynamodb_table:
        raise CopyFailed("FROM and TO are the same table")
    with _open_source(source) as from_store, _open_target(target) as to_store:
        to_store.write(_counted(from_store.read(), progress))
        in_source, in_target = _summarize(_counted(from_store.read(), progress)), _summarize(to_store.read())
        return [require_equal(in_source[kind], in_target[kind]) for kind in COLUMNS]


def count_own_quotes(settings: Settings) -> int:
    """Return how many quotes of a database are not in the bundled catalogue."""
    if settings.dynamodb_table is not None:
        return 0
    with database.use_bundled_catalogue():
        bundled = [row.fingerprint for row in models.Quote.select(models.Quote.fingerprint)]
    with open_source(settings) as source, bound.override(source):
        own = models.Quote.select().count()
        for batch in chunked(bundled, database.BATCH_SIZE):
            own -= models.Quote.select().where(models.Quote.fingerprint.in_(batch)).count()
        return int(own)


def _counted(records: Records, progress: Progress) -> Records:
    for record in records:
        progress(1)
        yield record


def _summarize(records: Records) -> dict[str, CopiedTable]:
    """Return the number and digest of the records of each kind; of a quote, of what a catalogue has only once."""
    summaries = {kind: TableSummary(kind) for kind in COLUMNS}
    for kind, record in records:
        is_quote = kind == "dailyquote"
        summaries[kind].add({"date": record["date"], "quote": fingerprint(_quotation(record))} if is_quote else record)
    return {kind: summary.copied_table for kind, summary in summaries.items()}


@contextmanager
def _open_source(settings: Settings) -> Iterator[_Store]:
    now = clock.now()
    if settings.dynamodb_table is None:
        with open_source(settings) as engine, bound.override(engine):
            if next(SqlState().subscribers_without_time_zone(), None) is not None:
                raise CopyFailed("FROM has subscribers without a time zone. Run `quoteapi reconcile` on it first")
            yield _SqlStore(now)
        return
    table = Table(*settings.dynamodb_table)
    item = table.get(TABLE_KEY)
    if item is None or COPY_MARKER in item:
        raise CopyFailed(f"the DynamoDB table {table.name} in FROM is not complete")
    yield _DynamoDbStore(table, bytes.fromhex(item["hash_key"]), now)


@contextmanager
def _open_target(settings: Settings) -> Iterator[_Store]:
    """Open a new database, or a table that is new or was left by a copy that failed. Raises `CopyFailed`."""
    now = clock.now()
    if settings.dynamodb_table is None:
        with open_target(settings) as engine, engine.table_lock(*models.MODELS):
            if any(model.select().exists() for model in models.STATE_MODELS if model is not models.SubscriberCount):
                raise CopyFailed("TO already has data, for example a finished copy. Set TO to a new database")
            database.add_bundled_quotes()
            yield _SqlStore(now)
            SqlState().recount_subscribers()
            engine.finish_bulk_insert(*models.MODELS)
        return
    table = Table(*settings.dynamodb_table)
    set_up_table(table)
    with _marked(table) as item:
        yield _DynamoDbStore(table, bytes.fromhex(item["hash_key"]), now)


@contextmanager
def _marked(table: Table) -> Iterator[Item]:
    """Mark an empty table as incomplete while a block fills it. Yield the item with the marker."""
    keys = _keys(table)
    is_unfinished = COPY_MARKER in (table.get(TABLE_KEY) or {})
    if not is_unfinished and next(keys, None) is not None:
        raise CopyFailed("TO already has data, for example a finished copy. Set TO to a new table")
    marker = token_hex(8)
    item = table.update(TABLE_KEY, f"SET #{COPY_MARKER} = :marker", marker=marker)
    table.write_batches(deleted=keys)
    yield item
    try:
        table.update(TABLE_KEY, f"REMOVE #{COPY_MARKER}", f"#{COPY_MARKER} = :marker", marker=marker)
    except ConditionFailed:
        raise CopyFailed("another copy to TO began meanwhile") from None


def _keys(table: Table) -> Iterator[tuple[str, str]]:
    return ((item["pk"], item["sk"]) for item in table.scan(_IS_RECORD, **_KEYS))


class _DynamoDbStore:
    """The state in a DynamoDB table."""

    def __init__(self, table: Table, hash_key: bytes, now: datetime) -> None:
        self._table, self._hash_key, self._now = table, hash_key, now
        self._values = _KEYS | {"now": int(now.timestamp())}

    def count(self) -> int:
        return sum(self._table.scan(_IS_LIVE_RECORD, count=True, **self._values))

    def read(self) -> Records:
        """Yield the records that had not expired at the start. It reads the whole table."""
        for item in self._table.scan(_IS_LIVE_RECORD, **self._values):
            kind, record = record_of(item)
            yield kind, {name: record.get(name) for name in COLUMNS[kind]}

    def write(self, records: Records) -> None:
        active = 0

        def items() -> Iterator[Item]:
            nonlocal active
            for kind, record in records:
                active += record.get("state") == ACTIVE
                yield item_of(kind, record, self._hash_key, self._now)

        self._table.write_batches(items())
        self._table.update(COUNT_KEY, "SET #count = :active", active=active)


class _SqlStore:
    """The state in SQLite or PostgreSQL, to which the models are bound."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def count(self) -> int:
        return sum(_MODELS[kind].select().count() for kind in COLUMNS)

    def read(self) -> Records:
        for kind, columns in COLUMNS.items():
            if kind == "dailyquote":
                for day, quotation in SqlState().daily_quotes(date.min, date.max).items():
                    yield kind, {"date": day, **quotation._asdict()}
            else:
                for row in database.iterate_in_batches(_MODELS[kind].select().dicts()):
                    yield kind, {name: row[name] for name in columns}

    def write(self, records: Records) -> None:
        """Add records; subscribers in the order in which they confirmed, which that of their ids shows."""
        rows: dict[str, list[Item]] = {kind: [] for kind in COLUMNS}
        for kind, record in records:
            rows[kind].append(record | self._columns_of_sql(kind))
        rows["subscriber"].sort(key=itemgetter("confirmed_at"))
        for record in rows.pop("dailyquote"):
            SqlState().store_daily_quote(record["date"], _quotation(record), self._now)
        for kind, of_kind in rows.items():
            for batch in chunked(of_kind, database.BATCH_SIZE):
                _MODELS[kind].insert_many(batch).execute()

    def _columns_of_sql(self, kind: str) -> Item:
        """Return the columns that only a row has."""
        if kind == "otp":
            return {"otp_request_id": token_hex(16)}
        if kind == "tokenbucket":
            return {"updated_at": self._now}
        return {"name": SMS_SWITCH} if kind == "switch" else {}


def _quotation(record: Item) -> Quotation:
    return Quotation(*(record[name] for name in Quotation._fields))
