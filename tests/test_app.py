import logging
import re
import subprocess
import sys
from pathlib import Path

import falcon
import pytest
import requests
from peewee import OperationalError

from quoteapi import app as app_module
from quoteapi.app import create_app
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import ROOT, Settings
from tests.conftest import Serve
from tests.helpers.data import database_file, environment, sqlite_only
from tests.helpers.http import assert_problem, serve_app

ORIGIN = "https://example.org"


def test_importing_the_package_does_nothing(tmp_path: Path) -> None:
    paths = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "quoteapi").rglob("*.py")]
    names = ", ".join(".".join(path.parts) for path in paths if path.stem.isidentifier() and path.stem != "__main__")
    ran = subprocess.run(
        [sys.executable, "-c", f"import threading, {names}; assert threading.active_count() == 1"],
        env={"PYTHONPATH": str(ROOT), "DATABASE_URL": "nonsense"},
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert (ran.stdout, ran.stderr) == (b"", b"")
    assert list(tmp_path.iterdir()) == []


def test_the_module_has_nothing_but_what_it_has() -> None:
    with pytest.raises(AttributeError, match="nothing_such"):
        app_module.nothing_such  # noqa: B018


def test_without_an_upstream_api_requests_is_not_even_imported(settings: Settings) -> None:
    code = (
        "import sys; from quoteapi.app import create_app; from quoteapi.settings import read_settings;"
        f"create_app(read_settings({environment(settings)!r}));"
        "assert 'requests' not in sys.modules and 'dotenv' not in sys.modules and 'click' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# ---- errors


@sqlite_only
@pytest.mark.parametrize(
    "path", ["/nothing", "/daily/2026", "/favicon.ico", "/%00", "/%FF%FE", "/daily%0Ax", "/a" * 2_000]
)
def test_what_is_not_there_is_a_problem_that_says_what_is(serve: Serve, path: str) -> None:
    assert_problem(requests.get(f"{serve()}{path}", timeout=5), 404, "Not Found", "GET /daily")


@sqlite_only
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/daily", "/random", "/quote", "/", "/health"])
def test_another_method_is_told_the_right_ones(serve: Serve, method: str, path: str) -> None:
    answer = requests.request(method, f"{serve()}{path}", data={"a": "b"}, timeout=5)
    assert_problem(answer, 405, "Method Not Allowed", f"{method} does not work here. Send one of: GET, HEAD, OPTIONS.")
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"


def test_a_slash_too_many_is_forgiven(serve: Serve) -> None:
    base = serve()
    assert requests.get(f"{base}/daily/", timeout=5).content == requests.get(f"{base}/daily", timeout=5).content


def test_a_fault_of_ours_tells_a_stranger_nothing_and_the_operator_everything(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    base = serve()

    def fail(self: QuoteService, filters: object) -> None:
        raise RuntimeError("the secret is 42")

    monkeypatch.setattr(QuoteService, "random_quote", fail)
    answer = requests.get(f"{base}/random?author=Jane", timeout=5)
    assert_problem(answer, 500, "Internal Server Error", "The fault is ours")
    assert "42" not in answer.text
    assert "the secret is 42" in caplog.text
    assert "Traceback" in caplog.text
    assert "GET /random failed" in caplog.text
    assert "Jane" not in caplog.records[0].getMessage()


def test_a_database_that_is_away_is_503_and_says_when_to_come_back(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    base = serve()

    def fail(self: QuoteService, filters: object) -> None:
        raise OperationalError("database is locked: /secret/path")

    monkeypatch.setattr(QuoteService, "random_quote", fail)
    answer = requests.get(f"{base}/random", timeout=5)
    assert_problem(answer, 503, "Database not available", "Try again")
    assert answer.headers["Retry-After"] == "30"
    assert "/secret/path" not in answer.text
    assert "/secret/path" in caplog.text


@sqlite_only
def test_a_database_that_was_deleted_is_not_healthy_but_quotes_go_on(serve: Serve, settings: Settings) -> None:
    base = serve()
    assert requests.get(f"{base}/health", timeout=5).json() == {
        "status": "ok",
        "database": "ok",
        "catalogue": {"quotes": 3},
    }
    for file in database_file(settings).parent.glob("working.db*"):
        file.unlink()
    answer = requests.get(f"{base}/health", timeout=5)
    assert answer.status_code == 503
    assert answer.json() == {"status": "failing", "database": "not available", "catalogue": {"quotes": 0}}
    assert requests.get(f"{base}/random", timeout=5).json()["quote"]
    assert_problem(requests.get(f"{base}/quotes", timeout=5), 503, "Database not available")


@sqlite_only
def test_a_database_that_is_broken_is_not_healthy_but_quotes_go_on(serve: Serve, settings: Settings) -> None:
    base = serve()
    database_file(settings).write_bytes(b"broken" * 10_000)
    assert requests.get(f"{base}/random", timeout=5).json()["quote"]
    assert_problem(requests.get(f"{base}/quotes", timeout=5), 503, "Database not available")
    assert requests.get(f"{base}/health", timeout=5).status_code == 503


# ---- the id of a request


def test_an_answer_carries_the_id_of_its_request(serve: Serve) -> None:
    base = serve()
    for path in ("/daily", "/daily", "/random", "/nothing", "/health"):
        answer = requests.get(f"{base}{path}", headers={"X-Request-ID": "check-17"}, timeout=5)
        assert answer.headers["X-Request-ID"] == "check-17"


def test_a_request_without_an_id_is_given_one_of_its_own(serve: Serve) -> None:
    base = serve()
    given = [requests.get(f"{base}{path}", timeout=5).headers["X-Request-ID"] for path in ("/daily", "/daily", "/no")]
    assert all(re.fullmatch("[0-9a-f]{32}", identity) for identity in given)
    assert len(set(given)) == 3


@sqlite_only
@pytest.mark.parametrize("bad", ["", "a b", "x" * 129, "é", "<script>", 'a"b'])
def test_an_id_that_could_do_harm_is_replaced(serve: Serve, bad: str) -> None:
    answer = requests.get(f"{serve()}/daily", headers={"X-Request-ID": bad.encode()}, timeout=5)
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])


# ---- CORS


def test_without_the_setting_no_other_page_may_call(serve: Serve) -> None:
    answer = requests.get(f"{serve()}/daily", headers={"Origin": ORIGIN}, timeout=5)
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert "Vary" not in answer.headers


@sqlite_only
@pytest.mark.parametrize("path", ["/daily", "/random", "/nothing"])
def test_pages_of_the_named_origins_may_call(serve: Serve, path: str) -> None:
    base = serve(CORS_ORIGINS=f"{ORIGIN}, http://localhost:3000")
    allowed = requests.get(f"{base}{path}", headers={"Origin": ORIGIN}, timeout=5)
    assert allowed.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "X-Request-ID" in allowed.headers["Access-Control-Expose-Headers"]
    other = requests.get(f"{base}{path}", headers={"Origin": "https://example.com"}, timeout=5)
    assert "Access-Control-Allow-Origin" not in other.headers
    plain = requests.get(f"{base}{path}", timeout=5)
    for answer in (allowed, other, plain):
        assert "Origin" in answer.headers["Vary"].split(", "), "or a cache mixes them up"


@sqlite_only
@pytest.mark.parametrize("path", ["/daily", "/random", "/nothing"])
def test_pages_of_all_origins_may_call(serve: Serve, path: str) -> None:
    base = serve(CORS_ORIGINS="*")
    for _ in range(2):
        for headers in ({"Origin": ORIGIN}, {}):  # a cache may keep the answer to one for the other
            answer = requests.get(f"{base}{path}", headers=headers, timeout=5)
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]


def test_a_browser_may_ask_first(serve: Serve) -> None:
    answer = requests.options(
        f"{serve(CORS_ORIGINS=ORIGIN)}/random",
        headers={"Origin": ORIGIN, "Access-Control-Request-Method": "GET"},
        timeout=5,
    )
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, ORIGIN)
    assert "GET" in answer.headers["Access-Control-Allow-Methods"]


def test_what_falcon_would_answer_as_xml_is_json_here(settings: Settings) -> None:
    app = create_app(settings)
    assert isinstance(app, falcon.App)
    with serve_app(app) as base:
        assert_problem(requests.get(f"{base}/no", headers={"Accept": "text/xml"}, timeout=5), 404, "Not Found")
    logging.getLogger("quoteapi").handlers.clear()
