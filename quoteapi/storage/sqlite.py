"""The SQLite engine: a database file, with the same interface as `PostgresqlServer`."""

import sqlite3
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peewee import Model, SqliteDatabase

from quoteapi.storage.migrate import HISTORY_TABLE

if TYPE_CHECKING:
    from playhouse.migrations import Runner

BUSY_TIMEOUT_SECONDS = 5
"""How long a writer waits for another writer."""
WORKING_PRAGMAS = {"journal_mode": "wal", "synchronous": "normal", "foreign_keys": 1, "secure_delete": 1}
EARLY_MIGRATIONS = {1: ("0001_quotes",), 2: ("0001_quotes", "0002_daily_sms")}
"""The migrations of files of early releases, which had no `HISTORY_TABLE`, by `PRAGMA user_version`."""


class SqliteFile(SqliteDatabase):
    """An SQLite file. Each thread opens its own connection when it first needs one."""

    def __init__(self, path: Path, mode: str = "mode=rw", **options: Any) -> None:  # noqa: ANN401
        """Set the path and the URI parameters (https://sqlite.org/uri.html); `mode=rw` creates no file."""
        self.path = path.absolute()
        # "immediate": a transaction that reads and then writes waits for other writers instead of failing.
        defaults = {"timeout": BUSY_TIMEOUT_SECONDS, "lock_type": "immediate", "pragmas": WORKING_PRAGMAS}
        super().__init__(f"{self.path.as_uri()}?{mode}", uri=True, **{**defaults, **options})

    def applied_migrations(self) -> set[str]:
        """Return the names of the applied migrations; none if the file is not of QuoteAPI. Changes nothing."""
        uri = f"{self.path.as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_SECONDS)) as connection:
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (HISTORY_TABLE,)).fetchone():
                return {name for (name,) in connection.execute(f"SELECT name FROM {HISTORY_TABLE}")}  # noqa: S608
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        return set(EARLY_MIGRATIONS.get(version, ()))

    def prepare_migrations(self, runner: "Runner") -> None:
        """Record the migrations already applied to a file of an early release, which kept no record of them."""
        if early := EARLY_MIGRATIONS.get(self.user_version):
            runner.fake(early[-1])

    def statement_timeout(self, seconds: float) -> AbstractContextManager[None]:
        """Do nothing: a read in WAL mode never waits for a lock."""
        return nullcontext()

    def table_lock(self, *models: type[Model]) -> AbstractContextManager[object]:
        """Run a block as a transaction. `models` is ignored: SQLite locks the whole file."""
        return self.atomic()

    def is_same_database(self, other: object) -> bool:
        """Return whether `other` is the same file."""
        return isinstance(other, SqliteFile) and self.path.samefile(other.path)

    def finish_bulk_insert(self, *models: type[Model]) -> None:
        """Do nothing: the next id is one more than the highest, and the queries need no statistics."""

    def secure_delete(self) -> bool:
        """Erase deleted rows from the file and its write-ahead log. Return False if a reader prevents it.

        The pragma `secure_delete` overwrites deleted rows, but not the copies made when rows moved to other pages.
        """
        execute: Any = self.execute_sql
        execute("VACUUM")
        (is_busy, *_) = execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not is_busy
