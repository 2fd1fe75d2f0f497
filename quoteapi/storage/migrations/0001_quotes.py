"""Quotes, and the quote of a date: `user_version` 1 in SQLite files of early releases."""

from typing import Any

from peewee import BigIntegerField, CharField, DateField, DateTimeField, ForeignKeyField, IntegerField, Model, TextField


def up(migrator: object, db: Any) -> None:  # noqa: ANN401
    """Create the tables."""

    class Quote(Model):
        id = IntegerField(primary_key=True)
        quote = TextField()
        author = CharField()
        category = CharField()
        source = CharField()
        created_at = DateTimeField()
        fingerprint = CharField(32, unique=True)
        shuffle = BigIntegerField(index=True)
        length = IntegerField(index=True)
        author_key = TextField()
        category_key = TextField()

        class Meta:
            indexes = (
                (("author_key", "shuffle"), False),
                (("category_key", "shuffle"), False),
                (("created_at", "id"), False),
            )

    class DailyQuote(Model):
        date = DateField(primary_key=True)
        quote = ForeignKeyField(Quote)

    db.bind([Quote, DailyQuote])
    db.create_tables([Quote, DailyQuote])
