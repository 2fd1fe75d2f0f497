"""A quotation, and the validation of what may be stored."""

import unicodedata
from collections.abc import Mapping
from typing import NamedTuple

from quoteapi.storage.full_text_search import comparison_key
from quoteapi.storage.models import Quote

MAX_QUOTE_LENGTH = 320
MAX_NAME_LENGTH = 100
MAX_SOURCE_LENGTH = 200
MOST_LETTERS = 4
"""So many letters a character may stand for on average."""


class InvalidQuotation(Exception):
    """A quote that cannot be stored; the message says why."""


class Quotation(NamedTuple):
    """A quote as it is shown: text, author and category, and its source where it is known."""

    quote: str
    author: str
    category: str
    source: str = ""

    @property
    def lines(self) -> list[str]:
        """The lines of verse, which a quote has " / " between; of prose, one."""
        return self.quote.split(" / ")


# Characters that nobody sees but that make texts differ or turn their order round: soft hyphen, zero width
# space, word joiner, byte order mark, and the marks of writing direction; and the two numbers of no character that XML
# refuses. (Joiners are letters' business.)
_INVISIBLE = dict.fromkeys(
    [
        *(0xAD, 0x61C, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, 0xFFFE, 0xFFFF),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    ]
)


def validate_quotation(fields: Mapping[str, object]) -> Quotation:
    """Make a quotation of `quote`, `author`, `category` and `source` (which may be left out).

    White space is evened out and invisible characters are dropped. Raises `InvalidQuotation`, which names the field.
    """
    source = fields.get("source")
    return Quotation(
        _valid_text("quote", fields.get("quote"), MAX_QUOTE_LENGTH),
        _valid_text("author", fields.get("author"), MAX_NAME_LENGTH),
        _valid_text("category", fields.get("category"), MAX_NAME_LENGTH),
        _valid_text("source", "" if source is None else source, MAX_SOURCE_LENGTH, may_be_empty=True),
    )


def _valid_text(name: str, value: object, most: int, *, may_be_empty: bool = False) -> str:
    if not isinstance(value, str):
        raise InvalidQuotation(f"{name} is missing" if value is None else f"{name} is not text")
    if len(value) > 10 * most:  # before any work: putting marks in order takes the square of their number
        raise InvalidQuotation(f"{name} has {len(value)} characters; at most {most} fit")
    text = " ".join(unicodedata.normalize("NFC", value).translate(_INVISIBLE).split())
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        raise InvalidQuotation(f"{name} has characters that are not text")
    if not (may_be_empty or comparison_key(text)):
        raise InvalidQuotation(f"{name} is empty")
    if len(text) > most:
        raise InvalidQuotation(f"{name} has {len(text)} characters; at most {most} fit")
    if len(comparison_key(text)) > MOST_LETTERS * most:  # more than an index of PostgreSQL takes
        raise InvalidQuotation(f"{name} has characters that stand for whole words")
    return text


def quotation_from_row(row: Quote) -> Quotation:
    """Answer the quotation that a row holds."""
    return Quotation(row.quote, row.author, row.category, row.source)


QUOTATION_COLUMNS = (Quote.quote, Quote.author, Quote.category, Quote.source)
