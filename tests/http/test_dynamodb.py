"""The HTTP API with its state in DynamoDB."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import requests
from moto import mock_aws

from quoteapi.app import create_app
from quoteapi.settings import Settings, read_settings
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, environment
from tests.helpers.http import assert_problem, serve_app
from tests.helpers.sns_emulator import SETTINGS, backend, sent_to
from tests.helpers.waiting import wait_until

CLOSED_PORT = 1
pytestmark = pytest.mark.parametrize("database_url", ["dynamodb"], indirect=True)


@pytest.fixture
def url(settings: Settings, clock: FakeClock) -> Iterator[str]:
    with ExitStack() as stack:
        stack.enter_context(mock_aws())
        backend().reset()
        app = create_app(read_settings(environment(settings, **SETTINGS)), now=clock)
        yield stack.enter_context(serve_app(app))


def test_a_number_subscribes_and_unsubscribes(url: str) -> None:
    assert requests.post(f"{url}/subscribe", data={"mobile": MIRA}, timeout=30).status_code == 200
    wait_until(lambda: sent_to(MIRA))  # a thread sends the code after the response
    code = sent_to(MIRA)[-1][:6]
    confirmed = requests.post(f"{url}/subscribe", data={"mobile": MIRA, "otp": code}, timeout=30)
    assert confirmed.json()["message"].startswith("Congratulations!!!")
    assert requests.post(f"{url}/unsubscribe", data={"mobile": MIRA}, timeout=30).status_code == 200


def test_without_dynamodb_quotes_are_served_and_subscribing_is_tried_again_later(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", f"http://127.0.0.1:{CLOSED_PORT}")
    for path in ("/daily", "/random", "/quotes", "/health"):
        assert requests.get(f"{url}{path}", timeout=30).status_code == 200
    for path in ("/subscribe", "/unsubscribe", "/pause"):
        failed = requests.post(f"{url}{path}", data={"mobile": MIRA}, timeout=30)
        assert_problem(failed, 503, "Database not available")
        assert failed.headers["Retry-After"] == "30"
