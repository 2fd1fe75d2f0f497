"""Parsers of the settings, from text to typed values. Each raises ValueError, whose text says what to write."""

import re
import textwrap
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

SHORTEST_SECRET = 32
FEWEST_CHARACTERS = 10
"""How many different ones a secret has."""
MOST_DIGITS = 8
HOW_TO_MAKE_A_SECRET = (
    "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"  # noqa: S105 it is none
)
ANY_REGION = "*"
AWS_REGION = r"[a-z]{2,5}(-[a-z]+)+-\d"


class RateLimit(NamedTuple):
    """At most so many in any stretch of so many seconds."""

    limit: int
    seconds: int


def _port(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= MOST_DIGITS and 1 <= int(value) <= 65_535):
        raise ValueError("a port number from 1 to 65535, for example 8000")
    return int(value)


def _count(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= MOST_DIGITS and 1 <= int(value) <= 1_024):
        raise ValueError("a whole number from 1 to 1024, for example 2")
    return int(value)


def _database_url(value: str) -> str:
    scheme, _, rest = value.partition("://")
    if scheme in {"postgresql", "postgres"}:
        return _postgresql_url(f"postgresql://{rest}")
    if scheme != "sqlite" or not rest.startswith("/") or rest[1:2] in {"", ":"}:
        raise ValueError(
            "sqlite:/// and the path of a file, for example sqlite:////var/lib/quoteapi/quotes.db, or the address of a"
            " PostgreSQL database, for example postgresql://user:password@host:5432/quoteapi?sslmode=verify-full"
        )
    return value


_TO_ENCODE = re.compile(r"[#\s]|%(?![0-9A-Fa-f]{2})|%00")


def _postgresql_url(value: str) -> str:
    host = value.removeprefix("postgresql://").partition("/")[0]
    to_encode = (
        value.count("@") > host.count("@")
        or host.count("@") > 1
        or "?" in host.rpartition("@")[0]
        or _TO_ENCODE.search(value)
    )
    try:
        parts = urlsplit(value)
        named = bool(parts.path.strip("/")) or "dbname=" in parts.query
        unquote(value, errors="strict")
    except ValueError:  # a bracket that is none of an address
        named = False
    if to_encode or not named or not value.isprintable():
        raise ValueError(
            "an address that names a database, for example postgresql://user:password@host:5432/quoteapi, with %40 for"
            " @, %2F for /, %3F for ?, %23 for #, %25 for %, %5B for [ and %20 for a space in its password"
        )
    return value


def _is_http(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an address of brackets, or a port that is none
        return False


def _http_url(value: str) -> str:
    if not (_is_http(value) and value.isascii() and value.isprintable() and " " not in value):
        raise ValueError("an address that starts with https:// (or http://), for example https://example.org/quotes")
    return value


def _header_value(value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise ValueError("the key as the upstream API gave it: letters, digits and punctuation only")
    return value


def _origins(value: str) -> tuple[str, ...]:
    origins = tuple(part.strip().rstrip("/").lower() for part in value.split(",") if part.strip())
    for origin in origins:
        is_origin = _is_http(origin) and origin.endswith(f"://{urlsplit(origin).netloc}")
        if not is_origin and origins != ("*",):
            raise ValueError(
                "* alone, or origins with commas between, for example https://example.org,http://localhost:3000"
            )
    return origins


def _log_level(value: str) -> str:
    if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ValueError("one of DEBUG, INFO, WARNING, ERROR")
    return value.upper()


def _yes_or_no(value: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}
    if value.lower() not in known:
        raise ValueError("true or false")
    return known[value.lower()]


_WINDOW = re.compile(r"([1-9]\d{0,2})/([1-9]\d{0,3})([smhd])", re.ASCII)


def _windows(value: str) -> tuple[RateLimit, ...]:
    windows = []
    for part in value.split(","):
        found = _WINDOW.fullmatch(part.strip())
        if found is None:
            raise ValueError("1 to 999 in 1 to 9999 s, m, h or d, with commas between, for example 1/1m,3/10m,5/1d")
        windows.append(RateLimit(int(found[1]), int(found[2]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[found[3]]))
    return tuple(windows)


def _window(value: str) -> RateLimit:
    if "," in value or not _WINDOW.fullmatch(value):
        raise ValueError("1 to 999 in 1 to 9999 s, m, h or d, for example 5/1h")
    return _windows(value)[0]


_MANY = re.compile(r"([1-9]\d{0,8})/([1-9]\d{0,3}[smhd])", re.ASCII)


def _many_or_off(value: str) -> RateLimit | None:
    if value.lower() == "off":
        return None
    found = _MANY.fullmatch(value)
    if found is None:
        raise ValueError("off, or 1 to 999999999 in 1 to 9999 s, m, h or d, for example 600/1m")
    return _window(f"1/{found[2]}")._replace(limit=int(found[1]))


def _cap(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= MOST_DIGITS):
        raise ValueError("a whole number from 0 to 99999999, for example 1000")
    return int(value)


def _regions(value: str) -> frozenset[str]:
    regions = frozenset(part.strip().upper() for part in value.split(",") if part.strip())
    # Whether there is such a country, the doctor knows: a cold start need not load the numbering plans.
    if not regions or not (regions == {ANY_REGION} or all(re.fullmatch("[A-Z]{2}", region) for region in regions)):
        raise ValueError("* alone, or countries by their two letters with commas between, for example IN,US")
    return regions


def _networks(value: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        networks = tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())
    except ValueError:
        networks = ()
    if not networks or any(network.prefixlen == 0 for network in networks):  # which would be everybody
        raise ValueError("addresses or networks with commas between, for example 127.0.0.1,10.0.0.0/8")
    return networks


def _gateway(value: str) -> str:
    if value.lower() not in {"console", "sns"}:
        raise ValueError("console or sns")
    return value.lower()


def _secret(value: str) -> str:
    if len(value) < SHORTEST_SECRET or len(set(value)) < FEWEST_CHARACTERS or not value.isprintable():
        raise ValueError(f"text of at least {SHORTEST_SECRET} characters that nobody can guess; {HOW_TO_MAKE_A_SECRET}")
    return value


def _public_url(value: str) -> str:
    url = _http_url(value)
    if "?" in url or "#" in url:
        raise ValueError("an address without ? and #, for example https://quotes.example.org")
    return url.rstrip("/")


def _public_key(value: str) -> str:
    # An environment often has it with \\n for the ends of its lines, or with none.
    found = re.fullmatch(
        r"-----BEGIN PUBLIC KEY-----([\w+/=\s]+)-----END PUBLIC KEY-----\s*", value.replace("\\n", "\n"), re.ASCII
    )
    if found is None:
        raise ValueError("a public key in PEM, as `openssl rsa -pubout` writes it, with \\n for the ends of its lines")
    lines = textwrap.wrap("".join(found[1].split()), 64)
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])


def _matching(form: str, meaning: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if not re.fullmatch(form, value, re.ASCII):
            raise ValueError(meaning)
        return value

    return read


def _template_ids(value: str) -> tuple[tuple[str, str], ...]:
    pairs = [part.strip().partition(":") for part in value.split(",") if part.strip()]
    if not all(
        kind in {"code", "confirmation", "quote"} and number.isascii() and number.isdigit() for kind, _, number in pairs
    ):
        raise ValueError("a number for code, confirmation and quote, for example code:1107160000000000001")
    return tuple((kind, number) for kind, _, number in pairs)
