"""The bulkhead: bounds concurrent slow requests, so that threads stay free for fast ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Event

import falcon

MAX_CONCURRENT = 3
"""How many slow requests a process handles at a time; `quoteapi serve` has at least five threads."""
WAIT_SECONDS = 0.5
_slots = BoundedSemaphore(MAX_CONCURRENT)
_is_full = Event()
"""Set after a wait timed out: requests are rejected at once until a slot is released."""


@contextmanager
def bulkhead() -> Iterator[None]:
    """Hold one of the `MAX_CONCURRENT` slots for slow requests (uploads, SNS calls, searches).

    Raises `falcon.HTTPServiceUnavailable` if none is released within `WAIT_SECONDS`, or at once if `_is_full` is set.
    """
    if not _slots.acquire(timeout=0 if _is_full.is_set() else WAIT_SECONDS):
        _is_full.set()
        raise falcon.HTTPServiceUnavailable(
            title="Too busy", description="Too many ask at this moment. Try again in a second.", retry_after=1
        )
    try:
        yield
    finally:
        _is_full.clear()
        _slots.release()
