"""`/feed.xml` (Atom, RFC 4287) and `/feed.json` (JSON Feed 1.1): the daily quotes of the last thirty days."""

import json
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import NamedTuple
from uuid import NAMESPACE_URL, uuid5

import falcon

from quoteapi.clock import Clock, start_of_day
from quoteapi.http.http_cache import CachedBody, respond_until_midnight
from quoteapi.http.templates import render_xml
from quoteapi.http.urls import public_base_url, request_base_url
from quoteapi.quotes.fallback import QuotesWithFallback
from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import Settings

DAYS = 30
MAX_TITLE_LENGTH = 80
"""Maximum characters of a quote in a title; feed readers list entries by title."""
CACHE_SIZE = 16
"""Base URLs for which a feed is cached: a client can send any `Host`."""
MAX_BASE_URL_LENGTH = 300
"""No host name is longer, and a feed repeats the base URL dozens of times."""
TITLE = "The quote of the day"
SUBTITLE = "One a day, the same for everyone, from midnight UTC."
AUTHOR = "QuoteAPI"
_DEFAULT_ID_NAMESPACE = "urn:quoteapi"
_DailyQuotes = tuple[tuple[date, Quotation], ...]


class Entry(NamedTuple):
    """A feed entry: a day's quote. `html` is its content, `timestamp` the start of the day (RFC 3339)."""

    id: str
    path: str
    title: str
    timestamp: str
    html: str
    quotation: Quotation


class FeedFormat(NamedTuple):
    """A feed's media type, and the function that renders it from a base URL, the feed's id and the entries."""

    media_type: str
    render: Callable[[str, str, list[Entry]], str]


class Feed:
    """The last thirty daily quotes, newest first, rendered once a day for each base URL."""

    def __init__(self, feed_format: FeedFormat, quotes: QuotesWithFallback, settings: Settings, clock: Clock) -> None:
        self._format = feed_format
        self._quotes = quotes
        self._settings = settings
        self._clock = clock
        self._cached_quotes: _DailyQuotes = ()
        self._rendered = lru_cache(CACHE_SIZE)(self._render)

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send the feed, cacheable until midnight UTC; privately if its base URL comes from the client."""
        now = self._clock()
        base_url = public_base_url(req, self._settings)
        scope = "public" if "://" in base_url else "private"
        if scope == "private":
            base_url = request_base_url(req, self._settings)
        if len(base_url) > MAX_BASE_URL_LENGTH:
            base_url = req.root_path
        rendered = self._rendered(base_url, *self._daily_quotes(now.date()))
        respond_until_midnight(req, resp, rendered, now, media_type=self._format.media_type, scope=scope)

    def _daily_quotes(self, today: date) -> tuple[_DailyQuotes, bool]:
        """Return the quotes of the feed's days, and whether all are authoritative."""
        cached = self._cached_quotes
        if cached and cached[0][0] == today:
            return cached, True
        quotes, is_authoritative = self._quotes.quotes_of_days(today, DAYS)
        if is_authoritative:
            self._cached_quotes = tuple(quotes)
        return tuple(quotes), is_authoritative

    def _render(self, base_url: str, daily_quotes: _DailyQuotes, is_authoritative: bool) -> CachedBody:
        entries = [self._entry(day, quotation) for day, quotation in daily_quotes]
        feed = self._format.render(base_url, self._id("/"), entries)
        return CachedBody.of(feed.encode(), is_authoritative)

    def _entry(self, day: date, quotation: Quotation) -> Entry:
        path, timestamp = f"/days/{day}", f"{start_of_day(day):%Y-%m-%dT%H:%M:%SZ}"
        return Entry(self._id(path), path, _title(quotation), timestamp, _html(quotation), quotation)

    def _id(self, path: str) -> str:
        """Return the permanent id of a page, the same for every host name of the service (RFC 4287, 4.2.6)."""
        return uuid5(NAMESPACE_URL, f"{self._settings.public_url or _DEFAULT_ID_NAMESPACE}{path}").urn


def _render_atom(base_url: str, feed_id: str, entries: list[Entry]) -> str:
    values = {"base_url": base_url, "id": feed_id, "title": TITLE, "subtitle": SUBTITLE, "author": AUTHOR}
    return render_xml("feed.xml", entries=entries, **values)


def _render_json_feed(base_url: str, _: str, entries: list[Entry]) -> str:
    document = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": TITLE,
        "description": SUBTITLE,
        "home_page_url": f"{base_url}/",
        "feed_url": f"{base_url}/feed.json",
        "icon": f"{base_url}/assets/icon.svg",
        "favicon": f"{base_url}/assets/icon.svg",
        "authors": [{"name": AUTHOR, "url": f"{base_url}/"}],
        "items": [_json_feed_item(base_url, entry) for entry in entries],
    }
    return f"{json.dumps(document, ensure_ascii=False)}\n"


def _json_feed_item(base_url: str, entry: Entry) -> dict[str, object]:
    return {
        "id": entry.id,
        "url": f"{base_url}{entry.path}",
        "title": entry.title,
        "content_html": entry.html,
        "content_text": f"{entry.quotation.quote}\n— {_attribution(entry.quotation)}",
        "date_published": entry.timestamp,
        "date_modified": entry.timestamp,
        "authors": [{"name": entry.quotation.author}],
        "tags": [entry.quotation.category],
    }


def _title(quotation: Quotation) -> str:
    """Return author and quote in one line, shortened at a word boundary; feed readers show the date themselves."""
    text = quotation.quote
    if len(text) > MAX_TITLE_LENGTH:
        whole_words = text[: MAX_TITLE_LENGTH + 1].rpartition(" ")[0]
        shortened = whole_words if len(whole_words) > MAX_TITLE_LENGTH // 2 else text[:MAX_TITLE_LENGTH]
        text = f"{shortened.rstrip(' ,;:.—-')}…"
    return f"{quotation.author}: {text}"


def _html(quotation: Quotation) -> str:
    from html import escape  # noqa: PLC0415 imported late, to keep cold starts fast

    quote, attribution = escape(quotation.quote), escape(_attribution(quotation))
    return f'<blockquote dir="auto"><p>{quote}</p></blockquote><p dir="auto">— {attribution}</p>'


def _attribution(quotation: Quotation) -> str:
    return f"{quotation.author}, {quotation.source}" if quotation.source else quotation.author


ATOM = FeedFormat("application/atom+xml", _render_atom)
JSON_FEED = FeedFormat("application/feed+json", _render_json_feed)
