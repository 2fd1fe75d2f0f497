"""A check and its result."""

import difflib
from collections.abc import Iterable
from typing import Literal, NamedTuple

State = Literal["ok", "advice", "wrong"]


class Check(NamedTuple):
    """What was looked at, how it is, and what to do about it."""

    name: str
    state: State
    found: str
    to_do: str = ""


class CheckFailed(Exception):
    """Something that cannot be looked at any further."""

    def __init__(self, check: Check) -> None:
        super().__init__(check.found)
        self.check = check


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Ask whether a name is meant that is nearly the same; answer nothing where none is."""
    written = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), written, 1)
    return f"Did you mean {written[close[0]]}?" if close else ""
