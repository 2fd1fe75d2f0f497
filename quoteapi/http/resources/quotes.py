"""`/daily`, `/random`, `/quote` and `/`."""

import json
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

import falcon

from quoteapi.clock import Clock
from quoteapi.http.http_cache import CachedBody, _caching, respond_until_midnight
from quoteapi.http.parameters import date_parameter, parse_filters
from quoteapi.quotes.fallback import QuotesWithFallback
from quoteapi.quotes.quotation import Quotation
from quoteapi.storage.full_text_search import Filters

REMEMBERED_DATES = 64
REMEMBERED_BODIES = 1_024
_encode = json.JSONEncoder(ensure_ascii=False).encode
_SECOND = timedelta(seconds=1)
_NEVER = datetime.min.replace(tzinfo=UTC), None


class Answer(NamedTuple):
    """An answer at a moment: its body, and the headers that go with it."""

    body: bytes
    headers: list[tuple[str, str]]


class DailyQuote:
    """The quote of a date, as bytes that are made once."""

    def __init__(self, quotes: QuotesWithFallback, clock: Clock) -> None:
        self._quotes = quotes
        self._clock = clock
        self._known: dict[date, CachedBody] = {}
        self._this_second: tuple[datetime, Answer | None] = _NEVER

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the quote of today or of `?date=`, to be kept by caches until midnight UTC."""
        now = self._clock()
        respond_until_midnight(req, resp, self._rendered(date_parameter(req) or now.date()), now)

    on_head = on_get

    def known_for_today(self, now: datetime) -> Answer | None:
        """Answer today's quote if it was asked for before; what it takes to find out is left to `on_get`.

        The answer is the same for all of a second, which its `max-age` counts.
        """
        second, answer = self._this_second
        if not second <= now < second + _SECOND:
            rendered = self._known.get(now.date())
            answer = _whole(rendered, now) if rendered is not None else None
            self._this_second = now.replace(microsecond=0), answer
        return answer

    def _rendered(self, day: date) -> "CachedBody":
        rendered = self._known.get(day)
        if rendered is None:
            quotation, is_sure = self._quotes.quote_of_date(day)
            rendered = CachedBody.of(_body(quotation), is_sure)
            if not rendered.is_authoritative:
                return rendered
            if len(self._known) >= REMEMBERED_DATES:
                self._known.clear()
            self._known[day] = rendered
            self._this_second = _NEVER
        return rendered


class RandomQuote:
    """Another quote each time."""

    def __init__(self, quotes: QuotesWithFallback) -> None:
        self._quotes = quotes

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer a random quote, narrowed by `?category=`, `?author=` and `?max_length=`."""
        filters = parse_filters(req, "category", "author", "max_length") if req.query_string else Filters()
        quotation = self._quotes.random_quote(filters)
        resp.set_header("Cache-Control", "no-store")
        resp.data = _body(quotation)

    on_head = on_get


class QuoteByType:
    """The quote of the day or a random one, by `?type=`."""

    def __init__(self, daily: DailyQuote, random: RandomQuote) -> None:
        self._by_type: dict[str, DailyQuote | RandomQuote] = {"daily": daily, "random": random}

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer as the resource of that type does; without a type, the quote of the day."""
        resource = self._by_type.get(req.get_param("type", default="daily"))
        if resource is None:
            raise falcon.HTTPBadRequest(
                title="Invalid Quote type", description="Supported types are 'daily' or 'random'."
            )
        resource.on_get(req, resp)

    on_head = on_get


def _whole(rendered: CachedBody, now: datetime) -> Answer:
    of_the_body = [("content-length", str(len(rendered.body))), ("content-type", "application/json")]
    return Answer(rendered.body, _caching(rendered, now) + of_the_body)


@lru_cache(REMEMBERED_BODIES)
def _body(quotation: Quotation) -> bytes:
    shown = {"quote": quotation.quote, "author": quotation.author, "category": quotation.category}
    return f"{_encode(shown)}\n".encode()
