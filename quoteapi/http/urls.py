"""The public base URL, and the prefix of links."""

from urllib.parse import urlsplit

import falcon

from quoteapi.http.client_ip import _read
from quoteapi.settings import Settings


def request_base_url(req: falcon.Request, settings: Settings) -> str:
    """Answer the address at which the client found the service, stage prefix included; a trusted proxy knows it."""
    if "lambda.event" not in req.env and _read(req.env.get("REMOTE_ADDR", ""), settings.trusted_proxies).is_trusted:
        return req.forwarded_prefix
    return req.prefix


def public_base_url(req: falcon.Request, settings: Settings) -> str:
    """Answer the service's address as links name it, which caches keep for everybody, without a slash at the end.

    Where a proxy is trusted and `PUBLIC_URL` is not set, only what its path begins with: proxies may hand on a host
    that a client made up.
    """
    if settings.public_url is not None:
        return settings.public_url
    return req.root_path if settings.trusted_proxies else req.prefix


def link_prefix(req: falcon.Request, settings: Settings) -> str:
    """Answer what the path of every link begins with: nothing, a stage as in /dev, or the path of `PUBLIC_URL`."""
    if req.root_path or settings.public_url is None:
        return req.root_path
    return urlsplit(settings.public_url).path
