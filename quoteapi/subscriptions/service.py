"""Use cases of subscriptions: request an OTP, subscribe, unsubscribe, send an OTP, remove a number.

Each stores its result, one row a number, before it returns. `topic_sync` makes the SNS topic match afterwards.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from peewee import Expression

from quoteapi.clock import Clock
from quoteapi.observability.redaction import mask_phone_number
from quoteapi.settings import Settings
from quoteapi.sms.gateway import Gateway, GatewayError, GatewayUnavailable, OutcomeUnknown
from quoteapi.sms.messages import Purpose, otp_text
from quoteapi.storage.models import ACTIVE, UNSUBSCRIBED, ConsoleSms, OneTimePassword, Subscriber, database
from quoteapi.subscriptions import subscriber_count
from quoteapi.subscriptions.dispatcher import Dispatcher
from quoteapi.subscriptions.errors import (
    NoSharedState,
    OptedOut,
    OtpNotSent,
    OtpRejected,
    OtpUsed,
    RateLimited,
    SmsDisabled,
)
from quoteapi.subscriptions.otp import GeneratedOtp, OneTimePasswords
from quoteapi.subscriptions.phone import e164_as_typed, parse_mobile
from quoteapi.subscriptions.rate_limits import RateLimits
from quoteapi.subscriptions.sliding_window import RateLimitStatuses
from quoteapi.subscriptions.topic_sync import TopicSync

log = logging.getLogger(__name__)


@dataclass
class SubscriptionService:
    """The use cases of clients and of the operator."""

    settings: Settings
    gateway: Gateway
    limits: RateLimits
    passwords: OneTimePasswords
    topic_sync: TopicSync
    clock: Clock

    def request_otp(self, mobile: str, purpose: Purpose, client_ip: str, dispatcher: Dispatcher) -> RateLimitStatuses:
        """Send an OTP to a number. Return the remaining quota of the client IP.

        To unsubscribe, call it only if `RateLimits.requires_otp_to_unsubscribe`: while SMS are off, no OTP is needed. A
        number that is not subscribed gets no OTP to unsubscribe, but the caller sees no difference, so that no client
        can find out which numbers are subscribed. Subscribers get no OTP to subscribe once the limit of subscribers is
        reached, as nobody does. Raises `NoSharedState`, `SmsDisabled`, `CountryNotServed`, `SubscriberLimitReached`,
        `RateLimited`, `OptedOut`, `OtpNotSent`.
        """
        self._require_shared_state()
        self.limits.check_sms_switch()
        if purpose == "subscribe":  # a subscriber can unsubscribe whatever countries are served by now
            self.limits.check_country(mobile)
            subscriber_count.check_subscriber_limit(self.settings.max_subscribers)
        rate_limits = self.limits.count_request_by_client_ip(client_ip).rate_limits
        with database.atomic():
            otp_request_id = self.passwords.request(mobile, purpose, client_ip)
            self.limits.count_otp_to_number(mobile, purpose)
            if purpose == "subscribe":
                self.limits.consume_sms_quota()
        if purpose == "subscribe" and self._is_opted_out(mobile):
            raise OptedOut(rate_limits=rate_limits)
        try:
            dispatcher.send_otp(otp_request_id)
        except GatewayError as error:
            raise OtpNotSent(rate_limits=rate_limits) from error
        return rate_limits

    def subscribe(self, mobile: str, code: str, client_ip: str, dispatcher: Dispatcher) -> RateLimitStatuses:
        """Subscribe a number if the OTP is right. Return an empty tuple: a right OTP is not counted.

        The same OTP again, within its lifetime, changes nothing and is no error while the number is subscribed.
        Raises `NoSharedState`, `RateLimited`, `OtpRejected`; `SubscriberLimitReached` if others took the last places
        since the OTP was requested: the OTP then stays valid.
        """
        subscriber_id = self._verify_otp(mobile, "subscribe", code, client_ip)
        if subscriber_id is not None:
            _dispatch(dispatcher.subscribe, subscriber_id)
        return ()

    def unsubscribe(
        self, mobile: str, client_ip: str, dispatcher: Dispatcher, code: str | None = None
    ) -> RateLimitStatuses:
        """Unsubscribe a number, if it is subscribed; with a `code`, only if that is the OTP.

        Return the remaining quota of the client IP; empty with a `code`, because a right OTP is not counted.
        Raises `NoSharedState`, `RateLimited`, `OtpRejected`.
        """
        rate_limits: RateLimitStatuses = ()
        if code is not None:
            subscriber_id = self._verify_otp(mobile, "unsubscribe", code, client_ip)
        else:
            self._require_shared_state()
            rate_limits = self.limits.count_request_by_client_ip(client_ip).rate_limits
            with database.atomic():
                subscriber_id = self._deactivate(mobile)
        # For every number (no subscriber has id 0): the response time must not show which are subscribed.
        _dispatch(dispatcher.unsubscribe, subscriber_id or 0)
        return rate_limits

    def send_otp(self, otp_request_id: str) -> str:
        """Generate the OTP of an OTP request and send it, once. Return what was done, in words.

        Raises `GatewayError`; a retry then sends another OTP, except after `OutcomeUnknown`: a number must not get two.
        """
        try:
            self.limits.check_sms_switch()
        except SmsDisabled as error:
            return f"not sent: {error}"
        otp = self.passwords.generate(otp_request_id)
        if otp is None:
            if self.passwords.is_outcome_unknown(otp_request_id):
                raise OutcomeUnknown("the code of this request may have gone out, so none is sent")
            return "nothing to send"
        if otp.purpose == "unsubscribe" and not _is_subscribed(otp.mobile):
            self.passwords.mark_sent(otp_request_id)
            return "nobody to send it to"
        self._send_sms(otp_request_id, otp)
        return f"sent a code to {mask_phone_number(otp.mobile)}"

    def find_mobile(self, text: str) -> str:
        """Return the number of a subscriber as it is stored, or else `parse_mobile` of the text.

        Numbering plans change: a number that was valid when it was stored may be invalid today, or read as another one.
        Raises `InvalidMobile`.
        """
        typed = e164_as_typed(text)
        is_stored = typed is not None and Subscriber.select().where(Subscriber.mobile == typed).exists()
        return typed if typed is not None and is_stored else parse_mobile(text)

    def remove(self, mobile: str) -> bool:
        """Unsubscribe a number and delete all its data. Return whether there was any.

        Raises `GatewayError`; the number is then unsubscribed, and calling this again deletes the rest.
        """
        row = Subscriber.get_or_none(Subscriber.mobile == mobile)
        if row is not None:
            with database.atomic():
                self._deactivate(mobile)
            self.topic_sync.sync(row.id)
            is_off_topic = (Subscriber.state != ACTIVE) & Subscriber.sync_needed_since.is_null()
            if not Subscriber.delete().where((Subscriber.mobile == mobile) & is_off_topic).execute():
                raise GatewayUnavailable(
                    "the number is being put on the topic or taken off it; try again in some minutes"
                )
        inbox = ConsoleSms.delete().where(ConsoleSms.to == mobile).execute()
        deleted = [row, self.passwords.delete(mobile), self.limits.delete_number(mobile), inbox]
        if not database.secure_delete():
            raise GatewayUnavailable(
                "the number is removed, but another process holds old pages; try again in some minutes"
            )
        return any(deleted)

    def _require_shared_state(self) -> None:
        if not self.settings.has_shared_state:
            raise NoSharedState

    def _is_opted_out(self, mobile: str) -> bool:
        try:
            return self.gateway.is_opted_out(mobile)
        except GatewayError as error:
            log.warning("Cannot check whether a number opted out: %s", error)
            return False

    def _verify_otp(self, mobile: str, purpose: Purpose, code: str, client_ip: str) -> int | None:
        """Verify an OTP and set the subscription's state. Return the subscriber's id; None if nothing changed.

        An OTP that was used before is accepted, and changes nothing, if the state is still the one that it set.
        """
        self._require_shared_state()
        with database.atomic():
            counted = self.limits.count_try_by_client_ip(client_ip)
            try:
                otp = self.passwords.verify(mobile, purpose, code)
            except (OtpRejected, RateLimited) as error:
                if isinstance(error, OtpUsed) and _is_subscribed(mobile) == (purpose == "subscribe"):
                    counted.undo()
                    return None
                if isinstance(error, OtpRejected):
                    error.rate_limits = counted.rate_limits
                rejection = error  # raised after the transaction, which must keep the counts
            else:
                counted.undo()
                return self._activate(otp, client_ip) if purpose == "subscribe" else self._deactivate(mobile)
        raise rejection

    def _activate(self, otp: OneTimePassword, client_ip: str) -> int | None:
        """Activate a subscriber in the caller's transaction. Return its id; None if it is active already."""
        now = self.clock()
        columns = {"requested_at": otp.requested_at, "requested_from": otp.requested_from, "confirmed_at": now}
        columns |= {"confirmed_from": client_ip, "state": ACTIVE, "sync_needed_since": now}
        columns |= {"ended_at": None, "confirmation_sent_at": None}
        upsert = Subscriber.insert(mobile=otp.mobile, **columns).on_conflict(
            conflict_target=[Subscriber.mobile], update=columns, where=Subscriber.state != ACTIVE
        )
        activated = [row.id for row in upsert.returning(Subscriber.id).execute()]
        if activated:
            subscriber_count.count_activation(self.settings.max_subscribers)
        return activated[0] if activated else None

    def _deactivate(self, mobile: str) -> int | None:
        """Deactivate a subscriber in the caller's transaction. Return its id; None if it is not active."""
        now = self.clock()
        update = Subscriber.update(state=UNSUBSCRIBED, ended_at=now, sync_needed_since=now)
        deactivated = [row.id for row in update.where(_is_active(mobile)).returning(Subscriber.id).execute()]
        subscriber_count.count_deactivations(len(deactivated))
        return deactivated[0] if deactivated else None

    def _send_sms(self, otp_request_id: str, otp: GeneratedOtp) -> None:
        try:
            self.gateway.send_sms(otp.mobile, otp_text(otp.code, otp.purpose).message, "code")
        except GatewayError as error:
            if not isinstance(error, OutcomeUnknown):
                self.passwords.mark_not_sent(otp_request_id)
            raise
        self.passwords.mark_sent(otp_request_id)


def _is_active(mobile: str) -> Expression:
    return (Subscriber.mobile == mobile) & (Subscriber.state == ACTIVE)


def _is_subscribed(mobile: str) -> bool:
    return Subscriber.select().where(_is_active(mobile)).exists()


def _dispatch(work: Callable[[int], object], subscriber_id: int) -> None:
    """Call a dispatcher's method for a subscriber. Only log if it fails: the next reconciliation retries."""
    try:
        work(subscriber_id)
    except Exception as error:
        is_expected = isinstance(error, GatewayError)
        log.warning("Subscriber %d is not in sync yet: %s", subscriber_id, error, exc_info=not is_expected)
