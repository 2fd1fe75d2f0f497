from datetime import date, datetime, timedelta
from typing import cast

import pytest

from quoteapi.container import Container
from quoteapi.settings import read_settings
from quoteapi.sms.messages import daily_text
from quoteapi.storage.models import ConsoleSms, Delivery, SmsUsage, Subscriber
from quoteapi.storage.sql_state import SqlState
from quoteapi.storage.state import StateUnavailable
from quoteapi.subscriptions.daily_delivery import DailyDelivery, DeliveryResult, DeliveryState, MorningState
from quoteapi.subscriptions.errors import NoSharedState, RateLimited, SmsDisabled
from tests.helpers.clock import FakeClock
from tests.helpers.data import (
    ALCOTT,
    AUCKLAND,
    AUSTEN,
    KOLKATA,
    MIRA,
    NEW_YORK,
    NOON,
    NOOR,
    OMAR,
    UTC_ZONE,
    ZOLA,
    add_subscribers,
    environment,
)
from tests.helpers.sns_emulator import TOPIC, Fault, SnsCalls, backend, published
from tests.helpers.sql import record_sql
from tests.helpers.subscribing import add_sns_subscribers

TODAY = NOON.date()
YESTERDAY = TODAY - timedelta(days=1)
BEING_SENT = "Nothing sent: another process is sending it now."
IN_DOUBT = (
    "The SMS of 2026-11-22 may have been sent at 12:00 UTC: the result is unknown. To send it, perhaps a second time,"
    " run `quoteapi publish --again`."
)


@pytest.fixture
def sns_container(sns_container: Container) -> Container:
    """Return a container of Amazon SNS, with a subscriber in UTC that another process put on the topic."""
    add_sns_subscribers(Container(sns_container.settings), MIRA)
    return sns_container


def result(
    state: DeliveryState, message: str, message_id: str | None = None, time_zone: str = UTC_ZONE, day: date = TODAY
) -> DeliveryResult:
    return DeliveryResult(day, time_zone, state, message, message_id)


def publish(container: Container, *, again: bool = False) -> DeliveryResult:
    """Publish to the only time zone that has subscribers."""
    (done,) = container.daily_delivery.publish(again=again)
    return done


def run_due(container: Container) -> list[tuple[str, date, DeliveryState]]:
    """Run the schedule in another process, which knows nothing of earlier runs."""
    delivery = Container(container.settings, now=container.clock).daily_delivery
    return [(done.time_zone, done.date, done.state) for done in delivery.publish_due()]


def states(container: Container) -> dict[tuple[str, date], MorningState]:
    return {(status.time_zone, status.date): status.state for status in container.daily_delivery.statuses()}


# ---- by hand


def test_every_active_subscriber_gets_the_quote_of_daily(container: Container) -> None:
    add_subscribers(MIRA, NOOR)
    Subscriber.update(topic=None, subscription_arn=None, state="unsubscribed").where(
        Subscriber.mobile == NOOR
    ).execute()
    assert publish(container)[:4] == (TODAY, UTC_ZONE, "sent", "Sent to 1 subscriber.")
    (sms,) = ConsoleSms.select()
    quotation = container.quotes.quote_of_date(TODAY)
    assert (sms.to, sms.kind, sms.sent_at) == (MIRA, "quote", NOON)
    assert quotation in {ALCOTT, AUSTEN, ZOLA}
    assert quotation.author in sms.message
    assert sms.message.endswith("\nStop http://127.0.0.1:8000/u")


def test_a_date_is_published_once_and_the_next_date_again(sns_container: Container, clock: FakeClock) -> None:
    first = publish(sns_container)
    clock.advance(hours=1)
    assert publish(sns_container) == result(
        "already sent",
        "Already sent at 12:00 UTC; nothing sent now. New subscribers get the next one.",
        first.message_id,
    )
    assert len(published()) == 1
    clock.advance(hours=23)
    assert publish(sns_container).state == "sent"
    assert len(published()) == 2


def test_each_time_zone_gets_the_quote_of_its_local_date(container: Container, clock: FakeClock) -> None:
    add_subscribers(MIRA, time_zone=KOLKATA)
    add_subscribers(NOOR, time_zone=AUCKLAND)
    clock.moment = NOON.replace(hour=13)  # 02:00 of the next date in Auckland; the console has no quiet hours
    done = container.daily_delivery.publish()
    assert [(row.time_zone, row.date, row.state) for row in done] == [
        (KOLKATA, TODAY, "sent"),
        (AUCKLAND, TODAY, "missed"),
        (AUCKLAND, TODAY + timedelta(days=1), "sent"),
    ]
    for mobile, day in ((MIRA, TODAY), (NOOR, TODAY + timedelta(days=1))):
        sms = ConsoleSms.get(ConsoleSms.to == mobile)
        assert sms.message == daily_text(container.quotes.quote_of_date(day), "http://127.0.0.1:8000/u").message


def test_time_zones_in_quiet_hours_get_none_unless_that_is_asked_for(
    sns_container: Container, clock: FakeClock
) -> None:
    add_sns_subscribers(sns_container, NOOR, time_zone=AUCKLAND)
    Subscriber.update(joined_at=NOON).execute()
    clock.moment = NOON.replace(hour=13)
    assert {done.time_zone: done.state for done in sns_container.daily_delivery.publish()} == {
        UTC_ZONE: "sent",
        AUCKLAND: "quiet hours",
    }
    assert [done.state for done in sns_container.daily_delivery.publish(in_quiet_hours=True)] == [
        "already sent",
        "sent",
    ]


def test_a_failure_in_one_time_zone_does_not_stop_the_others(sns_container: Container, sns_calls: SnsCalls) -> None:
    add_sns_subscribers(sns_container, NOOR, time_zone=KOLKATA)
    publishes = iter(["throttled", None])
    sns_calls.fault_for = lambda _, operation: cast("Fault | None", next(publishes)) if operation == "Publish" else None
    first, second = sns_container.daily_delivery.publish()
    assert (first.state, second.state) == ("failed", "sent")
    assert "Throttled" in first.message
    assert first.is_failure


def test_previews_send_nothing_and_claim_nothing(sns_container: Container) -> None:
    (preview,) = sns_container.daily_delivery.previews()
    assert (preview.date, preview.time_zone, preview.recipients) == (TODAY, UTC_ZONE, 1)
    assert preview.text.message.endswith("\nTo stop, reply STOP.")
    assert published() == []
    assert Delivery.select().count() == 0
    assert publish(sns_container).state == "sent"
    assert published() == [preview.text.message]


def test_without_subscribers_the_preview_is_that_of_the_default_time_zone(container: Container) -> None:
    (preview,) = container.daily_delivery.previews()
    assert (preview.time_zone, preview.recipients) == (UTC_ZONE, 0)


def test_publishing_costs_three_calls_and_four_writes(sns_container: Container, sns_calls: SnsCalls) -> None:
    with record_sql() as statements:
        publish(sns_container)
    assert sns_calls.operations == ["CreateTopic", "GetTopicAttributes", "Publish"]
    writes = [statement for statement in statements if not statement.lstrip().startswith(("SELECT", "WITH"))]
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
    assert publish(capped).message == "Sent to 2 subscribers."
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
    (preview,) = container.daily_delivery.previews()
    assert (preview.billed_segments, preview.max_cost) == (3 * preview.text.segments, None)
    priced = Container(read_settings(environment(container.settings, SMS_MAX_PRICE="0.05")), now=clock)
    (preview,) = priced.daily_delivery.previews()
    assert preview.max_cost == pytest.approx(0.15 * preview.text.segments)


def test_nothing_is_sent_with_sms_switched_off_or_without_shared_state(container: Container, clock: FakeClock) -> None:
    add_subscribers(MIRA)
    SqlState().set_sms_switch(NOON, off=True)
    with pytest.raises(SmsDisabled):
        container.daily_delivery.publish()
    without = read_settings({"AWS_LAMBDA_FUNCTION_NAME": "quotes"})
    parts = container.state, container.quotes, container.gateway, container.rate_limits, container.delivery_hours
    with pytest.raises(NoSharedState):
        DailyDelivery(without, *parts, clock).publish()
    with pytest.raises(NoSharedState):
        DailyDelivery(without, *parts, clock).publish_due()
    assert Delivery.select().count() == 0


def test_the_sms_has_the_quote_of_the_claimed_date(
    sns_container: Container, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.moment = NOON.replace(hour=20, minute=59, second=59) + timedelta(hours=3)  # the last second of the date
    expected = daily_text(sns_container.quotes.quote_of_date(TODAY), None).message
    claim = SqlState.claim_delivery

    def claim_before_midnight(*arguments: object, **more: object) -> object:
        claimed = claim(*arguments, **more)  # type: ignore[arg-type]
        clock.advance(seconds=2)
        return claimed

    monkeypatch.setattr(SqlState, "claim_delivery", claim_before_midnight)
    (done,) = sns_container.daily_delivery.publish(in_quiet_hours=True)
    assert (done.date, done.state) == (TODAY, "sent")
    assert published() == [expected]
    assert Delivery.get(Delivery.date == TODAY).sent_at.date() == TODAY + timedelta(days=1)


def test_each_topic_has_its_own_delivery(sns_container: Container) -> None:
    Delivery.create(date=TODAY, topic="eu-west-1:Another", claimed_at=NOON, sending_at=NOON, sent_at=NOON)
    assert publish(sns_container).state == "sent"


def test_a_deleted_topic_is_created_again_and_must_be_filled(sns_container: Container) -> None:
    sns_container.gateway.count_subscriptions(TOPIC)  # the topic is known from now on
    backend().topics.clear()
    backend().subscriptions.clear()
    first, second = publish(sns_container), publish(sns_container)
    assert first.message.startswith("Not sent: SNS returned 404 NotFound")
    assert second.message.startswith(f"Not sent: The topic {TOPIC} has no subscriptions, but 1 subscriber should be")
    assert second.message.endswith("run `quoteapi reconcile --all`.")
    assert sns_container.topic_sync.reconcile(everyone=True).subscribed == 1
    assert publish(sns_container).message == "Sent to 1 subscriber."


def test_subscribers_on_a_topic_of_other_settings_are_a_failure(sns_container: Container) -> None:
    add_subscribers(NOOR, base_topic="eu-west-1:Another")
    other, own = sns_container.daily_delivery.publish()
    assert own.state == "sent"
    assert other.is_failure
    assert other.message.startswith("Subscribers are on the topic eu-west-1:Another, but the settings name us-east-1:")


# ---- nobody is subscribed


def test_publishing_to_nobody_leaves_the_date_to_those_who_subscribe_later(
    container: Container, clock: FakeClock
) -> None:
    assert container.daily_delivery.publish() == []
    assert Delivery.select().count() == ConsoleSms.select().count() == 0
    clock.advance(hours=1)
    add_subscribers(MIRA)
    assert publish(container).message == "Sent to 1 subscriber."
    assert publish(container).state == "already sent"
    assert [sms.to for sms in ConsoleSms.select()] == [MIRA]


def test_a_topic_whose_subscribers_are_not_in_sync_yet_gets_no_sms(
    sns_container: Container, sns_calls: SnsCalls
) -> None:
    backend().subscriptions.clear()
    Subscriber.update(sync_due_at=NOON, subscription_arn=None).execute()
    assert publish(sns_container) == result("nobody", "Nobody is subscribed; nothing sent.")
    assert "Publish" not in sns_calls.operations
    sns_container.topic_sync.reconcile()
    assert publish(sns_container).message == "Sent to 1 subscriber."


# ---- failures


@pytest.mark.parametrize("fault", ["throttled", "refused", "error 500", "timed out", "answer lost"])
@pytest.mark.parametrize("failing", ["CreateTopic", "GetTopicAttributes"])
def test_a_failure_before_sending_leaves_the_sms_to_the_next_run(
    sns_container: Container, sns_calls: SnsCalls, fault: Fault, failing: str
) -> None:
    sns_calls.fault_for = lambda _, operation: fault if operation == failing else None
    assert publish(sns_container).is_failure
    sns_calls.fault_for = lambda _number, _operation: None
    assert publish(sns_container).state == "sent"
    assert len(published()) == 1


@pytest.mark.parametrize("fault", ["throttled", "refused", "forbidden"])
def test_an_sms_that_sns_rejected_is_sent_by_the_next_run(
    sns_container: Container, sns_calls: SnsCalls, fault: Fault
) -> None:
    sns_calls.fault_for = lambda _, operation: fault if operation == "Publish" else None
    assert publish(sns_container).state == "failed"
    sns_calls.fault_for = lambda _number, _operation: None
    assert publish(sns_container).state == "sent"


@pytest.mark.parametrize("fault", ["error 500", "timed out", "answer lost"])
def test_an_sms_in_doubt_is_sent_again_only_on_demand(
    sns_container: Container, sns_calls: SnsCalls, clock: FakeClock, fault: Fault
) -> None:
    sns_calls.fault_for = lambda _, operation: fault if operation == "Publish" else None
    assert publish(sns_container).state == "in doubt"
    sns_calls.fault_for = lambda _number, _operation: None
    clock.advance(seconds=30)
    assert publish(sns_container) == result("being sent", BEING_SENT), "the outcome may still become known"
    clock.advance(hours=1)
    assert publish(sns_container) == result("in doubt", IN_DOUBT)
    assert sns_calls.operations.count("Publish") == 1
    assert publish(sns_container, again=True).state == "sent"
    assert sns_calls.operations.count("Publish") == 2
    assert publish(sns_container, again=True).state == "already sent", "an SMS that was sent is never sent again"


def test_an_sms_in_doubt_stays_so_if_sending_again_fails(
    sns_container: Container, sns_calls: SnsCalls, clock: FakeClock
) -> None:
    sns_calls.fault_for = lambda _, operation: "answer lost" if operation == "Publish" else None
    assert publish(sns_container).state == "in doubt"
    for failing in ("GetTopicAttributes", "Publish"):
        clock.advance(minutes=5)

        def fault_for(_: int, operation: str, failing: str = failing) -> Fault | None:
            return "throttled" if operation == failing else None

        sns_calls.fault_for = fault_for
        assert publish(sns_container, again=True).state == "failed"
    sns_calls.fault_for = lambda _number, _operation: None
    clock.advance(minutes=5)
    assert publish(sns_container) == result("in doubt", IN_DOUBT)
    assert len(published()) == 1


# ---- races


def test_a_claim_whose_holder_died_is_taken_over_after_its_timeout(sns_container: Container, clock: FakeClock) -> None:
    Delivery.create(date=TODAY, topic=TOPIC, claimed_at=NOON)
    clock.advance(seconds=119)
    assert publish(sns_container) == result("being sent", BEING_SENT)
    clock.advance(seconds=1)
    assert publish(sns_container).state == "sent"
    assert len(published()) == 1


def test_a_process_whose_claim_was_taken_over_sends_nothing(
    sns_container: Container, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_subscriptions = sns_container.gateway.count_subscriptions

    def stall(topic: str) -> int:
        monkeypatch.setattr(sns_container.gateway, "count_subscriptions", count_subscriptions)
        clock.moment += timedelta(minutes=20)
        assert publish(sns_container).state == "sent"
        return count_subscriptions(topic)

    monkeypatch.setattr(sns_container.gateway, "count_subscriptions", stall)
    assert publish(sns_container) == result("being sent", "Nothing sent: another process took over.")
    assert len(published()) == 1


# ---- by the schedule


def test_each_morning_is_sent_once_by_the_first_run_in_its_window(container: Container, clock: FakeClock) -> None:
    for mobile, time_zone in ((MIRA, KOLKATA), (NOOR, NEW_YORK), (OMAR, AUCKLAND)):
        add_subscribers(mobile, time_zone=time_zone)
    clock.moment = NOON.replace(hour=0)
    sent: dict[tuple[str, date], datetime] = {}
    for _ in range(4 * 24):
        sent |= {(zone, day): clock() for zone, day, _ in run_due(container)}
        clock.advance(minutes=15)
    assert sent == {
        (NEW_YORK, TODAY - timedelta(days=1)): NOON.replace(hour=0),  # late, at 19:00
        (AUCKLAND, TODAY): NOON.replace(hour=0),  # late, at 13:00
        (KOLKATA, TODAY): NOON.replace(hour=4, minute=30),  # at 10:00, when India's quiet hours end
        (NEW_YORK, TODAY): NOON.replace(hour=14),
        (AUCKLAND, TODAY + timedelta(days=1)): NOON.replace(hour=20),
    }
    assert ConsoleSms.select().count() == 5


def test_a_late_run_sends_until_quiet_hours_begin(sns_container: Container, clock: FakeClock) -> None:
    clock.moment = NOON.replace(hour=20, minute=59, second=59)
    assert run_due(sns_container) == [(UTC_ZONE, TODAY, "sent")]
    clock.moment = NOON.replace(hour=21) + timedelta(days=1)
    assert run_due(sns_container) == []
    assert len(published()) == 1


def test_a_run_that_reaches_quiet_hours_before_the_call_sends_nothing(
    sns_container: Container, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.moment = NOON.replace(hour=20, minute=59, second=59)
    count_subscriptions = sns_container.gateway.count_subscriptions

    def count_slowly(topic: str) -> int:
        clock.advance(seconds=2)
        return count_subscriptions(topic)

    monkeypatch.setattr(sns_container.gateway, "count_subscriptions", count_slowly)
    (done,) = sns_container.daily_delivery.publish_due()
    assert done == result("failed", "Not sent: Quiet hours began before the SMS was sent.")
    assert published() == []
    assert Delivery.select().count() == 0


def test_a_sign_up_after_the_opening_hour_gets_the_sms_of_the_next_morning(
    container: Container, clock: FakeClock
) -> None:
    add_subscribers(MIRA)
    Subscriber.update(joined_at=NOON).execute()
    clock.advance(minutes=15)
    assert run_due(container) == []
    assert states(container)[UTC_ZONE, TODAY] == "nobody"
    clock.moment = NOON.replace(hour=9) + timedelta(days=1)
    assert run_due(container) == [(UTC_ZONE, TODAY + timedelta(days=1), "sent")]


def test_a_late_morning_reaches_those_who_subscribed_since(container: Container, clock: FakeClock) -> None:
    add_subscribers(MIRA, NOOR)
    Subscriber.update(joined_at=NOON).where(Subscriber.mobile == NOOR).execute()
    clock.advance(minutes=15)
    assert run_due(container) == [(UTC_ZONE, TODAY, "sent")]
    assert sorted(sms.to for sms in ConsoleSms.select()) == [MIRA, NOOR]


def test_an_sms_in_doubt_is_reported_once_and_not_repeated(
    sns_container: Container, sns_calls: SnsCalls, clock: FakeClock
) -> None:
    sns_calls.fault_for = lambda _, operation: "answer lost" if operation == "Publish" else None
    assert run_due(sns_container) == [(UTC_ZONE, TODAY, "in doubt")]
    sns_calls.fault_for = lambda _number, _operation: None
    reports = []
    for _ in range(4 * 24):
        clock.advance(minutes=15)
        reports += run_due(sns_container)
    assert reports == [(UTC_ZONE, TODAY + timedelta(days=1), "sent")]
    assert sns_calls.operations.count("Publish") == 2


def test_an_sms_whose_process_died_during_the_call_is_reported_once_by_the_next_run(
    sns_container: Container, clock: FakeClock
) -> None:
    Delivery.create(date=TODAY, topic=TOPIC, claimed_at=NOON, sending_at=NOON)
    assert run_due(sns_container) == [(UTC_ZONE, TODAY, "being sent")]
    clock.advance(minutes=15)
    (done,) = sns_container.daily_delivery.publish_due()
    assert done == result("in doubt", IN_DOUBT)
    clock.advance(minutes=15)
    assert run_due(sns_container) == []
    assert published() == []


def test_a_claim_whose_holder_died_before_the_call_is_sent_by_the_next_run(
    sns_container: Container, clock: FakeClock
) -> None:
    Delivery.create(date=TODAY, topic=TOPIC, claimed_at=NOON)
    assert run_due(sns_container) == [(UTC_ZONE, TODAY, "being sent")]
    clock.advance(minutes=15)
    assert run_due(sns_container) == [(UTC_ZONE, TODAY, "sent")]


def test_a_missed_morning_is_reported_once_by_the_first_run_of_the_next_date(
    sns_container: Container, clock: FakeClock
) -> None:
    assert run_due(sns_container) == [(UTC_ZONE, TODAY, "sent")]
    clock.moment = NOON + timedelta(days=3)
    (missed, sent) = Container(sns_container.settings, now=clock).daily_delivery.publish_due()
    assert missed == result(
        "missed",
        "The SMS of 2026-11-23 to 2026-11-24 was not sent before quiet hours began.",
        day=TODAY + timedelta(days=2),
    )
    assert (sent.date, sent.state) == (TODAY + timedelta(days=3), "sent")
    clock.advance(hours=1)
    assert run_due(sns_container) == []
    assert states(sns_container) == {
        (UTC_ZONE, TODAY + timedelta(days=3)): "sent",
        (UTC_ZONE, TODAY + timedelta(days=2)): "missed",
    }


def test_a_morning_before_anybody_subscribed_was_not_missed(sns_container: Container, clock: FakeClock) -> None:
    Subscriber.update(joined_at=NOON).execute()
    clock.moment = NOON.replace(hour=8) + timedelta(days=1)
    assert run_due(sns_container) == []


def test_mornings_that_a_subscriber_paused_were_not_missed(sns_container: Container, clock: FakeClock) -> None:
    assert run_due(sns_container) == [(UTC_ZONE, TODAY, "sent")]
    sns_container.state.pause(MIRA, until=NOON.replace(hour=0) + timedelta(days=4), now=NOON)
    sns_container.topic_sync.sync_due()
    clock.moment = NOON + timedelta(days=4)
    sns_container.topic_sync.sync_due()
    assert run_due(sns_container) == [(UTC_ZONE, TODAY + timedelta(days=4), "sent")]


def test_only_mornings_that_somebody_waited_for_were_missed(sns_container: Container, clock: FakeClock) -> None:
    assert run_due(sns_container) == [(UTC_ZONE, TODAY, "sent")]
    Subscriber.update(joined_at=NOON + timedelta(days=2)).execute()
    clock.moment = NOON + timedelta(days=5)
    (missed, _) = sns_container.daily_delivery.publish_due()
    assert missed.message.startswith("The SMS of 2026-11-25 to 2026-11-26 was not sent")


@pytest.mark.parametrize("fault", ["error 500", "timed out", "answer lost"])
def test_a_failure_of_a_call_that_sends_nothing_is_not_in_doubt(
    sns_container: Container, sns_calls: SnsCalls, clock: FakeClock, fault: Fault
) -> None:
    sns_calls.fault_for = lambda _, operation: fault if operation == "GetTopicAttributes" else None
    assert run_due(sns_container) == [(UTC_ZONE, TODAY, "failed")]
    sns_calls.fault_for = lambda _number, _operation: None
    assert run_due(sns_container) == [(UTC_ZONE, TODAY, "sent")]


def test_an_sms_that_was_sent_is_never_reported_as_not_sent(
    sns_container: Container, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StateUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(sns_container.state, "finish_delivery", fail)
        (done,) = sns_container.daily_delivery.publish_due()
    assert (done.state, done.message) == (
        "in doubt",
        "The SMS was sent, but the state did not store that (StateUnavailable). Do not send it again.",
    )
    clock.advance(minutes=15)
    assert run_due(sns_container) == []
    assert len(published()) == 1


def test_samoa_did_not_miss_the_date_that_it_skipped(container: Container, clock: FakeClock) -> None:
    add_subscribers(MIRA, time_zone="Pacific/Apia")
    Subscriber.update(joined_at=datetime(2011, 12, 29, 11, 0, tzinfo=NOON.tzinfo)).execute()
    reports = []
    clock.moment = datetime(2011, 12, 29, 12, 0, tzinfo=NOON.tzinfo)
    for _ in range(24 * 4):
        reports += run_due(container)
        clock.advance(hours=1)
    assert [(day.isoformat(), state) for _, day, state in reports] == [
        ("2011-12-29", "sent"),
        ("2011-12-31", "sent"),
        ("2012-01-01", "sent"),
        ("2012-01-02", "sent"),
    ]


def test_a_run_costs_two_statements_for_a_time_zone_whose_sms_was_sent(
    sns_container: Container, clock: FakeClock
) -> None:
    sns_container.daily_delivery.publish_due()
    clock.advance(minutes=15)
    with record_sql() as statements:
        assert sns_container.daily_delivery.publish_due() == []
    assert len(statements) == 3, "when it ran, the SMS switch, the topics"
    with record_sql() as statements:
        assert run_due(sns_container) == []
    assert len(statements) == 4, "in a new process, the last delivery too"


def test_a_run_without_time_left_sends_nothing_more(container: Container) -> None:
    add_subscribers(MIRA, time_zone=KOLKATA)
    add_subscribers(NOOR, time_zone=UTC_ZONE)
    is_time_up = iter([False, False, True])
    assert len(container.daily_delivery.publish_due(lambda: next(is_time_up))) == 1
    assert len(run_due(container)) == 1


def test_a_run_whose_time_is_up_before_the_call_leaves_the_sms_to_the_next_run(sns_container: Container) -> None:
    is_time_up = iter([False, True])
    (done,) = sns_container.daily_delivery.publish_due(lambda: next(is_time_up))
    assert done == result("failed", "Not sent: No time was left; the next run sends it.")
    assert published() == []
    assert run_due(sns_container) == [(UTC_ZONE, TODAY, "sent")]


# ---- status


def test_the_status_of_a_morning_says_what_happened_to_it(
    sns_container: Container, sns_calls: SnsCalls, clock: FakeClock
) -> None:
    seen = []

    def look() -> None:
        today, yesterday = sns_container.daily_delivery.statuses()
        assert (today.date, yesterday.date) == (clock().date(), clock().date() - timedelta(days=1))
        seen.append((today.state, yesterday.state))

    Subscriber.update(joined_at=NOON - timedelta(days=30)).execute()
    clock.moment = NOON.replace(hour=8)
    look()
    clock.moment = NOON.replace(hour=9)
    look()
    Delivery.create(date=TODAY, topic=TOPIC, claimed_at=clock())
    look()
    clock.advance(minutes=2)
    look()
    sns_calls.fault_for = lambda _, operation: "answer lost" if operation == "Publish" else None
    publish(sns_container)
    look()
    clock.advance(minutes=2)
    look()
    sns_calls.fault_for = lambda _number, _operation: None
    publish(sns_container, again=True)
    look()
    clock.advance(days=2)
    look()
    clock.moment = clock().replace(hour=22)
    look()
    assert seen == [
        ("not yet", "missed"),
        ("due", "missed"),
        ("being sent", "missed"),
        ("due", "missed"),
        ("being sent", "missed"),
        ("in doubt", "missed"),
        ("sent", "missed"),
        ("due", "missed"),
        ("missed", "missed"),
    ]
