"""Copying a database into a new one, for example an SQLite file into PostgreSQL (`quoteapi db copy`).

All changes to the target are one transaction, so a copy that fails or is interrupted leaves the target as it was.
Before the commit, the row counts and digests of all tables are compared.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from peewee import IntegrityError, Model, chunked

from quoteapi.settings import Settings, SettingsError
from quoteapi.storage import database
from quoteapi.storage.atomic_file import create_atomically
from quoteapi.storage.migrate import MIGRATION_TIMEOUT_SECONDS, apply_migrations, missing_migrations
from quoteapi.storage.models import CATALOGUE_MODELS, MODELS, Quote, SubscriberCount
from quoteapi.storage.models import database as bound

if TYPE_CHECKING:
    from quoteapi.storage.migrate import Engine

PROGRESS_TABLE = "copiedsofar"
"""A table in targets of unfinished copies by earlier versions, which copied in several transactions."""
REPLACED_MODELS: tuple[type[Model], ...] = (*CATALOGUE_MODELS, SubscriberCount)
"""The tables that a new database has rows in, which those of the source replace."""
CHANGED_MEANWHILE = "another process is writing to FROM or TO. Stop the service, then run the command again"
Progress = Callable[[int], object]
"""Called with the number of rows that were processed since the last call."""


class CopyFailed(Exception):
    """A copy was refused or failed; the message says why. The target is unchanged."""


class CopiedTable(NamedTuple):
    """A copied table: its name, number of rows and digest."""

    table: str
    rows: int
    digest: str
    """The digest of all rows; it does not depend on their order."""


class TableSummary:
    """The number and digest of the rows that were added."""

    def __init__(self, table: str) -> None:
        self._table, self._rows, self._total = table, 0, 0

    def add(self, row: dict[str, Any]) -> None:
        """Add a row."""
        text = json.dumps(row, default=str, sort_keys=True)
        self._total += int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest())
        self._rows += 1

    @property
    def copied_table(self) -> CopiedTable:
        """The table with the rows that were added."""
        return CopiedTable(self._table, self._rows, f"{self._total % 2**128:032x}")


def count_rows(settings: Settings) -> int:
    """Return the number of rows in all tables. Raises `SettingsError`, `peewee.PeeweeException`."""
    with open_source(settings) as source:
        return sum(model.select().bind(source).count() for model in MODELS)


def copy_database(source: Settings, target: Settings, progress: Progress = lambda _: None) -> list[CopiedTable]:
    """Copy all tables from `source` to `target` in one transaction. Return the copied tables.

    `progress` counts each row twice: when it is copied and when it is compared. Raises `CopyFailed`, `SettingsError`,
    `peewee.PeeweeException`.
    """
    with open_source(source) as source_db, open_target(target) as target_db, target_db.table_lock(*MODELS):
        _check_target(source_db, target_db)
        for model in REPLACED_MODELS:
            model.delete().execute()
        try:
            for model in MODELS:
                _copy_table(model, source_db, progress)
        except IntegrityError as error:  # a row that was copied has another key by now
            raise CopyFailed(f"a row was changed during the copy: {CHANGED_MEANWHILE}") from error
        copied = [_compare_table(model, source_db, target_db, progress) for model in MODELS]
        target_db.finish_bulk_insert(*MODELS)
        return copied


@contextmanager
def open_source(settings: Settings) -> Iterator["Engine"]:
    """Open the source. Raises `SettingsError` if it lacks migrations or is an incomplete copy."""
    with _open_complete(settings) as engine:
        if missing := missing_migrations(engine.applied_migrations()):
            raise SettingsError(
                f"{database.describe_database(settings)} has missing migrations: {', '.join(missing)}. If it is the"
                " right database, set DATABASE_URL to it and run `quoteapi db migrate`."
            )
        yield engine


@contextmanager
def open_target(settings: Settings) -> Iterator["Engine"]:
    """Open the target in a transaction, migrated, with the models bound. A new file appears at the end."""
    path = settings.database_path
    if path is None or path.exists():
        with _open_complete(settings) as engine, bound.override(engine), engine.atomic():
            apply_migrations(engine)
            yield engine
        return
    with ExitStack() as stack:
        try:
            new = stack.enter_context(create_atomically(path, exclusive=True))
        except OSError as error:
            raise SettingsError(f"The database {path} cannot be created ({error.strerror}).") from error
        yield stack.enter_context(database.create_database_file(new))


@contextmanager
def _open_complete(settings: Settings) -> Iterator["Engine"]:
    with database.open_database(settings) as engine, engine.statement_timeout(MIGRATION_TIMEOUT_SECONDS):
        if engine.table_exists(PROGRESS_TABLE):
            raise SettingsError(
                f"{database.describe_database(settings)} is an incomplete copy, left by an earlier version. Copy the"
                " original to a new database."
            )
        yield engine


def _check_target(source_db: "Engine", target_db: "Engine") -> None:
    """Raise `CopyFailed` if both are one database, or the target has rows other than the source's quotes."""
    if target_db.is_same_database(source_db):
        raise CopyFailed("FROM and TO are the same database")
    has_other_rows = any(model.select().exists() for model in MODELS if model not in REPLACED_MODELS)
    for batch in _batches(Quote, target_db):
        fingerprints = [quote["fingerprint"] for quote in batch]
        shared = Quote.select().where(Quote.fingerprint.in_(fingerprints)).bind(source_db).count()
        has_other_rows |= shared < len(batch)
    if has_other_rows:
        raise CopyFailed("TO already has data, for example a finished copy. Set TO to a new database")


def _copy_table(model: type[Model], source_db: "Engine", progress: Progress) -> None:
    for batch in _batches(model, source_db):
        model.insert_many(batch).execute()
        progress(len(batch))


def _compare_table(model: type[Model], source_db: "Engine", target_db: "Engine", progress: Progress) -> CopiedTable:
    """Return the row count and digest of a table. Raises `CopyFailed` if the databases differ in them."""
    return require_equal(_summarize(model, source_db, progress), _summarize(model, target_db, lambda _: None))


def require_equal(in_source: CopiedTable, in_target: CopiedTable) -> CopiedTable:
    """Return what both sides have of a table. Raises `CopyFailed` if they differ."""
    if in_source != in_target:
        change = f"the table {in_source.table} has {in_source.rows} rows in FROM and {in_target.rows} in TO"
        if in_source.rows == in_target.rows:
            change = f"the table {in_source.table} has different rows in FROM and TO"
        raise CopyFailed(f"{change}: {CHANGED_MEANWHILE}")
    return in_source


def _summarize(model: type[Model], engine: "Engine", progress: Progress) -> CopiedTable:
    summary = TableSummary(model._meta.table_name)
    for batch in _batches(model, engine):
        for row in batch:
            summary.add(row)
        progress(len(batch))
    return summary.copied_table


def _batches(model: type[Model], engine: "Engine") -> Iterator[list[dict[str, Any]]]:
    """Yield lists of up to `BATCH_SIZE` rows of a table, as dictionaries, ordered by its primary key."""
    rows: Any = model.select().dicts().bind(engine)
    return chunked(database.iterate_in_batches(rows), database.BATCH_SIZE)
