import base64
import hashlib
import re

import pytest
import requests

from quoteapi.http.resources.cards import render_card
from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import Settings
from tests.conftest import Serve
from tests.helpers.clock import FakeClock
from tests.helpers.data import ALCOTT, AUSTEN, ZOLA, database_file, sqlite_only
from tests.helpers.http import assert_problem
from tests.helpers.sql import record_sql

PATHS = ["/daily.svg", "/quotes/2.svg"]


def get(url: str, **headers: str) -> requests.Response:
    return requests.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()}, timeout=30)


def parse_quotation(response: requests.Response) -> Quotation:
    quote = response.json()["quote"]
    return next(quotation for quotation in (ALCOTT, AUSTEN, ZOLA) if quotation.quote == quote)


def test_the_daily_card_shows_the_quote_of_the_day(serve: Serve) -> None:
    base = serve()
    response = get(f"{base}/daily.svg")
    assert response.headers["Content-Type"] == "image/svg+xml"
    assert response.content == render_card(parse_quotation(get(f"{base}/daily"))).encode()


def test_the_card_of_a_quote_shows_that_quote(serve: Serve) -> None:
    base = serve()
    for quote_id, quotation in enumerate((ALCOTT, AUSTEN, ZOLA), 1):
        assert get(f"{base}/quotes/{quote_id}.svg").content == render_card(quotation).encode()


def test_the_daily_card_is_cacheable_until_midnight_and_that_of_a_quote_for_a_day(
    serve: Serve, clock: FakeClock
) -> None:
    base = serve()
    clock.advance(hours=11, minutes=59)
    policies = [get(f"{base}{path}").headers["Cache-Control"] for path in PATHS]
    assert policies == ["public, max-age=60", "public, max-age=86400"]


def test_the_daily_card_changes_at_midnight(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    today = get(f"{base}/daily.svg").content
    clock.advance(days=1)
    assert get(f"{base}/daily.svg").content != today


def test_the_daily_card_is_rendered_once_and_then_needs_no_statement(serve: Serve) -> None:
    base = serve()
    get(f"{base}/daily.svg")
    with record_sql() as statements:
        get(f"{base}/daily.svg")
    assert statements == []


@pytest.mark.parametrize("path", PATHS)
def test_a_card_with_a_known_etag_is_not_modified(serve: Serve, path: str) -> None:
    base = serve()
    first = get(f"{base}{path}")
    again = get(f"{base}{path}", If_None_Match=first.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    for name in ("ETag", "Cache-Control"):
        assert again.headers[name] == first.headers[name]
    assert get(f"{base}{path}", If_None_Match='"another"').status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_head_has_the_headers_of_a_card_and_no_body(serve: Serve, path: str) -> None:
    base = serve()
    get_response, head_response = get(f"{base}{path}"), requests.head(f"{base}{path}", timeout=30)
    assert (head_response.status_code, head_response.content) == (200, b"")
    for name in ("Content-Type", "Content-Length", "ETag", "Cache-Control", "Content-Security-Policy"):
        assert head_response.headers[name] == get_response.headers[name]


@pytest.mark.parametrize("path", PATHS)
def test_any_site_may_embed_a_card_and_it_loads_and_runs_nothing(serve: Serve, path: str) -> None:
    response = get(f"{serve()}{path}")
    assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    style = re.findall(r"<style>(.*?)</style>", response.text, re.DOTALL)
    assert len(style) == 1
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    assert response.headers["Content-Security-Policy"] == f"default-src 'none'; style-src 'sha256-{digest}'"
    assert not re.search(r"style=|href|<script|<image|\son\w+=", response.text)


@sqlite_only
@pytest.mark.parametrize("quote_id", ["4", "0", "01", "-1", "1e3", "x", "a.b", "2.svg", "٢", "9" * 30, "%20"])
def test_the_card_of_an_unknown_quote_is_not_found(serve: Serve, quote_id: str) -> None:
    base = serve()
    detail = "No quote has this ID"
    assert_problem(get(f"{base}/quotes/{quote_id}.svg"), 404, "No quote found", detail)
    if not quote_id.endswith("svg"):
        assert_problem(get(f"{base}/quotes/{quote_id}"), 404, "No quote found", detail)


def test_a_suffix_alone_is_no_id_and_a_quote_without_a_suffix_is_json(serve: Serve) -> None:
    base = serve()
    assert_problem(get(f"{base}/quotes/.svg"), 404, "No quote found", "No quote has this ID")
    assert get(f"{base}/quotes/2").json()["quote"] == AUSTEN.quote
    assert_problem(get(f"{base}/quotes/2.png"), 404, "No quote found", "No quote has this ID")


@sqlite_only
def test_without_a_database_the_daily_card_is_cacheable_for_seconds_and_not_kept_by_the_service(
    serve: Serve, settings: Settings, clock: FakeClock
) -> None:
    base, working = serve(), database_file(settings)
    renamed = working.rename(working.with_suffix(".away"))
    for _ in range(2):
        assert get(f"{base}/daily.svg").headers["Cache-Control"] == "public, max-age=10"
    renamed.rename(working)
    clock.advance(seconds=11)
    assert get(f"{base}/daily.svg").headers["Cache-Control"] == "public, max-age=43189"
