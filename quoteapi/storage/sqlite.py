"""The SQLite engine: a database file, with the same interface as `PostgresqlServer`."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from peewee import Model, OperationalError, SqliteDatabase

from quoteapi.storage.migrate import HISTORY_TABLE
from quoteapi.storage.statement_timeout import current_timeout, statement_timeout

if TYPE_CHECKING:
    from playhouse.migrations import Runner

BUSY_TIMEOUT_SECONDS = 5
"""How long a writer waits for another writer."""
INSTRUCTIONS_PER_CHECK = 1_000
"""After how many instructions of SQLite's virtual machine the time is checked; in a search, they take about 10 ms."""
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

    @contextmanager
    def statement_timeout(self, seconds: float) -> Iterator[None]:
        """Set the timeout of this thread's statements within a block; an inner block can only shorten it.

        A statement that takes longer raises `peewee.OperationalError`. Rows are to be read within the block.
        """
        try:
            with statement_timeout(seconds):
                yield
        except (sqlite3.OperationalError, OperationalError) as error:  # peewee does not wrap it where rows are read
            if str(error) == "interrupted":
                raise OperationalError(f"a statement took longer than {seconds} seconds") from error
            raise
        finally:
            if not self.is_closed():
                self._connection().set_progress_handler(None, 0)

    def execute_sql(self, sql: str, params: object = None) -> Any:  # noqa: ANN401
        """Execute a statement, and interrupt it when it exceeds the timeout of this thread."""
        seconds = current_timeout()
        if seconds is not None:
            deadline = time.monotonic() + seconds
            self._connection().set_progress_handler(lambda: time.monotonic() > deadline, INSTRUCTIONS_PER_CHECK)
        return super().execute_sql(sql, params)  # type: ignore[no-untyped-call]

    def _connection(self) -> sqlite3.Connection:
        """Return the connection of this thread, opened if necessary."""
        return cast("sqlite3.Connection", self.connection())  # type: ignore[no-untyped-call]

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
