"""The working database: opening, creating and migrating it, and reading the bundled catalogue instead."""

import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import peewee

from quoteapi.settings import BUNDLED_CATALOGUE, Settings, SettingsError
from quoteapi.storage import migrate, models
from quoteapi.storage.atomic_file import create_atomically
from quoteapi.storage.models import database as bound
from quoteapi.storage.sqlite import SqliteFile
from quoteapi.storage.state import StateUnavailable

if TYPE_CHECKING:
    from quoteapi.settings.parsers import DynamoDbTable
    from quoteapi.storage.dynamodb import Table
    from quoteapi.storage.migrate import Engine
    from quoteapi.storage.postgresql import Connection, PostgresqlServer

DATABASE_ERRORS = (peewee.DatabaseError, peewee.InterfaceError)
"""All errors that a database raises."""
STORAGE_ERRORS = (peewee.PeeweeException, sqlite3.Error, StateUnavailable)
"""All errors of the working database and of the state."""
UNAVAILABLE_ERRORS = (peewee.OperationalError, peewee.InterfaceError)
"""Errors of a database that may be available later."""
WRITE_ERRORS = (peewee.OperationalError, peewee.InternalError)
"""Errors of a database that is locked, unavailable or read-only."""
PROGRAMMING_ERRORS = (peewee.DataError, peewee.IntegrityError, peewee.ProgrammingError)
"""Errors that a wrong statement causes although the database is available."""
READ_TIMEOUT_SECONDS = 2
"""The statement timeout of queries for quotes: a slow one occupies a thread that other requests need."""
POOL_SIZE = 10
"""The maximum number of connections to PostgreSQL that the threads of a process share."""
BATCH_SIZE = 500
_Row = TypeVar("_Row", bound=peewee.Model)


class DatabaseBusy(peewee.OperationalError):
    """A thread waited too long for another one that is using the database."""


class MigrationsMissing(peewee.OperationalError):
    """A server lacks migrations, which were not applied. The message says how to apply them."""


def connect(settings: Settings) -> peewee.Database:
    """Bind the models to the working database and return it; first create or migrate it if necessary.

    If the state is in DynamoDB, that is the bundled catalogue, read-only. On Lambda, PostgreSQL is not migrated, nor
    connected to yet. Raises `SettingsError` if a file cannot be created or
    opened, or is not a database of QuoteAPI; `peewee.OperationalError` if the server is unavailable, and
    `MigrationsMissing` if it cannot be migrated.
    """
    path = settings.database_path
    if settings.dynamodb_table is not None:
        _bind(BUNDLED_CATALOGUE.as_uri(), _bundled_catalogue())
        return bound.obj
    if path is None:
        pool_size = 1 if settings.on_lambda else POOL_SIZE  # a Lambda container handles one request at a time
        server = _server(settings, pool_size, partial(_check_migrations, settings))
        _bind(f"{settings.database_url} {pool_size}", server)
        if not settings.on_lambda:
            _migrate_server(settings)
        return bound.obj
    _check_former_path(settings)
    try:
        if not path.exists():
            _create_working_copy(path)
        if migrate.missing_migrations(_check_file(path)):
            migrate_database(settings)
    except (OSError, peewee.DatabaseError, sqlite3.Error) as error:
        raise _unusable(path, error) from error
    _bind(path.as_uri(), SqliteFile(path))
    return bound.obj


def require_database(settings: Settings) -> None:
    """Raise `SettingsError` if `DATABASE_URL` names a file that does not exist, or a server without our tables.

    Commands that only read call it before `connect`, which would create both. The default file may be created.
    """
    if settings.database_url is None or settings.dynamodb_table is not None:
        return
    _check_former_path(settings)
    path = settings.database_path
    if path is None:
        with open_database(settings) as engine:
            exists = bool(engine.applied_migrations())
    else:
        exists = path.exists()
    if not exists:
        found = f"There is no database {path}" if path else f"{describe_database(settings)} has no tables of QuoteAPI"
        raise SettingsError(f"{found}. Check DATABASE_URL. To create a new database, run `quoteapi db migrate`.")


def _check_former_path(settings: Settings) -> None:
    """Raise `SettingsError` if a relative path also names a file in the current folder, where version 0.1 looked."""
    path, former = settings.database_path, Path((settings.database_url or "").removeprefix("sqlite:///"))
    if path is not None and former.is_file() and not (path.exists() and path.samefile(former)):
        raise SettingsError(
            f"DATABASE_URL could mean {path} or {former.absolute()}: a relative path starts at the project's folder,"
            " but in version 0.1 it started at the current folder. Set it to sqlite:/// and an absolute path."
        )


def _bind(name: str, engine: peewee.Database) -> None:
    """Bind the models, unless they are already bound to this database: its connections may be in use."""
    if bound.name != name:
        bound.bind(name, engine)


def _server(settings: Settings, *args: Any) -> "PostgresqlServer":  # noqa: ANN401
    from quoteapi.storage.postgresql import PostgresqlServer  # noqa: PLC0415 the driver is large

    return PostgresqlServer(settings.database_url or "", *args)


def _check_migrations(settings: Settings, connection: "Connection") -> None:
    """Raise `MigrationsMissing` if a server lacks migrations. Called with each new connection.

    Except on Lambda, apply them first: the server may have been unavailable when the service started.
    """
    missing = migrate.missing_migrations(connection.applied_migrations())
    if missing and not settings.on_lambda:
        _migrate_server(settings)
        missing = migrate.missing_migrations(connection.applied_migrations())
    if missing:
        raise MigrationsMissing(describe_missing(missing))


def describe_missing(migrations: Iterable[str]) -> str:
    """Return a message that names missing migrations, and says how to apply them."""
    return (
        f"the database has missing migrations: {', '.join(migrations)}. Run `quoteapi db migrate` or, on Lambda,"
        " `zappa invoke STAGE quoteapi.aws.schedulers.migrate_database`"
    )


def _migrate_server(settings: Settings) -> None:
    """Apply missing migrations to a server. Raises `MigrationsMissing` if this user or server does not allow it."""
    try:
        migrate_database(settings)
    except (peewee.ProgrammingError, peewee.InternalError) as error:
        missing = missing_migrations(settings)
        reason = " ".join(str(error).split())
        raise MigrationsMissing(f"{describe_missing(missing)}, as a user who can create tables ({reason})") from error


def _check_file(path: Path) -> set[str]:
    """Return the names of the migrations applied to an SQLite file, without changing it.

    Raises `SettingsError` if it is the bundled catalogue, not a database of QuoteAPI, or cannot be read.
    """
    if BUNDLED_CATALOGUE.exists() and path.samefile(BUNDLED_CATALOGUE):
        raise SettingsError(f"{path} is the bundled catalogue, which is read-only. Set DATABASE_URL to another file.")
    try:
        applied = SqliteFile(path).applied_migrations()
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    if not applied:
        raise SettingsError(
            f"{path} is not a database of QuoteAPI. Set DATABASE_URL to another file, or move this one away, with its"
            " -wal and -shm files."
        )
    return applied


def _unusable(path: Path, error: Exception) -> SettingsError:
    reason = getattr(error, "strerror", None) or error
    return SettingsError(f"The database {path} cannot be used ({reason}). Set DATABASE_URL to a writable file.")


@contextmanager
def open_database(settings: Settings) -> Iterator["Engine"]:
    """Connect to a database without creating or migrating it or binding the models.

    Raises `SettingsError` for an SQLite file that is the bundled catalogue or not of QuoteAPI.
    """
    path = settings.database_path
    if path is not None:
        _check_file(path)
    engine = _server(settings) if path is None else SqliteFile(path, timeout=migrate.MIGRATION_TIMEOUT_SECONDS)
    with engine.connection_context():
        yield engine


def describe_database(settings: Settings) -> str:
    """Return the path of an SQLite file, or the URL of a server or table without user, password and parameters."""
    if settings.dynamodb_table is not None:
        return f"dynamodb://{settings.dynamodb_table.name}"
    if settings.database_path is not None:
        return str(settings.database_path)
    parts = urlsplit(settings.database_url or "")
    return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"


def list_migrations(settings: Settings) -> dict[str, str]:
    """Return the state of each migration, by name and in order; of a DynamoDB table, of each of its parts.

    The states are `applied`, `missing` and `newer` (applied by a later version of QuoteAPI).

    Raises `SettingsError`, and `PeeweeException` or `StateUnavailable` if the database is unavailable.
    """
    if settings.dynamodb_table is not None:
        from quoteapi.storage.dynamodb_table import list_parts  # noqa: PLC0415 only this and migrating need it

        return list_parts(_table(settings.dynamodb_table))
    with open_database(settings) as engine:
        applied, known = engine.applied_migrations(), set(migrate.known_migrations())
    states = {True: "applied", False: "missing"}
    return {name: states[name in applied] if name in known else "newer" for name in sorted(applied | known)}


def missing_migrations(settings: Settings) -> list[str]:
    """Return the names of the migrations that are not applied. Raises as `list_migrations`."""
    return [name for name, state in list_migrations(settings).items() if state == "missing"]


def migrate_database(settings: Settings, *, fill: bool = True) -> list[str]:
    """Apply missing migrations and return their names; with `fill`, add the bundled quotes if none exist.

    If another process is migrating, wait for it. A DynamoDB table is created, or what it lacks. Raises `SettingsError`
    if an SQLite file is not of QuoteAPI.
    """
    if settings.dynamodb_table is not None:
        from quoteapi.storage.dynamodb_table import set_up_table  # noqa: PLC0415

        return set_up_table(_table(settings.dynamodb_table))
    with open_database(settings) as engine, bound.override(engine):
        if not migrate.missing_migrations(engine.applied_migrations()) and not (fill and _is_empty()):
            return []
        with engine.statement_timeout(migrate.MIGRATION_TIMEOUT_SECONDS), engine.atomic():
            names = migrate.apply_migrations(engine)
            if fill:
                add_bundled_quotes()
            return names


def _table(table: "DynamoDbTable") -> "Table":
    from quoteapi.storage.dynamodb import Table  # noqa: PLC0415

    return Table(table.name, table.region)


def _is_empty() -> bool:
    return not models.Quote.select().exists()


def add_bundled_quotes() -> None:
    """Fill the catalogue if it is empty."""
    if not _is_empty():
        return
    for model in models.CATALOGUE_MODELS:
        with use_bundled_catalogue():
            rows = list(model.select().dicts())
        for batch in peewee.chunked(rows, BATCH_SIZE):
            model.insert_many(batch).execute()


@contextmanager
def use_bundled_catalogue() -> Iterator[None]:
    """Make this thread read the bundled catalogue instead of the working database within a block."""
    catalogue = _bundled_catalogue()
    with bound.override(catalogue), closing(catalogue):
        yield


def _bundled_catalogue() -> SqliteFile:
    return SqliteFile(BUNDLED_CATALOGUE, "mode=ro&immutable=1", pragmas={})


def _create_working_copy(path: Path) -> None:
    """Copy the bundled catalogue to `path`. Raises `SettingsError`, `OSError`, `sqlite3.Error`."""
    if not BUNDLED_CATALOGUE.exists():
        raise SettingsError(f"The catalogue {BUNDLED_CATALOGUE} is missing. Build it with `make catalogue`.")
    for file in (path.with_name(path.name + ending) for ending in ("-wal", "-shm", "-journal")):
        if file.exists() and not path.exists():
            raise SettingsError(
                f"{file} is of a database that no longer exists, and would damage a new one. Move it away."
            )
    with create_atomically(path) as copy:
        shutil.copyfile(BUNDLED_CATALOGUE, copy)
        with closing(sqlite3.connect(copy)) as connection:
            connection.execute("PRAGMA journal_mode = wal")


@contextmanager
def create_database_file(path: Path) -> Iterator[SqliteFile]:
    """Create an SQLite file with empty tables; the block, with models bound, fills it in a transaction."""
    engine: Any = SqliteFile(path, "mode=rwc", pragmas={"journal_mode": "delete"})
    with closing(engine):
        with bound.override(engine), engine.atomic():
            migrate.apply_migrations(engine)
            # The same rows make the same bytes, whenever the file is created.
            engine.execute_sql(f"UPDATE {migrate.HISTORY_TABLE} SET applied = '1970-01-01'")  # noqa: S608
            yield engine
        engine.execute_sql("VACUUM")


def iterate_in_batches(rows: "peewee.ModelSelect[_Row]") -> Iterator[_Row]:
    """Yield rows by primary key, with keyset pagination, as the driver would fetch all rows at once."""
    meta: Any = rows.model._meta
    key, after = meta.get_primary_keys(), rows
    while batch := list(after.order_by(*key).limit(BATCH_SIZE)):
        yield from batch
        if len(batch) < BATCH_SIZE:
            return
        last: Any = getattr(batch[-1], "__data__", batch[-1])  # a row is a model or a dictionary
        after = rows.where(peewee.Tuple(*key) > peewee.Tuple(*(field.to_value(last[field.name]) for field in key)))
