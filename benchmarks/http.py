"""`make bench`: requests per second over HTTP, as ratios to a bare Falcon app in the same run.

All servers run at the same time and are loaded one after another, round by round, so that other load on the machine
affects them alike.
"""

import os
import re
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click

from quoteapi.quotes.quotation import Quotation
from quoteapi.storage import database
from quoteapi.storage.catalogue import quote_row
from quoteapi.storage.models import Quote

ROUNDS = 15
SECONDS = 2
CONNECTIONS = 16
WORKERS = os.cpu_count() or 1
LARGE = 1_000_000
REFERENCE = "bare Falcon, granian"
GRANIAN = f"granian --interface wsgi --workers {WORKERS} --blocking-threads {2 * WORKERS + 1} --no-ws --port PORT"


class Contender(NamedTuple):
    """A server and the path to request; `PORT` in the command stands for a free port."""

    name: str
    command: str
    path: str
    environment: dict[str, str]
    target: str = ""


def contenders(bundled: Path, large: Path) -> list[Contender]:
    """Return what is measured, on the bundled catalogue and on one of `LARGE` quotes."""
    serve = f"quoteapi serve --port PORT --workers {WORKERS}"
    counted = {"READ_LIMIT": "999999999/1m"}  # requests are counted, but the one client IP may send them all
    on_bundled, on_large = ({"DATABASE_URL": f"sqlite:///{path}", **counted} for path in (bundled, large))
    plain = "gunicorn --bind 127.0.0.1:PORT benchmarks.contenders:plain"
    return [
        Contender("raw WSGI, granian", f"{GRANIAN} benchmarks.contenders:raw", "/daily", {}),
        Contender(REFERENCE, f"{GRANIAN} benchmarks.contenders:bare", "/daily", {}),
        Contender("QuoteAPI /daily", serve, "/daily", on_bundled, "1.0; ten times the plain design"),
        Contender("QuoteAPI /random", serve, "/random", on_bundled, "0.75"),
        Contender(f"QuoteAPI /random of {LARGE:,}", serve, "/random", on_large, "0.75"),
        Contender("plain design /daily, gunicorn", plain, "/daily", {"PLAIN_DATABASE": str(bundled)}),
        Contender("plain design /random, gunicorn", plain, "/random", {"PLAIN_DATABASE": str(bundled)}),
    ]


@contextmanager
def run_server(contender: Contender) -> Iterator[str]:
    """Run a contender on a free port. Yields the URL to load once it responds."""
    port = free_port()
    command = contender.command.replace("PORT", str(port)).split()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **contender.environment}
    with tempfile.TemporaryFile() as log:  # a file, as in production
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603
        try:
            url = f"http://127.0.0.1:{port}{contender.path}"
            wait_for(url)
            yield url
        finally:
            server.terminate()
            server.wait(30)


def free_port() -> int:
    """Return a free port, below those that the kernel gives to connections: one of them could take it meanwhile."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for(url: str) -> None:
    """Wait until a URL responds with 200."""
    for _ in range(100):
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 it is http://127.0.0.1
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{url} does not respond")


def requests_per_second(url: str, seconds: int) -> float:
    """Load a URL with wrk. Raises `SystemExit` if a response is an error."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    match = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if match is None or "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"{url} responded with errors:\n{output}")
    return float(match[1])


def fill_large_catalogue(path: Path) -> None:
    """Create a database of `LARGE` different quotes, of 50 authors and 20 categories."""
    added = datetime(2026, 1, 1, tzinfo=UTC)
    with database.create_database_file(path), click.progressbar(length=LARGE, label=f"Making {LARGE:,} quotes") as bar:
        for start in range(0, LARGE, 1_000):
            rows = [
                quote_row(Quotation(f"What is said for the {n}th time is heard.", f"A{n % 50}", f"c{n % 20}"), added)
                for n in range(start, start + 1_000)
            ]
            Quote.insert_many(rows).execute()
            bar.update(1_000)


def measure(urls: dict[str, str]) -> dict[str, list[float]]:
    """Load the URL of each contender in turn, for `ROUNDS` rounds after one to warm up. Return the rates by name."""
    rates: dict[str, list[float]] = {name: [] for name in urls}
    with click.progressbar(length=(ROUNDS + 1) * len(urls), label="Measuring") as bar:
        for _ in range(ROUNDS + 1):
            for name, url in urls.items():
                rates[name].append(requests_per_second(url, SECONDS))
                bar.update(1)
    return {name: measured[1:] for name, measured in rates.items()}


def print_table(measured: list[Contender], rates: dict[str, list[float]]) -> None:
    """Print the median, smallest and largest ratio of the rounds for each contender."""
    click.echo(f"\n| {'server':<30} | ratio to bare Falcon |        range of rounds | goal")
    click.echo(f"|{'-' * 32}|---------------------:|--------------------:|---------")
    for contender in measured:
        ratios = [rate / bare for rate, bare in zip(rates[contender.name], rates[REFERENCE], strict=True)]
        median, span = f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"
        click.echo(f"| {contender.name:<30} | {median:>20} | {span:>19} | {contender.target}")


def main() -> None:
    """Measure, and print the table."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing. On Debian and Ubuntu, run: apt install wrk")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bundled, large = Path(folder, "bundled.db"), Path(folder, "large.db")
        fill_large_catalogue(large)
        measured = contenders(bundled, large)
        urls = {contender.name: stack.enter_context(run_server(contender)) for contender in measured}
        print_table(measured, measure(urls))


if __name__ == "__main__":
    main()
