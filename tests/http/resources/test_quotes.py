from collections.abc import Callable
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import requests

from quoteapi.quotes.quotation import Quotation
from quoteapi.storage.catalogue import store_quotation
from tests.conftest import Serve
from tests.helpers.clock import FakeClock
from tests.helpers.data import ALCOTT, KABIR, numbered_quotations, sqlite_only
from tests.helpers.http import assert_problem
from tests.helpers.sql import record_sql

ThreeKeys = {"quote", "author", "category"}


def get(address: str, **headers: str) -> requests.Response:
    return requests.get(address, headers={name.replace("_", "-"): value for name, value in headers.items()}, timeout=5)


# ---- /daily


def test_daily_is_one_short_object_and_the_same_all_day(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    at_noon = get(f"{base}/daily")
    clock.advance(hours=11, minutes=59, seconds=59)
    before_midnight = get(f"{base}/daily")

    assert at_noon.status_code == 200
    assert set(at_noon.json()) == ThreeKeys
    assert at_noon.headers["Content-Type"] == "application/json"
    assert before_midnight.content == at_noon.content


def test_daily_is_another_quote_after_midnight(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    today = get(f"{base}/daily").json()
    clock.advance(days=1)
    assert get(f"{base}/daily").json() != today


@pytest.mark.parametrize(
    ("passed", "left"), [({}, 43_200), ({"hours": 11, "minutes": 59, "seconds": 59}, 1), ({"hours": 12}, 86_400)]
)
def test_daily_may_be_kept_until_midnight(serve: Serve, clock: FakeClock, passed: dict[str, int], left: int) -> None:
    clock.advance(**passed)
    base = serve()
    for _ in range(2):  # as Falcon answers, and by the short cut
        assert get(f"{base}/daily").headers["Cache-Control"] == f"public, max-age={left}"


def test_the_short_cut_counts_the_seconds_down_and_knows_midnight(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    kept_for = []
    for _ in range(4):
        kept_for.append(get(f"{base}/daily").headers["Cache-Control"])
        clock.advance(seconds=0.5)
    assert kept_for == [f"public, max-age={left}" for left in (43_200, 43_200, 43_199, 43_199)]
    clock.advance(days=1)
    today = get(f"{base}/daily").json()
    clock.advance(days=-1)
    assert get(f"{base}/daily").json() != today, "a clock that is set back gets its own day again"


def test_the_short_cut_answers_what_falcon_answers(serve: Serve) -> None:
    base = serve()
    by_falcon = get(f"{base}/daily?", X_Request_ID="same")
    by_falcon_again = get(f"{base}/daily?utm=1", X_Request_ID="same")
    by_short_cut = get(f"{base}/daily", X_Request_ID="same")
    for answer, left in ((by_falcon, 599), (by_falcon_again, 598), (by_short_cut, 597)):
        assert answer.content == by_short_cut.content
        # wsgiref's own header, which tells the time of day
        del answer.headers["Date"]
        assert answer.headers.pop("RateLimit") == f'"reads";r={left};t=60'
    assert "RateLimit-Policy" in by_short_cut.headers
    assert by_falcon.headers == by_falcon_again.headers == by_short_cut.headers


def test_who_knows_the_quote_already_is_told_so_without_it(serve: Serve) -> None:
    base = serve()
    etag = get(f"{base}/daily").headers["ETag"]
    for known in (etag, f"W/{etag}", f'"another", {etag}', "*"):
        answer = get(f"{base}/daily", If_None_Match=known)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["ETag"] == etag
        assert answer.headers["Cache-Control"].startswith("public, max-age=")
    assert get(f"{base}/daily", If_None_Match='"another"').status_code == 200


def test_a_past_date_has_its_quote(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    yesterday = clock().date() - timedelta(days=1)
    answer = get(f"{base}/daily?date={yesterday}")
    assert answer.status_code == 200
    assert answer.json() != get(f"{base}/daily").json()
    assert get(f"{base}/daily?date={clock().date()}").json() == get(f"{base}/daily").json()
    assert get(f"{base}/daily?date=0001-01-01").status_code == 200


def test_the_quote_of_a_day_is_the_same_when_that_day_is_past(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    day, quote = clock().date(), get(f"{base}/daily").json()
    clock.advance(days=400)
    assert get(f"{base}/daily?date={day}").json() == quote


def test_a_date_to_come_is_not_told(serve: Serve, clock: FakeClock) -> None:
    tomorrow = clock().date() + timedelta(days=1)
    assert_problem(get(f"{serve()}/daily?date={tomorrow}"), 400, "Invalid date", f"{tomorrow} is not decided yet")


@sqlite_only
@pytest.mark.parametrize(
    "wrong",
    ["", "today", "22-11-2026", "2026-11-31", "20261122", "2026-W47-7", "२०२६-११-२२", "0000-01-01", "%FF", "%00"],
)
def test_a_bad_date_is_told_its_form(serve: Serve, wrong: str) -> None:
    assert_problem(get(f"{serve()}/daily?date={wrong}"), 400, "Invalid date", "YYYY-MM-DD")


def test_daily_asks_the_database_once_when_cold_and_never_when_warm(serve: Serve) -> None:
    first = serve()
    get(f"{first}/daily")
    second = serve()  # another process of the same service
    with record_sql() as cold:
        get(f"{second}/daily")
    with record_sql() as warm:
        get(f"{second}/daily")
        get(f"{second}/daily?x=1")
    assert len(cold) == 1
    assert warm == []


# ---- /random


def test_random_is_another_quote_each_time_and_not_to_be_kept(serve: Serve) -> None:
    base = serve()
    answers = [get(f"{base}/random") for _ in range(12)]
    assert all(set(answer.json()) == ThreeKeys for answer in answers)
    assert all(answer.headers["Cache-Control"] == "no-store" for answer in answers)
    texts = [answer.json()["quote"] for answer in answers]
    assert all(one != next_one for one, next_one in pairwise(texts))
    assert len(set(texts)) == 3


@pytest.mark.parametrize(
    ("query", "author"),
    [
        ("category=hope", "Louisa May Alcott"),
        ("category=HOPE", "Louisa May Alcott"),
        ("author=jane+austen", "Jane Austen"),
        ("author=emile%20zola", "Émile Zola"),
        ("author=%C3%89MILE+ZOLA", "Émile Zola"),
        ("max_length=19", "Louisa May Alcott"),
        ("category=nature&author=Jane%20Austen&max_length=36", "Jane Austen"),
        ("category=&author=Jane+Austen&max_length=", "Jane Austen"),
    ],
)
def test_random_is_narrowed(serve: Serve, query: str, author: str) -> None:
    base = serve()
    for _ in range(3):
        assert get(f"{base}/random?{query}").json()["author"] == author


@pytest.mark.parametrize(
    "query", ["category=cookery", "author=Nobody", "max_length=18", "category=hope&author=Jane+Austen"]
)
def test_where_no_quote_is_left_it_says_so(serve: Serve, query: str) -> None:
    assert_problem(get(f"{serve()}/random?{query}"), 404, "No quote found", "No quote has ")


@sqlite_only
@pytest.mark.parametrize("wrong", ["0", "-1", "1.5", "ten", "٣", "%F0%9F%98%80"])
def test_a_bad_max_length_is_told_its_form(serve: Serve, wrong: str) -> None:
    assert_problem(get(f"{serve()}/random?max_length={wrong}"), 400, "Invalid max_length", "?max_length=120")


def test_zeros_in_front_are_none_behind(serve: Serve) -> None:
    assert get(f"{serve()}/random?max_length=0000000000019").json()["quote"] == ALCOTT.quote


@pytest.mark.parametrize("name", ["category", "author"])
def test_a_name_that_is_no_name_is_refused_before_any_work(serve: Serve, name: str) -> None:
    assert_problem(get(f"{serve()}/random?{name}={'a' * 201}"), 400, f"Invalid {name}", "more than 100 characters")


def test_a_max_length_beyond_all_numbers_narrows_nothing(serve: Serve) -> None:
    assert get(f"{serve()}/random?max_length={'9' * 5_000}").status_code == 200


def test_random_asks_the_database_once_when_cold_and_never_when_warm(serve: Serve) -> None:
    base = serve()
    with record_sql() as cold:
        get(f"{base}/random")
    with record_sql() as warm:
        for _ in range(10):
            get(f"{base}/random")
    assert len(cold) == 1
    assert warm == []


def test_random_shows_a_new_quote_within_a_minute(
    serve: Serve, clock: FakeClock, bundled_catalogue: Callable[[list[Quotation]], Path]
) -> None:
    base = serve()
    get(f"{base}/random")
    store_quotation(KABIR, clock())
    clock.advance(minutes=1)
    assert KABIR.quote in {get(f"{base}/random").json()["quote"] for _ in range(4)}


# ---- /quote and /


def test_quote_is_the_daily_one_or_a_random_one(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    daily = get(f"{base}/daily")
    assert get(f"{base}/quote").content == get(f"{base}/quote?type=daily").content == daily.content
    assert get(f"{base}/quote").headers["ETag"] == daily.headers["ETag"]
    assert len({get(f"{base}/quote?type=random").text for _ in range(6)}) > 1
    assert get(f"{base}/quote?type=random&category=hope").json()["quote"] == ALCOTT.quote


@pytest.mark.parametrize("wrong", ["weekly", "Daily", ""])
def test_another_type_is_refused_in_these_words(serve: Serve, wrong: str) -> None:
    answer = get(f"{serve()}/quote?type={wrong}")
    assert_problem(answer, 400, "Invalid Quote type")
    assert answer.json()["detail"] == "Supported types are 'daily' or 'random'."


def test_the_root_answers_a_program_with_a_random_quote(serve: Serve) -> None:
    base = serve()
    answers = {get(f"{base}/").text for _ in range(6)}
    assert len(answers) > 1
    assert set(get(f"{base}/").json()) == ThreeKeys


# ---- all of them


@pytest.mark.parametrize("path", ["/daily", "/random", "/quote", "/", "/health", "/daily?date=2026-11-20"])
def test_head_has_the_headers_and_no_body(serve: Serve, path: str) -> None:
    base = serve()
    answer = requests.head(f"{base}{path}", timeout=5)
    assert answer.status_code == 200
    assert int(answer.headers["Content-Length"]) > 40
    assert answer.content == b""


@sqlite_only
@pytest.mark.parametrize("path", ["/daily", "/random", "/quote", "/", "/health"])
def test_options_names_the_methods(serve: Serve, path: str) -> None:
    answer = requests.options(f"{serve()}{path}", timeout=5)
    assert (answer.status_code, answer.headers["Allow"]) == (200, "GET, HEAD")


def test_text_in_any_language_survives(
    serve: Serve, bundled_catalogue: Callable[[list[Quotation]], Path], clock: FakeClock
) -> None:
    base = serve()
    store_quotation(KABIR, clock())
    answer = requests.get(f"{base}/random", params={"author": "कबीर", "category": "समय"}, timeout=5)
    assert answer.json() == {"quote": KABIR.quote, "author": KABIR.author, "category": KABIR.category}
    assert KABIR.quote.encode() in answer.content, "as UTF-8, not as escapes"


def test_an_empty_catalogue_is_404_and_not_healthy(
    serve: Serve, bundled_catalogue: Callable[[list[Quotation]], Path], tmp_path: Path
) -> None:
    shipped_file = tmp_path / "shipped.db"
    shipped_file.unlink()
    bundled_catalogue([])
    base = serve()
    assert_problem(get(f"{base}/daily"), 404, "No quote found", "The catalogue has no quotes.")
    assert_problem(get(f"{base}/random"), 404, "No quote found", "The catalogue has no quotes.")
    health = get(f"{base}/health")
    assert (health.status_code, health.json()["status"]) == (503, "failing")


def test_the_random_quotes_of_a_large_catalogue_do_not_repeat_soon(
    serve: Serve, bundled_catalogue: Callable[[list[Quotation]], Path], tmp_path: Path
) -> None:
    (tmp_path / "shipped.db").unlink()
    bundled_catalogue(numbered_quotations(250))
    base = serve()
    with requests.Session() as client:
        seen = [client.get(f"{base}/random", timeout=5).json()["quote"] for _ in range(250)]
    assert len(set(seen)) == 250


def test_days_follow_one_another_without_a_repeat_until_all_were_shown(
    serve: Serve, bundled_catalogue: Callable[[list[Quotation]], Path], tmp_path: Path, clock: FakeClock
) -> None:
    (tmp_path / "shipped.db").unlink()
    bundled_catalogue(numbered_quotations(20))
    base = serve()
    seen = []
    for _ in range(40):
        seen.append(get(f"{base}/daily").json()["quote"])
        clock.advance(days=1)
    assert sorted(seen[:20]) == sorted(seen[20:]) == sorted(quotation.quote for quotation in numbered_quotations(20))
    assert get(f"{base}/daily?date={date(2026, 11, 22)}").json()["quote"] == seen[0]
