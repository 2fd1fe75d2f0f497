"""SQLite: a database file. `PostgresqlServer` in `postgresql.py` has the same methods, for what differs."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from peewee import Model, SqliteDatabase

BUSY_TIMEOUT_SECONDS = 5
"""How long a writer waits for another writer."""
WORKING_PRAGMAS: Mapping[str, object] = {
    "journal_mode": "wal",
    "synchronous": "normal",
    "foreign_keys": 1,
    "secure_delete": 1,
}
EARLY_MIGRATIONS = {1: ("0001_quotes",), 2: ("0001_quotes", "0002_daily_sms")}
"""What `PRAGMA user_version` says in files of early releases, which had no table of migrations."""


class SqliteFile(SqliteDatabase):
    """An SQLite file. Each thread opens its own connection when it first needs one."""

    def __init__(self, path: Path, mode: str = "mode=rw", pragmas: Mapping[str, object] = WORKING_PRAGMAS) -> None:
        """Name a file and a mode (https://sqlite.org/uri.html); with `rw`, a missing file is an error."""
        super().__init__(
            f"{path.absolute().as_uri()}?{mode}",
            uri=True,
            timeout=BUSY_TIMEOUT_SECONDS,
            lock_type="immediate",  # a deferred transaction that reads and then writes can fail instead of waiting
            pragmas=pragmas,
        )
        self.path = path

    def early_migrations(self) -> tuple[str, ...]:
        """Return the migrations that `PRAGMA user_version` says are applied, in order."""
        return EARLY_MIGRATIONS.get(self.user_version, ())

    def lock_migrations(self) -> None:
        """Do nothing: a transaction is the only writer from its beginning."""

    def set_timeout(self, seconds: float) -> None:
        """Set how long this thread's connection waits for other writers."""
        self.timeout = seconds

    def statement_timeout(self, seconds: float) -> AbstractContextManager[None]:
        """Do nothing: a read waits for nothing."""
        return nullcontext()

    @contextmanager
    def table_lock(self, *models: type[Model]) -> Iterator[None]:
        """Run a block as a transaction, which is the only writer of the file."""
        with self.atomic():
            yield

    def is_same_database(self, other: object) -> bool:
        """Return whether the other one is the same file."""
        return isinstance(other, SqliteFile) and self.path.samefile(other.path)

    def reset_sequence(self, model: type[Model]) -> None:
        """Do nothing: the next id is one more than the highest."""

    def analyze(self) -> None:
        """Do nothing: the queries need no statistics."""

    def secure_delete(self) -> bool:
        """Remove what deleted rows left in the file and its write-ahead log. Return False if a reader prevents it.

        The pragma `secure_delete` overwrites deleted rows, but not the copies made when rows moved to other pages.
        """
        execute: Any = self.execute_sql
        execute("VACUUM")
        (is_busy, *_) = execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not is_busy
