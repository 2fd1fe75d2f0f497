"""Strict parsers of query and path parameters. Empty query parameters except `date` count as missing.

A resource declares the names of its query parameters as `parameters`.
"""

import re
from collections.abc import Collection, Iterable
from datetime import date
from itertools import islice
from typing import Any

import falcon

from quoteapi.printable import printable
from quoteapi.quotes.quotation import MAX_NAME_LENGTH
from quoteapi.spelling import ask, did_you_mean, name_key
from quoteapi.storage.full_text_search import Filters, search_error
from quoteapi.time_zones import UnknownTimeZone, normalize_time_zone

MAX_DIGITS = 9
"""Numbers with so many digits fit into the integer columns of every database."""
NEAR_MISS_CUTOFF = 0.75
"""The similarity from which on a name is misspelt: one letter wrong of four, but no name that trackers add to links."""
MAX_CHECKED_NAMES = 100
"""How many unknown names of a request are compared with the known ones, which bounds the time."""
MAX_NAME_TO_CHECK = 30
MAX_TYPED_NAME_LENGTH = 2 * MAX_NAME_LENGTH
"""In characters: accents may be typed as characters of their own."""
SYNONYMS = {
    **dict.fromkeys(("query", "search"), "q"),
    **dict.fromkeys(("code", "otpcode", "pin"), "otp"),
    "timezone": "tz",
    **dict.fromkeys(("number", "phone", "phonenumber", "mobilenumber"), "mobile"),
    "tz": "time_zone",
}
"""For names of other services, as `name_key` returns them, the parameter here."""
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_ID = re.compile(rf"[1-9]\d{{0,{MAX_DIGITS - 1}}}", re.ASCII)


def reject_misspelt_names(names: Iterable[str], known: Collection[str]) -> None:
    """Raise `falcon.HTTPBadRequest` for a name that is close to a known one; any other unknown name is ignored."""
    unknown = (name for name in names if name not in known and len(name) <= MAX_NAME_TO_CHECK)
    for name in islice(unknown, MAX_CHECKED_NAMES):
        unescaped = name.removeprefix("amp;")  # as in links copied from HTML
        synonym = SYNONYMS.get(name_key(unescaped), "")
        question = ask([synonym]) if synonym in known else did_you_mean(unescaped, known, NEAR_MISS_CUTOFF)
        if question:
            description = f"There is no parameter {printable(name)} here. {question}"
            raise falcon.HTTPBadRequest(title="Unknown parameter", description=description)


def parse_filters(req: falcon.Request, *names: str) -> Filters:
    """Return the filters in the query parameters with these names. Raises `falcon.HTTPBadRequest`."""
    values: dict[str, Any] = {
        name: parse_positive_integer(req, name) if name.endswith("length") else _parse_text(req, name) for name in names
    }
    return Filters(words=values.pop("q", None), **values)


def parse_positive_integer(req: falcon.Request, name: str) -> int | None:
    """Return a query parameter as a number from 1 to 10**9; None if it is missing.

    Larger numbers are lowered to 10**9, which databases can store. Raises `falcon.HTTPBadRequest`.
    """
    text = req.get_param(name) or None
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and text.strip("0")):
        expected, example = ("a number of characters", 120) if name.endswith("length") else ("a whole number", 20)
        raise _invalid_parameter(name, f"Send {expected}, 1 or more, for example ?{name}={example}.")
    digits = text.lstrip("0")
    return int(digits) if len(digits) <= MAX_DIGITS else 10**MAX_DIGITS


def parse_date(text: str) -> date:
    """Parse YYYY-MM-DD only; Python also accepts 20261122 and 2026-W47-7. Raises `ValueError`."""
    return date.fromisoformat(text if _DATE.fullmatch(text) else "")


def parse_date_parameter(req: falcon.Request) -> date | None:
    """Return `?date=`, None if it is missing. Raises `falcon.HTTPBadRequest`, also if it is empty."""
    text = req.get_param("date")
    try:
        return parse_date(text) if text is not None else None
    except ValueError as error:
        raise _invalid_parameter("date", "Send the date as YYYY-MM-DD, for example ?date=2026-11-22.") from error


def parse_time_zone_parameter(req: falcon.Request) -> str | None:
    """Return `?tz=` as a normalized IANA name, None if it is missing. Raises `falcon.HTTPBadRequest`."""
    name = req.get_param("tz") or None
    try:
        # A plus sign that is not escaped arrives as a space.
        return normalize_time_zone(name.replace(" ", "+")) if name is not None else None
    except UnknownTimeZone as error:
        raise _invalid_parameter("tz", "Send an IANA time zone, for example ?tz=Asia/Kolkata.") from error


def parse_id(text: str) -> int | None:
    """Return the id in a path; None unless it is 1 to `MAX_DIGITS` ASCII digits, the first not 0."""
    return int(text) if _ID.fullmatch(text) else None


def _parse_text(req: falcon.Request, name: str) -> str | None:
    text = req.get_param(name) or None
    if text is not None and name == "q" and (error := search_error(text)):
        raise _invalid_parameter(name, f"{error} For example, send ?q=rocks+mountains.")
    if text is not None and len(text) > MAX_TYPED_NAME_LENGTH:
        raise _invalid_parameter(name, f"Send at most {MAX_TYPED_NAME_LENGTH} characters.")
    return text


def _invalid_parameter(name: str, description: str) -> falcon.HTTPBadRequest:
    return falcon.HTTPBadRequest(title=f"Invalid {name}", description=description)
