"""Questions that suggest the right name for a misspelt one."""

import re
from collections.abc import Iterable, Sequence

SUGGESTION_CUTOFF = 0.6
"""The similarity, from 0 to 1, from which on a name is worth a suggestion."""


def did_you_mean(name: str, known: Iterable[str], cutoff: float = SUGGESTION_CUTOFF) -> str:
    """Return a question that suggests the known name closest to a misspelt one, or an empty string.

    Case and punctuation do not count. Names with the same letters are close, others from the similarity `cutoff` on.
    """
    import difflib  # noqa: PLC0415 imported late, to keep cold starts fast

    by_key = {name_key(other): other for other in known}
    key = name_key(name)
    same_letters = [other for other in by_key if sorted(other) == sorted(key)]
    close = same_letters or difflib.get_close_matches(key, by_key, 1, cutoff)
    return ask([by_key[close[0]]]) if close else ""


def ask(names: Sequence[str]) -> str:
    """Return the question whether one of these names was meant; an empty string without names."""
    *others, last = names or [""]
    return f"Did you mean {', '.join(others)}{' or ' if others else ''}{last}?" if last else ""


def name_key(name: str) -> str:
    """Return a name in lower case without punctuation, by which ways to write it are equal."""
    return re.sub(r"[\W_]", "", name.casefold())
