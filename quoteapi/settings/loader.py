"""Loader of the settings: reads the environment and `.env`, and validates the settings together."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from quoteapi.settings.model import ROOT, SETTING_NAMES, Settings
from quoteapi.settings.parsers import SECRET_KEY_HINT, parse_database_url
from quoteapi.settings.quiet_hours import COUNTRY_QUIET_HOURS, open_hours, quiet_hours_of
from quoteapi.spelling import did_you_mean

DOTENV = ROOT / ".env"
MIN_MINUTES_FOR_DAILY_SMS = 60
"""A schedule that sends every 15 minutes has several tries in them."""


class SettingsError(Exception):
    """A missing or invalid setting. The message says what to set."""


def load_settings(environment: Mapping[str, str] = os.environ, dotenv: Path = DOTENV) -> Settings:
    """Return the settings of `environment`, which overrides `.env`. Raises `SettingsError`."""
    return read_settings({**read_dotenv(dotenv), **environment})


def read_dotenv(dotenv: Path = DOTENV) -> Mapping[str, str]:
    """Return the variables of the file `.env`; none if there is no such file."""
    if not dotenv.is_file():
        return {}
    from dotenv import dotenv_values  # noqa: PLC0415 not needed without the file, for example on Lambda

    return {name: value for name, value in dotenv_values(dotenv, interpolate=False).items() if value is not None}


def find_unknown_names(dotenv: Path = DOTENV) -> Iterator[tuple[str, str]]:
    """Yield for each name in `.env` that is no setting a phrase that says so, and what to do, "" if that is unknown."""
    for name in sorted(set(read_dotenv(dotenv)) - set(SETTING_NAMES)):
        to_do = did_you_mean(name, SETTING_NAMES)
        if name.startswith("AWS_"):
            to_do = "Set it as an environment variable: boto3 does not read .env."
        yield f"{name} in .env is not a setting of QuoteAPI", to_do


def misspelt_name_warnings() -> list[str]:
    """Return a warning for each name in `.env` that is no setting, if it is known what to do."""
    return [f"Warning: {found}. {to_do}" for found, to_do in find_unknown_names() if to_do]


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings of an environment. An empty variable counts as not set.

    Raises `SettingsError`, with the name of the variable and the form of a valid value.
    """
    values: dict[str, Any] = {}
    for setting in fields(Settings):
        name = setting.metadata["name"]
        if value := environment.get(name, "").strip():
            try:
                values[setting.name] = setting.metadata["parse"](value)
            except ValueError as error:
                actual_value = f" It is now {value!r}." if setting.repr else ""
                raise SettingsError(f"{name} must be {error}.{actual_value}") from error
    settings = Settings(**values)
    _validate_keys(settings)
    _validate_subscriptions(settings)
    _validate_daily_sms_at(settings)
    return settings


def settings_for_database(url: str) -> Settings:
    """Return settings with a database URL and otherwise defaults. Raises `SettingsError`."""
    try:
        return Settings(database_url=parse_database_url(url))
    except ValueError as error:
        raise SettingsError(f"A database URL must be {error}.") from error


def _validate_keys(settings: Settings) -> None:
    if (settings.aws_access_key_id is None) != (settings.aws_secret_access_key is None):
        raise SettingsError("Set both aws_access_key_id and aws_secret_access_key, or neither.")
    if settings.jwt_secret is not None and settings.jwt_public_key is not None:
        raise SettingsError("Set only one of JWT_SECRET and JWT_PUBLIC_KEY.")
    jwt_settings = settings.jwt_secret or settings.jwt_public_key, settings.jwt_issuer, settings.jwt_audience
    if any(jwt_settings) and not all(jwt_settings):
        raise SettingsError(
            "Bearer tokens need JWT_ISSUER, JWT_AUDIENCE, and JWT_SECRET or JWT_PUBLIC_KEY: set all three, or none."
        )
    if not settings.on_lambda and (settings.async_failure or settings.xray_tracing):
        raise SettingsError("ASYNC_FAILURE and XRAY_TRACING work only on AWS Lambda. Remove them.")


def _validate_subscriptions(settings: Settings) -> None:
    if settings.on_lambda and settings.database_url is None:
        return  # without a shared database there are no subscriptions
    if settings.secret_key is None and (settings.on_lambda or settings.database_path is None):
        case = "on Lambda" if settings.on_lambda else "if the database is PostgreSQL"
        raise SettingsError(
            f"SECRET_KEY must be set {case}: at least 32 random characters, the same everywhere; {SECRET_KEY_HINT}."
        )
    if settings.dynamodb_table is not None and settings.gateway == "console":
        raise SettingsError(
            "SMS_GATEWAY must be sns with a DynamoDB table: the inbox of console is in SQLite or PostgreSQL."
        )
    if settings.on_lambda and settings.gateway == "console":
        raise SettingsError(
            "SMS_GATEWAY must be sns on Lambda: console would write codes and phone numbers to the log."
        )
    if settings.gateway == "sns" and not settings.sms_allowed_regions:
        raise SettingsError(
            "SMS_ALLOWED_REGIONS must be set if Amazon SNS sends SMS: the countries that may get SMS, for example IN,US"
            " (or * for all)."
        )


def _validate_daily_sms_at(settings: Settings) -> None:
    for country in (None, *COUNTRY_QUIET_HOURS):
        quiet = quiet_hours_of(country, settings.quiet_hours)
        hours = open_hours(settings.daily_sms_at, quiet)
        if hours is None or hours.minutes < MIN_MINUTES_FOR_DAILY_SMS:
            where = f" in the country {country}" if country else ""
            quiet_hours = " and ".join(f"{start:%H:%M}-{end:%H:%M}" for start, end in quiet) or "off"
            raise SettingsError(
                "DAILY_SMS_AT and QUIET_HOURS must leave an hour for the daily SMS before quiet hours and midnight."
                f" DAILY_SMS_AT is now {settings.daily_sms_at:%H:%M}; quiet hours{where} are {quiet_hours}. Set"
                " DAILY_SMS_AT to an earlier time, or shorten QUIET_HOURS."
            )
