"""The result of one check of `quoteapi doctor`."""

import difflib
from collections.abc import Iterable
from typing import Literal, NamedTuple

State = Literal["ok", "advice", "wrong"]


class Check(NamedTuple):
    """What was checked, the result, what was found, and how to fix it."""

    name: str
    state: State
    found: str
    to_do: str = ""


class CheckFailed(Exception):
    """A failed check: those that depend on it are skipped. The arguments are the fields of `Check`."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question that suggests the known name closest to a misspelled one, or an empty string."""
    by_casefold = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), by_casefold, 1)
    return f"Did you mean {by_casefold[close[0]]}?" if close else ""
