import json
import os
import pty
import re
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from peewee import (
    AutoField,
    BigIntegerField,
    BooleanField,
    DateField,
    Field,
    ForeignKeyField,
    IntegerField,
    OperationalError,
)

from quoteapi.app import create_app
from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import ROOT, Settings, SettingsError, read_settings, settings_for_database
from quoteapi.storage import database, database_copy
from quoteapi.storage.catalogue import list_quotes, store_quotations
from quoteapi.storage.database_copy import CannotCopy, CopiedSoFar
from quoteapi.storage.full_text_search import Filters
from quoteapi.storage.models import MODELS, ConsoleSms, Quote, Subscriber, UtcDateTimeField
from quoteapi.storage.models import database as bound
from tests.helpers import postgresql_server
from tests.helpers.clock import FakeClock
from tests.helpers.data import ALCOTT, AUSTEN, KABIR, NOON, ZOLA, database_file, environment, numbered_quotations
from tests.helpers.http import serve_app
from tests.helpers.processes import BARE, quoteapi
from tests.helpers.sql import record_sql

ROWS = 10
"""In each table; a batch has three."""


class BrokenOff(Exception):
    pass


def _value(field: Field, n: int) -> object:
    """Make a value of a column for row `n`, another in each, with all that could be lost in between."""
    if field.null and n % 2:
        return None
    if isinstance(field, UtcDateTimeField):
        return NOON + timedelta(days=n, microseconds=n)
    if isinstance(field, DateField):
        return (NOON + timedelta(days=n // 4 if field.model._meta.composite_key else n)).date()
    if isinstance(field, BooleanField):
        return bool(n % 2)
    if isinstance(field, IntegerField | ForeignKeyField | BigIntegerField):
        return n * 7 if isinstance(field, AutoField) else n
    text = f"{n} “काल” – é\t{'x' * n}"
    return text[: getattr(field, "max_length", None) or 40]


def _fill(settings: Settings) -> None:
    """Put rows into every table."""
    with database.open_copy_target(settings) as opened, bound.override(opened):
        store_quotations([ALCOTT, AUSTEN, ZOLA, KABIR, *numbered_quotations(ROWS - 4)], NOON - timedelta(days=99))
        for model in MODELS:
            if model not in database_copy.FILLED:
                fields = model._meta.sorted_fields
                rows = [{field.name: _value(field, n) for field in fields} for n in range(1, ROWS + 1)]
                model.insert_many(rows).execute()
                database.reset_sequence(model)


def _rows(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    with database.open_copy_target(settings) as opened, bound.override(opened):
        by_key: list[tuple[str, Any]] = [
            (model._meta.table_name, model.select().order_by(*database_copy._key(model))) for model in MODELS
        ]
        return {table: list(rows.dicts()) for table, rows in by_key}


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_copy, "BATCH", 3)


@pytest.fixture
def new(tmp_path: Path, bundled_catalogue: Callable[[list[Quotation]], Path]) -> Iterator[Callable[[str], Settings]]:
    """Answer the settings of a database that is made by whoever opens it."""
    bundled_catalogue([ALCOTT, AUSTEN, ZOLA])
    numbers = count()
    with ExitStack() as stack:

        def make(kind: str) -> Settings:
            if kind == "file":
                return settings_for_database(f"sqlite:///{tmp_path}/copy {next(numbers)}.db")
            return settings_for_database(stack.enter_context(postgresql_server.a_database(with_tables=False)))

        yield make


@pytest.fixture
def source(new: Callable[[str], Settings]) -> Settings:
    made = new("file")
    _fill(made)
    return made


@pytest.fixture
def target(new: Callable[[str], Settings]) -> Settings:
    return new("server")


def _inserted(statements: list[str]) -> Counter[str]:
    tables = [found[1] for it in statements if (found := re.match(r'INSERT INTO "(\w+)"', it))]
    return Counter(table for table in tables if table not in {CopiedSoFar._meta.table_name, database.HISTORY})


@pytest.mark.parametrize(("here", "there"), [("file", "server"), ("server", "file"), ("file", "file")])
def test_a_copy_has_the_same_rows_and_works_as_before(
    new: Callable[[str], Settings], clock: FakeClock, here: str, there: str
) -> None:
    source, target = new(here), new(there)
    _fill(source)
    database.connect(target)  # which fills it with the shipped quotes
    with record_sql() as statements:
        copied = database_copy.copy(source, target)
    unbounded = [
        it for it in statements if it.startswith("SELECT") and not re.search(r"LIMIT|COUNT\(|setval|FROM p", it)
    ]
    assert [it for it in unbounded if any(f'"{model._meta.table_name}"' in it for model in MODELS)] == []
    rows = _rows(source)
    assert all(len(of_table) >= 3 for of_table in rows.values())
    assert rows == _rows(target)
    assert [(table.table, table.rows) for table in copied] == [(name, len(rows[name])) for name in rows]
    with serve_app(create_app(read_settings(environment(target)), now=clock)) as base:
        for path in ("/daily", "/random", "/quotes?search=many", "/authors", "/health"):
            assert requests.get(f"{base}{path}", timeout=5).status_code == 200
    with bound.connection_context():
        assert [row.author for row in list_quotes(Filters(words="कर"), 5)] == [KABIR.author]
        assert not CopiedSoFar.table_exists()  # type: ignore[no-untyped-call]
        for model in (Subscriber, ConsoleSms):
            row = model.get_by_id(7).__data__ | {"id": None, "mobile": "another"}
            fresh = model.create(**{name: value for name, value in row.items() if name in model._meta.fields})
            assert fresh.id == 7 * ROWS + 1, "ids go on where they were"
    bound.obj.close()
    postgresql_server.let_go()


def test_a_copy_that_is_broken_off_again_and_again_copies_every_row_once(source: Settings, target: Settings) -> None:
    database.migrate_database(target, fill=False)
    told: list[int] = []

    def break_off_at(last: int) -> Callable[[int], None]:
        left = iter(range(last))

        def progress(rows: int) -> None:
            told.append(rows)
            if next(left, None) is None:
                raise BrokenOff

        return progress

    copied = None
    with record_sql() as statements:
        for attempt in count(1):
            told.clear()
            try:
                copied = database_copy.copy(source, target, break_off_at(7 * attempt))
                break
            except BrokenOff:
                continue
    rows = _rows(source)
    assert copied is not None
    assert attempt > 5
    assert _rows(target) == rows
    assert _inserted(statements) == {name: -(-len(of_table) // 3) for name, of_table in rows.items()}
    assert sum(told) == 2 * database_copy.rows_of(source), "progress ends at 100 %, whoever goes on"


def copy_slowly(source: str, target: str) -> None:
    database_copy.BATCH = 3
    database_copy.copy(settings_for_database(source), settings_for_database(target), lambda _: time.sleep(0.02))


def test_a_copy_that_is_killed_goes_on_where_it_was(source: Settings, target: Settings) -> None:
    copier = get_context("spawn").Process(target=copy_slowly, args=(source.database_url, target.database_url))
    copier.start()
    is_under_way = False
    while copier.is_alive() and not is_under_way:
        time.sleep(0.02)
        try:
            with database._opened(target) as opened, bound.override(opened):
                is_under_way = opened.table_exists("copiedsofar") and CopiedSoFar.select().count() > 4
        except OperationalError:
            continue
    assert is_under_way
    copier.kill()
    copier.join()
    with record_sql() as statements:
        database_copy.copy(source, target)
    rows = _rows(source)
    assert _rows(target) == rows
    again = _inserted(statements)
    assert "quote" not in again, "what was there is not copied again"
    assert again["consolesms"] == 4


def test_a_target_with_data_of_its_own_is_left_alone(new: Callable[[str], Settings], source: Settings) -> None:
    for model, target in ((ConsoleSms, new("server")), (Quote, new("file"))):
        database.connect(target)
        with bound.connection_context():
            if model is Quote:
                store_quotations([Quotation("Mine.", "Me", "mine")], NOON)
            else:
                ConsoleSms.create(to="x", message="mine", kind="code", sent_at=NOON)
        postgresql_server.let_go()
        before = _rows(target)
        with pytest.raises(CannotCopy, match="the target has data of its own"):
            database_copy.copy(source, target)
        assert _rows(target) == before
    with pytest.raises(CannotCopy, match="both are the same database"):
        database_copy.copy(source, settings_for_database(f"sqlite:////{source.database_path}"))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE quote SET source = 'another' WHERE id = 1",
        "INSERT INTO author VALUES ('0', 'late', 1)",
        "DELETE FROM category WHERE key = (SELECT min(key) FROM category)",
        "UPDATE subscriber SET id = 999 WHERE id = 7",  # as of who was removed and came back
    ],
)
def test_who_writes_meanwhile_is_found_out_and_saying_it_again_helps(
    source: Settings, target: Settings, change: str
) -> None:
    sns_calls = count()

    def write_meanwhile(_: int) -> None:
        if next(sns_calls) == 22:  # when the first tables are copied, and most subscribers
            with database._opened(source) as opened:
                opened.execute_sql(change)  # type: ignore[no-untyped-call]

    with pytest.raises(CannotCopy, match=r"somebody writes to one of the two. Stop the service, and say it again"):
        database_copy.copy(source, target, write_meanwhile)
    database_copy.copy(source, target)
    assert _rows(target) == _rows(source)


# ---- the command


def test_the_command_copies_and_says_what_is_the_same(source: Settings, target: Settings, tmp_path: Path) -> None:
    here, there = source.database_url or "", (target.database_url or "").replace("postgres:@", "postgres:S3cret@")
    terminal, end = pty.openpty()
    words = [sys.executable, "-m", "quoteapi", "db", "copy", here, there]
    copied = subprocess.run(words, stderr=end, stdout=subprocess.PIPE, env=BARE, cwd=ROOT, check=True, text=True)
    os.close(end)
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert "Copying and comparing" in shown
    assert "100%" in shown
    assert "S3cret" not in shown + copied.stdout
    lines = copied.stdout.splitlines()
    assert lines[0].split("  ")[0] == "table"
    assert [line.split()[:2] for line in lines[1 : 1 + len(MODELS)]] == [
        [name, str(len(rows))] for name, rows in _rows(source).items()
    ]
    assert f"{database.describe_database(target)} has the same as {source.database_path}." in lines
    assert f"{source.database_path}.key" in lines[-1]
    again = quoteapi("db", "copy", here, there)
    assert (again.returncode, again.stdout) == (1, "")
    assert (
        again.stderr
        == "Error: The target has data of its own (or a copy that was finished); name a database that is new.\n"
    )
    back = quoteapi("db", "copy", there, f"sqlite:///{tmp_path}/back.db", "--json")
    assert [(table["table"], table["rows"]) for table in json.loads(back.stdout)] == [
        (name, len(rows)) for name, rows in _rows(source).items()
    ]


def test_the_command_refuses_in_a_sentence(source: Settings, tmp_path: Path) -> None:
    here, nowhere = source.database_url or "", f"sqlite:///{tmp_path}/none.db"
    for words, exit_code, said in (
        ((nowhere, here), 1, f"There is no database {tmp_path}/none.db."),
        ((here, here), 1, "Both are the same database."),
        (
            (here, "postgresql://noor:S3cret@@localhost/quotes"),
            3,
            "Name a database by an address that names a database",
        ),
        ((here, "postgresql://noor:S3cret@127.0.0.1:1/quotes"), 3, "The database cannot be used: connection failed"),
        ((here, f"sqlite:///{tmp_path}/none/new.db"), 3, "cannot be made (No such file or directory)"),
    ):
        refused = quoteapi("db", "copy", *words)
        assert (refused.returncode, refused.stdout) == (exit_code, "")
        assert refused.stderr.startswith("Error: ")
        assert said in refused.stderr
        assert "S3cret" not in refused.stderr
        assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("there", ["file", "server"])
def test_the_half_of_a_copy_serves_nobody(new: Callable[[str], Settings], source: Settings, there: str) -> None:
    target = new(there)
    with pytest.raises(BrokenOff):
        database_copy.copy(source, target, _break_off)
    with pytest.raises(SettingsError, match="is the half of a copy that was broken off"):
        database.connect(target)
    if there == "server":
        with pytest.raises(OperationalError, match="broken off"), bound.connection_context():
            Subscriber.select().count()
        postgresql_server.let_go()
    database_copy.copy(source, target)
    database.connect(target)
    with bound.connection_context():
        assert Subscriber.select().count() == ROWS
    bound.obj.close()
    postgresql_server.let_go()


def _break_off(_rows: int) -> None:
    raise BrokenOff


@pytest.mark.parametrize("kind", ["file", "server"])
def test_a_database_is_not_copied_to_itself_however_it_is_written(
    new: Callable[[str], Settings], tmp_path: Path, kind: str
) -> None:
    source = new(kind)
    with database.open_copy_target(source) as opened, bound.override(opened):
        store_quotations(numbered_quotations(5), NOON)
    (tmp_path / "link.db").symlink_to(tmp_path / "linked.db")
    url = source.database_url or ""
    if source.database_path is None:
        same = f"{url}&application_name=another"
    else:
        (tmp_path / "the same.db").symlink_to(source.database_path)
        same = f"sqlite:///{tmp_path}/the same.db"
    for one, other in ((url, same), (same, url)):
        with pytest.raises(CannotCopy, match="both are the same database"):
            database_copy.copy(settings_for_database(one), settings_for_database(other))
    assert len(_rows(source)["quote"]) == 5
    with database.open_copy_source(source):
        pass  # and nothing of the try is left


def test_only_what_is_all_there_is_copied_and_it_is_not_changed(
    new: Callable[[str], Settings], source: Settings, target: Settings, tmp_path: Path
) -> None:
    with pytest.raises(BrokenOff):
        database_copy.copy(source, target, _break_off)
    with pytest.raises(SettingsError, match="is the half of a copy"):
        database_copy.copy(target, new("file"))
    empty, nobodys = new("server"), new("file")
    with pytest.raises(SettingsError, match=r"lacks 0001_quotes, .*Is it the right one"):
        database_copy.copy(empty, nobodys)
    assert {migration.state for migration in database.list_migrations(empty)} == {"missing"}
    with pytest.raises(SettingsError, match="is the shipped catalogue, which is never written to"):
        database_copy.copy(source, settings_for_database(f"sqlite:///{vars(database)['BUNDLED_CATALOGUE']}"))


def test_a_file_that_is_copied_to_is_for_its_owner_alone(new: Callable[[str], Settings], source: Settings) -> None:
    target = new("file")
    database_copy.copy(source, target)
    assert stat.S_IMODE(database_file(target).stat().st_mode) == 0o600


def test_who_works_on_the_target_is_sent_away_before_anything_is_copied(source: Settings, target: Settings) -> None:
    database.migrate_database(target, fill=False)
    with psycopg.connect(target.database_url or "", autocommit=True) as other:
        database_copy.copy(source, target)
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")
