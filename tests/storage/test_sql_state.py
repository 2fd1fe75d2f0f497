"""What is special to the state in SQLite and PostgreSQL: transactions, expiry, the stored count, the local inbox."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import cast

import pytest
from peewee import SqliteDatabase, chunked

from quoteapi.storage import database, sql_state
from quoteapi.storage.models import ConsoleSms, LegacyOneTimePassword, SmsSwitch, Subscriber, SubscriberCount
from quoteapi.storage.models import database as bound
from quoteapi.storage.state import ACTIVE, State, SubscriberCountLimit
from tests.helpers import states
from tests.helpers.data import MIRA, NOON, NOOR, sqlite_only
from tests.helpers.states import AUCKLAND, KOLKATA, LIMIT, LOG_KEY, MICROSECOND, MINUTE, POLICY, TODAY, WRONG_DIGEST

DAY = timedelta(days=1)


class ProcessDied(Exception):
    pass


@pytest.fixture
def dies_before_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_: int) -> None:
        raise ProcessDied

    monkeypatch.setattr(sql_state, "_subtract_from_count", die)


@pytest.mark.parametrize(
    "end", [lambda state: state.deactivate(MIRA, now=NOON), lambda state: state.mark_opted_out([MIRA], NOON)]
)
@pytest.mark.usefixtures("dies_before_counting")
def test_a_subscriber_that_is_not_subtracted_from_the_count_stays_active(
    state: State, end: Callable[[State], object]
) -> None:
    active = states.activate(state)
    with pytest.raises(ProcessDied):
        end(state)
    assert states.stored_subscriber(state) == active
    assert state.subscriber_count() == 1


@sqlite_only
@pytest.mark.parametrize(
    "change",
    [
        lambda state, mobile: state.deactivate(mobile, now=NOON),
        lambda state, mobile: state.pause(mobile, until=NOON + DAY, now=NOON),
    ],
)
def test_a_number_that_is_not_subscribed_costs_a_write_too_so_that_timing_does_not_show_it(
    state: State, change: Callable[[State, str], str | None]
) -> None:
    states.activate(state, MIRA)
    for mobile, is_subscribed in ((MIRA, True), (NOOR, False)):
        before = bound.connection().total_changes
        assert (change(state, mobile) is not None) == is_subscribed
        assert bound.connection().total_changes > before


def test_a_recount_corrects_the_stored_count(state: State) -> None:
    states.activate(state, MIRA)
    states.activate(state, NOOR)
    state.deactivate(NOOR, now=NOON)
    for wrong in 0, 7:
        SubscriberCount.update(count=wrong).where(SubscriberCount.state == ACTIVE).execute()
        assert state.recount_subscribers() == (wrong, 1)
        assert state.subscriber_count() == 1
    assert state.recount_subscribers() == (1, 1)


def test_otps_expire_unless_there_was_a_wrong_try_lately(state: State) -> None:
    otps = []
    for n, (requested_at, tried_at) in enumerate(
        [
            (NOON, None),
            (NOON + MICROSECOND, None),
            (NOON, NOON),
            (NOON, NOON + MICROSECOND),
        ]
    ):
        mobile = f"+9190280{n:05}"
        otps.append(states.generate_otp(state, mobile, now=requested_at))
        if tried_at is not None:
            state.try_otp(mobile, "subscribe", WRONG_DIGEST, now=tried_at, policy=POLICY)
    delete_expired(state, otps_requested_before=NOON, tried_before=NOON)
    kept = [state.find_otp(otp.otp_request_id) is not None for otp in otps]
    assert kept == [False, True, False, True]


def delete_expired(state: State, **times: object) -> None:
    """Delete what expired; by default nothing did."""
    long_ago = NOON - 99 * DAY
    defaults = {"otps_requested_before": long_ago, "tried_before": long_ago, "logs_before": long_ago}
    state.delete_expired(**({**defaults, "sms_before": long_ago.date()} | times))  # type: ignore[arg-type]


def test_logs_and_sms_counts_from_before_a_time_expire(state: State) -> None:
    keys = ["1" * 32, "2" * 32]
    for n, key in enumerate(keys):
        assert state.swap_rate_limit_log(key, "", "1", now=NOON + n * MICROSECOND, keep_until=NOON)
        assert state.count_sms(TODAY + n * DAY, LIMIT)
    delete_expired(state, logs_before=NOON, sms_before=TODAY)
    assert [state.read_rate_limit_log(key) for key in keys] == ["1", "1"]
    delete_expired(state, logs_before=NOON + MICROSECOND)
    assert [state.read_rate_limit_log(key) for key in keys] == ["", "1"]
    assert [state.read_sms_count(TODAY + n * DAY) for n in range(2)] == [1, 1]
    delete_expired(state, sms_before=TODAY + DAY)
    assert [state.read_sms_count(TODAY + n * DAY) for n in range(2)] == [0, 1]
    assert [state.read_rate_limit_log(key) for key in keys] == ["", "1"]


def test_a_log_expires_by_its_last_change(state: State) -> None:
    for n, (before, after) in enumerate([("", "1"), ("1", ""), ("", "2"), ("2", "2 3")]):
        assert state.swap_rate_limit_log(LOG_KEY, before, after, now=NOON + n * MINUTE, keep_until=NOON)
        delete_expired(state, logs_before=NOON + n * MINUTE)
        assert state.read_rate_limit_log(LOG_KEY) == after


def test_sms_in_the_inbox_and_otps_of_the_earlier_version_of_a_number_are_deleted(state: State) -> None:
    for mobile in MIRA, NOOR:
        ConsoleSms.create(to=mobile, message="hello", kind="code", sent_at=NOON)
        columns = {"otp_request_id": mobile, "requested_at": NOON, "requested_from": "192.0.2.1", "tries_left": 1}
        LegacyOneTimePassword.create(mobile=mobile, purpose="subscribe", **columns)
    assert state.delete_number(MIRA, [])
    assert [sms.to for sms in ConsoleSms.select()] == [NOOR]
    assert [otp.mobile for otp in LegacyOneTimePassword.select()] == [NOOR]
    assert not state.delete_number(MIRA, [])
    ConsoleSms.create(to=MIRA, message="hello", kind="code", sent_at=NOON)
    assert state.delete_number(MIRA, [])


def test_all_subscribers_are_marked_out_of_sync_in_batches(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_state, "BATCH_SIZE", 2)
    subscribers = [states.sync(state, states.activate(state, f"+9190280{n:05}")) for n in range(5)]
    state.deactivate(subscribers[2].mobile, now=NOON)
    state.mark_all_out_of_sync(NOON + MINUTE)
    times = [states.stored_subscriber(state, subscriber.mobile).sync_due_at for subscriber in subscribers]
    assert times == [NOON + MINUTE if n != 2 else NOON for n in range(5)]


def test_counts_of_other_states_and_other_switches_are_not_touched(state: State) -> None:
    SubscriberCount.create(state="another", count=5)
    SmsSwitch.create(name="another", disabled_at=NOON)
    states.activate(state, MIRA)
    states.activate(state, NOOR)
    state.deactivate(NOOR, now=NOON)
    assert state.subscriber_count() == 1
    SubscriberCount.update(count=9).where(SubscriberCount.state == ACTIVE).execute()
    assert state.recount_subscribers() == (9, 1)
    for off in True, False:
        state.set_sms_switch(NOON, off=off)
    assert SubscriberCount.get(SubscriberCount.state == "another").count == 5
    assert [switch.name for switch in SmsSwitch.select()] == ["another"]
    with pytest.raises(SubscriberCountLimit):
        states.confirm(state, states.generate_otp(state, NOOR), limit=1)


# ---- query plans

MANY = 3_000


@pytest.fixture
def many_subscribers(open_database: None) -> None:
    """Add active subscribers in sync on three topics, and a few others."""
    columns = {"requested_at": NOON, "requested_from": "192.0.2.1", "confirmed_at": NOON, "confirmed_from": "192.0.2.1"}
    columns |= {"state": ACTIVE, "joined_at": NOON, "time_zone": KOLKATA, "sync_due_at": None}
    rows = [columns | {"mobile": f"+9190281{n:05}", "topic": f"topic {n % 3}"} for n in range(MANY)]
    rows += [columns | {"mobile": f"+9190282{n:05}", "topic": None, "sync_due_at": NOON} for n in range(5)]
    rows += [columns | {"mobile": f"+9190283{n:05}", "topic": "topic 0", "time_zone": None} for n in range(5)]
    for batch in chunked(rows, 500):
        Subscriber.insert_many(batch).execute()


READS: dict[str, Callable[[State], object]] = {
    "subscriber_state_topic": lambda state: state.topics_in_use(),
    "subscriber_unsettled": lambda state: list(state.out_of_sync(NOON)),
    "subscriber_unsettled, counted": lambda state: state.count_out_of_sync(NOON + MINUTE),
    "subscriber_without_time_zone": lambda state: list(state.subscribers_without_time_zone()),
}
"""What each run of the schedule reads, by the index that finds it."""


@pytest.mark.parametrize("index", READS)
@pytest.mark.parametrize("is_analyzed", [False, True])
@pytest.mark.usefixtures("many_subscribers")
def test_what_a_run_of_the_schedule_reads_is_found_by_an_index(
    state: State, index: str, is_analyzed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    is_sqlite = isinstance(bound.obj, SqliteDatabase)
    if is_analyzed or not is_sqlite:  # PostgreSQL analyzes tables by itself
        bound.execute_sql("ANALYZE subscriber")
    with caplog.at_level(logging.DEBUG, "peewee"):
        READS[index](state)
    statement, values = cast("tuple[str, object]", caplog.records[-1].msg)
    explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
    plan = [str(step[-1]) for step in bound.execute_sql(f"{explain} {statement}", values).fetchall()]
    reads = [step for step in plan if " subscriber" in step]
    assert reads
    assert all(index.partition(",")[0] in step for step in reads), plan


def test_the_topics_of_many_subscribers_are_found_once(state: State, many_subscribers: None) -> None:
    assert state.topics_in_use() == ["topic 0", "topic 1", "topic 2"]


@pytest.mark.usefixtures("many_subscribers")
def test_active_subscribers_of_an_earlier_version_have_no_time_zone_until_one_is_stored(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BATCH_SIZE", 2)
    without = list(state.subscribers_without_time_zone())
    assert [subscriber.mobile for subscriber in without] == [f"+9190283{n:05}" for n in range(5)]
    assert all(subscriber == states.stored_subscriber(state, subscriber.mobile) for subscriber in without)
    stay, move, left, paused, again = without
    assert state.set_time_zone(stay.id, KOLKATA, now=NOON, is_move=False)
    assert states.stored_subscriber(state, stay.mobile) == stay._replace(time_zone=KOLKATA)
    assert state.set_time_zone(move.id, AUCKLAND, now=NOON)
    moved = move._replace(time_zone=AUCKLAND, joined_at=NOON, sync_due_at=NOON)
    assert states.stored_subscriber(state, move.mobile) == moved
    assert state.deactivate(left.mobile, now=NOON)
    assert states.confirm(state, states.generate_otp(state, again.mobile), time_zone=KOLKATA) == again.id
    assert list(state.subscribers_without_time_zone()) == [paused]


def test_a_subscriber_of_an_earlier_version_joined_its_topic_before_any_time(state: State) -> None:
    subscriber = states.sync(state, states.activate(state))
    assert not state.has_joined_before(states.TOPIC, NOON)
    Subscriber.update(joined_at=None, time_zone=None).execute()
    assert state.has_joined_before(states.TOPIC, NOON)
    assert state.set_time_zone(subscriber.id, KOLKATA, now=NOON, is_move=False)
    assert state.has_joined_before(states.TOPIC, NOON)


def test_an_active_subscriber_of_an_earlier_version_gets_no_default_time_zone(state: State) -> None:
    """Its number decides, as that of all others of that version."""
    before = states.sync(state, states.activate(state))
    Subscriber.update(joined_at=None, time_zone=None).execute()
    assert states.confirm(state, states.generate_otp(state)) is None
    assert states.stored_subscriber(state) == before._replace(joined_at=None, time_zone=None)
