"""Log lines on standard error: one a request, each with the request's id, none with what a stranger wrote."""

import logging
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from contextvars import ContextVar
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from quoteapi.settings import Settings

GATHER_SECONDS = 0.05
"""How long lines of requests are gathered for one write: a write each would cost more than the answer."""
MOST_WAITING = 100_000
"""Lines kept while nobody takes them off standard error; then the oldest go."""
request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the request that is being answered."""
_package = logging.getLogger("quoteapi")
_writer: "_Writer | None" = None


def configure_logging(settings: "Settings") -> None:
    """Write lines of the settings' level and above to standard error. Until this is called there are none of requests.

    On Lambda, which stops the clock when an answer goes, a request's line is written before that.
    """
    global _writer  # noqa: PLW0603 a process has one standard error
    _writer = _Writer(sys.stderr, at_once=settings.on_lambda)
    handler = _Handler()
    handler.setFormatter(_Formatter(settings))
    _package.handlers = [handler]
    _package.setLevel(settings.log_level)
    # Lambda's own handler would write each line again, as it was before numbers were masked; and Zappa writes addresses
    # with their queries, in which careless clients send numbers and codes.
    _package.propagate = False
    logging.getLogger("zappa.wsgi").setLevel(logging.WARNING)


def log_request(method: str, route: str, status: int) -> None:
    """Write the line of a request that was answered. It goes round `logging`, which takes ten times as long."""
    if _writer is not None and _package.isEnabledFor(logging.INFO):
        _writer.add(f"{_stamp(int(time.time()))} INFO {method} {route} {status} [{request_id.get()}]\n")


class _Writer:
    """Writes lines, soon and many at a time."""

    def __init__(self, stream: IO[str], *, at_once: bool) -> None:
        self._stream = stream
        self._at_once = at_once
        self._waiting: deque[str] = deque(maxlen=MOST_WAITING)
        self._some_wait = threading.Event()
        self._writing = threading.Lock()  # threads that write must neither share a line nor change its order
        self._thread: threading.Thread | None = None

    def add(self, line: str) -> None:
        self._waiting.append(line)
        if self._at_once:
            self.write()
        elif not self._some_wait.is_set():
            self._some_wait.set()
            if self._thread is None:  # not before: servers fork after the app is loaded
                self._thread = threading.Thread(target=self._write_again_and_again, daemon=True)
                self._thread.start()
                # At the end, also of a worker, which multiprocessing ends without what atexit has.
                from multiprocessing.util import Finalize  # noqa: PLC0415 nothing for a cold start on Lambda

                Finalize(None, self.write, exitpriority=10)

    def write(self) -> None:
        with self._writing:
            lines = []
            while self._waiting:
                lines.append(self._waiting.popleft())
            with suppress(OSError, ValueError):  # nobody listens; that is no reason to fail a request
                self._stream.write("".join(lines))
                self._stream.flush()

    def _write_again_and_again(self) -> None:
        while self._some_wait.wait():
            time.sleep(GATHER_SECONDS)
            self._some_wait.clear()
            self.write()


class _Handler(logging.Handler):
    """Writes what is more than a request's line, after those that wait."""

    def emit(self, record: logging.LogRecord) -> None:
        if _writer is not None:
            try:
                line = self.format(record)
            except Exception as error:  # noqa: BLE001 a line is no reason to fail a request
                line = f"{_stamp(int(record.created))} ERROR A line could not be written ({type(error).__name__})"
            _writer.add(f"{line}\n")
            _writer.write()


class _Formatter(logging.Formatter):
    def __init__(self, settings: "Settings") -> None:
        super().__init__()
        self._settings = settings

    def format(self, record: logging.LogRecord) -> str:
        from quoteapi.observability.redaction import redact  # noqa: PLC0415 most starts have nothing to say but requests

        line = f"{_stamp(int(record.created))} {record.levelname} "
        # What an error says may have a number in it, as a database's does that names the row, or a password.
        said = redact(self._settings, record.getMessage())
        ending = f" [{request_id.get()}]"
        if record.exc_info:
            ending += f"\n{redact(self._settings, self.formatException(record.exc_info))}"
        return f"{line}{said}{ending}"


_last_stamp = (0, "")


def _stamp(second: int) -> str:
    """Answer a Unix second as RFC 3339 in UTC; most lines share it with the line before."""
    global _last_stamp  # noqa: PLW0603 a tuple, so that threads see both or neither
    known, stamp = _last_stamp
    if known != second:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
        _last_stamp = second, stamp
    return stamp
