"""Indexes by which the cost of reconciling and publishing does not grow with the subscribers."""

from typing import Any

# Those who are not settled are few: an index of them alone, in the order in which they are settled.
STATEMENTS = (
    'CREATE INDEX "subscriber_unsettled" ON "subscriber" ("id") WHERE "unsettled_since" IS NOT NULL',
    'CREATE INDEX "subscriber_state_topic" ON "subscriber" ("state", "topic")',
    'DROP INDEX "subscriber_unsettled_since"',
    'DROP INDEX "subscriber_state"',
    'DROP INDEX "subscriber_topic"',
)


def up(migrator: object, db: Any) -> None:  # noqa: ANN401
    """Make the indexes in the place of others."""
    for statement in STATEMENTS:
        db.execute_sql(statement)
