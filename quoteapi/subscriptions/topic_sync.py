"""Topic sync: makes the SNS topics match the subscribers in the state.

An active subscriber is on the topic of its time zone, unless it is paused. One whose topic may have to change has
`sync_due_at`. The process that syncs it holds a lease on its row, so that gateway calls for one number do not overlap.
If the lease was lost meanwhile, the row is synced again.

A subscriber that moves to another time zone must not get two SMS of one date. So the last date whose SMS was sent to
the old topic is stored. The subscriber is added to the new topic once only SMS of later dates will be sent there.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple

from quoteapi.clock import Clock
from quoteapi.observability.redaction import mask_phone_number
from quoteapi.settings import Settings
from quoteapi.sms.gateway import Gateway, GatewayError, GatewayMisconfigured, NumberRejected, OutcomeUnknown
from quoteapi.sms.messages import confirmation_text
from quoteapi.storage.state import ACTIVE, State, StateUnavailable, Subscriber
from quoteapi.subscriptions.delivery_hours import DeliveryHours
from quoteapi.subscriptions.errors import RateLimited, SmsDisabled
from quoteapi.subscriptions.otp import LIFETIME, OneTimePasswords
from quoteapi.subscriptions.phone import time_zone_of
from quoteapi.subscriptions.rate_limits import USAGE_RETENTION, RateLimits
from quoteapi.time_zones import local_date, start_of_local_date

LEASE_TIMEOUT = timedelta(minutes=5)
"""After this, the holder of a lease is presumed dead; far longer than its gateway calls can take."""
log = logging.getLogger(__name__)


class ReconcileResult(NamedTuple):
    """How many subscribers a reconciliation synced, and how many it did not.

    `stopped`: opted out since the last reconciliation; `refused`: SNS rejects the number; `failed`: may succeed next
    time; `left`: not tried, for lack of time.
    """

    subscribed: int = 0
    unsubscribed: int = 0
    stopped: int = 0
    refused: int = 0
    failed: int = 0
    left: int = 0


class Placement(NamedTuple):
    """The result of a sync: the topic that a subscriber is on, if any, and when its next sync is due."""

    topic: str | None = None
    subscription_arn: str | None = None
    last_sms_date: date | None = None
    """The last date whose SMS it may have got on a topic that it left."""
    due_at: datetime | None = None


@dataclass
class TopicSync:
    """Makes the topics match the state, for one subscriber or for all."""

    settings: Settings
    state: State
    gateway: Gateway
    limits: RateLimits
    passwords: OneTimePasswords
    hours: DeliveryHours
    clock: Clock

    def sync(self, subscriber_id: str) -> str:
        """Make the topics match the state of a subscriber. Raises `GatewayError`.

        Return "subscribed", "unsubscribed", "waiting" (active, but on no topic now) or, if no sync is due or another
        process syncs it, "nothing to do".
        """
        outcome = "nothing to do"
        while (row := self.state.acquire_lease(subscriber_id, now=self.clock(), timeout=LEASE_TIMEOUT)) is not None:
            try:
                row, placement = self._place(row)
            except Exception:
                self._release_lease(row)
                raise
            self._store_placement(row, placement)
            outcome = "subscribed" if placement.topic else "unsubscribed" if row.state != ACTIVE else "waiting"
        return outcome

    def reconcile(
        self,
        is_time_up: Callable[[], bool] = lambda: False,
        progress: Callable[[int], None] = lambda _: None,
        *,
        everyone: bool = False,
    ) -> ReconcileResult:
        """Sync all subscribers that need it, correct the subscriber count, and delete expired OTPs and rate-limit logs.

        Apart from that count, one SQL statement, the cost grows with the subscribers out of sync and the numbers that
        opted out, not with all subscribers. With `everyone`, add all active subscribers again, for example to a new
        topic. `progress` is called with the number of subscribers processed since the last call. Stop when
        `is_time_up()` returns True.
        """
        self._recount_subscribers()
        if everyone:
            self.state.mark_all_out_of_sync(self.clock())
        result = self.sync_due(is_time_up, progress)
        self._delete_expired()
        return result

    def sync_due(
        self, is_time_up: Callable[[], bool] = lambda: False, progress: Callable[[int], None] = lambda _: None
    ) -> ReconcileResult:
        """Mark subscribers that opted out, then sync those whose sync is due. Arguments as in `reconcile`."""
        stopped, failed = self._mark_opted_out(is_time_up)
        self._set_missing_time_zones(is_time_up)
        count = Counter[str]()
        for subscriber_id in self.state.out_of_sync(self.clock()):
            if is_time_up():
                break
            count[self._try_sync(subscriber_id)] += 1
            progress(1)
        not_tried = max(0, self.state.count_out_of_sync(self.clock()) - count["refused"] - count["failed"])
        failed += count["failed"]
        return ReconcileResult(count["subscribed"], count["unsubscribed"], stopped, count["refused"], failed, not_tried)

    def _set_missing_time_zones(self, is_time_up: Callable[[], bool]) -> None:
        """Store the time zone of the number for subscribers that confirmed before there were time zones."""
        default = self.settings.default_time_zone
        for row in self.state.subscribers_without_time_zone():
            if is_time_up():
                break
            time_zone = time_zone_of(row.mobile) or default
            current = self.gateway.topics.time_zone(row.topic) if row.topic is not None else None
            is_move = current not in {None, time_zone}
            self.state.set_time_zone(row.id, time_zone, now=self.clock(), is_move=is_move)

    def _recount_subscribers(self) -> None:
        stored, counted = self.state.recount_subscribers()
        if stored != counted:
            log.warning("Subscriber count corrected from %d to %d", stored, counted)

    def _delete_expired(self) -> None:
        """Delete OTPs, rate-limit logs and SMS counts that no longer count."""
        now = self.clock()
        self.state.delete_expired(
            otps_requested_before=now - 2 * LIFETIME,
            tried_before=now - self.passwords.policy.lock,
            logs_before=now - self.limits.log_retention,
            sms_before=now.date() - USAGE_RETENTION,
        )

    def _place(self, row: Subscriber) -> tuple[Subscriber, Placement]:
        """Add a subscriber to its topic, or remove it from one. Return it as stored now, and its placement.

        A move needs two calls of this method: the first one removes it from the old topic.
        """
        target = self._target(row)
        if row.topic is not None and row.topic != target:
            return self._leave(row, row.topic, row.sync_due_at if target is not None else self._pause_end(row))
        if target is None:
            return row, Placement(due_at=self._pause_end(row))
        if (due_at := self._wait_until(row, target)) is not None:
            self._send_confirmation(row)
            return row, Placement(due_at=due_at)
        return row, self._join(row, target)

    def _target(self, row: Subscriber) -> str | None:
        """Return the topic where a subscriber must be now; None for no topic."""
        if row.state != ACTIVE or self._pause_end(row) is not None:
            return None
        return self.gateway.topics.name(self._time_zone(row))

    def _time_zone(self, row: Subscriber) -> str:
        return row.time_zone or self.settings.default_time_zone

    def _pause_end(self, row: Subscriber) -> datetime | None:
        """Return when the pause of an active subscriber ends; None if it is not paused."""
        is_paused = row.state == ACTIVE and row.paused_until is not None and row.paused_until > self.clock()
        return row.paused_until if is_paused else None

    def _leave(self, row: Subscriber, topic: str, due_at: datetime | None) -> tuple[Subscriber, Placement]:
        """Remove a subscriber from a topic. Then read the last date whose SMS may have been sent there."""
        if self._must_unsubscribe(row, topic):
            row = self._unsubscribe(row, topic)
        last = self.state.last_delivery(topic)
        return row, Placement(last_sms_date=None if last is None else last.date, due_at=due_at)

    def _must_unsubscribe(self, row: Subscriber, topic: str) -> bool:
        """Return whether a number must be removed from a topic. One of other settings gets no SMS.

        Raises `GatewayMisconfigured` if it ended its subscription, and the settings do not allow to delete that.
        """
        is_own = self.gateway.topics.time_zone(topic) is not None
        if not is_own and row.state != ACTIVE and row.subscription_arn is None:
            own = self.gateway.topics.name(self.settings.default_time_zone)
            raise GatewayMisconfigured(f"the number is on the topic {topic}, but the settings name {own}")
        return is_own or row.state != ACTIVE

    def _unsubscribe(self, row: Subscriber, topic: str) -> Subscriber:
        """Delete the subscription of a number. Return the subscriber with its ARN."""
        arn = row.subscription_arn
        if arn is None:
            arn = self.gateway.subscribe(row.mobile, topic)  # which returns the ARN of a number on the topic
            self.state.store_subscription_arn(row, arn)
        self.gateway.unsubscribe(arn)
        return row._replace(subscription_arn=arn)

    def _wait_until(self, row: Subscriber, target: str) -> datetime | None:
        """Return when a subscriber can join a topic without a second SMS of a date; None if it can now.

        It waits until the last date whose SMS it may have got is over, unless the SMS of that date was sent to the new
        topic already.
        """
        last, time_zone = row.last_sms_date, self._time_zone(row)
        if last is None or row.topic == target or local_date(self.clock(), time_zone) > last:
            return None
        delivery = self.state.find_delivery(last, target)
        if delivery is not None and delivery.sent_at is not None:
            return None
        return start_of_local_date(last + timedelta(days=1), time_zone)

    def _join(self, row: Subscriber, topic: str) -> Placement:
        """Add a subscriber to a topic. The topic is stored before the call, so that it is known if this process dies.

        If the subscriber changed since the lease was acquired, leave it where it is: its next sync is due.
        """
        is_known = row.topic == topic and row.subscription_arn is None  # the ARN may be that of a deleted topic
        if not is_known and not self.state.store_topic(row, topic):
            return Placement(row.topic, row.subscription_arn, due_at=self.clock())
        arn = self.gateway.subscribe(row.mobile, topic)
        self._send_confirmation(row)
        return Placement(topic, arn)

    def _send_confirmation(self, row: Subscriber) -> None:
        """Send the confirmation SMS unless it was sent. Raises an error if a later try may succeed."""
        if row.confirmation_sent_at is not None or not self.state.claim_confirmation(row.id, self.clock()):
            return
        text = confirmation_text(self.settings.unsubscribe_url, self.hours.describe_hour(self._time_zone(row)))
        try:
            self.limits.check_sms_switch()
            self.limits.consume_sms_quota()
            self.gateway.send_sms(row.mobile, text.message, "confirmation")
        except (NumberRejected, OutcomeUnknown, SmsDisabled, RateLimited) as error:
            log.warning(
                "Confirmation SMS to %s not sent: %s", mask_phone_number(row.mobile), str(error) or type(error).__name__
            )
        except StateUnavailable:  # before the gateway call
            self.state.release_confirmation(row.id)
            raise
        except GatewayError:
            self.limits.release_sms_quota()
            self.state.release_confirmation(row.id)
            raise

    def _store_placement(self, row: Subscriber, placement: Placement) -> None:
        """Store where a subscriber is now, and release the lease."""
        topic, arn, last_sms_date, due_at = placement
        if not self.state.finish_sync(row, topic, arn, last_sms_date=last_sms_date, due_at=due_at):
            self._handle_lost_lease(row, topic, arn)

    def _release_lease(self, row: Subscriber) -> None:
        """Release the lease after a failed gateway call."""
        if not self.state.release_lease(row):
            self._handle_lost_lease(row, row.topic or self._target(row), row.subscription_arn)

    def _handle_lost_lease(self, row: Subscriber, topic: str | None, arn: str | None) -> None:
        """Make the sync of a subscriber due: another process may have called the gateway too, and later.

        The number may be on `topic`. If the state cannot store that, as it has another topic, take the number off.
        """
        stored = self.state.mark_out_of_sync(row, topic, arn, self.clock())
        if topic is not None and (stored is None or stored.topic != topic):
            self.gateway.unsubscribe(arn or self.gateway.subscribe(row.mobile, topic))

    def _mark_opted_out(self, is_time_up: Callable[[], bool]) -> tuple[int, int]:
        """Mark subscribers that opted out. Return how many, and how many gateway calls failed (0 or 1)."""
        count, now = 0, self.clock()  # a number that confirms while they are listed has opted in again
        try:
            for mobiles in self.gateway.list_opted_out():
                count += self.state.mark_opted_out(mobiles, now)
                if is_time_up():
                    break
        except GatewayError as error:
            log.warning("Cannot list opted-out numbers: %s", error)
            return count, 1
        return count, 0

    def _try_sync(self, subscriber_id: str) -> str:
        """Sync a subscriber. Return what `sync` returns or, if it raises, "refused" or "failed"."""
        try:
            return self.sync(subscriber_id)
        except NumberRejected as error:
            log.warning("The gateway rejected subscriber %s: %s", subscriber_id, error)
            return "refused"
        except Exception as error:
            is_expected = isinstance(error, GatewayError)
            log.warning("Subscriber %s is not in sync yet: %s", subscriber_id, error, exc_info=not is_expected)
            return "failed"
