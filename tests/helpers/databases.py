"""Databases of earlier releases, and databases with rows in every table."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peewee import AutoField, BigIntegerField, BooleanField, DateField, Field, ForeignKeyField, IntegerField

from quoteapi.settings import ROOT, Settings
from quoteapi.storage import database
from quoteapi.storage.catalogue import quote_row, store_quotations
from quoteapi.storage.models import CATALOGUE_MODELS, MODELS, UtcDateTimeField
from quoteapi.storage.models import database as bound
from tests.helpers.data import ALCOTT, AUSTEN, KABIR, NOON, ZOLA, make_catalogue, numbered_quotations

if TYPE_CHECKING:
    from quoteapi.storage.migrate import Engine

ROWS = 10
"""In each table that `fill_all_tables` fills."""


def create_file_of_release(schema: int, path: Path) -> None:
    """Create a working database as the release with this schema left it, with one quote."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((ROOT / f"tests/data/schema_{schema}.sql").read_text())
        row = quote_row(ALCOTT, NOON.replace(tzinfo=None))
        del row["words"]
        names, places = ", ".join(row), ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO quote (id, {names}) VALUES (1, {places})", list(row.values()))  # noqa: S608
        connection.execute("PRAGMA journal_mode = wal")
        connection.commit()


def _value(field: Field, n: int) -> object:
    """Return a value of a column for row `n`, different in each row, with all that a copy could lose."""
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


@contextmanager
def open_migrated(settings: Settings) -> Iterator["Engine"]:
    """Open a database, which is created without quotes if it does not exist."""
    if settings.database_path is not None and not settings.database_path.exists():
        make_catalogue(settings.database_path, [])
    database.migrate_database(settings, fill=False)
    with database.open_database(settings) as opened, bound.override(opened):
        yield opened


def fill_all_tables(settings: Settings) -> None:
    """Insert rows into every table."""
    with open_migrated(settings) as opened:
        store_quotations([ALCOTT, AUSTEN, ZOLA, KABIR, *numbered_quotations(ROWS - 4)], NOON - timedelta(days=99))
        for model in MODELS:
            if model not in CATALOGUE_MODELS:
                fields = model._meta.sorted_fields
                rows = [{field.name: _value(field, n) for field in fields} for n in range(1, ROWS + 1)]
                model.insert_many(rows).execute()
        opened.finish_bulk_insert(*MODELS)


def rows_by_table(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    with open_migrated(settings):
        metas: list[tuple[Any, Any]] = [(model._meta, model.select()) for model in MODELS]
        by_key = [(meta.table_name, rows.order_by(*meta.get_primary_keys())) for meta, rows in metas]
        return {table: list(rows.dicts()) for table, rows in by_key}
