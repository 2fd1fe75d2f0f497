"""`/quotes`, `/authors` and `/categories`: the catalogue page by page, and `/quotes/{quote_id}`."""

import falcon

from quoteapi.http.html import PAGE_SECONDS, prefers_html
from quoteapi.http.pagination import (
    FILTER_PARAMETERS,
    PAGE_PARAMETERS,
    decode_cursor,
    parse_limit,
    respond_with_listing,
)
from quoteapi.http.parameters import parse_filters
from quoteapi.http.resources.pages import respond_with_quote_page
from quoteapi.http.resources.quotes import get_quote
from quoteapi.settings import Settings
from quoteapi.storage.catalogue import count_up_to, list_and_count_quotes, list_names, list_quotes
from quoteapi.storage.database import READ_TIMEOUT_SECONDS
from quoteapi.storage.models import Author, Category, database
from quoteapi.storage.name_suggestions import suggest_names

NAME_COUNT_LIMIT = 1_000
"""Authors or categories are counted exactly up to this number, which bounds the cost of counting."""
QUOTE_CACHE_SECONDS = 86_400


class QuoteList:
    """The resource `/quotes`: a listing of quotes, newest first."""

    bulkhead = "searching"
    parameters = (*FILTER_PARAMETERS, *PAGE_PARAMETERS)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send a page of the quotes that match the query parameters, newest first, as JSON."""
        filters, limit = parse_filters(req, *FILTER_PARAMETERS), parse_limit(req)
        last_id, total = decode_cursor(req, int)
        with database.statement_timeout(READ_TIMEOUT_SECONDS):
            if total is None:
                rows, total = list_and_count_quotes(filters, limit + 1)
            else:
                rows = list_quotes(filters, limit + 1, last_id)
            suggestions = suggest_names(filters) if not total.value else {}
        fields = ("id", "quote", "author", "category")
        items: dict[int, object] = {row.id: {name: getattr(row, name) for name in fields} for row in rows}
        respond_with_listing(req, resp, self._settings, "quotes", items, total)
        if suggestions:
            resp.media["did_you_mean"] = suggestions


class QuoteById:
    """The resource `/quotes/{quote_id}`: a quote of the catalogue, with its source."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def on_get(self, req: falcon.Request, resp: falcon.Response, quote_id: str) -> None:
        """Send the quote with an id as JSON or, to browsers, as an HTML page. Raises `falcon.HTTPNotFound`."""
        number, quotation = get_quote(quote_id)
        if prefers_html(req, resp):
            respond_with_quote_page(req, resp, self._settings, quotation, PAGE_SECONDS, quote_id=number)
            return
        resp.media = {"id": number, **quotation._asdict()}
        resp.set_header("Cache-Control", f"public, max-age={QUOTE_CACHE_SECONDS}")


class AuthorOrCategoryList:
    """A listing of authors or categories in alphabetical order, with the number of quotes of each."""

    parameters = PAGE_PARAMETERS

    def __init__(self, settings: Settings, table: type[Author | Category], singular: str, plural: str) -> None:
        self._settings = settings
        self._table = table
        self._singular = singular
        self._plural = plural

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send a page of authors or categories, with the number of quotes of each, as JSON."""
        limit = parse_limit(req)
        last_name, total = decode_cursor(req, str)
        rows = list_names(self._table, limit + 1, last_name or "")
        total = total or count_up_to(self._table.select(self._table.key), NAME_COUNT_LIMIT)
        items: dict[str, object] = {row.key: {self._singular: row.name, "quotes": row.quotes} for row in rows}
        respond_with_listing(req, resp, self._settings, self._plural, items, total)
