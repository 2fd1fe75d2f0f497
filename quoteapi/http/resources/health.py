"""`/health`, and `/async-failure` if the setting `ASYNC_FAILURE` is on."""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import falcon

from quoteapi.http.csrf import check_csrf
from quoteapi.http.errors import RETRY_SECONDS
from quoteapi.settings import RateLimit
from quoteapi.storage.catalogue import catalogue_size
from quoteapi.storage.database import STORAGE_ERRORS
from quoteapi.storage.state import State
from quoteapi.subscriptions.errors import RateLimited
from quoteapi.subscriptions.sliding_window import WindowFull, count_event

if TYPE_CHECKING:
    from quoteapi.container import Container

MAX_FAILURES = RateLimit(5, 3_600)
"""How often anybody can have a task fail: each one is invoked three times, reported and dead-lettered."""
log = logging.getLogger(__name__)


class Health:
    """The resource `/health`: whether the database is available and has quotes."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send the state of the database, with 200, or with 503 if it is unavailable or has no quotes."""
        try:
            size, database = catalogue_size(), "ok"
        except STORAGE_ERRORS as error:
            log.error("Database not available: %s", error)  # noqa: TRY400
            size, database = 0, "not available"
        status = "ok" if size else "failing"
        resp.media = {"status": status, "database": database, "catalogue": {"quotes": size}}
        resp.status = falcon.HTTP_200 if size else falcon.HTTP_503
        resp.set_header("Cache-Control", "no-store")
        if not size:
            resp.set_header("Retry-After", str(RETRY_SECONDS))


def _count_failure(state: State, now: datetime) -> None:
    """Count a failure on purpose, in the database. Raises `RateLimited` after `MAX_FAILURES`.

    Without a shared database, each container of Lambda counts by itself.
    """
    try:
        count_event(state, "failures on purpose", (MAX_FAILURES,), now)
    except WindowFull as full:
        raise RateLimited("Only five test failures an hour are allowed.", full.retry_after) from None


class AsyncFailure:
    """The resource `/async-failure`: an async task that fails, for operators who test their alarms."""

    def __init__(self, container: "Container", start_failing_task: Callable[[], None]) -> None:
        self._container = container
        self._start_failing_task = start_failing_task

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Do what POST does, for `curl` without options; link previews do it too, up to the limit."""
        self.on_post(req, resp)

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Start a task that fails, to cause an error report and a dead-lettered event, and respond with 202."""
        check_csrf(req, self._container.settings)
        _count_failure(self._container.state, self._container.clock())
        self._start_failing_task()
        resp.media = {"message": "A task that fails was started. Lambda retries it twice, and then gives up."}
        resp.status = falcon.HTTP_202
        resp.set_header("Cache-Control", "no-store")
