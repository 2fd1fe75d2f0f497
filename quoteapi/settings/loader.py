"""Load the settings from the environment and from `.env`, and check them together."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from quoteapi.settings.model import Settings
from quoteapi.settings.parsers import HOW_TO_MAKE_A_SECRET, _database_url
from quoteapi.settings.paths import DOTENV


class SettingsError(Exception):
    """A setting that the service cannot start with; the message says what to set."""


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings from an environment. An empty value counts as not set.

    Raises `SettingsError`, which names the variable and shows a right value.
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
                raise SettingsError(f"{name} must be {error}{shown}.") from error
    settings = Settings(**values)
    _check_together(settings)
    return settings


def settings_for_database(url: str) -> Settings:
    """Answer settings that name a database, and say nothing else. Raises `SettingsError`."""
    try:
        return Settings(database_url=_database_url(url))
    except ValueError as error:
        raise SettingsError(f"Name a database by {error}.") from error


def _check_together(settings: Settings) -> None:
    if (settings.aws_access_key_id is None) != (settings.aws_secret_access_key is None):
        raise SettingsError("aws_access_key_id and aws_secret_access_key go together: set both, or neither.")
    if settings.jwt_secret is not None and settings.jwt_public_key is not None:
        raise SettingsError("JWT_SECRET and JWT_PUBLIC_KEY are two ways to sign tokens: set one of them.")
    signed = settings.jwt_secret is not None or settings.jwt_public_key is not None
    if signed != (settings.jwt_issuer is not None) or signed != (settings.jwt_audience is not None):
        raise SettingsError(
            "Bearer tokens need JWT_ISSUER, JWT_AUDIENCE, and JWT_SECRET or JWT_PUBLIC_KEY: set all three, or none."
        )
    if not settings.on_lambda and (settings.async_failure or settings.xray_tracing):
        raise SettingsError("ASYNC_FAILURE and XRAY_TRACING are for AWS Lambda: remove them here.")
    if settings.on_lambda and settings.database_url is None:
        return  # nobody can subscribe: the rest is not needed
    if settings.secret_key is None and (settings.on_lambda or settings.database_path is None):
        where = "on Lambda, the same for every container" if settings.on_lambda else "with a database that is shared"
        raise SettingsError(
            f"SECRET_KEY must be set {where}; {HOW_TO_MAKE_A_SECRET}. It keys what is stored of codes, numbers and addresses."
        )
    if settings.on_lambda and settings.gateway == "console":
        raise SettingsError(
            "SMS_GATEWAY must be sns on Lambda: console prints codes and numbers, and Lambda keeps a log."
        )
    if settings.gateway == "sns" and not settings.sms_allowed_regions:
        raise SettingsError(
            "SMS_ALLOWED_REGIONS must be set where SMS cost money: the countries that they may go to, for example IN,US"
            " (or * for all)."
        )


def load_settings(environment: Mapping[str, str], dotenv: Path = DOTENV) -> Settings:
    """Read the settings from the environment and, on a laptop, from the file `.env`; the environment wins."""
    return read_settings({**read_dotenv(dotenv), **environment})


def read_dotenv(dotenv: Path = DOTENV) -> Mapping[str, str]:
    """Read the file `.env`, if there is one."""
    if not dotenv.is_file():
        return {}
    from dotenv import dotenv_values  # noqa: PLC0415 nothing to import where there is no such file

    return {name: value for name, value in dotenv_values(dotenv, interpolate=False).items() if value is not None}
