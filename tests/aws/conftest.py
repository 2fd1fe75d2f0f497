import importlib
import json
import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest

from quoteapi.container import Container
from quoteapi.settings import Settings
from tests.conftest import Serve
from tests.helpers.data import environment
from tests.helpers.sns_emulator import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def tasks(sns_container: Container, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import the tasks in the environment of a laptop that uses SNS."""
    for name, value in environment(sns_container.settings, **SETTINGS, AWS_DEFAULT_REGION="us-east-1").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("quoteapi.clock.now", sns_container.clock)
    return importlib.import_module("quoteapi.aws.tasks")


@pytest.fixture
def payloads(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Collect the payloads of the tasks that are started, in place of Lambda."""
    started: list[dict[str, Any]] = []

    def start(params: dict[str, Any], **_: object) -> tuple[object, dict[str, Any]]:
        assert "/functions/quotes-dev/invocations" in params["url"]
        assert params["headers"]["X-Amz-Invocation-Type"] == "Event"
        started.append(json.loads(params["body"]))
        return SimpleNamespace(status_code=202), {"StatusCode": 202, "ResponseMetadata": {}}

    client = boto3.client("lambda", region_name="us-east-1")
    client.meta.events.register("before-call.lambda.Invoke", cast("Callable[..., None]", start))
    monkeypatch.setattr(sys.modules["zappa.asynchronous"], "LAMBDA_CLIENT", client)
    return started


@pytest.fixture
def lambda_url(
    serve: Serve, sns_container: Container, payloads: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> str:
    """Serve the app as a Lambda container with a shared database does; return its URL."""
    monkeypatch.setattr(Settings, "has_shared_state", property(lambda _: True))  # as with PostgreSQL
    settings = {**SETTINGS, "AWS_LAMBDA_FUNCTION_NAME": "quotes-dev", "SECRET_KEY": "0123456789abcdef" * 2}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return serve(**settings)
