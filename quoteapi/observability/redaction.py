"""Phone numbers: read once, at the edge, and from then on in the form of E.164, as in +919028000001.

Numbering plans are those of `phonenumberslite`, which is loaded with the first number: nothing for a cold start.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from functools import lru_cache
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from quoteapi.settings import Settings

_NUMBER_IN_TEXT = re.compile(r"(?i:(?<=\+)\d{7,15}|(?<=%2B)\d{7,15}|(?<![0-9a-z.])\d{8,15})(?![0-9A-Za-z])")


def mask_number(mobile: str) -> str:
    """Answer a number with its middle hidden, as in +91••••••0001."""
    digits = mobile.lstrip("+")
    shown = mobile[: len(mobile) - len(digits)] + digits[:2]
    left = max(0, min(4, len(digits) - 7))
    return shown + "•" * (len(digits) - 2 - left) + digits[len(digits) - left :]


def mask_numbers(text: str) -> str:
    """Answer a text with every phone number in it masked, and whatever looks like one."""
    return _NUMBER_IN_TEXT.sub(lambda found: mask_number(found[0]), text)


MOST_READ = 128_000, 128_000
"""Bytes of the begin and of the end of a text that are looked through; there is no more of it then."""
_HIDDEN = "•••"
_TELLING = (
    (re.compile(r"://[^\s'\"]{1,500}@"), f"://{_HIDDEN}@"),
    (re.compile(r"\?[\w.%+\-\[\]]{1,100}=[^\s'\")>]*"), f"?{_HIDDEN}"),
    (re.compile(r"(?i)(password['\"]?\s{0,9}[=:]\s{0,9})\S{1,500}"), rf"\1{_HIDDEN}"),
    (re.compile(r"(?i)\b(Bearer|Basic|Signature=)\s{0,9}[\w.~+/=-]{8,}"), rf"\1 {_HIDDEN}"),
    (re.compile(r"(?<![\w-])eyJ[\w-]{4,}(\.[\w-]*){0,2}"), _HIDDEN),
    (re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{12,}"), _HIDDEN),
)
"""Passwords in addresses, queries, and tokens, whoever they are from."""
_WITH_GAPS = re.compile(r"(?<![\d:])(?!\d{4}-\d\d-\d\d)\+?\(?\d{1,5}(?:[\s()._/\u2013-]{1,3}\d{1,6}){1,8}(?!\d)")
_FEWEST_OF_NUMBER = 10
CODE = re.compile(r"\d{6,}")
_LONG_ENOUGH = 12
"""From so many characters on a secret is hidden within a word, too: shorter ones may be words themselves."""
_SHORTEST = 4
"""With fewer characters, hiding it would leave nothing to read."""
_KEY = re.compile(r"(?i)pass|key|token|secret")
OTHER_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PGPASSWORD")
"""What Lambda gives a function to call AWS with, and what libpq reads."""


def redact(settings: Settings, text: str) -> str:
    """Answer a text without what the settings keep secret, and without what looks like a number, a code or a token."""
    shown = _secrets(settings).sub(_HIDDEN, truncate_middle(text, *MOST_READ))
    for telling, instead in _TELLING:
        shown = telling.sub(instead, shown)
    shown = mask_numbers(_WITH_GAPS.sub(lambda found: _number_hidden(found[0]), shown))
    return CODE.sub("••••••", shown)


def _number_hidden(text: str) -> str:
    is_number = sum(map(str.isdigit, text)) >= _FEWEST_OF_NUMBER
    return _HIDDEN if is_number else text


def _secrets(settings: Settings) -> re.Pattern[str]:
    return _pattern(settings, tuple(os.environ.get(name) for name in OTHER_SECRETS))


@lru_cache(maxsize=2)
def _pattern(settings: Settings, of_others: tuple[str | None, ...]) -> re.Pattern[str]:
    kept = [getattr(settings, setting.name) for setting in fields(settings) if not setting.repr]
    parts = {part for value in (*kept, *of_others) if value for part in _parts(value)}
    forms = {form for part in parts for form in _forms(part) if len(form) >= _SHORTEST}
    longest_first = sorted(forms, key=len, reverse=True)
    return re.compile("|".join(map(_found, longest_first)) or r"(?!)")


def _found(secret: str) -> str:
    return re.escape(secret) if len(secret) >= _LONG_ENOUGH else rf"(?<!\w){re.escape(secret)}(?!\w)"


def _parts(secret: str) -> Iterator[str]:
    """Answer a secret, and what of it is one by itself: a line of a key, the password and the keys of an address."""
    yield secret
    yield from secret.splitlines()
    with suppress(ValueError):
        address = urlsplit(secret)
        yield address.password or ""
        yield from (value for name, value in parse_qsl(address.query) if _KEY.search(name))


def _forms(secret: str) -> Iterator[str]:
    for form in (secret, unquote(secret)):
        yield form
        yield quote(form, safe="", errors="replace")
        yield quote(form, errors="replace")
        yield quote_plus(form, errors="replace")
        yield repr(form)[1:-1]
        yield json.dumps(form)[1:-1]


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]")
"""What SNS takes in no message."""


def truncate_middle(text: str, begin: int, end: int) -> str:
    """Answer a text or, where it has more bytes than that, its begin and its end."""
    octets = _CONTROL.sub("?", text).encode("utf-8", "backslashreplace")
    if len(octets) > begin + end:
        octets = octets[:begin] + b"\n[...]\n" + octets[-end:]
    return octets.decode("utf-8", "ignore")
