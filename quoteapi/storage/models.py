"""The tables as peewee models. Uniqueness rules are unique indexes here."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

import peewee as pw


class DatabaseBinding(pw.DatabaseProxy):
    """The database that the models are bound to; a thread may override it within a block."""

    __setattr__ = object.__setattr__  # type: ignore[assignment] # peewee's own allows no new attributes

    def __init__(self) -> None:
        self._override: ContextVar[pw.Database | None] = ContextVar("database_override", default=None)
        self.name: str | None = None
        """The name given to `bind`, by which a caller recognizes the database that is bound."""
        super().__init__()

    @property
    def obj(self) -> pw.Database:
        """The database that this thread uses; overrides peewee's `Proxy.obj`."""
        return self._override.get() or self._bound  # type: ignore[return-value]

    @obj.setter
    def obj(self, opened: pw.Database | None) -> None:
        self._bound = opened

    def bind(self, name: str, opened: pw.Database) -> None:
        """Bind the models to a database, for all threads."""
        self.initialize(opened)
        self.name = name

    @contextmanager
    def override(self, opened: pw.Database) -> Iterator[None]:
        """Return a context manager in which the queries of this thread use `opened`."""
        token = self._override.set(opened)
        try:
            yield
        finally:
            self._override.reset(token)


database = DatabaseBinding()


class UtcDateTimeField(pw.DateTimeField):
    """An aware datetime in UTC, stored as a naive one, which every database can compare."""

    def db_value(self, value: datetime | None) -> datetime | None:
        """Convert an aware datetime to a naive one in UTC."""
        return value.astimezone(UTC).replace(tzinfo=None) if value is not None else None

    def python_value(self, value: str | datetime | None) -> datetime | None:
        """Convert a stored value to an aware datetime in UTC."""
        naive: datetime | None = super().python_value(value)  # type: ignore[no-untyped-call]
        return naive.replace(tzinfo=UTC) if naive is not None else None


class _BoundModel(pw.Model):
    class Meta:
        database = database


class Quote(_BoundModel):
    """A quote. Its `id` is its position in the catalogue, from 1."""

    id = pw.IntegerField(primary_key=True)
    """Assigned by the application without gaps, which no database sequence guarantees."""
    quote = pw.TextField()
    author = pw.CharField()
    category = pw.CharField()
    source = pw.CharField(default="")
    """The work and its year, or the speech and its date; empty if unknown."""
    created_at = UtcDateTimeField()
    """When it was added; if a later date had begun somewhere by then, the beginning of that date in UTC."""

    fingerprint = pw.CharField(32, unique=True)
    """Digest of text and author: the same text by the same author is stored once."""
    shuffle = pw.BigIntegerField(index=True)
    """A number from 0 to 2**63 - 1 derived from the fingerprint: sorting by it gives a random order."""
    length = pw.IntegerField()
    """Characters in `quote`."""
    author_key = pw.TextField()
    category_key = pw.TextField()
    words = pw.TextField()
    """The search tokens of the quote, from `full_text_search.search_tokens`."""

    class Meta:
        indexes = (
            (("author_key", "shuffle"), False),
            (("category_key", "shuffle"), False),
            (("created_at", "id"), False),
        )


class _QuoteCount(_BoundModel):
    key = pw.TextField(primary_key=True)
    name = pw.CharField()
    quotes = pw.IntegerField()


class Author(_QuoteCount):
    """The number of quotes of an author."""


class Category(_QuoteCount):
    """The number of quotes in a category."""


class StoredDailyQuote(_BoundModel):
    """The daily quote of a date. The first process to store one wins, and the others use that one."""

    date = pw.DateField(primary_key=True)
    quote = pw.ForeignKeyField(Quote)

    class Meta:
        table_name = "dailyquote"


class Subscriber(_BoundModel):
    """A confirmed phone number. Its row is kept after it unsubscribes, as proof that it consented."""

    id = pw.AutoField()
    mobile = pw.CharField(16, unique=True)
    """E.164."""
    state = pw.CharField(16)
    """`ACTIVE`, `UNSUBSCRIBED`, or `OPTED_OUT` by a STOP reply."""
    requested_at = UtcDateTimeField(column_name="asked_at")
    requested_from = pw.CharField(45, column_name="asked_from")
    """The client IP of the request for the OTP."""
    confirmed_at = UtcDateTimeField()
    confirmed_from = pw.CharField(45)
    """The client IP of the request that submitted the right OTP."""
    ended_at = UtcDateTimeField(null=True)
    time_zone = pw.CharField(64, null=True)
    """The IANA name; null if it confirmed before migration 0007, and got none since."""
    joined_at = UtcDateTimeField(null=True)
    """When it joined the time zone, or will: its first morning there begins later."""
    paused_until = UtcDateTimeField(null=True)
    last_sms_date = pw.DateField(null=True)
    """The last local date whose SMS it may have got on a topic that it left."""

    topic = pw.TextField(null=True)
    """The topic (`Gateway.topic`) that the number was or may have been added to; null if it is on none."""
    subscription_arn = pw.TextField(null=True)
    """The subscription to the topic; null if there is none or its ARN is not known."""
    confirmation_sent_at = UtcDateTimeField(null=True, column_name="welcomed_at")
    """Set before the confirmation SMS is sent, so that it is sent once."""
    sync_due_at = UtcDateTimeField(null=True, column_name="unsettled_since")
    """From when on the topic may have to change; null if it is in sync."""
    lease_acquired_at = UtcDateTimeField(null=True, column_name="settling_since")
    """When a process acquired the lease to sync this row; null if none holds it."""

    class Meta:
        indexes = ((("state", "topic"), False),)


OUT_OF_SYNC = Subscriber.sync_due_at.is_null(is_null=False)
"""Subscribers whose topic may have to change, now or later."""
Subscriber.add_index(Subscriber.index(Subscriber.id, name="subscriber_unsettled", where=OUT_OF_SYNC))
WITHOUT_TIME_ZONE = Subscriber.time_zone.is_null()
Subscriber.add_index(  # with `state`, so that SQLite prefers it to the index of state and topic
    Subscriber.index(Subscriber.state, Subscriber.id, name="subscriber_without_time_zone", where=WITHOUT_TIME_ZONE)
)


class SubscriberCount(_BoundModel):
    """The number of subscribers in a state; there is one row, for `ACTIVE`."""

    state = pw.CharField(16, primary_key=True)
    count = pw.IntegerField()


class _OtpColumns(_BoundModel):
    mobile = pw.CharField(16)
    purpose = pw.CharField(16)
    """`subscribe`, `unsubscribe` or `pause`."""
    otp_request_id = pw.CharField(32, unique=True, column_name="request")
    """Names the request in task payloads, which must not have the number."""
    digest = pw.CharField(32, null=True)
    """HMAC of the OTP; null until the OTP is generated."""
    expires_at = UtcDateTimeField(null=True)
    """Null until the OTP is generated and after it was used."""
    tries_left = pw.IntegerField()
    last_wrong_try_at = UtcDateTimeField(null=True, column_name="tried_at")
    requested_at = UtcDateTimeField(index=True, column_name="asked_at")
    requested_from = pw.CharField(45, column_name="asked_from")
    """The client IP of the request."""
    claimed_at = UtcDateTimeField(null=True)
    """When a process claimed the right to send the OTP."""
    sent_at = UtcDateTimeField(null=True)


class OneTimePassword(_OtpColumns):
    """A requested OTP. A number has at most one for each purpose."""

    time_zone = pw.CharField(64, null=True)
    """The time zone that the request to subscribe named."""

    class Meta:
        table_name = "otp"
        primary_key = pw.CompositeKey("mobile", "purpose")


class LegacyOneTimePassword(_OtpColumns):
    """The OTPs of the version before migration 0006, one a number. This version only deletes them."""

    mobile = pw.CharField(16, primary_key=True)

    class Meta:
        table_name = "onetimepassword"


class RateLimitLog(_BoundModel):
    """A sliding-window log: the recent events of one number or client IP that count towards a rate limit."""

    key = pw.CharField(32, primary_key=True)
    """HMAC of the limit's name and the number or client IP."""
    timestamps = pw.TextField(column_name="taken")
    """Unix times of recent events in milliseconds, oldest first, separated by spaces."""
    updated_at = UtcDateTimeField(index=True)

    class Meta:
        table_name = "tokenbucket"


class SmsUsage(_BoundModel):
    """The SMS counted against the SMS quota of a UTC date: OTPs and confirmations, not the daily SMS."""

    date = pw.DateField(primary_key=True)
    count = pw.IntegerField()

    class Meta:
        table_name = "smscount"


class SmsSwitch(_BoundModel):
    """The SMS switch, the operator's emergency stop: a row exists while no SMS may be sent."""

    name = pw.CharField(16, primary_key=True)
    disabled_at = UtcDateTimeField(column_name="thrown_at")

    class Meta:
        table_name = "switch"


class Delivery(_BoundModel):
    """The daily SMS of a date to a topic, claimed before it is sent, so that only one process sends it."""

    date = pw.DateField()
    topic = pw.TextField()
    claimed_at = UtcDateTimeField()
    sending_at = UtcDateTimeField(null=True)
    """Set just before the gateway is called: from then on, the SMS may have gone out."""
    sent_at = UtcDateTimeField(null=True)
    message_id = pw.TextField(null=True)
    reported_at = UtcDateTimeField(null=True)
    """When it was reported as missed or, with `sending_at`, as in doubt."""

    class Meta:
        primary_key = pw.CompositeKey("date", "topic")


class DueRun(_BoundModel):
    """The last run of `publish --due`, in one row."""

    name = pw.CharField(16, primary_key=True)
    ran_at = UtcDateTimeField()


class ConsoleSms(_BoundModel):
    """An SMS in the inbox of the console gateway."""

    id = pw.AutoField()
    to = pw.CharField(16, index=True)
    message = pw.TextField()
    kind = pw.CharField(16)
    sent_at = UtcDateTimeField()


CATALOGUE_MODELS: tuple[type[pw.Model], ...] = (Quote, Author, Category)
"""The tables that a new database gets from the bundled catalogue."""
OTP_MODELS = (OneTimePassword, LegacyOneTimePassword)
STATE_MODELS = (
    *(StoredDailyQuote, Subscriber, SubscriberCount, *OTP_MODELS, RateLimitLog, SmsUsage, SmsSwitch, Delivery),
    *(DueRun, ConsoleSms),
)
MODELS: tuple[type[pw.Model], ...] = (*CATALOGUE_MODELS, *STATE_MODELS)
"""All models, each after those that its foreign keys refer to."""
