"""The fallback catalogue: the bundled catalogue, used while the database is unavailable."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import TypeVar

from peewee import DatabaseError, InterfaceError

from quoteapi.clock import Clock
from quoteapi.quotes.quotation import Quotation
from quoteapi.quotes.service import QuoteService
from quoteapi.storage.database import PROGRAMMING_ERRORS, statement_timeout, use_bundled_catalogue
from quoteapi.storage.full_text_search import Filters

log = logging.getLogger(__name__)
SLOW_SECONDS = 0.5
"""Who finds another one waiting for the database so long does not wait as well."""
AGAIN = timedelta(seconds=10)
"""How long a database that was away is left alone by those who can do without it."""
_Answer = TypeVar("_Answer")


class QuotesWithFallback:
    """Quotes for who should get one whatever happens: while the database is away, those of the shipped catalogue."""

    def __init__(self, quotes: QuoteService, clock: Clock, random: Random) -> None:
        self._quotes = quotes
        self._spare = QuoteService(clock, random, has_shared_state=False)
        self._clock = clock
        self._away_until = datetime.min.replace(tzinfo=UTC)
        self._asking: dict[int, float] = {}
        """The threads that ask the database, and since when."""

    def quote_of_date(self, day: date) -> tuple[Quotation, bool]:
        """Answer the quote of a date, and whether it is sure: while the database is away, it may be another.

        Raises `FutureDate`, `QuoteNotFound`.
        """
        return self._ask(lambda quotes: quotes.quote_of_date(day))

    def quotes_of_days(self, last: date, count: int) -> tuple[list[tuple[date, Quotation]], bool]:
        """Answer the quotes of `count` days, the newest first, and whether all are sure, as `quote_of_date` does."""
        return self._ask(lambda quotes: quotes.quotes_of_days(last, count))

    def random_quote(self, filters: Filters) -> Quotation:
        """Answer another quote each time. Raises `QuoteNotFound` where none fits."""
        return self._quotes.prefetched_quote(filters) or self._ask(lambda quotes: quotes.random_quote(filters))[0]

    def _ask(self, question: Callable[[QuoteService], _Answer]) -> tuple[_Answer, bool]:
        now = self._clock()
        if now >= self._away_until and not self._is_slow():
            try:
                with statement_timeout(), self._noted():
                    return question(self._quotes), True
            except (DatabaseError, InterfaceError) as error:
                if isinstance(error, PROGRAMMING_ERRORS):
                    raise
                log.error("The database is away, and quotes come from the shipped catalogue: %s", error)  # noqa: TRY400
                self._away_until = now + AGAIN
        with use_bundled_catalogue():
            return question(self._spare), False

    def _is_slow(self) -> bool:
        """Whether somebody has been waiting for the database for long; then nobody else should."""
        return bool(self._asking) and time.monotonic() - min(self._asking.values()) > SLOW_SECONDS

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Note since when this thread is asking."""
        me = threading.get_ident()
        self._asking = {**self._asking, me: time.monotonic()}
        try:
            yield
        finally:
            self._asking = {thread: since for thread, since in self._asking.items() if thread != me}
