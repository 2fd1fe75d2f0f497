"""The daily SMS: the quote of the day to all subscribers on the topic, one delivery a date and topic.

A delivery is claimed before it is sent. If the claim's holder dies before it calls the gateway, another process takes
the claim over. From the gateway call on, the SMS may have gone out: only `quoteapi publish --again` sends it again.
If nobody is on the topic, the claim is released, and the SMS can still be sent on that date.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple

from quoteapi.clock import Clock
from quoteapi.printable import counted
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import Settings
from quoteapi.sms.gateway import Gateway, GatewayError, GatewayMisconfigured, GatewayUnavailable, OutcomeUnknown
from quoteapi.sms.messages import daily_text
from quoteapi.sms.segments import SmsText
from quoteapi.storage.state import Delivery, State
from quoteapi.subscriptions.errors import NoSharedState
from quoteapi.subscriptions.rate_limits import RateLimits

CLAIM_TIMEOUT = timedelta(minutes=2)
"""After this, the holder of a claim is presumed dead; short enough that Lambda's second retry takes the claim over."""
SEND_TIMEOUT = timedelta(seconds=45)
"""After this, a gateway call without a stored result has an unknown outcome; longer than the gateway's timeouts."""
NOBODY_SUBSCRIBED = "Nobody is subscribed; nothing sent. If somebody subscribes today, publish again."
_IN_PROGRESS = "Nothing sent: another process is sending it now."


class DeliveryResult(NamedTuple):
    """The result of `publish`: `sent` if this call sent the daily SMS; `message` is its state, in sentences.

    `is_pending`: another process has claimed it; if that process died, a later call takes the claim over.
    """

    date: date
    sent: bool
    message: str
    message_id: str | None = None
    is_pending: bool = False


class DeliveryPreview(NamedTuple):
    """The daily SMS of a date, its number of recipients, and when it was sent (None if it was not)."""

    date: date
    text: SmsText
    recipients: int
    sent_at: datetime | None
    max_price: float | None
    """The most that one segment may cost, in US dollars; None if the settings do not limit it."""

    @property
    def billed_segments(self) -> int:
        """How many segments are billed, for all recipients together."""
        return self.text.segments * self.recipients

    @property
    def max_cost(self) -> float | None:
        """The most that the SMS to all recipients costs, in US dollars; None if the settings do not limit it."""
        return None if self.max_price is None else self.billed_segments * self.max_price


@dataclass
class DailyDelivery:
    """Sends the daily SMS."""

    settings: Settings
    state: State
    quotes: QuoteService
    gateway: Gateway
    limits: RateLimits
    clock: Clock

    def preview(self, day: date | None = None) -> DeliveryPreview:
        """Return the daily SMS of a date (default: today), unsent. Raises `GatewayError`, `QuoteNotFound`."""
        day = day or self.clock().date()
        text = daily_text(self.quotes.quote_of_date(day), self.settings.leave_url)
        delivery = self.state.find_delivery(day, self.gateway.topic)
        sent_at = None if delivery is None else delivery.sent_at
        max_price = None if self.settings.sms_max_price is None else float(self.settings.sms_max_price)
        return DeliveryPreview(day, text, self.gateway.count_subscriptions(), sent_at, max_price)

    def publish(self, *, again: bool = False) -> DeliveryResult:
        """Send the daily SMS of today to the topic, unless it was sent or is being sent.

        With `again`, send it also if an earlier attempt has an unknown outcome. Raises `NoSharedState`, `SmsDisabled`,
        `GatewayError`, `QuoteNotFound`: then no SMS was sent; after `OutcomeUnknown`, one may have been.
        """
        if not self.settings.has_shared_state:
            raise NoSharedState
        self.limits.check_sms_switch()
        claim = self._claim(self.clock().date(), again=again)
        return self._deliver(claim) if isinstance(claim, Delivery) else claim

    def _claim(self, day: date, *, again: bool) -> Delivery | DeliveryResult:
        """Claim the delivery of a date, or return its state if it cannot be claimed.

        A claimed delivery has `sending_at` if an earlier holder called the gateway, with an unknown outcome. Such a
        delivery can be claimed after `SEND_TIMEOUT`, with `again`; without `again`, this then raises `OutcomeUnknown`.
        """
        now, topic = self.clock(), self.gateway.topic
        unknown_after = SEND_TIMEOUT if again else None
        claim = self.state.claim_delivery(day, topic, now=now, timeout=CLAIM_TIMEOUT, unknown_after=unknown_after)
        return claim or _describe_unclaimable(day, self.state.find_delivery(day, topic), now)

    def _deliver(self, claim: Delivery) -> DeliveryResult:
        """Send the SMS of a claimed delivery. Release the claim if it was certainly not sent."""
        try:
            self._require_single_topic()
            preview = self.preview(claim.date)  # not of today: midnight may have passed
        except Exception:
            self.state.release_delivery(claim)
            raise
        if not preview.recipients:
            return self._deliver_to_nobody(claim)
        if not self.state.start_sending(claim, self.clock()):
            message = "Nothing sent: another process took over."
            return DeliveryResult(claim.date, sent=False, message=message, is_pending=True)
        try:
            message_id = self.gateway.publish(preview.text.message)
        except GatewayError as error:
            if not isinstance(error, OutcomeUnknown):
                self.state.release_delivery(claim)
            raise
        self.state.finish_delivery(claim, message_id, self.clock())
        message = f"Sent to {counted(preview.recipients, 'subscriber')}."
        return DeliveryResult(claim.date, sent=True, message=message, message_id=message_id)

    def _deliver_to_nobody(self, claim: Delivery) -> DeliveryResult:
        """Release a claim, so that the SMS can be sent later on that date, once somebody has subscribed.

        Raises `GatewayUnavailable` if subscribers in the database should be on the topic.
        """
        self.state.release_delivery(claim)
        if self.gateway.count_subscriptions():  # a process that counted them may have found the delivery claimed
            return self.publish(again=claim.sending_at is not None)
        if expected := self.state.count_in_sync_with(self.gateway.topic):
            raise GatewayUnavailable(
                f"the topic {self.gateway.topic} has no subscriptions, but {counted(expected, 'subscriber')} should be"
                " on it. If somebody subscribed just now, try again in a minute. Otherwise, run `quoteapi reconcile"
                " --all`"
            )
        return DeliveryResult(claim.date, sent=False, message=NOBODY_SUBSCRIBED)

    def _require_single_topic(self) -> None:
        """Raise `GatewayMisconfigured` if subscribers are on another topic, where they would get no SMS."""
        topic = self.gateway.topic
        if (other := self.state.find_other_topic(topic)) is not None:
            raise GatewayMisconfigured(
                f"subscribers are on the topic {other}, but the settings name {topic}. Correct the settings or, to"
                " move the subscribers, run `quoteapi reconcile --all`"
            )


def _describe_unclaimable(day: date, row: Delivery | None, now: datetime) -> DeliveryResult:
    """Return the state of an unclaimable delivery. Raises `OutcomeUnknown` if it may have been sent."""
    if row is not None and row.sent_at is not None:
        message = f"Already sent at {row.sent_at:%H:%M} UTC; nothing sent now. New subscribers get the next one."
        return DeliveryResult(day, sent=False, message=message, message_id=row.message_id)
    if row is not None and row.sending_at is not None and row.sending_at <= now - SEND_TIMEOUT:
        raise OutcomeUnknown(
            f"the SMS of {day} may have been sent at {row.sending_at:%H:%M} UTC: the result is unknown. To send it,"
            " perhaps a second time, run `quoteapi publish --again`"
        )
    return DeliveryResult(day, sent=False, message=_IN_PROGRESS, is_pending=True)
