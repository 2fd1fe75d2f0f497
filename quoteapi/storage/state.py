"""The state: what requests and schedules write, and all processes must share.

`State` is implemented by `sql_state.SqlState` (SQLite, PostgreSQL) and `dynamodb_state.DynamoDbState`. Each of its
methods is one atomic step, so that the store decides races, and no caller needs a transaction. A change that depends on
what is stored returns whether, or as what, it was made. Datetimes are aware; phone numbers are E.164.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from quoteapi.storage.catalogue import Quotation

Purpose = Literal["subscribe", "unsubscribe", "pause"]
"""What an OTP proves that its owner wants."""
ACTIVE, UNSUBSCRIBED, OPTED_OUT = SUBSCRIBER_STATES = "active", "unsubscribed", "stopped"
"""The states of a subscriber."""
SYNCED_COLUMNS = ("state", "confirmed_at", "time_zone", "paused_until", "sync_due_at")
"""The fields of a subscriber on which its topic depends."""


class StateUnavailable(Exception):
    """The store cannot be reached, or has no capacity now; a later try may succeed."""


class OtpReplaced(Exception):
    """The OTP of a change was used or replaced by another process since it was compared; nothing was changed."""


class SubscriberCountLimit(Exception):
    """A change would exceed the limit of the subscriber count; nothing was changed."""


class OtpPolicy(NamedTuple):
    """How many wrong tries lock a number, how long the last of them locks it, and how long an OTP is valid."""

    tries: int
    lock: timedelta
    lifetime: timedelta


class Otp(NamedTuple):
    """A requested OTP. A number has at most one for each purpose."""

    mobile: str
    purpose: Purpose
    otp_request_id: str
    """Names the request in task payloads; the number cannot be found from it."""
    digest: str | None
    """HMAC of the OTP; None until the OTP is generated."""
    expires_at: datetime | None
    """None until the OTP is generated and after it was used."""
    tries_left: int
    last_wrong_try_at: datetime | None
    requested_at: datetime
    requested_from: str
    """The client IP of the request."""
    time_zone: str | None
    """The time zone that the request to subscribe named, if any."""
    claimed_at: datetime | None
    """When a process claimed the right to send the OTP."""
    sent_at: datetime | None

    @property
    def is_used(self) -> bool:
        """Whether the OTP was used; its digest is kept."""
        return self.digest is not None and self.expires_at is None

    def can_be_tried(self, now: datetime, lifetime: timedelta) -> bool:
        """Return whether a code is compared with it: tries are left, and neither it nor its use is out of date."""
        valid_until = self.expires_at or self.requested_at + lifetime
        return self.digest is not None and self.tries_left > 0 and valid_until > now


class OtpTry(NamedTuple):
    """A try at an OTP: the OTP as it is now (None if there is none), and whether the code was compared with it."""

    otp: Otp | None
    is_compared: bool


class Subscriber(NamedTuple):
    """A confirmed phone number. It is kept after it unsubscribes, as proof that it consented."""

    id: str
    """Names the subscriber in task payloads and logs; the number cannot be found from it."""
    mobile: str
    state: str
    """`ACTIVE`, `UNSUBSCRIBED`, or `OPTED_OUT` by a STOP reply."""
    requested_at: datetime
    requested_from: str
    """The client IP of the request for the OTP."""
    confirmed_at: datetime
    confirmed_from: str
    """The client IP of the request that submitted the right OTP."""
    ended_at: datetime | None
    time_zone: str | None
    """The IANA name, such as Asia/Kolkata; None for a subscriber from before time zones, until its sync."""
    joined_at: datetime | None
    """When it joined its time zone; in the future during a wait or a pause. It gets only later mornings.

    None for a subscriber from before time zones.
    """
    paused_until: datetime | None
    """Until when it gets no daily SMS; None, or in the past, if it is not paused."""
    last_sms_date: date | None
    """The last local date whose SMS it may have got on a topic that it left; from others, it gets later ones."""
    topic: str | None
    """The topic (`Gateway.topic`) that the number was or may have been added to; None if it is on none."""
    subscription_arn: str | None
    """The subscription to the topic; None if there is none or its ARN is not known."""
    confirmation_sent_at: datetime | None
    """Set before the confirmation SMS is sent, so that it is sent once."""
    sync_due_at: datetime | None
    """From when on the topic may have to change, which may be in the future; None if it is in sync."""
    lease_acquired_at: datetime | None
    """When a process acquired the lease to sync this subscriber; None if none holds it."""


class Delivery(NamedTuple):
    """The daily SMS of a date to a topic, claimed before it is sent, so that only one process sends it."""

    date: date
    topic: str
    claimed_at: datetime
    sending_at: datetime | None
    """Set just before the gateway is called: from then on, the SMS may have gone out."""
    sent_at: datetime | None
    message_id: str | None
    reported_at: datetime | None
    """When it was reported as missed or, with `sending_at`, as in doubt."""


class State(Protocol):
    """The shared state. All methods raise `StateUnavailable`, or the database's own errors on SQL."""

    # One-time passwords

    def request_otp(  # noqa: PLR0913 what a request has
        self,
        mobile: str,
        purpose: Purpose,
        client_ip: str,
        *,
        now: datetime,
        policy: OtpPolicy,
        time_zone: str | None = None,
    ) -> Otp:
        """Store a request for an OTP, which replaces the number's older one for this purpose. Return it.

        It has all tries if there was none or its last wrong try no longer locks the number; else those that were left.
        If none were left, the number is locked: change nothing, and return the older OTP.
        """

    def find_otp(self, otp_request_id: str) -> Otp | None:
        """Return the OTP of an OTP request; None if it was replaced or deleted."""

    def claim_otp(self, otp_request_id: str, digest: str, *, now: datetime, expires_at: datetime) -> bool:
        """Store the digest of a generated OTP, and claim the right to send it. Return False if it is claimed."""

    def release_otp(self, otp_request_id: str) -> None:
        """Release the claim to send an OTP that was not sent; its digest stays."""

    def mark_otp_sent(self, otp_request_id: str, now: datetime) -> None:
        """Store that an OTP was sent."""

    def try_otp(self, mobile: str, purpose: Purpose, digest: str, *, now: datetime, policy: OtpPolicy) -> OtpTry:
        """Compare a digest with the OTP of a number, if that can be tried; a wrong one costs a try.

        Comparing and counting are one step, so that parallel tries never exceed the limit.
        """

    def reset_otp_tries(self, otp: Otp, tries: int) -> None:
        """Forget the wrong tries at an OTP after a right one, unless another OTP replaced it."""

    # Subscribers

    def find_subscriber(self, mobile: str) -> Subscriber | None:
        """Return the subscriber with a number, in any state."""

    def activate(  # noqa: PLR0913 what a subscription has
        self,
        otp: Otp,
        *,
        tries: int,
        confirmed_from: str,
        now: datetime,
        limit: int,
        time_zone: str | None,
        default_time_zone: str,
    ) -> str | None:
        """Use up an OTP, store its number as an active subscriber, and count it, all in one step.

        Without `time_zone`, it keeps the one that is stored or, if there is none, gets `default_time_zone`. If it was
        active, only `time_zone` is stored, and a pause ends. Return the subscriber's id; None if only the OTP changed.
        Raises `OtpReplaced`, `SubscriberCountLimit`.
        """

    def deactivate(self, mobile: str, *, now: datetime, otp: Otp | None = None, tries: int = 0) -> str | None:
        """Store that an active subscriber unsubscribed, and subtract it from the subscriber count, in one step.

        With `otp`, use that up in the same step. Return the subscriber's id; None if the number was not active. Raises
        `OtpReplaced`.
        """

    def pause(
        self, mobile: str, *, until: datetime, now: datetime, otp: Otp | None = None, tries: int = 0
    ) -> str | None:
        """Store that an active subscriber is paused, and use up `otp` if given, in one step.

        Return the subscriber's id; None if the number was not active. Raises `OtpReplaced`.
        """

    def set_time_zone(self, subscriber_id: str, time_zone: str, *, now: datetime, is_move: bool = True) -> bool:
        """Store the time zone of a subscriber. Return False if it has that one, or if there is no such subscriber.

        With `is_move`, it joins the time zone now, and its sync is due.
        """

    def subscribers_without_time_zone(self) -> Iterator[Subscriber]:
        """Yield the active subscribers that have no time zone yet, read in batches."""

    def mark_opted_out(self, mobiles: list[str], now: datetime) -> int:
        """Store of the active subscribers among the numbers that they opted out before `now`. Return how many.

        One that confirmed after `now` has opted in again since the numbers were listed, and stays active.
        """

    def delete_subscriber(self, mobile: str) -> bool:
        """Delete a subscriber that is not active and in sync. Return False if it is active or out of sync."""

    def delete_number(self, mobile: str, log_keys: list[str]) -> bool:
        """Delete the OTPs, rate-limit logs and stored SMS of a number. Return whether there were any."""

    def erase_deleted(self) -> bool:
        """Overwrite deleted data where the store keeps it. Return False if another process prevents that now."""

    def subscribers(self, state: str | None = None) -> Iterator[Subscriber]:
        """Yield all subscribers (in a state), read in batches."""

    def newest_subscribers(self, limit: int, state: str | None = None) -> list[Subscriber]:
        """Return up to `limit` subscribers (in a state), those that were stored last first."""

    def subscriber_count(self) -> int:
        """Return the number of active subscribers as it is stored."""

    def count_subscribers(self, state: str | None = None) -> int:
        """Return how many subscribers there are (in a state), which may take time for each of them."""

    def recount_subscribers(self) -> tuple[int, int]:
        """Count the active subscribers and store their number. Return the number that was stored, and the new one."""

    # Topic sync

    def acquire_lease(self, subscriber_id: str, *, now: datetime, timeout: timedelta) -> Subscriber | None:
        """Acquire the lease of a subscriber whose sync is due; None if it is not, or another process holds the lease.

        A lease that is older than `timeout` is over.
        """

    def store_topic(self, held: Subscriber, topic: str) -> bool:
        """Store the topic that a number is about to be added to, without an ARN.

        Return False, and store nothing, if the lease was lost or if the subscriber changed since: a process that lost
        the lease before may have stored the topic that it added the number to.
        """

    def store_subscription_arn(self, held: Subscriber, arn: str) -> None:
        """Store the ARN of a subscription that was found, if the lease is still held."""

    def finish_sync(
        self,
        held: Subscriber,
        topic: str | None,
        arn: str | None,
        *,
        last_sms_date: date | None = None,
        due_at: datetime | None = None,
    ) -> bool:
        """Store what a subscriber is subscribed to (None: to no topic), and release its lease. Return False if lost.

        `last_sms_date` is stored if it is later than the one that is stored. The next sync is due at `due_at` (None:
        the subscriber is in sync), which is stored as `joined_at`, too: it joins its time zone then. If the subscriber
        changed meanwhile, it is due as it is stored, and a subscription is not forgotten: without `topic`, what is
        stored stays.
        """

    def release_lease(self, held: Subscriber) -> bool:
        """Release the lease of a subscriber whose sync failed. Return False if it was lost."""

    def mark_out_of_sync(
        self, held: Subscriber, topic: str | None, arn: str | None, now: datetime
    ) -> Subscriber | None:
        """Make the sync of a subscriber due after its lease was lost. Return it as stored; None if it was deleted.

        `topic`, if given, and `arn` are stored unless the subscriber is on another topic.
        """

    def mark_all_out_of_sync(self, now: datetime) -> None:
        """Make the sync of all active subscribers due."""

    def out_of_sync(self, now: datetime) -> Iterator[str]:
        """Yield the ids of the subscribers whose sync is due, read in batches."""

    def count_out_of_sync(self, moment: datetime) -> int:
        """Return how many subscribers need a sync that was due at a moment."""

    def claim_confirmation(self, subscriber_id: str, now: datetime) -> bool:
        """Claim the right to send the confirmation SMS. Return False if it was claimed before."""

    def release_confirmation(self, subscriber_id: str) -> None:
        """Release the claim to send the confirmation SMS, which was not sent."""

    def topics_in_use(self) -> list[str]:
        """Return the topics that active subscribers are or may be on, sorted."""

    def count_in_sync_with(self, topic: str) -> int:
        """Return how many active subscribers are on a topic and in sync."""

    def has_joined_before(self, topic: str, moment: datetime) -> bool:
        """Return whether an active subscriber on a topic joined its time zone before a moment."""

    # Deliveries

    def claim_delivery(
        self, day: date, topic: str, *, now: datetime, timeout: timedelta, unknown_after: timedelta | None = None
    ) -> Delivery | None:
        """Claim the right to send a daily SMS. Return None if it was sent or another process holds the claim.

        A claim older than `timeout` is taken over. Once sending began, it is taken over only with `unknown_after`, and
        after that time since `sending_at`; the returned delivery then has the earlier `sending_at`.
        """

    def find_delivery(self, day: date, topic: str) -> Delivery | None:
        """Return the delivery of a date to a topic."""

    def last_delivery(self, topic: str) -> Delivery | None:
        """Return the delivery to a topic with the last date."""

    def report_delivery(
        self, day: date, topic: str, *, now: datetime, claimed_before: datetime, sending_before: datetime
    ) -> Delivery | None:
        """Store that a delivery is reported as missed or, once sending began, as in doubt. Return it.

        Create it, as missed, if there is none. Return None if it was sent or reported, or may still be sent: if it was
        claimed after `claimed_before` or, once sending began, if that was after `sending_before`.
        """

    def start_sending(self, claim: Delivery, now: datetime) -> bool:
        """Store that the gateway is about to be called. Return False if another process took the claim over."""

    def finish_delivery(self, claim: Delivery, message_id: str, now: datetime) -> None:
        """Store that the SMS of a claim was sent."""

    def release_delivery(self, claim: Delivery) -> None:
        """Undo a claim, if it is still held, and `start_sending`: the SMS was certainly not sent by this process.

        A delivery that was reported is kept, so that it is not reported again.
        """

    def store_due_run(self, now: datetime) -> None:
        """Store when `publish --due`, or the schedule, ran."""

    def last_due_run(self) -> datetime | None:
        """Return when `publish --due`, or the schedule, last ran; None if it never did."""

    # The quote of a date

    def daily_quotes(self, first: date, last: date) -> dict[date, "Quotation"]:
        """Return the quotes that are stored for the dates from `first` to `last`."""

    def store_daily_quote(self, day: date, quotation: "Quotation", now: datetime) -> None:
        """Store the quote of a date unless one is stored: the first writer wins, so the caller reads it again."""

    # Rate limits, SMS quota and SMS switch

    def read_rate_limit_log(self, key: str) -> str:
        """Return the log of a key: Unix times in milliseconds, separated by spaces; empty if there is none."""

    def swap_rate_limit_log(self, key: str, before: str, after: str, *, now: datetime, keep_until: datetime) -> bool:
        """Replace the log of a key if it is `before` (empty: or there is none). Return whether it was."""

    def count_sms(self, day: date, limit: int) -> bool:
        """Count an SMS toward the SMS quota of a UTC date. Return False, and do not count it, at the limit."""

    def uncount_sms(self, day: date) -> None:
        """Undo `count_sms` for an SMS that was not sent."""

    def read_sms_count(self, day: date) -> int:
        """Return how many SMS were counted toward the SMS quota of a UTC date."""

    def sms_disabled_at(self) -> datetime | None:
        """Return when the SMS switch was turned off; None if it is on."""

    def set_sms_switch(self, now: datetime, *, off: bool) -> None:
        """Turn the SMS switch off, so that no process sends SMS, or on."""

    def delete_expired(
        self, *, otps_requested_before: datetime, tried_before: datetime, logs_before: datetime, sms_before: date
    ) -> None:
        """Delete OTPs without recent wrong tries, rate-limit logs and SMS counts from before the given times.

        A store that deletes expired items by itself does nothing.
        """
