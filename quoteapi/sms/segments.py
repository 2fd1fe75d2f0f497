"""SMS encodings and segments: GSM-7 and UCS-2 (3GPP TS 23.038 and 23.040)."""

import re
import unicodedata
from typing import NamedTuple

_GSM_7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_7_EXTENSION = frozenset("\f^{}\\[~]|€")
"""Characters that take two septets."""
_TO_PLAIN_PUNCTUATION = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′`´‹›ʼʻʿʾ", "'"),
        **dict.fromkeys("“”„‟″«»", '"'),
        **dict.fromkeys("‐‑‒–—―−•·", "-"),
        **dict.fromkeys("\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}\N{HAIR SPACE}\t", " "),
        **dict.fromkeys("\N{SOFT HYPHEN}\N{ZERO WIDTH SPACE}", ""),
        "…": "...",
    }
)
_TO_BASE_LETTERS = str.maketrans(
    {
        **dict(zip("ĐđÐðĦħıŁłſŦŧ", "DdDdHhiLlsTt", strict=True)),
        "Œ": "OE",
        "œ": "oe",
        "Þ": "Th",
        "þ": "th",
        "ẞ": "SS",
        "ﬀ": "ff",
        "ﬁ": "fi",
        "ﬂ": "fl",
        "ﬃ": "ffi",
        "ﬄ": "ffl",
    }
)
"""Latin letters that have no canonical decomposition into a base letter and marks."""
_MARKS_OF_LATIN_LETTERS = re.compile("(?<=[A-Za-z])[\u0300-\u036f]+")


class SmsText(NamedTuple):
    """The text of an SMS as it is sent, and its number of segments, each of which is billed."""

    message: str
    segments: int


def encode_sms(message: str) -> SmsText:
    """Return the text of an SMS, in plain punctuation and base letters if it then fits GSM-7; else unchanged."""
    message = unicodedata.normalize("NFC", message)
    plain = _fold_letters(message.translate(_TO_PLAIN_PUNCTUATION))
    if set(plain) <= _GSM_7 | _GSM_7_EXTENSION:
        septets = [2 if character in _GSM_7_EXTENSION else 1 for character in plain]
        return SmsText(plain, _count_segments(septets, 160, 153))
    code_units = [len(character.encode("utf-16-le")) // 2 for character in message]
    return SmsText(message, _count_segments(code_units, 70, 67))


def _fold_letters(text: str) -> str:
    """Replace Latin letters that GSM-7 does not have by their base letters: ō by o, ł by l, œ by oe.

    Other scripts keep their marks, which can be letters there. Compatibility decompositions are not used: ² is not 2.
    """
    decomposed = [
        letter if letter in _GSM_7 else unicodedata.normalize("NFD", letter)
        for letter in text.translate(_TO_BASE_LETTERS)
    ]
    return _MARKS_OF_LATIN_LETTERS.sub("", "".join(decomposed))


def _count_segments(sizes: list[int], single: int, concatenated: int) -> int:
    """Return how many segments characters of these sizes need; no character is split between segments."""
    if sum(sizes) <= single:
        return 1
    segments, free = 1, concatenated
    for size in sizes:
        if size > free:
            segments, free = segments + 1, concatenated
        free -= size
    return segments
