"""Dispatchers run the background work of an HTTP request inline or in a thread pool.

`quoteapi.aws.lambda_dispatcher` runs it in another Lambda invocation.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from quoteapi.storage.models import database

_log = logging.getLogger(__name__)


class Dispatcher(Protocol):
    """Runs work that a response need not wait for. What the methods return is ignored."""

    def send_otp(self, otp_request_id: str, /) -> object:
        """Generate and send the OTP of an OTP request, now or later."""

    def subscribe(self, subscriber_id: str, /) -> object:
        """Add a subscriber to the topic."""

    def unsubscribe(self, subscriber_id: str, /) -> object:
        """Remove a subscriber from the topic."""


class InlineDispatcher:
    """Runs work in the calling thread: each method returns, or raises, when its work is done."""

    def __init__(self, send_otp: Callable[[str], object], sync: Callable[[str], object]) -> None:
        self.send_otp = send_otp
        self.subscribe = self.unsubscribe = sync


class ThreadPoolDispatcher:
    """Runs work in two threads: a response neither waits for SNS nor shows by its timing what SNS did."""

    def __init__(self, send_otp: Callable[[str], object], sync: Callable[[str], object]) -> None:
        self._executor = ThreadPoolExecutor(max_workers=2)
        self.send_otp = partial(self._executor.submit, _run, send_otp)
        self.subscribe = self.unsubscribe = partial(self._executor.submit, _run, sync)


def _run(work: Callable[..., object], *arguments: object) -> None:
    """Run work in a thread of the pool, with its own database connection, and log exceptions."""
    try:
        # Not of the proxy, which would close another database if the models are bound to another meanwhile.
        with database.obj.connection_context():
            work(*arguments)
    except Exception:  # noqa: BLE001 no caller would see it
        _log.exception("Background work failed")
