import ast
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from peewee import Database, SqliteDatabase
from playhouse.migrations import Migration

from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import RateLimit, Settings, settings_for_database
from quoteapi.storage import database, full_text_search, migrate
from quoteapi.storage.models import MODELS, LegacyOneTimePassword, OneTimePassword, Subscriber, SubscriberCount
from quoteapi.storage.models import database as bound
from quoteapi.storage.postgresql import PostgresqlServer
from quoteapi.storage.sql_state import SqlState
from quoteapi.subscriptions.errors import RateLimited, WrongOtp
from quoteapi.subscriptions.hmac_digest import HmacDigest
from quoteapi.subscriptions.otp import OneTimePasswords
from tests.helpers import postgresql_server, states
from tests.helpers.clock import FakeClock
from tests.helpers.data import ALCOTT, AUSTEN, KABIR, MIRA, NOON, NOOR, ZOLA, add_subscribers
from tests.helpers.databases import create_file_of_release
from tests.helpers.states import TODAY, TOPIC


def _load(name: str) -> ModuleType:
    (migration,) = [one for one in Migration.load_directory(str(migrate.MIGRATIONS)) if one.name == name]
    module: ModuleType = migration.load()
    return module


def _describe(opened: Database) -> dict[str, Any]:
    """Return all tables, columns, indexes and foreign keys, except what is for full-text search."""
    described: dict[str, Any] = {}
    for table in opened.get_tables():
        if table != migrate.HISTORY_TABLE and not table.startswith("quote_search"):
            columns = [
                (it.name, it.data_type.replace("VARCHAR(255)", "TEXT"), it.null, it.primary_key)  # as in early releases
                for it in opened.get_columns(table)
                if it.name != "search"
            ]
            indexes = [
                (it.columns, it.unique, "WHERE" in (it.sql or ""))
                for it in opened.get_indexes(table)
                if it.name != "quote_search"
            ]
            keys = [(it.column, it.dest_table, it.dest_column) for it in opened.get_foreign_keys(table)]
            described[table] = sorted(columns), sorted(indexes), keys
    return described


@pytest.mark.parametrize("kind", ["file of an earlier release", "empty server"])
def test_the_migrations_create_what_the_models_say(kind: str, tmp_path: Path) -> None:
    is_file = kind.startswith("file")
    with (
        postgresql_server.create_database(with_tables=False) as migrated,
        postgresql_server.create_database(with_tables=False) as other,
    ):
        by_models: Database = SqliteDatabase(str(tmp_path / "by models.db")) if is_file else PostgresqlServer(other)
        with by_models.connection_context(), bound.override(by_models):
            by_models.create_tables(MODELS)
            expected = _describe(by_models)
        assert len(expected) == len(MODELS)
        if is_file:
            create_file_of_release(2, tmp_path / "working.db")
        settings = settings_for_database(f"sqlite:///{tmp_path}/working.db" if is_file else migrated)
        missing = [name for name in migrate.known_migrations() if not is_file or name > "0003"]
        assert database.migrate_database(settings) == missing
        with database.open_database(settings) as opened:
            assert _describe(opened) == expected


def test_the_migration_counts_the_active_subscribers(settings: Settings, open_database: None) -> None:
    name = "0005_subscriber_count"
    for stored in (["active", "unsubscribed", "active", "stopped"], []):
        for n, state in enumerate(stored):
            add_subscribers(f"+91902800000{n}", state=state)
        bound.execute_sql("DROP TABLE subscribercount")
        bound.execute_sql(f"DELETE FROM {migrate.HISTORY_TABLE} WHERE name = '{name}'")  # noqa: S608
        bound.obj.close()
        assert database.migrate_database(settings) == [name]
        with bound.connection_context():
            assert list(SubscriberCount.select().tuples()) == [("active", stored.count("active"))]
            Subscriber.delete().execute()


def test_no_migration_imports_code_that_may_change() -> None:
    scripts = list(migrate.MIGRATIONS.glob("[0-9]*.py"))
    assert len(scripts) == len(migrate.known_migrations())
    for script in scripts:
        for node in ast.walk(ast.parse(script.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [f"{'.' * node.level}{node.module}"] if isinstance(node, ast.ImportFrom) else []
            assert [name for name in names if name.startswith(("quoteapi", "."))] == [], script.name


def test_migration_0006_keeps_codes_under_way_and_wrong_tries(open_database: None, clock: FakeClock) -> None:
    passwords = OneTimePasswords(
        SqlState(), HmacDigest(b"key"), RateLimit(5, 3_600), clock, randbelow=lambda _: 123_456
    )
    passwords.generate(passwords.request(MIRA, "subscribe", "192.0.2.1"))
    passwords.generate(passwords.request(NOOR, "unsubscribe", "192.0.2.1"))
    for _ in range(5):
        with pytest.raises(WrongOtp):
            passwords.verify(NOOR, "unsubscribe", "654321")
    stored: Any = OneTimePassword.select().dicts()
    rows = list(stored)
    names = rows[0].keys() - {"time_zone"}
    LegacyOneTimePassword.insert_many([{name: row[name] for name in names} for row in rows]).execute()  # as before it
    bound.drop_tables([OneTimePassword])
    _load("0006_otp_purposes").up(None, bound.obj)
    bound.execute_sql("ALTER TABLE otp ADD COLUMN time_zone VARCHAR(64)")  # as migration 0007 does
    assert passwords.verify(MIRA, "subscribe", "123456").requested_from == "192.0.2.1"
    with pytest.raises(RateLimited):
        passwords.request(NOOR, "unsubscribe", "192.0.2.1")
    assert LegacyOneTimePassword.select().count() == 2, "processes of the version before go on with it"


def undo_migration_0007() -> None:
    """Make the schema that of the version before."""
    bound.execute_sql("DROP INDEX subscriber_without_time_zone")
    bound.execute_sql("DROP TABLE duerun")
    for table, column, _ in _load("0007_time_zones").COLUMNS:
        bound.execute_sql(f'ALTER TABLE "{table}" DROP COLUMN "{column}"')
    bound.execute_sql(f"DELETE FROM {migrate.HISTORY_TABLE} WHERE name = '0007_time_zones'")  # noqa: S608


def test_migration_0007_keeps_all_rows_and_the_version_before_can_go_on(
    settings: Settings, open_database: None
) -> None:
    state = SqlState()
    active, ended = (states.sync(state, states.activate(state, mobile)) for mobile in (MIRA, NOOR))
    state.deactivate(NOOR, now=NOON)
    otp = states.generate_otp(state, purpose="unsubscribe")
    states.send_delivery(state, TODAY, TOPIC, now=NOON)
    delivery = state.find_delivery(TODAY, TOPIC)
    migrated = _describe(bound.obj)
    undo_migration_0007()
    assert _describe(bound.obj) != migrated
    bound.obj.close()
    assert database.migrate_database(settings) == ["0007_time_zones"]
    with bound.obj.connection_context():
        assert _describe(bound.obj) == migrated
        unknown: dict[str, Any] = {"time_zone": None, "joined_at": None}
        assert states.stored_subscriber(state, MIRA) == active._replace(**unknown)
        assert states.stored_subscriber(state, NOOR).time_zone is None
        assert (states.stored_otp(state, otp), state.find_delivery(TODAY, TOPIC)) == (otp, delivery)
        assert state.last_due_run() is None
        names = "mobile, state, asked_at, asked_from, confirmed_at, confirmed_from"
        insert = (
            f"INSERT INTO subscriber ({names}) SELECT '+919028000099', 'active', asked_at, asked_from, confirmed_at,"
        )
        bound.execute_sql(f"{insert} confirmed_from FROM subscriber WHERE mobile = '{MIRA}'")
        without = [subscriber.mobile for subscriber in state.subscribers_without_time_zone()]
        assert without == [MIRA, "+919028000099"]
        assert states.confirm(state, states.generate_otp(state, NOOR)) == ended.id
        assert states.stored_subscriber(state, NOOR).time_zone == states.KOLKATA


search_migration = _load("0003_search")
"""If a later migration makes other search tokens, compare that one with the live code instead."""


@given(st.text(), st.text(), st.text(), st.text())
@example(*ALCOTT)
@example(*AUSTEN)
@example(*ZOLA)
@example(*KABIR)
@example("Don’t ❤️ 1️⃣ ﬁne, क़लम", "Author of many words " * 5, "c" * 61, "がぎ a\u0301\u034f\U000e0101")
def test_migration_0003_makes_the_same_search_tokens_as_the_live_code(
    quote: str, author: str, category: str, source: str
) -> None:
    quotation = Quotation(quote, author, category, source)
    assert search_migration.search_tokens(quotation) == full_text_search.search_tokens(*quotation)


def test_migration_0003_folds_every_character_as_the_live_code_does() -> None:
    for start in range(0, 0x110000, 0x1000):
        text = " ".join(f"x{chr(code)}y" for code in range(start, start + 0x1000))
        assert search_migration.tokenize(text) == full_text_search.tokenize(text)
