import random
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quoteapi.quotes.daily_schedule import permute, scheduled_quote_id
from quoteapi.quotes.errors import FutureDate, QuoteNotFound
from quoteapi.quotes.fallback import QuotesWithFallback
from quoteapi.quotes.quotation import InvalidQuotation, Quotation, validate_quotation
from quoteapi.quotes.random_pool import BLOCK
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import Settings, read_settings
from quoteapi.storage import database
from quoteapi.storage.catalogue import find_quote_id, store_quotation, store_quotations
from quoteapi.storage.full_text_search import Filters, comparison_key
from quoteapi.storage.models import DailyQuote, Quote
from quoteapi.storage.models import database as bound
from quoteapi.storage.sqlite import SqliteFile
from tests.helpers.clock import FakeClock
from tests.helpers.data import (
    ALCOTT,
    AUSTEN,
    KABIR,
    NOON,
    ZOLA,
    database_file,
    make_catalogue,
    numbered_quotations,
    sqlite_only,
)
from tests.helpers.sql import record_sql

DAY = timedelta(days=1)


def shown(first: date, days: int) -> list[int]:
    return [scheduled_quote_id(first + n * DAY) for n in range(days)]


def fill(count: int, added: datetime) -> None:
    """Have `count` quotes in all, the new ones added at a moment."""
    there = Quote.select().count()
    store_quotations(numbered_quotations(count - there, first=there), added)


@pytest.fixture
def empty(open_database: None) -> None:
    Quote.delete().execute()


# ---- the order of the days


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 17, 100, 597, 1_000])
def test_a_shuffling_has_each_place_once(size: int) -> None:
    assert sorted(permute(place, size) for place in range(size)) == list(range(size))


def test_a_shuffling_is_not_the_order_it_began_with() -> None:
    order = [permute(place, 500) for place in range(500)]
    neighbours = sum(abs(one - next_one) == 1 for one, next_one in pairwise(order))
    assert neighbours < 10


def test_a_few_quotes_more_leave_the_order_nearly_as_it_was() -> None:
    before = {permute(place, 597): place for place in range(597)}
    after = {permute(place, 607): place for place in range(607)}
    moved = sum(after[quote] != place for quote, place in before.items())
    assert moved < 20, "so that a quote does not come back soon where a round is longer than the last"


def test_the_order_never_changes_from_release_to_release() -> None:
    assert [permute(place, 597) for place in range(6)] == [482, 217, 477, 352, 310, 80]


@pytest.mark.usefixtures("empty")
def test_no_quote_comes_back_before_all_were_shown() -> None:
    fill(50, NOON)
    first_round, second_round = shown(NOON.date(), 50), shown(NOON.date() + 50 * DAY, 50)
    assert len(set(first_round)) == 50
    assert second_round == first_round


@pytest.mark.usefixtures("empty")
def test_days_before_the_catalogue_began_have_quotes_too() -> None:
    fill(50, NOON)
    assert len(set(shown(NOON.date() - 50 * DAY, 50))) == 50
    assert scheduled_quote_id(date.min) in range(1, 51)


@pytest.mark.usefixtures("empty")
def test_added_quotes_wait_for_the_next_round() -> None:
    fill(50, NOON)
    before = shown(NOON.date(), 50)
    fill(60, NOON + 10 * DAY)
    after = shown(NOON.date(), 50)
    next_round = shown(NOON.date() + 50 * DAY, 60)
    assert after == before
    assert set(next_round) == set(range(1, 61))


@pytest.mark.usefixtures("empty")
def test_quotes_added_on_the_day_of_a_new_round_wait_for_the_one_after() -> None:
    fill(5, NOON)
    turn = NOON + 5 * DAY
    before = shown(turn.date(), 5)
    fill(8, turn)
    assert shown(turn.date(), 5) == before
    assert set(shown(turn.date() + 5 * DAY, 8)) == set(range(1, 9))


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), min_size=1, max_size=5), st.integers(1, 7))
def test_however_the_catalogue_grows_answered_days_stay_and_rounds_are_whole(
    tmp_path_factory: pytest.TempPathFactory, growth: list[tuple[int, int]], start: int
) -> None:
    path = make_catalogue(tmp_path_factory.mktemp("growing") / "growing.db", numbered_quotations(start, first=0), NOON)
    size_from = {0: start}  # days after the first, and how many quotes there are from the next day on
    opened = SqliteFile(path)
    with bound.override(opened), opened:
        for days, more in growth:
            last_day, size = max(size_from.items())
            answered = shown(NOON.date(), last_day + days + 1)
            size_from[last_day + days] = size + more  # which the first day, too, does not see any more
            fill(size + more, NOON + (last_day + days) * DAY + timedelta(hours=1))
            assert shown(NOON.date(), last_day + days + 1) == answered
        begins = 0
        while begins <= max(size_from):
            size = max([start, *(size for day, size in size_from.items() if day < begins)])
            assert set(shown(NOON.date() + begins * DAY, size)) == set(range(1, size + 1))
            begins += size


@pytest.mark.usefixtures("empty")
def test_ten_years_of_a_tiny_catalogue_cost_a_few_statements() -> None:
    fill(2, NOON)
    fill(3, NOON + 30 * DAY)
    with record_sql() as statements:
        scheduled_quote_id(NOON.date() + 3_650 * DAY)
    assert len(statements) < 8


@sqlite_only
def test_two_machines_that_share_nothing_agree(settings: Settings, tmp_path: Path, clock: FakeClock) -> None:
    answers = []
    for machine in ("one", "another"):
        theirs = read_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/{machine}.db"})
        with database.connect(theirs):
            quotes = QuoteService(clock, random.Random())
            answers.append([quotes.quote_of_date(clock().date() - n * DAY) for n in range(30)])
    assert answers[0] == answers[1]


# ---- the quote of a date


def test_the_stored_row_of_a_date_wins_over_everything(quotes: QuoteService, clock: FakeClock) -> None:
    today = clock().date()
    other = Quote.get(Quote.id != scheduled_quote_id(today))
    DailyQuote.create(date=today, quote=other)
    assert quotes.quote_of_date(today).quote == other.quote


def test_the_first_who_asks_stores_todays_row_and_no_other(quotes: QuoteService, clock: FakeClock) -> None:
    today = clock().date()
    quotes.quote_of_date(today - DAY)
    assert DailyQuote.select().count() == 0, "a stranger can ask for any past day; nothing is written for it"
    quotes.quote_of_date(today)
    quotes.quote_of_date(today)
    assert [row.date for row in DailyQuote.select()] == [today]


@sqlite_only
def test_a_day_that_cannot_be_stored_is_answered_all_the_same(
    quotes: QuoteService, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    expected = scheduled_quote_id(clock().date())
    bound.execute_sql("PRAGMA busy_timeout = 10")
    with closing(sqlite3.connect(bound.database, uri=True)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        answer = quotes.quote_of_date(clock().date())
        writer.rollback()
    assert answer.quote == Quote.get_by_id(expected).quote
    assert DailyQuote.select().count() == 0
    assert "is not stored, only worked out" in caplog.text


def test_a_day_that_is_over_before_the_upstream_answers_is_the_schedules(open_database: None, clock: FakeClock) -> None:
    class Slow:
        def fetch(self) -> Quotation:
            clock.advance(hours=12)
            return KABIR

    day = clock().date()
    expected = Quote.get_by_id(scheduled_quote_id(day)).quote
    assert QuoteService(clock, random.Random(1), Slow()).quote_of_date(day).quote == expected


def test_a_date_to_come_is_not_decided(quotes: QuoteService, clock: FakeClock) -> None:
    with pytest.raises(FutureDate):
        quotes.quote_of_date(clock().date() + DAY)


def test_a_quote_that_was_taken_out_by_hand_is_stepped_over(quotes: QuoteService, clock: FakeClock) -> None:
    yesterday = clock().date() - DAY
    Quote.delete().where(Quote.id == scheduled_quote_id(yesterday)).execute()
    assert quotes.quote_of_date(yesterday).author in {"Louisa May Alcott", "Jane Austen", "Émile Zola"}


def test_a_clock_that_is_set_back_does_not_rewrite_the_round(open_database: None) -> None:
    first_day = (NOON - 30 * DAY).date()
    before = shown(first_day - 100 * DAY, 103)
    for wrong in (datetime(1970, 1, 1, tzinfo=UTC), NOON - 31 * DAY, NOON - 30 * DAY):
        fill(Quote.select().count() + 1, wrong)
        assert shown(first_day - 100 * DAY, 103) == before


# ---- the quotes of many days


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 9)), max_size=4),
    st.integers(1, 7),
    st.dictionaries(st.integers(-9, 60), st.integers(1, 7)),
    st.sets(st.integers(2, 20), max_size=3),
    st.integers(0, 60),
    st.integers(1, 40),
)
def test_many_days_have_the_quotes_that_each_has(  # noqa: PLR0913, PLR0917 whatever may differ
    tmp_path_factory: pytest.TempPathFactory,
    growth: list[tuple[int, int]],
    start: int,
    stored: dict[int, int],
    taken_out: set[int],
    today: int,
    count: int,
) -> None:
    path = make_catalogue(tmp_path_factory.mktemp("days") / "days.db", numbered_quotations(start, first=0), NOON)
    opened, clock = SqliteFile(path), FakeClock(NOON + today * DAY)
    quotes, last = QuoteService(clock, random.Random(1)), clock().date()
    with bound.override(opened), opened:
        grown = NOON
        for days, more in growth:
            grown += days * DAY
            fill(Quote.select().count() + more, grown)
        for day, quote_id in stored.items():
            DailyQuote.create(date=NOON.date() + day * DAY, quote=min(quote_id, start))
        Quote.delete().where(Quote.id.in_(taken_out)).execute()
        asked_together = quotes.quotes_of_days(last, count)
        assert asked_together == [(last - n * DAY, quotes.quote_of_date(last - n * DAY)) for n in range(count)]
        assert quotes.quotes_of_days(last - DAY, 3) == [
            (last - n * DAY, quotes.quote_of_date(last - n * DAY)) for n in (1, 2, 3)
        ]


@pytest.mark.usefixtures("empty")
def test_a_year_of_days_costs_no_more_statements_than_two(quotes: QuoteService, clock: FakeClock) -> None:
    fill(3, NOON - 300 * DAY)
    fill(50, NOON - 200 * DAY)
    today = clock().date()
    quotes.quote_of_date(today)
    DailyQuote.create(date=today - 100 * DAY, quote=1)
    costs = []
    for count in (2, 30, 365):
        with record_sql() as statements:
            assert len(quotes.quotes_of_days(today, count)) == count
        costs.append(len(statements))
    assert costs == [7, 7, 7], "stored ones, the quotes, and five for the three sizes that rounds had"


def test_days_that_are_all_stored_cost_one_statement(quotes: QuoteService, clock: FakeClock) -> None:
    today = clock().date()
    for n in range(30):
        DailyQuote.create(date=today - n * DAY, quote=n % 3 + 1)
    with record_sql() as statements:
        days = quotes.quotes_of_days(today, 30)
    assert len(statements) == 1
    assert [day for day, _ in days] == [today - n * DAY for n in range(30)]


def test_of_many_days_only_todays_is_stored(quotes: QuoteService, clock: FakeClock) -> None:
    today = clock().date()
    assert quotes.quotes_of_days(today, 30)[0] == (today, quotes.quote_of_date(today))
    assert [row.date for row in DailyQuote.select()] == [today]


def test_many_days_of_an_empty_catalogue_are_told_so(quotes: QuoteService, clock: FakeClock) -> None:
    Quote.delete().execute()
    with pytest.raises(QuoteNotFound):
        quotes.quotes_of_days(clock().date(), 30)
    with pytest.raises(QuoteNotFound):
        quotes.quotes_of_days(clock().date() - DAY, 30)


def test_many_days_up_to_one_to_come_are_not_decided(quotes: QuoteService, clock: FakeClock) -> None:
    with pytest.raises(FutureDate):
        quotes.quotes_of_days(clock().date() + DAY, 2)


@sqlite_only
def test_while_the_database_is_away_many_days_are_the_shipped_catalogues_and_not_sure(
    settings: Settings, open_database: None, quotes: QuoteService, clock: FakeClock
) -> None:
    today = clock().date()
    steady = QuotesWithFallback(quotes, clock, random.Random(1))
    days, is_sure = steady.quotes_of_days(today, 30)
    assert is_sure
    bound.close()
    database_file(settings).rename(database_file(settings).with_suffix(".away"))
    assert steady.quotes_of_days(today, 30) == (days, False)


# ---- random quotes


@pytest.mark.usefixtures("empty")
def test_every_quote_has_about_the_same_chance(clock: FakeClock) -> None:
    fill(4 * BLOCK, NOON)
    quotes = QuoteService(clock, random.Random(7))
    counts: Counter[Quotation] = Counter()
    for _ in range(400):
        clock.advance(seconds=2)
        counts.update(quotes.random_quote(Filters()) for _ in range(BLOCK))
    assert len(counts) == 4 * BLOCK
    assert min(counts.values()) > 60, "each is drawn in a quarter of 400 draws"
    assert max(counts.values()) < 140


@pytest.mark.usefixtures("empty")
def test_a_flood_asks_the_database_once_a_second(clock: FakeClock) -> None:
    fill(2 * BLOCK, NOON)
    quotes = QuoteService(clock, random.Random(1))
    with record_sql() as statements:
        given = [quotes.random_quote(Filters()) for _ in range(10 * BLOCK)]
        clock.advance(seconds=1)
        given += [quotes.random_quote(Filters()) for _ in range(10 * BLOCK)]
    assert len(statements) == 2
    assert all(one != next_one for one, next_one in pairwise(given))


@pytest.mark.usefixtures("empty")
def test_one_short_quote_among_many_long_ones_is_found(clock: FakeClock) -> None:
    fill(5_000, NOON)
    store_quotation(Quotation("Be.", "A", "b"), NOON)
    quotes = QuoteService(clock, random.Random(1))
    assert quotes.random_quote(Filters(max_length=3)).quote == "Be."
    assert quotes.random_quote(Filters(max_length=3, author="a")).quote == "Be."
    with pytest.raises(QuoteNotFound, match="max_length 2"):
        quotes.random_quote(Filters(max_length=2))


def test_a_stranger_cannot_make_it_remember_ever_more_filters(quotes: QuoteService) -> None:
    for length in range(19, 200):
        quotes.random_quote(Filters(max_length=length))
    assert len(quotes._pools) <= 32


def test_where_none_fits_it_says_what_was_asked(quotes: QuoteService) -> None:
    with pytest.raises(QuoteNotFound, match=r"No quote has author 'Shakespeare'\. Authors are whole names"):
        quotes.random_quote(Filters(author="Shakespeare"))


# ---- what may be stored


def test_the_id_of_a_quotation_is_found_in_one_statement_unless_it_is_not_stored(open_database: None) -> None:
    quote_id, _ = store_quotation(KABIR, NOON)
    for twin in (KABIR, KABIR._replace(quote="काल करे, सो आज कर!", category="other")):
        with record_sql() as statements:
            assert find_quote_id(twin) == quote_id
        assert len(statements) == 1
    assert find_quote_id(KABIR._replace(author="Rahim")) is None


@pytest.mark.parametrize("quotation", [ALCOTT, AUSTEN, ZOLA, KABIR])
def test_what_is_kept_comes_back_as_it_was(open_database: None, quotation: Quotation) -> None:
    quote_id, _ = store_quotation(quotation, NOON)
    stored = Quote.get_by_id(quote_id)
    assert Quotation(stored.quote, stored.author, stored.category, stored.source) == quotation


def test_the_same_text_by_the_same_author_is_kept_once(open_database: None) -> None:
    first, new = store_quotation(KABIR, NOON)
    assert new
    for twin in ("काल करे, सो आज कर!", " काल  करे सो आज कर "):
        assert store_quotation(validate_quotation(KABIR._replace(quote=twin)._asdict()), NOON) == (first, False)
    assert store_quotations([KABIR, KABIR], NOON) == 0
    other, new = store_quotation(KABIR._replace(author="Rahim"), NOON)
    assert new
    assert other == first + 1


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ("Don’t!", "dont"),
        ("ÉMILE  Zola", "Emile Zola"),
        ("straße", "STRASSE"),
        ("ﬁne", "fine"),
        ("Å", "A\u030a"),
        ("क़लम", "क\u093cलम"),
    ],
)
def test_case_accents_punctuation_and_spaces_do_not_count(one: str, another: str) -> None:
    assert comparison_key(one) == comparison_key(another)


@pytest.mark.parametrize(("one", "another"), [("कि", "की"), ("が", "か"), ("cat", "car"), ("१", "२")])
def test_letters_and_vowel_signs_do_count(one: str, another: str) -> None:
    assert comparison_key(one) != comparison_key(another)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"author": "A", "category": "b"}, "quote is missing"),
        ({"quote": None, "author": "A", "category": "b"}, "quote is missing"),
        ({"quote": 7, "author": "A", "category": "b"}, "quote is not text"),
        ({"quote": ["x"], "author": "A", "category": "b"}, "quote is not text"),
        ({"quote": " \u200b—! ", "author": "A", "category": "b"}, "quote is empty"),
        ({"quote": "x", "author": "\ufdfa" * 99, "category": "b"}, "author has characters that stand for whole words"),
        ({"quote": "x", "author": "", "category": "b"}, "author is empty"),
        ({"quote": "x", "author": "A", "category": "  "}, "category is empty"),
        ({"quote": "x" * 321, "author": "A", "category": "b"}, "quote has 321 characters; at most 320 fit"),
        ({"quote": "x", "author": "A" * 101, "category": "b"}, "author has 101 characters; at most 100 fit"),
        ({"quote": "x\x00y", "author": "A", "category": "b"}, "quote has characters that are not text"),
        ({"quote": "x\ud800y", "author": "A", "category": "b"}, "quote has characters that are not text"),
        ({"quote": "x", "author": "A", "category": "b", "source": 1850}, "source is not text"),
        ({"quote": "x", "author": "A", "category": "b", "source": []}, "source is not text"),
        (
            {"quote": "a" + "\u0301\u0316" * 32_000, "author": "A", "category": "b"},
            "quote has 64001 characters; at most 320 fit",
        ),
    ],
)
def test_what_is_no_quote_is_refused_with_the_reason(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidQuotation) as refusal:
        validate_quotation(fields)
    assert str(refusal.value) == reason


def test_white_space_is_evened_out_and_what_nobody_sees_is_dropped() -> None:
    fields = {
        "quote": "\ufeff To  be,\n or\tnot\u00a0to\u200b be\u202e\uffff\ufffe ",
        "author": " A ",
        "category": "b",
        "source": None,
    }
    assert validate_quotation(fields) == Quotation("To be, or not to be", "A", "b", "")


@given(st.text(max_size=400), st.text(max_size=120))
def test_any_text_is_either_refused_or_can_be_shown_as_it_is_stored(quote: str, author: str) -> None:
    try:
        quotation = validate_quotation({"quote": quote, "author": author, "category": "any"})
    except InvalidQuotation:
        return
    assert validate_quotation(quotation._asdict()) == quotation
    assert quotation.quote.encode().decode() == quotation.quote.strip()
