from types import SimpleNamespace

import pytest
import requests

from quoteapi.aws import schedulers
from quoteapi.aws.job_context import RedactedError
from quoteapi.container import Container as Whole
from quoteapi.quotes.daily_schedule import scheduled_quote_id
from quoteapi.settings import Settings
from quoteapi.storage.models import DailyQuote, Delivery
from quoteapi.subscriptions.rate_limits import set_sms_switch
from tests.conftest import Serve
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, NOON, environment, sqlite_only
from tests.helpers.dispatcher import RecordingDispatcher
from tests.helpers.sns_emulator import SETTINGS, SnsCalls, backend, published, sent_to, subscribed_numbers

CONTEXT = SimpleNamespace(aws_request_id="1-2-3", get_remaining_time_in_millis=lambda: 60_000)
NO_TIME = SimpleNamespace(aws_request_id="1-2-3", get_remaining_time_in_millis=lambda: 5_000)


@pytest.fixture
def awake(settings: Settings, open_database: None, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment that a scheduled run reads, on a database that exists."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("quoteapi.clock.now", clock)


@pytest.fixture
def on_sns(awake: None, sns_container: Whole, monkeypatch: pytest.MonkeyPatch) -> Whole:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    return sns_container


def test_the_quote_of_the_day_is_decided_and_stored(awake: None) -> None:
    answered = schedulers.set_quote_of_the_day({}, CONTEXT)
    stored = DailyQuote.get()
    assert stored.quote.id == scheduled_quote_id(stored.date)
    assert answered == {
        "date": stored.date.isoformat(),
        "quote": stored.quote.quote,
        "author": stored.quote.author,
    }
    assert schedulers.set_quote_of_the_day({}, CONTEXT) == answered


def test_the_sms_is_the_quote_that_daily_answers_and_goes_out_once(on_sns: Whole, serve: Serve) -> None:
    assert schedulers.publish_quote_of_the_day({}, CONTEXT)["sent"]
    again = schedulers.publish_quote_of_the_day({}, CONTEXT)
    assert not again["sent"]
    assert "was sent at" in again["message"]
    (message,) = published()
    answered = requests.get(f"{serve()}/daily", timeout=5).json()
    assert answered["author"] in message
    assert DailyQuote.get().date == Delivery.get().date == NOON.date()


def test_while_sms_are_switched_off_nothing_goes_out_and_nothing_failed(on_sns: Whole) -> None:
    set_sms_switch(NOON, off=True)
    assert not schedulers.publish_quote_of_the_day({}, CONTEXT)["sent"]
    assert published() == []


@sqlite_only
def test_without_a_shared_database_nothing_goes_out(awake: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "quotes")
    monkeypatch.setenv("SECRET_KEY", "0123456789abcdef" * 2)
    monkeypatch.setenv("SMS_ALLOWED_REGIONS", "IN")
    answered = schedulers.publish_quote_of_the_day({}, CONTEXT)
    assert not answered["sent"]
    assert "set DATABASE_URL" in answered["message"]
    assert "message" in schedulers.reconcile_subscriptions({}, CONTEXT)


def test_a_failure_gets_out_without_a_number_in_it(on_sns: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    sns_calls = SnsCalls()
    sns_calls.watch(monkeypatch)
    sns_calls.becomes = lambda _, operation: "refused" if operation == "Publish" else None
    with pytest.raises(RedactedError, match="NumberRejected: SNS answered 400 InvalidParameter to Publish") as failed:
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
def test_a_wrong_setting_is_a_failure(handler: object, awake: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "none")
    assert callable(handler)
    with pytest.raises(RedactedError, match="SettingsError: PORT must be a port number"):
        handler({}, CONTEXT)


def test_zappa_does_not_run_again_what_failed_with_a_type_error(awake: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from zappa.handler import LambdaHandler  # noqa: PLC0415 it is slow to load

    runs: list[object] = []

    def broken(serve: Whole) -> None:
        runs.append(serve)
        raise TypeError("unsupported operand")

    monkeypatch.setattr(Whole, "quotes", property(broken))
    with pytest.raises(RedactedError, match="TypeError: unsupported operand"):
        LambdaHandler.run_function(schedulers.set_quote_of_the_day, {}, CONTEXT)
    assert len(runs) == 1


def test_the_reconciler_mends_what_tasks_left_and_answers_numbers(on_sns: Whole) -> None:
    hand = RecordingDispatcher()
    on_sns.subscriptions.request_otp(MIRA, "subscribe", "192.0.2.1", on_sns.dispatcher)
    on_sns.subscriptions.subscribe(MIRA, sent_to(MIRA)[0][:6], "192.0.2.1", hand)
    assert subscribed_numbers() == []
    assert schedulers.reconcile_subscriptions({}, NO_TIME)["left"] == 1
    assert schedulers.reconcile_subscriptions({}, CONTEXT) == {
        "subscribed": 1,
        "unsubscribed": 0,
        "stopped": 0,
        "refused": 0,
        "failed": 0,
        "left": 0,
    }
    assert subscribed_numbers() == [MIRA]


def test_a_reconciliation_that_has_to_be_tried_again_is_seen_as_failed(
    on_sns: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_sns.subscriptions.request_otp(MIRA, "subscribe", "192.0.2.1", on_sns.dispatcher)
    on_sns.subscriptions.subscribe(MIRA, sent_to(MIRA)[0][:6], "192.0.2.1", RecordingDispatcher())
    sns_calls = SnsCalls()
    sns_calls.watch(monkeypatch)
    sns_calls.becomes = lambda _, operation: "timed out" if operation == "Subscribe" else None
    with pytest.raises(RedactedError, match="ReconcileIncomplete: 1 failed"):
        schedulers.reconcile_subscriptions({}, CONTEXT)
    assert len(backend().subscriptions) == 0
