"""Run `quoteapi serve` behind real proxies, each configured as docs/operate.md shows."""

import http.client
import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.helpers.reverse_proxies import PROXIES, require_proxies, run_reverse_proxy
from tests.helpers.servers import Servers

require_proxies()

CLIENT = "127.0.0.2"
"""The client's own address; the proxy, which is trusted, connects from 127.0.0.1."""
SPOOFED_NAMES = ("X-Forwarded-For", "X_Forwarded_For", "X-Forwarded_For", "x_forwarded-for", "X-Real-IP")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
BODY = "mobile=%2B919028000001"


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


def send(base: str, method: str, path: str, headers: dict[str, str], body: str = "") -> Response:
    """Send a request whose header names are not changed, from the address `CLIENT`."""
    parts = urlsplit(base)
    connection = http.client.HTTPConnection(str(parts.netloc), timeout=30, source_address=(CLIENT, 0))
    connection.putrequest(method, path)
    for name, value in (headers | ({"Content-Length": str(len(body))} if body else {})).items():
        connection.putheader(name, value)
    connection.endheaders(body.encode())
    response = connection.getresponse()
    received = Response(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read().decode())
    connection.close()
    return received


def reads_left(response: Response) -> int:
    found = re.search(r'"reads";r=(\d+)', response.headers["ratelimit"])
    assert found is not None
    return int(found[1])


@pytest.fixture(params=[*PROXIES, "none"])
def base(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> Iterator[str]:
    server = servers.start("quoteapi", "serve", WORKERS="1", TRUSTED_PROXIES="127.0.0.1")
    if request.param == "none":
        yield server
    else:
        with run_reverse_proxy(request.param, server, tmp_path) as url:
            yield url


def test_a_client_cannot_choose_its_ip(base: str) -> None:
    left = [reads_left(send(base, "GET", "/daily", {}))]
    for number, name in enumerate(SPOOFED_NAMES):
        left.append(reads_left(send(base, "GET", "/daily", {name: f"203.0.113.{number}"})))
    assert left == list(range(left[0], left[0] - len(left), -1)), "one client sent them all"


def test_a_page_of_another_site_cannot_hide_that_it_is(base: str) -> None:
    for name in ("Sec_Fetch_Site", "Sec-Fetch_Site"):
        headers = FORM | {"Sec-Fetch-Site": "cross-site", name: "same-origin"}
        assert send(base, "POST", "/subscribe", headers, BODY).status == 403


def test_a_client_cannot_change_the_address_of_the_service_or_the_body(base: str) -> None:
    body = {"Content_Length": "3", "Content_Type": "text/x", "Transfer_Encoding": "chunked"}
    host = {"X_Forwarded_Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    response = send(base, "POST", "/subscribe", FORM | body | host, BODY)
    assert response.status == 200, response.body
    assert "evil" not in response.body


def test_slow_bodies_keep_nobody_else_from_subscribing(base: str) -> None:
    parts = urlsplit(base)
    with ExitStack() as stack:
        for _ in range(20):
            connection = socket.create_connection((parts.hostname or "", parts.port or 0))
            stack.enter_context(connection)
            head = "".join(f"{name}: {value}\r\n" for name, value in FORM.items())
            connection.sendall(f"POST /subscribe HTTP/1.1\r\nHost: a\r\n{head}Content-Length: 50\r\n\r\nm".encode())
        for path in ("/quotes?q=hope", "/", "/daily"):
            assert send(base, "GET", path, {}).status == 200
        response = send(base, "POST", "/subscribe", FORM, BODY)
        assert response.status == 200, response.body


def test_links_lead_to_the_address_that_the_client_used(base: str) -> None:
    response = send(base, "POST", "/subscribe", FORM, BODY)
    assert f" {base}/subscribe?mobile=" in json.loads(response.body)["message"]
