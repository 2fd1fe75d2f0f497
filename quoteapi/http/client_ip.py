"""The client IP: the address a request came from, proxies considered."""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple

import falcon

from quoteapi.settings import Settings

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

NOBODY = "unknown"
REMEMBERED = 4_096
LONGEST = 64
"""An address has no more characters. Others are cut: clients write some, and they are remembered."""
_PORT = re.compile(r"^(?:\[(.+)\](?::\d+)?|([\d.]+):\d+)$", re.ASCII)
"""Some proxies write the port, too."""


def client_ip(req: falcon.Request, settings: Settings) -> str:
    """Answer who asks, as `client_ip_from_environ` knows them."""
    return client_ip_from_environ(req.env, settings)


def client_ip_from_environ(env: "WSGIEnvironment", settings: Settings) -> str:
    """Answer who asks: an IPv4 address, or the /64 of an IPv6 one, which is what one customer gets.

    API Gateway says who it is in its event. Elsewhere it is who connected or, if that is a trusted proxy, the last
    address in `X-Forwarded-For` that is none: what stands before it, the client may have written.
    """
    event = env.get("lambda.event")
    if event is not None:
        context = event.get("requestContext") or {}
        said_by = context.get("identity") or context.get("http") or {}  # of a REST API, or of an HTTP API
        return _read(str(said_by.get("sourceIp")), ()).known_as
    asking = _read(env.get("REMOTE_ADDR", ""), settings.trusted_proxies)
    if asking.is_trusted:
        forwarded = [part.strip() for part in env.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
        while forwarded and asking.is_trusted:
            asking = _read(_PORT.sub(r"\1\2", forwarded.pop()[:LONGEST]), settings.trusted_proxies)
    return asking.known_as


class _Asking(NamedTuple):
    known_as: str
    is_trusted: bool


@lru_cache(REMEMBERED)
def _read(address: str, proxies: tuple[IPv4Network | IPv6Network, ...]) -> _Asking:
    """Read an address as it is written. Most requests come from one that was read before."""
    parsed = _parsed(address)
    return _Asking(_known_by(parsed), parsed is not None and any(parsed in proxy for proxy in proxies))


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed


def _known_by(address: IPv4Address | IPv6Address | None) -> str:
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), 64), strict=False))
    return str(address) if address is not None else NOBODY
