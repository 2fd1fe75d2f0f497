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
"""How long caches keep a page; after a new release, the old one is shown no longer than that."""
MAX_ACCEPT_LENGTH = 1_000
"""In characters; a longer `Accept` gets JSON: Falcon would cache it parsed, at 40 times its size."""
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # a URL may contain a phone number; with no-referrer, forms would send no Origin
}


def prefers_html(req: falcon.Request, resp: falcon.Response) -> bool:
    """Return whether the client prefers HTML to JSON, as browsers do, and curl and programs do not.

    Adds `Accept` to the `Vary` header of the response.
    """
    if "Accept" not in (resp.get_header("Vary") or ""):
        resp.append_header("Vary", "Accept")
    if len(req.accept) > MAX_ACCEPT_LENGTH:
        return False
    return req.client_prefers((falcon.MEDIA_JSON, falcon.MEDIA_HTML)) == falcon.MEDIA_HTML


def respond_with_page(
    req: falcon.Request, resp: falcon.Response, settings: Settings, template: str, max_age: int, **values: object
) -> None:
    """Send a page rendered from a template; caches may keep it for `max_age` seconds, 0 for not at all."""
    respond_with_html(resp, render_page(template, link_prefix(req, settings), **values), max_age)


def render_page(template: str, link_prefix: str, **values: object) -> str:
    """Return a template filled with values, as HTML. The path of every link begins with `link_prefix`."""
    return render(template, link_prefix=link_prefix, version=assets_version(), **values)


def respond_with_html(resp: falcon.Response, page: str, max_age: int) -> None:
    """Send an HTML page; caches may keep it for `max_age` seconds, 0 for not at all."""
    resp.text = page
    resp.content_type = falcon.MEDIA_HTML
    resp.set_headers(PAGE_HEADERS)
    resp.set_header("Cache-Control", f"public, max-age={max_age}" if max_age else "no-store")


@lru_cache(maxsize=1)
def read_assets() -> dict[str, bytes]:
    """Return the contents of the asset files, by name."""
    return {path.name: path.read_bytes() for path in sorted(ASSETS.iterdir()) if path.suffix in ASSET_TYPES}


@lru_cache(maxsize=1)
def assets_version() -> str:
    """Return a hex digest of all assets, which is in their URLs, so that caches can keep them for long."""
    return hashlib.blake2b(b"".join(read_assets().values()), digest_size=6).hexdigest()
