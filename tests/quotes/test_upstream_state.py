"""The quote of the day from an upstream API, on every engine of the state."""

import itertools
import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler

import pytest
import requests

from quoteapi.container import Container
from quoteapi.quotes.daily_schedule import scheduled_quote_id
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import Settings, read_settings
from quoteapi.storage.dynamodb_state import DynamoDbState
from quoteapi.storage.models import Quote, StoredDailyQuote
from tests.conftest import Serve
from tests.helpers.clock import FakeClock
from tests.helpers.data import ALCOTT, AUSTEN, KABIR, environment
from tests.helpers.dynamodb_requests import record_requests
from tests.helpers.dynamodb_server import on_every_engine
from tests.helpers.upstream_api import UpstreamApi
from tests.helpers.waiting import LIMIT_SECONDS

DAY = timedelta(days=1)
SMS = {"SMS_GATEWAY": "sns", "SMS_ALLOWED_REGIONS": "*"}
dynamodb_only = pytest.mark.parametrize("database_url", ["dynamodb"], indirect=True)


def make_quotes(container: Container, upstream: UpstreamApi | None, **more: str) -> QuoteService:
    """Return the quotes of another process of the same service."""
    endpoint = {"Mashape_API_Endpoint": upstream.address} if upstream is not None else {}
    settings = read_settings(environment(container.settings, **SMS, **endpoint, **more))
    return Container(settings, now=container.clock, randomness=random.Random(1)).quotes


@on_every_engine
def test_all_processes_serve_the_quote_of_the_upstream_that_was_stored_first(
    container: Container, upstream_api: UpstreamApi, clock: FakeClock
) -> None:
    today = clock().date()
    for quotation in (KABIR, AUSTEN):
        upstream_api.respond = UpstreamApi.json_response([quotation._asdict()])
        assert make_quotes(container, upstream_api).quote_of_date(today) == KABIR
    assert len(upstream_api.requests) == 1
    clock.advance(days=1)
    days = make_quotes(container, upstream_api).quotes_of_days(clock().date(), 3)
    assert dict(days)[today] == KABIR, "a day that was served never changes"
    assert days[0][1] != KABIR


@on_every_engine
def test_a_quote_of_the_upstream_is_the_quote_of_one_day_only(
    container: Container, upstream_api: UpstreamApi, clock: FakeClock
) -> None:
    upstream_api.respond = UpstreamApi.json_response([KABIR._asdict()])
    quotes = make_quotes(container, upstream_api)
    assert quotes.quote_of_date(clock().date()) == KABIR
    clock.advance(days=1)
    upstream_api.respond = UpstreamApi.json_response([KABIR._asdict() | {"category": "other"}])
    assert quotes.quote_of_date(clock().date()).quote != KABIR.quote
    assert len(upstream_api.requests) == 2


@on_every_engine
def test_two_processes_that_ask_an_upstream_for_tomorrow_at_once_serve_the_same_quote_for_ever(
    serve: Serve, upstream_api: UpstreamApi, clock: FakeClock
) -> None:
    both_asked, numbers = threading.Barrier(2), itertools.count()

    def respond(request: BaseHTTPRequestHandler) -> None:
        number = next(numbers)
        if number < 2:
            both_asked.wait(timeout=LIMIT_SECONDS)
        UpstreamApi.json_response([KABIR._asdict() | {"quote": f"Quote {number}"}])(request)

    upstream_api.respond = respond
    bases = [serve(Mashape_API_Endpoint=upstream_api.address, **SMS) for _ in range(2)]
    tomorrow = clock().date() + DAY
    clock.advance(hours=-1, minutes=-59)  # 10:01
    with ThreadPoolExecutor(2) as threads:
        urls = [f"{bases[0]}/daily?tz=Pacific/Kiritimati", f"{bases[1]}/daily?date={tomorrow}"]
        served = list(threads.map(lambda url: requests.get(url, timeout=30).json(), urls))
    assert served[0] == served[1]
    assert served[0]["quote"] in {"Quote 0", "Quote 1"}
    assert requests.get(f"{bases[0]}/daily", timeout=30).json()["quote"] == "Quote 2"
    clock.advance(days=1)
    bases.append(serve(Mashape_API_Endpoint=upstream_api.address, **SMS))
    for base in bases:
        for path in ("/daily", f"/daily?date={tomorrow}", "/daily?tz=Etc/UTC"):
            assert requests.get(f"{base}{path}", timeout=30).json() == served[0]
    assert len(upstream_api.requests) == 3


@on_every_engine
def test_an_upstream_is_not_asked_for_past_dates_and_its_quote_of_tomorrow_is_not_todays(
    container: Container, upstream_api: UpstreamApi, clock: FakeClock
) -> None:
    upstream_api.respond = UpstreamApi.json_response([KABIR._asdict()])
    quotes, today = make_quotes(container, upstream_api), clock().date()
    assert quotes.quote_of_date(today - DAY) != KABIR
    assert upstream_api.requests == []
    assert quotes.quote_of_date(today + DAY) == KABIR
    assert quotes.quote_of_date(today) != KABIR
    assert len(upstream_api.requests) == 2


@on_every_engine
def test_the_scheduled_quote_is_kept_for_the_day_if_the_upstream_recovers(
    container: Container, upstream_api: UpstreamApi, clock: FakeClock
) -> None:
    today = clock().date()
    upstream_api.respond = UpstreamApi.bytes_response(b"", 404)
    scheduled = make_quotes(container, upstream_api).quote_of_date(today)
    assert scheduled.quote == Quote.get_by_id(scheduled_quote_id(today)).quote
    upstream_api.respond = UpstreamApi.json_response([KABIR._asdict()])
    assert make_quotes(container, upstream_api).quote_of_date(today) == scheduled


@on_every_engine
def test_a_quote_of_the_upstream_is_added_to_a_catalogue_that_can_be_written(
    container: Container, upstream_api: UpstreamApi, clock: FakeClock
) -> None:
    upstream_api.respond = UpstreamApi.json_response([KABIR._asdict()])
    make_quotes(container, upstream_api).quote_of_date(clock().date())
    is_added = Quote.select().where(Quote.quote == KABIR.quote).exists()
    assert is_added == (container.settings.dynamodb_table is None)


@dynamodb_only
def test_the_pages_and_the_feed_show_a_quote_that_is_not_in_the_catalogue(
    serve: Serve, upstream_api: UpstreamApi, clock: FakeClock
) -> None:
    upstream_api.respond = UpstreamApi.json_response([KABIR._asdict()])
    base = serve(Mashape_API_Endpoint=upstream_api.address, **SMS)
    assert requests.get(f"{base}/daily", timeout=30).json()["quote"] == KABIR.quote
    assert requests.get(f"{base}/random", timeout=30).json()["quote"] == KABIR.quote
    clock.advance(days=1)
    for path in (f"/days/{clock().date() - DAY}", "/feed.xml", f"/daily?date={clock().date() - DAY}"):
        response = requests.get(f"{base}{path}", headers={"Accept": "text/html"}, timeout=30)
        assert response.status_code == 200
        assert KABIR.author in response.text
    page = requests.get(f"{base}/days/{clock().date() - DAY}", headers={"Accept": "text/html"}, timeout=30).text
    assert 'href="/quotes/' not in page, "it has no page of its own"


@dynamodb_only
def test_quotes_need_no_request_to_dynamodb_without_an_upstream(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1")
    base = serve(**SMS)
    for path in ("/daily", "/random", "/quotes", "/quote?type=daily", "/feed.json", f"/days/{clock().date()}"):
        response = requests.get(f"{base}{path}", headers={"Accept": "*/*"}, timeout=30)
        assert response.status_code == 200
        assert "max-age=10" not in response.headers.get("Cache-Control", ""), path


@dynamodb_only
def test_the_quote_of_the_day_costs_a_query_and_four_requests_more_to_choose_it(
    container: Container, upstream_api: UpstreamApi, clock: FakeClock
) -> None:
    upstream_api.respond = UpstreamApi.json_response([KABIR._asdict()])
    costs = []
    for _ in range(2):
        quotes = make_quotes(container, upstream_api)
        assert isinstance(quotes._state, DynamoDbState)
        with record_requests(quotes._state._table) as requests_:
            quotes.quote_of_date(clock().date())
        costs.append(requests_)
    assert costs == [["Query", "Query", "Query", "UpdateItem", "Query"], ["Query"]]


@dynamodb_only
def test_while_dynamodb_is_unreachable_the_quote_is_that_of_the_schedule_and_kept_for_seconds(
    serve: Serve, upstream_api: UpstreamApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduled = requests.get(f"{serve(**SMS)}/daily", timeout=30).json()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", f"http://127.0.0.1:{port}")
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    upstream_api.respond = UpstreamApi.json_response([KABIR._asdict()])
    base = serve(Mashape_API_Endpoint=upstream_api.address, **SMS)
    response = requests.get(f"{base}/daily", timeout=30)
    assert response.json() == scheduled
    assert response.headers["Cache-Control"] == "public, max-age=10"


def test_days_that_an_earlier_version_stored_are_served_as_they_were(
    container: Container, settings: Settings, clock: FakeClock, upstream_api: UpstreamApi
) -> None:
    today = clock().date()
    for n, quotation in enumerate((ALCOTT, AUSTEN)):  # as that version did
        StoredDailyQuote.create(date=today - n * DAY, quote=Quote.get(Quote.quote == quotation.quote))
    days = make_quotes(container, upstream_api).quotes_of_days(today, 2)
    assert days == [(today, ALCOTT), (today - DAY, AUSTEN)]
    assert upstream_api.requests == []
