"""Checks of the environment variables of a stage, in `zappa_settings.json` or in its remote environment."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from quoteapi.deploy.check import Check, did_you_mean
from quoteapi.deploy.zappa_settings import PLACEHOLDER
from quoteapi.observability.redaction import OTHER_SECRETS
from quoteapi.settings import HOW_TO_MAKE_A_SECRET, SETTING_NAMES, Settings

_SETTINGS = {field.metadata["name"]: field for field in fields(Settings)}
_SECRETS = {name for name, field in _SETTINGS.items() if not field.repr} - {"JWT_PUBLIC_KEY"} | {*OTHER_SECRETS}
_SET_BY_LAMBDA_OR_ZAPPA = ("AWS_LAMBDA_FUNCTION_NAME", "STAGE")
_PREFIXES_OF_OTHER_READERS = ("AWS_", "LAMBDA_", "PG", "PYTHON", "TZ")
"""Prefixes of variables that AWS, libpq or Python read."""
NO_SETTING = "Remove it, or see the README for the names."
"""What to do about a variable that is no setting and resembles none."""
_wrong = partial(Check, "name", "wrong")
_IMPORT_AT_INIT = "INSTANTIATE_LAMBDA_HANDLER_ON_IMPORT"
_REPLACEMENTS = {
    "s3_bucket": "Put your bucket's name there; to make one: aws s3 mb s3://NAME",
    "remote_env": "Put your bucket's name there; a template of the file is docs/remote-env.json.",
    "domain": "Put your domain there, without https://, for example quotes.example.org.",
    "certificate_arn": "Put the certificate's ARN there: aws acm list-certificates --region us-east-1",
    "dead_letter_arn": "Put your queue's ARN there; to make one: aws sqs create-queue --queue-name quoteapi-failures",
    **dict.fromkeys(("JWT_SECRET", "SECRET_KEY"), f"Put text there that nobody can guess; {HOW_TO_MAKE_A_SECRET}"),
    "DATABASE_URL": "Put your server's there, as in postgresql://user:password@host:5432/quoteapi.",
    "vpc_config.SubnetIds": "Put your private subnets there: aws ec2 describe-subnets",
    "vpc_config.SecurityGroupIds": "Put your security groups there: aws ec2 describe-security-groups",
}
"""How to replace the placeholder of a key or setting."""


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
        shown = "<…>" if is_secret else ", ".join(found)
        yield Check(name, "wrong", f"{path} still has {shown}", how_to_replace(path))


def how_to_replace(path: str) -> str:
    """Return what to put in place of the placeholder at this path of the settings."""
    name = path.rpartition(".")[2]
    meaning = f": {_SETTINGS[name].metadata['meaning']}" if name in _SETTINGS else ""
    return _REPLACEMENTS.get(path.partition("[")[0]) or _REPLACEMENTS.get(name) or f"Put yours there{meaning}."


def check_variables(place: str, environment: Mapping[str, Any]) -> Iterator[Check]:
    """Yield the problems of the names and values of environment variables that stand in `place`."""
    for name, value in environment.items():
        if not isinstance(value, str):
            yield _wrong(f"{place}: {name} is no text, and Zappa drops it", "Write its value in double quotes.")
        elif problem := _invalid_setting(name, value):
            yield _wrong(f"{place}: {problem}", "Mend it: the service would not start.")
        if name in _SET_BY_LAMBDA_OR_ZAPPA:
            yield _wrong(f"{place}: {name} is set by itself", "Remove it.")
        elif name == _IMPORT_AT_INIT and place != "aws_environment_variables":
            yield _wrong(f"{place}: {name} comes too late", "Move it to aws_environment_variables.")
        elif name not in (*SETTING_NAMES, _IMPORT_AT_INIT) and not name.startswith(_PREFIXES_OF_OTHER_READERS):
            close, found = did_you_mean(name, SETTING_NAMES), f"{place}: {name} is no setting of QuoteAPI"
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
            found = f"{place}: {name} is a secret, and everybody who has the project reads it here"
            to_do = "Move it to the remote environment; if it was committed, get a new one."
            yield Check("secret", "wrong", found, to_do)
