from collections.abc import Callable
from random import Random
from threading import Thread

import pytest

from quoteapi.container import Container
from quoteapi.settings import read_settings
from quoteapi.storage.models import (
    ConsoleSms,
    OneTimePassword,
    RateLimitLog,
    SmsUsage,
    Subscriber,
    SubscriberCount,
    database,
)
from quoteapi.storage.sql_state import SqlState
from quoteapi.storage.state import ACTIVE, Purpose
from quoteapi.subscriptions.dispatcher import InlineDispatcher
from quoteapi.subscriptions.errors import SubscriberLimitReached
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, NOOR, OMAR, add_subscribers, environment, latest_otp
from tests.helpers.dispatcher import RecordingDispatcher
from tests.helpers.sns_emulator import SETTINGS, backend, sent_to, subscribed_numbers
from tests.helpers.sql import record_sql
from tests.helpers.subscribing import CLIENT_IP, request_otp, subscribe, subscribe_without_sync

LATA = "+919028000004"


def with_limit(container: Container, limit: int, **more: str) -> Container:
    """Return a container of the same service with another SMS_MAX_SUBSCRIBERS."""
    settings = read_settings(environment(container.settings, SMS_MAX_SUBSCRIBERS=str(limit), **more))
    return Container(settings, now=container.clock)


def count_rows() -> int:
    return Subscriber.select().where(Subscriber.state == ACTIVE).count()


# ---- the limit


@pytest.mark.parametrize("limit", [0, 1])
def test_at_the_limit_no_number_gets_a_code_and_the_answer_does_not_tell_who_is_subscribed(
    container: Container, clock: FakeClock, limit: int
) -> None:
    add_subscribers(*[MIRA, NOOR][:limit])
    full = with_limit(container, limit)
    for mobile in (MIRA, NOOR, OMAR):
        clock.advance(minutes=2)
        with pytest.raises(SubscriberLimitReached) as refused:
            full.subscriptions.request_otp(mobile, "subscribe", CLIENT_IP, full.dispatcher)
        assert not refused.value.otp_is_valid
    for table in (ConsoleSms, OneTimePassword, RateLimitLog, SmsUsage):
        assert table.select().count() == 0, "nothing was sent or counted"


def test_below_the_limit_numbers_can_subscribe_until_it_is_reached(container: Container) -> None:
    small = with_limit(container, 2)
    subscribe(small, MIRA)
    subscribe(small, NOOR)
    with pytest.raises(SubscriberLimitReached):
        request_otp(small, OMAR)
    small.subscriptions.unsubscribe(MIRA, CLIENT_IP, small.dispatcher)
    subscribe(small, OMAR)
    assert count_rows() == SqlState().subscriber_count() == 2


def test_a_number_that_left_needs_a_place_to_come_back(container: Container, clock: FakeClock) -> None:
    small = with_limit(container, 1)
    subscribe(small, MIRA)
    small.subscriptions.unsubscribe(MIRA, CLIENT_IP, small.dispatcher)
    subscribe(small, NOOR)
    clock.advance(minutes=2)
    with pytest.raises(SubscriberLimitReached):
        request_otp(small, MIRA)


def test_a_right_code_that_is_too_late_for_the_last_place_stays_valid(container: Container, clock: FakeClock) -> None:
    small = with_limit(container, 1)
    late, code = small.subscriptions, request_otp(small, NOOR)
    subscribe(small, MIRA)
    dispatcher = RecordingDispatcher()
    for _ in range(40):
        with pytest.raises(SubscriberLimitReached) as refused:
            late.subscribe(NOOR, code, CLIENT_IP, dispatcher)
        assert refused.value.otp_is_valid
    assert Subscriber.select().where(Subscriber.mobile == NOOR).count() == 0
    assert dispatcher.subscribers == [], "nothing reaches the topic"
    small.subscriptions.unsubscribe(MIRA, CLIENT_IP, small.dispatcher)
    late.subscribe(NOOR, code, CLIENT_IP, dispatcher)
    assert Subscriber.get(Subscriber.mobile == NOOR).state == ACTIVE
    clock.advance(minutes=2)
    late.subscribe(NOOR, code, CLIENT_IP, dispatcher)
    assert len(dispatcher.subscribers) == 1, "the code again changes nothing"


def test_a_subscriber_that_confirms_again_needs_no_place(container: Container, clock: FakeClock) -> None:
    small = with_limit(container, 2)
    subscribe(small, MIRA)
    clock.advance(minutes=2)
    code = request_otp(small, MIRA)
    subscribe(small, NOOR)
    assert small.subscriptions.subscribe(MIRA, code, CLIENT_IP, small.dispatcher) == ()
    assert count_rows() == SqlState().subscriber_count() == 2


def test_a_lower_limit_leaves_subscribers_their_daily_sms_and_their_way_out(container: Container) -> None:
    add_subscribers(MIRA, NOOR, OMAR)
    lowered = with_limit(container, 1)
    assert [done.message for done in lowered.daily_delivery.publish()] == ["Sent to 3 subscribers."]
    lowered.subscriptions.unsubscribe(MIRA, CLIENT_IP, lowered.dispatcher)
    with pytest.raises(SubscriberLimitReached):
        request_otp(lowered, LATA)
    assert count_rows() == SqlState().subscriber_count() == 2


def test_the_limit_holds_for_sns_as_for_the_console(sns_container: Container) -> None:
    small = with_limit(sns_container, 1, **SETTINGS)
    small.dispatcher = InlineDispatcher(small.subscriptions.send_otp, small.topic_sync.sync)
    code = request_otp(small, NOOR)
    subscribe(small, MIRA)
    with pytest.raises(SubscriberLimitReached):
        request_otp(small, OMAR)
    with pytest.raises(SubscriberLimitReached):
        small.subscriptions.subscribe(NOOR, code, CLIENT_IP, small.dispatcher)
    assert subscribed_numbers() == [MIRA]


def test_no_request_counts_rows(container: Container) -> None:
    with record_sql() as statements:
        subscribe(container)
        container.subscriptions.unsubscribe(MIRA, CLIENT_IP, container.dispatcher)
    assert len(statements) > 20
    assert not [statement for statement in statements if "COUNT(" in statement.upper()]


def test_unsubscribing_costs_the_same_statements_for_every_number(container: Container) -> None:
    subscribe(container, MIRA)
    costs = []
    for mobile in (MIRA, NOOR, MIRA):
        with record_sql() as statements:
            container.subscriptions.unsubscribe(mobile, CLIENT_IP, RecordingDispatcher())
        costs.append(statements)
    assert costs[0] == costs[1] == costs[2]


# ---- the count


def test_the_count_follows_every_subscription_its_end_and_its_removal(sns_container: Container) -> None:
    rng, subscriptions = Random(5), sns_container.subscriptions
    mobiles = [MIRA, NOOR, OMAR, LATA]

    def confirm(mobile: str, purpose: Purpose) -> None:
        sns_container.clock.advance(days=1)  # type: ignore[attr-defined] # a FakeClock
        dispatcher = RecordingDispatcher()
        subscriptions.request_otp(mobile, purpose, CLIENT_IP, dispatcher)
        before = len(sent_to(mobile))
        subscriptions.send_otp(dispatcher.requests[0])
        code = sent_to(mobile)[-1][:6] if len(sent_to(mobile)) > before else None
        if purpose == "subscribe":
            assert code is not None
            subscriptions.subscribe(mobile, code, CLIENT_IP, sns_container.dispatcher)
        elif code is not None:
            subscriptions.unsubscribe(mobile, CLIENT_IP, sns_container.dispatcher, code)

    def opt_out(mobile: str) -> None:
        backend().opt_out_numbers[:] = [mobile]
        sns_container.topic_sync.reconcile()
        backend().opt_out_numbers.clear()

    def unsubscribe(mobile: str) -> None:
        sns_container.clock.advance(hours=1)  # type: ignore[attr-defined]
        subscriptions.unsubscribe(mobile, CLIENT_IP, sns_container.dispatcher)

    actions = [
        lambda mobile: confirm(mobile, "subscribe"),
        lambda mobile: confirm(mobile, "subscribe"),
        lambda mobile: confirm(mobile, "unsubscribe"),
        unsubscribe,
        opt_out,
        subscriptions.remove,
    ]
    counts = set()
    for _ in range(60):
        rng.choice(actions)(rng.choice(mobiles))
        assert SqlState().subscriber_count() == count_rows()
        counts.add(count_rows())
    assert counts >= {0, 1, 2, 3}


def test_reconciling_corrects_a_count_that_a_former_version_did_not_keep(
    container: Container, caplog: pytest.LogCaptureFixture
) -> None:
    subscribe_without_sync(container, MIRA)
    container.topic_sync.reconcile()
    assert "subscriber count" not in caplog.text
    for wrong in (0, 7, -3):
        SubscriberCount.update(count=wrong).execute()
        container.topic_sync.reconcile()
        assert SqlState().subscriber_count() == 1
        assert f"Subscriber count corrected from {wrong} to 1" in caplog.text


def test_an_activation_that_fails_is_not_counted(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    code = request_otp(container)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the process died")

    with monkeypatch.context() as patch:
        patch.setattr(SubscriberCount, "update", fail)
        with pytest.raises(RuntimeError):
            container.subscriptions.subscribe(MIRA, code, CLIENT_IP, container.dispatcher)
    assert count_rows() == SqlState().subscriber_count() == 0
    container.subscriptions.subscribe(MIRA, latest_otp(MIRA), CLIENT_IP, container.dispatcher)
    assert count_rows() == SqlState().subscriber_count() == 1


# ---- while another transaction has not committed


def run_during_an_activation(container: Container, mobile: str, work: Callable[[], object]) -> list[object]:
    """Activate a subscriber in a transaction, and commit it while `work` waits in another thread.

    Return what `work` returned or raised.
    """
    outcomes: list[object] = []

    def run() -> None:
        with database.connection_context():
            try:
                outcomes.append(work())
            except SubscriberLimitReached as error:
                outcomes.append(error)

    code = request_otp(container, mobile)
    thread = Thread(target=run)
    with database.atomic():
        container.subscriptions.subscribe(mobile, code, CLIENT_IP, RecordingDispatcher())
        thread.start()
        thread.join(0.3)
        assert outcomes == [], "it waits"
    thread.join()
    return outcomes


def test_two_right_codes_at_once_for_the_last_place_subscribe_one_number(container: Container) -> None:
    small = with_limit(container, 1)
    code = request_otp(small, NOOR)
    (outcome,) = run_during_an_activation(
        small, MIRA, lambda: small.subscriptions.subscribe(NOOR, code, "192.0.2.2", RecordingDispatcher())
    )
    assert isinstance(outcome, SubscriberLimitReached)
    assert count_rows() == SqlState().subscriber_count() == 1


def test_a_recount_waits_for_an_activation_and_counts_it(container: Container) -> None:
    SubscriberCount.update(count=7).execute()
    run_during_an_activation(container, MIRA, SqlState().recount_subscribers)
    assert count_rows() == SqlState().subscriber_count() == 1


def test_numbers_that_leave_at_once_are_all_counted(container: Container) -> None:
    subscribe(container, NOOR)
    run_during_an_activation(
        container, MIRA, lambda: container.subscriptions.unsubscribe(NOOR, "192.0.2.2", RecordingDispatcher())
    )
    assert count_rows() == SqlState().subscriber_count() == 1
