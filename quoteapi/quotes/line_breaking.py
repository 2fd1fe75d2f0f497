"""Line breaking, because SVG does not wrap text: breaks a text into lines of a maximum width.

Follows the essentials of Unicode line breaking (UAX #14) and grapheme clusters (UAX #29). The font that will draw the
text is unknown, so widths are estimates, a little wider than in common fonts. The unit of width is the em: 1 is the
font size.
"""

import unicodedata
from bisect import bisect
from collections.abc import Callable, Iterable
from functools import lru_cache

MAX_CLUSTER_LENGTH = 16
_COST_PER_LINE = 1e9
"""So high that fewer lines always cost less than more lines, however uneven they are."""


def break_lines(text: str, max_width: float) -> list[str]:
    """Return the lines of a text: as few as possible, and as even as possible.

    A word that is wider than `max_width` is broken between grapheme clusters.
    """
    parts: list[str] = []
    for word in split_words(text):
        parts += [word] if estimate_width(word.rstrip()) <= max_width else _grapheme_clusters(word)
    widths = [(estimate_width(part), estimate_width(part.rstrip())) for part in parts]
    best = [(0.0, 0)]
    """For each number of parts: the least cost of breaking them into lines, and the first part of the last line."""
    for end in range(1, len(parts) + 1):
        candidates = []
        width = widths[end - 1][1]
        for start in range(end - 1, -1, -1):
            if start < end - 1:
                width += widths[start][0]
                if width > max_width:
                    break
            candidates.append((best[start][0] + _COST_PER_LINE + (max_width - width) ** 2, start))
        best.append(min(candidates))
    lines, end = [], len(parts)
    while end:
        start = best[end][1]
        lines.append("".join(parts[start:end]).rstrip())
        end = start
    return lines[::-1]


@lru_cache(64)
def split_words(text: str) -> list[str]:
    """Split a text at its break opportunities; spaces stay with the word before them."""
    return _merge(_grapheme_clusters(text), lambda word, cluster: not _can_break_between(word, cluster))


def _merge(parts: Iterable[str], belong_together: Callable[[str, str], bool]) -> list[str]:
    """Join each part to the merged part before it if the two belong together."""
    merged: list[str] = []
    for part in parts:
        if merged and belong_together(merged[-1], part):
            merged[-1] += part
        else:
            merged.append(part)
    return merged


_CLOSING_CATEGORIES, _OPENING_CATEGORIES = {"Pe", "Pf", "Po", "Lm"}, {"Ps", "Pi"}
_SMALL_KANA = "ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ"


def _can_break_between(before: str, after: str) -> bool:
    last, first = before[-1], after[0]
    if first == " ":
        return False
    if last == " ":  # French has spaces inside quotation marks, and before some punctuation
        return before[-2:-1] not in tuple("«‹") and first not in "»›!?:;–—"  # noqa: RUF001
    if last in "-‐–—/":  # noqa: RUF001
        return len(before) > 1 and first.isalpha()
    if not (_is_ideographic(last) or _is_ideographic(first)):
        return False
    return (
        unicodedata.category(last) not in _OPENING_CATEGORIES
        and unicodedata.category(first) not in _CLOSING_CATEGORIES
        and first not in _SMALL_KANA
    )


def _is_ideographic(character: str) -> bool:
    """Return whether a character is of a script without spaces between words (Chinese, not Korean)."""
    return unicodedata.east_asian_width(character) in {"W", "F"} and not "가" <= character <= "힣"


def _grapheme_clusters(text: str) -> list[str]:
    """Return approximately the grapheme clusters of a text: letters with their marks, joined emoji."""
    return _merge(text, _extends_cluster)


_ZERO_WIDTH_JOINER = "\u200d"
_LEADING_VOWELS = "เแโใไເແໂໃໄ"
_TRAILING_VOWELS = "ำຳ"
_VIRAMA_COMBINING_CLASS = 9


def _extends_cluster(cluster: str, character: str) -> bool:
    last = cluster[-1]
    return (
        len(cluster) < MAX_CLUSTER_LENGTH
        and character != " "
        and (
            unicodedata.category(character) in {"Mn", "Mc", "Me", "Cf"}
            or last == _ZERO_WIDTH_JOINER
            or last in _LEADING_VOWELS
            or character in _TRAILING_VOWELS
            or (unicodedata.combining(last) == _VIRAMA_COMBINING_CLASS and character.isalpha())
            or "\U0001f3fb" <= character <= "\U0001f3ff"  # skin tones
            or ("\U0001f1e6" <= character <= "\U0001f1ff" and "\U0001f1e6" <= cluster <= "\U0001f1ff")  # flags
            or "\u1160" <= character <= "\u11ff"  # vowels and final consonants of Korean
        )
    )


_CHARACTER_WIDTHS = {
    character: width
    for width, characters in (
        (0.31, " .,:;'’‘ijl|·"),  # noqa: RUF001
        (0.38, "!()[]{}/-‐ftIJ"),  # noqa: RUF001
        (0.5, 'crsz?"“”„«»*–'),  # noqa: RUF001
        (0.88, "w&%"),
        (0.96, "mM@"),
        (1.06, "W—…"),
        (2.1, "⸺"),
        (3.1, "⸻"),
        (7.3, "\ufdfd"),
    )
    for character in characters
}
_CATEGORY_WIDTHS = {"Mn": 0.0, "Me": 0.0, "Cf": 0.0, "So": 1.4, "Sk": 1.4}
_SCRIPT_WIDTHS = (
    *((0x0, 0.62), (0x250, 0.72), (0x590, 0.6), (0x900, 0.72), (0xB80, 1.2), (0xC00, 0.95), (0xD00, 1.2)),
    # A Thai or Lao letter is about 0.6 wide in common fonts. On systems without such a font, each mark above or below a
    # letter is drawn as a box beside it.
    *((0xE00, 0.8), (0x1000, 1.0), (0x10A0, 0.9), (0x1780, 1.0), (0x1E00, 0.8), (0x2000, 1.0)),
    *((0x10000, 1.1), (0x12000, 2.4), (0x12550, 1.2)),
)
"""The first code point of each range, and the width of a letter in the range in em."""


def estimate_width(text: str) -> float:
    """Return the estimated width of a text in em."""
    return sum(map(_character_width, text))


@lru_cache(2_048)
def _character_width(character: str) -> float:
    category = unicodedata.category(character)
    known_width = _CHARACTER_WIDTHS.get(character, _CATEGORY_WIDTHS.get(category))
    if known_width is not None:
        return known_width
    if unicodedata.east_asian_width(character) in {"W", "F"}:
        return 1.05
    decomposed = unicodedata.normalize("NFKD", character)
    if decomposed != character:
        return estimate_width(decomposed)
    width = _SCRIPT_WIDTHS[bisect(_SCRIPT_WIDTHS, (ord(character), 9.0)) - 1][1]
    return width * (1.2 if category == "Lu" else 0.7 if category == "Mc" else 1)
