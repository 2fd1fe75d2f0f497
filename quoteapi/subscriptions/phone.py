"""Phone numbers: parsed at the edge, and in E.164 form (as in +919028000001) everywhere else.

The numbering plans are those of `phonenumberslite`, which is imported on first use to keep cold starts short.
"""

import re
import unicodedata

MOBILE_HINT = "Send mobile as an international number, for example +919028000001."
_MAX_LENGTH = 64
_PHONE_NUMBER = re.compile(r"[ (]*\+?[\d ().\-/]+")


class InvalidMobile(Exception):
    """Not the number of a mobile phone; the message says why, and never has the number."""


def parse_mobile(text: str) -> str:
    """Return the E.164 form of a mobile number in any notation. Raises `InvalidMobile`.

    The country code is required; `+` or `00` before it is not.
    """
    if not text.strip():
        raise InvalidMobile("The mobile number is missing.")
    normalized = _to_ascii(text)
    if not _PHONE_NUMBER.fullmatch(normalized) or not any(map(str.isdigit, normalized)):
        raise InvalidMobile("This is not a phone number.")
    import phonenumbers  # noqa: PLC0415

    international = "+" + re.sub(r"\D", "", normalized).removeprefix("00")
    try:
        number = phonenumbers.parse(international)
    except phonenumbers.NumberParseException as error:
        raise InvalidMobile("This is not an international phone number.") from error
    if not phonenumbers.is_possible_number(number):
        raise InvalidMobile("No phone number of its country has this length. Is the country code missing?")
    mobile_types = phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE
    if phonenumbers.number_type(number) not in mobile_types:
        raise InvalidMobile("This is not the number of a mobile phone in its country.")
    if phonenumbers.region_code_for_number(number) == "001":
        raise InvalidMobile("No SMS go to numbers that belong to no country, such as those of satellite phones.")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def country_of(mobile: str) -> str:
    """Return the ISO 3166 country code of an E.164 number; ZZ if it belongs to no country."""
    import phonenumbers  # noqa: PLC0415

    return phonenumbers.region_code_for_number(phonenumbers.parse(mobile)) or "ZZ"


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


def _to_ascii(text: str) -> str:
    """Return text with digits, spaces and dashes of any script as ASCII; "" if too long for a number."""
    if len(text) > _MAX_LENGTH:
        return ""
    characters = []
    for character in unicodedata.normalize("NFKC", text):
        category = unicodedata.category(character)
        if category == "Nd":
            characters.append(str(unicodedata.decimal(character)))
        elif category == "Pd" or character == "\N{MINUS SIGN}":
            characters.append("-")
        elif category != "Cf":  # such as the direction marks that come with a copied number
            characters.append(" " if character.isspace() else character)
    return "".join(characters).strip()
