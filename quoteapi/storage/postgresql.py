"""PostgreSQL: the connection pool, its timeouts, and the operations that differ from SQLite.

Imported only if the database is on a server: the driver is large.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, cast
from weakref import WeakSet

import psycopg
from peewee import AutoField, Model, OperationalError, Psycopg3Adapter
from playhouse.pool import MaxConnectionsExceeded, PooledPostgresqlDatabase
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import UndefinedTable
from psycopg.pq import TransactionStatus

from quoteapi.storage.migrate import HISTORY_TABLE
from quoteapi.storage.statement_timeout import current_timeout, statement_timeout

CONNECT_TIMEOUT_SECONDS = 3
STATEMENT_TIMEOUT_SECONDS = 10
CANCEL_TIMEOUT_SECONDS = 1
PING_TIMEOUT_SECONDS = 1
"""For checking that an idle connection is alive."""
RETRY_DELAY_SECONDS = 1
"""How long no connection is tried after one failed: each blocks all threads that wait for the pool."""
POOL_TIMEOUT_SECONDS = 3
"""How long a thread waits for a connection of the pool."""
MAX_CONNECTION_AGE_SECONDS = 600
"""An older connection is not used again: its host name may resolve to another server by now."""
MIGRATION_LOCK_ID = 5_960_119
"""The key of the advisory lock that a process holds while it applies migrations."""
_CONNECTION_DEFAULTS = {
    "connect_timeout": str(CONNECT_TIMEOUT_SECONDS),
    "tcp_user_timeout": str(STATEMENT_TIMEOUT_SECONDS * 1_000),
    "client_encoding": "UTF8",
    "fallback_application_name": "quoteapi",
}
"""libpq parameters that the URL may override."""


class Connection(psycopg.Connection[Any]):
    """A connection that is closed when a statement exceeds its timeout.

    The client measures the time. To set `statement_timeout` on the server would change the state of the session, which
    connection poolers (RDS Proxy, PgBouncer) share among clients.
    """

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:  # noqa: ANN401
        """Wait for the server. After the timeout, cancel the statement and raise `psycopg.OperationalError`."""
        seconds = current_timeout() or STATEMENT_TIMEOUT_SECONDS
        try:
            return super().wait(gen, interval, seconds if timeout is None else timeout)
        except psycopg.OperationalError as error:
            if self.closed or self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=CANCEL_TIMEOUT_SECONDS)
            self.close()
            raise psycopg.OperationalError(f"the database did not respond within {seconds} seconds") from error

    def applied_migrations(self) -> set[str]:
        """Return the names of the applied migrations, in one round trip. Must not be called in a transaction."""
        try:
            return {name for (name,) in self.execute(f"SELECT name FROM {HISTORY_TABLE}")}  # noqa: S608
        except UndefinedTable:
            return set()


class _Adapter(Psycopg3Adapter):
    """peewee's adapter for psycopg, which peewee has not loaded as `quoteapi/__init__.py` hides it."""

    txn_idle, txn_inerror, txn_unknown = TransactionStatus.IDLE, TransactionStatus.INERROR, TransactionStatus.UNKNOWN

    def check_driver(self) -> None:
        """Override peewee's check that it has imported psycopg: this module imports the driver itself."""

    def connect(self, db: "PostgresqlServer", **params: Any) -> Connection:  # noqa: ANN401
        """Open and check a connection without prepared statements: they change the session, as timeouts do."""
        parameters: dict[str, Any] = {**_CONNECTION_DEFAULTS, **conninfo_to_dict(db.database)}
        connection = Connection.connect(**parameters, autocommit=True, prepare_threshold=None)
        try:
            db.check_connection(connection)
        except BaseException:
            connection.close()
            raise
        return connection


class PostgresqlServer(PooledPostgresqlDatabase):  # type: ignore[misc] # playhouse has no types
    """A PostgreSQL database with a connection pool, which pings an idle connection before it is reused."""

    psycopg2_adapter = psycopg3_adapter = _Adapter

    def __init__(self, url: str, pool_size: int = 0, check: Callable[[Connection], None] = lambda _: None) -> None:
        """Share up to `pool_size` connections among threads (0: no pool). `check` is called with each new one."""
        super().__init__(
            url, max_connections=pool_size, timeout=POOL_TIMEOUT_SECONDS, stale_timeout=MAX_CONNECTION_AGE_SECONDS
        )
        self.check_connection = check
        self._retry_at = 0.0
        _servers.add(self)

    def _connect(self) -> Connection:
        if time.monotonic() < self._retry_at:
            raise OperationalError("the database was unavailable a moment ago")
        try:
            return cast("Connection", super()._connect())
        except psycopg.OperationalError:
            self._retry_at = time.monotonic() + RETRY_DELAY_SECONDS
            raise

    def _is_closed(self, conn: Connection) -> bool:
        """Return whether an idle connection is dead, by a ping. If so, close all idle ones: pings take long."""
        with self.statement_timeout(PING_TIMEOUT_SECONDS):
            is_closed = bool(super()._is_closed(conn))
        if is_closed:
            self.close_idle()
        return is_closed

    def _can_reuse(self, conn: Connection) -> bool:
        return self._max_connections > 0 and bool(super()._can_reuse(conn))

    def connect(self, reuse_if_open: bool = False) -> bool:  # noqa: FBT002 its signature
        """Take a connection for this thread from the pool. Raises `peewee.OperationalError`."""
        try:
            return bool(super().connect(reuse_if_open))
        except MaxConnectionsExceeded as error:
            raise OperationalError(
                f"all {self._max_connections} connections were in use for {POOL_TIMEOUT_SECONDS} seconds"
            ) from error

    def forget_connections(self) -> None:
        """Drop all connections without closing them: after a fork, they are the parent process's."""
        # A thread of the parent may have held these locks; in the child it does not exist and cannot release them.
        self._lock, self._pool_lock = threading.RLock(), threading.RLock()
        self._pool_available = threading.Condition(self._pool_lock)
        self.dispose()

    def applied_migrations(self) -> set[str]:
        """Return the names of the applied migrations. Must not be called in a transaction."""
        return cast("Connection", self.connection()).applied_migrations()

    def prepare_migrations(self, runner: object) -> None:
        """Acquire the migration lock until the transaction ends; wait while another process holds it."""
        self.execute_sql("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK_ID,))

    def statement_timeout(self, seconds: float) -> AbstractContextManager[None]:
        """Set the timeout of this thread's statements within a block; an inner block can only shorten it."""
        return statement_timeout(seconds)

    @contextmanager
    def table_lock(self, *models: type[Model]) -> Iterator[None]:
        """Run a block as a transaction that is the only writer to some tables; others can read them."""
        with self.atomic():
            tables = ", ".join(f'"{model._meta.table_name}"' for model in models)
            self.execute_sql(f"LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE")
            yield

    def is_same_database(self, other: object) -> bool:
        """Return whether `other` is the same database, even if its URL differs. Call in a transaction."""
        if not isinstance(other, PostgresqlServer):
            return False
        key = random.getrandbits(63)  # advisory locks are per database: only in the same one, it is taken now
        self.execute_sql("SELECT pg_advisory_xact_lock(%s)", (key,))
        (is_free,) = other.execute_sql("SELECT pg_try_advisory_xact_lock(%s)", (key,)).fetchone()
        return not is_free

    def finish_bulk_insert(self, *models: type[Model]) -> None:
        """Set the sequence of each table to its highest id, and collect statistics for the planner (ANALYZE)."""
        for table in (model._meta.table_name for model in models if isinstance(model._meta.primary_key, AutoField)):
            next_id = f'SELECT coalesce(max(id), 0) + 1 FROM "{table}"'  # noqa: S608
            self.execute_sql(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), ({next_id}), false)")
        self.execute_sql("ANALYZE")

    def secure_delete(self) -> bool:
        """Return True without doing anything: erasing deleted rows on disk is the administrator's task."""
        return True


_servers: WeakSet[PostgresqlServer] = WeakSet()


def _forget_connections() -> None:
    for server in _servers:
        server.forget_connections()


os.register_at_fork(after_in_child=_forget_connections)
