"""The catalogue, and the quote of a date. On SQLite this was schema 1."""

from typing import Any

from peewee import (
    BigIntegerField,
    CharField,
    DateField,
    DateTimeField,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)


def up(migrator: object, db: Any) -> None:  # noqa: ANN401
    """Make the tables."""

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
            database = db
            indexes = (
                (("author_key", "shuffle"), False),
                (("category_key", "shuffle"), False),
                (("created_at", "id"), False),
            )

    class DailyQuote(Model):
        date = DateField(primary_key=True)
        quote = ForeignKeyField(Quote)

        class Meta:
            database = db

    db.create_tables([Quote, DailyQuote])
