"""The state in SQLite or PostgreSQL, in the tables of `models`. Implements `state.State`."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import reduce
from operator import and_
from secrets import token_hex
from typing import Any, TypeVar

from peewee import Case, Expression, Model, Value, fn

from quoteapi.storage import models
from quoteapi.storage.catalogue import QUOTATION_COLUMNS, Quotation, find_quote_id, fingerprint, store_quotation
from quoteapi.storage.database import iterate_in_batches
from quoteapi.storage.models import (
    ConsoleSms,
    DueRun,
    OneTimePassword,
    Quote,
    RateLimitLog,
    SmsSwitch,
    SmsUsage,
    StoredDailyQuote,
    SubscriberCount,
)
from quoteapi.storage.models import database as bound
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
    Subscriber,
    SubscriberCountLimit,
)

SMS_SWITCH, DUE_RUN = "sms", "publish --due"
BATCH_SIZE = 10_000
MAX_ID = 2**31 - 1
_COUNT_OF_ACTIVE = SubscriberCount.state == ACTIVE
_ROW = models.Subscriber
_OUT_OF_SYNC = models.OUT_OF_SYNC
_Record = TypeVar("_Record", Otp, Subscriber, Delivery)
_TOPICS_IN_USE = """
    WITH RECURSIVE found (topic) AS (
        SELECT MIN(topic) FROM subscriber WHERE state = 'active'
        UNION ALL
        SELECT (SELECT MIN(topic) FROM subscriber WHERE state = 'active' AND topic > found.topic)
        FROM found WHERE found.topic IS NOT NULL
    )
    SELECT topic FROM found WHERE topic IS NOT NULL
"""
"""A loose index scan: `SELECT DISTINCT` would read all active subscribers."""


class SqlState:
    """The state in the working database, which `database.connect` bound."""

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
        lock_expired = OneTimePassword.last_wrong_try_at <= now - policy.lock
        columns = {
            "otp_request_id": token_hex(16),
            "requested_at": now,
            "requested_from": client_ip,
            "time_zone": time_zone,
        }
        columns |= dict.fromkeys(("digest", "expires_at", "claimed_at", "sent_at"))
        tries = {
            OneTimePassword.tries_left: Case(None, [(lock_expired, policy.tries)], OneTimePassword.tries_left),
            OneTimePassword.last_wrong_try_at: Case(None, [(lock_expired, None)], OneTimePassword.last_wrong_try_at),
        }
        upsert = OneTimePassword.insert(mobile=mobile, purpose=purpose, tries_left=policy.tries, **columns).on_conflict(
            conflict_target=[OneTimePassword.mobile, OneTimePassword.purpose],
            update={**columns, **tries},
            where=(OneTimePassword.tries_left > 0) | lock_expired,
        )
        stored = _first(upsert.returning(OneTimePassword).execute())
        return _record(Otp, stored or OneTimePassword.get(_is_otp_of(mobile, purpose)))

    def find_otp(self, otp_request_id: str) -> Otp | None:
        """Return the OTP of an OTP request; None if it was replaced or deleted."""
        return _record_or_none(Otp, OneTimePassword.get_or_none(OneTimePassword.otp_request_id == otp_request_id))

    def claim_otp(self, otp_request_id: str, digest: str, *, now: datetime, expires_at: datetime) -> bool:
        """Store the digest of a generated OTP, and claim the right to send it."""
        claim = OneTimePassword.update(digest=digest, expires_at=expires_at, claimed_at=now)
        is_unclaimed = OneTimePassword.claimed_at.is_null()
        return bool(claim.where((OneTimePassword.otp_request_id == otp_request_id) & is_unclaimed).execute())

    def release_otp(self, otp_request_id: str) -> None:
        """Release the claim to send an OTP."""
        OneTimePassword.update(claimed_at=None).where(OneTimePassword.otp_request_id == otp_request_id).execute()

    def mark_otp_sent(self, otp_request_id: str, now: datetime) -> None:
        """Store that an OTP was sent."""
        OneTimePassword.update(sent_at=now).where(OneTimePassword.otp_request_id == otp_request_id).execute()

    def try_otp(self, mobile: str, purpose: Purpose, digest: str, *, now: datetime, policy: OtpPolicy) -> OtpTry:
        """Compare a digest with the OTP of a number, if that can be tried; a wrong one costs a try."""
        table = OneTimePassword
        is_right = table.digest == digest
        was_used_lately = table.expires_at.is_null() & (table.requested_at > now - policy.lifetime)
        compare = table.update(
            tries_left=Case(None, [(is_right, table.tries_left)], table.tries_left - 1),
            last_wrong_try_at=Case(None, [(is_right, table.last_wrong_try_at)], table.last_wrong_try_at.to_value(now)),
        ).where(
            _is_otp_of(mobile, purpose)
            & table.digest.is_null(is_null=False)
            & ((table.expires_at > now) | was_used_lately)
            & (table.tries_left > 0)
        )
        if (compared := _first(compare.returning(table).execute())) is not None:
            return OtpTry(_record(Otp, compared), is_compared=True)
        stored = table.get_or_none(_is_otp_of(mobile, purpose))
        return OtpTry(_record_or_none(Otp, stored), is_compared=False)

    def reset_otp_tries(self, otp: Otp, tries: int) -> None:
        """Forget the wrong tries at an OTP after a right one."""
        update = OneTimePassword.update(tries_left=tries, last_wrong_try_at=None)
        update.where(OneTimePassword.otp_request_id == otp.otp_request_id).execute()

    def find_subscriber(self, mobile: str) -> Subscriber | None:
        """Return the subscriber with a number, in any state."""
        return _record_or_none(Subscriber, _ROW.get_or_none(_ROW.mobile == mobile))

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
        """Use up an OTP, store its number as an active subscriber, and count it."""
        columns = {"requested_at": otp.requested_at, "requested_from": otp.requested_from, "confirmed_at": now}
        columns |= {"confirmed_from": confirmed_from, "state": ACTIVE, "sync_due_at": now, "joined_at": now}
        columns |= dict.fromkeys(("ended_at", "confirmation_sent_at", "paused_until"))
        upsert = _ROW.insert(mobile=otp.mobile, time_zone=time_zone or default_time_zone, **columns).on_conflict(
            conflict_target=[_ROW.mobile],
            update=columns | {"time_zone": time_zone or fn.COALESCE(_ROW.time_zone, default_time_zone)},
            where=_ROW.state != ACTIVE,
        )
        with bound.atomic():
            _use_otp(otp, tries)
            activated = _first(upsert.returning(_ROW.id).execute())
            if activated is None:
                changed = _first(_change_active(otp.mobile, time_zone, now).returning(_ROW.id).execute())
                return None if changed is None else str(changed.id)
            # The count comes last, so that its row is locked for a short time.
            increment = SubscriberCount.update(count=SubscriberCount.count + 1)
            if not increment.where(_COUNT_OF_ACTIVE & (SubscriberCount.count < limit)).execute():
                raise SubscriberCountLimit
        return str(activated.id)

    def deactivate(self, mobile: str, *, now: datetime, otp: Otp | None = None, tries: int = 0) -> str | None:
        """Store that an active subscriber unsubscribed, and subtract it from the subscriber count."""
        update = _ROW.update(state=UNSUBSCRIBED, ended_at=now, sync_due_at=now, paused_until=None)
        with bound.atomic():
            if otp is not None:
                _use_otp(otp, tries)
            deactivated = _first(
                update.where((_ROW.mobile == mobile) & (_ROW.state == ACTIVE)).returning(_ROW.id).execute()
            )
            _subtract_from_count(0 if deactivated is None else 1)  # 0 takes as long: timing shows no subscription
        return None if deactivated is None else str(deactivated.id)

    def pause(
        self, mobile: str, *, until: datetime, now: datetime, otp: Otp | None = None, tries: int = 0
    ) -> str | None:
        """Store that an active subscriber is paused."""
        update = _ROW.update(paused_until=until, joined_at=until, sync_due_at=now)
        with bound.atomic():
            if otp is not None:
                _use_otp(otp, tries)
            paused = _first(update.where((_ROW.mobile == mobile) & (_ROW.state == ACTIVE)).returning(_ROW.id).execute())
            _subtract_from_count(0)  # a write for every number: timing shows no subscription
        return None if paused is None else str(paused.id)

    def set_time_zone(self, subscriber_id: str, time_zone: str, *, now: datetime, is_move: bool = True) -> bool:
        """Store the time zone of a subscriber."""
        columns = {"joined_at": now, "sync_due_at": now} if is_move else {}
        update = _ROW.update(time_zone=time_zone, **columns)
        return bool(update.where(_has_id(subscriber_id) & _is_not_in(time_zone)).execute())

    def subscribers_without_time_zone(self) -> Iterator[Subscriber]:
        """Yield the active subscribers that have no time zone yet."""
        without = _in_state(ACTIVE).where(models.WITHOUT_TIME_ZONE)
        return (_record(Subscriber, row) for row in iterate_in_batches(without))

    def mark_opted_out(self, mobiles: list[str], now: datetime) -> int:
        """Store of the active subscribers among the numbers that they opted out."""
        update = _ROW.update(state=OPTED_OUT, ended_at=now, sync_due_at=now, paused_until=None)
        with bound.atomic():
            is_active = (_ROW.state == ACTIVE) & (_ROW.confirmed_at <= now)
            marked = update.where(_ROW.mobile.in_(mobiles) & is_active).execute()
            _subtract_from_count(marked)
        return int(marked)

    def delete_subscriber(self, mobile: str) -> bool:
        """Delete a subscriber that is not active and in sync."""
        is_off_topic = (_ROW.state != ACTIVE) & _ROW.sync_due_at.is_null()
        return bool(_ROW.delete().where((_ROW.mobile == mobile) & is_off_topic).execute())

    def delete_number(self, mobile: str, log_keys: list[str]) -> bool:
        """Delete the OTPs, rate-limit logs and stored SMS of a number."""
        deletes = [table.delete().where(table.mobile == mobile) for table in models.OTP_MODELS]
        deletes += [RateLimitLog.delete().where(RateLimitLog.key.in_(log_keys))]
        deletes += [ConsoleSms.delete().where(ConsoleSms.to == mobile)]
        return bool(sum(delete.execute() for delete in deletes))

    def erase_deleted(self) -> bool:
        """Overwrite deleted rows in the files of SQLite."""
        return bool(bound.secure_delete())

    def subscribers(self, state: str | None = None) -> Iterator[Subscriber]:
        """Yield all subscribers (in a state)."""
        return (_record(Subscriber, row) for row in iterate_in_batches(_in_state(state)))

    def newest_subscribers(self, limit: int, state: str | None = None) -> list[Subscriber]:
        """Return up to `limit` subscribers (in a state), those that were stored last first."""
        return [_record(Subscriber, row) for row in _in_state(state).order_by(_ROW.id.desc()).limit(limit)]

    def subscriber_count(self) -> int:
        """Return the number of active subscribers as it is stored."""
        count: int = SubscriberCount.select(SubscriberCount.count).where(_COUNT_OF_ACTIVE).scalar()
        return count

    def count_subscribers(self, state: str | None = None) -> int:
        """Return how many subscribers there are (in a state)."""
        return int(_in_state(state).count())

    def recount_subscribers(self) -> tuple[int, int]:
        """Count the active subscribers and store their number; activations wait meanwhile."""
        with bound.atomic():
            # Lock the row before counting: a transaction that waits for it changed subscribers not visible yet.
            SubscriberCount.update(count=SubscriberCount.count).where(_COUNT_OF_ACTIVE).execute()
            stored, counted = self.subscriber_count(), self.count_subscribers(ACTIVE)
            if stored != counted:
                SubscriberCount.update(count=counted).where(_COUNT_OF_ACTIVE).execute()
        return stored, counted

    def acquire_lease(self, subscriber_id: str, *, now: datetime, timeout: timedelta) -> Subscriber | None:
        """Acquire the lease of a subscriber whose sync is due."""
        is_free = _ROW.lease_acquired_at.is_null() | (_ROW.lease_acquired_at <= now - timeout)
        is_due = _has_id(subscriber_id) & (_ROW.sync_due_at <= now)
        acquire = _ROW.update(lease_acquired_at=now).where(is_due & is_free)
        return _record_or_none(Subscriber, _first(acquire.returning(_ROW).execute()))

    def store_topic(self, held: Subscriber, topic: str) -> bool:
        """Store the topic that a number is about to be added to."""
        update = _ROW.update(topic=topic, subscription_arn=None)
        return bool(update.where(_holds_lease(held) & _is_unchanged(held)).execute())

    def store_subscription_arn(self, held: Subscriber, arn: str) -> None:
        """Store the ARN of a subscription that was found."""
        _ROW.update(subscription_arn=arn).where(_holds_lease(held)).execute()

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
        is_unchanged = _is_unchanged(held)
        stored: dict[str, Any] = {"topic": topic, "subscription_arn": arn}
        if topic is None:  # unsubscribing twice is harmless, but forgetting a subscription that another added is not
            stored = {name: Case(None, [(is_unchanged, None)], getattr(_ROW, name)) for name in stored}
        if last_sms_date is not None:
            is_earlier = _ROW.last_sms_date.is_null() | (_ROW.last_sms_date < last_sms_date)
            stored["last_sms_date"] = Case(
                None, [(is_earlier, _ROW.last_sms_date.to_value(last_sms_date))], _ROW.last_sms_date
            )
        stored["sync_due_at"] = Case(None, [(is_unchanged, _ROW.sync_due_at.to_value(due_at))], _ROW.sync_due_at)
        if due_at is not None:
            stored["joined_at"] = Case(None, [(is_unchanged, _ROW.joined_at.to_value(due_at))], _ROW.joined_at)
        return bool(_ROW.update(lease_acquired_at=None, **stored).where(_holds_lease(held)).execute())

    def release_lease(self, held: Subscriber) -> bool:
        """Release the lease of a subscriber whose sync failed."""
        return bool(_ROW.update(lease_acquired_at=None).where(_holds_lease(held)).execute())

    def mark_out_of_sync(
        self, held: Subscriber, topic: str | None, arn: str | None, now: datetime
    ) -> Subscriber | None:
        """Make the sync of a subscriber due after its lease was lost."""
        columns: dict[str, Any] = {"sync_due_at": now}
        if topic is not None:
            is_on_no_other = _ROW.topic.is_null() | (_ROW.topic == topic)
            columns["topic"] = Case(None, [(is_on_no_other, topic)], _ROW.topic)
            columns["subscription_arn"] = Case(None, [(is_on_no_other, arn)], _ROW.subscription_arn)
        marked = _ROW.update(columns).where(_ROW.mobile == held.mobile).returning(_ROW).execute()
        return _record_or_none(Subscriber, _first(marked))

    def mark_all_out_of_sync(self, now: datetime) -> None:
        """Mark all active subscribers out of sync, in batches, so that no statement takes long."""
        last_id = _ROW.select(fn.MAX(_ROW.id)).scalar() or 0
        for first_id in range(0, last_id + 1, BATCH_SIZE):
            batch = _ROW.id.between(first_id, first_id + BATCH_SIZE - 1) & (_ROW.state == ACTIVE)
            _ROW.update(sync_due_at=now).where(batch).execute()

    def out_of_sync(self, now: datetime) -> Iterator[str]:
        """Yield the ids of the subscribers whose sync is due."""
        due = _ROW.select(_ROW.id).where(_OUT_OF_SYNC & (_ROW.sync_due_at <= now))
        return (str(row.id) for row in iterate_in_batches(due))

    def count_out_of_sync(self, moment: datetime) -> int:
        """Return how many subscribers need a sync that was due at a moment."""
        return int(_ROW.select().where(_OUT_OF_SYNC & (_ROW.sync_due_at <= moment)).count())

    def claim_confirmation(self, subscriber_id: str, now: datetime) -> bool:
        """Claim the right to send the confirmation SMS."""
        is_unclaimed = _has_id(subscriber_id) & _ROW.confirmation_sent_at.is_null()
        return bool(_ROW.update(confirmation_sent_at=now).where(is_unclaimed).execute())

    def release_confirmation(self, subscriber_id: str) -> None:
        """Release the claim to send the confirmation SMS."""
        _ROW.update(confirmation_sent_at=None).where(_has_id(subscriber_id)).execute()

    def topics_in_use(self) -> list[str]:
        """Return the topics that active subscribers are or may be on: an index probe for each."""
        return sorted(topic for (topic,) in bound.execute_sql(_TOPICS_IN_USE).fetchall())

    def count_in_sync_with(self, topic: str) -> int:
        """Return how many active subscribers are on a topic and in sync."""
        return int(_in_state(ACTIVE).where((_ROW.topic == topic) & _ROW.sync_due_at.is_null()).count())

    def has_joined_before(self, topic: str, moment: datetime) -> bool:
        """Return whether an active subscriber on a topic joined its time zone before a moment."""
        joined = _ROW.joined_at.is_null() | (_ROW.joined_at < moment)
        return bool(_in_state(ACTIVE).where((_ROW.topic == topic) & joined).exists())

    def claim_delivery(
        self, day: date, topic: str, *, now: datetime, timeout: timedelta, unknown_after: timedelta | None = None
    ) -> Delivery | None:
        """Claim the right to send a daily SMS."""
        table = models.Delivery
        insert = table.insert(date=day, topic=topic, claimed_at=now).on_conflict_ignore().as_rowcount()
        if insert.execute():
            return _record(Delivery, table(date=day, topic=topic, claimed_at=now))
        is_claimable = table.sending_at.is_null() & (table.claimed_at <= now - timeout)
        if unknown_after is not None:
            is_claimable |= table.sending_at <= now - unknown_after
        take_over = table.update(claimed_at=now).where(
            _is_delivery(day, topic) & table.sent_at.is_null() & is_claimable
        )
        return _record_or_none(Delivery, _first(take_over.returning(table).execute()))

    def find_delivery(self, day: date, topic: str) -> Delivery | None:
        """Return the delivery of a date to a topic."""
        return _record_or_none(Delivery, models.Delivery.get_or_none(_is_delivery(day, topic)))

    def last_delivery(self, topic: str) -> Delivery | None:
        """Return the delivery to a topic with the last date."""
        of_topic = models.Delivery.select().where(models.Delivery.topic == topic)
        return _record_or_none(Delivery, of_topic.order_by(models.Delivery.date.desc()).first())

    def report_delivery(
        self, day: date, topic: str, *, now: datetime, claimed_before: datetime, sending_before: datetime
    ) -> Delivery | None:
        """Store that a delivery is reported as missed or in doubt."""
        table = models.Delivery
        columns = {"date": day, "topic": topic, "claimed_at": now, "reported_at": now}
        if table.insert(columns).on_conflict_ignore().as_rowcount().execute():
            return _record(Delivery, table(**columns))
        was_given_up = table.sending_at.is_null() & (table.claimed_at <= claimed_before)
        is_unsent = table.sent_at.is_null() & table.reported_at.is_null()
        report = table.update(reported_at=now).where(
            _is_delivery(day, topic) & is_unsent & (was_given_up | (table.sending_at <= sending_before))
        )
        return _record_or_none(Delivery, _first(report.returning(table).execute()))

    def start_sending(self, claim: Delivery, now: datetime) -> bool:
        """Store that the gateway is about to be called."""
        # Two processes whose clocks show the same time hold equal claims; the first one changes `sending_at`.
        is_first = _holds_claim(claim) & (models.Delivery.sending_at == claim.sending_at)
        return bool(models.Delivery.update(sending_at=now).where(is_first).execute())

    def finish_delivery(self, claim: Delivery, message_id: str, now: datetime) -> None:
        """Store that the SMS of a claim was sent."""
        models.Delivery.update(sent_at=now, message_id=message_id).where(_holds_claim(claim)).execute()

    def release_delivery(self, claim: Delivery) -> None:
        """Delete a claim or, if an earlier holder may have sent the SMS or it was reported, restore `sending_at`."""
        if claim.sending_at is None:
            is_unreported = _holds_claim(claim) & models.Delivery.reported_at.is_null()
            if models.Delivery.delete().where(is_unreported).execute():
                return
        models.Delivery.update(sending_at=claim.sending_at).where(_holds_claim(claim)).execute()

    def store_due_run(self, now: datetime) -> None:
        """Store when `publish --due`, or the schedule, ran."""
        columns = {"ran_at": now}
        insert = DueRun.insert(name=DUE_RUN, **columns)
        insert.on_conflict(conflict_target=[DueRun.name], update=columns).execute()

    def last_due_run(self) -> datetime | None:
        """Return when `publish --due`, or the schedule, last ran."""
        row = DueRun.get_or_none(DueRun.name == DUE_RUN)
        return None if row is None else row.ran_at

    def daily_quotes(self, first: date, last: date) -> dict[date, Quotation]:
        """Return the quotes that are stored for the dates from `first` to `last`."""
        stored: Any = StoredDailyQuote.select(StoredDailyQuote.date, *QUOTATION_COLUMNS).join(Quote)
        rows = stored.where(StoredDailyQuote.date.between(first, last)).tuples()
        return {day: Quotation(*columns) for day, *columns in rows}

    def store_daily_quote(self, day: date, quotation: Quotation, now: datetime) -> None:
        """Store the quote of a date unless one is stored. If the catalogue lacks the quote, add it there first."""
        in_catalogue = Quote.select(Value(day), Quote.id).where(Quote.fingerprint == fingerprint(quotation).hex())
        insert = StoredDailyQuote.insert_from(in_catalogue, [StoredDailyQuote.date, StoredDailyQuote.quote])
        insert = insert.on_conflict_ignore().as_rowcount()
        if not insert.execute() and find_quote_id(quotation) is None:
            store_quotation(quotation, now)
            insert.execute()

    def read_rate_limit_log(self, key: str) -> str:
        """Return the log of a key; empty if there is none."""
        return RateLimitLog.select(RateLimitLog.timestamps).where(RateLimitLog.key == key).scalar() or ""

    def swap_rate_limit_log(self, key: str, before: str, after: str, *, now: datetime, keep_until: datetime) -> bool:
        """Replace the log of a key if it is `before`. `delete_expired` deletes it by the time of its last change."""
        columns = {"timestamps": after, "updated_at": now}
        is_before = RateLimitLog.timestamps == before
        if before:
            return bool(RateLimitLog.update(columns).where((RateLimitLog.key == key) & is_before).execute())
        swap = RateLimitLog.insert(key=key, **columns).on_conflict(
            conflict_target=[RateLimitLog.key], update=columns, where=is_before
        )
        return bool(swap.as_rowcount().execute())

    def count_sms(self, day: date, limit: int) -> bool:
        """Count an SMS toward the SMS quota of a UTC date."""
        increment = SmsUsage.insert(date=day, count=1).on_conflict(
            conflict_target=[SmsUsage.date],
            update={SmsUsage.count: SmsUsage.count + 1},
            where=SmsUsage.count < limit,
        )
        return limit > 0 and bool(increment.as_rowcount().execute())

    def uncount_sms(self, day: date) -> None:
        """Undo `count_sms`."""
        SmsUsage.update(count=SmsUsage.count - 1).where((SmsUsage.date == day) & (SmsUsage.count > 0)).execute()

    def read_sms_count(self, day: date) -> int:
        """Return how many SMS were counted toward the SMS quota of a UTC date."""
        return SmsUsage.select(SmsUsage.count).where(SmsUsage.date == day).scalar() or 0

    def sms_disabled_at(self) -> datetime | None:
        """Return when the SMS switch was turned off; None if it is on."""
        switch = SmsSwitch.get_or_none(SmsSwitch.name == SMS_SWITCH)
        return None if switch is None else switch.disabled_at

    def set_sms_switch(self, now: datetime, *, off: bool) -> None:
        """Turn the SMS switch off or on."""
        if off:
            SmsSwitch.insert(name=SMS_SWITCH, disabled_at=now).on_conflict_ignore().execute()
        else:
            SmsSwitch.delete().where(SmsSwitch.name == SMS_SWITCH).execute()

    def delete_expired(
        self, *, otps_requested_before: datetime, tried_before: datetime, logs_before: datetime, sms_before: date
    ) -> None:
        """Delete OTPs without recent wrong tries, rate-limit logs and SMS counts from before the given times."""
        for table in models.OTP_MODELS:
            no_recent_tries = table.last_wrong_try_at.is_null() | (table.last_wrong_try_at <= tried_before)
            table.delete().where((table.requested_at <= otps_requested_before) & no_recent_tries).execute()
        RateLimitLog.delete().where(RateLimitLog.updated_at < logs_before).execute()
        SmsUsage.delete().where(SmsUsage.date < sms_before).execute()


def _record(kind: type[_Record], row: Model) -> _Record:
    """Convert a row to a record; the id of a subscriber becomes text."""
    values = {name: getattr(row, name) for name in kind._fields}
    return kind(**values | {"id": str(values["id"])} if "id" in values else values)


def _record_or_none(kind: type[_Record], row: Model | None) -> _Record | None:
    return None if row is None else _record(kind, row)


def _first(rows: Any) -> Any:  # noqa: ANN401 peewee is not typed here
    return next(iter(rows), None)


def _use_otp(otp: Otp, tries: int) -> None:
    """Use up an OTP, in the caller's transaction. Raises `OtpReplaced` if it was used or replaced meanwhile."""
    use = OneTimePassword.update(expires_at=None, tries_left=tries, last_wrong_try_at=None)
    is_unused = (OneTimePassword.digest == otp.digest) & OneTimePassword.expires_at.is_null(is_null=False)
    if not use.where((OneTimePassword.otp_request_id == otp.otp_request_id) & is_unused).execute():
        raise OtpReplaced


def _subtract_from_count(number: int) -> None:
    SubscriberCount.update(count=SubscriberCount.count - number).where(_COUNT_OF_ACTIVE).execute()


def _change_active(mobile: str, time_zone: str | None, now: datetime) -> Any:  # noqa: ANN401 peewee is not typed here
    """Return the update that ends a pause of an active subscriber, and moves it to a time zone, if it is another."""
    columns: dict[str, Any] = {"joined_at": now, "sync_due_at": now, "paused_until": None}
    is_changed = _ROW.paused_until > now
    if time_zone is not None:
        columns["time_zone"], is_changed = time_zone, is_changed | _is_not_in(time_zone)
    return _ROW.update(columns).where((_ROW.mobile == mobile) & (_ROW.state == ACTIVE) & is_changed)


def _is_not_in(time_zone: str) -> Expression:
    return _ROW.time_zone.is_null() | (_ROW.time_zone != time_zone)


def _is_unchanged(held: Subscriber) -> Any:  # noqa: ANN401 peewee is not typed here
    """Return the condition that nothing changed since a lease was acquired on which the topic depends."""
    return reduce(and_, (_is_same(getattr(_ROW, name), getattr(held, name)) for name in SYNCED_COLUMNS))


def _is_same(column: Any, value: object) -> Any:  # noqa: ANN401 peewee is not typed here
    return column.is_null() if value is None else column == value


def _in_state(state: str | None) -> Any:  # noqa: ANN401 peewee is not typed here
    rows = _ROW.select()
    return rows if state is None else rows.where(_ROW.state == state)


def _is_otp_of(mobile: str, purpose: Purpose) -> Expression:
    return (OneTimePassword.mobile == mobile) & (OneTimePassword.purpose == purpose)


def _has_id(subscriber_id: str) -> Expression:
    """Return a condition that no row meets if the id is not of this store: tasks may still have ids of a former one."""
    is_own = subscriber_id.isdecimal() and int(subscriber_id) <= MAX_ID
    return _ROW.id == (int(subscriber_id) if is_own else 0)


def _holds_lease(held: Subscriber) -> Expression:
    return _has_id(held.id) & (_ROW.lease_acquired_at == held.lease_acquired_at)


def _is_delivery(day: date, topic: str) -> Expression:
    return (models.Delivery.date == day) & (models.Delivery.topic == topic)


def _holds_claim(claim: Delivery) -> Expression:
    return _is_delivery(claim.date, claim.topic) & (models.Delivery.claimed_at == claim.claimed_at)
