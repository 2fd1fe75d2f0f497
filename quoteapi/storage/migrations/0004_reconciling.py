"""Indexes for topic sync and the daily SMS, whose cost no longer grows with the number of subscribers."""

from typing import Any

STATEMENTS = (
    # A partial index: few subscribers wait for topic sync.
    'CREATE INDEX "subscriber_unsettled" ON "subscriber" ("id") WHERE "unsettled_since" IS NOT NULL',
    'CREATE INDEX "subscriber_state_topic" ON "subscriber" ("state", "topic")',
    'DROP INDEX "subscriber_unsettled_since"',
    'DROP INDEX "subscriber_state"',
    'DROP INDEX "subscriber_topic"',
)


def up(migrator: object, db: Any) -> None:  # noqa: ANN401
    """Replace the indexes."""
    for statement in STATEMENTS:
        db.execute_sql(statement)
