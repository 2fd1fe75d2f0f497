"""The settings of a stage for commands that an operator runs on their own machine."""

from dataclasses import replace
from urllib.parse import quote

import certifi

from quoteapi.deploy.package import LAMBDA_TASK_ROOT
from quoteapi.deploy.remote_environment import read_remote_environment
from quoteapi.deploy.zappa_settings import ZAPPA_SETTINGS, read_stage, stage_settings, use_aws_account
from quoteapi.settings import ROOT, Settings, SettingsError
from quoteapi.subscriptions.errors import HOW_TO_SHARE_STATE


def load_stage_settings(name: str) -> Settings:
    """Return the settings of a stage, and make boto3 use its AWS profile and region.

    Nothing comes from `.env` or the environment, except what boto3 itself reads. Raises `CheckFailed`, and
    `SettingsError` if the stage has no state that this machine could reach.
    """
    stage = read_stage(ZAPPA_SETTINGS, name)
    settings = stage_settings(name, stage, read_remote_environment(stage).values)
    if not settings.has_shared_state:
        raise SettingsError(
            f"The stage {name} serves quotes only, so it has no subscribers. For the daily SMS, {HOW_TO_SHARE_STATE};"
            f" then run `zappa update {name}`."
        )
    use_aws_account(stage)
    return replace(settings, database_url=_with_local_certificates(settings.database_url))


def _with_local_certificates(url: str | None) -> str | None:
    """Return a URL of PostgreSQL in which the paths of certificates in the Lambda package are those of this machine."""
    if url is None:
        return None
    url = url.replace(f"{LAMBDA_TASK_ROOT}/certifi/cacert.pem", quote(certifi.where()))
    return url.replace(f"{LAMBDA_TASK_ROOT}/", f"{quote(str(ROOT))}/")
