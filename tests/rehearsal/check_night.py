"""The step that lives through a night: the schedule runs at simulated times, and events are lost, late and killed."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo

from quoteapi.quotes.quotation import Quotation
from quoteapi.sms.messages import daily_text
from tests.rehearsal import lambda_events
from tests.rehearsal.check_events import check_success, deliver_task, published_reports, sms_to_numbers
from tests.rehearsal.checks import CheckFailed, check_contains, check_count, check_equal, check_excludes
from tests.rehearsal.rehearsal import FORM, Rehearsal
from tests.rehearsal.runtime import LambdaFunction, Outcome

if TYPE_CHECKING:
    from tests.rehearsal.aws import AwsRequest

INTERVAL = timedelta(minutes=15)
RETRIES_AFTER = timedelta(minutes=1), timedelta(minutes=2)
"""After which times Lambda retries an event that failed."""
KILLED = Outcome(None, {"errorType": "Runtime.ExitError"})
LATE = timedelta(minutes=10)
QUIET_FROM = time(20)
"""The earliest local time at which quiet hours begin, in the US."""


class Reader(NamedTuple):
    """A subscriber, and what the page docs/sms.md promises."""

    mobile: str
    time_zone: str
    """That of the number."""
    hour: time
    """The local time at which the daily SMS is due."""

    def next_due(self, moment: datetime) -> datetime:
        """Return the first moment after another at which the daily SMS is due."""
        zone = ZoneInfo(self.time_zone)
        today = moment.astimezone(zone).date()
        due = [datetime.combine(today + timedelta(days=days), self.hour, zone).astimezone(UTC) for days in (0, 1)]
        return next(each for each in due if each > moment)


AUCKLAND = Reader("+64211234567", "Pacific/Auckland", time(9))
KOLKATA = Reader("+919028000007", "Asia/Kolkata", time(10))
NEW_YORK = Reader("+12125550123", "America/New_York", time(9))
READERS = AUCKLAND, KOLKATA, NEW_YORK


class Night:
    """A stage at simulated times, and what it sends."""

    def __init__(self, rehearsal: Rehearsal, starts_at: datetime, containers: ExitStack) -> None:
        self._rehearsal = rehearsal
        self.unsubscribe_url = f"{rehearsal.base}/u"
        self._file = rehearsal.folder / "clock"
        self._containers = containers
        self._event = _event_of_schedule(rehearsal)
        self._interval_began_at = starts_at
        self.set_clock(starts_at)
        self.function = self._start_container()
        self.published: list[tuple[datetime, AwsRequest]] = []
        """The daily SMS, and when each was published."""
        self.reports: list[str] = []

    def set_clock(self, moment: datetime) -> None:
        """Set the time of the service."""
        self.now = moment
        self._file.write_text(moment.isoformat())

    def begin_next_interval(self, end: datetime | None = None) -> datetime:
        """Set the clock to the time of the next event, and return it: long before the end, an hour later."""
        is_long = end is not None and end - self._interval_began_at > 4 * INTERVAL
        self._interval_began_at += 4 * INTERVAL if is_long else INTERVAL
        self.set_clock(self._interval_began_at)
        return self.now

    def subscribe(self, reader: Reader) -> str:
        """Subscribe by two requests. Return the SMS that confirms it."""
        body = f"mobile={quote(reader.mobile, safe='')}"
        for _ in range(2):
            with self._rehearsal.record_aws_requests() as aws_requests:
                response = self._rehearsal.send_to(self.function, "POST", "/subscribe", body, Content_Type=FORM)
            check_equal(f"POST /subscribe in {reader.time_zone}", response.status, 200)
            with self._rehearsal.record_aws_requests() as sent:
                check_success(deliver_task(self._rehearsal, aws_requests, self.function), "a task")
            (message,) = sms_to_numbers(sent)
            body += f"&otp={message[:6]}"
        self._rehearsal.otps.append(body[-6:])
        return message

    def deliver_event(self, kill_during: str | None = None) -> list[Outcome]:
        """Deliver an event of the schedule as Lambda does, with retries. Return the outcome of each attempt.

        The container of the first attempt is killed while it waits for the response to the action `kill_during`.
        """
        outcomes = [self._invoke() if kill_during is None else self._kill(kill_during)]
        for delay in RETRIES_AFTER:
            if outcomes[-1].error is not None:
                self.set_clock(self.now + delay)
                outcomes.append(self._invoke())
        return outcomes

    def read_logs(self) -> Iterator[str]:
        """Yield what each container logged."""
        return (log.read_text() for log in self._rehearsal.folder.glob("night-*/log"))

    def quote_of(self, reader: Reader) -> Quotation:
        """Return the quote of `/daily?date=` for the local date of a subscriber."""
        day = self.now.astimezone(ZoneInfo(reader.time_zone)).date()
        response = self._rehearsal.send_to(self.function, "GET", f"/daily?date={day}")
        check_equal(f"GET /daily?date={day}", response.status, 200)
        return Quotation(response.json["quote"], response.json["author"], response.json["category"])

    def numbers_on(self, topic_arn: str) -> list[str]:
        """Return the numbers that are subscribed to a topic."""
        sns = self._rehearsal.aws.client("sns")
        return [each["Endpoint"] for each in sns.list_subscriptions_by_topic(TopicArn=topic_arn)["Subscriptions"]]

    def _invoke(self) -> Outcome:
        with self._record():
            return self.function.invoke(self._event)

    def _kill(self, action: str) -> Outcome:
        """Kill the container while it waits for AWS, and start another one."""
        with self._record(), self._rehearsal.aws.hold(action) as is_held:
            self.function.kill_while_it_handles(self._event, is_held)
        self.function = self._start_container()
        return KILLED

    @contextmanager
    def _record(self) -> Iterator[None]:
        with self._rehearsal.record_aws_requests() as aws_requests:
            yield
        reports = published_reports(aws_requests)
        self.reports += reports
        to_topics = [each for each in aws_requests if each.action == "Publish" and "TopicArn" in each.fields]
        self.published += [(self.now, each) for each in to_topics if each.fields["Message"] not in reports]

    def _start_container(self) -> LambdaFunction:
        name = f"night-{self.now:%H-%M}"
        return self._containers.enter_context(self._rehearsal.start_container(name, self._file))


def night(rehearsal: Rehearsal) -> None:
    """Run the schedule from one evening to the next, for subscribers on three continents."""
    in_two_days = datetime.now(UTC).date() + timedelta(days=2)  # later than what the other steps sent
    evening = datetime.combine(in_two_days, time(18), UTC)
    with ExitStack() as containers:
        simulated = Night(rehearsal, evening, containers)
        for reader in READERS:
            place = reader.time_zone.rpartition("/")[2].replace("_", " ")
            confirmation = simulated.subscribe(reader)
            check_contains("the confirmation", confirmation, f"1 SMS a day at {reader.hour:%H:%M}, {place} time.")
        _kill_while_it_sends(simulated, AUCKLAND, AUCKLAND.next_due(evening))
        _kill_before_it_sends(simulated, KOLKATA, KOLKATA.next_due(evening))
        _lose_an_event_and_double_the_next(simulated, NEW_YORK, NEW_YORK.next_due(evening))
        _run_until(simulated, evening + timedelta(days=1))
        check_count("daily SMS", simulated.published, len(READERS))
        check_count("error reports", simulated.reports, 2)
        for text in (*simulated.reports, *simulated.read_logs()):
            check_excludes("reports and logs", text, *(reader.mobile[1:] for reader in READERS), *rehearsal.otps)


def _run_until(simulated: Night, end: datetime) -> None:
    """Deliver events before the end: nothing is due. Then it is that time."""
    while simulated.begin_next_interval(end) < end:
        _check_sent(simulated.deliver_event(), 0)


def _kill_while_it_sends(simulated: Night, reader: Reader, due_at: datetime) -> None:
    """Kill the container when SNS has the SMS: it is in doubt, is reported, and is not sent again."""
    _run_until(simulated, due_at)
    _, second, *third = simulated.deliver_event(kill_during="Publish")
    _check_failed(second, "DeliveryFailed", reader.time_zone, "may have been sent")
    _check_sent(third, 0)
    _check_sms(simulated, reader, due_at)


def _kill_before_it_sends(simulated: Night, reader: Reader, due_at: datetime) -> None:
    """Kill the container when it has claimed the SMS: Lambda's second retry takes the claim over."""
    _run_until(simulated, due_at)
    _, second, *third = simulated.deliver_event(kill_during="GetTopicAttributes")
    _check_failed(second, "DeliveryPending", reader.time_zone)
    _check_sent(third, 1)
    _check_sms(simulated, reader, due_at + sum(RETRIES_AFTER, timedelta()))


def _lose_an_event_and_double_the_next(simulated: Night, reader: Reader, due_at: datetime) -> None:
    """Deliver no event when the SMS is due, and the next one late and twice: the SMS is late, and is sent once."""
    _run_until(simulated, due_at)
    simulated.set_clock(simulated.begin_next_interval() + LATE)
    _check_sent(simulated.deliver_event(), 1)
    _check_sent(simulated.deliver_event(), 0)
    _check_sms(simulated, reader, due_at + INTERVAL + LATE)


def _check_sent(outcomes: list[Outcome], expected: int) -> None:
    check_equal("time zones to which a run sent", check_success(outcomes, "a run")["sent"], expected)


def _check_failed(outcome: Outcome, *expected: str) -> None:
    check_contains("the error of a run, which Lambda retries", str(outcome.error), *expected)


def _check_sms(simulated: Night, reader: Reader, sent_at: datetime) -> None:
    """Check the last daily SMS: when it was sent, to whom, and that it is the quote of the local date."""
    moment, published = simulated.published[-1]
    check_equal(f"when {reader.time_zone} got its SMS", moment, sent_at)
    local_hour = moment.astimezone(ZoneInfo(reader.time_zone)).time()
    if not reader.hour <= local_hour < QUIET_FROM:
        raise CheckFailed(f"{reader.time_zone} got its SMS at {local_hour}")
    check_equal("numbers on the topic", simulated.numbers_on(published.fields["TopicArn"]), [reader.mobile])
    expected = daily_text(simulated.quote_of(reader), simulated.unsubscribe_url).message
    check_equal(f"the SMS to {reader.time_zone}", published.fields["Message"], expected)


def _event_of_schedule(rehearsal: Rehearsal) -> dict[str, Any]:
    """Return the event that the schedule of the daily SMS sends."""
    (rule,) = [rule for rule in rehearsal.rules if rule["Name"].endswith("publish_quote_of_the_day")]
    (target,) = rehearsal.aws.client("events").list_targets_by_rule(Rule=rule["Name"])["Targets"]
    return lambda_events.scheduled_event(rule["Arn"], target.get("InputTransformer"))
