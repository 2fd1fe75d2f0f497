"""Who is let in at a time, where an answer may take long."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Event

import falcon

AT_ONCE = 3
"""How many requests of a process are answered here at a time; `serve` has five threads or more for all."""
WAIT_SECONDS = 0.5
_free = BoundedSemaphore(AT_ONCE)
_stuck = Event()
"""Set while somebody waited in vain: then nobody waits, which would take a thread each."""


@contextmanager
def bulkhead() -> Iterator[None]:
    """Keep threads free for those who read quotes, however slowly a client sends, SNS answers, or a search goes.

    Who has to wait long is told to come back.
    """
    if not _free.acquire(timeout=0 if _stuck.is_set() else WAIT_SECONDS):
        _stuck.set()
        raise falcon.HTTPServiceUnavailable(
            title="Too busy", description="Too many ask at this moment. Try again in a second.", retry_after=1
        )
    try:
        yield
    finally:
        _stuck.clear()
        _free.release()
