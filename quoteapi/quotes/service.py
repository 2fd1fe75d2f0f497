"""The quote of a date, and a random one."""

import logging
import threading
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from random import Random
from typing import Any, Protocol

from peewee import InternalError, OperationalError

from quoteapi.clock import Clock
from quoteapi.quotes.daily_schedule import scheduled_quote_id, scheduled_quote_ids
from quoteapi.quotes.errors import EMPTY_CATALOGUE, FutureDate, QuoteNotFound
from quoteapi.quotes.quotation import QUOTATION_COLUMNS, Quotation
from quoteapi.quotes.random_pool import POOLS, RandomPool, draw_random_quotes
from quoteapi.storage.catalogue import store_quotation
from quoteapi.storage.full_text_search import Filters
from quoteapi.storage.models import DailyQuote, Quote

log = logging.getLogger(__name__)


class Upstream(Protocol):
    """Where new quotes come from."""

    def fetch(self) -> Quotation | None:
        """Fetch a quote; None where none is to be had now."""


class QuoteService:
    """What the entrances ask: the quote of a date, and a random one."""

    def __init__(
        self, clock: Clock, random: Random, upstream: Upstream | None = None, *, has_shared_state: bool = True
    ) -> None:
        """Ask `upstream` first, where there is one.

        Where `has_shared_state` is false, what it answers is not kept, and the quote of a date comes from the catalogue
        alone: the other machines could not know of it.
        """
        self._clock = clock
        self._random = random
        self._upstream = upstream
        self._has_shared_state = has_shared_state
        self._day_lock = threading.Lock()
        self._pools: dict[Filters, RandomPool] = {}
        self._pools_lock = threading.Lock()

    def quote_of_date(self, day: date) -> Quotation:
        """Answer the quote of a date. Today's is decided and stored by whoever asks first.

        Raises `FutureDate` for tomorrow and later, `QuoteNotFound` where the catalogue is empty.
        """
        if (stored := _stored_for([day]).get(day)) is not None:
            return stored
        today = self._clock().date()
        if day > today:
            raise FutureDate(day.isoformat())
        if day < today:  # nothing is written for it: a stranger can ask for 700,000 days
            return _quotation_from(scheduled_quote_id(day))
        if not self._day_lock.acquire(timeout=DECIDING_SECONDS):
            raise OperationalError("another thread has been deciding for long")
        try:
            return _stored_for([day]).get(day) or self._decide(day)
        finally:
            self._day_lock.release()

    def quotes_of_days(self, last: date, count: int) -> list[tuple[date, Quotation]]:
        """Answer the quotes of `count` days, the newest first, as `quote_of_date` does for each, in a few SQL statements.

        `last` is today or earlier. Raises as `quote_of_date` does.
        """
        days = [last - timedelta(days=n) for n in range(count)]
        known = _stored_for(days)
        if last not in known and last >= self._clock().date():
            known[last] = self.quote_of_date(last)
        if missing := [day for day in reversed(days) if day not in known]:
            known |= _scheduled_for(missing)
        return [(day, known[day]) for day in days]

    def _decide(self, day: date) -> Quotation:
        """Store the quote of a date; where another process was faster, answer that one's."""
        fresh = self._upstream.fetch() if self._upstream is not None and self._has_shared_state else None
        if self._clock().date() != day:  # it was over while the upstream API thought: others answer the schedule's
            fresh = None
        quote_id = store_quotation(fresh, self._clock())[0] if fresh is not None else None
        if quote_id is None or DailyQuote.select().where(DailyQuote.quote == quote_id).exists():
            quote_id = scheduled_quote_id(day)
        quotation = _quotation_from(quote_id)
        if not self._has_shared_state:  # who asks next works it out again
            return quotation
        try:
            DailyQuote.insert(date=day, quote=quote_id).on_conflict_ignore().execute()
        except (OperationalError, InternalError) as error:  # such as a server that can only be read
            if self._upstream is not None:
                raise
            log.warning("The quote of %s is not stored, only worked out: %s", day, error)
            return quotation
        return _stored_for([day]).get(day) or quotation

    def random_quote(self, filters: Filters) -> Quotation:
        """Answer another quote each time. Raises `QuoteNotFound` where none fits.

        The upstream API is asked first, unless there are filters, which it does not know.
        """
        if self._upstream is not None and filters == Filters() and (fresh := self._upstream.fetch()) is not None:
            if self._has_shared_state:
                store_quotation(fresh, self._clock())
            return fresh
        if (drawn_before := self._drawn_before(filters)) is not None:
            return drawn_before
        with self._pools_lock:
            pool = self._pools.get(filters)
            if pool is not None:
                pool.is_being_renewed = True
        try:  # without the lock: the others go on with what there is, however long this takes
            drawn = draw_random_quotes(filters, self._random.getrandbits(63))
        finally:
            if pool is not None:
                pool.is_being_renewed = False
        with self._pools_lock:
            return self._given(filters, RandomPool(drawn, self._clock(), pool.last if pool is not None else None))

    def prefetched_quote(self, filters: Filters) -> Quotation | None:
        """Answer another quote without asking anybody; None where that cannot be."""
        if self._upstream is not None and filters == Filters():
            return None
        return self._drawn_before(filters)

    def _drawn_before(self, filters: Filters) -> Quotation | None:
        with self._pools_lock:
            pool = self._pools.get(filters)
            if pool is None or not (pool.is_good(self._clock()) or pool.is_being_renewed):
                return None
            return self._given(filters, pool)

    def _given(self, filters: Filters, pool: "RandomPool") -> Quotation:
        if not pool.quotations:
            raise QuoteNotFound(_nothing_left(filters))
        self._pools.pop(filters, None)
        self._pools[filters] = pool  # the one used last stands last
        if len(self._pools) > POOLS:
            del self._pools[next(iter(self._pools))]
        return pool.give(self._random)


DECIDING_SECONDS = 2
"""How long a thread waits for another one to decide about the quote of a day."""


def _stored_for(days: Sequence[date]) -> dict[date, Quotation]:
    rows: Any = (
        DailyQuote.select(DailyQuote.date, *QUOTATION_COLUMNS).join(Quote).where(DailyQuote.date.in_(days)).tuples()
    )
    return {day: Quotation(*columns) for day, *columns in rows}


def _scheduled_for(days: Iterable[date]) -> dict[date, Quotation]:
    """Answer what the catalogue gives dates, the earliest first; where quotes were taken out, one by one."""
    ids = scheduled_quote_ids(days)
    rows: Any = Quote.select(Quote.id, *QUOTATION_COLUMNS).where(Quote.id.in_(set(ids.values()))).tuples()
    there = {quote_id: Quotation(*columns) for quote_id, *columns in rows}
    return {day: there.get(quote_id) or _quotation_from(quote_id) for day, quote_id in ids.items()}


def _quotation_from(quote_id: int) -> Quotation:
    """Answer the quote with an id; where somebody took it out of the table, the next one."""
    rows = Quote.select(*QUOTATION_COLUMNS).order_by(Quote.id).limit(1).tuples()
    row = rows.where(Quote.id >= quote_id).first() or rows.first()
    if row is None:
        raise QuoteNotFound(EMPTY_CATALOGUE)
    return Quotation(*row)


def _nothing_left(filters: Filters) -> str:
    asked = [f"{name} {value!r}" for name, value in filters._asdict().items() if value is not None]
    if not asked:
        return EMPTY_CATALOGUE
    hint = "Authors are whole names, as in 'Jane Austen'." if filters.author is not None else "Ask for something wider."
    return f"No quote has {' and '.join(asked)}. {hint}"
