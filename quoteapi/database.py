"""The database: made from the shipped catalogue on first use, and bound to the models."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from peewee import SqliteDatabase

from quoteapi import models
from quoteapi.config import SHIPPED_DATABASE, Settings, WrongSetting
from quoteapi.files import made_once

SCHEMA = 2
"""The number of the tables' shape, kept in SQLite's `user_version`."""

WITHOUT_SUBSCRIBERS = 1
"""The schema before this one, which lacks tables and nothing else."""

BUSY_SECONDS = 5
"""How long a writer waits for another one."""


def connect(settings: Settings) -> SqliteDatabase:
    """Bind the models to the working database, which is made first where there is none.

    Raises `WrongSetting` where it cannot be made, opened, or is something else.
    """
    path = settings.database_path
    try:
        if not path.exists():
            _make_working_copy(path)
        elif SHIPPED_DATABASE.exists() and path.samefile(SHIPPED_DATABASE):
            raise WrongSetting(
                f"{path} is the shipped catalogue, which is never written to. Set DATABASE_URL to another file."
            )
        found = _schema_of(path)
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", error)
        raise WrongSetting(
            f"The database {path} cannot be used ({reason}). Set DATABASE_URL to a file that can be written."
        ) from error
    if found == WITHOUT_SUBSCRIBERS:
        found = _add_tables(path)
    if found != SCHEMA:
        raise WrongSetting(
            f"{path} is not a database of this version of QuoteAPI (it has schema {found}, not {SCHEMA})."
            " Set DATABASE_URL to another file, or move this one (with its -wal and -shm) away and start again."
        )
    return bind(path)


def bind(path: Path) -> SqliteDatabase:
    """Bind the models to an SQLite file. Connections are opened when they are needed, one a thread."""
    address = f"{path.as_uri()}?mode=rw"  # a file that somebody deleted is missed, not made anew without tables
    if isinstance(bound := models.database.obj, SqliteDatabase) and bound.database == address:
        return bound
    database = SqliteDatabase(
        address,
        uri=True,
        timeout=BUSY_SECONDS,
        lock_type="immediate",  # so that a writer waits for its turn, and does not fail where it read before
        pragmas={"journal_mode": "wal", "synchronous": "normal", "foreign_keys": 1, "secure_delete": 1},
    )
    models.database.initialize(database)
    return database


def scrub() -> bool:
    """Make sure that what was deleted cannot be read from the database's files. Answer whether that is so."""
    # Deleted rows are overwritten (`secure_delete`), but copies that SQLite made when it moved rows to other pages are
    # not, and old pages live on in the write-ahead log until it is emptied.
    models.database.execute_sql("VACUUM")
    busy: int = models.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return not busy


@contextmanager
def made(path: Path) -> Iterator[None]:
    """Make a database file with empty tables, and bind the models to it while it is being filled."""
    database = SqliteDatabase(str(path), pragmas={"journal_mode": "delete"})
    with database.bind_ctx(models.MODELS), database.atomic():
        database.create_tables(models.MODELS)
        database.user_version = SCHEMA
        yield
    database.execute_sql("VACUUM")  # type: ignore[no-untyped-call]
    database.close()


def _make_working_copy(path: Path) -> None:
    """Copy the shipped catalogue to `path`."""
    if not SHIPPED_DATABASE.exists():
        raise WrongSetting(f"The catalogue {SHIPPED_DATABASE} is missing. Build it with `make catalogue`.")
    for left in (path.with_name(path.name + ending) for ending in ("-wal", "-shm", "-journal")):
        if left.exists() and not path.exists():
            raise WrongSetting(f"{left} was left by a database that is gone, and would spoil a new one. Move it away.")
    with made_once(path) as copy:
        shutil.copyfile(SHIPPED_DATABASE, copy)
        with closing(sqlite3.connect(copy)) as connection:
            connection.execute("PRAGMA journal_mode = wal")


def _add_tables(path: Path) -> int:
    """Add the tables that came with this schema; where two do so at once, the second finds them there."""
    database = SqliteDatabase(str(path), timeout=BUSY_SECONDS, lock_type="immediate")
    with database.bind_ctx(models.MODELS), database.connection_context(), database.atomic():
        database.create_tables(models.MODELS)
        database.user_version = SCHEMA
    return SCHEMA


def _schema_of(path: Path) -> int:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)) as connection:
        number: int = connection.execute("PRAGMA user_version").fetchone()[0]
        return number
