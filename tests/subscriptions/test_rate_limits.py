from datetime import date

import pytest

from quoteapi.settings import RateLimit, Settings, read_settings
from quoteapi.storage.models import RateLimitLog, SmsUsage
from quoteapi.storage.sql_state import SqlState
from quoteapi.storage.state import Purpose
from quoteapi.subscriptions.errors import CountryNotServed, RateLimited, SmsDisabled
from quoteapi.subscriptions.hmac_digest import HmacDigest
from quoteapi.subscriptions.rate_limits import RateLimits
from quoteapi.subscriptions.sliding_window import RateLimitStatus
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, NOON, NOOR
from tests.helpers.sql import record_sql


@pytest.fixture
def limits(open_database: None, settings: Settings, clock: FakeClock) -> RateLimits:
    return RateLimits(settings, SqlState(), HmacDigest(b"key"), clock)


def limits_from(clock: FakeClock, **environment: str) -> RateLimits:
    return RateLimits(read_settings(environment), SqlState(), HmacDigest(b"key"), clock)


def seconds_to_wait(limits: RateLimits, mobile: str = MIRA, purpose: Purpose = "subscribe") -> int:
    """Count an OTP to a number, and return how many seconds to wait; 0 if it is allowed."""
    try:
        limits.count_otp_to_number(mobile, purpose)
    except RateLimited as error:
        return error.retry_after
    return 0


def test_a_number_gets_one_otp_a_minute(limits: RateLimits, clock: FakeClock) -> None:
    assert seconds_to_wait(limits) == 0
    clock.advance(seconds=59.5)
    assert seconds_to_wait(limits) == 1
    assert seconds_to_wait(limits, NOOR) == 0, "another number has its own limit"
    clock.advance(seconds=0.5)
    assert seconds_to_wait(limits) == 0


def test_a_number_gets_three_otps_in_any_ten_minutes(limits: RateLimits, clock: FakeClock) -> None:
    for _ in range(3):
        assert seconds_to_wait(limits) == 0
        clock.advance(minutes=3)
    assert seconds_to_wait(limits) == 60, "the first was nine minutes ago"
    clock.advance(minutes=1)
    assert seconds_to_wait(limits) == 0


def test_a_number_gets_five_otps_in_any_day(limits: RateLimits, clock: FakeClock) -> None:
    for _ in range(5):
        assert seconds_to_wait(limits) == 0
        clock.advance(hours=1)
    assert seconds_to_wait(limits) == 19 * 3_600
    clock.advance(hours=19)
    assert seconds_to_wait(limits) == 0
    assert seconds_to_wait(limits) == 3_600, "the second of yesterday leaves the window an hour later"


@pytest.mark.parametrize(("used_up", "other"), [("subscribe", "unsubscribe"), ("unsubscribe", "subscribe")])
def test_each_purpose_has_its_own_limit_of_otps_to_a_number(
    open_database: None, clock: FakeClock, used_up: Purpose, other: Purpose
) -> None:
    limits = limits_from(clock, CODES_PER_NUMBER="2/1d")
    assert [seconds_to_wait(limits, purpose=used_up) for _ in range(3)] == [0, 0, 86_400]
    assert [seconds_to_wait(limits, purpose=other) for _ in range(3)] == [0, 0, 86_400]
    assert limits.state.delete_number(MIRA, limits.log_keys(MIRA))
    assert RateLimitLog.select().count() == 0


def test_a_client_ip_may_send_ten_requests_an_hour(limits: RateLimits, clock: FakeClock) -> None:
    for _ in range(10):
        limits.count_request_by_client_ip("192.0.2.1")
    limits.count_request_by_client_ip("192.0.2.2")
    with pytest.raises(RateLimited, match="Too many requests from your IP address") as refused:
        limits.count_request_by_client_ip("192.0.2.1")
    assert refused.value.retry_after == 3_600
    clock.advance(hours=1)
    limits.count_request_by_client_ip("192.0.2.1")


def test_a_client_ip_may_try_thirty_wrong_otps_an_hour(limits: RateLimits) -> None:
    for _ in range(30):
        limits.count_try_by_client_ip("192.0.2.1")
    with pytest.raises(RateLimited, match="Too many wrong codes from your IP address"):
        limits.count_try_by_client_ip("192.0.2.1")


def test_a_right_otp_does_not_count_for_the_client_ip(limits: RateLimits) -> None:
    for _ in range(100):
        limits.count_try_by_client_ip("192.0.2.1").undo()
    for _ in range(30):
        limits.count_try_by_client_ip("192.0.2.1")


def test_the_table_has_neither_numbers_nor_client_ips(limits: RateLimits) -> None:
    limits.count_otp_to_number(MIRA, "subscribe")
    limits.count_request_by_client_ip("192.0.2.1")
    assert all(len(row.key) == 32 and int(row.key, 16) for row in RateLimitLog.select())
    assert RateLimitLog.select().count() == 2


def test_counting_costs_two_statements(limits: RateLimits) -> None:
    with record_sql() as statements:
        limits.count_otp_to_number(MIRA, "subscribe")
    assert len(statements) == 2
    with record_sql() as statements:
        assert limits.count_request_by_client_ip("192.0.2.1").rate_limits == (
            RateLimitStatus("codes", RateLimit(10, 3_600), 9, 3_600),
        )
    assert len(statements) == 2


def test_limits_come_from_the_settings(open_database: None, clock: FakeClock) -> None:
    limits = limits_from(clock, CODES_PER_NUMBER="2/1d", CODES_PER_ADDRESS="1/10s", WRONG_TRIES_PER_ADDRESS="1/2m")
    assert [seconds_to_wait(limits) for _ in range(3)] == [0, 0, 86_400]
    limits.count_request_by_client_ip("192.0.2.1")
    limits.count_try_by_client_ip("192.0.2.1")
    with pytest.raises(RateLimited) as asked:
        limits.count_request_by_client_ip("192.0.2.1")
    with pytest.raises(RateLimited) as tried:
        limits.count_try_by_client_ip("192.0.2.1")
    assert (asked.value.retry_after, tried.value.retry_after) == (10, 120)


def test_sms_go_only_to_the_countries_of_the_settings(open_database: None, clock: FakeClock) -> None:
    india = limits_from(clock, SMS_ALLOWED_REGIONS="IN,NP")
    india.check_country(MIRA)
    with pytest.raises(CountryNotServed, match=r"only to these countries: IN, NP\. Use"):
        india.check_country("+12015550123")
    limits_from(clock, SMS_ALLOWED_REGIONS="*").check_country("+12015550123")
    limits_from(clock).check_country("+12015550123")


def test_the_sms_quota_is_for_all_numbers_together_and_renews_at_midnight(
    open_database: None, clock: FakeClock
) -> None:
    limits = limits_from(clock, SMS_DAILY_CAP="3")
    for _ in range(3):
        limits.consume_sms_quota()
    with pytest.raises(RateLimited, match="reached its limit of SMS for today") as refused:
        limits.consume_sms_quota()
    assert refused.value.retry_after == 12 * 3_600, "it is noon"
    assert SmsUsage.get_by_id(NOON.date()).count == 3
    clock.advance(hours=12)
    limits.consume_sms_quota()


def test_the_sms_switch_stops_every_sms_until_it_is_switched_on(limits: RateLimits, clock: FakeClock) -> None:
    limits.check_sms_switch()
    SqlState().set_sms_switch(clock(), off=True)
    SqlState().set_sms_switch(clock(), off=True)
    with pytest.raises(SmsDisabled):
        limits.check_sms_switch()
    SqlState().set_sms_switch(clock(), off=False)
    limits.check_sms_switch()


def test_unsubscribing_requires_an_otp_if_the_setting_says_so_and_sms_may_be_sent(
    open_database: None, clock: FakeClock
) -> None:
    limits = limits_from(clock, UNSUBSCRIBE_REQUIRES_OTP="true")
    assert limits.requires_otp_to_unsubscribe()
    assert not limits_from(clock).requires_otp_to_unsubscribe(), "by default"
    assert not limits_from(clock, UNSUBSCRIBE_REQUIRES_OTP="true", SMS_DAILY_CAP="0").requires_otp_to_unsubscribe()
    SqlState().set_sms_switch(clock(), off=True)
    assert not limits.requires_otp_to_unsubscribe()
    SqlState().set_sms_switch(clock(), off=False)
    assert limits.requires_otp_to_unsubscribe()


def test_a_quota_of_zero_switches_sms_off(open_database: None, clock: FakeClock) -> None:
    limits = limits_from(clock, SMS_DAILY_CAP="0")
    with pytest.raises(SmsDisabled):
        limits.check_sms_switch()
    with pytest.raises(RateLimited):
        limits.consume_sms_quota()


def test_a_clock_that_is_set_back_allows_no_more(limits: RateLimits, clock: FakeClock) -> None:
    assert seconds_to_wait(limits) == 0
    clock.advance(hours=-1)
    assert seconds_to_wait(limits) == 3_660
    assert clock().date() == date(2026, 11, 22)


def test_events_from_a_clock_a_year_ahead_are_ignored(limits: RateLimits, clock: FakeClock) -> None:
    clock.advance(days=365)
    assert seconds_to_wait(limits) == 0
    clock.advance(days=-365)
    assert seconds_to_wait(limits) == 0
    assert seconds_to_wait(limits) == 60
