import os
import re
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
from quoteapi.observability import logging_setup
from quoteapi.quotes import fallback
from quoteapi.quotes.fallback import RETRY_INTERVAL
from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import Settings, SettingsError, read_settings, settings_for_database
from quoteapi.storage import database, postgresql
from quoteapi.storage.catalogue import store_quotation
from quoteapi.storage.models import Quote, StoredDailyQuote
from quoteapi.storage.models import database as bound
from tests.helpers import postgresql_server
from tests.helpers.clock import FakeClock
from tests.helpers.data import ALCOTT, AUSTEN, KABIR, MIRA, NOON, SECRET_KEY, ZOLA, environment, sqlite_only
from tests.helpers.http import assert_problem, serve_app
from tests.helpers.processes import python, quoteapi
from tests.helpers.proxies import Proxy, run_proxy
from tests.helpers.sql import record_sql
from tests.helpers.waiting import LIMIT_SECONDS, wait_until

PASSWORD = "p@ss/wörd?%41#&'"  # noqa: S105
ENCODED = quote(PASSWORD, safe="")


@pytest.fixture
def direct(bundled_catalogue: Callable[[list[Quotation]], Path]) -> Iterator[str]:
    """Return the URL, with a Unix socket, of a database with three quotes."""
    bundled_catalogue([ALCOTT, AUSTEN, ZOLA])
    with postgresql_server.create_database() as address:
        database.migrate_database(settings_for_database(address))
        yield address


@pytest.fixture
def proxy(direct: str) -> Iterator[Proxy]:
    with run_proxy(direct) as proxy:
        yield proxy
        postgresql_server.close_connections()


@pytest.fixture
def settings(proxy: Proxy) -> Settings:
    return read_settings({"DATABASE_URL": proxy.address(), "SECRET_KEY": SECRET_KEY})


@pytest.fixture
def _short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten timeouts, but not so much that a slow machine reaches them where it should not."""
    monkeypatch.setitem(postgresql._CONNECTION_DEFAULTS, "connect_timeout", "2")  # the shortest that libpq supports
    monkeypatch.setattr(postgresql, "PING_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(postgresql, "STATEMENT_TIMEOUT_SECONDS", 1.5)


def _fetch_value(sql: str) -> Any:  # noqa: ANN401
    return bound.execute_sql(sql).fetchone()[0]


def _fetch_all(address: str, sql: LiteralString) -> list[tuple[Any, ...]]:
    with psycopg.connect(address, autocommit=True) as connection:
        return connection.execute(sql).fetchall()


def _is_sleeping(address: str) -> bool:
    """Return whether the server runs `pg_sleep`."""
    here = "datname = current_database() AND pid <> pg_backend_pid()"
    sql: LiteralString = f"SELECT 1 FROM pg_stat_activity WHERE {here} AND query LIKE '%pg_sleep%' AND state = 'active'"  # noqa: S608
    return bool(_fetch_all(address, sql))


# ---- URLs


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
def test_the_driver_understands_every_form_of_url(url: str, read: dict[str, str]) -> None:
    settings = read_settings({"DATABASE_URL": url, "SECRET_KEY": SECRET_KEY})
    assert settings.database_path is None
    assert conninfo_to_dict(settings.database_url or "") == {"dbname": "quotes", **read}


def test_tls_parameters_of_the_url_are_applied(proxy: Proxy) -> None:
    with pytest.raises(OperationalError, match="server does not support SSL, but SSL was required"):
        database.connect(settings_for_database(proxy.address(sslmode="require")))


@pytest.mark.parametrize("hard", [*string.punctuation, " ", "é", "%zz", "%00", "%FF", "%2"])
def test_a_password_that_is_not_encoded_is_understood_or_refused_without_being_shown(hard: str) -> None:
    password = f"Secret1{hard}Secret2"
    try:
        settings = settings_for_database(f"postgresql://noor:{password}@localhost/quotes")
    except SettingsError as error:
        text = f"{error} {error.__cause__}"
    else:
        assert conninfo_to_dict(settings.database_url or "")["password"] == password
        text = repr(settings) + database.describe_database(settings)
    assert "Secret" not in text


@pytest.fixture
def user_with_password(proxy: Proxy) -> Iterator[str]:
    """Create a database user that needs `PASSWORD`. Return its name."""
    ((file,),) = _fetch_all(os.environ[postgresql_server.URL_VARIABLE], "SHOW hba_file")
    rule, name = 'local all "/^guarded_" scram-sha-256\n', f"guarded_p{os.getpid()}"
    rules = Path(file).read_text()
    with psycopg.connect(os.environ[postgresql_server.URL_VARIABLE], autocommit=True) as connection:
        if rule not in rules:
            Path(file).write_text(rule + rules)
            connection.execute("SELECT pg_reload_conf()")
        user = Identifier(name)
        connection.execute(SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(user, Literal(PASSWORD)))
        yield name
        postgresql_server.close_connections()
        connection.execute(SQL("DROP ROLE {}").format(user))


def test_the_password_is_in_no_response_log_or_error(
    proxy: Proxy, user_with_password: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    right = proxy.address(f"{user_with_password}:{ENCODED}")
    wrong = proxy.address(f"{user_with_password}:{ENCODED}{ENCODED}")
    texts = [
        repr(read_settings({"DATABASE_URL": right, "SECRET_KEY": SECRET_KEY})),
        database.describe_database(settings_for_database(right)),
    ]
    with serve_app(create_app(read_settings({"DATABASE_URL": right, "SECRET_KEY": SECRET_KEY}))) as base:
        texts += [requests.get(f"{base}{path}", timeout=30).text for path in ("/daily", "/quotes", "/health")]
        proxy.refuse()
        texts += [requests.get(f"{base}{path}", timeout=30).text for path in ("/random", "/quotes", "/health")]
        proxy.come_back()
    assert "Database not available" in texts[-2]
    for url in (wrong, right.replace(f":{proxy.port}", ":1"), right.replace("/test_", "/none_")):
        with pytest.raises(OperationalError) as failed:
            database.connect(settings_for_database(url))
        texts += [str(failed.value), repr(failed.value.__cause__)]
    ran = [quoteapi(*words, DATABASE_URL=wrong) for words in (("doctor",), ("daily",), ("db", "status"))]
    assert [one.returncode for one in ran] == [1, 3, 3]
    assert all("password authentication failed" in one.stdout + one.stderr for one in ran)
    assert quoteapi("doctor", DATABASE_URL=right).returncode == 0, "with the right password"
    texts += [one.stdout + one.stderr for one in ran]
    texts += [
        caplog.text,
        *(logging_setup.RedactingFormatter(Settings()).format(record) for record in caplog.records),
        *capsys.readouterr(),
    ]
    assert "connection failed" in caplog.text
    assert [text for text in texts if PASSWORD in text or ENCODED in text or quote(PASSWORD) in text] == []


# ---- timeouts


@pytest.mark.usefixtures("_short_timeouts")
def test_connecting_to_a_frozen_server_times_out_and_is_not_tried_again_at_once(
    proxy: Proxy, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.freeze()
    begun = time.monotonic()
    with pytest.raises(OperationalError, match="timeout"):
        database.connect(settings)
    assert time.monotonic() - begun < LIMIT_SECONDS
    proxy.come_back()
    database.connect(settings)
    bound.close()
    proxy.refuse()
    monkeypatch.setattr(postgresql, "RETRY_DELAY_SECONDS", LIMIT_SECONDS)
    for message in ("Connection refused", "unavailable a moment ago"):
        with pytest.raises(OperationalError, match=message):
            Quote.select().count()


@pytest.mark.parametrize("freezes", [False, True])
@pytest.mark.usefixtures("_short_timeouts")
def test_a_statement_that_exceeds_its_timeout_is_cancelled_and_its_connection_closed(
    proxy: Proxy, settings: Settings, direct: str, *, freezes: bool
) -> None:
    connection = database.connect(settings)
    with connection.connection_context():
        before = _fetch_value("SELECT pg_backend_pid()")

    def freeze() -> None:
        wait_until(lambda: _is_sleeping(direct))
        if freezes:
            proxy.freeze()

    freezer = threading.Thread(target=freeze)
    freezer.start()
    begun = time.monotonic()
    with pytest.raises(OperationalError, match=r"did not respond within 1\.5 seconds"), connection.connection_context():
        bound.execute_sql("SELECT pg_sleep(60)")
    assert time.monotonic() - begun < LIMIT_SECONDS
    freezer.join()
    if not freezes:
        wait_until(lambda: not _is_sleeping(direct))  # it is cancelled on the server
    proxy.come_back()
    with connection.connection_context():
        assert _fetch_value("SELECT pg_backend_pid()") != before, "and the connection was not used again"


@pytest.mark.usefixtures("_short_timeouts")
def test_a_transaction_that_times_out_does_not_affect_the_next_one(settings: Settings) -> None:
    def never_ends() -> None:
        with bound.connection_context(), bound.atomic():
            store_quotation(KABIR, NOON)
            bound.execute_sql("SELECT pg_sleep(60)")

    database.connect(settings)
    with pytest.raises(OperationalError):
        never_ends()
    assert vars(bound.obj)["_in_use"] == {}
    with bound.connection_context(), bound.atomic():
        assert store_quotation(KABIR, NOON) == (4, True)


# ---- the connection pool


def _in_threads(count: int, function: Callable[[], object]) -> list[str]:
    """Call a function in several threads. Return its results, or errors, as text."""

    def outcome(_: int) -> str:
        try:
            with bound.connection_context():
                return str(function())
        except Exception as error:  # noqa: BLE001 its name is what the test looks at
            return f"{type(error).__name__}: {error}"

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(outcome, range(count)))


def test_connections_that_died_while_idle_cause_no_errors(proxy: Proxy, settings: Settings) -> None:
    all_here = threading.Barrier(4)
    database.connect(settings)
    assert _in_threads(4, lambda: all_here.wait(LIMIT_SECONDS) * 0) == ["0"] * 4
    proxy.cut()
    assert _in_threads(4, lambda: Quote.select().count()) == ["3"] * 4


def test_threads_share_a_limited_number_of_connections(
    settings: Settings, direct: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "POOL_SIZE", 3)
    monkeypatch.setattr(postgresql, "POOL_TIMEOUT_SECONDS", 0.5)
    database.connect(settings)
    ours = "datname = current_database() AND application_name = 'quoteapi'"
    count = f"SELECT count(*) FROM pg_stat_activity WHERE {ours}"  # noqa: S608
    all_threads = threading.Barrier(8)
    opened: list[int] = []

    def take() -> str:
        try:
            with bound.connection_context():
                all_threads.wait(LIMIT_SECONDS)  # until the others timed out
                opened.append(_fetch_all(direct, count)[0][0])
                return "held"
        except OperationalError as error:
            all_threads.wait(LIMIT_SECONDS)
            return str(error)

    with ThreadPoolExecutor(8) as threads:
        outcomes = [it.result() for it in [threads.submit(take) for _ in range(8)]]
    assert outcomes.count("held") == 3
    assert outcomes.count("all 3 connections were in use for 0.5 seconds") == 5
    assert max(opened) == 3
    vars(bound.obj)["_wait_timeout"] = LIMIT_SECONDS
    assert _in_threads(8, lambda: Quote.select().count()) == ["3"] * 8, "a thread that waits a little gets one"


def test_a_session_has_no_state_that_prevents_pooling(settings: Settings) -> None:
    with database.connect(settings).connection_context():
        for _ in range(20):
            assert Quote.select().where(Quote.id > 1).count() == 2
        assert _fetch_value("SELECT count(*) FROM pg_prepared_statements") == 0
        assert _fetch_value("SELECT count(*) FROM pg_settings WHERE source = 'session'") == 0
        assert _fetch_value("SHOW application_name") == "quoteapi"


def test_lambda_keeps_one_connection_between_invocations_and_pings_it_first(
    proxy: Proxy, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(settings, AWS_LAMBDA_FUNCTION_NAME="quotes", SMS_ALLOWED_REGIONS="IN").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        logging_setup, "configure_logging", lambda _, **__: None
    )  # whose handlers would outlive the test

    def invoke() -> int:
        with job_context():
            return int(_fetch_value("SELECT pg_backend_pid()"))

    first = invoke()
    assert invoke() == first
    proxy.cut()
    assert invoke() != first


FORKED = """
import gc, os, signal, sys, threading, time

os.register_at_fork(after_in_child=lambda: signal.alarm(30))  # in case it hangs

from quoteapi.storage import database
from quoteapi.settings import settings_for_database
from quoteapi.storage.models import Quote, database as bound

def pid():
    with bound.connection_context():
        return bound.execute_sql("SELECT pg_backend_pid()").fetchone()[0]

def connect():
    with bound.obj._lock, bound.obj._pool_lock:  # which a thread holds while it connects
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
assert pid() == idle, "the child closed its parent's connection"
bound.close_all()
"""


def test_a_forked_process_opens_its_own_connections_even_if_its_parent_held_the_locks(direct: str) -> None:
    ran = python("-W", "ignore", "-c", FORKED, direct)
    assert (ran.returncode, ran.stderr) == (0, "")


@sqlite_only
def test_the_driver_is_not_loaded_for_an_sqlite_file_but_can_be(database_url: str) -> None:
    code = (
        "import sys; from quoteapi.app import create_app; from quoteapi.settings import settings_for_database;"
        "from falcon.testing import TestClient; app = create_app(settings_for_database(sys.argv[1]));"
        "assert TestClient(app).simulate_get('/daily').json['quote'];"
        "assert 'psycopg' not in sys.modules; import psycopg; assert psycopg.connect"
    )
    ran = python("-c", code, database_url)
    assert (ran.returncode, ran.stderr) == (0, "")


# ---- while the database is unavailable


def _store_for_tomorrow(direct: str) -> None:
    """Store a quote that the schedule would not choose, as another machine may do."""
    with database.open_database(settings_for_database(direct)) as opened, bound.override(opened):
        StoredDailyQuote.create(date=NOON.date().replace(day=NOON.day + 1), quote=store_quotation(KABIR, NOON)[0])


def _daily(base: str) -> tuple[str, str]:
    response = requests.get(f"{base}/daily", timeout=30)
    assert response.status_code == 200, response.text
    return response.json()["quote"], response.headers["Cache-Control"]


def _subscribe(base: str) -> requests.Response:
    return requests.post(f"{base}/subscribe", data={"mobile": MIRA}, timeout=30)


def _assert_recovered(base: str, clock: FakeClock) -> None:
    time.sleep(postgresql.RETRY_DELAY_SECONDS)
    clock.advance(seconds=RETRY_INTERVAL.total_seconds())
    assert _daily(base)[0] == KABIR.quote, "as it is stored"
    assert int(_daily(base)[1].rpartition("=")[2]) > 40_000
    assert [requests.get(f"{base}{path}", timeout=30).status_code for path in ("/random", "/quotes", "/health")] == [
        200
    ] * 3
    assert _subscribe(base).status_code == 200


@pytest.mark.parametrize("away", [Proxy.refuse, Proxy.freeze])
@pytest.mark.usefixtures("_short_timeouts")
def test_quotes_are_served_while_the_database_is_unavailable_and_everything_recovers(
    proxy: Proxy, settings: Settings, direct: str, clock: FakeClock, away: Callable[[Proxy], None]
) -> None:
    _store_for_tomorrow(direct)
    bundled_quotes = {ALCOTT.quote, AUSTEN.quote, ZOLA.quote}
    with serve_app(create_app(settings, now=clock)) as base:
        today = _daily(base)
        away(proxy)
        assert _daily(base) == today, "today's quote stays the same"
        clock.advance(days=1)
        for _ in range(2):
            quotation, caching = _daily(base)
            assert quotation in bundled_quotes
            assert caching == "public, max-age=10"
            assert requests.get(f"{base}/random", timeout=30).json()["quote"] in bundled_quotes
        for response in (requests.get(f"{base}/quotes", timeout=30), _subscribe(base)):
            assert_problem(response, 503, "Database not available", "Try again")
            assert response.headers["Retry-After"] == "30"
        assert requests.get(f"{base}/health", timeout=30).status_code == 503
        proxy.come_back()
        _assert_recovered(base, clock)


def test_a_service_that_starts_while_the_database_is_unavailable_serves_quotes_and_recovers(
    proxy: Proxy, settings: Settings, direct: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _store_for_tomorrow(direct)
    monkeypatch.setattr(bound, "name", None)  # in a new process nothing is bound
    monkeypatch.setattr(bound, "_bound", None)
    clock.advance(days=1)
    proxy.refuse()
    with serve_app(create_app(settings, now=clock)) as base:
        assert _daily(base)[1] == "public, max-age=10"
        assert_problem(requests.get(f"{base}/quotes", timeout=30), 503, "Database not available", "Try again")
        assert requests.get(f"{base}/health", timeout=30).status_code == 503
        proxy.come_back()
        _assert_recovered(base, clock)
    postgresql_server.close_connections()


def test_a_command_without_its_database_fails_with_a_sentence(proxy: Proxy) -> None:
    proxy.refuse()
    ran = quoteapi("daily", DATABASE_URL=proxy.address())
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr.startswith("Error: The database cannot be used: ")
    assert "Connection refused" in ran.stderr
    assert ran.stderr.count("\n") == 1


IN_USE = "all 10 connections were in use for 3 seconds"


@pytest.mark.usefixtures("_short_timeouts")
def test_a_database_that_hangs_delays_few_requests_and_not_for_long(
    settings: Settings,
    direct: str,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(fallback, "SLOW_QUERY_SECONDS", 0.1)

    def get(path: str) -> None:
        assert requests.get(f"{base}{path}", timeout=30).status_code == 200

    with serve_app(create_app(settings, now=clock)) as base, psycopg.connect(direct) as locking:
        get("/random")
        locking.execute("LOCK TABLE quote IN ACCESS EXCLUSIVE MODE")
        clock.advance(minutes=2)
        clients = 12
        with ThreadPoolExecutor(clients) as threads:
            list(threads.map(get, ["/random", "/daily", "/random?category=hope"] * 8))
        tries = re.findall("The database is unavailable; .*: (.+)", caplog.text)
        assert set(tries) <= {"the database did not respond within 2 seconds", IN_USE}
        assert 1 <= len(tries) <= clients, "no second request of a client tries it"
        with record_sql() as statements:
            get("/random")
        assert statements == [], "later requests do not try the database"
        locking.rollback()
        _assert_used_again(base, clock)


def _assert_used_again(base: str, clock: FakeClock) -> None:
    clock.advance(seconds=RETRY_INTERVAL.total_seconds())
    assert int(_daily(base)[1].rpartition("=")[2]) > 10


@pytest.mark.usefixtures("_short_timeouts")
def test_an_unavailable_database_is_tried_once_in_ten_seconds(
    proxy: Proxy, settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []
    connect = postgresql.Connection.connect

    def count_tries(*args: Any, **parameters: Any) -> postgresql.Connection:  # noqa: ANN401
        tries.append("")
        return connect(*args, **parameters)

    monkeypatch.setattr(postgresql, "RETRY_DELAY_SECONDS", 0)
    with serve_app(create_app(settings, now=clock)) as base:
        postgresql_server.close_connections()
        proxy.refuse()
        monkeypatch.setattr(postgresql.Connection, "connect", count_tries)
        for expected in (1, 1, 2):
            _daily(base)
            assert len(tries) == expected
            if expected == len(tries) == 1 and clock() > NOON:
                clock.advance(seconds=RETRY_INTERVAL.total_seconds())
            clock.advance(seconds=1)
        proxy.come_back()


def test_a_read_only_server_serves_quotes_of_its_own_catalogue(
    settings: Settings, direct: str, clock: FakeClock
) -> None:
    with database.open_database(settings_for_database(direct)) as opened, bound.override(opened):
        store_quotation(KABIR, NOON)
    with psycopg.connect(direct, autocommit=True) as connection:
        name = Identifier(str(conninfo_to_dict(direct)["dbname"]))
        connection.execute(SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
    with serve_app(create_app(settings, now=clock)) as base:
        assert int(_daily(base)[1].rpartition("=")[2]) > 40_000
        response = requests.get(f"{base}/random", params={"author": KABIR.author}, timeout=30)
        assert response.json()["quote"] == KABIR.quote


def test_a_server_that_was_unavailable_at_the_start_is_migrated_when_it_is_available(
    bundled_catalogue: Callable[[list[Quotation]], Path], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled_catalogue([ALCOTT])
    monkeypatch.setattr(postgresql, "RETRY_DELAY_SECONDS", 0)
    with postgresql_server.create_database(with_tables=False) as empty, run_proxy(empty) as proxy:
        proxy.refuse()
        settings = read_settings({"DATABASE_URL": proxy.address(), "SECRET_KEY": SECRET_KEY})
        with serve_app(create_app(settings, now=clock)) as base:
            assert _daily(base)[0] == ALCOTT.quote
            proxy.come_back()
            assert requests.get(f"{base}/quotes", timeout=30).json()["total"] == 1
        postgresql_server.close_connections()


def test_a_lambda_container_uses_only_one_connection(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "POOL_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(bound, "name", None)
    variables = {"AWS_LAMBDA_FUNCTION_NAME": "quotes", "SMS_ALLOWED_REGIONS": "IN", "SECRET_KEY": SECRET_KEY}
    database.connect(read_settings({"DATABASE_URL": proxy.address(), **variables}))
    with bound.connection_context(), ThreadPoolExecutor(1) as another:
        assert _fetch_value("SELECT 1") == 1
        with pytest.raises(OperationalError, match=r"all 1 connections were in use for 0\.1 seconds"):
            another.submit(_fetch_value, "SELECT 1").result()
