"""The client IP: the address of the client, also if trusted proxies forwarded its request."""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

import falcon

from quoteapi.settings import Settings

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

UNKNOWN_IP = "unknown"
CACHE_SIZE = 4_096
MAX_ADDRESS_LENGTH = 64
"""In characters. Longer entries of `X-Forwarded-For` are no addresses and are cut to limit the cache."""
MAX_FORWARDED_LENGTH = 2_000
"""In characters; what proxies append stands at the end of `X-Forwarded-For`."""
_IP_WITH_PORT = re.compile(r"^(?:\[(.+)\](?::\d+)?|([\d.]+):\d+)$", re.ASCII)
"""An entry of `X-Forwarded-For` with a port that a proxy added."""


def client_ip(env: "WSGIEnvironment", settings: Settings) -> str:
    """Return the client's IPv4 address, or the /64 network of its IPv6 address; else `UNKNOWN_IP`.

    Providers give one customer a whole /64. On Lambda, the event of API Gateway has the address. Elsewhere it is the
    peer of the connection or, if that is a trusted proxy, the last address in `X-Forwarded-For` that is not a trusted
    proxy: the client may have written those before it.
    """
    event = env.get("lambda.event")
    if event is not None:
        context = event.get("requestContext") or {}
        identity = context.get("identity") or context.get("http") or {}  # of a REST API, or of an HTTP API
        return _parse(str(identity.get("sourceIp")), ())[0]
    ip, is_proxy = _parse(env.get("REMOTE_ADDR", ""), settings.trusted_proxies)
    if is_proxy:
        written = env.get("HTTP_X_FORWARDED_FOR", "")[-MAX_FORWARDED_LENGTH:]
        forwarded = [entry.strip() for entry in written.split(",") if entry.strip()]
        while forwarded and is_proxy:
            address = _IP_WITH_PORT.sub(r"\1\2", forwarded.pop()[:MAX_ADDRESS_LENGTH])
            ip, is_proxy = _parse(address, settings.trusted_proxies)
    return ip


def is_from_trusted_proxy(req: falcon.Request, settings: Settings) -> bool:
    """Return whether the peer is a trusted proxy, whose `X-Forwarded-…` headers are used; not on Lambda."""
    return "lambda.event" not in req.env and _parse(req.env.get("REMOTE_ADDR", ""), settings.trusted_proxies)[1]


@lru_cache(CACHE_SIZE)
def _parse(address: str, proxies: tuple[IPv4Network | IPv6Network, ...]) -> tuple[str, bool]:
    """Return an address as `client_ip` returns it, and whether it is in one of the proxy networks."""
    try:
        ip: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return UNKNOWN_IP, False
    if isinstance(ip, IPv6Address):
        ip = ip.ipv4_mapped or ip
    name = str(ip_network((int(ip), 64), strict=False)) if isinstance(ip, IPv6Address) else str(ip)
    return name, any(ip in proxy for proxy in proxies)
