"""`python -m tests.rehearsal [STAGE ...]`: rehearse the named stages, or all, and show the results as a table."""

import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from threading import Lock

from tests.helpers import postgresql_server
from tests.rehearsal.runner import STEPS, Step, rehearse
from tests.rehearsal.stages import STAGES, Stage

CONCURRENT_STAGES = 2
STEP_NAMES = tuple(step.__name__ for step in STEPS)
GREEN, RED, FAINT, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[0m"
FIRST_COLUMN_WIDTH = 10
TABLE_WIDTH = FIRST_COLUMN_WIDTH + sum(len(name) + 1 for name in STEP_NAMES) + 6


class Table:
    """A table with a row a stage and a mark a step. A terminal shows marks at once; other outputs get finished rows."""

    def __init__(self, stages: Iterable[Stage]) -> None:
        self._rows: dict[str, list[Step]] = {stage.name: [] for stage in stages}
        self._seconds: dict[str, float] = {}
        self._is_live = sys.stdout.isatty() and shutil.get_terminal_size().columns > TABLE_WIDTH
        self._lock = Lock()
        self._write(f"{'stage':<{FIRST_COLUMN_WIDTH}}{' '.join(STEP_NAMES)}\n")
        if self._is_live:
            self._write("".join(f"{self._row(name)}\n" for name in self._rows))

    def add(self, stage: Stage, step: Step) -> None:
        """Show the result of a step."""
        with self._lock:
            self._rows[stage.name].append(step)
            self._show(stage.name)

    def end(self, stage: Stage, seconds: float) -> None:
        """Show that a stage is finished, and how many seconds it took."""
        with self._lock:
            self._seconds[stage.name] = seconds
            if self._is_live:
                self._show(stage.name)
            else:
                self._write(f"{self._row(stage.name)}\n")

    def errors(self) -> list[str]:
        """Return the errors of all steps as lines of text."""
        return [
            f"{name}, {step.name}: {step.error}" for name, steps in self._rows.items() for step in steps if step.error
        ]

    def notes(self) -> list[str]:
        """Return what the steps found as lines of text, each with the stages where it was found."""
        stages = defaultdict[str, list[str]](list)
        for name, steps in self._rows.items():
            for note in chain.from_iterable(step.notes for step in steps):
                stages[note].append(name)
        return [f"{note} ({', '.join(names)})" for note, names in stages.items()]

    def _show(self, name: str) -> None:
        if self._is_live:
            up = len(self._rows) - list(self._rows).index(name)
            self._write(f"\x1b[{up}A\r{self._row(name)}\x1b[K\x1b[{up}B\r")

    def _row(self, name: str) -> str:
        marks = {step.name: self._mark(step) for step in self._rows[name]}
        cells = (
            f"{' ' * ((len(each) - 1) // 2)}{marks.get(each, ' ')}{' ' * (len(each) // 2 + 1)}" for each in STEP_NAMES
        )
        seconds = f"{self._seconds[name]:4.0f} s" if name in self._seconds else ""
        return f"{name:<{FIRST_COLUMN_WIDTH}}{''.join(cells)}{seconds}"

    def _mark(self, step: Step) -> str:
        color, mark = (RED, "✗") if step.error else (GREEN, "✓") if step.is_done else (FAINT, "–")
        return f"{color}{mark}{PLAIN}" if self._is_live else mark

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _rehearse(stage: Stage, table: Table) -> None:
    started_at = time.monotonic()
    try:
        for step in rehearse(stage):
            table.add(stage, step)
    except Exception as error:  # noqa: BLE001 it is reported at the end, with the rest
        table.add(stage, Step("setting up", is_done=True, error=f"{type(error).__name__}: {error}"))
    table.end(stage, time.monotonic() - started_at)


def main() -> None:
    """Rehearse, two stages at a time. Exits with 1 if a step failed."""
    if unknown := [name for name in sys.argv[1:] if name not in STAGES]:
        sys.exit(f"There is no stage {', '.join(unknown)}. There are: {', '.join(STAGES)}.")
    stages = [STAGES[name] for name in sys.argv[1:] or STAGES]
    with postgresql_server.run_server() as address, ThreadPoolExecutor(CONCURRENT_STAGES) as threads:
        os.environ[postgresql_server.URL_VARIABLE] = address
        table = Table(stages)
        for future in [threads.submit(_rehearse, stage, table) for stage in stages]:
            future.result()
    if notes := table.notes():
        sys.stdout.write("\n".join(("\nPermissions that no call of the function shows:", *notes, "")))
    if errors := table.errors():
        sys.exit("\n" + "\n\n".join(errors))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        os._exit(130)  # at once, without waiting for the running stages
