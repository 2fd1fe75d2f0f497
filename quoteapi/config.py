"""The settings: read once from the environment, typed, and refused loudly when wrong."""

import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
"""The project's folder."""

SHIPPED_DATABASE = ROOT / "quote_database.db"
"""The catalogue that comes with the project. It is only ever read."""

DOTENV = ROOT / ".env"


LAMBDA_FOLDER = Path("/tmp")  # noqa: S108 there is no other on Lambda
"""The folder that each container of AWS Lambda has for itself."""

SHORTEST_SECRET = 32
FEWEST_CHARACTERS = 10
"""How many different ones a secret has."""
MOST_DIGITS = 8
MAKE_ONE = "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
ANY_REGION = "*"
AWS_REGION = r"[a-z]{2,5}(-[a-z]+)+-\d"


class WrongSetting(Exception):
    """A setting that the service cannot start with; the message says what to set."""


class Window(NamedTuple):
    """At most so many in any stretch of so many seconds."""

    most: int
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


def _windows(value: str) -> tuple[Window, ...]:
    windows = []
    for part in value.split(","):
        found = _WINDOW.fullmatch(part.strip())
        if found is None:
            raise ValueError("1 to 999 in 1 to 9999 s, m, h or d, with commas between, for example 1/1m,3/10m,5/1d")
        windows.append(Window(int(found[1]), int(found[2]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[found[3]]))
    return tuple(windows)


def _window(value: str) -> Window:
    if "," in value or not _WINDOW.fullmatch(value):
        raise ValueError("1 to 999 in 1 to 9999 s, m, h or d, for example 5/1h")
    return _windows(value)[0]


_MANY = re.compile(r"([1-9]\d{0,8})/([1-9]\d{0,3}[smhd])", re.ASCII)


def _many_or_off(value: str) -> Window | None:
    if value.lower() == "off":
        return None
    found = _MANY.fullmatch(value)
    if found is None:
        raise ValueError("off, or 1 to 999999999 in 1 to 9999 s, m, h or d, for example 600/1m")
    return _window(f"1/{found[2]}")._replace(most=int(found[1]))


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
        raise ValueError(f"text of at least {SHORTEST_SECRET} characters that nobody can guess; {MAKE_ONE}")
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


def _setting(name: str, read: Callable[[str], Any], default: Any, meaning: str, *, secret: bool = False) -> Any:  # noqa: ANN401
    return field(default=default, repr=not secret, metadata={"name": name, "read": read, "meaning": meaning})


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that an operator can set. Each field names its environment variable."""

    host: str = _setting("HOST", str, "127.0.0.1", "the address that `serve` listens on")
    port: int = _setting("PORT", _port, 8000, "the port that `serve` listens on")
    workers: int | None = _setting("WORKERS", _count, None, "worker processes of `serve`; by default one a core")
    database_url: str | None = _setting(
        "DATABASE_URL",
        _database_url,
        None,
        "the working database; by default `quoteapi.db` in the project's folder",
        secret=True,
    )
    cors_origins: tuple[str, ...] = _setting(
        "CORS_ORIGINS", _origins, (), "whose web pages may call the API: `*`, or origins with commas between"
    )
    log_level: str = _setting("LOG_LEVEL", _log_level, "INFO", "`DEBUG`, `INFO`, `WARNING` or `ERROR`")
    upstream_endpoint: str | None = _setting(
        "Mashape_API_Endpoint",
        _http_url,
        None,
        "the address of an upstream quote API, asked first when set",
        secret=True,
    )
    upstream_key: str | None = _setting(
        "X_Mashape_Key", _header_value, None, "the key of the upstream quote API", secret=True
    )
    gateway_name: str | None = _setting(
        "SMS_GATEWAY", _gateway, None, "`console`, an inbox on this machine, or `sns`; by default `sns` on Lambda only"
    )
    public_url: str | None = _setting(
        "PUBLIC_URL", _public_url, None, "the service's address as people know it; SMS say how to leave with it"
    )
    unsubscribe_requires_otp: bool = _setting(
        "UNSUBSCRIBE_REQUIRES_OTP", _yes_or_no, default=False, meaning="whether leaving takes a code too"
    )
    secret_key: str | None = _setting(
        "SECRET_KEY", _secret, None, "keys every digest; on a laptop made on first use", secret=True
    )
    allowed_regions: frozenset[str] = _setting(
        "SMS_ALLOWED_REGIONS", _regions, frozenset(), "the countries that SMS go to, as in `IN,US`; `*` for all"
    )
    daily_cap: int = _setting("SMS_DAILY_CAP", _cap, 1_000, "how many SMS may go out in a day")
    codes_per_number: tuple[Window, ...] = _setting(
        "CODES_PER_NUMBER",
        _windows,
        (Window(1, 60), Window(3, 600), Window(5, 86_400)),
        "codes to one number",
    )
    codes_per_address: tuple[Window, ...] = _setting(
        "CODES_PER_ADDRESS", _windows, (Window(10, 3_600),), "codes asked for by one client address"
    )
    wrong_tries_per_number: Window = _setting(  # noqa: RUF009 the others escape it by their annotation only
        "WRONG_TRIES_PER_NUMBER", _window, Window(5, 3_600), "wrong tries in a row that lock a number, and how long"
    )
    wrong_tries_per_address: tuple[Window, ...] = _setting(
        "WRONG_TRIES_PER_ADDRESS", _windows, (Window(30, 3_600),), "wrong tries by one client address"
    )
    read_limit: Window | None = _setting(  # noqa: RUF009 as above
        "READ_LIMIT", _many_or_off, Window(600, 60), "requests of one client address to one process; `off` for no limit"
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = _setting(
        "TRUSTED_PROXIES", _networks, (), "proxies whose `X-Forwarded-For` is believed"
    )
    sns_topic: str = _setting(
        "SNS_TOPIC",
        _matching(r"[A-Za-z0-9_-]{1,256}", "a topic's name: letters, digits, - and _"),
        "DailyQuoteSubscription",
        "the topic of the daily SMS",
    )
    sns_region: str = _setting(
        "SNS_REGION",
        _matching(AWS_REGION, "an AWS region, for example us-east-1"),
        "us-east-1",
        "its region",
    )
    aws_access_key_id: str | None = _setting(
        "aws_access_key_id", str, None, "credentials; else boto3 looks where it always does", secret=True
    )
    aws_secret_access_key: str | None = _setting(
        "aws_secret_access_key", str, None, "goes with `aws_access_key_id`", secret=True
    )
    sms_sender_id: str | None = _setting(
        "SMS_SENDER_ID",
        _matching(r"(?=.*[A-Za-z])[A-Za-z0-9]{1,11}", "1 to 11 letters and digits, with a letter among them"),
        None,
        "who SMS come from, where the country allows it",
    )
    sms_max_price: str | None = _setting(
        "SMS_MAX_PRICE",
        _matching(r"\d{1,2}(\.\d{1,5})?", "US dollars, for example 0.05"),
        None,
        "the most that one SMS may cost, in US dollars",
    )
    sms_entity_id: str | None = _setting(
        "SMS_ENTITY_ID", _matching(r"\d{1,50}", "the number of the entity"), None, "the entity id, for India"
    )
    sms_template_ids: tuple[tuple[str, str], ...] = _setting(
        "SMS_TEMPLATE_IDS", _template_ids, (), "the template ids, for India"
    )
    jwt_secret: str | None = _setting(
        "JWT_SECRET", _secret, None, "the secret by which bearer tokens are signed (HS256)", secret=True
    )
    jwt_public_key: str | None = _setting(
        "JWT_PUBLIC_KEY", _public_key, None, "instead, the public key of who signs them (RS256)", secret=True
    )
    jwt_issuer: str | None = _setting("JWT_ISSUER", str, None, "who makes bearer tokens: their `iss`")
    jwt_audience: str | None = _setting("JWT_AUDIENCE", str, None, "whom they are for: their `aud`")
    async_failure: bool = _setting(
        "ASYNC_FAILURE", _yes_or_no, default=False, meaning="whether `/async-failure` starts a task that fails"
    )
    xray_tracing: bool = _setting(
        "XRAY_TRACING", _yes_or_no, default=False, meaning="whether AWS X-Ray sees each call out"
    )
    stage: str | None = _setting("STAGE", str, None, "set by Zappa itself; do not set it")
    lambda_function: str | None = _setting(
        "AWS_LAMBDA_FUNCTION_NAME", str, None, "set by AWS Lambda itself; do not set it"
    )

    @property
    def on_lambda(self) -> bool:
        """Whether this process is a container of AWS Lambda."""
        return self.lambda_function is not None

    @property
    def state_is_shared(self) -> bool:
        """Whether what this process stores is seen by every other process of the service.

        On Lambda it is not where each container has a database of its own, or a file that SQLite cannot share.
        """
        return not self.on_lambda or self.database_path is None

    @property
    def gateway(self) -> str:
        """How SMS go out: console or sns."""
        return self.gateway_name or ("sns" if self.on_lambda else "console")

    @property
    def leave_url(self) -> str | None:
        """Where people leave, as SMS name it; None where nobody said at what address the service is."""
        local = address_of(self.host, self.port) if self.gateway == "console" else None
        base = self.public_url or local
        return f"{base}/unsubscribe" if base is not None else None

    @property
    def database_path(self) -> Path | None:
        """The file of the working database; None where it is on a server."""
        if self.database_url is not None:
            if not self.database_url.startswith("sqlite:"):
                return None
            return Path(self.database_url.removeprefix("sqlite:///")).resolve()
        return (LAMBDA_FOLDER if self.on_lambda else ROOT) / "quoteapi.db"


def address_of(host: str, port: int) -> str:
    """Answer the address at which a browser on this machine finds what listens on a host and port."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"


SETTING_NAMES = tuple(setting.metadata["name"] for setting in fields(Settings))
"""The environment variables that are read."""


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings from an environment. An empty value counts as not set.

    Raises `WrongSetting`, which names the variable and shows a right value.
    """
    values: dict[str, Any] = {}
    for setting in fields(Settings):
        name = setting.metadata["name"]
        value = environment.get(name, "").strip()
        if value:
            try:
                values[setting.name] = setting.metadata["read"](value)
            except ValueError as error:
                shown = "" if not setting.repr else f", not {value!r}"
                raise WrongSetting(f"{name} must be {error}{shown}.") from error
    settings = Settings(**values)
    _check_together(settings)
    return settings


def settings_of(url: str) -> Settings:
    """Answer settings that name a database, and say nothing else. Raises `WrongSetting`."""
    try:
        return Settings(database_url=_database_url(url))
    except ValueError as error:
        raise WrongSetting(f"Name a database by {error}.") from error


def _check_together(settings: Settings) -> None:
    if (settings.aws_access_key_id is None) != (settings.aws_secret_access_key is None):
        raise WrongSetting("aws_access_key_id and aws_secret_access_key go together: set both, or neither.")
    if settings.jwt_secret is not None and settings.jwt_public_key is not None:
        raise WrongSetting("JWT_SECRET and JWT_PUBLIC_KEY are two ways to sign tokens: set one of them.")
    signed = settings.jwt_secret is not None or settings.jwt_public_key is not None
    if signed != (settings.jwt_issuer is not None) or signed != (settings.jwt_audience is not None):
        raise WrongSetting(
            "Bearer tokens need JWT_ISSUER, JWT_AUDIENCE, and JWT_SECRET or JWT_PUBLIC_KEY: set all three, or none."
        )
    if not settings.on_lambda and (settings.async_failure or settings.xray_tracing):
        raise WrongSetting("ASYNC_FAILURE and XRAY_TRACING are for AWS Lambda: remove them here.")
    if settings.on_lambda and settings.database_url is None:
        return  # nobody can subscribe: the rest is not needed
    if settings.secret_key is None and (settings.on_lambda or settings.database_path is None):
        where = "on Lambda, the same for every container" if settings.on_lambda else "with a database that is shared"
        raise WrongSetting(
            f"SECRET_KEY must be set {where}; {MAKE_ONE}. It keys what is stored of codes, numbers and addresses."
        )
    if settings.on_lambda and settings.gateway == "console":
        raise WrongSetting(
            "SMS_GATEWAY must be sns on Lambda: console prints codes and numbers, and Lambda keeps a log."
        )
    if settings.gateway == "sns" and not settings.allowed_regions:
        raise WrongSetting(
            "SMS_ALLOWED_REGIONS must be set where SMS cost money: the countries that they may go to, for example IN,US"
            " (or * for all)."
        )


def load_settings(environment: Mapping[str, str], dotenv: Path = DOTENV) -> Settings:
    """Read the settings from the environment and, on a laptop, from the file `.env`; the environment wins."""
    return read_settings({**from_dotenv(dotenv), **environment})


def from_dotenv(dotenv: Path = DOTENV) -> Mapping[str, str]:
    """Read the file `.env`, if there is one."""
    if not dotenv.is_file():
        return {}
    from dotenv import dotenv_values  # noqa: PLC0415 nothing to import where there is no such file

    return {name: value for name, value in dotenv_values(dotenv, interpolate=False).items() if value is not None}
