"""HTTP caching: `ETag` and `Cache-Control`."""

import hashlib
from typing import NamedTuple

import falcon

FALLBACK_MAX_AGE = 10
"""How many seconds caches keep a body from the fallback catalogue."""
MAX_IF_NONE_MATCH_LENGTH = 4_000
"""In characters; with a longer one, the body is sent: parsing 400 kB takes 0.2 s and 20 MB."""


class CachedBody(NamedTuple):
    """A response body with its `ETag`."""

    body: bytes
    etag: str
    is_authoritative: bool
    """False if it is from the fallback catalogue."""
    media_type: str

    @classmethod
    def of(cls, body: str, is_authoritative: bool, media_type: str = falcon.MEDIA_JSON) -> "CachedBody":
        """Encode a body as UTF-8, and compute its `ETag`."""
        octets = body.encode()
        return cls(octets, f'"{hashlib.blake2b(octets, digest_size=8).hexdigest()}"', is_authoritative, media_type)


def respond_with_cached_body(
    req: falcon.Request, resp: falcon.Response, cached: CachedBody, max_age: int, scope: str = "public"
) -> None:
    """Send a body that caches may keep for `max_age` seconds, or 304 if the client has it (`If-None-Match`).

    They keep a body that is not authoritative for `FALLBACK_MAX_AGE` at most. The scope `private` keeps a body out of
    shared caches.
    """
    resp.set_headers(caching_headers(cached, max_age, scope))
    is_short = len(req.get_header("If-None-Match", default="")) <= MAX_IF_NONE_MATCH_LENGTH
    client_etags = (req.if_none_match if is_short else None) or ()
    if cached.etag.strip('"') in client_etags or "*" in client_etags:
        resp.status = falcon.HTTP_304
    else:
        resp.data = cached.body
        resp.content_type = cached.media_type


def caching_headers(cached: CachedBody, max_age: int, scope: str = "public") -> list[tuple[str, str]]:
    """Return the headers `ETag` and `Cache-Control`; `max_age` in seconds is reduced for a fallback body."""
    if not cached.is_authoritative:
        max_age = min(FALLBACK_MAX_AGE, max_age)
    return [("etag", cached.etag), ("cache-control", f"{scope}, max-age={max_age}")]
