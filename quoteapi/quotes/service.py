"""The quote of a date and random quotes."""

import logging
import threading
from collections.abc import Callable
from datetime import date, timedelta
from random import Random

from quoteapi.clock import Clock
from quoteapi.quotes.daily_schedule import quotation_with_id, scheduled_quotations, scheduled_quote_id
from quoteapi.quotes.errors import FutureDate
from quoteapi.quotes.quotation import Quotation
from quoteapi.quotes.random_pool import RandomPools
from quoteapi.storage.catalogue import store_daily_quote, store_quotation, stored_daily_quotes, was_daily_quote
from quoteapi.storage.database import WRITE_ERRORS, DatabaseBusy
from quoteapi.storage.full_text_search import Filters

DAILY_LOCK_TIMEOUT_SECONDS = 2
"""How long a thread waits for another one that chooses today's quote."""
Fetch = Callable[[], Quotation | None]
"""Fetches a quote from the upstream API; returns None if there is none now."""
log = logging.getLogger(__name__)


class QuoteService:
    """The quote of a date, and random quotes."""

    def __init__(
        self, clock: Clock, random: Random, fetch: Fetch | None = None, *, has_shared_state: bool = True
    ) -> None:
        """Prefer the quotes of the upstream API if `fetch` is given.

        Without shared state they are not stored, and the quote of a date is always that of the schedule, because
        processes could not agree on another one.
        """
        self._clock = clock
        self._fetch = fetch
        self._has_shared_state = has_shared_state
        self._daily_lock = threading.Lock()
        self._random_pools = RandomPools(clock, random)

    def quote_of_date(self, day: date) -> Quotation:
        """Return the quote of a date. The first call of a day chooses and stores today's quote.

        Raises `FutureDate` for a date after today, `QuoteNotFound` if the catalogue is empty, `DatabaseBusy`.
        """
        if (stored := stored_daily_quotes([day]).get(day)) is not None:
            return stored
        today = self._clock().date()
        if day > today:
            raise FutureDate(day.isoformat())
        if day < today:  # not stored: clients can ask for 700,000 past dates
            return quotation_with_id(scheduled_quote_id(day))
        if not self._daily_lock.acquire(timeout=DAILY_LOCK_TIMEOUT_SECONDS):
            raise DatabaseBusy("another thread has not finished choosing today's quote")
        try:
            return stored_daily_quotes([day]).get(day) or self._choose_quote(day)
        finally:
            self._daily_lock.release()

    def quotes_of_days(self, last: date, count: int) -> list[tuple[date, Quotation]]:
        """Return the quotes of `count` days up to `last`, the newest first, in a few SQL statements.

        Each is the quote that `quote_of_date` returns. Raises the same exceptions.
        """
        days = [last - timedelta(days=n) for n in range(count)]
        quotations = stored_daily_quotes(days)
        if last not in quotations and last >= self._clock().date():
            quotations[last] = self.quote_of_date(last)
        if missing := [day for day in reversed(days) if day not in quotations]:
            quotations |= scheduled_quotations(missing)
        return [(day, quotations[day]) for day in days]

    def _choose_quote(self, day: date) -> Quotation:
        """Choose and store the quote of today; if another process stored one first, return that."""
        quote_id = self._upstream_quote_id(day) or scheduled_quote_id(day)
        quotation = quotation_with_id(quote_id)
        if not self._has_shared_state:
            return quotation
        try:
            store_daily_quote(day, quote_id)
        except WRITE_ERRORS as error:
            if self._fetch is not None:
                raise
            log.warning("The quote of %s could not be stored: %s", day, error)
            return quotation
        return stored_daily_quotes([day]).get(day) or quotation

    def _upstream_quote_id(self, day: date) -> int | None:
        """Store a quote of the upstream API. Return its id; None if none came or it was a daily quote before."""
        quotation = self._fetch() if self._fetch is not None and self._has_shared_state else None
        if quotation is None or self._clock().date() != day:  # after midnight, past days are those of the schedule
            return None
        quote_id, _ = store_quotation(quotation, self._clock())
        return quote_id if not was_daily_quote(quote_id) else None

    def random_quote(self, filters: Filters) -> Quotation:
        """Return a random quote that matches. Raises `QuoteNotFound` if none does.

        The upstream API comes first, unless there are filters, which it does not support.
        """
        if self._fetch is not None and filters == Filters() and (quotation := self._fetch()) is not None:
            if self._has_shared_state:
                store_quotation(quotation, self._clock())
            return quotation
        return self._random_pools.random_quote(filters)

    def prefetched_quote(self, filters: Filters) -> Quotation | None:
        """Return a random quote without SQL or the upstream API; None if one of them is needed."""
        if self._fetch is not None and filters == Filters():
            return None
        return self._random_pools.prefetched_quote(filters)
