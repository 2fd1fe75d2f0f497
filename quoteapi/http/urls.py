"""The public base URL, and the prefix of links: the only code that reads `Host` and `X-Forwarded-Host`."""

import re
from urllib.parse import urlsplit

import falcon

from quoteapi.http.client_ip import is_from_trusted_proxy
from quoteapi.settings import Settings
from quoteapi.settings.parsers import is_http_url

MAX_BASE_URL_LENGTH = 300
"""In characters; a host name has at most 255."""
_ORIGIN = re.compile(r"https?://([A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")
"""Scheme, host and port of RFC 3986, without the characters in names that no name in the DNS has."""


def request_base_url(req: falcon.Request, settings: Settings) -> str:
    """Return the base URL that the client used, with any API Gateway stage and no final slash.

    `X-Forwarded-Host` and `X-Forwarded-Proto` of a trusted proxy are used: the last value of each, because clients may
    have written those before it. `Forwarded` is not: proxies pass on what clients write there. Raises
    `falcon.HTTPBadRequest` if the result is no base URL.
    """
    scheme, host = req.scheme, req.get_header("Host", default="")
    if is_from_trusted_proxy(req, settings):
        scheme = _last_value(req, "X-Forwarded-Proto").lower() or scheme
        host = _last_value(req, "X-Forwarded-Host") or host
    origin = f"{scheme}://{host}"
    base_url = f"{origin}{req.root_path}"
    if len(base_url) > MAX_BASE_URL_LENGTH or not _ORIGIN.fullmatch(origin) or not is_http_url(origin):
        raise falcon.HTTPBadRequest(
            title="Invalid Host",
            description="Send the host of this service, for example Host: quotes.example.org. A proxy can send it as"
            " X-Forwarded-Host, and http or https as X-Forwarded-Proto.",
        )
    return base_url


def public_base_url(req: falcon.Request, settings: Settings) -> str:
    """Return the base URL of links in cacheable responses, without a final slash.

    It is `PUBLIC_URL`, else the base URL of the request. With `TRUSTED_PROXIES` it is only the path of the latter, such
    as "": proxies may forward a `Host` that the client made up. Raises `falcon.HTTPBadRequest` as `request_base_url`.
    """
    if settings.public_url is not None:
        return settings.public_url
    return req.root_path if settings.trusted_proxies else request_base_url(req, settings)


def link_prefix(req: falcon.Request, settings: Settings) -> str:
    """Return the path that begins all links: "", an API Gateway stage (/dev), or the path of `PUBLIC_URL`."""
    if req.root_path or settings.public_url is None:
        return req.root_path
    return urlsplit(settings.public_url).path


def _last_value(req: falcon.Request, name: str) -> str:
    return req.get_header(name, default="").rpartition(",")[2].strip()
