"""The WSGI application: request ids, read rate limit, common headers, request log, and fast paths."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import falcon
from falcon.media import JSONHandler

from quoteapi.clock import Clock
from quoteapi.http.client_ip import client_ip
from quoteapi.http.parameters import reject_misspelt_names
from quoteapi.http.rate_limit import ReadRateLimit
from quoteapi.http.resources.quotes import ReadyResponse
from quoteapi.observability import request_log
from quoteapi.settings import Settings
from quoteapi.storage import models
from quoteapi.subscriptions.errors import RateLimited

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

EXPOSED_HEADERS = "ETag, Link, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID"
PRINTABLE_ASCII = "".join(map(chr, range(33, 127)))
VALID_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
LONG_NUMBER = re.compile(r"\d{9,}")
"""Matches what may be a phone number: these must not get into the log."""
FORWARDING_HEADER = re.compile(r"(x-)?forwarded.*|.*_.*|\*", re.IGNORECASE | re.DOTALL)
"""Matches names of headers with which proxies say where a request came from, and what a server may take for one."""
UNCOUNTED_PATHS = {"/health", "/health/"}
FastPath = Callable[[datetime], ReadyResponse | None]
"""Takes the time; returns the response to a GET without a query, or None if Falcon has to create it."""
_SLOW_PATH = "quoteapi.slow_path"
"""The WSGI environment key of the path of a request that belongs to a bulkhead."""
REJECTION = "quoteapi.rejection"
"""The WSGI environment key of the `falcon.HTTPError` with which a server wants a request to be answered."""
_BEGUN = "quoteapi.begun"
"""The WSGI environment key of the headers and the rate limit error that `_FalconMiddleware` handles."""


class App(falcon.App[falcon.Request, falcon.Response]):
    """The Falcon app, with request ids, a read rate limit, common headers, and fast paths for some GETs.

    A fast path sends the response that Falcon would send, without Falcon's request and response objects: creating them
    takes longer than all other work for such a request.
    """

    def __init__(
        self,
        fast_paths: Mapping[str, FastPath],
        slow_paths: Mapping[str, str],
        settings: Settings,
        clock: Clock,
        random: Random,
    ) -> None:
        """Build an app without routes. `slow_paths` says which bulkhead the requests to a path belong to."""
        origins = settings.cors_origins
        middleware: list[Any] = [_FalconMiddleware()]
        if origins:
            middleware.append(_CorsMiddleware("*" if origins == ("*",) else origins, EXPOSED_HEADERS))
        super().__init__(middleware=middleware)
        self.req_options.strip_url_path_trailing_slash = True
        self.resp_options.media_handlers[falcon.MEDIA_JSON] = JSONHandler(
            lambda media: f"{json.dumps(media, ensure_ascii=False)}\n"
        )
        self._fast_paths = fast_paths
        self._slow_paths = slow_paths
        self._clock = clock
        self._random = random
        self._settings = settings
        self._read_limit = ReadRateLimit(settings.read_limit) if settings.read_limit is not None else None
        self._common_headers = [("x-content-type-options", "nosniff"), *_cors_headers(origins)]

    def __call__(self, env: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Handle a request (PEP 3333)."""
        if "lambda.event" in env:
            _separate_header_names(env)
        if (ready := self.fast_response(env)) is not None:
            start_response("200 OK", ready.headers)
            return (ready.body,)
        if _BEGUN not in env:
            env[_BEGUN] = self._begin(env, self._clock())
        if not (query := env.get("QUERY_STRING", "")).isascii():
            # curl sends what was typed; Falcon, like RFC 3986, expects it to be percent-encoded.
            env["QUERY_STRING"] = quote(query, safe=PRINTABLE_ASCII, encoding="latin-1")
        return super().__call__(env, start_response)

    def fast_response(self, env: "WSGIEnvironment") -> ReadyResponse | None:
        """Count, log and return the response of a fast path, without SQL; None if Falcon has to create it."""
        fast_path = self._fast_paths.get(path := env["PATH_INFO"])
        if (
            fast_path is None
            or _BEGUN in env  # this was called before
            or REJECTION in env
            or env["REQUEST_METHOD"] != "GET"
            or env.get("QUERY_STRING")
            or "HTTP_IF_NONE_MATCH" in env
            or "HTTP_ORIGIN" in env
        ):
            return None
        headers, rate_limited = env[_BEGUN] = self._begin(env, now := self._clock())
        if rate_limited is not None or (ready := fast_path(now)) is None:
            return None
        request_log.log_request("GET", path, 200)
        return ReadyResponse(ready.body, headers + ready.headers)

    def bulkhead_of(self, env: "WSGIEnvironment") -> str | None:
        """Return the name of the bulkhead that a request belongs to, None for a fast request."""
        path = f"/{env['PATH_INFO'].strip('/')}"  # Falcon routes //subscribe/ as /subscribe, too
        if path in self._slow_paths:
            env[_SLOW_PATH] = path
        return self._slow_paths.get(path)

    def client_ip(self, env: "WSGIEnvironment") -> str:
        """Return the client IP of a request, as `client_ip.client_ip` does."""
        return client_ip(env, self._settings)

    def _begin(self, env: "WSGIEnvironment", now: datetime) -> tuple[list[tuple[str, str]], RateLimited | None]:
        """Count a request and set its id. Return the first headers of its response, and the error to raise, if any."""
        rate_limit_headers, rate_limited = self._count_read(env, now)
        return [("x-request-id", self._request_id(env)), *rate_limit_headers, *self._common_headers], rate_limited

    def _count_read(self, env: "WSGIEnvironment", now: datetime) -> tuple[list[tuple[str, str]], RateLimited | None]:
        """Count a request. Return its `RateLimit` headers, and the error to raise if the limit is exceeded.

        Preflight requests (OPTIONS) and health checks (`/health`) are not counted.
        """
        if self._read_limit is None or env["REQUEST_METHOD"] == "OPTIONS" or env["PATH_INFO"] in UNCOUNTED_PATHS:
            return [], None
        remaining, seconds = self._read_limit.count(client_ip(env, self._settings), now)
        if remaining >= 0:
            return self._read_limit.headers(remaining, seconds), None
        return self._read_limit.headers(0, seconds), RateLimited("Too many requests from your IP address.", seconds)

    def _request_id(self, env: "WSGIEnvironment") -> str:
        """Return the client's `X-Request-ID` if valid, else a random one, and set it for log lines."""
        request_id: str | None = env.get("HTTP_X_REQUEST_ID")
        if request_id is None or not VALID_REQUEST_ID.fullmatch(request_id):
            request_id = self._random.getrandbits(128).to_bytes(16).hex()  # faster than a format
            request_log.request_id.set(request_id)
        else:
            request_log.request_id.set(LONG_NUMBER.sub("•", request_id))
        return request_id


class _CorsMiddleware(falcon.CORSMiddleware[Any, Any]):
    """CORS headers; a preflight response does not allow scripts of other sites to send forwarding headers."""

    def process_response(self, req: falcon.Request, resp: falcon.Response, resource: object, ok: bool) -> None:
        """Set the CORS headers: `X-Forwarded-Host` of a script could reach this service through a trusted proxy."""
        super().process_response(req, resp, resource, ok)
        if (allowed := resp.get_header("Access-Control-Allow-Headers")) is not None:
            names = [name for name in map(str.strip, allowed.split(",")) if not FORWARDING_HEADER.fullmatch(name)]
            resp.set_header("Access-Control-Allow-Headers", ", ".join(names))


class _FalconMiddleware:
    """The part of the work of `App` that needs Falcon's request and response objects."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Set the headers that `App` passed. Raises `RateLimited` over the read rate limit, or the `REJECTION`."""
        headers, rate_limited = req.env.pop(_BEGUN)
        resp.set_headers(headers)
        if (error := rate_limited or req.env.get(REJECTION)) is not None:
            raise error

    def process_resource(self, req: falcon.Request, resp: falcon.Response, resource: Any, params: object) -> None:  # noqa: ANN401
        """Reject misspelt names of query parameters, except in preflight requests (OPTIONS)."""
        if req.query_string and req.method != "OPTIONS":
            reject_misspelt_names(req.params, getattr(resource, "parameters", ()))

    def process_response(self, req: falcon.Request, resp: falcon.Response, resource: object, ok: bool) -> None:
        """Close the database connection that the request may have opened, and log the request."""
        opened = models.database.obj  # not through its proxy, which takes ten times as long
        if not opened.is_closed():
            opened.close()
        # Log the route, not the path, and no unknown method: the log must contain no text of a client.
        method = req.method if req.method in falcon.HTTP_METHODS else "(no such method)"
        without_route = "(too many requests)" if resp.status == falcon.HTTP_429 else "(no such page)"
        route = req.uri_template or req.env.get(_SLOW_PATH, without_route)  # the latter of a rejected request
        request_log.log_request(method, route, resp.status_code)


def _separate_header_names(env: "WSGIEnvironment") -> None:
    """Remove the headers of a Lambda event whose names have underscores, as web servers do.

    Otherwise `Sec_Fetch_Site` would have the key of `Sec-Fetch-Site` in the environment, and replace it.
    """
    headers: dict[str, str] = env["lambda.event"].get("headers") or {}
    keys = {header_key(name) for name in headers if "_" in name}
    for key in keys:
        env.pop(key, None)
    for name, value in headers.items():
        if "_" not in name and (key := header_key(name)) in keys:
            env[key] = value


def header_key(name: str) -> str:
    """Return the key of a request header in a WSGI environment (PEP 3333), but for Content-Type and Content-Length."""
    return f"HTTP_{name.upper().replace('-', '_')}"


def _cors_headers(origins: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the CORS headers of all responses; only `Vary: Origin`, for caches, if origins are listed."""
    if origins == ("*",):
        return [("access-control-allow-origin", "*"), ("access-control-expose-headers", EXPOSED_HEADERS)]
    return [("vary", "Origin")] if origins else []
