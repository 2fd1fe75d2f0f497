"""A quotation, and the validation of quotations before they are stored."""

import unicodedata
from collections.abc import Mapping

from quoteapi.storage.catalogue import Quotation as Quotation  # noqa: PLC0414 its callers import it from here
from quoteapi.storage.full_text_search import comparison_key

MAX_QUOTE_LENGTH = 320
MAX_NAME_LENGTH = 100
_MAX_LENGTHS = {"quote": MAX_QUOTE_LENGTH, "author": MAX_NAME_LENGTH, "category": MAX_NAME_LENGTH, "source": 200}
MAX_KEY_EXPANSION = 4
"""The maximum length of a comparison key, as a multiple of the maximum length of its text."""


class InvalidQuotation(Exception):
    """A quote that cannot be stored; the message says why."""


_BIDI_CONTROLS = (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_INVISIBLE = dict.fromkeys((0xAD, 0x200B, 0x2060, 0xFEFF, 0xFFFE, 0xFFFF, *_BIDI_CONTROLS))
"""Removed: soft hyphen, zero width space, word joiner, byte order mark, two noncharacters that XML forbids, and changes
of the direction of writing. Zero width joiners are kept, as some scripts need them."""


def validate_quotation(fields: Mapping[str, object]) -> Quotation:
    """Validate the fields `quote`, `author`, `category` and, optionally, `source`. Return the quotation.

    White space is collapsed and invisible characters are removed. Raises `InvalidQuotation`, which names the field.
    """
    fields = {**fields, "source": "" if fields.get("source") is None else fields["source"]}
    return Quotation(*(_validate_text(name, fields.get(name), limit) for name, limit in _MAX_LENGTHS.items()))


def _validate_text(name: str, value: object, max_length: int) -> str:
    if not isinstance(value, str):
        raise InvalidQuotation(f"{name} is missing" if value is None else f"{name} is not text")
    if len(value) > 10 * max_length:  # first: to normalize combining marks takes quadratic time
        raise InvalidQuotation(f"{name} has {len(value)} characters; the maximum is {max_length}")
    text = " ".join(unicodedata.normalize("NFC", value).translate(_INVISIBLE).split())
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        raise InvalidQuotation(f"{name} has control characters or invalid Unicode")
    if name != "source" and not comparison_key(text):
        raise InvalidQuotation(f"{name} is empty")
    if len(text) > max_length:
        raise InvalidQuotation(f"{name} has {len(text)} characters; the maximum is {max_length}")
    if len(comparison_key(text)) > MAX_KEY_EXPANSION * max_length:  # an index of PostgreSQL limits its size
        raise InvalidQuotation(f"{name} is too long after Unicode normalization")
    return text
