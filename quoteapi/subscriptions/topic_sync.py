"""Topic sync: makes the SNS topic match the subscribers in the state.

A subscriber that may differ from the topic has `sync_needed_since`. The process that syncs it holds a lease on its row,
so that gateway calls for one number do not overlap. If the lease was lost meanwhile, the row is synced again.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from quoteapi.clock import Clock
from quoteapi.observability.redaction import mask_phone_number
from quoteapi.settings import Settings
from quoteapi.sms.gateway import Gateway, GatewayError, GatewayMisconfigured, NumberRejected, OutcomeUnknown
from quoteapi.sms.messages import confirmation_text
from quoteapi.storage.state import ACTIVE, State, StateUnavailable, Subscriber
from quoteapi.subscriptions.errors import RateLimited, SmsDisabled
from quoteapi.subscriptions.otp import LIFETIME, OneTimePasswords
from quoteapi.subscriptions.rate_limits import USAGE_RETENTION, RateLimits

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


@dataclass
class TopicSync:
    """Makes the topic match the database, for one subscriber or for all."""

    settings: Settings
    state: State
    gateway: Gateway
    limits: RateLimits
    passwords: OneTimePasswords
    clock: Clock

    def sync(self, subscriber_id: str) -> str:
        """Make the topic match the state of a subscriber. Raises `GatewayError`.

        Return "subscribed", "unsubscribed" or, if it is in sync or another process syncs it, "nothing to do".
        """
        outcome = "nothing to do"
        while (row := self._acquire_lease(subscriber_id)) is not None:
            try:
                row = self._with_subscription_arn(row)
                arn = self._update_topic(row)
            except Exception:
                self._release_lease(row)
                raise
            self._store_result(row, arn)
            outcome = "unsubscribed" if arn is None else "subscribed"
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
        opted out, not with all subscribers. With
        `everyone`, add all active subscribers again, for example to a new topic. `progress` is called with the number
        of subscribers processed since the last call. Stop when `is_time_up()` returns True.
        """
        self._recount_subscribers()
        stopped, failed = self._mark_opted_out()
        if everyone:
            self.state.mark_all_out_of_sync(self.clock())
        count = Counter[str]()
        for subscriber_id in self.state.out_of_sync():
            if is_time_up():
                break
            count[self._try_sync(subscriber_id)] += 1
            progress(1)
        self._delete_expired()
        not_tried = max(0, self.state.count_out_of_sync() - count["refused"] - count["failed"])
        failed += count["failed"]
        return ReconcileResult(count["subscribed"], count["unsubscribed"], stopped, count["refused"], failed, not_tried)

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

    def _acquire_lease(self, subscriber_id: str) -> Subscriber | None:
        """Acquire the lease of a subscriber; None if it is in sync or another process holds the lease.

        The topic is stored before the gateway call, so that it is known even if this process dies.
        """
        return self.state.acquire_lease(subscriber_id, self.gateway.topic, now=self.clock(), timeout=LEASE_TIMEOUT)

    def _with_subscription_arn(self, row: Subscriber) -> Subscriber:
        """Return an inactive subscriber with the ARN of its subscription, if it may have one that is not stored."""
        if row.state == ACTIVE or row.topic is None or row.subscription_arn is not None:
            return row
        topic = self.gateway.topic
        if row.topic != topic:
            raise GatewayMisconfigured(f"the number is on the topic {row.topic}, but the settings name {topic}")
        arn = self.gateway.subscribe(row.mobile)  # of a number on the topic, it returns the ARN of the subscription
        self.state.store_subscription_arn(row, arn)
        return row._replace(subscription_arn=arn)

    def _update_topic(self, row: Subscriber) -> str | None:
        """Subscribe or unsubscribe a number at the gateway. Return its subscription ARN; None if unsubscribed."""
        if row.state == ACTIVE:
            arn = self.gateway.subscribe(row.mobile)
            self._send_confirmation(row)
            return arn
        if row.subscription_arn is not None:  # else no process began to add it
            self.gateway.unsubscribe(row.subscription_arn)
        return None

    def _send_confirmation(self, row: Subscriber) -> None:
        """Send the confirmation SMS unless it was sent. Raises an error if a later try may succeed."""
        if row.confirmation_sent_at is not None or not self.state.claim_confirmation(row.id, self.clock()):
            return
        text = confirmation_text(self.settings.leave_url, "at 09:00, UTC time")
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

    def _store_result(self, row: Subscriber, arn: str | None) -> None:
        """Store what the gateway did, and release the lease."""
        if not self.state.finish_sync(row, self.gateway.topic, arn):
            self._handle_lost_lease(row, arn)

    def _release_lease(self, row: Subscriber) -> None:
        """Release the lease after a failed gateway call."""
        if not self.state.release_lease(row):
            self._handle_lost_lease(row, row.subscription_arn)

    def _handle_lost_lease(self, row: Subscriber, arn: str | None) -> None:
        """Mark a subscriber out of sync: another process may have called the gateway too, and later."""
        is_stored = self.state.mark_out_of_sync(row, self.gateway.topic, arn, self.clock())
        if not is_stored and (arn is not None or row.state == ACTIVE):  # the number was removed meanwhile
            self.gateway.unsubscribe(arn or self.gateway.subscribe(row.mobile))

    def _mark_opted_out(self) -> tuple[int, int]:
        """Mark subscribers that opted out. Return how many, and how many gateway calls failed (0 or 1)."""
        count = 0
        try:
            for mobiles in self.gateway.list_opted_out():
                count += self.state.mark_opted_out(mobiles, self.clock())
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
