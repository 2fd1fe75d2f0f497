import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
import requests

from quoteapi.aws.job_context import RedactedError, redact_errors
from quoteapi.container import Container as Whole
from quoteapi.settings import ROOT, Settings
from quoteapi.storage.models import OneTimePassword, Subscriber
from quoteapi.storage.models import database as bound
from tests.conftest import Serve
from tests.helpers.data import MIRA, NOOR, SECRET_KEY, environment
from tests.helpers.dispatcher import RecordingDispatcher
from tests.helpers.http import assert_problem
from tests.helpers.processes import python
from tests.helpers.sns_emulator import SETTINGS, SnsCalls, published, sent_to, subscribed_numbers

if TYPE_CHECKING:
    from collections.abc import Callable

ADDRESS = "192.0.2.1"


@pytest.fixture
def tasks(sns_container: Whole, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load the tasks in the environment of a laptop that uses SNS."""
    for name, value in environment(sns_container.settings, **SETTINGS, AWS_DEFAULT_REGION="us-east-1").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("quoteapi.clock.now", sns_container.clock)
    return importlib.import_module("quoteapi.aws.tasks")


@pytest.fixture
def invoked(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Collect what Lambda is asked to do: there is no Lambda behind the client that Zappa made."""
    zappa, payloads = sys.modules["zappa.asynchronous"], []

    def note(params: dict[str, Any], **_: object) -> tuple[object, dict[str, Any]]:
        assert "/functions/quotes-dev/invocations" in params["url"]
        assert params["headers"]["X-Amz-Invocation-Type"] == "Event"
        payloads.append(json.loads(params["body"]))
        return SimpleNamespace(status_code=202), {"StatusCode": 202, "ResponseMetadata": {}}

    client = boto3.client("lambda", region_name="us-east-1")
    client.meta.events.register("before-call.lambda.Invoke", cast("Callable[..., None]", note))
    monkeypatch.setattr(zappa, "LAMBDA_CLIENT", client)
    return payloads


@pytest.fixture
def on_lambda(serve: Serve, sns_container: Whole, invoked: list[object], monkeypatch: pytest.MonkeyPatch) -> str:
    """Serve the app as a container of Lambda does, with a database that the others share."""
    monkeypatch.setattr(Settings, "has_shared_state", property(lambda _: True))  # as a PostgreSQL would be
    settings = {**SETTINGS, "AWS_LAMBDA_FUNCTION_NAME": "quotes-dev", "SECRET_KEY": "0123456789abcdef" * 2}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return serve(**settings)


def run(payload: dict[str, Any]) -> object:
    """Do what another invocation would."""
    from zappa.asynchronous import route_lambda_task  # noqa: PLC0415 it makes clients of AWS

    return route_lambda_task(payload, None)


def test_elsewhere_tasks_are_plain_calls(tasks: ModuleType, sns_container: Whole) -> None:
    hand = RecordingDispatcher()
    sns_container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, hand)
    assert tasks.async_send_otp(hand.requests[0]) == "sent a code to +91••••••0001"
    sns_container.subscriptions.subscribe(MIRA, sent_to(MIRA)[0][:6], ADDRESS, hand)
    assert tasks.async_subscribe(hand.subscribers[0]) == "subscribed"
    assert subscribed_numbers() == [MIRA]
    assert tasks.async_publish() == "sent to 1"
    assert len(published()) == 1
    sns_container.subscriptions.unsubscribe(MIRA, ADDRESS, hand)
    assert tasks.async_unsubscribe(hand.subscribers[1]) == "unsubscribed"
    assert subscribed_numbers() == []


def test_on_lambda_they_are_other_invocations_that_are_told_no_number_and_no_code(
    on_lambda: str, invoked: list[dict[str, Any]]
) -> None:
    answered = requests.get(f"{on_lambda}/subscribe", params={"mobile": MIRA}, timeout=10)
    assert answered.status_code == 200
    assert sent_to(MIRA) == [], "the request itself sends nothing"
    (payload,) = invoked
    assert payload["task_path"] == "quoteapi.aws.tasks.async_send_otp"
    assert payload["args"] == [OneTimePassword.get().request_id]
    assert OneTimePassword.get().digest is None, "nor is there a code before the task makes it"
    run(payload)
    (message,) = sent_to(MIRA)
    confirmed = requests.get(f"{on_lambda}/subscribe", params={"mobile": MIRA, "otp": message[:6]}, timeout=10)
    assert confirmed.status_code == 200
    assert Subscriber.get().state == "active"
    assert subscribed_numbers() == []
    assert invoked[1]["args"] == [Subscriber.get().id]
    run(invoked[1])
    assert subscribed_numbers() == [MIRA]
    assert requests.get(f"{on_lambda}/unsubscribe", params={"mobile": MIRA}, timeout=10).status_code == 200
    run(invoked[2])
    assert subscribed_numbers() == []
    told = json.dumps(invoked)
    assert "9028000001" not in told
    assert message[:6] not in told


def test_where_lambda_takes_no_task_the_code_is_503_and_the_subscription_stands(
    on_lambda: str, invoked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests.get(f"{on_lambda}/subscribe", params={"mobile": MIRA}, timeout=10)
    run(invoked[0])
    monkeypatch.setattr(sys.modules["zappa.asynchronous"], "LAMBDA_CLIENT", None)
    otp = sent_to(MIRA)[0][:6]
    confirmed = requests.get(f"{on_lambda}/subscribe", params={"mobile": MIRA, "otp": otp}, timeout=10)
    assert confirmed.status_code == 200
    assert Subscriber.get().sync_needed_since is not None, "which the reconciler sees"
    bound.close()  # a container has one connection, and one thread
    refused = requests.get(f"{on_lambda}/subscribe", params={"mobile": "+919028000002"}, timeout=10)
    assert_problem(refused, 503, "SMS not available", "could not be sent just now")


def test_a_process_makes_its_clients_and_asks_for_the_topic_once(
    tasks: ModuleType, sns_container: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = RecordingDispatcher()
    for mobile in (MIRA, NOOR):
        sns_container.subscriptions.request_otp(mobile, "subscribe", ADDRESS, sns_container.dispatcher)
        sns_container.subscriptions.subscribe(mobile, sent_to(mobile)[0][:6], ADDRESS, hand)
    sns_calls = SnsCalls()
    sns_calls.watch(monkeypatch)
    assert [tasks.async_subscribe(subscriber_id) for subscriber_id in hand.subscribers] == ["subscribed"] * 2
    assert sns_calls.made == ["CreateTopic", "Subscribe", "Publish", "Subscribe", "Publish"]


def test_a_task_that_failed_is_seen_as_failed_without_a_number_in_it(
    tasks: ModuleType, sns_container: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = RecordingDispatcher()
    sns_container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, hand)
    sns_calls = SnsCalls()
    sns_calls.watch(monkeypatch)
    sns_calls.becomes = lambda _number, _operation: "throttled"
    with pytest.raises(RedactedError, match="Unavailable: SNS answered 429 Throttled to Publish") as failed:
        tasks.async_send_otp(hand.requests[0])
    assert failed.value.__suppress_context__
    assert "9028000001" not in str(failed.value)


def test_who_reads_quotes_loads_no_tasks_no_boto3_and_no_numbering_plans(tmp_path: Path) -> None:
    code = """
import sys
from quoteapi.app import api
from falcon.testing import simulate_get
assert simulate_get(api, "/daily").status_code == 200
assert simulate_get(api, "/random").status_code == 200
loaded = {"boto3", "botocore", "zappa", "phonenumbers", "quoteapi.aws.tasks", "quoteapi.sms.sns"} & set(sys.modules)
assert not loaded, loaded
"""
    environment = {"DATABASE_URL": f"sqlite:///{tmp_path}/working.db", "AWS_LAMBDA_FUNCTION_NAME": "quotes-dev"}
    environment |= {"SMS_ALLOWED_REGIONS": "IN,US", "SECRET_KEY": "0123456789abcdef" * 2}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()


def test_a_failure_that_is_asked_for_fails_in_another_invocation(
    serve: Serve, sns_container: Whole, invoked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "quotes-dev")
    base = serve(AWS_LAMBDA_FUNCTION_NAME="quotes-dev", DATABASE_URL="", ASYNC_FAILURE="true")
    started = requests.post(f"{base}/async-failure", timeout=10)
    assert (started.status_code, started.headers["Cache-Control"]) == (202, "no-store")
    assert "Lambda tries it twice more" in started.json()["message"]
    (payload,) = invoked
    with pytest.raises(RedactedError, match="DeliberateFailure: somebody called /async-failure"):
        run(payload)
    looked_at = requests.get(f"{base}/async-failure", timeout=10)
    assert_problem(looked_at, 405, "Method Not Allowed", "POST")
    assert_problem(requests.post(f"{serve()}/async-failure", timeout=10), 404, "Not Found", "Nothing is here")


def test_nobody_waits_a_minute_for_lambda_to_take_a_task() -> None:
    code = (
        "import quoteapi.aws.tasks; from zappa.asynchronous import LAMBDA_CLIENT; config = LAMBDA_CLIENT.meta.config;"
        " print(config.connect_timeout, config.read_timeout, config.retries['total_max_attempts'])"
    )
    assert python("-c", code, AWS_DEFAULT_REGION="us-east-1").stdout == "3 5 2\n"


def test_the_words_of_a_failure_have_no_secret_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", SECRET_KEY)
    with pytest.raises(RedactedError) as failed, redact_errors():
        raise ValueError(f"not with {SECRET_KEY} and 271828 for {MIRA}")
    assert str(failed.value) == "ValueError: not with ••• and •••••• for +91••••••0001"
