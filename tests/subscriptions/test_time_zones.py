"""Subscribers and their time zones: which they get, moves, pauses, and those of the version without time zones."""

from datetime import date, datetime, timedelta

import pytest

from quoteapi.container import Container
from quoteapi.settings import read_settings
from quoteapi.sms.gateway import GatewayError
from quoteapi.storage.models import ConsoleSms, Delivery, Subscriber
from quoteapi.storage.state import Subscriber as SubscriberRecord
from quoteapi.subscriptions.daily_delivery import DeliveryResult
from quoteapi.subscriptions.delivery_hours import describe_morning
from quoteapi.subscriptions.errors import NoOtpRequested, OtpUsed
from quoteapi.subscriptions.topic_sync import ReconcileResult
from tests.helpers.clock import FakeClock
from tests.helpers.data import (
    AUCKLAND,
    KOLKATA,
    MIRA,
    NEW_YORK,
    NOON,
    NOOR,
    UTC_ZONE,
    add_subscribers,
    environment,
    latest_otp,
)
from tests.helpers.dispatcher import RecordingDispatcher
from tests.helpers.dynamodb_server import on_every_engine
from tests.helpers.sns_emulator import SETTINGS, TOPIC, SnsCalls, backend, sent_to, subscribed_to
from tests.helpers.subscribing import CLIENT_IP, add_sns_subscribers, request_otp

US_NUMBER = "+12125550123"
HOUR = timedelta(hours=1)
TODAY = NOON.date()
TOMORROW = TODAY + timedelta(days=1)


def subscribe(
    container: Container, mobile: str = MIRA, *, at_first: str | None = None, with_code: str | None = None
) -> SubscriberRecord:
    """Subscribe a number with a time zone in the first or in the second request. Return the subscriber."""
    subscriptions, dispatcher = container.subscriptions, container.dispatcher
    subscriptions.request_otp(mobile, "subscribe", CLIENT_IP, dispatcher, at_first)
    code = latest_otp(mobile) if container.settings.gateway == "console" else sent_to(mobile)[-1][:6]
    subscriptions.subscribe(mobile, code, CLIENT_IP, dispatcher, with_code)
    return stored(container, mobile)


def stored(container: Container, mobile: str = MIRA) -> SubscriberRecord:
    subscriber = container.state.find_subscriber(mobile)
    assert subscriber is not None
    return subscriber


def topics_of(container: Container, mobile: str = MIRA) -> list[str]:
    """Return the time zones to whose topics a number is subscribed in SNS."""
    names = [topic.name for topic in backend().topics.values()]
    topics = container.gateway.topics
    found = [name for name in names if mobile in subscribed_to(f"us-east-1:{name}")]
    return [topics.time_zone(f"us-east-1:{name}") or name for name in found]


def sms_dates(
    container: Container, clock: FakeClock, hours: int, *, step: timedelta = timedelta(minutes=15)
) -> list[str]:
    """Run the schedule again and again. Return when Mira got a quote, in UTC, and of which date."""
    received, end = [], clock() + timedelta(hours=hours)
    while clock() < end:
        before = topics_of(container)
        runs = container.schedule.run()
        topics = {*before, *topics_of(container)}
        sent = [done.date for done in runs if done.state == "sent" and done.time_zone in topics]
        received += [f"{clock():%m-%d %H:%M} {day:%m-%d}" for day in sent]
        clock.advance(seconds=int(step.total_seconds()))
    return received


# ---- which time zone


def test_without_a_choice_a_subscriber_gets_the_time_zone_of_its_number(container: Container) -> None:
    assert subscribe(container, MIRA).time_zone == KOLKATA
    assert subscribe(container, US_NUMBER).time_zone == NEW_YORK


def test_a_time_zone_of_the_second_request_wins_over_that_of_the_first(container: Container, clock: FakeClock) -> None:
    assert subscribe(container, at_first=AUCKLAND).time_zone == AUCKLAND
    clock.advance(minutes=2)
    assert subscribe(container, NOOR, at_first=AUCKLAND, with_code=NEW_YORK).time_zone == NEW_YORK


def test_who_subscribes_again_without_a_choice_keeps_the_time_zone(container: Container, clock: FakeClock) -> None:
    subscribe(container, with_code=NEW_YORK)
    container.subscriptions.unsubscribe(MIRA, CLIENT_IP, container.dispatcher)
    clock.advance(minutes=2)
    again = subscribe(container)
    assert (again.state, again.time_zone, again.joined_at) == ("active", NEW_YORK, clock())


def test_the_confirmation_names_the_hour_and_the_place(container: Container) -> None:
    subscribe(container, with_code=AUCKLAND)
    assert "1 SMS a day at 09:00, Auckland time." in ConsoleSms.get(ConsoleSms.kind == "confirmation").message


def test_a_number_without_a_time_zone_gets_the_default_one(
    container: Container, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quoteapi.subscriptions.service.time_zone_of", lambda _: None)
    settings = read_settings(environment(container.settings, DEFAULT_TIME_ZONE="Europe/Berlin"))
    in_berlin = Container(settings, now=clock)
    row = subscribe(in_berlin)
    assert (row.time_zone, row.topic) == ("Europe/Berlin", "console")


def test_the_next_morning_is_told_by_the_clock_of_the_subscriber(container: Container, clock: FakeClock) -> None:
    clock.moment = NOON.replace(hour=13, minute=59)  # 08:59 in New York
    subscribe(container, US_NUMBER)
    told = []
    for _ in range(2):
        morning = container.subscriptions.next_morning(US_NUMBER)
        assert morning is not None
        told.append(describe_morning(morning.opens_at, morning.time_zone, clock()))
        clock.advance(minutes=1)
    assert told == ["today at 09:00, New York time", "tomorrow at 09:00, New York time"]
    assert container.subscriptions.next_morning(MIRA) is None


# ---- moves


@on_every_engine
def test_who_moves_is_on_the_topic_of_the_new_time_zone_only(sns_container: Container, clock: FakeClock) -> None:
    subscribe(sns_container)
    assert topics_of(sns_container) == [KOLKATA]
    clock.advance(minutes=2)
    moved = subscribe(sns_container, with_code=NEW_YORK)
    assert topics_of(sns_container) == [NEW_YORK]
    assert (moved.time_zone, moved.joined_at, moved.sync_due_at) == (NEW_YORK, clock(), None)
    assert len(sent_to(MIRA)) == 3, "two codes and one confirmation"
    clock.advance(minutes=2)
    subscribe(sns_container)
    assert topics_of(sns_container) == [NEW_YORK], "without a choice, nothing changes"


def test_the_operator_can_move_a_subscriber(sns_container: Container) -> None:
    subscribe(sns_container)
    assert sns_container.subscriptions.move(MIRA, AUCKLAND)
    assert topics_of(sns_container) == [AUCKLAND]
    assert not sns_container.subscriptions.move(MIRA, AUCKLAND)
    assert not sns_container.subscriptions.move(NOOR, AUCKLAND)
    sns_container.subscriptions.unsubscribe(MIRA, CLIENT_IP, sns_container.dispatcher)
    assert not sns_container.subscriptions.move(MIRA, KOLKATA), "it is not subscribed"


@on_every_engine
def test_who_moves_west_after_the_sms_of_a_date_gets_no_second_one_of_that_date(
    sns_container: Container, clock: FakeClock
) -> None:
    clock.moment = NOON.replace(hour=4) - timedelta(days=1)
    subscribe(sns_container)
    clock.moment = NOON.replace(hour=5)
    assert sms_dates(sns_container, clock, 1, step=HOUR) == ["11-22 05:00 11-22"]
    sns_container.subscriptions.move(MIRA, NEW_YORK)
    assert topics_of(sns_container) == [], "it waits for the end of the date in New York"
    assert stored(sns_container).sync_due_at == NOON.replace(hour=5) + timedelta(days=1)
    assert sms_dates(sns_container, clock, 48, step=2 * HOUR) == ["11-23 14:00 11-23"]
    assert topics_of(sns_container) == [NEW_YORK]


def test_who_moves_west_when_the_other_topic_got_the_sms_joins_it_at_once(
    sns_container: Container, clock: FakeClock
) -> None:
    add_sns_subscribers(sns_container, MIRA, time_zone=KOLKATA)
    add_sns_subscribers(sns_container, NOOR, time_zone=NEW_YORK)
    clock.moment = NOON.replace(hour=15)
    sent = {done.time_zone for done in sns_container.schedule.run() if done.state == "sent"}
    assert sent == {KOLKATA, NEW_YORK}
    sns_container.subscriptions.move(MIRA, NEW_YORK)
    assert topics_of(sns_container) == [NEW_YORK]


def test_who_moves_east_before_the_sms_of_a_date_gets_that_of_the_next_date(
    sns_container: Container, clock: FakeClock
) -> None:
    clock.moment = NOON.replace(hour=13)  # 08:00 in New York, and 02:00 of the next date in Auckland
    add_sns_subscribers(sns_container, MIRA, time_zone=NEW_YORK)
    sns_container.subscriptions.move(MIRA, AUCKLAND)
    assert sms_dates(sns_container, clock, 30) == ["11-22 20:00 11-23"]


def test_who_leaves_and_subscribes_in_another_time_zone_gets_no_second_sms_of_a_date(
    sns_container: Container, clock: FakeClock
) -> None:
    add_sns_subscribers(sns_container, MIRA, time_zone=KOLKATA)
    clock.moment = NOON.replace(hour=5)
    assert len(sns_container.schedule.run()) == 1
    sns_container.subscriptions.unsubscribe(MIRA, CLIENT_IP, sns_container.dispatcher)
    row = subscribe(sns_container, with_code=NEW_YORK)
    assert (row.state, row.topic, row.last_sms_date) == ("active", None, TODAY)
    assert len(sent_to(MIRA)) == 2, "the code and the confirmation, although it waits"
    morning = sns_container.subscriptions.next_morning(MIRA)
    assert morning is not None
    assert describe_morning(morning.opens_at, NEW_YORK, clock()) == "tomorrow at 09:00, New York time"
    assert sms_dates(sns_container, clock, 48) == ["11-23 14:00 11-23"]


def test_the_next_morning_after_a_move_is_right_before_the_sync(sns_container: Container, clock: FakeClock) -> None:
    add_sns_subscribers(sns_container, MIRA, time_zone=KOLKATA)
    clock.moment = NOON.replace(hour=5)
    assert len(sns_container.schedule.run()) == 1
    row = stored(sns_container)
    assert sns_container.state.set_time_zone(row.id, NEW_YORK, now=clock())
    told = []
    for _ in range(2):
        morning = sns_container.subscriptions.next_morning(MIRA)
        assert morning is not None
        told.append(describe_morning(morning.opens_at, NEW_YORK, clock()))
        sns_container.topic_sync.sync(row.id)
    assert told == ["tomorrow at 09:00, New York time"] * 2


def test_an_sms_in_doubt_counts_as_one_that_the_subscriber_got(
    sns_container: Container, sns_calls: SnsCalls, clock: FakeClock
) -> None:
    add_sns_subscribers(sns_container, MIRA, time_zone=KOLKATA)
    clock.moment = NOON.replace(hour=5)
    sns_calls.fault_for = lambda _, operation: "answer lost" if operation == "Publish" else None
    assert [done.state for done in sns_container.schedule.run()] == ["in doubt"]
    sns_calls.fault_for = lambda _number, _operation: None
    sns_container.subscriptions.move(MIRA, NEW_YORK)
    assert topics_of(sns_container) == []


@pytest.mark.parametrize("failing", ["Unsubscribe", "Subscribe"])
def test_a_move_whose_call_failed_is_finished_by_the_next_run(
    sns_container: Container, sns_calls: SnsCalls, clock: FakeClock, failing: str
) -> None:
    subscribe(sns_container)
    sns_calls.fault_for = lambda _, operation: "throttled" if operation == failing else None
    with pytest.raises(GatewayError):
        sns_container.subscriptions.move(MIRA, AUCKLAND)
    sns_calls.fault_for = lambda _number, _operation: None
    clock.advance(minutes=15)
    sns_container.schedule.run()
    assert topics_of(sns_container) == [AUCKLAND]
    assert stored(sns_container).sync_due_at is None


def test_a_move_during_a_sync_is_not_lost(sns_container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    dispatcher = RecordingDispatcher()
    sns_container.subscriptions.subscribe(MIRA, request_otp(sns_container), CLIENT_IP, dispatcher)
    (subscriber_id,) = dispatcher.subscribers
    add_to_topic = sns_container.gateway.subscribe

    def move_meanwhile(mobile: str, topic: str) -> str:
        monkeypatch.undo()
        arn = add_to_topic(mobile, topic)
        assert sns_container.state.set_time_zone(subscriber_id, AUCKLAND, now=sns_container.clock())
        return arn

    monkeypatch.setattr(sns_container.gateway, "subscribe", move_meanwhile)
    assert sns_container.topic_sync.sync(subscriber_id) == "subscribed"
    assert topics_of(sns_container) == [AUCKLAND]


# ---- another topic


def test_who_moves_to_the_topic_of_new_settings_gets_no_second_sms_of_a_date(
    sns_container: Container, clock: FakeClock
) -> None:
    add_sns_subscribers(sns_container, MIRA)
    assert [done.state for done in sns_container.schedule.run()] == ["sent"]
    renamed = Container(read_settings(environment(sns_container.settings, SNS_TOPIC="Renamed", **SETTINGS)), now=clock)
    renamed.topic_sync.reconcile(everyone=True)
    assert sms_dates(renamed, clock, 30) == ["11-23 09:00 11-23"]
    assert topics_of(renamed) == ["DailyQuoteSubscription", UTC_ZONE], "the operator deletes the other topic"


def test_after_a_change_of_the_default_time_zone_everyone_can_be_moved_without_a_second_sms(
    sns_container: Container, clock: FakeClock
) -> None:
    add_sns_subscribers(sns_container, MIRA)
    add_sns_subscribers(sns_container, NOOR, time_zone=KOLKATA)
    sns_container.schedule.run()
    settings = read_settings(environment(sns_container.settings, DEFAULT_TIME_ZONE=KOLKATA, **SETTINGS))
    changed = Container(settings, now=clock)
    changed.topic_sync.reconcile(everyone=True)
    assert (stored(changed, MIRA).topic, stored(changed, NOOR).topic) == (None, TOPIC)
    clock.advance(hours=12)
    assert sms_dates(changed, clock, 24) == ["11-23 09:00 11-23"]
    assert stored(changed, MIRA).topic == f"{TOPIC}-Etc-UTC"


def test_everyone_can_be_moved_off_the_topic_where_the_version_before_put_them(sns_container: Container) -> None:
    add_sns_subscribers(sns_container, MIRA)
    Subscriber.update(time_zone=KOLKATA).execute()
    sns_container.topic_sync.reconcile(everyone=True)
    assert topics_of(sns_container) == [KOLKATA]


# ---- pauses


def pause(container: Container, days: int, mobile: str = MIRA) -> None:
    container.subscriptions.pause(mobile, days, CLIENT_IP, container.dispatcher)


@on_every_engine
def test_a_pause_skips_so_many_mornings_and_ends_by_itself(sns_container: Container, clock: FakeClock) -> None:
    clock.moment = NOON.replace(hour=4) - timedelta(days=1)
    subscribe(sns_container)
    clock.moment = NOON.replace(hour=4, minute=30)
    assert sms_dates(sns_container, clock, 3, step=3 * HOUR) == ["11-22 04:30 11-22"]
    pause(sns_container, 2)
    assert topics_of(sns_container) == []
    morning = sns_container.subscriptions.next_morning(MIRA)
    assert morning is not None
    assert describe_morning(morning.opens_at, KOLKATA, clock()) == "on Wednesday, November 25, at 10:00, Kolkata time"
    assert sms_dates(sns_container, clock, 72, step=3 * HOUR) == ["11-25 04:30 11-25"]
    assert stored(sns_container).state == "active"
    assert len(sent_to(MIRA)) == 2, "the end of a pause is no new confirmation"


def test_a_pause_before_this_mornings_sms_skips_it(sns_container: Container, clock: FakeClock) -> None:
    add_sns_subscribers(sns_container, MIRA, time_zone=KOLKATA)
    clock.moment = NOON.replace(hour=4)
    pause(sns_container, 1)
    assert sms_dates(sns_container, clock, 30) == ["11-23 04:30 11-23"]


def test_a_pause_until_midnight_does_not_skip_the_sms_of_midnight(sns_container: Container, clock: FakeClock) -> None:
    hours = {"DAILY_SMS_AT": "00:00", "QUIET_HOURS": "off"}
    settings = read_settings(environment(sns_container.settings, **hours, **SETTINGS))
    at_midnight = Container(settings, now=clock)
    add_sns_subscribers(at_midnight, MIRA)
    assert [done.state for done in at_midnight.schedule.run()] == ["sent"]
    at_midnight.subscriptions.pause(MIRA, 1, CLIENT_IP, sns_container.dispatcher)
    morning = at_midnight.subscriptions.next_morning(MIRA)
    assert morning is not None
    assert describe_morning(morning.opens_at, UTC_ZONE, clock()) == "on Tuesday, November 24, at 00:00, UTC time"
    assert sms_dates(at_midnight, clock, 72) == ["11-24 00:00 11-24", "11-25 00:00 11-25"]


def test_mornings_of_a_pause_or_a_wait_were_not_missed(sns_container: Container, clock: FakeClock) -> None:
    add_sns_subscribers(sns_container, MIRA, time_zone=KOLKATA)
    clock.moment = NOON.replace(hour=5, minute=30)
    assert [done.state for done in run_and_advance(sns_container, clock)] == ["sent"]
    pause(sns_container, 3)
    states = [done.state for _ in range(24 * 5) for done in run_and_advance(sns_container, clock)]
    assert states == ["sent", "sent"]
    sns_container.subscriptions.move(MIRA, "Asia/Dubai")
    states = [done.state for _ in range(48) for done in run_and_advance(sns_container, clock)]
    assert states == ["sent", "sent"]


def test_subscribing_again_ends_a_pause(sns_container: Container, clock: FakeClock) -> None:
    subscribe(sns_container)
    pause(sns_container, 30)
    clock.advance(minutes=2)
    row = subscribe(sns_container)
    assert (row.paused_until, row.sync_due_at, topics_of(sns_container)) == (None, None, [KOLKATA])
    clock.moment = NOON.replace(hour=5) + timedelta(days=1)
    assert [done.state for done in sns_container.schedule.run()] == ["sent"]


def test_a_later_pause_replaces_the_earlier_one_and_leaving_ends_it(sns_container: Container, clock: FakeClock) -> None:
    subscribe(sns_container)
    pause(sns_container, 30)
    pause(sns_container, 1)
    assert stored(sns_container).paused_until == NOON.replace(hour=18, minute=30) + timedelta(days=1)
    sns_container.subscriptions.unsubscribe(MIRA, CLIENT_IP, sns_container.dispatcher)
    row = stored(sns_container)
    assert (row.state, row.paused_until, row.sync_due_at) == ("unsubscribed", None, None)
    clock.advance(days=3)
    sns_container.schedule.run()
    assert topics_of(sns_container) == []


def test_a_pause_of_a_number_that_is_not_subscribed_changes_nothing(container: Container) -> None:
    pause(container, 7)
    assert Subscriber.select().count() == 0


def test_where_leaving_requires_a_code_a_pause_does_too(container: Container, clock: FakeClock) -> None:
    settings = read_settings(environment(container.settings, UNSUBSCRIBE_REQUIRES_OTP="true"))
    strict = Container(settings, now=clock)
    subscribe(strict)
    strict.subscriptions.request_otp(MIRA, "pause", CLIENT_IP, strict.dispatcher)
    code = latest_otp(MIRA)
    assert "code to pause the quote of the day" in ConsoleSms.select().order_by(ConsoleSms.id.desc()).first().message
    with pytest.raises(NoOtpRequested):
        strict.subscriptions.unsubscribe(MIRA, CLIENT_IP, strict.dispatcher, code)
    strict.subscriptions.pause(MIRA, 7, CLIENT_IP, strict.dispatcher, code)
    assert stored(strict).paused_until is not None
    strict.subscriptions.pause(MIRA, 7, CLIENT_IP, strict.dispatcher, code)  # the same request again
    with pytest.raises(OtpUsed):
        strict.subscriptions.pause(MIRA, 8, CLIENT_IP, strict.dispatcher, code)
    strict.subscriptions.unsubscribe(MIRA, CLIENT_IP, strict.dispatcher)
    with pytest.raises(OtpUsed):
        strict.subscriptions.pause(MIRA, 7, CLIENT_IP, strict.dispatcher, code)


def test_a_number_that_is_not_subscribed_gets_no_code_to_pause(container: Container) -> None:
    container.subscriptions.request_otp(MIRA, "pause", CLIENT_IP, container.dispatcher)
    assert ConsoleSms.select().count() == 0


# ---- subscribers of the version without time zones


def add_delivery(day: date, sent_at: datetime) -> None:
    times = dict.fromkeys(("claimed_at", "sending_at", "sent_at"), sent_at)
    Delivery.create(date=day, topic=TOPIC, message_id="1", **times)


def run_and_advance(container: Container, clock: FakeClock) -> list[DeliveryResult]:
    done = container.schedule.run()
    clock.advance(hours=1)
    return done


def forget_time_zones() -> None:
    Subscriber.update(time_zone=None, joined_at=None).execute()


def test_the_first_run_moves_them_to_the_time_zone_of_their_number(sns_container: Container, clock: FakeClock) -> None:
    add_sns_subscribers(sns_container, MIRA, US_NUMBER)
    forget_time_zones()
    sns_container.schedule.run()
    assert (stored(sns_container, MIRA).time_zone, stored(sns_container, US_NUMBER).time_zone) == (KOLKATA, NEW_YORK)
    assert topics_of(sns_container, MIRA) == [KOLKATA]
    assert topics_of(sns_container, US_NUMBER) == [NEW_YORK]
    assert sns_container.topic_sync.reconcile() == ReconcileResult()


def test_nobody_gets_a_second_sms_of_the_day_of_the_upgrade(sns_container: Container, clock: FakeClock) -> None:
    add_sns_subscribers(sns_container, MIRA, US_NUMBER)
    forget_time_zones()
    add_delivery(TODAY, NOON.replace(hour=2))  # 21:00 of the date before in New York
    clock.moment = NOON.replace(hour=3, minute=30)
    sent = [done for _ in range(40) for done in run_and_advance(sns_container, clock)]
    assert [(done.time_zone, done.date) for done in sent] == [(KOLKATA, TOMORROW), (NEW_YORK, TOMORROW)]
    assert stored(sns_container, US_NUMBER).last_sms_date == TODAY


def test_a_subscriber_in_the_default_time_zone_gets_the_sms_of_the_day_of_the_upgrade(
    sns_container: Container, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quoteapi.subscriptions.topic_sync.time_zone_of", lambda _: UTC_ZONE)
    add_sns_subscribers(sns_container, MIRA)
    forget_time_zones()
    add_delivery(TODAY - timedelta(days=1), NOON - timedelta(days=1))
    assert [(done.time_zone, done.state) for done in sns_container.schedule.run()] == [(UTC_ZONE, "sent")]
    assert (stored(sns_container).time_zone, stored(sns_container).joined_at) == (UTC_ZONE, None)


def test_subscribers_that_left_before_the_upgrade_get_a_time_zone_when_they_come_back(container: Container) -> None:
    add_subscribers(MIRA, state="unsubscribed")
    forget_time_zones()
    container.schedule.run()
    assert stored(container).time_zone is None
    assert subscribe(container).time_zone == KOLKATA
