"""The statement timeout of a thread, as both engines apply it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_seconds: ContextVar[float | None] = ContextVar("_seconds", default=None)


def current_timeout() -> float | None:
    """Return the timeout of this thread's statements in seconds; None outside of every block."""
    return _seconds.get()


@contextmanager
def statement_timeout(seconds: float) -> Iterator[None]:
    """Set the timeout of this thread's statements within a block; an inner block can only shorten it."""
    token = _seconds.set(min(seconds, _seconds.get() or seconds))
    try:
        yield
    finally:
        _seconds.reset(token)
