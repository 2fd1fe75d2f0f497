"""What needs the deployed function or its API, and so is set up after each `zappa deploy` and `zappa update`.

The code is on Lambda already, so a step that fails stops no other. All can be repeated.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from quoteapi.deploy.aws_account import AwsAccount, aws_errors, open_account
from quoteapi.deploy.aws_resources.dead_letter_target import set_dead_letter_target
from quoteapi.deploy.aws_resources.lambda_function import start_new_containers
from quoteapi.deploy.aws_resources.log_group import set_up_log_group
from quoteapi.deploy.aws_resources.usage_plan import set_up_usage_plan
from quoteapi.deploy.checks.check import CheckFailed
from quoteapi.deploy.remote_environment import change_remote_environment, read_remote_environment
from quoteapi.deploy.setup_result import SetupResult, Step, run_steps
from quoteapi.deploy.stage_names import StageNames, stage_names
from quoteapi.deploy.zappa_settings import Stage, stage_environment, stage_settings, use_aws_account
from quoteapi.settings import Settings, SettingsError
from quoteapi.storage.database import migrate_database
from quoteapi.storage.state import StateUnavailable

MIGRATE = "quoteapi.aws.schedulers.migrate_database"
_API_URL = re.compile(r"https://(?P<api>[a-z0-9]+)\.execute-api\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/(?P<stage>\w+)")


@dataclass(frozen=True)
class Deployment:
    """A stage whose code is on Lambda, and the object `zappa` of Zappa's command, which deployed it."""

    zappa: Any
    names: StageNames
    stage: Stage
    api: str | None
    """The ID of the API; None if the stage has none."""

    @property
    def api_url(self) -> str | None:
        """The address that API Gateway gives the stage, with the stage's name as its path."""
        region, name = self.names.account.region, self.names.stage
        return f"https://{self.api}.execute-api.{region}.amazonaws.com/{name}" if self.api else None

    def settings(self) -> Settings:
        """Return the settings of the function. Raises `SettingsError` and `CheckFailed`."""
        return stage_settings(self.names.stage, self.stage, read_remote_environment(self.stage).values)


def find_deployment(zappa: Any, name: str, stage: Stage) -> Deployment:  # noqa: ANN401 Zappa has no types
    """Return a deployed stage in the account of its credentials. Raises `CheckFailed`."""
    names = stage_names(open_account(stage), name, stage)
    return Deployment(zappa, names, stage, zappa.get_api_id(names.function))


def set_up_deployment(deployment: Deployment) -> Iterator[SetupResult]:
    """Run all steps, and yield what each found or did."""
    names, stage, api = deployment.names, deployment.stage, deployment.api
    steps: list[Step] = [
        lambda: _set_up_database(deployment),
        lambda: _set_public_url(deployment),
        lambda: set_dead_letter_target(names, stage),
        lambda: set_up_log_group(names),
    ]
    if stage.get("api_key_required") and api is not None:
        steps.append(lambda: set_up_usage_plan(names, stage, api))
    yield from run_steps(steps)


def _set_up_database(deployment: Deployment) -> Iterator[SetupResult]:
    """Create the DynamoDB table or what it lacks, or apply the migrations of PostgreSQL."""
    try:
        settings = deployment.settings()
        if settings.dynamodb_table is not None:
            use_aws_account(deployment.stage)
            created, name = migrate_database(settings), f"the DynamoDB table {settings.dynamodb_table.name}"
            found = f"{name}, created: {', '.join(created)}" if created else f"{name} is up to date"
            yield SetupResult("database", "done" if created else "ok", found)
        elif settings.has_shared_state:
            yield from _migrate_on_lambda(deployment)
        else:
            name = deployment.names.stage
            to_do = f"For the daily SMS, run `quoteapi setup {name} --countries CODES`, then `zappa update {name}`."
            yield SetupResult("database", "skipped", f"{name} serves quotes only", to_do)
    except (SettingsError, StateUnavailable) as error:
        raise CheckFailed("database", "wrong", f"{error}".rstrip(".")) from error


def _migrate_on_lambda(deployment: Deployment) -> Iterator[SetupResult]:
    """Apply the migrations in the function, which can reach the database also in a private network."""
    zappa, function = deployment.zappa, deployment.names.function
    with aws_errors("database"):
        zappa.wait_until_lambda_function_is_active(function)
        zappa.wait_until_lambda_function_is_updated(function)
        response = zappa.invoke_lambda_function(function, json.dumps({"command": MIGRATE}), "RequestResponse")
    if "FunctionError" in response:
        to_do = f"For the reason, run `zappa tail {deployment.names.stage} --since 10m`."
        raise CheckFailed("database", "wrong", "its migration failed", to_do)
    yield SetupResult("database", "ok", "the migrations of the PostgreSQL database were applied, in the function")


def _set_public_url(deployment: Deployment) -> Iterator[SetupResult]:
    """Store the address of the API as `PUBLIC_URL`, unless the stage has a domain or the operator chose another."""
    stage, url, account = deployment.stage, deployment.api_url, deployment.names.account
    is_set_elsewhere = stage.get("domain") or stage_environment(stage, {}).get("PUBLIC_URL")
    if url is None or is_set_elsewhere or not stage.get("remote_env"):
        return

    def set_url(values: dict[str, Any]) -> dict[str, Any]:
        current = str(values.get("PUBLIC_URL") or "")
        if current == url or (current and not _is_of_deleted_api(account, deployment.names.stage, current)):
            return values
        return values | {"PUBLIC_URL": url}

    with aws_errors("address"):
        if change_remote_environment(stage, set_url):
            start_new_containers(deployment.names, f"PUBLIC_URL is {url}")
            yield SetupResult("address", "done", f"PUBLIC_URL is {url}")


def _is_of_deleted_api(account: AwsAccount, stage: str, url: str) -> bool:
    """Return whether a URL is that of this stage at an API that no longer exists. Raises an error of boto3."""
    match = _API_URL.fullmatch(url)
    if match is None or match["stage"] != stage:
        return False
    client = account.client("apigateway", match["region"])
    try:
        client.get_rest_api(restApiId=match["api"])
    except client.exceptions.NotFoundException:
        return True
    return False
