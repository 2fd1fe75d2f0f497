"""The state in a DynamoDB table. Implements `state.State`.

Everything about a phone number has the partition key `number#HASH`. HASH is an HMAC keyed by a random key in the table
itself, so that keys in AWS's logs and metrics show no numbers, and a change of `SECRET_KEY` loses no subscriber.
Expired OTPs and logs are deleted by DynamoDB's TTL; as that may take days, their times are compared too.
"""

import hmac
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime, timedelta
from functools import cached_property
from heapq import nlargest
from secrets import token_hex
from typing import TypeVar

from quoteapi.storage.catalogue import Quotation
from quoteapi.storage.dynamodb import (
    ConditionFailed,
    Item,
    Key,
    Table,
    TransactionFailed,
    assign,
    update_in_transaction,
)
from quoteapi.storage.state import (
    ACTIVE,
    OPTED_OUT,
    SYNCED_COLUMNS,
    UNSUBSCRIBED,
    Delivery,
    Otp,
    OtpPolicy,
    OtpReplaced,
    OtpTry,
    Purpose,
    StateUnavailable,
    Subscriber,
    SubscriberCountLimit,
)

OUT_OF_SYNC_INDEX, TOPIC_INDEX = "out_of_sync", "topic"
TABLE_KEY: Key = ("table", "-")
"""The item with the key of the HMACs, which `dynamodb_table` creates with the table."""
COUNT_KEY: Key = ("subscriber_count", "-")
DUE_RUN_KEY: Key = ("due_run", "-")
COPY_MARKER = "copy"
"""An attribute of that item while `state_copy` fills the table."""
DAILY_QUOTES = "daily_quote"
"""The partition key of the quotes of dates."""
_SWITCH: Key = ("sms_switch", "-")
_KINDS = {"delivery": "delivery", "rate_limit": "tokenbucket", "sms_count": "smscount"}
_KINDS |= {"sms_switch": "switch", "daily_quote": "dailyquote"}
_PURPOSES: tuple[Purpose, ...] = ("subscribe", "unsubscribe", "pause")
_SMS_COUNT_RETENTION = timedelta(days=400)
_COPIED_RETENTION = timedelta(days=30)
"""How long the OTPs and logs of a copy are kept, which does not know the settings."""
_IS_SUBSCRIBER = "#sk = :subscriber"
_IS_ACTIVE = "#state = :active"
_HOLDS_LEASE = "#lease_acquired_at = :lease"
_Record = TypeVar("_Record", Otp, Subscriber, Delivery)


class DynamoDbState:
    """The state in a table that `dynamodb_table` created."""

    def __init__(self, table: Table) -> None:
        """Call nothing before the first use."""
        self._unchecked_table = table

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
        """Store a request for an OTP unless the number is locked. Return the OTP that is stored."""
        hashed = self._hash(mobile)
        columns: Item = {"mobile": mobile, "purpose": purpose, "requested_at": now, "requested_from": client_ip}
        columns |= {"otp_request_id": f"{hashed}-{purpose}-{token_hex(16)}", "ttl": _ttl(now, policy)}
        columns |= {"time_zone": time_zone, **dict.fromkeys(("digest", "expires_at", "claimed_at", "sent_at"))}
        values = {**columns, "tries": policy.tries, "zero": 0, "lock_start": now - policy.lock}
        keep_tries = assign(**columns).replace("SET ", "SET #tries_left = if_not_exists(#tries_left, :tries), ")
        reset_tries = assign(**columns, last_wrong_try_at=None).replace("SET ", "SET #tries_left = :tries, ")
        has_recent_tries = "#last_wrong_try_at > :lock_start"
        lock_is_over = "attribute_not_exists(#last_wrong_try_at) OR #last_wrong_try_at <= :lock_start"
        key = _otp_key(hashed, purpose)
        try:
            when = f"attribute_not_exists(#last_wrong_try_at) OR (#tries_left > :zero AND {has_recent_tries})"
            return _record(Otp, self._table.update(key, keep_tries, when, **values))
        except ConditionFailed as failed:
            stored = _record(Otp, failed.item or {})
        if stored.last_wrong_try_at is not None and stored.last_wrong_try_at > now - policy.lock:
            return stored
        try:
            return _record(Otp, self._table.update(key, reset_tries, lock_is_over, **values))
        except ConditionFailed as failed:  # another process reset the tries, and a wrong one was made since
            return _record(Otp, failed.item or {})

    def find_otp(self, otp_request_id: str) -> Otp | None:
        """Return the OTP of an OTP request; None if it was replaced or deleted."""
        item = self._table.get(_key_of_request(otp_request_id))
        return _record(Otp, item) if item is not None and item["otp_request_id"] == otp_request_id else None

    def claim_otp(self, otp_request_id: str, digest: str, *, now: datetime, expires_at: datetime) -> bool:
        """Store the digest of a generated OTP, and claim the right to send it."""
        columns = {"digest": digest, "claimed_at": now, "expires_at": expires_at}
        return self._update_request(otp_request_id, "attribute_not_exists(#claimed_at)", **columns)

    def release_otp(self, otp_request_id: str) -> None:
        """Release the claim to send an OTP."""
        self._update_request(otp_request_id, claimed_at=None)

    def mark_otp_sent(self, otp_request_id: str, now: datetime) -> None:
        """Store that an OTP was sent."""
        self._update_request(otp_request_id, sent_at=now)

    def try_otp(self, mobile: str, purpose: Purpose, digest: str, *, now: datetime, policy: OtpPolicy) -> OtpTry:
        """Compare a digest with the OTP of a number, if that can be tried; a wrong one costs a try.

        The write succeeds only for a wrong digest. If it fails, the item of that moment shows why.
        """
        was_used_lately = "(attribute_not_exists(#expires_at) AND #requested_at > :oldest)"
        when = f"#digest <> :digest AND #tries_left > :zero AND (#expires_at > :now OR {was_used_lately})"
        try:
            item = self._table.update(
                _otp_key(self._hash(mobile), purpose),
                "SET #tries_left = #tries_left - :one, #last_wrong_try_at = :now, #ttl = :ttl",
                f"attribute_exists(#digest) AND {when}",
                digest=digest,
                now=now,
                oldest=now - policy.lifetime,
                ttl=_ttl(now, policy),
                zero=0,
                one=1,
            )
        except ConditionFailed as failed:
            otp = None if failed.item is None else _record(Otp, failed.item)
            return OtpTry(otp, is_compared=otp is not None and otp.can_be_tried(now, policy.lifetime))
        return OtpTry(_record(Otp, item), is_compared=True)

    def reset_otp_tries(self, otp: Otp, tries: int) -> None:
        """Forget the wrong tries at an OTP after a right one."""
        self._update_request(otp.otp_request_id, tries_left=tries, last_wrong_try_at=None)

    def find_subscriber(self, mobile: str) -> Subscriber | None:
        """Return the subscriber with a number, in any state."""
        item = self._table.get(_subscriber_key(self._hash(mobile)))
        return None if item is None else _record(Subscriber, item)

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
        """Use up an OTP, store its number as an active subscriber, and count it: a transaction of three items."""
        subscriber_id = self._hash(otp.mobile)
        columns: Item = {"mobile": otp.mobile, "state": ACTIVE, "active": 1, "confirmed_at": now, "joined_at": now}
        columns |= {"requested_at": otp.requested_at, "requested_from": otp.requested_from}
        columns |= {"confirmed_from": confirmed_from, "sync_due_at": now, "out_of_sync": 1, "id": subscriber_id}
        columns |= dict.fromkeys(("ended_at", "confirmation_sent_at", "paused_until"))
        update = assign(**columns, time_zone=time_zone or default_time_zone)
        if time_zone is None:
            update = update.replace("= :time_zone", "= if_not_exists(#time_zone, :time_zone)")
        is_inactive = "attribute_not_exists(#state) OR #state <> :state"
        values = {**columns, "time_zone": time_zone or default_time_zone}
        subscriber = update_in_transaction(_subscriber_key(subscriber_id), update, is_inactive, **values)
        count = update_in_transaction(COUNT_KEY, "ADD #count :one", "#count < :limit", one=1, limit=limit)
        try:
            self._table.transact(_use_otp(otp, tries), subscriber, count)
        except TransactionFailed as failed:
            is_otp_used, is_active, _ = failed.failed
            if is_otp_used:
                raise OtpReplaced from None
            if not is_active:
                raise SubscriberCountLimit from None
            return self._change_active(otp, tries, time_zone, now)
        return subscriber_id

    def deactivate(self, mobile: str, *, now: datetime, otp: Otp | None = None, tries: int = 0) -> str | None:
        """Store that an active subscriber unsubscribed, and subtract it from the subscriber count."""
        return self._change_with_otp(mobile, otp, tries, *_end(self._hash(mobile), UNSUBSCRIBED, now))

    def pause(
        self, mobile: str, *, until: datetime, now: datetime, otp: Otp | None = None, tries: int = 0
    ) -> str | None:
        """Store that an active subscriber is paused."""
        columns = {"paused_until": until, "joined_at": until, "sync_due_at": now, "out_of_sync": 1}
        return self._change_with_otp(mobile, otp, tries, _update_active(self._hash(mobile), **columns))

    def set_time_zone(self, subscriber_id: str, time_zone: str, *, now: datetime, is_move: bool = True) -> bool:
        """Store the time zone of a subscriber."""
        columns: Item = {"time_zone": time_zone}
        columns |= {"joined_at": now, "sync_due_at": now, "out_of_sync": 1} if is_move else {}
        is_another = "(attribute_not_exists(#time_zone) OR #time_zone <> :time_zone)"
        return self._update_subscriber(subscriber_id, assign(**columns), is_another, **columns)

    def subscribers_without_time_zone(self) -> Iterator[Subscriber]:
        """Yield none: `activate` stores a time zone, and `state_copy` copies no active subscriber without one."""
        return iter(())

    def mark_opted_out(self, mobiles: list[str], now: datetime) -> int:
        """Store of the active subscribers among the numbers that they opted out."""
        count = 0
        for mobile in mobiles:
            subscriber = self.find_subscriber(mobile)
            if subscriber is not None and subscriber.state == ACTIVE and subscriber.confirmed_at <= now:
                try:
                    self._table.transact(*_end(subscriber.id, OPTED_OUT, now))
                except TransactionFailed:  # it unsubscribed meanwhile
                    continue
                count += 1
        return count

    def delete_subscriber(self, mobile: str) -> bool:
        """Delete a subscriber that is not active and in sync."""
        is_off_topic = "attribute_exists(#pk) AND #state <> :active AND attribute_not_exists(#sync_due_at)"
        try:
            return self._table.delete(_subscriber_key(self._hash(mobile)), is_off_topic, active=ACTIVE)
        except ConditionFailed:
            return False

    def delete_number(self, mobile: str, log_keys: list[str]) -> bool:
        """Delete the OTPs and rate-limit logs of a number."""
        keys = [_otp_key(self._hash(mobile), purpose) for purpose in _PURPOSES] + [_log_key(key) for key in log_keys]
        return bool(sum(self._table.delete(key) for key in keys))

    def erase_deleted(self) -> bool:
        """Return True: DynamoDB keeps deleted items only in backups, up to 35 days."""
        return True

    def subscribers(self, state: str | None = None) -> Iterator[Subscriber]:
        """Yield all subscribers (in a state). It reads the whole table."""
        for item in self._table.scan(_in_state(state), subscriber="subscriber", state=state):
            yield _record(Subscriber, item)

    def newest_subscribers(self, limit: int, state: str | None = None) -> list[Subscriber]:
        """Return up to `limit` subscribers (in a state), those that confirmed last first. It reads the whole table."""
        return nlargest(limit, self.subscribers(state), key=lambda subscriber: subscriber.confirmed_at)

    def subscriber_count(self) -> int:
        """Return the number of active subscribers as it is stored."""
        return int((self._table.get(COUNT_KEY) or {"count": 0})["count"])

    def count_subscribers(self, state: str | None = None) -> int:
        """Return how many subscribers there are (in a state). Except for `ACTIVE`, it reads the whole table."""
        if state == ACTIVE:
            return self.subscriber_count()
        return sum(self._table.scan(_in_state(state), count=True, subscriber="subscriber", state=state))

    def recount_subscribers(self) -> tuple[int, int]:
        """Return the stored count twice: each change of a subscriber changes it in the same transaction."""
        return (count := self.subscriber_count()), count

    def acquire_lease(self, subscriber_id: str, *, now: datetime, timeout: timedelta) -> Subscriber | None:
        """Acquire the lease of a subscriber whose sync is due."""
        is_free = "(attribute_not_exists(#lease_acquired_at) OR #lease_acquired_at <= :expired)"
        when, values = f"#sync_due_at <= :now AND {is_free}", {"now": now, "expired": now - timeout}
        item = self._try_update(_subscriber_key(subscriber_id), "SET #lease_acquired_at = :now", when, **values)
        return None if item is None else _record(Subscriber, item)

    def store_topic(self, held: Subscriber, topic: str) -> bool:
        """Store the topic that a number is about to be added to."""
        update, (is_unchanged, seen) = "SET #topic = :new_topic REMOVE #subscription_arn", _is_unchanged(held)
        return self._update_held(held, update, is_unchanged, new_topic=topic, **seen)

    def store_subscription_arn(self, held: Subscriber, arn: str) -> None:
        """Store the ARN of a subscription that was found."""
        self._update_held(held, "SET #subscription_arn = :arn", arn=arn)

    def finish_sync(
        self,
        held: Subscriber,
        topic: str | None,
        arn: str | None,
        *,
        last_sms_date: date | None = None,
        due_at: datetime | None = None,
    ) -> bool:
        """Store what a subscriber is subscribed to, and release its lease."""
        columns: Item = {"lease_acquired_at": None}
        if last_sms_date is not None and (held.last_sms_date is None or held.last_sms_date < last_sms_date):
            columns["last_sms_date"] = last_sms_date  # which only the holder of the lease changes
        place = {"topic": topic, "subscription_arn": arn}
        due = {"sync_due_at": due_at, "out_of_sync": None if due_at is None else 1}
        due |= {} if due_at is None else {"joined_at": due_at}
        is_unchanged, seen = _is_unchanged(held)
        if self._update_held(held, assign(**columns, **place, **due), is_unchanged, **columns, **place, **due, **seen):
            return True
        # It changed meanwhile, or the lease was lost. A subscription that another process added is not forgotten.
        columns |= {} if topic is None else place
        return self._update_held(held, assign(**columns), **columns)

    def release_lease(self, held: Subscriber) -> bool:
        """Release the lease of a subscriber whose sync failed."""
        return self._update_held(held, "REMOVE #lease_acquired_at")

    def mark_out_of_sync(
        self, held: Subscriber, topic: str | None, arn: str | None, now: datetime
    ) -> Subscriber | None:
        """Make the sync of a subscriber due after its lease was lost."""
        key, due = _subscriber_key(held.id), {"sync_due_at": now, "out_of_sync": 1}
        item = None
        if topic is not None:
            columns = {**due, "topic": topic, "subscription_arn": arn}
            is_on_no_other = "attribute_exists(#pk) AND (attribute_not_exists(#topic) OR #topic = :topic)"
            item = self._try_update(key, assign(**columns), is_on_no_other, **columns)
        item = item or self._try_update(key, assign(**due), "attribute_exists(#pk)", **due)
        return None if item is None else _record(Subscriber, item)

    def mark_all_out_of_sync(self, now: datetime) -> None:
        """Mark all active subscribers out of sync. It reads the whole table."""
        for subscriber in self.subscribers(ACTIVE):
            update = "SET #sync_due_at = :now, #out_of_sync = :one"
            self._update_subscriber(subscriber.id, update, _IS_ACTIVE, now=now, one=1, active=ACTIVE)

    def out_of_sync(self, now: datetime) -> Iterator[str]:
        """Yield the ids of the subscribers whose sync is due, those that have waited longest first."""
        when = "#out_of_sync = :one AND #sync_due_at <= :now"
        for item in self._table.query(index=OUT_OF_SYNC_INDEX, when=when, one=1, now=now):
            yield item["pk"].removeprefix("number#")

    def count_out_of_sync(self, moment: datetime) -> int:
        """Return how many subscribers need a sync that was due at a moment."""
        when = "#out_of_sync = :one AND #sync_due_at <= :moment"
        return sum(self._table.query(index=OUT_OF_SYNC_INDEX, count=True, when=when, one=1, moment=moment))

    def claim_confirmation(self, subscriber_id: str, now: datetime) -> bool:
        """Claim the right to send the confirmation SMS."""
        update, when = "SET #confirmation_sent_at = :now", "attribute_not_exists(#confirmation_sent_at)"
        return self._update_subscriber(subscriber_id, update, when, now=now)

    def release_confirmation(self, subscriber_id: str) -> None:
        """Release the claim to send the confirmation SMS."""
        self._update_subscriber(subscriber_id, "REMOVE #confirmation_sent_at")

    def topics_in_use(self) -> list[str]:
        """Return the topics that active subscribers are or may be on: a query for each, which reads one item."""
        topics: list[str] = []
        when = "#active = :one"
        while found := list(self._table.query(index=TOPIC_INDEX, when=when, limit=1, one=1, last="".join(topics[-1:]))):
            topics.append(found[0]["topic"])
            when = "#active = :one AND #topic > :last"
        return topics

    def count_in_sync_with(self, topic: str) -> int:
        """Return how many active subscribers are on a topic and in sync. It reads the index of all of them."""
        when, only = "#active = :one AND #topic = :topic", "attribute_not_exists(#sync_due_at)"
        return sum(self._table.query(index=TOPIC_INDEX, count=True, when=when, only=only, one=1, topic=topic))

    def has_joined_before(self, topic: str, moment: datetime) -> bool:
        """Return whether an active subscriber on a topic joined its time zone before a moment.

        If none did, it reads the index of all subscribers on the topic, which all joined since.
        """
        when, only = "#active = :one AND #topic = :topic", "attribute_not_exists(#joined_at) OR #joined_at < :moment"
        found = self._table.query(index=TOPIC_INDEX, when=when, only=only, one=1, topic=topic, moment=moment)
        return next(found, None) is not None

    def claim_delivery(
        self, day: date, topic: str, *, now: datetime, timeout: timedelta, unknown_after: timedelta | None = None
    ) -> Delivery | None:
        """Claim the right to send a daily SMS."""
        columns = {"date": day, "topic": topic, "claimed_at": now}
        is_claimable = "attribute_not_exists(#sending_at) AND #claimed_at <= :claimed_before"
        if unknown_after is not None:
            is_claimable = f"({is_claimable}) OR #sending_at <= :sending_before"
        is_claimable = f"attribute_not_exists(#pk) OR (attribute_not_exists(#sent_at) AND ({is_claimable}))"
        values = {"claimed_before": now - timeout, "sending_before": now - (unknown_after or timedelta())}
        item = self._try_update(_delivery_key(day, topic), assign(**columns), is_claimable, **columns, **values)
        return None if item is None else _record(Delivery, item)

    def find_delivery(self, day: date, topic: str) -> Delivery | None:
        """Return the delivery of a date to a topic."""
        item = self._table.get(_delivery_key(day, topic))
        return None if item is None else _record(Delivery, item)

    def last_delivery(self, topic: str) -> Delivery | None:
        """Return the delivery to a topic with the last date."""
        newest = self._table.query(when="#pk = :pk", descending=True, limit=1, pk=f"delivery#{topic}")
        return next((_record(Delivery, item) for item in newest), None)

    def report_delivery(
        self, day: date, topic: str, *, now: datetime, claimed_before: datetime, sending_before: datetime
    ) -> Delivery | None:
        """Store that a delivery is reported as missed or in doubt."""
        columns = {"date": day, "topic": topic, "claimed_at": now, "reported_at": now}
        update = assign(**columns).replace("= :claimed_at", "= if_not_exists(#claimed_at, :claimed_at)")
        was_given_up = "attribute_not_exists(#sending_at) AND #claimed_at <= :claimed_before"
        is_unsent = "attribute_not_exists(#sent_at) AND attribute_not_exists(#reported_at)"
        when = f"attribute_not_exists(#pk) OR ({is_unsent} AND (({was_given_up}) OR #sending_at <= :sending_before))"
        values = {**columns, "claimed_before": claimed_before, "sending_before": sending_before}
        item = self._try_update(_delivery_key(day, topic), update, when, **values)
        return None if item is None else _record(Delivery, item)

    def start_sending(self, claim: Delivery, now: datetime) -> bool:
        """Store that the gateway is about to be called."""
        # Two processes whose clocks show the same time hold equal claims; the first one changes `sending_at`.
        is_first = "attribute_not_exists(#sending_at)" if claim.sending_at is None else "#sending_at = :before"
        return self._update_claimed(claim, "SET #sending_at = :now", is_first, now=now, before=claim.sending_at)

    def finish_delivery(self, claim: Delivery, message_id: str, now: datetime) -> None:
        """Store that the SMS of a claim was sent."""
        self._update_claimed(claim, "SET #sent_at = :now, #message_id = :message_id", now=now, message_id=message_id)

    def release_delivery(self, claim: Delivery) -> None:
        """Delete a claim or, if an earlier holder may have sent the SMS or it was reported, restore `sending_at`."""
        if claim.sending_at is None:
            key, is_unreported = _delivery_key(claim.date, claim.topic), "attribute_not_exists(#reported_at)"
            with suppress(ConditionFailed):
                self._table.delete(key, f"#claimed_at = :claim AND {is_unreported}", claim=claim.claimed_at)
                return
        self._update_claimed(claim, assign(sending_at=claim.sending_at), sending_at=claim.sending_at)

    def store_due_run(self, now: datetime) -> None:
        """Store when `publish --due`, or the schedule, ran."""
        self._table.update(DUE_RUN_KEY, "SET #ran_at = :now", now=now)

    def last_due_run(self) -> datetime | None:
        """Return when `publish --due`, or the schedule, last ran."""
        ran_at: datetime | None = (self._table.get(DUE_RUN_KEY) or {}).get("ran_at")
        return ran_at

    def daily_quotes(self, first: date, last: date) -> dict[date, Quotation]:
        """Return the quotes that are stored for the dates from `first` to `last`, in one query."""
        when = "#pk = :pk AND #sk BETWEEN :first AND :last"
        items = self._table.query(when=when, pk=DAILY_QUOTES, first=first.isoformat(), last=last.isoformat())
        return {date.fromisoformat(item["sk"]): _quotation(item) for item in items}

    def store_daily_quote(self, day: date, quotation: Quotation, now: datetime) -> None:
        """Store the quote of a date, as text, unless one is stored."""
        columns = quotation._asdict()
        with suppress(ConditionFailed):
            self._table.update(
                (DAILY_QUOTES, day.isoformat()), assign(**columns), "attribute_not_exists(#pk)", **columns
            )

    def read_rate_limit_log(self, key: str) -> str:
        """Return the log of a key; empty if there is none."""
        return str((self._table.get(_log_key(key)) or {}).get("timestamps", ""))

    def swap_rate_limit_log(self, key: str, before: str, after: str, *, now: datetime, keep_until: datetime) -> bool:
        """Replace the log of a key if it is `before`."""
        when = "#timestamps = :before" if before else "attribute_not_exists(#pk) OR #timestamps = :before"
        columns = {"timestamps": after, "ttl": int(keep_until.timestamp()) + 1}
        try:
            self._table.update(_log_key(key), assign(**columns), when, **columns, before=before)
        except ConditionFailed:
            return False
        return True

    def count_sms(self, day: date, limit: int) -> bool:
        """Count an SMS toward the SMS quota of a UTC date."""
        if limit <= 0:
            return False
        is_below = "attribute_not_exists(#count) OR #count < :limit"
        values = {"one": 1, "limit": limit, "ttl": _end_of(day + _SMS_COUNT_RETENTION)}
        try:
            self._table.update(_sms_count_key(day), "SET #ttl = :ttl ADD #count :one", is_below, **values)
        except ConditionFailed:
            return False
        return True

    def uncount_sms(self, day: date) -> None:
        """Undo `count_sms`."""
        try:
            self._table.update(_sms_count_key(day), "ADD #count :less", "#count > :zero", less=-1, zero=0)
        except ConditionFailed:
            return

    def read_sms_count(self, day: date) -> int:
        """Return how many SMS were counted toward the SMS quota of a UTC date."""
        return int((self._table.get(_sms_count_key(day)) or {}).get("count", 0))

    def sms_disabled_at(self) -> datetime | None:
        """Return when the SMS switch was turned off; None if it is on."""
        disabled_at: datetime | None = (self._table.get(_SWITCH) or {}).get("disabled_at")
        return disabled_at

    def set_sms_switch(self, now: datetime, *, off: bool) -> None:
        """Turn the SMS switch off or on."""
        if off:
            self._table.update(_SWITCH, "SET #disabled_at = if_not_exists(#disabled_at, :now)", now=now)
        else:
            self._table.delete(_SWITCH)

    def delete_expired(
        self, *, otps_requested_before: datetime, tried_before: datetime, logs_before: datetime, sms_before: date
    ) -> None:
        """Do nothing: TTL deletes expired items."""

    @property
    def _table(self) -> Table:
        """The table. Its key is read once in a process, which shows that the table is complete."""
        _ = self._hash_key
        return self._unchecked_table

    @cached_property
    def _hash_key(self) -> bytes:
        table = self._unchecked_table
        item = table.get(TABLE_KEY)
        if item is None:
            raise StateUnavailable(f"the DynamoDB table {table.name} is not complete; run `quoteapi db migrate`")
        if COPY_MARKER in item:
            raise StateUnavailable(
                f"the DynamoDB table {table.name} is not complete; `quoteapi db copy` runs, or must be run again"
            )
        return bytes.fromhex(item["hash_key"])

    def _hash(self, mobile: str) -> str:
        return _hash_number(self._hash_key, mobile)

    def _update_request(self, otp_request_id: str, when: str = "", /, **columns: object) -> bool:
        """Set columns of the OTP of a request. Return False if it was replaced or `when` does not hold."""
        is_current = "#otp_request_id = :current" + (when and f" AND {when}")
        key, values = _key_of_request(otp_request_id), {**columns, "current": otp_request_id}
        return self._try_update(key, assign(**columns), is_current, **values) is not None

    def _use_otp_alone(self, otp: Otp, tries: int) -> None:
        """Use up an OTP that changes nothing else. Raises `OtpReplaced`."""
        try:
            self._table.transact(_use_otp(otp, tries))
        except TransactionFailed:
            raise OtpReplaced from None

    def _change_with_otp(self, mobile: str, otp: Otp | None, tries: int, *writes: Item) -> str | None:
        """Change an active subscriber, and use up `otp` if given, in a transaction; if it is inactive, only the OTP.

        Return the subscriber's id; None if it is inactive. Raises `OtpReplaced`.
        """
        try:
            self._table.transact(*([] if otp is None else [_use_otp(otp, tries)]), *writes)
        except TransactionFailed as failed:
            if otp is not None:
                if failed.failed[0]:
                    raise OtpReplaced from None
                self._use_otp_alone(otp, tries)
            return None
        return self._hash(mobile)

    def _change_active(self, otp: Otp, tries: int, time_zone: str | None, now: datetime) -> str | None:
        """Use up an OTP, end the pause of an active subscriber, and move it to a time zone, if it is another.

        Return the subscriber's id; None if only the OTP changed. Raises `OtpReplaced`.
        """
        stored = self.find_subscriber(otp.mobile)
        is_moved = stored is not None and time_zone not in {None, stored.time_zone}
        is_paused = stored is not None and stored.paused_until is not None and stored.paused_until > now
        if stored is None or not (is_moved or is_paused):
            self._use_otp_alone(otp, tries)
            return None
        columns: Item = {"joined_at": now, "paused_until": None, "sync_due_at": now, "out_of_sync": 1}
        columns |= {"time_zone": time_zone} if is_moved else {}
        return self._change_with_otp(otp.mobile, otp, tries, _update_active(stored.id, **columns))

    def _try_update(self, key: Key, update: str, when: str, /, **values: object) -> Item | None:
        """Update an item if `when` holds. Return it as it is afterwards; None if `when` does not hold."""
        try:
            return self._table.update(key, update, when, **values)
        except ConditionFailed:
            return None

    def _update_subscriber(self, subscriber_id: str, update: str, when: str = "", /, **values: object) -> bool:
        exists = "attribute_exists(#pk)" + (when and f" AND {when}")
        return self._try_update(_subscriber_key(subscriber_id), update, exists, **values) is not None

    def _update_held(self, held: Subscriber, update: str, when: str = "", /, **values: object) -> bool:
        """Update a subscriber if its lease is still held and `when` holds."""
        is_held = _HOLDS_LEASE + (when and f" AND {when}")
        return self._update_subscriber(held.id, update, is_held, lease=held.lease_acquired_at, **values)

    def _update_claimed(self, claim: Delivery, update: str, when: str = "", /, **values: object) -> bool:
        """Update a delivery if its claim is still held and `when` holds."""
        is_held = "#claimed_at = :claim" + (when and f" AND {when}")
        key, values = _delivery_key(claim.date, claim.topic), {**values, "claim": claim.claimed_at}
        return self._try_update(key, update, is_held, **values) is not None


def _hash_number(hash_key: bytes, mobile: str) -> str:
    return hmac.digest(hash_key, mobile.encode(), "sha256")[:16].hex()


def _use_otp(otp: Otp, tries: int) -> Item:
    """Return the write of a transaction that uses up an OTP, unless it was used or replaced meanwhile."""
    return update_in_transaction(
        _key_of_request(otp.otp_request_id),
        "SET #tries_left = :tries REMOVE #expires_at, #last_wrong_try_at",
        "#otp_request_id = :current AND #digest = :digest AND attribute_exists(#expires_at)",
        tries=tries,
        current=otp.otp_request_id,
        digest=otp.digest,
    )


def _update_active(subscriber_id: str, /, **columns: object) -> Item:
    """Return the write of a transaction that sets columns of a subscriber if it is active."""
    key = _subscriber_key(subscriber_id)
    return update_in_transaction(key, assign(**columns), "#state = :active_state", **columns, active_state=ACTIVE)


def _end(subscriber_id: str, state: str, now: datetime) -> list[Item]:
    """Return the writes of a transaction that ends an active subscription."""
    columns = {"state": state, "ended_at": now, "sync_due_at": now, "out_of_sync": 1}
    subscriber = _update_active(subscriber_id, **columns, active=None, paused_until=None)
    return [subscriber, update_in_transaction(COUNT_KEY, "ADD #count :less", "attribute_exists(#count)", less=-1)]


def _is_unchanged(held: Subscriber) -> tuple[str, Item]:
    """Return the condition, and its values, that what its topic depends on is as when the lease was acquired."""
    seen = {f"seen_{name}": getattr(held, name) for name in SYNCED_COLUMNS}
    conditions = [
        f"attribute_not_exists(#{name})" if getattr(held, name) is None else f"#{name} = :seen_{name}"
        for name in SYNCED_COLUMNS
    ]
    return " AND ".join(conditions), seen


def _record(kind: type[_Record], item: Item) -> _Record:
    return kind(**{name: item.get(name) for name in kind._fields})  # type: ignore[arg-type]


def _quotation(item: Item) -> Quotation:
    return Quotation(*(item[name] for name in Quotation._fields))


def _in_state(state: str | None) -> str:
    return _IS_SUBSCRIBER if state is None else f"{_IS_SUBSCRIBER} AND #state = :state"


def _ttl(now: datetime, policy: OtpPolicy) -> int:
    """Return until when, as a Unix time in seconds, an OTP or its wrong tries may be needed."""
    return int((now + max(2 * policy.lifetime, policy.lock)).timestamp()) + 1


def _end_of(day: date) -> int:
    return int(datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp())


def _subscriber_key(subscriber_id: str) -> Key:
    return f"number#{subscriber_id}", "subscriber"


def _otp_key(hashed: str, purpose: str) -> Key:
    return f"number#{hashed}", f"otp#{purpose}"


def _key_of_request(otp_request_id: str) -> Key:
    """Return the key of the OTP of a request, whose id begins with it; a key without an item if the id is none."""
    hashed, _, rest = otp_request_id.partition("-")
    return _otp_key(hashed or "-", rest.partition("-")[0])


def _log_key(key: str) -> Key:
    return f"rate_limit#{key}", "-"


def _sms_count_key(day: date) -> Key:
    return "sms_count", day.isoformat()


def _delivery_key(day: date, topic: str) -> Key:
    return f"delivery#{topic}", day.isoformat()


def item_of(kind: str, record: Item, hash_key: bytes, now: datetime) -> Item:
    """Return the item of a record of `state_copy`. Items that expire are kept for some time from now."""
    key, columns = _item_parts(kind, record, hash_key, now)
    return {"pk": key[0], "sk": key[1], **record, **columns}


def _item_parts(kind: str, record: Item, hash_key: bytes, now: datetime) -> tuple[Key, Item]:
    """Return the key of a record, and the attributes that only an item has."""
    ttl = int((now + _COPIED_RETENTION).timestamp())
    if kind == "subscriber":
        hashed, needs_sync = _hash_number(hash_key, record["mobile"]), record["sync_due_at"] is not None
        active = 1 if record["state"] == ACTIVE else None
        return _subscriber_key(hashed), {"id": hashed, "active": active, "out_of_sync": 1 if needs_sync else None}
    if kind == "otp":
        hashed, purpose = _hash_number(hash_key, record["mobile"]), record["purpose"]
        return _otp_key(hashed, purpose), {"otp_request_id": f"{hashed}-{purpose}-{token_hex(16)}", "ttl": ttl}
    if kind == "smscount":
        return _sms_count_key(record["date"]), {"ttl": max(ttl, _end_of(record["date"] + _SMS_COUNT_RETENTION))}
    if kind == "tokenbucket":
        return _log_key(record["key"]), {"key": None, "ttl": ttl}
    if kind == "delivery":
        return _delivery_key(record["date"], record["topic"]), {}
    return (_SWITCH if kind == "switch" else (DAILY_QUOTES, record["date"].isoformat())), {}


def record_of(item: Item) -> tuple[str, Item]:
    """Return the kind of an item's record, as in `state_copy`, and the attributes of the item."""
    first, _, rest = item["pk"].partition("#")
    kind = item["sk"].partition("#")[0] if first == "number" else _KINDS[first]
    if kind in {"delivery", "smscount", "dailyquote"}:
        return kind, item | {"date": date.fromisoformat(item["sk"])}
    return kind, item | ({"key": rest} if kind == "tokenbucket" else {})
