from datetime import date, timedelta

import pytest

from quoteapi.container import Container
from quoteapi.settings import read_settings
from quoteapi.sms.gateway import GatewayError, GatewayMisconfigured, GatewayUnavailable, NumberRejected, OutcomeUnknown
from quoteapi.sms.messages import daily_text
from quoteapi.storage.models import ConsoleSms, Delivery, SmsUsage, Subscriber
from quoteapi.storage.sql_state import SqlState
from quoteapi.subscriptions.daily_delivery import DailyDelivery, DeliveryResult
from quoteapi.subscriptions.errors import NoSharedState, RateLimited, SmsDisabled
from tests.helpers.clock import FakeClock
from tests.helpers.data import ALCOTT, AUSTEN, MIRA, NOON, NOOR, OMAR, ZOLA, add_subscribers, environment
from tests.helpers.sns_emulator import Fault, SnsCalls, backend, published
from tests.helpers.sql import record_sql

TODAY = NOON.date()
NOBODY = "Nobody is subscribed; nothing sent. If somebody subscribes today, publish again."


@pytest.fixture
def sns_container(sns_container: Container) -> Container:
    """Return a container of Amazon SNS, with a number on the topic that another process put there."""
    Container(sns_container.settings).gateway.subscribe(MIRA)
    return sns_container


def not_sent(message: str, message_id: str | None = None, *, is_pending: bool = False) -> DeliveryResult:
    return DeliveryResult(TODAY, sent=False, message=message, message_id=message_id, is_pending=is_pending)


def test_every_active_subscriber_gets_the_quote_of_daily(container: Container) -> None:
    add_subscribers(MIRA, NOOR)
    Subscriber.update(topic=None, subscription_arn=None, state="unsubscribed").where(
        Subscriber.mobile == NOOR
    ).execute()
    done = container.daily_delivery.publish()
    assert (done.date, done.sent, done.message) == (TODAY, True, "Sent to 1 subscriber.")
    (sms,) = ConsoleSms.select()
    quotation = container.quotes.quote_of_date(TODAY)
    assert (sms.to, sms.kind, sms.sent_at) == (MIRA, "quote", NOON)
    assert quotation in {ALCOTT, AUSTEN, ZOLA}
    assert quotation.author in sms.message
    assert sms.message.endswith("\nEnd: http://127.0.0.1:8000/u")


def test_a_date_is_published_once_and_the_next_date_again(sns_container: Container, clock: FakeClock) -> None:
    first = sns_container.daily_delivery.publish()
    clock.advance(hours=1)
    assert sns_container.daily_delivery.publish() == not_sent(
        "Already sent at 12:00 UTC; nothing sent now. New subscribers get the next one.", first.message_id
    )
    assert len(published()) == 1
    clock.advance(hours=23)
    assert sns_container.daily_delivery.publish().sent
    assert len(published()) == 2


def test_a_preview_sends_nothing_and_claims_nothing(sns_container: Container) -> None:
    sns_container.gateway.subscribe(MIRA)
    preview = sns_container.daily_delivery.preview()
    assert (preview.date, preview.recipients) == (TODAY, 1)
    assert preview.text.message.endswith("\nTo leave, reply STOP.")
    assert published() == []
    assert Delivery.select().count() == 0
    assert sns_container.daily_delivery.publish().sent
    assert published() == [preview.text.message]


def test_publishing_costs_three_calls_and_four_writes(sns_container: Container, sns_calls: SnsCalls) -> None:
    with record_sql() as statements:
        sns_container.daily_delivery.publish()
    assert sns_calls.operations == ["CreateTopic", "GetTopicAttributes", "Publish"]
    writes = [statement for statement in statements if not statement.startswith("SELECT")]
    assert len(writes) == 4, "the quote of the day, the claim, that it is being sent, that it was"


def test_the_daily_sms_goes_out_whatever_the_sms_quota_and_how_much_of_it_is_left(
    container: Container, clock: FakeClock
) -> None:
    add_subscribers(MIRA, NOOR)
    settings = read_settings(environment(container.settings, SMS_DAILY_CAP="1"))
    capped = Container(settings, now=clock)
    capped.rate_limits.consume_sms_quota()
    with pytest.raises(RateLimited):
        capped.subscriptions.request_otp(OMAR, "subscribe", "192.0.2.1", capped.dispatcher)
    assert capped.daily_delivery.publish().message == "Sent to 2 subscribers."
    assert SmsUsage.get().count == 1, "the daily SMS is not counted"


def test_a_quota_of_zero_stops_the_daily_sms(container: Container, clock: FakeClock) -> None:
    add_subscribers(MIRA)
    stopped = Container(read_settings(environment(container.settings, SMS_DAILY_CAP="0")), now=clock)
    with pytest.raises(SmsDisabled):
        stopped.daily_delivery.publish()
    assert ConsoleSms.select().count() == 0


def test_a_preview_says_how_many_segments_are_billed_and_what_they_cost_at_most(
    container: Container, clock: FakeClock
) -> None:
    add_subscribers(MIRA, NOOR, OMAR)
    preview = container.daily_delivery.preview()
    assert (preview.billed_segments, preview.max_cost) == (3 * preview.text.segments, None)
    priced = Container(read_settings(environment(container.settings, SMS_MAX_PRICE="0.05")), now=clock)
    assert priced.daily_delivery.preview().max_cost == pytest.approx(0.15 * preview.text.segments)


def test_nothing_is_sent_with_sms_switched_off_or_without_shared_state(container: Container, clock: FakeClock) -> None:
    SqlState().set_sms_switch(NOON, off=True)
    with pytest.raises(SmsDisabled):
        container.daily_delivery.publish()
    without_shared_state = read_settings({"AWS_LAMBDA_FUNCTION_NAME": "quotes"})
    with pytest.raises(NoSharedState):
        DailyDelivery(
            without_shared_state, container.state, container.quotes, container.gateway, container.rate_limits, clock
        ).publish()
    assert Delivery.select().count() == 0


def test_the_sms_has_the_quote_of_the_claimed_date(
    sns_container: Container, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.moment = NOON.replace(hour=23, minute=59, second=59)
    expected = daily_text(sns_container.quotes.quote_of_date(TODAY), None).message
    claim = sns_container.daily_delivery._claim

    def claim_before_midnight(day: date, *, again: bool) -> object:
        claimed = claim(day, again=again)
        clock.advance(seconds=2)
        return claimed

    monkeypatch.setattr(sns_container.daily_delivery, "_claim", claim_before_midnight)
    assert sns_container.daily_delivery.publish().date == TODAY
    assert published() == [expected]
    assert Delivery.get(Delivery.date == TODAY).sent_at.date() == TODAY + timedelta(days=1)


def test_each_topic_has_its_own_delivery(sns_container: Container) -> None:
    Delivery.create(date=TODAY, topic="eu-west-1:Another", claimed_at=NOON, sending_at=NOON, sent_at=NOON)
    assert sns_container.daily_delivery.publish().sent


def test_a_deleted_topic_is_created_again(sns_container: Container) -> None:
    sns_container.gateway.count_subscriptions()  # the topic is known from now on
    backend().topics.clear()
    with pytest.raises(GatewayUnavailable, match="404 NotFound"):
        sns_container.daily_delivery.publish()
    assert sns_container.daily_delivery.publish() == not_sent(NOBODY)
    sns_container.gateway.subscribe(NOOR)
    assert sns_container.daily_delivery.publish().sent


# ---- nobody is on the topic


def test_publishing_to_nobody_leaves_the_date_to_those_who_subscribe_later(
    container: Container, clock: FakeClock
) -> None:
    assert container.daily_delivery.publish() == not_sent(NOBODY)
    assert Delivery.select().count() == ConsoleSms.select().count() == 0
    clock.advance(hours=1)
    add_subscribers(MIRA)
    assert container.daily_delivery.publish().message == "Sent to 1 subscriber."
    assert not container.daily_delivery.publish().sent
    assert [sms.to for sms in ConsoleSms.select()] == [MIRA]


def test_publishing_to_an_empty_topic_leaves_the_date_to_those_who_subscribe_later(
    sns_container: Container, sns_calls: SnsCalls
) -> None:
    backend().subscriptions.clear()
    assert sns_container.daily_delivery.publish() == not_sent(NOBODY)
    assert "Publish" not in sns_calls.operations
    sns_container.gateway.subscribe(NOOR)
    assert sns_container.daily_delivery.publish().message == "Sent to 1 subscriber."
    assert len(published()) == 1


def test_a_topic_that_lost_its_subscribers_is_a_failure_until_they_are_back(sns_container: Container) -> None:
    backend().subscriptions.clear()
    add_subscribers(MIRA, NOOR)
    Subscriber.update(topic=sns_container.gateway.topic).execute()
    with pytest.raises(
        GatewayUnavailable,
        match=r"the topic .* has no subscriptions, but 2 subscribers should be.* `quoteapi reconcile --all`",
    ):
        sns_container.daily_delivery.publish()
    assert sns_container.topic_sync.reconcile(everyone=True).subscribed == 2
    assert sns_container.daily_delivery.publish().message == "Sent to 2 subscribers."


def test_an_unknown_outcome_is_kept_if_nobody_is_on_the_topic(
    sns_container: Container, sns_calls: SnsCalls, clock: FakeClock
) -> None:
    sns_calls.fault_for = lambda _, operation: "answer lost" if operation == "Publish" else None
    with pytest.raises(OutcomeUnknown):
        sns_container.daily_delivery.publish()
    sns_calls.fault_for = lambda _number, _operation: None
    backend().subscriptions.clear()
    clock.advance(hours=1)
    assert sns_container.daily_delivery.publish(again=True) == not_sent(NOBODY)
    with pytest.raises(OutcomeUnknown, match="may have been sent at 12:00 UTC"):
        sns_container.daily_delivery.publish()


def test_a_subscriber_that_another_process_counted_meanwhile_gets_the_sms(
    sns_container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend().subscriptions.clear()
    count_subscriptions = sns_container.gateway.count_subscriptions

    def count_before_somebody_subscribes() -> int:
        counted = count_subscriptions()
        monkeypatch.setattr(sns_container.gateway, "count_subscriptions", count_subscriptions)
        sns_container.gateway.subscribe(NOOR)
        assert sns_container.daily_delivery.publish() == not_sent(
            "Nothing sent: another process is sending it now.", is_pending=True
        ), "the claim is held"
        return counted

    monkeypatch.setattr(sns_container.gateway, "count_subscriptions", count_before_somebody_subscribes)
    assert sns_container.daily_delivery.publish().sent
    assert len(published()) == 1


# ---- failures


@pytest.mark.parametrize("fault", ["throttled", "refused", "error 500", "timed out", "answer lost"])
@pytest.mark.parametrize("failing", ["CreateTopic", "GetTopicAttributes"])
def test_a_failure_before_sending_leaves_the_sms_to_the_next_event(
    sns_container: Container, sns_calls: SnsCalls, fault: Fault, failing: str
) -> None:
    sns_calls.fault_for = lambda _, operation: fault if operation == failing else None
    with pytest.raises(GatewayError):
        sns_container.daily_delivery.publish()
    sns_calls.fault_for = lambda _number, _operation: None
    assert sns_container.daily_delivery.publish().sent
    assert len(published()) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [("throttled", GatewayUnavailable), ("refused", NumberRejected), ("forbidden", GatewayMisconfigured)],
)
def test_an_sms_that_sns_rejected_is_sent_by_the_next_event(
    sns_container: Container, sns_calls: SnsCalls, fault: Fault, error: type[GatewayError]
) -> None:
    sns_calls.fault_for = lambda _, operation: fault if operation == "Publish" else None
    with pytest.raises(error):
        sns_container.daily_delivery.publish()
    sns_calls.fault_for = lambda _number, _operation: None
    assert sns_container.daily_delivery.publish().sent


@pytest.mark.parametrize("fault", ["error 500", "timed out", "answer lost"])
def test_an_sms_with_an_unknown_outcome_is_sent_again_only_on_demand(
    sns_container: Container, sns_calls: SnsCalls, clock: FakeClock, fault: Fault
) -> None:
    sns_calls.fault_for = lambda _, operation: fault if operation == "Publish" else None
    with pytest.raises(OutcomeUnknown):
        sns_container.daily_delivery.publish()
    sns_calls.fault_for = lambda _number, _operation: None
    clock.advance(seconds=30)
    assert sns_container.daily_delivery.publish().message == "Nothing sent: another process is sending it now.", (
        "the outcome may still become known"
    )
    clock.advance(hours=1)
    with pytest.raises(OutcomeUnknown, match=r"may have been sent at 12:00 UTC.*quoteapi publish --again"):
        sns_container.daily_delivery.publish()
    assert sns_calls.operations.count("Publish") == 1
    assert sns_container.daily_delivery.publish(again=True).sent
    assert sns_calls.operations.count("Publish") == 2
    assert not sns_container.daily_delivery.publish(again=True).sent, "an SMS that was sent is never sent again"


def test_an_unknown_outcome_stays_unknown_if_sending_again_fails(
    sns_container: Container, sns_calls: SnsCalls, clock: FakeClock
) -> None:
    sns_calls.fault_for = lambda _, operation: "answer lost" if operation == "Publish" else None
    with pytest.raises(OutcomeUnknown):
        sns_container.daily_delivery.publish()
    for failing in ("GetTopicAttributes", "Publish"):
        clock.advance(minutes=5)

        def fault_for(_: int, operation: str, failing: str = failing) -> Fault | None:
            return "throttled" if operation == failing else None

        sns_calls.fault_for = fault_for
        with pytest.raises(GatewayUnavailable):
            sns_container.daily_delivery.publish(again=True)
    sns_calls.fault_for = lambda _number, _operation: None
    clock.advance(minutes=5)
    with pytest.raises(OutcomeUnknown, match="may have been sent at 12:00 UTC"):
        sns_container.daily_delivery.publish()
    assert len(published()) == 1


# ---- races


def test_a_claim_whose_holder_died_is_taken_over_after_its_timeout(sns_container: Container, clock: FakeClock) -> None:
    Delivery.create(date=TODAY, topic="us-east-1:DailyQuoteSubscription", claimed_at=NOON)
    clock.advance(seconds=119)
    assert sns_container.daily_delivery.publish() == not_sent(
        "Nothing sent: another process is sending it now.", is_pending=True
    )
    clock.advance(seconds=1)
    assert sns_container.daily_delivery.publish().sent
    assert len(published()) == 1


def test_a_process_whose_claim_was_taken_over_sends_nothing(
    sns_container: Container, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_subscriptions = sns_container.gateway.count_subscriptions

    def stall() -> int:
        monkeypatch.setattr(sns_container.gateway, "count_subscriptions", count_subscriptions)
        clock.moment += timedelta(minutes=20)
        assert sns_container.daily_delivery.publish().sent
        return count_subscriptions()

    monkeypatch.setattr(sns_container.gateway, "count_subscriptions", stall)
    assert sns_container.daily_delivery.publish() == not_sent(
        "Nothing sent: another process took over.", is_pending=True
    )
    assert len(published()) == 1
