"""`python -m tests.simulation`: simulate years of mornings, and show what was tried and whether anything was lost."""

import logging
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from multiprocessing import Manager
from typing import TYPE_CHECKING

import click

from tests.helpers.temporary_folders import temporary_folder
from tests.simulation.model import Violation
from tests.simulation.world import ZONES, Plan, open_world

if TYPE_CHECKING:
    from queue import Queue

FIRST_DAY = date(2009, 1, 1)
"""Ten years from here have the date that Samoa skipped."""
GROUPS = {
    "Tried": ("mornings", "runs", "days with all 96 runs", "publishes by hand", "sign-ups", "moves"),
    "Faults": (),  # all others
    "Outcome": (
        *("delivered", "SMS", "in doubt", "reported as in doubt", "missed", "reported as missed"),
        *(
            "reported as missed, but nobody waits now",
            "reports lost with the process",
            "mornings that moves cost",
            "mornings lost by a fault in somebody's sync",
        ),
        *("late sign-ups", "SMS to people who left or moved during the run"),
        "SMS to people who left or moved, as a fault prevented their sync",
    ),
}
"""What is shown, in this order."""
VIOLATIONS = ("lost", "doubled", "in quiet hours")


def simulate(plan: Plan, days_done: "Queue[int] | None" = None) -> tuple[Counter[str], str | None]:
    """Simulate a plan. Return what was counted, and the description of the first violation."""
    logging.disable(logging.CRITICAL)  # what the service logs about thousands of faults
    try:
        with temporary_folder("simulation-") as folder, open_world(plan, folder) as world:
            try:
                for _ in world.days():
                    if days_done is not None:
                        days_done.put(1)
            except Violation as violation:
                return world.counts, f"seed {plan.seed}, days from {plan.first}: {violation}"
            return world.counts, None
    finally:
        logging.disable(logging.NOTSET)


def split(plan: Plan, parts: int) -> Iterator[Plan]:
    """Split a plan into consecutive parts, each with its own people."""
    days = (plan.last - plan.first).days + 1
    starts = [plan.first + timedelta(days=days * part // parts) for part in range(parts + 1)]
    for number, (first, end) in enumerate(pairwise(starts), 1):
        people = -(-plan.people // parts)
        yield replace(plan, first=first, last=end - timedelta(days=1), seed=f"{plan.seed}/{number}", people=people)


def run_parts(plans: list[Plan]) -> tuple[Counter[str], list[str]]:
    """Simulate plans in a process each, with a progress bar."""
    days = sum((plan.last - plan.first).days + 1 for plan in plans)
    with Manager() as manager, ProcessPoolExecutor(len(plans)) as pool:
        days_done = manager.Queue()
        futures = [pool.submit(simulate, plan, days_done) for plan in plans]
        with click.progressbar(length=days, label="Simulating days", file=sys.stderr) as bar:
            while not all(future.done() for future in futures):
                time.sleep(0.2)
                bar.update(sum(days_done.get() for _ in range(days_done.qsize())))
        results = [future.result() for future in futures]
    return sum((counts for counts, _ in results), Counter()), [
        description for _, description in results if description is not None
    ]


@click.command()
@click.option("--years", default=10.0, show_default=True, help="How many years to simulate.")
@click.option("--people", default=2_400, show_default=True, help="How many people subscribe.")
@click.option("--seed", default=None, help="Replay the simulation with this seed.")
@click.option("--first-day", default=f"{FIRST_DAY}", show_default=True, help="The first day.")
@click.option("--daily-sms-at", default="09:00", show_default=True, help="DAILY_SMS_AT of the service.")
@click.option("--quiet-hours", default="21:00-09:00", show_default=True, help="QUIET_HOURS of the service.")
@click.option("--processes", default=2, show_default=True, help="How many processes share the years.")
def main(  # noqa: PLR0913 one parameter an option
    *, years: float, people: int, seed: str | None, first_day: str, daily_sms_at: str, quiet_hours: str, processes: int
) -> None:
    """Simulate mornings in 26 time zones, with faults, and check that no SMS is lost or doubled."""
    started_at, first = time.monotonic(), date.fromisoformat(first_day)
    last = first + timedelta(days=round(years * 365.25) - 1)
    seed = seed or secrets.token_hex(4)
    plan = Plan(first, last, people, seed, daily_sms_at, quiet_hours, people / 3_000 * 10 * 6 / years)
    counts, descriptions = run_parts(list(split(plan, processes)))
    click.echo(f"{first} to {last} in {len(ZONES)} time zones, seed {seed}, {time.monotonic() - started_at:.0f} s")
    click.echo("Most days have about 8 of the 96 runs: near openings, closings, midnights, and clock changes.\n")
    for title, names in GROUPS.items():
        click.secho(title, bold=True)
        for name in names or sorted(counts.keys() - {each for group in GROUPS.values() for each in group}):
            click.echo(f"{counts[name]:>12,}  {name}")
    for name in VIOLATIONS:
        click.echo(f"{sum(name in description.split(chr(10))[0] for description in descriptions):>12,}  {name}")
    if descriptions:
        sys.exit("\n" + "\n\n".join(descriptions))


if __name__ == "__main__":
    main()
