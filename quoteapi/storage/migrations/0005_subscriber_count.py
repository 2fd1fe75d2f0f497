"""The number of active subscribers, kept in one row, so that no request counts rows."""

from typing import Any

STATEMENTS = (
    'CREATE TABLE "subscribercount" ("state" VARCHAR(16) NOT NULL PRIMARY KEY, "count" INTEGER NOT NULL)',
    'INSERT INTO "subscribercount" ("state", "count")'
    " SELECT 'active', COUNT(*) FROM \"subscriber\" WHERE \"state\" = 'active'",
)


def up(migrator: object, db: Any) -> None:  # noqa: ANN401
    """Create the table and its row."""
    for statement in STATEMENTS:
        db.execute_sql(statement)
