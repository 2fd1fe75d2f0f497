"""Waits for what should happen: long, as the machine may be slow, and without cost, as they end when it happens."""

import time
from collections.abc import Callable

LIMIT_SECONDS = 60


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until a condition is true; fail after `LIMIT_SECONDS`."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
