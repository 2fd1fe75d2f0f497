"""What the simulation checks, computed from what people did and what the gateway sent, not from the service's code."""

import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from heapq import heappop, heappush
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import Settings
from quoteapi.sms.messages import daily_text
from quoteapi.subscriptions.daily_delivery import DeliveryResult
from tests.helpers.clock import FakeClock
from tests.simulation.faults import FaultyCalls
from tests.simulation.gateway import SimulatedGateway

DAY = timedelta(days=1)
SETTLING = timedelta(minutes=5)
"""For so long, a process that was killed or hung may hold a lease or a claim."""
MOVE_COUNTS_FOR = timedelta(days=3)
"""A morning later than this after a move is not lost because of the move."""
STRICTER = {
    "Asia/Kolkata": (time(21), time(10)),
    "America/New_York": (time(20), time(8)),
    "America/Los_Angeles": (time(20), time(8)),
    "Pacific/Honolulu": (time(20), time(8)),
    "Pacific/Pago_Pago": (time(20), time(8)),
}
"""Quiet hours of countries."""


class Violation(BaseException):
    """Something was lost or doubled, or came in quiet hours. The message describes it in full.

    No `except Exception` of the service catches it.
    """


LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass
class Person:
    """A phone number, and what its owner wants."""

    mobile: str
    zone: str
    is_active: bool = False
    paused_until: datetime | None = None
    moved_at: list[datetime] = field(default_factory=list)
    changed_at: datetime = LONG_AGO
    joined_at: datetime = LONG_AGO
    last_label: date | None = None
    events: list[str] = field(default_factory=list)


@dataclass
class Morning:
    """The daily SMS of a local date to a time zone."""

    zone: str
    day: date
    opens: datetime
    """When its window opens. If clocks repeat that hour, the first time."""
    surely_open: datetime
    """As `opens`, but the second time."""
    closes: datetime
    expected: set[str] = field(default_factory=set)
    """Who wanted it when the window opened, and has not changed anything since."""
    was_expected: bool = False
    attempts: dict[int, int] = field(default_factory=dict)
    """By process: how many faults it had met when it was about to send."""
    is_in_doubt: bool = False
    is_delivered: bool = False
    is_known_as_sent: bool = False
    reports: list[str] = field(default_factory=list)
    report_lost: bool = False


def quotation_of(day: date) -> Quotation:
    """Return the quote of a date in the simulation."""
    return Quotation(f"This is the quote of {day}.", "Nobody", "simulation")


class Model:
    """Follows people and mornings by the clock on the wall, and raises `Violation`."""

    def __init__(self, clock: FakeClock, gateway: SimulatedGateway, zones: Sequence[str], settings: Settings) -> None:
        self.clock, self.gateway, self.settings, self.counts = clock, gateway, settings, Counter[str]()
        self.zones = {zone: ZoneInfo(zone) for zone in zones}
        self.quiet = {zone: [hours for hours in (settings.quiet_hours, STRICTER.get(zone)) if hours] for zone in zones}
        self.people: dict[str, Person] = {}
        self.wants: dict[str, set[str]] = {zone: set() for zone in zones}
        self.unsettled: dict[str, datetime] = {}
        """Who changed something that no faultless run has synced since, and when."""
        self.got: defaultdict[date, set[str]] = defaultdict(set)
        self.current: dict[str, Morning] = {}
        self.mornings: dict[tuple[str, date], Morning] = {}
        self.unreported: list[Morning] = []
        self.last_trouble = LONG_AGO
        """When a process was killed, or hung, or runs overlapped."""
        self.log = deque[tuple[object, ...]](maxlen=600)
        self._open_at = {zone: self._hours(zone, settings.daily_sms_at) for zone in zones}
        self._timeline: list[tuple[datetime, int, str, str, date]] = []
        self._numbers = count()
        for zone in zones:
            self._plan(zone, self.clock().astimezone(self.zones[zone]).date())

    # ---- time

    def advance(self) -> None:
        """Go through the openings of windows, ends of dates and ends of pauses until now."""
        now = self.clock()
        while self._timeline and self._timeline[0][0] <= now:
            moment, _, kind, subject, day = heappop(self._timeline)
            if kind == "opens":
                self._open(subject, day, moment)
            elif kind == "ends":
                self._end(self.mornings[subject, day])
            else:
                self._end_pause(self.people[subject], moment)

    def window(self, zone: str, day: date) -> tuple[datetime, datetime, datetime] | None:
        """Return when a morning's window opens, surely is open, and closes; None for a date that the zone skipped."""
        opens, closes = self._open_at[zone]
        moments = self._moments(zone, datetime.combine(day, opens))
        starts = [moment for moment in moments if moment.astimezone(self.zones[zone]).date() == day]
        if not starts:
            return None
        closes_at = (
            min(self._moments(zone, datetime.combine(day, closes))) if closes else self.midnight(zone, day + DAY)
        )
        return min(starts), max(starts), closes_at

    def is_quiet(self, zone: str, wall_time: time) -> bool:
        return any(
            start <= wall_time < end if start < end else wall_time >= start or wall_time < end
            for start, end in self.quiet[zone]
        )

    def _hours(self, zone: str, daily_at: time) -> tuple[time, time | None]:
        minutes = [time(minute // 60, minute % 60) for minute in range(24 * 60)]
        opens = next(minute for minute in minutes if minute >= daily_at and not self.is_quiet(zone, minute))
        return opens, next((minute for minute in minutes if minute > opens and self.is_quiet(zone, minute)), None)

    def _moments(self, zone: str, wall: datetime) -> list[datetime]:
        return [wall.replace(tzinfo=self.zones[zone], fold=fold).astimezone(UTC) for fold in (0, 1)]

    def midnight(self, zone: str, day: date) -> datetime:
        return self._moments(zone, datetime.combine(day, time()))[0]

    def _push(self, moment: datetime, kind: str, subject: str, day: date) -> None:
        heappush(self._timeline, (moment, next(self._numbers), kind, subject, day))

    def _plan(self, zone: str, day: date) -> None:
        while (window := self.window(zone, day)) is None:
            day += DAY
        self.mornings[zone, day] = Morning(zone, day, *window)
        self._push(window[0], "opens", zone, day)

    def _open(self, zone: str, day: date, moment: datetime) -> None:
        morning = self.current[zone] = self.mornings[zone, day]
        morning.expected = set(self.wants[zone])
        morning.was_expected = bool(morning.expected)
        self.counts["mornings"] += morning.was_expected
        self._push(self.midnight(zone, day + DAY), "ends", zone, day)
        self._plan(zone, day + DAY)
        self.mornings.pop((zone, day - 20 * DAY), None)
        self.got.pop(day - 15 * DAY, None)

    def _end(self, morning: Morning) -> None:
        """Judge a morning whose local date is over."""
        if not morning.is_delivered:
            morning.expected -= self.got[morning.day]
        if morning.is_in_doubt or (not morning.is_delivered and morning.expected):
            kind = "in doubt" if morning.is_in_doubt else "missed"
            self.counts[kind] += 1
            if kind not in morning.reports and not morning.report_lost:
                self.unreported.append(morning)

    # ---- people

    def activate(self, mobile: str, zone: str | None, default: str) -> None:
        """Sign up, move or end a pause, as a right OTP does."""
        person = self.people.setdefault(mobile, Person(mobile, default))
        if person.is_active:
            self._change(person, "subscribes again", zone=zone or person.zone, paused_until=None)
        else:
            self.counts["sign-ups"] += 1
            self._change(person, "subscribes", zone=zone or person.zone, paused_until=None, is_active=True)

    def deactivate(self, mobile: str) -> None:
        if (person := self.people.get(mobile)) and person.is_active:
            self._change(person, "leaves", is_active=False, paused_until=None)

    def stop(self, mobile: str) -> None:
        if (person := self.people.get(mobile)) and person.is_active:
            self._change(person, "replies STOP", is_active=False, paused_until=None)

    def pause(self, mobile: str, days: int, until: datetime, started_at: datetime) -> None:
        """Pause for the next mornings that have not begun yet, at the start of the request or now, after a hang."""
        person = self.people[mobile]
        if not person.is_active:
            return
        first = {self._next_day(person.zone, moment) for moment in (started_at, self.clock())}
        if until not in {self.midnight(person.zone, day + days * DAY) for day in first}:
            raise self._violation(f"paused for {days} days until {until:%F %H:%M}", person.zone, mobile)
        self._change(person, f"pauses until {until:%F %H:%M}", paused_until=until)
        self._push(until, "unpause", mobile, min(first))

    def _next_day(self, zone: str, moment: datetime) -> date:
        """Return the date of the first window that opens after a moment."""
        day = moment.astimezone(self.zones[zone]).date() - DAY
        while (window := self.window(zone, day)) is None or window[1] <= moment:
            day += DAY
        return day

    def move(self, mobile: str, zone: str) -> None:
        if (person := self.people[mobile]).zone != zone:
            self._change(person, f"moves to {zone}", zone=zone)

    def _end_pause(self, person: Person, moment: datetime) -> None:
        if person.paused_until == moment:
            self._change(person, "pause ends", paused_until=None)

    def _change(self, person: Person, what: str, **values: Any) -> None:  # noqa: ANN401
        now = self.clock()
        is_move = values.get("zone", person.zone) != person.zone
        if values.get("zone") == person.zone and person.is_active and person.paused_until is None:
            return  # subscribes again without a change
        self.wants[person.zone].discard(person.mobile)
        for morning in (*self.unreported, *self.current.values()):
            if morning.zone in {person.zone, values.get("zone", person.zone)}:
                morning.expected.discard(person.mobile)
        if (is_move and person.last_label is not None) or (is_move and person.is_active):
            person.moved_at.append(now)
            self.counts["moves"] += 1
        if is_move or "is_active" in values:
            person.joined_at = now
        vars(person).update(values)
        person.changed_at = now
        person.events.append(f"{now:%F %H:%M:%S} {what}, {person.zone}")
        self.unsettled[person.mobile] = now
        if person.is_active and person.paused_until is None:
            self.wants[person.zone].add(person.mobile)

    # ---- what processes do

    def observe(
        self,
        calls: FaultyCalls,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,  # noqa: ANN401
    ) -> None:
        """Follow a call that was done."""
        self.advance()
        method = getattr(self, f"_observe_{name}", None)
        if method is not None:
            method(calls, args, kwargs, result)

    def _observe_activate(self, _: FaultyCalls, args: Any, kwargs: Any, __: Any) -> None:  # noqa: ANN401
        self.activate(args[0].mobile, kwargs["time_zone"], kwargs["default_time_zone"])

    def _observe_deactivate(self, _: FaultyCalls, args: Any, __: Any, ___: Any) -> None:  # noqa: ANN401
        self.deactivate(args[0])

    def _observe_pause(self, calls: FaultyCalls, args: Any, kwargs: Any, __: Any) -> None:  # noqa: ANN401
        self.pause(args[0], calls.notes["days"], kwargs["until"], calls.notes["started_at"])

    def _observe_set_time_zone(self, calls: FaultyCalls, args: Any, __: Any, ___: Any) -> None:  # noqa: ANN401
        self.move(calls.notes["mobile"], args[1])

    def _observe_store_due_run(self, calls: FaultyCalls, _: Any, __: Any, ___: Any) -> None:  # noqa: ANN401
        """Sync is done: if nothing went wrong, everybody who changed something before the run is settled."""
        if self._is_clean(calls):
            started_at = calls.notes["started_at"]
            self.unsettled = {mobile: at for mobile, at in self.unsettled.items() if at >= started_at}

    def _observe_start_sending(self, calls: FaultyCalls, args: Any, __: Any, has_begun: bool) -> None:  # noqa: ANN401
        if has_begun:
            morning = self._morning_of(args[0].topic, args[0].date)
            morning.attempts[calls.notes["run"]] = calls.faults_hit
            morning.is_in_doubt = True  # until it is known what became of it

    def _observe_finish_delivery(self, calls: FaultyCalls, args: Any, __: Any, ___: Any) -> None:  # noqa: ANN401
        morning = self._morning_of(args[0].topic, args[0].date)
        morning.is_in_doubt, morning.is_known_as_sent = False, True

    def _observe_release_delivery(self, calls: FaultyCalls, args: Any, __: Any, ___: Any) -> None:  # noqa: ANN401
        morning = self._morning_of(args[0].topic, args[0].date)
        if calls.notes["run"] in morning.attempts:
            morning.is_in_doubt = False

    def _observe_report_delivery(self, calls: FaultyCalls, args: Any, __: Any, result: Any) -> None:  # noqa: ANN401
        if result is not None:
            calls.notes.setdefault("reported", []).append((self.gateway.topics.time_zone(args[1]), args[0]))

    def _observe_publish(self, calls: FaultyCalls, args: Any, _: Any, __: Any) -> None:  # noqa: ANN401
        """Check an SMS to a topic that went out."""
        message, topic = args
        zone, now = self.gateway.topics.time_zone(topic) or "", self.clock()
        label = date.fromisoformat(re.findall(r"\d{4}-\d\d-\d\d", message)[0])
        wall, members = now.astimezone(self.zones[zone]), frozenset(self.gateway.members[topic])
        self.log.append((now, zone, f"SMS of {label}", members))
        self.counts["SMS"] += len(members)
        if wall.date() != label or message != daily_text(quotation_of(label), self.settings.unsubscribe_url).message:
            raise self._violation(f"wrong quote on {wall:%F}: {message!r}", zone)
        if self.is_quiet(zone, wall.time()):
            raise self._violation(f"in quiet hours: at {wall:%F %H:%M:%S}", zone)
        later = [mobiles for day, mobiles in self.got.items() if day >= label]
        for mobile in members.intersection(*[set().union(*later)]):
            raise self._violation(f"doubled: the SMS of {label} after one of that date or later", zone, mobile)
        self.got[label] |= members
        self._check_unwanted(members - self.wants[zone], zone, calls)
        self._check_delivered(self._morning_of(topic, label), members)
        for mobile in members:
            self.people[mobile].last_label = label

    def _check_unwanted(self, mobiles: frozenset[str], zone: str, calls: FaultyCalls) -> None:
        for mobile in mobiles:
            person = self.people[mobile]
            if person.changed_at >= calls.notes["started_at"]:
                self.counts["SMS to people who left or moved during the run"] += 1
            elif mobile in self.unsettled:
                self.counts["SMS to people who left or moved, as a fault prevented their sync"] += 1
            else:
                raise self._violation("SMS to somebody who does not want it", zone, mobile)

    def _check_delivered(self, morning: Morning, members: frozenset[str]) -> None:
        morning.is_delivered = True
        self.counts["delivered"] += 1
        opened_at = morning.opens
        self.counts["late sign-ups"] += sum(self.people[mobile].joined_at > opened_at for mobile in members)
        for mobile in morning.expected - members - self.got[morning.day]:
            self._explain_lost(morning, mobile)

    def _explain_lost(self, morning: Morning, mobile: str) -> None:
        if mobile in self.unsettled:
            self.counts["mornings lost by a fault in somebody's sync"] += 1
        elif not self._spend_move(self.people[mobile], morning):
            raise self._violation(f"lost: not on the topic for {morning.day}", morning.zone, mobile)

    def _spend_move(self, person: Person, morning: Morning) -> bool:
        """Let a move cost a morning. Return False if none was recent, or all have cost one."""
        for moved_at in person.moved_at:
            if morning.opens - moved_at < MOVE_COUNTS_FOR:
                person.moved_at.remove(moved_at)
                self.counts["mornings that moves cost"] += 1
                return True
        return False

    # ---- runs

    def finish_run(self, calls: FaultyCalls, results: list[DeliveryResult] | None, told: list[DeliveryResult]) -> None:
        """Follow the end of a run: `results` is None if it was killed. `told` is what it logged until then."""
        self.advance()
        self._note_reports(calls, told)
        if results is not None and not calls.faults_hit:
            self._check_doubt(calls.notes["run"])
        if calls.faults_hit:
            self.last_trouble = self.clock()
        if results is not None and self._is_clean(calls):
            self._check_clean_run(calls.notes["started_at"])

    def _check_doubt(self, run: int) -> None:
        for morning in self.current.values():
            if morning.is_in_doubt and run in morning.attempts:
                raise self._violation(f"in doubt without a fault: {morning.day}", morning.zone)

    def _is_clean(self, calls: FaultyCalls) -> bool:
        started_at = calls.notes["started_at"]
        return not calls.faults_hit and calls.notes["is_alone"] and self.last_trouble + SETTLING < started_at

    def _note_reports(self, calls: FaultyCalls, results: list[DeliveryResult]) -> None:
        told = set()
        for result in results:
            if result.state not in {"in doubt", "missed"}:
                continue
            for day in _dates_of(result):
                told.add((result.time_zone, day))
                self._note_report(result, day)
        for zone, day in calls.notes.pop("reported", []):
            if (zone, day) not in told and (morning := self.mornings.get((zone, day))):
                morning.report_lost = True
                self.counts["reports lost with the process"] += 1
        self.unreported = [m for m in self.unreported if not m.reports and not m.report_lost]

    def _note_report(self, result: DeliveryResult, day: date) -> None:
        self.log.append((self.clock(), result.time_zone, f"reported: {result.message}"))
        morning = self.mornings.get((result.time_zone, day))
        if morning is None:
            return
        if morning.reports:
            raise self._violation(f"reported twice: {result.state} on {day}", result.time_zone)
        morning.reports.append(result.state)
        is_needless = result.state == "missed" and not morning.expected
        self.counts["reported as missed, but nobody waits now" if is_needless else f"reported as {result.state}"] += 1
        if result.state == "missed" and morning.is_delivered:
            raise self._violation(f"reported as missed, but sent: {day}", result.time_zone)
        if result.state == "missed" and not morning.was_expected:
            raise self._violation(f"reported as missed, but nobody expected it: {day}", result.time_zone)
        if result.state == "in doubt" and not morning.attempts:
            raise self._violation(f"reported as in doubt, but not begun: {day}", result.time_zone)

    def _check_clean_run(self, started_at: datetime) -> None:
        """After a run without faults, nothing that was due is unsent, and nothing is unreported."""
        for zone, morning in self.current.items():
            is_open = morning.surely_open <= started_at and self.clock() < morning.closes
            if is_open and not (morning.is_delivered or morning.is_in_doubt):
                for mobile in morning.expected - self.unsettled.keys() - self.got[morning.day]:
                    if not self._is_moving(self.people[mobile], morning):
                        raise self._violation(f"lost: a run did not send the SMS of {morning.day}", zone, mobile)
        for morning in self.unreported:
            waiting = morning.expected - self.unsettled.keys()
            if waiting := {mobile for mobile in waiting if not self._is_moving(self.people[mobile], morning)}:
                raise self._violation(f"not reported: {morning.day}", morning.zone, min(waiting))
        self.unreported.clear()

    def _is_moving(self, person: Person, morning: Morning) -> bool:
        return any(morning.opens - moved_at < MOVE_COUNTS_FOR for moved_at in person.moved_at)

    def check_topics(self) -> None:
        """Check that the topics are what people want."""
        for zone, wanted in self.wants.items():
            members = self.gateway.members[self.gateway.topics.name(zone)]
            for mobile in members ^ wanted:
                raise self._violation("a topic does not match the state at the end", zone, mobile)

    def _morning_of(self, topic: str, day: date) -> Morning:
        zone = self.gateway.topics.time_zone(topic) or ""
        if (zone, day) not in self.mornings:
            raise self._violation(f"there is no {day}", zone)
        return self.mornings[zone, day]

    # ---- descriptions

    def _violation(self, what: str, zone: str, mobile: str | None = None) -> Violation:
        now = self.clock()
        lines = [f"{what}, {zone}, now {now:%F %H:%M:%S} UTC"]
        zones = {zone}
        if mobile is not None:
            person = self.people[mobile]
            lines += [f"person {mobile} (in {person.zone}):", *(f"  {event}" for event in person.events[-12:])]
            zones |= {person.zone, *(event.rpartition(", ")[2] for event in person.events[-4:])}
        lines += ["events:", *self._describe_log(zones, mobile)]
        return Violation("\n".join(lines))

    def _describe_log(self, zones: set[str], mobile: str | None) -> Iterator[str]:
        for moment, zone, what, *members in self.log:
            if zone in zones | {""} and moment > self.clock() - 3 * DAY:  # type: ignore[operator]
                got = " (the person got it)" if members and mobile in members[0] else ""  # type: ignore[operator]
                yield f"  {moment:%F %H:%M:%S} {zone} {what}{got}"


def _dates_of(result: DeliveryResult) -> list[date]:
    """Return the dates that a report is about."""
    if found := re.match(r"The SMS of (\S+) to (\S+) was not sent", result.message):
        first, last = map(date.fromisoformat, found.groups())
        return [first + number * DAY for number in range((last - first).days + 1)]
    return [result.date]
