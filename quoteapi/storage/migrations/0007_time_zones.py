"""Time zones: a topic and a morning each; pauses; deliveries that were reported; the last run of the schedule."""

from typing import Any

COLUMNS = (
    ("subscriber", "time_zone", "VARCHAR(64)"),
    ("subscriber", "joined_at", "{timestamp}"),
    ("subscriber", "paused_until", "{timestamp}"),
    ("subscriber", "last_sms_date", "DATE"),
    ("otp", "time_zone", "VARCHAR(64)"),
    ("delivery", "reported_at", "{timestamp}"),
)


def up(migrator: object, db: Any) -> None:  # noqa: ANN401
    """Add the columns, all null: `reconcile`, or the schedule, gives each subscriber the time zone of its number."""
    timestamp = "DATETIME" if type(db).__name__.startswith("Sqlite") else "TIMESTAMP"
    for table, column, kind in COLUMNS:
        db.execute_sql(f'ALTER TABLE "{table}" ADD COLUMN "{column}" {kind.format(timestamp=timestamp)}')
    index = 'CREATE INDEX "subscriber_without_time_zone" ON "subscriber" ("state", "id")'
    db.execute_sql(f'{index} WHERE ("time_zone" IS NULL)')
    db.execute_sql(f'CREATE TABLE "duerun" ("name" VARCHAR(16) NOT NULL PRIMARY KEY, "ran_at" {timestamp} NOT NULL)')
