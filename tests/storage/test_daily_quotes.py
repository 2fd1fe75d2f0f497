"""The quotes of dates in the state, on every engine."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from functools import partial
from multiprocessing import get_context

import pytest

from quoteapi.container import Container
from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import read_settings
from quoteapi.storage import database
from quoteapi.storage.state import State
from tests.helpers.data import ALCOTT, AUSTEN, KABIR, NOON, SECRET_KEY, numbered_quotations
from tests.helpers.dynamodb_server import on_every_engine

TODAY = NOON.date()
DAY = timedelta(days=1)
BYSTANDERS = {TODAY - DAY: AUSTEN, TODAY + DAY: KABIR, TODAY.replace(year=2025): AUSTEN}
"""Dates whose quotes a test must not change; one of the quotes is not in the catalogue."""
pytestmark = on_every_engine


@pytest.fixture(autouse=True)
def _bystanders(state: State) -> Iterator[None]:
    for day, quotation in BYSTANDERS.items():
        state.store_daily_quote(day, quotation, NOON)
    yield
    stored = state.daily_quotes(date.min, date.max)
    assert {day: stored[day] for day in BYSTANDERS} == BYSTANDERS


def test_the_first_quote_that_is_stored_for_a_date_is_kept(state: State) -> None:
    assert state.daily_quotes(TODAY, TODAY) == {}
    for quotation in (ALCOTT, AUSTEN, KABIR):
        state.store_daily_quote(TODAY, quotation, NOON)
    assert state.daily_quotes(TODAY, TODAY) == {TODAY: ALCOTT}


def test_a_quote_that_is_not_in_the_catalogue_is_stored_with_all_its_fields(state: State) -> None:
    quotation = Quotation("क “quote” – of nobody", "Nobody", "new", "A work (2026)")
    state.store_daily_quote(TODAY, quotation, NOON)
    assert state.daily_quotes(TODAY, TODAY) == {TODAY: quotation}


def test_the_quotes_of_a_range_of_dates_are_those_within_it(state: State) -> None:
    assert state.daily_quotes(TODAY - DAY, TODAY + DAY) == {TODAY - DAY: AUSTEN, TODAY + DAY: KABIR}
    assert state.daily_quotes(TODAY, TODAY + DAY) == {TODAY + DAY: KABIR}
    assert state.daily_quotes(TODAY - DAY, TODAY) == {TODAY - DAY: AUSTEN}
    assert state.daily_quotes(date.min, date.max) == BYSTANDERS


@contextmanager
def _open_state(url: str) -> Iterator[State]:
    gateway = {"SMS_GATEWAY": "sns", "SMS_ALLOWED_REGIONS": "*"}
    settings = read_settings({"DATABASE_URL": url, "SECRET_KEY": SECRET_KEY, **gateway})
    with database.connect(settings).connection_context():
        yield Container(settings).state


def store(url: str, quotation: Quotation) -> Quotation:
    """Store a quote for the date, and return what is stored."""
    with _open_state(url) as state:
        state.store_daily_quote(TODAY, quotation, NOON)
        return state.daily_quotes(TODAY, TODAY)[TODAY]


def test_parallel_processes_agree_on_the_quote_of_a_date(database_url: str, state: State) -> None:
    candidates = numbered_quotations(6)
    with get_context("spawn").Pool(2) as processes:
        agreed = set(processes.map(partial(store, database_url), candidates, chunksize=1))
    assert len(agreed) == 1
    assert agreed <= set(candidates)
