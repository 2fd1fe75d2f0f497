"""The daily SMS: sends the quote of the local date to the topic of each time zone, once for each date.

A morning is due while its delivery window is open and it was not sent. Each run publishes to the topics whose morning
is due, so a run that is late, lost or doubled delays the SMS by minutes only. A run claims the delivery before it
sends. If its process dies before it calls the gateway, a later run takes the claim over. If it dies during the call, or
the result is unknown, the delivery is in doubt: only `quoteapi publish --again` sends it again. A morning that was
missed, or is in doubt, is reported once.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Literal, NamedTuple

from quoteapi.clock import Clock
from quoteapi.printable import counted
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import Settings
from quoteapi.sms.gateway import Gateway, GatewayError, GatewayUnavailable, OutcomeUnknown
from quoteapi.sms.messages import daily_text
from quoteapi.sms.segments import SmsText
from quoteapi.storage.state import Delivery, State
from quoteapi.subscriptions.delivery_hours import DeliveryHours, DeliveryWindow
from quoteapi.subscriptions.errors import NoSharedState
from quoteapi.subscriptions.rate_limits import RateLimits
from quoteapi.time_zones import local_date, start_of_local_date

CLAIM_TIMEOUT = timedelta(minutes=2)
"""After this, the holder of a claim is presumed dead. Lambda's second retry comes later: it takes over."""
SEND_TIMEOUT = timedelta(seconds=45)
"""After this, a gateway call without a stored result is in doubt; longer than the gateway's timeouts."""
DeliveryState = Literal["sent", "already sent", "being sent", "in doubt", "missed", "failed", "quiet hours", "nobody"]
MorningState = Literal["sent", "being sent", "in doubt", "missed", "due", "not yet", "nobody"]
BEING_SENT = "Nothing sent: another process is sending it now."
LONG_AGO = datetime.min.replace(tzinfo=UTC)
log = logging.getLogger(__name__)


class Morning(NamedTuple):
    """The daily SMS of a local date to the topic of a time zone."""

    time_zone: str
    date: date
    topic: str


class DeliveryResult(NamedTuple):
    """What a run did for a morning, or why it did nothing; `message` says it in sentences.

    "being sent": another process has claimed it; if that process died, a later run takes the claim over.
    """

    date: date
    time_zone: str
    state: DeliveryState
    message: str
    message_id: str | None = None

    @property
    def is_failure(self) -> bool:
        """Whether it must be reported to the operator."""
        return self.state in {"failed", "in doubt", "missed"}


class MorningStatus(NamedTuple):
    """The state of a morning.

    It is "due" again if the process that claimed it died before it called the gateway.
    """

    date: date
    time_zone: str
    state: MorningState
    opens_at: datetime
    sent_at: datetime | None = None
    """When it was sent or, in doubt, when sending began."""
    message_id: str | None = None


class DeliveryPreview(NamedTuple):
    """The daily SMS of a local date, its number of recipients, and when it was sent (None if it was not)."""

    date: date
    time_zone: str
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


class TooLate(Exception):
    """Quiet hours began, or the time of the run is up, before the gateway was called: the SMS was not sent."""


@dataclass
class DailyDelivery:
    """Sends the daily SMS."""

    settings: Settings
    state: State
    quotes: QuoteService
    gateway: Gateway
    limits: RateLimits
    hours: DeliveryHours
    clock: Clock
    _sent: dict[str, date] = field(default_factory=dict)
    """The last local date whose SMS to a topic is known to be sent, so that it need not be read again."""

    def previews(self) -> list[DeliveryPreview]:
        """Return today's SMS in each time zone that has subscribers, else in the default one, unsent.

        Raises `GatewayError`, `QuoteNotFound`.
        """
        default = self.settings.default_time_zone
        topics = self.state.topics_in_use()
        mornings = list(self._mornings(topics)) or [self._morning(default, self.gateway.topics.name(default))]
        return [self._preview(morning)._replace(sent_at=self._sent_at(morning)) for morning in mornings]

    def publish(self, *, again: bool = False, in_quiet_hours: bool = False) -> list[DeliveryResult]:
        """Send today's SMS in each time zone, unless it was sent, is being sent, or it is quiet hours there.

        With `again`, send it also if it is in doubt. The console gateway has no quiet hours. Raises `NoSharedState`,
        `SmsDisabled`.
        """
        self._check_enabled()
        in_quiet_hours |= self.settings.gateway == "console"
        topics = self.state.topics_in_use()
        results = self._find_other_topics(topics)
        for morning in self._mornings(topics):
            if not in_quiet_hours and self._is_quiet(morning):
                results.append(self._result(morning, "quiet hours", "Not sent: it is quiet hours there."))
            else:
                results += self._attempt(morning, lambda morning: self._publish_now(morning, again=again))
        return results

    def _publish_now(self, morning: Morning, *, again: bool) -> Iterator[DeliveryResult]:
        """Report mornings of earlier dates, which no run does after this one is sent; then send this one."""
        last = self.state.last_delivery(morning.topic)
        if last is None or last.date < morning.date:
            yield from self._report(morning, last)
        yield self._publish(morning, again=again)

    def publish_due(
        self,
        is_time_up: Callable[[], bool] = lambda: False,
        on_result: Callable[[DeliveryResult], None] = lambda _: None,
    ) -> list[DeliveryResult]:
        """Send the SMS of each morning that is due, and report mornings that were missed or are in doubt, once each.

        Return only what was sent, reported or failed. `on_result` is called with each result at once, because the
        process may be killed before the run ends. Stop when `is_time_up()` returns True; a later run goes on. Raises
        `NoSharedState`, `SmsDisabled`.
        """
        self.require_shared_state()
        self.state.store_due_run(self.clock())
        self._check_enabled()
        results = []
        for result in self._publish_all_due(is_time_up):
            on_result(result)
            results.append(result)
        return results

    def statuses(self) -> list[MorningStatus]:
        """Return the state of today's and yesterday's morning in each time zone that has subscribers."""
        return [
            self._status(morning)
            for today in self._mornings(self.state.topics_in_use())
            for morning in (today, today._replace(date=_date_before(today)))
        ]

    def require_shared_state(self) -> None:
        """Raise `NoSharedState` if processes share no state, so that nobody can be subscribed."""
        if not self.settings.has_shared_state:
            raise NoSharedState

    def _check_enabled(self) -> None:
        self.require_shared_state()
        self.limits.check_sms_switch()

    def _mornings(self, topics: list[str]) -> Iterator[Morning]:
        """Yield today's morning of each of the topics that has a time zone."""
        for topic in topics:
            if (time_zone := self.gateway.topics.time_zone(topic)) is not None:
                yield self._morning(time_zone, topic)

    def _morning(self, time_zone: str, topic: str) -> Morning:
        return Morning(time_zone, local_date(self.clock(), time_zone), topic)

    def _find_other_topics(self, topics: list[str]) -> list[DeliveryResult]:
        """Return a failure for each topic that has no name of these settings: its subscribers get no SMS."""
        today, default = self.clock().date(), self.settings.default_time_zone
        return [
            DeliveryResult(
                today, default, "failed", " ".join(map(_sentence, describe_other_topic(topic, self.gateway)))
            )
            for topic in topics
            if self.gateway.topics.time_zone(topic) is None
        ]

    def _attempt(
        self, morning: Morning, work: Callable[[Morning], Iterator[DeliveryResult]]
    ) -> Iterator[DeliveryResult]:
        """Yield the results of `work`. An error becomes a result: it must not stop the other time zones."""
        try:
            yield from work(morning)
        except OutcomeUnknown as error:
            yield self._result(morning, "in doubt", _sentence(error))
        except Exception as error:
            if not isinstance(error, GatewayError):
                log.exception("The daily SMS of %s to %s failed", morning.date, morning.time_zone)
            yield self._result(morning, "failed", f"Not sent: {_sentence(error)}")

    def _is_quiet(self, morning: Morning) -> bool:
        """Return whether it is quiet hours, and the SMS of a morning was not sent yet."""
        return self.hours.is_quiet(morning.time_zone, self.clock()) and self._sent_at(morning) is None

    def _sent_at(self, morning: Morning) -> datetime | None:
        delivery = self.state.find_delivery(morning.date, morning.topic)
        return None if delivery is None else delivery.sent_at

    def _publish_all_due(self, is_time_up: Callable[[], bool]) -> Iterator[DeliveryResult]:
        topics = self.state.topics_in_use()
        yield from self._find_other_topics(topics)
        for morning in self._mornings(topics):
            if is_time_up():
                return
            if self._sent.get(morning.topic) != morning.date:
                yield from self._attempt(morning, lambda morning: self._publish_due(morning, is_time_up))

    def _publish_due(self, morning: Morning, is_time_up: Callable[[], bool]) -> Iterator[DeliveryResult]:
        last = self.state.last_delivery(morning.topic)
        yield from self._report(morning, last)
        now, window = self.clock(), self.hours.window(morning.time_zone, morning.date)
        if last is not None and last.date >= morning.date and (last.sent_at or last.sending_at):
            if last.sent_at is not None:
                self._sent[morning.topic] = morning.date
            elif not _is_in_doubt(last, now):
                yield self._result(morning, "being sent", BEING_SENT)
            return
        is_due = window.opens_at <= now < window.closes_at
        if is_due and self._has_subscribers(morning):
            result = self._publish_in_window(morning, lambda: self._check_time(window, is_time_up))
            if result.state not in {"already sent", "nobody"}:
                yield result

    def _publish_in_window(self, morning: Morning, check_time: Callable[[], None]) -> DeliveryResult:
        """Send the SMS of a morning that is due. If it is in doubt, store that: the caller reports it."""
        try:
            return self._publish(morning, check_time=check_time)
        except OutcomeUnknown:
            now = self.clock()
            try:
                self.state.report_delivery(
                    morning.date, morning.topic, now=now, claimed_before=LONG_AGO, sending_before=now
                )
            except Exception:
                log.exception("The state did not store that the delivery is reported; a later run reports it again")
            raise

    def _report(self, morning: Morning, last: Delivery | None) -> Iterator[DeliveryResult]:
        """Report the last delivery, if it was missed or is in doubt, and missed mornings without a delivery."""
        if last is not None and last.sent_at is None and last.reported_at is None:
            is_over = last.date < morning.date
            if is_over or _is_in_doubt(last, self.clock()):
                yield from self._report_date(morning._replace(date=last.date), last.date, is_over=is_over)
        if missed := self._find_missed(morning, last):
            yield from self._report_date(morning._replace(date=missed[0]), missed[-1], is_over=True)

    def _find_missed(self, morning: Morning, last: Delivery | None) -> list[date]:
        """Return the dates without a delivery since the last one, newest first, if there were subscribers.

        If there was no delivery before, look only at yesterday.
        """
        dates: list[date] = []
        day = morning._replace(date=_date_before(morning))
        while (not dates if last is None else last.date < day.date) and self._has_subscribers(day):
            dates.append(day.date)
            day = day._replace(date=_date_before(day))
        return dates

    def _has_subscribers(self, morning: Morning) -> bool:
        """Return whether a subscriber on the topic joined the time zone before a morning began, or just then.

        A pause ends at midnight, at which the morning begins with `DAILY_SMS_AT=00:00`.
        """
        opens_at = self.hours.window(morning.time_zone, morning.date).opens_at
        return self.state.has_joined_before(morning.topic, opens_at + timedelta.resolution)

    def _report_date(self, morning: Morning, since: date, *, is_over: bool) -> Iterator[DeliveryResult]:
        """Report a delivery once, as missed or in doubt; as missed only if its local date is over (`is_over`)."""
        now = self.clock()
        claimed_before = now - CLAIM_TIMEOUT if is_over else LONG_AGO
        delivery = self.state.report_delivery(
            morning.date, morning.topic, now=now, claimed_before=claimed_before, sending_before=now - SEND_TIMEOUT
        )
        if delivery is None:
            return
        if delivery.sending_at is not None:
            yield self._result(morning, "in doubt", _sentence(_in_doubt(morning, delivery.sending_at)))
        else:
            dates = f"{since} to {morning.date}" if since < morning.date else f"{morning.date}"
            yield self._result(morning, "missed", f"The SMS of {dates} was not sent before quiet hours began.")

    def _publish(
        self, morning: Morning, *, again: bool = False, check_time: Callable[[], None] = lambda: None
    ) -> DeliveryResult:
        """Send the SMS of a morning unless it was sent or is being sent, or `check_time` raises `TooLate`.

        Raises `GatewayError`, `QuoteNotFound`: then no SMS was sent; after `OutcomeUnknown`, one may have been.
        """
        now, unknown_after = self.clock(), SEND_TIMEOUT if again else None
        claim = self.state.claim_delivery(
            morning.date, morning.topic, now=now, timeout=CLAIM_TIMEOUT, unknown_after=unknown_after
        )
        if claim is None:
            return self._describe_unclaimable(morning, self.state.find_delivery(morning.date, morning.topic), now)
        return self._deliver(morning, claim, check_time)

    def _deliver(self, morning: Morning, claim: Delivery, check_time: Callable[[], None]) -> DeliveryResult:
        """Send the SMS of a claimed delivery. Release the claim if it was certainly not sent."""
        try:
            preview = self._preview(morning)
            if not preview.recipients:
                self._require_nobody(morning.topic)
            check_time()
        except Exception as error:
            self.state.release_delivery(claim)
            if isinstance(error, OutcomeUnknown):  # of a call that sends nothing
                raise GatewayUnavailable(str(error)) from error
            raise
        if not preview.recipients:
            self.state.release_delivery(claim)
            return self._result(morning, "nobody", "Nobody is subscribed; nothing sent.")
        if not self.state.start_sending(claim, self.clock()):
            return self._result(morning, "being sent", "Nothing sent: another process took over.")
        try:
            message_id = self.gateway.publish(preview.text.message, morning.topic)
        except GatewayError as error:
            if not isinstance(error, OutcomeUnknown):
                self.state.release_delivery(claim)
            raise
        self._store_sent(claim, message_id)
        self._sent[morning.topic] = morning.date
        message = f"Sent to {counted(preview.recipients, 'subscriber')}."
        return self._result(morning, "sent", message, message_id)

    def _store_sent(self, claim: Delivery, message_id: str) -> None:
        """Store that the SMS was sent. Raises `OutcomeUnknown`: it must not be reported as not sent."""
        try:
            self.state.finish_delivery(claim, message_id, self.clock())
        except Exception as error:
            log.exception("The state did not store that the SMS of %s was sent to %s", claim.date, claim.topic)
            raise OutcomeUnknown(
                f"the SMS was sent, but the state did not store that ({type(error).__name__}). Do not send it again"
            ) from error

    def _check_time(self, window: DeliveryWindow, is_time_up: Callable[[], bool]) -> None:
        """Raise `TooLate` if the gateway must not be called any more. A process that is killed then is in doubt."""
        if self.clock() >= window.closes_at:
            raise TooLate("quiet hours began before the SMS was sent")
        if is_time_up():
            raise TooLate("no time was left; the next run sends it")

    def _require_nobody(self, topic: str) -> None:
        """Raise `GatewayUnavailable` if subscribers in the database should be on a topic without subscriptions."""
        if expected := self.state.count_in_sync_with(topic):
            raise GatewayUnavailable(
                f"the topic {topic} has no subscriptions, but {counted(expected, 'subscriber')} should be on it. If"
                " somebody subscribed just now, try again in a minute. Otherwise, run `quoteapi reconcile --all`"
            )

    def _describe_unclaimable(self, morning: Morning, row: Delivery | None, now: datetime) -> DeliveryResult:
        """Return why a delivery cannot be claimed. Raises `OutcomeUnknown` if it is in doubt."""
        if row is not None and row.sent_at is not None:
            message = f"Already sent at {row.sent_at:%H:%M} UTC; nothing sent now. New subscribers get the next one."
            return self._result(morning, "already sent", message, row.message_id)
        if row is not None and row.sending_at is not None and _is_in_doubt(row, now):
            raise _in_doubt(morning, row.sending_at)
        return self._result(morning, "being sent", BEING_SENT)

    def _preview(self, morning: Morning) -> DeliveryPreview:
        """Return the SMS of a morning as it is before it is sent."""
        text = daily_text(self.quotes.quote_of_date(morning.date), self.settings.unsubscribe_url)
        max_price = None if self.settings.sms_max_price is None else float(self.settings.sms_max_price)
        recipients = self.gateway.count_subscriptions(morning.topic)
        return DeliveryPreview(morning.date, morning.time_zone, text, recipients, None, max_price)

    def _status(self, morning: Morning) -> MorningStatus:
        delivery = self.state.find_delivery(morning.date, morning.topic)
        now, window = self.clock(), self.hours.window(morning.time_zone, morning.date)
        status = MorningStatus(morning.date, morning.time_zone, "not yet", window.opens_at)
        if delivery is not None and (delivery.sent_at or delivery.sending_at):
            in_doubt, sent_at = _is_in_doubt(delivery, now), delivery.sent_at
            state: MorningState = "sent" if sent_at else "in doubt" if in_doubt else "being sent"
            return status._replace(state=state, sent_at=sent_at or delivery.sending_at, message_id=delivery.message_id)
        if delivery is not None and delivery.reported_at is None and delivery.claimed_at > now - CLAIM_TIMEOUT:
            return status._replace(state="being sent")
        if delivery is None and not self._has_subscribers(morning):
            return status._replace(state="nobody")
        if now < window.opens_at:
            return status
        return status._replace(state="due" if now < window.closes_at else "missed")

    def _result(
        self, morning: Morning, state: DeliveryState, message: str, message_id: str | None = None
    ) -> DeliveryResult:
        return DeliveryResult(morning.date, morning.time_zone, state, message, message_id)


def describe_other_topic(topic: str, gateway: Gateway) -> tuple[str, str]:
    """Return what is wrong, and what to do, if subscribers are on a topic that has no name of the settings."""
    to_do = "Correct SMS_GATEWAY, SNS_TOPIC and SNS_REGION or, to move the subscribers, run `quoteapi reconcile --all`."
    return f"subscribers are on the topic {topic}, but the settings name {gateway.topics.base}", to_do


def _date_before(morning: Morning) -> date:
    """Return the local date before that of a morning: two days earlier where Samoa skipped a date."""
    return local_date(
        start_of_local_date(morning.date, morning.time_zone) - timedelta(microseconds=1), morning.time_zone
    )


def _is_in_doubt(delivery: Delivery, now: datetime) -> bool:
    """Return whether the gateway was called, the call must be over, and its result is not stored."""
    is_over = delivery.sending_at is not None and delivery.sending_at <= now - SEND_TIMEOUT
    return is_over and delivery.sent_at is None


def _in_doubt(morning: Morning, sending_at: datetime) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"the SMS of {morning.date} may have been sent at {sending_at:%H:%M} UTC: the result is unknown. To send it,"
        " perhaps a second time, run `quoteapi publish --again`"
    )


def _sentence(error: Exception | str) -> str:
    text = str(error) or type(error).__name__
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
