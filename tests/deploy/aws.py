"""An emulated AWS account in this process, its calls, and stages in it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
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
READING = ("Describe", "Get", "Head", "List")
_hooks: list[Callable[[str], Any]] = []
"""What looks at each call, such as `sns.Subscribe`, and may return a response to it."""


@contextmanager
def emulate_account(region: str = REGION) -> Iterator[AwsAccount]:
    """Emulate an empty account until the block ends."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        extend_moto(partial(patch.setattr, raising=False))
        yield _account(region)
        _hooks.clear()


@cache
def _account(region: str) -> AwsAccount:
    """Return an account whose clients, which take time to make, all tests share."""
    session = boto3.Session("testing", "testing", region_name=region)
    events: Any = session.events
    events.register("before-call", _call_hooks)
    return AwsAccount(session, ACCOUNT_ID, region, f"arn:aws:iam::{ACCOUNT_ID}:user/mira")


def _call_hooks(model: Any, **_: object) -> Any:  # noqa: ANN401 botocore has no types
    call = f"{model.service_model.service_name}.{model.name}"
    responses = [hook(call) for hook in _hooks]
    return next((response for response in responses if response is not None), None)


def record_calls() -> list[str]:
    """Return a list to which each call is added from now on, as in `sns.Subscribe`."""
    calls: list[str] = []
    _hooks.append(calls.append)
    return calls


def writing_calls(calls: list[str]) -> list[str]:
    """Return the calls that change something."""
    return [call for call in calls if not call.partition(".")[2].startswith(READING)]


@contextmanager
def failing_calls(failing: str, code: str, message: str = "") -> Iterator[None]:
    """Make AWS return an error to a call, such as `sqs.CreateQueue`, until the block ends."""
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}

    def fail(call: str) -> Any:  # noqa: ANN401
        return (SimpleNamespace(status_code=400), response) if call == failing else None

    _hooks.append(fail)
    yield
    _hooks.remove(fail)


def names_of(account: AwsAccount, name: str = "dev", **stage: object) -> StageNames:
    """Return the names of a stage's resources."""
    return stage_names(account, name, {"project_name": "quoteapi", **stage})


def described(results: Iterable[SetupResult]) -> list[str]:
    """Return each result as text: its state, what was found, and what to do."""
    return [" ".join(filter(None, (result.state, result.found, result.to_do))) for result in results]
