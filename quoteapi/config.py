"""The settings: read once from the environment, typed, and refused loudly when wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
"""The project's folder."""

SHIPPED_DATABASE = ROOT / "quote_database.db"
"""The catalogue that comes with the project. It is only ever read."""


class WrongSetting(Exception):
    """A setting that the service cannot start with; the message says what to set."""


def _port(value: str) -> int:
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 65_535):
        raise ValueError("a port number from 1 to 65535, for example 8000")
    return int(value)


def _count(value: str) -> int:
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 1_024):
        raise ValueError("a whole number from 1 to 1024, for example 2")
    return int(value)


def _sqlite_url(value: str) -> str:
    scheme, _, path = value.partition(":///")
    if scheme != "sqlite" or not path or path.startswith(":"):
        raise ValueError("sqlite:/// and the path of a file, for example sqlite:////var/lib/quoteapi/quotes.db")
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
        _sqlite_url,
        None,
        "the working database; by default `quoteapi.db` in the project's folder",
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

        On Lambda without a `DATABASE_URL` each container has a database of its own.
        """
        return self.database_url is not None or not self.on_lambda

    @property
    def database_path(self) -> Path:
        """The file of the working SQLite database."""
        if self.database_url is not None:
            return Path(self.database_url.removeprefix("sqlite:///")).absolute()
        return Path("/tmp/quoteapi.db") if self.on_lambda else ROOT / "quoteapi.db"  # noqa: S108 Lambda's only writable folder


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
    return Settings(**values)


def load_settings(environment: Mapping[str, str], dotenv: Path = ROOT / ".env") -> Settings:
    """Read the settings from the environment and, on a laptop, from the file `.env`; the environment wins."""
    if dotenv.is_file():
        from dotenv import dotenv_values  # noqa: PLC0415 nothing to import where there is no such file

        from_file = {
            name: value for name, value in dotenv_values(dotenv, interpolate=False).items() if value is not None
        }
        environment = {**from_file, **environment}
    return read_settings(environment)
