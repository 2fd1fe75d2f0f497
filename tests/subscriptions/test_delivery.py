from datetime import date, timedelta

import pytest

from quoteapi.container import Container
from quoteapi.settings import read_settings
from quoteapi.sms.gateway import GatewayError, GatewayMisconfigured, GatewayUnavailable, NumberRejected, OutcomeUnknown
from quoteapi.sms.messages import daily_text
from quoteapi.storage.models import ConsoleSms, Delivery, Subscriber
from quoteapi.subscriptions.delivery import DailyDelivery, DeliveryResult
from quoteapi.subscriptions.errors import NoSharedState, RateLimited, SmsDisabled
from quoteapi.subscriptions.rate_limits import set_sms_switch
from tests.helpers.clock import FakeClock
from tests.helpers.data import ALCOTT, AUSTEN, MIRA, NOON, NOOR, ZOLA, add_subscribers, environment
from tests.helpers.sns_emulator import Fault, SnsCalls, backend, published
from tests.helpers.sql import record_sql

TODAY = NOON.date()


def not_sent(message: str, message_id: str | None = None) -> DeliveryResult:
    return DeliveryResult(TODAY, sent=False, message=message, message_id=message_id)


def test_everyone_on_the_topic_gets_the_quote_that_daily_answers(container: Container) -> None:
    add_subscribers(MIRA, NOOR)
    Subscriber.update(topic=None, subscription_arn=None, state="unsubscribed").where(
        Subscriber.mobile == NOOR
    ).execute()
    done = container.daily_delivery.publish()
    assert (done.date, done.sent, done.message) == (TODAY, True, "sent to 1")
    (sms,) = ConsoleSms.select()
    quotation = container.quotes.quote_of_date(TODAY)
    assert (sms.to, sms.kind, sms.sent_at) == (MIRA, "quote", NOON)
    assert quotation in {ALCOTT, AUSTEN, ZOLA}
    assert quotation.author in sms.message
    assert "To leave: http://127.0.0.1:8000/unsubscribe" in sms.message


def test_a_date_is_published_once_and_the_next_date_again(sns_container: Container, clock: FakeClock) -> None:
    first = sns_container.daily_delivery.publish()
    clock.advance(hours=1)
    assert sns_container.daily_delivery.publish() == not_sent(
        "was sent at 12:00 UTC; who subscribed since gets the next one", first.message_id
    )
    assert len(published()) == 1
    clock.advance(hours=23)
    assert sns_container.daily_delivery.publish().sent
    assert len(published()) == 2


def test_a_draft_sends_nothing_and_claims_nothing(sns_container: Container) -> None:
    sns_container.gateway.subscribe(MIRA)
    draft = sns_container.daily_delivery.preview()
    assert (draft.date, draft.recipients) == (TODAY, 1)
    assert draft.text.message.endswith("\nTo leave, reply STOP.")
    assert published() == []
    assert Delivery.select().count() == 0
    assert sns_container.daily_delivery.publish().sent
    assert published() == [draft.text.message]


def test_publishing_costs_the_same_for_all_sizes_of_topic(sns_container: Container, sns_calls: SnsCalls) -> None:
    with record_sql() as statements:
        sns_container.daily_delivery.publish()
    assert sns_calls.made == ["CreateTopic", "GetTopicAttributes", "Publish"]
    writes = [statement for statement in statements if not statement.startswith("SELECT")]
    assert len(writes) == 4, "the quote of the day, the claim, that it is being sent, that it was"


def test_more_people_than_the_cap_get_nothing_and_it_says_what_to_set(container: Container, clock: FakeClock) -> None:
    add_subscribers(MIRA, NOOR)
    settings = read_settings(environment(container.settings, SMS_DAILY_CAP="1"))
    capped = Container(settings, now=clock)
    with pytest.raises(RateLimited, match="2 people would get the SMS, and SMS_DAILY_CAP is 1"):
        capped.daily_delivery.publish()
    assert ConsoleSms.select().count() == 0
    assert container.daily_delivery.publish().sent, "as soon as the cap is higher"


def test_the_switch_and_a_database_of_ones_own_stop_it(container: Container, clock: FakeClock) -> None:
    set_sms_switch(NOON, off=True)
    with pytest.raises(SmsDisabled):
        container.daily_delivery.publish()
    alone = read_settings({"AWS_LAMBDA_FUNCTION_NAME": "quotes"})
    with pytest.raises(NoSharedState):
        DailyDelivery(alone, container.quotes, container.gateway, container.rate_limits, clock).publish()
    assert Delivery.select().count() == 0


def test_the_sms_is_that_of_the_date_it_was_claimed_for(
    sns_container: Container, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.moment = NOON.replace(hour=23, minute=59, second=59)
    expected = daily_text(sns_container.quotes.quote_of_date(TODAY), None).message
    claim = sns_container.daily_delivery._claim

    def and_midnight_passes(day: date, *, again: bool) -> object:
        claimed = claim(day, again=again)
        clock.advance(seconds=2)
        return claimed

    monkeypatch.setattr(sns_container.daily_delivery, "_claim", and_midnight_passes)
    assert sns_container.daily_delivery.publish().date == TODAY
    assert published() == [expected]
    assert Delivery.get(Delivery.date == TODAY).sent_at.date() == TODAY + timedelta(days=1)


def test_two_topics_have_deliveries_of_their_own(sns_container: Container) -> None:
    Delivery.create(date=TODAY, topic="eu-west-1:Another", claimed_at=NOON, sending_at=NOON, sent_at=NOON)
    assert sns_container.daily_delivery.publish().sent


def test_a_topic_that_somebody_deleted_is_made_anew(sns_container: Container) -> None:
    sns_container.gateway.subscribe(MIRA)
    backend().topics.clear()
    with pytest.raises(GatewayUnavailable, match="404 NotFound"):
        sns_container.daily_delivery.publish()
    assert sns_container.daily_delivery.publish().sent


# ---- failures


@pytest.mark.parametrize("fault", ["throttled", "refused", "error 500", "timed out", "answer lost"])
@pytest.mark.parametrize("failing", ["CreateTopic", "GetTopicAttributes"])
def test_what_failed_before_sending_is_sent_by_the_next_event(
    sns_container: Container, sns_calls: SnsCalls, fault: Fault, failing: str
) -> None:
    sns_calls.becomes = lambda _, operation: fault if operation == failing else None
    with pytest.raises(GatewayError):
        sns_container.daily_delivery.publish()
    sns_calls.becomes = lambda _number, _operation: None
    assert sns_container.daily_delivery.publish().sent
    assert len(published()) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [("throttled", GatewayUnavailable), ("refused", NumberRejected), ("forbidden", GatewayMisconfigured)],
)
def test_what_sns_did_not_take_is_sent_by_the_next_event(
    sns_container: Container, sns_calls: SnsCalls, fault: Fault, error: type[GatewayError]
) -> None:
    sns_calls.becomes = lambda _, operation: fault if operation == "Publish" else None
    with pytest.raises(error):
        sns_container.daily_delivery.publish()
    sns_calls.becomes = lambda _number, _operation: None
    assert sns_container.daily_delivery.publish().sent


@pytest.mark.parametrize("fault", ["error 500", "timed out", "answer lost"])
def test_what_may_have_gone_out_is_not_sent_again_unless_somebody_says_so(
    sns_container: Container, sns_calls: SnsCalls, clock: FakeClock, fault: Fault
) -> None:
    sns_calls.becomes = lambda _, operation: fault if operation == "Publish" else None
    with pytest.raises(OutcomeUnknown):
        sns_container.daily_delivery.publish()
    sns_calls.becomes = lambda _number, _operation: None
    clock.advance(seconds=30)
    assert sns_container.daily_delivery.publish().message == "is being sent", "for all that others know"
    clock.advance(hours=1)
    with pytest.raises(OutcomeUnknown, match=r"may have gone out at 12:00 UTC.*quoteapi publish --again"):
        sns_container.daily_delivery.publish()
    assert sns_calls.made.count("Publish") == 1
    assert sns_container.daily_delivery.publish(again=True).sent
    assert sns_calls.made.count("Publish") == 2
    assert not sns_container.daily_delivery.publish(again=True).sent, "what is known to be sent is never sent again"


def test_a_doubt_stays_if_sending_again_fails(sns_container: Container, sns_calls: SnsCalls, clock: FakeClock) -> None:
    sns_calls.becomes = lambda _, operation: "answer lost" if operation == "Publish" else None
    with pytest.raises(OutcomeUnknown):
        sns_container.daily_delivery.publish()
    for failing in ("GetTopicAttributes", "Publish"):
        clock.advance(minutes=5)

        def becomes(_: int, operation: str, failing: str = failing) -> Fault | None:
            return "throttled" if operation == failing else None

        sns_calls.becomes = becomes
        with pytest.raises(GatewayUnavailable):
            sns_container.daily_delivery.publish(again=True)
    sns_calls.becomes = lambda _number, _operation: None
    clock.advance(minutes=5)
    with pytest.raises(OutcomeUnknown, match="may have gone out at 12:00 UTC"):
        sns_container.daily_delivery.publish()
    assert len(published()) == 1


# ---- two at once


def test_a_claim_whose_holder_died_before_sending_is_taken_over_after_a_while(
    sns_container: Container, clock: FakeClock
) -> None:
    Delivery.create(date=TODAY, topic="us-east-1:DailyQuoteSubscription", claimed_at=NOON)
    clock.advance(seconds=119)
    assert sns_container.daily_delivery.publish() == not_sent("is being sent")
    clock.advance(seconds=1)
    assert sns_container.daily_delivery.publish().sent
    assert len(published()) == 1


def test_who_wakes_up_after_another_took_over_sends_nothing(
    sns_container: Container, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = sns_container.gateway.count_subscriptions

    def asleep() -> int:
        monkeypatch.setattr(sns_container.gateway, "count_subscriptions", people)
        clock.moment += timedelta(minutes=20)
        assert sns_container.daily_delivery.publish().sent
        return people()

    monkeypatch.setattr(sns_container.gateway, "count_subscriptions", asleep)
    assert sns_container.daily_delivery.publish() == not_sent("somebody else took over")
    assert len(published()) == 1
