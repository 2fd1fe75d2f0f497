"""The daily schedule: which quote a date gets.

The catalogue is used up in rounds. A round is a permutation of the quotes that were added before it began, one quote a
day; quotes that are added later wait for the next round. So a date keeps its quote when quotes are added, and machines
with the same catalogue agree without shared state.
"""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import date, timedelta

from quoteapi.clock import start_of_day
from quoteapi.quotes.errors import EMPTY_CATALOGUE, QuoteNotFound
from quoteapi.quotes.quotation import Quotation
from quoteapi.storage.catalogue import catalogue_size_before, first_created_at, quote_at_or_after, quotes_with_ids


def permute(place: int, size: int) -> int:
    """Return the image of `place` (0 to `size` - 1) in a fixed permutation of `size` places.

    A Feistel network over the next power of four, repeated until the result is smaller than `size` (cycle walking), in
    constant memory. In a slightly larger permutation nearly all places have the same result.
    """
    half = max(1, (size - 1).bit_length() + 1 >> 1)
    while True:
        left, right = place >> half, place & (1 << half) - 1
        for turn in range(4):
            digest = hashlib.blake2b(f"{half}/{turn}/{right}".encode(), digest_size=8).digest()
            left, right = right, left ^ int.from_bytes(digest) & (1 << half) - 1
        place = left << half | right
        if place < size:
            return place


def scheduled_quote_id(day: date) -> int:
    """Return the id of the quote scheduled for a date. Raises `QuoteNotFound` if there are no quotes."""
    return scheduled_quote_ids([day])[day]


def scheduled_quote_ids(days: Iterable[date]) -> dict[date, int]:
    """Return the ids of the quotes scheduled for dates, which must be in ascending order.

    Takes as many SQL statements as `scheduled_quote_id` of the last date, and raises the same error.
    """
    rounds = _iterate_rounds()
    start, size, known_days = next(rounds)
    ids = {}
    for day in days:
        while (day - start).days >= known_days:
            start, size, known_days = next(rounds)
        ids[day] = permute((day - start).days % size, size) + 1
    return ids


def scheduled_quotations(days: Iterable[date]) -> dict[date, Quotation]:
    """Return the quotations scheduled for dates, which must be in ascending order.

    A deleted quote is replaced as in `quotation_with_id`. Raises `QuoteNotFound` if there are no quotes.
    """
    ids = scheduled_quote_ids(days)
    quotations = quotes_with_ids(ids.values())
    return {day: quotations.get(quote_id) or quotation_with_id(quote_id) for day, quote_id in ids.items()}


def quotation_with_id(quote_id: int) -> Quotation:
    """Return the quote with an id; if deleted, that with the next higher id, or else the first.

    Raises `QuoteNotFound` if the catalogue is empty.
    """
    if (quotation := quote_at_or_after(quote_id)) is None:
        raise QuoteNotFound(EMPTY_CATALOGUE)
    return quotation


def _iterate_rounds() -> Iterator[tuple[date, int, int]]:
    """Yield `(start, size, days)`: in the `days` from the date `start` on, each round has `size` quotes.

    Each size comes twice, with the days of its first round and then of all its rounds: only the latter needs the SQL
    statement that finds when the next quote was added. Raises `QuoteNotFound` if there are no quotes.
    """
    first = first_created_at(start_of_day(date.min))
    if first is None:
        raise QuoteNotFound(EMPTY_CATALOGUE)
    start, counted_before = first.date(), first + timedelta(microseconds=1)
    while True:
        size = catalogue_size_before(counted_before)
        yield start, size, size
        next_added = first_created_at(counted_before)
        last_start = date.max if next_added is None else next_added.date()
        days = size * ((last_start - start).days // size + 1)
        yield start, size, days
        start += timedelta(days=days)
        counted_before = start_of_day(start)
