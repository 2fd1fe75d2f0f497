import re
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path

import psycopg
import pytest
import requests
from psycopg.sql import SQL, Identifier

from quoteapi.app import create_app
from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import Settings, SettingsError, read_settings, settings_for_database
from quoteapi.storage import database, database_copy
from quoteapi.storage.catalogue import list_quotes, store_quotations
from quoteapi.storage.database_copy import PROGRESS_TABLE, CopyFailed
from quoteapi.storage.full_text_search import Filters
from quoteapi.storage.models import MODELS, ConsoleSms, Quote, Subscriber
from quoteapi.storage.models import database as bound
from tests.helpers import postgresql_server
from tests.helpers.clock import FakeClock
from tests.helpers.data import ALCOTT, AUSTEN, KABIR, NOON, ZOLA, database_file, environment, numbered_quotations
from tests.helpers.databases import ROWS, fill_all_tables, open_migrated, rows_by_table
from tests.helpers.http import serve_app
from tests.helpers.sql import record_sql
from tests.helpers.waiting import LIMIT_SECONDS


def look_at(settings: Settings) -> object:
    """Return what there is, without changing it: None for a missing file, otherwise the tables, and their rows."""
    if settings.database_path is None:
        with database.open_database(settings) as opened:
            tables = opened.get_tables()
    elif not settings.database_path.exists():
        return None
    return rows_by_table(settings) if settings.database_path is not None or tables else []


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BATCH_SIZE", 3)


@pytest.fixture
def new(tmp_path: Path, bundled_catalogue: Callable[[list[Quotation]], Path]) -> Iterator[Callable[[str], Settings]]:
    """Return a function that makes the settings of a new database: of a file that does not exist, or on a server."""
    bundled_catalogue([ALCOTT, AUSTEN, ZOLA])
    numbers = count()
    with ExitStack() as stack:

        def make(kind: str) -> Settings:
            if kind == "file":
                return settings_for_database(f"sqlite:///{tmp_path}/copy {next(numbers)}.db")
            return settings_for_database(stack.enter_context(postgresql_server.create_database(with_tables=False)))

        yield make


@pytest.fixture
def source(new: Callable[[str], Settings]) -> Settings:
    made = new("file")
    fill_all_tables(made)
    return made


@pytest.fixture
def target(new: Callable[[str], Settings]) -> Settings:
    return new("server")


def fill_with_bundled_quotes(settings: Settings) -> None:
    database.connect(settings)
    bound.obj.close()
    postgresql_server.close_connections()


@pytest.mark.parametrize(("here", "there"), [("file", "server"), ("server", "file"), ("file", "file")])
def test_a_copy_has_the_same_rows_and_works_like_the_source(
    new: Callable[[str], Settings], clock: FakeClock, here: str, there: str
) -> None:
    source, target = new(here), new(there)
    fill_all_tables(source)
    database.connect(target)  # which fills it with the bundled quotes
    with record_sql() as statements:
        copied = database_copy.copy_database(source, target)
    unbounded = [it for it in statements if it.startswith("SELECT") and not re.search(r"LIMIT|COUNT\(|setval", it)]
    assert [it for it in unbounded if any(f'"{model._meta.table_name}"' in it for model in MODELS)] == []
    rows = rows_by_table(source)
    assert all(len(of_table) >= 3 for of_table in rows.values())
    assert rows == rows_by_table(target)
    assert [(table.table, table.rows) for table in copied] == [(name, len(rows[name])) for name in rows]
    with serve_app(create_app(read_settings(environment(target)), now=clock)) as base:
        for path in ("/daily", "/random", "/quotes?q=many", "/authors", "/health"):
            assert requests.get(f"{base}{path}", timeout=30).status_code == 200
    with bound.connection_context():
        assert [row.author for row in list_quotes(Filters(words="कर"), 5)] == [KABIR.author]
        for model in (Subscriber, ConsoleSms):
            row = model.get_by_id(7).__data__ | {"id": None, "mobile": "another"}
            fresh = model.create(**{name: value for name, value in row.items() if name in model._meta.fields})
            assert fresh.id == 7 * ROWS + 1, "ids continue after the highest one"
    bound.obj.close()
    postgresql_server.close_connections()


def test_progress_counts_each_row_twice(source: Settings, target: Settings) -> None:
    calls: list[int] = []
    database_copy.copy_database(source, target, calls.append)
    assert sum(calls) == 2 * database_copy.count_rows(source)
    assert max(calls) == 3


@pytest.mark.parametrize("kind", ["file", "server"])
@pytest.mark.parametrize("is_filled", [False, True])
def test_a_copy_that_is_interrupted_leaves_the_target_as_it_was(
    new: Callable[[str], Settings], source: Settings, kind: str, *, is_filled: bool
) -> None:
    target = new(kind)
    if is_filled:
        fill_with_bundled_quotes(target)
    before = look_at(target)
    batches: list[int] = []
    database_copy.copy_database(source, new("file"), batches.append)
    for last in (0, len(batches) // 2, len(batches) - 1):
        left = iter(range(last))

        def interrupt(_: int, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            database_copy.copy_database(source, target, interrupt)
        assert look_at(target) == before
    if target.database_path is not None:
        assert list(target.database_path.parent.glob(f"{target.database_path.name}.*")) == []
    database_copy.copy_database(source, target)
    assert rows_by_table(target) == rows_by_table(source)


def copy_half_and_wait(source: str, target: str, is_half_way: Event) -> None:
    database.BATCH_SIZE = 3
    calls = count(1)

    def wait_half_way(_: int) -> None:
        if next(calls) == 30:
            is_half_way.set()
            signal.pause()

    database_copy.copy_database(settings_for_database(source), settings_for_database(target), wait_half_way)


@pytest.mark.parametrize(("kind", "is_filled"), [("file", False), ("file", True), ("server", True)])
def test_a_copy_that_is_killed_leaves_the_target_as_it_was(
    new: Callable[[str], Settings], source: Settings, kind: str, *, is_filled: bool
) -> None:
    target = new(kind)
    if is_filled:
        fill_with_bundled_quotes(target)
    before = look_at(target)
    processes = get_context("spawn")
    is_half_way = processes.Event()
    copier = processes.Process(target=copy_half_and_wait, args=(source.database_url, target.database_url, is_half_way))
    copier.start()
    assert is_half_way.wait(LIMIT_SECONDS)
    copier.kill()
    copier.join()
    assert look_at(target) == before
    database_copy.copy_database(source, target)
    assert rows_by_table(target) == rows_by_table(source)


def test_a_target_with_data_of_its_own_is_refused_and_not_changed(
    new: Callable[[str], Settings], source: Settings
) -> None:
    for model, target in ((ConsoleSms, new("server")), (Quote, new("file"))):
        database.connect(target)
        with bound.connection_context():
            if model is Quote:
                store_quotations([Quotation("Mine.", "Me", "mine")], NOON)
            else:
                ConsoleSms.create(to="x", message="mine", kind="code", sent_at=NOON)
        postgresql_server.close_connections()
        before = rows_by_table(target)
        with pytest.raises(CopyFailed, match="TO already has data"):
            database_copy.copy_database(source, target)
        assert rows_by_table(target) == before
    with pytest.raises(CopyFailed, match="FROM and TO are the same database"):
        database_copy.copy_database(source, settings_for_database(f"sqlite:////{source.database_path}"))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE quote SET source = 'another' WHERE id = 1",
        "INSERT INTO author VALUES ('0', 'late', 1)",
        "DELETE FROM category WHERE key = (SELECT min(key) FROM category)",
        "UPDATE subscriber SET id = 999 WHERE id = 7",  # as when a number was removed and subscribed again
    ],
)
def test_a_source_that_changes_meanwhile_is_noticed_and_copying_again_helps(
    source: Settings, target: Settings, change: str
) -> None:
    calls = count()

    def write_meanwhile(_: int) -> None:
        if next(calls) == 18:  # when the first tables are copied, and most subscribers
            with database.open_database(source) as opened:
                opened.execute_sql(change)

    with pytest.raises(
        CopyFailed, match=r"another process is writing to FROM or TO. Stop the service, then run the command again"
    ):
        database_copy.copy_database(source, target, write_meanwhile)
    assert look_at(target) == []
    database_copy.copy_database(source, target)
    assert rows_by_table(target) == rows_by_table(source)


def test_other_sessions_can_read_the_target_meanwhile_but_not_write_to_it(source: Settings, target: Settings) -> None:
    fill_with_bundled_quotes(target)
    with psycopg.connect(target.database_url or "", autocommit=True) as other:
        other.execute("SET lock_timeout = '50ms'")

        calls = count()

        def try_to_write(_: int) -> None:
            if next(calls) != 20:
                return
            assert other.execute("SELECT count(*) FROM quote").fetchone() == (3,)
            for model in MODELS:
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    other.execute(SQL("DELETE FROM {}").format(Identifier(model._meta.table_name)))

        database_copy.copy_database(source, target, try_to_write)
        assert other.execute("SELECT count(*) FROM quote").fetchone() == (ROWS,)
    assert rows_by_table(target) == rows_by_table(source)


@pytest.mark.parametrize("kind", ["file", "server"])
def test_the_incomplete_copy_of_an_earlier_version_is_refused(
    new: Callable[[str], Settings], source: Settings, kind: str
) -> None:
    incomplete = new(kind)
    fill_with_bundled_quotes(incomplete)
    with database.open_database(incomplete) as opened:
        opened.execute_sql(f"CREATE TABLE {PROGRESS_TABLE} (id INTEGER)")
    before = look_at(incomplete)
    for one, other in ((source, incomplete), (incomplete, new("file"))):
        with pytest.raises(SettingsError, match=r"is an incomplete copy, .* to a new database"):
            database_copy.copy_database(one, other)
    assert look_at(incomplete) == before


@pytest.mark.parametrize("kind", ["file", "server"])
def test_a_database_is_not_copied_to_itself_whatever_its_url(
    new: Callable[[str], Settings], tmp_path: Path, kind: str
) -> None:
    source = new(kind)
    with open_migrated(source):
        store_quotations(numbered_quotations(5), NOON)
    url = source.database_url or ""
    if source.database_path is None:
        others = [f"{url}&application_name=another"]
    else:
        (tmp_path / "symbolic.db").symlink_to(source.database_path)
        (tmp_path / "hard.db").hardlink_to(source.database_path)
        others = [f"sqlite:///{tmp_path}/symbolic.db", f"sqlite:///{tmp_path}/hard.db"]
    for other in others:
        for one, another in ((url, other), (other, url)):
            with pytest.raises(CopyFailed, match="FROM and TO are the same database"):
                database_copy.copy_database(settings_for_database(one), settings_for_database(another))
    assert len(rows_by_table(source)["quote"]) == 5
    assert database_copy.count_rows(source) > 5, "and it can be a source"


def test_only_a_source_with_all_migrations_is_copied_and_it_is_not_changed(
    new: Callable[[str], Settings], source: Settings
) -> None:
    empty, unused = new("server"), new("file")
    with pytest.raises(SettingsError, match=r"has missing migrations: 0001_quotes, .*If it is the right database"):
        database_copy.copy_database(empty, unused)
    assert set(database.list_migrations(empty).values()) == {"missing"}
    with pytest.raises(SettingsError, match="is the bundled catalogue, which is read-only"):
        database_copy.copy_database(source, settings_for_database(f"sqlite:///{vars(database)['BUNDLED_CATALOGUE']}"))


def test_a_new_file_is_for_its_owner_alone(new: Callable[[str], Settings], source: Settings) -> None:
    target = new("file")
    database_copy.copy_database(source, target)
    assert stat.S_IMODE(database_file(target).stat().st_mode) == 0o600


def test_a_file_that_another_process_creates_meanwhile_is_kept(
    new: Callable[[str], Settings], source: Settings
) -> None:
    target = new("file")
    with pytest.raises(FileExistsError):
        database_copy.copy_database(source, target, lambda _: database_file(target).write_bytes(b"another"))
    assert database_file(target).read_bytes() == b"another"
