from datetime import date, timedelta

import pytest

from quoteapi.container import Service
from quoteapi.settings import read_settings
from quoteapi.sms.gateway import GatewayError, NotAllowed, OutcomeUnknown, Refused, Unavailable
from quoteapi.sms.messages import daily_text
from quoteapi.storage.models import ConsoleSms, Delivery, Subscriber
from quoteapi.subscriptions.delivery import Deliveries, Published
from quoteapi.subscriptions.rate_limits import SmsSwitchedOff, TooMany, set_switch
from quoteapi.subscriptions.service import NotShared
from tests.helpers.clock import StoppedClock
from tests.helpers.data import ALCOTT, AUSTEN, MIRA, NOON, NOOR, ZOLA, environment, put_on_the_topic
from tests.helpers.sns_emulator import Calls, Fault, backend, published
from tests.helpers.sql import counted_statements

TODAY = NOON.date()


def not_sent(message: str, message_id: str | None = None) -> Published:
    return Published(TODAY, sent=False, message=message, message_id=message_id)


def test_everyone_on_the_topic_gets_the_quote_that_daily_answers(whole: Service) -> None:
    put_on_the_topic(MIRA, NOOR)
    Subscriber.update(topic=None, subscription_arn=None, state="unsubscribed").where(
        Subscriber.mobile == NOOR
    ).execute()
    done = whole.deliveries.publish()
    assert (done.date, done.sent, done.message) == (TODAY, True, "sent to 1")
    (sms,) = ConsoleSms.select()
    quotation = whole.quotes.of_date(TODAY)
    assert (sms.to, sms.kind, sms.sent_at) == (MIRA, "quote", NOON)
    assert quotation in {ALCOTT, AUSTEN, ZOLA}
    assert quotation.author in sms.message
    assert "To leave: http://127.0.0.1:8000/unsubscribe" in sms.message


def test_a_date_is_published_once_and_the_next_date_again(sns: Service, clock: StoppedClock) -> None:
    first = sns.deliveries.publish()
    clock.pass_by(hours=1)
    assert sns.deliveries.publish() == not_sent(
        "was sent at 12:00 UTC; who subscribed since gets the next one", first.message_id
    )
    assert len(published()) == 1
    clock.pass_by(hours=23)
    assert sns.deliveries.publish().sent
    assert len(published()) == 2


def test_a_draft_sends_nothing_and_claims_nothing(sns: Service) -> None:
    sns.gateway.subscribe(MIRA)
    draft = sns.deliveries.draft()
    assert (draft.date, draft.people) == (TODAY, 1)
    assert draft.text.message.endswith("\nTo leave, reply STOP.")
    assert published() == []
    assert Delivery.select().count() == 0
    assert sns.deliveries.publish().sent
    assert published() == [draft.text.message]


def test_publishing_costs_the_same_for_all_sizes_of_topic(sns: Service, calls: Calls) -> None:
    with counted_statements() as statements:
        sns.deliveries.publish()
    assert calls.made == ["CreateTopic", "GetTopicAttributes", "Publish"]
    writes = [statement for statement in statements if not statement.startswith("SELECT")]
    assert len(writes) == 4, "the quote of the day, the claim, that it is being sent, that it was"


def test_more_people_than_the_cap_get_nothing_and_it_says_what_to_set(whole: Service, clock: StoppedClock) -> None:
    put_on_the_topic(MIRA, NOOR)
    settings = read_settings(environment(whole.settings, SMS_DAILY_CAP="1"))
    capped = Service(settings, now=clock)
    with pytest.raises(TooMany, match="2 people would get the SMS, and SMS_DAILY_CAP is 1"):
        capped.deliveries.publish()
    assert ConsoleSms.select().count() == 0
    assert whole.deliveries.publish().sent, "as soon as the cap is higher"


def test_the_switch_and_a_database_of_ones_own_stop_it(whole: Service, clock: StoppedClock) -> None:
    set_switch(NOON, off=True)
    with pytest.raises(SmsSwitchedOff):
        whole.deliveries.publish()
    alone = read_settings({"AWS_LAMBDA_FUNCTION_NAME": "quotes"})
    with pytest.raises(NotShared):
        Deliveries(alone, whole.quotes, whole.gateway, whole.limits, clock).publish()
    assert Delivery.select().count() == 0


def test_the_sms_is_that_of_the_date_it_was_claimed_for(
    sns: Service, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.moment = NOON.replace(hour=23, minute=59, second=59)
    expected = daily_text(sns.quotes.of_date(TODAY), None).message
    claim = sns.deliveries._claim

    def and_midnight_passes(day: date, *, again: bool) -> object:
        claimed = claim(day, again=again)
        clock.pass_by(seconds=2)
        return claimed

    monkeypatch.setattr(sns.deliveries, "_claim", and_midnight_passes)
    assert sns.deliveries.publish().date == TODAY
    assert published() == [expected]
    assert Delivery.get(Delivery.date == TODAY).sent_at.date() == TODAY + timedelta(days=1)


def test_two_topics_have_deliveries_of_their_own(sns: Service) -> None:
    Delivery.create(date=TODAY, topic="eu-west-1:Another", claimed_at=NOON, sending_at=NOON, sent_at=NOON)
    assert sns.deliveries.publish().sent


def test_a_topic_that_somebody_deleted_is_made_anew(sns: Service) -> None:
    sns.gateway.subscribe(MIRA)
    backend().topics.clear()
    with pytest.raises(Unavailable, match="404 NotFound"):
        sns.deliveries.publish()
    assert sns.deliveries.publish().sent


# ---- failures


@pytest.mark.parametrize("fault", ["throttled", "refused", "error 500", "timed out", "answer lost"])
@pytest.mark.parametrize("failing", ["CreateTopic", "GetTopicAttributes"])
def test_what_failed_before_sending_is_sent_by_the_next_event(
    sns: Service, calls: Calls, fault: Fault, failing: str
) -> None:
    calls.becomes = lambda _, operation: fault if operation == failing else None
    with pytest.raises(GatewayError):
        sns.deliveries.publish()
    calls.becomes = lambda _number, _operation: None
    assert sns.deliveries.publish().sent
    assert len(published()) == 1


@pytest.mark.parametrize(
    ("fault", "error"), [("throttled", Unavailable), ("refused", Refused), ("forbidden", NotAllowed)]
)
def test_what_sns_did_not_take_is_sent_by_the_next_event(
    sns: Service, calls: Calls, fault: Fault, error: type[GatewayError]
) -> None:
    calls.becomes = lambda _, operation: fault if operation == "Publish" else None
    with pytest.raises(error):
        sns.deliveries.publish()
    calls.becomes = lambda _number, _operation: None
    assert sns.deliveries.publish().sent


@pytest.mark.parametrize("fault", ["error 500", "timed out", "answer lost"])
def test_what_may_have_gone_out_is_not_sent_again_unless_somebody_says_so(
    sns: Service, calls: Calls, clock: StoppedClock, fault: Fault
) -> None:
    calls.becomes = lambda _, operation: fault if operation == "Publish" else None
    with pytest.raises(OutcomeUnknown):
        sns.deliveries.publish()
    calls.becomes = lambda _number, _operation: None
    clock.pass_by(seconds=30)
    assert sns.deliveries.publish().message == "is being sent", "for all that others know"
    clock.pass_by(hours=1)
    with pytest.raises(OutcomeUnknown, match=r"may have gone out at 12:00 UTC.*quoteapi publish --again"):
        sns.deliveries.publish()
    assert calls.made.count("Publish") == 1
    assert sns.deliveries.publish(again=True).sent
    assert calls.made.count("Publish") == 2
    assert not sns.deliveries.publish(again=True).sent, "what is known to be sent is never sent again"


def test_a_doubt_stays_if_sending_again_fails(sns: Service, calls: Calls, clock: StoppedClock) -> None:
    calls.becomes = lambda _, operation: "answer lost" if operation == "Publish" else None
    with pytest.raises(OutcomeUnknown):
        sns.deliveries.publish()
    for failing in ("GetTopicAttributes", "Publish"):
        clock.pass_by(minutes=5)

        def becomes(_: int, operation: str, failing: str = failing) -> Fault | None:
            return "throttled" if operation == failing else None

        calls.becomes = becomes
        with pytest.raises(Unavailable):
            sns.deliveries.publish(again=True)
    calls.becomes = lambda _number, _operation: None
    clock.pass_by(minutes=5)
    with pytest.raises(OutcomeUnknown, match="may have gone out at 12:00 UTC"):
        sns.deliveries.publish()
    assert len(published()) == 1


# ---- two at once


def test_a_claim_whose_holder_died_before_sending_is_taken_over_after_a_while(
    sns: Service, clock: StoppedClock
) -> None:
    Delivery.create(date=TODAY, topic="us-east-1:DailyQuoteSubscription", claimed_at=NOON)
    clock.pass_by(seconds=119)
    assert sns.deliveries.publish() == not_sent("is being sent")
    clock.pass_by(seconds=1)
    assert sns.deliveries.publish().sent
    assert len(published()) == 1


def test_who_wakes_up_after_another_took_over_sends_nothing(
    sns: Service, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = sns.gateway.people

    def asleep() -> int:
        monkeypatch.setattr(sns.gateway, "people", people)
        clock.moment += timedelta(minutes=20)
        assert sns.deliveries.publish().sent
        return people()

    monkeypatch.setattr(sns.gateway, "people", asleep)
    assert sns.deliveries.publish() == not_sent("somebody else took over")
    assert len(published()) == 1
