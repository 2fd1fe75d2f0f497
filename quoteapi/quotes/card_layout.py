"""A quote as a picture in SVG, whose lines are broken here, as SVG breaks none.

Nobody knows which font will draw them, so widths are estimated, a little wider than those of common fonts.
"""

import unicodedata
from bisect import bisect
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from quoteapi.quotes.quotation import Quotation

WIDTH = 1200
START, MEASURE = 176, 930
"""Where lines start, and how long they may be, in pixels; what is left beside them is for fonts wider than thought."""
TOP, BOTTOM = 64, 528
"""Between which a quote stands, with who said it."""
SIZES = (*range(104, 32, -2), *range(32, 3, -1))
BREAKING_SIZE = 36
"""Down to which a quote is set smaller, so that no word and no line of verse is broken."""
FOOT_SIZE = 21
NAME_LINES = 2
"""How many lines an author has at most, and a source."""
LONGEST_CLUSTER = 16
REMEMBERED_CARDS = 64
_LINE_COST = 1e9
"""More than all that balancing could win."""
_TALL = (
    *(range(0x300, 0x370), range(0x600, 0x10A0), range(0x1780, 0x1800), range(0x1A20, 0x1CC0)),
    *(range(0x1EA0, 0x1F00), range(0xFB50, 0xFE00)),
)
"""What reaches further up and down than most of Latin does, such as Arabic, Devanagari, Thai and Vietnamese."""


class Block(NamedTuple):
    """Lines of one size, and the room they take."""

    size: int
    lines: list[str]
    gap: float = 0
    """From what stands above, in pixels."""
    rise: float = 0.72
    """How far letters reach above a baseline, in sizes; so are the next two."""
    leading: float = 1.3
    fall: float = 0.25

    @property
    def height(self) -> float:
        """The pixels from the top of the gap to the feet of the last line."""
        if not self.lines:
            return 0
        return self.gap + self.size * (self.rise + self.leading * (len(self.lines) - 1) + self.fall)

    def placed(self, top: float) -> list[tuple[int, str]]:
        """Answer the lines with their baselines."""
        first = top + self.gap + self.size * self.rise
        return [(round(first + self.size * self.leading * place), line) for place, line in enumerate(self.lines)]


def _quote(quotation: Quotation, room: float) -> Block:
    """Set a quote as large as its room lets it be; verse in its own lines."""
    rise, leading, fall = (1.0, 1.62, 0.6) if any(map(_is_tall, quotation.quote)) else (0.72, 1.3, 0.25)
    verses = quotation.lines
    for size in SIZES:
        lines = [line for verse in verses for line in wrap_text(verse, MEASURE / size)]
        block = Block(size, lines, 0, rise, leading, fall)
        if block.height <= room and (size <= BREAKING_SIZE or _is_whole(verses, lines, MEASURE / size)):
            break
    return block


def _is_whole(verses: list[str], lines: list[str], measure: float) -> bool:
    """Whether no word was broken, and no line of verse."""
    words = [word for verse in verses for word in _words(verse)]
    return len(verses) in {1, len(lines)} and all(estimate_width(word.rstrip()) <= measure for word in words)


def _name(text: str, size: int, gap: float) -> Block:
    """Set a name; of one that needs more lines than there are, the end is left out."""
    lines = wrap_text(text, MEASURE / size)
    if len(lines) > NAME_LINES:
        lines = [*lines[: NAME_LINES - 1], f"{lines[NAME_LINES - 1][:-2].rstrip()}…"]
    return Block(size, lines, gap)


def _runs_leftwards(text: str) -> bool:
    """Whether the first letter that has a direction is one of Hebrew, Arabic, or another that is written leftwards."""
    directions = (unicodedata.bidirectional(character) for character in text)
    return next((each for each in directions if each in {"L", "R", "AL"}), "L") != "L"


def _is_tall(character: str) -> bool:
    return any(ord(character) in script for script in _TALL)


def wrap_text(text: str, measure: float) -> list[str]:
    """Break a text into as few lines as will do, and these as even as they get.

    `measure` is the length of a line in sizes of its font. A word that is longer is broken between characters.
    """
    parts = [part for word in _words(text) for part in _broken(word, measure)]
    widths = [(estimate_width(part), estimate_width(part.rstrip())) for part in parts]
    best = [(0.0, 0)]
    """For each number of parts, what their lines cost and where the last of them starts."""
    for end in range(1, len(parts) + 1):
        ways = []
        width = widths[end - 1][1]
        for start in range(end - 1, -1, -1):
            if start < end - 1:
                width += widths[start][0]
                if width > measure:
                    break
            ways.append((best[start][0] + _LINE_COST + (measure - width) ** 2, start))
        best.append(min(ways))
    lines, end = [], len(parts)
    while end:
        start = best[end][1]
        lines.append("".join(parts[start:end]).rstrip())
        end = start
    return lines[::-1]


def _broken(word: str, measure: float) -> Iterator[str]:
    return iter([word]) if estimate_width(word.rstrip()) <= measure else _clusters(word)


@lru_cache(REMEMBERED_CARDS)
def _words(text: str) -> list[str]:
    """Part a text where a line may end; spaces stay with the word before."""
    words: list[str] = []
    for cluster in _clusters(text):
        if words and not _may_break(words[-1], cluster):
            words[-1] += cluster
        else:
            words.append(cluster)
    return words


_CLOSING, _OPENING = {"Pe", "Pf", "Po", "Lm"}, {"Ps", "Pi"}
_SMALL_KANA = "ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ"


def _may_break(before: str, after: str) -> bool:
    """Whether a line may end with `before`, and the next begin with `after`."""
    last, following = before[-1], after[0]
    if following == " ":
        return False
    if last == " ":  # French sets spaces within quotation marks, and before some others
        return before[-2:-1] not in tuple("«‹") and following not in "»›!?:;–—"  # noqa: RUF001
    if last in "-‐–—/":  # noqa: RUF001
        return len(before) > 1 and following.isalpha()
    if not (_is_ideograph(last) or _is_ideograph(following)):
        return False
    return (
        unicodedata.category(last) not in _OPENING
        and unicodedata.category(following) not in _CLOSING
        and following not in _SMALL_KANA
    )


def _is_ideograph(character: str) -> bool:
    """Whether it needs no spaces around it; Korean is written with them."""
    return unicodedata.east_asian_width(character) in {"W", "F"} and not "가" <= character <= "힣"


def _clusters(text: str) -> Iterator[str]:
    """Part a text into what readers take for characters, roughly: letters with marks, emoji that are joined."""
    cluster = ""
    for character in text:
        if cluster and (len(cluster) >= LONGEST_CLUSTER or not _belongs(cluster, character)):
            yield cluster
            cluster = ""
        cluster += character
    if cluster:
        yield cluster


_JOINER = "\u200d"
_LEADING_VOWELS = "เแโใไເແໂໃໄ"
_TRAILING_VOWELS = "ำຳ"
_VIRAMA = 9


def _belongs(cluster: str, character: str) -> bool:
    """Whether a character goes on with what came before."""
    last = cluster[-1]
    if character == " ":
        return False
    return (
        unicodedata.category(character) in {"Mn", "Mc", "Me", "Cf"}
        or last == _JOINER
        or last in _LEADING_VOWELS
        or character in _TRAILING_VOWELS
        or (unicodedata.combining(last) == _VIRAMA and character.isalpha())
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or ("\U0001f1e6" <= character <= "\U0001f1ff" and "\U0001f1e6" <= cluster <= "\U0001f1ff")
        or "\u1160" <= character <= "\u11ff"
    )


_WIDTHS = {
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
_BY_SCRIPT = (
    *((0x0, 0.62), (0x250, 0.72), (0x590, 0.6), (0x900, 0.72), (0xB80, 1.2), (0xC00, 0.95), (0xD00, 1.2)),
    *((0xE00, 0.72), (0x1000, 1.0), (0x10A0, 0.9), (0x1780, 1.0), (0x1E00, 0.8), (0x2000, 1.0)),
    *((0x10000, 1.1), (0x12000, 2.4), (0x12550, 1.2)),
)
"""From which code on letters are how wide."""


def estimate_width(text: str) -> float:
    """Estimate the width of a text, in sizes of its font."""
    return sum(map(_width, text))


@lru_cache(2_048)
def _width(character: str) -> float:
    category = unicodedata.category(character)
    if character in _WIDTHS:
        return _WIDTHS[character]
    if category in {"Mn", "Me", "Cf"}:
        return 0
    if category in {"So", "Sk"}:
        return 1.4
    if unicodedata.east_asian_width(character) in {"W", "F"}:
        return 1.05
    parts = unicodedata.normalize("NFKD", character)
    if parts != character:
        return estimate_width(parts)
    width = _BY_SCRIPT[bisect(_BY_SCRIPT, (ord(character), 9.0)) - 1][1]
    return width * (1.2 if category == "Lu" else 0.7 if category == "Mc" else 1)
