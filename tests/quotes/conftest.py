"""What the tests of quotes share: catalogues of any size, and a database that forgets."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime

import pytest

from quoteapi.storage.catalogue import store_quotations
from quoteapi.storage.models import Quote
from quoteapi.storage.models import database as bound
from quoteapi.storage.sqlite import SqliteFile
from tests.helpers.data import make_catalogue, numbered_quotations

RolledBack = Callable[[], AbstractContextManager[None]]


def fill_catalogue(size: int, added: datetime) -> None:
    """Add numbered quotes until the catalogue has `size`."""
    present = Quote.select().count()
    store_quotations(numbered_quotations(size - present, first=present), added)


@pytest.fixture
def empty_catalogue(open_database: None) -> None:
    Quote.delete().execute()


@pytest.fixture(scope="module")
def rolled_back(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RolledBack]:
    """Use an empty SQLite database whose changes are undone after each block: to create one takes long."""
    opened = SqliteFile(make_catalogue(tmp_path_factory.mktemp("empty") / "empty.db", []), pragmas={})

    @contextmanager
    def block() -> Iterator[None]:
        with bound.override(opened), opened.atomic() as transaction:
            yield
            transaction.rollback()

    with opened:
        yield block
