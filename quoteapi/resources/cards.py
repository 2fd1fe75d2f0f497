"""`/daily.svg` and `/quotes/{quote_id}.svg`: quotes as pictures, for pages to show as their own."""

import re
from base64 import b64encode
from datetime import date, datetime
from functools import lru_cache
from hashlib import sha256

import falcon

from quoteapi.cards import card
from quoteapi.clock import Clock
from quoteapi.quotes import Quotation, SteadyQuotes, quotation_of
from quoteapi.resources.catalogue import QUOTE_SECONDS, quote_with
from quoteapi.resources.quotes import Rendered, answer_until_midnight
from quoteapi.templates import FOLDER

SVG = "image/svg+xml"
_STYLE = re.compile(b"<style>(.*?)</style>", re.DOTALL)


class DailyCard:
    """Today's quote, drawn once a day."""

    def __init__(self, quotes: SteadyQuotes, clock: Clock) -> None:
        self._quotes = quotes
        self._clock = clock
        self._known: tuple[date, Rendered] | None = None

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the card of today, to be kept by caches until midnight UTC."""
        now = self._clock()
        _answer(req, resp, self._rendered(now.date()), now)

    on_head = on_get

    def _rendered(self, day: date) -> Rendered:
        if self._known is not None and self._known[0] == day:
            return self._known[1]
        rendered = _render(*self._quotes.of_date(day))
        if rendered.is_sure:
            self._known = day, rendered
        return rendered


class QuoteCard:
    """A quote of the catalogue."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def on_get(self, req: falcon.Request, resp: falcon.Response, quote_id: str) -> None:
        """Answer the card of the quote with an id, to be kept by caches for a day."""
        _answer(req, resp, _render(quotation_of(quote_with(quote_id)), is_sure=True), self._clock())
        resp.set_header("Cache-Control", f"public, max-age={QUOTE_SECONDS}")

    on_head = on_get


def _render(quotation: Quotation, is_sure: bool) -> Rendered:
    return Rendered.of(card(quotation).encode(), is_sure)


def _answer(req: falcon.Request, resp: falcon.Response, rendered: Rendered, now: datetime) -> None:
    answer_until_midnight(req, resp, rendered, now, media_type=SVG)
    resp.set_header("Content-Security-Policy", _policy())
    resp.set_header("Cross-Origin-Resource-Policy", "cross-origin")


@lru_cache(maxsize=1)
def _policy() -> str:
    """Answer the policy under which a card's own style applies, which all cards share, and nothing else does."""
    styles = _STYLE.findall((FOLDER / "card.svg").read_bytes())
    digests = (b64encode(sha256(style).digest()).decode() for style in styles)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; style-src {allowed}"
