"""Test data: quotes, phone numbers, settings, and databases that hold them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import phonenumbers
import pytest

from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import Settings
from quoteapi.sms.topics import TimeZoneTopics
from quoteapi.storage import database
from quoteapi.storage.catalogue import insert_quotes, quote_row
from quoteapi.storage.models import ConsoleSms, Subscriber, SubscriberCount
from quoteapi.subscriptions.phone import all_countries

SECRET_KEY = "of the tests, 0123456789abcdefghijklmnop"  # noqa: S105
NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
ALCOTT = Quotation("Hope and keep busy.", "Louisa May Alcott", "hope", "Little Women, chapter 16 (1868)")
AUSTEN = Quotation("What are men to rocks and mountains?", "Jane Austen", "nature", "Pride and Prejudice (1813)")
ZOLA = Quotation("J’accuse…! — « la vérité est en marche »", "Émile Zola", "truth", "L’Aurore, 13 January 1898")
KABIR = Quotation("काल करे सो आज कर", "कबीर", "समय")
UTC_ZONE, KOLKATA, NEW_YORK, AUCKLAND = "Etc/UTC", "Asia/Kolkata", "America/New_York", "Pacific/Auckland"
MIRA, NOOR, OMAR = "+919028000001", "+919028000002", "+919028000003"
"""Mobile numbers of subscribers, in Asia/Kolkata."""


def mobile_of_every_country() -> list[str]:
    """Return an E.164 mobile number of each country that has an example in `phonenumbers`."""
    kind, form = phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberFormat.E164
    examples = [phonenumbers.example_number_for_type(region, kind) for region in sorted(all_countries())]
    return [phonenumbers.format_number(example, form) for example in examples if example is not None]


def latest_otp(mobile: str) -> str:
    """Return the newest OTP in the local inbox."""
    codes = ConsoleSms.select().where((ConsoleSms.to == mobile) & (ConsoleSms.kind == "code"))
    message: str = codes.order_by(ConsoleSms.id.desc()).first().message
    return message[:6]


def add_subscribers(
    *mobiles: str, state: str = "active", time_zone: str = UTC_ZONE, base_topic: str = "console"
) -> None:
    """Store subscribers on a topic, by default of the console gateway, without requesting and verifying an OTP.

    They joined the day before `NOON`.
    """
    topic = TimeZoneTopics(base_topic, UTC_ZONE).name(time_zone)
    for mobile in mobiles:
        Subscriber.create(
            mobile=mobile,
            state=state,
            requested_at=NOON,
            requested_from="192.0.2.1",
            confirmed_at=NOON,
            confirmed_from="192.0.2.1",
            time_zone=time_zone,
            joined_at=NOON - timedelta(days=1),
            topic=topic,
            subscription_arn=f"{topic}:{mobile}",
        )
        SubscriberCount.update(count=SubscriberCount.count + (state == "active")).execute()


def wrong_otp(code: str) -> str:
    """Return an OTP other than the given one."""
    return f"{(int(code) + 1) % 1_000_000:06}"


def numbered_quotations(count: int, first: int = 1) -> list[Quotation]:
    return [
        Quotation(f"Quote number {n} of many.", f"Author {n % 7}", f"category {n % 3}")
        for n in range(first, first + count)
    ]


def make_catalogue(path: Path, quotations: list[Quotation], added: datetime = NOON - timedelta(days=30)) -> Path:
    with database.create_database_file(path):
        if quotations:
            insert_quotes([{"id": n, **quote_row(quotation, added)} for n, quotation in enumerate(quotations, 1)])
    return path


def environment(settings: Settings, **extra: str) -> dict[str, str]:
    """Return environment variables for the same database, and the extra ones."""
    return {"DATABASE_URL": settings.database_url or "", "SECRET_KEY": SECRET_KEY, **extra}


def database_file(settings: Settings) -> Path:
    assert settings.database_path is not None
    return settings.database_path


sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For tests of what only a database file can do: be deleted, be damaged, be opened by other programs."""
