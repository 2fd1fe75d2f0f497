"""The random pool: prefetched random quotes per filter."""

from datetime import datetime, timedelta
from random import Random
from typing import Any

from peewee import Select, fn

from quoteapi.quotes.quotation import QUOTATION_COLUMNS, Quotation
from quoteapi.storage.full_text_search import Filters, filter_by_name, filter_quotes
from quoteapi.storage.models import Quote, database

BLOCK = 256
"""How many random quotes one SQL statement fetches for the requests to come."""
POOL_LIFE = timedelta(seconds=60)
"""How long fetched quotes are given out before the catalogue is asked again, so that new ones show."""
POOL_REUSE = timedelta(seconds=1)
"""How long those that were all given out are given out again: no load asks the database more often than this."""
POOLS = 32
"""How many different filters keep fetched quotes at a time."""


class RandomPool:
    """Quotes that were drawn at random, given out one after another, in a new order each time round."""

    def __init__(self, quotations: list[Quotation], drawn_at: datetime, last: Quotation | None) -> None:
        self.quotations = quotations
        self.last = last
        self.is_being_renewed = False
        self._drawn_at = drawn_at
        self._rest: list[Quotation] = []

    def is_good(self, now: datetime) -> bool:
        """Whether to give out of it, and not to draw anew."""
        return timedelta(0) <= now - self._drawn_at < (POOL_LIFE if self._rest else POOL_REUSE)

    def give(self, random: Random) -> Quotation:
        """Give the next one, which is never the one before if there are two."""
        if not self._rest:
            self._rest = self.quotations.copy()
            random.shuffle(self._rest)
            if self._rest[-1] == self.last:
                self._rest.reverse()
        self.last = self._rest.pop()
        return self.last


def draw_random_quotes(filters: Filters, pivot: int) -> list[Quotation]:
    """Draw up to `BLOCK` quotes that fit, from a random place on and round the end, in one statement.

    An index is walked from one point, so the cost does not grow with the catalogue. It is that of the shuffled order
    or, where length counts, that of the search, which has the order of ids.
    """
    place: Any = pivot
    if filters.max_length is None:
        query, key = filter_by_name(Quote.select(*QUOTATION_COLUMNS), filters), Quote.shuffle
    else:
        query, key = filter_quotes(Quote.select(*QUOTATION_COLUMNS), filters)
        place = Quote.select(fn.COALESCE(fn.MAX(Quote.id).cast("BIGINT"), 0) * (pivot >> 32) / 2**31)
    after, before = (
        Select([walked], [getattr(walked.c, column.name) for column in QUOTATION_COLUMNS])
        for side in (key >= place, key < place)
        for walked in [query.where(side).order_by(key).limit(BLOCK).alias("walked")]
    )
    return [Quotation(*row) for row in database.execute((after + before).limit(BLOCK)).fetchall()]
