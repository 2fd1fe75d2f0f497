from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from threading import Event, Thread

import pytest

from quoteapi.container import Container
from quoteapi.settings import RateLimit, read_settings
from quoteapi.sms.gateway import GatewayError, GatewayMisconfigured, OutcomeUnknown
from quoteapi.storage.models import (
    ConsoleSms,
    LegacyOneTimePassword,
    OneTimePassword,
    RateLimitLog,
    SmsUsage,
    Subscriber,
    database,
)
from quoteapi.storage.sql_state import SqlState
from quoteapi.storage.state import StateUnavailable
from quoteapi.subscriptions.errors import NoOtpRequested, OtpExpired, WrongOtp
from quoteapi.subscriptions.sliding_window import count_event
from quoteapi.subscriptions.topic_sync import ReconcileResult
from tests.helpers.clock import FakeClock
from tests.helpers.data import KOLKATA, MIRA, NOOR, OMAR, environment, latest_otp
from tests.helpers.dispatcher import RecordingDispatcher
from tests.helpers.sns_emulator import Fault, SnsCalls, backend, sent_to, subscribed_numbers
from tests.helpers.subscribing import CLIENT_IP, run_in_thread, subscribe, subscribe_without_sync
from tests.helpers.waiting import LIMIT_SECONDS


class RetryingDispatcher:
    """Runs work as Lambda does: the request never sees its outcome, and failed work is retried twice."""

    def __init__(self, container: Container) -> None:
        self.send_otp = self._retried(container.subscriptions.send_otp)
        self.subscribe = self.unsubscribe = self._retried(container.topic_sync.sync)

    def _retried(self, work: Callable[..., object]) -> Callable[..., None]:
        def run(argument: object) -> None:
            for _ in range(3):
                with suppress(GatewayError):
                    work(argument)
                    return

        return run


def test_a_subscriber_in_sync_is_not_synced_again(container: Container) -> None:
    row = subscribe(container)
    assert container.topic_sync.sync(row.id) == "nothing to do"
    assert container.topic_sync.sync("12345") == "nothing to do"
    assert ConsoleSms.select().where(ConsoleSms.kind == "confirmation").count() == 1


def test_while_sms_are_switched_off_a_subscriber_gets_no_confirmation(container: Container, clock: FakeClock) -> None:
    container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, container.dispatcher)
    SqlState().set_sms_switch(clock(), off=True)
    container.subscriptions.subscribe(MIRA, latest_otp(MIRA), CLIENT_IP, container.dispatcher)
    assert Subscriber.get().topic == "console-Asia-Kolkata"
    assert ConsoleSms.select().count() == 1


def test_a_confirmation_is_sent_later_if_the_state_was_unavailable(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscriber_id = subscribe_without_sync(container)

    def fail(*_: object, **__: object) -> bool:
        raise StateUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(SqlState, "count_sms", fail)
        with pytest.raises(StateUnavailable):
            container.topic_sync.sync(subscriber_id)
    assert container.topic_sync.sync(subscriber_id) == "subscribed"
    assert ConsoleSms.select().where(ConsoleSms.kind == "confirmation").count() == 1


def test_a_confirmation_that_was_not_sent_does_not_count(sns_container: Container, sns_calls: SnsCalls) -> None:
    subscriber_id = subscribe_without_sync(sns_container)
    before = SmsUsage.get().count
    sns_calls.fault_for = lambda _, operation: "forbidden" if operation == "Publish" else None
    for _ in range(3):
        with pytest.raises(GatewayMisconfigured):
            sns_container.topic_sync.sync(subscriber_id)
    assert SmsUsage.get().count == before


# ---- opt-outs


def test_reconciling_unsubscribes_numbers_that_opted_out(sns_container: Container) -> None:
    subscribe(sns_container, MIRA)
    subscribe(sns_container, NOOR)
    backend().opt_out_numbers[:] = [MIRA, OMAR]
    assert sns_container.topic_sync.reconcile() == ReconcileResult(unsubscribed=1, stopped=1)
    assert subscribed_numbers() == [NOOR]
    assert Subscriber.get(Subscriber.mobile == MIRA).state == "stopped"
    assert sns_container.topic_sync.reconcile() == ReconcileResult()


def test_a_number_that_opted_out_and_in_can_subscribe_again(sns_container: Container, clock: FakeClock) -> None:
    subscribe(sns_container)
    backend().opt_out_numbers[:] = [MIRA]
    sns_container.topic_sync.reconcile()
    backend().opt_out_numbers.clear()
    clock.advance(minutes=1)
    subscribe(sns_container)
    assert Subscriber.get().state == "active"
    assert subscribed_numbers() == [MIRA]


def test_a_number_that_unsubscribed_before_it_opted_out_stays_unsubscribed(sns_container: Container) -> None:
    subscribe(sns_container)
    sns_container.subscriptions.unsubscribe(MIRA, CLIENT_IP, sns_container.dispatcher)
    backend().opt_out_numbers[:] = [MIRA]
    assert sns_container.topic_sync.reconcile() == ReconcileResult()
    assert Subscriber.get().state == "unsubscribed"


# ---- gateway failures


FAULTS: tuple[Fault, ...] = ("throttled", "refused", "forbidden", "error 500", "timed out", "answer lost")


def run_subscriptions(sns_container: Container, clock: FakeClock) -> dict[str, int]:
    """Subscribe Mira; subscribe and unsubscribe Noor; request an OTP for Omar. Return how many requests each took."""
    dispatcher = RetryingDispatcher(sns_container)
    requests = {MIRA: 0, NOOR: 0, OMAR: 0}
    for mobile in requests:
        for _ in range(3):  # until an OTP arrives
            clock.advance(minutes=11)
            before = len(sent_to(mobile))
            sns_container.subscriptions.request_otp(mobile, "subscribe", CLIENT_IP, dispatcher)
            requests[mobile] += 1
            assert len(sent_to(mobile)) - before <= 1, "at most one OTP for a request"
            if sent_to(mobile):
                break
        if mobile != OMAR:
            sns_container.subscriptions.subscribe(mobile, sent_to(mobile)[-1][:6], CLIENT_IP, dispatcher)
    sns_container.subscriptions.unsubscribe(NOOR, CLIENT_IP, dispatcher)
    return requests


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("fault", FAULTS)
def test_whichever_calls_fail_the_topic_matches_in_the_end_and_no_request_sent_two_otps(
    sns_container: Container, sns_calls: SnsCalls, clock: FakeClock, fault: Fault, times: int
) -> None:
    max_calls = 40
    failed = set()
    for first in range(max_calls):
        for table in (Subscriber, OneTimePassword, SmsUsage):
            table.delete().execute()
        backend().sms_messages.clear()
        backend().subscriptions.clear()
        sns_calls.operations.clear()

        def fault_for(number: int, operation: str, first: int = first) -> Fault | None:
            if first <= number < first + times:
                failed.add(operation)
                return fault
            return None

        sns_calls.fault_for = fault_for
        requests = run_subscriptions(sns_container, clock)
        clock.advance(minutes=6)
        sns_container.topic_sync.reconcile()
        sns_calls.fault_for = lambda _number, _operation: None
        clock.advance(hours=1)
        sns_container.topic_sync.reconcile()
        assert subscribed_numbers() == [MIRA], f"after call {first}"
        assert {row.mobile: (row.state, row.sync_due_at) for row in Subscriber.select()} == {
            MIRA: ("active", None),
            NOOR: ("unsubscribed", None),
        }
        for mobile, count in requests.items():
            otps = [message for message in sent_to(mobile) if "is your QuoteAPI code" in message]
            assert len(otps) <= count
            assert len(sent_to(mobile)) - len(otps) <= 1, "at most one confirmation"
        if len(sns_calls.operations) <= first:
            break
        clock.advance(days=2)
    else:
        pytest.fail(f"there were more than {max_calls} calls")
    assert failed >= {"CheckIfPhoneNumberIsOptedOut", "Publish", "Subscribe", "Unsubscribe", "ListPhoneNumbersOptedOut"}


def test_a_rejected_number_does_not_stop_the_others(sns_container: Container, sns_calls: SnsCalls) -> None:
    for mobile in (MIRA, NOOR, OMAR):
        subscribe_without_sync(sns_container, mobile)
    subscribes = 0

    def fault_for(_: int, operation: str) -> Fault | None:
        nonlocal subscribes
        subscribes += operation == "Subscribe"
        return "refused" if operation == "Subscribe" and subscribes == 2 else None

    sns_calls.fault_for = fault_for
    assert sns_container.topic_sync.reconcile() == ReconcileResult(subscribed=2, refused=1)
    assert subscribed_numbers() == [MIRA, OMAR]


def test_reconciling_stops_when_time_is_up_and_counts_what_is_left(container: Container) -> None:
    for mobile in (MIRA, NOOR, OMAR):
        subscribe_without_sync(container, mobile)
    done: list[int] = []
    assert container.topic_sync.reconcile(lambda: len(done) == 2, done.append) == ReconcileResult(subscribed=2, left=1)
    assert container.topic_sync.reconcile() == ReconcileResult(subscribed=1)


def test_reconciling_calls_sns_only_for_subscribers_out_of_sync(sns_container: Container, sns_calls: SnsCalls) -> None:
    for n in range(20):
        Subscriber.create(
            mobile=f"+9190280{n:05}",
            state="active",
            requested_at=sns_container.clock(),
            requested_from=CLIENT_IP,
            confirmed_at=sns_container.clock(),
            confirmed_from=CLIENT_IP,
            time_zone=KOLKATA,
            subscription_arn=f"arn:{n}",
            confirmation_sent_at=sns_container.clock(),
            sync_due_at=sns_container.clock() if n == 7 else None,
        )
    assert sns_container.topic_sync.reconcile() == ReconcileResult(subscribed=1)
    assert sns_calls.operations == ["ListPhoneNumbersOptedOut", "CreateTopic", "Subscribe"]


def test_reconciling_deletes_expired_otps(container: Container, clock: FakeClock) -> None:
    container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, container.dispatcher)
    clock.advance(minutes=11)
    with pytest.raises(OtpExpired):
        container.subscriptions.subscribe(MIRA, latest_otp(MIRA), CLIENT_IP, container.dispatcher)
    clock.moment += timedelta(hours=2)
    container.topic_sync.reconcile()
    with pytest.raises(NoOtpRequested):
        container.subscriptions.subscribe(MIRA, latest_otp(MIRA), CLIENT_IP, container.dispatcher)


# ---- leases and races


def test_an_expired_lease_is_acquired_by_another_process(container: Container, clock: FakeClock) -> None:
    row = subscribe(container)
    Subscriber.update(sync_due_at=clock(), lease_acquired_at=clock(), subscription_arn=None).execute()
    assert container.topic_sync.sync(row.id) == "nothing to do"
    clock.advance(minutes=5)
    assert container.topic_sync.sync(row.id) == "subscribed"
    assert Subscriber.get().subscription_arn is not None


def test_unsubscribing_during_the_sync_removes_the_subscription(sns_container: Container, sns_calls: SnsCalls) -> None:
    subscriber_id, subscribe_ = subscribe_without_sync(sns_container), sns_container.gateway.subscribe

    def subscribe_and_unsubscribe(mobile: str, topic: str) -> str:
        arn = subscribe_(mobile, topic)
        run_in_thread(sns_container.subscriptions.unsubscribe, mobile, CLIENT_IP, sns_container.dispatcher)
        return arn

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sns_container.gateway, "subscribe", subscribe_and_unsubscribe)
        assert sns_container.topic_sync.sync(subscriber_id) == "unsubscribed"
    assert subscribed_numbers() == []
    assert Subscriber.get().sync_due_at is None


def test_unsubscribing_and_subscribing_during_the_sync_keeps_the_subscription(
    sns_container: Container, clock: FakeClock
) -> None:
    subscriber_id, subscribe_ = subscribe_without_sync(sns_container), sns_container.gateway.subscribe

    def subscribe_unsubscribe_and_subscribe(mobile: str, topic: str) -> str:
        arn = subscribe_(mobile, topic)
        patch.undo()
        clock.advance(minutes=1)
        sns_container.subscriptions.unsubscribe(mobile, CLIENT_IP, sns_container.dispatcher)
        subscribe(sns_container, mobile)
        return arn

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sns_container.gateway, "subscribe", subscribe_unsubscribe_and_subscribe)
        assert sns_container.topic_sync.sync(subscriber_id) == "subscribed"
    assert subscribed_numbers() == [MIRA]
    assert Subscriber.get().sync_due_at is None


@pytest.mark.parametrize("fault", [None, "timed out", "answer lost"])
def test_a_process_that_lost_its_lease_leaves_no_unsubscribed_number_on_the_topic(
    sns_container: Container, sns_calls: SnsCalls, clock: FakeClock, fault: Fault | None
) -> None:
    """The process stalls before it calls SNS; meanwhile Mira unsubscribes, and another process syncs that."""
    subscriber_id, subscribe_ = subscribe_without_sync(sns_container), sns_container.gateway.subscribe

    def subscribe_late(mobile: str, topic: str) -> str:
        patch.undo()
        clock.advance(minutes=6)
        run_in_thread(sns_container.subscriptions.unsubscribe, mobile, CLIENT_IP, sns_container.dispatcher)
        assert Subscriber.get().sync_due_at is None
        sns_calls.fault_for = lambda _, operation: fault if operation == "Subscribe" else None
        return subscribe_(mobile, topic)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sns_container.gateway, "subscribe", subscribe_late)
        with suppress(OutcomeUnknown):
            sns_container.topic_sync.sync(subscriber_id)
    sns_calls.fault_for = lambda _number, _operation: None
    sns_container.topic_sync.reconcile()
    assert subscribed_numbers() == []
    assert Subscriber.get().sync_due_at is None


def sync_after_a_stall(sns_container: Container, clock: FakeClock, meanwhile: Callable[[], None]) -> None:
    """Sync Mira by a process that loses its lease before it calls SNS; call `meanwhile` then."""
    subscriber_id, subscribe_ = subscribe_without_sync(sns_container), sns_container.gateway.subscribe

    def subscribe_late(mobile: str, topic: str) -> str:
        patch.undo()
        clock.advance(minutes=6)
        meanwhile()
        return subscribe_(mobile, topic)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sns_container.gateway, "subscribe", subscribe_late)
        with suppress(OutcomeUnknown):
            sns_container.topic_sync.sync(subscriber_id)


@pytest.mark.parametrize("fault", [None, "answer lost"])
def test_a_process_that_lost_its_lease_unsubscribes_a_removed_number(
    sns_container: Container, sns_calls: SnsCalls, clock: FakeClock, fault: Fault | None
) -> None:
    def remove() -> None:
        run_in_thread(sns_container.subscriptions.remove, MIRA)
        failing = iter([fault] * 3)  # for all attempts of boto3
        sns_calls.fault_for = lambda _, operation: next(failing, None) if operation == "Subscribe" else None

    sync_after_a_stall(sns_container, clock, remove)
    assert Subscriber.select().count() == 0
    assert subscribed_numbers() == []


def test_a_process_that_lost_its_lease_keeps_a_number_that_was_removed_and_subscribed_again(
    sns_container: Container, clock: FakeClock
) -> None:
    def remove_and_subscribe() -> None:
        run_in_thread(sns_container.subscriptions.remove, MIRA)
        run_in_thread(subscribe, sns_container, NOOR)  # which may get the same row id
        clock.advance(minutes=2)
        run_in_thread(subscribe, sns_container, MIRA)

    sync_after_a_stall(sns_container, clock, remove_and_subscribe)
    sns_container.topic_sync.reconcile()
    assert subscribed_numbers() == [MIRA, NOOR]
    assert not Subscriber.select().where(Subscriber.sync_due_at.is_null(is_null=False)).exists()


def test_a_process_with_the_lease_syncs_again_after_a_call_of_the_one_that_lost_it(
    sns_container: Container, clock: FakeClock
) -> None:
    """The process that lost its lease subscribes Mira while the one that has it unsubscribes her."""
    subscriber_id, subscribe_, unsubscribe_ = (
        subscribe_without_sync(sns_container),
        sns_container.gateway.subscribe,
        sns_container.gateway.unsubscribe,
    )
    has_unsubscribed, may_finish = Event(), Event()

    def unsubscribe_and_wait(arn: str) -> None:
        unsubscribe_(arn)
        has_unsubscribed.set()
        assert may_finish.wait(LIMIT_SECONDS)

    def unsubscribe() -> None:
        with database.connection_context():
            sns_container.subscriptions.unsubscribe(MIRA, CLIENT_IP, sns_container.dispatcher)

    unsubscribing = Thread(target=unsubscribe)

    def subscribe_late(mobile: str, topic: str) -> str:
        patch.undo()
        clock.advance(minutes=6)
        waiting.setattr(sns_container.gateway, "unsubscribe", unsubscribe_and_wait)
        unsubscribing.start()
        assert has_unsubscribed.wait(LIMIT_SECONDS)
        arn = subscribe_(mobile, topic)
        clock.advance(seconds=1)
        return arn

    with pytest.MonkeyPatch.context() as waiting:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sns_container.gateway, "subscribe", subscribe_late)
            sns_container.topic_sync.sync(subscriber_id)
        waiting.undo()
        may_finish.set()
        unsubscribing.join()
    assert subscribed_numbers() == []
    assert Subscriber.get().sync_due_at is None


# ---- subscription ARNs


def test_the_arn_of_an_earlier_subscription_is_not_used(sns_container: Container, sns_calls: SnsCalls) -> None:
    subscribe(sns_container)
    backend().subscriptions.clear()  # the topic was lost
    sns_calls.fault_for = lambda _, operation: "answer lost" if operation == "Subscribe" else None
    assert sns_container.topic_sync.reconcile(everyone=True) == ReconcileResult(failed=1)
    sns_calls.fault_for = lambda _number, _operation: None
    assert subscribed_numbers() == [MIRA]
    sns_container.subscriptions.unsubscribe(MIRA, CLIENT_IP, sns_container.dispatcher)
    assert subscribed_numbers() == []


def test_a_number_that_unsubscribes_before_its_first_sync_costs_no_call(
    sns_container: Container, sns_calls: SnsCalls
) -> None:
    subscribe_without_sync(sns_container)
    sns_container.subscriptions.unsubscribe(MIRA, CLIENT_IP, RecordingDispatcher())
    sns_calls.operations.clear()
    sns_calls.fault_for = lambda _, operation: None if operation.startswith("List") else "error 500"
    assert sns_container.topic_sync.reconcile() == ReconcileResult(unsubscribed=1)
    assert sns_calls.operations == ["ListPhoneNumbersOptedOut"], (
        "no call for the ARN of a subscription that never existed"
    )


def unsubscribe_after_a_lost_response(sns_container: Container, sns_calls: SnsCalls) -> None:
    """Subscribe Mira, but lose the response with the ARN; then unsubscribe her without a sync."""
    subscriber_id = subscribe_without_sync(sns_container)
    sns_calls.fault_for = lambda _, operation: "answer lost" if operation == "Subscribe" else None
    with pytest.raises(OutcomeUnknown):
        sns_container.topic_sync.sync(subscriber_id)
    sns_container.subscriptions.unsubscribe(MIRA, CLIENT_IP, RecordingDispatcher())
    assert subscribed_numbers() == [MIRA]


def test_an_unsubscribed_number_stays_out_of_sync_while_sns_does_not_return_its_arn(
    sns_container: Container, sns_calls: SnsCalls
) -> None:
    unsubscribe_after_a_lost_response(sns_container, sns_calls)
    sns_calls.fault_for = lambda _, operation: "refused" if operation == "Subscribe" else None
    assert sns_container.topic_sync.reconcile() == ReconcileResult(refused=1)
    sns_calls.fault_for = lambda _number, _operation: None
    assert sns_container.topic_sync.reconcile() == ReconcileResult(unsubscribed=1)
    assert subscribed_numbers() == []


def test_an_arn_that_sns_returned_is_stored_even_if_the_next_call_fails(
    sns_container: Container, sns_calls: SnsCalls
) -> None:
    unsubscribe_after_a_lost_response(sns_container, sns_calls)
    sns_calls.fault_for = lambda _, operation: "throttled" if operation == "Unsubscribe" else None
    assert sns_container.topic_sync.reconcile() == ReconcileResult(failed=1)
    sns_calls.fault_for = lambda _number, _operation: None
    sns_calls.operations.clear()
    assert sns_container.topic_sync.reconcile() == ReconcileResult(unsubscribed=1)
    assert sns_calls.operations == ["ListPhoneNumbersOptedOut", "Unsubscribe"]


# ---- other topics


def test_reconciling_everyone_fills_a_lost_topic_without_new_confirmations(sns_container: Container) -> None:
    for mobile in (MIRA, NOOR):
        subscribe(sns_container, mobile)
    backend().subscriptions.clear()
    assert sns_container.topic_sync.reconcile() == ReconcileResult()
    assert sns_container.topic_sync.reconcile(everyone=True) == ReconcileResult(subscribed=2)
    assert subscribed_numbers() == [MIRA, NOOR]
    assert len(sent_to(MIRA)) == 2, "the OTP and the first confirmation"


def test_reconciling_everyone_moves_console_subscribers_to_sns(container: Container, sns_container: Container) -> None:
    subscribe(container)
    (failed,) = sns_container.daily_delivery.publish()
    assert failed.is_failure
    assert failed.message.startswith(
        "Subscribers are on the topic console-Asia-Kolkata, but the settings name us-east-1:"
    )
    assert sns_container.topic_sync.reconcile(everyone=True) == ReconcileResult(subscribed=1)
    assert [done.message for done in sns_container.daily_delivery.publish()] == ["Sent to 1 subscriber."]


# ---- what a reconciliation deletes


def test_reconciling_deletes_expired_otps_unless_their_wrong_tries_still_count(
    container: Container, clock: FakeClock
) -> None:
    passwords = container.topic_sync.passwords
    for mobile in (MIRA, NOOR):
        passwords.generate(passwords.request(mobile, "subscribe", CLIENT_IP))
    with pytest.raises(WrongOtp):
        passwords.verify(NOOR, "subscribe", "no code")
    clock.advance(minutes=30)
    container.topic_sync.reconcile()
    assert [row.mobile for row in OneTimePassword.select()] == [NOOR]
    clock.advance(minutes=30)
    container.topic_sync.reconcile()
    assert OneTimePassword.select().count() == 0


def test_reconciling_and_removing_delete_otps_of_the_version_before_too(container: Container, clock: FakeClock) -> None:
    for mobile in (MIRA, NOOR):
        row = {"mobile": mobile, "purpose": "subscribe", "tries_left": 5}
        LegacyOneTimePassword.create(**row, otp_request_id=mobile, requested_at=clock(), requested_from=CLIENT_IP)
    assert container.subscriptions.remove(MIRA)
    assert not container.subscriptions.remove(MIRA)
    assert [row.mobile for row in LegacyOneTimePassword.select()] == [NOOR]
    clock.advance(minutes=20)
    container.topic_sync.reconcile()
    assert LegacyOneTimePassword.select().count() == 0


def test_reconciling_deletes_logs_older_than_every_window_and_old_counts(
    container: Container, clock: FakeClock
) -> None:
    limits = container.rate_limits
    limits.count_otp_to_number(MIRA, "subscribe")
    limits.consume_sms_quota()
    clock.advance(hours=23)
    limits.count_otp_to_number(NOOR, "subscribe")
    clock.advance(hours=2)
    container.topic_sync.reconcile()
    assert RateLimitLog.select().count() == 1
    assert SmsUsage.select().count() == 1, "the counts are kept for a year"
    clock.advance(days=401)
    container.topic_sync.reconcile()
    assert RateLimitLog.select().count() == SmsUsage.select().count() == 0


def test_logs_of_limits_that_are_no_settings_are_kept_with_short_windows_too(
    container: Container, clock: FakeClock
) -> None:
    short = dict.fromkeys(("CODES_PER_NUMBER", "CODES_PER_ADDRESS", "WRONG_TRIES_PER_ADDRESS"), "1/1m")
    container = Container(read_settings(environment(container.settings, **short)), now=clock)
    count_event(container.state, "a limit that is no setting", (RateLimit(5, 3_600),), clock())
    clock.advance(minutes=59)
    container.topic_sync.reconcile()
    assert RateLimitLog.select().count() == 1
