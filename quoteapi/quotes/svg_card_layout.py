"""Layout of a quote as an SVG card: its font size, and the position of each line.

Lengths are in pixels, unless they are in em (1 is the font size).
"""

import unicodedata
from typing import NamedTuple

from quoteapi.quotes.line_breaking import break_lines, estimate_width, split_words
from quoteapi.quotes.quotation import Quotation

WIDTH = 1200
MARGIN, MAX_LINE_WIDTH = 176, 930
"""Where lines start, and their maximum estimated width; the rest is spare, for fonts wider than estimated."""
TOP, BOTTOM = 64, 528
"""The y coordinates between which quote, author and source are placed."""
FONT_SIZES = (*range(104, 32, -2), *range(32, 3, -1))
MIN_UNBROKEN_FONT_SIZE = 36
"""The smallest font that is chosen to keep words and lines of verse whole; in smaller ones they may be broken."""
FOOTER_FONT_SIZE = 21
MAX_NAME_LINES = 2
"""The maximum number of lines of an author, and of a source."""
_TALL_SCRIPTS = (
    *(range(0x300, 0x370), range(0x600, 0x10A0), range(0x1780, 0x1800), range(0x1A20, 0x1CC0)),
    *(range(0x1EA0, 0x1F00), range(0xFB50, 0xFE00)),
)
"""Scripts taller than most of Latin, such as Arabic, Devanagari, Thai and Vietnamese."""


class TextBlock(NamedTuple):
    """Lines of one font size. `gap` is the space above them; ascent, line height and descent are in em."""

    font_size: int
    lines: list[str]
    gap: float = 0
    ascent: float = 0.72
    line_height: float = 1.3
    descent: float = 0.25

    @property
    def height(self) -> float:
        """The height with the gap; 0 without lines."""
        if not self.lines:
            return 0
        return self.gap + self.font_size * (self.ascent + self.line_height * (len(self.lines) - 1) + self.descent)

    def baselines(self, top: float) -> list[tuple[int, str]]:
        """Return the lines, each with the y coordinate of its baseline."""
        first = top + self.gap + self.font_size * self.ascent
        spacing = self.font_size * self.line_height
        return [(round(first + spacing * index), line) for index, line in enumerate(self.lines)]


def layout_quote(quotation: Quotation, max_height: float) -> TextBlock:
    """Lay out a quote in the largest font in which it fits; lines of verse stay whole if possible."""
    is_tall = any(ord(character) in script for character in quotation.quote for script in _TALL_SCRIPTS)
    metrics = (1.0, 1.62, 0.6) if is_tall else (0.72, 1.3, 0.25)
    for font_size in FONT_SIZES:
        max_width = MAX_LINE_WIDTH / font_size
        lines = [line for verse in quotation.lines for line in break_lines(verse, max_width)]
        block = TextBlock(font_size, lines, 0, *metrics)
        may_break = font_size <= MIN_UNBROKEN_FONT_SIZE
        if block.height <= max_height and (may_break or _is_unbroken(quotation.lines, lines, max_width)):
            break
    return block


def _is_unbroken(verses: list[str], lines: list[str], max_width: float) -> bool:
    """Return whether no word and no line of verse is broken."""
    words = [word for verse in verses for word in split_words(verse)]
    return len(verses) in {1, len(lines)} and all(estimate_width(word.rstrip()) <= max_width for word in words)


def layout_name(text: str, font_size: int, gap: float) -> TextBlock:
    """Lay out an author or a source; an ellipsis replaces what exceeds `MAX_NAME_LINES`."""
    lines = break_lines(text, MAX_LINE_WIDTH / font_size)
    if len(lines) > MAX_NAME_LINES:
        lines = [*lines[: MAX_NAME_LINES - 1], f"{lines[MAX_NAME_LINES - 1][:-2].rstrip()}…"]
    return TextBlock(font_size, lines, gap)


def is_right_to_left(text: str) -> bool:
    """Return whether the first letter with a direction is right-to-left (UAX #9, rules P2 and P3)."""
    directions = (unicodedata.bidirectional(character) for character in text)
    return next((direction for direction in directions if direction in {"L", "R", "AL"}), "L") != "L"
