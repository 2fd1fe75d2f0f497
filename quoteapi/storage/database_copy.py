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
CHANGED_MEANWHILE = "somebody writes to one of the two. Stop the service, and say it again"
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


def count_rows(settings: Settings) -> int:
    """Return the number of rows in all tables. Raises `SettingsError`, `peewee.PeeweeException`."""
    with _open_source(settings) as source:
        return sum(model.select().bind(source).count() for model in MODELS)


def copy_database(source: Settings, target: Settings, progress: Progress = lambda _: None) -> list[CopiedTable]:
    """Copy all tables from `source` to `target` in one transaction. Return the copied tables.

    `progress` counts each row twice: when it is copied and when it is compared. Raises `CopyFailed`, `SettingsError`,
    `peewee.PeeweeException`.
    """
    with _open_source(source) as source_db, _open_target(target) as target_db, target_db.table_lock(*MODELS):
        _check_target(source_db, target_db)
        for model in REPLACED_MODELS:
            model.delete().execute()
        try:
            for model in MODELS:
                _copy_table(model, source_db, progress)
        except IntegrityError as error:  # a row that was copied has another key by now
            raise CopyFailed(f"a row has another key by now: {CHANGED_MEANWHILE}") from error
        copied = [_compare_table(model, source_db, target_db, progress) for model in MODELS]
        target_db.finish_bulk_insert(*MODELS)
        return copied


@contextmanager
def _open_source(settings: Settings) -> Iterator["Engine"]:
    """Open the source. Raises `SettingsError` if it lacks migrations or is an incomplete copy."""
    with _open_complete(settings) as engine:
        if missing := missing_migrations(engine.applied_migrations()):
            raise SettingsError(
                f"{database.describe_database(settings)} lacks {', '.join(missing)}. Is it the right one? Then run"
                " `quoteapi db migrate` on it."
            )
        yield engine


@contextmanager
def _open_target(settings: Settings) -> Iterator["Engine"]:
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
            raise SettingsError(f"The database {path} cannot be made ({error.strerror}).") from error
        yield stack.enter_context(database.create_database_file(new))


@contextmanager
def _open_complete(settings: Settings) -> Iterator["Engine"]:
    with database.open_database(settings) as engine, engine.statement_timeout(MIGRATION_TIMEOUT_SECONDS):
        if engine.table_exists(PROGRESS_TABLE):
            raise SettingsError(
                f"{database.describe_database(settings)} is the half of a copy that an earlier version left. Make a new"
                " database, and copy the whole one to it."
            )
        yield engine


def _check_target(source_db: "Engine", target_db: "Engine") -> None:
    """Raise `CopyFailed` if both are one database, or the target has rows other than the source's quotes."""
    if target_db.is_same_database(source_db):
        raise CopyFailed("both are the same database")
    has_other_rows = any(model.select().exists() for model in MODELS if model not in REPLACED_MODELS)
    for batch in _batches(Quote, target_db):
        fingerprints = [quote["fingerprint"] for quote in batch]
        shared = Quote.select().where(Quote.fingerprint.in_(fingerprints)).bind(source_db).count()
        has_other_rows |= shared < len(batch)
    if has_other_rows:
        raise CopyFailed("the target has data of its own (or a copy that was finished); name a database that is new")


def _copy_table(model: type[Model], source_db: "Engine", progress: Progress) -> None:
    for batch in _batches(model, source_db):
        model.insert_many(batch).execute()
        progress(len(batch))


def _compare_table(model: type[Model], source_db: "Engine", target_db: "Engine", progress: Progress) -> CopiedTable:
    """Return the row count and digest of a table. Raises `CopyFailed` if the databases differ in them."""
    in_source, in_target = _summarize(model, source_db, progress), _summarize(model, target_db, lambda _: None)
    if in_source != in_target:
        change = f"{in_source.table} has {in_source.rows} rows, and {in_target.rows} there, or a row is another"
        raise CopyFailed(f"{change}: {CHANGED_MEANWHILE}")
    return in_source


def _summarize(model: type[Model], engine: "Engine", progress: Progress) -> CopiedTable:
    rows = total = 0
    for batch in _batches(model, engine):
        for row in batch:
            text = json.dumps(row, default=str, sort_keys=True)
            total += int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest())
        rows += len(batch)
        progress(len(batch))
    return CopiedTable(model._meta.table_name, rows, f"{total % 2**128:032x}")


def _batches(model: type[Model], engine: "Engine") -> Iterator[list[dict[str, Any]]]:
    """Yield lists of up to `BATCH_SIZE` rows of a table, as dictionaries, ordered by its primary key."""
    rows: Any = model.select().dicts().bind(engine)
    return chunked(database.iterate_in_batches(rows), database.BATCH_SIZE)
