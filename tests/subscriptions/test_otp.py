import re

import pytest

from quoteapi.settings import RateLimit
from quoteapi.storage.models import OneTimePassword
from quoteapi.storage.sql_state import SqlState
from quoteapi.storage.state import Otp, Purpose
from quoteapi.subscriptions.errors import NoOtpRequested, OtpExpired, OtpUsed, RateLimited, WrongOtp
from quoteapi.subscriptions.hmac_digest import HmacDigest
from quoteapi.subscriptions.otp import GeneratedOtp, OneTimePasswords
from tests.helpers.clock import FakeClock
from tests.helpers.data import KOLKATA, MIRA, NOON, NOOR, wrong_otp
from tests.helpers.sql import record_sql
from tests.helpers.subscribing import CLIENT_IP


@pytest.fixture
def passwords(open_database: None, clock: FakeClock) -> OneTimePasswords:
    return OneTimePasswords(SqlState(), HmacDigest(b"key"), RateLimit(5, 3_600), clock)


def generate(passwords: OneTimePasswords, mobile: str = MIRA, purpose: Purpose = "subscribe") -> GeneratedOtp:
    otp = passwords.generate(passwords.request(mobile, purpose, CLIENT_IP))
    assert otp is not None
    return otp


def use(passwords: OneTimePasswords, code: str, mobile: str = MIRA) -> Otp:
    """Verify an OTP to subscribe, and use it up."""
    otp = passwords.verify(mobile, "subscribe", code)
    passwords.state.activate(
        otp,
        tries=5,
        confirmed_from=CLIENT_IP,
        now=passwords.clock(),
        limit=1_000,
        time_zone=None,
        default_time_zone=KOLKATA,
    )
    return otp


def try_wrong_code(passwords: OneTimePasswords, code: str, mobile: str = MIRA, purpose: Purpose = "subscribe") -> int:
    with pytest.raises(WrongOtp) as refused:
        passwords.verify(mobile, purpose, wrong_otp(code))
    return refused.value.tries_left


def test_an_otp_is_six_digits_with_leading_zeros(open_database: None, clock: FakeClock) -> None:
    drawn = iter([7, 999_999, 0])
    passwords = OneTimePasswords(
        SqlState(), HmacDigest(b"key"), RateLimit(5, 3_600), clock, lambda most: next(drawn) % most
    )
    assert [generate(passwords).code for _ in range(3)] == ["000007", "999999", "000000"]


def test_every_otp_is_random(passwords: OneTimePasswords) -> None:
    codes = {generate(passwords).code for _ in range(20)}
    assert len(codes) > 15
    assert all(re.fullmatch(r"\d{6}", code) for code in codes)


def test_the_right_otp_works_once_and_returns_its_request(passwords: OneTimePasswords) -> None:
    code = generate(passwords).code
    row = use(passwords, code)
    assert (row.requested_at, row.requested_from) == (NOON, CLIENT_IP)
    with pytest.raises(OtpUsed):
        passwords.verify(MIRA, "subscribe", code)


def test_other_codes_are_answered_alike_before_and_after_the_otp_was_used(
    passwords: OneTimePasswords, clock: FakeClock
) -> None:
    codes = {mobile: generate(passwords, mobile).code for mobile in (MIRA, NOOR)}
    use(passwords, codes[MIRA])
    for tries_left in (4, 3):
        assert {try_wrong_code(passwords, code, mobile) for mobile, code in codes.items()} == {tries_left}
    clock.advance(minutes=10)
    for mobile, code in codes.items():
        with pytest.raises(OtpExpired):
            passwords.verify(mobile, "subscribe", code)


def test_five_guesses_of_a_used_otp_lock_the_number(passwords: OneTimePasswords) -> None:
    code = generate(passwords).code
    use(passwords, code)
    assert [try_wrong_code(passwords, code) for _ in range(5)] == [4, 3, 2, 1, 0]
    with pytest.raises(RateLimited):
        passwords.verify(MIRA, "subscribe", code)


def test_a_new_request_forgets_the_used_otp(passwords: OneTimePasswords) -> None:
    code = generate(passwords).code
    use(passwords, code)
    passwords.request(MIRA, "subscribe", CLIENT_IP)
    with pytest.raises(NoOtpRequested) as rejected:
        passwords.verify(MIRA, "subscribe", code)
    assert not isinstance(rejected.value, OtpUsed)


def test_an_otp_expires_after_ten_minutes(passwords: OneTimePasswords, clock: FakeClock) -> None:
    code = generate(passwords).code
    clock.advance(minutes=9, seconds=59)
    assert try_wrong_code(passwords, code) == 4
    clock.advance(seconds=1)
    with pytest.raises(OtpExpired):
        passwords.verify(MIRA, "subscribe", code)


def test_an_otp_is_for_one_number_and_one_purpose(passwords: OneTimePasswords) -> None:
    code = generate(passwords).code
    with pytest.raises(NoOtpRequested):
        passwords.verify(NOOR, "subscribe", code)
    with pytest.raises(NoOtpRequested):
        passwords.verify(MIRA, "unsubscribe", code)
    assert passwords.verify(MIRA, "subscribe", code).requested_from == CLIENT_IP


def test_a_new_otp_replaces_the_old_one(open_database: None, clock: FakeClock) -> None:
    drawn = iter([111_111, 222_222])
    passwords = OneTimePasswords(SqlState(), HmacDigest(b"key"), RateLimit(5, 3_600), clock, lambda _: next(drawn))
    old, new = generate(passwords).code, generate(passwords).code
    with pytest.raises(WrongOtp):
        passwords.verify(MIRA, "subscribe", old)
    assert passwords.verify(MIRA, "subscribe", new).requested_from == CLIENT_IP


def test_a_new_request_invalidates_the_old_otp_at_once(passwords: OneTimePasswords) -> None:
    old = generate(passwords).code
    passwords.request(MIRA, "subscribe", CLIENT_IP)
    with pytest.raises(NoOtpRequested):
        passwords.verify(MIRA, "subscribe", old)


@pytest.mark.parametrize(("own", "other"), [("subscribe", "unsubscribe"), ("unsubscribe", "subscribe")])
def test_each_purpose_has_its_own_otp_tries_and_lock(
    passwords: OneTimePasswords, clock: FakeClock, own: Purpose, other: Purpose
) -> None:
    code = generate(passwords, purpose=own).code
    assert try_wrong_code(passwords, code, purpose=own) == 4
    other_code = generate(passwords, purpose=other).code
    assert [try_wrong_code(passwords, other_code, purpose=other) for _ in range(5)] == [4, 3, 2, 1, 0]
    with pytest.raises(RateLimited):
        passwords.request(MIRA, other, CLIENT_IP)
    assert try_wrong_code(passwords, code, purpose=own) == 3, "a code that is right would reset the tries"
    assert passwords.verify(MIRA, own, code).purpose == own
    with pytest.raises(RateLimited):
        passwords.verify(MIRA, other, other_code)


def test_five_wrong_tries_lock_the_number_for_an_hour(passwords: OneTimePasswords, clock: FakeClock) -> None:
    code = generate(passwords).code
    assert [try_wrong_code(passwords, code) for _ in range(5)] == [4, 3, 2, 1, 0]
    with pytest.raises(RateLimited, match="Too many wrong codes for this number") as locked:
        passwords.verify(MIRA, "subscribe", code)
    assert locked.value.retry_after == 3_600
    clock.advance(minutes=59)
    with pytest.raises(RateLimited) as locked:
        passwords.request(MIRA, "subscribe", CLIENT_IP)
    assert locked.value.retry_after == 60
    clock.advance(minutes=1)
    assert try_wrong_code(passwords, generate(passwords).code) == 4


def test_a_new_otp_does_not_renew_the_tries(passwords: OneTimePasswords, clock: FakeClock) -> None:
    first = generate(passwords).code
    assert [try_wrong_code(passwords, first) for _ in range(3)] == [4, 3, 2]
    clock.advance(minutes=20)
    second = generate(passwords).code
    assert [try_wrong_code(passwords, second) for _ in range(2)] == [1, 0]
    with pytest.raises(RateLimited):
        passwords.verify(MIRA, "subscribe", second)


def test_the_right_otp_renews_the_tries(passwords: OneTimePasswords) -> None:
    code = generate(passwords).code
    assert try_wrong_code(passwords, code) == 4
    use(passwords, code)
    assert try_wrong_code(passwords, generate(passwords).code) == 4


def test_an_otp_does_not_work_again_after_a_lock_shorter_than_its_lifetime(
    open_database: None, clock: FakeClock
) -> None:
    passwords = OneTimePasswords(SqlState(), HmacDigest(b"key"), RateLimit(2, 60), clock)
    code = generate(passwords).code
    assert [try_wrong_code(passwords, code) for _ in range(2)] == [1, 0]
    clock.advance(minutes=2)
    with pytest.raises(OtpExpired):
        passwords.verify(MIRA, "subscribe", code)


def test_a_try_costs_one_statement(passwords: OneTimePasswords) -> None:
    code = generate(passwords).code
    with record_sql() as statements:
        try_wrong_code(passwords, code)
        passwords.verify(MIRA, "subscribe", code)
    assert len(statements) == 2


def test_only_an_hmac_of_the_otp_is_stored(passwords: OneTimePasswords) -> None:
    code = generate(passwords).code
    row = OneTimePassword.get()
    assert code not in str(row.__data__)
    assert row.digest == HmacDigest(b"key")("code", "subscribe", MIRA, code)
    assert row.digest != HmacDigest(b"other")("code", "subscribe", MIRA, code)


def test_a_request_generates_one_otp(passwords: OneTimePasswords) -> None:
    request = passwords.request(MIRA, "subscribe", CLIENT_IP)
    assert passwords.generate(request) is not None
    assert passwords.generate(request) is None
    assert passwords.is_outcome_unknown(request)
    passwords.mark_sent(request)
    assert not passwords.is_outcome_unknown(request)
    assert passwords.generate(request) is None


def test_a_request_whose_sms_was_not_sent_generates_another_otp_and_a_try_does_not_show_it(
    open_database: None, clock: FakeClock
) -> None:
    drawn = iter([111_111, 222_222])
    passwords = OneTimePasswords(SqlState(), HmacDigest(b"key"), RateLimit(5, 3_600), clock, lambda _: next(drawn))
    request = passwords.request(MIRA, "subscribe", CLIENT_IP)
    first = passwords.generate(request)
    assert first is not None
    passwords.mark_not_sent(request)
    assert not passwords.is_outcome_unknown(request)
    assert try_wrong_code(passwords, first.code) == 4, "as for an OTP that was sent"
    second = passwords.generate(request)
    assert second is not None
    with pytest.raises(WrongOtp):
        passwords.verify(MIRA, "subscribe", first.code)
    assert passwords.verify(MIRA, "subscribe", second.code).requested_from == CLIENT_IP


def test_an_expired_or_unknown_request_generates_no_otp(passwords: OneTimePasswords, clock: FakeClock) -> None:
    request = passwords.request(MIRA, "subscribe", CLIENT_IP)
    clock.advance(minutes=10)
    assert passwords.generate(request) is None
    assert passwords.generate("no such request") is None
