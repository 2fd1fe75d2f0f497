import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from threading import Event

import pytest

from quoteapi.quotes import fallback
from quoteapi.quotes.fallback import QuotesWithFallback
from quoteapi.quotes.quotation import Quotation
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import Settings
from quoteapi.storage.models import database as bound
from tests.helpers.clock import FakeClock
from tests.helpers.data import KABIR, database_file, sqlite_only
from tests.helpers.waiting import LIMIT_SECONDS


@sqlite_only
def test_while_the_database_is_unavailable_days_are_those_of_the_bundled_catalogue_and_not_certain(
    settings: Settings, open_database: None, quotes: QuoteService, clock: FakeClock
) -> None:
    today = clock().date()
    with_fallback = QuotesWithFallback(quotes, clock, random.Random(1))
    days, is_certain = with_fallback.quotes_of_days(today, 30)
    assert is_certain
    bound.close()
    database_file(settings).rename(database_file(settings).with_suffix(".away"))
    assert with_fallback.quotes_of_days(today, 30) == (days, False)


@sqlite_only
def test_while_a_query_is_slow_other_threads_use_the_bundled_catalogue(
    quotes: QuoteService, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, released = Event(), Event()

    def slow_quote_of_date(day: date) -> Quotation:
        started.set()
        released.wait(LIMIT_SECONDS)
        return KABIR

    monkeypatch.setattr(fallback, "SLOW_QUERY_SECONDS", 0.01)
    monkeypatch.setattr(quotes, "quote_of_date", slow_quote_of_date)
    today, with_fallback = clock().date(), QuotesWithFallback(quotes, clock, random.Random(1))
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(with_fallback.quote_of_date, today)
        assert started.wait(LIMIT_SECONDS)
        time.sleep(0.02)
        during = with_fallback.quote_of_date(today)
        released.set()
    assert during[0] != KABIR
    assert not during[1], "it is not certain"
    assert slow.result() == with_fallback.quote_of_date(today) == (KABIR, True)
