"""Text of files, of the network, of the environment or of a database, made safe to print."""

import re

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""C0 and C1 control characters, changes of the writing direction, line separators, and halves of characters.

On a terminal or in a log they move the cursor, set its title, forge lines, or show text in another order.
"""


def printable(text: str, *, keep: str = "") -> str:
    r"""Return a text with each unprintable character escaped as Python does, for example `\x1b`; `keep` are left."""
    return _UNPRINTABLE.sub(lambda match: match[0] if match[0] in keep else repr(match[0])[1:-1], text)


def counted(number: int, noun: str) -> str:
    """Return a number and a noun, in the plural with -s unless the number is 1, for example "2 segments"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def printable_json(document: str) -> str:
    r"""Return a JSON document with the unprintable characters of its strings escaped, for example `\u001b`."""
    return _UNPRINTABLE.sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", document)


def is_printable(text: str) -> bool:
    """Return whether `printable` would change nothing."""
    return _UNPRINTABLE.search(text) is None
