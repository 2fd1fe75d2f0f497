"""A gateway that keeps topics in memory. It records nothing: the model observes its calls."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import count

from quoteapi.sms.gateway import SmsKind
from quoteapi.sms.topics import TimeZoneTopics

BASE, DEFAULT_TIME_ZONE = "daily", "Etc/UTC"


class SimulatedGateway:
    """Keeps the topics and the numbers that opted out. An opted-out number still gets SMS, so that a check sees it."""

    def __init__(self) -> None:
        self.topics = TimeZoneTopics(BASE, DEFAULT_TIME_ZONE)
        self.members: defaultdict[str, set[str]] = defaultdict(set)
        """The numbers on each topic."""
        self.opted_out: dict[str, None] = {}
        self._message_ids = count(1)

    def send_sms(self, mobile: str, message: str, kind: SmsKind) -> str:
        return f"sms-{next(self._message_ids)}"

    def subscribe(self, mobile: str, topic: str) -> str:
        self.members[topic].add(mobile)
        return f"{topic}:{mobile}"

    def unsubscribe(self, subscription_arn: str) -> None:
        topic, _, mobile = subscription_arn.rpartition(":")
        self.members[topic].discard(mobile)

    def publish(self, message: str, topic: str) -> str:
        return f"quote-{next(self._message_ids)}"

    def count_subscriptions(self, topic: str) -> int:
        return len(self.members[topic])

    def is_opted_out(self, mobile: str) -> bool:
        return mobile in self.opted_out

    def list_opted_out(self) -> Iterator[list[str]]:
        numbers = list(self.opted_out)
        return iter([numbers[start : start + 100] for start in range(0, len(numbers), 100)])

    def opt_in(self, mobile: str) -> None:
        self.opted_out.pop(mobile, None)
