"""HTTP caching: `ETag` and `Cache-Control`."""

import hashlib
from datetime import datetime
from typing import NamedTuple

import falcon

from quoteapi.clock import seconds_until_midnight

FALLBACK_MAX_AGE = 10
"""How many seconds caches keep what was made while the database was unavailable."""


class CachedBody(NamedTuple):
    """A body that stays the same all day, if it is authoritative: not made while the database was unavailable."""

    body: bytes
    etag: str
    is_authoritative: bool

    @classmethod
    def of(cls, body: bytes, is_authoritative: bool) -> "CachedBody":
        """Return a body with its `ETag`."""
        return cls(body, f'"{hashlib.blake2b(body, digest_size=8).hexdigest()}"', is_authoritative)


def respond_until_midnight(  # noqa: PLR0913
    req: falcon.Request,
    resp: falcon.Response,
    cached: CachedBody,
    now: datetime,
    *,
    media_type: str = falcon.MEDIA_JSON,
    scope: str = "public",
) -> None:
    """Send a body that caches may keep until midnight UTC, or 304 if the client has it.

    The scope `private` keeps it out of shared caches.
    """
    resp.set_headers(caching_headers(cached, seconds_until_midnight(now), scope))
    if cached.etag.strip('"') in (known := req.if_none_match or ()) or "*" in known:
        resp.status = falcon.HTTP_304
    else:
        resp.data = cached.body
        resp.content_type = media_type


def caching_headers(cached: CachedBody, max_age: int, scope: str = "public") -> list[tuple[str, str]]:
    """Return the `ETag` and `Cache-Control` of a body. `max_age` is in seconds."""
    if not cached.is_authoritative:
        max_age = min(FALLBACK_MAX_AGE, max_age)
    return [("etag", cached.etag), ("cache-control", f"{scope}, max-age={max_age}")]
