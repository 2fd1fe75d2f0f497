"""The simulated world: time zones, people, the schedule, and what goes wrong."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from quoteapi.container import Container
from quoteapi.quotes.errors import FutureDate
from quoteapi.quotes.quotation import Quotation
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import Settings, read_settings
from quoteapi.sms.gateway import GatewayError
from quoteapi.storage.database import create_database_file
from quoteapi.storage.models import database as bound
from quoteapi.storage.sql_state import SqlState
from quoteapi.storage.sqlite import SqliteFile
from quoteapi.storage.state import OtpPolicy, OtpReplaced, StateUnavailable
from quoteapi.subscriptions.daily_delivery import DeliveryResult
from quoteapi.subscriptions.errors import SmsDisabled
from quoteapi.time_zones import last_begun_date
from tests.helpers.clock import FakeClock
from tests.helpers.data import SECRET_KEY
from tests.helpers.dispatcher import RecordingDispatcher
from tests.simulation.cached_state import CachedState
from tests.simulation.faults import Fault, FaultyCalls, Killed, Proxy, Turns, draw_fault, draw_hang
from tests.simulation.gateway import DEFAULT_TIME_ZONE, SimulatedGateway
from tests.simulation.model import DAY, Model, Person, quotation_of

ZONES = (
    *("Etc/UTC", "Asia/Kolkata", "America/New_York", "America/Los_Angeles", "America/St_Johns", "America/Sao_Paulo"),
    *("America/Santiago", "America/Havana", "America/Asuncion", "Pacific/Pago_Pago", "Pacific/Honolulu"),
    *("Europe/London", "Europe/Berlin", "Europe/Moscow", "Africa/Cairo", "Africa/Casablanca", "Asia/Tehran"),
    *("Asia/Kathmandu", "Asia/Tokyo", "Asia/Gaza", "Australia/Eucla", "Australia/Lord_Howe", "Pacific/Auckland"),
    *("Pacific/Chatham", "Pacific/Apia", "Pacific/Kiritimati"),
)
INTERVAL = timedelta(minutes=15)
STEP = 24
"""Of so many runs, all but one are skipped on most days, except near openings, closings, midnights and changes."""
DIGEST = "d" * 32
POLICY = OtpPolicy(tries=5, lock=timedelta(hours=1), lifetime=timedelta(minutes=10))
FAST = {"journal_mode": "memory", "synchronous": "off", "locking_mode": "exclusive", "foreign_keys": 1}
Moment = tuple[datetime, Callable[[], None]]


class SimulatedQuotes(QuoteService):
    """Has a quote for each date, which names the date, as soon as the date has begun somewhere."""

    def quote_of_date(self, day: date) -> Quotation:
        if day > last_begun_date(self._clock()):
            raise FutureDate(day.isoformat())
        return quotation_of(day)


@dataclass
class Plan:
    """How much is simulated, and from which seed."""

    first: date
    last: date
    people: int
    seed: str
    daily_sms_at: str = "09:00"
    quiet_hours: str = "21:00-09:00"
    actions_per_day: float = 6.0
    faults: bool = True


class Process:
    """A process of the service. It is thrown away when it is killed."""

    def __init__(self, world: "World") -> None:
        self.calls = FaultyCalls(
            *(world.clock, world.randomness, world.turns, world.counts, world.model.observe, world.is_gateway_down)
        )
        container = Container(world.settings, now=world.clock, randomness=world.randomness)
        container.state = Proxy(world.state, self.calls)
        container.gateway = Proxy(world.gateway, self.calls)
        container.quotes = SimulatedQuotes(world.clock, world.randomness)
        self.container = container

    def begin(self, fault: Fault | None, **notes: Any) -> None:  # noqa: ANN401
        """Begin a run or a request, in which a fault may be met."""
        self.calls.fault, self.calls.faults_hit, self.calls.notes = fault, 0, notes


class World:
    """Runs the service for the people of a plan. Each method is one event."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.randomness = plan, random.Random(plan.seed)
        self.clock = FakeClock(datetime.combine(plan.first, time(), UTC))
        self.settings = _settings(plan)
        self.gateway, self.turns = SimulatedGateway(), Turns(self.randomness)
        self.state: Any = CachedState(SqlState())
        self.model = Model(self.clock, self.gateway, ZONES, self.settings)
        self.counts = self.model.counts
        self.process = Process(self)
        self._next_number = 0
        self._run_ids = 0
        self._no_events_until = self._gateway_down_until = self._sms_off_until = self.clock()
        self._is_sms_off = False
        self._has_faults = plan.faults

    def is_gateway_down(self) -> bool:
        return self.clock() < self._gateway_down_until

    def days(self) -> Iterator[date]:
        """Simulate day by day, then let all faults end, and check the topics."""
        day = self.plan.first
        while day <= self.plan.last:
            self._simulate_day(day)
            yield day
            day += DAY
        self._settle()

    # ---- when

    def _simulate_day(self, day: date) -> None:
        start = datetime.combine(day, time(), UTC)
        moments = [*self._spells(start), *self._ticks(start), *self._actions(start)]
        for moment, work in sorted(moments, key=lambda each: each[0]):
            self.clock.moment = max(self.clock(), moment)
            self.model.advance()
            self._end_sms_off()
            work()

    def _ticks(self, start: datetime) -> list[Moment]:
        """Return the runs of a day: at some of the quarter-hours, at all of them if clocks change, or sometimes."""
        if self.randomness.random() < (0.1 if self._changing(start) else 0.005):
            quarters = set(range(96))
            self.counts["days with all 96 runs"] += 1
        else:
            offset = self.randomness.randrange(STEP)
            quarters = set(range(offset, 96, STEP)) | {q for q in self._interesting_quarters(start) if 0 <= q < 96}
            quarters |= self._quarters_of_changes(start)
        return [(start + INTERVAL * quarter + self._delay(), self._tick) for quarter in sorted(quarters)]

    def _delay(self) -> timedelta:
        if self._has_faults and self.randomness.random() < 0.03:
            self.counts["events late"] += 1
            return timedelta(minutes=self.randomness.uniform(1, 200))
        return timedelta(seconds=self.randomness.choice((0, 0, 1, 30)))

    def _interesting_quarters(self, start: datetime) -> Iterator[int]:
        """Yield the quarter-hours around an opening, a closing and a local midnight, each of a random zone."""
        for _ in range(2):
            zone = self.randomness.choice(ZONES)
            day = start.astimezone(self.model.zones[zone]).date()
            if (window := self.model.window(zone, day)) is None:
                continue
            for moment in (window[0], window[2], self.model.midnight(zone, day + DAY)):
                if self.randomness.random() < 0.4:
                    yield (moment - start) // INTERVAL + self.randomness.choice((-1, 0, 0, 1))

    def _changing(self, start: datetime) -> list[ZoneInfo]:
        """Return the zones whose clocks change on a day."""
        zones = self.model.zones.values()
        return [
            each for each in zones if start.astimezone(each).utcoffset() != (start + DAY).astimezone(each).utcoffset()
        ]

    def _quarters_of_changes(self, start: datetime) -> set[int]:
        """Return the quarter-hours around the changes of clocks, and some others on these days."""
        quarters: set[int] = set()
        for zone in self._changing(start):
            offsets = [(start + INTERVAL * quarter).astimezone(zone).utcoffset() for quarter in range(97)]
            change = next(quarter for quarter in range(96) if offsets[quarter] != offsets[quarter + 1])
            quarters |= {change, change + 1, *(self.randomness.randrange(96) for _ in range(3))}
        return {quarter for quarter in quarters if quarter < 96}

    def _spells(self, start: datetime) -> list[Moment]:
        """Return the beginnings of times in which no event comes, the gateway is down, or SMS are off."""
        if not self._has_faults:
            return []
        chances = ((0.02, self._lose_events), (0.015, self._stop_gateway), (0.006, self._switch_sms_off))
        return [
            (start + DAY * self.randomness.random(), begin)
            for chance, begin in chances
            if self.randomness.random() < chance
        ]

    def _length(self) -> timedelta:
        return timedelta(
            hours=self.randomness.choice((0.25, 1, 3, 8, 14, 14, 24, 60)) * self.randomness.uniform(0.8, 1.2)
        )

    def _lose_events(self) -> None:
        self._no_events_until = self.clock() + self._length()

    def _stop_gateway(self) -> None:
        self.counts["gateway outages"] += 1
        self._gateway_down_until = self.clock() + self._length() / 2

    def _switch_sms_off(self) -> None:
        self.counts["SMS switched off"] += 1
        self.state.set_sms_switch(self.clock(), off=True)
        self._is_sms_off, self._sms_off_until = True, self.clock() + self._length()

    def _end_sms_off(self) -> None:
        if self._is_sms_off and self.clock() >= self._sms_off_until:
            self._is_sms_off = False
            self.state.set_sms_switch(self.clock(), off=False)

    # ---- runs

    def _tick(self) -> None:
        if self.clock() < self._no_events_until:
            self.counts["events lost"] += 1
            return
        draw = self.randomness.random() if self._has_faults else 1.0
        if draw < 0.02:
            self.counts["events doubled"] += 1
            self._run(self.process)
            self._run(self.process)
        elif draw < 0.06:
            self.counts["runs interleaved"] += 1
            self._interleave()
        elif draw < 0.07:
            self._run(self.process, by_hand=True)
        elif draw < 0.25:
            self._run(self.process, draw_fault(self.randomness))
        else:
            self._run(self.process)

    def _run(
        self, process: Process, fault: Fault | None = None, *, by_hand: bool = False, is_alone: bool = True
    ) -> None:
        """Run the schedule, or `quoteapi publish`, in a process. If it is killed, the next run has another one."""
        self.counts["runs"] += 1
        self._run_ids += 1
        process.begin(fault, run=self._run_ids, started_at=self.clock(), is_alone=is_alone and not by_hand)
        results: list[DeliveryResult] | None = None
        told: list[DeliveryResult] = []
        try:
            if by_hand:
                self.counts["publishes by hand"] += 1
                results = process.container.daily_delivery.publish()
                told += [result for result in results if result.state == "missed"]
            else:
                results = process.container.schedule.run(on_result=told.append)
        except Killed:
            self.process = Process(self)
        except (SmsDisabled, StateUnavailable):
            process.calls.faults_hit += 1
            results = []
        self._log_run(process, results)
        self.model.finish_run(process.calls, results, told)

    def _log_run(self, process: Process, results: list[DeliveryResult] | None) -> None:
        started_at, fault = process.calls.notes["started_at"], process.calls.fault
        what = f"run since {started_at:%H:%M:%S} {'killed' if results is None else 'done'}"
        self.model.log.append((self.clock(), "", f"{what}, {fault}" if process.calls.faults_hit else what))
        for result in results or []:
            self.model.log.append((self.clock(), result.time_zone, f"{result.state}: {result.message}"))

    def _interleave(self) -> None:
        """Let two runs overlap, or a run and what people do, perhaps with a fault."""
        first, second = Process(self), Process(self)
        draw = self.randomness.random()
        fault = draw_hang(self.randomness) if draw < 0.4 else draw_fault(self.randomness) if draw < 0.7 else None
        jobs = [lambda: self._run(first, fault, is_alone=False)]
        if self.randomness.random() < 0.6:
            jobs.append(lambda: self._run(second, is_alone=False))
        else:
            jobs += [self._act] * self.randomness.randint(1, 3)
        self.turns.run(jobs)
        self.model.last_trouble = self.clock()

    # ---- people

    def _actions(self, start: datetime) -> list[Moment]:
        number = sum(self.randomness.random() < self.plan.actions_per_day / 20 for _ in range(20))
        return [(self._moment_to_act(start), self._act) for _ in range(number)]

    def _moment_to_act(self, start: datetime) -> datetime:
        """Return any moment of a day; often one near an opening, a closing or a midnight of some zone."""
        moment = start + DAY * self.randomness.random()
        quarters = list(self._interesting_quarters(start))
        if quarters and self.randomness.random() < 0.5:
            moment = start + INTERVAL * (self.randomness.choice(quarters) % 96) - timedelta(seconds=90)
            moment += timedelta(seconds=self.randomness.uniform(0, 900))
        return moment

    def _act(self) -> None:
        """Let somebody do something."""
        draw, person = self.randomness.random(), self._somebody()
        if person is None or draw < 0.3:
            self._sign_up(person if person and not person.is_active and draw < 0.15 else self._new_person())
        elif not person.is_active:
            self._come_back(person)
        elif draw < 0.6:
            self._request(person, lambda process: self._move(process, person), mobile=person.mobile)
        elif draw < 0.75:
            days = self.randomness.choice((1, 1, 2, 7, 30))
            self._request(
                *(
                    person,
                    lambda process: process.container.subscriptions.pause(
                        person.mobile, days, self._client_ip(), self._dispatcher(process)
                    ),
                ),
                days=days,
            )
        elif draw < 0.8:
            self._activate(person, None)
        elif draw < 0.83 and len(self.gateway.opted_out) < 50:
            self.gateway.opted_out[person.mobile] = None
            self.model.stop(person.mobile)
        else:
            self._leave(person)

    def _somebody(self) -> Person | None:
        numbers = self._next_number
        return self.model.people.get(_mobile(self.randomness.randrange(numbers))) if numbers else None

    def _new_person(self) -> Person:
        """Return a person who has no number yet or, if there are enough people, one of them."""
        if self._next_number >= self.plan.people and (person := self._somebody()) is not None:
            return person
        self._next_number += 1
        return Person(_mobile(self._next_number - 1), self.randomness.choice(ZONES))

    def _sign_up(self, person: Person) -> None:
        self.gateway.opt_in(person.mobile)
        self._activate(person, person.zone if self.randomness.random() < 0.7 else self.randomness.choice(ZONES))

    def _come_back(self, person: Person) -> None:
        """Subscribe again, perhaps in another zone; or only reply START, which subscribes nobody.

        Nobody replies START before a run has noticed the STOP: SNS would not tell of either.
        """
        is_noticed = person.mobile in self.gateway.opted_out and person.mobile not in self.model.unsettled
        if is_noticed and self.randomness.random() < 0.3:
            self.gateway.opt_in(person.mobile)
            return
        self._sign_up(person)

    def _activate(self, person: Person, zone: str | None) -> None:
        """Subscribe as with a right OTP."""

        def activate(process: Process) -> None:
            container, now = process.container, self.clock()
            otp = self.state.request_otp(person.mobile, "subscribe", "192.0.2.1", now=now, policy=POLICY)
            self.state.claim_otp(otp.otp_request_id, DIGEST, now=now, expires_at=now + POLICY.lifetime)
            otp = otp._replace(digest=DIGEST, expires_at=now + POLICY.lifetime)
            subscriber_id = container.subscriptions._activate(otp, "192.0.2.1", zone)
            if subscriber_id is not None:
                self._dispatcher(process).subscribe(subscriber_id)

        self._request(person, activate)

    def _move(self, process: Process, person: Person) -> None:
        zone = self.randomness.choice(ZONES)
        if self.randomness.random() < 0.5 and person.paused_until is None:
            process.container.subscriptions.move(person.mobile, zone)
        else:
            self._activate(person, zone)

    def _leave(self, person: Person) -> None:
        self._request(
            person,
            lambda process: process.container.subscriptions.unsubscribe(
                person.mobile, self._client_ip(), self._dispatcher(process)
            ),
        )

    def _dispatcher(self, process: Process) -> Any:  # noqa: ANN401
        """Return a dispatcher that syncs at once, or loses the task."""
        return process.container.dispatcher if self.randomness.random() < 0.6 else RecordingDispatcher()

    def _client_ip(self) -> str:
        return f"2001:db8::{self.randomness.getrandbits(48):x}"

    def _request(self, person: Person, work: Callable[[Process], object], **notes: Any) -> None:  # noqa: ANN401
        """Run a use case in a process, perhaps with a fault."""
        fault = draw_fault(self.randomness) if self._has_faults and self.randomness.random() < 0.1 else None
        process = Process(self)
        process.begin(fault, run=0, started_at=self.clock(), is_alone=False, **notes)
        with suppress(Killed, GatewayError, StateUnavailable, OtpReplaced):
            work(process)
        if process.calls.faults_hit:
            self.model.last_trouble = self.clock()

    def _settle(self) -> None:
        """End all faults, run the schedule for three days, and check the topics and the reports."""
        self._has_faults, self._no_events_until = False, self.clock()
        self._gateway_down_until = self._sms_off_until = self.clock()
        self._end_sms_off()
        for _ in range(3 * 8):
            self.clock.moment += timedelta(hours=3)
            self.model.advance()
            self._tick()
        self.model.check_topics()


def _mobile(number: int) -> str:
    return f"+9190{number:08}"


def _settings(plan: Plan) -> Settings:
    many = {"SMS_DAILY_CAP": "1000000", "SMS_MAX_SUBSCRIBERS": "1000000", "DEFAULT_TIME_ZONE": DEFAULT_TIME_ZONE}
    many |= {"SMS_GATEWAY": "sns", "SMS_ALLOWED_REGIONS": "*"}
    hours = {"DAILY_SMS_AT": plan.daily_sms_at, "QUIET_HOURS": plan.quiet_hours}
    return read_settings({"DATABASE_URL": "sqlite:///simulation.db", "SECRET_KEY": SECRET_KEY, **many, **hours})


@contextmanager
def open_world(plan: Plan, folder: Path) -> Iterator[World]:
    """Create a world whose state is in an SQLite file in a folder."""
    path = folder / "simulation.db"
    with create_database_file(path):
        pass
    engine: Any = SqliteFile(path, pragmas=FAST, thread_safe=False, check_same_thread=False)
    with bound.override(engine):
        try:
            yield World(plan)
        finally:
            engine.close()
