"""Phone numbers: parsed at the edge, and in E.164 form (as in +919028000001) everywhere else.

The numbering plans are those of `phonenumbers`, which is imported on first use to keep cold starts short.
"""

import re
import unicodedata
from collections.abc import Iterable
from itertools import starmap
from typing import TYPE_CHECKING

from quoteapi.settings import ANY_REGION
from quoteapi.time_zones import normalize_time_zone, time_zones_of_country

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

MOBILE_HINT = "Send mobile as an international number, for example +919028000001."
PAGE_HINT = "Start with + and the country code, for example +919028000001."
MAX_SHORT_COUNTRY_CODE = 99
_MAX_LENGTH = 64
_DIGITS = re.compile(r"(\+|00)?\d+", re.ASCII)
_E164 = re.compile(r"\+[1-9]\d{6,14}", re.ASCII)
_DECIMAL_NUMBER = re.compile(r"\+?\d+[.,]0+|\d[.,]\d+e\+?\d+", re.ASCII | re.IGNORECASE)
_SEPARATORS = {"Cf", "Me", "Mn", "Pd", "Pe", "Ps", "Zl", "Zp", "Zs"}
"""Unicode categories: format characters, marks such as variation selectors, dashes, brackets, and spaces."""
_OTHER_SEPARATORS = set("\t\n\r./~\N{MINUS SIGN}\N{KATAKANA-HIRAGANA PROLONGED SOUND MARK}\N{BRAILLE PATTERN BLANK}")
_OTHER_SEPARATORS |= {"\N{HANGUL CHOSEONG FILLER}", "\N{HANGUL JUNGSEONG FILLER}"}
_WITHOUT_PLUS = (
    "Without +, this could be a number of another country.",
    "Start with + (%2B in a URL) and the country code, for example +919028000001.",
)
_NO_FORM = re.compile(r"(?!)")
_CURRENT_MOBILE_FORMS = {
    52: (re.compile(r"1(\d{10})"), r"\1"),
    54: (re.compile(r"(\d{10})"), r"9\1"),
    55: (re.compile(r"(\d{2})([6-9]\d{7})"), r"\g<1>9\2"),
}
"""By country code, mobile numbers that are written in an old form, and what they are today: Mexico had a 1 before them
until 2019, Argentina has a 9 that national callers leave out, and Brazil added a 9 until 2016."""


class InvalidMobile(Exception):
    """Not the number of a mobile phone. The message says why; the hints, what to send by HTTP and on a page.

    None of them contains the number.
    """

    def __init__(self, message: str, hint: str = MOBILE_HINT, page_hint: str = PAGE_HINT) -> None:
        super().__init__(message)
        self.hint = hint
        self.page_hint = page_hint


def normalize_digits(text: str) -> str:
    """Return text in NFKC with ASCII digits, and without separators and invisible characters.

    The page's `normalizeDigits` does the same.
    """
    characters = unicodedata.normalize("NFKC", text)
    kept = (c for c in characters if unicodedata.category(c) not in _SEPARATORS and c not in _OTHER_SEPARATORS)
    return "".join(str(unicodedata.decimal(c, c)) for c in kept)


def parse_mobile(text: str) -> str:
    """Return the E.164 form of a mobile number in any notation. Raises `InvalidMobile`.

    The country code is required. `+` or `00` before it is not, unless the digits may be a national number, too.
    """
    digits = _parse_digits(text)
    import phonenumbers  # noqa: PLC0415

    number = _parse_number(f"+{digits.removeprefix('+').removeprefix('00')}")
    if digits[0] not in "+0" and _may_be_national(digits, number):
        raise InvalidMobile(*_WITHOUT_PLUS)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def e164_as_typed(text: str) -> str | None:
    """Return a number with + or 00 in the form of E.164, without a look at today's numbering plans; else None."""
    digits = re.sub("^00", "+", _parse_digits(text))
    return digits if _E164.fullmatch(digits) else None


def require_country_code(text: str) -> None:
    """Raise `InvalidMobile` unless a number begins with + or 00."""
    if not _parse_digits(text).startswith(("+", "00")):
        raise InvalidMobile(*_WITHOUT_PLUS)


def suggest_mobiles(text: str, regions: Iterable[str]) -> tuple[str, ...]:
    """Return the E.164 numbers that a number without + may mean, the likeliest first.

    It may be a national number of one of the regions (ISO 3166 codes), or the + may be missing.
    """
    try:
        digits = _parse_digits(text)
    except InvalidMobile:
        return ()
    readings = [] if digits.startswith(("+", "00")) else [*((digits, region) for region in regions), (f"+{digits}", "")]
    return tuple(dict.fromkeys(filter(None, starmap(_read_mobile, readings))))


def _read_mobile(digits: str, region: str) -> str | None:
    """Return the E.164 form of the number of a mobile phone, national in a region if it has no +; else None."""
    import phonenumbers  # noqa: PLC0415

    try:
        number = _parse_number(digits, region)
    except InvalidMobile:
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _parse_digits(text: str) -> str:
    """Return the digits of a number, after + or 00 if it has them. Raises `InvalidMobile`."""
    if not text.strip():
        raise InvalidMobile("The mobile number is missing.")
    if len(text) <= _MAX_LENGTH and _DECIMAL_NUMBER.fullmatch(text.strip()):
        raise InvalidMobile("This is a decimal number, not a phone number.", f"{MOBILE_HINT} In JSON, send a string.")
    digits = normalize_digits(text[: _MAX_LENGTH + 1]).lower().removeprefix("tel:")
    if len(text) > _MAX_LENGTH or not _DIGITS.fullmatch(digits):
        raise InvalidMobile("This is not a phone number.")
    return digits


def _parse_number(digits: str, region: str | None = None) -> "PhoneNumber":
    """Return the number of a mobile phone, national in a region if it has no +. Raises `InvalidMobile`."""
    import phonenumbers  # noqa: PLC0415

    try:
        number = _in_current_form(phonenumbers.parse(digits, region))
    except phonenumbers.NumberParseException as error:
        raise InvalidMobile("This is not an international phone number.") from error
    _check_mobile(number)
    return number


def _in_current_form(number: "PhoneNumber") -> "PhoneNumber":
    """Return a number of an old numbering plan as what it is today, or else the number."""
    import phonenumbers  # noqa: PLC0415

    old, current = _CURRENT_MOBILE_FORMS.get(number.country_code or 0, (_NO_FORM, ""))
    match = old.fullmatch(phonenumbers.national_significant_number(number))
    if match is None:
        return number
    changed = phonenumbers.parse(f"+{number.country_code}{match.expand(current)}")
    return changed if phonenumbers.is_valid_number(changed) else number


def _check_mobile(number: "PhoneNumber") -> None:
    """Raise `InvalidMobile` unless a number is that of a mobile phone of a country."""
    import phonenumbers  # noqa: PLC0415

    hints = _example_hints(number)
    reason = phonenumbers.is_possible_number_with_reason(number)
    lengths = {
        phonenumbers.ValidationResult.TOO_SHORT: "This number is too short. Is the country code missing?",
        phonenumbers.ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "This number is too short. Is the area code missing?",
        phonenumbers.ValidationResult.TOO_LONG: "This number is too long.",
    }
    if reason != phonenumbers.ValidationResult.IS_POSSIBLE:
        message = lengths.get(reason, "This number has the wrong length for its country. Is the country code missing?")
        raise InvalidMobile(message, *hints)
    if phonenumbers.number_type(number) not in _mobile_types():
        raise InvalidMobile("This is not a mobile number.", *hints)
    if phonenumbers.region_code_for_number(number) == "001":
        raise InvalidMobile("This number belongs to no country, so it gets no SMS. Satellite phones have such numbers.")


def _mobile_types() -> tuple[int, ...]:
    import phonenumbers  # noqa: PLC0415

    return phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE


def _example_hints(number: "PhoneNumber") -> list[str]:
    """Return both hints of `InvalidMobile` with an example of the same country code, or none if there is no example."""
    import phonenumbers  # noqa: PLC0415

    region = phonenumbers.region_code_for_country_code(number.country_code or 0)
    example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    if example is None:
        return []
    form = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    return [f"A mobile number with this country code looks like {form}."] * 2


def _may_be_national(digits: str, number: "PhoneNumber") -> bool:
    """Return whether digits that were sent without + are likelier a number of another, much larger country.

    That is so if they are a mobile number there in national notation, and the country code has three digits: the plan
    of the larger country then has a thousand times as many numbers. 678 555 0123, for example, is a number of Vanuatu
    or of the United States.
    """
    import phonenumbers  # noqa: PLC0415

    return (number.country_code or 0) > MAX_SHORT_COUNTRY_CODE and any(
        region != phonenumbers.region_code_for_number(number) and _is_national_mobile(digits, region)
        for region in sorted(phonenumbers.SUPPORTED_REGIONS)
    )


def _is_national_mobile(digits: str, region: str) -> bool:
    import phonenumbers  # noqa: PLC0415

    national = phonenumbers.PhoneNumber(phonenumbers.country_code_for_region(region), int(digits))
    if not phonenumbers.is_valid_number_for_region(national, region):
        return False
    written = phonenumbers.format_number(national, phonenumbers.PhoneNumberFormat.NATIONAL)
    return phonenumbers.number_type(national) in _mobile_types() and "".join(filter(str.isdigit, written)) == digits


def country_of(mobile: str) -> str:
    """Return the ISO 3166 country code of an E.164 number; ZZ if it belongs to no country."""
    import phonenumbers  # noqa: PLC0415

    return phonenumbers.region_code_for_number(phonenumbers.parse(mobile)) or "ZZ"


def is_in_regions(mobile: str, regions: frozenset[str]) -> bool:
    """Return whether an E.164 number belongs to one of the regions of `SMS_ALLOWED_REGIONS`; to any if it is empty."""
    return regions in ({ANY_REGION}, frozenset()) or country_of(mobile) in regions


def time_zone_of(mobile: str) -> str | None:
    """Return the normalized time zone of an E.164 number, or None if it is of no country, such as a satellite phone.

    It is the first time zone of the number's country that the number may be in, or else the country's first. A country
    without time zones in `zone.tab`, such as Kosovo, has those of its numbers.
    """
    import phonenumbers  # noqa: PLC0415
    from phonenumbers.timezone import time_zones_for_number  # noqa: PLC0415

    try:
        names = time_zones_for_number(phonenumbers.parse(mobile))
    except phonenumbers.NumberParseException:  # it was stored, and its country code exists no more
        return None
    of_number = [normalize_time_zone(name) for name in names if name != "Etc/Unknown"]
    of_country = time_zones_of_country(country_of(mobile)) or of_number
    return next((zone for zone in of_country if zone in of_number), next(iter(of_country), None))


def all_countries() -> frozenset[str]:
    """Return the ISO 3166 codes of all countries that have phone numbers."""
    import phonenumbers  # noqa: PLC0415

    return frozenset(phonenumbers.SUPPORTED_REGIONS)


def format_international(text: str) -> str:
    """Return a number in international notation, as in +91 90280 00001; text that is no number unchanged."""
    import phonenumbers  # noqa: PLC0415

    try:
        return phonenumbers.format_number(phonenumbers.parse(text), phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    except phonenumbers.NumberParseException:
        return text
