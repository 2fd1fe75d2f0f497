import itertools
import sqlite3
from contextlib import closing
from threading import Timer
from types import SimpleNamespace

import pytest
from peewee import OperationalError

from quoteapi.settings import Settings
from quoteapi.storage import database, sqlite
from quoteapi.storage.catalogue import catalogue_size, store_quotation
from quoteapi.storage.models import ConsoleSms
from quoteapi.storage.models import database as bound
from tests.helpers.data import KABIR, NOON, database_file, sqlite_only


@sqlite_only
def test_a_working_database_is_in_wal_mode_and_waits_for_writers(open_database: None) -> None:
    connection = bound.connection()
    pragmas = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "busy_timeout")}
    assert pragmas == {"journal_mode": "wal", "busy_timeout": 5_000}


@sqlite_only
def test_a_writer_waits_for_another_one(open_database: None, settings: Settings) -> None:
    with closing(sqlite3.connect(database_file(settings), check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        Timer(0.3, other.rollback).start()
        assert store_quotation(KABIR, NOON) == (4, True)


@sqlite_only
def test_secure_delete_leaves_deleted_rows_in_no_file(settings: Settings) -> None:
    files = database_file(settings).parent.glob("working.db*")
    with database.connect(settings).connection_context():
        for number in range(500):
            ConsoleSms.create(to=f"+91{9_028_000_000 + number * 7919 % 500}", message="x", kind="code", sent_at=NOON)
        ConsoleSms.delete().where(ConsoleSms.to == "+919028000123").execute()
        assert bound.secure_delete()
        assert not any(b"+919028000123" in file.read_bytes() for file in files)


@sqlite_only
def test_secure_delete_returns_false_while_a_reader_uses_old_pages(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_SECONDS", 0.1)
    with database.connect(settings).connection_context(), closing(sqlite3.connect(database_file(settings))) as reader:
        ConsoleSms.create(to="+919028000123", message="x", kind="code", sent_at=NOON)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM consolesms").fetchall()
        ConsoleSms.delete().execute()
        assert not bound.secure_delete()
        reader.rollback()
        assert bound.secure_delete()


SLOW_STATEMENT = "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number) SELECT n FROM number"


@sqlite_only
def test_a_statement_that_exceeds_its_timeout_is_interrupted(open_database: None) -> None:
    for count_rows in ("SELECT count(*) FROM ({})", "{}"):  # the second is slow only while its rows are read
        with pytest.raises(OperationalError, match=r"longer than 0\.05 seconds"), bound.statement_timeout(0.05):
            bound.execute_sql(count_rows.format(SLOW_STATEMENT)).fetchall()
    assert catalogue_size() == 3


@sqlite_only
def test_a_statement_timeout_is_per_statement_and_ends_with_its_block(
    open_database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = itertools.count()
    monkeypatch.setattr(
        sqlite, "time", SimpleNamespace(monotonic=lambda: next(seconds))
    )  # it is read every 1,000 instructions
    takes_a_while = f"{SLOW_STATEMENT} WHERE n >= 20000 LIMIT 1"
    begun = next(seconds)
    with bound.statement_timeout(1_000_000):
        bound.execute_sql(takes_a_while)
    took = next(seconds) - begun
    assert took > 100
    with bound.statement_timeout(2 * took):
        for _ in range(3):
            bound.execute_sql(takes_a_while)
    with bound.statement_timeout(2 * took), pytest.raises(OperationalError), bound.statement_timeout(took / 2):
        bound.execute_sql(takes_a_while)
    with pytest.raises(OperationalError), bound.statement_timeout(took / 2), bound.statement_timeout(2 * took):
        bound.execute_sql(takes_a_while)
    assert bound.execute_sql(takes_a_while).fetchone() == (20_000,)


@sqlite_only
def test_other_errors_within_a_statement_timeout_are_unchanged(open_database: None) -> None:
    with pytest.raises(OperationalError, match="no such table"), bound.statement_timeout(5):
        bound.execute_sql("SELECT * FROM missing")
    bound.close()
    with bound.statement_timeout(5):
        assert catalogue_size() == 3, "the connection was opened within"
