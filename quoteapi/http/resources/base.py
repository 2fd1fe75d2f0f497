"""The base class of resources."""

from collections.abc import Callable

import falcon


class Resource:
    """A resource whose HEAD is answered as its GET, without the body (RFC 9110, section 9.3.2)."""

    on_get: Callable[..., None]

    def on_head(self, req: falcon.Request, resp: falcon.Response, **params: str) -> None:
        """Run `on_get`; the server drops the body."""
        self.on_get(req, resp, **params)
