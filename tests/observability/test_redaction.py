import time
from dataclasses import fields
from urllib.parse import quote

import pytest

from quoteapi.observability.redaction import redact, truncate_middle
from quoteapi.settings import Settings, read_settings


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
    began = time.perf_counter()
    redact(Settings(), piece * (300_000 // len(piece)))
    assert time.perf_counter() - began < 5


def test_a_long_text_keeps_its_start_and_end() -> None:
    assert truncate_middle("abcdefgh", 4, 4) == "abcdefgh"
    assert truncate_middle("abcdefghi", 3, 2) == "abc\n[...]\nhi"
    assert truncate_middle("éaéb\x00", 1, 2) == "\n[...]\nb?", "no half of a character"
