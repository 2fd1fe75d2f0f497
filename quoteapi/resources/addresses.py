"""Who asks, and at what address they found the service."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import falcon

from quoteapi.config import Settings

NOBODY = "unknown"


def client_address(req: falcon.Request, settings: Settings) -> str:
    """Answer who asks: an IPv4 address, or the /64 of an IPv6 one, which is what one customer gets.

    API Gateway says who it is in its event. Elsewhere it is who connected or, if that is a trusted proxy, the last
    address in `X-Forwarded-For` that is none: what stands before it, the client may have written.
    """
    event = req.env.get("lambda.event")
    if event is not None:
        context = event.get("requestContext") or {}
        said_by = context.get("identity") or context.get("http") or {}  # of a REST API, or of an HTTP API
        return _known_by(_parsed(said_by.get("sourceIp")))
    asking = _parsed(req.env.get("REMOTE_ADDR"))
    forwarded = [part.strip() for part in (req.get_header("X-Forwarded-For") or "").split(",") if part.strip()]
    while forwarded and _is_trusted(asking, settings):
        asking = _parsed(forwarded.pop())
    return _known_by(asking)


def base_address(req: falcon.Request, settings: Settings) -> str:
    """Answer the address at which the client found the service, stage prefix included; a trusted proxy knows it."""
    proxied = "lambda.event" not in req.env and _is_trusted(_parsed(req.env.get("REMOTE_ADDR")), settings)
    return req.forwarded_prefix if proxied else req.prefix


def _is_trusted(address: IPv4Address | IPv6Address | None, settings: Settings) -> bool:
    return address is not None and any(address in proxy for proxy in settings.trusted_proxies)


def _parsed(address: object) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(str(address))
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed


def _known_by(address: IPv4Address | IPv6Address | None) -> str:
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), 64), strict=False))
    return str(address) if address is not None else NOBODY
