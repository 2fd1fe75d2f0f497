"""An emulated AWS account in this process, and stages in it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from quoteapi.deploy.aws_account import AwsAccount
from quoteapi.deploy.setup_result import SetupResult
from quoteapi.deploy.stage_names import StageNames, stage_names
from tests.rehearsal.moto_extensions import extend_moto

ACCOUNT_ID, REGION = "123456789012", "eu-west-1"
ADDRESS = "mira@example.org"


@contextmanager
def emulate_account(region: str = REGION) -> Iterator[AwsAccount]:
    """Emulate an empty account until the block ends."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        extend_moto(partial(patch.setattr, raising=False))
        yield AwsAccount(boto3.Session(region_name=region), ACCOUNT_ID, region, f"arn:aws:iam::{ACCOUNT_ID}:user/mira")


def names_of(account: AwsAccount, name: str = "dev", **stage: object) -> StageNames:
    """Return the names of a stage's resources."""
    return stage_names(account, name, {"project_name": "quoteapi", **stage})


def described(results: Iterable[SetupResult]) -> list[str]:
    """Return each result as text: its state, what was found, and what to do."""
    return [" ".join(filter(None, (result.state, result.found, result.to_do))) for result in results]


def fail_calls(account: AwsAccount, call: str, code: str, message: str = "") -> None:
    """Make a call fail from now on, such as `sqs.CreateQueue`, with an error of AWS."""
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    events: Any = account.session.events
    events.register(f"before-call.{call}", lambda **_: (SimpleNamespace(status_code=400), response))
    account._clients.clear()  # they have the former events
