"""Deliveries: the quote of the day to everyone on the topic, once a date, however often it is asked for.

A delivery is claimed before it is sent. A claim whose holder died before calling the gateway is taken over after a
while; once the gateway was being called, the SMS may be out, and nobody sends it again without being told to.
"""

from datetime import date, datetime, timedelta
from typing import NamedTuple

from peewee import DateTimeField, Expression

from quoteapi.clock import Clock
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import Settings
from quoteapi.sms.gateway import Gateway, GatewayError, GatewayMisconfigured, OutcomeUnknown
from quoteapi.sms.messages import daily_text
from quoteapi.sms.segments import SmsText
from quoteapi.storage.models import Delivery, Subscriber
from quoteapi.subscriptions.queries import on_another_topic
from quoteapi.subscriptions.rate_limits import RateLimits
from quoteapi.subscriptions.service import NoSharedState

CLAIM_TIMEOUT = timedelta(minutes=2)
"""After so long, a claim's holder is taken for dead: in time for the tries that Lambda makes after a failed one."""
SEND_TIMEOUT = timedelta(seconds=45)
"""After so long without an answer, nobody will ever know; far longer than the gateway's time-outs."""


class DeliveryResult(NamedTuple):
    """What became of the SMS of a date."""

    date: date
    sent: bool
    """By this call."""
    message: str
    """What was done, in words."""
    message_id: str | None = None


class DeliveryPreview(NamedTuple):
    """What would be sent, and to how many; and when it was sent, if it was."""

    date: date
    text: SmsText
    recipients: int
    sent_at: datetime | None


class DailyDelivery:
    """Sends the SMS of the day."""

    def __init__(
        self,
        settings: Settings,
        quotes: QuoteService,
        gateway: Gateway,
        limits: RateLimits,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._quotes = quotes
        self._gateway = gateway
        self._limits = limits
        self._clock = clock

    def preview(self, day: date | None = None) -> DeliveryPreview:
        """Answer what would be sent on a date, today if none is named, and to how many.

        Raises `GatewayError`, `quotes.QuoteNotFound`.
        """
        day = day or self._clock().date()
        text = daily_text(self._quotes.quote_of_date(day), self._settings.unsubscribe_url)
        sent = Delivery.select(Delivery.sent_at).where(_of(day, self._gateway.topic)).scalar()
        return DeliveryPreview(day, text, self._gateway.count_subscriptions(), sent)

    def publish(self, *, again: bool = False) -> DeliveryResult:
        """Send the quote that `/daily` answers today to everyone on the topic, unless it was sent or is being sent.

        With `again`, also where nobody knows whether it went out. Raises `NoSharedState`, `SmsDisabled`, `RateLimited`,
        `GatewayError`, `quotes.QuoteNotFound`; then it did not go out, unless it is `OutcomeUnknown`.
        """
        if not self._settings.has_shared_state:
            raise NoSharedState
        self._limits.check_sms_switch()
        claim = self._claim(self._clock().date(), again=again)
        if isinstance(claim, DeliveryResult):
            return claim
        try:
            _need_one_topic(self._gateway.topic)
            draft = self.preview(claim.date)  # and not of the present date: midnight may have passed
            self._limits.check_daily_sms_quota(draft.recipients, draft.text.segments)
        except Exception:
            _give_up(claim)
            raise
        if not _note(claim, _same(Delivery.sending_at, claim.doubt), sending_at=self._clock()):
            return DeliveryResult(claim.date, sent=False, message="somebody else took over")
        try:
            message_id = self._gateway.publish(draft.text.message)
        except OutcomeUnknown:
            raise
        except GatewayError:
            _give_up(claim)
            raise
        _note(claim, sent_at=self._clock(), message_id=message_id)
        return DeliveryResult(claim.date, sent=True, message=f"sent to {draft.recipients}", message_id=message_id)

    def _claim(self, day: date, *, again: bool) -> "_Claim | DeliveryResult":
        """Claim the delivery of a date, or answer what became of it. Raises `OutcomeUnknown`."""
        now, topic = self._clock(), self._gateway.topic
        claim = _Claim(day, topic, now, None)
        if Delivery.insert(date=day, topic=topic, claimed_at=now).on_conflict_ignore().as_rowcount().execute():
            return claim
        free = Delivery.sending_at.is_null() & (Delivery.claimed_at <= now - CLAIM_TIMEOUT)
        if again:
            free |= Delivery.sending_at <= now - SEND_TIMEOUT
        of_this_date = _of(day, topic)
        taken_over = Delivery.update(claimed_at=now).where(of_this_date & Delivery.sent_at.is_null() & free)
        for row in taken_over.returning(Delivery).execute():
            return claim._replace(doubt=row.sending_at)
        row = Delivery.get_or_none(of_this_date)
        if row is not None and row.sent_at is not None:
            said = f"was sent at {row.sent_at:%H:%M} UTC; who subscribed since gets the next one"
            return DeliveryResult(day, sent=False, message=said, message_id=row.message_id)
        if row is not None and row.sending_at is not None and row.sending_at <= now - SEND_TIMEOUT:
            raise OutcomeUnknown(
                f"the SMS of {day} may have gone out at {row.sending_at:%H:%M} UTC; nobody got an answer."
                " `quoteapi publish --again` sends it once more"
            )
        return DeliveryResult(day, sent=False, message="is being sent")


def _need_one_topic(topic: str) -> None:
    """Raise `GatewayMisconfigured` where subscribers are on another topic: they would get nothing, and nobody would know."""
    found = Subscriber.select(Subscriber.topic).where(on_another_topic(topic)).limit(1).scalar()
    if found is not None:
        raise GatewayMisconfigured(
            f"subscribers are on the topic {found}, and the settings say {topic}. If these are right, move them there:"
            " quoteapi reconcile --all"
        )


class _Claim(NamedTuple):
    date: date
    topic: str
    claimed_at: datetime
    doubt: datetime | None
    """When somebody before may have sent it."""


def _of(day: date, topic: str) -> Expression:
    return (Delivery.date == day) & (Delivery.topic == topic)


def _same(column: DateTimeField, moment: datetime | None) -> Expression:
    return column.is_null() if moment is None else column == moment


def _is_held(claim: _Claim) -> Expression:
    """Whether a claim was not taken over."""
    return _of(claim.date, claim.topic) & (Delivery.claimed_at == claim.claimed_at)


def _note(claim: _Claim, *conditions: Expression, **columns: object) -> bool:
    return bool(Delivery.update(**columns).where(_is_held(claim), *conditions).execute())


def _give_up(claim: _Claim) -> None:
    """Drop a claim on what did not go out, so that the next event, or the same one tried again, sends it.

    Where it may have gone out before, that stays in doubt.
    """
    if claim.doubt is None:
        Delivery.delete().where(_is_held(claim)).execute()
    else:
        _note(claim, sending_at=claim.doubt)
