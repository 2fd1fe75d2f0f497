"""The result of one step of `quoteapi setup` or `quoteapi teardown`."""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

import click

from quoteapi.deploy.checks.check import CheckFailed

State = Literal["ok", "done", "waiting", "skipped", "failed"]
MARKS: dict[State, str] = {
    "ok": click.style("✓", "green"),
    "done": click.style("+", "green", bold=True),
    "waiting": click.style("…", "yellow"),
    "skipped": click.style("-", dim=True),
    "failed": click.style("✗", "red"),
}
"""The mark of each state in front of a line on a terminal."""


class SetupResult(NamedTuple):
    """What a step found or did.

    `ok`: it was right already; `done`: it was created, changed or deleted; `waiting`: something outside must happen
    first, as `to_do` says; `skipped`: it is not wanted; `failed`: it could not be done.
    """

    name: str
    state: State
    found: str
    to_do: str = ""


Step = Callable[[], Iterable[SetupResult]]


def run_steps(steps: Iterable[Step]) -> Iterator[SetupResult]:
    """Run steps in order, and yield their results. A step that fails does not stop the others."""
    for step in steps:
        try:
            yield from step()
        except CheckFailed as error:
            name, _, found, *to_do = error.args
            yield SetupResult(name, "failed", found, *to_do)
