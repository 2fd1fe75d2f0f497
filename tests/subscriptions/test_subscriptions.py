from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from threading import Event, Thread
from typing import Literal

import pytest

from quoteapi.container import Container
from quoteapi.settings import read_settings
from quoteapi.sms.gateway import GatewayError, GatewayMisconfigured, GatewayUnavailable, NumberRejected, OutcomeUnknown
from quoteapi.sms.sns import QuoteSubscription
from quoteapi.storage.models import ConsoleSms, OneTimePassword, RateLimitLog, SmsUsage, Subscriber
from quoteapi.storage.models import database as bound
from quoteapi.subscriptions.dispatcher import ThreadPoolDispatcher
from quoteapi.subscriptions.otp import NoOtpRequested, OtpExpired, WrongOtp
from quoteapi.subscriptions.rate_limits import set_sms_switch
from quoteapi.subscriptions.service import OptedOut, OtpNotSent, ReconcileResult, SubscriptionService
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, NOOR, OMAR, environment, latest_otp, wrong_otp
from tests.helpers.dispatcher import RecordingDispatcher
from tests.helpers.sns_emulator import Fault, SnsCalls, backend, sent_to, subscribed_numbers
from tests.helpers.sql import record_sql

ADDRESS = "192.0.2.1"


class Later:
    """Hands work on as Lambda does: the request never hears how it ended, and what failed is tried twice more."""

    def __init__(self, subscriptions: SubscriptionService) -> None:
        self.send_otp = self._tried(subscriptions.send_otp)
        self.subscribe = self.unsubscribe = self._tried(subscriptions.sync)

    def _tried(self, work: Callable[..., object]) -> Callable[..., None]:
        def tried(what: object) -> None:
            for _ in range(3):
                try:
                    work(what)
                except GatewayError:
                    continue
                return

        return tried


def elsewhere(work: Callable[..., object], *what: object) -> None:
    """Do something in another thread, with a connection of its own."""

    def connected() -> None:
        with bound.connection_context():
            work(*what)

    thread = Thread(target=connected)
    thread.start()
    thread.join()


def subscribe(container: Container, mobile: str = MIRA) -> Subscriber:
    container.subscriptions.request_otp(mobile, "subscribe", ADDRESS, container.dispatcher)
    code = latest_otp(mobile) if container.settings.gateway == "console" else sent_to(mobile)[-1][:6]
    container.subscriptions.subscribe(mobile, code, ADDRESS, container.dispatcher)
    return Subscriber.get(Subscriber.mobile == mobile)


# ---- what a request costs


def test_confirming_costs_five_statements_and_no_call(container: Container) -> None:
    container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, container.dispatcher)
    code, hand = latest_otp(MIRA), RecordingDispatcher()
    with record_sql() as statements:
        container.subscriptions.subscribe(MIRA, code, ADDRESS, hand)
    assert len(statements) == 5
    assert hand.subscribers == [Subscriber.get().id]


def test_a_wrong_code_costs_three_statements(container: Container) -> None:
    container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, container.dispatcher)
    code = wrong_otp(latest_otp(MIRA))
    with record_sql() as statements, pytest.raises(WrongOtp):
        container.subscriptions.subscribe(MIRA, code, ADDRESS, container.dispatcher)
    assert len(statements) == 3


def test_asking_costs_seven_statements(container: Container) -> None:
    with record_sql() as statements:
        container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, RecordingDispatcher())
    assert len(statements) == 7


def test_asking_costs_one_call_to_sns_before_the_answer(sns_container: Container, sns_calls: SnsCalls) -> None:
    sns_container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, RecordingDispatcher())
    assert sns_calls.made == ["CheckIfPhoneNumberIsOptedOut"]


def test_leaving_costs_one_call_to_sns(sns_container: Container, sns_calls: SnsCalls) -> None:
    row = subscribe(sns_container)
    sns_calls.made.clear()
    sns_container.subscriptions.unsubscribe(MIRA, ADDRESS, sns_container.dispatcher)
    assert sns_calls.made == ["Unsubscribe"]
    assert row.subscription_arn is not None
    assert subscribed_numbers() == []


# ---- what is handed on


def test_a_task_is_told_neither_a_number_nor_a_code(container: Container) -> None:
    hand = RecordingDispatcher()
    container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, hand)
    (request,) = hand.requests
    assert len(request) == 32
    assert int(request, 16)
    container.subscriptions.send_otp(request)
    assert latest_otp(MIRA) not in request


def test_a_request_for_a_code_that_is_delivered_twice_sends_one(container: Container) -> None:
    hand = RecordingDispatcher()
    container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, hand)
    assert container.subscriptions.send_otp(hand.requests[0]) == "sent a code to +91••••••0001"
    assert container.subscriptions.send_otp(hand.requests[0]) == "nothing to send"
    assert ConsoleSms.select().count() == 1


def test_who_is_settled_is_not_settled_again(container: Container) -> None:
    row = subscribe(container)
    assert container.subscriptions.sync(row.id) == "nothing to do"
    assert container.subscriptions.sync(12345) == "nothing to do"
    assert ConsoleSms.select().where(ConsoleSms.kind == "confirmation").count() == 1


def test_a_subscription_stands_even_if_nobody_can_be_handed_it(container: Container) -> None:
    class Broken(RecordingDispatcher):
        def subscribe(self, subscriber_id: int) -> None:
            raise RuntimeError("Lambda takes no more")

    container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, container.dispatcher)
    container.subscriptions.subscribe(MIRA, latest_otp(MIRA), ADDRESS, Broken())
    assert Subscriber.get().unsettled_since is not None
    assert container.subscriptions.reconcile() == ReconcileResult(subscribed=1)
    assert Subscriber.get().subscription_arn is not None


# ---- STOP


def test_who_replied_stop_is_refused_before_a_code_is_made(sns_container: Container) -> None:
    with pytest.raises(OptedOut):
        sns_container.subscriptions.request_otp("+919028000099", "subscribe", ADDRESS, sns_container.dispatcher)
    assert sent_to("+919028000099") == []


def test_who_replied_stop_is_taken_off_the_topic_by_the_reconciler(sns_container: Container) -> None:
    subscribe(sns_container, MIRA)
    subscribe(sns_container, NOOR)
    backend().opt_out_numbers[:] = [MIRA, OMAR]
    assert sns_container.subscriptions.reconcile() == ReconcileResult(unsubscribed=1, stopped=1)
    assert subscribed_numbers() == [NOOR]
    assert Subscriber.get(Subscriber.mobile == MIRA).state == "stopped"
    assert sns_container.subscriptions.reconcile() == ReconcileResult()


def test_who_replied_stop_and_start_can_come_back(sns_container: Container, clock: FakeClock) -> None:
    subscribe(sns_container)
    backend().opt_out_numbers[:] = [MIRA]
    sns_container.subscriptions.reconcile()
    backend().opt_out_numbers.clear()
    clock.advance(minutes=1)
    subscribe(sns_container)
    assert Subscriber.get().state == "active"
    assert subscribed_numbers() == [MIRA]


def test_who_left_before_they_replied_stop_has_left(sns_container: Container) -> None:
    subscribe(sns_container)
    sns_container.subscriptions.unsubscribe(MIRA, ADDRESS, sns_container.dispatcher)
    backend().opt_out_numbers[:] = [MIRA]
    assert sns_container.subscriptions.reconcile() == ReconcileResult()
    assert Subscriber.get().state == "unsubscribed"


def test_where_nobody_knows_who_replied_stop_the_code_is_sent(sns_container: Container, sns_calls: SnsCalls) -> None:
    sns_calls.becomes = lambda _, operation: "error 500" if operation.startswith("CheckIf") else None
    sns_container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, sns_container.dispatcher)
    assert len(sent_to(MIRA)) == 1


# ---- failures

FAULTS: tuple[Fault, ...] = ("throttled", "refused", "forbidden", "error 500", "timed out", "answer lost")


@pytest.mark.parametrize("fault", ["throttled", "refused"])
def test_a_code_that_did_not_go_out_is_made_anew_by_the_next_try(
    sns_container: Container, sns_calls: SnsCalls, fault: Fault
) -> None:
    hand = RecordingDispatcher()
    sns_container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, hand)
    sns_calls.becomes = lambda number, _: fault if number == 1 else None
    with pytest.raises((GatewayUnavailable, NumberRejected)):
        sns_container.subscriptions.send_otp(hand.requests[0])
    sns_container.subscriptions.send_otp(hand.requests[0])
    (message,) = sent_to(MIRA)
    sns_container.subscriptions.subscribe(MIRA, message[:6], ADDRESS, sns_container.dispatcher)
    assert subscribed_numbers() == [MIRA]


@pytest.mark.parametrize("fault", ["error 500", "timed out", "answer lost"])
def test_a_code_that_may_have_gone_out_is_not_sent_again_and_fails_for_all_to_see(
    sns_container: Container, sns_calls: SnsCalls, fault: Fault
) -> None:
    hand = RecordingDispatcher()
    sns_container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, hand)
    sns_calls.becomes = lambda number, _: fault if number == 1 else None
    for _ in range(3):
        with pytest.raises(OutcomeUnknown):
            sns_container.subscriptions.send_otp(hand.requests[0])
    assert sns_calls.made.count("Publish") == 1
    if fault == "answer lost":
        (message,) = sent_to(MIRA)
        sns_container.subscriptions.subscribe(MIRA, message[:6], ADDRESS, sns_container.dispatcher)
        assert subscribed_numbers() == [MIRA]


def test_where_the_request_sends_the_code_itself_it_says_that_it_could_not(
    sns_container: Container, sns_calls: SnsCalls
) -> None:
    sns_calls.becomes = lambda _, operation: "throttled" if operation == "Publish" else None
    with pytest.raises(OtpNotSent):
        sns_container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, sns_container.dispatcher)


def live_through(sns_container: Container, clock: FakeClock) -> dict[str, int]:
    """Let Mira subscribe and stay, Noor subscribe and leave, Omar ask and do no more. Answer how often each asked."""
    hand = Later(sns_container.subscriptions)
    asked = {MIRA: 0, NOOR: 0, OMAR: 0}
    for mobile in asked:
        for _ in range(3):  # who got no code asks again
            clock.advance(minutes=11)
            before = len(sent_to(mobile))
            sns_container.subscriptions.request_otp(mobile, "subscribe", ADDRESS, hand)
            asked[mobile] += 1
            assert len(sent_to(mobile)) - before <= 1, "one code for one request"
            if sent_to(mobile):
                break
        if mobile != OMAR:
            sns_container.subscriptions.subscribe(mobile, sent_to(mobile)[-1][:6], ADDRESS, hand)
    sns_container.subscriptions.unsubscribe(NOOR, ADDRESS, hand)
    return asked


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("fault", FAULTS)
def test_whichever_call_fails_in_the_end_sns_agrees_and_nobody_got_two_codes(
    sns_container: Container, sns_calls: SnsCalls, clock: FakeClock, fault: Fault, times: int
) -> None:
    number_of_calls = 40
    failed = set()
    for first in range(number_of_calls):
        for table in (Subscriber, OneTimePassword, SmsUsage):
            table.delete().execute()
        backend().sms_messages.clear()
        backend().subscriptions.clear()
        sns_calls.made.clear()

        def becomes(number: int, operation: str, first: int = first) -> Fault | None:
            if first <= number < first + times:
                failed.add(operation)
                return fault
            return None

        sns_calls.becomes = becomes
        asked = live_through(sns_container, clock)
        clock.advance(minutes=6)
        sns_container.subscriptions.reconcile()
        sns_calls.becomes = lambda _number, _operation: None
        clock.advance(hours=1)
        sns_container.subscriptions.reconcile()
        assert subscribed_numbers() == [MIRA], f"after call {first}"
        assert {row.mobile: (row.state, row.unsettled_since) for row in Subscriber.select()} == {
            MIRA: ("active", None),
            NOOR: ("unsubscribed", None),
        }
        for mobile, times_asked in asked.items():
            codes = [message for message in sent_to(mobile) if "is your QuoteAPI code" in message]
            assert len(codes) <= times_asked
            assert len(sent_to(mobile)) - len(codes) <= 1, "one confirmation"
        if len(sns_calls.made) <= first:
            break
        clock.advance(days=2)
    else:
        pytest.fail("there were more calls than were made to fail")
    assert failed >= {"CheckIfPhoneNumberIsOptedOut", "Publish", "Subscribe", "Unsubscribe", "ListPhoneNumbersOptedOut"}


def test_one_bad_number_does_not_stop_the_rest(sns_container: Container, sns_calls: SnsCalls) -> None:
    hand = RecordingDispatcher()
    for mobile in (MIRA, NOOR, OMAR):
        sns_container.subscriptions.request_otp(mobile, "subscribe", ADDRESS, sns_container.dispatcher)
        sns_container.subscriptions.subscribe(mobile, sent_to(mobile)[-1][:6], ADDRESS, hand)
    subscribes = 0

    def becomes(_: int, operation: str) -> Fault | None:
        nonlocal subscribes
        subscribes += operation == "Subscribe"
        return "refused" if operation == "Subscribe" and subscribes == 2 else None

    sns_calls.becomes = becomes
    assert sns_container.subscriptions.reconcile() == ReconcileResult(subscribed=2, refused=1)
    assert subscribed_numbers() == [MIRA, OMAR]


def test_the_reconciler_stops_when_its_time_is_up_and_says_what_is_left(container: Container) -> None:
    for mobile in (MIRA, NOOR, OMAR):
        container.subscriptions.request_otp(mobile, "subscribe", ADDRESS, container.dispatcher)
        container.subscriptions.subscribe(mobile, latest_otp(mobile), ADDRESS, RecordingDispatcher())
    seen: list[int] = []
    assert container.subscriptions.reconcile(lambda: len(seen) == 2, seen.append) == ReconcileResult(
        subscribed=2, left=1
    )
    assert container.subscriptions.reconcile() == ReconcileResult(subscribed=1)


def test_reconciling_costs_what_is_out_of_step_and_no_more(sns_container: Container, sns_calls: SnsCalls) -> None:
    for n in range(20):
        Subscriber.create(
            mobile=f"+9190280{n:05}",
            state="active",
            asked_at=sns_container.clock(),
            asked_from=ADDRESS,
            confirmed_at=sns_container.clock(),
            confirmed_from=ADDRESS,
            subscription_arn=f"arn:{n}",
            welcomed_at=sns_container.clock(),
            unsettled_since=sns_container.clock() if n == 7 else None,
        )
    assert sns_container.subscriptions.reconcile() == ReconcileResult(subscribed=1)
    assert sns_calls.made == ["ListPhoneNumbersOptedOut", "CreateTopic", "Subscribe"]


# ---- two at once


def test_who_died_while_settling_is_followed_by_another_after_a_while(container: Container, clock: FakeClock) -> None:
    row = subscribe(container)
    Subscriber.update(unsettled_since=clock(), settling_since=clock(), subscription_arn=None).execute()
    assert container.subscriptions.sync(row.id) == "nothing to do"
    clock.advance(minutes=5)
    assert container.subscriptions.sync(row.id) == "subscribed"
    assert Subscriber.get().subscription_arn is not None


def test_who_leaves_while_being_put_on_the_topic_is_taken_off_it(sns_container: Container, sns_calls: SnsCalls) -> None:
    """Noor leaves in the moment between SNS's taking the number and our knowing of it."""
    hand = RecordingDispatcher()
    sns_container.subscriptions.request_otp(NOOR, "subscribe", ADDRESS, sns_container.dispatcher)
    sns_container.subscriptions.subscribe(NOOR, sent_to(NOOR)[-1][:6], ADDRESS, hand)
    assert isinstance(sns_container.gateway, QuoteSubscription)
    subscribed = sns_container.gateway.subscribe

    def and_leaves(mobile: str) -> str:
        arn = subscribed(mobile)
        elsewhere(sns_container.subscriptions.unsubscribe, mobile, ADDRESS, sns_container.dispatcher)
        return arn

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sns_container.gateway, "subscribe", and_leaves)
        assert sns_container.subscriptions.sync(hand.subscribers[0]) == "unsubscribed"
    assert subscribed_numbers() == []
    assert Subscriber.get().unsettled_since is None


def confirmed(sns_container: Container, mobile: str = MIRA) -> int:
    """Have a number confirmed, and not put on the topic yet. Answer the subscriber's id."""
    hand = RecordingDispatcher()
    sns_container.subscriptions.request_otp(mobile, "subscribe", ADDRESS, sns_container.dispatcher)
    sns_container.subscriptions.subscribe(mobile, sent_to(mobile)[-1][:6], ADDRESS, hand)
    return hand.subscribers[0]


@pytest.mark.parametrize("fault", [None, "timed out", "answer lost"])
def test_who_wakes_up_after_another_took_over_leaves_nobody_on_the_topic_who_left(
    sns_container: Container, sns_calls: SnsCalls, clock: FakeClock, fault: Fault | None
) -> None:
    """One stalls before calling SNS; meanwhile Mira leaves, and another settles that."""
    subscriber_id, subscribe_ = confirmed(sns_container), sns_container.gateway.subscribe

    def stalled(mobile: str) -> str:
        patch.undo()
        clock.advance(minutes=6)
        elsewhere(sns_container.subscriptions.unsubscribe, mobile, ADDRESS, sns_container.dispatcher)
        assert Subscriber.get().unsettled_since is None
        sns_calls.becomes = lambda _, operation: fault if operation == "Subscribe" else None
        return subscribe_(mobile)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sns_container.gateway, "subscribe", stalled)
        with suppress(OutcomeUnknown):
            sns_container.subscriptions.sync(subscriber_id)
    sns_calls.becomes = lambda _number, _operation: None
    sns_container.subscriptions.reconcile()
    assert subscribed_numbers() == []
    assert Subscriber.get().unsettled_since is None


def woken_late(sns_container: Container, clock: FakeClock, meanwhile: Callable[[], None]) -> None:
    """Have somebody stall before putting Mira on the topic until others did what they did."""
    subscriber_id, subscribe_ = confirmed(sns_container), sns_container.gateway.subscribe

    def stalled(mobile: str) -> str:
        patch.undo()
        clock.advance(minutes=6)
        meanwhile()
        return subscribe_(mobile)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sns_container.gateway, "subscribe", stalled)
        with suppress(OutcomeUnknown):
            sns_container.subscriptions.sync(subscriber_id)


@pytest.mark.parametrize("fault", [None, "answer lost"])
def test_who_wakes_up_after_the_number_was_removed_takes_it_off_again(
    sns_container: Container, sns_calls: SnsCalls, clock: FakeClock, fault: Fault | None
) -> None:
    def removed() -> None:
        elsewhere(sns_container.subscriptions.remove, MIRA)
        failing = iter([fault] * 3)  # as often as boto3 tries
        sns_calls.becomes = lambda _, operation: next(failing, None) if operation == "Subscribe" else None

    woken_late(sns_container, clock, removed)
    assert Subscriber.select().count() == 0
    assert subscribed_numbers() == []


def test_who_wakes_up_after_the_number_was_removed_and_came_back_harms_nobody(
    sns_container: Container, clock: FakeClock
) -> None:
    def removed_and_back() -> None:
        elsewhere(sns_container.subscriptions.remove, MIRA)
        elsewhere(subscribe, sns_container, NOOR)  # who may get the row's id
        clock.advance(minutes=2)
        elsewhere(subscribe, sns_container, MIRA)

    woken_late(sns_container, clock, removed_and_back)
    sns_container.subscriptions.reconcile()
    assert subscribed_numbers() == [MIRA, NOOR]
    assert not Subscriber.select().where(Subscriber.unsettled_since.is_null(is_null=False)).exists()


def test_who_took_over_does_not_call_settled_what_another_woke_up_to_undo(
    sns_container: Container, clock: FakeClock
) -> None:
    """Another is at taking Mira off while the one who stalled puts her on."""
    subscriber_id, subscribe_, unsubscribe_ = (
        confirmed(sns_container),
        sns_container.gateway.subscribe,
        sns_container.gateway.unsubscribe,
    )
    has_unsubscribed, go_on = Event(), Event()

    def unsubscribe_and_wait(arn: str) -> None:
        unsubscribe_(arn)
        has_unsubscribed.set()
        assert go_on.wait(10)

    def leave() -> None:
        with bound.connection_context():
            sns_container.subscriptions.unsubscribe(MIRA, ADDRESS, sns_container.dispatcher)

    leaving = Thread(target=leave)

    def stalled(mobile: str) -> str:
        patch.undo()
        clock.advance(minutes=6)
        waiting.setattr(sns_container.gateway, "unsubscribe", unsubscribe_and_wait)
        leaving.start()
        assert has_unsubscribed.wait(10)
        arn = subscribe_(mobile)
        clock.advance(seconds=1)
        return arn

    with pytest.MonkeyPatch.context() as waiting:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sns_container.gateway, "subscribe", stalled)
            sns_container.subscriptions.sync(subscriber_id)
        waiting.undo()
        go_on.set()
        leaving.join()
    assert subscribed_numbers() == []
    assert Subscriber.get().unsettled_since is None


def test_who_comes_back_while_being_removed_is_not_forgotten_on_the_topic(
    sns_container: Container, clock: FakeClock
) -> None:
    subscribe(sns_container)
    unsubscribe_ = sns_container.gateway.unsubscribe
    clock.advance(minutes=2)

    def and_comes_back(arn: str) -> None:
        patch.undo()
        unsubscribe_(arn)
        clock.advance(seconds=1)
        elsewhere(subscribe, sns_container)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sns_container.gateway, "unsubscribe", and_comes_back)
        with pytest.raises(GatewayUnavailable):
            sns_container.subscriptions.remove(MIRA)
    assert (subscribed_numbers(), Subscriber.get().state) == ([MIRA], "active")
    assert sns_container.subscriptions.remove(MIRA)
    assert subscribed_numbers() == []


def test_an_arn_of_before_is_not_taken_for_that_of_now(sns_container: Container, sns_calls: SnsCalls) -> None:
    subscribe(sns_container)
    backend().subscriptions.clear()  # the topic was lost
    sns_calls.becomes = lambda _, operation: "answer lost" if operation == "Subscribe" else None
    assert sns_container.subscriptions.reconcile(everyone=True) == ReconcileResult(failed=1)
    sns_calls.becomes = lambda _number, _operation: None
    assert subscribed_numbers() == [MIRA]
    sns_container.subscriptions.unsubscribe(MIRA, ADDRESS, sns_container.dispatcher)
    assert subscribed_numbers() == []


def test_who_leaves_and_comes_back_while_being_put_on_the_topic_is_on_it(
    sns_container: Container, clock: FakeClock
) -> None:
    subscriber_id, subscribe_ = confirmed(sns_container), sns_container.gateway.subscribe

    def and_changes_their_mind_twice(mobile: str) -> str:
        arn = subscribe_(mobile)
        patch.undo()
        clock.advance(minutes=1)
        sns_container.subscriptions.unsubscribe(mobile, ADDRESS, sns_container.dispatcher)
        sns_container.subscriptions.request_otp(mobile, "subscribe", ADDRESS, sns_container.dispatcher)
        sns_container.subscriptions.subscribe(mobile, sent_to(mobile)[-1][:6], ADDRESS, sns_container.dispatcher)
        return arn

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sns_container.gateway, "subscribe", and_changes_their_mind_twice)
        assert sns_container.subscriptions.sync(subscriber_id) == "subscribed"
    assert subscribed_numbers() == [MIRA]
    assert Subscriber.get().unsettled_since is None


def test_who_left_before_anybody_began_to_put_them_on_the_topic_never_is(
    sns_container: Container, sns_calls: SnsCalls
) -> None:
    hand = RecordingDispatcher()
    sns_container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, sns_container.dispatcher)
    sns_container.subscriptions.subscribe(MIRA, sent_to(MIRA)[-1][:6], ADDRESS, hand)
    sns_container.subscriptions.unsubscribe(MIRA, ADDRESS, hand)
    sns_calls.made.clear()
    sns_calls.becomes = lambda _, operation: None if operation.startswith("List") else "error 500"
    assert sns_container.subscriptions.reconcile() == ReconcileResult(unsubscribed=1)
    assert sns_calls.made == ["ListPhoneNumbersOptedOut"], "nobody asks for the ARN of what was never there"


def left_with_the_answer_lost(sns_container: Container, sns_calls: SnsCalls) -> None:
    """Have Mira put on the topic without our knowing, and leave."""
    hand = RecordingDispatcher()
    sns_container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, sns_container.dispatcher)
    sns_container.subscriptions.subscribe(MIRA, sent_to(MIRA)[-1][:6], ADDRESS, hand)
    sns_calls.becomes = lambda _, operation: "answer lost" if operation == "Subscribe" else None
    with pytest.raises(OutcomeUnknown):
        sns_container.subscriptions.sync(hand.subscribers[0])
    sns_container.subscriptions.unsubscribe(MIRA, ADDRESS, hand)
    assert subscribed_numbers() == [MIRA]


def test_who_left_is_not_taken_for_gone_because_sns_refuses_to_say(
    sns_container: Container, sns_calls: SnsCalls
) -> None:
    left_with_the_answer_lost(sns_container, sns_calls)
    sns_calls.becomes = lambda _, operation: "refused" if operation == "Subscribe" else None
    assert sns_container.subscriptions.reconcile() == ReconcileResult(refused=1)
    sns_calls.becomes = lambda _number, _operation: None
    assert sns_container.subscriptions.reconcile() == ReconcileResult(unsubscribed=1)
    assert subscribed_numbers() == []


def test_an_arn_that_was_asked_for_is_kept_even_if_the_next_call_fails(
    sns_container: Container, sns_calls: SnsCalls
) -> None:
    left_with_the_answer_lost(sns_container, sns_calls)
    sns_calls.becomes = lambda _, operation: "throttled" if operation == "Unsubscribe" else None
    assert sns_container.subscriptions.reconcile() == ReconcileResult(failed=1)
    sns_calls.becomes = lambda _number, _operation: None
    sns_calls.made.clear()
    assert sns_container.subscriptions.reconcile() == ReconcileResult(unsubscribed=1)
    assert sns_calls.made == ["ListPhoneNumbersOptedOut", "Unsubscribe"]


# ---- another topic, or none any more


def test_a_topic_that_was_lost_is_filled_again_when_told_to_and_nobody_is_told_twice(sns_container: Container) -> None:
    for mobile in (MIRA, NOOR):
        subscribe(sns_container, mobile)
    backend().subscriptions.clear()
    assert sns_container.subscriptions.reconcile() == ReconcileResult()
    assert sns_container.subscriptions.reconcile(everyone=True) == ReconcileResult(subscribed=2)
    assert subscribed_numbers() == [MIRA, NOOR]
    assert len(sent_to(MIRA)) == 2, "the code and the confirmation of then"


def test_who_subscribed_on_a_laptop_gets_to_sns_when_told_to(container: Container, sns_container: Container) -> None:
    subscribe(container)
    with pytest.raises(
        GatewayMisconfigured, match="subscribers are on the topic console, and the settings say us-east-1:"
    ):
        sns_container.daily_delivery.publish()
    assert sns_container.subscriptions.reconcile(everyone=True) == ReconcileResult(subscribed=1)
    assert sns_container.daily_delivery.publish().message == "sent to 1"


def test_on_a_laptop_nobody_is_taken_off_sns_in_word_only(container: Container, sns_container: Container) -> None:
    subscribe(sns_container)
    with pytest.raises(GatewayMisconfigured, match="on a topic of Amazon SNS, and SMS_GATEWAY is console here"):
        container.subscriptions.remove(MIRA)
    assert Subscriber.get().unsettled_since is not None
    assert sns_container.subscriptions.remove(MIRA)
    assert subscribed_numbers() == []


# ---- what no watch tells


def test_nobody_waits_for_sns_where_it_is_not_lambdas(sns_container: Container) -> None:
    handing, asked, go_on = ThreadPoolDispatcher(sns_container.subscriptions), Event(), Event()
    send = sns_container.gateway.send_sms

    def slowly(mobile: str, message: str, kind: Literal["code", "confirmation", "quote"]) -> str:
        asked.set()
        assert go_on.wait(10)
        return send(mobile, message, kind)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sns_container.gateway, "send_sms", slowly)
        sns_container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, handing)
        assert asked.wait(10)
        assert sent_to(MIRA) == []
        go_on.set()
        handing._threads.shutdown()
    assert len(sent_to(MIRA)) == 1


def test_what_fails_behind_is_in_the_log_and_no_more(
    sns_container: Container, sns_calls: SnsCalls, caplog: pytest.LogCaptureFixture
) -> None:
    sns_calls.becomes = lambda _, operation: "throttled" if operation == "Publish" else None
    handing = ThreadPoolDispatcher(sns_container.subscriptions)
    sns_container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, handing)
    handing._threads.shutdown()
    assert "Work that was handed on failed" in caplog.text


def test_leaving_is_handed_on_for_everybody(container: Container) -> None:
    row, hand = subscribe(container), RecordingDispatcher()
    container.subscriptions.unsubscribe(MIRA, ADDRESS, hand)
    container.subscriptions.unsubscribe(NOOR, ADDRESS, hand)
    assert hand.subscribers == [row.id, 0]
    assert container.subscriptions.sync(0) == "nothing to do"


# ---- limits once more, where an SMS goes out


def test_a_code_that_waits_is_not_sent_once_sms_are_switched_off(container: Container, clock: FakeClock) -> None:
    hand = RecordingDispatcher()
    container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, hand)
    set_sms_switch(clock(), off=True)
    assert container.subscriptions.send_otp(hand.requests[0]).startswith("not sent: SMS are switched off")
    set_sms_switch(clock(), off=False)
    assert container.subscriptions.send_otp(hand.requests[0]) == "sent a code to +91••••••0001"


def test_codes_to_leave_count_only_if_an_sms_goes_out(container: Container, clock: FakeClock) -> None:
    subscribe(container)
    clock.advance(minutes=1)
    before = SmsUsage.get().count
    container.subscriptions.request_otp(NOOR, "unsubscribe", ADDRESS, container.dispatcher)
    assert SmsUsage.get().count == before
    container.subscriptions.request_otp(MIRA, "unsubscribe", ADDRESS, container.dispatcher)
    assert SmsUsage.get().count == before + 1


def test_while_sms_are_switched_off_who_confirms_is_subscribed_without_an_sms(
    container: Container, clock: FakeClock
) -> None:
    container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, container.dispatcher)
    set_sms_switch(clock(), off=True)
    container.subscriptions.subscribe(MIRA, latest_otp(MIRA), ADDRESS, container.dispatcher)
    assert Subscriber.get().topic == "console"
    assert ConsoleSms.select().count() == 1


def test_who_subscribed_can_leave_wherever_sms_go_by_now(container: Container, clock: FakeClock) -> None:
    subscribe(container)
    clock.advance(minutes=1)
    settings = environment(container.settings, SMS_ALLOWED_REGIONS="US")
    elsewhere = Container(read_settings(settings), now=clock)
    elsewhere.subscriptions.request_otp(MIRA, "unsubscribe", ADDRESS, elsewhere.dispatcher)
    elsewhere.subscriptions.unsubscribe(MIRA, ADDRESS, elsewhere.dispatcher, latest_otp(MIRA))
    assert Subscriber.get().state == "unsubscribed"


def test_a_confirmation_that_did_not_go_out_does_not_count(sns_container: Container, sns_calls: SnsCalls) -> None:
    hand = RecordingDispatcher()
    sns_container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, sns_container.dispatcher)
    sns_container.subscriptions.subscribe(MIRA, sent_to(MIRA)[-1][:6], ADDRESS, hand)
    before = SmsUsage.get().count
    sns_calls.becomes = lambda _, operation: "forbidden" if operation == "Publish" else None
    for _ in range(3):
        with pytest.raises(GatewayMisconfigured):
            sns_container.subscriptions.sync(hand.subscribers[0])
    assert SmsUsage.get().count == before


# ---- forgetting


def test_removing_leaves_nothing_of_a_number(sns_container: Container, clock: FakeClock) -> None:
    subscribe(sns_container)
    sns_container.rate_limits.count_code_to_number(OMAR)
    clock.advance(minutes=1)
    sns_container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, sns_container.dispatcher)
    before = RateLimitLog.select().count()
    assert sns_container.subscriptions.remove(MIRA)
    assert subscribed_numbers() == []
    assert Subscriber.select().count() == OneTimePassword.select().count() == 0
    assert RateLimitLog.select().count() == before - 1, "what was counted for others stays"
    if sns_container.settings.database_path is not None:
        files = sns_container.settings.database_path.parent.glob("working.db*")
        assert not any(MIRA.encode() in file.read_bytes() for file in files)
    assert not sns_container.subscriptions.remove(MIRA)


def test_a_number_that_cannot_be_taken_off_the_topic_is_not_forgotten(
    sns_container: Container, sns_calls: SnsCalls
) -> None:
    subscribe(sns_container)
    sns_calls.becomes = lambda _, operation: "error 500" if operation == "Unsubscribe" else None
    with pytest.raises(OutcomeUnknown):
        sns_container.subscriptions.remove(MIRA)
    assert Subscriber.get().state == "unsubscribed"
    sns_calls.becomes = lambda _number, _operation: None
    assert sns_container.subscriptions.remove(MIRA)


def test_a_number_that_somebody_is_settling_is_not_removed_under_them(container: Container, clock: FakeClock) -> None:
    subscribe(container)
    Subscriber.update(settling_since=clock()).execute()
    with pytest.raises(GatewayUnavailable, match="try again in some minutes"):
        container.subscriptions.remove(MIRA)
    clock.advance(minutes=5)
    assert container.subscriptions.remove(MIRA)


def test_codes_that_had_their_time_are_forgotten_by_the_reconciler(container: Container, clock: FakeClock) -> None:
    container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, container.dispatcher)
    clock.advance(minutes=11)
    with pytest.raises(OtpExpired):
        container.subscriptions.subscribe(MIRA, latest_otp(MIRA), ADDRESS, container.dispatcher)
    clock.moment += timedelta(hours=2)
    container.subscriptions.reconcile()
    with pytest.raises(NoOtpRequested):
        container.subscriptions.subscribe(MIRA, latest_otp(MIRA), ADDRESS, container.dispatcher)
