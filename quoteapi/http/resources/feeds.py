"""`/feed.xml` (Atom, RFC 4287) and `/feed.json` (JSON Feed 1.1): the quotes of the last thirty days."""

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
LONGEST_TITLE = 80
"""Characters of a quote that a title has; readers list entries by their titles."""
REMEMBERED_ADDRESSES = 16
"""For how many addresses of the service a feed is kept: a stranger can send any `Host`."""
LONGEST_ADDRESS = 300
"""No host has a longer name, and each is in a feed dozens of times."""
TITLE = "The quote of the day"
SUBTITLE = "One a day, the same for everyone, from midnight UTC."
AUTHOR = "QuoteAPI"
_NOBODY_SAID = "urn:quoteapi"
_Days = tuple[tuple[date, Quotation], ...]


class Entry(NamedTuple):
    """A day's quote as readers show it; `html` is its content."""

    id: str
    path: str
    title: str
    moment: str
    html: str
    quotation: Quotation


class FeedFormat(NamedTuple):
    """How a feed is written: its media type, and what writes it for an address of the service."""

    media_type: str
    write: Callable[[str, str, list[Entry]], str]


class Feed:
    """The last thirty daily quotes, the newest first, written once a day for an address of the service."""

    def __init__(self, written_as: FeedFormat, quotes: QuotesWithFallback, settings: Settings, clock: Clock) -> None:
        self._written_as = written_as
        self._quotes = quotes
        self._settings = settings
        self._clock = clock
        self._sure: _Days = ()
        self._rendered = lru_cache(REMEMBERED_ADDRESSES)(self._render)

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the feed, to be kept until midnight UTC; by no shared cache where its links are the client's word."""
        now = self._clock()
        address = public_base_url(req, self._settings)
        scope = "public" if "://" in address else "private"
        if scope == "private":
            address = request_base_url(req, self._settings)
        if len(address) > LONGEST_ADDRESS:
            address = req.root_path
        rendered = self._rendered(address, *self._days(now.date()))
        respond_until_midnight(req, resp, rendered, now, media_type=self._written_as.media_type, scope=scope)

    on_head = on_get

    def _days(self, today: date) -> tuple[_Days, bool]:
        """Answer the days that a feed has, and whether their quotes are sure."""
        sure = self._sure
        if sure and sure[0][0] == today:
            return sure, True
        days, is_sure = self._quotes.quotes_of_days(today, DAYS)
        if is_sure:
            self._sure = tuple(days)
        return tuple(days), is_sure

    def _render(self, address: str, days: _Days, is_sure: bool) -> CachedBody:
        entries = [self._entry(day, quotation) for day, quotation in days]
        return CachedBody.of(self._written_as.write(address, self._id("/"), entries).encode(), is_sure)

    def _entry(self, day: date, quotation: Quotation) -> Entry:
        path, moment = f"/days/{day}", f"{start_of_day(day):%Y-%m-%dT%H:%M:%SZ}"
        return Entry(self._id(path), path, _title(quotation), moment, _html(quotation), quotation)

    def _id(self, path: str) -> str:
        """Answer what a page is known by, at whichever of its addresses the service was asked."""
        return uuid5(NAMESPACE_URL, f"{self._settings.public_url or _NOBODY_SAID}{path}").urn


def _atom(address: str, feed_id: str, entries: list[Entry]) -> str:
    values = {"address": address, "id": feed_id, "title": TITLE, "subtitle": SUBTITLE, "author": AUTHOR}
    return render_xml("feed.xml", entries=entries, **values)


def _json_feed(address: str, _: str, entries: list[Entry]) -> str:
    document = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": TITLE,
        "description": SUBTITLE,
        "home_page_url": f"{address}/",
        "feed_url": f"{address}/feed.json",
        "icon": f"{address}/assets/icon.svg",
        "favicon": f"{address}/assets/icon.svg",
        "authors": [{"name": AUTHOR, "url": f"{address}/"}],
        "items": [_item(address, entry) for entry in entries],
    }
    return f"{json.dumps(document, ensure_ascii=False)}\n"


def _item(address: str, entry: Entry) -> dict[str, object]:
    return {
        "id": entry.id,
        "url": f"{address}{entry.path}",
        "title": entry.title,
        "content_html": entry.html,
        "content_text": f"{entry.quotation.quote}\n— {_credit(entry.quotation)}",
        "date_published": entry.moment,
        "date_modified": entry.moment,
        "authors": [{"name": entry.quotation.author}],
        "tags": [entry.quotation.category],
    }


def _title(quotation: Quotation) -> str:
    """Answer author and quote in one short line; readers show the date themselves."""
    text = quotation.quote
    if len(text) > LONGEST_TITLE:
        whole_words = text[: LONGEST_TITLE + 1].rpartition(" ")[0]
        shortened = whole_words if len(whole_words) > LONGEST_TITLE // 2 else text[:LONGEST_TITLE]
        text = f"{shortened.rstrip(' ,;:.—-')}…"
    return f"{quotation.author}: {text}"


def _html(quotation: Quotation) -> str:
    from html import escape  # noqa: PLC0415 a cold start need not load it

    quote, credit = escape(quotation.quote), escape(_credit(quotation))
    return f'<blockquote dir="auto"><p>{quote}</p></blockquote><p dir="auto">— {credit}</p>'


def _credit(quotation: Quotation) -> str:
    return f"{quotation.author}, {quotation.source}" if quotation.source else quotation.author


ATOM = FeedFormat("application/atom+xml", _atom)
JSON_FEED = FeedFormat("application/feed+json", _json_feed)
