from types import ModuleType

import pytest

from quoteapi.aws.job_context import RedactedError
from quoteapi.container import Container
from tests.helpers.data import MIRA, NOOR
from tests.helpers.dispatcher import RecordingDispatcher
from tests.helpers.processes import python
from tests.helpers.sns_emulator import SnsCalls, published, sent_to, subscribed_numbers

CLIENT_IP = "192.0.2.1"


def test_outside_lambda_tasks_are_plain_calls(tasks: ModuleType, sns_container: Container) -> None:
    dispatcher = RecordingDispatcher()
    sns_container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, dispatcher)
    assert tasks.async_send_otp(dispatcher.requests[0]) == "sent a code to +91••••••0001"
    sns_container.subscriptions.subscribe(MIRA, sent_to(MIRA)[0][:6], CLIENT_IP, dispatcher)
    assert tasks.async_subscribe(dispatcher.subscribers[0]) == "subscribed"
    assert subscribed_numbers() == [MIRA]
    assert tasks.async_publish() == "Asia/Kolkata: Sent to 1 subscriber."
    assert len(published()) == 1
    sns_container.subscriptions.unsubscribe(MIRA, CLIENT_IP, dispatcher)
    assert tasks.async_unsubscribe(dispatcher.subscribers[1]) == "unsubscribed"
    assert subscribed_numbers() == []


def test_a_process_makes_its_clients_and_its_topic_once(
    tasks: ModuleType, sns_container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher = RecordingDispatcher()
    for mobile in (MIRA, NOOR):
        sns_container.subscriptions.request_otp(mobile, "subscribe", CLIENT_IP, sns_container.dispatcher)
        sns_container.subscriptions.subscribe(mobile, sent_to(mobile)[0][:6], CLIENT_IP, dispatcher)
    sns_calls = SnsCalls()
    sns_calls.watch(monkeypatch)
    assert [tasks.async_subscribe(subscriber_id) for subscriber_id in dispatcher.subscribers] == ["subscribed"] * 2
    assert sns_calls.operations == ["CreateTopic", "Subscribe", "Publish", "Subscribe", "Publish"]


def test_a_failed_task_raises_a_redacted_error(
    tasks: ModuleType, sns_container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher = RecordingDispatcher()
    sns_container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, dispatcher)
    sns_calls = SnsCalls()
    sns_calls.watch(monkeypatch)
    sns_calls.fault_for = lambda _number, _operation: "throttled"
    with pytest.raises(RedactedError, match="Unavailable: SNS returned 429 Throttled for Publish") as failed:
        tasks.async_send_otp(dispatcher.requests[0])
    assert failed.value.__suppress_context__
    assert "9028000001" not in str(failed.value)


def test_the_lambda_client_has_short_timeouts_and_one_retry() -> None:
    code = (
        "import quoteapi.aws.tasks; from zappa.asynchronous import LAMBDA_CLIENT; config = LAMBDA_CLIENT.meta.config;"
        " print(config.connect_timeout, config.read_timeout, config.retries['total_max_attempts'])"
    )
    assert python("-c", code, AWS_DEFAULT_REGION="us-east-1").stdout == "3 5 2\n"
