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
from quoteapi.observability.redaction import masked
from quoteapi.settings import Settings
from quoteapi.sms.gateway import Gateway, GatewayError, NotAllowed, OutcomeUnknown, Refused, Unavailable
from quoteapi.sms.messages import Purpose, code_text, confirmation_text
from quoteapi.storage import database
from quoteapi.storage.models import ACTIVE, STOPPED, UNSUBSCRIBED, ConsoleSms, Subscriber
from quoteapi.storage.models import database as bound
from quoteapi.subscriptions.otp import Asked, CodeExpired, Made, NoCodeAskedFor, OneTimePasswords, WrongCode
from quoteapi.subscriptions.queries import (
    _UNSETTLED,
    _id_of,
    _is_active,
    _is_taken,
    _unsettled,
    unsettled_count,
)
from quoteapi.subscriptions.rate_limits import Limits, SmsSwitchedOff, Tell, TooMany

NOBODY = 0
"""No subscriber has this id."""
SETTLING = timedelta(minutes=5)
"""After so long, whoever was at making the topic agree is taken for dead; far longer than their calls may take."""
MARKED_AT_ONCE = 10_000
log = logging.getLogger(__name__)


class NotShared(Exception):
    """What is stored here is not seen by the other machines, so nobody can subscribe."""

    def __init__(self) -> None:
        super().__init__("the machines share no database, so nobody can subscribe: set DATABASE_URL")


class RepliedStop(Exception):
    """The number replied STOP, so no SMS reaches it."""


class CodeNotSent(Exception):
    """The SMS with a code did not go out, or nobody knows."""


class Handing(Protocol):
    """Hands work on: to another invocation on Lambda, to a thread if it takes calls of AWS, else it is done at once."""

    def send_otp(self, request: str) -> None:
        """Have the code of a request made and sent."""

    def subscribe(self, subscriber_id: int) -> None:
        """Have somebody put on the topic."""

    def unsubscribe(self, subscriber_id: int) -> None:
        """Have somebody taken off the topic."""


class Reconciled(NamedTuple):
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


class Subscriptions:
    """What people and the operator do with subscriptions."""

    def __init__(
        self,
        settings: Settings,
        gateway: Gateway,
        limits: Limits,
        passwords: OneTimePasswords,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._gateway = gateway
        self._limits = limits
        self._passwords = passwords
        self._clock = clock

    # ---- what people ask

    def ask(self, mobile: str, purpose: Purpose, address: str, hand: Handing, tell: Tell = lambda _: None) -> None:
        """Have a code sent to a number, by which its owner agrees to subscribe, or to leave.

        Who is not subscribed gets no SMS about leaving, but nothing else differs: no stranger learns who is. Tells what
        the address has left, unless a limit was reached. Raises `NotShared`, `SmsSwitchedOff`, `RegionNotServed`,
        `TooMany`, `RepliedStop`, `CodeNotSent`.
        """
        self._need_shared_state()
        self._limits.switch()
        if purpose == "subscribe":  # whoever subscribed can leave, wherever SMS go by now
            self._limits.regions(mobile)
        taken = self._limits.asked_by_address(address)
        with bound.atomic():
            request = self._passwords.ask(mobile, purpose, address)
            self._limits.codes_to_number(mobile)
            if purpose == "subscribe":  # the other way, it is counted where it is known whether an SMS goes out
                self._limits.single_sms_of_the_day()
        tell(taken.left)
        if purpose == "subscribe" and self._has_stopped(mobile):
            raise RepliedStop
        try:
            hand.send_otp(request)
        except GatewayError as error:
            raise CodeNotSent from error

    def confirm(self, mobile: str, code: str, address: str, hand: Handing, tell: Tell = lambda _: None) -> None:
        """Subscribe a number whose owner proved by a code that it is theirs. It is written before this returns.

        Tells what tries the address has left, if the code is not right. Raises `NotShared`, `TooMany`, and what
        `OneTimePasswords.check` raises.
        """
        subscriber_id = self._proved(mobile, "subscribe", code, address, tell)
        if subscriber_id is not None:
            _hand_on(hand.subscribe, subscriber_id)

    def leave(
        self, mobile: str, address: str, hand: Handing, code: str | None = None, tell: Tell = lambda _: None
    ) -> None:
        """Unsubscribe a number, if it is subscribed; with a code, only if that proves right.

        Tells what the address has left, as `ask` and `confirm` do. Raises `NotShared`, `TooMany`, and what
        `OneTimePasswords.check` raises.
        """
        if code is not None:
            subscriber_id = self._proved(mobile, "unsubscribe", code, address, tell)
        else:
            self._need_shared_state()
            tell(self._limits.asked_by_address(address).left)
            subscriber_id = self._end(mobile)
        # For everybody: a stranger must not learn from the time it takes who was subscribed.
        _hand_on(hand.unsubscribe, subscriber_id or NOBODY)

    def _need_shared_state(self) -> None:
        if not self._settings.state_is_shared:
            raise NotShared

    def _has_stopped(self, mobile: str) -> bool:
        try:
            return self._gateway.has_stopped(mobile)
        except GatewayError as error:
            log.warning("Whether a number replied STOP is not known: %s", error)
            return False

    def _proved(self, mobile: str, purpose: Purpose, code: str, address: str, tell: Tell) -> int | None:
        """Check a code, and write what it stands for. Answer whose subscription changed by that."""
        self._need_shared_state()
        with bound.atomic():
            taken = self._limits.tries_by_address(address)
            try:
                asked = self._passwords.check(mobile, purpose, code)
            except (WrongCode, CodeExpired, NoCodeAskedFor, TooMany) as error:
                not_right = error  # raised below: in here it would undo the counting
                if not isinstance(error, TooMany):
                    tell(taken.left)
            else:
                taken.give_back()
                if purpose == "unsubscribe":
                    return self._end(mobile)
                return self._begin(mobile, asked, address)
        raise not_right

    def _begin(self, mobile: str, asked: Asked, confirmed_from: str) -> int | None:
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
        return _id_of(begun.returning(Subscriber.id).execute())

    def _end(self, mobile: str) -> int | None:
        now = self._clock()
        ended = Subscriber.update(state=UNSUBSCRIBED, ended_at=now, unsettled_since=now)
        active = (Subscriber.mobile == mobile) & (Subscriber.state == ACTIVE)
        return _id_of(ended.where(active).returning(Subscriber.id).execute())

    # ---- units of work, for tasks

    def send_code(self, request: str) -> str:
        """Make the code of a request and send it, once. Answer what was done.

        Raises `GatewayError` where that failed. Then another try makes another code, but not after `OutcomeUnknown`:
        nobody should get two.
        """
        try:
            self._limits.switch()
            made = self._passwords.make(request)
            if made is None:
                if self._passwords.is_in_doubt(request):
                    raise OutcomeUnknown("the code of this request may have gone out, so none is sent")
                return "nothing to send"
            if made.purpose == "unsubscribe":
                if not _is_active(made.mobile):
                    self._passwords.sent(request)
                    return "nobody to send it to"
                self._limits.single_sms_of_the_day()
        except (SmsSwitchedOff, TooMany) as error:
            return f"not sent: {error}"
        self._send(request, made)
        return f"sent a code to {masked(made.mobile)}"

    def _send(self, request: str, made: Made) -> None:
        try:
            self._gateway.send_sms(made.mobile, code_text(made.code, made.purpose).message, "code")
        except OutcomeUnknown:
            raise
        except GatewayError:
            self._passwords.not_sent(request)
            raise
        self._passwords.sent(request)

    def settle(self, subscriber_id: int) -> str:
        """Make the topic agree with what somebody wants. Answer what was done. Raises `GatewayError`."""
        done = "nothing to do"
        while (row := self._take(subscriber_id)) is not None:
            try:
                arn = self._agreed_arn(row)
            except Exception:
                self._release(row)
                raise
            self._settled(row, arn)
            done = "unsubscribed" if arn is None else "subscribed"
        return done

    def _take(self, subscriber_id: int) -> Subscriber | None:
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
        free = Subscriber.settling_since.is_null() | (Subscriber.settling_since <= now - SETTLING)
        unsettled = (Subscriber.id == subscriber_id) & _UNSETTLED
        taken = Subscriber.update(changes).where(unsettled & free).returning(Subscriber).execute()
        return next(iter(taken), None)

    def _agreed_arn(self, row: Subscriber) -> str | None:
        """Have the gateway agree with a row. Answer the subscription's ARN, None where there is none."""
        if row.state == ACTIVE:
            subscribed = self._gateway.subscribe(row.mobile)
            self._welcome(row)
            return subscribed
        if row.topic is None:  # nobody ever began to put it there
            return None
        if row.subscription_arn is None:
            # Somebody did, and did not live to tell the ARN: asking again tells it.
            if row.topic != self._gateway.topic:
                raise NotAllowed(f"the number was put on {row.topic}, and the settings say {self._gateway.topic}")
            row.subscription_arn = self._gateway.subscribe(row.mobile)
            Subscriber.update(subscription_arn=row.subscription_arn).where(_is_taken(row)).execute()
        self._gateway.unsubscribe(row.subscription_arn)
        return None

    def _welcome(self, row: Subscriber) -> None:
        """Send the SMS that says what was agreed to, once."""
        mine = (Subscriber.id == row.id) & Subscriber.welcomed_at.is_null()
        if row.welcomed_at is not None or not Subscriber.update(welcomed_at=self._clock()).where(mine).execute():
            return
        try:
            self._limits.switch()
            self._limits.single_sms_of_the_day()
            self._gateway.send_sms(row.mobile, confirmation_text(self._settings.leave_url).message, "confirmation")
        except (Unavailable, NotAllowed):
            self._limits.give_back_sms()
            Subscriber.update(welcomed_at=None).where(Subscriber.id == row.id).execute()
            raise
        except (Refused, OutcomeUnknown, SmsSwitchedOff, TooMany) as error:
            log.warning("No confirming SMS to %s: %s", masked(row.mobile), str(error) or type(error).__name__)

    def _settled(self, row: Subscriber, arn: str | None) -> None:
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
        done = Subscriber.update(settling_since=None, unsettled_since=unsettled_since, **place).where(_is_taken(row))
        if not done.execute():
            self._overtaken(row, arn)

    def _release(self, row: Subscriber) -> None:
        if not Subscriber.update(settling_since=None).where(_is_taken(row)).execute():
            self._overtaken(row, row.subscription_arn)

    def _overtaken(self, row: Subscriber, arn: str | None) -> None:
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
    ) -> Reconciled:
        """Make SNS agree with the database wherever it may not, and forget what has had its time.

        Costs in proportion to what is out of step and to the numbers that ever replied STOP. One bad number never stops
        the rest. Stops early, with `left` over zero, once `enough` says so. With `everyone`, puts all who are active on
        the topic: it may have been lost, or be another one now.
        """
        done = noted = self._note_stopped()
        if everyone:
            self._unsettle_everyone()
        for subscriber_id in _unsettled():
            if enough():
                break
            done = self._reconciled(subscriber_id, done)
            progress(1)
        self._passwords.forget_old()
        self._limits.forget_old()
        tried = done.failed - noted.failed + done.refused
        return done._replace(left=max(0, unsettled_count() - tried))

    def _unsettle_everyone(self) -> None:
        """Have everyone who is active settled again; some at a time, so that no statement takes long."""
        highest = Subscriber.select(fn.MAX(Subscriber.id)).scalar() or 0
        for first in range(0, highest + 1, MARKED_AT_ONCE):
            some = Subscriber.id.between(first, first + MARKED_AT_ONCE - 1) & (Subscriber.state == ACTIVE)
            Subscriber.update(unsettled_since=self._clock()).where(some).execute()

    def _reconciled(self, subscriber_id: int, done: Reconciled) -> Reconciled:
        try:
            did = self.settle(subscriber_id)
        except Refused as error:
            log.warning("Subscriber %d cannot be settled: %s", subscriber_id, error)
            return done._replace(refused=done.refused + 1)
        except Exception as error:
            known = isinstance(error, GatewayError)
            log.warning("Subscriber %d is not settled yet: %s", subscriber_id, error, exc_info=not known)
            return done._replace(failed=done.failed + 1)
        if did == "subscribed":
            return done._replace(subscribed=done.subscribed + 1)
        return done._replace(unsubscribed=done.unsubscribed + (did == "unsubscribed"))

    def _note_stopped(self) -> Reconciled:
        """Note who replied STOP."""
        stopped = 0
        now = self._clock()
        try:
            for mobiles in self._gateway.all_stopped():
                update = Subscriber.update(state=STOPPED, ended_at=now, unsettled_since=now)
                stopped += update.where(Subscriber.mobile.in_(mobiles) & (Subscriber.state == ACTIVE)).execute()
        except GatewayError as error:
            log.warning("Who replied STOP is not known: %s", error)
            return Reconciled(stopped=stopped, failed=1)
        return Reconciled(stopped=stopped)

    def remove(self, mobile: str) -> bool:
        """Take a number off the topic and leave nothing of it behind. Answer whether anything was there.

        Raises `GatewayError`; then the number is unsubscribed, and can be removed again.
        """
        row = Subscriber.get_or_none(Subscriber.mobile == mobile)
        if row is not None:
            self._end(mobile)
            self.settle(row.id)
            settled = (
                (Subscriber.mobile == mobile) & (Subscriber.state != ACTIVE) & Subscriber.unsettled_since.is_null()
            )
            if not Subscriber.delete().where(settled).execute():
                raise Unavailable("the number is being put on the topic or taken off it; try again in some minutes")
        inbox = ConsoleSms.delete().where(ConsoleSms.to == mobile).execute()
        found = [self._passwords.forget(mobile), self._limits.forget_number(mobile), inbox]
        if not database.scrub():
            raise Unavailable("the number is removed, but another process holds old pages; try again in some minutes")
        return row is not None or any(found)


def _hand_on(work: Callable[[int], None], subscriber_id: int) -> None:
    """Hand on what the answer need not wait for: it is written, and the reconciler does it if nobody else can."""
    try:
        work(subscriber_id)
    except Exception as error:
        known = isinstance(error, GatewayError)
        log.warning("Subscriber %d is left to the reconciler: %s", subscriber_id, error, exc_info=not known)
