"""The public base URL, and the prefix of links."""

from urllib.parse import urlsplit

import falcon

from quoteapi.http.client_ip import is_from_trusted_proxy
from quoteapi.settings import Settings


def request_base_url(req: falcon.Request, settings: Settings) -> str:
    """Return the URL by which the client reached the service, with the API Gateway stage.

    The `X-Forwarded-…` headers of a trusted proxy are used.
    """
    return req.forwarded_prefix if is_from_trusted_proxy(req, settings) else req.prefix


def public_base_url(req: falcon.Request, settings: Settings) -> str:
    """Return the base URL of links in cacheable responses, without a final slash.

    It is `PUBLIC_URL`, else the URL of the request. Behind a trusted proxy it is only the path prefix: proxies may
    forward a `Host` that the client made up.
    """
    if settings.public_url is not None:
        return settings.public_url
    return req.root_path if settings.trusted_proxies else req.prefix


def link_prefix(req: falcon.Request, settings: Settings) -> str:
    """Return the prefix of the path of every link: empty, a stage such as /dev, or `PUBLIC_URL`'s path."""
    if req.root_path or settings.public_url is None:
        return req.root_path
    return urlsplit(settings.public_url).path
