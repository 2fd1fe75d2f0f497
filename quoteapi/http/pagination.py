"""Keyset pagination: a cursor holds the key of a page's last row, and the total, counted once."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, TypeVar

import falcon
from falcon.uri import encode_value

from quoteapi.http.parameters import MAX_DIGITS, parse_positive_integer
from quoteapi.http.urls import public_base_url
from quoteapi.settings import Settings
from quoteapi.storage.catalogue import Total

DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 100
MAX_CURSOR_LENGTH = 4_000
LISTING_CACHE_SECONDS = 60
"""How long caches may keep a page of a listing, which changes when quotes are added."""
FILTER_PARAMETERS = ("q", "category", "author", "min_length", "max_length")
PAGE_PARAMETERS = ("limit", "cursor")
_Key = TypeVar("_Key", int, str)


def parse_limit(req: falcon.Request) -> int:
    """Return the page size in `?limit=`, by default `DEFAULT_PAGE_SIZE`. Raises `falcon.HTTPBadRequest`."""
    limit = parse_positive_integer(req, "limit") or DEFAULT_PAGE_SIZE
    if limit > MAX_PAGE_SIZE:
        raise falcon.HTTPBadRequest(
            title="Invalid limit", description=f"Send at most {MAX_PAGE_SIZE}. For more results, follow `next`."
        )
    return limit


def decode_cursor(req: falcon.Request, key_type: type[_Key]) -> tuple[_Key | None, Total | None]:
    """Return the key and the total in `?cursor=`, both None without it. Raises `falcon.HTTPBadRequest`."""
    cursor = req.get_param("cursor") or None
    if cursor is None:
        return None, None
    try:
        decoded = json.loads(urlsafe_b64decode(f"{cursor[:MAX_CURSOR_LENGTH]}{'=' * (-len(cursor) % 4)}"))
    except (ValueError, RecursionError):
        decoded = None
    match decoded:
        case [key, int(value), bool(is_exact)] if isinstance(key, key_type) and _is_valid(key) and _is_valid(value):
            return key, Total(value, is_exact)
    raise falcon.HTTPBadRequest(
        title="Invalid cursor",
        description="Use the URL in `next` of the previous page, or start again without a cursor.",
    )


def _is_valid(value: int | str) -> bool:
    return value.isprintable() if isinstance(value, str) else type(value) is int and 0 <= value < 10**MAX_DIGITS


def respond_with_listing(  # noqa: PLR0913, PLR0917
    req: falcon.Request, resp: falcon.Response, settings: Settings, name: str, items: dict[Any, object], total: Total
) -> None:
    """Send a page of a listing and a link to the next page.

    `name` is the JSON field of the items. `items` maps the key of each row to its JSON: `?limit=` rows at most, and one
    more if another page follows.
    """
    limit, first_url, next_url = parse_limit(req), _first_page_url(req, settings), None
    if len(items) > limit:
        cursor = urlsafe_b64encode(json.dumps([list(items)[limit - 1], *total]).encode()).decode().rstrip("=")
        next_url = f"{first_url}{'&' if '?' in first_url else '?'}cursor={cursor}"
        resp.append_link(next_url, "next")
    resp.append_link(first_url, "first")
    relation = "eq" if total.is_exact else "gte"
    page = list(items.values())[:limit]
    resp.media = {name: page, "total": total.value, "total_relation": relation, "next": next_url}
    resp.set_header("Cache-Control", f"public, max-age={LISTING_CACHE_SECONDS}")


def _first_page_url(req: falcon.Request, settings: Settings) -> str:
    parameters = [(name, req.get_param(name)) for name in (*FILTER_PARAMETERS, "limit")]
    query = "&".join(f"{name}={encode_value(value)}" for name, value in parameters if value)
    return f"{public_base_url(req, settings)}{req.path}{'?' if query else ''}{query}"
