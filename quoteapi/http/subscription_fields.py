"""Strict parsers of the fields of a request to subscribe, unsubscribe or pause."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import falcon

from quoteapi.http.errors import Problem
from quoteapi.http.subscription_form import DEFAULT_PAUSE_DAYS, MAX_PAUSE_DAYS
from quoteapi.subscriptions.otp import OTP_DIGITS
from quoteapi.subscriptions.phone import normalize_digits
from quoteapi.time_zones import UnknownTimeZone, normalize_time_zone

_DAYS = re.compile(r"\d{1,2}", re.ASCII)


class SubscriptionRequest(NamedTuple):
    """The values of a request. Without `otp`, it is the first one of two, unless no OTP is required."""

    mobile: str
    otp: str | None
    time_zone: str | None
    days: int


class InvalidField(Problem):
    """The 400 error for the value of a field, with a detail for programs and one for pages."""

    def __init__(self, name: str, detail: str, page_detail: str) -> None:
        super().__init__(falcon.HTTP_400, f"Invalid {name}", detail, page_detail)
        self.name = name


def field_text(fields: Mapping[str, Any], name: str) -> str:
    """Return a field as text: the last value if sent repeatedly, "" if missing or neither text nor a number."""
    value = fields.get(name)
    if isinstance(value, list):
        value = value[-1] if value else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return value.encode(errors="replace").decode()  # JSON may have lone surrogates, which UTF-8 cannot encode
    return ""


def parse_otp(fields: Mapping[str, Any]) -> str | None:
    """Return the OTP of a request as six ASCII digits; None if `otp` is missing.

    Raises `InvalidField`, also if it is empty, so that an empty OTP does not request a new one.
    """
    if fields.get("otp") is None:
        return None
    text = field_text(fields, "otp")
    is_number = text and isinstance(fields["otp"], int | float)  # in JSON, which has no leading zeros
    digits = text.zfill(OTP_DIGITS) if is_number else normalize_digits(text)
    if not (digits.isdecimal() and len(digits) == OTP_DIGITS):
        expected = "the six digits from the SMS."
        raise InvalidField("otp", f"Send otp as {expected}", f"Enter {expected}")
    return digits


def parse_time_zone(fields: Mapping[str, Any]) -> str | None:
    """Return the normalized `time_zone` of a request; None if it is missing or empty. Raises `InvalidField`."""
    if fields.get("time_zone") in (None, ""):
        return None
    try:
        name = field_text(fields, "time_zone").replace(" ", "+")  # a + that is not percent-encoded
        return normalize_time_zone(name)
    except UnknownTimeZone:
        example = "Send time_zone as an IANA time zone, for example Asia/Kolkata."
        raise InvalidField("time_zone", example, "Check your time zone, and send the form again.") from None


def parse_days(fields: Mapping[str, Any]) -> int:
    """Return the `days` of a pause; `DEFAULT_PAUSE_DAYS` if it is missing or empty. Raises `InvalidField`."""
    if fields.get("days") in (None, ""):
        return DEFAULT_PAUSE_DAYS
    text = field_text(fields, "days")
    if not (_DAYS.fullmatch(text) and 1 <= int(text) <= MAX_PAUSE_DAYS):
        expected = f"a whole number from 1 to {MAX_PAUSE_DAYS}"
        raise InvalidField("days", f"Send days as {expected}, for example 7.", f"Choose {expected}.")
    return int(text)
