import re

import pytest

from quoteapi.settings import RateLimit
from quoteapi.sms.messages import Purpose
from quoteapi.storage.models import OneTimePassword
from quoteapi.subscriptions.errors import NoOtpRequested, OtpExpired, RateLimited, WrongOtp
from quoteapi.subscriptions.hmac_digest import HmacDigest
from quoteapi.subscriptions.otp import GeneratedOtp, OneTimePasswords, OtpRequest
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, NOON, NOOR, wrong_otp
from tests.helpers.sql import record_sql

ADDRESS = "192.0.2.1"


@pytest.fixture
def passwords(open_database: None, clock: FakeClock) -> OneTimePasswords:
    return OneTimePasswords(HmacDigest(b"key"), RateLimit(5, 3_600), clock)


def made(passwords: OneTimePasswords, mobile: str = MIRA, purpose: Purpose = "subscribe") -> GeneratedOtp:
    made = passwords.generate(passwords.request(mobile, purpose, ADDRESS))
    assert made is not None
    return made


def tries_left(passwords: OneTimePasswords, code: str, mobile: str = MIRA) -> int:
    with pytest.raises(WrongOtp) as refused:
        passwords.verify(mobile, "subscribe", wrong_otp(code))
    return refused.value.tries_left


def test_a_code_is_six_digits_with_its_zeros(open_database: None, clock: FakeClock) -> None:
    drawn = iter([7, 999_999, 0])
    passwords = OneTimePasswords(HmacDigest(b"key"), RateLimit(5, 3_600), clock, lambda most: next(drawn) % most)
    assert [made(passwords).code for _ in range(3)] == ["000007", "999999", "000000"]


def test_codes_are_drawn_anew_each_time(passwords: OneTimePasswords) -> None:
    codes = {made(passwords).code for _ in range(20)}
    assert len(codes) > 15
    assert all(re.fullmatch(r"\d{6}", code) for code in codes)


def test_a_right_code_works_once_and_tells_where_it_was_asked_for(passwords: OneTimePasswords) -> None:
    code = made(passwords).code
    assert passwords.verify(MIRA, "subscribe", code) == OtpRequest(NOON, ADDRESS)
    with pytest.raises(NoOtpRequested):
        passwords.verify(MIRA, "subscribe", code)


def test_a_code_lives_ten_minutes(passwords: OneTimePasswords, clock: FakeClock) -> None:
    code = made(passwords).code
    clock.advance(minutes=9, seconds=59)
    assert tries_left(passwords, code) == 4
    clock.advance(seconds=1)
    with pytest.raises(OtpExpired):
        passwords.verify(MIRA, "subscribe", code)


def test_a_code_is_for_one_number_and_one_purpose(passwords: OneTimePasswords) -> None:
    code = made(passwords).code
    with pytest.raises(NoOtpRequested):
        passwords.verify(NOOR, "subscribe", code)
    with pytest.raises(NoOtpRequested):
        passwords.verify(MIRA, "unsubscribe", code)
    assert passwords.verify(MIRA, "subscribe", code).requested_from == ADDRESS


def test_a_new_code_takes_the_place_of_the_old_one(open_database: None, clock: FakeClock) -> None:
    drawn = iter([111_111, 222_222])
    passwords = OneTimePasswords(HmacDigest(b"key"), RateLimit(5, 3_600), clock, lambda _: next(drawn))
    old, new = made(passwords).code, made(passwords).code
    with pytest.raises(WrongOtp):
        passwords.verify(MIRA, "subscribe", old)
    assert passwords.verify(MIRA, "subscribe", new).requested_from == ADDRESS


def test_while_a_code_is_being_sent_the_old_one_is_none(passwords: OneTimePasswords) -> None:
    old = made(passwords).code
    passwords.request(MIRA, "subscribe", ADDRESS)
    with pytest.raises(NoOtpRequested):
        passwords.verify(MIRA, "subscribe", old)


def test_five_wrong_tries_kill_a_code_and_lock_the_number_for_an_hour(
    passwords: OneTimePasswords, clock: FakeClock
) -> None:
    code = made(passwords).code
    assert [tries_left(passwords, code) for _ in range(5)] == [4, 3, 2, 1, 0]
    with pytest.raises(RateLimited, match="Too many wrong codes for this number") as locked:
        passwords.verify(MIRA, "subscribe", code)
    assert locked.value.retry_after == 3_600
    clock.advance(minutes=59)
    with pytest.raises(RateLimited) as locked:
        passwords.request(MIRA, "subscribe", ADDRESS)
    assert locked.value.retry_after == 60
    clock.advance(minutes=1)
    assert tries_left(passwords, made(passwords).code) == 4


def test_a_new_code_does_not_renew_the_tries(passwords: OneTimePasswords, clock: FakeClock) -> None:
    first = made(passwords).code
    assert [tries_left(passwords, first) for _ in range(3)] == [4, 3, 2]
    clock.advance(minutes=20)
    second = made(passwords).code
    assert [tries_left(passwords, second) for _ in range(2)] == [1, 0]
    with pytest.raises(RateLimited):
        passwords.verify(MIRA, "subscribe", second)


def test_a_right_code_renews_the_tries(passwords: OneTimePasswords) -> None:
    code = made(passwords).code
    assert tries_left(passwords, code) == 4
    passwords.verify(MIRA, "subscribe", code)
    assert tries_left(passwords, made(passwords).code) == 4


def test_a_lock_that_is_shorter_than_a_codes_life_does_not_bring_the_code_back(
    open_database: None, clock: FakeClock
) -> None:
    passwords = OneTimePasswords(HmacDigest(b"key"), RateLimit(2, 60), clock)
    code = made(passwords).code
    assert [tries_left(passwords, code) for _ in range(2)] == [1, 0]
    clock.advance(minutes=2)
    with pytest.raises(OtpExpired):
        passwords.verify(MIRA, "subscribe", code)


def test_trying_costs_one_statement(passwords: OneTimePasswords) -> None:
    code = made(passwords).code
    with record_sql() as statements:
        tries_left(passwords, code)
        passwords.verify(MIRA, "subscribe", code)
    assert len(statements) == 2


def test_only_a_digest_that_depends_on_the_key_is_stored(passwords: OneTimePasswords) -> None:
    code = made(passwords).code
    row = OneTimePassword.get_by_id(MIRA)
    assert code not in str(row.__data__)
    assert row.digest == HmacDigest(b"key")("code", "subscribe", MIRA, code)
    assert row.digest != HmacDigest(b"other")("code", "subscribe", MIRA, code)


def test_a_request_makes_one_code_however_often_it_is_done(passwords: OneTimePasswords) -> None:
    request = passwords.request(MIRA, "subscribe", ADDRESS)
    assert passwords.generate(request) is not None
    assert passwords.generate(request) is None
    assert passwords.is_outcome_unknown(request)
    passwords.mark_sent(request)
    assert not passwords.is_outcome_unknown(request)
    assert passwords.generate(request) is None


def test_a_request_whose_sms_was_refused_may_make_another_code(passwords: OneTimePasswords) -> None:
    request = passwords.request(MIRA, "subscribe", ADDRESS)
    first = passwords.generate(request)
    assert first is not None
    passwords.mark_not_sent(request)
    with pytest.raises(NoOtpRequested):
        passwords.verify(MIRA, "subscribe", first.code)
    assert passwords.generate(request) is not None


def test_a_request_is_done_in_time_or_not_at_all(passwords: OneTimePasswords, clock: FakeClock) -> None:
    request = passwords.request(MIRA, "subscribe", ADDRESS)
    clock.advance(minutes=10)
    assert passwords.generate(request) is None
    assert passwords.generate("no such request") is None


def test_old_codes_are_forgotten_but_not_while_their_tries_count(passwords: OneTimePasswords, clock: FakeClock) -> None:
    made(passwords)
    tries_left(passwords, made(passwords, NOOR).code, NOOR)
    clock.advance(minutes=30)
    passwords.delete_expired()
    assert [row.mobile for row in OneTimePassword.select()] == [NOOR]
    clock.advance(minutes=30)
    passwords.delete_expired()
    assert OneTimePassword.select().count() == 0
