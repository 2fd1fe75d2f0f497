"""`/daily.svg` and `/quotes/{quote_id}.svg`: quotes as SVG images, which other sites may embed."""

import re
from base64 import b64encode
from functools import lru_cache
from hashlib import sha256
from itertools import accumulate

import falcon

from quoteapi.clock import Clock, seconds_until_midnight
from quoteapi.http.http_cache import CachedBody, respond_with_cached_body
from quoteapi.http.resources.catalogue import QUOTE_CACHE_SECONDS
from quoteapi.http.resources.quotes import DailyQuoteResource, get_quote
from quoteapi.http.templates import FOLDER, render_xml
from quoteapi.quotes import svg_card_layout as layout
from quoteapi.quotes.line_breaking import break_lines
from quoteapi.quotes.quotation import Quotation

CACHE_SIZE = 64
_STYLE_ELEMENT = re.compile(b"<style>(.*?)</style>", re.DOTALL)


class DailyCard:
    """The resource `/daily.svg`: today's quote as an SVG image."""

    def __init__(self, daily: DailyQuoteResource, clock: Clock) -> None:
        self._daily = daily
        self._clock = clock

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send today's quote as an SVG image, cacheable until midnight UTC."""
        now = self._clock()
        _respond_with_card(req, resp, *self._daily.quote_of_date(now.date()), seconds_until_midnight(now))


class QuoteCard:
    """The resource `/quotes/{quote_id}.svg`: a quote of the catalogue as an SVG image."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, quote_id: str) -> None:
        """Send the quote with an id as an SVG image, cacheable for a day. Raises `falcon.HTTPNotFound`."""
        _, quotation = get_quote(quote_id)
        _respond_with_card(req, resp, quotation, True, QUOTE_CACHE_SECONDS)  # noqa: FBT003


def _respond_with_card(
    req: falcon.Request, resp: falcon.Response, quotation: Quotation, is_authoritative: bool, max_age: int
) -> None:
    cached = CachedBody.of(render_card(quotation), is_authoritative, "image/svg+xml")
    respond_with_cached_body(req, resp, cached, max_age)
    resp.set_header("Content-Security-Policy", _content_security_policy())
    resp.set_header("Cross-Origin-Resource-Policy", "cross-origin")


@lru_cache(maxsize=1)
def _content_security_policy() -> str:
    """Return the `Content-Security-Policy` of cards: only their inline style is allowed, by its digest."""
    styles = _STYLE_ELEMENT.findall((FOLDER / "card.svg").read_bytes())
    digests = (b64encode(sha256(style).digest()).decode() for style in styles)
    sources = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; style-src {sources}"


@lru_cache(CACHE_SIZE)
def render_card(quotation: Quotation) -> str:
    """Return a quotation as an SVG document of 1200 by 630 pixels, with a light and a dark style."""
    names = layout.layout_name(quotation.author, 34, 34), layout.layout_name(quotation.source, 24, 10)
    max_height = layout.BOTTOM - layout.TOP - sum(name.height for name in names)
    quote = layout.layout_quote(quotation, max_height)
    top = layout.TOP + (max_height - quote.height) / 2
    tops = accumulate((quote.height, names[0].height), initial=top)
    footer_width = layout.MAX_LINE_WIDTH / 2 / layout.FOOTER_FONT_SIZE
    return render_xml(
        "card.svg",
        quotation=quotation,
        blocks=[(block.font_size, block.baselines(top)) for block, top in zip((quote, *names), tops, strict=True)],
        footer_font_size=layout.FOOTER_FONT_SIZE,
        category=break_lines(quotation.category, footer_width)[:1],
        is_rtl=layout.is_right_to_left(quotation.quote),
        margin=layout.MARGIN,
        width=layout.WIDTH,
        top=round(top),
    )
