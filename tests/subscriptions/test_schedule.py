import logging
from collections.abc import Callable
from itertools import chain, count, repeat

import pytest

from quoteapi.container import Container
from quoteapi.sms.gateway import OutcomeUnknown
from quoteapi.subscriptions.daily_delivery import DeliveryResult
from quoteapi.subscriptions.errors import SmsDisabled
from quoteapi.subscriptions.schedule import DeliveryFailed, log_result, raise_failures
from tests.helpers.clock import FakeClock
from tests.helpers.data import KOLKATA, MIRA, NOON, NOOR, UTC_ZONE
from tests.helpers.sns_emulator import TOPIC, SnsCalls, backend, published, subscribed_numbers
from tests.helpers.subscribing import add_sns_subscribers, subscribe, subscribe_without_sync

TODAY = NOON.date()


def run(container: Container, remaining_seconds: Callable[[], float] = lambda: 60) -> list[tuple[str, str]]:
    return [(result.time_zone, result.state) for result in container.schedule.run(remaining_seconds)]


def test_who_subscribed_since_the_last_run_gets_this_morning_s_sms(
    sns_container: Container, sns_calls: SnsCalls, clock: FakeClock
) -> None:
    subscribe_without_sync(sns_container)
    clock.advance(days=1)
    sns_calls.operations.clear()
    assert run(sns_container) == [(KOLKATA, "sent")]
    assert [operation for operation in sns_calls.operations if operation in {"Subscribe", "Publish"}] == [
        "Subscribe",
        "Publish",  # the confirmation
        "Publish",
    ]
    assert subscribed_numbers() == [MIRA]


def test_who_replied_stop_since_the_last_run_gets_no_further_sms(sns_container: Container, clock: FakeClock) -> None:
    subscribe(sns_container)
    clock.advance(days=1)
    backend().opt_out_numbers.append(MIRA)
    assert run(sns_container) == []
    assert subscribed_numbers() == published() == []


@pytest.mark.parametrize("operation", ["ListPhoneNumbersOptedOut", "Subscribe"])
def test_the_sms_goes_out_although_sns_refuses_to_sync(
    sns_container: Container, sns_calls: SnsCalls, operation: str
) -> None:
    add_sns_subscribers(sns_container, MIRA)
    subscribe_without_sync(sns_container, NOOR)
    sns_calls.fault_for = lambda _, called: "forbidden" if called == operation else None
    assert run(sns_container) == [(UTC_ZONE, "sent")]
    assert len(published()) == 1


def test_the_sms_goes_out_although_sync_fails_with_an_unexpected_error(
    sns_container: Container, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise TypeError("unsupported operand")

    add_sns_subscribers(sns_container, MIRA)
    monkeypatch.setattr(sns_container.topic_sync, "sync_due", fail)
    assert run(sns_container) == [(UTC_ZONE, "sent")]
    assert "Topic sync failed; the next run tries again" in caplog.text


def test_a_run_with_little_time_left_sends_but_does_not_sync(sns_container: Container) -> None:
    add_sns_subscribers(sns_container, MIRA)
    subscribe_without_sync(sns_container, NOOR)
    seconds = chain([60.0], repeat(20.0))
    assert run(sns_container, lambda: next(seconds)) == [(UTC_ZONE, "sent")]
    assert subscribed_numbers() == [MIRA]


def test_a_run_with_a_short_timeout_syncs_for_half_of_it(sns_container: Container) -> None:
    subscribe_without_sync(sns_container, MIRA)
    subscribe_without_sync(sns_container, NOOR)
    assert run(sns_container, lambda: 9 if subscribed_numbers() else 20) == []
    assert subscribed_numbers() == [MIRA]


def test_the_sms_goes_out_although_listing_who_replied_stop_takes_long(
    sns_container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_sns_subscribers(sns_container, MIRA)
    monkeypatch.setattr(sns_container.gateway, "list_opted_out", lambda: repeat([NOOR]))
    seconds = count(32, -1)
    assert run(sns_container, lambda: next(seconds)) == [(UTC_ZONE, "sent")]


def test_a_run_whose_time_runs_out_leaves_the_other_time_zones_to_the_next_run(sns_container: Container) -> None:
    add_sns_subscribers(sns_container, MIRA)
    add_sns_subscribers(sns_container, NOOR, time_zone=KOLKATA)
    assert run(sns_container, lambda: 10 if published() else 60) == [(UTC_ZONE, "sent")]
    assert run(sns_container) == [(KOLKATA, "sent")]


def test_a_run_with_sms_switched_off_syncs_and_sends_nothing(sns_container: Container) -> None:
    add_sns_subscribers(sns_container, MIRA)
    subscribe_without_sync(sns_container, NOOR)
    sns_container.state.set_sms_switch(NOON, off=True)
    with pytest.raises(SmsDisabled):
        run(sns_container)
    assert subscribed_numbers() == [MIRA, NOOR]
    assert published() == []


def test_what_a_run_did_is_logged_with_its_failures_as_errors(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "quoteapi.subscriptions.schedule")
    log_result(DeliveryResult(TODAY, UTC_ZONE, "failed", "Not sent: SNS is away."))
    log_result(DeliveryResult(TODAY, KOLKATA, "sent", "Sent to 1 subscriber."))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", f"Daily SMS of {TODAY}, {UTC_ZONE}: Not sent: SNS is away."),
        ("INFO", f"Daily SMS of {TODAY}, {KOLKATA}: Sent to 1 subscriber."),
    ]


def test_what_a_run_reports_is_logged_before_it_is_killed(
    sns_container: Container, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def time_out_then_die(_: str, topic: str) -> str:
        raise OutcomeUnknown("timed out") if topic == TOPIC else SystemExit

    add_sns_subscribers(sns_container, MIRA)
    add_sns_subscribers(sns_container, NOOR, time_zone=KOLKATA)
    monkeypatch.setattr(sns_container.gateway, "publish", time_out_then_die)
    with pytest.raises(SystemExit):
        sns_container.schedule.run(on_result=log_result)
    assert f"Daily SMS of {TODAY}, {UTC_ZONE}: Timed out." in caplog.text, "no later run reports it"


def test_a_failure_names_each_morning_of_which_the_operator_must_know() -> None:
    results = [
        DeliveryResult(TODAY, UTC_ZONE, "sent", "Sent to 1 subscriber."),
        DeliveryResult(TODAY, KOLKATA, "missed", "The SMS was not sent."),
        DeliveryResult(TODAY, "Asia/Karachi", "in doubt", "It is in doubt."),
        DeliveryResult(TODAY, "Asia/Dhaka", "being sent", "Nothing sent."),
    ]
    with pytest.raises(DeliveryFailed) as failed:
        raise_failures(results)
    assert str(failed.value).splitlines() == [
        f"{TODAY}, {KOLKATA}: The SMS was not sent.",
        f"{TODAY}, Asia/Karachi: It is in doubt.",
    ]
    raise_failures([result for result in results if not result.is_failure])
