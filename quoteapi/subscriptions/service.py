"""Use cases of subscriptions: request or send an OTP, subscribe, unsubscribe, pause, move, remove.

Each stores its result, one row a number, before it returns. `topic_sync` makes the SNS topic match afterwards.
"""

import logging
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple

from quoteapi.clock import Clock
from quoteapi.observability.redaction import mask_phone_number
from quoteapi.settings import Settings
from quoteapi.sms.gateway import Gateway, GatewayError, GatewayUnavailable, OutcomeUnknown
from quoteapi.sms.messages import otp_text
from quoteapi.storage.state import (
    ACTIVE,
    Otp,
    OtpReplaced,
    Purpose,
    State,
    StateUnavailable,
    Subscriber,
    SubscriberCountLimit,
)
from quoteapi.subscriptions.delivery_hours import DeliveryHours
from quoteapi.subscriptions.dispatcher import Dispatcher
from quoteapi.subscriptions.errors import (
    NoSharedState,
    OptedOut,
    OtpNotSent,
    OtpRejected,
    OtpUsed,
    RateLimited,
    SmsDisabled,
    SubscriberLimitReached,
)
from quoteapi.subscriptions.otp import GeneratedOtp, OneTimePasswords
from quoteapi.subscriptions.phone import e164_as_typed, parse_mobile, time_zone_of
from quoteapi.subscriptions.rate_limits import RateLimits
from quoteapi.subscriptions.sliding_window import RateLimitStatuses
from quoteapi.subscriptions.topic_sync import TopicSync
from quoteapi.time_zones import start_of_local_date

NO_SUBSCRIBER = "0"
"""An id that no subscriber has."""
log = logging.getLogger(__name__)


class NextMorning(NamedTuple):
    """The next daily SMS of a subscriber."""

    time_zone: str
    opens_at: datetime


class _Effect(NamedTuple):
    """What a verified OTP does: `apply` uses it up and returns the id of the subscriber that changed."""

    purpose: Purpose
    apply: Callable[[Otp], str | None]
    is_there: Callable[[str], bool]
    """Returns whether a number is in the state that the OTP sets."""


@dataclass
class SubscriptionService:
    """The use cases of clients and of the operator."""

    settings: Settings
    state: State
    gateway: Gateway
    limits: RateLimits
    passwords: OneTimePasswords
    topic_sync: TopicSync
    hours: DeliveryHours
    clock: Clock

    def request_otp(
        self, mobile: str, purpose: Purpose, client_ip: str, dispatcher: Dispatcher, time_zone: str | None = None
    ) -> RateLimitStatuses:
        """Send an OTP to a number. Return the remaining quota of the client IP.

        `time_zone` is that of a subscription, if the client chose one; `subscribe` may choose another. To unsubscribe
        or pause, call it only if `RateLimits.requires_otp_to_unsubscribe`: while SMS are off, no OTP is needed. A
        number that is not subscribed gets no OTP to unsubscribe or pause, but the caller sees no difference, so that no
        client can find out which numbers are subscribed. Subscribers get no OTP to subscribe once the limit of
        subscribers is reached, as nobody does. Raises `NoSharedState`, `SmsDisabled`, `CountryNotServed`,
        `SubscriberLimitReached`, `RateLimited`, `OptedOut`, `OtpNotSent`.
        """
        self._require_shared_state()
        self.limits.check_sms_switch()
        if purpose == "subscribe":  # a subscriber can unsubscribe whatever countries are served by now
            self.limits.check_country(mobile)
            if self.state.subscriber_count() >= self.settings.max_subscribers:
                raise SubscriberLimitReached
        rate_limits = self.limits.count_request_by_client_ip(client_ip).rate_limits
        otp_request_id = self._store_otp_request(mobile, purpose, client_ip, time_zone)
        if purpose == "subscribe" and self._is_opted_out(mobile):
            raise OptedOut(rate_limits=rate_limits)
        try:
            dispatcher.send_otp(otp_request_id)
        except GatewayError as error:
            raise OtpNotSent(rate_limits=rate_limits) from error
        return rate_limits

    def subscribe(
        self, mobile: str, code: str, client_ip: str, dispatcher: Dispatcher, time_zone: str | None = None
    ) -> RateLimitStatuses:
        """Subscribe a number if the OTP is right. Return an empty tuple: a right OTP is not counted.

        Its time zone is `time_zone`, else that of the request for the OTP, else the one it had, else that of its
        number. If it is subscribed, it moves to the time zone that was chosen, if any, and a pause ends.

        The same OTP again, within its lifetime, changes nothing and is no error while the number is subscribed.
        Raises `NoSharedState`, `RateLimited`, `OtpRejected`; `SubscriberLimitReached` if others took the last places
        since the OTP was requested: the OTP then stays valid.
        """
        effect = _Effect("subscribe", lambda otp: self._activate(otp, client_ip, time_zone), self._is_subscribed)
        subscriber_id = self._verify_otp(mobile, code, client_ip, effect)
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
            effect = _Effect("unsubscribe", self._deactivate, lambda mobile: not self._is_subscribed(mobile))
            subscriber_id = self._verify_otp(mobile, code, client_ip, effect)
        else:
            self._require_shared_state()
            rate_limits = self.limits.count_request_by_client_ip(client_ip).rate_limits
            subscriber_id = self.state.deactivate(mobile, now=self.clock())
        # For every number: the response time must not show which are subscribed.
        _dispatch(dispatcher.unsubscribe, subscriber_id or NO_SUBSCRIBER)
        return rate_limits

    def pause(
        self, mobile: str, days: int, client_ip: str, dispatcher: Dispatcher, code: str | None = None
    ) -> RateLimitStatuses:
        """Stop the daily SMS of a number for the next `days` mornings, if it is subscribed. A later pause replaces it.

        Code, return value and exceptions as in `unsubscribe`. Nobody sees whether the number is subscribed.
        """
        rate_limits: RateLimitStatuses = ()
        if code is not None:
            effect = _Effect(
                "pause",
                lambda otp: self._pause(otp.mobile, days, otp),
                lambda mobile: self._is_paused(mobile, days),
            )
            subscriber_id = self._verify_otp(mobile, code, client_ip, effect)
        else:
            self._require_shared_state()
            rate_limits = self.limits.count_request_by_client_ip(client_ip).rate_limits
            subscriber_id = self._pause(mobile, days)
        _dispatch(dispatcher.unsubscribe, subscriber_id or NO_SUBSCRIBER)
        return rate_limits

    def move(self, mobile: str, time_zone: str) -> bool:
        """Move a subscriber to a time zone. Return False if it is in it, or the number is not subscribed.

        Raises `GatewayError`; the next run then goes on.
        """
        row = self.state.find_subscriber(mobile)
        if row is None or row.state != ACTIVE or not self.state.set_time_zone(row.id, time_zone, now=self.clock()):
            return False
        self.topic_sync.sync(row.id)
        return True

    def next_morning(self, mobile: str) -> NextMorning | None:
        """Return the next SMS of a subscriber; None if the number is not subscribed.

        It is one whose delivery window is not open yet: that of an open window may have been sent.
        """
        row = self.state.find_subscriber(mobile)
        if row is None or row.state != ACTIVE:
            return None
        now, time_zone = self.clock(), row.time_zone or self.settings.default_time_zone
        paused_until = row.paused_until or now
        day = self.hours.next_date(time_zone, max(now, paused_until - timedelta.resolution))
        last = row.last_sms_date if row.topic is None else self._last_date_elsewhere(row.topic, time_zone)
        day = day if last is None else max(day, last + timedelta(days=1))
        return NextMorning(time_zone, self.hours.window(time_zone, day).opens_at)

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
        if otp.purpose != "subscribe" and not self._is_subscribed(otp.mobile):
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
        is_stored = typed is not None and self.state.find_subscriber(typed) is not None
        return typed if typed is not None and is_stored else parse_mobile(text)

    def remove(self, mobile: str) -> bool:
        """Unsubscribe a number and delete all its data. Return whether there was any.

        Raises `GatewayError`; the number is then unsubscribed, and calling this again deletes the rest.
        """
        subscriber = self.state.find_subscriber(mobile)
        if subscriber is not None:
            self.state.deactivate(mobile, now=self.clock())
            self.topic_sync.sync(subscriber.id)
            if not self.state.delete_subscriber(mobile):
                raise GatewayUnavailable(
                    "the number is being put on the topic or taken off it; try again in some minutes"
                )
        has_other_data = self.state.delete_number(mobile, self.limits.log_keys(mobile))
        if not self.state.erase_deleted():
            raise GatewayUnavailable(
                "the number is removed, but another process holds old pages; try again in some minutes"
            )
        return subscriber is not None or has_other_data

    def _require_shared_state(self) -> None:
        if not self.settings.has_shared_state:
            raise NoSharedState

    def _is_opted_out(self, mobile: str) -> bool:
        try:
            return self.gateway.is_opted_out(mobile)
        except GatewayError as error:
            log.warning("Cannot check whether a number opted out: %s", error)
            return False

    def _store_otp_request(self, mobile: str, purpose: Purpose, client_ip: str, time_zone: str | None) -> str:
        """Count and store a request for an OTP. Return its id. Raises `RateLimited`; then nothing is counted."""
        with ExitStack() as undo:
            undo.callback(self.limits.count_otp_to_number(mobile, purpose).undo)
            if purpose == "subscribe":
                self.limits.consume_sms_quota()
                undo.callback(self.limits.release_sms_quota)
            otp_request_id = self.passwords.request(mobile, purpose, client_ip, time_zone)
            undo.pop_all()
        return otp_request_id

    def _verify_otp(self, mobile: str, code: str, client_ip: str, effect: _Effect) -> str | None:
        """Verify an OTP, and use it up for its effect. Return the subscriber's id; None if nothing changed.

        An OTP that was used before is accepted, and changes nothing, if its effect is still there.
        """
        self._require_shared_state()
        counted = self.limits.count_try_by_client_ip(client_ip)
        try:
            try:
                otp = self.passwords.verify(mobile, effect.purpose, code)
                subscriber_id = effect.apply(otp)
            except (OtpUsed, OtpReplaced):  # replaced: another process used it since it was verified
                if not effect.is_there(mobile):
                    raise OtpUsed from None
                subscriber_id = None
        except OtpRejected as error:
            error.rate_limits = counted.rate_limits
            raise
        except RateLimited:  # the number is locked: the try counts
            raise
        except Exception:  # the OTP is right, or the state is unavailable
            counted.undo()
            raise
        with suppress(StateUnavailable):  # the number is subscribed or unsubscribed now, and its sync must begin
            counted.undo()
        return subscriber_id

    def _activate(self, otp: Otp, client_ip: str, time_zone: str | None) -> str | None:
        """Use up a verified OTP to subscribe. Raises `SubscriberLimitReached`, `OtpReplaced`."""
        try:
            return self.state.activate(
                otp,
                tries=self.settings.wrong_tries_per_number.limit,
                confirmed_from=client_ip,
                now=self.clock(),
                limit=self.settings.max_subscribers,
                time_zone=time_zone or otp.time_zone,
                default_time_zone=time_zone_of(otp.mobile) or self.settings.default_time_zone,
            )
        except SubscriberCountLimit:
            raise SubscriberLimitReached(otp_is_valid=True) from None

    def _deactivate(self, otp: Otp) -> str | None:
        """Use up a verified OTP to unsubscribe. Raises `OtpReplaced`."""
        tries = self.settings.wrong_tries_per_number.limit
        return self.state.deactivate(otp.mobile, now=self.clock(), otp=otp, tries=tries)

    def _pause(self, mobile: str, days: int, otp: Otp | None = None) -> str | None:
        """Pause a subscriber for the next `days` mornings, and use up `otp` if given. Raises `OtpReplaced`."""
        tries = self.settings.wrong_tries_per_number.limit
        until = self._end_of_pause(self.state.find_subscriber(mobile), days)
        return self.state.pause(mobile, until=until, now=self.clock(), otp=otp, tries=tries)

    def _end_of_pause(self, subscriber: Subscriber | None, days: int) -> datetime:
        """Return the end of a pause of so many mornings that begins now: midnight in the subscriber's time zone."""
        time_zone = (subscriber and subscriber.time_zone) or self.settings.default_time_zone
        return start_of_local_date(self.hours.next_date(time_zone, self.clock()) + timedelta(days=days), time_zone)

    def _is_paused(self, mobile: str, days: int) -> bool:
        """Return whether a number is subscribed, and paused as a pause of so many days that begins now would be."""
        subscriber = self.state.find_subscriber(mobile)
        if subscriber is None or subscriber.state != ACTIVE:
            return False
        return subscriber.paused_until == self._end_of_pause(subscriber, days)

    def _last_date_elsewhere(self, topic: str, time_zone: str) -> date | None:
        """Return the last date whose SMS may have been sent on a topic that the next sync leaves."""
        last = None if topic == self.gateway.topics.name(time_zone) else self.state.last_delivery(topic)
        return None if last is None else last.date

    def _is_subscribed(self, mobile: str) -> bool:
        subscriber = self.state.find_subscriber(mobile)
        return subscriber is not None and subscriber.state == ACTIVE

    def _send_sms(self, otp_request_id: str, otp: GeneratedOtp) -> None:
        try:
            self.gateway.send_sms(otp.mobile, otp_text(otp.code, otp.purpose).message, "code")
        except GatewayError as error:
            if not isinstance(error, OutcomeUnknown):
                self.passwords.mark_not_sent(otp_request_id)
            raise
        self.passwords.mark_sent(otp_request_id)


def _dispatch(work: Callable[[str], object], subscriber_id: str) -> None:
    """Call a dispatcher's method for a subscriber. Only log if it fails: the next reconciliation retries."""
    try:
        work(subscriber_id)
    except Exception as error:
        is_expected = isinstance(error, GatewayError)
        log.warning("Subscriber %s is not in sync yet: %s", subscriber_id, error, exc_info=not is_expected)
