"""The working database: opening it by the settings, and what callers need of it."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from peewee import (
    Database,
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    Model,
    OperationalError,
    ProgrammingError,
    Tuple,
)

from quoteapi.settings import BUNDLED_CATALOGUE, Settings, SettingsError
from quoteapi.storage import migrate, models
from quoteapi.storage.atomic_file import create_atomically
from quoteapi.storage.sqlite import SqliteFile

if TYPE_CHECKING:
    from peewee import ModelSelect

    from quoteapi.storage.migrate import Engine
    from quoteapi.storage.postgresql import Connection, PostgresqlServer

DATABASE_ERRORS = (DatabaseError, InterfaceError)
"""All errors that a database raises."""
WRITE_ERRORS = (OperationalError, InternalError)
"""Errors of a database that is locked, unavailable or read-only."""
PROGRAMMING_ERRORS = (DataError, IntegrityError, ProgrammingError)
"""Errors of a database that is available: the statement is wrong."""
READ_TIMEOUT_SECONDS = 2
"""The statement timeout of requests that only read."""
POOL_SIZE = 10
"""Connections to a server that a process keeps for its threads."""
LAMBDA_POOL_SIZE = 1
"""A Lambda container handles one request at a time."""
BATCH_SIZE = 500
_Row = TypeVar("_Row", bound=Model)


class DatabaseBusy(OperationalError):
    """Another thread or process has used the database for too long."""


def connect(settings: Settings) -> Database:
    """Bind the models to the working database, which is created or migrated first (a server's not by Lambda).

    Raises `SettingsError` if a file cannot be created or opened, or is not a database of QuoteAPI;
    `peewee.OperationalError` if the server is unavailable.
    """
    path = settings.database_path
    if path is None:
        pool_size = LAMBDA_POOL_SIZE if settings.on_lambda else POOL_SIZE
        opened = _bind(
            f"{settings.database_url} {pool_size}",
            lambda: _server(settings, pool_size, partial(_check_migrations, settings)),
        )
        if not settings.on_lambda:
            migrate_database(settings)
        return opened
    try:
        if not path.exists():
            _create_working_copy(path)
        if migrate.missing_migrations(_check_file(path)):
            migrate_database(settings)
    except (OSError, DatabaseError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"The database {path} cannot be used ({reason}). Set DATABASE_URL to a file that can be written."
        ) from error
    return _bind(path.as_uri(), lambda: SqliteFile(path))


def _bind(name: str, make: Callable[[], Database]) -> Database:
    """Bind the models, unless they are already bound to this database: its connections may be in use."""
    if models.database.name != name:
        models.database.bind(name, make())
    return models.database.obj


def _server(settings: Settings, *args: Any) -> "PostgresqlServer":  # noqa: ANN401
    from quoteapi.storage.postgresql import PostgresqlServer  # noqa: PLC0415 the driver is large

    return PostgresqlServer(settings.database_url or "", *args)


def _check_migrations(settings: Settings, connection: "Connection") -> None:
    """Raise `OperationalError` if migrations are missing on a server. It is one round trip for each new connection.

    Except on Lambda they are applied first: the server may have been unavailable when the service started.
    """
    missing = migrate.missing_migrations(connection.applied_migrations())
    if missing and not settings.on_lambda:
        migrate_database(settings)
        missing = migrate.missing_migrations(connection.applied_migrations())
    if missing:
        raise OperationalError(
            f"the database lacks the migration {', '.join(missing)}. Run `quoteapi db migrate` or, on Lambda,"
            " `zappa invoke STAGE quoteapi.aws.schedulers.migrate_database`"
        )


def _check_file(path: Path) -> set[str]:
    """Return the migrations applied to a file, without changing it. Raises `SettingsError` if it is not ours."""
    if BUNDLED_CATALOGUE.exists() and path.samefile(BUNDLED_CATALOGUE):
        raise SettingsError(f"{path} is the shipped catalogue, which is never written to. Name another file.")
    applied = SqliteFile(path).applied_migrations()
    if not applied:
        raise SettingsError(
            f"{path} is not a database of QuoteAPI. Set DATABASE_URL to another file, or move this one (with its -wal"
            " and -shm) away and start again."
        )
    return applied


@contextmanager
def open_database(settings: Settings) -> Iterator["Engine"]:
    """Open a database as it is, without binding the models. Raises `SettingsError` if it is not of QuoteAPI."""
    path = settings.database_path
    if path is not None:
        _check_file(path)
    engine = _server(settings) if path is None else SqliteFile(path, timeout=migrate.MIGRATION_TIMEOUT_SECONDS)
    with engine.connection_context():
        yield engine


def describe_database(settings: Settings) -> str:
    """Return the path of the database, or its URL without user and password."""
    if settings.database_path is not None:
        return str(settings.database_path)
    parts = urlsplit(settings.database_url or "")
    return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"


def list_migrations(settings: Settings) -> list[migrate.Migration]:
    """Return all migrations and their states, in order. Raises `PeeweeException` if the database is unavailable."""
    with open_database(settings) as engine:
        return migrate.migration_states(engine.applied_migrations())


def migrate_database(settings: Settings, *, fill: bool = True) -> list[str]:
    """Apply the missing migrations and, if there are no quotes, add the bundled ones. Return the migrations' names.

    If another process is doing so, wait for it. Raises `SettingsError` if the database is not one of QuoteAPI.
    """
    with open_database(settings) as engine, models.database.override(engine):
        if not migrate.missing_migrations(engine.applied_migrations()) and not (fill and _is_empty()):
            return []
        with engine.statement_timeout(migrate.MIGRATION_TIMEOUT_SECONDS), engine.atomic():
            names = migrate.apply_migrations(engine)
            if fill and _is_empty():
                _add_bundled_quotes()
            return names


def _is_empty() -> bool:
    return not models.Quote.select().exists()


def _add_bundled_quotes() -> None:
    for model in models.CATALOGUE_MODELS:
        with use_bundled_catalogue():
            rows = list(model.select().dicts())
        for start in range(0, len(rows), BATCH_SIZE):
            model.insert_many(rows[start : start + BATCH_SIZE]).execute()


@contextmanager
def use_bundled_catalogue() -> Iterator[None]:
    """Make this thread read the bundled catalogue instead of the working database."""
    catalogue = SqliteFile(BUNDLED_CATALOGUE, "mode=ro&immutable=1", pragmas={})
    with models.database.override(catalogue), closing(catalogue):
        yield


def _create_working_copy(path: Path) -> None:
    """Copy the bundled catalogue to `path`."""
    if not BUNDLED_CATALOGUE.exists():
        raise SettingsError(f"The catalogue {BUNDLED_CATALOGUE} is missing. Build it with `make catalogue`.")
    for left in (path.with_name(path.name + ending) for ending in ("-wal", "-shm", "-journal")):
        if left.exists() and not path.exists():
            raise SettingsError(f"{left} was left by a database that is gone, and would spoil a new one. Move it away.")
    with create_atomically(path) as copy:
        shutil.copyfile(BUNDLED_CATALOGUE, copy)
        with closing(sqlite3.connect(copy)) as connection:
            connection.execute("PRAGMA journal_mode = wal")


@contextmanager
def create_database_file(path: Path) -> Iterator[SqliteFile]:
    """Create a database file with empty tables, and bind the models to it in one transaction that fills it."""
    engine: Any = SqliteFile(path, "mode=rwc", pragmas={"journal_mode": "delete"})
    with closing(engine):
        with models.database.override(engine), engine.atomic():
            migrate.apply_migrations(engine)
            # The same rows make the same bytes, whenever the file is created.
            engine.execute_sql(f"UPDATE {migrate.HISTORY_TABLE} SET applied = '1970-01-01'")  # noqa: S608
            yield engine
        engine.execute_sql("VACUUM")


def iterate_in_batches(rows: "ModelSelect[_Row]", *key: Any) -> Iterator[_Row]:  # noqa: ANN401 peewee's fields have no type
    """Iterate over rows in the order of a unique key, by keyset pagination: a driver would fetch all rows at once."""
    after = rows
    while batch := list(after.order_by(*key).limit(BATCH_SIZE)):
        yield from batch
        if len(batch) < BATCH_SIZE:
            return
        last: Any = getattr(batch[-1], "__data__", batch[-1])  # a row is a model or a dictionary
        after = rows.where(Tuple(*key) > Tuple(*(field.to_value(last[field.name]) for field in key)))


def _engine() -> "Engine":
    return cast("Engine", models.database.obj)


def is_sqlite() -> bool:
    """Return whether the models are bound to an SQLite file."""
    return isinstance(models.database.obj, SqliteFile)


def statement_timeout(seconds: float = READ_TIMEOUT_SECONDS) -> AbstractContextManager[None]:
    """Set a shorter timeout for this thread's statements within a block, for requests that block others."""
    return _engine().statement_timeout(seconds)


def table_lock(model: type[Model]) -> AbstractContextManager[object]:
    """Run a block as a transaction that is the only writer to a table."""
    return _engine().table_lock(model)


def secure_delete() -> bool:
    """Make deleted rows unreadable in the database's files. Return False if that must be tried again later."""
    return _engine().secure_delete()
