"""The console gateway: prints SMS and stores them in an inbox. It needs no account and costs nothing."""

import sys
from collections.abc import Iterator

from peewee import Expression, Value

from quoteapi.clock import Clock
from quoteapi.printable import counted, printable
from quoteapi.sms.gateway import GatewayMisconfigured, SmsKind
from quoteapi.sms.topics import TimeZoneTopics
from quoteapi.storage.models import ConsoleSms, Subscriber
from quoteapi.storage.state import ACTIVE

TOPIC = "console"


class ConsoleGateway:
    """Sends SMS to the terminal and the inbox. Active subscribers in the database are the topics."""

    def __init__(self, now: Clock, default_time_zone: str) -> None:
        self._now = now
        self.topics = TimeZoneTopics(TOPIC, default_time_zone)

    def send_sms(self, mobile: str, message: str, kind: SmsKind) -> str:
        """Print and store an SMS. Return its message id."""
        row_id = ConsoleSms.insert(to=mobile, message=message, kind=kind, sent_at=self._now()).execute()
        _print(f"SMS to {mobile} ({kind}):", message)
        return f"console-{row_id}"

    def subscribe(self, mobile: str, topic: str) -> str:
        """Return a subscription ARN; the row of the subscriber is the subscription."""
        return f"{topic}:{mobile}"

    def unsubscribe(self, subscription_arn: str) -> None:
        """Do nothing: the row is the subscription. Raises `GatewayMisconfigured` for a subscription of SNS."""
        if not subscription_arn.startswith(TOPIC):
            raise GatewayMisconfigured("the number is on a topic of Amazon SNS. Set SMS_GATEWAY to sns")

    def publish(self, message: str, topic: str) -> str:
        """Store an SMS for each number on a topic, in one statement; print it once. Return its message id."""
        now = self._now()
        values = Value(message), Value("quote"), ConsoleSms.sent_at.to_value(now)
        columns = [ConsoleSms.to, ConsoleSms.message, ConsoleSms.kind, ConsoleSms.sent_at]
        stored = ConsoleSms.insert_from(Subscriber.select(Subscriber.mobile, *values).where(_is_on(topic)), columns)
        _print(f"SMS to {counted(stored.as_rowcount().execute(), 'subscriber')} (quote):", message)
        return f"console-{now:%Y%m%dT%H%M%S}"

    def count_subscriptions(self, topic: str) -> int:
        """Return the number of active subscribers on a topic."""
        return Subscriber.select().where(_is_on(topic)).count()

    def is_opted_out(self, mobile: str) -> bool:
        """Return False: the inbox cannot reply STOP."""
        return False

    def list_opted_out(self) -> Iterator[list[str]]:
        """Return an empty iterator: no number is opted out."""
        return iter(())

    def opt_in(self, mobile: str) -> None:
        """Do nothing: no number is opted out."""


def inbox(limit: int) -> list[ConsoleSms]:
    """Return the `limit` newest SMS in the inbox, oldest first."""
    return list(ConsoleSms.select().order_by(ConsoleSms.id.desc()).limit(limit))[::-1]


def message_box(message: str) -> list[str]:
    """Return the lines of a message with a vertical bar before each, to mark it in a terminal."""
    return [f"  │ {line}" for line in message.splitlines()]


def _is_on(topic: str) -> Expression:
    return (Subscriber.topic == topic) & (Subscriber.state == ACTIVE)


def _print(heading: str, message: str) -> None:
    lines = "\n".join(map(printable, (heading, *message_box(message))))
    sys.stdout.write(f"\n{lines}\n\n")
    sys.stdout.flush()
