import itertools
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
from quoteapi.settings import RateLimit, Settings, read_settings
from tests.conftest import Serve
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, NOON, NOOR, environment, latest_otp, sqlite_only, wrong_otp
from tests.helpers.http import assert_problem, get
from tests.helpers.sql import record_sql
from tests.helpers.waiting import LIMIT_SECONDS

BEHIND_PROXY = {"TRUSTED_PROXIES": "127.0.0.1"}
"""With which a test can send requests from any client IP."""

StructuredList = dict[str, dict[str, int]]


def parse_list(header: str) -> StructuredList:
    """Return the items of a structured list (RFC 9651) with their parameters, all numbers here."""
    assert re.fullmatch(r'"[a-z0-9-]+"(;[a-z]=\d+)+(, "[a-z0-9-]+"(;[a-z]=\d+)+)*', header), header
    named = [part.split(";") for part in header.split(", ")]
    return {
        name.strip('"'): {key: int(number) for key, _, number in (parameter.partition("=") for parameter in parameters)}
        for name, *parameters in named
    }


def left(response: requests.Response, policy: str = "reads") -> tuple[int, int]:
    """Return how many requests are left of a policy, and for how many seconds."""
    status = parse_list(response.headers["RateLimit"])[policy]
    return status["r"], status["t"]


def policies(response: requests.Response) -> StructuredList:
    return parse_list(response.headers["RateLimit-Policy"])


# ---- requests that are counted


@sqlite_only
def test_every_response_has_the_read_rate_limit_and_what_is_left(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    etag = get(f"{base}/daily").headers["ETag"]  # the next takes the fast path
    responses = [get(f"{base}/daily"), get(f"{base}/daily?x=1"), get(f"{base}/daily", If_None_Match=etag)]
    clock.advance(seconds=18)
    responses += [get(f"{base}/daily"), get(f"{base}/random"), get(f"{base}/quotes"), get(f"{base}/nothing")]
    responses += [requests.post(f"{base}/random", timeout=30), requests.head(f"{base}/daily", timeout=5)]
    assert [response.status_code for response in responses] == [200, 200, 304, 200, 200, 200, 404, 405, 200]
    assert [left(response) for response in responses[:3]] == [(598, 60), (597, 60), (596, 60)]
    assert [left(response) for response in responses[3:]] == [(595 - n, 42) for n in range(6)]
    assert {response.headers["RateLimit-Policy"] for response in responses} == {'"reads";q=600;w=60'}


@sqlite_only
@pytest.mark.parametrize("path", ["/daily", "/daily?x=1", "/random", "/nothing"])
def test_a_request_over_the_limit_is_a_429_until_retry_after(serve: Serve, clock: FakeClock, path: str) -> None:
    base = serve(READ_LIMIT="3/10s")
    assert [get(f"{base}{path}").status_code == 429 for _ in range(3)] == [False] * 3
    clock.advance(seconds=3.5)
    for _ in range(2):
        refused = get(f"{base}{path}")
        assert_problem(
            refused, 429, "Too many requests", "Too many requests from your IP address. Try again in 7 seconds."
        )
        assert (refused.headers["Retry-After"], left(refused)) == ("7", (0, 7))
        assert policies(refused) == {"reads": {"q": 3, "w": 10}}
    clock.advance(seconds=6)
    assert get(f"{base}{path}").status_code == 429
    clock.advance(seconds=1)
    assert left(get(f"{base}{path}")) == (2, 10)


@sqlite_only
def test_the_fast_path_and_all_else_count_together(serve: Serve) -> None:
    base = serve(READ_LIMIT="4/1m")
    paths = ["/daily", "/daily", "/random", "/daily", "/daily", "/daily"]
    assert [get(f"{base}{path}").status_code for path in paths] == [200, 200, 200, 200, 429, 429]


@sqlite_only
def test_health_and_options_are_not_counted(serve: Serve) -> None:
    base = serve(READ_LIMIT="1/1m")
    get(f"{base}/random")
    for response in (get(f"{base}/health"), get(f"{base}/health/"), requests.options(f"{base}/random", timeout=30)):
        assert response.status_code == 200
        assert "RateLimit" not in response.headers
        assert "RateLimit-Policy" not in response.headers
    assert get(f"{base}/random").status_code == 429


@sqlite_only
def test_with_the_limit_off_there_are_no_headers_and_no_429(serve: Serve) -> None:
    base = serve(READ_LIMIT="off")
    responses = [get(f"{base}{path}") for path in ("/daily", "/daily", "/random") for _ in range(250)]
    assert {response.status_code for response in responses} == {200}
    assert not any("RateLimit" in response.headers or "RateLimit-Policy" in response.headers for response in responses)


@sqlite_only
def test_counting_sends_no_sql(serve: Serve) -> None:
    base = serve(READ_LIMIT="2/1m")
    get(f"{base}/daily")
    with record_sql() as statements:
        assert [get(f"{base}/daily").status_code for _ in range(3)] == [200, 429, 429]
    assert statements == []


# ---- by client IP


@sqlite_only
@pytest.mark.parametrize("path", ["/daily", "/daily?x=1"])
def test_each_client_ip_has_its_own_count_and_an_ipv6_64_is_one(serve: Serve, path: str) -> None:
    base = serve(READ_LIMIT="2/1m", **BEHIND_PROXY)
    get(f"{base}/daily")

    def status_from(address: str) -> int:
        return get(f"{base}{path}", X_Forwarded_For=address).status_code

    assert [status_from("192.0.2.1") for _ in range(3)] == [200, 200, 429]
    assert status_from("192.0.2.2") == 200
    assert [status_from(f"2001:db8:1:2::{n}") for n in range(3)] == [200, 200, 429]
    assert status_from("2001:db8:1:3::1") == 200
    assert [status_from("::ffff:192.0.2.2"), status_from("192.0.2.2")] == [200, 429], "that is the same address"
    assert status_from("192.0.2.1, 192.0.2.3") == 200, "what stands before the last, a client may have written"


@sqlite_only
def test_x_forwarded_for_is_ignored_without_a_trusted_proxy(serve: Serve) -> None:
    base = serve(READ_LIMIT="2/1m")
    assert [get(f"{base}/daily", X_Forwarded_For=f"192.0.2.{n}").status_code for n in range(3)] == [200, 200, 429]


@sqlite_only
def test_behind_api_gateway_the_client_ip_is_that_of_its_event(settings: Settings, clock: FakeClock) -> None:
    app = create_app(read_settings(environment(settings, READ_LIMIT="2/1m")), now=clock)

    def status_from(address: str) -> int:
        event = {"requestContext": {"identity": {"sourceIp": address}}}
        return TestClient(app).simulate_get("/daily", extras={"lambda.event": event}).status_code

    assert [status_from(address) for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1")] == [
        200,
        200,
        200,
        429,
    ]


# ---- the fixed window


def test_a_clock_that_is_set_back_opens_a_new_window() -> None:
    limit = ReadRateLimit(RateLimit(1, 60))
    assert limit.count("a", NOON) == (0, 60)
    assert limit.count("a", NOON + timedelta(seconds=30)) == (-1, 30)
    assert limit.count("a", NOON + timedelta(seconds=10)) == (-2, 50), "the same window"
    assert limit.count("a", NOON - timedelta(hours=1)) == (0, 60)
    assert limit.count("a", NOON - timedelta(hours=1)) == (-1, 60)


def test_a_window_ends_when_the_headers_said() -> None:
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


def test_the_number_of_counted_client_ips_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "MAX_CLIENT_IPS", 100)
    limit = ReadRateLimit(RateLimit(5, 86_400))
    for number in range(1_050):
        limit.count(f"2001:db8:0:{number:x}::/64", NOON)
        assert len(limit._window[2]) <= 100
    assert limit.count("2001:db8:0:419::/64", NOON) == (3, 86_400), "those who came last are"


def test_a_new_window_drops_the_counts_of_the_last() -> None:
    limit = ReadRateLimit(RateLimit(5, 60))
    for number in range(50):
        limit.count(str(number), NOON)
    limit.count("a", NOON + timedelta(seconds=60))
    assert len(limit._window[2]) == 1


def test_concurrent_requests_are_each_counted_once() -> None:
    limit, threads = ReadRateLimit(RateLimit(1_000, 1)), 8
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(threads) as pool:
            for second in range(60):
                together, moment = Barrier(threads), NOON + timedelta(seconds=second)

                def send(_: int, together: Barrier = together, moment: datetime = moment) -> list[int]:
                    together.wait(LIMIT_SECONDS)
                    return [limit.count("a", moment)[0] for _ in range(50)]

                lefts = [left for some in pool.map(send, range(threads)) for left in some]
                assert sorted(lefts) == list(range(600, 1_000)), "at the beginning of a window, too"
    finally:
        sys.setswitchinterval(interval)


# ---- OTPs and tries


def ask(base: str, path: str = "/subscribe", **fields: str) -> requests.Response:
    return requests.post(f"{base}{path}", data=fields, timeout=30)


def test_requesting_an_otp_returns_how_many_the_client_ip_has_left(serve: Serve, clock: FakeClock) -> None:
    base = serve(CODES_PER_ADDRESS="2/1h")
    first = ask(base, mobile=MIRA)
    assert policies(first) == {"reads": {"q": 600, "w": 60}, "codes": {"q": 2, "w": 3_600}}
    assert (left(first), left(first, "codes")) == ((599, 60), (1, 3_600))
    clock.advance(minutes=10)
    assert left(ask(base, mobile=NOOR), "codes") == (0, 3_000)
    refused = ask(base, mobile="+919028000003")
    assert_problem(refused, 429, "Too many requests", "Too many requests from your IP address.")
    assert (refused.headers["Retry-After"], left(refused, "codes")) == ("3000", (0, 3_000))
    assert policies(refused) == policies(first)


def test_unsubscribing_is_counted_whether_the_number_is_subscribed_or_not(serve: Serve) -> None:
    base = serve()
    assert [left(ask(base, "/unsubscribe", mobile=mobile), "codes") for mobile in (MIRA, NOOR, MIRA)] == [
        (9, 3_600),
        (8, 3_600),
        (7, 3_600),
    ]


def test_a_wrong_otp_costs_the_client_ip_a_try_and_a_right_one_none(serve: Serve) -> None:
    base = serve(WRONG_TRIES_PER_ADDRESS="3/1h")
    ask(base, mobile=MIRA)
    code = latest_otp(MIRA)
    tried = [ask(base, mobile=MIRA, otp=wrong_otp(code)), ask(base, mobile=NOOR, otp=code)]
    assert [response.status_code for response in tried] == [400, 400]
    assert [left(response, "tries") for response in tried] == [(2, 3_600), (1, 3_600)]
    assert policies(tried[0]) == {"reads": {"q": 600, "w": 60}, "tries": {"q": 3, "w": 3_600}}
    right = ask(base, mobile=MIRA, otp=code)
    assert (right.status_code, list(policies(right)), list(parse_list(right.headers["RateLimit"]))) == (
        200,
        ["reads"],
        ["reads"],
    )
    right_again = ask(base, mobile=MIRA, otp=code)
    assert (right_again.status_code, list(policies(right_again))) == (200, ["reads"])
    assert left(ask(base, mobile=MIRA, otp=wrong_otp(code)), "tries") == (0, 3_600)
    refused = ask(base, mobile=MIRA, otp=code)
    assert (refused.status_code, refused.headers["Retry-After"], left(refused, "tries")) == (429, "3600", (0, 3_600))


def test_no_header_says_what_a_number_has_left(serve: Serve) -> None:
    base = serve(CODES_PER_NUMBER="1/1h", SMS_DAILY_CAP="2", WRONG_TRIES_PER_NUMBER="1/1h")
    ask(base, mobile=MIRA)
    too_soon = ask(base, mobile=MIRA)
    ask(base, mobile=MIRA, otp=wrong_otp(latest_otp(MIRA)))
    locked = ask(base, mobile=MIRA, otp=latest_otp(MIRA))
    ask(base, mobile=NOOR)
    over_the_cap = ask(base, mobile="+919028000003")
    for response, detail in (
        (too_soon, "this number"),
        (locked, "this number"),
        (over_the_cap, "The service reached its limit"),
    ):
        assert_problem(response, 429, "Too many requests", detail)
        assert int(response.headers["Retry-After"]) >= 3_600
        assert list(policies(response)) == list(parse_list(response.headers["RateLimit"])) == ["reads"]


def test_an_invalid_request_is_not_counted(serve: Serve) -> None:
    base = serve()
    for fields in ({"mobile": "12"}, {"mobile": MIRA, "otp": "x"}, {}):
        response = ask(base, **fields)
        assert (response.status_code, list(policies(response))) == (400, ["reads"])


@sqlite_only
def test_a_rate_limit_with_two_windows_has_two_policies(serve: Serve, clock: FakeClock) -> None:
    base = serve(CODES_PER_ADDRESS="2/1m,3/1h", READ_LIMIT="off")
    responses = [ask(base, "/unsubscribe", mobile=MIRA) for _ in range(3)]
    clock.advance(minutes=2)
    responses += [ask(base, "/unsubscribe", mobile=MIRA) for _ in range(2)]
    assert [response.status_code for response in responses] == [200, 200, 429, 200, 429]
    assert policies(responses[0]) == {"codes": {"q": 2, "w": 60}, "codes-2": {"q": 3, "w": 3_600}}
    assert [(left(response, "codes"), left(response, "codes-2")) for response in responses] == [
        ((1, 60), (2, 3_600)),
        ((0, 60), (1, 3_600)),
        ((0, 60), (1, 3_600)),
        ((1, 60), (0, 3_480)),
        ((1, 60), (0, 3_480)),
    ]
    assert responses[-1].headers["Retry-After"] == "3480"


def test_two_threads_that_add_the_same_client_ip_share_its_count(monkeypatch: pytest.MonkeyPatch) -> None:
    together = Barrier(2)

    def slowly(start: int) -> "itertools.count[int]":
        together.wait(LIMIT_SECONDS)
        return itertools.count(start)

    monkeypatch.setattr(rate_limit, "count", slowly)
    limit = ReadRateLimit(RateLimit(5, 60))
    with ThreadPoolExecutor(2) as pool:
        assert sorted(left for left, _ in pool.map(lambda _: limit.count("a", NOON), range(2))) == [3, 4]


@sqlite_only
def test_the_reset_time_is_rounded_up(serve: Serve, clock: FakeClock) -> None:
    base = serve(CODES_PER_ADDRESS="2/1h")
    ask(base, mobile=MIRA)
    clock.advance(seconds=0.4)
    assert left(ask(base, mobile=NOOR), "codes") == (0, 3_600)
