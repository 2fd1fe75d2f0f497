"""What the service stores, as peewee models. The rules that must hold are unique indexes here."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

from peewee import (
    AutoField,
    BigIntegerField,
    CharField,
    CompositeKey,
    Database,
    DatabaseProxy,
    DateField,
    DateTimeField,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
)


class DatabaseBinding(DatabaseProxy):
    """The database that the models are bound to; for a while, and for one thread, that may be another."""

    __setattr__ = object.__setattr__  # type: ignore[assignment] # peewee's own lets nothing be added

    def __init__(self) -> None:
        self._for_now: ContextVar[Database | None] = ContextVar("for_now", default=None)
        self._working: Database | None = None
        self.name: str | None = None
        """What it is, so that nobody binds it twice."""
        super().__init__()

    @property
    def obj(self) -> Database:
        """The database itself."""
        return self._for_now.get() or self._working  # type: ignore[return-value]

    @obj.setter
    def obj(self, opened: Database | None) -> None:
        self._working = opened

    def bind(self, name: str, opened: Database) -> None:
        """Bind the models, for all threads."""
        self.initialize(opened)
        self.name = name

    @contextmanager
    def override(self, opened: Database) -> Iterator[None]:
        """Have this thread use another database."""
        token = self._for_now.set(opened)
        try:
            yield
        finally:
            self._for_now.reset(token)


database = DatabaseBinding()
ACTIVE, UNSUBSCRIBED, STOPPED = "active", "unsubscribed", "stopped"
"""The states of a subscriber."""


class UtcDateTimeField(DateTimeField):
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

    id = IntegerField(primary_key=True)
    """Given where it is stored, without gaps, which no sequence of a database promises."""
    quote = TextField()
    author = CharField()
    category = CharField()
    source = CharField(default="")
    """The work and its year, or the speech and its date; empty where it is not known."""
    created_at = UtcDateTimeField()

    fingerprint = CharField(32, unique=True)
    """Digest of text and author; the same text by the same author is stored once."""
    shuffle = BigIntegerField(index=True)
    """A number made of the fingerprint, from 0 to 2**63 - 1: its order is no order at all."""
    length = IntegerField()
    """Characters of `quote`."""
    author_key = TextField()
    category_key = TextField()
    words = TextField()
    """What it is found by, as `search.search_tokens` says."""

    class Meta:
        database = database
        indexes = (
            (("author_key", "shuffle"), False),
            (("category_key", "shuffle"), False),
            (("created_at", "id"), False),
        )


class _Counted(Model):
    key = TextField(primary_key=True)
    name = CharField()
    quotes = IntegerField()

    class Meta:
        database = database


class Author(_Counted):
    """How many quotes an author has."""


class Category(_Counted):
    """How many quotes a category has."""


class DailyQuote(Model):
    """The quote of a date: one a date, the first writer wins and everyone reads again."""

    date = DateField(primary_key=True)
    quote = ForeignKeyField(Quote)

    class Meta:
        database = database


class Subscriber(Model):
    """Somebody who confirmed their number: one row a number, kept when they leave, as the proof of what they wanted."""

    id = AutoField()
    mobile = CharField(16, unique=True)
    """E.164."""
    state = CharField(16)
    """`ACTIVE`, `UNSUBSCRIBED`, or `STOPPED` by a reply to an SMS."""
    asked_at = UtcDateTimeField()
    asked_from = CharField(45)
    confirmed_at = UtcDateTimeField()
    confirmed_from = CharField(45)
    """The client's address."""
    ended_at = UtcDateTimeField(null=True)

    topic = TextField(null=True)
    """Where the number was put, as `sms.Gateway.topic` says; null where nobody knows of such a place."""
    subscription_arn = TextField(null=True)
    """On the topic; null as well."""
    welcomed_at = UtcDateTimeField(null=True)
    """When the confirming SMS was about to go out."""
    unsettled_since = UtcDateTimeField(null=True)
    """Since when the topic may not agree with `state`; null where it does."""
    settling_since = UtcDateTimeField(null=True)
    """Since when somebody is at making it agree."""

    class Meta:
        database = database
        indexes = ((("state", "topic"), False),)


_unsettled = Subscriber.unsettled_since.is_null(is_null=False)


Subscriber.add_index(Subscriber.index(Subscriber.id, name="subscriber_unsettled", where=_unsettled))


class OneTimePassword(Model):
    """A code that was asked for: one live code a number."""

    mobile = CharField(16, primary_key=True)
    purpose = CharField(16)
    """`subscribe` or `unsubscribe`."""
    request = CharField(32, unique=True)
    """What a task is told instead of the number."""
    digest = CharField(32, null=True)
    """Null before the code is made and after it was used."""
    expires_at = UtcDateTimeField(null=True)
    tries_left = IntegerField()
    tried_at = UtcDateTimeField(null=True)
    asked_at = UtcDateTimeField(index=True)
    asked_from = CharField(45)
    claimed_at = UtcDateTimeField(null=True)
    """When somebody began to send it."""
    sent_at = UtcDateTimeField(null=True)

    class Meta:
        database = database


class RateLimitLog(Model):
    """When tokens of a limit were taken; each comes back a while later."""

    key = CharField(32, primary_key=True)
    """A keyed digest."""
    taken = TextField()
    """Milliseconds since 1970, the oldest first, with spaces between."""
    updated_at = UtcDateTimeField(index=True)

    class Meta:
        database = database
        table_name = "tokenbucket"


class SmsUsage(Model):
    """How many SMS went out on a date, the quote of the day aside."""

    date = DateField(primary_key=True)
    count = IntegerField()

    class Meta:
        database = database
        table_name = "smscount"


class SmsSwitch(Model):
    """A switch that the operator threw; none is there while it is not."""

    name = CharField(16, primary_key=True)
    thrown_at = UtcDateTimeField()

    class Meta:
        database = database
        table_name = "switch"


class Delivery(Model):
    """The SMS of a date to a topic: claimed before it is sent, so that nobody gets it twice."""

    date = DateField()
    topic = TextField()
    claimed_at = UtcDateTimeField()
    sending_at = UtcDateTimeField(null=True)
    """When the gateway was about to be called: from then on it may have gone out."""
    sent_at = UtcDateTimeField(null=True)
    message_id = TextField(null=True)

    class Meta:
        database = database
        primary_key = CompositeKey("date", "topic")


class ConsoleSms(Model):
    """An SMS in the inbox of a laptop."""

    id = AutoField()
    to = CharField(16, index=True)
    message = TextField()
    kind = CharField(16)
    sent_at = UtcDateTimeField()

    class Meta:
        database = database


MODELS = (
    Quote,
    Author,
    Category,
    DailyQuote,
    Subscriber,
    OneTimePassword,
    RateLimitLog,
    SmsUsage,
    SmsSwitch,
    Delivery,
    ConsoleSms,
)
"""All of them, so that each comes after what it refers to."""
