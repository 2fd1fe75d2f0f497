"""The gateway of a laptop: an SMS is printed in the terminal and kept in an inbox. No account, no cost."""

import sys
from collections.abc import Iterator

from peewee import Value

from quoteapi.clock import Clock
from quoteapi.sms.gateway import GatewayMisconfigured, Kind
from quoteapi.storage.models import ACTIVE, ConsoleSms, Subscriber

TOPIC = "console"
_ON_TOPIC = (Subscriber.topic == TOPIC) & (Subscriber.state == ACTIVE)


class ConsoleGateway:
    """Sends SMS to the terminal and the inbox. Whoever is active and was put there is on its topic."""

    topic = TOPIC

    def __init__(self, now: Clock) -> None:
        self._now = now

    def send_sms(self, mobile: str, message: str, kind: Kind) -> str:
        """Print an SMS and keep it. Answer its number in the inbox."""
        number = ConsoleSms.insert(to=mobile, message=message, kind=kind, sent_at=self._now()).execute()
        _print(f"SMS to {mobile} ({kind}):", message)
        return f"console-{number}"

    def subscribe(self, mobile: str) -> str:
        """Answer the subscription's ARN; there is no more to it."""
        return f"{TOPIC}:{mobile}"

    def unsubscribe(self, subscription_arn: str) -> None:
        """Do nothing, as who has no ARN is not on the topic. Raises `GatewayMisconfigured` for what is on Amazon SNS."""
        if not subscription_arn.startswith(f"{TOPIC}:"):
            raise GatewayMisconfigured(
                "the number is on a topic of Amazon SNS, and SMS_GATEWAY is console here: set it to sns"
            )

    def publish(self, message: str) -> str:
        """Keep an SMS for everyone on the topic, all or none, and print it once."""
        now = self._now()
        mobile, rest = Subscriber.mobile, (Value(message), Value("quote"), ConsoleSms.sent_at.to_value(now))
        columns = [ConsoleSms.to, ConsoleSms.message, ConsoleSms.kind, ConsoleSms.sent_at]
        kept = ConsoleSms.insert_from(Subscriber.select(mobile, *rest).where(_ON_TOPIC), columns)
        _print(f"SMS to {kept.as_rowcount().execute()} on the topic (quote):", message)
        return f"console-{now:%Y%m%dT%H%M%S}"

    def count_subscriptions(self) -> int:
        """Answer how many are on the topic."""
        return Subscriber.select().where(_ON_TOPIC).count()

    def is_opted_out(self, mobile: str) -> bool:
        """Answer no: an inbox on a laptop cannot reply."""
        return False

    def list_opted_out(self) -> Iterator[list[str]]:
        """Answer nobody."""
        return iter(())

    def opt_in(self, mobile: str) -> None:
        """Do nothing: nobody was shut out."""


def inbox(limit: int) -> list[ConsoleSms]:
    """Answer the newest SMS, the oldest of them first."""
    return list(ConsoleSms.select().order_by(ConsoleSms.id.desc()).limit(limit))[::-1]


def format_message_box(message: str) -> str:
    """Answer a message as it is shown in a terminal, set off from what else is said there."""
    return "\n".join(f"  │ {line}" for line in message.splitlines())


def _print(head: str, message: str) -> None:
    sys.stdout.write(f"\n{head}\n{format_message_box(message)}\n\n")
    sys.stdout.flush()
