"""Copying a database into a new one, such as a laptop's SQLite file into PostgreSQL (`quoteapi db copy`).

All changes to the target are one transaction, so a copy that fails or is interrupted leaves the target as it was.
Before the commit, the row counts and digests of all tables are compared.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from peewee import CompositeKey, Field, IntegrityError, Model, chunked

from quoteapi.settings import Settings, SettingsError
from quoteapi.storage import database
from quoteapi.storage.atomic_file import create_atomically
from quoteapi.storage.migrate import MIGRATION_TIMEOUT_SECONDS, apply_migrations, missing_migrations
from quoteapi.storage.models import CATALOGUE_MODELS, MODELS, Quote
from quoteapi.storage.models import database as bound

if TYPE_CHECKING:
    from quoteapi.storage.migrate import Engine

PROGRESS_TABLE = "copiedsofar"
"""Versions before this one copied in several transactions, and left this table in an incomplete target."""
CHANGED_MEANWHILE = "somebody writes to one of the two. Stop the service, and say it again"
Progress = Callable[[int], object]
"""Called with the number of rows that were processed since the last call."""


class CannotCopy(Exception):
    """A copy was refused or failed; the message says why. The target is as it was."""


class CopiedTable(NamedTuple):
    """A table that is the same in both databases."""

    table: str
    rows: int
    digest: str
    """Of all rows in any order."""


def count_rows(settings: Settings) -> int:
    """Return the number of rows to copy. Raises `SettingsError`, `peewee.PeeweeException`."""
    with _open_source(settings) as source:
        return sum(model.select().bind(source).count() for model in MODELS)


def copy(source: Settings, target: Settings, progress: Progress = lambda _: None) -> list[CopiedTable]:
    """Copy all tables in one transaction. Return what both databases have then.

    `progress` counts each row twice: when it is copied and when it is compared. Raises `CannotCopy`, `SettingsError`,
    `peewee.PeeweeException`.
    """
    with _open_source(source) as ours, _open_target(target) as theirs, theirs.table_lock(*MODELS):
        _check_target(ours, theirs)
        for model in CATALOGUE_MODELS:
            model.delete().execute()
        try:
            for model in MODELS:
                _copy_table(model, ours, progress)
        except IntegrityError as error:  # a row that was copied has another key by now
            raise CannotCopy(f"a row has another key by now: {CHANGED_MEANWHILE}") from error
        copied = [_compare_table(model, ours, theirs, progress) for model in MODELS]
        theirs.finish_bulk_insert(*MODELS)
        return copied


@contextmanager
def _open_source(settings: Settings) -> Iterator["Engine"]:
    """Open a database that has all migrations. Raises `SettingsError`."""
    with _open_complete(settings) as engine:
        if missing := missing_migrations(engine.applied_migrations()):
            raise SettingsError(
                f"{database.describe_database(settings)} lacks {', '.join(missing)}. Is it the right one? Then run"
                " `quoteapi db migrate` on it."
            )
        yield engine


@contextmanager
def _open_target(settings: Settings) -> Iterator["Engine"]:
    """Open a database in a transaction, with migrations and models bound. A new file appears when the block ends."""
    path = settings.database_path
    with ExitStack() as stack:
        if path is None or path.exists():
            engine = stack.enter_context(_open_complete(settings))
            stack.enter_context(bound.override(engine))
            stack.enter_context(engine.atomic())
            apply_migrations(engine)
        else:
            try:
                new = stack.enter_context(create_atomically(path, exclusive=True))
            except OSError as error:
                raise SettingsError(f"The database {path} cannot be made ({error.strerror}).") from error
            engine = stack.enter_context(database.create_database_file(new))
        yield engine


@contextmanager
def _open_complete(settings: Settings) -> Iterator["Engine"]:
    with database.open_database(settings) as engine, engine.statement_timeout(MIGRATION_TIMEOUT_SECONDS):
        if engine.table_exists(PROGRESS_TABLE):
            raise SettingsError(
                f"{database.describe_database(settings)} is the half of a copy that an earlier version left. Make a new"
                " database, and copy the whole one to it."
            )
        yield engine


def _check_target(ours: "Engine", theirs: "Engine") -> None:
    """Raise `CannotCopy` unless the target is another database, with no rows but quotes that the source has too."""
    if theirs.is_same_database(ours):
        raise CannotCopy("both are the same database")
    has_other_rows = any(model.select().exists() for model in MODELS if model not in CATALOGUE_MODELS)
    if has_other_rows or not all(_are_known(batch, ours) for batch in _batches(Quote, theirs)):
        raise CannotCopy("the target has data of its own (or a copy that was finished); name a database that is new")


def _are_known(quotes: list[dict[str, Any]], ours: "Engine") -> bool:
    fingerprints = [quote["fingerprint"] for quote in quotes]
    return Quote.select().where(Quote.fingerprint.in_(fingerprints)).bind(ours).count() == len(quotes)


def _copy_table(model: type[Model], ours: "Engine", progress: Progress) -> None:
    for batch in _batches(model, ours):
        model.insert_many(batch).execute()
        progress(len(batch))


def _compare_table(model: type[Model], ours: "Engine", theirs: "Engine", progress: Progress) -> CopiedTable:
    """Return what a table has in both databases. Raises `CannotCopy` if it differs."""
    here, there = _summarize(model, ours, progress), _summarize(model, theirs, lambda _: None)
    if here != there:
        change = f"{here.table} has {here.rows} rows, and {there.rows} there, or a row is another"
        raise CannotCopy(f"{change}: {CHANGED_MEANWHILE}")
    return here


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
    """Iterate over all rows of a table in the order of its primary key."""
    rows: Any = model.select().dicts().bind(engine)
    return chunked(database.iterate_in_batches(rows, *_key(model)), database.BATCH_SIZE)


def _key(model: type[Model]) -> list[Field]:
    key: Any = model._meta.primary_key
    return [model._meta.fields[name] for name in key.field_names] if isinstance(key, CompositeKey) else [key]
