"""The fallback catalogue: the bundled catalogue, used while the database is unavailable."""

import logging
import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import TypeVar

from quoteapi.clock import Clock
from quoteapi.quotes.quotation import Quotation
from quoteapi.quotes.service import QuoteService
from quoteapi.storage.database import DATABASE_ERRORS, PROGRAMMING_ERRORS, READ_TIMEOUT_SECONDS, use_bundled_catalogue
from quoteapi.storage.full_text_search import Filters
from quoteapi.storage.models import database
from quoteapi.storage.state import StateUnavailable

SLOW_QUERY_SECONDS = 0.5
"""While a query takes longer, other threads use the fallback catalogue."""
RETRY_INTERVAL = timedelta(seconds=10)
"""How long the database is not queried after an error."""
log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class QuotesWithFallback:
    """The quotes of a `QuoteService`, or of the bundled catalogue while the database is unavailable."""

    def __init__(self, quotes: QuoteService, clock: Clock, random: Random) -> None:
        self._quotes = quotes
        self._fallback = QuoteService(clock, random)
        self._clock = clock
        self._unavailable_until = datetime.min.replace(tzinfo=UTC)
        self._started_at: dict[int, float] = {}
        """By thread id, the monotonic time at which a query of the database began that is still running."""

    def quote_of_date(self, day: date) -> tuple[Quotation, bool]:
        """Return the quote of a date, and whether it is from the database: the bundled catalogue may differ.

        Raises `FutureDate`, `QuoteNotFound`.
        """
        return self._query(lambda quotes: quotes.quote_of_date(day))

    def quotes_of_days(self, last: date, count: int) -> tuple[list[tuple[date, Quotation]], bool]:
        """Return, newest first, the quotes of `count` days up to `last`, and whether they are the database's."""
        return self._query(lambda quotes: quotes.quotes_of_days(last, count))

    def random_quote(self, filters: Filters) -> Quotation:
        """Return a random quote that matches. Raises `QuoteNotFound` if none does."""
        return self._quotes.prefetched_quote(filters) or self._query(lambda quotes: quotes.random_quote(filters))[0]

    def _query(self, query: Callable[[QuoteService], _Result]) -> tuple[_Result, bool]:
        """Return the result of a query, and whether it is from the database, not the bundled catalogue."""
        now = self._clock()
        if self._is_available(now):
            try:
                return self._query_database(query), True
            except PROGRAMMING_ERRORS:
                raise
            except (*DATABASE_ERRORS, StateUnavailable) as error:
                log.error("The database is unavailable; quotes come from the bundled catalogue: %s", error)  # noqa: TRY400
                self._unavailable_until = now + RETRY_INTERVAL
        with use_bundled_catalogue():
            return query(self._fallback), False

    def _is_available(self, now: datetime) -> bool:
        """Return whether to query the database: not soon after an error or while a query is slow."""
        oldest = min(tuple(self._started_at.values()), default=math.inf)  # tuple() is atomic, iterating is not
        return now >= self._unavailable_until and time.monotonic() - oldest <= SLOW_QUERY_SECONDS

    def _query_database(self, query: Callable[[QuoteService], _Result]) -> _Result:
        thread = threading.get_ident()
        self._started_at[thread] = time.monotonic()
        try:
            with database.statement_timeout(READ_TIMEOUT_SECONDS):
                return query(self._quotes)
        finally:
            del self._started_at[thread]
