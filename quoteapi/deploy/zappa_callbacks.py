"""Zappa's callbacks, named in `zappa_settings.json`.

`settings` checks a stage and gives it a `SECRET_KEY`, `zip` trims the zip, `post` sets up what needs the function.
"""

import json
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as AwsConnectionError

from quoteapi.deploy.after_deploy import Deployment, find_deployment, set_up_deployment
from quoteapi.deploy.aws_account import aws_errors, open_account, require_same_account
from quoteapi.deploy.aws_resources.certificate import check_certificate
from quoteapi.deploy.aws_resources.usage_plan import find_usage_plans, remove_from_usage_plans
from quoteapi.deploy.checks.check import CheckFailed
from quoteapi.deploy.checks.zappa_settings_checks import find_problems
from quoteapi.deploy.deployment_summary import curl_command, describe_deployment
from quoteapi.deploy.first_sms import describe_first_sms
from quoteapi.deploy.package import environment_for_lambda, require_complete, trim_package
from quoteapi.deploy.policies import function_policy
from quoteapi.deploy.remote_environment import add_secret_key, read_remote_environment
from quoteapi.deploy.setup_result import MARKS
from quoteapi.deploy.stage_names import stage_names
from quoteapi.deploy.zappa_settings import (
    Stage,
    aws_region,
    has_generated_policy,
    read_local_stage,
    read_stage,
    restored_environment,
    stage_environment,
    stage_settings,
)
from quoteapi.printable import printable
from quoteapi.settings import Settings, SettingsError

AUTHORIZER_LIBRARIES = ("_cffi_backend", "cffi", "cryptography", "jwt")
TRACING_LIBRARIES = ("aws_xray_sdk", "wrapt")


def prepare(cli: Any) -> None:  # noqa: ANN401 Zappa has no types
    """Apply local settings; stop a command that cannot succeed; make Zappa package Lambda's environment.

    This is the callback `settings`, which Zappa calls after it has read its settings file, for each command.
    """
    _apply_local_settings(cli)
    packages = cli.command in {"deploy", "update", "package"}
    if packages or cli.command in {"certify", "schedule"}:
        _check_settings(cli)
    if cli.command in {"deploy", "update", "certify", "schedule"}:
        _check_credentials(cli)
    if cli.command == "certify":
        _require_issued_certificate(cli)
    if cli.command in {"deploy", "update"}:
        _require_secret_key(cli)
        _set_function_policy(cli)
    if cli.command == "update":
        _update_architecture(cli)
    if cli.command == "undeploy":
        _say_how_to_delete_the_rest(cli)
        _remove_from_usage_plans(cli)
    if packages:
        os.environ["VIRTUAL_ENV"] = str(environment_for_lambda(cli.architecture))
        warnings.filterwarnings("ignore", module="_distutils_hack")  # Zappa imports pip before setuptools


def _apply_local_settings(cli: Any) -> None:  # noqa: ANN401 Zappa has no types
    """Override Zappa's settings by the local ones, and have Zappa load them again."""
    with _errors_as_messages(f"`zappa {cli.command} {cli.api_stage}` stopped"):
        local, stage = read_local_stage(_settings_file(cli), cli.api_stage), _read_stage(cli)
    for key in local:
        cli.override_stage_config_setting(key, stage[key])
    if local:
        session = cli.zappa.boto_session  # has parsed the models of services, which takes 0.3 s
        is_same = (cli.profile_name, session.region_name) == (stage.get("profile_name"), aws_region(stage))
        cli.load_settings(cli.vargs.get("settings_file"), session if is_same else None)


def finish(cli: Any) -> None:  # noqa: ANN401 Zappa has no types
    """Trim Zappa's zip, and drop the libraries that this stage does not use (callback `zip`)."""
    require_complete(Path(cli.zip_path))
    excluded = () if cli.authorizer.get("function") else AUTHORIZER_LIBRARIES
    excluded = (*excluded, *(() if cli.xray_tracing else TRACING_LIBRARIES))
    trim_package(Path(cli.zip_path), environment_for_lambda(cli.architecture), excluded)


@restored_environment()
def set_up(cli: Any) -> None:  # noqa: ANN401 Zappa has no types
    """Set up what needs the function or its API, and say what the operator can do now (callback `post`)."""
    with _errors_as_messages(f"The code of {cli.api_stage} is on Lambda, but it is not set up"):
        deployment = find_deployment(cli.zappa, cli.api_stage, _read_stage(cli))
    failed = []
    for result in set_up_deployment(deployment):
        click.echo(f"{MARKS[result.state]} {printable(f'{result.name:<16} {result.found}')}")
        if result.to_do:
            click.echo(printable(f"  {'':<16} {result.to_do}"))
        failed += [result.name] if result.state == "failed" else []
    click.echo()
    for line in describe_deployment(deployment):
        click.echo(printable(line))
    if cli.command == "deploy" and "database" not in failed:
        _send_first_sms(deployment)
    if failed:
        raise click.ClickException(
            f"The code of {cli.api_stage} is on Lambda, but this is not ready: {', '.join(failed)}. Correct each line"
            f" marked ✗, then run `zappa update {cli.api_stage}` again."
        )


def _send_first_sms(deployment: Deployment) -> None:
    """Send the operator a code, and print how to subscribe with it."""
    if deployment.api_url is not None:
        account, curl = deployment.names.account, partial(curl_command, deployment)
        click.echo()
        for line in describe_first_sms(account, deployment.settings(), deployment.api_url, curl):
            click.echo(printable(line))


def _require_issued_certificate(cli: Any) -> None:  # noqa: ANN401 Zappa has no types
    with _errors_as_messages(f"`zappa certify {cli.api_stage}` stopped"):
        stage = _read_stage(cli)
        if stage.get("certificate_arn"):
            for check in check_certificate(open_account(stage), stage):
                if check.state == "wrong":
                    raise CheckFailed(*check[:3], _with_stage(cli, check.to_do))


def _with_stage(cli: Any, to_do: str) -> str:  # noqa: ANN401 Zappa has no types
    return to_do.replace(" STAGE", f" {cli.api_stage}")


def _require_secret_key(cli: Any) -> None:  # noqa: ANN401 Zappa has no types
    """Store a `SECRET_KEY` in the remote environment of a stage that has none."""
    with _errors_as_messages(f"`zappa {cli.command} {cli.api_stage}` stopped"):
        stage = _read_stage(cli)
        if stage.get("remote_env"):
            if (url := add_secret_key(stage)) is not None:
                click.echo(f"Generated a SECRET_KEY, and stored it in {url}.")
            return
    environment = stage_environment(stage, {})
    if environment.get("SMS_ALLOWED_REGIONS") and not environment.get("SECRET_KEY"):
        url = f"s3://{stage.get('s3_bucket', 'BUCKET')}/quoteapi-{cli.api_stage}.json"
        click.echo(f'{cli.api_stage} has no SECRET_KEY, and no place for one. Set "remote_env": "{url}".')


def _set_function_policy(cli: Any) -> None:  # noqa: ANN401 Zappa has no types
    """Make Zappa give the function's role the generated policy, unless the stage has a policy or a role of its own.

    Zappa adds the stage's `extra_permissions`, and replaces the policy of a role that has another one.
    """
    with _errors_as_messages(f"`zappa {cli.command} {cli.api_stage}` stopped"):
        stage = _read_stage(cli)
        if has_generated_policy(stage):
            names = stage_names(open_account(stage), cli.api_stage, stage)
            cli.zappa.attach_policy = json.dumps(function_policy(names, stage, _read_settings(cli)))


def _update_architecture(cli: Any) -> None:  # noqa: ANN401 Zappa has no types
    """Send the architecture with the code of an update. Zappa sends it only when it creates the function."""

    def add_architecture(params: dict[str, Any], **_: object) -> dict[str, Any]:
        return params | {"Architectures": [cli.architecture]}

    events = cli.zappa.lambda_client.meta.events
    events.register("provide-client-params.lambda.UpdateFunctionCode", add_architecture)


def _say_how_to_delete_the_rest(cli: Any) -> None:  # noqa: ANN401 Zappa has no types
    table = None
    with suppress(CheckFailed, SettingsError):  # undeploying must be possible, whatever the settings are
        table = _read_settings(cli).dynamodb_table
    subscribers = f", among them the DynamoDB table {table.name} with the subscribers" if table is not None else ""
    click.echo(
        f"Parts of {cli.api_stage} stay in your AWS account{subscribers}. After this, `quoteapi teardown"
        f" {cli.api_stage}` lists them, and deletes them if you confirm."
    )


def _remove_from_usage_plans(cli: Any) -> None:  # noqa: ANN401 Zappa has no types
    """Take a stage that requires API keys out of its usage plan, with which AWS may refuse to delete the API.

    Zappa asks whether to undeploy only after this callback, so this asks, and Zappa does not ask again.
    """
    with _errors_as_messages(f"`zappa undeploy {cli.api_stage}` stopped"), aws_errors("usage plan"):
        stage = _read_stage(cli)
        api = cli.zappa.get_api_id(cli.lambda_name) if stage.get("api_key_required") else None
        if api is None:
            return
        names = stage_names(open_account(stage), cli.api_stage, stage)
        if not find_usage_plans(names, api):
            return
        if not cli.vargs.get("yes") and input("Are you sure you want to undeploy? [y/n] ") != "y":
            sys.exit(0)
        cli.vargs["yes"] = True
        remove_from_usage_plans(names, api)
    click.echo(f"Took {cli.api_stage} out of its usage plan.")


def _read_stage(cli: Any) -> Stage:  # noqa: ANN401 Zappa has no types
    return read_stage(_settings_file(cli), cli.api_stage)


def _read_settings(cli: Any) -> Settings:  # noqa: ANN401 Zappa has no types
    stage = _read_stage(cli)
    return stage_settings(cli.api_stage, stage, read_remote_environment(stage).values)


def _settings_file(cli: Any) -> Path:  # noqa: ANN401 Zappa has no types
    return Path(cli.vargs.get("settings_file") or "zappa_settings.json")


@contextmanager
def _errors_as_messages(what: str) -> Iterator[None]:
    """Raise an error as `click.ClickException`, after `what` it caused."""
    try:
        yield
    except CheckFailed as error:
        _, _, found, *to_do = error.args
        raise click.ClickException(printable(". ".join((f"{what}: {found}", *to_do)))) from error
    except SettingsError as error:
        raise click.ClickException(printable(f"{what}: {error}")) from error


def _check_settings(cli: Any) -> None:  # noqa: ANN401 Zappa has no types
    path = _settings_file(cli)
    problems = [check for check in find_problems(path, cli.api_stage) if check.state == "wrong"]
    if cli.command == "package":  # uploads nothing, so it needs no bucket
        problems = [check for check in problems if check.name not in {"bucket", "placeholder"}]
    if problems:
        listed = "".join(
            f"\n  {printable(check.found)}\n    {printable(_with_stage(cli, check.to_do))}" for check in problems
        )
        raise click.ClickException(f"`zappa {cli.command} {cli.api_stage}` stopped. Correct its settings:{listed}")


def _check_credentials(cli: Any) -> None:  # noqa: ANN401 Zappa has no types
    try:
        account = cli.zappa.sts_client.get_caller_identity()["Account"]
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "without a code")
        message = f"AWS rejects your credentials ({code}). Run `aws sso login` or `aws configure`."
    except (AwsConnectionError, HTTPClientError):
        message = "AWS cannot be reached. Check the network and aws_region."
    except BotoCoreError as error:
        kind = type(error).__name__
        message = f"No usable AWS credentials were found ({kind}). Run `aws configure` or `aws sso login`."
    else:
        with _errors_as_messages(f"`zappa {cli.command} {cli.api_stage}` stopped"):
            local = read_local_stage(_settings_file(cli), cli.api_stage)
            require_same_account(cli.api_stage, local, account, cli.zappa.sts_client.meta.region_name)
        return
    raise click.ClickException(message)
