"""Subscriptions: asked for, confirmed, active, ended; and how Amazon SNS is made to agree.

What people want is written first, in one row a number; a row says since when the topic may not agree with it. Whoever
makes it agree takes the row for a while, so that calls for one number never overtake each other.
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple, Protocol

from peewee import Case, fn

from quoteapi.clock import Clock
from quoteapi.observability.redaction import mask_number
from quoteapi.settings import Settings
from quoteapi.sms.gateway import (
    Gateway,
    GatewayError,
    GatewayMisconfigured,
    GatewayUnavailable,
    NumberRejected,
    OutcomeUnknown,
)
from quoteapi.sms.messages import Purpose, code_text, confirmation_text
from quoteapi.storage import database
from quoteapi.storage.models import ACTIVE, STOPPED, UNSUBSCRIBED, ConsoleSms, Subscriber
from quoteapi.storage.models import database as bound
from quoteapi.subscriptions.otp import GeneratedOtp, NoOtpRequested, OneTimePasswords, OtpExpired, OtpRequest, WrongOtp
from quoteapi.subscriptions.queries import (
    OUT_OF_SYNC,
    count_out_of_sync,
    first_id,
    holds_lease,
    is_active,
    iterate_out_of_sync,
)
from quoteapi.subscriptions.rate_limits import RateLimited, RateLimits, SmsDisabled, Tell

NOBODY = 0
"""No subscriber has this id."""
LEASE_TIMEOUT = timedelta(minutes=5)
"""After so long, whoever was at making the topic agree is taken for dead; far longer than their calls may take."""
MARKED_AT_ONCE = 10_000
log = logging.getLogger(__name__)


class NoSharedState(Exception):
    """What is stored here is not seen by the other machines, so nobody can subscribe."""

    def __init__(self) -> None:
        super().__init__("the machines share no database, so nobody can subscribe: set DATABASE_URL")


class OptedOut(Exception):
    """The number replied STOP, so no SMS reaches it."""


class OtpNotSent(Exception):
    """The SMS with a code did not go out, or nobody knows."""


class Dispatcher(Protocol):
    """Hands work on: to another invocation on Lambda, to a thread if it takes calls of AWS, else it is done at once."""

    def send_otp(self, request: str) -> None:
        """Have the code of a request made and sent."""

    def subscribe(self, subscriber_id: int) -> None:
        """Have somebody put on the topic."""

    def unsubscribe(self, subscriber_id: int) -> None:
        """Have somebody taken off the topic."""


class ReconcileResult(NamedTuple):
    """What a reconciliation did."""

    subscribed: int = 0
    unsubscribed: int = 0
    stopped: int = 0
    """Numbers that replied STOP since the last time."""
    refused: int = 0
    """Numbers that SNS will not take."""
    failed: int = 0
    """Tries that may go well next time."""
    left: int = 0
    """Those that were not come to."""


class SubscriptionService:
    """What people and the operator do with subscriptions."""

    def __init__(
        self,
        settings: Settings,
        gateway: Gateway,
        limits: RateLimits,
        passwords: OneTimePasswords,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._gateway = gateway
        self._limits = limits
        self._passwords = passwords
        self._clock = clock

    # ---- what people ask

    def request_otp(
        self, mobile: str, purpose: Purpose, address: str, hand: Dispatcher, tell: Tell = lambda _: None
    ) -> None:
        """Have a code sent to a number, by which its owner agrees to subscribe, or to leave.

        Who is not subscribed gets no SMS about leaving, but nothing else differs: no stranger learns who is. Tells what
        the address has left, unless a limit was reached. Raises `NoSharedState`, `SmsDisabled`, `CountryNotServed`,
        `RateLimited`, `OptedOut`, `OtpNotSent`.
        """
        self._require_shared_state()
        self._limits.check_sms_switch()
        if purpose == "subscribe":  # whoever subscribed can leave, wherever SMS go by now
            self._limits.check_country(mobile)
        taken = self._limits.count_request_by_client_ip(address)
        with bound.atomic():
            request = self._passwords.request(mobile, purpose, address)
            self._limits.count_code_to_number(mobile)
            if purpose == "subscribe":  # the other way, it is counted where it is known whether an SMS goes out
                self._limits.count_sms()
        tell(taken.left)
        if purpose == "subscribe" and self._is_opted_out(mobile):
            raise OptedOut
        try:
            hand.send_otp(request)
        except GatewayError as error:
            raise OtpNotSent from error

    def subscribe(self, mobile: str, code: str, address: str, hand: Dispatcher, tell: Tell = lambda _: None) -> None:
        """Subscribe a number whose owner proved by a code that it is theirs. It is written before this returns.

        Tells what tries the address has left, if the code is not right. Raises `NoSharedState`, `RateLimited`, and what
        `OneTimePasswords.check` raises.
        """
        subscriber_id = self._verify_otp(mobile, "subscribe", code, address, tell)
        if subscriber_id is not None:
            _hand_on(hand.subscribe, subscriber_id)

    def unsubscribe(
        self, mobile: str, address: str, hand: Dispatcher, code: str | None = None, tell: Tell = lambda _: None
    ) -> None:
        """Unsubscribe a number, if it is subscribed; with a code, only if that proves right.

        Tells what the address has left, as `ask` and `confirm` do. Raises `NoSharedState`, `RateLimited`, and what
        `OneTimePasswords.check` raises.
        """
        if code is not None:
            subscriber_id = self._verify_otp(mobile, "unsubscribe", code, address, tell)
        else:
            self._require_shared_state()
            tell(self._limits.count_request_by_client_ip(address).left)
            subscriber_id = self._deactivate(mobile)
        # For everybody: a stranger must not learn from the time it takes who was subscribed.
        _hand_on(hand.unsubscribe, subscriber_id or NOBODY)

    def _require_shared_state(self) -> None:
        if not self._settings.has_shared_state:
            raise NoSharedState

    def _is_opted_out(self, mobile: str) -> bool:
        try:
            return self._gateway.is_opted_out(mobile)
        except GatewayError as error:
            log.warning("Whether a number replied STOP is not known: %s", error)
            return False

    def _verify_otp(self, mobile: str, purpose: Purpose, code: str, address: str, tell: Tell) -> int | None:
        """Check a code, and write what it stands for. Answer whose subscription changed by that."""
        self._require_shared_state()
        with bound.atomic():
            taken = self._limits.count_try_by_client_ip(address)
            try:
                asked = self._passwords.verify(mobile, purpose, code)
            except (WrongOtp, OtpExpired, NoOtpRequested, RateLimited) as error:
                not_right = error  # raised below: in here it would undo the counting
                if not isinstance(error, RateLimited):
                    tell(taken.left)
            else:
                taken.undo()
                if purpose == "unsubscribe":
                    return self._deactivate(mobile)
                return self._activate(mobile, asked, address)
        raise not_right

    def _activate(self, mobile: str, asked: OtpRequest, confirmed_from: str) -> int | None:
        now = self._clock()
        row = {
            "state": ACTIVE,
            "asked_at": asked.asked_at,
            "asked_from": asked.asked_from,
            "confirmed_at": now,
            "confirmed_from": confirmed_from,
            "ended_at": None,
            "welcomed_at": None,
            "unsettled_since": now,
        }
        begun = Subscriber.insert(mobile=mobile, **row).on_conflict(
            conflict_target=[Subscriber.mobile], update=row, where=Subscriber.state != ACTIVE
        )
        return first_id(begun.returning(Subscriber.id).execute())

    def _deactivate(self, mobile: str) -> int | None:
        now = self._clock()
        ended = Subscriber.update(state=UNSUBSCRIBED, ended_at=now, unsettled_since=now)
        active = (Subscriber.mobile == mobile) & (Subscriber.state == ACTIVE)
        return first_id(ended.where(active).returning(Subscriber.id).execute())

    # ---- units of work, for tasks

    def send_otp(self, request: str) -> str:
        """Make the code of a request and send it, once. Answer what was done.

        Raises `GatewayError` where that failed. Then another try makes another code, but not after `OutcomeUnknown`:
        nobody should get two.
        """
        try:
            self._limits.check_sms_switch()
            made = self._passwords.generate(request)
            if made is None:
                if self._passwords.is_outcome_unknown(request):
                    raise OutcomeUnknown("the code of this request may have gone out, so none is sent")
                return "nothing to send"
            if made.purpose == "unsubscribe":
                if not is_active(made.mobile):
                    self._passwords.mark_sent(request)
                    return "nobody to send it to"
                self._limits.count_sms()
        except (SmsDisabled, RateLimited) as error:
            return f"not sent: {error}"
        self._send(request, made)
        return f"sent a code to {mask_number(made.mobile)}"

    def _send(self, request: str, made: GeneratedOtp) -> None:
        try:
            self._gateway.send_sms(made.mobile, code_text(made.code, made.purpose).message, "code")
        except OutcomeUnknown:
            raise
        except GatewayError:
            self._passwords.mark_not_sent(request)
            raise
        self._passwords.mark_sent(request)

    def sync(self, subscriber_id: int) -> str:
        """Make the topic agree with what somebody wants. Answer what was done. Raises `GatewayError`."""
        done = "nothing to do"
        while (row := self._acquire_lease(subscriber_id)) is not None:
            try:
                arn = self._sync_with_gateway(row)
            except Exception:
                self._release_lease(row)
                raise
            self._finish_sync(row, arn)
            done = "unsubscribed" if arn is None else "subscribed"
        return done

    def _acquire_lease(self, subscriber_id: int) -> Subscriber | None:
        """Take a row that is not settled; None where it is, or somebody else has it.

        Notes beforehand where somebody is about to be put, so that it is known even if nobody lives to tell.
        """
        now, topic = self._clock(), self._gateway.topic
        is_active = Subscriber.state == ACTIVE
        changes = {
            "settling_since": now,
            "topic": Case(None, [(is_active, topic)], Subscriber.topic),
            "subscription_arn": Case(None, [(is_active, None)], Subscriber.subscription_arn),
        }
        free = Subscriber.settling_since.is_null() | (Subscriber.settling_since <= now - LEASE_TIMEOUT)
        unsettled = (Subscriber.id == subscriber_id) & OUT_OF_SYNC
        taken = Subscriber.update(changes).where(unsettled & free).returning(Subscriber).execute()
        return next(iter(taken), None)

    def _sync_with_gateway(self, row: Subscriber) -> str | None:
        """Have the gateway agree with a row. Answer the subscription's ARN, None where there is none."""
        if row.state == ACTIVE:
            subscribed = self._gateway.subscribe(row.mobile)
            self._send_confirmation(row)
            return subscribed
        if row.topic is None:  # nobody ever began to put it there
            return None
        if row.subscription_arn is None:
            # Somebody did, and did not live to tell the ARN: asking again tells it.
            if row.topic != self._gateway.topic:
                raise GatewayMisconfigured(
                    f"the number was put on {row.topic}, and the settings say {self._gateway.topic}"
                )
            row.subscription_arn = self._gateway.subscribe(row.mobile)
            Subscriber.update(subscription_arn=row.subscription_arn).where(holds_lease(row)).execute()
        self._gateway.unsubscribe(row.subscription_arn)
        return None

    def _send_confirmation(self, row: Subscriber) -> None:
        """Send the SMS that says what was agreed to, once."""
        mine = (Subscriber.id == row.id) & Subscriber.welcomed_at.is_null()
        if row.welcomed_at is not None or not Subscriber.update(welcomed_at=self._clock()).where(mine).execute():
            return
        try:
            self._limits.check_sms_switch()
            self._limits.count_sms()
            self._gateway.send_sms(
                row.mobile, confirmation_text(self._settings.unsubscribe_url).message, "confirmation"
            )
        except (GatewayUnavailable, GatewayMisconfigured):
            self._limits.uncount_sms()
            Subscriber.update(welcomed_at=None).where(Subscriber.id == row.id).execute()
            raise
        except (NumberRejected, OutcomeUnknown, SmsDisabled, RateLimited) as error:
            log.warning("No confirming SMS to %s: %s", mask_number(row.mobile), str(error) or type(error).__name__)

    def _finish_sync(self, row: Subscriber, arn: str | None) -> None:
        """Write down what the gateway did; where people changed their mind meanwhile, the row stays unsettled."""
        same = (
            (Subscriber.state == row.state)
            & (Subscriber.confirmed_at == row.confirmed_at)
            & (Subscriber.unsettled_since == row.unsettled_since)
        )
        place: dict[str, object] = {"subscription_arn": arn, "topic": self._gateway.topic}
        if arn is None:  # to take somebody off twice does no harm; to forget that somebody else put them there does
            columns = Subscriber.subscription_arn, Subscriber.topic
            place = {column.name: Case(None, [(same, None)], column) for column in columns}
        unsettled_since = Case(None, [(same, None)], Subscriber.unsettled_since)
        done = Subscriber.update(settling_since=None, unsettled_since=unsettled_since, **place).where(holds_lease(row))
        if not done.execute():
            self._lease_lost(row, arn)

    def _release_lease(self, row: Subscriber) -> None:
        if not Subscriber.update(settling_since=None).where(holds_lease(row)).execute():
            self._lease_lost(row, row.subscription_arn)

    def _lease_lost(self, row: Subscriber, arn: str | None) -> None:
        """Have a row settled again that somebody took over: nobody knows whose call came last."""
        place = {"topic": self._gateway.topic, "subscription_arn": arn} if row.state == ACTIVE else {}
        again = Subscriber.update(unsettled_since=self._clock(), **place).where(Subscriber.mobile == row.mobile)
        if not again.execute() and (arn is not None or row.state == ACTIVE):  # somebody removed the number meanwhile
            self._gateway.unsubscribe(arn or self._gateway.subscribe(row.mobile))

    # ---- what the operator does

    def reconcile(
        self,
        enough: Callable[[], bool] = lambda: False,
        progress: Callable[[int], None] = lambda _: None,
        *,
        everyone: bool = False,
    ) -> ReconcileResult:
        """Make SNS agree with the database wherever it may not, and forget what has had its time.

        Costs in proportion to what is out of step and to the numbers that ever replied STOP. One bad number never stops
        the rest. Stops early, with `left` over zero, once `enough` says so. With `everyone`, puts all who are active on
        the topic: it may have been lost, or be another one now.
        """
        done = noted = self._note_stopped()
        if everyone:
            self._unsettle_everyone()
        for subscriber_id in iterate_out_of_sync():
            if enough():
                break
            done = self._reconciled(subscriber_id, done)
            progress(1)
        self._passwords.delete_expired()
        self._limits.delete_expired()
        tried = done.failed - noted.failed + done.refused
        return done._replace(left=max(0, count_out_of_sync() - tried))

    def _unsettle_everyone(self) -> None:
        """Have everyone who is active settled again; some at a time, so that no statement takes long."""
        highest = Subscriber.select(fn.MAX(Subscriber.id)).scalar() or 0
        for first in range(0, highest + 1, MARKED_AT_ONCE):
            some = Subscriber.id.between(first, first + MARKED_AT_ONCE - 1) & (Subscriber.state == ACTIVE)
            Subscriber.update(unsettled_since=self._clock()).where(some).execute()

    def _reconciled(self, subscriber_id: int, done: ReconcileResult) -> ReconcileResult:
        try:
            did = self.sync(subscriber_id)
        except NumberRejected as error:
            log.warning("Subscriber %d cannot be settled: %s", subscriber_id, error)
            return done._replace(refused=done.refused + 1)
        except Exception as error:
            known = isinstance(error, GatewayError)
            log.warning("Subscriber %d is not settled yet: %s", subscriber_id, error, exc_info=not known)
            return done._replace(failed=done.failed + 1)
        if did == "subscribed":
            return done._replace(subscribed=done.subscribed + 1)
        return done._replace(unsubscribed=done.unsubscribed + (did == "unsubscribed"))

    def _note_stopped(self) -> ReconcileResult:
        """Note who replied STOP."""
        stopped = 0
        now = self._clock()
        try:
            for mobiles in self._gateway.list_opted_out():
                update = Subscriber.update(state=STOPPED, ended_at=now, unsettled_since=now)
                stopped += update.where(Subscriber.mobile.in_(mobiles) & (Subscriber.state == ACTIVE)).execute()
        except GatewayError as error:
            log.warning("Who replied STOP is not known: %s", error)
            return ReconcileResult(stopped=stopped, failed=1)
        return ReconcileResult(stopped=stopped)

    def remove(self, mobile: str) -> bool:
        """Take a number off the topic and leave nothing of it behind. Answer whether anything was there.

        Raises `GatewayError`; then the number is unsubscribed, and can be removed again.
        """
        row = Subscriber.get_or_none(Subscriber.mobile == mobile)
        if row is not None:
            self._deactivate(mobile)
            self.sync(row.id)
            settled = (
                (Subscriber.mobile == mobile) & (Subscriber.state != ACTIVE) & Subscriber.unsettled_since.is_null()
            )
            if not Subscriber.delete().where(settled).execute():
                raise GatewayUnavailable(
                    "the number is being put on the topic or taken off it; try again in some minutes"
                )
        inbox = ConsoleSms.delete().where(ConsoleSms.to == mobile).execute()
        found = [self._passwords.delete(mobile), self._limits.delete_number(mobile), inbox]
        if not database.secure_delete():
            raise GatewayUnavailable(
                "the number is removed, but another process holds old pages; try again in some minutes"
            )
        return row is not None or any(found)


def _hand_on(work: Callable[[int], None], subscriber_id: int) -> None:
    """Hand on what the answer need not wait for: it is written, and the reconciler does it if nobody else can."""
    try:
        work(subscriber_id)
    except Exception as error:
        known = isinstance(error, GatewayError)
        log.warning("Subscriber %d is left to the reconciler: %s", subscriber_id, error, exc_info=not known)
