from collections.abc import Callable
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import requests

from quoteapi.quotes.quotation import Quotation
from quoteapi.storage.catalogue import store_quotation
from tests.conftest import Serve
from tests.helpers.clock import FakeClock
from tests.helpers.data import ALCOTT, KABIR, numbered_quotations, sqlite_only
from tests.helpers.http import assert_problem, get
from tests.helpers.sql import record_sql

ThreeKeys = {"quote", "author", "category"}


# ---- /daily


def test_daily_returns_the_same_short_object_all_day(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    at_noon = get(f"{base}/daily")
    clock.advance(hours=11, minutes=59, seconds=59)
    before_midnight = get(f"{base}/daily")

    assert at_noon.status_code == 200
    assert set(at_noon.json()) == ThreeKeys
    assert at_noon.headers["Content-Type"] == "application/json"
    assert before_midnight.content == at_noon.content


def test_daily_changes_at_midnight(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    today = get(f"{base}/daily").json()
    clock.advance(days=1)
    assert get(f"{base}/daily").json() != today


@pytest.mark.parametrize(
    ("passed", "left"), [({}, 43_200), ({"hours": 11, "minutes": 59, "seconds": 59}, 1), ({"hours": 12}, 86_400)]
)
def test_caches_may_keep_daily_until_midnight(
    serve: Serve, clock: FakeClock, passed: dict[str, int], left: int
) -> None:
    clock.advance(**passed)
    base = serve()
    for _ in range(2):  # by Falcon, and by the fast path
        assert get(f"{base}/daily").headers["Cache-Control"] == f"public, max-age={left}"


def test_the_fast_path_counts_max_age_down_and_changes_at_midnight(serve: Serve, clock: FakeClock) -> None:
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


def test_the_fast_path_returns_what_falcon_returns(serve: Serve) -> None:
    base = serve()
    by_falcon = get(f"{base}/daily?", X_Request_ID="same")
    by_falcon_again = get(f"{base}/daily?utm=1", X_Request_ID="same")
    by_fast_path = get(f"{base}/daily", X_Request_ID="same")
    for response, left in ((by_falcon, 599), (by_falcon_again, 598), (by_fast_path, 597)):
        assert response.content == by_fast_path.content
        # wsgiref's own header, which tells the time of day
        del response.headers["Date"]
        assert response.headers.pop("RateLimit") == f'"reads";r={left};t=60'
    assert "RateLimit-Policy" in by_fast_path.headers
    assert by_falcon.headers == by_falcon_again.headers == by_fast_path.headers


def test_a_client_that_has_the_quote_gets_304(serve: Serve) -> None:
    base = serve()
    etag = get(f"{base}/daily").headers["ETag"]
    for known in (etag, f"W/{etag}", f'"another", {etag}', "*"):
        response = get(f"{base}/daily", If_None_Match=known)
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["ETag"] == etag
        assert response.headers["Cache-Control"].startswith("public, max-age=")
    assert get(f"{base}/daily", If_None_Match='"another"').status_code == 200


def test_a_past_date_has_its_quote(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    yesterday = clock().date() - timedelta(days=1)
    response = get(f"{base}/daily?date={yesterday}")
    assert response.status_code == 200
    assert response.json() != get(f"{base}/daily").json()
    assert get(f"{base}/daily?date={clock().date()}").json() == get(f"{base}/daily").json()
    assert get(f"{base}/daily?date=0001-01-01").status_code == 200


def test_the_quote_of_a_day_stays_the_same(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    day, quote = clock().date(), get(f"{base}/daily").json()
    clock.advance(days=400)
    assert get(f"{base}/daily?date={day}").json() == quote


def test_a_date_is_rejected_until_it_has_begun_somewhere(serve: Serve, clock: FakeClock) -> None:
    tomorrow = clock().date() + timedelta(days=1)
    clock.advance(hours=-2, seconds=-1)
    base = serve()
    assert_problem(get(f"{base}/daily?date={tomorrow}"), 400, "Invalid date", f"{tomorrow} is in the future")
    clock.advance(seconds=1)  # 10:00
    assert get(f"{base}/daily?date={tomorrow}").status_code == 200


def test_a_local_date_has_one_quote_asked_by_time_zone_by_date_and_on_the_next_day(
    serve: Serve, clock: FakeClock
) -> None:
    base, tomorrow = serve(), clock().date() + timedelta(days=1)
    in_auckland = get(f"{base}/daily?tz=Pacific/Auckland")
    assert in_auckland.json() == get(f"{base}/daily?date={tomorrow}").json()
    assert in_auckland.json() != get(f"{base}/daily").json()
    assert get(f"{base}/daily?tz=America/New_York").content == get(f"{base}/daily").content
    clock.advance(days=1)
    next_day = get(f"{base}/daily")
    assert (next_day.content, next_day.headers["ETag"]) == (in_auckland.content, in_auckland.headers["ETag"])
    assert get(f"{serve()}/daily").content == in_auckland.content


@sqlite_only
@pytest.mark.parametrize(
    ("moment", "time_zone", "seconds"),
    [
        ("2026-11-22T12:00:00Z", "Asia/Kolkata", 23_400),
        ("2026-11-22T12:00:00Z", "Pacific/Auckland", 82_800),
        ("2026-11-22T12:00:00.5Z", "Etc/UTC", 43_200),
        ("2026-11-01T04:00:00Z", "America/New_York", 90_000),
        ("2027-03-14T05:00:00Z", "America/New_York", 82_800),
        ("2027-03-27T12:00:00Z", "Asia/Beirut", 36_000),
    ],
    ids=["Kolkata", "Auckland", "UTC", "a day of 25 hours", "a day of 23 hours", "before clocks skip midnight"],
)
def test_caches_may_keep_the_quote_of_a_time_zone_until_midnight_there(
    serve: Serve, clock: FakeClock, moment: str, time_zone: str, seconds: int
) -> None:
    clock.moment = datetime.fromisoformat(moment)
    response = get(f"{serve()}/daily?tz={time_zone}")
    assert response.headers["Cache-Control"] == f"public, max-age={seconds}"


@sqlite_only
@pytest.mark.parametrize(
    ("query", "same_as"),
    [
        ("tz=asia/kolkata", "tz=Asia/Kolkata"),
        ("tz=Asia%2FCalcutta", "tz=Asia/Kolkata"),
        ("tz=Etc/GMT-14", "tz=Pacific/Kiritimati"),
        ("tz=Etc/GMT+5", "tz=Etc/GMT%2B5"),
        ("tz=", ""),
        ("tz=&date=2026-11-20", "date=2026-11-20"),
    ],
)
def test_a_time_zone_may_be_written_in_several_ways(serve: Serve, query: str, same_as: str) -> None:
    base = serve()
    one, other = get(f"{base}/daily?{query}"), get(f"{base}/daily?{same_as}")
    assert one.status_code == 200
    assert one.content == other.content
    assert one.headers["Cache-Control"] == other.headers["Cache-Control"]


@sqlite_only
@pytest.mark.parametrize("wrong", ["IST", "+05:30", "Kolkata", "../zone.tab", "%FF", "%00", "a" * 5_000])
def test_an_unknown_time_zone_is_rejected_with_an_example(serve: Serve, wrong: str) -> None:
    response = get(f"{serve()}/daily?tz={wrong}")
    assert_problem(response, 400, "Invalid tz", "Send an IANA time zone, for example ?tz=Asia/Kolkata.")


@sqlite_only
def test_a_date_and_a_time_zone_together_are_rejected(serve: Serve) -> None:
    response = get(f"{serve()}/daily?date=2026-11-20&tz=Asia/Kolkata")
    assert_problem(response, 400, "Invalid tz", "Send either date or tz.")


@sqlite_only
@pytest.mark.parametrize("name", ["timezone", "time_zone", "TZ"])
def test_another_name_of_the_time_zone_is_rejected_with_the_right_one(serve: Serve, name: str) -> None:
    response = get(f"{serve()}/daily?{name}=Asia/Kolkata")
    assert_problem(response, 400, "Unknown parameter", "Did you mean tz?")


@sqlite_only
def test_a_client_that_has_the_quote_of_a_time_zone_gets_304(serve: Serve) -> None:
    base = serve()
    url = f"{base}/daily?tz=Pacific/Auckland"
    first = get(url)
    again = get(url, If_None_Match=first.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["Cache-Control"] == first.headers["Cache-Control"]
    assert get(url, If_None_Match=get(f"{base}/daily").headers["ETag"]).status_code == 200


@sqlite_only
def test_the_quote_of_a_time_zone_comes_from_the_fallback_catalogue_too(serve: Serve) -> None:
    base = serve()
    expected = get(f"{base}/daily?tz=Pacific/Auckland").content
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quoteapi.quotes.fallback.QuotesWithFallback._is_available", lambda *_: False)
        response = get(f"{serve()}/daily?tz=Pacific/Auckland")
    assert response.content == expected
    assert response.headers["Cache-Control"] == "public, max-age=10"


@sqlite_only
@pytest.mark.parametrize(
    "wrong",
    ["", "today", "22-11-2026", "2026-11-31", "20261122", "2026-W47-7", "२०२६-११-२२", "0000-01-01", "%FF", "%00"],
)
def test_an_invalid_date_is_rejected_with_the_format(serve: Serve, wrong: str) -> None:
    assert_problem(get(f"{serve()}/daily?date={wrong}"), 400, "Invalid date", "YYYY-MM-DD")


def test_daily_sends_one_sql_statement_when_cold_and_none_when_warm(serve: Serve) -> None:
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


def test_random_is_another_quote_each_time_and_is_not_cached(serve: Serve) -> None:
    base = serve()
    responses = [get(f"{base}/random") for _ in range(12)]
    assert all(set(response.json()) == ThreeKeys for response in responses)
    assert all(response.headers["Cache-Control"] == "no-store" for response in responses)
    texts = [response.json()["quote"] for response in responses]
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
def test_random_is_filtered(serve: Serve, query: str, author: str) -> None:
    base = serve()
    for _ in range(3):
        assert get(f"{base}/random?{query}").json()["author"] == author


@pytest.mark.parametrize(
    ("query", "question"),
    [
        ("author=austen", "by 'austen'. Did you mean Jane Austen?"),
        ("category=hop", "in the category 'hop'. Did you mean hope?"),
        (
            "category=hop&author=Zolla&max_length=9",
            "by 'Zolla' in the category 'hop'. Did you mean Émile Zola? Did you mean hope?",
        ),
    ],
)
def test_a_404_suggests_similar_authors_and_categories(serve: Serve, query: str, question: str) -> None:
    base = serve()
    for path in (f"/random?{query}", f"/quote?type=random&{query}", f"/?{query}"):
        response = get(f"{base}{path}")
        assert_problem(response, 404, "No quote found", question)
        assert response.json()["detail"].endswith(question)


def test_the_fallback_catalogue_suggests_authors_too(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quoteapi.quotes.fallback.QuotesWithFallback._is_available", lambda *_: False)
        assert_problem(get(f"{base}/random?author=austen"), 404, "No quote found", "Did you mean Jane Austen?")


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("category=cookery", "There is no quote in the category 'cookery'. Try another category."),
        ("author=Nobody", "There is no quote by 'Nobody'. Use the full name, as in 'Jane Austen'."),
        (
            "category=hope&author=Jane+Austen",
            "There is no quote by 'Jane Austen' in the category 'hope'. Leave out the author or the category.",
        ),
        ("max_length=18", "No quote is that short; the shortest has 19 characters."),
        (
            "max_length=1&category=nature",
            "No quote in the category 'nature' is that short; the shortest has 36 characters.",
        ),
        ("max_length=1&category=cookery", "There is no quote in the category 'cookery'. Try another category."),
    ],
)
def test_filters_that_no_quote_passes_are_a_404(serve: Serve, query: str, detail: str) -> None:
    response = get(f"{serve()}/random?{query}")
    assert_problem(response, 404, "No quote found")
    assert response.json()["detail"] == detail


@sqlite_only
@pytest.mark.parametrize("wrong", ["0", "-1", "1.5", "ten", "٣", "%F0%9F%98%80"])
def test_an_invalid_max_length_is_rejected_with_an_example(serve: Serve, wrong: str) -> None:
    assert_problem(get(f"{serve()}/random?max_length={wrong}"), 400, "Invalid max_length", "?max_length=120")


def test_leading_zeros_of_max_length_are_ignored(serve: Serve) -> None:
    assert get(f"{serve()}/random?max_length=0000000000019").json()["quote"] == ALCOTT.quote


@pytest.mark.parametrize("name", ["category", "author"])
def test_a_name_that_is_too_long_is_rejected(serve: Serve, name: str) -> None:
    assert_problem(get(f"{serve()}/random?{name}={'a' * 201}"), 400, f"Invalid {name}", "Send at most 200 characters.")


def test_a_huge_max_length_filters_nothing(serve: Serve) -> None:
    assert get(f"{serve()}/random?max_length={'9' * 5_000}").status_code == 200


def test_random_sends_one_sql_statement_when_cold_and_none_when_warm(serve: Serve) -> None:
    base = serve()
    with record_sql() as cold:
        get(f"{base}/random")
    with record_sql() as warm:
        for _ in range(10):
            get(f"{base}/random")
    assert len(cold) == 1
    assert warm == []


def test_random_includes_a_new_quote_within_a_minute(
    serve: Serve, clock: FakeClock, bundled_catalogue: Callable[[list[Quotation]], Path]
) -> None:
    base = serve()
    get(f"{base}/random")
    store_quotation(KABIR, clock())
    clock.advance(minutes=1)
    assert KABIR.quote in {get(f"{base}/random").json()["quote"] for _ in range(4)}


# ---- /quote and /


def test_quote_returns_the_daily_or_a_random_one_by_type(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    daily = get(f"{base}/daily")
    assert get(f"{base}/quote").content == get(f"{base}/quote?type=daily").content == daily.content
    assert get(f"{base}/quote").headers["ETag"] == daily.headers["ETag"]
    in_auckland = get(f"{base}/daily?tz=Pacific/Auckland")
    assert get(f"{base}/quote?type=daily&tz=Pacific/Auckland").content == in_auckland.content
    assert len({get(f"{base}/quote?type=random").text for _ in range(6)}) > 1
    assert get(f"{base}/quote?type=random&category=hope").json()["quote"] == ALCOTT.quote


@pytest.mark.parametrize("wrong", ["weekly", "Daily", ""])
def test_an_unknown_type_is_rejected_with_the_known_ones(serve: Serve, wrong: str) -> None:
    response = get(f"{serve()}/quote?type={wrong}")
    assert_problem(response, 400, "Invalid Quote type")
    assert response.json()["detail"] == "Supported types are 'daily' or 'random'."


def test_the_root_returns_a_random_quote_to_programs(serve: Serve) -> None:
    base = serve()
    responses = {get(f"{base}/").text for _ in range(6)}
    assert len(responses) > 1
    assert set(get(f"{base}/").json()) == ThreeKeys


# ---- all of them


@pytest.mark.parametrize(
    "path", ["/daily", "/random", "/quote", "/", "/health", "/daily?date=2026-11-20", "/daily?tz=Asia/Kolkata"]
)
def test_head_returns_headers_without_a_body(serve: Serve, path: str) -> None:
    base = serve()
    response = requests.head(f"{base}{path}", timeout=30)
    assert response.status_code == 200
    assert int(response.headers["Content-Length"]) > 40
    assert response.content == b""


@sqlite_only
@pytest.mark.parametrize("path", ["/daily", "/random", "/quote", "/", "/health"])
def test_options_returns_the_allowed_methods(serve: Serve, path: str) -> None:
    response = requests.options(f"{serve()}{path}", timeout=30)
    assert (response.status_code, response.headers["Allow"]) == (200, "GET, HEAD")


def test_text_in_any_language_is_returned_as_utf_8(
    serve: Serve, bundled_catalogue: Callable[[list[Quotation]], Path], clock: FakeClock
) -> None:
    base = serve()
    store_quotation(KABIR, clock())
    response = requests.get(f"{base}/random", params={"author": "कबीर", "category": "समय"}, timeout=30)
    assert response.json() == {"quote": KABIR.quote, "author": KABIR.author, "category": KABIR.category}
    assert KABIR.quote.encode() in response.content, "as UTF-8, not as escapes"


def test_an_empty_catalogue_is_a_404_and_unhealthy(
    serve: Serve, bundled_catalogue: Callable[[list[Quotation]], Path], tmp_path: Path
) -> None:
    shipped_file = tmp_path / "shipped.db"
    shipped_file.unlink()
    bundled_catalogue([])
    base = serve()
    assert_problem(
        get(f"{base}/daily"), 404, "No quote found", "The catalogue has no quotes. The operator must import some."
    )
    assert_problem(
        get(f"{base}/random"), 404, "No quote found", "The catalogue has no quotes. The operator must import some."
    )
    health = get(f"{base}/health")
    assert (health.status_code, health.json()["status"]) == (503, "failing")


def test_random_quotes_of_a_large_catalogue_do_not_repeat_soon(
    serve: Serve, bundled_catalogue: Callable[[list[Quotation]], Path], tmp_path: Path
) -> None:
    (tmp_path / "shipped.db").unlink()
    bundled_catalogue(numbered_quotations(250))
    base = serve()
    with requests.Session() as client:
        seen = [client.get(f"{base}/random", timeout=30).json()["quote"] for _ in range(250)]
    assert len(set(seen)) == 250


def test_no_daily_quote_repeats_until_all_were_shown(
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
