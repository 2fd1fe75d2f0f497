import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from quoteapi.aws.job_context import RedactedError
from quoteapi.aws.lambda_dispatcher import LambdaDispatcher
from quoteapi.container import Container
from quoteapi.settings import ROOT, model
from quoteapi.sms.gateway import GatewayUnavailable
from quoteapi.storage.models import OneTimePassword, Subscriber
from quoteapi.storage.models import database as bound
from tests.conftest import Serve
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, sqlite_only
from tests.helpers.http import assert_problem
from tests.helpers.sns_emulator import sent_to, subscribed_numbers


def run_task(payload: dict[str, Any]) -> object:
    """Run a task as another invocation does."""
    from zappa.asynchronous import route_lambda_task  # noqa: PLC0415 it makes clients of AWS

    return route_lambda_task(payload, None)


def test_on_lambda_tasks_run_in_other_invocations_whose_payloads_contain_no_number_and_no_otp(
    lambda_url: str, payloads: list[dict[str, Any]]
) -> None:
    response = requests.get(f"{lambda_url}/subscribe", params={"mobile": MIRA}, timeout=30)
    assert response.status_code == 200
    assert sent_to(MIRA) == [], "the request itself sends nothing"
    (payload,) = payloads
    assert payload["task_path"] == "quoteapi.aws.tasks.async_send_otp"
    assert payload["args"] == [OneTimePassword.get().otp_request_id]
    assert OneTimePassword.get().digest is None, "the task generates the OTP"
    run_task(payload)
    (message,) = sent_to(MIRA)
    confirmed = requests.get(f"{lambda_url}/subscribe", params={"mobile": MIRA, "otp": message[:6]}, timeout=30)
    assert confirmed.status_code == 200
    assert Subscriber.get().state == "active"
    assert subscribed_numbers() == []
    assert payloads[1]["args"] == [str(Subscriber.get().id)]
    run_task(payloads[1])
    assert subscribed_numbers() == [MIRA]
    assert requests.get(f"{lambda_url}/unsubscribe", params={"mobile": MIRA}, timeout=30).status_code == 200
    run_task(payloads[2])
    assert subscribed_numbers() == []
    assert "9028000001" not in json.dumps(payloads)
    assert message[:6] not in json.dumps(payloads)


@pytest.mark.parametrize("method", ["send_otp", "subscribe", "unsubscribe"])
def test_a_task_that_lambda_does_not_start_raises_an_error_of_the_gateway(
    lambda_url: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["zappa.asynchronous"], "LAMBDA_CLIENT", None)
    with pytest.raises(GatewayUnavailable, match=r"Lambda did not start the task \(AttributeError\)"):
        getattr(LambdaDispatcher(), method)(1)


def test_if_lambda_takes_no_task_an_otp_is_503_and_subscribing_and_unsubscribing_stand(
    lambda_url: str, payloads: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests.get(f"{lambda_url}/subscribe", params={"mobile": MIRA}, timeout=30)
    run_task(payloads[0])
    monkeypatch.setattr(sys.modules["zappa.asynchronous"], "LAMBDA_CLIENT", None)
    otp = sent_to(MIRA)[0][:6]
    confirmed = requests.get(f"{lambda_url}/subscribe", params={"mobile": MIRA, "otp": otp}, timeout=30)
    assert confirmed.status_code == 200
    assert Subscriber.get().sync_due_at is not None, "so that the reconciler syncs it"
    bound.close()  # a container has one connection, and one thread
    assert requests.get(f"{lambda_url}/unsubscribe", params={"mobile": MIRA}, timeout=30).status_code == 200
    assert (Subscriber.get().state, Subscriber.get().sync_due_at is not None) == ("unsubscribed", True)
    bound.close()  # a container has one connection, and one thread
    failed = requests.get(f"{lambda_url}/subscribe", params={"mobile": "+919028000002"}, timeout=30)
    assert_problem(failed, 503, "SMS not available", "The SMS was not sent, or it is late.")


@pytest.fixture
def failing_url(
    serve: Serve,
    sns_container: Container,
    payloads: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """Serve the app as a Lambda container without a shared database and with `/async-failure`; return the URL."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "quotes-dev")
    monkeypatch.setattr(model, "LAMBDA_FOLDER", tmp_path)
    return f"{serve(AWS_LAMBDA_FUNCTION_NAME='quotes-dev', DATABASE_URL='', ASYNC_FAILURE='true')}/async-failure"


@sqlite_only
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_async_failure_starts_a_task_that_fails(
    method: str, failing_url: str, serve: Serve, payloads: list[dict[str, Any]]
) -> None:
    started = requests.request(method, failing_url, timeout=30)
    assert (started.status_code, started.headers["Cache-Control"]) == (202, "no-store")
    assert "Lambda retries it twice" in started.json()["message"]
    (payload,) = payloads
    with pytest.raises(RedactedError, match="DeliberateFailure: a client called /async-failure"):
        run_task(payload)
    assert_problem(requests.request(method, f"{serve()}/async-failure", timeout=30), 404, "Not found", "Nothing exists")


@sqlite_only
def test_async_failure_is_limited_to_five_an_hour(
    failing_url: str, payloads: list[dict[str, Any]], clock: FakeClock
) -> None:
    for method in ("GET", "POST", "GET", "POST", "GET"):
        assert requests.request(method, failing_url, timeout=30).status_code == 202
    for method in ("GET", "POST"):
        refused = requests.request(method, failing_url, timeout=30)
        assert_problem(refused, 429, "Too many requests", "Only five test failures an hour are allowed.")
        assert refused.headers["Retry-After"] == "3600"
    assert len(payloads) == 5
    clock.advance(hours=1)
    assert requests.get(failing_url, timeout=30).status_code == 202


@sqlite_only
def test_async_failure_is_started_neither_by_head_nor_by_pages_of_other_sites(
    failing_url: str, payloads: list[dict[str, Any]]
) -> None:
    assert requests.head(failing_url, timeout=30).status_code == 405
    for method in ("GET", "POST"):
        refused = requests.request(method, failing_url, headers={"Sec-Fetch-Site": "cross-site"}, timeout=30)
        assert_problem(refused, 403, "Cross-site request")
    assert payloads == []


@pytest.mark.parametrize("has_table", [True, False])
def test_reading_quotes_imports_no_tasks_no_boto3_and_no_numbering_plans(tmp_path: Path, *, has_table: bool) -> None:
    code = """
import sys
from quoteapi.app import api
from falcon.testing import simulate_get
assert simulate_get(api, "/daily").status_code == 200
assert simulate_get(api, "/random").status_code == 200
assert simulate_get(api, "/quotes?q=hope").status_code == 200
large = {"boto3", "botocore", "zappa", "phonenumbers", "tzdata", "quoteapi.aws.tasks", "quoteapi.sms.sns"}
loaded = large & set(sys.modules)
assert not loaded, loaded
"""
    environment = {"DATABASE_URL": f"sqlite:///{tmp_path}/working.db", "AWS_LAMBDA_FUNCTION_NAME": "quotes-dev"}
    if has_table:  # with which the catalogue is the bundled file
        del environment["DATABASE_URL"]
    environment |= {"SMS_ALLOWED_REGIONS": "IN,US", "SECRET_KEY": "0123456789abcdef" * 2}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
