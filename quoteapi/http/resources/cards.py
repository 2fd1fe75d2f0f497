"""`/daily.svg` and `/quotes/{quote_id}.svg`: quotes as pictures, for pages to show as their own."""

import re
from base64 import b64encode
from datetime import date, datetime
from functools import lru_cache
from hashlib import sha256
from itertools import accumulate

import falcon

from quoteapi.clock import Clock
from quoteapi.http.http_cache import CachedBody, respond_until_midnight
from quoteapi.http.resources.catalogue import QUOTE_SECONDS
from quoteapi.http.resources.quotes import get_quote
from quoteapi.http.templates import FOLDER, render_xml
from quoteapi.quotes.card_layout import (
    BOTTOM,
    FOOT_SIZE,
    MEASURE,
    REMEMBERED_CARDS,
    START,
    TOP,
    WIDTH,
    _name,
    _quote,
    _runs_leftwards,
    wrap_text,
)
from quoteapi.quotes.fallback import QuotesWithFallback
from quoteapi.quotes.quotation import Quotation, quotation_from_row

SVG = "image/svg+xml"
_STYLE = re.compile(b"<style>(.*?)</style>", re.DOTALL)


class DailyCard:
    """Today's quote, drawn once a day."""

    def __init__(self, quotes: QuotesWithFallback, clock: Clock) -> None:
        self._quotes = quotes
        self._clock = clock
        self._known: tuple[date, CachedBody] | None = None

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the card of today, to be kept by caches until midnight UTC."""
        now = self._clock()
        _answer(req, resp, self._rendered(now.date()), now)

    on_head = on_get

    def _rendered(self, day: date) -> CachedBody:
        if self._known is not None and self._known[0] == day:
            return self._known[1]
        rendered = _render(*self._quotes.quote_of_date(day))
        if rendered.is_authoritative:
            self._known = day, rendered
        return rendered


class QuoteCard:
    """A quote of the catalogue."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def on_get(self, req: falcon.Request, resp: falcon.Response, quote_id: str) -> None:
        """Answer the card of the quote with an id, to be kept by caches for a day."""
        _answer(req, resp, _render(quotation_from_row(get_quote(quote_id)), is_sure=True), self._clock())
        resp.set_header("Cache-Control", f"public, max-age={QUOTE_SECONDS}")

    on_head = on_get


def _render(quotation: Quotation, is_sure: bool) -> CachedBody:
    return CachedBody.of(card(quotation).encode(), is_sure)


def _answer(req: falcon.Request, resp: falcon.Response, rendered: CachedBody, now: datetime) -> None:
    respond_until_midnight(req, resp, rendered, now, media_type=SVG)
    resp.set_header("Content-Security-Policy", _policy())
    resp.set_header("Cross-Origin-Resource-Policy", "cross-origin")


@lru_cache(maxsize=1)
def _policy() -> str:
    """Answer the policy under which a card's own style applies, which all cards share, and nothing else does."""
    styles = _STYLE.findall((FOLDER / "card.svg").read_bytes())
    digests = (b64encode(sha256(style).digest()).decode() for style in styles)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; style-src {allowed}"


@lru_cache(REMEMBERED_CARDS)
def card(quotation: Quotation) -> str:
    """Draw a quotation, 1200 pixels by 630, for light and dark."""
    names = _name(quotation.author, 34, 34), _name(quotation.source, 24, 10)
    room = BOTTOM - TOP - sum(name.height for name in names)
    quote = _quote(quotation, room)
    top = TOP + (room - quote.height) / 2
    tops = accumulate((quote.height, names[0].height), initial=top)
    return render_xml(
        "card.svg",
        quotation=quotation,
        blocks=[(block.size, block.placed(top)) for block, top in zip((quote, *names), tops, strict=True)],
        foot_size=FOOT_SIZE,
        category=wrap_text(quotation.category, MEASURE / 2 / FOOT_SIZE)[:1],
        leftwards=_runs_leftwards(quotation.quote),
        start=START,
        width=WIDTH,
        top=round(top),
    )
