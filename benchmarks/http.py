"""`make bench`: how many requests a second, against a bare Falcon app, in one run and in turn.

All servers are up together and are asked one after another, round by round, so that what else the machine does meets
them alike. Only ratios are told: requests a second are this machine's business.
"""

import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click

from quoteapi.cli.serve import thread_count
from quoteapi.quotes.quotation import Quotation
from quoteapi.storage import database
from quoteapi.storage.catalogue import quote_row
from quoteapi.storage.models import Quote

ROUNDS = 15
SECONDS = 2
CONNECTIONS = 16
WORKERS = os.cpu_count() or 1
MANY = 1_000_000
REFERENCE = "bare Falcon, granian"

GRANIAN = (
    "granian",
    "--interface",
    "wsgi",
    "--workers",
    str(WORKERS),
    "--blocking-threads",
    str(thread_count(WORKERS)),
    "--no-ws",
)


class Contender(NamedTuple):
    """A server and what it is asked; `PORT` in the command stands for a free port."""

    name: str
    command: tuple[str, ...]
    path: str
    environment: dict[str, str]
    to_reach: str = ""


def contenders(shipped: Path, many: Path) -> list[Contender]:
    """Answer what is measured, on the shipped catalogue and on one of `MANY` quotes."""
    serve = ("quoteapi", "serve", "--port", "PORT", "--workers", str(WORKERS))
    counted = {"READ_LIMIT": "999999999/1m"}  # as in earnest, but for all that one address sends here
    of_shipped = {"DATABASE_URL": f"sqlite:///{shipped}", **counted}
    of_many = {"DATABASE_URL": f"sqlite:///{many}", **counted}
    plain = ("gunicorn", "--bind", "127.0.0.1:PORT", "benchmarks.contenders:plain")
    return [
        Contender("raw WSGI, granian", (*GRANIAN, "--port", "PORT", "benchmarks.contenders:raw"), "/daily", {}),
        Contender(REFERENCE, (*GRANIAN, "--port", "PORT", "benchmarks.contenders:bare"), "/daily", {}),
        Contender("QuoteAPI /daily", serve, "/daily", of_shipped, "1.0; ten times the plain design"),
        Contender("QuoteAPI /random", serve, "/random", of_shipped, "0.7"),
        Contender(f"QuoteAPI /random of {MANY:,}", serve, "/random", of_many, "0.7"),
        Contender("plain design /daily, gunicorn", plain, "/daily", {"PLAIN_DATABASE": str(shipped)}),
        Contender("plain design /random, gunicorn", plain, "/random", {"PLAIN_DATABASE": str(shipped)}),
    ]


@contextmanager
def running(contender: Contender) -> Iterator[str]:
    """Start a contender on a free port. Answer the address to ask, which answers already."""
    port = free_port()
    command = [part.replace("PORT", str(port)) for part in contender.command]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **contender.environment}
    with tempfile.TemporaryFile() as lines:  # what it logs is written to a file, as in earnest
        server = subprocess.Popen(command, env=environment, stdout=lines, stderr=lines)  # noqa: S603
        try:
            address = f"http://127.0.0.1:{port}{contender.path}"
            wait_for(address)
            yield address
        finally:
            server.terminate()
            server.wait(30)


def free_port() -> int:
    """Answer a port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(address: str) -> None:
    """Wait until an address answers 200."""
    for _ in range(100):
        try:
            with urllib.request.urlopen(address, timeout=5):  # noqa: S310 an address of ours
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{address} does not answer")


def requests_a_second(address: str, seconds: int) -> float:
    """Load an address with wrk. Stops the benchmark where an answer is not a good one."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", address]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if found is None or "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"{address} did not answer well:\n{said}")
    return float(found[1])


def make_many(path: Path) -> None:
    """Make a database of `MANY` quotes, each another one, of 50 authors and 20 categories."""
    added = datetime(2026, 1, 1, tzinfo=UTC)
    with database.create_database_file(path), click.progressbar(length=MANY, label=f"Making {MANY:,} quotes") as bar:
        for start in range(0, MANY, 1_000):
            rows = [
                quote_row(Quotation(f"What is said for the {n}th time is heard.", f"A{n % 50}", f"c{n % 20}"), added)
                for n in range(start, start + 1_000)
            ]
            Quote.insert_many(rows).execute()
            bar.update(1_000)


def measure(racing: list[tuple[Contender, str]]) -> dict[str, list[float]]:
    """Load each in turn, after a second of warming up, for `ROUNDS` rounds."""
    found: dict[str, list[float]] = {contender.name: [] for contender, _ in racing}
    with click.progressbar(length=(ROUNDS + 1) * len(racing), label="Measuring") as bar:
        for turn in range(ROUNDS + 1):
            for contender, address in racing:
                rate = requests_a_second(address, SECONDS if turn else 1)
                if turn:
                    found[contender.name].append(rate)
                bar.update(1)
    return found


def tell(racing: list[tuple[Contender, str]], found: dict[str, list[float]]) -> None:
    """Print a table: the median of the ratios of each round, and the smallest and largest."""
    click.echo(f"\n| {'contender':<30} | ratio to bare Falcon | smallest to largest | to reach")
    click.echo(f"|{'-' * 32}|---------------------:|--------------------:|---------")
    for contender, _ in racing:
        ratios = [rate / bare for rate, bare in zip(found[contender.name], found[REFERENCE], strict=True)]
        middle, span = f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"
        click.echo(f"| {contender.name:<30} | {middle:>20} | {span:>19} | {contender.to_reach}")


def main() -> None:
    """Measure and print the table."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing, which makes the load: on Debian and Ubuntu, apt install wrk.")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        shipped, many = Path(folder, "shipped.db"), Path(folder, "many.db")
        make_many(many)
        racing = [(contender, stack.enter_context(running(contender))) for contender in contenders(shipped, many)]
        tell(racing, measure(racing))


if __name__ == "__main__":
    main()
