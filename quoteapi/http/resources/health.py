"""`/health`, and `/async-failure` where it is asked for."""

import json
from collections.abc import Callable

import falcon
from peewee import PeeweeException

from quoteapi.http.errors import RETRY_SECONDS
from quoteapi.storage.catalogue import catalogue_size

FAILURE_STARTED = "A task that fails was started. Lambda tries it twice more, and then gives it up."


class Health:
    """Whether the service can answer from its database and catalogue."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200, or 503 where there is nothing to answer from."""
        try:
            size = catalogue_size()
            database = "ok"
        except PeeweeException:
            size, database = 0, "not available"
        state = {"status": "ok" if size else "failing", "database": database, "catalogue": {"quotes": size}}
        resp.text = f"{json.dumps(state)}\n"
        resp.status = falcon.HTTP_200 if size else falcon.HTTP_503
        resp.set_header("Cache-Control", "no-store")
        if not size:
            resp.set_header("Retry-After", str(RETRY_SECONDS))

    on_head = on_get


class AsyncFailure:
    """A task that fails, started on purpose."""

    def __init__(self, start_failing_task: Callable[[], None]) -> None:
        self._start_failing_task = start_failing_task

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 202: the failure is on its way to the report and to the dead-letter queue."""
        self._start_failing_task()
        resp.text = f"{json.dumps({'message': FAILURE_STARTED})}\n"
        resp.status = falcon.HTTP_202
        resp.set_header("Cache-Control", "no-store")
