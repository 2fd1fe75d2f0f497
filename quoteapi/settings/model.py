"""The settings as a typed, immutable object."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import time
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from quoteapi.settings import parsers
from quoteapi.settings.parsers import DynamoDbTable, RateLimit
from quoteapi.settings.quiet_hours import QuietHours

ROOT = Path(__file__).resolve().parents[2]
BUNDLED_CATALOGUE = ROOT / "quote_database.db"
"""The catalogue that comes with the project; it is never written to."""
DEFAULT_SMS_CAP = 1_000
"""The default of the SMS per day and of the subscribers."""
DEFAULT_TOPIC = "DailyQuoteSubscription"
MAX_TOPIC_LENGTH = 256
LAMBDA_FOLDER = Path("/tmp")  # noqa: S108 the only folder that a Lambda container can write to


def _setting(
    name: str, meaning: str, parse: Callable[[str], Any] = str, default: object = None, *, secret: bool = False
) -> Any:  # noqa: ANN401
    """Return a dataclass field for an environment variable; a secret one is left out of the `repr`."""
    return field(default=default, repr=not secret, metadata={"name": name, "parse": parse, "meaning": meaning})


_secret = partial(_setting, secret=True)
_flag = partial(_setting, parse=parsers.parse_boolean, default=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that an operator can set. Each field names its environment variable."""

    host: str = _setting("HOST", "the address that `serve` listens on", default="127.0.0.1")
    port: int = _setting("PORT", "the port that `serve` listens on", parsers.parse_port, 8000)
    workers: int | None = _setting(
        "WORKERS", "worker processes of `serve`; by default one per core", parsers.parse_worker_count
    )
    database_url: str | None = _secret(
        "DATABASE_URL", "the working database; by default `quoteapi.db`", parsers.parse_database_url
    )
    cors_origins: tuple[str, ...] = _setting(
        "CORS_ORIGINS",
        "origins whose web pages may call the API, separated by commas; `*` for all",
        parsers.parse_origins,
        (),
    )
    log_level: str = _setting("LOG_LEVEL", "`DEBUG`, `INFO`, `WARNING` or `ERROR`", parsers.parse_log_level, "INFO")
    upstream_endpoint: str | None = _secret(
        "Mashape_API_Endpoint", "the URL of an upstream quote API, asked first", parsers.parse_http_url
    )
    upstream_key: str | None = _secret("X_Mashape_Key", "the key of the upstream quote API", parsers.parse_header_value)
    gateway_name: str | None = _setting(
        "SMS_GATEWAY", "`console` (an inbox) or `sns`; by default `sns` on Lambda only", parsers.parse_gateway
    )
    public_url: str | None = _setting(
        "PUBLIC_URL", "the public URL of the service, which SMS and feeds link to", parsers.parse_public_url
    )
    unsubscribe_requires_otp: bool = _flag("UNSUBSCRIBE_REQUIRES_OTP", "whether unsubscribing needs a code too")
    secret_key: str | None = _secret(
        "SECRET_KEY", "the key of all HMACs; with SQLite created on first use", parsers.parse_secret
    )
    sms_allowed_regions: frozenset[str] = _setting(
        "SMS_ALLOWED_REGIONS", "countries for SMS, as in `IN,US`; `*` for all", parsers.parse_regions, frozenset()
    )
    sms_daily_cap: int = _setting(
        "SMS_DAILY_CAP",
        "codes and confirmations per day; 0 stops all SMS",
        parsers.parse_sms_cap,
        DEFAULT_SMS_CAP,
    )
    sms_max_subscribers: int | None = _setting(
        "SMS_MAX_SUBSCRIBERS",
        "maximum number of subscribers; by default 1,000, or `SMS_DAILY_CAP` if that is larger",
        parsers.parse_sms_cap,
    )
    daily_sms_at: time = _setting(  # noqa: RUF009 a time is immutable
        "DAILY_SMS_AT", "the local time of the daily SMS", parsers.parse_wall_time, time(9)
    )
    quiet_hours: QuietHours | None = _setting(  # noqa: RUF009 QuietHours is immutable
        "QUIET_HOURS",
        "local hours without daily SMS; `off` for those of the country only",
        parsers.parse_quiet_hours,
        QuietHours(time(21), time(9)),
    )
    default_time_zone: str = _setting(
        "DEFAULT_TIME_ZONE", "the time zone of `SNS_TOPIC` as it is", parsers.parse_time_zone, "Etc/UTC"
    )
    codes_per_number: tuple[RateLimit, ...] = _setting(
        "CODES_PER_NUMBER",
        "codes to one number",
        parsers.parse_rate_limits,
        (RateLimit(1, 60), RateLimit(3, 600), RateLimit(5, 86_400)),
    )
    codes_per_client_ip: tuple[RateLimit, ...] = _setting(
        "CODES_PER_ADDRESS", "codes requested by a client IP", parsers.parse_rate_limits, (RateLimit(10, 3_600),)
    )
    wrong_tries_per_number: RateLimit = _setting(  # noqa: RUF009 RateLimit is immutable
        "WRONG_TRIES_PER_NUMBER",
        "wrong tries in a row that lock a number, and for how long",
        parsers.parse_rate_limit,
        RateLimit(5, 3_600),
    )
    wrong_tries_per_client_ip: tuple[RateLimit, ...] = _setting(
        "WRONG_TRIES_PER_ADDRESS", "wrong tries by a client IP", parsers.parse_rate_limits, (RateLimit(30, 3_600),)
    )
    read_limit: RateLimit | None = _setting(  # noqa: RUF009 RateLimit is immutable
        "READ_LIMIT",
        "requests of one client IP to one process; `off` for no limit",
        parsers.parse_read_limit,
        RateLimit(600, 60),
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = _setting(
        "TRUSTED_PROXIES", "proxies whose `X-Forwarded-…` headers are trusted", parsers.parse_networks, ()
    )
    sns_topic_name: str | None = _setting("SNS_TOPIC", "the topic of the daily SMS", parsers.parse_sns_topic)
    sns_region: str = _setting("SNS_REGION", "its region", parsers.parse_aws_region, "us-east-1")
    aws_access_key_id: str | None = _secret("aws_access_key_id", "AWS credentials; by default those that boto3 finds")
    aws_secret_access_key: str | None = _secret("aws_secret_access_key", "the secret key of `aws_access_key_id`")
    sms_sender_id: str | None = _setting(
        "SMS_SENDER_ID", "the sender shown in SMS, if the country allows it", parsers.parse_sms_sender_id
    )
    sms_max_price: str | None = _setting(
        "SMS_MAX_PRICE", "the most that one SMS may cost, in US dollars", parsers.parse_sms_price
    )
    sms_entity_id: str | None = _setting("SMS_ENTITY_ID", "the entity ID, for India", parsers.parse_sms_entity_id)
    sms_template_ids: tuple[tuple[str, str], ...] = _setting(
        "SMS_TEMPLATE_IDS", "the template IDs, for India", parsers.parse_template_ids, ()
    )
    jwt_secret: str | None = _secret("JWT_SECRET", "the secret that signs bearer tokens (HS256)", parsers.parse_secret)
    jwt_public_key: str | None = _secret(
        "JWT_PUBLIC_KEY", "instead of `JWT_SECRET`, the public key of the issuer (RS256)", parsers.parse_public_key
    )
    jwt_issuer: str | None = _setting("JWT_ISSUER", "the issuer of bearer tokens: their `iss`")
    jwt_audience: str | None = _setting("JWT_AUDIENCE", "the audience of bearer tokens: their `aud`")
    async_failure: bool = _flag("ASYNC_FAILURE", "whether `/async-failure` starts a task that fails")
    xray_tracing: bool = _flag("XRAY_TRACING", "whether AWS X-Ray traces outgoing calls")
    stage: str | None = _setting("STAGE", "set by Zappa itself; do not set it")
    lambda_function: str | None = _setting("AWS_LAMBDA_FUNCTION_NAME", "set by AWS Lambda itself; do not set it")

    @property
    def on_lambda(self) -> bool:
        """Whether this process runs on AWS Lambda."""
        return self.lambda_function is not None

    @property
    def has_shared_state(self) -> bool:
        """Whether all processes share the state: on Lambda, each container has its own SQLite file."""
        return not self.on_lambda or self.database_path is None

    @property
    def dynamodb_table(self) -> DynamoDbTable | None:
        """The DynamoDB table with the state, or None if the working database has it.

        By default on Lambda it is named like the function, once `SECRET_KEY` and `SMS_ALLOWED_REGIONS` are set.
        """
        if self.database_url is not None:
            is_dynamodb = self.database_url.startswith("dynamodb:")
            return parsers.parse_dynamodb_url(self.database_url) if is_dynamodb else None
        can_subscribe = self.gateway == "sns" and self.secret_key is not None and self.sms_allowed_regions
        is_default = self.lambda_function is not None and can_subscribe
        return DynamoDbTable(str(self.lambda_function), None) if is_default else None

    @property
    def sns_topic(self) -> str:
        """The topic of the daily SMS. By default each DynamoDB table has its own: those on it are its subscribers."""
        if self.sns_topic_name is not None or self.dynamodb_table is None:
            return self.sns_topic_name or DEFAULT_TOPIC
        return f"{DEFAULT_TOPIC}-{self.dynamodb_table.name}".replace(".", "-")[:MAX_TOPIC_LENGTH]

    @property
    def gateway(self) -> str:
        """The gateway that sends SMS: `console` or `sns`."""
        return self.gateway_name or ("sns" if self.on_lambda else "console")

    @property
    def max_subscribers(self) -> int:
        """How many may be subscribed; above that, new subscriptions are refused."""
        by_default = max(DEFAULT_SMS_CAP, self.sms_daily_cap)
        return self.sms_max_subscribers if self.sms_max_subscribers is not None else by_default

    @property
    def unsubscribe_url(self) -> str | None:
        """The short link to the unsubscribe page that SMS have, or None if the public URL of the service is unknown."""
        base = self.public_url or (local_url(self.host, self.port) if self.gateway == "console" else None)
        return f"{base}/u" if base else None

    @property
    def database_path(self) -> Path | None:
        """The SQLite file of the working database, or None if it is PostgreSQL or the state is in DynamoDB.

        A relative path starts at the project's folder, whatever the current folder is.
        """
        if self.dynamodb_table is not None:
            return None
        if self.database_url is None:
            return (LAMBDA_FOLDER if self.on_lambda else ROOT) / "quoteapi.db"
        scheme, _, path = self.database_url.partition(":///")
        return (ROOT / path).resolve() if scheme == "sqlite" else None


def local_url(host: str, port: int) -> str:
    """Return the URL of a server on this machine that listens on a host and port."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{name}:{port}"


SETTING_NAMES = tuple(setting.metadata["name"] for setting in fields(Settings))
"""The environment variables that are read."""
