import hashlib
import multiprocessing
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from peewee import OperationalError

from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import BUNDLED_CATALOGUE, Settings, SettingsError, read_settings
from quoteapi.storage import database
from quoteapi.storage.catalogue import list_quotes, store_quotation
from quoteapi.storage.full_text_search import Filters
from quoteapi.storage.models import Author, Category, Quote
from tests.helpers.data import ALCOTT, KABIR, NOON, database_file, sqlite_only
from tests.helpers.databases import create_file_of_release


@sqlite_only
def test_the_working_database_is_a_copy_of_the_bundled_catalogue_on_first_use(settings: Settings) -> None:
    assert not database_file(settings).exists()
    with database.connect(settings):
        assert Quote.select().count() == 3
        store_quotation(KABIR, NOON)
    with database.connect(settings):
        assert Quote.select().count() == 4, "and keeps what was added"
    assert {path.name for path in database_file(settings).parent.iterdir()} == {"shipped.db", "working.db"}


def test_the_bundled_catalogue_is_never_written_to(tmp_path: Path) -> None:
    before = hashlib.sha256(BUNDLED_CATALOGUE.read_bytes()).digest()
    with database.connect(read_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/working.db"})):
        store_quotation(KABIR, NOON)
    assert hashlib.sha256(BUNDLED_CATALOGUE.read_bytes()).digest() == before


def _add_a_quote(url: str, bundled_catalogue: Path) -> int:
    vars(database)["BUNDLED_CATALOGUE"] = bundled_catalogue
    with database.connect(read_settings({"DATABASE_URL": url})):
        store_quotation(KABIR, NOON)
        return int(Quote.select().count())


def test_many_processes_that_start_at_once_create_one_working_database(
    bundled_catalogue: Callable[[list[Quotation]], Path], tmp_path: Path
) -> None:
    catalogue = bundled_catalogue([ALCOTT])
    url = f"sqlite:///{tmp_path}/at once.db"
    with multiprocessing.get_context("spawn").Pool(6) as pool:
        counts = pool.starmap(_add_a_quote, [(url, catalogue)] * 12)
    assert counts == [2] * 12
    assert not list(tmp_path.glob("at once.db.*")), "no temporary files are left"


def test_a_file_system_without_hard_links_is_supported(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with database.connect(settings):
        assert Quote.select().count() == 3


def test_the_bundled_catalogue_cannot_be_the_working_database(
    bundled_catalogue: Callable[[list[Quotation]], Path],
) -> None:
    catalogue = bundled_catalogue([ALCOTT])
    link = catalogue.with_name("link.db")
    link.symlink_to(catalogue)
    for path in (catalogue, link):
        with pytest.raises(SettingsError, match=r"is the bundled catalogue, which is read-only"):
            database.connect(read_settings({"DATABASE_URL": f"sqlite:///{path}"}))


@sqlite_only
def test_a_write_ahead_log_of_a_deleted_database_is_refused(settings: Settings) -> None:
    left = database_file(settings).with_name("working.db-wal")
    left.write_bytes(b"of another database")
    with pytest.raises(SettingsError, match=r"working\.db-wal is of a database that no longer exists.*Move it away"):
        database.connect(settings)


@sqlite_only
def test_a_deleted_database_is_created_again_at_the_next_start(settings: Settings) -> None:
    open_database = database.connect(settings)
    for file in database_file(settings).parent.glob("working.db*"):
        file.unlink()
    with pytest.raises(OperationalError):
        Quote.select().count()
    assert not database_file(settings).exists(), "a read does not create an empty file"
    open_database.close()
    with database.connect(settings):
        assert Quote.select().count() == 3


@sqlite_only
@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100])
def test_a_file_that_is_no_database_is_refused_and_not_changed(settings: Settings, content: bytes) -> None:
    database_file(settings).write_bytes(content)
    with pytest.raises(SettingsError, match=r"working\.db"):
        database.connect(settings)
    assert database_file(settings).read_bytes() == content


@sqlite_only
def test_a_database_of_an_unknown_version_is_refused_with_what_to_do(settings: Settings) -> None:
    with closing(sqlite3.connect(database_file(settings))) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(SettingsError, match=r"is not a database of QuoteAPI.*Set DATABASE_URL to another file"):
        database.connect(settings)


def test_a_missing_folder_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Set DATABASE_URL to a writable file"):
        database.connect(read_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/none/working.db"}))


@sqlite_only
def test_without_the_bundled_catalogue_the_error_says_how_to_build_it(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "shipped.db").unlink()
    with pytest.raises(SettingsError, match="make catalogue"):
        database.connect(settings)


@sqlite_only
def test_only_the_owner_can_read_the_working_database(settings: Settings) -> None:
    database.connect(settings).close()
    assert stat.S_IMODE(database_file(settings).stat().st_mode) == 0o600


def _find_busy(url: str) -> list[str]:
    with database.connect(read_settings({"DATABASE_URL": url})):
        return [row.quote for row in list_quotes(Filters(words="busy", author=ALCOTT.author), 10)]


@pytest.mark.parametrize("schema", [1, 2])
def test_a_database_of_an_earlier_release_is_migrated_and_keeps_its_quotes(tmp_path: Path, schema: int) -> None:
    path = tmp_path / "working.db"
    create_file_of_release(schema, path)
    url = f"sqlite:///{path}"
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert pool.map(_find_busy, [url] * 8, chunksize=1) == [[ALCOTT.quote]] * 8, (
            "also when many processes do so at once"
        )
    settings = read_settings({"DATABASE_URL": url})
    assert set(database.list_migrations(settings).values()) == {"applied"}
    with database.connect(settings):
        assert [row.quotes for row in (*Author.select(), *Category.select())] == [1, 1]
