import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import requests
from peewee import Database, SqliteDatabase

from quoteapi.app import create_app
from quoteapi.aws import schedulers
from quoteapi.quotes.fallback import AGAIN
from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import Settings, SettingsError, read_settings, settings_for_database
from quoteapi.storage import database, postgresql
from quoteapi.storage.models import MODELS, Author, Quote
from quoteapi.storage.models import database as bound
from tests.helpers import postgresql_server
from tests.helpers.clock import FakeClock
from tests.helpers.data import ALCOTT, AUSTEN, MIRA, NOON, ZOLA, database_file, environment
from tests.helpers.http import assert_problem, serve_app
from tests.helpers.processes import quoteapi
from tests.storage.test_database import made_by_an_earlier_release

NAMES = sorted(path.stem for path in database.MIGRATIONS.glob("[0-9]*.py"))
BAD = """
def up(migrator, db):
    db.execute_sql("CREATE TABLE half (id INTEGER)")
    db.execute_sql("DELETE FROM quote")
    raise ZeroDivisionError
"""


@pytest.fixture
def empty() -> Iterator[str]:
    """Answer the address of a database of a server without any tables."""
    with postgresql_server.a_database(with_tables=False) as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
def behind(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Make a database that lacks migrations: a file of an earlier release, or an empty one of a server."""
    if request.param == "postgresql":
        return settings_for_database(request.getfixturevalue("empty"))
    made_by_an_earlier_release(2, tmp_path / "working.db")
    return settings_for_database(f"sqlite:///{tmp_path}/working.db")


def _described(opened: Database) -> dict[str, Any]:
    """Answer all that there is in a database, what finds quotes by their words aside."""
    described: dict[str, Any] = {}
    for table in opened.get_tables():
        if table != database.HISTORY and not table.startswith("quote_search"):
            columns = [(it.name, it.null, it.primary_key) for it in opened.get_columns(table) if it.name != "search"]
            indexes = [
                (it.columns, it.unique, "WHERE" in (it.sql or ""))
                for it in opened.get_indexes(table)
                if it.name != "quote_search"
            ]
            keys = [(it.column, it.dest_table, it.dest_column) for it in opened.get_foreign_keys(table)]
            described[table] = sorted(columns), sorted(indexes), keys
    return described


def test_the_migrations_make_just_what_the_models_say(behind: Settings, tmp_path: Path) -> None:
    assert database.migrate_database(behind) == [
        name for name in NAMES if behind.database_path is None or name > "0003"
    ]
    with postgresql_server.a_database(with_tables=False) as other:
        by_models: Database = postgresql.PostgresqlServer(other, database.KEEP_NONE, lambda _: None)
        if behind.database_path is not None:
            by_models = SqliteDatabase(str(tmp_path / "by models.db"))
        with by_models.connection_context(), bound.override(by_models):
            by_models.create_tables(MODELS)
            expected = _described(by_models)
    assert len(expected) == len(MODELS)
    with database.open_copy_target(behind) as opened:
        assert _described(opened) == expected


def _made_ready(url: str) -> list[str]:
    return database.migrate_database(settings_for_database(url))


def test_many_processes_at_once_migrate_and_fill_an_empty_server_once(empty: str) -> None:
    with get_context("spawn").Pool(4) as pool:
        applied = pool.map(_made_ready, [empty] * 8, chunksize=1)
    assert sorted(applied) == [*[[]] * 7, NAMES]
    with database.connect(settings_for_database(empty)).connection_context():
        assert Quote.select().count() == 596
        assert sum(author.quotes for author in Author.select()) == 596
        assert database._asked(bound.obj, f"SELECT count(*) FROM {database.HISTORY}") == [(len(NAMES),)]  # noqa: S608


def test_a_migration_that_fails_leaves_nothing_behind(
    behind: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked_at() -> object:
        with database._opened(behind) as opened:
            rows = database._asked(opened, "SELECT * FROM quote") if opened.table_exists("quote") else None
            return sorted(opened.get_tables()), rows, database.list_migrations(behind)

    folder = tmp_path / "migrations"
    shutil.copytree(database.MIGRATIONS, folder)
    (folder / "9999_bad.py").write_text(BAD)
    with monkeypatch.context() as with_a_bad_one:
        with_a_bad_one.setattr(database, "MIGRATIONS", folder)
        with_a_bad_one.setattr(database, "_known", lambda: (*NAMES, "9999_bad"))
        before = looked_at()
        with pytest.raises(ZeroDivisionError):
            database.migrate_database(behind)
        assert looked_at() == before
    assert database.migrate_database(behind)[-1] == NAMES[-1], "and the next attempt is as good as the first"


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
        assert requests.get(f"{base}/daily", timeout=5).headers["Cache-Control"] == "public, max-age=10"
        answer = requests.post(f"{base}/subscribe", data={"mobile": MIRA}, timeout=5)
        assert_problem(answer, 503, "Database not available", "Try again")
        assert f"lacks the migration {', '.join(NAMES)}. Run `quoteapi db migrate`" in caplog.text
        assert "`zappa invoke STAGE quoteapi.aws.schedulers.migrate_database`" in caplog.text
        for name, value in on_lambda.items():
            monkeypatch.setenv(name, value)
        assert schedulers.migrate_database({}, None) == {"applied": NAMES}
        assert schedulers.migrate_database({}, None) == {"applied": []}
        clock.advance(seconds=AGAIN.total_seconds())
        assert int(requests.get(f"{base}/daily", timeout=5).headers["Cache-Control"].rpartition("=")[2]) > 40_000
        assert requests.get(f"{base}/health", timeout=5).json()["catalogue"] == {"quotes": 3}


def test_what_a_later_version_added_does_not_stop_this_one(settings: Settings, open_database: None) -> None:
    with bound.connection_context():
        bound.execute_sql(f"INSERT INTO {database.HISTORY} (name, applied) VALUES ('0099_later', '{NOON:%F}')")  # noqa: S608
    postgresql_server.let_go()
    bound.name = None  # so that it is opened as by a new process
    with database.connect(settings).connection_context():
        assert Quote.select().count() == 3
    assert [tuple(one) for one in database.list_migrations(settings)] == [
        *((name, "applied") for name in NAMES),
        ("0099_later", "newer"),
    ]


def test_the_command_shows_what_is_missing_and_applies_it(behind: Settings) -> None:
    url = {"DATABASE_URL": behind.database_url or ""}
    missing = [name for name in NAMES if behind.database_path is None or name > "0003"]
    status = quoteapi("db", "status", **url)
    assert status.returncode == 1
    assert status.stdout.splitlines()[0] == database.describe_database(behind)
    assert [line.split()[1] for line in status.stdout.splitlines()[3:]] == [
        "missing" if name in missing else "applied" for name in NAMES
    ]
    applied = quoteapi("db", "migrate", "--json", **url)
    assert (applied.returncode, json.loads(applied.stdout)) == (0, {"applied": missing})
    assert quoteapi("db", "migrate", **url).stdout == "Nothing is missing.\n"
    status = quoteapi("db", "status", "--json", **url)
    assert (status.returncode, json.loads(status.stdout)) == (0, [{"name": it, "state": "applied"} for it in NAMES])


def test_a_file_that_is_not_there_yet_is_made_by_the_command(tmp_path: Path) -> None:
    new = settings_for_database(f"sqlite:///{tmp_path}/new.db")
    status = quoteapi("db", "status", DATABASE_URL=new.database_url or "")
    assert (status.returncode, status.stdout.count("applied")) == (0, len(NAMES))
    assert database_file(new).exists()


def test_a_file_of_somebody_else_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "bookmarks.db"
    for number in (0, 7):
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE bookmarks (url TEXT)")
            connection.execute(f"PRAGMA user_version = {number}")
        before = path.read_bytes()
        for look in (database.migrate_database, database.list_migrations, database.connect):
            with pytest.raises(SettingsError, match="is not a database of QuoteAPI"):
                look(settings_for_database(f"sqlite:///{path}"))
        assert path.read_bytes() == before


def test_the_shipped_catalogue_is_not_even_looked_at_for_writing(settings: Settings) -> None:
    before = vars(database)["BUNDLED_CATALOGUE"].read_bytes()
    for look in (database.migrate_database, database.list_migrations):
        with pytest.raises(SettingsError, match="which is never written to"):
            look(settings_for_database(f"sqlite:///{vars(database)['BUNDLED_CATALOGUE']}"))
    assert vars(database)["BUNDLED_CATALOGUE"].read_bytes() == before
