import json
from datetime import timedelta
from types import SimpleNamespace

import pytest
import requests

from quoteapi.aws import schedulers
from quoteapi.aws.job_context import RedactedError
from quoteapi.container import Container
from quoteapi.quotes.daily_schedule import scheduled_quote_id
from quoteapi.settings import ROOT, Settings
from quoteapi.sms.sns import CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS
from quoteapi.storage.models import Delivery, StoredDailyQuote
from quoteapi.storage.sql_state import SqlState
from quoteapi.subscriptions.schedule import MIN_SECONDS_TO_PUBLISH, MIN_SECONDS_TO_SYNC
from tests.conftest import Serve
from tests.helpers.clock import FakeClock
from tests.helpers.data import (
    AUCKLAND,
    KOLKATA,
    MIRA,
    NOON,
    NOOR,
    UTC_ZONE,
    environment,
    sqlite_only,
)
from tests.helpers.dispatcher import RecordingDispatcher
from tests.helpers.sns_emulator import SETTINGS, Fault, SnsCalls, backend, published, sent_to, subscribed_numbers
from tests.helpers.subscribing import add_sns_subscribers, subscribe

MOBILE_IN_AUCKLAND = "+64211234567"
TODAY, TOMORROW = NOON.date(), NOON.date() + timedelta(days=1)


def context(*, seconds: int) -> SimpleNamespace:
    """Return the context of an invocation with so many seconds left."""
    return SimpleNamespace(aws_request_id="1-2-3", get_remaining_time_in_millis=lambda: 1_000 * seconds)


CONTEXT, TIMEOUT_IS_NEAR = context(seconds=60), context(seconds=5)


def refuse_first_publish(sns_calls: SnsCalls, operation: str) -> Fault | None:
    return "refused" if operation == "Publish" and operation not in sns_calls.operations else None


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


def test_the_quote_of_the_last_date_that_has_begun_somewhere_is_decided_and_stored(
    scheduled_environment: None, clock: FakeClock
) -> None:
    clock.moment = NOON.replace(hour=9, minute=59)
    assert schedulers.set_quote_of_the_day({}, CONTEXT)["date"] == "2026-11-22"
    clock.moment = NOON.replace(hour=10)  # midnight in UTC+14
    result = schedulers.set_quote_of_the_day({}, CONTEXT)
    stored = StoredDailyQuote.get_by_id(TOMORROW)
    assert stored.quote.id == scheduled_quote_id(TOMORROW)
    assert result == {"date": "2026-11-23", "quote": stored.quote.quote, "author": stored.quote.author}
    assert schedulers.set_quote_of_the_day({}, CONTEXT) == result


def test_each_time_zone_gets_the_quote_of_its_local_date_once(
    sns_environment: Container, serve: Serve, clock: FakeClock
) -> None:
    assert schedulers.publish_quote_of_the_day({}, CONTEXT) == {"sent": 0, "time_zones": []}
    for mobile, time_zone in (MIRA, KOLKATA), (NOOR, UTC_ZONE):
        add_sns_subscribers(sns_environment, mobile, time_zone=time_zone)
    subscribe(sns_environment, MOBILE_IN_AUCKLAND)
    assert schedulers.publish_quote_of_the_day({}, CONTEXT) == {"sent": 2, "time_zones": [UTC_ZONE, KOLKATA]}
    assert schedulers.publish_quote_of_the_day({}, CONTEXT) == {"sent": 0, "time_zones": []}
    clock.advance(hours=8)  # 09:00 of the next date in Auckland
    assert schedulers.publish_quote_of_the_day({}, CONTEXT) == {"sent": 1, "time_zones": [AUCKLAND]}
    authors = {
        day: requests.get(f"{serve()}/daily?date={day}", timeout=30).json()["author"] for day in (TODAY, TOMORROW)
    }
    for time_zone, day in (UTC_ZONE, TODAY), (KOLKATA, TODAY), (AUCKLAND, TOMORROW):
        (message,) = published(sns_environment.gateway.topics.name(time_zone))
        assert authors[day] in message


def test_a_failure_in_one_time_zone_does_not_stop_the_others_and_is_a_failure_of_the_run(
    sns_environment: Container, sns_calls: SnsCalls
) -> None:
    add_sns_subscribers(sns_environment, MIRA, time_zone=UTC_ZONE)
    add_sns_subscribers(sns_environment, NOOR, time_zone=KOLKATA)
    sns_calls.fault_for = lambda _, operation: refuse_first_publish(sns_calls, operation)
    failure = f"DeliveryFailed: {TODAY}, {UTC_ZONE}: Not sent: SNS returned 400 InvalidParameter for Publish"
    with pytest.raises(RedactedError, match=failure) as failed:
        schedulers.publish_quote_of_the_day({}, CONTEXT)
    assert failed.value.__suppress_context__
    assert KOLKATA not in str(failed.value)
    assert len(published()) == 1
    assert schedulers.publish_quote_of_the_day({}, CONTEXT) == {"sent": 1, "time_zones": [UTC_ZONE]}


def test_a_run_fails_while_another_has_claimed_the_sms_so_that_lambda_retries_in_case_that_one_died(
    sns_environment: Container, clock: FakeClock
) -> None:
    add_sns_subscribers(sns_environment, MIRA, time_zone=KOLKATA)
    Delivery.create(date=TODAY, topic=sns_environment.gateway.topics.name(KOLKATA), claimed_at=NOON)
    clock.advance(minutes=1)  # Lambda's first retry
    pending = f"DeliveryPending: another process is sending the daily SMS to {KOLKATA}"
    with pytest.raises(RedactedError, match=pending):
        schedulers.publish_quote_of_the_day({}, CONTEXT)
    clock.advance(minutes=2)  # its second one
    assert schedulers.publish_quote_of_the_day({}, CONTEXT) == {"sent": 1, "time_zones": [KOLKATA]}


def test_a_missed_morning_fails_one_run_which_sends_the_next_morning_all_the_same(
    sns_environment: Container, clock: FakeClock
) -> None:
    add_sns_subscribers(sns_environment, MIRA, time_zone=UTC_ZONE)
    clock.advance(days=1)
    missed = f"DeliveryFailed: {TODAY}, {UTC_ZONE}: The SMS of {TODAY} was not sent before quiet hours began.$"
    with pytest.raises(RedactedError, match=missed):
        schedulers.publish_quote_of_the_day({}, CONTEXT)
    assert Delivery.get(Delivery.date == TOMORROW).sent_at == clock()
    assert len(published()) == 1
    assert schedulers.publish_quote_of_the_day({}, CONTEXT) == {"sent": 0, "time_zones": []}


def test_a_morning_in_doubt_fails_one_run_and_is_not_sent_again(
    sns_environment: Container, sns_calls: SnsCalls, clock: FakeClock
) -> None:
    add_sns_subscribers(sns_environment, MIRA, time_zone=UTC_ZONE)
    sns_calls.fault_for = lambda _, operation: "answer lost" if operation == "Publish" else None
    with pytest.raises(RedactedError, match=f"DeliveryFailed: {TODAY}, {UTC_ZONE}: No readable response from SNS"):
        schedulers.publish_quote_of_the_day({}, CONTEXT)
    for _ in range(3):
        clock.advance(minutes=1)
        assert schedulers.publish_quote_of_the_day({}, CONTEXT) == {"sent": 0, "time_zones": []}
    assert len(published()) == 1


def test_a_run_sends_nothing_shortly_before_the_timeout(sns_environment: Container) -> None:
    add_sns_subscribers(sns_environment, MIRA, time_zone=UTC_ZONE)
    assert schedulers.publish_quote_of_the_day({}, TIMEOUT_IS_NEAR) == {"sent": 0, "time_zones": []}
    assert schedulers.publish_quote_of_the_day({}, context(seconds=20)) == {"sent": 1, "time_zones": [UTC_ZONE]}


def test_the_timeout_of_a_stage_leaves_time_to_sync_and_to_send() -> None:
    seconds = json.loads((ROOT / "zappa_settings.json").read_text())["base"]["timeout_seconds"]
    assert MIN_SECONDS_TO_PUBLISH > CONNECT_TIMEOUT_SECONDS + READ_TIMEOUT_SECONDS
    assert 2 * MIN_SECONDS_TO_PUBLISH < MIN_SECONDS_TO_SYNC <= seconds / 2


def test_while_sms_are_switched_off_nothing_is_sent_and_nothing_fails(sns_environment: Container) -> None:
    add_sns_subscribers(sns_environment, MIRA, time_zone=UTC_ZONE)
    SqlState().set_sms_switch(NOON, off=True)
    result = schedulers.publish_quote_of_the_day({}, CONTEXT)
    assert result["sent"] == 0
    assert "quoteapi sms start" in result["message"]
    assert published() == []


@sqlite_only
def test_without_a_shared_database_nothing_is_sent(
    scheduled_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "quotes")
    monkeypatch.setenv("SECRET_KEY", "0123456789abcdef" * 2)
    monkeypatch.setenv("SMS_ALLOWED_REGIONS", "IN")
    result = schedulers.publish_quote_of_the_day({}, CONTEXT)
    assert result["sent"] == 0
    assert "set SMS_ALLOWED_REGIONS" in result["message"]
    assert "message" in schedulers.reconcile_subscriptions({}, CONTEXT)


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
