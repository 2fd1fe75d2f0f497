import random
from collections import Counter
from itertools import pairwise

import pytest

from quoteapi.quotes.errors import QuoteNotFound
from quoteapi.quotes.quotation import Quotation
from quoteapi.quotes.random_pool import BATCH_SIZE, MAX_POOLS, RandomPools
from quoteapi.storage.catalogue import store_quotation
from quoteapi.storage.full_text_search import Filters
from tests.helpers.clock import FakeClock
from tests.helpers.data import NOON
from tests.helpers.sql import record_sql
from tests.quotes.conftest import fill_catalogue


@pytest.mark.usefixtures("empty_catalogue")
def test_every_quote_has_about_the_same_chance(clock: FakeClock) -> None:
    fill_catalogue(4 * BATCH_SIZE, NOON)
    pools = RandomPools(clock, random.Random(7))
    counts: Counter[Quotation] = Counter()
    for _ in range(400):
        clock.advance(seconds=2)
        counts.update(pools.random_quote(Filters()) for _ in range(BATCH_SIZE))
    assert len(counts) == 4 * BATCH_SIZE
    assert min(counts.values()) > 60, "each is fetched in a quarter of 400 batches"
    assert max(counts.values()) < 140


@pytest.mark.usefixtures("empty_catalogue")
def test_a_flood_of_requests_costs_one_statement_a_second(clock: FakeClock) -> None:
    fill_catalogue(2 * BATCH_SIZE, NOON)
    pools = RandomPools(clock, random.Random(1))
    with record_sql() as statements:
        returned = [pools.random_quote(Filters()) for _ in range(10 * BATCH_SIZE)]
        clock.advance(seconds=1)
        returned += [pools.random_quote(Filters()) for _ in range(10 * BATCH_SIZE)]
    assert len(statements) == 2
    assert all(one != next_one for one, next_one in pairwise(returned))


@pytest.mark.usefixtures("empty_catalogue")
def test_one_short_quote_among_many_long_ones_is_found(clock: FakeClock) -> None:
    fill_catalogue(5_000, NOON)
    store_quotation(Quotation("Be.", "A", "b"), NOON)
    pools = RandomPools(clock, random.Random(1))
    assert pools.random_quote(Filters(max_length=3)).quote == "Be."
    assert pools.random_quote(Filters(max_length=3, author="a")).quote == "Be."
    with pytest.raises(QuoteNotFound, match=r"^No quote is that short; the shortest has 3 characters\.$"):
        pools.random_quote(Filters(max_length=2))


def test_the_number_of_pools_is_limited(open_database: None, clock: FakeClock) -> None:
    pools = RandomPools(clock, random.Random(1))
    for length in range(19, 200):
        pools.random_quote(Filters(max_length=length))
    assert len(pools._pools) <= MAX_POOLS == 32


def test_if_no_quote_matches_the_error_names_the_filters(open_database: None, clock: FakeClock) -> None:
    with pytest.raises(
        QuoteNotFound, match=r"There is no quote by 'Shakespeare'\. Use the full name, as in 'Jane Austen'"
    ):
        RandomPools(clock, random.Random(1)).random_quote(Filters(author="Shakespeare"))
