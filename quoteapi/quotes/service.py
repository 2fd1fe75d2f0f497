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
from quoteapi.storage.catalogue import fingerprint, store_quotation
from quoteapi.storage.database import WRITE_ERRORS, DatabaseBusy
from quoteapi.storage.full_text_search import Filters
from quoteapi.storage.state import State
from quoteapi.time_zones import last_begun_date

DAILY_LOCK_TIMEOUT_SECONDS = 2
"""How long a thread waits for another one that chooses the quote of a date."""
Fetch = Callable[[], Quotation | None]
"""Fetches a quote from the upstream API; returns None if there is none now."""
log = logging.getLogger(__name__)


class QuoteService:
    """The quote of a date, and random quotes."""

    def __init__(
        self,
        clock: Clock,
        random: Random,
        state: State | None = None,
        fetch: Fetch | None = None,
        *,
        can_write_catalogue: bool = False,
    ) -> None:
        """Prefer the quotes of the upstream API if `fetch` is given; add them to the catalogue if that can be written.

        Without shared state, the quote of a date is always that of the schedule, because processes could not agree on
        another one.
        """
        self._clock = clock
        self._state = state
        self._fetch = fetch
        self._can_write_catalogue = can_write_catalogue
        self._daily_lock = threading.Lock()
        self._random_pools = RandomPools(clock, random)

    def quote_of_date(self, day: date) -> Quotation:
        """Return the quote of a date. The first call after it began in UTC+14 chooses and stores it.

        A date that ended in UTC without such a call has the quote of the schedule. Raises `FutureDate` for a date that
        has not begun in any time zone, `QuoteNotFound` if the catalogue is empty, `DatabaseBusy`.
        """
        if (stored := self._stored_quotes(day, day).get(day)) is not None:
            return stored
        now = self._clock()
        if day > last_begun_date(now):
            raise FutureDate(day.isoformat())
        if day < now.date():  # not stored: clients can ask for 700,000 past dates
            return quotation_with_id(scheduled_quote_id(day))
        if not self._daily_lock.acquire(timeout=DAILY_LOCK_TIMEOUT_SECONDS):
            raise DatabaseBusy("another thread has not finished choosing the quote of a date")
        try:
            return self._stored_quotes(day, day).get(day) or self._choose_quote(day)
        finally:
            self._daily_lock.release()

    def quotes_of_days(self, last: date, count: int) -> list[tuple[date, Quotation]]:
        """Return the quotes of `count` days up to `last`, the newest first, in a few SQL statements.

        Each is the quote that `quote_of_date` returns. Raises the same exceptions.
        """
        days = [last - timedelta(days=n) for n in range(count)]
        quotations = self._stored_quotes(days[-1], last)
        if last not in quotations and last >= self._clock().date():
            quotations[last] = self.quote_of_date(last)
        if missing := [day for day in reversed(days) if day not in quotations]:
            quotations |= scheduled_quotations(missing)
        return [(day, quotations[day]) for day in days]

    def _stored_quotes(self, first: date, last: date) -> dict[date, Quotation]:
        return {} if self._state is None else self._state.daily_quotes(first, last)

    def _choose_quote(self, day: date) -> Quotation:
        """Choose and store the quote of a date; if another process stored one first, return that."""
        quotation = self._upstream_quotation(day) or quotation_with_id(scheduled_quote_id(day))
        if self._state is None:
            return quotation
        try:
            self._state.store_daily_quote(day, quotation, self._clock())
        except WRITE_ERRORS as error:
            if self._fetch is not None:
                raise
            log.warning("The quote of %s could not be stored: %s", day, error)
            return quotation
        return self._stored_quotes(day, day).get(day) or quotation

    def _upstream_quotation(self, day: date) -> Quotation | None:
        """Return a quote of the upstream API; None if none came or it is the daily quote of another date."""
        quotation = self._fetch() if self._fetch is not None and self._state is not None else None
        if quotation is None or self._clock().date() > day:  # after midnight, past days are those of the schedule
            return None
        others = self._stored_quotes(date.min, date.max).values()  # the next date may have begun in UTC+14
        return None if fingerprint(quotation) in map(fingerprint, others) else quotation

    def random_quote(self, filters: Filters) -> Quotation:
        """Return a random quote that matches. Raises `QuoteNotFound` if none does.

        The upstream API comes first, unless there are filters, which it does not support.
        """
        if self._fetch is not None and filters == Filters() and (quotation := self._fetch()) is not None:
            if self._can_write_catalogue:
                store_quotation(quotation, self._clock())
            return quotation
        return self._random_pools.random_quote(filters)

    def prefetched_quote(self, filters: Filters) -> Quotation | None:
        """Return a random quote without SQL or the upstream API; None if one of them is needed."""
        if self._fetch is not None and filters == Filters():
            return None
        return self._random_pools.prefetched_quote(filters)
