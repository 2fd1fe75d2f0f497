"""HTML pages: content negotiation, rendering and headers."""

import hashlib
from functools import lru_cache
from pathlib import Path

import falcon

from quoteapi.http.templates import render
from quoteapi.http.urls import link_prefix
from quoteapi.settings import Settings

ASSETS = Path(__file__).with_name("assets")
ASSET_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
PAGE_SECONDS = 300
"""How long caches keep a page, which is less than the quote of the day lasts: a new release shows soon."""
LONGEST_ACCEPT = 1_000
"""No browser says more. Falcon keeps what it read of a hundred of them, at forty times their size."""
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # an address may have a number in it; and with none, forms would name no origin
}


def prefers_html(req: falcon.Request, resp: falcon.Response) -> bool:
    """Whether a client would rather have a page than JSON: browsers say so, curl and programs do not.

    The answer's `Vary` says that this was asked.
    """
    if "Accept" not in (resp.get_header("Vary") or ""):
        resp.append_header("Vary", "Accept")
    if len(req.accept) > LONGEST_ACCEPT:
        return False
    return req.client_prefers((falcon.MEDIA_JSON, falcon.MEDIA_HTML)) == falcon.MEDIA_HTML


def respond_with_page(
    req: falcon.Request, resp: falcon.Response, settings: Settings, template: str, max_age: int, **values: object
) -> None:
    """Answer a page from a template, which caches may keep for so many seconds."""
    send_page(resp, render_page(template, link_prefix(req, settings), **values), max_age)


def render_page(template: str, home: str, **values: object) -> str:
    """Fill a page's template. `home` is what every link begins with."""
    return render(template, home=home, version=_version(), **values)


def send_page(resp: falcon.Response, page: str, max_age: int) -> None:
    """Answer a page that is filled, which caches may keep for so many seconds."""
    resp.text = page
    resp.content_type = falcon.MEDIA_HTML
    resp.set_headers(PAGE_HEADERS)
    resp.set_header("Cache-Control", f"public, max-age={max_age}" if max_age else "no-store")


@lru_cache(maxsize=1)
def _assets() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(ASSETS.iterdir()) if path.suffix in ASSET_TYPES}


@lru_cache(maxsize=1)
def _version() -> str:
    return hashlib.blake2b(b"".join(_assets().values()), digest_size=6).hexdigest()
