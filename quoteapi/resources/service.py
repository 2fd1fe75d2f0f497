"""`/health`."""

import json

import falcon
from peewee import PeeweeException

from quoteapi.problems import RETRY_SECONDS
from quoteapi.search import catalogue_size


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
