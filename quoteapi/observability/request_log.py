"""Request log: a line per request (method, route, status, request id), written in batches."""

import threading
import time
from collections import deque
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache
from typing import IO

BATCH_INTERVAL_SECONDS = 0.05
"""How long lines are collected for one write: a write per request costs more than the response."""
MAX_QUEUED_LINES = 100_000
"""How many lines may wait; if standard error is blocked and more come, the oldest are dropped."""
request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the current request, which each log line shows."""
_writer: "BatchWriter | None" = None


class BatchWriter:
    """Writes log lines in order, either at once or in batches from a background thread."""

    def __init__(self, stream: IO[str], *, unbuffered: bool) -> None:
        self._stream = stream
        self._unbuffered = unbuffered
        self._queue: deque[str] = deque(maxlen=MAX_QUEUED_LINES)
        self._has_lines = threading.Event()
        self._write_lock = threading.Lock()  # keeps the lines of concurrent flushes whole and in order
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Queue a line that ends with a line feed, or write it if the writer is unbuffered."""
        self._queue.append(line)
        if self._unbuffered:
            self.flush()
        elif not self._has_lines.is_set():
            self._has_lines.set()
            if self._thread is None:  # started here, because servers fork after the app is loaded
                self._thread = threading.Thread(target=self._flush_repeatedly, daemon=True)
                self._thread.start()
                # Flush at exit. `atexit` does not run in worker processes of multiprocessing; this does.
                from multiprocessing.util import Finalize  # noqa: PLC0415 not needed on Lambda, where imports cost time

                Finalize(None, self.flush, exitpriority=10)

    def flush(self) -> None:
        """Write all queued lines. Errors of the stream are ignored: a closed log must not fail a request."""
        with self._write_lock:
            lines = [self._queue.popleft() for _ in range(len(self._queue))]
            with suppress(OSError, ValueError):
                self._stream.write("".join(lines))
                self._stream.flush()

    def _flush_repeatedly(self) -> None:
        while self._has_lines.wait():
            time.sleep(BATCH_INTERVAL_SECONDS)
            self._has_lines.clear()
            self.flush()


def start_request_log(writer: BatchWriter | None) -> None:
    """Log requests to a writer from now on. With None, as before the first call, log no requests."""
    global _writer  # noqa: PLW0603 one log for the process
    _writer = writer


def log_request(method: str, route: str, status: int) -> None:
    """Log a request and its status. Bypasses `logging`, which takes ten times as long."""
    if _writer is not None:
        _writer.write(f"{format_timestamp(int(time.time()))} INFO {method} {route} {status} [{request_id.get()}]\n")


@lru_cache(maxsize=1)
def format_timestamp(second: int) -> str:
    """Return a Unix time as RFC 3339 in UTC. The last one is cached: most lines share their second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
