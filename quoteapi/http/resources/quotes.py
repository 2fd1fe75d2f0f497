"""`/daily`, `/random` and `/quote`: the quote of the day and random quotes, as JSON."""

import json
from collections.abc import Callable
from datetime import date, datetime
from functools import lru_cache
from typing import NamedTuple

import falcon

from quoteapi.clock import Clock, seconds_until_midnight
from quoteapi.http.errors import Problem
from quoteapi.http.http_cache import CachedBody, caching_headers, respond_with_cached_body
from quoteapi.http.parameters import parse_date_parameter, parse_filters, parse_id, parse_time_zone_parameter
from quoteapi.quotes.errors import QuoteNotFound
from quoteapi.quotes.fallback import QuotesWithFallback
from quoteapi.quotes.quotation import Quotation
from quoteapi.storage.catalogue import quotes_with_ids
from quoteapi.storage.full_text_search import Filters
from quoteapi.time_zones import local_date, seconds_until_local_midnight

DATE_CACHE_SIZE = 64
RANDOM_CACHE_SIZE = 1_024
NO_FILTERS = Filters()


class ReadyResponse(NamedTuple):
    """The 200 response to a GET without a query, ready to be sent."""

    body: bytes
    headers: list[tuple[str, str]]


class DailyQuoteResource:
    """The resource `/daily`: the quote of today in UTC, of today in `?tz=`, or of `?date=`, cached."""

    parameters = ("date", "tz")

    def __init__(self, quotes: QuotesWithFallback, clock: Clock) -> None:
        self._quotes = quotes
        self._clock = clock
        self._cached: dict[date, Quotation] = {}

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send the quote of today in UTC or in `?tz=`, cacheable until midnight there, or of `?date=`.

        Raises `FutureDate`, and `falcon.HTTPBadRequest` for invalid parameters.
        """
        now = self._clock()
        day, max_age = now.date(), seconds_until_midnight(now)
        requested_day, time_zone = parse_date_parameter(req), parse_time_zone_parameter(req)
        if requested_day is not None and time_zone is not None:
            raise falcon.HTTPBadRequest(
                title="Invalid tz",
                description="Send either date or tz. A date has the same quote in every time zone.",
            )
        if time_zone is not None:
            day, max_age = local_date(now, time_zone), seconds_until_local_midnight(now, time_zone)
        quotation, is_authoritative = self.quote_of_date(requested_day or day)
        respond_with_cached_body(req, resp, CachedBody.of(_encode_quotation(quotation), is_authoritative), max_age)

    def ready_response(self, now: datetime) -> ReadyResponse | None:
        """Return the response with today's quote; None if `quote_of_date` has not cached it yet."""
        cached = self._cached.get(now.date())
        return _daily_response(cached, seconds_until_midnight(now)) if cached is not None else None

    def quote_of_date(self, day: date) -> tuple[Quotation, bool]:
        """Return a date's quote, and whether it is authoritative: not of the fallback catalogue.

        Only authoritative quotes are cached. Raises `FutureDate`, `QuoteNotFound`.
        """
        if (cached := self._cached.get(day)) is not None:
            return cached, True
        quotation, is_authoritative = self._quotes.quote_of_date(day)
        if is_authoritative:
            if len(self._cached) >= DATE_CACHE_SIZE:
                self._cached.clear()
            self._cached[day] = quotation
        return quotation, is_authoritative


class RandomQuoteResource:
    """The resource `/random`: a random quote."""

    parameters = ("category", "author", "max_length")

    def __init__(self, quotes: QuotesWithFallback, prefetched_quote: Callable[[Filters], Quotation | None]) -> None:
        self._quotes = quotes
        self._prefetched_quote = prefetched_quote

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send a random quote for `?category=`, `?author=` and `?max_length=`. Raises `QuoteNotFound`."""
        filters = parse_filters(req, *self.parameters) if req.query_string else NO_FILTERS
        resp.data = _random_response(self._quotes.random_quote(filters)).body
        resp.set_header("Cache-Control", "no-store")

    def ready_response(self, now: datetime) -> ReadyResponse | None:
        """Return the response with a prefetched random quote; None if there is none."""
        try:
            quotation = self._prefetched_quote(NO_FILTERS)
        except QuoteNotFound:  # which `on_get` reports
            return None
        return _random_response(quotation) if quotation is not None else None


class QuoteByType:
    """The resource `/quote`: the quote of the day or a random one, by `?type=`."""

    parameters = ("type", *DailyQuoteResource.parameters, *RandomQuoteResource.parameters)

    def __init__(self, daily: DailyQuoteResource, random_quote: RandomQuoteResource) -> None:
        self._by_type: dict[str, DailyQuoteResource | RandomQuoteResource] = {"daily": daily, "random": random_quote}

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Respond as `/daily` or `/random`, by `?type=`, default `daily`. Raises `falcon.HTTPBadRequest`."""
        resource = self._by_type.get(req.get_param("type", default="daily"))
        if resource is None:
            raise falcon.HTTPBadRequest(
                title="Invalid Quote type", description="Supported types are 'daily' or 'random'."
            )
        resource.on_get(req, resp)


def get_quote(quote_id: str) -> tuple[int, Quotation]:
    """Return the id in a path as a number, and the quote with it. Raises `Problem` (404)."""
    number = parse_id(quote_id)
    quotation = quotes_with_ids([number]).get(number) if number is not None else None
    if number is None or quotation is None:
        detail = "No quote has this ID."
        raise Problem(falcon.HTTP_404, "No quote found", f"{detail} To find IDs, send GET /quotes.", detail)
    return number, quotation


@lru_cache(maxsize=1)  # `max_age` differs each second
def _daily_response(quotation: Quotation, max_age: int) -> ReadyResponse:
    cached = CachedBody.of(_encode_quotation(quotation), is_authoritative=True)
    return ReadyResponse(cached.body, caching_headers(cached, max_age) + _content_headers(cached.body))


@lru_cache(RANDOM_CACHE_SIZE)
def _random_response(quotation: Quotation) -> ReadyResponse:
    body = _encode_quotation(quotation).encode()
    return ReadyResponse(body, [("cache-control", "no-store"), *_content_headers(body)])


def _content_headers(body: bytes) -> list[tuple[str, str]]:
    return [("content-length", str(len(body))), ("content-type", falcon.MEDIA_JSON)]


def _encode_quotation(quotation: Quotation) -> str:
    fields = {"quote": quotation.quote, "author": quotation.author, "category": quotation.category}
    return f"{json.dumps(fields, ensure_ascii=False)}\n"
