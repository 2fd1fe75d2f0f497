import itertools
import logging
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier

import pytest
import requests
from falcon.testing import TestClient

from quoteapi.app import create_app
from quoteapi.http import rate_limit
from quoteapi.http.rate_limit import ReadRateLimit
from quoteapi.observability import logs
from quoteapi.settings import RateLimit, Settings, read_settings
from tests.conftest import Serve
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, NOON, NOOR, environment, latest_otp, sqlite_only, wrong_otp
from tests.helpers.http import assert_problem
from tests.helpers.sql import record_sql

ORIGIN = "https://example.org"
FROM_AFAR = {"TRUSTED_PROXIES": "127.0.0.1"}
"""Lets a test ask from any address."""

Items = dict[str, dict[str, int]]


def get(address: str, **headers: str) -> requests.Response:
    return requests.get(address, headers={name.replace("_", "-"): value for name, value in headers.items()}, timeout=5)


def items(header: str) -> Items:
    """Read a list of items with parameters (RFC 9651): the names in order, and the numbers of each."""
    assert re.fullmatch(r'"[a-z0-9-]+"(;[a-z]=\d+)+(, "[a-z0-9-]+"(;[a-z]=\d+)+)*', header), header
    named = [part.split(";") for part in header.split(", ")]
    return {
        name.strip('"'): {key: int(number) for key, _, number in (parameter.partition("=") for parameter in parameters)}
        for name, *parameters in named
    }


def left(answer: requests.Response, policy: str = "reads") -> tuple[int, int]:
    """Answer what is left of a policy, and for how many seconds."""
    told = items(answer.headers["RateLimit"])[policy]
    return told["r"], told["t"]


def policies(answer: requests.Response) -> Items:
    return items(answer.headers["RateLimit-Policy"])


# ---- what is counted


@sqlite_only
def test_every_answer_tells_the_limit_and_what_is_left_of_it(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    etag = get(f"{base}/daily").headers["ETag"]  # the next is by the short cut
    answers = [get(f"{base}/daily"), get(f"{base}/daily?x=1"), get(f"{base}/daily", If_None_Match=etag)]
    clock.advance(seconds=18)
    answers += [get(f"{base}/daily"), get(f"{base}/random"), get(f"{base}/quotes"), get(f"{base}/nothing")]
    answers += [requests.post(f"{base}/random", timeout=5), requests.head(f"{base}/daily", timeout=5)]
    assert [answer.status_code for answer in answers] == [200, 200, 304, 200, 200, 200, 404, 405, 200]
    assert [left(answer) for answer in answers[:3]] == [(598, 60), (597, 60), (596, 60)]
    assert [left(answer) for answer in answers[3:]] == [(595 - n, 42) for n in range(6)]
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"reads";q=600;w=60'}


@sqlite_only
@pytest.mark.parametrize("path", ["/daily", "/daily?x=1", "/random", "/nothing"])
def test_one_too_many_is_told_when_to_come_back_and_then_let_in(serve: Serve, clock: FakeClock, path: str) -> None:
    base = serve(READ_LIMIT="3/10s")
    assert [get(f"{base}{path}").status_code == 429 for _ in range(3)] == [False] * 3
    clock.advance(seconds=3.5)
    for _ in range(2):
        refused = get(f"{base}{path}")
        assert_problem(
            refused, 429, "Too many requests", "Too many requests from your address. Try again in 7 seconds."
        )
        assert (refused.headers["Retry-After"], left(refused)) == ("7", (0, 7))
        assert policies(refused) == {"reads": {"q": 3, "w": 10}}
    clock.advance(seconds=6)
    assert get(f"{base}{path}").status_code == 429
    clock.advance(seconds=1)
    assert left(get(f"{base}{path}")) == (2, 10)


@sqlite_only
def test_the_short_cut_and_everything_else_count_together(serve: Serve) -> None:
    base = serve(READ_LIMIT="4/1m")
    paths = ["/daily", "/daily", "/random", "/daily", "/daily", "/daily"]
    assert [get(f"{base}{path}").status_code for path in paths] == [200, 200, 200, 200, 429, 429]


@sqlite_only
def test_health_and_options_are_not_counted(serve: Serve) -> None:
    base = serve(READ_LIMIT="1/1m")
    get(f"{base}/random")
    for answer in (get(f"{base}/health"), get(f"{base}/health/"), requests.options(f"{base}/random", timeout=5)):
        assert answer.status_code == 200
        assert "RateLimit" not in answer.headers
        assert "RateLimit-Policy" not in answer.headers
    assert get(f"{base}/random").status_code == 429


@sqlite_only
def test_without_a_limit_nothing_is_told_and_nobody_refused(serve: Serve) -> None:
    base = serve(READ_LIMIT="off")
    answers = [get(f"{base}{path}") for path in ("/daily", "/daily", "/random") for _ in range(250)]
    assert {answer.status_code for answer in answers} == {200}
    assert not any("RateLimit" in answer.headers or "RateLimit-Policy" in answer.headers for answer in answers)


@sqlite_only
def test_counting_asks_the_database_nothing(serve: Serve) -> None:
    base = serve(READ_LIMIT="2/1m")
    get(f"{base}/daily")
    with record_sql() as statements:
        assert [get(f"{base}/daily").status_code for _ in range(3)] == [200, 429, 429]
    assert statements == []


# ---- whose it is


@sqlite_only
@pytest.mark.parametrize("path", ["/daily", "/daily?x=1"])
def test_every_address_has_its_own_and_a_64_of_ipv6_is_one(serve: Serve, path: str) -> None:
    base = serve(READ_LIMIT="2/1m", **FROM_AFAR)
    get(f"{base}/daily")

    def asked_from(address: str) -> int:
        return get(f"{base}{path}", X_Forwarded_For=address).status_code

    assert [asked_from("192.0.2.1") for _ in range(3)] == [200, 200, 429]
    assert asked_from("192.0.2.2") == 200
    assert [asked_from(f"2001:db8:1:2::{n}") for n in range(3)] == [200, 200, 429]
    assert asked_from("2001:db8:1:3::1") == 200
    assert [asked_from("::ffff:192.0.2.2"), asked_from("192.0.2.2")] == [200, 429], "that is the same address"
    assert asked_from("192.0.2.1, 192.0.2.3") == 200, "what stands before the last, a client may have written"


@sqlite_only
def test_nobody_chooses_an_address_where_no_proxy_is_trusted(serve: Serve) -> None:
    base = serve(READ_LIMIT="2/1m")
    assert [get(f"{base}/daily", X_Forwarded_For=f"192.0.2.{n}").status_code for n in range(3)] == [200, 200, 429]


@sqlite_only
def test_behind_api_gateway_it_is_whom_its_event_names(settings: Settings, clock: FakeClock) -> None:
    app = create_app(read_settings(environment(settings, READ_LIMIT="2/1m")), now=clock)

    def asked_from(address: str) -> int:
        event = {"requestContext": {"identity": {"sourceIp": address}}}
        return TestClient(app).simulate_get("/daily", extras={"lambda.event": event}).status_code

    assert [asked_from(address) for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1")] == [
        200,
        200,
        200,
        429,
    ]


# ---- the counter


def test_a_clock_that_is_set_back_shuts_nobody_out() -> None:
    limit = ReadRateLimit(RateLimit(1, 60))
    assert limit.count("a", NOON) == (0, 60)
    assert limit.count("a", NOON + timedelta(seconds=30)) == (-1, 30)
    assert limit.count("a", NOON + timedelta(seconds=10)) == (-2, 50), "the same window"
    assert limit.count("a", NOON - timedelta(hours=1)) == (0, 60)
    assert limit.count("a", NOON - timedelta(hours=1)) == (-1, 60)


def test_a_window_ends_as_soon_as_was_told() -> None:
    limit = ReadRateLimit(RateLimit(1, 10))
    began = NOON + timedelta(seconds=0.7)
    limit.count("a", began)
    for later in (0, 0.29, 0.3, 4.2, 9.29):
        moment = began + timedelta(seconds=later)
        over, seconds = limit.count("a", moment)
        assert over < 0
        other = ReadRateLimit(RateLimit(1, 10))
        other.count("a", began)
        assert other.count("a", moment + timedelta(seconds=seconds)) == (0, 10), "who waits as long as told is let in"


def test_the_addresses_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "MAX_CLIENT_IPS", 100)
    limit = ReadRateLimit(RateLimit(5, 86_400))
    for number in range(1_050):
        limit.count(f"2001:db8:0:{number:x}::/64", NOON)
        assert len(limit._window[2]) <= 100
    assert limit.count("2001:db8:0:419::/64", NOON) == (3, 86_400), "those who came last are"


def test_the_counts_of_a_window_go_with_it() -> None:
    limit = ReadRateLimit(RateLimit(5, 60))
    for number in range(50):
        limit.count(str(number), NOON)
    limit.count("a", NOON + timedelta(seconds=60))
    assert len(limit._window[2]) == 1


def test_however_many_threads_ask_at_once_each_request_is_counted_once() -> None:
    limit, threads = ReadRateLimit(RateLimit(1_000, 1)), 8
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(threads) as pool:
            for second in range(60):
                together, moment = Barrier(threads), NOON + timedelta(seconds=second)

                def ask(_: int, together: Barrier = together, moment: datetime = moment) -> list[int]:
                    together.wait()
                    return [limit.count("a", moment)[0] for _ in range(50)]

                lefts = [left for some in pool.map(ask, range(threads)) for left in some]
                assert sorted(lefts) == list(range(600, 1_000)), "at the beginning of a window, too"
    finally:
        sys.setswitchinterval(interval)


# ---- what goes with it


@sqlite_only
def test_pages_of_other_origins_may_read_what_is_left_and_that_it_was_too_much(serve: Serve) -> None:
    base = serve(READ_LIMIT="2/1m", CORS_ORIGINS=ORIGIN)
    answers = [get(f"{base}/random", Origin=ORIGIN) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    for answer in answers:
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"RateLimit", "RateLimit-Policy", "Retry-After"} <= set(exposed)


@sqlite_only
@pytest.mark.parametrize("more", [{}, {"READ_LIMIT": "off"}, {"CORS_ORIGINS": "*"}], ids=["", "off", "cors"])
def test_no_answer_may_be_taken_for_something_else(serve: Serve, more: dict[str, str]) -> None:
    base = serve(**more)
    answers = [get(f"{base}{path}") for path in ("/daily", "/daily", "/daily?x=1", "/random", "/nothing", "/health")]
    answers += [requests.options(f"{base}/daily", timeout=5), requests.post(f"{base}/daily", timeout=5)]
    assert [answer.headers["X-Content-Type-Options"] for answer in answers] == ["nosniff"] * 8


@sqlite_only
def test_the_log_says_that_it_was_too_much_and_not_that_there_is_no_such_page(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = serve(READ_LIMIT="1/1m")
    monkeypatch.setattr(logs, "_writer", None)
    package = logging.getLogger("quoteapi")
    level = package.level
    logs.configure_logging(Settings(log_level="INFO", lambda_function="quotes"))
    try:
        for _ in range(2):
            get(f"{base}/random", X_Request_ID="check-17")
    finally:
        package.handlers.clear()
        package.setLevel(level)
    said = [line.split(" INFO ")[1] for line in capsys.readouterr().err.splitlines() if " INFO " in line]
    assert said == ["GET /random 200 [check-17]", "GET (too many requests) 429 [check-17]"]


# ---- codes and tries


def ask(base: str, path: str = "/subscribe", **fields: str) -> requests.Response:
    return requests.post(f"{base}{path}", data=fields, timeout=5)


def test_who_asks_for_a_code_is_told_how_many_more_the_address_may_ask_for(serve: Serve, clock: FakeClock) -> None:
    base = serve(CODES_PER_ADDRESS="2/1h")
    first = ask(base, mobile=MIRA)
    assert policies(first) == {"reads": {"q": 600, "w": 60}, "codes": {"q": 2, "w": 3_600}}
    assert (left(first), left(first, "codes")) == ((599, 60), (1, 3_600))
    clock.advance(minutes=10)
    assert left(ask(base, mobile=NOOR), "codes") == (0, 3_000)
    refused = ask(base, mobile="+919028000003")
    assert_problem(refused, 429, "Too many requests", "Too many requests from your address.")
    assert (refused.headers["Retry-After"], left(refused, "codes")) == ("3000", (0, 3_000))
    assert policies(refused) == policies(first)


def test_leaving_counts_as_asking_whoever_is_subscribed(serve: Serve) -> None:
    base = serve()
    assert [left(ask(base, "/unsubscribe", mobile=mobile), "codes") for mobile in (MIRA, NOOR, MIRA)] == [
        (9, 3_600),
        (8, 3_600),
        (7, 3_600),
    ]


def test_a_wrong_code_tells_the_tries_of_the_address_and_a_right_one_costs_none(serve: Serve) -> None:
    base = serve(WRONG_TRIES_PER_ADDRESS="3/1h")
    ask(base, mobile=MIRA)
    code = latest_otp(MIRA)
    tried = [ask(base, mobile=MIRA, otp=wrong_otp(code)), ask(base, mobile=NOOR, otp=code)]
    assert [answer.status_code for answer in tried] == [400, 400]
    assert [left(answer, "tries") for answer in tried] == [(2, 3_600), (1, 3_600)]
    assert policies(tried[0]) == {"reads": {"q": 600, "w": 60}, "tries": {"q": 3, "w": 3_600}}
    right = ask(base, mobile=MIRA, otp=code)
    assert (right.status_code, list(policies(right)), list(items(right.headers["RateLimit"]))) == (
        200,
        ["reads"],
        ["reads"],
    )
    assert left(ask(base, mobile=MIRA, otp=code), "tries") == (0, 3_600)
    refused = ask(base, mobile=MIRA, otp=code)
    assert (refused.status_code, refused.headers["Retry-After"], left(refused, "tries")) == (429, "3600", (0, 3_600))


def test_of_a_number_nobody_is_told_what_is_left(serve: Serve) -> None:
    base = serve(CODES_PER_NUMBER="1/1h", SMS_DAILY_CAP="2", WRONG_TRIES_PER_NUMBER="1/1h")
    ask(base, mobile=MIRA)
    too_soon = ask(base, mobile=MIRA)
    ask(base, mobile=MIRA, otp=wrong_otp(latest_otp(MIRA)))
    locked = ask(base, mobile=MIRA, otp=latest_otp(MIRA))
    ask(base, mobile=NOOR)
    over_the_cap = ask(base, mobile="+919028000003")
    for answer, detail in ((too_soon, "this number"), (locked, "this number"), (over_the_cap, "The service has sent")):
        assert_problem(answer, 429, "Too many requests", detail)
        assert int(answer.headers["Retry-After"]) >= 3_600
        assert list(policies(answer)) == list(items(answer.headers["RateLimit"])) == ["reads"]


def test_what_was_not_counted_is_not_told(serve: Serve) -> None:
    base = serve()
    for fields in ({"mobile": "12"}, {"mobile": MIRA, "otp": "x"}, {}):
        answer = ask(base, **fields)
        assert (answer.status_code, list(policies(answer))) == (400, ["reads"])


@sqlite_only
def test_a_limit_of_several_windows_tells_each(serve: Serve, clock: FakeClock) -> None:
    base = serve(CODES_PER_ADDRESS="2/1m,3/1h", READ_LIMIT="off")
    answers = [ask(base, "/unsubscribe", mobile=MIRA) for _ in range(3)]
    clock.advance(minutes=2)
    answers += [ask(base, "/unsubscribe", mobile=MIRA) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 200, 429]
    assert policies(answers[0]) == {"codes": {"q": 2, "w": 60}, "codes-2": {"q": 3, "w": 3_600}}
    assert [(left(answer, "codes"), left(answer, "codes-2")) for answer in answers] == [
        ((1, 60), (2, 3_600)),
        ((0, 60), (1, 3_600)),
        ((0, 60), (1, 3_600)),
        ((1, 60), (0, 3_480)),
        ((1, 60), (0, 3_480)),
    ]
    assert answers[-1].headers["Retry-After"] == "3480"


def test_two_threads_that_meet_a_new_address_share_its_count(monkeypatch: pytest.MonkeyPatch) -> None:
    together = Barrier(2)

    def slowly(start: int) -> "itertools.count[int]":
        together.wait(5)
        return itertools.count(start)

    monkeypatch.setattr(rate_limit, "count", slowly)
    limit = ReadRateLimit(RateLimit(5, 60))
    with ThreadPoolExecutor(2) as pool:
        assert sorted(left for left, _ in pool.map(lambda _: limit.count("a", NOON), range(2))) == [3, 4]


@sqlite_only
def test_what_is_left_comes_back_no_later_than_told(serve: Serve, clock: FakeClock) -> None:
    base = serve(CODES_PER_ADDRESS="2/1h")
    ask(base, mobile=MIRA)
    clock.advance(seconds=0.4)
    assert left(ask(base, mobile=NOOR), "codes") == (0, 3_600)
