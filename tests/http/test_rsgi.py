import asyncio
import gc
import itertools
import json
import re
import select
import signal
import socket
import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack
from http.client import HTTPResponse
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from quoteapi.app import create_app
from quoteapi.http import bulkhead, rsgi
from quoteapi.http.middleware import REJECTION, App
from quoteapi.http.request_fields import body_incomplete
from quoteapi.http.rsgi import RsgiApp, Scope, wsgi_environment
from quoteapi.settings import Settings, read_settings
from tests.helpers.data import environment, sqlite_only
from tests.helpers.event_loop import run_coroutine
from tests.helpers.http import assert_problem, get
from tests.helpers.servers import Servers
from tests.helpers.waiting import LIMIT_SECONDS

SERVER = """
import gc
from quoteapi.cli import main, serve
from quoteapi.http import rsgi

gc.disable()  # else a connection whose request is in a reference cycle is closed sooner or later
rsgi.BODY_SECONDS = serve.HEADER_SECONDS = {seconds}
main(["serve", "--workers", "1"])
"""
"""Serves with a deadline for headers, bodies and idle connections."""
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
BODY = "mobile=%2B919028000001"
CHUNKED = "Transfer-Encoding: chunked\r\n"
LENGTH = f"Content-Length: {len(BODY)}\r\n"
HTTP_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")


@pytest.fixture
def base(servers: Servers) -> str:
    """Return the base URL of a server whose deadlines no test reaches."""
    return servers.start("python", "-c", SERVER.format(seconds=10 * LIMIT_SECONDS), TRUSTED_PROXIES="127.0.0.1")


@pytest.fixture
def impatient_base(servers: Servers) -> str:
    """Return the base URL of a server with deadlines of a second."""
    return servers.start("python", "-c", SERVER.format(seconds=1))


def connect(base: str, sent: str | bytes = "") -> socket.socket:
    address = ("127.0.0.1", int(base.rpartition(":")[2]))
    connection = socket.create_connection(address, timeout=30)
    connection.sendall(sent.encode("latin-1") if isinstance(sent, str) else sent)
    return connection


def post(headers: str, body: str = "", path: str = "/subscribe") -> str:
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{FORM}{headers}\r\n{body}"


def received(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Return the status and the JSON of a response; 0 if the server closes the connection without one."""
    response = HTTPResponse(connection)
    try:
        response.begin()
    except (ConnectionError, ValueError):
        return 0, {}
    body = response.read()
    return response.status, json.loads(body) if body else {}


def is_closed(connection: socket.socket) -> bool:
    """Wait until the server closes a connection; return False if it does not."""
    try:
        while connection.recv(4_096):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


# ---- slow clients


def connect_slow_clients(stack: ExitStack, base: str) -> list[socket.socket]:
    """Return connections whose requests to subscribe have no end."""
    unfinished = [post("Content-Length: 50\r\n", "m"), post(CHUNKED, "fff\r\nm"), post(CHUNKED)]
    return [stack.enter_context(connect(base, request)) for request in unfinished * 17]


def test_slow_bodies_occupy_nothing(base: str) -> None:
    with ExitStack() as stack:
        slow = connect_slow_clients(stack, base)
        assert requests.get(f"{base}/quotes?q=hope", timeout=30).status_code == 200
        assert requests.post(f"{base}/subscribe", data={"mobile": "+919028000001"}, timeout=30).status_code == 200
        assert select.select(slow, [], [], 0)[0] == [], "the slow clients still have no response"


def test_slow_bodies_get_408_and_their_connections_are_closed(impatient_base: str) -> None:
    with ExitStack() as stack:
        for connection in connect_slow_clients(stack, impatient_base):
            status, problem = received(connection)
            assert (status, problem["title"]) == (408, "Request timeout")
            assert is_closed(connection)


def test_a_body_in_pieces_is_read(base: str) -> None:
    with connect(base, post(LENGTH)) as connection:
        for character in BODY:
            connection.sendall(character.encode())
            time.sleep(0.001)
        assert received(connection)[0] == 200


def test_late_headers_and_idle_connections_are_closed(impatient_base: str) -> None:
    with (
        connect(impatient_base, "GET /daily HTTP/1.1\r\nHost: a\r\n\r\n") as idle,
        connect(impatient_base) as silent,
        connect(impatient_base, "GET / HTTP/1.1\r\nHo") as late,
    ):
        assert received(idle)[0] == 200
        assert [is_closed(each) for each in (silent, late, idle)] == [True] * 3


@pytest.mark.parametrize("path", ["//subscribe", "/subscribe/", "///subscribe"])
def test_a_path_with_more_slashes_is_the_same_path(base: str, path: str) -> None:
    with connect(base, post(LENGTH, BODY, path)) as connection:
        status, document = received(connection)
    assert (status, document["message"].startswith("An OTP verification has been sent")) == (200, True)


def test_a_request_rejected_before_it_is_routed_is_logged_with_its_path(impatient_base: str, servers: Servers) -> None:
    with connect(impatient_base, post(LENGTH, "mobile=")) as connection:
        assert received(connection)[0] == 408
    servers.processes[-1].terminate()
    servers.processes[-1].wait(LIMIT_SECONDS)
    assert "POST /subscribe 408 " in servers.output()


def test_a_body_is_not_awaited_where_none_is_read(base: str) -> None:
    for method, path, expected in (("GET", "/daily", 200), ("GET", "/subscribe", 400), ("POST", "/daily", 405)):
        request = post("Content-Length: 50\r\n", "m", path).replace("POST", method)
        with connect(base, request) as connection:
            assert received(connection)[0] == expected
            assert is_closed(connection)


def test_http_2_is_not_served(base: str) -> None:
    with connect(base, HTTP_2) as connection:
        assert is_closed(connection)
    upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    with connect(base, f"GET /daily HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n") as connection:
        assert received(connection)[0] == 200


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_request_that_has_begun_is_finished_when_the_server_stops(servers: Servers, stop: signal.Signals) -> None:
    base = servers.start("quoteapi", "serve", WORKERS="1")
    with connect(base, post(f"{LENGTH}Expect: 100-continue\r\n")) as connection:
        assert connection.recv(4_096).startswith(b"HTTP/1.1 100 "), "the server reads the body"
        servers.processes[0].send_signal(stop)
        time.sleep(0.2)
        connection.sendall(BODY.encode())
        assert received(connection)[0] == 200
    assert servers.processes[0].wait(LIMIT_SECONDS) == 0


# ---- the length of a body


LENGTHS = [
    (LENGTH, BODY, 200),
    (LENGTH * 2, BODY, 200),
    (f"{LENGTH}Expect: 100-continue\r\n", BODY, 200),
    (f"{LENGTH}Content_Length: 3\r\nTransfer_Encoding: chunked\r\nContent_Type: text/x\r\n", BODY, 200),
    (f"{LENGTH}Content-Length: 3\r\n", BODY, 400),
    ("Content-Length: +22\r\n", BODY, 400),
    ("Content-Length: -1\r\n", BODY, 400),
    ("Content-Length: é\r\n", BODY, 400),
    (f"{CHUNKED}{LENGTH}", "0\r\n\r\n", 400),
    (f"{LENGTH}{CHUNKED}", "0\r\n\r\n", 400),
    (CHUNKED, f"{len(BODY):x}\r\n{BODY}\r\n0\r\n\r\n", 200),
    (CHUNKED, "fffffffffffffffff\r\nm", 400),
    (CHUNKED, "x\r\nm", 400),
    ("Transfer-Encoding: identity\r\n", BODY, 400),
    ("Content-Length: 4097\r\n", "m", 413),
    (CHUNKED, f"1001\r\n{'m' * 4_097}", 413),
    ("Content-Length: 99999999999999999999\r\n", "m", 400),
]


def test_a_body_has_one_length(base: str) -> None:
    for number, (headers, body, expected) in enumerate(LENGTHS):
        with connect(base, post(headers, body.replace("000001", f"0000{number:02}"))) as connection:
            assert received(connection)[0] == expected, headers
            if expected == 200:
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert "catalogue" in received(connection)[1], "the next request begins after the body"
            else:
                assert is_closed(connection), "what follows is not read as another request"


def test_an_incomplete_body_is_not_used(base: str, servers: Servers) -> None:
    with connect(base, post("Content-Length: 50\r\n", BODY)) as connection:
        connection.shutdown(socket.SHUT_WR)
        status, problem = received(connection)
    assert (status, problem["detail"]) == (400, body_incomplete().description)
    connect(base, post("Content-Length: 50\r\n", BODY)).close()
    assert get(f"{base}/daily").status_code == 200
    assert "code to" not in servers.output()


# ---- headers


def test_no_other_name_of_a_header_counts(base: str) -> None:
    def reads_left(*names: str) -> int:
        lines = "".join(f"{name}: {'192.0.2.1' if name in real else '192.0.2.99'}\r\n" for name in names)
        with connect(base, f"GET /daily HTTP/1.0\r\n{lines}\r\n") as connection:
            response = b"".join(iter(lambda: connection.recv(4_096), b"")).decode()
        return int(re.findall(r'"reads";r=(\d+)', response)[0])

    real = ("X-Forwarded-For", "x-forwarded-for")
    others = ("X_Forwarded_For", "X-Forwarded_For", "x_forwarded-for")
    names = [(real[0],), *((real[0], other) for other in others), *((other, real[1]) for other in others)]
    assert [reads_left(*each) for each in names] == list(range(599, 599 - len(names), -1))


def test_a_header_that_is_not_ascii_is_not_as_if_it_were_missing(base: str) -> None:
    with connect(base, post(f"{LENGTH}Sec-Fetch-Site: é\r\n", BODY)) as connection:
        assert received(connection)[0] == 403


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"])
def test_a_client_cannot_hide_what_a_proxy_appends_to_its_header(base: str, name: str) -> None:
    for path in ("/daily", "/health", "/subscribe"):
        rejected = requests.get(f"{base}{path}", headers={name: "\xff, 192.0.2.1".encode("latin-1")}, timeout=30)
        assert_problem(rejected, 400, "Invalid header", f"Send the header {name.lower()} in ASCII.")


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": f"http://{'a' * 20_000}"}, id="a long value"),
        pytest.param({"x" * 20_000: "1"}, id="a long name"),
        pytest.param({"x" * 20_000: "é".encode()}, id="a long name with a value that is not ASCII"),
        pytest.param({f"x-{n}": "a" * 1_000 for n in range(20)}, id="many values"),
        pytest.param({f"x-{n}" * 100: "" for n in range(50)}, id="many names"),
    ],
)
def test_headers_that_are_too_long_are_rejected_unread(base: str, headers: dict[str, str | bytes]) -> None:
    for path in ("/daily", "/subscribe", "/nothing"):
        rejected = requests.get(f"{base}{path}", headers=headers, timeout=30)
        assert_problem(rejected, 431, "Headers too long", "at most 16384 characters")


@given(st.sets(st.text("aBc-_", min_size=1, max_size=4), min_size=2))
def test_two_names_never_have_one_key(names: set[str]) -> None:
    lower = sorted({name.lower() for name in names})
    env = wsgi_environment(scope(headers=[(name, name) for name in lower]))
    assert {key: value for key, value in env.items() if key.startswith("HTTP_")} == {
        f"HTTP_{name.upper().replace('-', '_')}": name for name in lower if "_" not in name
    }


class FakeHeaders:
    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._pairs))

    def items(self) -> Iterable[tuple[str, str]]:
        return self._pairs


def scope(headers: Iterable[tuple[str, str]] = (), **values: str) -> Scope:
    head = {"http_version": "1.1", "scheme": "http", "method": "GET", "path": "/", "query_string": ""}
    head |= {"server": "127.0.0.1:8000", "client": "127.0.0.1:4711"}
    return cast("Scope", SimpleNamespace(**head | values, headers=FakeHeaders([*headers])))


def test_the_environment_is_that_of_pep_3333() -> None:
    env = wsgi_environment(
        scope(
            [("content-type", "text/x"), ("content-length", "5"), ("x-forwarded-for", "a"), ("x-forwarded-for", "b")],
            method="POST",
            path="/café",
            query_string="q=é",
            client="[2001:db8::1]:4711",
            server="[::1]:8000",
        )
    )
    expected = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/cafÃ©",
        "QUERY_STRING": "q=Ã©",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "5",
        "HTTP_X_FORWARDED_FOR": "a, b",
        "REMOTE_ADDR": "2001:db8::1",
        "SERVER_NAME": "[::1]",
        "SERVER_PORT": "8000",
    }
    assert expected == {key: env[key] for key in expected}
    assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & set(env)


# ---- responses


def test_responses_without_a_body_have_none(base: str) -> None:
    daily = get(f"{base}/daily")
    head = requests.head(f"{base}/daily", timeout=30)
    not_modified = get(f"{base}/daily", If_None_Match=daily.headers["ETag"])
    assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", str(len(daily.content)))
    assert (not_modified.status_code, not_modified.content) == (304, b"")


def test_paths_that_are_no_utf_8_are_not_found(base: str) -> None:
    for path in ("/%FF", "/quotes/%C3%28", "/caf%C3%A9", "/%00"):
        assert_problem(get(f"{base}{path}"), 404, "No quote found" if "quotes" in path else "Not found")


class SlowApp:
    """A WSGI application that waits until it may go on. Paths are names of bulkheads, but for /other."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.closed = 0

    def fast_response(self, env: dict[str, Any]) -> None:
        pass

    def bulkhead_of(self, env: dict[str, Any]) -> str | None:
        return None if env["PATH_INFO"] == "/other" else str(env["PATH_INFO"])

    def client_ip(self, env: dict[str, Any]) -> str:
        return str(env["REMOTE_ADDR"])

    def __call__(self, env: dict[str, Any], start_response: Callable[..., Callable[[bytes], object]]) -> "SlowApp":
        if (error := env.get(REJECTION)) is not None:
            start_response(error.status, [])
        else:
            if env["REMOTE_ADDR"] != "192.0.2.99":
                self.may_go_on.wait(LIMIT_SECONDS)
            start_response("200 OK", [("a", "b")])(b"written, ")
        return self

    def __iter__(self) -> Iterator[bytes]:
        return iter((b"returned", b""))

    def close(self) -> None:
        self.closed += 1


class FakeProtocol:
    """Records the response."""

    def __init__(self) -> None:
        self.response: tuple[int, list[tuple[str, str]], bytes] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        raise AssertionError("there is no body to read")

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.response = status, headers, body


class UnfinishedProtocol(FakeProtocol):
    """Has a body that never comes."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    def __anext__(self) -> Awaitable[bytes]:
        return asyncio.get_running_loop().create_future()


@pytest.fixture
def _no_garbage_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_garbage_collection")
@sqlite_only
def test_nothing_holds_a_request_with_a_late_body_after_its_response(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rsgi, "BODY_SECONDS", 0.01)
    rsgi_app = RsgiApp(create_app(read_settings(environment(settings, READ_LIMIT="1/9d"))))

    async def request(status: int) -> None:
        protocol = UnfinishedProtocol()
        await rsgi_app(scope([("content-length", "5")], method="POST", path="/subscribe"), protocol)
        assert protocol.response is not None
        assert protocol.response[0] == status
        reference = weakref.ref(protocol)
        del protocol
        assert reference() is None, "until then, granian does not release the body, nor close the connection"

    for status in (408, 429):
        run_coroutine(request(status))


def test_clients_that_use_up_their_slots_leave_others_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    app = SlowApp()
    rsgi_app = RsgiApp(cast("App", app))

    async def request(path: str, client_ip: str) -> int:
        protocol = FakeProtocol()
        await rsgi_app(scope(path=path, client=f"{client_ip}:1"), protocol)
        assert protocol.response is not None
        return protocol.response[0]

    async def run() -> None:
        blocked = [asyncio.ensure_future(request(path, "192.0.2.1")) for path in ("/searching", "/subscribing") * 20]
        await asyncio.sleep(0)  # until all of them wait
        monkeypatch.setattr(bulkhead, "WAIT_SECONDS", LIMIT_SECONDS)
        quick = [request(path, "192.0.2.99") for path in ("/searching", "/subscribing", "/other") * 10]
        assert await asyncio.gather(*quick) == [200] * 30
        for rejected in itertools.islice(asyncio.as_completed(blocked), 36):
            assert await rejected == 503
        app.may_go_on.set()
        assert sorted(await asyncio.gather(*blocked)) == [200] * 4 + [503] * 36

    run_coroutine(run())


def test_the_iterable_of_a_response_is_closed() -> None:
    app, protocol = SlowApp(), FakeProtocol()
    run_coroutine(RsgiApp(cast("App", app))(scope(path="/other", client="192.0.2.99:1"), protocol))
    assert (protocol.response, app.closed) == ((200, [("a", "b")], b"written, returned"), 1)
