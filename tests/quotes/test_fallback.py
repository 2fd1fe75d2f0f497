import random

from quoteapi.quotes.fallback import QuotesWithFallback
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import Settings
from quoteapi.storage.models import database as bound
from tests.helpers.clock import FakeClock
from tests.helpers.data import database_file, sqlite_only


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
