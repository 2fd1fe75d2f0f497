"""Redaction of phone numbers, OTPs, tokens and secrets in logs, error messages and error reports."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from functools import lru_cache
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from quoteapi.settings import Settings

MAX_REDACTED_BYTES = 128_000, 128_000
"""How many bytes of a longer text are kept at its start and its end; the middle is removed before the search."""
MIN_PHONE_DIGITS = 10
"""Digit groups with separators are hidden as a phone number if they have at least this many digits."""
MIN_HIDDEN_LENGTH = 4
"""Shorter secrets are not hidden, because too many other words would be hidden with them."""
MIN_LENGTH_INSIDE_WORDS = 12
"""Secrets of this length are hidden also inside longer words; shorter ones may be a part of an ordinary word."""
SECRET_ENVIRONMENT_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PGPASSWORD")
"""Environment variables besides the settings: the credentials of a Lambda function, and a variable of libpq."""
OTP_PATTERN = re.compile(r"\d{6,}")
_HIDDEN = "•••"
_PHONE_NUMBER = re.compile(r"(?i:(?<=\+)\d{7,15}|(?<=%2B)\d{7,15}|(?<![0-9a-z.])\d{8,15})(?![0-9A-Za-z])")
_DIGIT_GROUPS = re.compile(r"(?<![\d:])(?!\d{4}-\d\d-\d\d)\+?\(?\d{1,5}(?:[\s()._/\u2013-]{1,3}\d{1,6}){1,8}(?!\d)")
_CREDENTIALS = (
    (re.compile(r"://[^\s'\"]{1,500}@"), f"://{_HIDDEN}@"),
    (re.compile(r"\?[\w.%+\-\[\]]{1,100}=[^\s'\")>]*"), f"?{_HIDDEN}"),
    (re.compile(r"(?i)(password['\"]?\s{0,9}[=:]\s{0,9})\S{1,500}"), rf"\1{_HIDDEN}"),
    (re.compile(r"(?i)\b(Bearer|Basic|Signature=)\s{0,9}[\w.~+/=-]{8,}"), rf"\1 {_HIDDEN}"),
    (re.compile(r"(?<![\w-])eyJ[\w-]{4,}(\.[\w-]*){0,2}"), _HIDDEN),
    (re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{12,}"), _HIDDEN),
)
"""Credentials of any service: user info and queries of URLs, passwords, authorization headers, JWTs, AWS key ids."""
_SECRET_PARAMETER = re.compile(r"(?i)pass|key|token|secret")
_FORBIDDEN_IN_SNS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]")


def redact(settings: Settings, text: str) -> str:
    """Return a text without the secrets of the settings, any credentials, phone numbers and OTPs."""
    secrets = _secrets_pattern(settings, *map(os.environ.get, SECRET_ENVIRONMENT_VARIABLES))
    text = secrets.sub(_HIDDEN, truncate_middle(text, *MAX_REDACTED_BYTES))
    for credentials, replacement in _CREDENTIALS:
        text = credentials.sub(replacement, text)
    return OTP_PATTERN.sub("••••••", mask_phone_numbers(_DIGIT_GROUPS.sub(_hide_phone_number, text)))


def mask_phone_numbers(text: str) -> str:
    """Return a text with everything masked in it that may be a phone number."""
    return _PHONE_NUMBER.sub(lambda match: mask_phone_number(match[0]), text)


def mask_phone_number(mobile: str) -> str:
    """Return a phone number with its middle masked, for example `+91••••••0001`."""
    start = 3 if mobile.startswith("+") else 2
    end = min(len(mobile), max(len(mobile) - 4, start + 5))
    return mobile[:start] + "•" * (end - start) + mobile[end:]


def truncate_middle(text: str, start: int, end: int) -> str:
    """Return a text; if it is longer than `start + end` bytes of UTF-8, `[...]` replaces its middle.

    Control characters, which an SNS message must not contain, become question marks.
    """
    octets = _FORBIDDEN_IN_SNS.sub("?", text).encode("utf-8", "backslashreplace")
    if len(octets) > start + end:
        octets = octets[:start] + b"\n[...]\n" + octets[-end:]
    return octets.decode("utf-8", "ignore")


def _hide_phone_number(match: re.Match[str]) -> str:
    return _HIDDEN if sum(map(str.isdigit, match[0])) >= MIN_PHONE_DIGITS else match[0]


@lru_cache(maxsize=2)
def _secrets_pattern(settings: Settings, *secrets: str | None) -> re.Pattern[str]:
    """Return a pattern that matches the secret settings and `secrets`, also if they are encoded."""
    all_secrets = [*secrets, *(getattr(settings, setting.name) for setting in fields(settings) if not setting.repr)]
    parts = {part for secret in all_secrets if secret for part in _secret_parts(secret)}
    forms = {form for part in parts for form in _encoded_forms(part) if len(form) >= MIN_HIDDEN_LENGTH}
    patterns = [
        re.escape(form) if len(form) >= MIN_LENGTH_INSIDE_WORDS else rf"(?<!\w){re.escape(form)}(?!\w)"
        for form in sorted(forms, key=len, reverse=True)
    ]
    return re.compile("|".join(patterns) or r"(?!)")


def _secret_parts(secret: str) -> Iterator[str]:
    """Yield a secret and its secret parts: lines of a key, the password and secret parameters of a URL."""
    yield secret
    yield from secret.splitlines()
    with suppress(ValueError):
        url = urlsplit(secret)
        yield url.password or ""
        yield from (value for name, value in parse_qsl(url.query) if _SECRET_PARAMETER.search(name))


def _encoded_forms(secret: str) -> Iterator[str]:
    """Yield a secret as it may appear in a text: plain, percent-encoded, as a Python literal, as JSON."""
    for form in (secret, unquote(secret)):
        yield form
        yield quote(form, safe="", errors="replace")
        yield quote(form, errors="replace")
        yield quote_plus(form, errors="replace")
        yield repr(form)[1:-1]
        yield json.dumps(form)[1:-1]
