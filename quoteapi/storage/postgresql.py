"""PostgreSQL: connections to it, how long they wait, and how they are shared.

Loaded where a database is on a server, and only there: the driver is large.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, cast
from weakref import WeakSet

import psycopg
from peewee import OperationalError, Psycopg3Adapter
from playhouse.pool import MaxConnectionsExceeded, PooledPostgresqlDatabase
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

CONNECT_SECONDS = 3
STATEMENT_SECONDS = 10
CANCEL_SECONDS = 1
HURRY: ContextVar[float | None] = ContextVar("HURRY", default=None)
"""How many seconds a thread has for a statement, where that is fewer than usual."""
TRY_SECONDS = 1
"""How long an idle connection may take to show that it is alive."""
AWAY_SECONDS = 1
"""After a connection failed, nobody tries another for so long: each would wait, and all others for it."""
WAIT_SECONDS = 3
"""How long a thread waits for another one's connection."""
RENEW_SECONDS = 600
"""A connection is not used again after so long: behind a name there may be another server by then."""
_PATIENCE = {
    "connect_timeout": str(CONNECT_SECONDS),
    "tcp_user_timeout": str(STATEMENT_SECONDS * 1_000),
    "client_encoding": "UTF8",
    "fallback_application_name": "quoteapi",
}
"""What holds where the address says nothing else."""


class Connection(psycopg.Connection[Any]):
    """A connection that waits so long for an answer, and then breaks.

    The time is taken on this side of the network. A time-out that the server is told about would be part of a session,
    and poolers in front of a server (RDS Proxy, PgBouncer) cannot share what has one.
    """

    patience: float | None = STATEMENT_SECONDS
    """In seconds; None for work that takes as long as it takes."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:  # noqa: ANN401
        """Wait for what the server has to say. Raises `psycopg.OperationalError`, and is closed then."""
        patience = HURRY.get() or self.patience
        try:
            return super().wait(gen, interval, patience if timeout is None else timeout)
        except psycopg.OperationalError as error:
            if self.closed or self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            with suppress(psycopg.Error):
                self.cancel_safe(timeout=CANCEL_SECONDS)
            self.close()
            raise psycopg.OperationalError(f"the database did not answer in {patience} seconds") from error


class _Adapter(Psycopg3Adapter):
    """What peewee knows of its driver; it looked for that when it was loaded, and then the driver was not."""

    txn_idle, txn_inerror, txn_unknown = TransactionStatus.IDLE, TransactionStatus.INERROR, TransactionStatus.UNKNOWN

    def check_driver(self) -> None:
        """Do nothing: it is there."""

    def connect(self, db: "PostgresqlServer", **params: Any) -> Connection:  # noqa: ANN401
        """Connect to the server. No statement is prepared there: poolers would have to keep them for one client."""
        said: dict[str, Any] = {**_PATIENCE, **conninfo_to_dict(db.database)}
        connection = Connection.connect(**said, autocommit=True, prepare_threshold=None)
        try:
            db.look_at(connection)
        except BaseException:
            connection.close()
            raise
        return connection


class PostgresqlServer(PooledPostgresqlDatabase):  # type: ignore[misc] # playhouse has no types
    """A database on a server. A connection is tried before it is used again: one that died meanwhile hurts nobody."""

    psycopg2_adapter = psycopg3_adapter = _Adapter

    def __init__(self, url: str, connections: int, look_at: Callable[[Connection], None]) -> None:
        """Share so many connections among all threads, 0 to keep none; `look_at` is called with each new one."""
        super().__init__(url, max_connections=connections, timeout=WAIT_SECONDS, stale_timeout=RENEW_SECONDS)
        self.look_at = look_at
        self._connections_at_most = connections
        self._away_until = 0.0
        _servers.add(self)

    def _connect(self) -> Connection:
        if time.monotonic() < self._away_until:
            raise OperationalError("the database was away a moment ago")
        try:
            return cast("Connection", super()._connect())
        except psycopg.OperationalError:
            self._away_until = time.monotonic() + AWAY_SECONDS
            raise

    def _is_closed(self, conn: Connection) -> bool:
        """Try an idle connection. Where it is dead, the others are taken for dead too: to try each would take long."""
        patience, conn.patience = conn.patience, TRY_SECONDS
        is_closed = bool(super()._is_closed(conn))
        conn.patience = patience
        if is_closed:
            self.close_idle()
        return is_closed

    def _can_reuse(self, conn: Connection) -> bool:
        return self._connections_at_most > 0 and bool(super()._can_reuse(conn))

    def connect(self, reuse_if_open: bool = False) -> bool:  # noqa: FBT002 its signature
        """Take a connection for this thread. Raises `peewee.OperationalError`."""
        try:
            return bool(super().connect(reuse_if_open))
        except MaxConnectionsExceeded as error:
            raise OperationalError(f"all {self._connections_at_most} connections were in use for too long") from error

    def leave_to_parent(self) -> None:
        """Forget all connections, in a child process: they are the parent's."""
        # Another thread of the parent may have held these; it is not here to let go of them.
        self._lock, self._pool_lock = threading.RLock(), threading.RLock()
        self._pool_available = threading.Condition(self._pool_lock)
        self.dispose()


_servers: WeakSet[PostgresqlServer] = WeakSet()


def _leave_connections_to_the_parent() -> None:
    for server in _servers:
        server.leave_to_parent()


os.register_at_fork(after_in_child=_leave_connections_to_the_parent)
