"""The remote environment of a stage: a file of settings, secrets among them, which Zappa's handler reads from S3."""

import json
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from quoteapi.deploy.checks.check import CheckFailed
from quoteapi.deploy.zappa_settings import BUCKET_NAME, USUAL_BUCKET, Stage, open_session, stage_environment

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAX_ATTEMPTS = 5
"""How often a file is read and written again because another operator wrote it in between."""
_invalid = partial(CheckFailed, "remote env", "wrong")


class MissingBucket(CheckFailed):
    """The bucket of a remote environment does not exist."""


class RemoteEnvironment(NamedTuple):
    """The values of a remote environment, and of its file on S3 the ETag (None: there is none) and encryption."""

    values: dict[str, Any]
    etag: str | None = None
    encryption: dict[str, Any] = {"ServerSideEncryption": "AES256"}  # noqa: RUF012 never changed


def read_remote_environment(stage: Stage, env_file: Path | None = None) -> RemoteEnvironment:
    """Return the environment in `env_file`, else at the stage's `remote_env`. Raises `CheckFailed`."""
    if env_file is not None:
        return RemoteEnvironment(_parse(env_file.read_bytes(), env_file.name))
    url = str(stage.get("remote_env") or "")
    if not url:
        return RemoteEnvironment({})
    location = _location(url)
    with _translated_errors(url):
        client = _client(stage)
        try:
            found = client.get_object(**location)
        except client.exceptions.NoSuchKey:
            return RemoteEnvironment({})
        content = found["Body"].read()
    encryption: dict[str, Any] = {
        name: found[name] for name in ("ServerSideEncryption", "SSEKMSKeyId") if name in found
    }
    return RemoteEnvironment(_parse(content, url), found["ETag"], encryption or RemoteEnvironment({}).encryption)


def change_remote_environment(stage: Stage, change: Callable[[dict[str, Any]], dict[str, Any]]) -> bool:
    """Store what `change` makes of the values at the stage's `remote_env`. Return whether they changed.

    `change` may be called again, with the values that another operator wrote meanwhile. Raises `CheckFailed`.
    """
    for _ in range(MAX_ATTEMPTS):
        remote = read_remote_environment(stage)
        values = change(dict(remote.values))
        if values == remote.values and remote.etag is not None:
            return False
        if _write(stage, remote._replace(values=values)):
            return True
    raise _invalid(f"{stage['remote_env']} changes all the time", "Try again.")


def add_secret_key(stage: Stage) -> str | None:
    """Store a random `SECRET_KEY` in the stage's remote environment, unless the stage has one.

    Return the URL of the file if it was written. All other values stay. Raises `CheckFailed`.
    """
    changed = change_remote_environment(stage, partial(with_secret_key, stage))
    return str(stage["remote_env"]) if changed else None


def with_secret_key(stage: Stage, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a stage's remote environment, with a random `SECRET_KEY` if the stage has none."""
    places = values, stage_environment(stage, values)  # the stage may override it by an empty one
    has_key = any(str(place.get("SECRET_KEY") or "").strip() for place in places)
    return values if has_key else values | {"SECRET_KEY": secrets.token_urlsafe(48)}


def _write(stage: Stage, remote: RemoteEnvironment) -> bool:
    """Write the file unless it changed since it was read. Return whether it was written."""
    url = str(stage["remote_env"])
    condition: Any = {"IfMatch": remote.etag} if remote.etag is not None else {"IfNoneMatch": "*"}
    content = json.dumps(remote.values, indent=4, ensure_ascii=False).encode()
    parameters: Any = {**_location(url), **condition, **remote.encryption}
    with _translated_errors(url):
        client = _client(stage)
        try:
            client.put_object(Body=content, ContentType="application/json", **parameters)
        except client.exceptions.ClientError as error:
            if error.response.get("Error", {}).get("Code") in {"PreconditionFailed", "ConditionalRequestConflict"}:
                return False
            raise
    return True


def _parse(content: bytes, place: str) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"{place} is not valid JSON: {error}", "Correct it.") from error
    if not isinstance(values, dict):
        raise _invalid(f"{place} is not a JSON object", "For an example, see docs/remote-env.json.")
    return values


def _location(url: str) -> Any:  # noqa: ANN401 parameters of boto3
    bucket, key = urlsplit(url).netloc, urlsplit(url).path.strip("/")
    if not (re.fullmatch(BUCKET_NAME, bucket) and key):
        to_do = "Write it as s3://BUCKET/quoteapi-prod.json."
        raise _invalid(f"remote_env is {url}, which Zappa ignores without a warning", to_do)
    usual = re.fullmatch(USUAL_BUCKET, bucket)  # anyone can guess it, and create it first
    return {"Bucket": bucket, "Key": key} | ({"ExpectedBucketOwner": usual["account"]} if usual else {})


def _client(stage: Stage) -> "S3Client":
    from botocore.config import Config  # noqa: PLC0415 slow

    limits = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2, "mode": "standard"})
    return open_session(stage).client("s3", config=limits)


@contextmanager
def _translated_errors(url: str) -> Iterator[None]:
    """Raise the errors of boto3 as `CheckFailed`."""
    from botocore import exceptions  # noqa: PLC0415

    try:
        yield
    except exceptions.ClientError as error:
        raise _s3_error(url, error.response.get("Error", {}).get("Code", "")) from None
    except (exceptions.ConnectionError, exceptions.HTTPClientError):
        raise _invalid("S3 cannot be reached", "Check the network and aws_region.") from None
    except exceptions.BotoCoreError as error:
        to_do = "Run `aws configure` or `aws sso login`."
        raise _invalid(f"no usable AWS credentials ({type(error).__name__})", to_do) from None


def _s3_error(url: str, code: str) -> CheckFailed:
    if code in {"NoSuchBucket", "404"}:
        bucket = urlsplit(url).netloc
        return MissingBucket(
            "remote env", "wrong", f"there is no bucket {bucket}", "To create it, run `quoteapi setup` for the stage."
        )
    if code in {"AccessDenied", "403"}:
        to_do = "Check that the file exists, and allow s3:GetObject, s3:PutObject and s3:ListBucket."
        return _invalid(f"S3 does not allow you to read or write {url}", to_do)
    return CheckFailed("remote env", "advice", f"S3 returned {code} for {url}", "Try again.")
