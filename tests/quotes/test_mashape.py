import gzip
import json
import random
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
import requests

from quoteapi.container import Container
from quoteapi.quotes import mashape
from quoteapi.quotes.mashape import CircuitBreaker, MashapeQuotes, UnusableResponse, parse_response
from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import read_settings
from quoteapi.storage.full_text_search import Filters
from quoteapi.storage.models import Quote, StoredDailyQuote
from tests.conftest import Serve
from tests.helpers.clock import FakeClock
from tests.helpers.data import ALCOTT, AUSTEN
from tests.helpers.upstream_api import UpstreamApi
from tests.helpers.waiting import LIMIT_SECONDS, wait_until

KEY = "the-key-of-the-market-place"
FRESH = Quotation("A quote that nobody has yet.", "Somebody New", "general")


def client_of(api: UpstreamApi, clock: FakeClock | None = None) -> MashapeQuotes:
    return MashapeQuotes(api.address, KEY, (clock or FakeClock()).monotonic)


# ---- responses


@pytest.mark.parametrize(
    "response",
    [
        {"quote": "A quote that nobody has yet.", "author": "Somebody New", "category": "general"},
        [{"quote": "A quote that nobody has yet.", "author": "Somebody New", "category": "general"}],
        [{"q": "A quote that nobody has yet.", "a": "Somebody New", "h": "<blockquote>…</blockquote>"}],
        [{"quote": "A quote that nobody has yet.", "author": "Somebody New", "categories": ["general", "wisdom"]}],
        {"quote": "  A quote that\nnobody has yet. ", "author": "Somebody New", "category": None, "more": {"a": [1]}},
    ],
    ids=["object", "list of objects", "ZenQuotes", "API Ninjas", "untidy"],
)
def test_each_known_format_is_supported(response: Any) -> None:  # noqa: ANN401
    assert parse_response(json.dumps(response).encode()) == FRESH


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b"[]", "neither an object nor a list"),
        (b'"quote"', "neither an object nor a list"),
        (b"[[]]", "neither an object nor a list"),
        (b'{"author": "A"}', "quote is missing"),
        (b'{"quote": "x"}', "author is missing"),
        (b'{"quote": "x", "author": null}', "author is missing"),
        (b'{"quote": "", "author": "A"}', "quote is empty"),
        (b'{"quote": 1, "author": "A"}', "quote is not text"),
        (b'{"quote": "x", "author": {"name": "A"}}', "author is not text"),
        (b'{"quote": "x", "author": "A", "category": 3}', "category is not text"),
        (b'{"quote": "\\ud800", "author": "A"}', "invalid Unicode"),
        (b'{"quote": "' + b"x" * 321 + b'", "author": "A"}', "321 characters"),
        (b'[{"q": "Too many requests.", "a": "zenquotes.io"}]', "rate limit is reached"),
    ],
)
def test_a_response_without_a_quote_is_refused(response: bytes, reason: str) -> None:
    with pytest.raises(UnusableResponse, match=reason):
        parse_response(response)


# ---- requests


def test_the_key_is_sent_in_the_headers_that_market_places_expect(upstream_api: UpstreamApi) -> None:
    assert client_of(upstream_api).fetch() == Quotation(*ALCOTT[:3])
    (headers,) = upstream_api.requests
    assert headers["X-Mashape-Key"] == headers["X-RapidAPI-Key"] == headers["X-Api-Key"] == KEY
    assert headers["X-RapidAPI-Host"] == upstream_api.host


def test_without_a_key_no_key_header_is_sent(upstream_api: UpstreamApi) -> None:
    MashapeQuotes(upstream_api.address, None).fetch()
    assert not [name for name in upstream_api.requests[0] if "key" in name.lower()]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_is_retried_once(upstream_api: UpstreamApi, status: int) -> None:
    upstream_api.respond = UpstreamApi.bytes_response(b"", status, {"Retry-After": "3600"})
    assert client_of(upstream_api).fetch() is None
    assert len(upstream_api.requests) == 2


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 429])
def test_other_statuses_are_not_retried(upstream_api: UpstreamApi, status: int) -> None:
    upstream_api.respond = UpstreamApi.bytes_response(b"[]", status, {"Location": upstream_api.address})
    assert client_of(upstream_api).fetch() is None
    assert len(upstream_api.requests) == 1, "nor is a redirect followed: the key is for this host only"


def test_a_silent_upstream_times_out(upstream_api: UpstreamApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mashape, "READ_TIMEOUT_SECONDS", 0.05)
    upstream_api.respond = upstream_api.hang
    assert client_of(upstream_api).fetch() is None
    wait_until(lambda: upstream_api.hanging == 2)


def test_an_unreachable_upstream_gives_no_quote() -> None:
    assert MashapeQuotes("http://127.0.0.1:9/quotes", KEY).fetch() is None


def test_a_slow_response_ends_at_the_deadline(upstream_api: UpstreamApi, clock: FakeClock) -> None:
    def drip(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        for _ in range(3):
            clock.advance(seconds=2.9)
            request.wfile.write(b" " * 4_096)
            request.wfile.flush()

    upstream_api.respond = drip
    assert client_of(upstream_api, clock).fetch() is None


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_request_times_out_however_slowly_bytes_arrive(
    upstream_api: UpstreamApi, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    has_returned, has_ended = threading.Event(), threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if part == "body" else b"X-A: b"))
        for _ in range(1_000):
            request.wfile.write(b" ")
            if has_returned.wait(0.02):
                return
        has_ended.set()

    monkeypatch.setattr(mashape, "TOTAL_TIMEOUT_SECONDS", 0.2)
    upstream_api.respond = drip
    assert MashapeQuotes(upstream_api.address, KEY).fetch() is None
    assert not has_ended.is_set()
    has_returned.set()


def test_the_number_of_concurrent_requests_is_limited(
    upstream_api: UpstreamApi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mashape, "TOTAL_TIMEOUT_SECONDS", 0.01)
    monkeypatch.setattr(mashape, "READ_TIMEOUT_SECONDS", LIMIT_SECONDS)
    monkeypatch.setattr(mashape, "FAILURE_THRESHOLD", 100)
    upstream_api.respond = upstream_api.hang
    api = MashapeQuotes(upstream_api.address, KEY)
    for _ in range(10):
        assert api.fetch() is None
    wait_until(lambda: upstream_api.hanging == mashape.MAX_CONCURRENT_REQUESTS)
    assert caplog.text.count("requests are in progress") == 10 - mashape.MAX_CONCURRENT_REQUESTS


def test_cookies_are_not_kept(upstream_api: UpstreamApi) -> None:
    upstream_api.respond = UpstreamApi.bytes_response(b"[]", headers={"Set-Cookie": "a=b; Max-Age=3600"})
    api = client_of(upstream_api)
    api.fetch()
    api.fetch()
    assert "Cookie" not in upstream_api.requests[1]


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_a_response_that_is_too_large_is_refused(upstream_api: UpstreamApi, encoding: str | None) -> None:
    body = b'["' + b"x" * 5_000_000
    headers = {"Content-Encoding": encoding} if encoding else {}
    upstream_api.respond = UpstreamApi.bytes_response(gzip.compress(body) if encoding else body, headers=headers)
    assert client_of(upstream_api).fetch() is None


def test_neither_key_nor_url_is_logged(upstream_api: UpstreamApi, caplog: pytest.LogCaptureFixture) -> None:
    api = MashapeQuotes(f"{upstream_api.address}?api_key=a-secret-in-the-address", KEY)
    upstream_api.respond = UpstreamApi.bytes_response(b"", 500)
    api.fetch()
    upstream_api.stop()
    api.fetch()
    assert caplog.text.count("No quote from the upstream API at 127.0.0.1") == 2
    assert KEY not in caplog.text
    assert "a-secret-in-the-address" not in caplog.text


# ---- the circuit breaker


def test_the_breaker_opens_after_repeated_failures_and_closes_after_a_success(
    upstream_api: UpstreamApi, clock: FakeClock
) -> None:
    api = client_of(upstream_api, clock)
    upstream_api.respond = UpstreamApi.bytes_response(b"nonsense")
    for _ in range(10):
        assert api.fetch() is None
    assert len(upstream_api.requests) == 3

    clock.advance(seconds=60)
    assert api.fetch() is None
    assert api.fetch() is None
    assert len(upstream_api.requests) == 4, "one trial request, and then none for another minute"

    clock.advance(seconds=60)
    upstream_api.respond = UpstreamApi.json_response(FRESH._asdict())
    assert api.fetch() == FRESH
    assert api.fetch() == FRESH


def test_a_success_resets_the_count_of_failures(upstream_api: UpstreamApi) -> None:
    api = client_of(upstream_api)
    for _ in range(4):
        upstream_api.respond = UpstreamApi.bytes_response(b"nonsense")
        api.fetch()
        api.fetch()
        upstream_api.respond = UpstreamApi.json_response(FRESH._asdict())
        assert api.fetch() == FRESH


def test_only_one_of_many_threads_gets_the_trial_request(clock: FakeClock) -> None:
    breaker = CircuitBreaker(clock.monotonic)
    for _ in range(3):
        breaker.record(success=False)
    clock.advance(seconds=60)
    allowed: list[bool] = []
    threads = [threading.Thread(target=lambda: allowed.append(breaker.allows_request())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(allowed) == [False] * 19 + [True]


# ---- the service with an upstream API


def serve_with_upstream(serve: Serve, api: UpstreamApi, **more: str) -> str:
    return serve(Mashape_API_Endpoint=api.address, X_Mashape_Key=KEY, **more)


def test_random_asks_the_upstream_first_and_stores_its_quotes(serve: Serve, upstream_api: UpstreamApi) -> None:
    base = serve_with_upstream(serve, upstream_api)
    upstream_api.respond = UpstreamApi.json_response([FRESH._asdict()])
    for _ in range(2):
        assert requests.get(f"{base}/random", timeout=30).json()["quote"] == FRESH.quote
    assert Quote.select().where(Quote.quote == FRESH.quote).count() == 1
    upstream_api.respond = UpstreamApi.bytes_response(b"", 404)
    seen = {requests.get(f"{base}/random", timeout=30).json()["quote"] for _ in range(8)}
    assert FRESH.quote in seen
    assert len(seen) == 4


def test_random_with_filters_does_not_ask_the_upstream(serve: Serve, upstream_api: UpstreamApi) -> None:
    base = serve_with_upstream(serve, upstream_api)
    assert requests.get(f"{base}/random?author=jane+austen", timeout=30).json()["quote"] == AUSTEN.quote
    assert upstream_api.requests == []


def test_todays_quote_comes_from_the_upstream_once(serve: Serve, upstream_api: UpstreamApi) -> None:
    base = serve_with_upstream(serve, upstream_api)
    upstream_api.respond = UpstreamApi.json_response([FRESH._asdict()])
    assert requests.get(f"{base}/daily", timeout=30).json()["quote"] == FRESH.quote
    upstream_api.respond = UpstreamApi.json_response([AUSTEN._asdict()])
    assert requests.get(f"{base}/daily", timeout=30).json()["quote"] == FRESH.quote
    assert requests.get(f"{serve_with_upstream(serve, upstream_api)}/daily", timeout=30).json()["quote"] == FRESH.quote
    assert len(upstream_api.requests) == 1


def test_a_quote_of_the_upstream_is_daily_quote_only_once(
    serve: Serve, upstream_api: UpstreamApi, clock: FakeClock
) -> None:
    base = serve_with_upstream(serve, upstream_api)
    upstream_api.respond = UpstreamApi.json_response([FRESH._asdict()])
    requests.get(f"{base}/daily", timeout=30)
    clock.advance(days=1)
    assert requests.get(f"{base}/daily", timeout=30).json()["quote"] != FRESH.quote
    assert len(upstream_api.requests) == 2


def test_while_the_upstream_is_down_quotes_come_from_the_catalogue(serve: Serve, upstream_api: UpstreamApi) -> None:
    base = serve_with_upstream(serve, upstream_api)
    upstream_api.respond = UpstreamApi.bytes_response(b"", 503)
    without = requests.get(f"{serve()}/daily?date=2026-11-22", timeout=30).json()
    assert requests.get(f"{base}/daily", timeout=30).json() == without
    assert requests.get(f"{base}/random", timeout=30).status_code == 200


def test_past_dates_do_not_ask_the_upstream(serve: Serve, upstream_api: UpstreamApi) -> None:
    requests.get(f"{serve_with_upstream(serve, upstream_api)}/daily?date=2026-11-01", timeout=30)
    assert upstream_api.requests == []


def test_without_shared_state_the_daily_quote_comes_from_the_catalogue(
    open_database: None, upstream_api: UpstreamApi, clock: FakeClock
) -> None:
    settings = read_settings({"AWS_LAMBDA_FUNCTION_NAME": "quotes", "Mashape_API_Endpoint": upstream_api.address})
    upstream_api.respond = UpstreamApi.json_response([FRESH._asdict()])
    quotes = Container(settings, now=clock, randomness=random.Random(1)).quotes
    assert quotes.quote_of_date(clock().date()).quote != FRESH.quote
    assert quotes.random_quote(Filters()) == FRESH
    assert Quote.select().count() == 3, "other containers could not know of stored quotes"
    assert StoredDailyQuote.select().count() == 0
