from datetime import date, timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from quoteapi.settings import RateLimit, Settings, read_settings
from quoteapi.storage.models import RateLimitLog, SmsUsage
from quoteapi.subscriptions.hmac_digest import HmacDigest
from quoteapi.subscriptions.rate_limits import (
    CountryNotServed,
    RateLimited,
    RateLimits,
    RateLimitStatus,
    SmsDisabled,
    _left,
    _one_more,
    set_sms_switch,
)
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, NOON, NOOR
from tests.helpers.sql import record_sql


@pytest.fixture
def limits(open_database: None, settings: Settings, clock: FakeClock) -> RateLimits:
    return RateLimits(settings, HmacDigest(b"key"), clock)


def with_settings(clock: FakeClock, **more: str) -> RateLimits:
    return RateLimits(read_settings(more), HmacDigest(b"key"), clock)


def seconds_to_wait(limits: RateLimits, mobile: str = MIRA) -> int:
    """Ask for a code, and answer how long one is told to wait; 0 where it is granted."""
    try:
        limits.count_code_to_number(mobile)
    except RateLimited as error:
        return error.retry_after
    return 0


def test_a_number_gets_a_code_a_minute(limits: RateLimits, clock: FakeClock) -> None:
    assert seconds_to_wait(limits) == 0
    clock.advance(seconds=59.5)
    assert seconds_to_wait(limits) == 1
    assert seconds_to_wait(limits, NOOR) == 0, "another number has minutes of its own"
    clock.advance(seconds=0.5)
    assert seconds_to_wait(limits) == 0


def test_a_number_gets_three_codes_in_any_ten_minutes(limits: RateLimits, clock: FakeClock) -> None:
    for _ in range(3):
        assert seconds_to_wait(limits) == 0
        clock.advance(minutes=3)
    assert seconds_to_wait(limits) == 60, "the first was nine minutes ago"
    clock.advance(minutes=1)
    assert seconds_to_wait(limits) == 0


def test_a_number_gets_five_codes_in_any_day(limits: RateLimits, clock: FakeClock) -> None:
    for _ in range(5):
        assert seconds_to_wait(limits) == 0
        clock.advance(hours=1)
    assert seconds_to_wait(limits) == 19 * 3_600
    clock.advance(hours=19)
    assert seconds_to_wait(limits) == 0
    assert seconds_to_wait(limits) == 3_600, "the second of yesterday's comes back an hour later"


def test_an_address_asks_ten_times_an_hour(limits: RateLimits, clock: FakeClock) -> None:
    for _ in range(10):
        limits.count_request_by_client_ip("192.0.2.1")
    limits.count_request_by_client_ip("192.0.2.2")
    with pytest.raises(RateLimited, match="Too many requests from your address") as refused:
        limits.count_request_by_client_ip("192.0.2.1")
    assert refused.value.retry_after == 3_600
    clock.advance(hours=1)
    limits.count_request_by_client_ip("192.0.2.1")


def test_an_address_guesses_wrong_thirty_times_an_hour(limits: RateLimits) -> None:
    for _ in range(30):
        limits.count_try_by_client_ip("192.0.2.1")
    with pytest.raises(RateLimited, match="Too many wrong codes from your address"):
        limits.count_try_by_client_ip("192.0.2.1")


def test_a_right_guess_costs_an_address_nothing(limits: RateLimits) -> None:
    for _ in range(100):
        limits.count_try_by_client_ip("192.0.2.1").undo()
    for _ in range(30):
        limits.count_try_by_client_ip("192.0.2.1")


def test_the_table_has_neither_numbers_nor_addresses(limits: RateLimits) -> None:
    limits.count_code_to_number(MIRA)
    limits.count_request_by_client_ip("192.0.2.1")
    assert all(len(row.key) == 32 and int(row.key, 16) for row in RateLimitLog.select())
    assert RateLimitLog.select().count() == 2


def test_a_limit_costs_two_statements(limits: RateLimits) -> None:
    with record_sql() as statements:
        limits.count_code_to_number(MIRA)
    assert len(statements) == 2
    with record_sql() as statements:
        assert limits.count_request_by_client_ip("192.0.2.1").left == (
            RateLimitStatus("codes", RateLimit(10, 3_600), 9, 3_600),
        )
    assert len(statements) == 2


def test_the_numbers_of_the_settings_count(open_database: None, clock: FakeClock) -> None:
    limits = with_settings(clock, CODES_PER_NUMBER="2/1d", CODES_PER_ADDRESS="1/10s", WRONG_TRIES_PER_ADDRESS="1/2m")
    assert [seconds_to_wait(limits) for _ in range(3)] == [0, 0, 86_400]
    limits.count_request_by_client_ip("192.0.2.1")
    limits.count_try_by_client_ip("192.0.2.1")
    with pytest.raises(RateLimited) as asked:
        limits.count_request_by_client_ip("192.0.2.1")
    with pytest.raises(RateLimited) as tried:
        limits.count_try_by_client_ip("192.0.2.1")
    assert (asked.value.retry_after, tried.value.retry_after) == (10, 120)


def test_sms_go_to_the_countries_of_the_settings_only(open_database: None, clock: FakeClock) -> None:
    india = with_settings(clock, SMS_ALLOWED_REGIONS="IN,NP")
    india.check_country(MIRA)
    with pytest.raises(CountryNotServed, match=r"numbers of IN, NP only"):
        india.check_country("+12015550123")
    with_settings(clock, SMS_ALLOWED_REGIONS="*").check_country("+12015550123")
    with_settings(clock).check_country("+12015550123")


def test_the_days_cap_is_for_all_numbers_together_and_ends_with_the_day(open_database: None, clock: FakeClock) -> None:
    limits = with_settings(clock, SMS_DAILY_CAP="3")
    for _ in range(3):
        limits.count_sms()
    with pytest.raises(RateLimited, match="as many SMS as it may today") as refused:
        limits.count_sms()
    assert refused.value.retry_after == 12 * 3_600, "it is noon"
    assert SmsUsage.get_by_id(NOON.date()).count == 3
    clock.advance(hours=12)
    limits.count_sms()


def test_the_daily_sms_may_go_to_as_many_people_as_the_cap_says(open_database: None, clock: FakeClock) -> None:
    limits = with_settings(clock, SMS_DAILY_CAP="3")
    limits.check_daily_sms_quota(3, parts=1)
    with pytest.raises(RateLimited, match="4 people would get the SMS, and SMS_DAILY_CAP is 3"):
        limits.check_daily_sms_quota(4, parts=1)
    with pytest.raises(RateLimited, match="2 people would get the SMS in 2 parts, and SMS_DAILY_CAP is 3"):
        limits.check_daily_sms_quota(2, parts=2)


def test_the_switch_stops_every_sms_until_it_is_put_back(limits: RateLimits, clock: FakeClock) -> None:
    limits.check_sms_switch()
    set_sms_switch(clock(), off=True)
    set_sms_switch(clock(), off=True)
    with pytest.raises(SmsDisabled):
        limits.check_sms_switch()
    set_sms_switch(clock(), off=False)
    limits.check_sms_switch()


def test_a_cap_of_nothing_is_a_switch_too(open_database: None, clock: FakeClock) -> None:
    limits = with_settings(clock, SMS_DAILY_CAP="0")
    with pytest.raises(SmsDisabled):
        limits.check_sms_switch()
    with pytest.raises(RateLimited):
        limits.count_sms()


def test_what_no_window_reaches_is_forgotten(limits: RateLimits, clock: FakeClock) -> None:
    limits.count_code_to_number(MIRA)
    limits.count_sms()
    clock.advance(hours=23)
    limits.count_code_to_number(NOOR)
    clock.advance(hours=2)
    limits.delete_expired()
    assert RateLimitLog.select().count() == 1
    assert SmsUsage.select().count() == 1, "the counts are kept for a year"
    clock.advance(days=401)
    limits.delete_expired()
    assert RateLimitLog.select().count() == SmsUsage.select().count() == 0


@given(steps=st.lists(st.integers(0, 90), max_size=60))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_no_stretch_of_time_sees_more_than_its_window_grants(steps: list[int]) -> None:
    windows = (RateLimit(1, 7), RateLimit(3, 60), RateLimit(5, 400))
    now, taken, granted = NOON, "", []
    for step in steps:
        now += timedelta(seconds=step)
        try:
            taken = _one_more(taken, windows, now, "Too many.")
        except RateLimited as refused:
            later = now + timedelta(seconds=refused.retry_after)
            assert _one_more(taken, windows, later, ""), "who waits as long as told is let in"
            continue
        granted.append(now)
    for window in windows:
        for first in granted:
            end = first + timedelta(seconds=window.seconds)
            assert sum(first <= moment < end for moment in granted) <= window.limit


@given(steps=st.lists(st.integers(0, 90), max_size=60))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_as_many_pass_at_once_as_are_left_and_the_next_when_it_was_told(steps: list[int]) -> None:
    windows = (RateLimit(2, 7), RateLimit(4, 60), RateLimit(7, 400))
    now, taken = NOON, ""
    for step in steps:
        now += timedelta(seconds=step)
        lefts = _left("codes", taken, windows, now)
        tried = taken
        for _ in range(min(left.remaining for left in lefts)):
            tried = _one_more(tried, windows, now, "")
        with pytest.raises(RateLimited) as refused:
            _one_more(tried, windows, now, "")
        after = _left("codes", tried, windows, now)
        assert refused.value.retry_after == max(left.seconds for left in after if left.remaining == 0)
        if any(left.remaining == 0 for left in lefts):
            continue
        taken = _one_more(taken, windows, now, "")


def test_who_took_more_than_a_new_setting_grants_has_nothing_left_for_as_long_as_told(
    limits: RateLimits, clock: FakeClock
) -> None:
    for _ in range(5):
        limits.count_request_by_client_ip("192.0.2.1")
        clock.advance(minutes=1)
    taken = RateLimitLog.get().taken
    (left,) = _left("codes", taken, (RateLimit(2, 3_600),), clock())
    with pytest.raises(RateLimited) as refused:
        _one_more(taken, (RateLimit(2, 3_600),), clock(), "")
    assert (left.remaining, left.seconds) == (0, refused.value.retry_after)


def test_a_clock_that_is_set_back_grants_nothing_more(limits: RateLimits, clock: FakeClock) -> None:
    assert seconds_to_wait(limits) == 0
    clock.advance(hours=-1)
    assert seconds_to_wait(limits) == 3_660
    assert clock().date() == date(2026, 11, 22)


def test_tokens_that_were_taken_by_a_clock_a_year_ahead_are_forgotten(limits: RateLimits, clock: FakeClock) -> None:
    clock.advance(days=365)
    assert seconds_to_wait(limits) == 0
    clock.advance(days=-365)
    assert seconds_to_wait(limits) == 0
    assert seconds_to_wait(limits) == 60
