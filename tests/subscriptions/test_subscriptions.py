from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from threading import Event, Thread
from typing import Literal

import pytest

from quoteapi.container import Service
from quoteapi.settings import read_settings
from quoteapi.sms.gateway import GatewayError, NotAllowed, OutcomeUnknown, Refused, Unavailable
from quoteapi.sms.sns import QuoteSubscription
from quoteapi.storage.models import ConsoleSms, OneTimePassword, SmsCount, Subscriber, TokenBucket
from quoteapi.storage.models import database as bound
from quoteapi.subscriptions.dispatcher import InBackground
from quoteapi.subscriptions.otp import CodeExpired, NoCodeAskedFor, WrongCode
from quoteapi.subscriptions.rate_limits import set_switch
from quoteapi.subscriptions.service import CodeNotSent, Reconciled, RepliedStop, Subscriptions
from tests.helpers.clock import StoppedClock
from tests.helpers.data import MIRA, NOOR, OMAR, code_for, environment, wrong
from tests.helpers.dispatcher import Noted
from tests.helpers.sns_emulator import Calls, Fault, backend, on_the_topic, sent_to
from tests.helpers.sql import counted_statements

ADDRESS = "192.0.2.1"


class Later:
    """Hands work on as Lambda does: the request never hears how it ended, and what failed is tried twice more."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self.send_otp = self._tried(subscriptions.send_code)
        self.subscribe = self.unsubscribe = self._tried(subscriptions.settle)

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


def subscribe(whole: Service, mobile: str = MIRA) -> Subscriber:
    whole.subscriptions.ask(mobile, "subscribe", ADDRESS, whole.handing)
    code = code_for(mobile) if whole.settings.gateway == "console" else sent_to(mobile)[-1][:6]
    whole.subscriptions.confirm(mobile, code, ADDRESS, whole.handing)
    return Subscriber.get(Subscriber.mobile == mobile)


# ---- what a request costs


def test_confirming_costs_five_statements_and_no_call(whole: Service) -> None:
    whole.subscriptions.ask(MIRA, "subscribe", ADDRESS, whole.handing)
    code, hand = code_for(MIRA), Noted()
    with counted_statements() as statements:
        whole.subscriptions.confirm(MIRA, code, ADDRESS, hand)
    assert len(statements) == 5
    assert hand.subscribers == [Subscriber.get().id]


def test_a_wrong_code_costs_three_statements(whole: Service) -> None:
    whole.subscriptions.ask(MIRA, "subscribe", ADDRESS, whole.handing)
    code = wrong(code_for(MIRA))
    with counted_statements() as statements, pytest.raises(WrongCode):
        whole.subscriptions.confirm(MIRA, code, ADDRESS, whole.handing)
    assert len(statements) == 3


def test_asking_costs_seven_statements(whole: Service) -> None:
    with counted_statements() as statements:
        whole.subscriptions.ask(MIRA, "subscribe", ADDRESS, Noted())
    assert len(statements) == 7


def test_asking_costs_one_call_to_sns_before_the_answer(sns: Service, calls: Calls) -> None:
    sns.subscriptions.ask(MIRA, "subscribe", ADDRESS, Noted())
    assert calls.made == ["CheckIfPhoneNumberIsOptedOut"]


def test_leaving_costs_one_call_to_sns(sns: Service, calls: Calls) -> None:
    row = subscribe(sns)
    calls.made.clear()
    sns.subscriptions.leave(MIRA, ADDRESS, sns.handing)
    assert calls.made == ["Unsubscribe"]
    assert row.subscription_arn is not None
    assert on_the_topic() == []


# ---- what is handed on


def test_a_task_is_told_neither_a_number_nor_a_code(whole: Service) -> None:
    hand = Noted()
    whole.subscriptions.ask(MIRA, "subscribe", ADDRESS, hand)
    (request,) = hand.requests
    assert len(request) == 32
    assert int(request, 16)
    whole.subscriptions.send_code(request)
    assert code_for(MIRA) not in request


def test_a_request_for_a_code_that_is_delivered_twice_sends_one(whole: Service) -> None:
    hand = Noted()
    whole.subscriptions.ask(MIRA, "subscribe", ADDRESS, hand)
    assert whole.subscriptions.send_code(hand.requests[0]) == "sent a code to +91••••••0001"
    assert whole.subscriptions.send_code(hand.requests[0]) == "nothing to send"
    assert ConsoleSms.select().count() == 1


def test_who_is_settled_is_not_settled_again(whole: Service) -> None:
    row = subscribe(whole)
    assert whole.subscriptions.settle(row.id) == "nothing to do"
    assert whole.subscriptions.settle(12345) == "nothing to do"
    assert ConsoleSms.select().where(ConsoleSms.kind == "confirmation").count() == 1


def test_a_subscription_stands_even_if_nobody_can_be_handed_it(whole: Service) -> None:
    class Broken(Noted):
        def subscribe(self, subscriber_id: int) -> None:
            raise RuntimeError("Lambda takes no more")

    whole.subscriptions.ask(MIRA, "subscribe", ADDRESS, whole.handing)
    whole.subscriptions.confirm(MIRA, code_for(MIRA), ADDRESS, Broken())
    assert Subscriber.get().unsettled_since is not None
    assert whole.subscriptions.reconcile() == Reconciled(subscribed=1)
    assert Subscriber.get().subscription_arn is not None


# ---- STOP


def test_who_replied_stop_is_refused_before_a_code_is_made(sns: Service) -> None:
    with pytest.raises(RepliedStop):
        sns.subscriptions.ask("+919028000099", "subscribe", ADDRESS, sns.handing)
    assert sent_to("+919028000099") == []


def test_who_replied_stop_is_taken_off_the_topic_by_the_reconciler(sns: Service) -> None:
    subscribe(sns, MIRA)
    subscribe(sns, NOOR)
    backend().opt_out_numbers[:] = [MIRA, OMAR]
    assert sns.subscriptions.reconcile() == Reconciled(unsubscribed=1, stopped=1)
    assert on_the_topic() == [NOOR]
    assert Subscriber.get(Subscriber.mobile == MIRA).state == "stopped"
    assert sns.subscriptions.reconcile() == Reconciled()


def test_who_replied_stop_and_start_can_come_back(sns: Service, clock: StoppedClock) -> None:
    subscribe(sns)
    backend().opt_out_numbers[:] = [MIRA]
    sns.subscriptions.reconcile()
    backend().opt_out_numbers.clear()
    clock.pass_by(minutes=1)
    subscribe(sns)
    assert Subscriber.get().state == "active"
    assert on_the_topic() == [MIRA]


def test_who_left_before_they_replied_stop_has_left(sns: Service) -> None:
    subscribe(sns)
    sns.subscriptions.leave(MIRA, ADDRESS, sns.handing)
    backend().opt_out_numbers[:] = [MIRA]
    assert sns.subscriptions.reconcile() == Reconciled()
    assert Subscriber.get().state == "unsubscribed"


def test_where_nobody_knows_who_replied_stop_the_code_is_sent(sns: Service, calls: Calls) -> None:
    calls.becomes = lambda _, operation: "error 500" if operation.startswith("CheckIf") else None
    sns.subscriptions.ask(MIRA, "subscribe", ADDRESS, sns.handing)
    assert len(sent_to(MIRA)) == 1


# ---- failures

FAULTS: tuple[Fault, ...] = ("throttled", "refused", "forbidden", "error 500", "timed out", "answer lost")


@pytest.mark.parametrize("fault", ["throttled", "refused"])
def test_a_code_that_did_not_go_out_is_made_anew_by_the_next_try(sns: Service, calls: Calls, fault: Fault) -> None:
    hand = Noted()
    sns.subscriptions.ask(MIRA, "subscribe", ADDRESS, hand)
    calls.becomes = lambda number, _: fault if number == 1 else None
    with pytest.raises((Unavailable, Refused)):
        sns.subscriptions.send_code(hand.requests[0])
    sns.subscriptions.send_code(hand.requests[0])
    (message,) = sent_to(MIRA)
    sns.subscriptions.confirm(MIRA, message[:6], ADDRESS, sns.handing)
    assert on_the_topic() == [MIRA]


@pytest.mark.parametrize("fault", ["error 500", "timed out", "answer lost"])
def test_a_code_that_may_have_gone_out_is_not_sent_again_and_fails_for_all_to_see(
    sns: Service, calls: Calls, fault: Fault
) -> None:
    hand = Noted()
    sns.subscriptions.ask(MIRA, "subscribe", ADDRESS, hand)
    calls.becomes = lambda number, _: fault if number == 1 else None
    for _ in range(3):
        with pytest.raises(OutcomeUnknown):
            sns.subscriptions.send_code(hand.requests[0])
    assert calls.made.count("Publish") == 1
    if fault == "answer lost":
        (message,) = sent_to(MIRA)
        sns.subscriptions.confirm(MIRA, message[:6], ADDRESS, sns.handing)
        assert on_the_topic() == [MIRA]


def test_where_the_request_sends_the_code_itself_it_says_that_it_could_not(sns: Service, calls: Calls) -> None:
    calls.becomes = lambda _, operation: "throttled" if operation == "Publish" else None
    with pytest.raises(CodeNotSent):
        sns.subscriptions.ask(MIRA, "subscribe", ADDRESS, sns.handing)


def live_through(sns: Service, clock: StoppedClock) -> dict[str, int]:
    """Let Mira subscribe and stay, Noor subscribe and leave, Omar ask and do no more. Answer how often each asked."""
    hand = Later(sns.subscriptions)
    asked = {MIRA: 0, NOOR: 0, OMAR: 0}
    for mobile in asked:
        for _ in range(3):  # who got no code asks again
            clock.pass_by(minutes=11)
            before = len(sent_to(mobile))
            sns.subscriptions.ask(mobile, "subscribe", ADDRESS, hand)
            asked[mobile] += 1
            assert len(sent_to(mobile)) - before <= 1, "one code for one request"
            if sent_to(mobile):
                break
        if mobile != OMAR:
            sns.subscriptions.confirm(mobile, sent_to(mobile)[-1][:6], ADDRESS, hand)
    sns.subscriptions.leave(NOOR, ADDRESS, hand)
    return asked


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("fault", FAULTS)
def test_whichever_call_fails_in_the_end_sns_agrees_and_nobody_got_two_codes(
    sns: Service, calls: Calls, clock: StoppedClock, fault: Fault, times: int
) -> None:
    number_of_calls = 40
    failed = set()
    for first in range(number_of_calls):
        for table in (Subscriber, OneTimePassword, SmsCount):
            table.delete().execute()
        backend().sms_messages.clear()
        backend().subscriptions.clear()
        calls.made.clear()

        def becomes(number: int, operation: str, first: int = first) -> Fault | None:
            if first <= number < first + times:
                failed.add(operation)
                return fault
            return None

        calls.becomes = becomes
        asked = live_through(sns, clock)
        clock.pass_by(minutes=6)
        sns.subscriptions.reconcile()
        calls.becomes = lambda _number, _operation: None
        clock.pass_by(hours=1)
        sns.subscriptions.reconcile()
        assert on_the_topic() == [MIRA], f"after call {first}"
        assert {row.mobile: (row.state, row.unsettled_since) for row in Subscriber.select()} == {
            MIRA: ("active", None),
            NOOR: ("unsubscribed", None),
        }
        for mobile, times_asked in asked.items():
            codes = [message for message in sent_to(mobile) if "is your QuoteAPI code" in message]
            assert len(codes) <= times_asked
            assert len(sent_to(mobile)) - len(codes) <= 1, "one confirmation"
        if len(calls.made) <= first:
            break
        clock.pass_by(days=2)
    else:
        pytest.fail("there were more calls than were made to fail")
    assert failed >= {"CheckIfPhoneNumberIsOptedOut", "Publish", "Subscribe", "Unsubscribe", "ListPhoneNumbersOptedOut"}


def test_one_bad_number_does_not_stop_the_rest(sns: Service, calls: Calls) -> None:
    hand = Noted()
    for mobile in (MIRA, NOOR, OMAR):
        sns.subscriptions.ask(mobile, "subscribe", ADDRESS, sns.handing)
        sns.subscriptions.confirm(mobile, sent_to(mobile)[-1][:6], ADDRESS, hand)
    subscribes = 0

    def becomes(_: int, operation: str) -> Fault | None:
        nonlocal subscribes
        subscribes += operation == "Subscribe"
        return "refused" if operation == "Subscribe" and subscribes == 2 else None

    calls.becomes = becomes
    assert sns.subscriptions.reconcile() == Reconciled(subscribed=2, refused=1)
    assert on_the_topic() == [MIRA, OMAR]


def test_the_reconciler_stops_when_its_time_is_up_and_says_what_is_left(whole: Service) -> None:
    for mobile in (MIRA, NOOR, OMAR):
        whole.subscriptions.ask(mobile, "subscribe", ADDRESS, whole.handing)
        whole.subscriptions.confirm(mobile, code_for(mobile), ADDRESS, Noted())
    seen: list[int] = []
    assert whole.subscriptions.reconcile(lambda: len(seen) == 2, seen.append) == Reconciled(subscribed=2, left=1)
    assert whole.subscriptions.reconcile() == Reconciled(subscribed=1)


def test_reconciling_costs_what_is_out_of_step_and_no_more(sns: Service, calls: Calls) -> None:
    for n in range(20):
        Subscriber.create(
            mobile=f"+9190280{n:05}",
            state="active",
            asked_at=sns.clock(),
            asked_from=ADDRESS,
            confirmed_at=sns.clock(),
            confirmed_from=ADDRESS,
            subscription_arn=f"arn:{n}",
            welcomed_at=sns.clock(),
            unsettled_since=sns.clock() if n == 7 else None,
        )
    assert sns.subscriptions.reconcile() == Reconciled(subscribed=1)
    assert calls.made == ["ListPhoneNumbersOptedOut", "CreateTopic", "Subscribe"]


# ---- two at once


def test_who_died_while_settling_is_followed_by_another_after_a_while(whole: Service, clock: StoppedClock) -> None:
    row = subscribe(whole)
    Subscriber.update(unsettled_since=clock(), settling_since=clock(), subscription_arn=None).execute()
    assert whole.subscriptions.settle(row.id) == "nothing to do"
    clock.pass_by(minutes=5)
    assert whole.subscriptions.settle(row.id) == "subscribed"
    assert Subscriber.get().subscription_arn is not None


def test_who_leaves_while_being_put_on_the_topic_is_taken_off_it(sns: Service, calls: Calls) -> None:
    """Noor leaves in the moment between SNS's taking the number and our knowing of it."""
    hand = Noted()
    sns.subscriptions.ask(NOOR, "subscribe", ADDRESS, sns.handing)
    sns.subscriptions.confirm(NOOR, sent_to(NOOR)[-1][:6], ADDRESS, hand)
    assert isinstance(sns.gateway, QuoteSubscription)
    subscribed = sns.gateway.subscribe

    def and_leaves(mobile: str) -> str:
        arn = subscribed(mobile)
        elsewhere(sns.subscriptions.leave, mobile, ADDRESS, sns.handing)
        return arn

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sns.gateway, "subscribe", and_leaves)
        assert sns.subscriptions.settle(hand.subscribers[0]) == "unsubscribed"
    assert on_the_topic() == []
    assert Subscriber.get().unsettled_since is None


def confirmed(sns: Service, mobile: str = MIRA) -> int:
    """Have a number confirmed, and not put on the topic yet. Answer the subscriber's id."""
    hand = Noted()
    sns.subscriptions.ask(mobile, "subscribe", ADDRESS, sns.handing)
    sns.subscriptions.confirm(mobile, sent_to(mobile)[-1][:6], ADDRESS, hand)
    return hand.subscribers[0]


@pytest.mark.parametrize("fault", [None, "timed out", "answer lost"])
def test_who_wakes_up_after_another_took_over_leaves_nobody_on_the_topic_who_left(
    sns: Service, calls: Calls, clock: StoppedClock, fault: Fault | None
) -> None:
    """One stalls before calling SNS; meanwhile Mira leaves, and another settles that."""
    subscriber_id, subscribe_ = confirmed(sns), sns.gateway.subscribe

    def stalled(mobile: str) -> str:
        patch.undo()
        clock.pass_by(minutes=6)
        elsewhere(sns.subscriptions.leave, mobile, ADDRESS, sns.handing)
        assert Subscriber.get().unsettled_since is None
        calls.becomes = lambda _, operation: fault if operation == "Subscribe" else None
        return subscribe_(mobile)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sns.gateway, "subscribe", stalled)
        with suppress(OutcomeUnknown):
            sns.subscriptions.settle(subscriber_id)
    calls.becomes = lambda _number, _operation: None
    sns.subscriptions.reconcile()
    assert on_the_topic() == []
    assert Subscriber.get().unsettled_since is None


def woken_late(sns: Service, clock: StoppedClock, meanwhile: Callable[[], None]) -> None:
    """Have somebody stall before putting Mira on the topic until others did what they did."""
    subscriber_id, subscribe_ = confirmed(sns), sns.gateway.subscribe

    def stalled(mobile: str) -> str:
        patch.undo()
        clock.pass_by(minutes=6)
        meanwhile()
        return subscribe_(mobile)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sns.gateway, "subscribe", stalled)
        with suppress(OutcomeUnknown):
            sns.subscriptions.settle(subscriber_id)


@pytest.mark.parametrize("fault", [None, "answer lost"])
def test_who_wakes_up_after_the_number_was_removed_takes_it_off_again(
    sns: Service, calls: Calls, clock: StoppedClock, fault: Fault | None
) -> None:
    def removed() -> None:
        elsewhere(sns.subscriptions.remove, MIRA)
        failing = iter([fault] * 3)  # as often as boto3 tries
        calls.becomes = lambda _, operation: next(failing, None) if operation == "Subscribe" else None

    woken_late(sns, clock, removed)
    assert Subscriber.select().count() == 0
    assert on_the_topic() == []


def test_who_wakes_up_after_the_number_was_removed_and_came_back_harms_nobody(
    sns: Service, clock: StoppedClock
) -> None:
    def removed_and_back() -> None:
        elsewhere(sns.subscriptions.remove, MIRA)
        elsewhere(subscribe, sns, NOOR)  # who may get the row's id
        clock.pass_by(minutes=2)
        elsewhere(subscribe, sns, MIRA)

    woken_late(sns, clock, removed_and_back)
    sns.subscriptions.reconcile()
    assert on_the_topic() == [MIRA, NOOR]
    assert not Subscriber.select().where(Subscriber.unsettled_since.is_null(is_null=False)).exists()


def test_who_took_over_does_not_call_settled_what_another_woke_up_to_undo(sns: Service, clock: StoppedClock) -> None:
    """Another is at taking Mira off while the one who stalled puts her on."""
    subscriber_id, subscribe_, unsubscribe_ = confirmed(sns), sns.gateway.subscribe, sns.gateway.unsubscribe
    has_unsubscribed, go_on = Event(), Event()

    def unsubscribe_and_wait(arn: str) -> None:
        unsubscribe_(arn)
        has_unsubscribed.set()
        assert go_on.wait(10)

    def leave() -> None:
        with bound.connection_context():
            sns.subscriptions.leave(MIRA, ADDRESS, sns.handing)

    leaving = Thread(target=leave)

    def stalled(mobile: str) -> str:
        patch.undo()
        clock.pass_by(minutes=6)
        waiting.setattr(sns.gateway, "unsubscribe", unsubscribe_and_wait)
        leaving.start()
        assert has_unsubscribed.wait(10)
        arn = subscribe_(mobile)
        clock.pass_by(seconds=1)
        return arn

    with pytest.MonkeyPatch.context() as waiting:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sns.gateway, "subscribe", stalled)
            sns.subscriptions.settle(subscriber_id)
        waiting.undo()
        go_on.set()
        leaving.join()
    assert on_the_topic() == []
    assert Subscriber.get().unsettled_since is None


def test_who_comes_back_while_being_removed_is_not_forgotten_on_the_topic(sns: Service, clock: StoppedClock) -> None:
    subscribe(sns)
    unsubscribe_ = sns.gateway.unsubscribe
    clock.pass_by(minutes=2)

    def and_comes_back(arn: str) -> None:
        patch.undo()
        unsubscribe_(arn)
        clock.pass_by(seconds=1)
        elsewhere(subscribe, sns)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sns.gateway, "unsubscribe", and_comes_back)
        with pytest.raises(Unavailable):
            sns.subscriptions.remove(MIRA)
    assert (on_the_topic(), Subscriber.get().state) == ([MIRA], "active")
    assert sns.subscriptions.remove(MIRA)
    assert on_the_topic() == []


def test_an_arn_of_before_is_not_taken_for_that_of_now(sns: Service, calls: Calls) -> None:
    subscribe(sns)
    backend().subscriptions.clear()  # the topic was lost
    calls.becomes = lambda _, operation: "answer lost" if operation == "Subscribe" else None
    assert sns.subscriptions.reconcile(everyone=True) == Reconciled(failed=1)
    calls.becomes = lambda _number, _operation: None
    assert on_the_topic() == [MIRA]
    sns.subscriptions.leave(MIRA, ADDRESS, sns.handing)
    assert on_the_topic() == []


def test_who_leaves_and_comes_back_while_being_put_on_the_topic_is_on_it(sns: Service, clock: StoppedClock) -> None:
    subscriber_id, subscribe_ = confirmed(sns), sns.gateway.subscribe

    def and_changes_their_mind_twice(mobile: str) -> str:
        arn = subscribe_(mobile)
        patch.undo()
        clock.pass_by(minutes=1)
        sns.subscriptions.leave(mobile, ADDRESS, sns.handing)
        sns.subscriptions.ask(mobile, "subscribe", ADDRESS, sns.handing)
        sns.subscriptions.confirm(mobile, sent_to(mobile)[-1][:6], ADDRESS, sns.handing)
        return arn

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sns.gateway, "subscribe", and_changes_their_mind_twice)
        assert sns.subscriptions.settle(subscriber_id) == "subscribed"
    assert on_the_topic() == [MIRA]
    assert Subscriber.get().unsettled_since is None


def test_who_left_before_anybody_began_to_put_them_on_the_topic_never_is(sns: Service, calls: Calls) -> None:
    hand = Noted()
    sns.subscriptions.ask(MIRA, "subscribe", ADDRESS, sns.handing)
    sns.subscriptions.confirm(MIRA, sent_to(MIRA)[-1][:6], ADDRESS, hand)
    sns.subscriptions.leave(MIRA, ADDRESS, hand)
    calls.made.clear()
    calls.becomes = lambda _, operation: None if operation.startswith("List") else "error 500"
    assert sns.subscriptions.reconcile() == Reconciled(unsubscribed=1)
    assert calls.made == ["ListPhoneNumbersOptedOut"], "nobody asks for the ARN of what was never there"


def left_with_the_answer_lost(sns: Service, calls: Calls) -> None:
    """Have Mira put on the topic without our knowing, and leave."""
    hand = Noted()
    sns.subscriptions.ask(MIRA, "subscribe", ADDRESS, sns.handing)
    sns.subscriptions.confirm(MIRA, sent_to(MIRA)[-1][:6], ADDRESS, hand)
    calls.becomes = lambda _, operation: "answer lost" if operation == "Subscribe" else None
    with pytest.raises(OutcomeUnknown):
        sns.subscriptions.settle(hand.subscribers[0])
    sns.subscriptions.leave(MIRA, ADDRESS, hand)
    assert on_the_topic() == [MIRA]


def test_who_left_is_not_taken_for_gone_because_sns_refuses_to_say(sns: Service, calls: Calls) -> None:
    left_with_the_answer_lost(sns, calls)
    calls.becomes = lambda _, operation: "refused" if operation == "Subscribe" else None
    assert sns.subscriptions.reconcile() == Reconciled(refused=1)
    calls.becomes = lambda _number, _operation: None
    assert sns.subscriptions.reconcile() == Reconciled(unsubscribed=1)
    assert on_the_topic() == []


def test_an_arn_that_was_asked_for_is_kept_even_if_the_next_call_fails(sns: Service, calls: Calls) -> None:
    left_with_the_answer_lost(sns, calls)
    calls.becomes = lambda _, operation: "throttled" if operation == "Unsubscribe" else None
    assert sns.subscriptions.reconcile() == Reconciled(failed=1)
    calls.becomes = lambda _number, _operation: None
    calls.made.clear()
    assert sns.subscriptions.reconcile() == Reconciled(unsubscribed=1)
    assert calls.made == ["ListPhoneNumbersOptedOut", "Unsubscribe"]


# ---- another topic, or none any more


def test_a_topic_that_was_lost_is_filled_again_when_told_to_and_nobody_is_told_twice(sns: Service) -> None:
    for mobile in (MIRA, NOOR):
        subscribe(sns, mobile)
    backend().subscriptions.clear()
    assert sns.subscriptions.reconcile() == Reconciled()
    assert sns.subscriptions.reconcile(everyone=True) == Reconciled(subscribed=2)
    assert on_the_topic() == [MIRA, NOOR]
    assert len(sent_to(MIRA)) == 2, "the code and the confirmation of then"


def test_who_subscribed_on_a_laptop_gets_to_sns_when_told_to(whole: Service, sns: Service) -> None:
    subscribe(whole)
    with pytest.raises(NotAllowed, match="subscribers are on the topic console, and the settings say us-east-1:"):
        sns.deliveries.publish()
    assert sns.subscriptions.reconcile(everyone=True) == Reconciled(subscribed=1)
    assert sns.deliveries.publish().message == "sent to 1"


def test_on_a_laptop_nobody_is_taken_off_sns_in_word_only(whole: Service, sns: Service) -> None:
    subscribe(sns)
    with pytest.raises(NotAllowed, match="on a topic of Amazon SNS, and SMS_GATEWAY is console here"):
        whole.subscriptions.remove(MIRA)
    assert Subscriber.get().unsettled_since is not None
    assert sns.subscriptions.remove(MIRA)
    assert on_the_topic() == []


# ---- what no watch tells


def test_nobody_waits_for_sns_where_it_is_not_lambdas(sns: Service) -> None:
    handing, asked, go_on = InBackground(sns.subscriptions), Event(), Event()
    send = sns.gateway.send_sms

    def slowly(mobile: str, message: str, kind: Literal["code", "confirmation", "quote"]) -> str:
        asked.set()
        assert go_on.wait(10)
        return send(mobile, message, kind)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sns.gateway, "send_sms", slowly)
        sns.subscriptions.ask(MIRA, "subscribe", ADDRESS, handing)
        assert asked.wait(10)
        assert sent_to(MIRA) == []
        go_on.set()
        handing._threads.shutdown()
    assert len(sent_to(MIRA)) == 1


def test_what_fails_behind_is_in_the_log_and_no_more(
    sns: Service, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    calls.becomes = lambda _, operation: "throttled" if operation == "Publish" else None
    handing = InBackground(sns.subscriptions)
    sns.subscriptions.ask(MIRA, "subscribe", ADDRESS, handing)
    handing._threads.shutdown()
    assert "Work that was handed on failed" in caplog.text


def test_leaving_is_handed_on_for_everybody(whole: Service) -> None:
    row, hand = subscribe(whole), Noted()
    whole.subscriptions.leave(MIRA, ADDRESS, hand)
    whole.subscriptions.leave(NOOR, ADDRESS, hand)
    assert hand.subscribers == [row.id, 0]
    assert whole.subscriptions.settle(0) == "nothing to do"


# ---- limits once more, where an SMS goes out


def test_a_code_that_waits_is_not_sent_once_sms_are_switched_off(whole: Service, clock: StoppedClock) -> None:
    hand = Noted()
    whole.subscriptions.ask(MIRA, "subscribe", ADDRESS, hand)
    set_switch(clock(), off=True)
    assert whole.subscriptions.send_code(hand.requests[0]).startswith("not sent: SMS are switched off")
    set_switch(clock(), off=False)
    assert whole.subscriptions.send_code(hand.requests[0]) == "sent a code to +91••••••0001"


def test_codes_to_leave_count_only_if_an_sms_goes_out(whole: Service, clock: StoppedClock) -> None:
    subscribe(whole)
    clock.pass_by(minutes=1)
    before = SmsCount.get().count
    whole.subscriptions.ask(NOOR, "unsubscribe", ADDRESS, whole.handing)
    assert SmsCount.get().count == before
    whole.subscriptions.ask(MIRA, "unsubscribe", ADDRESS, whole.handing)
    assert SmsCount.get().count == before + 1


def test_while_sms_are_switched_off_who_confirms_is_subscribed_without_an_sms(
    whole: Service, clock: StoppedClock
) -> None:
    whole.subscriptions.ask(MIRA, "subscribe", ADDRESS, whole.handing)
    set_switch(clock(), off=True)
    whole.subscriptions.confirm(MIRA, code_for(MIRA), ADDRESS, whole.handing)
    assert Subscriber.get().topic == "console"
    assert ConsoleSms.select().count() == 1


def test_who_subscribed_can_leave_wherever_sms_go_by_now(whole: Service, clock: StoppedClock) -> None:
    subscribe(whole)
    clock.pass_by(minutes=1)
    settings = environment(whole.settings, SMS_ALLOWED_REGIONS="US")
    elsewhere = Service(read_settings(settings), now=clock)
    elsewhere.subscriptions.ask(MIRA, "unsubscribe", ADDRESS, elsewhere.handing)
    elsewhere.subscriptions.leave(MIRA, ADDRESS, elsewhere.handing, code_for(MIRA))
    assert Subscriber.get().state == "unsubscribed"


def test_a_confirmation_that_did_not_go_out_does_not_count(sns: Service, calls: Calls) -> None:
    hand = Noted()
    sns.subscriptions.ask(MIRA, "subscribe", ADDRESS, sns.handing)
    sns.subscriptions.confirm(MIRA, sent_to(MIRA)[-1][:6], ADDRESS, hand)
    before = SmsCount.get().count
    calls.becomes = lambda _, operation: "forbidden" if operation == "Publish" else None
    for _ in range(3):
        with pytest.raises(NotAllowed):
            sns.subscriptions.settle(hand.subscribers[0])
    assert SmsCount.get().count == before


# ---- forgetting


def test_removing_leaves_nothing_of_a_number(sns: Service, clock: StoppedClock) -> None:
    subscribe(sns)
    sns.limits.codes_to_number(OMAR)
    clock.pass_by(minutes=1)
    sns.subscriptions.ask(MIRA, "subscribe", ADDRESS, sns.handing)
    before = TokenBucket.select().count()
    assert sns.subscriptions.remove(MIRA)
    assert on_the_topic() == []
    assert Subscriber.select().count() == OneTimePassword.select().count() == 0
    assert TokenBucket.select().count() == before - 1, "what was counted for others stays"
    if sns.settings.database_path is not None:
        files = sns.settings.database_path.parent.glob("working.db*")
        assert not any(MIRA.encode() in file.read_bytes() for file in files)
    assert not sns.subscriptions.remove(MIRA)


def test_a_number_that_cannot_be_taken_off_the_topic_is_not_forgotten(sns: Service, calls: Calls) -> None:
    subscribe(sns)
    calls.becomes = lambda _, operation: "error 500" if operation == "Unsubscribe" else None
    with pytest.raises(OutcomeUnknown):
        sns.subscriptions.remove(MIRA)
    assert Subscriber.get().state == "unsubscribed"
    calls.becomes = lambda _number, _operation: None
    assert sns.subscriptions.remove(MIRA)


def test_a_number_that_somebody_is_settling_is_not_removed_under_them(whole: Service, clock: StoppedClock) -> None:
    subscribe(whole)
    Subscriber.update(settling_since=clock()).execute()
    with pytest.raises(Unavailable, match="try again in some minutes"):
        whole.subscriptions.remove(MIRA)
    clock.pass_by(minutes=5)
    assert whole.subscriptions.remove(MIRA)


def test_codes_that_had_their_time_are_forgotten_by_the_reconciler(whole: Service, clock: StoppedClock) -> None:
    whole.subscriptions.ask(MIRA, "subscribe", ADDRESS, whole.handing)
    clock.pass_by(minutes=11)
    with pytest.raises(CodeExpired):
        whole.subscriptions.confirm(MIRA, code_for(MIRA), ADDRESS, whole.handing)
    clock.moment += timedelta(hours=2)
    whole.subscriptions.reconcile()
    with pytest.raises(NoCodeAskedFor):
        whole.subscriptions.confirm(MIRA, code_for(MIRA), ADDRESS, whole.handing)
