"""The random pool: prefetched random quotes per filter."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from quoteapi.clock import Clock
from quoteapi.quotes.errors import EMPTY_CATALOGUE, QuoteNotFound
from quoteapi.quotes.quotation import Quotation
from quoteapi.spelling import ask
from quoteapi.storage.catalogue import random_quotes, shortest_length
from quoteapi.storage.full_text_search import Filters
from quoteapi.storage.name_suggestions import suggest_names

BATCH_SIZE = 256
"""How many random quotes one SQL statement fetches."""
MAX_POOL_AGE = timedelta(seconds=60)
"""The age at which a pool is refilled although it is not used up, so that new quotes are served."""
MIN_REFILL_INTERVAL = timedelta(seconds=1)
"""A pool used up sooner is reused, so a filter costs at most one SQL statement in this time."""
MAX_POOLS = 32
"""How many filters have a pool; the pool used least recently is evicted."""


class RandomPools:
    """The random pools of a process, one per filter; threads may share them.

    A quote of a pool is returned again only after all others were; a refilled pool may repeat earlier ones.
    """

    def __init__(self, clock: Clock, random: Random) -> None:
        self._clock = clock
        self._random = random
        self._lock = threading.Lock()
        self._pools: OrderedDict[Filters, _RandomPool] = OrderedDict()

    def prefetched_quote(self, filters: Filters) -> Quotation | None:
        """Return the next quote of the filters' pool, without SQL; None if the pool must be refilled first."""
        with self._lock:
            pool = self._pools.get(filters)
            if pool is None or not (pool.is_refilling or pool.is_fresh(self._clock())):
                return None
            self._pools.move_to_end(filters)
            return pool.next_quote(self._random)

    def random_quote(self, filters: Filters) -> Quotation:
        """Return the next quote of the filters' pool, refilled if necessary. Raises `QuoteNotFound`."""
        return self.prefetched_quote(filters) or self._refill(filters)

    def _refill(self, filters: Filters) -> Quotation:
        """Fetch a new pool and return a quote of it; until then, other threads use the previous pool, if any."""
        with self._lock:
            previous_pool = self._pools.get(filters) or _RandomPool([], self._clock())
            previous_pool.is_refilling = True
        try:
            quotations = random_quotes(filters, self._random.getrandbits(63), BATCH_SIZE)
        finally:
            previous_pool.is_refilling = False
        if not quotations:
            raise QuoteNotFound(_not_found_message(filters))
        with self._lock:
            pool = self._pools[filters] = _RandomPool(quotations, self._clock(), previous_pool.last)
            self._pools.move_to_end(filters)
            if len(self._pools) > MAX_POOLS:
                self._pools.popitem(last=False)
            return pool.next_quote(self._random)


@dataclass(slots=True)
class _RandomPool:
    """Random quotes, returned one after another; after the last, all are shuffled and returned again."""

    quotations: list[Quotation]
    fetched_at: datetime
    last: Quotation | None = None
    is_refilling: bool = False
    unused: list[Quotation] = field(default_factory=list)

    def is_fresh(self, now: datetime) -> bool:
        """Return whether the pool is still usable; otherwise it must be refilled."""
        return timedelta() <= now - self.fetched_at < (MAX_POOL_AGE if self.unused else MIN_REFILL_INTERVAL)

    def next_quote(self, random: Random) -> Quotation:
        """Return the next quote; it differs from the one before if the pool has more than one."""
        if not self.unused:
            self.unused = self.quotations.copy()
            random.shuffle(self.unused)
            if self.unused[-1] == self.last:
                self.unused.reverse()
        self.last = self.unused.pop()
        return self.last


def _not_found_message(filters: Filters) -> str:
    """Return the message for filters of `/random` that no quote matches, with what to change."""
    author = f" by {filters.author!r}" if filters.author is not None else ""
    category = f" in the category {filters.category!r}" if filters.category is not None else ""
    if filters.max_length is not None and (shortest := shortest_length(filters)) is not None:
        return f"No quote{author}{category} is that short; the shortest has {shortest} characters."
    if not (author or category):
        return EMPTY_CATALOGUE
    hint = "Use the full name, as in 'Jane Austen'." if author else "Try another category."
    if author and category:
        hint = "Leave out the author or the category."
    questions = " ".join(map(ask, suggest_names(filters).values()))
    return f"There is no quote{author}{category}. {questions or hint}"
