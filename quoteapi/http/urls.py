"""The public base URL, and the prefix of links."""

from urllib.parse import urlsplit

import falcon

from quoteapi.http.client_ip import is_from_trusted_proxy
from quoteapi.settings import Settings


def request_base_url(req: falcon.Request, settings: Settings) -> str:
    """Return the base URL that the client used, with any API Gateway stage and no final slash.

    The `X-Forwarded-…` headers of a trusted proxy are used.
    """
    return req.forwarded_prefix if is_from_trusted_proxy(req, settings) else req.prefix


def public_base_url(req: falcon.Request, settings: Settings) -> str:
    """Return the base URL of links in cacheable responses, without a final slash.

    It is `PUBLIC_URL`, else the base URL of the request. With `TRUSTED_PROXIES` it is only the path of the latter, such
    as "": proxies may forward a `Host` that the client made up.
    """
    if settings.public_url is not None:
        return settings.public_url
    return req.root_path if settings.trusted_proxies else req.prefix


def link_prefix(req: falcon.Request, settings: Settings) -> str:
    """Return the path that begins all links: "", an API Gateway stage (/dev), or the path of `PUBLIC_URL`."""
    if req.root_path or settings.public_url is None:
        return req.root_path
    return urlsplit(settings.public_url).path
