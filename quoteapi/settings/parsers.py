"""Parsers of settings: each turns a text into a typed value, or raises `ValueError`.

The text of the `ValueError` is the expected form, which completes the sentence "NAME must be …".
"""

import re
import textwrap
from collections.abc import Callable, Mapping
from datetime import time
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from quoteapi.printable import is_printable
from quoteapi.settings.quiet_hours import QuietHours

MIN_SECRET_LENGTH = 32
MIN_DISTINCT_CHARACTERS = 10
SECRET_KEY_HINT = "to create one, run `python3 -c 'import secrets; print(secrets.token_urlsafe(48))'`"  # noqa: S105 a command, not a secret
ANY_REGION = "*"
AWS_REGION = r"[a-z]{2,5}(-[a-z]+)+-\d"
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
BOOLEANS = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}
SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_FORM_OF_LIMIT = "a number from 1 to {}, a slash, a number from 1 to 9999, and one of the units s, m, h and d"
_UNSAFE_IN_URL = re.compile(r"[#\s]|%(?![0-9A-Fa-f]{2})|%00")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_ORIGIN = re.compile(r"(https?)://([^/]+?)\.?(?::([0-9]*))?(?:/|$)")
_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----([\w+/=\s]+)-----END PUBLIC KEY-----\s*", re.ASCII)


class DynamoDbTable(NamedTuple):
    """The name of a DynamoDB table and its AWS region; None for the region that boto3 finds."""

    name: str
    region: str | None


class RateLimit(NamedTuple):
    """At most `limit` events in any period of `seconds`."""

    limit: int
    seconds: int


def pattern_parser(pattern: str, expected: str) -> Callable[[str], str]:
    """Return a parser of texts that match a regular expression as a whole."""

    def parse_text(value: str) -> str:
        if not re.fullmatch(pattern, value, re.ASCII):
            raise ValueError(expected)
        return value

    return parse_text


def integer_parser(minimum: int, maximum: int, expected: str) -> Callable[[str], int]:
    """Return a parser of whole numbers from `minimum` to `maximum`, of at most 8 ASCII digits."""

    def parse_integer(value: str) -> int:
        if not (re.fullmatch(r"\d{1,8}", value, re.ASCII) and minimum <= int(value) <= maximum):
            raise ValueError(expected)
        return int(value)

    return parse_integer


def choice_parser(choices: Mapping[str, object], expected: str) -> Callable[[str], Any]:
    """Return a parser of words in upper or lower case; `choices` maps each in lower case to its value."""

    def parse_choice(value: str) -> object:
        if value.lower() not in choices:
            raise ValueError(expected)
        return choices[value.lower()]

    return parse_choice


parse_port = integer_parser(1, 65_535, "a port number from 1 to 65535, for example 8000")
parse_worker_count = integer_parser(1, 1_024, "a whole number from 1 to 1024, for example 2")
parse_sms_cap = integer_parser(0, 99_999_999, "a whole number from 0 to 99999999, for example 1000")
parse_log_level = choice_parser({level.lower(): level for level in LOG_LEVELS}, f"one of {', '.join(LOG_LEVELS)}")
parse_gateway = choice_parser({"console": "console", "sns": "sns"}, "console or sns")
parse_boolean = choice_parser(BOOLEANS, "true or false")
parse_header_value = pattern_parser(
    "[ -~]*", "the key of the upstream API, with only ASCII letters, digits and punctuation"
)
parse_sns_topic = pattern_parser("[A-Za-z0-9_-]{1,256}", "the name of a topic, with only letters, digits, - and _")
parse_aws_region = pattern_parser(AWS_REGION, "an AWS region, for example us-east-1")
parse_sms_sender_id = pattern_parser(
    "(?=.*[A-Za-z])[A-Za-z0-9]{1,11}", "1 to 11 letters and digits, with at least one letter"
)
parse_sms_price = pattern_parser(r"\d{1,2}(\.\d{1,5})?", "US dollars, for example 0.05")
parse_sms_entity_id = pattern_parser(r"\d{1,50}", "the entity ID, with only digits")


def parse_rate_limits(value: str) -> tuple[RateLimit, ...]:
    """Parse rate limits with commas between, for example `1/1m,3/10m,5/1d`."""
    expected = f"limits such as 1/1m,3/10m,5/1d. A limit is {_FORM_OF_LIMIT.format(999)}"
    return tuple(_parse_rate_limit(part.strip(), 3, expected) for part in value.split(","))


def parse_rate_limit(value: str) -> RateLimit:
    """Parse one rate limit, for example `5/1h`."""
    return _parse_rate_limit(value, 3, f"a limit such as 5/1h: {_FORM_OF_LIMIT.format(999)}")


def parse_read_limit(value: str) -> RateLimit | None:
    """Parse one rate limit, for example `600/1m`, of up to 999,999,999 events; `off` becomes None."""
    if value.lower() == "off":
        return None
    return _parse_rate_limit(value, 9, f"off, or a limit such as 600/1m: {_FORM_OF_LIMIT.format(999_999_999)}")


def _parse_rate_limit(value: str, max_digits: int, expected: str) -> RateLimit:
    match = re.fullmatch(r"([1-9]\d*)/([1-9]\d{0,3})([smhd])", value, re.ASCII)
    if match is None or len(match[1]) > max_digits:
        raise ValueError(expected)
    return RateLimit(int(match[1]), int(match[2]) * SECONDS_PER_UNIT[match[3]])


def parse_wall_time(value: str) -> time:
    """Parse a local time in hours and minutes, for example `09:00`."""
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value, re.ASCII):
        raise ValueError("a local time from 00:00 to 23:59, for example 09:00")
    return time.fromisoformat(value)


def parse_quiet_hours(value: str) -> QuietHours | None:
    """Parse two different local times with a hyphen between, for example `21:00-09:00`; `off` becomes None."""
    if value.lower() == "off":
        return None
    try:
        start, end = map(parse_wall_time, value.split("-"))
    except ValueError:
        start = end = time()
    if start == end:
        raise ValueError("off, or two different local times, for example 21:00-09:00")
    return QuietHours(start, end)


def parse_time_zone(value: str) -> str:
    """Parse the name of a time zone, which is normalized."""
    from quoteapi.time_zones import UnknownTimeZone, normalize_time_zone  # noqa: PLC0415 keeps cold starts short

    try:
        return normalize_time_zone(value)
    except UnknownTimeZone as error:
        raise ValueError("the IANA name of a time zone, for example Asia/Kolkata or America/New_York") from error


def parse_database_url(value: str) -> str:
    """Parse the URL of an SQLite, PostgreSQL or DynamoDB database; `postgres://` becomes `postgresql://`."""
    scheme, _, rest = value.partition("://")
    if scheme == "dynamodb":
        parse_dynamodb_url(value)
        return value
    if scheme in {"postgresql", "postgres"}:
        return _parse_postgresql_url(f"postgresql://{rest}")
    if scheme != "sqlite" or not rest.startswith("/") or rest[1:2] in {"", ":"} or not is_printable(rest):
        raise ValueError(
            "the URL of an SQLite file, for example sqlite:////var/lib/quoteapi/quotes.db, of a PostgreSQL database,"
            " for example postgresql://user:password@host:5432/quoteapi?sslmode=verify-full, or of a"
            " DynamoDB table, for example dynamodb://quoteapi-prod?region=us-east-1, without control characters"
        )
    return value


def parse_dynamodb_url(value: str) -> DynamoDbTable:
    """Parse `dynamodb://TABLE` or `dynamodb://TABLE?region=REGION`."""
    match = re.fullmatch(rf"dynamodb://([A-Za-z0-9_.-]{{3,255}})(?:\?region=({AWS_REGION}))?", value)
    if match is None:
        raise ValueError("dynamodb://TABLE?region=REGION, for example dynamodb://quoteapi-prod?region=us-east-1")
    return DynamoDbTable(match[1], match[2])


def _parse_postgresql_url(value: str) -> str:
    user, _, _ = (host := value.removeprefix("postgresql://").partition("/")[0]).rpartition("@")
    needs_encoding = value.count("@") > ("@" in host) or "?" in user or _UNSAFE_IN_URL.search(value)
    try:
        parts = urlsplit(value)
        names_database = bool(parts.path.strip("/")) or "dbname=" in parts.query
        unquote(value, errors="strict")
    except ValueError:  # brackets that enclose no IPv6 address, or bytes that are not UTF-8
        names_database = False
    if needs_encoding or not names_database or not value.isprintable():
        raise ValueError(
            "a URL that names a database, for example postgresql://user:password@host:5432/quoteapi. In the password,"
            " write %40 for @, %2F for /, %3F for ?, %23 for #, %25 for %, %5B for [ and %20 for a space"
        )
    return value


def parse_http_url(value: str) -> str:
    """Parse an http or https URL of visible ASCII characters."""
    if not (is_http_url(value) and re.fullmatch("[!-~]+", value)):
        raise ValueError("a URL that starts with https:// or http://, for example https://example.org/quotes")
    return value


def parse_public_url(value: str) -> str:
    """Parse an http or https URL without a query and fragment; a final slash is removed."""
    url = parse_http_url(value)
    if "?" in url or "#" in url:
        raise ValueError("a URL without ? and #, for example https://quotes.example.org")
    return url.rstrip("/")


def parse_origins(value: str) -> tuple[str, ...]:
    """Parse web origins (RFC 6454) with commas between, or `*` alone."""
    origins = tuple(origin.rstrip("/").lower() for origin in _split(value))
    are_origins = all(is_http_url(origin) and origin.endswith(f"://{urlsplit(origin).netloc}") for origin in origins)
    if origins != ("*",) and not (are_origins and value.isascii()):
        raise ValueError(
            "* alone, or origins separated by commas, for example https://example.org,http://localhost:3000. Write an"
            " internationalized name in its xn-- form, for example https://xn--bcher-kva.example"
        )
    return tuple(map(normalize_origin, origins)) if are_origins else origins


def normalize_origin(url: str) -> str:
    """Return the origin (RFC 6454) of an http or https URL; "" for other text, such as the origin "null".

    It is in lower case, without the default port, and without a final dot of the host, which names the same host.
    """
    match = _ORIGIN.match(url.lower())
    if match is None:
        return ""
    scheme, host, port = match.groups(default="")
    return f"{scheme}://{host}" if port in {"", _DEFAULT_PORTS[scheme]} else f"{scheme}://{host}:{port}"


def is_http_url(value: str) -> bool:
    """Return whether text is an http or https URL with a host, and with a valid port if it has one."""
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that enclose no IPv6 address, or an invalid port
        return False


def parse_regions(value: str) -> frozenset[str]:
    """Parse comma-separated ISO 3166 country codes, or `*`. Only `quoteapi doctor` checks that they exist."""
    regions = frozenset(_split(value.upper()))
    if not regions or not (regions == {ANY_REGION} or all(re.fullmatch("[A-Z]{2}", region) for region in regions)):
        raise ValueError("* alone, or two-letter country codes separated by commas, for example IN,US")
    return regions


def parse_networks(value: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Parse IP addresses and networks with commas between; a network of all addresses is invalid."""
    try:
        networks = tuple(map(ip_network, _split(value)))
    except ValueError:
        networks = ()
    if not networks or any(network.prefixlen == 0 for network in networks):
        raise ValueError("IP addresses or networks separated by commas, for example 127.0.0.1,10.0.0.0/8")
    return networks


def parse_template_ids(value: str) -> tuple[tuple[str, str], ...]:
    """Parse pairs of an SMS kind and its template id, for example `code:1107,quote:1108`."""
    pairs = _split(value)
    if not all(re.fullmatch(r"(code|confirmation|quote):\d+", pair, re.ASCII) for pair in pairs):
        raise ValueError(
            "template IDs for code, confirmation and quote, separated by commas, for example code:1107160000000000001"
        )
    return tuple((kind, number) for kind, _, number in (pair.partition(":") for pair in pairs))


def _split(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def parse_secret(value: str) -> str:
    """Parse a printable secret of at least `MIN_SECRET_LENGTH` characters and enough different ones."""
    if len(value) < MIN_SECRET_LENGTH or len(set(value)) < MIN_DISTINCT_CHARACTERS or not value.isprintable():
        raise ValueError(f"at least {MIN_SECRET_LENGTH} random characters; {SECRET_KEY_HINT}")
    return value


def parse_public_key(value: str) -> str:
    r"""Parse a public key in PEM (RFC 7468), whose lines may end with a literal `\n` or a space instead."""
    match = _PEM.fullmatch(value.replace("\\n", "\n"))
    if match is None:
        raise ValueError("a public key in PEM, as `openssl rsa -pubout` writes it, with \\n for each line break")
    lines = textwrap.wrap("".join(match[1].split()), 64)
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])
