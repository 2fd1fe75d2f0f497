import os
import string
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import quote

import psycopg
import pytest
import requests
from peewee import OperationalError
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier, Literal

from quoteapi.app import create_app
from quoteapi.aws.job_context import job_context
from quoteapi.observability import logs
from quoteapi.quotes import fallback
from quoteapi.quotes.fallback import AGAIN
from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import Settings, SettingsError, read_settings, settings_for_database
from quoteapi.storage import database, postgresql
from quoteapi.storage.catalogue import store_quotation
from quoteapi.storage.models import DailyQuote, Quote
from quoteapi.storage.models import database as bound
from tests.helpers import postgresql_server
from tests.helpers.clock import FakeClock
from tests.helpers.data import ALCOTT, AUSTEN, KABIR, MIRA, NOON, SECRET_KEY, ZOLA, environment, sqlite_only
from tests.helpers.http import assert_problem, serve_app
from tests.helpers.processes import python, quoteapi
from tests.helpers.proxies import Proxy, a_proxy

PASSWORD = "p@ss/wörd?%41#&'"  # noqa: S105
ENCODED = quote(PASSWORD, safe="")


@pytest.fixture
def direct(bundled_catalogue: Callable[[list[Quotation]], Path]) -> Iterator[str]:
    """Answer the address of a database with three quotes, by its socket."""
    bundled_catalogue([ALCOTT, AUSTEN, ZOLA])
    with postgresql_server.a_database() as address:
        database.migrate_database(settings_for_database(address))
        yield address


@pytest.fixture
def proxy(direct: str) -> Iterator[Proxy]:
    with a_proxy(direct) as proxy:
        yield proxy
        postgresql_server.let_go()


@pytest.fixture
def settings(proxy: Proxy) -> Settings:
    return read_settings({"DATABASE_URL": proxy.address(), "SECRET_KEY": SECRET_KEY})


@pytest.fixture
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have everything give up sooner."""
    monkeypatch.setitem(postgresql._CONNECTION_DEFAULTS, "connect_timeout", "2")  # the driver knows no less
    monkeypatch.setattr(postgresql, "PING_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(postgresql, "CANCEL_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(postgresql, "STATEMENT_TIMEOUT_SECONDS", 0.5)


def _asked(sql: str) -> Any:  # noqa: ANN401
    return bound.execute_sql(sql).fetchone()[0]


def _told(address: str, sql: LiteralString) -> list[tuple[Any, ...]]:
    with psycopg.connect(address, autocommit=True) as connection:
        return connection.execute(sql).fetchall()


def _still_sleeps(address: str) -> bool:
    """Whether the server still sleeps a second after it should have stopped."""
    here = "datname = current_database() AND pid <> pg_backend_pid()"
    sql: LiteralString = f"SELECT 1 FROM pg_stat_activity WHERE {here} AND query LIKE '%pg_sleep%' AND state = 'active'"  # noqa: S608
    for _ in range(20):
        if not _told(address, sql):
            return False
        time.sleep(0.05)
    return True


# ---- the address


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("postgres://noor@db.example.org:5433/quotes", {"user": "noor", "host": "db.example.org", "port": "5433"}),
        (f"postgresql://noor:{ENCODED}@[::1]/quotes", {"user": "noor", "password": PASSWORD, "host": "::1"}),
        ("postgresql:///quotes?host=/run/postgresql", {"host": "/run/postgresql"}),
        ("postgresql://noor@%2Frun%2Fpostgresql/quotes", {"user": "noor", "host": "/run/postgresql"}),
        ("postgresql://db/?dbname=quotes&sslmode=verify-full", {"host": "db", "sslmode": "verify-full"}),
        ("postgres://db/quotes?sslrootcert=/etc/ca.pem", {"host": "db", "sslrootcert": "/etc/ca.pem"}),
    ],
)
def test_every_form_of_address_reaches_the_driver_as_it_was_meant(url: str, read: dict[str, str]) -> None:
    settings = read_settings({"DATABASE_URL": url, "SECRET_KEY": SECRET_KEY})
    assert settings.database_path is None
    assert conninfo_to_dict(settings.database_url or "") == {"dbname": "quotes", **read}


def test_what_it_says_of_tls_is_heeded(proxy: Proxy) -> None:
    with pytest.raises(OperationalError, match="server does not support SSL, but SSL was required"):
        database.connect(settings_for_database(proxy.address(sslmode="require")))


@pytest.mark.parametrize("hard", [*string.punctuation, " ", "é", "%zz", "%00", "%FF", "%2"])
def test_a_password_as_it_was_typed_is_understood_or_refused_without_showing_it(hard: str) -> None:
    password = f"Secret1{hard}Secret2"
    try:
        settings = settings_for_database(f"postgresql://noor:{password}@localhost/quotes")
    except SettingsError as error:
        said = f"{error} {error.__cause__}"
    else:
        assert conninfo_to_dict(settings.database_url or "")["password"] == password
        said = repr(settings) + database.describe_database(settings)
    assert "Secret" not in said


@pytest.fixture
def guarded(proxy: Proxy) -> Iterator[str]:
    """Make a user who has to give `PASSWORD`. Answers the name."""
    ((file,),) = _told(os.environ[postgresql_server.ADDRESS], "SHOW hba_file")
    rule, name = 'local all "/^guarded_" scram-sha-256\n', f"guarded_p{os.getpid()}"
    rules = Path(file).read_text()
    with psycopg.connect(os.environ[postgresql_server.ADDRESS], autocommit=True) as connection:
        if rule not in rules:
            Path(file).write_text(rule + rules)
            connection.execute("SELECT pg_reload_conf()")
        user = Identifier(name)
        connection.execute(SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(user, Literal(PASSWORD)))
        yield name
        postgresql_server.let_go()
        connection.execute(SQL("DROP ROLE {}").format(user))


def test_the_password_is_shown_nowhere(
    proxy: Proxy, guarded: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    right = proxy.address(f"{guarded}:{ENCODED}")
    wrong = proxy.address(f"{guarded}:{ENCODED}{ENCODED}")
    said = [
        repr(read_settings({"DATABASE_URL": right, "SECRET_KEY": SECRET_KEY})),
        database.describe_database(settings_for_database(right)),
    ]
    with serve_app(create_app(read_settings({"DATABASE_URL": right, "SECRET_KEY": SECRET_KEY}))) as base:
        said += [requests.get(f"{base}{path}", timeout=5).text for path in ("/daily", "/quotes", "/health")]
        proxy.refuse()
        said += [requests.get(f"{base}{path}", timeout=5).text for path in ("/random", "/quotes", "/health")]
        proxy.come_back()
    assert "Database not available" in said[-2]
    for url in (wrong, right.replace(f":{proxy.port}", ":1"), right.replace("/test_", "/none_")):
        with pytest.raises(OperationalError) as failed:
            database.connect(settings_for_database(url))
        said += [str(failed.value), repr(failed.value.__cause__)]
    ran = [quoteapi(*words, DATABASE_URL=wrong) for words in (("doctor",), ("daily",), ("db", "status"))]
    assert [one.returncode for one in ran] == [1, 3, 3]
    assert all("password authentication failed" in one.stdout + one.stderr for one in ran)
    assert quoteapi("doctor", DATABASE_URL=right).returncode == 0, "so the right one is understood"
    said += [one.stdout + one.stderr for one in ran]
    said += [
        caplog.text,
        *(logs._Formatter(Settings()).format(record) for record in caplog.records),
        *capsys.readouterr(),
    ]
    assert "connection failed" in caplog.text
    assert [text for text in said if PASSWORD in text or ENCODED in text or quote(PASSWORD) in text] == []


# ---- waiting


@pytest.mark.usefixtures("_hurried")
def test_a_server_that_never_answers_is_given_up_and_left_alone_for_a_moment(proxy: Proxy, settings: Settings) -> None:
    proxy.freeze()
    begun = time.monotonic()
    with pytest.raises(OperationalError, match="timeout"):
        database.connect(settings)
    assert time.monotonic() - begun < 3
    proxy.come_back()
    database.connect(settings)
    bound.close()
    proxy.refuse()
    for said in ("Connection refused", "away a moment ago"):
        with pytest.raises(OperationalError, match=said):
            Quote.select().count()


@pytest.mark.parametrize("freezes", [False, True])
@pytest.mark.usefixtures("_hurried")
def test_a_statement_that_takes_too_long_is_given_up(
    proxy: Proxy, settings: Settings, direct: str, *, freezes: bool
) -> None:
    connection = database.connect(settings)
    with connection.connection_context():
        before = _asked("SELECT pg_backend_pid()")
    freezer = threading.Timer(0.1, proxy.freeze if freezes else int)
    freezer.start()
    begun = time.monotonic()
    with pytest.raises(OperationalError, match=r"did not answer in 0\.5 seconds"), connection.connection_context():
        bound.execute_sql("SELECT pg_sleep(4)")
    assert time.monotonic() - begun < 3
    freezer.join()
    assert freezes or not _still_sleeps(direct), "it is cancelled on the server"
    proxy.come_back()
    with connection.connection_context():
        assert _asked("SELECT pg_backend_pid()") != before, "and the connection was not used again"


@pytest.mark.usefixtures("_hurried")
def test_a_transaction_that_breaks_leaves_the_next_one_alone(settings: Settings) -> None:
    def never_ends() -> None:
        with bound.connection_context(), bound.atomic():
            store_quotation(KABIR, NOON)
            bound.execute_sql("SELECT pg_sleep(30)")

    database.connect(settings)
    with pytest.raises(OperationalError):
        never_ends()
    assert vars(bound.obj)["_in_use"] == {}
    with bound.connection_context(), bound.atomic():
        assert store_quotation(KABIR, NOON) == (4, True)


# ---- sharing connections


def _at_once(many: int, do: Callable[[], object]) -> list[str]:
    """Do something in so many threads. Answer what came of it."""

    def outcome(_: int) -> str:
        try:
            with bound.connection_context():
                return str(do())
        except Exception as error:  # noqa: BLE001 its name is what the test looks at
            return f"{type(error).__name__}: {error}"

    with ThreadPoolExecutor(many) as threads:
        return list(threads.map(outcome, range(many)))


def test_connections_that_died_while_idle_hurt_nobody(proxy: Proxy, settings: Settings) -> None:
    all_here = threading.Barrier(4)
    database.connect(settings)
    assert _at_once(4, lambda: all_here.wait(5) * 0) == ["0"] * 4
    proxy.cut()
    assert _at_once(4, lambda: Quote.select().count()) == ["3"] * 4


def test_however_many_threads_there_are_they_share_so_many_connections(
    settings: Settings, direct: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "POOL_SIZE", 3)
    monkeypatch.setattr(postgresql, "POOL_TIMEOUT_SECONDS", 0.5)
    database.connect(settings)
    ours = "datname = current_database() AND application_name = 'quoteapi'"
    count = f"SELECT count(*) FROM pg_stat_activity WHERE {ours}"  # noqa: S608
    everybody = threading.Barrier(8)
    opened: list[int] = []

    def take() -> str:
        try:
            with bound.connection_context():
                everybody.wait(20)  # until the others gave up
                opened.append(_told(direct, count)[0][0])
                return "held"
        except OperationalError as error:
            everybody.wait(20)
            return str(error)

    with ThreadPoolExecutor(8) as threads:
        outcomes = [it.result() for it in [threads.submit(take) for _ in range(8)]]
    assert outcomes.count("held") == 3
    assert outcomes.count("all 3 connections were in use for too long") == 5
    assert max(opened) == 3
    assert _at_once(8, lambda: Quote.select().count()) == ["3"] * 8, "and who waits a little gets one"


def test_nothing_is_left_in_a_session_that_a_pooler_could_not_share(settings: Settings) -> None:
    with database.connect(settings).connection_context():
        for _ in range(20):
            assert Quote.select().where(Quote.id > 1).count() == 2
        assert _asked("SELECT count(*) FROM pg_prepared_statements") == 0
        assert _asked("SELECT count(*) FROM pg_settings WHERE source = 'session'") == 0
        assert _asked("SHOW application_name") == "quoteapi"


def test_lambda_keeps_one_connection_between_invocations_and_tries_it_first(
    proxy: Proxy, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(settings, AWS_LAMBDA_FUNCTION_NAME="quotes", SMS_ALLOWED_REGIONS="IN").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(logs, "configure_logging", lambda _, **__: None)  # whose handlers would outlive the test

    def invoked() -> int:
        with job_context():
            return int(_asked("SELECT pg_backend_pid()"))

    first = invoked()
    assert invoked() == first
    proxy.cut()
    assert invoked() != first


FORKED = """
import gc, os, signal, sys, threading, time

os.register_at_fork(after_in_child=lambda: signal.alarm(5))  # or it might wait for ever

from quoteapi.storage import database
from quoteapi.settings import settings_for_database
from quoteapi.storage.models import Quote, database as bound

def pid():
    with bound.connection_context():
        return bound.execute_sql("SELECT pg_backend_pid()").fetchone()[0]

def connect():
    with bound.obj._lock, bound.obj._pool_lock:  # which a thread has for as long as it connects
        holds.set()
        time.sleep(0.5)

database.connect(settings_for_database(sys.argv[1]))
idle, holds = pid(), threading.Event()
threading.Thread(target=connect).start()
holds.wait()
if (child := os.fork()) == 0:
    mine = pid()
    gc.collect()
    sys.exit(0 if mine != idle else 9)
assert os.waitpid(child, 0)[1] == 0, "the child could not connect"
assert pid() == idle, "the child closed what was not its own"
bound.close_all()
"""


def test_a_forked_process_has_connections_of_its_own_whatever_its_parent_was_at(direct: str) -> None:
    ran = python("-W", "ignore", "-c", FORKED, direct)
    assert (ran.returncode, ran.stderr) == (0, "")


@sqlite_only
def test_the_driver_is_not_loaded_for_a_file_but_can_be(database_url: str) -> None:
    code = (
        "import sys; from quoteapi.app import create_app; from quoteapi.settings import settings_for_database;"
        "from falcon.testing import TestClient; app = create_app(settings_for_database(sys.argv[1]));"
        "assert TestClient(app).simulate_get('/daily').json['quote'];"
        "assert 'psycopg' not in sys.modules; import psycopg; assert psycopg.connect"
    )
    ran = python("-c", code, database_url)
    assert (ran.returncode, ran.stderr) == (0, "")


# ---- while the database is away


def _stored_for_tomorrow(direct: str) -> None:
    """Store what no schedule would answer, as another machine may do."""
    with database.open_database(settings_for_database(direct)) as opened, bound.override(opened):
        DailyQuote.create(date=NOON.date().replace(day=NOON.day + 1), quote=store_quotation(KABIR, NOON)[0])


def _daily(base: str) -> tuple[str, str]:
    answer = requests.get(f"{base}/daily", timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()["quote"], answer.headers["Cache-Control"]


def _subscribe(base: str) -> requests.Response:
    return requests.post(f"{base}/subscribe", data={"mobile": MIRA}, timeout=10)


def _assert_that_all_is_well(base: str, clock: FakeClock) -> None:
    time.sleep(postgresql.RETRY_DELAY_SECONDS)
    clock.advance(seconds=AGAIN.total_seconds())
    assert _daily(base)[0] == KABIR.quote, "as it is stored"
    assert int(_daily(base)[1].rpartition("=")[2]) > 40_000
    assert [requests.get(f"{base}{path}", timeout=10).status_code for path in ("/random", "/quotes", "/health")] == [
        200
    ] * 3
    assert _subscribe(base).status_code == 200


@pytest.mark.parametrize("away", [Proxy.refuse, Proxy.freeze])
@pytest.mark.usefixtures("_hurried")
def test_while_the_database_is_away_quotes_go_on_and_then_all_does_again(
    proxy: Proxy, settings: Settings, direct: str, clock: FakeClock, away: Callable[[Proxy], None]
) -> None:
    _stored_for_tomorrow(direct)
    shipped_ones = {ALCOTT.quote, AUSTEN.quote, ZOLA.quote}
    with serve_app(create_app(settings, now=clock)) as base:
        today = _daily(base)
        away(proxy)
        assert _daily(base) == today, "what was answered is answered again"
        clock.advance(days=1)
        for _ in range(2):
            quotation, caching = _daily(base)
            assert quotation in shipped_ones
            assert caching == "public, max-age=10"
            assert requests.get(f"{base}/random", timeout=10).json()["quote"] in shipped_ones
        for answer in (requests.get(f"{base}/quotes", timeout=10), _subscribe(base)):
            assert_problem(answer, 503, "Database not available", "Try again")
            assert answer.headers["Retry-After"] == "30"
        assert requests.get(f"{base}/health", timeout=10).status_code == 503
        proxy.come_back()
        _assert_that_all_is_well(base, clock)


def test_a_service_that_is_started_while_the_database_is_away_serves_and_recovers(
    proxy: Proxy, settings: Settings, direct: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stored_for_tomorrow(direct)
    monkeypatch.setattr(bound, "name", None)  # in a new process nothing is bound
    monkeypatch.setattr(bound, "_working", None)
    clock.advance(days=1)
    proxy.refuse()
    with serve_app(create_app(settings, now=clock)) as base:
        assert _daily(base)[1] == "public, max-age=10"
        assert_problem(requests.get(f"{base}/quotes", timeout=10), 503, "Database not available", "Try again")
        assert requests.get(f"{base}/health", timeout=10).status_code == 503
        proxy.come_back()
        _assert_that_all_is_well(base, clock)
    postgresql_server.let_go()


def test_a_command_without_its_database_ends_with_a_sentence(proxy: Proxy) -> None:
    proxy.refuse()
    ran = quoteapi("daily", DATABASE_URL=proxy.address())
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr.startswith("Error: The database cannot be used: ")
    assert "Connection refused" in ran.stderr
    assert ran.stderr.count("\n") == 1


@pytest.mark.usefixtures("_hurried")
def test_a_database_that_hangs_holds_up_few_and_not_for_long(
    settings: Settings, direct: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fallback, "SLOW_SECONDS", 0.1)
    took: list[float] = []

    def ask(path: str) -> None:
        begun = time.monotonic()
        assert requests.get(f"{base}{path}", timeout=20).status_code == 200
        took.append(time.monotonic() - begun)

    with serve_app(create_app(settings, now=clock)) as base, psycopg.connect(direct) as locking:
        ask("/random")
        locking.execute("LOCK TABLE quote IN ACCESS EXCLUSIVE MODE")
        clock.advance(minutes=2)
        with ThreadPoolExecutor(12) as threads:
            list(threads.map(ask, ["/random", "/daily", "/random?category=hope"] * 8))
        begun = time.monotonic()
        ask("/random")
        assert time.monotonic() - begun < 0.3, "who comes later does not even try"
        locking.rollback()
        _assert_that_it_is_asked_again(base, clock)
    assert max(took) < 6, "for the lock, and for an answer"


def _assert_that_it_is_asked_again(base: str, clock: FakeClock) -> None:
    clock.advance(seconds=AGAIN.total_seconds())
    assert int(_daily(base)[1].rpartition("=")[2]) > 10


@pytest.mark.usefixtures("_hurried")
def test_while_the_database_is_away_it_is_tried_once_in_ten_seconds(
    proxy: Proxy, settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []
    connect = postgresql.Connection.connect

    def counted(*args: Any, **said: Any) -> postgresql.Connection:  # noqa: ANN401
        tries.append("")
        return connect(*args, **said)

    monkeypatch.setattr(postgresql, "RETRY_DELAY_SECONDS", 0)
    with serve_app(create_app(settings, now=clock)) as base:
        postgresql_server.let_go()
        proxy.refuse()
        monkeypatch.setattr(postgresql.Connection, "connect", counted)
        for expected in (1, 1, 2):
            _daily(base)
            assert len(tries) == expected
            if expected == len(tries) == 1 and clock() > NOON:
                clock.advance(seconds=AGAIN.total_seconds())
            clock.advance(seconds=1)
        proxy.come_back()


def test_a_server_that_can_only_be_read_answers_the_quote_of_its_own_catalogue(
    settings: Settings, direct: str, clock: FakeClock
) -> None:
    with database.open_database(settings_for_database(direct)) as opened, bound.override(opened):
        store_quotation(KABIR, NOON)
    with psycopg.connect(direct, autocommit=True) as connection:
        name = Identifier(str(conninfo_to_dict(direct)["dbname"]))
        connection.execute(SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
    with serve_app(create_app(settings, now=clock)) as base:
        assert int(_daily(base)[1].rpartition("=")[2]) > 40_000
        answer = requests.get(f"{base}/random", params={"author": KABIR.author}, timeout=10)
        assert answer.json()["quote"] == KABIR.quote


def test_a_server_that_was_away_at_the_start_gets_its_tables_when_it_comes(
    bundled_catalogue: Callable[[list[Quotation]], Path], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled_catalogue([ALCOTT])
    monkeypatch.setattr(postgresql, "RETRY_DELAY_SECONDS", 0)
    with postgresql_server.a_database(with_tables=False) as empty, a_proxy(empty) as proxy:
        proxy.refuse()
        settings = read_settings({"DATABASE_URL": proxy.address(), "SECRET_KEY": SECRET_KEY})
        with serve_app(create_app(settings, now=clock)) as base:
            assert _daily(base)[0] == ALCOTT.quote
            proxy.come_back()
            assert requests.get(f"{base}/quotes", timeout=20).json()["total"] == 1
        postgresql_server.let_go()


def test_a_container_of_lambda_has_one_connection_and_no_more(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "POOL_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(bound, "name", None)
    said = {"AWS_LAMBDA_FUNCTION_NAME": "quotes", "SMS_ALLOWED_REGIONS": "IN", "SECRET_KEY": SECRET_KEY}
    database.connect(read_settings({"DATABASE_URL": proxy.address(), **said}))
    with bound.connection_context(), ThreadPoolExecutor(1) as another:
        assert _asked("SELECT 1") == 1
        with pytest.raises(OperationalError, match="all 1 connections were in use for too long"):
            another.submit(_asked, "SELECT 1").result()
