"""Database migrations: which ones are known, applied and missing; and applying them."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, LiteralString, TypeAlias, cast

if TYPE_CHECKING:
    from quoteapi.storage.postgresql import PostgresqlServer
    from quoteapi.storage.sqlite import SqliteFile

    Engine: TypeAlias = SqliteFile | PostgresqlServer

MIGRATIONS = Path(__file__).with_name("migrations")
HISTORY_TABLE: LiteralString = "schema_migration"
"""Where playhouse records the applied migrations."""
MIGRATION_TIMEOUT_SECONDS = 600
"""How long a process waits for another one that is migrating."""


@cache
def known_migrations() -> tuple[str, ...]:
    """Return the names of this version's migrations, in order."""
    return tuple(sorted(path.stem for path in MIGRATIONS.glob("[0-9]*.py")))


def missing_migrations(applied: set[str]) -> list[str]:
    """Return the known migrations that are not applied, in order."""
    return [name for name in known_migrations() if name not in applied]


def apply_migrations(engine: "Engine") -> list[str]:
    """Apply the missing migrations within the caller's transaction. Return their names.

    If another process is migrating, wait for it.
    """
    from playhouse.migrations import Runner  # noqa: PLC0415 most processes have nothing to migrate

    runner = Runner(engine, str(MIGRATIONS), HISTORY_TABLE)
    engine.prepare_migrations(runner)
    return cast("list[str]", runner.up())
