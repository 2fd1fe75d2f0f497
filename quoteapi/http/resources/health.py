"""`/health`, and `/async-failure` if the setting `ASYNC_FAILURE` is on."""

import logging
from collections.abc import Callable

import falcon
from peewee import PeeweeException

from quoteapi.http.errors import RETRY_SECONDS
from quoteapi.storage.catalogue import catalogue_size

log = logging.getLogger(__name__)


class Health:
    """The resource `/health`: whether the database is available and has quotes."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send the state of the database, with 200, or with 503 if it is unavailable or has no quotes."""
        try:
            size, database = catalogue_size(), "ok"
        except PeeweeException as error:
            log.error("Database not available: %s", error)  # noqa: TRY400
            size, database = 0, "not available"
        status = "ok" if size else "failing"
        resp.media = {"status": status, "database": database, "catalogue": {"quotes": size}}
        resp.status = falcon.HTTP_200 if size else falcon.HTTP_503
        resp.set_header("Cache-Control", "no-store")
        if not size:
            resp.set_header("Retry-After", str(RETRY_SECONDS))


class AsyncFailure:
    """The resource `/async-failure`: an async task that fails, for operators who test their alarms."""

    def __init__(self, start_failing_task: Callable[[], None]) -> None:
        self._start_failing_task = start_failing_task

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Start a task that fails, to cause an error report and a dead-lettered event, and respond with 202."""
        self._start_failing_task()
        resp.media = {"message": "A task that fails was started. Lambda tries it twice more, and then gives it up."}
        resp.status = falcon.HTTP_202
        resp.set_header("Cache-Control", "no-store")
