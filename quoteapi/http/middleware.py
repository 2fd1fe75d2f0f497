"""WSGI middleware: request ids, request log, connection handling, default headers."""

import random
import re
from collections.abc import Iterable
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import falcon

from quoteapi import clock
from quoteapi.http.client_ip import client_ip_from_environ
from quoteapi.http.rate_limit import ReadRateLimit, ReadRateLimitMiddleware
from quoteapi.http.resources.quotes import DailyQuote
from quoteapi.observability import request_log
from quoteapi.settings import Settings
from quoteapi.storage import models

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

EXPOSED_HEADERS = "ETag, Link, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID"
ASCII = "".join(map(chr, range(33, 127)))


class App(falcon.App[falcon.Request, falcon.Response]):
    """Falcon's app, with a short cut for what most people ask: today's quote, in so many words.

    It gives the answer that Falcon would give, without the cost of a request and a response object; a test compares
    the two, and `make bench` shows what it is worth.
    """

    def __init__(self, daily: DailyQuote, identify: "_Identify", settings: Settings, now: clock.Clock) -> None:
        origins = settings.cors_origins
        of_a_setting = _cors_headers(origins)
        self._headers_of_all = [("x-content-type-options", "nosniff"), *of_a_setting]
        self._reads = ReadRateLimit(settings.read_limit) if settings.read_limit is not None else None
        middleware: list[Any] = [_RequestLog(identify), _Connection()]
        if self._reads is not None:
            middleware.append(ReadRateLimitMiddleware(self._reads, settings, now))
        if origins:
            allowed = "*" if origins == ("*",) else origins
            middleware.append(falcon.CORSMiddleware(allowed, expose_headers=EXPOSED_HEADERS))
            middleware.append(_HeadersOfAll(of_a_setting))
        super().__init__(middleware=middleware)
        self._daily = daily
        self._identify = identify
        self._settings = settings
        self._now = now

    def __call__(self, env: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request, as WSGI has it."""
        if (
            env.get("PATH_INFO") == "/daily"
            and env["REQUEST_METHOD"] == "GET"
            and not env.get("QUERY_STRING")
            and "HTTP_IF_NONE_MATCH" not in env
            and "HTTP_ORIGIN" not in env
            and (answer := self._daily.known_for_today(now := self._now())) is not None
            and (allowance := self._allowance(env, now)) is not None
        ):
            identity = self._identify(env)
            request_log.log_request("GET", "/daily", 200)
            headers = [("x-request-id", identity), *answer.headers, *allowance, *self._headers_of_all]
            start_response("200 OK", headers)
            return (answer.body,)
        if not (query := env.get("QUERY_STRING", "")).isascii():
            # As curl sends what somebody typed; Falcon, like RFC 3986, knows only what is percent-encoded.
            env["QUERY_STRING"] = quote(query, safe=ASCII, encoding="latin-1")
        return super().__call__(env, start_response)

    def _allowance(self, env: "WSGIEnvironment", now: datetime) -> list[tuple[str, str]] | None:
        """Count a request. Answer the headers that tell what is left, None if it is one too many."""
        if self._reads is None:
            return []
        left, seconds = self._reads.count(client_ip_from_environ(env, self._settings), now)
        return self._reads.headers(left, seconds) if left >= 0 else None


class _Identify:
    """Gives a request an id: the client's own where it is a decent one, else one made up."""

    _DECENT = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
    _LONG_NUMBER = re.compile(r"\d{9,}")
    """What may be a phone number that a stranger writes into the log."""

    def __init__(self, randomness: random.Random) -> None:
        self._randomness = randomness

    def __call__(self, env: "WSGIEnvironment") -> str:
        identity: str | None = env.get("HTTP_X_REQUEST_ID")
        if identity is None or not self._DECENT.fullmatch(identity):
            identity = f"{self._randomness.getrandbits(128):032x}"
            request_log.request_id.set(identity)
        else:
            request_log.request_id.set(self._LONG_NUMBER.sub("•", identity))
        return identity


class _RequestLog:
    def __init__(self, identify: _Identify) -> None:
        self._identify = identify

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.set_header("X-Request-ID", self._identify(req.env))
        resp.set_header("X-Content-Type-Options", "nosniff")

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        # The route and not the path; neither that nor the method is what a stranger wrote.
        method = req.method if req.method in falcon.HTTP_METHODS else "(no such method)"
        request_log.log_request(method, req.uri_template or _nowhere(resp), resp.status_code)


def _nowhere(resp: falcon.Response) -> str:
    """Answer what stands for the route in a log line, where none was found, or none was looked for."""
    return "(too many requests)" if resp.status_code == HTTPStatus.TOO_MANY_REQUESTS else "(no such page)"


class _Connection:
    """Closes the connection that a request may have opened."""

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        if not models.database.is_closed():
            models.database.close()


class _HeadersOfAll:
    """Gives every answer the headers that depend on a setting alone, for the sake of caches."""

    def __init__(self, headers: list[tuple[str, str]]) -> None:
        self._headers = headers

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: object, req_succeeded: bool
    ) -> None:
        for name, value in self._headers:
            resp.append_header(name, value)


def _cors_headers(origins: tuple[str, ...]) -> list[tuple[str, str]]:
    """Answer what Falcon's CORS forgets: a cache keeps one answer, for pages and programs alike."""
    if origins == ("*",):
        return [("access-control-allow-origin", "*"), ("access-control-expose-headers", EXPOSED_HEADERS)]
    return [("vary", "Origin")] if origins else []
