import json
import re
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
import requests
from falcon.testing import create_environ

from quoteapi.http.client_ip import client_ip
from quoteapi.settings import read_settings
from quoteapi.sms.console import ConsoleGateway
from quoteapi.sms.gateway import GatewayUnavailable
from quoteapi.storage.models import ConsoleSms, OneTimePassword, SmsSwitch, Subscriber
from quoteapi.storage.sql_state import SqlState
from tests.conftest import Serve
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, NOON, NOOR, OMAR, add_subscribers, latest_otp, sqlite_only, wrong_otp
from tests.helpers.http import assert_problem

SUBSCRIBED = {
    "message": "Congratulations!!! You have successfully subscribed for daily famous quote."
    " The next SMS comes tomorrow at 10:00, Kolkata time.",
    "time_zone": "Asia/Kolkata",
    "next_sms_at": "2026-11-23T10:00:00+05:30",
}
UNSUBSCRIBED = {"message": "You have successfully unsubscribed from daily famous quote. See you again."}
PAUSED = {
    "message": "You have successfully paused daily famous quote for 7 days, if the number is subscribed."
    " It starts again by itself, or at once if you subscribe again."
}
PATHS = ("/subscribe", "/unsubscribe", "/pause")


def get(base: str, path: str, **params: str) -> requests.Response:
    return requests.get(f"{base}{path}", params=params, timeout=30)


def subscribe(base: str, mobile: str = MIRA) -> None:
    assert get(base, "/subscribe", mobile=mobile).status_code == 200
    assert get(base, "/subscribe", mobile=mobile, otp=latest_otp(mobile)).json() == SUBSCRIBED


def states() -> dict[str, str]:
    return {row.mobile: row.state for row in Subscriber.select()}


# ---- subscribing and unsubscribing


def test_a_number_is_subscribed_with_the_otp_that_it_was_sent(serve: Serve) -> None:
    base = serve()
    requested = requests.get(f"{base}/subscribe?mobile=919028000001", timeout=30)
    assert requested.json() == {
        "message": "An OTP verification has been sent on mobile +919028000001. To complete the subscription, "
        f"Use OTP with this URL pattern {base}/subscribe?mobile=%2B919028000001&otp=xxxxxx."
    }
    assert requested.headers["Content-Type"] == "application/json"
    assert requested.headers["Cache-Control"] == "no-store"
    assert states() == {}, "a request alone subscribes no number"
    confirmed = requests.get(f"{base}/subscribe?mobile=919028000001&otp={latest_otp(MIRA)}", timeout=30)
    assert (confirmed.status_code, confirmed.json()) == (200, SUBSCRIBED)
    row = Subscriber.get()
    assert (row.mobile, row.state, row.requested_at, row.confirmed_at) == (MIRA, "active", NOON, NOON)
    assert (row.requested_from, row.confirmed_from) == ("127.0.0.1", "127.0.0.1")
    assert row.subscription_arn is not None
    assert row.sync_due_at is None
    code, confirmation = ConsoleSms.select().order_by(ConsoleSms.id)
    assert (code.to, code.kind) == (confirmation.to, "code") == (MIRA, "code")
    assert "you agreed to get the quote of the day" in confirmation.message
    assert "Stop http://127.0.0.1:8000/u" in confirmation.message


def test_unsubscribing_takes_one_request(serve: Serve) -> None:
    base = serve()
    subscribe(base)
    response = get(base, "/unsubscribe", mobile=MIRA)
    assert (response.status_code, response.json()) == (200, UNSUBSCRIBED)
    assert states() == {MIRA: "unsubscribed"}
    assert Subscriber.get().subscription_arn is None


def test_the_link_in_sms_unsubscribes_nobody(serve: Serve) -> None:
    base = serve()
    subscribe(base)
    response = get(base, "/u", mobile=MIRA)
    assert (response.status_code, response.url) == (400, f"{base}/unsubscribe"), "the number is not passed on"
    assert states() == {MIRA: "active"}


def test_an_unsubscribed_number_can_subscribe_again_with_a_new_confirmation(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    subscribe(base)
    get(base, "/unsubscribe", mobile=MIRA)
    clock.advance(minutes=1)
    subscribe(base)
    assert states() == {MIRA: "active"}
    assert Subscriber.get().ended_at is None
    assert ConsoleSms.select().where(ConsoleSms.kind == "confirmation").count() == 2


def test_a_number_that_subscribes_twice_gets_one_confirmation(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    subscribe(base)
    clock.advance(minutes=1)
    subscribe(base)
    assert states() == {MIRA: "active"}
    assert ConsoleSms.select().where(ConsoleSms.kind == "confirmation").count() == 1


@pytest.mark.parametrize("as_json", [True, False])
def test_post_accepts_json_and_forms(serve: Serve, as_json: bool) -> None:
    base = serve()

    def post(path: str, fields: dict[str, Any]) -> requests.Response:
        sent = (None, fields) if as_json else (fields, None)
        return requests.post(f"{base}{path}", *sent, timeout=30)

    assert post("/subscribe", {"mobile": MIRA}).status_code == 200
    assert post("/subscribe", {"mobile": MIRA, "otp": latest_otp(MIRA)}).json() == SUBSCRIBED
    assert post("/unsubscribe", {"mobile": MIRA}).json() == UNSUBSCRIBED


def test_json_may_have_numbers_and_post_may_have_a_query(serve: Serve) -> None:
    base = serve()
    assert requests.post(f"{base}/subscribe?mobile={MIRA[1:]}", timeout=30).status_code == 200
    numbers = {"mobile": int(MIRA[1:]), "otp": int(latest_otp(MIRA))}
    assert requests.post(f"{base}/subscribe", json=numbers, timeout=30).json() == SUBSCRIBED


def test_an_otp_may_have_spaces_and_digits_of_any_script(serve: Serve) -> None:
    base = serve()
    get(base, "/subscribe", mobile=MIRA)
    code = latest_otp(MIRA).translate(str.maketrans("0123456789", "०१२३४५६७८९"))
    assert get(base, "/subscribe", mobile=MIRA, otp=f" {code[:3]} {code[3:]}").json() == SUBSCRIBED


def stable_headers(response: requests.Response) -> dict[str, str]:
    return {
        name: value for name, value in response.headers.items() if name not in {"Date", "x-request-id", "ratelimit"}
    }


@pytest.mark.parametrize("accept", ["text/html", "*/*"])
def test_head_answers_as_get_of_the_page_does_and_never_acts(serve: Serve, accept: str) -> None:
    base = serve()
    subscribe(base)
    sms = ConsoleSms.select().count()
    for path in PATHS:
        for query in ({}, {"mobile": MIRA}, {"mobile": NOOR}, {"mobile": MIRA, "otp": "123456"}, {"mobile": "x"}):
            page = requests.get(f"{base}{path}", params=query, headers={"Accept": "text/html"}, timeout=30)
            head = requests.head(f"{base}{path}", params=query, headers={"Accept": accept}, timeout=30)
            assert (head.status_code, head.content) == (page.status_code, b"") == (200, b"")
            assert stable_headers(head) == stable_headers(page)
    assert (ConsoleSms.select().count(), states()) == (sms, {MIRA: "active"})
    assert {"HEAD", "GET", "POST"} <= set(
        requests.options(f"{base}/subscribe", timeout=30).headers["Allow"].split(", ")
    )


# ---- invalid requests and limits


@sqlite_only
@pytest.mark.parametrize(
    "query",
    [
        "",
        "?mobile=",
        "?mobile=abc",
        "?mobile=12",
        "?mobile=9028000001",
        "?mobile=%2B442071838750",
        "?mobile=%2B9190280000",
    ],
)
@pytest.mark.parametrize("path", PATHS)
def test_an_invalid_number_is_refused_with_an_example(serve: Serve, path: str, query: str) -> None:
    refused = requests.get(f"{serve()}{path}{query}", timeout=30)
    assert_problem(refused, 400, "Invalid mobile", "")
    assert re.search(r"(for example|looks like) \+[\d ]+\.$", refused.json()["detail"])
    assert ConsoleSms.select().count() == 0


@pytest.mark.parametrize("mobile", ["+22990123456", "+5215512345678", "+442071838750"])
def test_a_subscriber_can_leave_whose_number_is_no_longer_valid(serve: Serve, mobile: str) -> None:
    base = serve()
    refused = requests.post(f"{base}/unsubscribe", {"mobile": mobile}, timeout=30)
    add_subscribers(mobile)
    left = requests.post(f"{base}/unsubscribe", {"mobile": mobile}, timeout=30)
    assert (refused.status_code, left.status_code) == (200 if mobile == "+5215512345678" else 400, 200)
    assert Subscriber.get(Subscriber.mobile == mobile).state == "unsubscribed"


def test_a_subscriber_can_leave_by_the_old_form_of_a_number_that_is_stored_in_todays(serve: Serve) -> None:
    base = serve()
    add_subscribers("+525512345678")
    assert requests.post(f"{base}/unsubscribe", {"mobile": "+52 1 55 1234 5678"}, timeout=30).status_code == 200
    assert Subscriber.get().state == "unsubscribed"


def test_a_plus_sign_need_not_be_percent_encoded(serve: Serve) -> None:
    response = requests.get(f"{serve()}/subscribe?mobile=+91%20(90280)-00001", timeout=30)
    assert "on mobile +919028000001." in response.json()["message"]


@sqlite_only
@pytest.mark.parametrize(
    ("body", "kind", "title"),
    [
        (b"{", "application/json", "Invalid body"),
        (b'{"mobile": "+919028000001"}', "application/x-www-form-urlencoded", "Invalid body"),
        ("mobile=٩١".encode(), "application/x-www-form-urlencoded", "Invalid mobile"),
        (b"[]", "application/json", "Invalid body"),
        (b"null", "application/json", "Invalid body"),
        (b'{"mobile": null}', "application/json", "Invalid mobile"),
        (b'{"mobile": true}', "application/json", "Invalid mobile"),
        (b'{"mobile": ["+919028000001", {}]}', "application/json", "Invalid mobile"),
        (b'{"mobile": 1e400}', "application/json", "Invalid mobile"),
        (b"mobile=x", "application/x-www-form-urlencoded", "Invalid mobile"),
        (b"", "application/json", "Invalid mobile"),
        (b"[" * 4_000, "application/json", "Invalid body"),
        (b'{"mobile": ' + b"9" * 4_000 + b"}", "application/json", "Invalid mobile"),
    ],
)
def test_an_unreadable_body_is_refused(serve: Serve, body: bytes, kind: str, title: str) -> None:
    response = requests.post(f"{serve()}/subscribe", data=body, headers={"Content-Type": kind}, timeout=30)
    assert_problem(response, 400, title)


@sqlite_only
def test_a_body_that_is_too_large_is_not_read(serve: Serve) -> None:
    body = b'{"mobile": "' + b"9" * 5_000 + b'"}'
    sent = requests.post(f"{serve()}/subscribe", data=body, headers={"Content-Type": "application/json"}, timeout=30)
    assert_problem(sent, 413, "Content too large", "Send at most 4096 bytes")


@sqlite_only
def test_a_body_of_another_media_type_is_refused(serve: Serve) -> None:
    sent = requests.post(f"{serve()}/subscribe", data="<a/>", headers={"Content-Type": "text/xml"}, timeout=30)
    assert_problem(sent, 415, "Unsupported media type")


def test_a_wrong_otp_says_how_many_tries_are_left_and_sends_nothing(serve: Serve) -> None:
    base = serve()
    get(base, "/subscribe", mobile=MIRA)
    guess = wrong_otp(latest_otp(MIRA))
    for left in ("4 tries", "3 tries", "2 tries", "1 try"):
        wrong = get(base, "/subscribe", mobile=MIRA, otp=guess)
        assert_problem(wrong, 400, "Wrong OTP", f"Wrong code. {left} left.")
    last = get(base, "/subscribe", mobile=MIRA, otp=guess)
    assert_problem(last, 400, "Wrong OTP", "Wrong code. No tries left. Request a new code in 60 minutes.")
    locked = get(base, "/subscribe", mobile=MIRA, otp=latest_otp(MIRA))
    assert_problem(locked, 429, "Too many requests", "Too many wrong codes for this number. Try again in 60 minutes.")
    assert locked.headers["Retry-After"] == "3600"
    assert ConsoleSms.select().count() == 1
    assert states() == {}


def count_sms() -> int:
    count: int = ConsoleSms.select().count()
    return count


@pytest.mark.parametrize(
    ("path", "answer"), [("/subscribe", SUBSCRIBED), ("/unsubscribe", UNSUBSCRIBED), ("/pause", PAUSED)]
)
def test_the_right_otp_again_gets_the_same_answer_and_changes_nothing(
    serve: Serve, clock: FakeClock, path: str, answer: dict[str, str]
) -> None:
    base = serve(UNSUBSCRIBE_REQUIRES_OTP="true")
    if path != "/subscribe":
        add_subscribers(MIRA)
    get(base, path, mobile=MIRA)
    code = latest_otp(MIRA)
    assert get(base, path, mobile=MIRA, otp=code).json() == answer
    row, sms = Subscriber.get(), count_sms()
    clock.advance(minutes=9)
    again = get(base, path, mobile=MIRA, otp=code)
    assert (again.status_code, again.json()) == (200, answer)
    assert Subscriber.get().__data__ == row.__data__
    assert count_sms() == sms
    clock.advance(minutes=1)
    assert_problem(get(base, path, mobile=MIRA, otp=code), 400, "OTP expired")


def test_a_used_otp_neither_undoes_what_came_after_it_nor_claims_what_is_no_longer_so(serve: Serve) -> None:
    base = serve(UNSUBSCRIBE_REQUIRES_OTP="true")
    subscribe(base)
    to_subscribe = latest_otp(MIRA)
    get(base, "/unsubscribe", mobile=MIRA)
    assert get(base, "/unsubscribe", mobile=MIRA, otp=latest_otp(MIRA)).json() == UNSUBSCRIBED
    used = get(base, "/subscribe", mobile=MIRA, otp=to_subscribe)
    assert_problem(used, 400, "No OTP requested", "or it was used")
    assert states() == {MIRA: "unsubscribed"}


def test_expired_and_unrequested_otps_are_refused(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    assert_problem(get(base, "/subscribe", mobile=MIRA, otp="123456"), 400, "No OTP requested", "none was requested")
    get(base, "/subscribe", mobile=MIRA)
    clock.advance(minutes=10)
    expired = get(base, "/subscribe", mobile=MIRA, otp=latest_otp(MIRA))
    assert_problem(expired, 400, "OTP expired", "To get a new code, send mobile without otp.")


@sqlite_only
@pytest.mark.parametrize("otp", ["", "12345", "1234567", "abcdef", "12345x"])
def test_an_invalid_otp_is_refused_without_a_new_sms(serve: Serve, otp: str) -> None:
    base = serve()
    get(base, "/subscribe", mobile=MIRA)
    refused = get(base, "/subscribe", mobile=MIRA, otp=otp)
    assert_problem(refused, 400, "Invalid otp", "Send otp as the six digits from the SMS.")
    assert ConsoleSms.select().count() == 1
    assert OneTimePassword.get().tries_left == 5, "it costs no try"


def test_too_many_otps_are_refused_with_retry_after(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    get(base, "/subscribe", mobile=MIRA)
    clock.advance(seconds=20)
    refused = get(base, "/subscribe", mobile=MIRA)
    assert_problem(refused, 429, "Too many requests", "Too many codes for this number. Try again in 40 seconds.")
    assert refused.headers["Retry-After"] == "40"
    assert ConsoleSms.select().count() == 1


def test_every_rejected_otp_counts_for_the_client_ip(serve: Serve, clock: FakeClock) -> None:
    base = serve(WRONG_TRIES_PER_ADDRESS="4/1h")
    get(base, "/subscribe", mobile=MIRA)
    code = latest_otp(MIRA)
    get(base, "/subscribe", mobile=NOOR, otp="000000")  # none was requested
    get(base, "/subscribe", mobile=MIRA, otp=wrong_otp(code))
    assert get(base, "/subscribe", mobile=MIRA, otp=code).json() == SUBSCRIBED
    get(base, "/subscribe", mobile=MIRA, otp=wrong_otp(code))  # it was used
    clock.advance(minutes=1)
    get(base, "/subscribe", mobile=MIRA)
    clock.advance(minutes=10)
    get(base, "/subscribe", mobile=MIRA, otp=latest_otp(MIRA))  # it has expired
    fifth = get(base, "/subscribe", mobile=MIRA, otp=latest_otp(MIRA))
    assert_problem(
        fifth, 429, "Too many requests", "Too many wrong codes from your IP address. Try again in 49 minutes."
    )


def test_every_otp_request_counts_for_the_client_ip_and_sent_otps_for_the_number(
    serve: Serve, clock: FakeClock
) -> None:
    base = serve(CODES_PER_ADDRESS="2/1h")
    assert [get(base, "/subscribe", mobile=MIRA).status_code for _ in range(2)] == [200, 429]
    third = get(base, "/subscribe", mobile="+919028000003")
    assert_problem(third, 429, "Too many requests", "from your IP address")
    clock.advance(hours=1)
    assert get(base, "/subscribe", mobile="+919028000003").status_code == 200, (
        "the refused request did not count for the number"
    )


def test_a_request_that_sends_no_otp_still_says_what_the_client_ip_has_left(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise GatewayUnavailable("SNS cannot be reached")

    base = serve()
    monkeypatch.setattr(ConsoleGateway, "send_sms", fail)
    not_sent = get(base, "/subscribe", mobile=MIRA)
    assert_problem(not_sent, 503, "SMS not available")
    assert '"codes";r=9;t=3600' in not_sent.headers["RateLimit"]
    monkeypatch.setattr(ConsoleGateway, "is_opted_out", lambda *_: True)
    opted_out = get(base, "/subscribe", mobile=NOOR)
    assert_problem(opted_out, 409, "Number replied STOP")
    assert '"codes";r=8;t=3600' in opted_out.headers["RateLimit"]


def test_the_sms_quota_holds_for_all_numbers(serve: Serve) -> None:
    base = serve(SMS_DAILY_CAP="2")
    assert [get(base, "/subscribe", mobile=f"+91902800000{n}").status_code for n in range(3)] == [200, 200, 429]


def test_at_the_limit_of_subscribers_every_number_gets_the_same_answer_and_no_sms(
    serve: Serve, clock: FakeClock
) -> None:
    base = serve(SMS_MAX_SUBSCRIBERS="1")
    subscribe(base)
    clock.advance(minutes=2)
    before = ConsoleSms.select().count()
    answers = [get(base, "/subscribe", mobile=mobile) for mobile in (MIRA, NOOR)]
    for answer in answers:
        assert_problem(answer, 503, "Service full", "The service has as many subscribers as it can serve. ")
        assert answer.json()["detail"].endswith("No code was sent. Try again another day.")
        assert answer.headers["Retry-After"] == "3600"
    assert answers[0].content == answers[1].content
    assert ConsoleSms.select().count() == before
    assert get(base, "/unsubscribe", mobile=MIRA).json() == UNSUBSCRIBED
    clock.advance(minutes=2)
    subscribe(base, NOOR)


def test_of_two_right_codes_for_the_last_place_the_second_one_works_when_a_place_is_free(serve: Serve) -> None:
    base = serve(SMS_MAX_SUBSCRIBERS="1")
    assert get(base, "/subscribe", mobile=NOOR).status_code == 200
    subscribe(base, MIRA)
    late = get(base, "/subscribe", mobile=NOOR, otp=latest_otp(NOOR))
    assert_problem(
        late, 503, "Service full", "Your code is right and stays valid until it expires. Send it again in a minute."
    )
    assert late.headers["Retry-After"] == "60"
    assert states() == {MIRA: "active"}
    assert get(base, "/unsubscribe", mobile=MIRA).json() == UNSUBSCRIBED
    assert get(base, "/subscribe", mobile=NOOR, otp=latest_otp(NOOR)).json() == SUBSCRIBED


def test_a_country_that_is_not_served_is_refused_before_the_request_counts(serve: Serve) -> None:
    base = serve(SMS_ALLOWED_REGIONS="IN")
    refused = get(base, "/subscribe", mobile="+12015550123")
    assert_problem(
        refused, 400, "Country not served", "SMS go only to these countries: IN. Use a number from one of them."
    )
    assert OneTimePassword.select().count() == 0


def test_with_sms_switched_off_numbers_can_unsubscribe_but_not_subscribe(serve: Serve) -> None:
    base = serve()
    subscribe(base)
    SmsSwitch.create(name="sms", disabled_at=NOON)
    refused = get(base, "/subscribe", mobile=NOOR)
    assert_problem(refused, 503, "SMS not available", "The operator of this service switched SMS off. Try again later.")
    assert get(base, "/unsubscribe", mobile=MIRA).json() == UNSUBSCRIBED


@sqlite_only
def test_on_lambda_without_a_shared_database_no_number_can_subscribe(
    serve: Serve,
) -> None:
    base = serve(AWS_LAMBDA_FUNCTION_NAME="quotes", SECRET_KEY="0123456789abcdef" * 2, SMS_ALLOWED_REGIONS="IN")
    for path in PATHS:
        for otp in ({}, {"otp": "123456"}):
            refused = get(base, path, mobile=MIRA, **otp)
            assert_problem(
                refused,
                503,
                "SMS not available",
                "The operator must set SMS_ALLOWED_REGIONS and SECRET_KEY, or DATABASE_URL.",
            )
    assert get(base, "/daily").status_code == 200


# ---- unsubscribing with an OTP


def test_unsubscribing_with_an_otp(serve: Serve, clock: FakeClock) -> None:
    base = serve(UNSUBSCRIBE_REQUIRES_OTP="true")
    subscribe(base)
    clock.advance(minutes=1)
    requested = get(base, "/unsubscribe", mobile=MIRA)
    assert requested.json() == {
        "message": "An OTP verification has been sent on mobile +919028000001, if it is subscribed. To complete the "
        f"unsubscription, Use OTP with this URL pattern {base}/unsubscribe?mobile=%2B919028000001&otp=xxxxxx."
    }
    assert states() == {MIRA: "active"}
    assert_problem(
        get(base, "/unsubscribe", mobile=MIRA, otp=wrong_otp(latest_otp(MIRA))), 400, "Wrong OTP", "4 tries left"
    )
    assert get(base, "/unsubscribe", mobile=MIRA, otp=latest_otp(MIRA)).json() == UNSUBSCRIBED
    assert states() == {MIRA: "unsubscribed"}


def test_an_otp_to_subscribe_does_not_unsubscribe(serve: Serve, clock: FakeClock) -> None:
    base = serve(UNSUBSCRIBE_REQUIRES_OTP="true")
    subscribe(base)
    clock.advance(minutes=1)
    get(base, "/subscribe", mobile=MIRA)
    assert_problem(get(base, "/unsubscribe", mobile=MIRA, otp=latest_otp(MIRA)), 400, "No OTP requested")
    assert states() == {MIRA: "active"}


def use_up_codes_and_tries(base: str, path: str, clock: FakeClock) -> None:
    """Do what a stranger can for one purpose of MIRA's number: request all codes of a day, and lock the number."""
    for _ in range(5):
        assert get(base, path, mobile=MIRA).status_code == 200
        clock.advance(minutes=5)
    assert get(base, path, mobile=MIRA).status_code == 429
    assert {get(base, path, mobile=MIRA, otp="00000").status_code for _ in range(3)} == {400}
    for status in (*[400] * 5, 429):
        assert get(base, path, mobile=MIRA, otp=wrong_otp(latest_otp(MIRA))).status_code == status


@pytest.mark.parametrize(
    ("own", "other"), [("/subscribe", "/unsubscribe"), ("/unsubscribe", "/pause"), ("/pause", "/subscribe")]
)
def test_nothing_done_for_one_purpose_changes_what_happens_for_the_other(
    serve: Serve, clock: FakeClock, own: str, other: str
) -> None:
    limits = dict.fromkeys(("CODES_PER_ADDRESS", "WRONG_TRIES_PER_ADDRESS"), "100/1h")
    base = serve(UNSUBSCRIBE_REQUIRES_OTP="true", **limits)
    add_subscribers(MIRA)
    requested = get(base, own, mobile=MIRA)
    code = latest_otp(MIRA)
    assert get(base, other, mobile=MIRA).status_code == 200, "a request does not void the code of the other purpose"
    assert_problem(get(base, own, mobile=MIRA, otp=wrong_otp(code)), 400, "Wrong OTP", "Wrong code. 4 tries left.")
    assert "You have successfully" in get(base, own, mobile=MIRA, otp=code).json()["message"]
    Subscriber.update(state="active").execute()
    clock.advance(days=1)
    use_up_codes_and_tries(base, other, clock)
    assert get(base, own, mobile=MIRA).json() == requested.json()
    code = latest_otp(MIRA)
    assert_problem(get(base, own, mobile=MIRA, otp=wrong_otp(code)), 400, "Wrong OTP", "Wrong code. 4 tries left.")
    assert "You have successfully" in get(base, own, mobile=MIRA, otp=code).json()["message"]


def test_both_purposes_count_toward_the_same_limits_of_a_client_ip(serve: Serve) -> None:
    base = serve(UNSUBSCRIBE_REQUIRES_OTP="true", CODES_PER_ADDRESS="2/1h", WRONG_TRIES_PER_ADDRESS="2/1h")
    requested = [get(base, path, mobile=MIRA) for path in ("/subscribe", "/unsubscribe", "/unsubscribe")]
    assert [response.status_code for response in requested] == [200, 200, 429]
    tried = [get(base, path, mobile=NOOR, otp="000000") for path in ("/unsubscribe", "/subscribe", "/unsubscribe")]
    assert [response.status_code for response in tried] == [400, 400, 429]


def test_a_used_up_sms_quota_stops_no_one_from_unsubscribing_and_shows_no_subscriber(serve: Serve) -> None:
    base = serve(UNSUBSCRIBE_REQUIRES_OTP="true", SMS_DAILY_CAP="1")
    add_subscribers(MIRA)
    for mobile in (MIRA, NOOR):
        assert get(base, "/unsubscribe", mobile=mobile).status_code == 200
    assert get(base, "/subscribe", mobile=OMAR).status_code == 200, "an SMS to the subscriber did not use up the quota"
    assert get(base, "/subscribe", mobile=NOOR).status_code == 429
    assert get(base, "/unsubscribe", mobile=MIRA, otp=latest_otp(MIRA)).json() == UNSUBSCRIBED
    assert states() == {MIRA: "unsubscribed"}


@pytest.mark.parametrize("fields", [{}, {"otp": "000000"}])
@pytest.mark.parametrize("off_by", ["switch", "quota"])
@pytest.mark.parametrize("path", ["/unsubscribe", "/pause"])
def test_while_sms_are_off_unsubscribing_and_pausing_take_no_code(
    serve: Serve, clock: FakeClock, off_by: str, fields: dict[str, str], path: str
) -> None:
    base = serve(
        UNSUBSCRIBE_REQUIRES_OTP="true", SMS_DAILY_CAP="0" if off_by == "quota" else "1", SMS_ALLOWED_REGIONS="US"
    )
    SqlState().set_sms_switch(clock(), off=off_by == "switch")
    add_subscribers(MIRA, OMAR)
    responses = [get(base, path, mobile=mobile, **fields) for mobile in (MIRA, NOOR)]
    assert [(response.status_code, response.json()) for response in responses] == [
        (200, PAUSED if path == "/pause" else UNSUBSCRIBED)
    ] * 2
    assert "RateLimit" in responses[0].headers, "it is counted for the client IP"
    assert states() == {MIRA: "active" if path == "/pause" else "unsubscribed", OMAR: "active"}
    assert (Subscriber.get(Subscriber.mobile == MIRA).paused_until is not None) == (path == "/pause")
    assert ConsoleSms.select().count() == OneTimePassword.select().count() == 0


@pytest.mark.parametrize("path", ["/unsubscribe", "/pause"])
@pytest.mark.parametrize("takes_code", ["false", "true"])
def test_no_response_shows_whether_a_number_is_subscribed(
    serve: Serve, clock: FakeClock, takes_code: str, path: str
) -> None:
    base = serve(UNSUBSCRIBE_REQUIRES_OTP=takes_code, CODES_PER_ADDRESS="100/1h", WRONG_TRIES_PER_ADDRESS="100/1h")
    subscribe(base, MIRA)
    clock.advance(hours=1)

    def responses_for(mobile: str) -> list[tuple[int, str]]:
        responses = [get(base, path, mobile=mobile) for _ in range(2)]
        responses += [get(base, path, mobile=mobile, otp="000000") for _ in range(6)]
        clock.advance(minutes=11)
        responses += [get(base, path, mobile=mobile, otp="000000")]
        return [(response.status_code, response.text.replace(mobile[1:], "")) for response in responses]

    subscribed, not_subscribed = responses_for(MIRA), responses_for(NOOR)
    assert subscribed == not_subscribed
    assert ConsoleSms.select().where(ConsoleSms.to == NOOR).count() == 0, (
        "and a number that is not subscribed gets no SMS"
    )


# ---- the time zone and the hour of the daily SMS


IN_KOLKATA = ("Asia/Kolkata", "tomorrow at 10:00, Kolkata time", "2026-11-23T10:00:00+05:30")
IN_NEW_YORK = ("America/New_York", "today at 09:00, New York time", "2026-11-22T09:00:00-05:00")
IN_KATHMANDU = ("Asia/Kathmandu", "tomorrow at 09:00, Kathmandu time", "2026-11-23T09:00:00+05:45")
IN_UTC_MINUS_5 = ("Etc/GMT+5", "today at 09:00, UTC-5 time", "2026-11-22T09:00:00-05:00")
IN_UTC = ("Etc/UTC", "tomorrow at 09:00, UTC time", "2026-11-23T09:00:00+00:00")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {}, IN_KOLKATA),
        ({"time_zone": ""}, {"time_zone": ""}, IN_KOLKATA),
        ({"time_zone": "Asia/Calcutta"}, {}, IN_KOLKATA),
        ({"time_zone": "america/new_york"}, {}, IN_NEW_YORK),
        ({"time_zone": "Europe/Paris"}, {"time_zone": "Asia/Kathmandu"}, IN_KATHMANDU),
        ({}, {"time_zone": "UTC"}, IN_UTC),
        ({}, {"time_zone": "Etc/GMT 5"}, IN_UTC_MINUS_5),
    ],
)
def test_a_subscriber_chooses_the_time_zone_or_has_that_of_the_number(
    serve: Serve, first: dict[str, str], second: dict[str, str], expected: tuple[str, str, str]
) -> None:
    base = serve()
    time_zone, next_sms, next_sms_at = expected
    assert get(base, "/subscribe", mobile=MIRA, **first).status_code == 200
    confirmed = get(base, "/subscribe", mobile=MIRA, otp=latest_otp(MIRA), **second).json()
    assert confirmed["message"].endswith(f"for daily famous quote. The next SMS comes {next_sms}.")
    assert confirmed["time_zone"] == time_zone == Subscriber.get().time_zone
    assert confirmed["next_sms_at"] == next_sms_at


@sqlite_only
@pytest.mark.parametrize(
    "time_zone",
    [
        *(
            "Kolkata",
            " Asia/Kolkata",
            "Asia/Kolkata ",
            "Asia/Kolkata/",
            "\N{FULLWIDTH LATIN CAPITAL LETTER A}sia/Kolkata",
        ),
        *("../../../etc/passwd", "Asia/../Asia/Kolkata", "/usr/share/zoneinfo/Asia/Kolkata", "Asia", "posixrules"),
        *("Asia/Kolkata\0", "\0", "x" * 65, "x" * 3_000, "\ud800", 5, 5.5, True, False, [], [None], {}, {"a": 1}),
    ],
)
@pytest.mark.parametrize("step", [1, 2])
def test_an_unknown_time_zone_is_refused_without_an_sms_or_a_try(serve: Serve, time_zone: object, step: int) -> None:
    base = serve()
    get(base, "/subscribe", mobile=MIRA)
    fields = {"mobile": MIRA, "time_zone": time_zone} | ({"otp": "000000"} if step == 2 else {})
    refused = requests.post(f"{base}/subscribe", json=fields, timeout=30)
    assert_problem(refused, 400, "Invalid time_zone", "Send time_zone as an IANA time zone, for example Asia/Kolkata.")
    assert count_sms() == 1
    assert (OneTimePassword.get().tries_left, OneTimePassword.get().time_zone) == (5, None)


@sqlite_only
@pytest.mark.parametrize(
    ("path", "query", "name"),
    [
        ("/subscribe", "&time_zone=Asia/Kolkata&time_zone=Asia/Tokyo", "time_zone"),
        ("/pause", "&days=7&days=8", "days"),
    ],
)
def test_different_values_of_one_field_are_refused(serve: Serve, path: str, query: str, name: str) -> None:
    refused = requests.get(f"{serve()}{path}?mobile={MIRA[1:]}{query}", timeout=30)
    assert_problem(refused, 400, f"Invalid {name}", f"The request has different values of {name}. Send one value.")


@sqlite_only
@pytest.mark.parametrize(
    ("name", "meant"), [("tz", "time_zone"), ("timezone", "time_zone"), ("time-zone", "time_zone")]
)
def test_another_name_of_the_time_zone_is_refused(serve: Serve, name: str, meant: str) -> None:
    refused = get(serve(), "/subscribe", mobile=MIRA, **{name: "Asia/Kolkata"})
    assert_problem(refused, 400, "Unknown parameter", f"There is no parameter {name} here. Did you mean {meant}?")


def test_subscribing_again_with_another_time_zone_moves_the_subscriber(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    subscribe(base)
    clock.advance(minutes=1)
    get(base, "/subscribe", mobile=MIRA)
    fields = {"mobile": MIRA, "otp": latest_otp(MIRA), "time_zone": "Europe/Paris"}
    moved = requests.post(f"{base}/subscribe", json=fields, timeout=30)
    assert (moved.json()["time_zone"], moved.json()["next_sms_at"]) == ("Europe/Paris", "2026-11-23T09:00:00+01:00")
    assert "tomorrow at 09:00, Paris time" in moved.json()["message"]
    assert Subscriber.get().time_zone == "Europe/Paris"
    assert requests.post(f"{base}/subscribe", json=fields, timeout=30).json() == moved.json(), "the same code again"
    clock.advance(minutes=1)
    get(base, "/subscribe", mobile=MIRA)
    stayed = get(base, "/subscribe", mobile=MIRA, otp=latest_otp(MIRA))
    assert stayed.json() == moved.json(), "without a time zone, a subscriber keeps the one it has"


# ---- a pause


def test_pausing_takes_one_request_and_subscribing_again_ends_it(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    subscribe(base)
    paused = get(base, "/pause", mobile=MIRA, days="14")
    assert (paused.status_code, paused.headers["Cache-Control"]) == (200, "no-store")
    assert paused.json() == {"message": PAUSED["message"].replace("7 days", "14 days")}
    row = Subscriber.get()
    midnight_in_kolkata = datetime(2026, 12, 6, 18, 30, tzinfo=UTC)
    assert (row.state, row.paused_until) == ("active", midnight_in_kolkata), "14 mornings from November 23"
    clock.advance(minutes=1)
    subscribe(base)
    assert Subscriber.get().paused_until is None


@sqlite_only
@pytest.mark.parametrize(
    ("days", "last_morning"), [({}, 29), ({"days": ""}, 29), ({"days": "1"}, 23), ({"days": "07"}, 29)]
)
def test_a_pause_lasts_seven_mornings_unless_the_request_says_otherwise(
    serve: Serve, days: dict[str, str], last_morning: int
) -> None:
    base = serve()
    add_subscribers(MIRA)
    paused = get(base, "/pause", mobile=MIRA, **days)
    assert ("for 1 day," if last_morning == 23 else "for 7 days,") in paused.json()["message"]
    assert Subscriber.get().paused_until == datetime(2026, 11, last_morning, tzinfo=UTC) + timedelta(days=1)


@sqlite_only
@pytest.mark.parametrize("days", [1, 90, "90", [7, 7]])
def test_days_may_be_a_number_in_json(serve: Serve, days: object) -> None:
    base = serve()
    add_subscribers(MIRA)
    assert requests.post(f"{base}/pause", json={"mobile": MIRA, "days": days}, timeout=30).status_code == 200
    assert Subscriber.get().paused_until is not None


@sqlite_only
@pytest.mark.parametrize(
    "days",
    [
        *(0, -1, 91, 100, 1e9, 10**400, 7.5, 7.0, True, False, [], [None], {}),
        *("0", "00", "-1", "+7", "91", "007", "7.0", "1e1", "0x7", " 7", "7 ", "7\n", "seven", "9" * 3_000),
        *("\N{FULLWIDTH DIGIT SEVEN}", "\N{ARABIC-INDIC DIGIT SEVEN}", "\N{SUPERSCRIPT TWO}", "\0", "\ud800"),
    ],
)
def test_invalid_days_are_refused_and_pause_nothing(serve: Serve, days: object) -> None:
    base = serve()
    add_subscribers(MIRA)
    refused = requests.post(f"{base}/pause", json={"mobile": MIRA, "days": days}, timeout=30)
    assert_problem(refused, 400, "Invalid days", "Send days as a whole number from 1 to 90, for example 7.")
    assert Subscriber.get().paused_until is None


def test_pausing_with_an_otp(serve: Serve) -> None:
    base = serve(UNSUBSCRIBE_REQUIRES_OTP="true")
    add_subscribers(MIRA)
    requested = get(base, "/pause", mobile=MIRA, days="30")
    assert requested.json() == {
        "message": "An OTP verification has been sent on mobile +919028000001, if it is subscribed. To complete the "
        f"pause, Use OTP with this URL pattern {base}/pause?mobile=%2B919028000001&days=30&otp=xxxxxx."
    }
    code = latest_otp(MIRA)
    assert_problem(get(base, "/pause", mobile=MIRA, otp=wrong_otp(code)), 400, "Wrong OTP", "4 tries left")
    assert Subscriber.get().paused_until is None
    link = re.sub(".*URL pattern (.*)[.]", r"\1", requested.json()["message"]).replace("xxxxxx", code)
    assert "for 30 days," in requests.get(link, timeout=30).json()["message"]
    assert Subscriber.get().paused_until == datetime(2026, 12, 23, tzinfo=UTC)


@pytest.mark.parametrize(("asked", "tried"), [("/unsubscribe", "/pause"), ("/pause", "/unsubscribe")])
def test_an_otp_to_pause_does_not_unsubscribe_nor_the_other_way(serve: Serve, asked: str, tried: str) -> None:
    base = serve(UNSUBSCRIBE_REQUIRES_OTP="true")
    add_subscribers(MIRA)
    get(base, asked, mobile=MIRA)
    assert_problem(get(base, tried, mobile=MIRA, otp=latest_otp(MIRA)), 400, "No OTP requested")
    assert (states(), Subscriber.get().paused_until) == ({MIRA: "active"}, None)


@sqlite_only
def test_requests_to_pause_count_for_the_client_ip(serve: Serve) -> None:
    base = serve(CODES_PER_ADDRESS="2/1h")
    paths = ("/unsubscribe", "/pause", "/pause")
    assert [get(base, path, mobile=NOOR).status_code for path in paths] == [200, 200, 429]


# ---- client IP and base URL


@pytest.mark.parametrize(
    ("event", "ip"),
    [
        ({"requestContext": {"identity": {"sourceIp": "192.0.2.7"}}}, "192.0.2.7"),
        ({"requestContext": {"identity": {"sourceIp": "2001:db8:1:2:3:4:5:6"}}}, "2001:db8:1:2::/64"),
        ({"version": "2.0", "requestContext": {"http": {"sourceIp": "192.0.2.7"}}}, "192.0.2.7"),
        ({"requestContext": {"identity": {"sourceIp": ""}}}, "unknown"),
        ({"requestContext": {"identity": {"sourceIp": "test-invoke-source-ip"}}}, "unknown"),
        ({"requestContext": {"identity": None}}, "unknown"),
        ({"requestContext": None}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_on_lambda_the_client_ip_comes_from_api_gateway(event: dict[str, Any], ip: str) -> None:
    forged = {"X-Forwarded-For": "203.0.113.9, 203.0.113.8"}
    environ = create_environ(headers=forged, remote_addr="127.0.0.1") | {"lambda.event": event}
    settings = read_settings({"TRUSTED_PROXIES": "127.0.0.1"})
    assert client_ip(environ, settings) == ip


def test_a_client_cannot_forge_its_ip(serve: Serve) -> None:
    base = serve(CODES_PER_ADDRESS="1/1h")
    forged = [{"X-Forwarded-For": f"192.0.2.{n}", "Forwarded": f"for=192.0.2.{n}"} for n in range(2)]
    responses = [
        requests.get(f"{base}/subscribe", params={"mobile": mobile}, headers=headers, timeout=30).status_code
        for mobile, headers in zip((MIRA, NOOR), forged, strict=True)
    ]
    assert responses == [200, 429]


def test_a_trusted_proxy_forwards_the_client_ip(serve: Serve) -> None:
    base = serve(TRUSTED_PROXIES="127.0.0.0/8,10.0.0.0/8")

    numbers = (f"+9190280{number:05}" for number in count(1))

    def client_ip_of(forwarded: str) -> str:
        OneTimePassword.delete().execute()
        number = next(numbers)
        headers = {"X-Forwarded-For": forwarded, "X-Forwarded-Proto": "https", "X-Forwarded-Host": "quotes.example"}
        response = requests.get(f"{base}/subscribe", params={"mobile": number}, headers=headers, timeout=30)
        assert "URL pattern https://quotes.example/subscribe?" in response.json()["message"]
        return str(OneTimePassword.get().requested_from)

    assert client_ip_of("192.0.2.7") == "192.0.2.7"
    assert client_ip_of("203.0.113.9, 192.0.2.7, 10.1.2.3") == "192.0.2.7", "a client may forge the addresses before it"
    assert client_ip_of("2001:db8:1:2:3:4:5:6") == "2001:db8:1:2::/64"
    assert client_ip_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert client_ip_of("192.0.2.7:44311") == client_ip_of("203.0.113.9:1, 192.0.2.7:2, 10.1.2.3:3") == "192.0.2.7"
    assert client_ip_of("[2001:db8:1:2::9]:44311") == client_ip_of("[2001:db8:1:2::9]") == "2001:db8:1:2::/64"
    assert client_ip_of("nonsense") == "unknown"
    assert client_ip_of("") == "127.0.0.1"


def test_the_response_has_the_base_url_that_the_client_used(serve: Serve) -> None:
    response = requests.get(
        f"{serve()}/subscribe",
        params={"mobile": MIRA},
        headers={"Host": "localhost:8000", "X-Forwarded-Host": "evil.example"},
        timeout=30,
    )
    assert "URL pattern http://localhost:8000/subscribe?" in response.json()["message"]


def test_a_problem_document_never_has_the_number(serve: Serve) -> None:
    base = serve()
    for query in ({"mobile": NOOR, "otp": "000000"}, {"mobile": f"{NOOR}0000"}, {"mobile": NOOR, "otp": "x"}):
        assert "9028000002" not in json.dumps(get(base, "/subscribe", **query).json())


@sqlite_only
@pytest.mark.parametrize("otp", [True, False, -12345, [], [None], {}, 1234567, 48291.0, 482913.0, 4829.13, 1e5])
def test_an_invalid_otp_in_json_is_refused_without_a_new_sms(serve: Serve, otp: object) -> None:
    base = serve()
    get(base, "/subscribe", mobile=MIRA)
    sent = requests.post(f"{base}/subscribe", json={"mobile": MIRA, "otp": otp}, timeout=30)
    assert_problem(sent, 400, "Invalid otp")
    assert ConsoleSms.select().count() == 1
    assert OneTimePassword.get().tries_left == 5
