from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quoteapi.quotes.daily_schedule import permute, scheduled_quote_id, scheduled_quote_ids
from quoteapi.storage.models import Quote
from quoteapi.time_zones import last_begun_date
from tests.helpers.data import NOON
from tests.helpers.sql import record_sql
from tests.quotes.conftest import RolledBack, fill_catalogue

DAY = timedelta(days=1)


def scheduled_ids(first: date, days: int) -> list[int]:
    return [scheduled_quote_id(first + n * DAY) for n in range(days)]


# ---- the permutation


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 17, 100, 597, 1_000])
def test_a_permutation_has_each_place_once(size: int) -> None:
    assert sorted(permute(place, size) for place in range(size)) == list(range(size))


def test_a_permutation_does_not_keep_neighbours_together() -> None:
    order = [permute(place, 500) for place in range(500)]
    neighbours = sum(abs(one - next_one) == 1 for one, next_one in pairwise(order))
    assert neighbours < 10


def test_a_few_more_quotes_change_the_order_of_few_others() -> None:
    before = {permute(place, 597): place for place in range(597)}
    after = {permute(place, 607): place for place in range(607)}
    moved = sum(after[quote] != place for quote, place in before.items())
    assert moved < 20, "or a quote may come back soon in a round that is longer than the last"


def test_the_order_never_changes_from_release_to_release() -> None:
    assert [permute(place, 597) for place in range(6)] == [482, 217, 477, 352, 310, 80]


# ---- rounds


@pytest.mark.usefixtures("empty_catalogue")
def test_no_quote_repeats_within_a_round() -> None:
    fill_catalogue(50, NOON)
    first_round = scheduled_ids(NOON.date(), 50)
    second_round = scheduled_ids(NOON.date() + 50 * DAY, 50)
    assert len(set(first_round)) == 50
    assert second_round == first_round


@pytest.mark.usefixtures("empty_catalogue")
def test_days_before_the_catalogue_began_have_quotes_too() -> None:
    fill_catalogue(50, NOON)
    assert len(set(scheduled_ids(NOON.date() - 50 * DAY, 50))) == 50
    assert scheduled_quote_id(date.min) in range(1, 51)


@pytest.mark.usefixtures("empty_catalogue")
def test_added_quotes_wait_for_the_next_round() -> None:
    fill_catalogue(50, NOON)
    before = scheduled_ids(NOON.date(), 50)
    fill_catalogue(60, NOON + 10 * DAY)
    after = scheduled_ids(NOON.date(), 50)
    next_round = scheduled_ids(NOON.date() + 50 * DAY, 60)
    assert after == before
    assert set(next_round) == set(range(1, 61))


@pytest.mark.usefixtures("empty_catalogue")
def test_quotes_added_on_the_first_day_of_a_round_wait_for_the_next_one() -> None:
    fill_catalogue(5, NOON)
    second_round = NOON + 5 * DAY
    before = scheduled_ids(second_round.date(), 5)
    fill_catalogue(8, second_round)
    assert scheduled_ids(second_round.date(), 5) == before
    assert set(scheduled_ids(second_round.date() + 5 * DAY, 8)) == set(range(1, 9))


@pytest.mark.usefixtures("empty_catalogue")
@pytest.mark.parametrize(
    ("time_of_day", "is_in_next_round"), [("09:59:59", True), ("10:00", False), ("23:59:59", False)]
)
def test_quotes_added_when_the_first_day_of_a_round_has_begun_somewhere_wait_for_the_next_one(
    time_of_day: str, is_in_next_round: bool
) -> None:
    fill_catalogue(5, NOON)
    first_day = NOON.date() + 5 * DAY
    before = scheduled_ids(first_day, 5)
    fill_catalogue(8, datetime.fromisoformat(f"{first_day - DAY}T{time_of_day}Z"))
    if is_in_next_round:
        assert set(scheduled_ids(first_day, 8)) == set(range(1, 9))
    else:
        assert scheduled_ids(first_day, 5) == before
        assert set(scheduled_ids(first_day + 5 * DAY, 8)) == set(range(1, 9))


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(1, 9)), min_size=1, max_size=5), st.integers(1, 7))
def test_days_that_have_begun_keep_their_quotes_and_rounds_are_complete_however_the_catalogue_grows(
    rolled_back: RolledBack, growth: list[tuple[int, int]], start: int
) -> None:
    def ids(first: int, days: int) -> list[int]:
        dates = [NOON.date() + (first + n) * DAY for n in range(days)]
        scheduled = scheduled_quote_ids(dates)
        assert scheduled_quote_id(dates[-1]) == scheduled[dates[-1]]
        return [scheduled[day] for day in dates]

    size_from = {0: start}  # days after the first, and how many quotes there are from the next day on
    added = NOON
    with rolled_back():
        fill_catalogue(start, NOON)
        for hours, more in growth:
            added += timedelta(hours=hours)
            last_begun = (last_begun_date(added) - NOON.date()).days
            before = ids(0, last_begun + 1)
            size_from[last_begun] = max(size_from.values()) + more
            fill_catalogue(size_from[last_begun], added)
            assert ids(0, last_begun + 1) == before
        begins = 0
        while begins <= max(size_from):
            size = max([start, *(size for day, size in size_from.items() if day < begins)])
            assert set(ids(begins, size)) == set(range(1, size + 1))
            begins += size


@pytest.mark.usefixtures("empty_catalogue")
def test_ten_years_of_a_tiny_catalogue_cost_a_few_statements() -> None:
    fill_catalogue(2, NOON)
    fill_catalogue(3, NOON + 30 * DAY)
    with record_sql() as statements:
        scheduled_quote_id(NOON.date() + 3_650 * DAY)
    assert len(statements) < 8


def test_a_clock_that_is_set_back_does_not_change_past_rounds(open_database: None) -> None:
    first_day = (NOON - 30 * DAY).date()
    before = scheduled_ids(first_day - 100 * DAY, 103)
    for wrong in (datetime(1970, 1, 1, tzinfo=UTC), NOON - 31 * DAY, NOON - 30 * DAY):
        fill_catalogue(Quote.select().count() + 1, wrong)
        assert scheduled_ids(first_day - 100 * DAY, 103) == before
