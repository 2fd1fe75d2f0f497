"""What the service stores, as peewee models. The rules that must hold are unique indexes here."""

from datetime import UTC, datetime

from peewee import (
    AutoField,
    BigIntegerField,
    CharField,
    DatabaseProxy,
    DateField,
    DateTimeField,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)

database = DatabaseProxy()


class MomentField(DateTimeField):
    """A moment: aware, in UTC, on both sides; stored without its zone, which every database can compare."""

    def db_value(self, value: datetime | None) -> datetime | None:
        """Turn an aware moment into a naive one in UTC."""
        return value.astimezone(UTC).replace(tzinfo=None) if value is not None else None

    def python_value(self, value: str | datetime | None) -> datetime | None:
        """Turn what is stored into an aware moment in UTC."""
        moment: datetime | None = super().python_value(value)  # type: ignore[no-untyped-call]
        return moment.replace(tzinfo=UTC) if moment is not None else None


class Quote(Model):
    """A quote. Its `id` is its place in the catalogue: 1 for the first, and so on."""

    id = AutoField()
    quote = TextField()
    author = CharField()
    category = CharField()
    source = CharField(default="")
    """The work and its year, or the speech and its date; empty where it is not known."""
    created_at = MomentField()

    fingerprint = CharField(32, unique=True)
    """Digest of text and author; the same text by the same author is stored once."""
    shuffle = BigIntegerField(index=True)
    """A number made of the fingerprint, from 0 to 2**63 - 1: its order is no order at all."""
    length = IntegerField(index=True)
    """Characters of `quote`."""
    author_key = CharField()
    category_key = CharField()

    class Meta:
        database = database
        indexes = (
            (("author_key", "shuffle"), False),
            (("category_key", "shuffle"), False),
            (("created_at", "id"), False),
        )


class DailyQuote(Model):
    """The quote of a date: one a date, the first writer wins and everyone reads again."""

    date = DateField(primary_key=True)
    quote = ForeignKeyField(Quote)

    class Meta:
        database = database


MODELS = (Quote, DailyQuote)
