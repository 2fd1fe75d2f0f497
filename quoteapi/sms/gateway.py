"""The gateway protocol: SMS to single numbers and to the topic of the daily SMS; and its errors."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from quoteapi.sms.topics import TimeZoneTopics

SmsKind = Literal["code", "confirmation", "quote"]
"""What an SMS is for; "code" is an OTP. SNS sends OTPs and confirmations as Transactional, quotes as Promotional."""


class GatewayError(Exception):
    """A gateway call failed. The message never has a phone number."""


class NumberRejected(GatewayError):
    """Permanent: the gateway rejects the number."""


class GatewayMisconfigured(GatewayError):
    """The gateway refused: retries fail until the operator corrects credentials, permissions or quotas."""


class GatewayUnavailable(GatewayError):
    """Transient: a later try may succeed."""


class OutcomeUnknown(GatewayError):
    """The response is missing or unclear, so the call may have succeeded: an SMS must not be sent again."""


class Gateway(Protocol):
    """Sends SMS and keeps the subscriptions of the topics. Every method may raise `GatewayError`.

    A topic is named as in the database: `console`, or `REGION:NAME` for one of SNS. It is created when it is needed.
    """

    topics: "TimeZoneTopics"
    """The names of the topics."""

    def send_sms(self, mobile: str, message: str, kind: SmsKind) -> str:
        """Send one SMS, in one attempt. Return its message id."""

    def subscribe(self, mobile: str, topic: str) -> str:
        """Add a number to a topic. Return the ARN of its subscription, also if it was subscribed before."""

    def unsubscribe(self, subscription_arn: str) -> None:
        """Delete a subscription. Idempotent."""

    def publish(self, message: str, topic: str) -> str:
        """Send the daily SMS to all numbers on a topic, in one attempt. Return its message id."""

    def count_subscriptions(self, topic: str) -> int:
        """Return the subscriber count of a topic."""

    def is_opted_out(self, mobile: str) -> bool:
        """Return whether the number opted out: it replied STOP."""

    def list_opted_out(self) -> Iterator[list[str]]:
        """Return the numbers that opted out, in pages."""

    def opt_in(self, mobile: str) -> None:
        """Opt a number in again, which AWS allows once in 30 days."""
