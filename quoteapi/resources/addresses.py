"""Who asks, and at what address they found the service."""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import falcon

from quoteapi.config import Settings

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

NOBODY = "unknown"
REMEMBERED = 4_096
LONGEST = 64
"""An address has no more characters. Others are cut: clients write some, and they are remembered."""
_PORT = re.compile(r"^(?:\[(.+)\](?::\d+)?|([\d.]+):\d+)$", re.ASCII)
"""Some proxies write the port, too."""


def client_address(req: falcon.Request, settings: Settings) -> str:
    """Answer who asks, as `address_in` knows them."""
    return address_in(req.env, settings)


def address_in(env: "WSGIEnvironment", settings: Settings) -> str:
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


def base_address(req: falcon.Request, settings: Settings) -> str:
    """Answer the address at which the client found the service, stage prefix included; a trusted proxy knows it."""
    if "lambda.event" not in req.env and _read(req.env.get("REMOTE_ADDR", ""), settings.trusted_proxies).is_trusted:
        return req.forwarded_prefix
    return req.prefix


def own_address(req: falcon.Request, settings: Settings) -> str:
    """Answer the service's address as links name it, which caches keep for everybody, without a slash at the end.

    Where a proxy is trusted and `PUBLIC_URL` is not set, only what its path begins with: proxies may hand on a host
    that a client made up.
    """
    if settings.public_url is not None:
        return settings.public_url
    return req.root_path if settings.trusted_proxies else req.prefix


def home_of(req: falcon.Request, settings: Settings) -> str:
    """Answer what the path of every link begins with: nothing, a stage as in /dev, or the path of `PUBLIC_URL`."""
    if req.root_path or settings.public_url is None:
        return req.root_path
    return urlsplit(settings.public_url).path


def refuse_other_sites(req: falcon.Request, settings: Settings) -> None:
    """Let pass what a program sends, or a page of ours, or one that `CORS_ORIGINS` names; nothing else in a browser.

    Else any page on the web could have its readers ask for codes, from their addresses and not its own. Browsers tell
    by `Sec-Fetch-Site`, if they are old or there is no TLS by `Origin`, and of an image by neither. Raises
    `falcon.HTTPForbidden`.
    """
    origin, site = (req.get_header("Origin") or "").lower(), req.get_header("Sec-Fetch-Site")
    if origin and origin in settings.cors_origins:
        return
    if site is not None:
        ours = site in {"same-origin", "none"}
    elif origin:
        ours = origin in _origins_of(req, settings)
    else:
        ours = req.method != "GET" or not (req.user_agent or "").startswith("Mozilla/")
    if not ours:
        raise falcon.HTTPForbidden(
            title="Sent by another site",
            description="A page of another site may have sent this. Use the form of this service, or POST.",
        )


def _origins_of(req: falcon.Request, settings: Settings) -> set[str]:
    origins = {f"{req.scheme}://{req.netloc}", f"{req.forwarded_scheme}://{req.forwarded_host}"}
    if settings.public_url is not None:
        public = urlsplit(settings.public_url.lower())
        origins.add(f"{public.scheme}://{public.netloc}")
    return origins


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
