"""What is special to the state in SQLite and PostgreSQL: transactions, expiry, the stored count, the local inbox."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from quoteapi.storage import sql_state
from quoteapi.storage.models import ConsoleSms, LegacyOneTimePassword, SmsSwitch, SubscriberCount
from quoteapi.storage.state import ACTIVE, State, SubscriberCountLimit
from tests.helpers import states
from tests.helpers.data import MIRA, NOON, NOOR
from tests.helpers.states import LIMIT, LOG_KEY, MICROSECOND, MINUTE, POLICY, TODAY, WRONG_DIGEST

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
