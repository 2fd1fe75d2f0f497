"""Phone numbers: read once, at the edge, and from then on in the form of E.164, as in +919028000001.

Numbering plans are those of `phonenumberslite`, which is loaded with the first number: nothing for a cold start.
"""

import re
import unicodedata

MOBILE_HINT = "Send mobile as an international number, for example +919028000001."
_MAX_LENGTH = 64
_WRITTEN = re.compile(r"[ (]*\+?[\d ().\-/]+")


class InvalidMobile(Exception):
    """Not the number of a mobile phone; the message says what is wrong, and never has the number."""


def parse_mobile(text: str) -> str:
    """Read the number of a mobile phone, however it is written: answer its E.164 form.

    The country code is needed; `+` or `00` in front of it is not. Raises `InvalidMobile`.
    """
    if not text.strip():
        raise InvalidMobile("The mobile number is missing.")
    written = _plain(text)
    if not _WRITTEN.fullmatch(written) or sum(map(str.isdigit, written)) == 0:
        raise InvalidMobile("This is not a phone number.")
    import phonenumbers  # noqa: PLC0415

    international = "+" + re.sub(r"\D", "", written).removeprefix("00")
    try:
        number = phonenumbers.parse(international)
    except phonenumbers.NumberParseException as error:
        raise InvalidMobile("This is not an international phone number.") from error
    if not phonenumbers.is_possible_number(number):
        raise InvalidMobile("No phone number of its country has this length. Is the country code missing?")
    mobile = phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE
    if phonenumbers.number_type(number) not in mobile:
        raise InvalidMobile("This is not the number of a mobile phone in its country.")
    if phonenumbers.region_code_for_number(number) == "001":
        raise InvalidMobile("No SMS go to numbers that belong to no country, such as those of satellite phones.")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def country_of(mobile: str) -> str:
    """Answer the country of a number that `parse_mobile` answered, as in IN or US."""
    import phonenumbers  # noqa: PLC0415

    return phonenumbers.region_code_for_number(phonenumbers.parse(mobile)) or "ZZ"


def all_countries() -> frozenset[str]:
    """Answer the countries that have phone numbers, as in IN or US."""
    import phonenumbers  # noqa: PLC0415

    return frozenset(phonenumbers.SUPPORTED_REGIONS)


def format_international(text: str) -> str:
    """Answer a number as people of its country write it, as in +91 90280 00001; what is none, as it is."""
    import phonenumbers  # noqa: PLC0415

    try:
        return phonenumbers.format_number(phonenumbers.parse(text), phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    except phonenumbers.NumberParseException:
        return text


def _plain(text: str) -> str:
    """Answer a number as written, with digits, spaces and dashes of every script as those of ASCII."""
    if len(text) > _MAX_LENGTH:
        return ""
    plain = []
    for character in unicodedata.normalize("NFKC", text):
        kind = unicodedata.category(character)
        if kind == "Nd":
            plain.append(str(unicodedata.decimal(character)))
        elif kind == "Pd" or character == "\N{MINUS SIGN}":
            plain.append("-")
        elif kind != "Cf":  # the marks of writing direction that come with a copied number
            plain.append(" " if character.isspace() else character)
    return "".join(plain).strip()
