import logging
import re
from typing import Any, cast

import pytest
import requests
from falcon.testing import create_environ
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from zappa.wsgi import create_wsgi_request

from quoteapi.app import create_app
from quoteapi.observability import logging_setup, request_log
from quoteapi.settings import Settings
from tests.conftest import Serve
from tests.helpers.data import sqlite_only
from tests.helpers.http import get
from tests.rehearsal.lambda_events import api_gateway_event

ORIGIN = "https://example.org"


# ---- request ids


def test_a_response_has_the_id_of_its_request(serve: Serve) -> None:
    base = serve()
    for path in ("/daily", "/daily", "/random", "/nothing", "/health"):
        response = requests.get(f"{base}{path}", headers={"X-Request-ID": "check-17"}, timeout=30)
        assert response.headers["X-Request-ID"] == "check-17"


def test_a_request_without_an_id_gets_a_unique_one(serve: Serve) -> None:
    base = serve()
    request_ids = [
        requests.get(f"{base}{path}", timeout=30).headers["X-Request-ID"] for path in ("/daily", "/daily", "/no")
    ]
    assert all(re.fullmatch("[0-9a-f]{32}", request_id) for request_id in request_ids)
    assert len(set(request_ids)) == 3


@sqlite_only
@pytest.mark.parametrize("bad", ["", "a b", "x" * 129, "é", "<script>", 'a"b'])
def test_an_invalid_request_id_is_replaced(serve: Serve, bad: str) -> None:
    response = requests.get(f"{serve()}/daily", headers={"X-Request-ID": bad.encode()}, timeout=30)
    assert re.fullmatch("[0-9a-f]{32}", response.headers["X-Request-ID"])


# ---- header names


@pytest.mark.parametrize("names", [("Sec-Fetch-Site", "Sec_Fetch_Site"), ("sec-fetch_site", "sec-fetch-site")])
def test_on_lambda_a_header_name_with_underscores_replaces_no_other(names: tuple[str, str], settings: Settings) -> None:
    headers = {name: "same-origin" if "_" in name else "cross-site" for name in names}
    event = api_gateway_event("POST", "https://a/subscribe", stage="dev", api="a1", headers=headers, body="mobile=1")
    environ = create_wsgi_request(event, binary_support=True) | {"lambda.event": event}
    statuses: list[str] = []
    b"".join(create_app(settings)(environ, lambda *response: cast("Any", statuses.append(response[0]))))
    assert statuses == ["403 Forbidden"]


# ---- bulkheads


@hypothesis_settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text("/", max_size=3), st.sampled_from(["subscribe", "unsubscribe", "quotes"]), st.text("/", max_size=2))
def test_every_spelling_that_is_routed_to_a_slow_resource_has_its_bulkhead(
    settings: Settings, before: str, name: str, after: str
) -> None:
    app, path = create_app(settings), f"/{before}{name}{after}"
    status: list[str] = []
    environ = create_environ(path, method="OPTIONS")
    b"".join(app(environ, lambda *response: cast("Any", status.append(response[0]))))
    if status == ["200 OK"]:
        assert app.bulkhead_of({"PATH_INFO": path}) is not None


# ---- CORS


def test_without_cors_origins_there_are_no_cors_headers(serve: Serve) -> None:
    response = requests.get(f"{serve()}/daily", headers={"Origin": ORIGIN}, timeout=30)
    assert not [name for name in response.headers if name.lower().startswith("access-control")]
    assert "Vary" not in response.headers


@sqlite_only
@pytest.mark.parametrize("path", ["/daily", "/random", "/nothing"])
def test_pages_of_the_configured_origins_may_read_responses(serve: Serve, path: str) -> None:
    base = serve(CORS_ORIGINS=f"{ORIGIN}, http://localhost:3000")
    allowed = requests.get(f"{base}{path}", headers={"Origin": ORIGIN}, timeout=30)
    assert allowed.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "X-Request-ID" in allowed.headers["Access-Control-Expose-Headers"]
    other = requests.get(f"{base}{path}", headers={"Origin": "https://example.com"}, timeout=30)
    assert "Access-Control-Allow-Origin" not in other.headers
    plain = requests.get(f"{base}{path}", timeout=30)
    for response in (allowed, other, plain):
        assert "Origin" in response.headers["Vary"].split(", "), "or a cache mixes them up"


@sqlite_only
@pytest.mark.parametrize("path", ["/daily", "/random", "/nothing"])
def test_pages_of_all_origins_may_read_responses_if_so_configured(serve: Serve, path: str) -> None:
    base = serve(CORS_ORIGINS="*")
    for _ in range(2):
        for headers in ({"Origin": ORIGIN}, {}):  # a cache may keep the response to one for the other
            response = requests.get(f"{base}{path}", headers=headers, timeout=30)
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert "X-Request-ID" in response.headers["Access-Control-Expose-Headers"]


def test_a_preflight_request_names_the_allowed_methods(serve: Serve) -> None:
    response = requests.options(
        f"{serve(CORS_ORIGINS=ORIGIN)}/random",
        headers={"Origin": ORIGIN, "Access-Control-Request-Method": "GET"},
        timeout=30,
    )
    assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (200, ORIGIN)
    assert "GET" in response.headers["Access-Control-Allow-Methods"]


@sqlite_only
def test_pages_of_configured_origins_may_read_the_rate_limit_also_of_a_429(serve: Serve) -> None:
    base = serve(READ_LIMIT="2/1m", CORS_ORIGINS=ORIGIN)
    responses = [get(f"{base}/random", Origin=ORIGIN) for _ in range(3)]
    assert [response.status_code for response in responses] == [200, 200, 429]
    for response in responses:
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
        exposed = response.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"RateLimit", "RateLimit-Policy", "Retry-After"} <= set(exposed)


@sqlite_only
@pytest.mark.parametrize("more", [{}, {"READ_LIMIT": "off"}, {"CORS_ORIGINS": "*"}], ids=["", "off", "cors"])
def test_every_response_has_nosniff(serve: Serve, more: dict[str, str]) -> None:
    base = serve(**more)
    responses = [get(f"{base}{path}") for path in ("/daily", "/daily", "/daily?x=1", "/random", "/nothing", "/health")]
    responses += [requests.options(f"{base}/daily", timeout=30), requests.post(f"{base}/daily", timeout=5)]
    assert [response.headers["X-Content-Type-Options"] for response in responses] == ["nosniff"] * 8


@sqlite_only
def test_the_log_line_of_a_request_over_the_rate_limit_says_so(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = serve(READ_LIMIT="1/1m")
    monkeypatch.setattr(request_log, "_writer", None)
    package = logging.getLogger("quoteapi")
    level = package.level
    logging_setup.configure_logging(Settings(log_level="INFO", lambda_function="quotes"))
    try:
        for _ in range(2):
            get(f"{base}/random", X_Request_ID="check-17")
    finally:
        package.handlers.clear()
        package.setLevel(level)
    lines = [line.split(" INFO ")[1] for line in capsys.readouterr().err.splitlines() if " INFO " in line]
    assert lines == ["GET /random 200 [check-17]", "GET (too many requests) 429 [check-17]"]


# ---- fast paths


def test_the_fast_path_of_random_returns_what_falcon_returns(serve: Serve) -> None:
    base = serve(READ_LIMIT="off")
    falcon, fast = get(f"{base}/random?", X_Request_ID="same"), get(f"{base}/random", X_Request_ID="same")
    with_query = get(f"{base}/random?utm=1", X_Request_ID="same")
    for response in (falcon, fast, with_query):
        assert set(response.json()) == {"quote", "author", "category"}
        assert int(response.headers.pop("Content-Length")) == len(response.content)
        del response.headers["Date"]
    assert falcon.headers == fast.headers == with_query.headers


@sqlite_only
def test_the_log_line_has_the_route_instead_of_the_path(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[str, str, int]] = []
    base = serve()
    monkeypatch.setattr(request_log, "log_request", lambda *line: logged.append(line))
    for path in ("/daily", "/daily", "/random", "/random", "/quotes/1", "/nothing/919028000001"):
        get(f"{base}{path}")
    known = [("GET", path, 200) for path in ("/daily", "/daily", "/random", "/random", "/quotes/{quote_id}")]
    assert logged == [*known, ("GET", "(no such page)", 404)]
