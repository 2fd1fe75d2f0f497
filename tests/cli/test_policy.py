import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from quoteapi.deploy import zappa_settings
from quoteapi.deploy.aws_account import AwsAccount
from quoteapi.deploy.policies import deployer_policy, function_policy
from quoteapi.deploy.stage_names import stage_names
from quoteapi.deploy.zappa_settings import stage_settings
from tests.cli.conftest import Command
from tests.deploy.conftest import GOOD
from tests.helpers.data import SECRET_KEY

REGION, ACCOUNT, BUCKET = "eu-west-1", "123456789012", "our-bucket"
STAGE: dict[str, Any] = {
    **GOOD,
    "project_name": "quoteapi",
    "aws_region": REGION,
    "remote_env": f"s3://{BUCKET}/quoteapi-dev.json",
    "dead_letter_arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:quoteapi-dev-failures",
}
REMOTE = {"SECRET_KEY": SECRET_KEY, "SMS_ALLOWED_REGIONS": "IN"}
NAMES = stage_names(
    AwsAccount(boto3.Session(region_name=REGION), ACCOUNT, REGION, f"arn:aws:iam::{ACCOUNT}:root"), "dev", STAGE
)


@pytest.fixture(autouse=True)
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Write the settings of the stage `dev`."""
    path = tmp_path / "zappa_settings.json"
    path.write_text(json.dumps({"dev": STAGE, "new": {"project_name": "quoteapi"}}))
    monkeypatch.setattr(zappa_settings, "ZAPPA_SETTINGS", path)
    return STAGE


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sign in to an emulated account."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        yield


def put_remote_environment(values: dict[str, str]) -> None:
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="quoteapi-dev.json", Body=json.dumps(values).encode())


@pytest.mark.usefixtures("credentials")
def test_the_policy_is_that_of_the_settings_of_the_stage(quoteapi: Command) -> None:
    put_remote_environment(REMOTE)
    printed = quoteapi("policy", "dev")
    assert json.loads(printed.stdout) == function_policy(NAMES, STAGE, stage_settings("dev", STAGE, REMOTE))


@pytest.mark.usefixtures("credentials")
def test_the_policy_before_the_first_deploy_is_that_after_it(quoteapi: Command) -> None:
    put_remote_environment({"SMS_ALLOWED_REGIONS": "IN"})
    printed = quoteapi("policy", "dev")
    assert json.loads(printed.stdout) == function_policy(NAMES, STAGE, stage_settings("dev", STAGE, REMOTE))


def test_what_the_deployer_needs_is_printed_without_credentials(quoteapi: Command) -> None:
    printed = quoteapi("policy", "dev", "--deployer")
    assert json.loads(printed.stdout) == deployer_policy(NAMES, STAGE)


@pytest.mark.usefixtures("credentials")
def test_a_stage_that_was_not_set_up_is_that_of_the_account_of_the_credentials(quoteapi: Command) -> None:
    printed = quoteapi("policy", "new", "--deployer")
    assert f"arn:aws:s3:::quoteapi-{ACCOUNT}-us-east-1/quoteapi-new.json" in printed.stdout


def test_without_an_account_the_command_says_what_to_do(quoteapi: Command) -> None:
    refused = quoteapi("policy", "new", "--deployer")
    assert refused.returncode == 3
    assert "no usable AWS credentials were found" in refused.stderr
    assert "`aws configure`" in refused.stderr


def test_an_unknown_stage_is_named(quoteapi: Command) -> None:
    refused = quoteapi("policy", "deb")
    assert (refused.returncode, "there is no stage deb. Did you mean dev?" in refused.stderr) == (3, True)
