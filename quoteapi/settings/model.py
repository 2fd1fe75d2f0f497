"""The settings, typed."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from quoteapi.settings.parsers import (
    AWS_REGION,
    RateLimit,
    _cap,
    _count,
    _database_url,
    _gateway,
    _header_value,
    _http_url,
    _log_level,
    _many_or_off,
    _matching,
    _networks,
    _origins,
    _port,
    _public_key,
    _public_url,
    _regions,
    _secret,
    _template_ids,
    _window,
    _windows,
    _yes_or_no,
)
from quoteapi.settings.paths import LAMBDA_FOLDER, ROOT


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
    sms_allowed_regions: frozenset[str] = _setting(
        "SMS_ALLOWED_REGIONS", _regions, frozenset(), "the countries that SMS go to, as in `IN,US`; `*` for all"
    )
    sms_daily_cap: int = _setting("SMS_DAILY_CAP", _cap, 1_000, "how many SMS may go out in a day")
    codes_per_number: tuple[RateLimit, ...] = _setting(
        "CODES_PER_NUMBER",
        _windows,
        (RateLimit(1, 60), RateLimit(3, 600), RateLimit(5, 86_400)),
        "codes to one number",
    )
    codes_per_client_ip: tuple[RateLimit, ...] = _setting(
        "CODES_PER_ADDRESS", _windows, (RateLimit(10, 3_600),), "codes asked for by one client address"
    )
    wrong_tries_per_number: RateLimit = _setting(  # noqa: RUF009 the others escape it by their annotation only
        "WRONG_TRIES_PER_NUMBER", _window, RateLimit(5, 3_600), "wrong tries in a row that lock a number, and how long"
    )
    wrong_tries_per_client_ip: tuple[RateLimit, ...] = _setting(
        "WRONG_TRIES_PER_ADDRESS", _windows, (RateLimit(30, 3_600),), "wrong tries by one client address"
    )
    read_limit: RateLimit | None = _setting(  # noqa: RUF009 as above
        "READ_LIMIT",
        _many_or_off,
        RateLimit(600, 60),
        "requests of one client address to one process; `off` for no limit",
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
    def has_shared_state(self) -> bool:
        """Whether what this process stores is seen by every other process of the service.

        On Lambda it is not where each container has a database of its own, or a file that SQLite cannot share.
        """
        return not self.on_lambda or self.database_path is None

    @property
    def gateway(self) -> str:
        """How SMS go out: console or sns."""
        return self.gateway_name or ("sns" if self.on_lambda else "console")

    @property
    def unsubscribe_url(self) -> str | None:
        """Where people leave, as SMS name it; None where nobody said at what address the service is."""
        local = local_url(self.host, self.port) if self.gateway == "console" else None
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


def local_url(host: str, port: int) -> str:
    """Answer the address at which a browser on this machine finds what listens on a host and port."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"


SETTING_NAMES = tuple(setting.metadata["name"] for setting in fields(Settings))
"""The environment variables that are read."""
