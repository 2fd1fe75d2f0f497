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


def get(address: str, **headers: str) -> requests.Response:
    return requests.get(address, headers={name.replace("_", "-"): value for name, value in headers.items()}, timeout=5)


def quotation_of(answer: requests.Response) -> Quotation:
    shown = answer.json()["quote"]
    return next(each for each in (ALCOTT, AUSTEN, ZOLA) if each.quote == shown)


def test_the_card_of_the_day_shows_the_quote_of_the_day(serve: Serve) -> None:
    base = serve()
    answer = get(f"{base}/daily.svg")
    assert answer.headers["Content-Type"] == "image/svg+xml"
    assert answer.content == render_card(quotation_of(get(f"{base}/daily"))).encode()


def test_the_card_of_a_quote_shows_that_quote(serve: Serve) -> None:
    base = serve()
    for quote_id, quotation in enumerate((ALCOTT, AUSTEN, ZOLA), 1):
        assert get(f"{base}/quotes/{quote_id}.svg").content == render_card(quotation).encode()


def test_the_card_of_the_day_may_be_kept_until_midnight_and_that_of_a_quote_for_a_day(
    serve: Serve, clock: FakeClock
) -> None:
    base = serve()
    clock.advance(hours=11, minutes=59)
    kept = [get(f"{base}{path}").headers["Cache-Control"] for path in PATHS]
    assert kept == ["public, max-age=60", "public, max-age=86400"]


def test_there_is_another_card_after_midnight(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    today = get(f"{base}/daily.svg").content
    clock.advance(days=1)
    assert get(f"{base}/daily.svg").content != today


def test_the_card_of_the_day_is_drawn_once_and_then_asks_nothing_of_the_database(serve: Serve) -> None:
    base = serve()
    get(f"{base}/daily.svg")
    with record_sql() as statements:
        get(f"{base}/daily.svg")
    assert statements == []


@pytest.mark.parametrize("path", PATHS)
def test_who_has_the_card_already_is_told_so_without_it(serve: Serve, path: str) -> None:
    base = serve()
    first = get(f"{base}{path}")
    again = get(f"{base}{path}", If_None_Match=first.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    for name in ("ETag", "Cache-Control"):
        assert again.headers[name] == first.headers[name]
    assert get(f"{base}{path}", If_None_Match='"another"').status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_head_answers_what_get_would_but_for_the_card(serve: Serve, path: str) -> None:
    base = serve()
    with_card, without = get(f"{base}{path}"), requests.head(f"{base}{path}", timeout=5)
    assert (without.status_code, without.content) == (200, b"")
    for name in ("Content-Type", "Content-Length", "ETag", "Cache-Control", "Content-Security-Policy"):
        assert without.headers[name] == with_card.headers[name]


@pytest.mark.parametrize("path", PATHS)
def test_a_card_may_be_shown_by_any_page_and_load_or_run_nothing(serve: Serve, path: str) -> None:
    answer = get(f"{serve()}{path}")
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    style = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert len(style) == 1
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    assert answer.headers["Content-Security-Policy"] == f"default-src 'none'; style-src 'sha256-{digest}'"
    assert not re.search(r"style=|href|<script|<image|\son\w+=", answer.text)


@sqlite_only
@pytest.mark.parametrize("odd", ["4", "0", "01", "-1", "1e3", "x", "a.b", "2.svg", "٢", "9" * 30, "%20"])
def test_the_card_of_a_quote_that_is_not_there_is_answered_as_the_quote_is(serve: Serve, odd: str) -> None:
    base = serve()
    detail = "No quote has this id"
    assert_problem(get(f"{base}/quotes/{odd}.svg"), 404, "No quote found", detail)
    if not odd.endswith("svg"):
        assert_problem(get(f"{base}/quotes/{odd}"), 404, "No quote found", detail)


def test_a_suffix_alone_is_no_id_and_a_quote_without_one_is_json(serve: Serve) -> None:
    base = serve()
    assert_problem(get(f"{base}/quotes/.svg"), 404, "No quote found", "No quote has this id")
    assert get(f"{base}/quotes/2").json()["quote"] == AUSTEN.quote
    assert_problem(get(f"{base}/quotes/2.png"), 404, "No quote found", "No quote has this id")


@sqlite_only
def test_while_the_database_is_away_the_card_of_the_day_is_kept_for_seconds_and_not_remembered(
    serve: Serve, settings: Settings, clock: FakeClock
) -> None:
    base, working = serve(), database_file(settings)
    away = working.rename(working.with_suffix(".away"))
    for _ in range(2):
        assert get(f"{base}/daily.svg").headers["Cache-Control"] == "public, max-age=10"
    away.rename(working)
    clock.advance(seconds=11)
    assert get(f"{base}/daily.svg").headers["Cache-Control"] == "public, max-age=43189"
