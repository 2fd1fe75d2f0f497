"""Quotes: the one of a date, a random one, what may be stored, and how it is kept."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

from peewee import (
    AutoField,
    Database,
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    Model,
    OperationalError,
    ProgrammingError,
    SqliteDatabase,
)

from quoteapi.settings import BUNDLED_CATALOGUE, Settings, SettingsError
from quoteapi.storage import models
from quoteapi.storage.atomic_file import create_atomically

if TYPE_CHECKING:
    from peewee import ModelSelect

    from quoteapi.storage.postgresql import Connection

DATABASE_ERRORS = (DatabaseError, InterfaceError)
"""All errors that a database raises."""
WRITE_ERRORS = (OperationalError, InternalError)
"""Errors of a database that is locked, unavailable or read-only."""
PROGRAMMING_ERRORS = (DataError, IntegrityError, ProgrammingError)
"""Errors of a database that is there: the fault is in what it was told."""
MIGRATIONS = Path(__file__).with_name("migrations")
HISTORY: LiteralString = "schema_migration"
"""The table in which playhouse notes the migrations that were applied."""
COPYING: LiteralString = "copiedsofar"
"""The table that is there while a copy into the database is under way."""
_APPLIED: LiteralString = f"SELECT name FROM {HISTORY}"  # noqa: S608
_LOOK: LiteralString = f"{_APPLIED} UNION ALL SELECT tablename FROM pg_tables WHERE tablename = '{COPYING}'"  # noqa: S608
_APPLIED_LONG_AGO: LiteralString = f"UPDATE {HISTORY} SET applied = '1970-01-01'"  # noqa: S608
"""For a new file, so that the same quotes make the same bytes."""
BEFORE_MIGRATIONS = {1: "0001_quotes", 2: "0002_daily_sms"}
"""How far a file was that has a number in SQLite's `user_version` instead of that table."""
BUSY_SECONDS = 5
"""How long a writer waits for another one."""
HURRIED_SECONDS = 2
"""How long a statement may take whose answer others wait for."""
MIGRATING_SECONDS = 600
"""How long whoever wants to migrate waits for another one who does."""
POOL = 10
"""How many connections to a server a process keeps: one for each of its threads that may want one."""
ONE = 1
"""How many a container of Lambda keeps: it answers one request at a time."""
KEEP_NONE = 0
LOCK_NUMBER = 5_960_119
"""Names our advisory lock among those of a PostgreSQL database."""


class DatabaseBusy(OperationalError):
    """Another thread or process has used the database for too long."""


def connect(settings: Settings) -> Database:
    """Bind the models to the working database, which is made or migrated first, except on Lambda.

    Raises `SettingsError` where it cannot be made, opened, or is something else; `peewee.OperationalError` where the
    server cannot be reached.
    """
    path = settings.database_path
    if path is None:
        opened = _bind_server(settings)
        if not settings.on_lambda:
            migrate_database(settings)
        return opened
    try:
        if not path.exists():
            _make_working_copy(path)
        applied = _applied_to_file(path)
        if _missing_in(applied) or COPYING in applied:
            migrate_database(settings)
    except (OSError, sqlite3.Error, DatabaseError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"The database {path} cannot be used ({reason}). Set DATABASE_URL to a file that can be written."
        ) from error
    return _bind(str(path.as_uri()), lambda: _file(f"{path.as_uri()}?mode=rw"))


def describe_database(settings: Settings) -> str:
    """Answer what database the settings name, in words without secrets."""
    if settings.database_path is not None:
        return str(settings.database_path)
    parts = urlsplit(cast("str", settings.database_url))
    return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _bind(name: str, make: Callable[[], Database]) -> Database:
    """Bind the models, unless they are bound to just that: its connections may be in use."""
    if models.database.name != name:
        models.database.bind(name, make())
    return models.database.obj


def _file(address: str) -> SqliteDatabase:
    """Answer an SQLite file. Connections are opened when they are needed, one a thread."""
    return SqliteDatabase(
        address,  # with mode=rw, so that a file that somebody deleted is missed, not made anew without tables
        uri=True,
        timeout=BUSY_SECONDS,
        lock_type="immediate",  # so that a writer waits for its turn, and does not fail where it read before
        pragmas={"journal_mode": "wal", "synchronous": "normal", "foreign_keys": 1, "secure_delete": 1},
    )


def _bind_server(settings: Settings) -> Database:
    from quoteapi.storage.postgresql import PostgresqlServer  # noqa: PLC0415 the driver is large

    url, connections = cast("str", settings.database_url), ONE if settings.on_lambda else POOL
    return _bind(f"{url} {connections}", lambda: PostgresqlServer(url, connections, partial(_look_at_schema, settings)))


def _look_at_schema(settings: Settings, connection: "Connection") -> None:
    """Refuse a server that lacks migrations, in one round trip a connection. Raises `OperationalError`.

    Elsewhere than on Lambda they are applied: the server may have been away when the service started.
    """
    applied = _applied_behind(connection)
    if _missing_in(applied) and not settings.on_lambda:
        migrate_database(settings)
        applied = _applied_behind(connection)
    if missing := _missing_in(applied):
        raise OperationalError(_what_is_missing(missing))
    if COPYING in applied:
        raise OperationalError("the database is the half of a copy that was broken off; say `quoteapi db copy` again")


def _applied_behind(connection: "Connection") -> set[str]:
    from psycopg.errors import UndefinedTable  # noqa: PLC0415

    try:
        return {name for (name,) in connection.execute(_LOOK)}
    except UndefinedTable:
        return set()


@contextmanager
def use_bundled_catalogue() -> Iterator[None]:
    """Have this thread read the shipped catalogue instead of the working database."""
    catalogue = SqliteDatabase(f"{BUNDLED_CATALOGUE.as_uri()}?mode=ro&immutable=1", uri=True)
    with models.database.override(catalogue):
        try:
            yield
        finally:
            catalogue.close()  # which was opened only if it was asked


class Migration(NamedTuple):
    """A migration, and how it stands."""

    name: str
    state: str
    """`applied`, `missing`, or `newer`: applied by a version of QuoteAPI that comes after this one."""


def list_migrations(settings: Settings) -> list[Migration]:
    """Answer all migrations, in order. Raises `PeeweeException` where the database cannot be reached."""
    with _opened(settings) as opened:
        applied = _applied_to(opened)
    return [
        Migration(name, "newer" if name not in _known() else "applied" if name in applied else "missing")
        for name in sorted(applied | set(_known()))
    ]


def migrate_database(settings: Settings, *, fill: bool = True) -> list[str]:
    """Apply the migrations that are missing and, where there are no quotes, add the shipped ones. Answer the names.

    Where two do so at once, one waits for the other. Raises `SettingsError` where the database is something else.
    """
    with _opened(settings) as opened:
        _refuse_half_a_copy(opened, settings)
        return _make_ready(opened, fill=fill)


def _make_ready(opened: Database, *, fill: bool) -> list[str]:
    if not _missing_in(_applied_to(opened)) and not (fill and _is_empty(opened)):
        return []
    _take_time(opened)
    with opened.atomic(), models.database.override(opened):
        _wait_for_other_migrations(opened)
        names = _migrate(opened)
        if fill and _is_empty(opened):
            _fill()
        return names


def _migrate(opened: Database) -> list[str]:
    from playhouse.migrations import Runner  # noqa: PLC0415 only who migrates needs it

    runner = Runner(opened, str(MIGRATIONS), HISTORY)
    if before := _number_before_migrations(opened):
        runner.fake(BEFORE_MIGRATIONS[before])
    return cast("list[str]", runner.up())


@cache
def _known() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in MIGRATIONS.glob("[0-9]*.py")))


def _missing_in(applied: set[str]) -> list[str]:
    return [name for name in _known() if name not in applied]


def _what_is_missing(names: list[str]) -> str:
    return (
        f"the database lacks the migration {', '.join(names)}. Run `quoteapi db migrate` or, on Lambda,"
        " `zappa invoke STAGE quoteapi.aws.schedulers.migrate_database`"
    )


def _applied_to(opened: Database) -> set[str]:
    if not opened.table_exists(HISTORY):
        return set(_known()[: _number_before_migrations(opened)])
    return {name for (name,) in _asked(opened, _APPLIED)}


def _number_before_migrations(opened: Database) -> int:
    if not _is_file(opened) or opened.table_exists(HISTORY):
        return 0
    return int(_asked(opened, "PRAGMA user_version")[0][0])


def _applied_to_file(path: Path) -> set[str]:
    """Answer which migrations a file has. Raises `SettingsError` where it is not a working database of ours."""
    if BUNDLED_CATALOGUE.exists() and path.samefile(BUNDLED_CATALOGUE):
        raise SettingsError(f"{path} is the shipped catalogue, which is never written to. Name another file.")
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)) as connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (HISTORY,)).fetchone():
            copying = connection.execute("SELECT name FROM sqlite_master WHERE name = ?", (COPYING,)).fetchall()
            return {name for (name,) in (*connection.execute(_APPLIED), *copying)}
        number: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if number not in BEFORE_MIGRATIONS:
        raise SettingsError(
            f"{path} is not a database of QuoteAPI. Set DATABASE_URL to another file, or move this one (with its -wal"
            " and -shm) away and start again."
        )
    return set(_known()[:number])


@contextmanager
def open_copy_source(settings: Settings) -> Iterator[Database]:
    """Open a database that is all there. Raises `SettingsError`."""
    with _opened(settings) as opened:
        _refuse_half_a_copy(opened, settings)
        if missing := _missing_in(_applied_to(opened)):
            raise SettingsError(
                f"{describe_database(settings)} lacks {', '.join(missing)}. Is it the right one? Then run `quoteapi db migrate`"
                " on it."
            )
        _take_time(opened)
        yield opened


@contextmanager
def open_copy_target(settings: Settings) -> Iterator[Database]:
    """Open a database, made and migrated where it is not."""
    path = settings.database_path
    if path is not None and not path.exists():
        try:
            with create_atomically(path) as new, create_database_file(new):
                pass
        except OSError as error:
            raise SettingsError(f"The database {path} cannot be made ({error.strerror}).") from error
    with _opened(settings) as opened:
        _make_ready(opened, fill=False)
        _take_time(opened)
        yield opened


@contextmanager
def _opened(settings: Settings) -> Iterator[Database]:
    """Open a database as it is, whatever it lacks. Raises `SettingsError` where it is something else."""
    path = settings.database_path
    if path is not None:
        _applied_to_file(path)  # which refuses what is not ours
        opened: Database = _file(f"{path.as_uri()}?mode=rw")
    else:
        from quoteapi.storage.postgresql import PostgresqlServer  # noqa: PLC0415

        opened = PostgresqlServer(cast("str", settings.database_url), KEEP_NONE, lambda _: None)
    with opened.connection_context():
        yield opened


def _take_time(opened: Database) -> None:
    """Have a connection wait for what takes long."""
    if _is_file(opened):
        _asked(opened, f"PRAGMA busy_timeout = {MIGRATING_SECONDS * 1_000}")
    else:
        cast("Any", opened).connection().patience = MIGRATING_SECONDS


def _refuse_half_a_copy(opened: Database, settings: Settings) -> None:
    if opened.table_exists(COPYING):
        raise SettingsError(
            f"{describe_database(settings)} is the half of a copy that was broken off. Say `quoteapi db copy` again, as before."
        )


def _wait_for_other_migrations(opened: Database) -> None:
    if not _is_file(opened):  # a file is ours alone from the beginning of the transaction on
        _asked(opened, "SELECT pg_advisory_xact_lock(%s)", LOCK_NUMBER)


def _is_empty(opened: Database) -> bool:
    return opened.table_exists("quote") and not _asked(opened, "SELECT id FROM quote LIMIT 1")


def _asked(opened: Database, sql: str, *values: object) -> list[tuple[Any, ...]]:
    return cast("Any", opened).execute_sql(sql, values).fetchall()  # type: ignore[no-any-return]


def _fill() -> None:
    """Copy what the shipped catalogue has, to the models as they are bound."""
    for model in (models.Quote, models.Author, models.Category):
        with use_bundled_catalogue():
            rows = list(model.select().dicts())
        for start in range(0, len(rows), BATCH):
            model.insert_many(rows[start : start + BATCH]).execute()


def _is_file(opened: Database) -> bool:
    return isinstance(opened, SqliteDatabase)


def is_sqlite() -> bool:
    """Whether the models are bound to an SQLite file."""
    return _is_file(models.database.obj)


_Row = TypeVar("_Row", bound=Model)
BATCH = 500


def iterate_in_batches(rows: "ModelSelect[_Row]", key: Any) -> Iterator[_Row]:  # noqa: ANN401 peewee's fields have no type
    """Answer rows in the order of a column that is another in each, a batch at a time: a driver would take them all."""
    batch: list[_Row] = []
    while True:
        after = rows.where(key > getattr(batch[-1], key.name)) if batch else rows
        batch = list(after.order_by(key).limit(BATCH))
        yield from batch
        if len(batch) < BATCH:
            return


@contextmanager
def statement_timeout(seconds: float = HURRIED_SECONDS) -> Iterator[None]:
    """Give this thread less time for its statements, where others wait for it."""
    if is_sqlite():
        yield
        return
    from quoteapi.storage.postgresql import HURRY  # noqa: PLC0415 it is loaded by now

    token = HURRY.set(seconds)
    try:
        yield
    finally:
        HURRY.reset(token)


def analyze() -> None:
    """Have a server count what it was filled with, by which it finds the best way to an answer."""
    if not is_sqlite():
        models.database.execute_sql("ANALYZE")


def terminate_other_sessions() -> None:
    """End what other sessions do in the database: those that come back see how it is now."""
    if not is_sqlite():
        others = "datname = current_database() AND pid <> pg_backend_pid() AND usename = current_user"
        models.database.execute_sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")  # noqa: S608


@contextmanager
def table_lock(model: type[Model]) -> Iterator[None]:
    """Be the only one who writes to a table until the block ends, as a transaction."""
    with models.database.atomic():
        if not is_sqlite():  # SQLite has one writer at a time anyway
            models.database.execute_sql(f'LOCK TABLE "{model._meta.table_name}" IN SHARE ROW EXCLUSIVE MODE')
        yield


def reset_sequence(model: type[Model]) -> None:
    """Have a table whose rows came with their ids number the next ones from there on."""
    if isinstance(model._meta.primary_key, AutoField) and not is_sqlite():
        table = model._meta.table_name
        highest = f'SELECT coalesce(max(id), 0) + 1 FROM "{table}"'  # noqa: S608
        models.database.execute_sql(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), ({highest}), false)")


def secure_delete() -> bool:
    """Make sure that what was deleted cannot be read from the database's files. Answer whether that is so."""
    # Deleted rows are overwritten (`secure_delete`), but copies that SQLite made when it moved rows to other pages are
    # not, and old pages live on in the write-ahead log until it is emptied.
    if not is_sqlite():
        return True  # what is in the files of a server is its keeper's business
    models.database.execute_sql("VACUUM")
    busy: int = models.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return not busy


@contextmanager
def create_database_file(path: Path) -> Iterator[None]:
    """Make a database file with empty tables, and bind the models to it while it is being filled."""
    database: Any = SqliteDatabase(str(path), pragmas={"journal_mode": "delete"})
    with closing(database):
        with models.database.override(database), database.atomic():
            _migrate(database)
            database.execute_sql(_APPLIED_LONG_AGO)
            yield
        database.execute_sql("VACUUM")


def _make_working_copy(path: Path) -> None:
    """Copy the shipped catalogue to `path`."""
    if not BUNDLED_CATALOGUE.exists():
        raise SettingsError(f"The catalogue {BUNDLED_CATALOGUE} is missing. Build it with `make catalogue`.")
    for left in (path.with_name(path.name + ending) for ending in ("-wal", "-shm", "-journal")):
        if left.exists() and not path.exists():
            raise SettingsError(f"{left} was left by a database that is gone, and would spoil a new one. Move it away.")
    with create_atomically(path) as copy:
        shutil.copyfile(BUNDLED_CATALOGUE, copy)
        with closing(sqlite3.connect(copy)) as connection:
            connection.execute("PRAGMA journal_mode = wal")
