"""SMS encoding and segments: GSM-7 and UCS-2."""

import unicodedata
from typing import NamedTuple

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("\f^{}\\[~]|€")
"""Characters of GSM-7 that take the place of two."""
_PLAINER = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′`´", "'"),
        **dict.fromkeys("“”„‟″«»", '"'),
        **dict.fromkeys("‹›", "'"),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        **dict.fromkeys("\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}\N{HAIR SPACE}\t", " "),
        **dict.fromkeys("\N{SOFT HYPHEN}\N{ZERO WIDTH SPACE}", ""),
        "…": "...",
        "•": "-",
        "·": "-",
    }
)


class SmsText(NamedTuple):
    """A message as it goes out, and the parts that it is sent and billed in."""

    message: str
    segments: int


def encode_sms(message: str) -> SmsText:
    """Write a message in GSM-7 where no letter would be lost; else leave it as it is, in UCS-2."""
    message = unicodedata.normalize("NFC", message)
    plainer = message.translate(_PLAINER)
    if all(character in _BASIC or character in _EXTENDED for character in plainer):
        units = [2 if character in _EXTENDED else 1 for character in plainer]
        return SmsText(plainer, _count_segments(units, 160, 153))
    return SmsText(message, _count_segments([len(character.encode("utf-16-le")) // 2 for character in message], 70, 67))


def _count_segments(units: list[int], alone: int, together: int) -> int:
    """Answer how many parts characters of so many units each take; none is torn in two."""
    if sum(units) <= alone:
        return 1
    parts, free = 1, together
    for unit in units:
        if unit > free:
            parts, free = parts + 1, together
        free -= unit
    return parts
