"""Faults: calls that fail, hang or never return, because the process is killed; and runs that interleave."""

import contextvars
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from quoteapi.sms.gateway import GatewayMisconfigured, GatewayUnavailable, NumberRejected, OutcomeUnknown
from quoteapi.storage.state import StateUnavailable
from tests.helpers.clock import FakeClock

FaultKind = Literal[
    "killed before a call",
    "killed after a call",
    "hung in a call",
    "state unavailable",
    "gateway refused a call",
    "gateway timed out, call done",
    "gateway timed out, call not done",
]
STATE_FAULTS: tuple[FaultKind, ...] = (
    "killed before a call",
    "killed after a call",
    "hung in a call",
    "state unavailable",
)
GATEWAY_FAULTS: tuple[FaultKind, ...] = (
    "killed before a call",
    "killed after a call",
    "hung in a call",
    "gateway refused a call",
    "gateway timed out, call done",
    "gateway timed out, call not done",
)
GATEWAY_CALLS = ("publish", "count_subscriptions", "subscribe", "unsubscribe", "list_opted_out", "send_sms")
STATE_CALLS = (
    *("last_delivery", "has_joined_before", "claim_delivery", "find_delivery", "start_sending", "finish_delivery"),
    *("release_delivery", "report_delivery", "store_due_run", "topics_in_use", "out_of_sync", "acquire_lease"),
    *("store_topic", "finish_sync", "release_lease", "claim_confirmation", "store_subscription_arn"),
    *("activate", "deactivate", "pause", "set_time_zone", "find_subscriber"),
)
SHORT_CALLS = ("start_sending", "publish", "count_subscriptions")
"""Calls that cannot hang for minutes: those after which the service does not look at the clock before it sends."""
SHORT_HANG, MAX_HANG = timedelta(seconds=30), timedelta(minutes=10)


class Killed(BaseException):
    """The process was killed, as by SIGKILL: none of its code runs any more."""


@dataclass
class Fault:
    """A fault that hits the n-th of the calls with a name; `name` is None for any call."""

    kind: FaultKind
    name: str | None
    calls_left: int

    def hits(self, name: str) -> bool:
        """Count a call. Return whether it is hit."""
        if self.name is None or self.name == name:
            self.calls_left -= 1
        return self.calls_left == 0 and self.name in {None, name}


def draw_hang(randomness: random.Random) -> Fault:
    """Return a fault by which a process may lose the lease of a subscriber, or a claim."""
    names = ("subscribe", "unsubscribe", "store_topic", "finish_sync", "count_subscriptions", "claim_delivery")
    return Fault("hung in a call", randomness.choice(names), 1)


def draw_fault(randomness: random.Random) -> Fault:
    """Return a random fault."""
    draw = randomness.random()
    if draw < 0.25:
        return Fault(randomness.choice(STATE_FAULTS[:3]), None, 1 + int(randomness.expovariate(1 / 12)))
    if draw < 0.65:
        return Fault(randomness.choice(GATEWAY_FAULTS), randomness.choice(GATEWAY_CALLS), randomness.randint(1, 2))
    return Fault(randomness.choice(STATE_FAULTS), randomness.choice(STATE_CALLS), randomness.randint(1, 3))


class Turns:
    """Runs jobs in threads, one at a time: at a call of a proxy, another one may go on."""

    def __init__(self, randomness: random.Random) -> None:
        self._randomness = randomness
        self._waiting: list[threading.Semaphore] = []
        self._main = threading.Semaphore(0)
        self._is_on = False

    def run(self, jobs: list[Callable[[], None]]) -> None:
        """Run the jobs until all are done. An exception of a job is raised at the end."""
        errors: list[BaseException] = []
        turns = [threading.Semaphore(0) for _ in jobs]

        def work(job: Callable[[], None], turn: threading.Semaphore) -> None:
            turn.acquire()
            try:
                job()
            except BaseException as error:  # noqa: BLE001 it is raised by the thread of the caller
                errors.append(error)
            (self._take_one() or self._main).release()

        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(work, job, turn), daemon=True)
            for job, turn in zip(jobs, turns, strict=True)
        ]
        self._waiting, self._is_on = list(turns), True
        for thread in threads:
            thread.start()
        (self._take_one() or self._main).release()
        self._main.acquire()
        for thread in threads:
            thread.join()
        self._is_on = False
        if errors:
            raise errors[0]

    def pass_on(self, clock: FakeClock, chance: float = 0.3) -> None:
        """Perhaps let another job go on, and wait until it is this one's turn again. Time goes on meanwhile."""
        if self._is_on:
            clock.advance(milliseconds=1)
        if not self._is_on or self._randomness.random() > chance or (other := self._take_one()) is None:
            return
        mine = threading.Semaphore(0)
        self._waiting.append(mine)
        other.release()
        mine.acquire()

    def _take_one(self) -> threading.Semaphore | None:
        return self._waiting.pop(self._randomness.randrange(len(self._waiting))) if self._waiting else None


@dataclass
class FaultyCalls:
    """The calls of one process to the state and the gateway, in which faults are injected."""

    clock: FakeClock
    randomness: random.Random
    turns: Turns
    counts: Counter[str]
    observe: Callable[["FaultyCalls", str, tuple[Any, ...], dict[str, Any], Any], None]
    """Called with the name, the arguments and the result of each call that was done."""
    is_gateway_down: Callable[[], bool]
    fault: Fault | None = None
    faults_hit: int = 0
    is_dead: bool = False
    notes: dict[str, Any] = field(default_factory=dict)
    """What the model keeps about the process."""

    def __call__(self, name: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Call a method, unless a fault prevents it."""
        self._require_life()
        self.turns.pass_on(self.clock)
        kind = self.fault.kind if self.fault is not None and self.fault.hits(name) else None
        if kind is not None:
            self._note(kind)
            self._fail_before(kind, name)
            self.turns.pass_on(self.clock, 0.9)  # while this process hangs, others go on
        if name in GATEWAY_CALLS and self.is_gateway_down():
            self.faults_hit += 1
            raise GatewayUnavailable("the gateway is down")
        result = method(*args, **kwargs)
        self.observe(self, name, args, kwargs, result)
        if kind is not None:
            self._fail_after(kind)
        self.turns.pass_on(self.clock)
        self._require_life()
        return result

    def _require_life(self) -> None:
        if self.is_dead:
            raise Killed

    def _note(self, kind: FaultKind) -> None:
        self.counts[kind] += 1
        self.faults_hit += 1

    def _fail_before(self, kind: FaultKind, name: str) -> None:
        if kind == "killed before a call":
            self._die()
        if kind == "hung in a call":
            self.clock.moment += self.randomness.random() * (SHORT_HANG if name in SHORT_CALLS else MAX_HANG)
        if kind == "state unavailable":
            raise StateUnavailable("the state is unavailable")
        if kind == "gateway refused a call":
            raise self.randomness.choice((GatewayUnavailable, GatewayMisconfigured, NumberRejected))("refused")
        if kind == "gateway timed out, call not done":
            self._time_out()

    def _fail_after(self, kind: FaultKind) -> None:
        if kind == "killed after a call":
            self._die()
        if kind == "gateway timed out, call done":
            self._time_out()

    def _time_out(self) -> None:
        self.clock.advance(seconds=10)
        raise OutcomeUnknown("timed out")

    def _die(self) -> None:
        self.is_dead = True
        raise Killed


class Proxy:
    """Passes the calls of a process on to the state or the gateway."""

    def __init__(self, target: object, calls: FaultyCalls) -> None:
        self._target, self._calls = target, calls

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        found = getattr(self._target, name)
        if not callable(found):
            return found
        calls = self._calls

        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            return calls(name, found, *args, **kwargs)

        self.__dict__[name] = call
        return call
