"""Serves the app by RSGI, the interface of granian that reads bodies asynchronously.

Granian's WSGI has no deadline for bodies, so a client that never ends one keeps a thread. It also maps the headers
`X-Forwarded-For` and `X_Forwarded_For` onto one key, so a client can replace what a proxy set.
"""

import asyncio
import io
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import falcon

from quoteapi.http.bulkhead import Bulkhead
from quoteapi.http.errors import Problem
from quoteapi.http.middleware import REJECTION, App, header_key
from quoteapi.http.request_fields import MAX_BODY_BYTES, body_incomplete, body_too_large, is_chunked

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

THREADS = 8
"""Two more than the slots of both bulkheads."""
MAX_HEADERS_LENGTH = 16_384
"""All names and values of the headers of a request, in characters; Apache and Node.js have limits of this kind."""
BODY_SECONDS = 10
"""How long a client may take to send a body."""
KEY_CACHE_SIZE = 256
UNREADABLE = "?"
"""Stands for a header value that is not ASCII, which RSGI hides: valid for no header that the app reads."""
_CONTENT_KEYS = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}
_CONSTANT_ENVIRONMENT: "WSGIEnvironment" = {
    "SCRIPT_NAME": "",
    "wsgi.version": (1, 0),
    "wsgi.input": io.BytesIO(),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}


class Headers(Protocol):
    """The headers of a request. Names are in lower case."""

    def __iter__(self) -> Iterator[str]:
        """Iterate over the distinct names."""

    def items(self) -> list[tuple[str, str]]:
        """Return names and values, without values that are not ASCII. A name can be repeated."""


class Scope(Protocol):
    """The head of a request."""

    http_version: str
    scheme: str
    method: str
    path: str
    query_string: str
    server: str
    client: str
    headers: Headers


class HttpProtocol(Protocol):
    """The body of a request, and its response."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the chunks of the body. The end is an empty one; so are trailers and, before it, an error."""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Send the response."""


class RsgiApp:
    """The RSGI application: runs the WSGI application in threads, and its fast paths on the event loop."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._threads = ThreadPoolExecutor(THREADS, "request")
        self._bulkheads: defaultdict[str, Bulkhead] = defaultdict(Bulkhead)

    async def __call__(self, scope: Scope, protocol: HttpProtocol) -> None:
        """Handle a request. The body is read before it takes a slot of a bulkhead or a thread."""
        env = wsgi_environment(scope)
        if (ready := self._app.fast_response(env)) is not None:
            protocol.response_bytes(200, ready.headers, ready.body)
            return
        try:
            if (error := env.get(REJECTION)) is not None:
                raise error
            await self._handle(env, protocol)
        except falcon.HTTPError as error:
            env[REJECTION] = _without_frames(error)
            await self._respond(env, protocol)

    async def _handle(self, env: "WSGIEnvironment", protocol: HttpProtocol) -> None:
        """Read the body, take a slot, and run the app. Raises `falcon.HTTPError` if one of the first two fails."""
        bulkhead = self._app.bulkhead_of(env)
        if bulkhead is None:
            await self._respond(env, protocol)
            return
        if is_chunked(env) or (
            env["REQUEST_METHOD"] == "POST" and 0 < int(env.get("CONTENT_LENGTH", 0)) <= MAX_BODY_BYTES
        ):
            body = await _read_body(protocol)
            env |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
            env.pop("HTTP_TRANSFER_ENCODING", None)
        async with self._bulkheads[bulkhead].slot(self._app.client_ip(env)):
            await self._respond(env, protocol)

    async def _respond(self, env: "WSGIEnvironment", protocol: HttpProtocol) -> None:
        """Run the WSGI application in a thread, and send its response.

        The thread does not get the protocol: an error that the application handles is in a reference cycle with the
        frames of the thread. See `_without_frames`.
        """
        loop = asyncio.get_running_loop()
        response = await loop.run_in_executor(self._threads, copy_context().run, self._run_app, env)
        protocol.response_bytes(*response)

    def _run_app(self, env: "WSGIEnvironment") -> tuple[int, list[tuple[str, str]], bytes]:
        """Run the WSGI application. Return the status, the headers and the body of its response."""
        started: list[tuple[str, list[tuple[str, str]]]] = []
        chunks: list[bytes] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:  # noqa: ANN401
            started.append((status, headers))
            return chunks.append

        response = self._app(env, start_response)
        try:
            chunks.extend(response)
        finally:
            if hasattr(response, "close"):
                response.close()
        status, headers = started[-1]
        return int(status[:3]), headers, b"".join(chunks)


def wsgi_environment(scope: Scope) -> "WSGIEnvironment":
    """Return the environment of a request (PEP 3333), with an empty body.

    Headers whose names have underscores are left out, as nginx does, because other names have the same keys.
    """
    server_name, _, server_port = scope.server.rpartition(":")
    env: WSGIEnvironment = {
        **_CONSTANT_ENVIRONMENT,
        "REQUEST_METHOD": scope.method,
        "PATH_INFO": _latin_1(scope.path),
        "QUERY_STRING": _latin_1(scope.query_string),
        "SERVER_NAME": server_name,
        "SERVER_PORT": server_port,
        "SERVER_PROTOCOL": "HTTP/1.1" if scope.http_version == "1.1" else "HTTP/1.0",
        "REMOTE_ADDR": scope.client.rpartition(":")[0].strip("[]"),
        "wsgi.url_scheme": scope.scheme,
    }
    try:
        _add_headers(env, scope.headers)
    except falcon.HTTPError as error:
        env[REJECTION] = error
    return env


def _add_headers(env: "WSGIEnvironment", headers: Headers) -> None:
    """Add the headers of a request to its environment. Raises `falcon.HTTPError` if one is too long or unreadable."""
    length = 0
    for name, value in headers.items():
        if (length := length + len(name) + len(value)) > MAX_HEADERS_LENGTH:
            raise headers_too_long()
        if (key := _environment_key(name)) is not None:
            env[key] = f"{env[key]}, {value}" if key in env else value
    for name in headers:
        if len(name) > MAX_HEADERS_LENGTH:
            raise headers_too_long()
        if (key := _environment_key(name)) is None or env.setdefault(key, UNREADABLE) != UNREADABLE:
            continue
        if name.startswith("x-forwarded-"):  # else a client could hide what a proxy adds to the same header
            raise Problem(falcon.HTTP_400, "Invalid header", f"Send the header {name} in ASCII.")


@lru_cache(KEY_CACHE_SIZE)
def _environment_key(name: str) -> str | None:
    """Return the key of a header, None if its name has an underscore."""
    if "_" in name:
        return None
    return _CONTENT_KEYS.get(name) or header_key(name)


def _latin_1(text: str) -> str:
    """Return text as WSGI has it: each character is a byte of its UTF-8."""
    return text if text.isascii() else text.encode().decode("latin-1")


async def _read_body(protocol: HttpProtocol) -> bytes:
    """Read a body. Raises `falcon.HTTPError` if it is late, too large, or incomplete."""
    body, empty_chunks = bytearray(), 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in protocol:
                body += chunk
                empty_chunks += not chunk
                if len(body) > MAX_BODY_BYTES:
                    raise body_too_large()
    except TimeoutError:
        raise body_late() from None
    except RuntimeError:
        raise body_incomplete() from None
    if empty_chunks > 1:
        raise body_incomplete()
    return bytes(body)


def _without_frames(error: falcon.HTTPError) -> falcon.HTTPError:
    """Return an error without its traceback and context, whose frames hold the protocol.

    Granian releases a body that is read in part, and closes its connection, when Python frees the protocol. Through the
    environment, the frames hold the error too, so that Python would not free them before it collects garbage.
    """
    error.__context__ = None
    return error.with_traceback(None)


def headers_too_long() -> Problem:
    """Return the error for a request with headers that would take long to parse, or fill memory."""
    detail = f"The headers are too long. Send at most {MAX_HEADERS_LENGTH} characters in all."
    return Problem(falcon.HTTP_431, "Headers too long", detail)


def body_late() -> Problem:
    """Return the error for a request whose body is not complete after `BODY_SECONDS`."""
    detail = f"The body of the request did not arrive within {BODY_SECONDS} seconds. Send it again."
    return Problem(falcon.HTTP_408, "Request timeout", detail)
