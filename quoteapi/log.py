"""Log lines on standard error: one a request, each with the request's id, none with what a stranger wrote."""

import logging
import sys
import time
from contextvars import ContextVar
from typing import IO

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The id of the request that is being answered."""

_package = logging.getLogger("quoteapi")
_handler: logging.StreamHandler[IO[str]] | None = None


def configure(level: str) -> None:
    """Write lines of `level` and above to standard error. Until this is called there are none of requests."""
    global _handler  # noqa: PLW0603 a process has one standard error
    _handler = logging.StreamHandler(sys.stderr)
    _handler.setFormatter(_Formatter())
    _package.handlers = [_handler]
    _package.setLevel(level)


def request_line(method: str, route: str, status: int) -> None:
    """Write the line of a request that was answered.

    It goes round `logging`, which takes as long for a line as the rest of `/daily` does for its answer.
    """
    if _handler is not None and _package.isEnabledFor(logging.INFO):
        _handler.stream.write(f"{_stamp(int(time.time()))} INFO {method} {route} {status} [{request_id.get()}]\n")


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = f"{_stamp(int(record.created))} {record.levelname} {record.getMessage()} [{request_id.get()}]"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


_last_stamp = (0, "")


def _stamp(second: int) -> str:
    """Answer a Unix second as RFC 3339 in UTC; most lines share it with the line before."""
    global _last_stamp  # noqa: PLW0603 a tuple, so that threads see both or neither
    known, stamp = _last_stamp
    if known != second:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
        _last_stamp = second, stamp
    return stamp
