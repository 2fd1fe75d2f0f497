"""What clients send does not stay in memory, however long and varied it is: no client chooses the keys of a cache."""

import gc
import re
import tracemalloc
from collections.abc import Iterator
from itertools import count, cycle
from typing import Any
from urllib.parse import quote

import pytest
from falcon.inspect import inspect_routes
from falcon.testing import create_environ

from quoteapi.app import create_app
from quoteapi.http.middleware import App
from quoteapi.settings import Settings, read_settings
from quoteapi.time_zones import all_time_zones
from tests.helpers.clock import FakeClock
from tests.helpers.data import environment, sqlite_only
from tests.helpers.openapi import DOCUMENT
from tests.http.test_openapi import iter_objects

VALUE_LENGTH = 400_000
"""In characters; granian accepts headers of that size."""
MAX_GROWTH_BYTES = 1_000_000
PIECE = "x" * 1_000
SHAPES = (
    ("", PIECE),
    ("text/html;a", f"=b,c/{PIECE},d/e;f"),
    ("application/json;a", f"={PIECE};b"),
    ("https://x", f"&'{PIECE}"),
    ('"', f'{PIECE}",W/"'),
    ("192.0.2.1, fe80::1%", "1"),
)
"""The beginning of a value, and what is repeated after its number."""
HEADERS = {
    *("Host", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Origin", "Sec-Fetch-Site", "User-Agent"),
    *("Accept", "Content-Type", "Content-Length", "Content-Encoding", "Transfer-Encoding"),
    *("If-None-Match", "X-Request-ID", "Accept-Language"),
    *("Access-Control-Request-Method", "Access-Control-Request-Headers", "Access-Control-Request-Private-Network"),
}
"""The headers that are read."""
PROXY_HEADERS = {"Host", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}
PARAMETERS = {part["name"] for part in iter_objects(DOCUMENT) if part.get("in") == "query"} | {"again", "v", "unknown"}
PROXIED = {"TRUSTED_PROXIES": "127.0.0.1", "CORS_ORIGINS": "*"}
pytestmark = sqlite_only


class RecordingEnvironment(dict[str, Any]):
    """A WSGI environment that records the keys that are read."""

    read_keys: set[str]

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401
        self.read_keys.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.read_keys.add(str(key))
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401
        self.read_keys.add(key)
        return super().get(key, default)


class Client:
    """Sends requests to an app in this process."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.read_keys: set[str] = set()
        routes = [(route.path, method) for route in inspect_routes(app) for method in route.methods or ()]
        self.operations = [
            *((method.method, path) for path, method in routes if not method.internal and method.method != "HEAD"),
            ("OPTIONS", "/subscribe"),
            ("GET", "/nothing"),
        ]
        """The method and path template of every operation; HEAD and OPTIONS are the same everywhere."""

    def send(self, method: str, template: str, query: str = "", *, path_value: str = "1", **headers: str) -> None:
        """Send a request, with `path_value` as the path parameter of its template, if it has one."""
        path = re.sub(r"\{\w+\}", path_value, template)
        body = '{"mobile": "1"}' if method == "POST" else ""
        sent = {"Content-Type": "application/json", "Accept": "text/html", **headers}
        env = RecordingEnvironment(create_environ(path, query, method=method, body=body, headers=sent))
        env.read_keys = self.read_keys
        for _ in self._app(env, lambda *_: bytearray().extend):
            pass


@pytest.fixture
def more() -> dict[str, str]:
    """Return more settings."""
    return {}


@pytest.fixture
def client(settings: Settings, clock: FakeClock, more: dict[str, str]) -> Client:
    """Return a client, after requests that fill the caches whose keys no client chooses."""
    client = Client(create_app(read_settings(environment(settings, READ_LIMIT="off", **more)), now=clock))
    for operation in client.operations:
        client.send(*operation)
        client.send(*operation, Accept="*/*")
    return client


def long_values() -> Iterator[str]:
    """Yield different long values without end, of one shape after another."""
    for number, (begin, repeated) in zip(count(), cycle(SHAPES), strict=False):
        yield f"{begin}{number}{repeated * (VALUE_LENGTH // len(repeated))}"


@pytest.fixture
def values() -> Iterator[Iterator[str]]:
    """Return different long values without end, while memory is measured."""
    gc.freeze()  # else each collection goes through all that the tests before left
    tracemalloc.start()
    yield long_values()
    tracemalloc.stop()
    gc.unfreeze()


def allocated() -> int:
    """Return the bytes that are allocated since measuring began, without garbage."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.parametrize(("more", "headers"), [({}, HEADERS), (PROXIED, PROXY_HEADERS)], ids=["direct", "proxied"])
def test_no_header_stays_in_memory(client: Client, values: Iterator[str], headers: set[str]) -> None:
    growths = {}
    for header in sorted(headers):
        before = allocated()
        for operation in client.operations:
            for accept in ("text/html", "*/*") * (len(SHAPES) // 2):
                client.send(*operation, **{"Accept": accept, header: next(values)})
        growths[header] = allocated() - before
    assert {header: growth for header, growth in growths.items() if growth > MAX_GROWTH_BYTES} == {}


def test_no_parameter_stays_in_memory(client: Client, values: Iterator[str]) -> None:
    before = []
    for _ in range(2):  # the first round loads modules
        before.append(allocated())
        for operation in client.operations:
            for _ in SHAPES:
                client.send(*operation, "&".join(f"{name}={next(values)[:40_000]}" for name in PARAMETERS))
                client.send(*operation, path_value=next(values))
    assert allocated() - before[-1] <= MAX_GROWTH_BYTES


def test_all_time_zones_together_take_little_memory(client: Client, values: Iterator[str]) -> None:
    client.send("GET", "/daily", "tz=Asia/Kolkata")  # loads their names
    before = allocated()
    for name in all_time_zones():
        client.send("GET", "/daily", f"tz={quote(name)}")
        client.send("GET", "/daily", f"tz={next(values)[:40_000]}")
    assert allocated() - before <= 2 * MAX_GROWTH_BYTES, "there are a few hundred, each loaded once"


@pytest.mark.usefixtures("values")
def test_no_spelling_of_a_time_zone_stays_in_memory(client: Client) -> None:
    before = []
    for change_case in (str, str.lower, str.upper, str.swapcase):  # the first round loads all time zones
        before.append(allocated())
        for name in all_time_zones():
            client.send("GET", "/subscribe", f"time_zone={quote(change_case(name))}")
    assert allocated() - before[1] <= MAX_GROWTH_BYTES


@pytest.mark.parametrize("more", [{}, PROXIED], ids=["direct", "proxied"])
def test_no_other_header_is_read(client: Client) -> None:
    for operation in client.operations:
        for headers in ({}, {"Origin": "null"}, {"Origin": "null", "Access-Control-Request-Method": "GET"}):
            client.send(*operation, **headers)
    read = {key.removeprefix("HTTP_") for key in client.read_keys if key.startswith(("HTTP_", "CONTENT_"))}
    assert read <= {name.upper().replace("-", "_") for name in HEADERS}
