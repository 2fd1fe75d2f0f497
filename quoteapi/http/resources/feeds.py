"""`/feed.xml` (Atom, RFC 4287) and `/feed.json` (JSON Feed 1.1): the last thirty daily quotes."""

import json
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5

import falcon

from quoteapi.clock import Clock, seconds_until_midnight
from quoteapi.http.http_cache import CachedBody, respond_with_cached_body
from quoteapi.http.templates import render_xml
from quoteapi.http.urls import public_base_url, request_base_url
from quoteapi.quotes.fallback import QuotesWithFallback
from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import Settings

DAYS = 30
MAX_TITLE_LENGTH = 80
"""Maximum characters of a quote in a title; feed readers list entries by title."""
CACHE_SIZE = 16
"""Number of base URLs for which a feed is cached: each has at most `MAX_BASE_URL_LENGTH` characters of a client."""
_DailyQuotes = tuple[tuple[date, Quotation], ...]


class FeedFormat(NamedTuple):
    """A feed's path and media type, and the function that renders it from a JSON Feed object and its id."""

    path: str
    media_type: str
    render: Callable[[dict[str, Any], str], str]


class Feed:
    """A feed of the last thirty daily quotes, today's first, rendered once a day for each base URL."""

    def __init__(self, feed_format: FeedFormat, quotes: QuotesWithFallback, settings: Settings, clock: Clock) -> None:
        self._format = feed_format
        self._quotes = quotes
        self._settings = settings
        self._clock = clock
        self._cached_quotes: _DailyQuotes = ()
        self._rendered = lru_cache(CACHE_SIZE)(self._render)

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send the feed of the last thirty daily quotes, cacheable until midnight UTC.

        With `TRUSTED_PROXIES` but no `PUBLIC_URL`, shared caches must not keep it: its base URL comes from the client.
        Raises `falcon.HTTPBadRequest` for an invalid `Host`.
        """
        now = self._clock()
        base_url = public_base_url(req, self._settings)
        scope = "public" if "://" in base_url else "private"
        if scope == "private":
            base_url = request_base_url(req, self._settings)
        rendered = self._rendered(base_url, *self._daily_quotes(now.date()))
        respond_with_cached_body(req, resp, rendered, seconds_until_midnight(now), scope)

    def _daily_quotes(self, today: date) -> tuple[_DailyQuotes, bool]:
        """Return the last thirty daily quotes, and whether all are authoritative: not of the fallback."""
        cached = self._cached_quotes
        if cached and cached[0][0] == today:
            return cached, True
        quotes, is_authoritative = self._quotes.quotes_of_days(today, DAYS)
        if is_authoritative:
            self._cached_quotes = tuple(quotes)
        return tuple(quotes), is_authoritative

    def _render(self, base_url: str, daily_quotes: _DailyQuotes, is_authoritative: bool) -> CachedBody:
        home_page, icon = f"{base_url}/", f"{base_url}/assets/icon.svg"
        feed = {
            "version": "https://jsonfeed.org/version/1.1",
            "title": "Quote of the day",
            "description": "A new quote every day at midnight UTC, the same for everyone.",
            "home_page_url": home_page,
            "feed_url": f"{base_url}{self._format.path}",
            "icon": icon,
            "favicon": icon,
            "authors": [{"name": "QuoteAPI", "url": home_page}],
            "items": [self._item(base_url, day, quotation) for day, quotation in daily_quotes],
        }
        return CachedBody.of(self._format.render(feed, self._id("/")), is_authoritative, self._format.media_type)

    def _item(self, base_url: str, day: date, quotation: Quotation) -> dict[str, Any]:
        path, midnight = f"/days/{day}", f"{day}T00:00:00Z"
        attribution = f"{quotation.author}, {quotation.source}" if quotation.source else quotation.author
        return {
            "id": self._id(path),
            "url": f"{base_url}{path}",
            "title": _title(quotation),
            "content_html": _html(quotation.quote, attribution),
            "content_text": f"{quotation.quote}\n— {attribution}",
            "date_published": midnight,
            "date_modified": midnight,
            "authors": [{"name": quotation.author}],
            "tags": [quotation.category],
        }

    def _id(self, path: str) -> str:
        """Return the permanent id of a page, a UUID URN that no change of host name alters (RFC 4287, 4.2.6)."""
        return uuid5(NAMESPACE_URL, f"{self._settings.public_url or 'urn:quoteapi'}{path}").urn


def _title(quotation: Quotation) -> str:
    """Return "author: quote", the quote cut to `MAX_TITLE_LENGTH`, if possible at a word boundary."""
    text = quotation.quote
    if len(text) > MAX_TITLE_LENGTH:
        whole_words = text[: MAX_TITLE_LENGTH + 1].rpartition(" ")[0]
        shortened = whole_words if len(whole_words) > MAX_TITLE_LENGTH // 2 else text[:MAX_TITLE_LENGTH]
        text = f"{shortened.rstrip(' ,;:.—-')}…"
    return f"{quotation.author}: {text}"


def _html(quote: str, attribution: str) -> str:
    from html import escape  # noqa: PLC0415 imported late, to keep cold starts fast

    return f'<blockquote dir="auto"><p>{escape(quote)}</p></blockquote><p dir="auto">— {escape(attribution)}</p>'


ATOM = FeedFormat("/feed.xml", "application/atom+xml", lambda feed, feed_id: render_xml("feed.xml", id=feed_id, **feed))
JSON_FEED = FeedFormat(
    "/feed.json", "application/feed+json", lambda feed, _: f"{json.dumps(feed, ensure_ascii=False)}\n"
)
