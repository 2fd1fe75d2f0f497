"""`/quotes`, `/authors` and `/categories`: the catalogue, page by page."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, TypeVar

import falcon
from falcon.uri import encode_value

from quoteapi.http.bulkhead import bulkhead
from quoteapi.http.html import PAGE_SECONDS, prefers_html
from quoteapi.http.parameters import MAX_DIGITS, parse_filters, parse_positive_integer
from quoteapi.http.resources.pages import respond_with_quote_page
from quoteapi.http.resources.quotes import get_quote
from quoteapi.http.urls import public_base_url
from quoteapi.quotes.quotation import quotation_from_row
from quoteapi.settings import Settings
from quoteapi.storage.catalogue import Total, count_quotes, count_up_to, list_names, list_quotes
from quoteapi.storage.database import statement_timeout
from quoteapi.storage.models import Author, Category, Quote

USUAL_PAGE = 20
LARGEST_PAGE = 100
NAMES_COUNTED = 1_000
"""Authors, or categories, are counted exactly up to so many."""
LISTING_SECONDS = 60
"""How long caches keep what may change when quotes are added."""
QUOTE_SECONDS = 86_400
LONGEST_CURSOR = 4_000
_Place = TypeVar("_Place", int, str)
_FILTERS = ("q", "category", "author", "min_length", "max_length")
_encode = json.JSONEncoder(ensure_ascii=False).encode


class QuoteList:
    """Quotes, the newest first."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer a page of the quotes that fit."""
        filters, limit = parse_filters(req, *_FILTERS), _limit(req)
        last, counted = _cursor(req, int)
        with bulkhead(), statement_timeout():
            rows = list_quotes(filters, limit + 1, last)
            counted = counted or count_quotes(filters)
        shown = [_shown(row) for row in rows[:limit]]
        place = rows[limit - 1].id if len(rows) > limit else None
        _answer(req, resp, self._settings, "quotes", shown, counted, place)

    on_head = on_get


class QuoteById:
    """A quote of the catalogue, with where it stands."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def on_get(self, req: falcon.Request, resp: falcon.Response, quote_id: str) -> None:
        """Answer the quote with an id."""
        row = get_quote(quote_id)
        if prefers_html(req, resp):
            respond_with_quote_page(
                req, resp, self._settings, quotation_from_row(row), row.id, PAGE_SECONDS, f"/quotes/{row.id}"
            )
            return
        resp.text = f"{_encode({**_shown(row), 'source': row.source})}\n"
        resp.set_header("Cache-Control", f"public, max-age={QUOTE_SECONDS}")

    on_head = on_get


class NameList:
    """Authors or categories, in the order of the alphabet, and how many quotes each has."""

    def __init__(self, settings: Settings, table: type[Author | Category], one: str, many: str) -> None:
        self._settings = settings
        self._table = table
        self._one = one
        self._many = many

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer a page of them."""
        limit = _limit(req)
        last, counted = _cursor(req, str)
        rows = list_names(self._table, limit + 1, last or "")
        shown = [{self._one: row.name, "quotes": row.quotes} for row in rows[:limit]]
        place = rows[limit - 1].key if len(rows) > limit else None
        _answer(
            req,
            resp,
            self._settings,
            self._many,
            shown,
            counted or count_up_to(self._table.select(self._table.key), NAMES_COUNTED),
            place,
        )

    on_head = on_get


def _shown(row: Quote) -> dict[str, Any]:
    return {"id": row.id, "quote": row.quote, "author": row.author, "category": row.category}


def _limit(req: falcon.Request) -> int:
    limit = parse_positive_integer(req, "limit") or USUAL_PAGE
    if limit > LARGEST_PAGE:
        raise falcon.HTTPBadRequest(
            title="Invalid limit", description=f"A page has at most {LARGEST_PAGE}. Follow `next` for more."
        )
    return limit


def _answer(  # noqa: PLR0913, PLR0917 what a page consists of
    req: falcon.Request,
    resp: falcon.Response,
    settings: Settings,
    name: str,
    shown: list[dict[str, Any]],
    counted: Total,
    place: int | str | None,
) -> None:
    """Answer a page: what is on it, how many there are in all, and where the next one begins."""
    first = _address(req, settings)
    following = None
    if place is not None:
        following = f"{first}{'&' if '?' in first else '?'}cursor={_written(place, counted)}"
        resp.append_link(following, "next")
    resp.append_link(first, "first")
    relation = "eq" if counted.is_exact else "gte"
    document = {name: shown, "total": counted.value, "total_relation": relation, "next": following}
    resp.text = f"{_encode(document)}\n"
    resp.set_header("Cache-Control", f"public, max-age={LISTING_SECONDS}")


def _address(req: falcon.Request, settings: Settings) -> str:
    """Answer the address of the first page of what was asked for."""
    said = [(name, req.get_param(name)) for name in (*_FILTERS, "limit")]
    query = "&".join(f"{name}={encode_value(value)}" for name, value in said if value)
    return f"{public_base_url(req, settings)}{req.path}{'?' if query else ''}{query}"


def _written(place: int | str, counted: Total) -> str:
    """Write down where a page ended and what was counted, which the next one need not count again."""
    return urlsafe_b64encode(json.dumps([place, *counted]).encode()).decode().rstrip("=")


def _cursor(req: falcon.Request, kind: type[_Place]) -> tuple[_Place | None, Total | None]:
    """Read what `_written` wrote. Raises `falcon.HTTPBadRequest` where it is something else."""
    cursor = req.get_param("cursor") or None
    if cursor is None:
        return None, None
    try:
        said = json.loads(urlsafe_b64decode(f"{cursor[:LONGEST_CURSOR]}{'=' * (-len(cursor) % 4)}"))
    except (ValueError, RecursionError):
        said = None
    match said:
        case [place, value, bool(is_exact)] if isinstance(place, kind) and _is_place(place) and _is_number(value):
            return place, Total(value, is_exact)
    raise falcon.HTTPBadRequest(
        title="Invalid cursor", description="Send the cursor as `next` of the page before has it, or none."
    )


def _is_place(place: int | str) -> bool:
    return place.isprintable() if isinstance(place, str) else _is_number(place)


def _is_number(said: object) -> bool:
    return type(said) is int and 0 <= said < 10**MAX_DIGITS
