import sys

import boto3
import pytest

from quoteapi.container import Container
from quoteapi.settings import read_settings
from quoteapi.sms.console import ConsoleGateway
from quoteapi.sms.sns import QuoteSubscription
from tests.helpers.clock import FakeClock


def test_the_console_gateway_does_not_import_the_sns_gateway(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "quoteapi.sms.sns", None)
    assert isinstance(Container(read_settings({}), now=clock).gateway, ConsoleGateway)


def test_the_sns_gateway_is_created_without_a_client_or_a_call(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the gateway was not used yet")

    monkeypatch.setattr(boto3, "Session", refuse)
    monkeypatch.setattr(boto3, "client", refuse)
    settings = read_settings({"SMS_GATEWAY": "sns", "SMS_ALLOWED_REGIONS": "IN", "SNS_TOPIC": "of-the-tests"})
    gateway = Container(settings, now=clock).gateway
    assert isinstance(gateway, QuoteSubscription)
    assert gateway.topics.base == "us-east-1:of-the-tests"
