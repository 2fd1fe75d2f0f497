"""Dispatchers run work now or in a thread."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from quoteapi.storage import models
from quoteapi.subscriptions.service import SubscriptionService

_log = logging.getLogger(__name__)
THREADS = 2
"""How many at a time do what is handed on."""


class InlineDispatcher:
    """Does the work that is handed on, before it returns."""

    def __init__(self, subscriptions: SubscriptionService) -> None:
        self._subscriptions = subscriptions

    def send_otp(self, request: str) -> None:
        """Make and send the code of a request."""
        self._subscriptions.send_otp(request)

    def subscribe(self, subscriber_id: int) -> None:
        """Put somebody on the topic."""
        self._subscriptions.sync(subscriber_id)

    def unsubscribe(self, subscriber_id: int) -> None:
        """Take somebody off the topic."""
        self._subscriptions.sync(subscriber_id)


class ThreadPoolDispatcher:
    """Does the work that is handed on in other threads: nobody waits for SNS, or learns from how long it takes."""

    def __init__(self, subscriptions: SubscriptionService) -> None:
        self._at_once = InlineDispatcher(subscriptions)
        self._threads = ThreadPoolExecutor(THREADS)

    def send_otp(self, request: str) -> None:
        """Have the code of a request made and sent."""
        self._threads.submit(_done, self._at_once.send_otp, request)

    def subscribe(self, subscriber_id: int) -> None:
        """Have somebody put on the topic."""
        self._threads.submit(_done, self._at_once.subscribe, subscriber_id)

    def unsubscribe(self, subscriber_id: int) -> None:
        """Have somebody taken off the topic."""
        self._threads.submit(_done, self._at_once.unsubscribe, subscriber_id)


def _done(work: Callable[[Any], None], what: str | int) -> None:
    """Do work in a thread, where nobody hears what fails."""
    try:
        with models.database.connection_context():
            work(what)
    except Exception:  # noqa: BLE001 it ends here, in the log
        _log.exception("Work that was handed on failed")
