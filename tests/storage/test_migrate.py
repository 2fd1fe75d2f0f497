import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import requests

from quoteapi.app import create_app
from quoteapi.aws import schedulers
from quoteapi.quotes.fallback import RETRY_INTERVAL
from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import Settings, SettingsError, read_settings, settings_for_database
from quoteapi.storage import database, migrate
from quoteapi.storage.models import Author, Quote
from quoteapi.storage.models import database as bound
from tests.helpers import postgresql_server
from tests.helpers.clock import FakeClock
from tests.helpers.data import ALCOTT, AUSTEN, MIRA, NOON, SECRET_KEY, ZOLA, environment
from tests.helpers.databases import create_file_of_release
from tests.helpers.http import assert_problem, serve_app

NAMES = list(migrate.known_migrations())
BAD = """
def up(migrator, db):
    db.execute_sql("CREATE TABLE half (id INTEGER)")
    db.execute_sql("DELETE FROM quote")
    raise ZeroDivisionError
"""


@pytest.fixture
def empty() -> Iterator[str]:
    """Return the URL of a database without tables."""
    with postgresql_server.create_database(with_tables=False) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def outdated(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Create a database that lacks migrations: a file of an earlier release, or an empty one on a server."""
    if request.param == "postgresql":
        return settings_for_database(request.getfixturevalue("empty"))
    create_file_of_release(2, tmp_path / "working.db")
    return settings_for_database(f"sqlite:///{tmp_path}/working.db")


def _migrate(url: str) -> list[str]:
    return database.migrate_database(settings_for_database(url))


def _fetch(opened: Any, sql: str) -> list[tuple[Any, ...]]:  # noqa: ANN401
    return list(opened.execute_sql(sql).fetchall())


def test_many_processes_at_once_migrate_and_fill_an_empty_server_once(empty: str) -> None:
    with get_context("spawn").Pool(4) as pool:
        applied = pool.map(_migrate, [empty] * 8, chunksize=1)
    assert sorted(applied) == [*[[]] * 7, NAMES]
    with database.connect(settings_for_database(empty)).connection_context():
        assert Quote.select().count() == 596
        assert sum(author.quotes for author in Author.select()) == 596
        assert _fetch(bound.obj, f"SELECT count(*) FROM {migrate.HISTORY_TABLE}") == [(len(NAMES),)]  # noqa: S608


def test_a_migration_that_fails_changes_nothing(
    outdated: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_at() -> object:
        with database.open_database(outdated) as opened:
            rows = _fetch(opened, "SELECT * FROM quote") if opened.table_exists("quote") else None
            return sorted(opened.get_tables()), rows, database.list_migrations(outdated)

    folder = tmp_path / "migrations"
    shutil.copytree(migrate.MIGRATIONS, folder)
    (folder / "9999_bad.py").write_text(BAD)
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "MIGRATIONS", folder)
        patch.setattr(migrate, "known_migrations", lambda: (*NAMES, "9999_bad"))
        before = look_at()
        with pytest.raises(ZeroDivisionError):
            database.migrate_database(outdated)
        assert look_at() == before
    assert database.migrate_database(outdated)[-1] == NAMES[-1], "and it can be tried again"


def test_on_lambda_a_server_that_lacks_migrations_says_what_to_run(
    empty: str,
    bundled_catalogue: Callable[[list[Quotation]], Path],
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bundled_catalogue([ALCOTT, AUSTEN, ZOLA])
    on_lambda = environment(settings_for_database(empty), AWS_LAMBDA_FUNCTION_NAME="quotes", SMS_ALLOWED_REGIONS="IN")
    with serve_app(create_app(read_settings(on_lambda), now=clock)) as base:
        assert requests.get(f"{base}/daily", timeout=30).headers["Cache-Control"] == "public, max-age=10"
        response = requests.post(f"{base}/subscribe", data={"mobile": MIRA}, timeout=30)
        assert_problem(response, 503, "Database not available", "Try again")
        assert f"has missing migrations: {', '.join(NAMES)}. Run `quoteapi db migrate`" in caplog.text
        assert "`zappa invoke STAGE quoteapi.aws.schedulers.migrate_database`" in caplog.text
        for name, value in on_lambda.items():
            monkeypatch.setenv(name, value)
        assert schedulers.migrate_database({}, None) == {"applied": NAMES}
        assert schedulers.migrate_database({}, None) == {"applied": []}
        clock.advance(seconds=RETRY_INTERVAL.total_seconds())
        assert int(requests.get(f"{base}/daily", timeout=30).headers["Cache-Control"].rpartition("=")[2]) > 40_000
        assert requests.get(f"{base}/health", timeout=30).json()["catalogue"] == {"quotes": 3}


def test_migrations_of_a_later_version_are_no_error(settings: Settings, open_database: None) -> None:
    with bound.connection_context():
        bound.execute_sql(f"INSERT INTO {migrate.HISTORY_TABLE} (name, applied) VALUES ('0099_later', '{NOON:%F}')")  # noqa: S608
    postgresql_server.close_connections()
    bound.name = None  # so that it is opened as in a new process
    with database.connect(settings).connection_context():
        assert Quote.select().count() == 3
    assert list(database.list_migrations(settings).items()) == [
        *((name, "applied") for name in NAMES),
        ("0099_later", "newer"),
    ]


def test_a_file_of_another_program_is_refused_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "bookmarks.db"
    for number in (0, 7):
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE bookmarks (url TEXT)")
            connection.execute(f"PRAGMA user_version = {number}")
        before = path.read_bytes()
        for use in (database.migrate_database, database.list_migrations, database.connect):
            with pytest.raises(SettingsError, match="is not a database of QuoteAPI"):
                use(settings_for_database(f"sqlite:///{path}"))
        assert path.read_bytes() == before


def test_the_bundled_catalogue_is_refused_and_not_changed(settings: Settings) -> None:
    before = vars(database)["BUNDLED_CATALOGUE"].read_bytes()
    for use in (database.migrate_database, database.list_migrations):
        with pytest.raises(SettingsError, match="bundled catalogue, which is read-only"):
            use(settings_for_database(f"sqlite:///{vars(database)['BUNDLED_CATALOGUE']}"))
    assert vars(database)["BUNDLED_CATALOGUE"].read_bytes() == before


def test_a_server_that_does_not_let_its_user_migrate_says_what_to_run(
    empty: str, bundled_catalogue: Callable[[list[Quotation]], Path], clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    bundled_catalogue([ALCOTT, AUSTEN, ZOLA])
    with postgresql_server.create_user() as name:
        url = empty.replace("postgres:@", f"{name}:@")
        assert url != empty
        with serve_app(create_app(read_settings({"DATABASE_URL": url, "SECRET_KEY": SECRET_KEY}), now=clock)) as base:
            what_to_do = (
                rf"the database has missing migrations: {', '.join(NAMES)}\. Run `quoteapi db migrate` .*,"
                r" as a user who can create tables \(permission denied for schema public"
            )
            assert re.search(rf"The database cannot be used: {what_to_do}", caplog.text)
            assert requests.get(f"{base}/daily", timeout=30).headers["Cache-Control"] == "public, max-age=10"
            caplog.clear()
            response = requests.post(f"{base}/subscribe", data={"mobile": MIRA}, timeout=30)
            assert_problem(response, 503, "Database not available", "For the cause, see the log of the service.")
            assert "lacks" not in response.text
            assert re.search(rf"Database not available: {what_to_do}", caplog.text)
            caplog.clear()
            assert requests.get(f"{base}/health", timeout=30).status_code == 503
            assert re.search(rf"Database not available: {what_to_do}", caplog.text)
        postgresql_server.close_connections()
