from datetime import date, timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from quoteapi.settings import Settings, Window, read_settings
from quoteapi.storage.models import SmsCount, TokenBucket
from quoteapi.subscriptions.hmac_digest import Digests
from quoteapi.subscriptions.rate_limits import (
    Left,
    Limits,
    RegionNotServed,
    SmsSwitchedOff,
    TooMany,
    _left,
    _one_more,
    set_switch,
)
from tests.helpers.clock import StoppedClock
from tests.helpers.data import MIRA, NOON, NOOR
from tests.helpers.sql import counted_statements


@pytest.fixture
def limits(store: None, settings: Settings, clock: StoppedClock) -> Limits:
    return Limits(settings, Digests(b"key"), clock)


def with_settings(clock: StoppedClock, **more: str) -> Limits:
    return Limits(read_settings(more), Digests(b"key"), clock)


def seconds_to_wait(limits: Limits, mobile: str = MIRA) -> int:
    """Ask for a code, and answer how long one is told to wait; 0 where it is granted."""
    try:
        limits.codes_to_number(mobile)
    except TooMany as error:
        return error.retry_after
    return 0


def test_a_number_gets_a_code_a_minute(limits: Limits, clock: StoppedClock) -> None:
    assert seconds_to_wait(limits) == 0
    clock.pass_by(seconds=59.5)
    assert seconds_to_wait(limits) == 1
    assert seconds_to_wait(limits, NOOR) == 0, "another number has minutes of its own"
    clock.pass_by(seconds=0.5)
    assert seconds_to_wait(limits) == 0


def test_a_number_gets_three_codes_in_any_ten_minutes(limits: Limits, clock: StoppedClock) -> None:
    for _ in range(3):
        assert seconds_to_wait(limits) == 0
        clock.pass_by(minutes=3)
    assert seconds_to_wait(limits) == 60, "the first was nine minutes ago"
    clock.pass_by(minutes=1)
    assert seconds_to_wait(limits) == 0


def test_a_number_gets_five_codes_in_any_day(limits: Limits, clock: StoppedClock) -> None:
    for _ in range(5):
        assert seconds_to_wait(limits) == 0
        clock.pass_by(hours=1)
    assert seconds_to_wait(limits) == 19 * 3_600
    clock.pass_by(hours=19)
    assert seconds_to_wait(limits) == 0
    assert seconds_to_wait(limits) == 3_600, "the second of yesterday's comes back an hour later"


def test_an_address_asks_ten_times_an_hour(limits: Limits, clock: StoppedClock) -> None:
    for _ in range(10):
        limits.asked_by_address("192.0.2.1")
    limits.asked_by_address("192.0.2.2")
    with pytest.raises(TooMany, match="Too many requests from your address") as refused:
        limits.asked_by_address("192.0.2.1")
    assert refused.value.retry_after == 3_600
    clock.pass_by(hours=1)
    limits.asked_by_address("192.0.2.1")


def test_an_address_guesses_wrong_thirty_times_an_hour(limits: Limits) -> None:
    for _ in range(30):
        limits.tries_by_address("192.0.2.1")
    with pytest.raises(TooMany, match="Too many wrong codes from your address"):
        limits.tries_by_address("192.0.2.1")


def test_a_right_guess_costs_an_address_nothing(limits: Limits) -> None:
    for _ in range(100):
        limits.tries_by_address("192.0.2.1").give_back()
    for _ in range(30):
        limits.tries_by_address("192.0.2.1")


def test_the_table_has_neither_numbers_nor_addresses(limits: Limits) -> None:
    limits.codes_to_number(MIRA)
    limits.asked_by_address("192.0.2.1")
    assert all(len(row.key) == 32 and int(row.key, 16) for row in TokenBucket.select())
    assert TokenBucket.select().count() == 2


def test_a_limit_costs_two_statements(limits: Limits) -> None:
    with counted_statements() as statements:
        limits.codes_to_number(MIRA)
    assert len(statements) == 2
    with counted_statements() as statements:
        assert limits.asked_by_address("192.0.2.1").left == (Left("codes", Window(10, 3_600), 9, 3_600),)
    assert len(statements) == 2


def test_the_numbers_of_the_settings_count(store: None, clock: StoppedClock) -> None:
    limits = with_settings(clock, CODES_PER_NUMBER="2/1d", CODES_PER_ADDRESS="1/10s", WRONG_TRIES_PER_ADDRESS="1/2m")
    assert [seconds_to_wait(limits) for _ in range(3)] == [0, 0, 86_400]
    limits.asked_by_address("192.0.2.1")
    limits.tries_by_address("192.0.2.1")
    with pytest.raises(TooMany) as asked:
        limits.asked_by_address("192.0.2.1")
    with pytest.raises(TooMany) as tried:
        limits.tries_by_address("192.0.2.1")
    assert (asked.value.retry_after, tried.value.retry_after) == (10, 120)


def test_sms_go_to_the_countries_of_the_settings_only(store: None, clock: StoppedClock) -> None:
    india = with_settings(clock, SMS_ALLOWED_REGIONS="IN,NP")
    india.regions(MIRA)
    with pytest.raises(RegionNotServed, match=r"numbers of IN, NP only"):
        india.regions("+12015550123")
    with_settings(clock, SMS_ALLOWED_REGIONS="*").regions("+12015550123")
    with_settings(clock).regions("+12015550123")


def test_the_days_cap_is_for_all_numbers_together_and_ends_with_the_day(store: None, clock: StoppedClock) -> None:
    limits = with_settings(clock, SMS_DAILY_CAP="3")
    for _ in range(3):
        limits.single_sms_of_the_day()
    with pytest.raises(TooMany, match="as many SMS as it may today") as refused:
        limits.single_sms_of_the_day()
    assert refused.value.retry_after == 12 * 3_600, "it is noon"
    assert SmsCount.get_by_id(NOON.date()).count == 3
    clock.pass_by(hours=12)
    limits.single_sms_of_the_day()


def test_the_daily_sms_may_go_to_as_many_people_as_the_cap_says(store: None, clock: StoppedClock) -> None:
    limits = with_settings(clock, SMS_DAILY_CAP="3")
    limits.quote_of_the_day(3, parts=1)
    with pytest.raises(TooMany, match="4 people would get the SMS, and SMS_DAILY_CAP is 3"):
        limits.quote_of_the_day(4, parts=1)
    with pytest.raises(TooMany, match="2 people would get the SMS in 2 parts, and SMS_DAILY_CAP is 3"):
        limits.quote_of_the_day(2, parts=2)


def test_the_switch_stops_every_sms_until_it_is_put_back(limits: Limits, clock: StoppedClock) -> None:
    limits.switch()
    set_switch(clock(), off=True)
    set_switch(clock(), off=True)
    with pytest.raises(SmsSwitchedOff):
        limits.switch()
    set_switch(clock(), off=False)
    limits.switch()


def test_a_cap_of_nothing_is_a_switch_too(store: None, clock: StoppedClock) -> None:
    limits = with_settings(clock, SMS_DAILY_CAP="0")
    with pytest.raises(SmsSwitchedOff):
        limits.switch()
    with pytest.raises(TooMany):
        limits.single_sms_of_the_day()


def test_what_no_window_reaches_is_forgotten(limits: Limits, clock: StoppedClock) -> None:
    limits.codes_to_number(MIRA)
    limits.single_sms_of_the_day()
    clock.pass_by(hours=23)
    limits.codes_to_number(NOOR)
    clock.pass_by(hours=2)
    limits.forget_old()
    assert TokenBucket.select().count() == 1
    assert SmsCount.select().count() == 1, "the counts are kept for a year"
    clock.pass_by(days=401)
    limits.forget_old()
    assert TokenBucket.select().count() == SmsCount.select().count() == 0


@given(steps=st.lists(st.integers(0, 90), max_size=60))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_no_stretch_of_time_sees_more_than_its_window_grants(steps: list[int]) -> None:
    windows = (Window(1, 7), Window(3, 60), Window(5, 400))
    now, taken, granted = NOON, "", []
    for step in steps:
        now += timedelta(seconds=step)
        try:
            taken = _one_more(taken, windows, now, "Too many.")
        except TooMany as refused:
            later = now + timedelta(seconds=refused.retry_after)
            assert _one_more(taken, windows, later, ""), "who waits as long as told is let in"
            continue
        granted.append(now)
    for window in windows:
        for first in granted:
            end = first + timedelta(seconds=window.seconds)
            assert sum(first <= moment < end for moment in granted) <= window.most


@given(steps=st.lists(st.integers(0, 90), max_size=60))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_as_many_pass_at_once_as_are_left_and_the_next_when_it_was_told(steps: list[int]) -> None:
    windows = (Window(2, 7), Window(4, 60), Window(7, 400))
    now, taken = NOON, ""
    for step in steps:
        now += timedelta(seconds=step)
        lefts = _left("codes", taken, windows, now)
        tried = taken
        for _ in range(min(left.left for left in lefts)):
            tried = _one_more(tried, windows, now, "")
        with pytest.raises(TooMany) as refused:
            _one_more(tried, windows, now, "")
        after = _left("codes", tried, windows, now)
        assert refused.value.retry_after == max(left.seconds for left in after if left.left == 0)
        if any(left.left == 0 for left in lefts):
            continue
        taken = _one_more(taken, windows, now, "")


def test_who_took_more_than_a_new_setting_grants_has_nothing_left_for_as_long_as_told(
    limits: Limits, clock: StoppedClock
) -> None:
    for _ in range(5):
        limits.asked_by_address("192.0.2.1")
        clock.pass_by(minutes=1)
    taken = TokenBucket.get().taken
    (left,) = _left("codes", taken, (Window(2, 3_600),), clock())
    with pytest.raises(TooMany) as refused:
        _one_more(taken, (Window(2, 3_600),), clock(), "")
    assert (left.left, left.seconds) == (0, refused.value.retry_after)


def test_a_clock_that_is_set_back_grants_nothing_more(limits: Limits, clock: StoppedClock) -> None:
    assert seconds_to_wait(limits) == 0
    clock.pass_by(hours=-1)
    assert seconds_to_wait(limits) == 3_660
    assert clock().date() == date(2026, 11, 22)


def test_tokens_that_were_taken_by_a_clock_a_year_ahead_are_forgotten(limits: Limits, clock: StoppedClock) -> None:
    clock.pass_by(days=365)
    assert seconds_to_wait(limits) == 0
    clock.pass_by(days=-365)
    assert seconds_to_wait(limits) == 0
    assert seconds_to_wait(limits) == 60
