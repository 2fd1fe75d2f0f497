"""`make bench`, part 2: requests a second, as a ratio to a bare Falcon app.

All servers run at the same time. Every round loads each of them in turn, so that other load on the machine affects them
equally. Results are ratios, because requests a second depend on the machine.
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
LARGE_SIZE = 1_000_000
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
    """A server and the path to request; `PORT` in the command stands for a free port."""

    name: str
    command: tuple[str, ...]
    path: str
    environment: dict[str, str]
    goal: str = ""


def contenders(small: Path, large: Path) -> list[Contender]:
    """Return the contenders, on the bundled catalogue and on one of `LARGE_SIZE` quotes."""
    serve = ("quoteapi", "serve", "--port", "PORT", "--workers", str(WORKERS))
    limit = {"READ_LIMIT": "999999999/1m"}  # requests are counted as usual, but the limit is never reached
    on_small = {"DATABASE_URL": f"sqlite:///{small}", **limit}
    on_large = {"DATABASE_URL": f"sqlite:///{large}", **limit}
    plain = ("gunicorn", "--bind", "127.0.0.1:PORT", "benchmarks.contenders:plain")
    return [
        Contender("raw WSGI, granian", (*GRANIAN, "--port", "PORT", "benchmarks.contenders:raw"), "/daily", {}),
        Contender(REFERENCE, (*GRANIAN, "--port", "PORT", "benchmarks.contenders:bare"), "/daily", {}),
        Contender("QuoteAPI /daily", serve, "/daily", on_small, "1.0; ten times the plain design"),
        Contender("QuoteAPI /random", serve, "/random", on_small, "0.75"),
        Contender(f"QuoteAPI /random of {LARGE_SIZE:,}", serve, "/random", on_large, "0.75"),
        Contender("plain design /daily, gunicorn", plain, "/daily", {"PLAIN_DATABASE": str(small)}),
        Contender("plain design /random, gunicorn", plain, "/random", {"PLAIN_DATABASE": str(small)}),
    ]


@contextmanager
def run_contender(contender: Contender) -> Iterator[str]:
    """Run a contender on a free port until the block ends. Yields its URL, which already responds."""
    port = free_port()
    command = [part.replace("PORT", str(port)) for part in contender.command]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **contender.environment}
    with tempfile.TemporaryFile() as log:  # logs go to a file, as in production
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603
        try:
            url = f"http://127.0.0.1:{port}{contender.path}"
            wait_for(url)
            yield url
        finally:
            server.terminate()
            server.wait(30)


def free_port() -> int:
    """Return a free port of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str) -> None:
    """Wait until a URL returns 200. Exits if it does not."""
    for _ in range(100):
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 our own URL
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{url} does not respond")


def measure_rate(url: str, seconds: int) -> float:
    """Load a URL with wrk. Return requests a second. Exits if a response is not a success."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    found = re.search(r"Requests/sec:\s+([\d.]+)", output)
    if found is None or "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"{url} failed under load:\n{output}")
    return float(found[1])


def create_large_catalogue(path: Path) -> None:
    """Create a database of `LARGE_SIZE` different quotes by 50 authors in 20 categories."""
    added = datetime(2026, 1, 1, tzinfo=UTC)
    with (
        database.create_database_file(path),
        click.progressbar(length=LARGE_SIZE, label=f"Making {LARGE_SIZE:,} quotes") as bar,
    ):
        for start in range(0, LARGE_SIZE, 1_000):
            rows = [
                quote_row(Quotation(f"What is said for the {n}th time is heard.", f"A{n % 50}", f"c{n % 20}"), added)
                for n in range(start, start + 1_000)
            ]
            Quote.insert_many(rows).execute()
            bar.update(1_000)


def measure(racing: list[tuple[Contender, str]]) -> dict[str, list[float]]:
    """Load each contender in turn, after a second of warm-up, for `ROUNDS` rounds. Return the rates."""
    found: dict[str, list[float]] = {contender.name: [] for contender, _ in racing}
    with click.progressbar(length=(ROUNDS + 1) * len(racing), label="Measuring") as bar:
        for number in range(ROUNDS + 1):
            for contender, url in racing:
                rate = measure_rate(url, SECONDS if number else 1)
                if number:
                    found[contender.name].append(rate)
                bar.update(1)
    return found


def print_table(racing: list[tuple[Contender, str]], found: dict[str, list[float]]) -> None:
    """Print the median, smallest and largest ratio of each contender."""
    click.echo(f"\n| {'contender':<30} | ratio to bare Falcon | smallest to largest | goal")
    click.echo(f"|{'-' * 32}|---------------------:|--------------------:|---------")
    for contender, _ in racing:
        ratios = [rate / bare for rate, bare in zip(found[contender.name], found[REFERENCE], strict=True)]
        middle, span = f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"
        click.echo(f"| {contender.name:<30} | {middle:>20} | {span:>19} | {contender.goal}")


def main() -> None:
    """Measure and print the table."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing. On Debian and Ubuntu, apt install wrk.")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        small, large = Path(folder, "small.db"), Path(folder, "large.db")
        create_large_catalogue(large)
        racing = [(contender, stack.enter_context(run_contender(contender))) for contender in contenders(small, large)]
        print_table(racing, measure(racing))


if __name__ == "__main__":
    main()
