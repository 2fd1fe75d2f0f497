"""One-time passwords: one for each number and purpose. The old table stays for processes of the version before."""

from typing import Any

from peewee import CharField, CompositeKey, DateTimeField, IntegerField, Model

COLUMNS = (
    "mobile, purpose, request, digest, expires_at, tries_left, tried_at, asked_at, asked_from, claimed_at, sent_at"
)


def up(migrator: object, db: Any) -> None:  # noqa: ANN401
    """Create the table, with a copy of the old rows: codes under way stay valid, and wrong tries keep counting."""

    class Otp(Model):
        mobile = CharField(16)
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

        class Meta:
            primary_key = CompositeKey("mobile", "purpose")

    db.bind([Otp])
    db.create_tables([Otp])
    db.execute_sql(f"INSERT INTO otp ({COLUMNS}) SELECT {COLUMNS} FROM onetimepassword")  # noqa: S608
