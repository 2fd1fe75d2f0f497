"""Reads the remote environment of a stage: a JSON object of environment variables, on S3 or in a local file."""

import json
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from quoteapi.deploy.check import CheckFailed
from quoteapi.deploy.zappa_settings import PLACEHOLDER, Stage

_wrong = partial(CheckFailed, "remote env", "wrong")


def read_remote_environment(stage: Stage, env_file: Path | None) -> dict[str, Any]:
    """Return the environment in `env_file` or, without one, at the stage's `remote_env`. Raises `CheckFailed`."""
    url = str(stage.get("remote_env", ""))
    if env_file is None and not url:
        return {}
    content, place = (_download(stage, url), url) if env_file is None else (env_file.read_bytes(), env_file.name)
    try:
        remote = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _wrong(f"{place} is no JSON: {error}", "Mend it.") from error
    if not isinstance(remote, dict):
        raise _wrong(f"{place} is not one JSON object", "See docs/remote-env.json for how it is written.")
    return remote


def _download(stage: Stage, url: str) -> bytes:
    bucket, key = urlsplit(url).netloc, urlsplit(url).path.strip("/")
    if PLACEHOLDER.search(url):
        to_do = "Fill that in or, before it is uploaded: --env-file FILE"
        raise CheckFailed("remote env", "advice", "not looked at, as nobody knows where it is", to_do)
    if not (bucket and key):
        to_do = "Write it as in s3://BUCKET/quoteapi-prod.json."
        raise _wrong(f"remote_env is {url}, which Zappa ignores in silence", to_do)
    import boto3  # noqa: PLC0415 the other checks do not need it
    from botocore import config, exceptions  # noqa: PLC0415

    try:
        session = boto3.Session(profile_name=stage.get("profile_name"), region_name=stage.get("aws_region"))
        limits = config.Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2, "mode": "standard"})
        return session.client("s3", config=limits).get_object(Bucket=bucket, Key=key)["Body"].read()
    except exceptions.ClientError as error:
        raise _s3_error(url, error.response.get("Error", {}).get("Code", "")) from None
    except (exceptions.ConnectionError, exceptions.HTTPClientError):
        to_do = "Is the network up, and aws_region right? Or look at a file on this machine: --env-file FILE"
        raise _wrong("not looked at: S3 cannot be reached", to_do) from None
    except exceptions.BotoCoreError as error:
        to_do = "Run `aws configure`, or `aws sso login`. Or look at a file on this machine: --env-file FILE"
        raise _wrong(f"not looked at: no AWS credentials can be used ({type(error).__name__})", to_do) from None


def _s3_error(url: str, code: str) -> CheckFailed:
    if code in {"NoSuchKey", "NoSuchBucket", "404"}:
        to_do = f"aws s3 cp FILE {url} uploads one; a template is docs/remote-env.json."
        return _wrong(f"there is no {url}: the service would start without it, and say nothing", to_do)
    if code in {"AccessDenied", "403"}:
        to_do = "Allow s3:GetObject and s3:ListBucket; without the second, S3 says the same of a file that is missing."
        return _wrong(f"S3 lets you not read {url}", to_do)
    to_do = "Try again, or: --env-file FILE"
    return CheckFailed("remote env", "advice", f"not looked at: S3 answered {code} for {url}", to_do)
