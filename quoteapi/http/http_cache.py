"""HTTP caching: ETag and Cache-Control."""

import hashlib
from datetime import datetime
from typing import NamedTuple

import falcon

from quoteapi.clock import seconds_until_midnight

UNSURE_SECONDS = 10
"""How long caches keep what was answered while the database was away."""


class CachedBody(NamedTuple):
    """What is answered all day; where it is not sure, the database was away."""

    body: bytes
    etag: str
    is_authoritative: bool

    @classmethod
    def of(cls, body: bytes, is_sure: bool) -> "CachedBody":
        """Make one of a body."""
        return cls(body, f'"{hashlib.blake2b(body, digest_size=8).hexdigest()}"', is_sure)


def respond_until_midnight(  # noqa: PLR0913
    req: falcon.Request,
    resp: falcon.Response,
    rendered: CachedBody,
    now: datetime,
    *,
    media_type: str = falcon.MEDIA_JSON,
    scope: str = "public",
) -> None:
    """Answer what caches may keep until midnight UTC, or that it is what the client has.

    A `scope` of `private` leaves it to the client's own cache.
    """
    resp.set_headers(_caching(rendered, now, scope))
    if _is_known(req, rendered.etag):
        resp.status = falcon.HTTP_304
    else:
        resp.data = rendered.body
        resp.content_type = media_type


def _caching(rendered: CachedBody, now: datetime, scope: str = "public") -> list[tuple[str, str]]:
    seconds = (
        seconds_until_midnight(now) if rendered.is_authoritative else min(UNSURE_SECONDS, seconds_until_midnight(now))
    )
    return [("etag", rendered.etag), ("cache-control", f"{scope}, max-age={seconds}")]


def _is_known(req: falcon.Request, etag: str) -> bool:
    asked = req.if_none_match
    return asked is not None and any(known in {"*", etag.strip('"')} for known in asked)
