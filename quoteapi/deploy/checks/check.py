"""The result of one check of `quoteapi doctor`."""

import shlex
from collections.abc import Iterator
from pathlib import Path
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


def check_file_mode(path: Path) -> Iterator[Check]:
    """Yield advice if a file exists that its group or all users of this machine can read or change."""
    if path.is_file() and path.stat().st_mode & 0o066:
        found = f"other users of this machine can read or change {path}"
        yield Check("file mode", "advice", found, f"Run `chmod 600 {shlex.quote(str(path))}`.")
