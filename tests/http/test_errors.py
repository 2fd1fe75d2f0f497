import logging

import falcon
import pytest
import requests
from peewee import OperationalError

from quoteapi.app import create_app
from quoteapi.http.errors import format_duration
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import Settings
from tests.conftest import Serve
from tests.helpers.data import database_file, sqlite_only
from tests.helpers.http import assert_problem, serve_app


@sqlite_only
@pytest.mark.parametrize(
    "path", ["/nothing", "/daily/2026", "/favicon.ico", "/%00", "/%FF%FE", "/daily%0Ax", "/a" * 2_000]
)
def test_an_unknown_path_is_a_404_problem_that_names_the_known_ones(serve: Serve, path: str) -> None:
    assert_problem(requests.get(f"{serve()}{path}", timeout=30), 404, "Not found", "GET /daily")


@sqlite_only
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/daily", "/random", "/quote", "/", "/health"])
def test_a_method_that_is_not_allowed_is_a_405_problem_that_names_those_that_are(
    serve: Serve, method: str, path: str
) -> None:
    response = requests.request(method, f"{serve()}{path}", data={"a": "b"}, timeout=30)
    assert_problem(
        response, 405, "Method not allowed", f"{method} is not allowed here. Use one of: GET, HEAD, OPTIONS."
    )
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"


def test_an_unexpected_error_is_a_500_without_details_and_a_log_line_with_all(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    base = serve()

    def fail(self: QuoteService, filters: object) -> None:
        raise RuntimeError("the secret is 42")

    monkeypatch.setattr(QuoteService, "random_quote", fail)
    response = requests.get(f"{base}/random?author=Jane", timeout=30)
    assert_problem(response, 500, "Internal server error", "Something went wrong on our side")
    assert "42" not in response.text
    assert "the secret is 42" in caplog.text
    assert "Traceback" in caplog.text
    assert "GET /random failed" in caplog.text
    assert "Jane" not in caplog.records[0].getMessage()


def test_an_unavailable_database_is_a_503_with_retry_after(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    base = serve()

    def fail(self: QuoteService, filters: object) -> None:
        raise OperationalError("database is locked: /secret/path")

    monkeypatch.setattr(QuoteService, "random_quote", fail)
    response = requests.get(f"{base}/random", timeout=30)
    assert_problem(response, 503, "Database not available", "Try again")
    assert response.headers["Retry-After"] == "30"
    assert "/secret/path" not in response.text
    assert "/secret/path" in caplog.text


@sqlite_only
def test_quotes_are_served_after_the_database_file_was_deleted(serve: Serve, settings: Settings) -> None:
    base = serve()
    assert requests.get(f"{base}/health", timeout=30).json() == {
        "status": "ok",
        "database": "ok",
        "catalogue": {"quotes": 3},
    }
    for file in database_file(settings).parent.glob("working.db*"):
        file.unlink()
    response = requests.get(f"{base}/health", timeout=30)
    assert response.status_code == 503
    assert response.json() == {"status": "failing", "database": "not available", "catalogue": {"quotes": 0}}
    assert requests.get(f"{base}/random", timeout=30).json()["quote"]
    assert_problem(requests.get(f"{base}/quotes", timeout=30), 503, "Database not available")


@sqlite_only
def test_quotes_are_served_while_the_database_file_is_corrupt(serve: Serve, settings: Settings) -> None:
    base = serve()
    database_file(settings).write_bytes(b"broken" * 10_000)
    assert requests.get(f"{base}/random", timeout=30).json()["quote"]
    assert_problem(requests.get(f"{base}/quotes", timeout=30), 503, "Database not available")
    assert requests.get(f"{base}/health", timeout=30).status_code == 503


def test_an_error_is_json_even_if_the_client_prefers_xml(settings: Settings) -> None:
    app = create_app(settings)
    assert isinstance(app, falcon.App)
    with serve_app(app) as base:
        assert_problem(requests.get(f"{base}/no", headers={"Accept": "text/xml"}, timeout=30), 404, "Not found")
    logging.getLogger("quoteapi").handlers.clear()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "1 second"),
        (2, "2 seconds"),
        (60, "60 seconds"),
        (61, "2 minutes"),
        (3_600, "60 minutes"),
        (7_200, "120 minutes"),
        (7_201, "3 hours"),
        (86_400, "24 hours"),
    ],
)
def test_a_duration_is_given_in_words_and_rounded_up(seconds: int, words: str) -> None:
    assert format_duration(seconds) == words
