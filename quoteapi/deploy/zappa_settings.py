"""Reads a stage of `zappa_settings.json` as Zappa does, and its remote environment from S3 or a file."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from quoteapi.deploy.check import CheckFailed
from quoteapi.settings import ROOT
from quoteapi.spelling import did_you_mean

ZAPPA_SETTINGS = ROOT / "zappa_settings.json"
PLACEHOLDER = re.compile(r"(?<!\?)(?<!\?P)<[^<>]+>")
"""Text in angle brackets that the operator must replace; not a named group of a regular expression."""
Stage = dict[str, Any]
_invalid_stage = partial(CheckFailed, "stage", "wrong")
_invalid_env = partial(CheckFailed, "remote env", "wrong")


def read_stage(path: Path, stage: str) -> Stage:
    """Return the settings of a stage, with those that it inherits by `extends`. Raises `CheckFailed`."""
    try:
        stages = json.loads(path.read_bytes())
    except OSError as error:
        raise _invalid_stage(f"{path.name} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _invalid_stage(f"{path.name} is not valid JSON: {error}", "Correct it, then try again.") from error
    if not isinstance(stages, dict):
        raise _invalid_stage(f"{path.name} is not a JSON object", "Write the stages as one JSON object.")
    return _resolve_extends(stages, stage, ())


def _resolve_extends(stages: Stage, stage: str, descendants: tuple[str, ...]) -> Stage:
    if stage in descendants:
        found = f"{stage} extends itself: {' extends '.join((*descendants, stage))}"
        raise _invalid_stage(found, "Remove an extends.")
    if not isinstance(stages.get(stage), dict):
        found = f"there is no stage {stage}" + (f", which {descendants[-1]} extends" if descendants else "")
        names = ", ".join(name for name in stages if name != "base")
        raise _invalid_stage(found, did_you_mean(stage, stages) or f"The stages are: {names or 'none'}.")
    settings: Stage = stages[stage]
    base = settings.get("extends")
    return {**(_resolve_extends(stages, str(base), (*descendants, stage)) if base else {}), **settings}


def get_nested_object(settings: Stage, key: str) -> dict[str, Any]:
    """Return the object under a key, empty if it is missing or not an object."""
    value = settings.get(key)
    return value if isinstance(value, dict) else {}


def list_events(stage: Stage) -> list[dict[str, Any]]:
    """Return the events of a stage, with an empty object for each that is not an object."""
    return [event if isinstance(event, dict) else {} for event in stage.get("events", [])]


def read_remote_environment(stage: Stage, env_file: Path | None) -> dict[str, Any]:
    """Return the environment in `env_file`, else at the stage's `remote_env`. Raises `CheckFailed`."""
    url = str(stage.get("remote_env", ""))
    if env_file is None and not url:
        return {}
    content, place = (_download(stage, url), url) if env_file is None else (env_file.read_bytes(), env_file.name)
    try:
        remote = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _invalid_env(f"{place} is not valid JSON: {error}", "Correct it.") from error
    if not isinstance(remote, dict):
        raise _invalid_env(f"{place} is not a JSON object", "For an example, see docs/remote-env.json.")
    return remote


def _download(stage: Stage, url: str) -> bytes:
    bucket, key = urlsplit(url).netloc, urlsplit(url).path.strip("/")
    if PLACEHOLDER.search(url):
        to_do = "Fill in remote_env or, to check a local file, add --env-file FILE."
        raise CheckFailed("remote env", "advice", "not checked: remote_env still has a placeholder", to_do)
    if not (bucket and key):
        to_do = "Write it as s3://BUCKET/quoteapi-prod.json."
        raise _invalid_env(f"remote_env is {url}, which Zappa ignores without a warning", to_do)
    import boto3  # noqa: PLC0415 the other checks do not need it
    from botocore import config, exceptions  # noqa: PLC0415

    try:
        session = boto3.Session(profile_name=stage.get("profile_name"), region_name=stage.get("aws_region"))
        limits = config.Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2, "mode": "standard"})
        return session.client("s3", config=limits).get_object(Bucket=bucket, Key=key)["Body"].read()
    except exceptions.ClientError as error:
        raise _s3_error(url, error.response.get("Error", {}).get("Code", "")) from None
    except (exceptions.ConnectionError, exceptions.HTTPClientError):
        to_do = "Check the network and aws_region. Or, to check a local file, add --env-file FILE."
        raise _invalid_env("not checked: S3 cannot be reached", to_do) from None
    except exceptions.BotoCoreError as error:
        to_do = "Run `aws configure` or `aws sso login`. Or, to check a local file, add --env-file FILE."
        raise _invalid_env(f"not checked: no usable AWS credentials ({type(error).__name__})", to_do) from None


def _s3_error(url: str, code: str) -> CheckFailed:
    if code in {"NoSuchKey", "NoSuchBucket", "404"}:
        to_do = f"To upload it, run `aws s3 cp FILE {url}`. A template is docs/remote-env.json."
        return _invalid_env(f"{url} does not exist: the service would start without it, and without a warning", to_do)
    if code in {"AccessDenied", "403"}:
        to_do = "Check that the file exists, and allow s3:GetObject and s3:ListBucket."
        return _invalid_env(f"S3 does not allow you to read {url}", to_do)
    to_do = "Try again or, to check a local file, add --env-file FILE."
    return CheckFailed("remote env", "advice", f"not checked: S3 returned {code} for {url}", to_do)
