import re
import time
from dataclasses import fields
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quoteapi.observability.redaction import mask_phone_number, mask_phone_numbers, redact, truncate_middle
from quoteapi.settings import Settings, read_settings
from tests.helpers.data import MIRA, mobile_of_every_country


def test_every_secret_setting_is_hidden_in_every_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    password, session_token = "correct/zebra", "IQoJb-zebra-of-the-role"
    secrets = {
        "DATABASE_URL": f"postgresql://quotes:{quote(password, safe='')}@db.example.org/quoteapi",
        "SECRET_KEY": "a zebra \\ with 'stripes' and more of them",
        "X_Mashape_Key": "k-zebra",
        "Mashape_API_Endpoint": "https://api.example.org/quotes?key=zebra-of-the-endpoint",
        "aws_access_key_id": "AKIAZZZZZZ-zebra",
        "aws_secret_access_key": "wJalrXUtnFEMI/K-zebra",
        "JWT_SECRET": "zebra-of-the-bearers-abcdefghijklmnop",
    }
    assert {s.metadata["name"] for s in fields(Settings) if not s.repr} == {*secrets, "JWT_PUBLIC_KEY"}
    monkeypatch.setenv("AWS_SESSION_TOKEN", session_token)
    others = {"JWT_ISSUER": "me", "JWT_AUDIENCE": "you", "SMS_ALLOWED_REGIONS": "IN"}
    settings = read_settings({**secrets, **others, "AWS_LAMBDA_FUNCTION_NAME": "quoteapi-dev", "STAGE": "dev"})
    texts = [*secrets.values(), password, quote(password, safe=""), session_token, "zebra-of-the-endpoint"]
    for text in texts:
        for form in (text, repr(text), quote(text, safe=""), f"({text})"):
            assert "zebra" not in redact(settings, f"first {form}, {form}"), form
    assert "zebra" not in redact(settings, " ".join(texts))


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("postgresql://other:hunter2@db.example.org/quoteapi failed", "hunter2"),
        ("connection failed: host=db password=hunter2 user=me", "hunter2"),
        ("{'password': 'hunter2'}", "hunter2"),
        ("Max retries exceeded with url: /quotes?key=hunter2&x=1 (Caused by", "hunter2"),
        ("GET /subscribe?mobile=hunter2", "hunter2"),
        ("'Authorization': 'Bearer hunter2hunter2'", "hunter2"),
        ("token eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl is odd", "c2lnbmF0dXJl"),
        ("key AKIAIOSFODNN7EXAMPLE is not known", "IOSFODNN7EXAMPLE"),
    ],
)
def test_credentials_of_other_services_are_hidden(text: str, secret: str) -> None:
    redacted = redact(Settings(), text)
    assert secret not in redacted
    assert "•••" in redacted


def test_a_short_secret_is_not_hidden_inside_words() -> None:
    assert redact(read_settings({"X_Mashape_Key": "sand"}), "sand in sandals") == "••• in sandals"


def test_dates_addresses_and_versions_are_not_hidden() -> None:
    text = "KeyError at 2026-11-22 12:00:30 in /var/task/quoteapi/quotes.py, line 120, of 10.0.0.1:5432 (3.11.4)"
    assert redact(Settings(), text) == text


@pytest.mark.parametrize(
    "piece", ["://", "?a=", "eyJ", "eyJa.", "password=", "1 ", "+1-", "12345 ", "9", "Bearer ", "@"]
)
def test_no_text_takes_long_to_redact(piece: str) -> None:
    begun = time.thread_time()
    redact(Settings(), piece * (300_000 // len(piece)))
    assert time.thread_time() - begun < 5


def test_a_long_text_keeps_its_start_and_end() -> None:
    assert truncate_middle("abcdefgh", 4, 4) == "abcdefgh"
    assert truncate_middle("abcdefghi", 3, 2) == "abc\n[...]\nhi"
    assert truncate_middle("éaéb\x00", 1, 2) == "\n[...]\nb?", "no half of a character"


# ---- masking


def test_a_masked_number_shows_the_first_two_digits_and_the_last_four() -> None:
    assert mask_phone_number(MIRA) == "+91••••••0001"
    assert mask_phone_number("12015550123") == "12•••••0123"
    assert mask_phone_number("+6907250") == "+69•••••", "of a short one less"


@given(st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True))
def test_a_masked_number_never_shows_its_middle(mobile: str) -> None:
    shown = mask_phone_number(mobile)
    assert len(shown) == len(mobile)
    assert shown[:3] == mobile[:3]
    assert re.fullmatch(r"\+\d\d•{5,9}\d{0,4}", shown)
    assert mobile.endswith(shown.rpartition("•")[2])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("SMS to +919028000001 failed", "SMS to +91••••••0001 failed"),
        ("mobile=919028000001&otp=123456", "mobile=91••••••0001&otp=123456"),
        ("tel:+919028000001", "tel:+91••••••0001"),
        ("{'mobile': '+919028000001'}", "{'mobile': '+91••••••0001'}"),
        ("+919028000001,+919028000002.", "+91••••••0001,+91••••••0002."),
        ("Key (mobile)=(+919028000001) exists\n919028000002", "Key (mobile)=(+91••••••0001) exists\n91••••••0002"),
        ("console:+919028000001", "console:+91••••••0001"),
        ("GET /unsubscribe?mobile=%2B919028000001", "GET /unsubscribe?mobile=%2B91••••••0001"),
    ],
)
def test_numbers_in_a_text_are_masked(text: str, shown: str) -> None:
    assert mask_phone_numbers(text) == shown


def test_numbers_of_all_countries_in_a_text_are_masked() -> None:
    shown = {mobile: mask_phone_numbers(f"to {mobile}: no") for mobile in mobile_of_every_country()}
    assert shown == {mobile: f"to {mask_phone_number(mobile)}: no" for mobile in mobile_of_every_country()}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-22T12:00:00Z INFO GET /daily 200 [check-17]",
        "2026-11-22 12:00:00.123456+00:00",
        "console-20261122T120000",
        "took 0.123456789012 s",
        "line 1234567, in read_mobile",
        "<Quote object at 0x7f0012345678>",
        "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "00000000000000000000000000000001",
        "Quote 544 of 544, Chapter XVI (1868)",
    ],
)
def test_other_digits_in_a_text_are_not_masked(text: str) -> None:
    assert mask_phone_numbers(text) == text


@given(st.from_regex(r"[0-9a-f]{32}", fullmatch=True))
def test_a_request_id_is_not_masked(identity: str) -> None:
    assert mask_phone_numbers(f"INFO GET /daily 200 [{identity}]") == f"INFO GET /daily 200 [{identity}]"
