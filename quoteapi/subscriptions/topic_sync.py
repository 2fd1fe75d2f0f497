"""Topic sync: makes the SNS topic match the subscribers in the database.

A subscriber that may differ from the topic has `sync_needed_since`. The process that syncs it holds a lease on its row,
so that gateway calls for one number do not overlap. If the lease was lost meanwhile, the row is synced again.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from peewee import Case, fn

from quoteapi.clock import Clock
from quoteapi.observability.redaction import mask_phone_number
from quoteapi.settings import Settings
from quoteapi.sms.gateway import Gateway, GatewayError, GatewayMisconfigured, NumberRejected, OutcomeUnknown
from quoteapi.sms.messages import confirmation_text
from quoteapi.storage.database import iterate_in_batches
from quoteapi.storage.models import ACTIVE, OPTED_OUT, OUT_OF_SYNC, Subscriber, database
from quoteapi.subscriptions import subscriber_count
from quoteapi.subscriptions.errors import RateLimited, SmsDisabled
from quoteapi.subscriptions.otp import OneTimePasswords
from quoteapi.subscriptions.rate_limits import RateLimits

LEASE_TIMEOUT = timedelta(minutes=5)
"""After this, the holder of a lease is presumed dead; far longer than its gateway calls can take."""
BATCH_SIZE = 10_000
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
    gateway: Gateway
    limits: RateLimits
    passwords: OneTimePasswords
    clock: Clock

    def sync(self, subscriber_id: int) -> str:
        """Make the topic match the state of a subscriber. Raises `GatewayError`.

        Return "subscribed", "unsubscribed" or, if it is in sync or another process syncs it, "nothing to do".
        """
        outcome = "nothing to do"
        while (row := self._acquire_lease(subscriber_id)) is not None:
            try:
                arn = self._update_topic(row)
            except Exception:
                self._release_lease(row, row.subscription_arn)
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
        subscriber_count.recount()
        stopped, failed = self._mark_opted_out()
        if everyone:
            self._mark_all_out_of_sync()
        count = Counter[str]()
        for row in iterate_in_batches(Subscriber.select(Subscriber.id).where(OUT_OF_SYNC)):
            if is_time_up():
                break
            count[self._try_sync(row.id)] += 1
            progress(1)
        self.passwords.delete_expired()
        self.limits.delete_expired()
        not_tried = max(0, Subscriber.select().where(OUT_OF_SYNC).count() - count["refused"] - count["failed"])
        failed += count["failed"]
        return ReconcileResult(count["subscribed"], count["unsubscribed"], stopped, count["refused"], failed, not_tried)

    def _acquire_lease(self, subscriber_id: int) -> Subscriber | None:
        """Acquire the lease of a subscriber; None if it is in sync or another process holds the lease.

        For an active one, the topic is stored before the gateway call, so that it is known even if this process dies.
        """
        now, is_active = self.clock(), Subscriber.state == ACTIVE
        is_free = Subscriber.lease_acquired_at.is_null() | (Subscriber.lease_acquired_at <= now - LEASE_TIMEOUT)
        update = Subscriber.update(
            lease_acquired_at=now,
            topic=Case(None, [(is_active, self.gateway.topic)], Subscriber.topic),
            subscription_arn=Case(None, [(is_active, None)], Subscriber.subscription_arn),
        ).where((Subscriber.id == subscriber_id) & OUT_OF_SYNC & is_free)
        return next(iter(update.returning(Subscriber).execute()), None)

    def _update_topic(self, row: Subscriber) -> str | None:
        """Subscribe or unsubscribe a number at the gateway. Return its subscription ARN; None if unsubscribed."""
        if row.state == ACTIVE:
            arn = self.gateway.subscribe(row.mobile)
            self._send_confirmation(row)
            return arn
        if row.topic is None:  # no process began to add it
            return None
        if row.subscription_arn is None:  # a process added it, or died trying: subscribing again returns the ARN
            topic = self.gateway.topic
            if row.topic != topic:
                raise GatewayMisconfigured(f"the number is on the topic {row.topic}, but the settings name {topic}")
            row.subscription_arn = self.gateway.subscribe(row.mobile)
            Subscriber.update(subscription_arn=row.subscription_arn).where(_holds_lease(row)).execute()
        self.gateway.unsubscribe(row.subscription_arn)
        return None

    def _send_confirmation(self, row: Subscriber) -> None:
        """Send the confirmation SMS unless it was sent. Raises `GatewayError` if a later try may succeed."""
        claimable = (Subscriber.id == row.id) & Subscriber.confirmation_sent_at.is_null()
        claim = Subscriber.update(confirmation_sent_at=self.clock()).where(claimable)
        if row.confirmation_sent_at is not None or not claim.execute():
            return
        text = confirmation_text(self.settings.unsubscribe_url)
        try:
            self.limits.check_sms_switch()
            self.limits.consume_sms_quota()
            self.gateway.send_sms(row.mobile, text.message, "confirmation")
        except (NumberRejected, OutcomeUnknown, SmsDisabled, RateLimited) as error:
            log.warning(
                "Confirmation SMS to %s not sent: %s", mask_phone_number(row.mobile), str(error) or type(error).__name__
            )
        except GatewayError:
            self.limits.release_sms_quota()
            Subscriber.update(confirmation_sent_at=None).where(Subscriber.id == row.id).execute()
            raise

    def _store_result(self, row: Subscriber, arn: str | None) -> None:
        """Store what the gateway did, and release the lease; a row that changed meanwhile stays out of sync."""
        is_unchanged = (
            (Subscriber.state == row.state)
            & (Subscriber.confirmed_at == row.confirmed_at)
            & (Subscriber.sync_needed_since == row.sync_needed_since)
        )
        stored, cleared = {"subscription_arn": arn, "topic": self.gateway.topic}, ["sync_needed_since"]
        if arn is None:  # unsubscribing twice is harmless, but forgetting a subscription that another added is not
            cleared += stored
        columns = {name: Case(None, [(is_unchanged, None)], getattr(Subscriber, name)) for name in cleared}
        self._release_lease(row, arn, **stored | columns)

    def _release_lease(self, row: Subscriber, arn: str | None, **columns: object) -> None:
        """Release a lease and store columns. If the lease was lost, mark the subscriber out of sync instead.

        Another process may then have called the gateway too, and which call came last is not known.
        """
        if Subscriber.update(lease_acquired_at=None, **columns).where(_holds_lease(row)).execute():
            return
        columns = {"topic": self.gateway.topic, "subscription_arn": arn} if row.state == ACTIVE else {}
        update = Subscriber.update(sync_needed_since=self.clock(), **columns).where(Subscriber.mobile == row.mobile)
        if not update.execute() and (arn is not None or row.state == ACTIVE):  # the number was removed meanwhile
            self.gateway.unsubscribe(arn or self.gateway.subscribe(row.mobile))

    def _mark_all_out_of_sync(self) -> None:
        """Mark all active subscribers out of sync, in batches, so that no statement takes long."""
        last_id = Subscriber.select(fn.MAX(Subscriber.id)).scalar() or 0
        for first_id in range(0, last_id + 1, BATCH_SIZE):
            batch = Subscriber.id.between(first_id, first_id + BATCH_SIZE - 1) & (Subscriber.state == ACTIVE)
            Subscriber.update(sync_needed_since=self.clock()).where(batch).execute()

    def _mark_opted_out(self) -> tuple[int, int]:
        """Mark subscribers that opted out. Return how many, and how many gateway calls failed (0 or 1)."""
        count, now = 0, self.clock()
        try:
            for mobiles in self.gateway.list_opted_out():
                update = Subscriber.update(state=OPTED_OUT, ended_at=now, sync_needed_since=now)
                with database.atomic():
                    marked = update.where(Subscriber.mobile.in_(mobiles) & (Subscriber.state == ACTIVE)).execute()
                    subscriber_count.count_deactivations(marked)
                count += marked
        except GatewayError as error:
            log.warning("Cannot list opted-out numbers: %s", error)
            return count, 1
        return count, 0

    def _try_sync(self, subscriber_id: int) -> str:
        """Sync a subscriber. Return what `sync` returns or, if it raises, "refused" or "failed"."""
        try:
            return self.sync(subscriber_id)
        except NumberRejected as error:
            log.warning("The gateway rejected subscriber %d: %s", subscriber_id, error)
            return "refused"
        except Exception as error:
            is_expected = isinstance(error, GatewayError)
            log.warning("Subscriber %d is not in sync yet: %s", subscriber_id, error, exc_info=not is_expected)
            return "failed"


def _holds_lease(row: Subscriber) -> object:
    return (Subscriber.id == row.id) & (Subscriber.lease_acquired_at == row.lease_acquired_at)
