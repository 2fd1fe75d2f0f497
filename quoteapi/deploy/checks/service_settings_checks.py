"""Checks of a stage's settings: each environment variable, and all together as the service reads them."""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from quoteapi.deploy.checks.check import Check
from quoteapi.deploy.checks.event_checks import has_daily_sms
from quoteapi.deploy.zappa_settings import PLACEHOLDER, Stage, list_events, stage_settings
from quoteapi.observability.redaction import SECRET_ENVIRONMENT_VARIABLES
from quoteapi.settings import ANY_REGION, SECRET_KEY_HINT, SETTING_NAMES, Settings, SettingsError
from quoteapi.spelling import did_you_mean
from quoteapi.subscriptions.errors import HOW_TO_SHARE_STATE
from quoteapi.subscriptions.phone import all_countries

_SETTINGS = {field.metadata["name"]: field for field in fields(Settings)}
_SECRETS = {name for name, field in _SETTINGS.items() if not field.repr} - {"JWT_PUBLIC_KEY"}
_SECRETS |= {*SECRET_ENVIRONMENT_VARIABLES}
_SET_BY_LAMBDA_OR_ZAPPA = ("AWS_LAMBDA_FUNCTION_NAME", "STAGE")
_PREFIXES_OF_OTHER_READERS = ("AWS_", "LAMBDA_", "PG", "PYTHON", "TZ")
"""Prefixes of variables that AWS, libpq or Python read."""
NO_SETTING = "Remove it, or see the README for the names of settings."
"""What to do about a variable that is no setting and resembles none."""
_wrong = partial(Check, "name", "wrong")
_IMPORT_AT_INIT = "INSTANTIATE_LAMBDA_HANDLER_ON_IMPORT"


def check_placeholders(value: object, name: str, path: str = "") -> Iterator[Check]:
    """Yield a problem with this name for each string in a JSON value that still has a placeholder."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from check_placeholders(inner, name, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from check_placeholders(inner, name, f"{path}[{number}]")
    elif isinstance(value, str) and (found := PLACEHOLDER.findall(value)):
        is_secret = path.rpartition(".")[2] in _SECRETS  # part of a real secret may look like a placeholder
        placeholders = "<…>" if is_secret else ", ".join(found)
        yield Check(name, "wrong", f"{path} still has {placeholders}", _how_to_replace(path))


def _how_to_replace(path: str) -> str:
    """Return what to put in place of the placeholder at this path of the settings."""
    name = path.rpartition(".")[2]
    if name in {"JWT_SECRET", "SECRET_KEY"}:
        return f"Write at least 32 random characters; {SECRET_KEY_HINT}."
    meaning = f": {_SETTINGS[name].metadata['meaning']}" if name in _SETTINGS else ""
    return f"Write your value{meaning}."


def check_variables(place: str, environment: Mapping[str, Any]) -> Iterator[Check]:
    """Yield the problems of the names and values of environment variables found in `place`."""
    for name, value in environment.items():
        if not isinstance(value, str):
            yield _wrong(f"{place}: {name} is not a string, so Zappa ignores it", "Write its value in double quotes.")
        elif problem := _invalid_setting(name, value):
            yield _wrong(f"{place}: {problem}", "Correct it: the service would not start.")
        if name in _SET_BY_LAMBDA_OR_ZAPPA:
            yield _wrong(f"{place}: Lambda or Zappa sets {name} itself", "Remove it.")
        elif name == _IMPORT_AT_INIT and place != "aws_environment_variables":
            yield _wrong(f"{place}: {name} is set too late here", "Move it to aws_environment_variables.")
        elif name not in (*SETTING_NAMES, _IMPORT_AT_INIT) and not name.startswith(_PREFIXES_OF_OTHER_READERS):
            close, found = did_you_mean(name, SETTING_NAMES), f"{place}: {name} is not a setting of QuoteAPI"
            yield _wrong(found, close) if close else Check("name", "advice", found, NO_SETTING)


def is_usable(name: str, value: str) -> bool:
    """Return whether a variable has neither a placeholder nor, if it is a setting, an invalid value."""
    return not (PLACEHOLDER.search(value) or _invalid_setting(name, value))


def _invalid_setting(name: str, value: str) -> str:
    """Return why the value of a setting is invalid, or an empty string if it is valid or not a setting."""
    if name not in _SETTINGS or not value.strip() or PLACEHOLDER.search(value):
        return ""
    try:
        _SETTINGS[name].metadata["parse"](value.strip())
    except ValueError as error:
        return f"{name} must be {error}"
    return ""


def check_committed_secrets(place: str, environment: Mapping[str, Any]) -> Iterator[Check]:
    """Yield a problem for each secret in a file that is committed."""
    for name, value in environment.items():
        if name in _SECRETS and value and not str(value).startswith("sqlite:"):
            found = f"{place}: {name} is a secret, and anyone with the project can read it here"
            to_do = "Move it to the remote environment. If it was committed, replace it with a new one."
            yield Check("secret", "wrong", found, to_do)


def check_settings(name: str, stage: Stage, environment: Mapping[str, str]) -> Iterator[Check]:
    """Yield the checks of all settings together, and of how they fit the stage."""
    if stage.get("remote_env") and not environment.get("SECRET_KEY", "").strip():
        yield Check("secret key", "ok", "not set: `zappa deploy` and `zappa update` generate one")
        environment = {**environment, "SECRET_KEY": secrets.token_urlsafe(48)}
    try:
        settings = stage_settings(name, stage, environment)
    except SettingsError as error:
        yield Check("settings", "wrong", str(error), "Correct it: the service would not start.")
        return
    yield Check("settings", "ok", "valid: the service starts with them")
    yield _check_database(settings)
    if settings.has_shared_state and not has_daily_sms(list_events(stage)):
        to_do = (
            'Add an event with the function "quoteapi.aws.schedulers.publish_quote_of_the_day" and "rate(15 minutes)".'
        )
        yield Check("event", "wrong", "no event sends the daily SMS", to_do)
    yield from (*check_countries(settings), *_check_upstream(settings), *_check_public_url(stage, settings))
    if settings.async_failure and stage.get("domain"):
        found = "ASYNC_FAILURE is on: anyone can start tasks that fail"
        yield Check("failures", "advice", found, "After you have tested your error reports, remove it.")
    if stage.get("authorizer") and settings.jwt_issuer is None:
        to_do = "Set JWT_ISSUER, JWT_AUDIENCE, and JWT_SECRET or JWT_PUBLIC_KEY in the remote environment."
        yield Check("tokens", "wrong", "the authorizer rejects all requests: no JWT settings", to_do)
    yield from _check_tracing(stage, settings)


def _check_database(settings: Settings) -> Check:
    if settings.dynamodb_table is not None:
        found = f"the DynamoDB table {settings.dynamodb_table.name}, which `zappa deploy` and `zappa update` create"
        return Check("database", "ok", found)
    if settings.has_shared_state:
        return Check("database", "ok", "PostgreSQL, which `zappa deploy` and `zappa update` migrate")
    remove = (
        "remove DATABASE_URL, as each Lambda container has its own SQLite file, and " if settings.database_url else ""
    )
    return Check("database", "advice", "quotes only: nobody can subscribe", f"For SMS, {remove}{HOW_TO_SHARE_STATE}.")


def check_countries(settings: Settings) -> Iterator[Check]:
    """Yield a problem if `SMS_ALLOWED_REGIONS` names a country that does not exist."""
    if settings.sms_allowed_regions and (unknown := settings.sms_allowed_regions - {ANY_REGION} - all_countries()):
        found = f"SMS_ALLOWED_REGIONS has {', '.join(sorted(unknown))}, which is not a country"
        yield Check("countries", "wrong", found, "Write two-letter country codes, for example IN or GB.")


def _check_upstream(settings: Settings) -> Iterator[Check]:
    if settings.upstream_endpoint and not settings.upstream_key:
        yield Check(
            "upstream",
            "advice",
            "Mashape_API_Endpoint is set without a key",
            "If the API needs one, set X_Mashape_Key.",
        )
    if settings.upstream_key and not settings.upstream_endpoint:
        yield Check("upstream", "advice", "X_Mashape_Key is not used", "Set Mashape_API_Endpoint, or remove the key.")


def _check_public_url(stage: Stage, settings: Settings) -> Iterator[Check]:
    domain, base_path = stage.get("domain"), str(stage.get("base_path") or "")
    url = f"https://{domain}/{base_path.strip('/')}".rstrip("/")
    is_set_by_deploy = not domain and stage.get("remote_env")
    if settings.public_url is None and not is_set_by_deploy and (domain or settings.has_shared_state):
        to_do = f"Set PUBLIC_URL to {url if domain else 'the URL that zappa deploy prints, with its stage'}."
        yield Check("address", "advice", "SMS do not link to the unsubscribe page", to_do)
    elif domain and settings.public_url != url:
        found = f"PUBLIC_URL is {settings.public_url}, but the domain is {url}"
        yield Check("address", "wrong", found, f"Set PUBLIC_URL to {url}.")


def _check_tracing(stage: Stage, settings: Settings) -> Iterator[Check]:
    if settings.xray_tracing and not stage.get("xray_tracing"):
        found = "XRAY_TRACING is set without xray_tracing: the package does not contain the tracing library"
        yield Check("tracing", "wrong", found, 'Set "xray_tracing": true in zappa_settings.json.')
    if stage.get("xray_tracing") and not settings.xray_tracing:
        found = "xray_tracing is set without XRAY_TRACING: traces show no outgoing calls"
        yield Check("tracing", "advice", found, "Set XRAY_TRACING=true in environment_variables.")
