from types import SimpleNamespace

import pytest
import requests

from quoteapi.aws import schedulers
from quoteapi.aws.job_context import RedactedError
from quoteapi.container import Container
from quoteapi.quotes.daily_schedule import scheduled_quote_id
from quoteapi.settings import Settings
from quoteapi.storage.models import Delivery, StoredDailyQuote
from quoteapi.storage.sql_state import SqlState
from tests.conftest import Serve
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, NOON, environment, sqlite_only
from tests.helpers.dispatcher import RecordingDispatcher
from tests.helpers.sns_emulator import SETTINGS, SnsCalls, backend, published, sent_to, subscribed_numbers

CONTEXT = SimpleNamespace(aws_request_id="1-2-3", get_remaining_time_in_millis=lambda: 60_000)
TIMEOUT_IS_NEAR = SimpleNamespace(aws_request_id="1-2-3", get_remaining_time_in_millis=lambda: 5_000)


@pytest.fixture
def scheduled_environment(
    settings: Settings, open_database: None, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set the environment of a scheduled run, with a database that exists."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("quoteapi.clock.now", clock)


@pytest.fixture
def sns_environment(
    scheduled_environment: None, sns_container: Container, monkeypatch: pytest.MonkeyPatch
) -> Container:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    return sns_container


def test_the_quote_of_the_day_is_decided_and_stored(scheduled_environment: None) -> None:
    result = schedulers.set_quote_of_the_day({}, CONTEXT)
    stored = StoredDailyQuote.get()
    assert stored.quote.id == scheduled_quote_id(stored.date)
    assert result == {
        "date": stored.date.isoformat(),
        "quote": stored.quote.quote,
        "author": stored.quote.author,
    }
    assert schedulers.set_quote_of_the_day({}, CONTEXT) == result


def test_the_daily_sms_is_the_quote_of_daily_and_is_sent_once(sns_environment: Container, serve: Serve) -> None:
    empty = schedulers.publish_quote_of_the_day({}, CONTEXT)
    assert (empty["sent"], empty["message"].partition(";")[0]) == (False, "Nobody is subscribed")
    sns_environment.gateway.subscribe(MIRA)
    assert schedulers.publish_quote_of_the_day({}, CONTEXT)["sent"]
    again = schedulers.publish_quote_of_the_day({}, CONTEXT)
    assert not again["sent"]
    assert "Already sent at" in again["message"]
    (message,) = published()
    daily = requests.get(f"{serve()}/daily", timeout=5).json()
    assert daily["author"] in message
    assert StoredDailyQuote.get().date == Delivery.get().date == NOON.date()


def test_a_run_fails_while_another_has_claimed_the_sms_so_that_lambda_retries_in_case_that_one_died(
    sns_environment: Container, clock: FakeClock
) -> None:
    sns_environment.gateway.subscribe(MIRA)
    Delivery.create(date=NOON.date(), topic=sns_environment.gateway.topic, claimed_at=NOON)
    clock.advance(minutes=1)
    with pytest.raises(RedactedError, match="DeliveryPending: Nothing sent: another process is sending it now"):
        schedulers.publish_quote_of_the_day({}, CONTEXT)
    clock.advance(minutes=2)
    assert schedulers.publish_quote_of_the_day({}, CONTEXT)["sent"]


def test_while_sms_are_switched_off_nothing_is_sent_and_nothing_fails(sns_environment: Container) -> None:
    SqlState().set_sms_switch(NOON, off=True)
    assert not schedulers.publish_quote_of_the_day({}, CONTEXT)["sent"]
    assert published() == []


@sqlite_only
def test_without_a_shared_database_nothing_is_sent(
    scheduled_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "quotes")
    monkeypatch.setenv("SECRET_KEY", "0123456789abcdef" * 2)
    monkeypatch.setenv("SMS_ALLOWED_REGIONS", "IN")
    result = schedulers.publish_quote_of_the_day({}, CONTEXT)
    assert not result["sent"]
    assert "set SMS_ALLOWED_REGIONS" in result["message"]
    assert "message" in schedulers.reconcile_subscriptions({}, CONTEXT)


def test_a_failed_run_raises_a_redacted_error(sns_environment: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    sns_environment.gateway.subscribe(MIRA)
    sns_calls = SnsCalls()
    sns_calls.watch(monkeypatch)
    sns_calls.fault_for = lambda _, operation: "refused" if operation == "Publish" else None
    with pytest.raises(RedactedError, match="NumberRejected: SNS returned 400 InvalidParameter for Publish") as failed:
        schedulers.publish_quote_of_the_day({}, CONTEXT)
    assert failed.value.__suppress_context__


@pytest.mark.parametrize(
    "handler",
    [
        schedulers.set_quote_of_the_day,
        schedulers.publish_quote_of_the_day,
        schedulers.reconcile_subscriptions,
    ],
)
def test_an_invalid_setting_is_a_failure(
    handler: object, scheduled_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "none")
    assert callable(handler)
    with pytest.raises(RedactedError, match="SettingsError: PORT must be a port number"):
        handler({}, CONTEXT)


def test_zappa_does_not_repeat_a_run_that_failed_with_a_type_error(
    scheduled_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zappa.handler import LambdaHandler  # noqa: PLC0415 it is slow to load

    runs: list[object] = []

    def fail(container: Container) -> None:
        runs.append(container)
        raise TypeError("unsupported operand")

    monkeypatch.setattr(Container, "quotes", property(fail))
    with pytest.raises(RedactedError, match="TypeError: unsupported operand"):
        LambdaHandler.run_function(schedulers.set_quote_of_the_day, {}, CONTEXT)
    assert len(runs) == 1


def test_the_reconciler_syncs_what_no_task_did_and_returns_counts(sns_environment: Container) -> None:
    dispatcher = RecordingDispatcher()
    sns_environment.subscriptions.request_otp(MIRA, "subscribe", "192.0.2.1", sns_environment.dispatcher)
    sns_environment.subscriptions.subscribe(MIRA, sent_to(MIRA)[0][:6], "192.0.2.1", dispatcher)
    assert subscribed_numbers() == []
    assert schedulers.reconcile_subscriptions({}, TIMEOUT_IS_NEAR)["left"] == 1
    assert schedulers.reconcile_subscriptions({}, CONTEXT) == {
        "subscribed": 1,
        "unsubscribed": 0,
        "stopped": 0,
        "refused": 0,
        "failed": 0,
        "left": 0,
    }
    assert subscribed_numbers() == [MIRA]


def test_an_incomplete_reconciliation_is_a_failure(sns_environment: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    sns_environment.subscriptions.request_otp(MIRA, "subscribe", "192.0.2.1", sns_environment.dispatcher)
    sns_environment.subscriptions.subscribe(MIRA, sent_to(MIRA)[0][:6], "192.0.2.1", RecordingDispatcher())
    sns_calls = SnsCalls()
    sns_calls.watch(monkeypatch)
    sns_calls.fault_for = lambda _, operation: "timed out" if operation == "Subscribe" else None
    with pytest.raises(RedactedError, match="ReconcileIncomplete: 1 failed"):
        schedulers.reconcile_subscriptions({}, CONTEXT)
    assert len(backend().subscriptions) == 0
