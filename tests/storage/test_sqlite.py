import sqlite3
from contextlib import closing
from threading import Timer

import pytest

from quoteapi.settings import Settings
from quoteapi.storage import database, sqlite
from quoteapi.storage.catalogue import store_quotation
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
