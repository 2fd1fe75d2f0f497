from typing import get_args

import pytest

from quoteapi.container import Container
from quoteapi.settings import RateLimit, read_settings
from quoteapi.sms.gateway import GatewayMisconfigured, GatewayUnavailable, NumberRejected, OutcomeUnknown
from quoteapi.storage.models import ConsoleSms, OneTimePassword, RateLimitLog, SmsUsage, Subscriber
from quoteapi.storage.sql_state import SqlState
from quoteapi.storage.state import Purpose, StateUnavailable
from quoteapi.subscriptions.errors import OptedOut, OtpNotSent, RateLimited, WrongOtp
from quoteapi.subscriptions.sliding_window import CountedEvent, RateLimitStatus
from quoteapi.subscriptions.topic_sync import ReconcileResult
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, NOOR, OMAR, environment, latest_otp, wrong_otp
from tests.helpers.dispatcher import RecordingDispatcher
from tests.helpers.sns_emulator import Fault, SnsCalls, sent_to, subscribed_numbers
from tests.helpers.sql import record_sql
from tests.helpers.subscribing import CLIENT_IP, request_otp, run_in_thread, subscribe

# ---- costs


def test_subscribing_costs_seven_statements_and_no_gateway_call(container: Container) -> None:
    container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, container.dispatcher)
    code, dispatcher = latest_otp(MIRA), RecordingDispatcher()
    with record_sql() as statements:
        container.subscriptions.subscribe(MIRA, code, CLIENT_IP, dispatcher)
    assert len(statements) == 7
    assert dispatcher.subscribers == [str(Subscriber.get().id)]


def test_a_wrong_otp_costs_three_statements(container: Container) -> None:
    container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, container.dispatcher)
    code = wrong_otp(latest_otp(MIRA))
    with record_sql() as statements, pytest.raises(WrongOtp):
        container.subscriptions.subscribe(MIRA, code, CLIENT_IP, container.dispatcher)
    assert len(statements) == 3


def test_requesting_an_otp_costs_eight_statements(container: Container) -> None:
    with record_sql() as statements:
        container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, RecordingDispatcher())
    assert len(statements) == 8


def test_requesting_an_otp_costs_one_call_to_sns_before_the_response(
    sns_container: Container, sns_calls: SnsCalls
) -> None:
    sns_container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, RecordingDispatcher())
    assert sns_calls.operations == ["CheckIfPhoneNumberIsOptedOut"]


def test_unsubscribing_costs_one_call_to_sns(sns_container: Container, sns_calls: SnsCalls) -> None:
    row = subscribe(sns_container)
    sns_calls.operations.clear()
    sns_container.subscriptions.unsubscribe(MIRA, CLIENT_IP, sns_container.dispatcher)
    assert sns_calls.operations == ["Unsubscribe"]
    assert row.subscription_arn is not None
    assert subscribed_numbers() == []


# ---- requests and their OTPs


def test_a_task_payload_has_neither_a_number_nor_an_otp(container: Container) -> None:
    dispatcher = RecordingDispatcher()
    container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, dispatcher)
    (request_id,) = dispatcher.requests
    assert len(request_id) == 32
    assert int(request_id, 16)
    container.subscriptions.send_otp(request_id)
    assert latest_otp(MIRA) not in request_id


def test_a_task_that_is_delivered_twice_sends_one_otp(container: Container) -> None:
    dispatcher = RecordingDispatcher()
    container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, dispatcher)
    assert container.subscriptions.send_otp(dispatcher.requests[0]) == "sent a code to +91••••••0001"
    assert container.subscriptions.send_otp(dispatcher.requests[0]) == "nothing to send"
    assert ConsoleSms.select().count() == 1


def test_a_number_that_opted_out_is_refused_before_an_otp_is_generated(sns_container: Container) -> None:
    with pytest.raises(OptedOut):
        sns_container.subscriptions.request_otp("+919028000099", "subscribe", CLIENT_IP, sns_container.dispatcher)
    assert sent_to("+919028000099") == []


def test_the_otp_is_sent_if_opt_outs_cannot_be_checked(sns_container: Container, sns_calls: SnsCalls) -> None:
    sns_calls.fault_for = lambda _, operation: "error 500" if operation.startswith("CheckIf") else None
    sns_container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, sns_container.dispatcher)
    assert len(sent_to(MIRA)) == 1


@pytest.mark.parametrize("fault", ["throttled", "refused"])
def test_a_retry_generates_another_otp_if_the_first_was_not_sent(
    sns_container: Container, sns_calls: SnsCalls, fault: Fault
) -> None:
    dispatcher = RecordingDispatcher()
    sns_container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, dispatcher)
    sns_calls.fault_for = lambda number, _: fault if number == 1 else None
    with pytest.raises((GatewayUnavailable, NumberRejected)):
        sns_container.subscriptions.send_otp(dispatcher.requests[0])
    sns_container.subscriptions.send_otp(dispatcher.requests[0])
    (message,) = sent_to(MIRA)
    sns_container.subscriptions.subscribe(MIRA, message[:6], CLIENT_IP, sns_container.dispatcher)
    assert subscribed_numbers() == [MIRA]


@pytest.mark.parametrize("fault", ["error 500", "timed out", "answer lost"])
def test_an_otp_with_an_unknown_outcome_is_not_sent_again_and_the_task_fails(
    sns_container: Container, sns_calls: SnsCalls, fault: Fault
) -> None:
    dispatcher = RecordingDispatcher()
    sns_container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, dispatcher)
    sns_calls.fault_for = lambda number, _: fault if number == 1 else None
    for _ in range(3):
        with pytest.raises(OutcomeUnknown):
            sns_container.subscriptions.send_otp(dispatcher.requests[0])
    assert sns_calls.operations.count("Publish") == 1
    if fault == "answer lost":
        (message,) = sent_to(MIRA)
        sns_container.subscriptions.subscribe(MIRA, message[:6], CLIENT_IP, sns_container.dispatcher)
        assert subscribed_numbers() == [MIRA]


def test_a_request_that_sends_the_otp_itself_reports_that_it_was_not_sent(
    sns_container: Container, sns_calls: SnsCalls
) -> None:
    sns_calls.fault_for = lambda _, operation: "throttled" if operation == "Publish" else None
    with pytest.raises(OtpNotSent):
        sns_container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, sns_container.dispatcher)


def test_an_otp_that_is_not_sent_still_says_what_the_client_ip_has_left(
    sns_container: Container, sns_calls: SnsCalls
) -> None:
    ten_an_hour = RateLimit(10, 3_600)
    with pytest.raises(OptedOut) as refused:
        sns_container.subscriptions.request_otp("+919028000099", "subscribe", CLIENT_IP, sns_container.dispatcher)
    assert refused.value.rate_limits == (RateLimitStatus("codes", ten_an_hour, 9, 3_600),)
    sns_calls.fault_for = lambda _, operation: "throttled" if operation == "Publish" else None
    with pytest.raises(OtpNotSent) as failed:
        sns_container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, sns_container.dispatcher)
    assert failed.value.rate_limits == (RateLimitStatus("codes", ten_an_hour, 8, 3_600),)


def test_requests_return_what_the_client_ip_has_left(container: Container) -> None:
    subscriptions, dispatcher = container.subscriptions, container.dispatcher
    (codes,) = subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, dispatcher)
    assert (codes.policy, codes.remaining) == ("codes", 9)
    code = latest_otp(MIRA)
    with pytest.raises(WrongOtp) as rejected:
        subscriptions.subscribe(MIRA, wrong_otp(code), CLIENT_IP, dispatcher)
    (tries,) = rejected.value.rate_limits
    assert (tries.policy, tries.remaining) == ("tries", 29)
    assert subscriptions.subscribe(MIRA, code, CLIENT_IP, dispatcher) == ()
    (codes,) = subscriptions.unsubscribe(MIRA, CLIENT_IP, dispatcher)
    assert (codes.policy, codes.remaining) == ("codes", 8)


def test_a_requested_otp_is_not_sent_once_sms_are_switched_off(container: Container, clock: FakeClock) -> None:
    dispatcher = RecordingDispatcher()
    container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, dispatcher)
    SqlState().set_sms_switch(clock(), off=True)
    assert container.subscriptions.send_otp(dispatcher.requests[0]).startswith("not sent: SMS are switched off")
    SqlState().set_sms_switch(clock(), off=False)
    assert container.subscriptions.send_otp(dispatcher.requests[0]) == "sent a code to +91••••••0001"


def test_otps_to_unsubscribe_do_not_count_toward_the_sms_quota(container: Container) -> None:
    subscribe(container)
    before = SmsUsage.get().count
    for mobile in (MIRA, NOOR):
        container.subscriptions.request_otp(mobile, "unsubscribe", CLIENT_IP, container.dispatcher)
    assert "code to leave" in ConsoleSms.select().order_by(ConsoleSms.id.desc()).get().message
    assert SmsUsage.get().count == before


# ---- subscribing and unsubscribing


def test_a_subscription_is_kept_if_its_task_cannot_be_dispatched(container: Container) -> None:
    class FailingDispatcher(RecordingDispatcher):
        def subscribe(self, subscriber_id: str) -> None:
            raise RuntimeError("Lambda throttles")

    container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, container.dispatcher)
    container.subscriptions.subscribe(MIRA, latest_otp(MIRA), CLIENT_IP, FailingDispatcher())
    assert Subscriber.get().sync_due_at is not None
    assert container.topic_sync.reconcile() == ReconcileResult(subscribed=1)
    assert Subscriber.get().subscription_arn is not None


def test_unsubscribing_is_dispatched_for_every_number(container: Container) -> None:
    row, dispatcher = subscribe(container), RecordingDispatcher()
    container.subscriptions.unsubscribe(MIRA, CLIENT_IP, dispatcher)
    container.subscriptions.unsubscribe(NOOR, CLIENT_IP, dispatcher)
    assert dispatcher.subscribers == [row.id, "0"]
    assert container.topic_sync.sync("0") == "nothing to do"


def test_a_subscriber_can_unsubscribe_whatever_countries_are_served(container: Container, clock: FakeClock) -> None:
    subscribe(container)
    clock.advance(minutes=1)
    settings = environment(container.settings, SMS_ALLOWED_REGIONS="US")
    for_us = Container(read_settings(settings), now=clock)
    for_us.subscriptions.request_otp(MIRA, "unsubscribe", CLIENT_IP, for_us.dispatcher)
    for_us.subscriptions.unsubscribe(MIRA, CLIENT_IP, for_us.dispatcher, latest_otp(MIRA))
    assert Subscriber.get().state == "unsubscribed"


# ---- removing a number


def test_removing_a_number_deletes_all_its_data(sns_container: Container, clock: FakeClock) -> None:
    subscribe(sns_container)
    sns_container.rate_limits.count_otp_to_number(OMAR, "subscribe")
    clock.advance(minutes=1)
    for purpose in get_args(Purpose):
        sns_container.subscriptions.request_otp(MIRA, purpose, CLIENT_IP, sns_container.dispatcher)
    before = RateLimitLog.select().count()
    assert sns_container.subscriptions.remove(MIRA)
    assert subscribed_numbers() == []
    assert Subscriber.select().count() == OneTimePassword.select().count() == 0
    assert RateLimitLog.select().count() == before - len(get_args(Purpose)), "logs of others are kept"
    if sns_container.settings.database_path is not None:
        files = sns_container.settings.database_path.parent.glob("working.db*")
        assert not any(MIRA.encode() in file.read_bytes() for file in files)
    assert not sns_container.subscriptions.remove(MIRA)


def test_a_number_that_cannot_be_unsubscribed_is_not_deleted(sns_container: Container, sns_calls: SnsCalls) -> None:
    subscribe(sns_container)
    sns_calls.fault_for = lambda _, operation: "error 500" if operation == "Unsubscribe" else None
    with pytest.raises(OutcomeUnknown):
        sns_container.subscriptions.remove(MIRA)
    assert Subscriber.get().state == "unsubscribed"
    sns_calls.fault_for = lambda _number, _operation: None
    assert sns_container.subscriptions.remove(MIRA)


def test_a_number_whose_lease_is_held_is_not_deleted(container: Container, clock: FakeClock) -> None:
    subscribe(container)
    Subscriber.update(lease_acquired_at=clock()).execute()
    with pytest.raises(GatewayUnavailable, match="try again in some minutes"):
        container.subscriptions.remove(MIRA)
    clock.advance(minutes=5)
    assert container.subscriptions.remove(MIRA)


def test_a_number_that_subscribes_again_during_its_removal_is_not_deleted(
    sns_container: Container, clock: FakeClock
) -> None:
    subscribe(sns_container)
    unsubscribe = sns_container.gateway.unsubscribe
    clock.advance(minutes=2)

    def unsubscribe_and_subscribe_again(arn: str) -> None:
        patch.undo()
        unsubscribe(arn)
        clock.advance(seconds=1)
        run_in_thread(subscribe, sns_container)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sns_container.gateway, "unsubscribe", unsubscribe_and_subscribe_again)
        with pytest.raises(GatewayUnavailable):
            sns_container.subscriptions.remove(MIRA)
    assert (subscribed_numbers(), Subscriber.get().state) == ([MIRA], "active")
    assert sns_container.subscriptions.remove(MIRA)
    assert subscribed_numbers() == []


def test_the_console_gateway_does_not_remove_subscriptions_of_sns(
    container: Container, sns_container: Container
) -> None:
    subscribe(sns_container)
    with pytest.raises(GatewayMisconfigured, match=r"on a topic of Amazon SNS\. Set SMS_GATEWAY to sns"):
        container.subscriptions.remove(MIRA)
    assert Subscriber.get().sync_due_at is not None
    assert sns_container.subscriptions.remove(MIRA)
    assert subscribed_numbers() == []


@pytest.mark.parametrize("step", ["try_otp", "activate"])
def test_while_the_state_is_unavailable_a_try_does_not_count_for_the_client_ip(
    container: Container, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, container.dispatcher)
    code = latest_otp(MIRA)
    counted = {row.key: row.timestamps for row in RateLimitLog.select()}

    def fail(*_: object, **__: object) -> None:
        raise StateUnavailable

    monkeypatch.setattr(SqlState, step, fail)
    with pytest.raises(StateUnavailable):
        container.subscriptions.subscribe(MIRA, code, CLIENT_IP, container.dispatcher)
    assert {row.key: row.timestamps for row in RateLimitLog.select() if row.timestamps} == counted


def test_a_subscription_is_synced_also_if_its_try_cannot_be_uncounted(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, container.dispatcher)
    code, dispatcher = latest_otp(MIRA), RecordingDispatcher()

    def fail(_: CountedEvent) -> None:
        raise StateUnavailable

    monkeypatch.setattr(CountedEvent, "undo", fail)
    container.subscriptions.subscribe(MIRA, code, CLIENT_IP, dispatcher)
    assert dispatcher.subscribers == [str(Subscriber.get().id)]


def test_tries_at_a_locked_number_count_for_the_client_ip(container: Container) -> None:
    code = request_otp(container)
    messages = []
    for n in range(31):
        with pytest.raises((WrongOtp, RateLimited)) as rejected:
            container.subscriptions.subscribe(MIRA, wrong_otp(code) if n < 5 else code, CLIENT_IP, container.dispatcher)
        messages.append(str(rejected.value))
    assert messages[5:30] == ["Too many wrong codes for this number."] * 25
    assert messages[30] == "Too many wrong codes from your IP address."
