"""`python -m tests.rehearsal [STAGE ...]`: rehearse stages, all if none is named, and show a table that grows."""

import os
import shutil
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from tests.helpers import postgresql_server
from tests.rehearsal.stages import STAGES, Stage
from tests.rehearsal.steps import STEPS, Step, rehearse

AT_ONCE = 2
NAMES = tuple(step.__name__ for step in STEPS)
GREEN, RED, FAINT, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[0m"
FIRST = 10
WIDTH = FIRST + sum(len(name) + 1 for name in NAMES) + 6


class Table:
    """A row a stage, a mark a step; on a terminal the marks come one by one, elsewhere a row when it is whole."""

    def __init__(self, stages: Iterable[Stage]) -> None:
        self._rows: dict[str, list[Step]] = {stage.name: [] for stage in stages}
        self._seconds: dict[str, float] = {}
        self._is_live = sys.stdout.isatty() and shutil.get_terminal_size().columns > WIDTH
        self._lock = Lock()
        self._write(f"{'stage':<{FIRST}}{' '.join(NAMES)}\n")
        if self._is_live:
            self._write("".join(f"{self._row(name)}\n" for name in self._rows))

    def add(self, stage: Stage, step: Step) -> None:
        """Show what became of a step."""
        with self._lock:
            self._rows[stage.name].append(step)
            self._show(stage.name)

    def end(self, stage: Stage, seconds: float) -> None:
        """Show that nothing more comes of a stage."""
        with self._lock:
            self._seconds[stage.name] = seconds
            if self._is_live:
                self._show(stage.name)
            else:
                self._write(f"{self._row(stage.name)}\n")

    def wrong(self) -> list[str]:
        """Answer what went wrong, in words."""
        return [
            f"{name}, {step.name}: {step.wrong}" for name, steps in self._rows.items() for step in steps if step.wrong
        ]

    def _show(self, name: str) -> None:
        if self._is_live:
            up = len(self._rows) - list(self._rows).index(name)
            self._write(f"\x1b[{up}A\r{self._row(name)}\x1b[K\x1b[{up}B\r")

    def _row(self, name: str) -> str:
        marks = {step.name: self._mark(step) for step in self._rows[name]}
        cells = (f"{' ' * ((len(each) - 1) // 2)}{marks.get(each, ' ')}{' ' * (len(each) // 2 + 1)}" for each in NAMES)
        seconds = f"{self._seconds[name]:4.0f} s" if name in self._seconds else ""
        return f"{name:<{FIRST}}{''.join(cells)}{seconds}"

    def _mark(self, step: Step) -> str:
        color, mark = (RED, "✗") if step.wrong else (GREEN, "✓") if step.is_done else (FAINT, "–")
        return f"{color}{mark}{PLAIN}" if self._is_live else mark

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _rehearse(stage: Stage, table: Table) -> None:
    began = time.monotonic()
    try:
        for step in rehearse(stage):
            table.add(stage, step)
    except Exception as error:  # noqa: BLE001 it is told in the end, with the rest
        table.add(stage, Step("setting up", is_done=True, wrong=f"{type(error).__name__}: {error}"))
    table.end(stage, time.monotonic() - began)


def main() -> None:
    """Rehearse, two stages at a time. Exit with 1 if anything was wrong."""
    if unknown := [name for name in sys.argv[1:] if name not in STAGES]:
        sys.exit(f"There is no stage {', '.join(unknown)}. There are: {', '.join(STAGES)}.")
    stages = [STAGES[name] for name in sys.argv[1:] or STAGES]
    with postgresql_server.a_server() as address, ThreadPoolExecutor(AT_ONCE) as threads:
        os.environ[postgresql_server.ADDRESS] = address
        table = Table(stages)
        for done in [threads.submit(_rehearse, stage, table) for stage in stages]:
            done.result()
    if wrong := table.wrong():
        sys.exit("\n" + "\n\n".join(wrong))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        os._exit(130)  # at once, and not when the stages under way have ended
