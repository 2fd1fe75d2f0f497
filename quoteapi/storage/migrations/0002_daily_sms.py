"""Subscribers, OTPs, limits and deliveries: `user_version` 2 in SQLite files of early releases."""

from typing import Any

from peewee import AutoField, CharField, CompositeKey, DateField, DateTimeField, IntegerField, Model, TextField


def up(migrator: object, db: Any) -> None:  # noqa: ANN401
    """Create the tables."""

    class Subscriber(Model):
        id = AutoField()
        mobile = CharField(16, unique=True)
        state = CharField(16, index=True)
        asked_at = DateTimeField()
        asked_from = CharField(45)
        confirmed_at = DateTimeField()
        confirmed_from = CharField(45)
        ended_at = DateTimeField(null=True)
        topic = TextField(null=True, index=True)
        subscription_arn = TextField(null=True)
        welcomed_at = DateTimeField(null=True)
        unsettled_since = DateTimeField(null=True, index=True)
        settling_since = DateTimeField(null=True)

    class OneTimePassword(Model):
        mobile = CharField(16, primary_key=True)
        purpose = CharField(16)
        request = CharField(32, unique=True)
        digest = CharField(32, null=True)
        expires_at = DateTimeField(null=True)
        tries_left = IntegerField()
        tried_at = DateTimeField(null=True)
        asked_at = DateTimeField(index=True)
        asked_from = CharField(45)
        claimed_at = DateTimeField(null=True)
        sent_at = DateTimeField(null=True)

    class TokenBucket(Model):
        key = CharField(32, primary_key=True)
        taken = TextField()
        updated_at = DateTimeField(index=True)

    class SmsCount(Model):
        date = DateField(primary_key=True)
        count = IntegerField()

    class Switch(Model):
        name = CharField(16, primary_key=True)
        thrown_at = DateTimeField()

    class Delivery(Model):
        date = DateField()
        topic = TextField()
        claimed_at = DateTimeField()
        sending_at = DateTimeField(null=True)
        sent_at = DateTimeField(null=True)
        message_id = TextField(null=True)

        class Meta:
            primary_key = CompositeKey("date", "topic")

    class ConsoleSms(Model):
        id = AutoField()
        to = CharField(16, index=True)
        message = TextField()
        kind = CharField(16)
        sent_at = DateTimeField()

    models = [Subscriber, OneTimePassword, TokenBucket, SmsCount, Switch, Delivery, ConsoleSms]
    db.bind(models)
    db.create_tables(models)
