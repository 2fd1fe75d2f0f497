"""Zappa's callbacks, named in `zappa_settings.json`: `settings` checks a stage, `zip` trims the zip."""

import os
import warnings
from pathlib import Path
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as AwsConnectionError

from quoteapi.deploy.package import environment_for_lambda, require_complete, trim_package
from quoteapi.deploy.zappa_settings_checks import find_problems
from quoteapi.printable import printable

AUTHORIZER_LIBRARIES = ("_cffi_backend", "cffi", "cryptography", "jwt")
TRACING_LIBRARIES = ("aws_xray_sdk", "wrapt")


def prepare(cli: Any) -> None:  # noqa: ANN401 Zappa has no types
    """Stop a command that cannot succeed; make Zappa package Lambda's environment (callback `settings`)."""
    packages = cli.command in {"deploy", "update", "package"}
    if packages or cli.command in {"certify", "schedule"}:
        _check_settings(cli)
    if cli.command in {"deploy", "update", "certify", "schedule"}:
        _check_credentials(cli)
    if packages:
        os.environ["VIRTUAL_ENV"] = str(environment_for_lambda())
        warnings.filterwarnings("ignore", module="_distutils_hack")  # Zappa imports pip before setuptools


def finish(cli: Any) -> None:  # noqa: ANN401 Zappa has no types
    """Trim Zappa's zip, and drop the libraries that this stage does not use (callback `zip`)."""
    require_complete(Path(cli.zip_path))
    excluded = () if cli.authorizer.get("function") else AUTHORIZER_LIBRARIES
    trim_package(Path(cli.zip_path), (*excluded, *(() if cli.xray_tracing else TRACING_LIBRARIES)))


def _check_settings(cli: Any) -> None:  # noqa: ANN401 Zappa has no types
    path = Path(cli.vargs.get("settings_file") or "zappa_settings.json")
    problems = [check for check in find_problems(path, cli.api_stage) if check.state == "wrong"]
    if cli.command == "package":  # uploads nothing, so it needs no bucket
        problems = [check for check in problems if check.name != "placeholder"]
    if problems:
        listed = "".join(f"\n  {printable(check.found)}\n    {printable(check.to_do)}" for check in problems)
        raise click.ClickException(f"`zappa {cli.command} {cli.api_stage}` stopped. Correct {path.name}:{listed}")


def _check_credentials(cli: Any) -> None:  # noqa: ANN401 Zappa has no types
    try:
        cli.zappa.sts_client.get_caller_identity()
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "without a code")
        message = f"AWS rejects your credentials ({code}). Run `aws sso login` or `aws configure`."
    except (AwsConnectionError, HTTPClientError):
        message = "AWS cannot be reached. Check the network and aws_region."
    except BotoCoreError as error:
        kind = type(error).__name__
        message = f"No usable AWS credentials were found ({kind}). Run `aws configure` or `aws sso login`."
    else:
        return
    raise click.ClickException(message)
