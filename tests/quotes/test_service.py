import random
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quoteapi.quotes.daily_schedule import scheduled_quote_id
from quoteapi.quotes.errors import FutureDate, QuoteNotFound
from quoteapi.quotes.quotation import Quotation
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import Settings, read_settings
from quoteapi.storage import database
from quoteapi.storage.models import Quote, StoredDailyQuote
from quoteapi.storage.models import database as bound
from quoteapi.storage.sql_state import SqlState
from tests.helpers.clock import FakeClock
from tests.helpers.data import KABIR, NOON, sqlite_only
from tests.helpers.sql import record_sql
from tests.quotes.conftest import RolledBack, fill_catalogue

DAY = timedelta(days=1)


# ---- the quote of a date


@sqlite_only
def test_two_machines_without_shared_state_agree(settings: Settings, tmp_path: Path, clock: FakeClock) -> None:
    found = []
    for machine in ("one", "another"):
        settings_of_machine = read_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/{machine}.db"})
        with database.connect(settings_of_machine):
            quotes = QuoteService(clock, random.Random())
            found.append([quotes.quote_of_date(clock().date() - n * DAY) for n in range(30)])
    assert found[0] == found[1]


def test_the_stored_quote_of_a_date_takes_precedence(quotes: QuoteService, clock: FakeClock) -> None:
    today = clock().date()
    other = Quote.get(Quote.id != scheduled_quote_id(today))
    StoredDailyQuote.create(date=today, quote=other)
    assert quotes.quote_of_date(today).quote == other.quote


def test_the_first_request_stores_todays_quote_and_no_other(quotes: QuoteService, clock: FakeClock) -> None:
    today = clock().date()
    quotes.quote_of_date(today - DAY)
    assert StoredDailyQuote.select().count() == 0, "clients can ask for any past day; nothing is written for it"
    quotes.quote_of_date(today)
    quotes.quote_of_date(today)
    assert [row.date for row in StoredDailyQuote.select()] == [today]


def test_the_first_request_of_a_day_takes_eight_statements_and_later_ones_take_one(
    quotes: QuoteService, clock: FakeClock
) -> None:
    costs = []
    for _ in range(2):
        with record_sql() as statements:
            quotes.quote_of_date(clock().date())
        costs.append(len(statements))
    assert costs == [8, 1], "what is stored, twice; three for the schedule, the quote; store it, and read that again"


@sqlite_only
def test_todays_quote_is_returned_even_if_it_cannot_be_stored(
    quotes: QuoteService, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    expected = scheduled_quote_id(clock().date())
    bound.execute_sql("PRAGMA busy_timeout = 10")
    with closing(sqlite3.connect(bound.database, uri=True)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        quotation = quotes.quote_of_date(clock().date())
        writer.rollback()
    assert quotation.quote == Quote.get_by_id(expected).quote
    assert StoredDailyQuote.select().count() == 0
    assert "could not be stored" in caplog.text


def test_a_day_that_ends_while_the_upstream_api_is_asked_gets_the_scheduled_quote(
    open_database: None, clock: FakeClock
) -> None:
    class SlowUpstream:
        def fetch(self) -> Quotation:
            clock.advance(hours=12)
            return KABIR

    day = clock().date()
    expected = Quote.get_by_id(scheduled_quote_id(day)).quote
    assert QuoteService(clock, random.Random(1), SqlState(), SlowUpstream().fetch).quote_of_date(day).quote == expected


def test_a_date_is_decided_and_stored_once_it_has_begun_in_utc_plus_14(quotes: QuoteService, clock: FakeClock) -> None:
    tomorrow = clock().date() + DAY
    clock.advance(hours=-2, seconds=-1)
    with pytest.raises(FutureDate):
        quotes.quote_of_date(tomorrow)
    clock.advance(seconds=1)
    quotation = quotes.quote_of_date(tomorrow)
    assert [row.date for row in StoredDailyQuote.select()] == [tomorrow]
    clock.advance(days=1)
    assert quotes.quote_of_date(tomorrow) == quotation


def test_a_quote_added_after_the_next_date_began_somewhere_changes_no_date_that_was_served(
    quotes: QuoteService, clock: FakeClock
) -> None:
    clock.advance(days=2)
    today = clock().date()  # the day before a round of the three quotes
    dates = [today + n * DAY for n in range(-40, 2)]
    before = [quotes.quote_of_date(day) for day in dates]
    StoredDailyQuote.delete().execute()  # as without shared state
    fill_catalogue(60, clock())
    assert [quotes.quote_of_date(day) for day in dates] == before


def test_a_quote_that_an_operator_deleted_is_skipped(quotes: QuoteService, clock: FakeClock) -> None:
    yesterday = clock().date() - DAY
    Quote.delete().where(Quote.id == scheduled_quote_id(yesterday)).execute()
    assert quotes.quote_of_date(yesterday).author in {"Louisa May Alcott", "Jane Austen", "Émile Zola"}


def test_the_quote_of_a_day_whose_scheduled_quote_was_deleted_is_stored(quotes: QuoteService, clock: FakeClock) -> None:
    today = clock().date()
    Quote.delete().where(Quote.id == scheduled_quote_id(today)).execute()
    quotation = quotes.quote_of_date(today)
    assert StoredDailyQuote.get().quote.quote == quotation.quote


# ---- the quotes of many days


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 9)), max_size=4),
    st.integers(1, 7),
    st.dictionaries(st.integers(-9, 60), st.integers(1, 7)),
    st.sets(st.integers(2, 20), max_size=3),
    st.integers(0, 60),
    st.integers(1, 40),
)
def test_many_days_have_the_quotes_that_each_has(  # noqa: PLR0913, PLR0917 everything that may differ
    rolled_back: RolledBack,
    growth: list[tuple[int, int]],
    start: int,
    stored: dict[int, int],
    deleted: set[int],
    today: int,
    count: int,
) -> None:
    clock = FakeClock(NOON + today * DAY)
    quotes, last = QuoteService(clock, random.Random(1), SqlState()), clock().date()
    with rolled_back():
        fill_catalogue(start, NOON)
        added = NOON
        for days, more in growth:
            added += days * DAY
            fill_catalogue(Quote.select().count() + more, added)
        for day, quote_id in stored.items():
            StoredDailyQuote.create(date=NOON.date() + day * DAY, quote=min(quote_id, start))
        Quote.delete().where(Quote.id.in_(deleted)).execute()
        together = quotes.quotes_of_days(last, count)
        assert together == [(last - n * DAY, quotes.quote_of_date(last - n * DAY)) for n in range(count)]
        assert quotes.quotes_of_days(last - DAY, 3) == [
            (last - n * DAY, quotes.quote_of_date(last - n * DAY)) for n in (1, 2, 3)
        ]


@pytest.mark.usefixtures("empty_catalogue")
def test_a_year_of_days_costs_no_more_statements_than_two(quotes: QuoteService, clock: FakeClock) -> None:
    fill_catalogue(3, NOON - 300 * DAY)
    fill_catalogue(50, NOON - 200 * DAY)
    today = clock().date()
    quotes.quote_of_date(today)
    StoredDailyQuote.create(date=today - 100 * DAY, quote=1)
    costs = []
    for count in (2, 30, 365):
        with record_sql() as statements:
            assert len(quotes.quotes_of_days(today, count)) == count
        costs.append(len(statements))
    assert costs == [7, 7, 7], "stored ones, the quotes, and five for the rounds"


def test_days_that_are_all_stored_cost_one_statement(quotes: QuoteService, clock: FakeClock) -> None:
    today = clock().date()
    for n in range(30):
        StoredDailyQuote.create(date=today - n * DAY, quote=n % 3 + 1)
    with record_sql() as statements:
        days = quotes.quotes_of_days(today, 30)
    assert len(statements) == 1
    assert [day for day, _ in days] == [today - n * DAY for n in range(30)]


def test_of_many_days_only_todays_quote_is_stored(quotes: QuoteService, clock: FakeClock) -> None:
    today = clock().date()
    assert quotes.quotes_of_days(today, 30)[0] == (today, quotes.quote_of_date(today))
    assert [row.date for row in StoredDailyQuote.select()] == [today]


def test_many_days_of_an_empty_catalogue_are_not_found(quotes: QuoteService, clock: FakeClock) -> None:
    Quote.delete().execute()
    with pytest.raises(QuoteNotFound):
        quotes.quotes_of_days(clock().date(), 30)
    with pytest.raises(QuoteNotFound):
        quotes.quotes_of_days(clock().date() - DAY, 30)


def test_many_days_up_to_a_future_date_are_not_decided(quotes: QuoteService, clock: FakeClock) -> None:
    with pytest.raises(FutureDate):
        quotes.quotes_of_days(clock().date() + 2 * DAY, 2)
