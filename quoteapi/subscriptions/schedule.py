"""The schedule of the daily SMS: a run every 15 minutes, on Lambda, by cron or in `quoteapi serve`."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from quoteapi.subscriptions.daily_delivery import DailyDelivery, DeliveryResult
from quoteapi.subscriptions.topic_sync import TopicSync

INTERVAL = timedelta(minutes=15)
"""How often the schedule runs: the offsets of all time zones are multiples of it."""
MIN_SECONDS_TO_SYNC, MIN_SECONDS_TO_PUBLISH = 30, 12
"""If less time is left before the timeout, a run stops syncing subscribers, or publishing to topics.

A run whose timeout is below a minute syncs for half of its time.
"""
log = logging.getLogger(__name__)


class DeliveryFailed(Exception):
    """Mornings were missed, are in doubt, or their SMS was not sent. The message has a line for each."""


@dataclass
class Schedule:
    """Syncs the subscribers whose sync is due, then publishes the daily SMS where it is due."""

    topic_sync: TopicSync
    daily_delivery: DailyDelivery

    def run(
        self,
        remaining_seconds: Callable[[], float] = lambda: math.inf,
        on_result: Callable[[DeliveryResult], None] = lambda _: None,
    ) -> list[DeliveryResult]:
        """Sync, then publish. Return what was sent, reported or failed; `on_result` is called with each at once.

        Raises `NoSharedState`, `SmsDisabled`.

        Sync comes first because it adds new subscribers to their topics, and removes those that replied STOP. If it
        fails, the SMS is sent nevertheless.
        """
        self.daily_delivery.require_shared_state()
        min_seconds_to_sync = min(MIN_SECONDS_TO_SYNC, remaining_seconds() / 2)
        try:
            self.topic_sync.sync_due(lambda: remaining_seconds() < min_seconds_to_sync)
        except Exception:
            log.exception("Topic sync failed; the next run tries again")
        return self.daily_delivery.publish_due(lambda: remaining_seconds() < MIN_SECONDS_TO_PUBLISH, on_result)


def log_result(result: DeliveryResult) -> None:
    """Log what a run sent or reported, or failed to send."""
    log.log(logging.ERROR if result.is_failure else logging.INFO, "Daily SMS of %s", describe_result(result))


def raise_failures(results: list[DeliveryResult]) -> None:
    """Raise `DeliveryFailed` if a result is a failure."""
    if lines := [describe_result(result) for result in results if result.is_failure]:
        raise DeliveryFailed("\n".join(lines))


def describe_result(result: DeliveryResult) -> str:
    """Return a result on one line, with the local date and the time zone."""
    return f"{result.date}, {result.time_zone}: {result.message}"
