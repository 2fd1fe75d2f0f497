"""The daily schedule: which quote a date gets."""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta

from quoteapi.clock import start_of_day
from quoteapi.quotes.errors import EMPTY_CATALOGUE, QuoteNotFound
from quoteapi.storage.models import Quote


def permute(place: int, size: int) -> int:
    """Answer where `place` (0 to `size` - 1) goes in a fixed shuffling of `size` things.

    A Feistel network over the next power of four, walked until it is inside: every place once, in constant memory. A
    few things more leave nearly all of the others where they were.
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
    """Answer the id of the quote that the catalogue gives a date, whatever was stored for it.

    The catalogue is used up in rounds: a round is a shuffling of the quotes that were there before it began, one
    a day; a quote added meanwhile waits for the next. So the answer for a date never changes when quotes are added,
    and machines with the same catalogue agree without talking. Raises `QuoteNotFound` where the catalogue is empty.
    """
    return scheduled_quote_ids([day])[day]


def scheduled_quote_ids(days: Iterable[date]) -> dict[date, int]:
    """Answer `scheduled_quote_id` of dates, the earliest first, in no more SQL statements than for the last of them."""
    sizes = _rounds()
    start, size, holds = next(sizes)
    ids = {}
    for day in days:
        while (day - start).days >= holds:
            start, size, holds = next(sizes)
        ids[day] = permute((day - start).days % size, size) + 1
    return ids


def _rounds() -> Iterator[tuple[date, int, int]]:
    """Answer from which date on rounds have what size, and for how many days that is known to hold, ever further."""
    first = Quote.select(Quote.created_at).order_by(Quote.created_at).limit(1).scalar()
    if first is None:
        raise QuoteNotFound(EMPTY_CATALOGUE)
    start, counted_to = first.date(), first + timedelta(microseconds=1)
    while True:
        size = _size_before(counted_to)
        yield start, size, size
        later = Quote.select(Quote.created_at).where(Quote.created_at >= counted_to)
        growth = later.order_by(Quote.created_at).limit(1).scalar()
        last_start = date.max if growth is None else growth.date()
        holds = size * ((last_start - start).days // size + 1)
        yield start, size, holds
        start += timedelta(days=holds)
        counted_to = start_of_day(start)


def _size_before(moment: datetime) -> int:
    """Answer how many quotes there were at a moment: ids and moments are given in order, ids without gaps."""
    earlier = Quote.select(Quote.id).where(Quote.created_at < moment)
    return int(earlier.order_by(Quote.created_at.desc(), Quote.id.desc()).limit(1).scalar())
