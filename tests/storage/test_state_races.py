"""Races between processes that share a state, on every engine."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache, partial
from multiprocessing import get_context
from multiprocessing.pool import Pool

import pytest

from quoteapi.container import Container
from quoteapi.settings import Settings
from quoteapi.storage import database
from quoteapi.storage.state import ACTIVE, Otp, OtpPolicy, State, Subscriber
from tests.helpers import dynamodb_server, states
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, NOON
from tests.helpers.dynamodb_server import on_every_engine
from tests.helpers.states import (
    ACTIVE_BYSTANDERS,
    ANOTHER_TOPIC,
    AUCKLAND,
    CLIENT_IP,
    DIGEST,
    KOLKATA,
    LEASE_TIMEOUT,
    LIMIT,
    LOG_KEY,
    MINUTE,
    POLICY,
    TODAY,
    TOPIC,
    WRONG_DIGEST,
    activate,
    generate_otp,
    stored_otp,
    stored_subscriber,
)

pytestmark = [on_every_engine, pytest.mark.usefixtures("bystanders")]
LATER = NOON + MINUTE
PROCESSES = 4
FIVE_TRIES = OtpPolicy(5, POLICY.lock, POLICY.lifetime)
OTHERS = [f"+9190281{n:05}" for n in range(16)]
Race = Callable[..., Counter[str]]


@pytest.fixture(scope="module")
def processes() -> Iterator[Pool]:
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])  # so that the modules are imported once
    with context.Pool(PROCESSES) as pool:
        yield pool


@cache
def _container(settings: Settings) -> Container:
    return Container(settings, now=FakeClock())


def _outcomes(settings: Settings, environment: dict[str, str], calls: list[Callable[[State], object]]) -> list[str]:
    """Return what calls return in this process, or the names of their errors."""
    os.environ.update(environment)
    with database.connect(settings).connection_context():
        return [_outcome(partial(call, _container(settings).state)) for call in calls]


def _outcome(call: Callable[[], object]) -> str:
    try:
        return str(call())
    except Exception as error:  # noqa: BLE001 the test checks its name
        return type(error).__name__


@pytest.fixture
def race(processes: Pool, settings: Settings, state: State) -> Race:
    """Return a function that makes calls in parallel and counts their outcomes."""
    environment = dynamodb_server.environment() if settings.dynamodb_table is not None else {}

    def make(*calls: Callable[[State], object], batch: int = 1) -> Counter[str]:
        batches = [list(calls[first : first + batch]) for first in range(0, len(calls), batch)]
        work = [(settings, environment, batch_of_calls) for batch_of_calls in batches]
        return Counter(outcome for outcomes in processes.starmap(_outcomes, work, chunksize=1) for outcome in outcomes)

    return make


def guess(state: State) -> bool:
    return state.try_otp(MIRA, "subscribe", WRONG_DIGEST, now=NOON, policy=FIVE_TRIES).is_compared


def claim_delivery(state: State) -> bool:
    return state.claim_delivery(TODAY, TOPIC, now=NOON, timeout=MINUTE) is not None


def take_over(state: State) -> bool:
    """Take a delivery over at the same time as others, and begin to send if it is this process that may."""
    claim = state.claim_delivery(TODAY, TOPIC, now=NOON + MINUTE, timeout=MINUTE)
    return claim is not None and state.start_sending(claim, NOON + MINUTE)


def confirm(otp: Otp, limit: int, state: State) -> bool:
    return states.confirm(state, otp, limit=limit) is not None


def leave(mobile: str, state: State) -> bool:
    return state.deactivate(mobile, now=NOON) is not None


def leave_later(mobile: str, state: State) -> bool:
    return state.deactivate(mobile, now=LATER) is not None


def opt_out(mobile: str, state: State) -> bool:
    return state.mark_opted_out([mobile], NOON) == 1


def move(subscriber_id: str, time_zone: str, state: State) -> bool:
    return state.set_time_zone(subscriber_id, time_zone, now=LATER)


def confirm_in(otp: Otp, time_zone: str, state: State) -> bool:
    return states.confirm(state, otp, time_zone=time_zone) is not None


def pause(mobile: str, state: State) -> bool:
    return state.pause(mobile, until=LATER + MINUTE, now=LATER) is not None


def finish_sync(held: Subscriber, due_at: datetime | None, state: State) -> bool:
    return state.finish_sync(held, TOPIC, "arn", due_at=due_at)


def store_topic(held: Subscriber, state: State) -> bool:
    return state.store_topic(held, TOPIC)


def add_late(held: Subscriber, state: State) -> bool:
    """Store the topic as a process that lost its lease does. Return whether it was stored."""
    stored = state.mark_out_of_sync(held, ANOTHER_TOPIC, "late", LATER)
    assert stored is not None
    return stored.topic == ANOTHER_TOPIC


def report_delivery(state: State) -> bool:
    times = {"claimed_before": NOON, "sending_before": NOON}
    return state.report_delivery(TODAY, TOPIC, now=LATER, **times) is not None


def acquire_lease(subscriber_id: str, state: State) -> bool:
    return state.acquire_lease(subscriber_id, now=NOON, timeout=LEASE_TIMEOUT) is not None


def claim_confirmation(subscriber_id: str, state: State) -> bool:
    return state.claim_confirmation(subscriber_id, NOON)


def claim_otp(otp_request_id: str, digest: str, state: State) -> bool:
    return state.claim_otp(otp_request_id, digest, now=NOON, expires_at=NOON + MINUTE)


def request_otp(state: State) -> str:
    return state.request_otp(MIRA, "subscribe", CLIENT_IP, now=NOON, policy=POLICY).otp_request_id


def count_sms(state: State) -> bool:
    return state.count_sms(TODAY, 7)


def count_event(limit: int, state: State) -> bool:
    """Add an event to a log unless it has `limit` of them, as a rate limit does."""
    while True:
        log = state.read_rate_limit_log(LOG_KEY)
        events = log.split()
        if len(events) >= limit:
            return False
        after = " ".join([*events, str(len(events))])
        if state.swap_rate_limit_log(LOG_KEY, log, after, now=NOON, keep_until=NOON + MINUTE):
            return True


def test_of_a_thousand_guesses_five_are_compared(race: Race, state: State, settings: Settings) -> None:
    otp = state.request_otp(MIRA, "subscribe", CLIENT_IP, now=NOON, policy=FIVE_TRIES)
    assert state.claim_otp(otp.otp_request_id, DIGEST, now=NOON, expires_at=NOON + MINUTE)
    outcomes = race(*[guess] * 1_000, batch=25)
    # Four busy writers may starve one until SQLite's busy timeout: a 503, which compares nothing.
    timeouts = outcomes["OperationalError"] if settings.database_path is not None else 0
    assert (outcomes["True"], outcomes["False"] + timeouts) == (5, 995)
    assert stored_otp(state, otp).tries_left == 0


def test_of_a_hundred_claims_of_a_delivery_one_is_granted(race: Race, state: State) -> None:
    assert race(*[claim_delivery] * 100, batch=5) == {"True": 1, "False": 99}


def test_of_parallel_claims_that_are_over_one_process_takes_over_and_sends(race: Race, state: State) -> None:
    assert claim_delivery(state)
    assert race(*[take_over] * 20) == {"True": 1, "False": 19}


def test_of_fifty_activations_with_an_otp_one_subscribes_and_counts(race: Race, state: State) -> None:
    otp = generate_otp(state)
    assert race(*[partial(confirm, otp, LIMIT)] * 50) == {"True": 1, "OtpReplaced": 49}
    assert state.subscriber_count() == ACTIVE_BYSTANDERS + 1
    assert stored_subscriber(state).state == ACTIVE


def test_of_parallel_activations_as_many_subscribe_as_there_are_places(race: Race, state: State) -> None:
    otps = [generate_otp(state, mobile) for mobile in OTHERS]
    limit = ACTIVE_BYSTANDERS + 5
    outcomes = race(*[partial(confirm, otp, limit) for otp in otps])
    assert outcomes == {"True": 5, "SubscriberCountLimit": len(OTHERS) - 5}
    assert state.subscriber_count() == limit


def test_after_activations_and_deactivations_at_once_the_count_is_the_number_of_active_subscribers(
    race: Race, state: State
) -> None:
    for mobile in OTHERS[:8]:
        activate(state, mobile)
    otps = [generate_otp(state, mobile) for mobile in OTHERS[4:12]]
    calls: list[Callable[[State], object]] = []
    for otp in otps:
        calls += [partial(confirm, otp, LIMIT), partial(leave, otp.mobile), partial(opt_out, otp.mobile)]
    outcomes = race(*calls)
    assert set(outcomes) <= {"True", "False"}
    active = [subscriber for subscriber in state.subscribers(ACTIVE) if subscriber.mobile in OTHERS]
    assert state.subscriber_count() == ACTIVE_BYSTANDERS + len(active)


def test_of_parallel_leases_one_is_granted(race: Race, state: State) -> None:
    subscriber_id = activate(state).id
    assert race(*[partial(acquire_lease, subscriber_id)] * 50, batch=5) == {"True": 1, "False": 49}


def test_of_parallel_claims_of_a_confirmation_one_is_granted(race: Race, state: State) -> None:
    subscriber_id = activate(state).id
    assert race(*[partial(claim_confirmation, subscriber_id)] * 20) == {"True": 1, "False": 19}


def test_of_parallel_claims_of_an_otp_one_is_granted_and_its_digest_is_stored(race: Race, state: State) -> None:
    otp_request_id = request_otp(state)
    digests = [f"{n:032}" for n in range(20)]
    assert race(*[partial(claim_otp, otp_request_id, digest) for digest in digests]) == {"True": 1, "False": 19}


def test_of_parallel_requests_for_an_otp_the_last_one_is_kept(race: Race, state: State) -> None:
    outcomes = race(*[request_otp] * 20)
    assert len(outcomes) == 20
    assert len([otp_request_id for otp_request_id in outcomes if state.find_otp(otp_request_id) is not None]) == 1


def test_parallel_sms_are_counted_up_to_the_limit(race: Race, state: State) -> None:
    assert race(*[count_sms] * 60, batch=5) == {"True": 7, "False": 53}
    assert state.read_sms_count(TODAY) == 7


def test_parallel_events_are_logged_up_to_the_limit(race: Race, state: State) -> None:
    assert race(*[partial(count_event, 10)] * 40, batch=2) == {"True": 10, "False": 30}
    assert state.read_rate_limit_log(LOG_KEY) == " ".join(map(str, range(10)))


def test_of_parallel_activations_in_different_time_zones_one_decides(race: Race, state: State) -> None:
    otp = generate_otp(state)
    time_zones = [KOLKATA, AUCKLAND, "Asia/Tokyo", "Europe/Paris"]
    outcomes = race(*[partial(confirm_in, otp, time_zone) for time_zone in time_zones * 5])
    assert outcomes == {"True": 1, "OtpReplaced": 19}
    stored = stored_subscriber(state)
    assert stored.time_zone in time_zones
    assert (stored.joined_at, stored.sync_due_at) == (NOON, NOON)
    assert state.subscriber_count() == ACTIVE_BYSTANDERS + 1


def test_of_parallel_activations_of_an_active_subscriber_in_different_time_zones_one_decides(
    race: Race, state: State
) -> None:
    synced = states.sync(state, activate(state))
    otp = generate_otp(state)
    time_zones = [AUCKLAND, "Asia/Tokyo", "Europe/Paris", "Africa/Cairo"]
    outcomes = race(*[partial(confirm_in, otp, time_zone) for time_zone in time_zones * 5])
    assert outcomes == {"True": 1, "OtpReplaced": 19}
    stored = stored_subscriber(state)
    assert stored == synced._replace(time_zone=stored.time_zone, joined_at=NOON, sync_due_at=NOON)
    assert stored.time_zone in time_zones
    assert state.subscriber_count() == ACTIVE_BYSTANDERS + 1


def test_of_parallel_moves_to_a_time_zone_one_is_made(race: Race, state: State) -> None:
    subscriber_id = activate(state).id
    assert race(*[partial(move, subscriber_id, AUCKLAND)] * 20) == {"True": 1, "False": 19}
    assert stored_subscriber(state).joined_at == LATER


@pytest.mark.parametrize("due_at", [None, LATER + MINUTE])
def test_a_subscriber_that_changes_at_the_end_of_its_sync_stays_due(
    race: Race, state: State, due_at: datetime | None
) -> None:
    """Whichever is first: a change after the sync makes the next one due."""
    for n, mobile in enumerate(OTHERS):
        held = states.acquire_lease(state, activate(state, mobile))
        changes = partial(move, held.id, AUCKLAND), partial(leave_later, mobile), partial(pause, mobile)
        assert race(partial(finish_sync, held, due_at), changes[n % 3]) == {"True": 2}
        stored = stored_subscriber(state, mobile)
        assert (stored.sync_due_at, stored.lease_acquired_at) == (LATER, None)
        assert (stored.topic, stored.subscription_arn) == (TOPIC, "arn")


def test_of_two_processes_that_store_a_topic_at_once_none_is_overwritten(race: Race, state: State) -> None:
    for mobile in OTHERS:
        lost = states.acquire_lease(state, activate(state, mobile), None)
        held = states.acquire_lease(state, lost, None, now=NOON + LEASE_TIMEOUT)
        outcomes = race(partial(store_topic, held), partial(add_late, lost))
        assert outcomes == {"True": 1, "False": 1}
        stored = stored_subscriber(state, mobile)
        assert (stored.topic, stored.subscription_arn) in {(TOPIC, None), (ANOTHER_TOPIC, "late")}
        assert stored.sync_due_at == LATER


def test_of_parallel_reports_of_a_delivery_one_is_made(race: Race, state: State) -> None:
    assert race(*[report_delivery] * 40, batch=2) == {"True": 1, "False": 39}


@pytest.mark.parametrize("is_claimed_before", [False, True])
def test_a_delivery_that_is_claimed_and_reported_at_once_is_claimed_or_reported_as_unclaimed(
    race: Race, state: State, is_claimed_before: bool
) -> None:
    if is_claimed_before:
        assert claim_delivery(state)
    outcomes = race(*[take_over, report_delivery] * 20)
    stored = state.find_delivery(TODAY, TOPIC)
    assert stored is not None
    is_reported, is_sending = stored.reported_at is not None, stored.sending_at is not None
    assert outcomes == {"True": is_reported + is_sending, "False": 40 - is_reported - is_sending}
    assert is_reported or is_sending
    assert stored.claimed_at == LATER
