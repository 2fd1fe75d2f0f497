"""The gateway protocol: sends SMS and keeps the topic; and its errors."""

from collections.abc import Iterator
from typing import Literal, Protocol

Kind = Literal["code", "confirmation", "quote"]
"""What an SMS is for; codes and confirmations are Transactional, quotes Promotional."""


class GatewayError(Exception):
    """The gateway did not do what it was asked. The message has no number in it."""


class NumberRejected(GatewayError):
    """It never will: the number is at fault."""


class GatewayMisconfigured(GatewayError):
    """It will once the operator has mended credentials, permissions or quotas."""


class GatewayUnavailable(GatewayError):
    """It may, a while later."""


class OutcomeUnknown(GatewayError):
    """It may have, for all that is known: no answer came. What must not happen twice must not be tried again."""


class Gateway(Protocol):
    """How SMS go out, and who is on the topic of the daily one. Every method may raise `GatewayError`."""

    topic: str
    """What the topic is known by in the database: `console`, or region and name."""

    def send_sms(self, mobile: str, message: str, kind: Kind) -> str:
        """Send one SMS, in one attempt. Answer the id that the gateway gave it."""

    def subscribe(self, mobile: str) -> str:
        """Put a number on the topic. Answer the subscription's ARN, the same for a number that is there already."""

    def unsubscribe(self, subscription_arn: str) -> None:
        """Take a subscription off the topic, in one call; one that is gone already will do."""

    def publish(self, message: str) -> str:
        """Send a quote to everyone on the topic, in one attempt. Answer the id that the gateway gave it."""

    def count_subscriptions(self) -> int:
        """Answer how many are on the topic."""

    def is_opted_out(self, mobile: str) -> bool:
        """Whether the number replied STOP."""

    def list_opted_out(self) -> Iterator[list[str]]:
        """Answer the numbers that replied STOP, some at a time."""

    def opt_in(self, mobile: str) -> None:
        """Take a number off the list of those that replied STOP; AWS does that once in 30 days."""
