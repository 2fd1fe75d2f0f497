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
from typing import Any, TypeVar

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

    def request_otp(self, mobile: str, purpose: Purpose, client_ip: str, *, now: datetime, policy: OtpPolicy) -> Otp:
        """Store a request for an OTP unless the number is locked. Return the OTP that is stored."""
        hashed = self._hash(mobile)
        columns: Item = {"mobile": mobile, "purpose": purpose, "requested_at": now, "requested_from": client_ip}
        columns |= {"otp_request_id": f"{hashed}-{purpose}-{token_hex(16)}", "ttl": _ttl(now, policy)}
        columns |= dict.fromkeys(("digest", "expires_at", "claimed_at", "sent_at"))
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

    def activate(self, otp: Otp, *, tries: int, confirmed_from: str, now: datetime, limit: int) -> str | None:
        """Use up an OTP, store its number as an active subscriber, and count it: a transaction of three items."""
        subscriber_id = self._hash(otp.mobile)
        columns: Item = {"mobile": otp.mobile, "state": ACTIVE, "active": 1, "confirmed_at": now}
        columns |= {"requested_at": otp.requested_at, "requested_from": otp.requested_from}
        columns |= {"confirmed_from": confirmed_from, "sync_due_at": now, "out_of_sync": 1}
        columns |= {"ended_at": None, "confirmation_sent_at": None, "id": subscriber_id}
        is_inactive = "attribute_not_exists(#state) OR #state <> :state"
        subscriber = update_in_transaction(_subscriber_key(subscriber_id), assign(**columns), is_inactive, **columns)
        count = update_in_transaction(COUNT_KEY, "ADD #count :one", "#count < :limit", one=1, limit=limit)
        try:
            self._table.transact(_use_otp(otp, tries), subscriber, count)
        except TransactionFailed as failed:
            is_otp_used, is_active, _ = failed.failed
            if is_otp_used:
                raise OtpReplaced from None
            if not is_active:
                raise SubscriberCountLimit from None
            self._use_otp_alone(otp, tries)
            return None
        return subscriber_id

    def deactivate(self, mobile: str, *, now: datetime, otp: Otp | None = None, tries: int = 0) -> str | None:
        """Store that an active subscriber unsubscribed, and subtract it from the subscriber count."""
        subscriber_id = self._hash(mobile)
        uses = [] if otp is None else [_use_otp(otp, tries)]
        try:
            self._table.transact(*uses, *_end(subscriber_id, UNSUBSCRIBED, now))
        except TransactionFailed as failed:
            if otp is not None:
                if failed.failed[0]:
                    raise OtpReplaced from None
                self._use_otp_alone(otp, tries)
            return None
        return subscriber_id

    def mark_opted_out(self, mobiles: list[str], now: datetime) -> int:
        """Store of the active subscribers among the numbers that they opted out."""
        count = 0
        for mobile in mobiles:
            subscriber = self.find_subscriber(mobile)
            if subscriber is not None and subscriber.state == ACTIVE:
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

    def acquire_lease(self, subscriber_id: str, topic: str, *, now: datetime, timeout: timedelta) -> Subscriber | None:
        """Acquire the lease of a subscriber. Whether it is active is found by trying: most are."""
        is_free = "(attribute_not_exists(#lease_acquired_at) OR #lease_acquired_at <= :expired)"
        needs_sync = f"attribute_exists(#sync_due_at) AND {is_free}"
        values = {"lease": now, "expired": now - timeout, "topic": topic, "active": ACTIVE}
        key = _subscriber_key(subscriber_id)
        for is_active in (True, False, True):  # its state may change between two tries
            update = "SET #lease_acquired_at = :lease"
            if is_active:
                update += ", #topic = :topic REMOVE #subscription_arn"
            has_state = _IS_ACTIVE if is_active else "#state <> :active"
            try:
                return _record(Subscriber, self._table.update(key, update, f"{has_state} AND {needs_sync}", **values))
            except ConditionFailed as failed:
                if failed.item is None or not _needs_sync(failed.item, now - timeout):
                    return None
        return None

    def store_subscription_arn(self, held: Subscriber, arn: str) -> None:
        """Store the ARN of a subscription that was found."""
        self._update_held(held, "SET #subscription_arn = :arn", arn=arn)

    def finish_sync(self, held: Subscriber, topic: str, arn: str | None) -> bool:
        """Store the ARN of a subscription, and release the lease."""
        values = {"topic": topic if arn is not None else None, "subscription_arn": arn, "lease_acquired_at": None}
        synced = assign(**values, sync_due_at=None, out_of_sync=None)
        is_unchanged = "#state = :state AND #confirmed_at = :confirmed AND #sync_due_at = :since"
        seen = {"state": held.state, "confirmed": held.confirmed_at, "since": held.sync_due_at}
        if self._update_held(held, synced, is_unchanged, **values, **seen):
            return True
        # It changed meanwhile, or the lease was lost. A subscription that another process added is not forgotten.
        update = assign(**values) if arn is not None else "REMOVE #lease_acquired_at"
        return self._update_held(held, update, **values)

    def release_lease(self, held: Subscriber) -> bool:
        """Release the lease of a subscriber whose sync failed."""
        return self._update_held(held, "REMOVE #lease_acquired_at")

    def mark_out_of_sync(self, held: Subscriber, topic: str, arn: str | None, now: datetime) -> bool:
        """Mark a subscriber out of sync after its lease was lost."""
        columns: Item = {"sync_due_at": now, "out_of_sync": 1}
        if held.state == ACTIVE:
            columns |= {"topic": topic, "subscription_arn": arn}
        return self._update_subscriber(held.id, assign(**columns), **columns)

    def mark_all_out_of_sync(self, now: datetime) -> None:
        """Mark all active subscribers out of sync. It reads the whole table."""
        for subscriber in self.subscribers(ACTIVE):
            update = "SET #sync_due_at = :now, #out_of_sync = :one"
            self._update_subscriber(subscriber.id, update, _IS_ACTIVE, now=now, one=1, active=ACTIVE)

    def out_of_sync(self) -> Iterator[str]:
        """Yield the ids of subscribers that are out of sync, those that have waited longest first."""
        for item in self._table.query(index=OUT_OF_SYNC_INDEX, when="#out_of_sync = :one", one=1):
            yield item["pk"].removeprefix("number#")

    def count_out_of_sync(self, before: datetime | None = None) -> int:
        """Return how many subscribers are out of sync, or have been since before a time."""
        when = "#out_of_sync = :one" + (" AND #sync_due_at < :before" if before is not None else "")
        return sum(self._table.query(index=OUT_OF_SYNC_INDEX, count=True, when=when, one=1, before=before))

    def claim_confirmation(self, subscriber_id: str, now: datetime) -> bool:
        """Claim the right to send the confirmation SMS."""
        update, when = "SET #confirmation_sent_at = :now", "attribute_not_exists(#confirmation_sent_at)"
        return self._update_subscriber(subscriber_id, update, when, now=now)

    def release_confirmation(self, subscriber_id: str) -> None:
        """Release the claim to send the confirmation SMS."""
        self._update_subscriber(subscriber_id, "REMOVE #confirmation_sent_at")

    def find_other_topic(self, topic: str) -> str | None:
        """Return a topic other than `topic` that active subscribers are on."""
        for comparison in "<", ">":
            when = f"#active = :one AND #topic {comparison} :topic"
            for item in self._table.query(index=TOPIC_INDEX, when=when, limit=1, one=1, topic=topic):
                return str(item["topic"])
        return None

    def count_in_sync_with(self, topic: str) -> int:
        """Return how many active subscribers are on a topic and in sync. It reads the index of all of them."""
        when, only = "#active = :one AND #topic = :topic", "attribute_not_exists(#sync_due_at)"
        return sum(self._table.query(index=TOPIC_INDEX, count=True, when=when, only=only, one=1, topic=topic))

    def has_subscriber_confirmed_before(self, time: datetime) -> bool:
        """Return whether an active subscriber on a topic was confirmed before a time.

        If none was, it reads the index of all of them.
        """
        found = self._table.query(
            index=TOPIC_INDEX, when="#active = :one", only="#confirmed_at < :time", one=1, time=time
        )
        return next(found, None) is not None

    def claim_delivery(
        self, day: date, topic: str, *, now: datetime, timeout: timedelta, unknown_after: timedelta | None = None
    ) -> Delivery | None:
        """Claim the right to send a daily SMS."""
        columns = {"date": day.isoformat(), "topic": topic, "claimed_at": now}
        is_claimable = "attribute_not_exists(#sending_at) AND #claimed_at <= :claimed_before"
        if unknown_after is not None:
            is_claimable = f"({is_claimable}) OR #sending_at <= :sending_before"
        is_claimable = f"attribute_not_exists(#pk) OR (attribute_not_exists(#sent_at) AND ({is_claimable}))"
        values = {"claimed_before": now - timeout, "sending_before": now - (unknown_after or timedelta())}
        try:
            item = self._table.update(_delivery_key(day, topic), assign(**columns), is_claimable, **columns, **values)
        except ConditionFailed:
            return None
        return _delivery(item)

    def find_delivery(self, day: date, topic: str) -> Delivery | None:
        """Return the delivery of a date to a topic."""
        item = self._table.get(_delivery_key(day, topic))
        return None if item is None else _delivery(item)

    def last_delivery(self, topic: str) -> Delivery | None:
        """Return the delivery to a topic with the last date."""
        newest = self._table.query(when="#pk = :pk", descending=True, limit=1, pk=f"delivery#{topic}")
        return next(map(_delivery, newest), None)

    def start_sending(self, claim: Delivery, now: datetime) -> bool:
        """Store that the gateway is about to be called."""
        # Two processes whose clocks show the same time hold equal claims; the first one changes `sending_at`.
        is_first = "attribute_not_exists(#sending_at)" if claim.sending_at is None else "#sending_at = :before"
        return self._update_claimed(claim, "SET #sending_at = :now", is_first, now=now, before=claim.sending_at)

    def finish_delivery(self, claim: Delivery, message_id: str, now: datetime) -> None:
        """Store that the SMS of a claim was sent."""
        self._update_claimed(claim, "SET #sent_at = :now, #message_id = :message_id", now=now, message_id=message_id)

    def release_delivery(self, claim: Delivery) -> None:
        """Delete a claim or, if an earlier holder may have sent the SMS, restore `sending_at`."""
        if claim.sending_at is not None:
            self._update_claimed(claim, "SET #sending_at = :before", before=claim.sending_at)
            return
        try:
            self._table.delete(_delivery_key(claim.date, claim.topic), "#claimed_at = :claim", claim=claim.claimed_at)
        except ConditionFailed:
            return

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
        try:
            self._table.update(
                _key_of_request(otp_request_id), assign(**columns), is_current, **columns, current=otp_request_id
            )
        except ConditionFailed:
            return False
        return True

    def _use_otp_alone(self, otp: Otp, tries: int) -> None:
        """Use up an OTP that changes nothing else. Raises `OtpReplaced`."""
        try:
            self._table.transact(_use_otp(otp, tries))
        except TransactionFailed:
            raise OtpReplaced from None

    def _update_subscriber(self, subscriber_id: str, update: str, when: str = "", /, **values: object) -> bool:
        exists = "attribute_exists(#pk)" + (when and f" AND {when}")
        try:
            self._table.update(_subscriber_key(subscriber_id), update, exists, **values)
        except ConditionFailed:
            return False
        return True

    def _update_held(self, held: Subscriber, update: str, when: str = "", /, **values: object) -> bool:
        """Update a subscriber if its lease is still held and `when` holds."""
        is_held = _HOLDS_LEASE + (when and f" AND {when}")
        return self._update_subscriber(held.id, update, is_held, lease=held.lease_acquired_at, **values)

    def _update_claimed(self, claim: Delivery, update: str, when: str = "", /, **values: object) -> bool:
        """Update a delivery if its claim is still held and `when` holds."""
        is_held = "#claimed_at = :claim" + (when and f" AND {when}")
        try:
            self._table.update(
                _delivery_key(claim.date, claim.topic), update, is_held, claim=claim.claimed_at, **values
            )
        except ConditionFailed:
            return False
        return True


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


def _end(subscriber_id: str, state: str, now: datetime) -> list[Item]:
    """Return the writes of a transaction that ends an active subscription."""
    columns = {"state": state, "ended_at": now, "sync_due_at": now, "out_of_sync": 1, "active": None}
    key = _subscriber_key(subscriber_id)
    subscriber = update_in_transaction(key, assign(**columns), "#state = :was", **columns, was=ACTIVE)
    return [subscriber, update_in_transaction(COUNT_KEY, "ADD #count :less", "attribute_exists(#count)", less=-1)]


def _needs_sync(item: Item, lease_expired: datetime) -> bool:
    acquired_at = item.get("lease_acquired_at")
    return "sync_due_at" in item and (acquired_at is None or acquired_at <= lease_expired)


def _record(kind: type[_Record], item: Item, **changed: Any) -> _Record:  # noqa: ANN401
    return kind(**{name: item.get(name) for name in kind._fields} | changed)  # type: ignore[arg-type]


def _delivery(item: Item) -> Delivery:
    return _record(Delivery, item, date=date.fromisoformat(item["date"]))


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
