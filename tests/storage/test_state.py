"""The contract of `State`, on every engine. The store always has other data, which must be found unchanged."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from quoteapi.storage.state import (
    ACTIVE,
    OPTED_OUT,
    UNSUBSCRIBED,
    Delivery,
    Otp,
    OtpReplaced,
    OtpTry,
    Purpose,
    State,
    Subscriber,
    SubscriberCountLimit,
)
from tests.helpers import states
from tests.helpers.data import MIRA, NOON, NOOR
from tests.helpers.dynamodb_server import on_every_engine
from tests.helpers.states import (
    ACTIVE_BYSTANDERS,
    ACTIVE_IN_SYNC,
    ACTIVE_OUT_OF_SYNC,
    ANOTHER_TOPIC,
    AUCKLAND,
    BEFORE,
    CLIENT_IP,
    DIGEST,
    KOLKATA,
    LEASE_TIMEOUT,
    LIMIT,
    LOG,
    LOG_KEY,
    MICROSECOND,
    MINUTE,
    NOW,
    OPTED_OUT_OUT_OF_SYNC,
    POLICY,
    TODAY,
    TOPIC,
    UNSUBSCRIBED_IN_SYNC,
    WRONG_DIGEST,
    Bystanders,
    generate_otp,
    stored_otp,
    stored_subscriber,
)

pytestmark = [on_every_engine, pytest.mark.usefixtures("bystanders")]

LATER = NOW + MINUTE
NO_SUBSCRIBER = "0"
DEFAULT = "Etc/UTC"
UNKNOWN_AFTER = timedelta(minutes=30)
Change = Callable[[State, Subscriber], Subscriber]


def request_otp(
    state: State, mobile: str = MIRA, purpose: Purpose = "subscribe", *, now: datetime = NOW, client_ip: str = CLIENT_IP
) -> Otp:
    return state.request_otp(mobile, purpose, client_ip, now=now, policy=POLICY)


def try_otp(
    state: State, digest: str, *, mobile: str = MIRA, purpose: Purpose = "subscribe", now: datetime = NOW
) -> OtpTry:
    return state.try_otp(mobile, purpose, digest, now=now, policy=POLICY)


def use_up_tries(state: State, *, now: datetime = NOW) -> None:
    for _ in range(POLICY.tries):
        assert try_otp(state, WRONG_DIGEST, now=now).is_compared


def activate(
    state: State, otp: Otp, *, now: datetime = NOW, limit: int = LIMIT, time_zone: str | None = None
) -> str | None:
    return state.activate(
        otp,
        tries=POLICY.tries,
        confirmed_from="198.51.100.4",
        now=now,
        limit=limit,
        time_zone=time_zone,
        default_time_zone=DEFAULT,
    )


def active(state: State, mobile: str = MIRA, *, now: datetime = NOW) -> Subscriber:
    return states.activate(state, mobile, now=now)


def unsubscribed(state: State, *, now: datetime = NOW) -> Subscriber:
    active(state, now=now)
    assert state.deactivate(MIRA, now=now) is not None
    return stored_subscriber(state)


def held(state: State, subscriber: Subscriber, *, now: datetime | None = None) -> Subscriber:
    return states.acquire_lease(state, subscriber, None, now=now)


# One-time passwords


def test_a_requested_otp_is_stored_as_it_is_returned(state: State) -> None:
    otp = request_otp(state)
    assert otp == Otp(
        mobile=MIRA,
        purpose="subscribe",
        otp_request_id=otp.otp_request_id,
        digest=None,
        expires_at=None,
        tries_left=POLICY.tries,
        last_wrong_try_at=None,
        requested_at=NOW,
        requested_from=CLIENT_IP,
        time_zone=None,
        claimed_at=None,
        sent_at=None,
    )
    assert state.find_otp(otp.otp_request_id) == otp


def test_the_time_zone_of_a_request_is_stored_with_its_otp_and_replaced_by_that_of_the_next(state: State) -> None:
    for time_zone in AUCKLAND, KOLKATA, None:
        otp = state.request_otp(MIRA, "subscribe", CLIENT_IP, now=NOW, policy=POLICY, time_zone=time_zone)
        assert otp.time_zone == time_zone
        assert state.find_otp(otp.otp_request_id) == otp


def test_a_locked_number_keeps_the_time_zone_of_its_otp(state: State) -> None:
    otp = generate_otp(state, now=NOW)
    use_up_tries(state)
    locked = state.request_otp(MIRA, "subscribe", CLIENT_IP, now=LATER, policy=POLICY, time_zone=AUCKLAND)
    assert locked.time_zone == otp.time_zone is None


def test_a_time_in_another_time_zone_is_the_same_time(state: State) -> None:
    kolkata = timezone(timedelta(hours=5, minutes=30))
    assert request_otp(state, now=NOW.astimezone(kolkata)).requested_at == NOW
    assert active(state, NOOR, now=NOW.astimezone(kolkata)).confirmed_at.tzinfo == UTC
    assert state.deactivate(NOOR, now=NOW) is not None


def test_an_otp_request_id_does_not_show_the_number_and_never_repeats(state: State) -> None:
    ids = [request_otp(state, mobile).otp_request_id for mobile in (MIRA, MIRA, NOOR)]
    assert len(set(ids)) == 3
    assert not any(mobile.strip("+") in otp_request_id for mobile in (MIRA, NOOR) for otp_request_id in ids)


def test_an_unknown_otp_request_has_no_otp_and_changes_nothing(state: State) -> None:
    for otp_request_id in "", "no-such-request", "0" * 32:
        assert state.find_otp(otp_request_id) is None
        assert not state.claim_otp(otp_request_id, DIGEST, now=NOW, expires_at=LATER)
        state.release_otp(otp_request_id)
        state.mark_otp_sent(otp_request_id, NOW)


def test_another_request_replaces_the_otp_and_keeps_the_tries_that_are_left(state: State) -> None:
    older = generate_otp(state, now=NOW)
    state.mark_otp_sent(older.otp_request_id, NOW)
    try_otp(state, WRONG_DIGEST, now=NOW)
    newer = request_otp(state, now=LATER, client_ip="2001:db8::1")
    assert newer == Otp(
        mobile=MIRA,
        purpose="subscribe",
        otp_request_id=newer.otp_request_id,
        digest=None,
        expires_at=None,
        tries_left=POLICY.tries - 1,
        last_wrong_try_at=NOW,
        requested_at=LATER,
        requested_from="2001:db8::1",
        time_zone=None,
        claimed_at=None,
        sent_at=None,
    )
    assert state.find_otp(newer.otp_request_id) == newer
    assert newer.otp_request_id != older.otp_request_id


def test_a_replaced_otp_cannot_be_found_claimed_released_marked_or_reset(state: State) -> None:
    older = generate_otp(state, now=NOW)
    try_otp(state, WRONG_DIGEST)
    newer = request_otp(state)
    assert state.claim_otp(newer.otp_request_id, DIGEST, now=NOW, expires_at=LATER)
    expected = stored_otp(state, newer)
    assert state.find_otp(older.otp_request_id) is None
    assert not state.claim_otp(older.otp_request_id, WRONG_DIGEST, now=LATER, expires_at=LATER)
    state.release_otp(older.otp_request_id)
    state.mark_otp_sent(older.otp_request_id, LATER)
    state.reset_otp_tries(older, 99)
    assert stored_otp(state, newer) == expected


def test_wrong_tries_are_forgotten_when_their_lock_time_is_over(state: State) -> None:
    generate_otp(state, now=NOW)
    try_otp(state, WRONG_DIGEST, now=NOW)
    kept = request_otp(state, now=NOW + POLICY.lock - MICROSECOND)
    assert (kept.tries_left, kept.last_wrong_try_at) == (POLICY.tries - 1, NOW)
    forgotten = request_otp(state, now=NOW + POLICY.lock)
    assert (forgotten.tries_left, forgotten.last_wrong_try_at) == (POLICY.tries, None)
    assert state.find_otp(forgotten.otp_request_id) == forgotten


def test_a_locked_number_keeps_its_otp_until_the_lock_time_is_over(state: State) -> None:
    otp = generate_otp(state, now=NOW)
    use_up_tries(state, now=NOW)
    locked = stored_otp(state, otp)
    assert (locked.tries_left, locked.last_wrong_try_at) == (0, NOW)
    assert request_otp(state, now=NOW + POLICY.lock - MICROSECOND) == locked
    assert stored_otp(state, otp) == locked
    unlocked = request_otp(state, now=NOW + POLICY.lock)
    assert (unlocked.tries_left, unlocked.digest, unlocked.requested_at) == (POLICY.tries, None, NOW + POLICY.lock)
    assert unlocked.otp_request_id != otp.otp_request_id


def test_a_lock_begins_at_the_last_wrong_try(state: State) -> None:
    generate_otp(state, now=NOW, expires_at=NOW + POLICY.lock * 2)
    for minutes in 0, 1, 2:
        assert try_otp(state, WRONG_DIGEST, now=NOW + minutes * MINUTE).is_compared
    assert request_otp(state, now=NOW + POLICY.lock + MINUTE).tries_left == 0
    assert request_otp(state, now=NOW + POLICY.lock + 2 * MINUTE).tries_left == POLICY.tries


def test_a_lock_for_a_purpose_does_not_lock_the_others(state: State) -> None:
    generate_otp(state, NOOR, now=NOW)
    generate_otp(state, NOOR, "unsubscribe", now=NOW)
    for _ in range(POLICY.tries):
        try_otp(state, WRONG_DIGEST, mobile=NOOR)
    assert request_otp(state, NOOR, now=LATER).tries_left == 0
    assert try_otp(state, DIGEST, mobile=NOOR, purpose="unsubscribe").is_compared
    for purpose in "unsubscribe", "pause":
        assert request_otp(state, NOOR, purpose, now=LATER).requested_at == LATER


def test_an_otp_is_claimed_once(state: State) -> None:
    requested = request_otp(state)
    assert state.claim_otp(requested.otp_request_id, DIGEST, now=LATER, expires_at=LATER + MICROSECOND)
    claimed = requested._replace(digest=DIGEST, claimed_at=LATER, expires_at=LATER + MICROSECOND)
    assert stored_otp(state, requested) == claimed
    assert not state.claim_otp(requested.otp_request_id, WRONG_DIGEST, now=LATER + MINUTE, expires_at=LATER + MINUTE)
    assert stored_otp(state, requested) == claimed


def test_a_released_otp_keeps_its_digest_and_can_be_claimed_again(state: State) -> None:
    otp = generate_otp(state, now=NOW)
    state.release_otp(otp.otp_request_id)
    assert stored_otp(state, otp) == otp._replace(claimed_at=None)
    assert state.claim_otp(otp.otp_request_id, WRONG_DIGEST, now=LATER, expires_at=LATER + MINUTE)
    again = otp._replace(digest=WRONG_DIGEST, claimed_at=LATER, expires_at=LATER + MINUTE)
    assert stored_otp(state, otp) == again


def test_it_is_stored_when_an_otp_was_sent(state: State) -> None:
    otp = generate_otp(state, now=NOW)
    state.mark_otp_sent(otp.otp_request_id, LATER)
    assert stored_otp(state, otp) == otp._replace(sent_at=LATER)


def test_without_an_otp_nothing_is_compared(state: State) -> None:
    assert try_otp(state, DIGEST) == OtpTry(None, is_compared=False)
    assert try_otp(state, DIGEST, mobile=NOOR, purpose="unsubscribe") == OtpTry(None, is_compared=False)


def test_an_otp_that_was_not_generated_is_not_compared(state: State) -> None:
    otp = request_otp(state)
    assert try_otp(state, DIGEST) == OtpTry(otp, is_compared=False)
    assert stored_otp(state, otp) == otp


def test_a_right_digest_costs_no_try(state: State) -> None:
    otp = generate_otp(state, now=NOW)
    for _ in range(POLICY.tries + 1):
        assert try_otp(state, DIGEST, now=LATER) == OtpTry(otp, is_compared=True)
    assert stored_otp(state, otp) == otp


def test_a_wrong_digest_costs_a_try_until_none_is_left(state: State) -> None:
    otp = generate_otp(state, now=NOW)
    for n in range(1, POLICY.tries + 1):
        tried = otp._replace(tries_left=POLICY.tries - n, last_wrong_try_at=NOW + n * MICROSECOND)
        assert try_otp(state, WRONG_DIGEST, now=NOW + n * MICROSECOND) == OtpTry(tried, is_compared=True)
        assert stored_otp(state, otp) == tried
    for digest in WRONG_DIGEST, DIGEST:
        assert try_otp(state, digest, now=LATER) == OtpTry(tried, is_compared=False)
    assert stored_otp(state, otp) == tried


@pytest.mark.parametrize("digest", [DIGEST, WRONG_DIGEST])
def test_an_otp_is_compared_until_it_expires_and_not_after_however_lately_it_was_requested(
    state: State, digest: str
) -> None:
    expires_at = NOW + timedelta(seconds=30)
    otp = generate_otp(state, now=NOW, expires_at=expires_at)
    for now in expires_at, expires_at + MICROSECOND:
        assert try_otp(state, digest, now=now) == OtpTry(otp, is_compared=False)
    assert stored_otp(state, otp) == otp
    assert try_otp(state, digest, now=expires_at - MICROSECOND).is_compared


@pytest.mark.parametrize("digest", [DIGEST, WRONG_DIGEST])
def test_an_otp_that_was_generated_late_is_compared_until_it_expires(state: State, digest: str) -> None:
    requested, expires_at = request_otp(state, now=NOW), NOW + 2 * POLICY.lifetime
    assert state.claim_otp(requested.otp_request_id, DIGEST, now=NOW, expires_at=expires_at)
    assert try_otp(state, digest, now=expires_at - MICROSECOND).is_compared
    assert not try_otp(state, digest, now=expires_at).is_compared


@pytest.mark.parametrize("digest", [DIGEST, WRONG_DIGEST])
def test_a_used_otp_is_compared_for_its_lifetime(state: State, digest: str) -> None:
    otp = generate_otp(state, now=NOW)
    assert activate(state, otp) is not None
    used = stored_otp(state, otp)
    assert try_otp(state, digest, now=NOW + POLICY.lifetime) == OtpTry(used, is_compared=False)
    assert stored_otp(state, otp) == used
    last = NOW + POLICY.lifetime - MICROSECOND
    cost = {} if digest == DIGEST else {"tries_left": POLICY.tries - 1, "last_wrong_try_at": last}
    assert try_otp(state, digest, now=last) == OtpTry(used._replace(**cost), is_compared=True)  # type: ignore[arg-type]


def test_tries_are_reset(state: State) -> None:
    otp = generate_otp(state, now=NOW)
    try_otp(state, WRONG_DIGEST)
    state.reset_otp_tries(stored_otp(state, otp), POLICY.tries)
    assert stored_otp(state, otp) == otp


# Subscribers


def test_a_number_that_never_subscribed_is_not_found(state: State) -> None:
    generate_otp(state)
    assert state.find_subscriber(MIRA) is None


def test_activating_stores_and_counts_a_subscriber_and_uses_the_otp(state: State) -> None:
    otp = generate_otp(state, now=NOW)
    try_otp(state, WRONG_DIGEST)
    subscriber_id = activate(state, stored_otp(state, otp), now=LATER)
    assert subscriber_id is not None
    assert stored_subscriber(state) == Subscriber(
        id=subscriber_id,
        mobile=MIRA,
        state=ACTIVE,
        requested_at=NOW,
        requested_from=CLIENT_IP,
        confirmed_at=LATER,
        confirmed_from="198.51.100.4",
        ended_at=None,
        time_zone=DEFAULT,
        joined_at=LATER,
        paused_until=None,
        last_sms_date=None,
        topic=None,
        subscription_arn=None,
        confirmation_sent_at=None,
        sync_due_at=LATER,
        lease_acquired_at=None,
    )
    assert state.subscriber_count() == ACTIVE_BYSTANDERS + 1
    used = stored_otp(state, otp)
    assert used == otp._replace(expires_at=None)
    assert used.is_used
    assert subscriber_id not in MIRA


def test_activating_again_keeps_the_id_topic_and_lease_of_an_inactive_subscriber(state: State) -> None:
    before = states.sync(state, active(state))
    assert state.claim_confirmation(before.id, NOW)
    assert state.deactivate(MIRA, now=NOW) == before.id
    leased = held(state, before)
    otp = generate_otp(state, now=LATER)
    assert activate(state, otp, now=LATER + MINUTE) == before.id
    assert stored_subscriber(state) == leased._replace(
        state=ACTIVE,
        requested_at=LATER,
        confirmed_at=LATER + MINUTE,
        confirmed_from="198.51.100.4",
        ended_at=None,
        joined_at=LATER + MINUTE,
        confirmation_sent_at=None,
        sync_due_at=LATER + MINUTE,
    )
    assert state.subscriber_count() == ACTIVE_BYSTANDERS + 1


def test_a_subscriber_that_opted_out_can_be_activated(state: State) -> None:
    before = active(state)
    assert state.mark_opted_out([MIRA], NOW) == 1
    assert activate(state, generate_otp(state, now=LATER), now=LATER) == before.id
    assert stored_subscriber(state).state == ACTIVE


@pytest.mark.parametrize("time_zone", [KOLKATA, None])
@pytest.mark.parametrize("free_places", [0, 9])
def test_activating_an_active_subscriber_only_uses_the_otp(
    state: State, free_places: int, time_zone: str | None
) -> None:
    before = active(state)
    otp = generate_otp(state, now=LATER)
    try_otp(state, WRONG_DIGEST)
    limit = ACTIVE_BYSTANDERS + 1 + free_places
    assert activate(state, otp, now=LATER, limit=limit, time_zone=time_zone) is None
    assert stored_subscriber(state) == before
    assert stored_otp(state, otp) == otp._replace(expires_at=None)
    assert state.subscriber_count() == ACTIVE_BYSTANDERS + 1


@pytest.mark.parametrize("is_known", [False, True])
def test_the_time_zone_that_is_chosen_is_stored(state: State, is_known: bool) -> None:
    if is_known:
        unsubscribed(state)
    assert activate(state, generate_otp(state, now=LATER), now=LATER, time_zone=AUCKLAND) is not None
    stored = stored_subscriber(state)
    assert (stored.time_zone, stored.joined_at) == (AUCKLAND, LATER)


def test_who_chooses_no_time_zone_keeps_the_former_one(state: State) -> None:
    assert unsubscribed(state).time_zone == KOLKATA
    assert activate(state, generate_otp(state, now=LATER), now=LATER) is not None
    stored = stored_subscriber(state)
    assert (stored.time_zone, stored.joined_at) == (KOLKATA, LATER)


@pytest.mark.parametrize("is_paused", [False, True])
def test_an_active_subscriber_that_chooses_another_time_zone_is_moved(state: State, is_paused: bool) -> None:
    synced = states.sync(state, active(state))
    if is_paused:
        assert state.pause(MIRA, until=LATER + MINUTE, now=NOW) == synced.id
    otp = generate_otp(state, now=LATER)
    assert activate(state, otp, now=LATER, limit=0, time_zone=AUCKLAND) == synced.id
    assert stored_subscriber(state) == synced._replace(time_zone=AUCKLAND, joined_at=LATER, sync_due_at=LATER)
    assert stored_otp(state, otp) == otp._replace(expires_at=None)
    assert state.subscriber_count() == ACTIVE_BYSTANDERS + 1


@pytest.mark.parametrize("time_zone", [KOLKATA, None])
def test_activating_ends_a_pause(state: State, time_zone: str | None) -> None:
    synced = states.sync(state, active(state))
    assert state.pause(MIRA, until=LATER + MINUTE, now=NOW) == synced.id
    otp = generate_otp(state, now=LATER)
    assert activate(state, otp, now=LATER, time_zone=time_zone) == synced.id
    assert stored_subscriber(state) == synced._replace(joined_at=LATER, sync_due_at=LATER)
    assert stored_otp(state, otp) == otp._replace(expires_at=None)


@pytest.mark.parametrize("time_zone", [KOLKATA, None])
def test_activating_after_a_pause_changes_nothing(state: State, time_zone: str | None) -> None:
    states.sync(state, active(state))
    assert state.pause(MIRA, until=LATER, now=NOW)
    paused = stored_subscriber(state)
    assert activate(state, generate_otp(state, now=LATER), now=LATER, time_zone=time_zone) is None
    assert stored_subscriber(state) == paused


def test_an_active_subscriber_with_an_otp_that_was_replaced_is_not_moved(state: State) -> None:
    active(state)
    assert state.pause(MIRA, until=LATER + MINUTE, now=NOW)
    before = stored_subscriber(state)
    for otp in replaced_otps(state, "subscribe"):
        for time_zone in AUCKLAND, KOLKATA, None:
            with pytest.raises(OtpReplaced):
                activate(state, otp, time_zone=time_zone)
    assert stored_subscriber(state) == before


def test_ending_a_subscription_ends_its_pause(state: State) -> None:
    for end in (lambda: state.deactivate(MIRA, now=LATER), lambda: state.mark_opted_out([MIRA], LATER)):
        activate(state, generate_otp(state))
        assert state.pause(MIRA, until=LATER + MINUTE, now=NOW)
        assert end()
        assert stored_subscriber(state).paused_until is None


def test_pausing_makes_the_sync_due_and_keeps_the_topic(state: State) -> None:
    synced = states.sync(state, active(state))
    for until in LATER + MINUTE, LATER + 2 * MINUTE:
        assert state.pause(MIRA, until=until, now=LATER) == synced.id
        assert stored_subscriber(state) == synced._replace(paused_until=until, joined_at=until, sync_due_at=LATER)
    assert state.subscriber_count() == ACTIVE_BYSTANDERS + 1


def test_a_number_that_is_not_active_is_not_paused(state: State) -> None:
    assert state.pause(MIRA, until=LATER + MINUTE, now=LATER) is None
    assert state.find_subscriber(MIRA) is None
    before = unsubscribed(state)
    assert state.pause(MIRA, until=LATER + MINUTE, now=LATER) is None
    assert stored_subscriber(state) == before
    assert state.pause(OPTED_OUT_OUT_OF_SYNC, until=LATER + MINUTE, now=LATER) is None


@pytest.mark.parametrize("is_active", [False, True])
def test_pausing_with_an_otp_uses_it(state: State, is_active: bool) -> None:
    before = active(state) if is_active else unsubscribed(state)
    otp = generate_otp(state, purpose="pause", now=NOW)
    pause = {"until": LATER + MINUTE, "now": LATER}
    assert state.pause(MIRA, **pause, otp=otp, tries=7) == (before.id if is_active else None)
    assert stored_otp(state, otp) == otp._replace(expires_at=None, tries_left=7)
    changes = {"paused_until": LATER + MINUTE, "joined_at": LATER + MINUTE, "sync_due_at": LATER} if is_active else {}
    assert stored_subscriber(state) == before._replace(**changes)  # type: ignore[arg-type]
    with pytest.raises(OtpReplaced):
        state.pause(MIRA, **pause, otp=otp, tries=7)


def test_pausing_with_an_otp_that_was_replaced_changes_nothing(state: State) -> None:
    before = active(state)
    older, current = replaced_otps(state, "pause")
    expected = stored_otp(state, current)
    for otp in older, current:
        with pytest.raises(OtpReplaced):
            state.pause(MIRA, until=LATER + MINUTE, now=LATER, otp=otp, tries=POLICY.tries)
    assert stored_otp(state, current) == expected
    assert stored_subscriber(state) == before


@pytest.mark.parametrize("is_active", [False, True])
def test_a_subscriber_is_moved_to_another_time_zone(state: State, is_active: bool) -> None:
    before = states.sync(state, active(state) if is_active else unsubscribed(state))
    assert not state.set_time_zone(before.id, KOLKATA, now=LATER)
    assert stored_subscriber(state) == before
    assert state.set_time_zone(before.id, AUCKLAND, now=LATER)
    moved = before._replace(time_zone=AUCKLAND, joined_at=LATER, sync_due_at=LATER)
    assert stored_subscriber(state) == moved
    assert before.id in state.out_of_sync(LATER)


def test_a_time_zone_can_be_stored_without_a_move(state: State) -> None:
    before = states.sync(state, active(state))
    assert state.set_time_zone(before.id, AUCKLAND, now=LATER, is_move=False)
    assert stored_subscriber(state) == before._replace(time_zone=AUCKLAND)
    assert not state.set_time_zone(before.id, AUCKLAND, now=LATER, is_move=False)


def test_every_subscriber_that_was_activated_has_a_time_zone(state: State) -> None:
    active(state)
    assert list(state.subscribers_without_time_zone()) == []


def test_the_last_place_can_be_taken(state: State) -> None:
    assert activate(state, generate_otp(state), limit=ACTIVE_BYSTANDERS + 1) is not None


@pytest.mark.parametrize("limit", [ACTIVE_BYSTANDERS, ACTIVE_BYSTANDERS - 1, 0])
def test_at_the_limit_nothing_is_changed(state: State, limit: int) -> None:
    otp = generate_otp(state, now=NOW)
    try_otp(state, WRONG_DIGEST)
    otp = stored_otp(state, otp)
    with pytest.raises(SubscriberCountLimit):
        activate(state, otp, limit=limit)
    assert state.find_subscriber(MIRA) is None
    assert stored_otp(state, otp) == otp


def replaced_otps(state: State, purpose: Purpose) -> list[Otp]:
    """Return OTPs of the number `MIRA` that are no longer as they were compared, each for another reason."""
    replaced = generate_otp(state, purpose=purpose, now=NOW - MINUTE)
    generated = generate_otp(state, purpose=purpose, now=NOW)
    state.release_otp(generated.otp_request_id)
    assert state.claim_otp(generated.otp_request_id, "c" * 32, now=NOW, expires_at=LATER)
    return [replaced, generated]


@pytest.mark.parametrize("is_active", [False, True])
@pytest.mark.parametrize("limit", [LIMIT, 0])
def test_activating_with_an_otp_that_was_replaced_changes_nothing(state: State, is_active: bool, limit: int) -> None:
    before = active(state) if is_active else None
    older, current = replaced_otps(state, "subscribe")
    expected = stored_otp(state, current)
    for otp in older, current:
        with pytest.raises(OtpReplaced):
            activate(state, otp, limit=limit)
    assert stored_otp(state, current) == expected
    assert state.find_subscriber(MIRA) == before


def test_an_otp_activates_once(state: State) -> None:
    otp = generate_otp(state, now=NOW)
    assert activate(state, otp) is not None
    for purpose_is_fulfilled in True, False:
        expected = stored_otp(state, otp), stored_subscriber(state)
        with pytest.raises(OtpReplaced):
            activate(state, otp, now=LATER)
        assert (stored_otp(state, otp), stored_subscriber(state)) == expected
        assert not purpose_is_fulfilled or state.deactivate(MIRA, now=LATER) is not None


def test_deactivating_keeps_the_subscriber_and_counts_one_less(state: State) -> None:
    before = states.sync(state, active(state))
    assert state.deactivate(MIRA, now=LATER) == before.id
    ended = before._replace(state=UNSUBSCRIBED, ended_at=LATER, sync_due_at=LATER)
    assert stored_subscriber(state) == ended
    assert state.subscriber_count() == ACTIVE_BYSTANDERS


def test_deactivating_a_number_that_is_not_active_changes_nothing(state: State) -> None:
    assert state.deactivate(MIRA, now=LATER) is None
    before = unsubscribed(state)
    assert state.deactivate(MIRA, now=LATER) is None
    assert stored_subscriber(state) == before
    assert state.deactivate(OPTED_OUT_OUT_OF_SYNC, now=LATER) is None
    assert state.deactivate(UNSUBSCRIBED_IN_SYNC, now=LATER) is None


def otp_to_unsubscribe(state: State, bystanders: Bystanders) -> Otp:
    """Return an OTP that replaces the bystander's one."""
    for key in [
        key for key, stored in bystanders.expected.items() if isinstance(stored, Otp) and stored.mobile == MIRA
    ]:
        del bystanders.expected[key]
    return generate_otp(state, purpose="unsubscribe", now=NOW)


def test_deactivating_with_an_otp_uses_it(state: State, bystanders: Bystanders) -> None:
    before = active(state)
    otp = otp_to_unsubscribe(state, bystanders)
    try_otp(state, WRONG_DIGEST, purpose="unsubscribe")
    assert state.deactivate(MIRA, now=LATER, otp=otp, tries=POLICY.tries) == before.id
    assert stored_otp(state, otp) == otp._replace(expires_at=None)
    assert stored_subscriber(state).state == UNSUBSCRIBED
    with pytest.raises(OtpReplaced):
        state.deactivate(MIRA, now=LATER, otp=otp, tries=POLICY.tries)


def test_deactivating_a_number_that_is_not_active_uses_the_otp(state: State, bystanders: Bystanders) -> None:
    before = unsubscribed(state)
    otp = otp_to_unsubscribe(state, bystanders)
    assert state.deactivate(MIRA, now=LATER, otp=otp, tries=7) is None
    assert stored_otp(state, otp) == otp._replace(expires_at=None, tries_left=7)
    assert stored_subscriber(state) == before
    with pytest.raises(OtpReplaced):
        state.deactivate(MIRA, now=LATER, otp=otp, tries=POLICY.tries)


def test_deactivating_with_an_otp_that_was_replaced_changes_nothing(state: State, bystanders: Bystanders) -> None:
    before = active(state)
    otp_to_unsubscribe(state, bystanders)
    older, current = replaced_otps(state, "unsubscribe")
    expected = stored_otp(state, current)
    for otp in older, current:
        with pytest.raises(OtpReplaced):
            state.deactivate(MIRA, now=LATER, otp=otp, tries=POLICY.tries)
    assert stored_otp(state, current) == expected
    assert stored_subscriber(state) == before


def test_of_many_numbers_the_active_ones_are_marked_as_opted_out(state: State) -> None:
    before = [states.sync(state, active(state, mobile)) for mobile in (MIRA, NOOR)]
    numbers = [MIRA, "+919028000099", NOOR, UNSUBSCRIBED_IN_SYNC, OPTED_OUT_OUT_OF_SYNC, MIRA]
    assert state.mark_opted_out(numbers, LATER) == 2
    for subscriber in before:
        ended = subscriber._replace(state=OPTED_OUT, ended_at=LATER, sync_due_at=LATER)
        assert stored_subscriber(state, subscriber.mobile) == ended
    assert state.mark_opted_out(numbers, LATER) == 0
    assert state.mark_opted_out([], LATER) == 0
    assert state.subscriber_count() == ACTIVE_BYSTANDERS


def test_a_subscriber_is_deleted_once_it_is_inactive_and_in_sync(state: State) -> None:
    assert not state.delete_subscriber(MIRA)
    states.sync(state, active(state))
    assert not state.delete_subscriber(MIRA), "it is active"
    state.deactivate(MIRA, now=NOW)
    assert not state.delete_subscriber(MIRA), "it is out of sync"
    states.sync(state, stored_subscriber(state))
    assert state.delete_subscriber(MIRA)
    assert state.find_subscriber(MIRA) is None
    assert not state.delete_subscriber(MIRA)
    assert active(state).topic is None, "it begins as new"


def test_a_subscriber_that_confirmed_after_numbers_were_listed_is_not_marked_as_opted_out(state: State) -> None:
    activate(state, generate_otp(state), now=LATER)
    assert state.mark_opted_out([MIRA], NOW) == 0
    assert stored_subscriber(state).state == ACTIVE


def test_a_subscriber_that_opted_out_can_be_deleted(state: State) -> None:
    active(state)
    state.mark_opted_out([MIRA], NOW)
    states.sync(state, stored_subscriber(state))
    assert state.delete_subscriber(MIRA)


def test_otps_and_logs_of_a_number_are_deleted_and_its_subscription_is_not(
    state: State, bystanders: Bystanders
) -> None:
    subscriber = active(state)
    otps = [generate_otp(state, now=NOW), otp_to_unsubscribe(state, bystanders)]
    assert state.swap_rate_limit_log(LOG_KEY, "", "3", now=NOW, keep_until=LATER)
    assert state.delete_number(MIRA, [LOG_KEY, "3" * 32])
    assert [state.find_otp(otp.otp_request_id) for otp in otps] == [None, None]
    assert state.read_rate_limit_log(LOG_KEY) == ""
    assert stored_subscriber(state) == subscriber
    assert not state.delete_number(MIRA, [LOG_KEY])


def test_there_was_data_of_a_number_if_it_had_an_otp_or_a_log(state: State) -> None:
    assert not state.delete_number(NOOR, [])
    assert not state.delete_number(NOOR, [LOG_KEY])
    for purpose in "subscribe", "unsubscribe", "pause":
        request_otp(state, NOOR, purpose)
        assert state.delete_number(NOOR, [])
    assert state.swap_rate_limit_log(LOG_KEY, "", "3", now=NOW, keep_until=LATER)
    assert state.delete_number(NOOR, [LOG_KEY])


def test_deleted_data_is_erased(state: State) -> None:
    request_otp(state, NOOR)
    state.delete_number(NOOR, [])
    assert state.erase_deleted()


def test_subscribers_are_listed_and_counted_by_their_state(state: State) -> None:
    active(state)
    expected = {
        None: {MIRA, ACTIVE_IN_SYNC, ACTIVE_OUT_OF_SYNC, UNSUBSCRIBED_IN_SYNC, OPTED_OUT_OUT_OF_SYNC},
        ACTIVE: {MIRA, ACTIVE_IN_SYNC, ACTIVE_OUT_OF_SYNC},
        UNSUBSCRIBED: {UNSUBSCRIBED_IN_SYNC},
        OPTED_OUT: {OPTED_OUT_OUT_OF_SYNC},
    }
    for in_state, numbers in expected.items():
        listed = list(state.subscribers(in_state))
        assert (sorted(s.mobile for s in listed), state.count_subscribers(in_state)) == (sorted(numbers), len(numbers))
        assert all(subscriber == stored_subscriber(state, subscriber.mobile) for subscriber in listed)
        assert {subscriber.mobile for subscriber in state.newest_subscribers(9, in_state)} == numbers


def test_newest_subscribers_come_first(state: State) -> None:
    later, last = active(state, NOOR, now=NOW), active(state, MIRA, now=LATER)
    assert state.newest_subscribers(2) == [last, later]
    assert state.newest_subscribers(1, ACTIVE) == [last]
    assert state.newest_subscribers(0) == []


def test_a_recount_finds_the_number_that_is_stored(state: State) -> None:
    active(state)
    assert state.recount_subscribers() == (ACTIVE_BYSTANDERS + 1, ACTIVE_BYSTANDERS + 1)


# Topic sync


@pytest.mark.parametrize("is_active", [False, True])
def test_a_lease_keeps_the_topic_and_the_subscription(state: State, is_active: bool) -> None:
    before = states.sync(state, active(state), ANOTHER_TOPIC)
    if is_active:
        state.mark_out_of_sync(before, ANOTHER_TOPIC, before.subscription_arn, NOW)
    else:
        state.deactivate(MIRA, now=NOW)
    before = stored_subscriber(state)
    assert held(state, before, now=LATER) == before._replace(lease_acquired_at=LATER)
    assert stored_subscriber(state) == before._replace(lease_acquired_at=LATER)


def test_a_topic_is_stored_without_the_subscription_to_the_former_one(state: State) -> None:
    synced = states.sync(state, active(state), ANOTHER_TOPIC)
    state.mark_out_of_sync(synced, ANOTHER_TOPIC, synced.subscription_arn, NOW)
    leased = held(state, synced)
    assert state.store_topic(leased, TOPIC)
    assert stored_subscriber(state) == leased._replace(topic=TOPIC, subscription_arn=None)


@pytest.mark.parametrize("is_active", [False, True])
def test_a_lease_can_be_acquired_again_when_it_is_over(state: State, is_active: bool) -> None:
    subscriber = held(state, active(state) if is_active else unsubscribed(state))
    for now in NOW, NOW + LEASE_TIMEOUT - MICROSECOND:
        assert state.acquire_lease(subscriber.id, now=now, timeout=LEASE_TIMEOUT) is None
    assert stored_subscriber(state) == subscriber
    assert held(state, subscriber, now=NOW + LEASE_TIMEOUT).lease_acquired_at == NOW + LEASE_TIMEOUT


@pytest.mark.parametrize("is_active", [False, True])
def test_a_subscriber_in_sync_has_no_lease(state: State, is_active: bool) -> None:
    synced = states.sync(state, active(state) if is_active else unsubscribed(state))
    assert state.acquire_lease(synced.id, now=LATER, timeout=LEASE_TIMEOUT) is None
    assert stored_subscriber(state) == synced


@pytest.mark.parametrize("subscriber_id", [NO_SUBSCRIBER, "99999", "9" * 32, "f" * 32])
def test_an_unknown_id_is_no_subscriber(state: State, subscriber_id: str) -> None:
    unknown = active(state)._replace(id=subscriber_id, lease_acquired_at=NOW, mobile=NOOR)
    assert state.acquire_lease(subscriber_id, now=NOW, timeout=LEASE_TIMEOUT) is None
    state.store_subscription_arn(unknown, "arn")
    assert not state.store_topic(unknown, TOPIC)
    assert not state.finish_sync(unknown, TOPIC, "arn")
    assert not state.finish_sync(unknown, None, None)
    assert not state.release_lease(unknown)
    assert state.mark_out_of_sync(unknown, TOPIC, "arn", NOW) is None
    assert not state.set_time_zone(subscriber_id, AUCKLAND, now=NOW)
    assert not state.claim_confirmation(subscriber_id, NOW)
    state.release_confirmation(subscriber_id)
    assert state.find_subscriber(NOOR) is None


def test_a_subscription_that_was_found_is_stored(state: State) -> None:
    leased = held(state, active(state))
    state.store_subscription_arn(leased, "arn")
    assert stored_subscriber(state) == leased._replace(subscription_arn="arn")


def test_an_active_subscriber_is_in_sync_after_its_sync(state: State) -> None:
    leased = held(state, active(state))
    assert state.finish_sync(leased, TOPIC, "arn")
    assert stored_subscriber(state) == leased._replace(
        topic=TOPIC, subscription_arn="arn", sync_due_at=None, lease_acquired_at=None
    )
    assert not state.finish_sync(leased, ANOTHER_TOPIC, "other"), "the lease is released"
    assert stored_subscriber(state).subscription_arn == "arn"


def test_an_inactive_subscriber_is_in_sync_and_on_no_topic_after_its_sync(state: State) -> None:
    states.sync(state, active(state))
    state.deactivate(MIRA, now=LATER)
    leased = held(state, stored_subscriber(state))
    assert leased.subscription_arn is not None
    assert state.finish_sync(leased, None, None)
    assert stored_subscriber(state) == leased._replace(
        topic=None, subscription_arn=None, sync_due_at=None, lease_acquired_at=None
    )


def lose_lease(state: State, leased: Subscriber) -> Subscriber:
    """Give the lease to another process."""
    return held(state, leased, now=NOW + LEASE_TIMEOUT)


@pytest.mark.parametrize("is_active", [False, True])
def test_without_the_lease_nothing_is_stored(state: State, is_active: bool) -> None:
    leased = held(state, active(state) if is_active else unsubscribed(state))
    expected = lose_lease(state, leased)
    state.store_subscription_arn(leased, "arn")
    assert not state.store_topic(leased, ANOTHER_TOPIC)
    assert not state.finish_sync(leased, ANOTHER_TOPIC, "arn", last_sms_date=TODAY, due_at=LATER)
    assert not state.finish_sync(leased, None, None, last_sms_date=TODAY)
    assert not state.release_lease(leased)
    assert stored_subscriber(state) == expected


def change_state(state: State, leased: Subscriber) -> Subscriber:
    """Unsubscribe at the time since which a sync is needed."""
    assert leased.sync_due_at is not None
    state.deactivate(MIRA, now=leased.sync_due_at)
    return stored_subscriber(state)


def change_confirmation(state: State, leased: Subscriber) -> Subscriber:
    """Subscribe again, at the time since which a sync is needed."""
    assert leased.sync_due_at is not None
    if leased.state == ACTIVE:
        state.deactivate(MIRA, now=NOW)
    otp = generate_otp(state, now=LATER)
    activate(state, otp, now=leased.sync_due_at)
    if leased.state != ACTIVE:
        state.deactivate(MIRA, now=leased.sync_due_at)
    return stored_subscriber(state)


def change_time_zone(state: State, leased: Subscriber) -> Subscriber:
    """Move to another time zone, at the time from which on the sync is due."""
    assert leased.sync_due_at is not None
    assert state.set_time_zone(leased.id, AUCKLAND, now=leased.sync_due_at)
    return stored_subscriber(state)


def change_pause(state: State, leased: Subscriber) -> Subscriber:
    """Pause, at the time from which on the sync is due."""
    assert leased.sync_due_at is not None
    assert state.pause(MIRA, until=LATER + MINUTE, now=leased.sync_due_at) == leased.id
    return stored_subscriber(state)


def lose_lease_to(state: State, leased: Subscriber) -> Subscriber:
    """Let a process that lost the lease before store what it did."""
    state.mark_out_of_sync(leased, TOPIC, leased.subscription_arn, LATER + MINUTE)
    return stored_subscriber(state)


CHANGES = [change_state, change_confirmation, change_time_zone, change_pause, lose_lease_to]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("place", [(TOPIC, "arn"), (TOPIC, None), (None, None)])
def test_the_sync_of_a_subscriber_that_changed_meanwhile_stays_due_and_forgets_no_subscription(
    state: State, change: Change, place: tuple[str | None, str | None]
) -> None:
    synced = states.sync(state, active(state))
    state.mark_out_of_sync(synced, TOPIC, "found", LATER)
    leased = held(state, synced, now=LATER)
    changed = change(state, leased)
    assert changed.lease_acquired_at == leased.lease_acquired_at
    assert state.finish_sync(leased, *place, last_sms_date=TODAY, due_at=LATER + 9 * MINUTE)
    topic, arn = place if place[0] is not None else (TOPIC, "found")
    expected = changed._replace(topic=topic, subscription_arn=arn, last_sms_date=TODAY, lease_acquired_at=None)
    assert stored_subscriber(state) == expected


@pytest.mark.parametrize("change", CHANGES)
def test_of_a_subscriber_that_changed_meanwhile_no_topic_is_stored(state: State, change: Change) -> None:
    subscriber = active(state)
    state.mark_out_of_sync(subscriber, ANOTHER_TOPIC, None, LATER)
    leased = held(state, subscriber, now=LATER)
    changed = change(state, leased)
    assert not state.store_topic(leased, TOPIC)
    assert stored_subscriber(state) == changed
    assert state.release_lease(leased), "the lease is still held"


def test_an_inactive_subscriber_that_was_confirmed_again_stays_out_of_sync(state: State) -> None:
    active(state)
    state.deactivate(MIRA, now=LATER)
    leased = held(state, stored_subscriber(state), now=LATER)
    changed = change_confirmation(state, leased)
    assert (changed.state, changed.sync_due_at) == (leased.state, leased.sync_due_at)
    assert state.finish_sync(leased, None, None)
    assert stored_subscriber(state) == changed._replace(lease_acquired_at=None)


def test_a_subscription_of_which_only_the_topic_is_known_is_stored(state: State) -> None:
    leased = held(state, active(state))
    assert state.finish_sync(leased, TOPIC, None)
    assert stored_subscriber(state) == leased._replace(topic=TOPIC, sync_due_at=None, lease_acquired_at=None)


def test_the_next_sync_is_due_at_the_time_that_is_given(state: State) -> None:
    subscriber = active(state)
    assert state.finish_sync(held(state, subscriber), None, None, due_at=LATER)
    waiting = stored_subscriber(state)
    assert waiting == subscriber._replace(sync_due_at=LATER, joined_at=LATER), "it joins its time zone then"
    assert subscriber.id not in state.out_of_sync(LATER - MICROSECOND)
    assert state.acquire_lease(subscriber.id, now=LATER - MICROSECOND, timeout=LEASE_TIMEOUT) is None
    assert stored_subscriber(state) == waiting
    assert subscriber.id in state.out_of_sync(LATER)
    leased = held(state, subscriber, now=LATER)
    assert state.finish_sync(leased, TOPIC, "arn")
    assert stored_subscriber(state).sync_due_at is None


@pytest.mark.parametrize("change", [change_state, change_confirmation, change_time_zone, change_pause, lose_lease_to])
def test_a_change_makes_a_sync_due_that_was_due_later(state: State, change: Change) -> None:
    subscriber = active(state)
    assert state.finish_sync(held(state, subscriber), None, None, due_at=LATER + timedelta(days=1))
    assert subscriber.id not in state.out_of_sync(LATER + MINUTE)
    change(state, stored_subscriber(state)._replace(sync_due_at=LATER))
    assert subscriber.id in state.out_of_sync(LATER + MINUTE)
    held(state, subscriber, now=LATER + MINUTE)


def test_the_date_of_the_last_sms_never_goes_back(state: State) -> None:
    subscriber = active(state)
    given = [None, TODAY, TODAY - timedelta(days=1), None, TODAY + timedelta(days=1)]
    stored = []
    for day in given:
        assert state.finish_sync(held(state, subscriber), None, None, last_sms_date=day, due_at=NOW)
        stored.append(stored_subscriber(state).last_sms_date)
    assert stored == [None, TODAY, TODAY, TODAY, TODAY + timedelta(days=1)]


def test_the_date_of_the_last_sms_outlives_a_subscription(state: State) -> None:
    subscriber = active(state)
    assert state.finish_sync(held(state, subscriber), None, None, last_sms_date=TODAY)
    state.deactivate(MIRA, now=LATER)
    assert activate(state, generate_otp(state, now=LATER), now=LATER) == subscriber.id
    assert stored_subscriber(state).last_sms_date == TODAY


def test_a_released_lease_can_be_acquired_at_once(state: State) -> None:
    leased = held(state, active(state))
    assert state.release_lease(leased)
    assert stored_subscriber(state) == leased._replace(lease_acquired_at=None)
    assert not state.release_lease(leased)
    assert held(state, leased, now=NOW) == leased


@pytest.mark.parametrize("stored_topic", [None, TOPIC])
def test_after_its_lease_was_lost_an_active_subscriber_is_due_with_its_subscription(
    state: State, stored_topic: str | None
) -> None:
    leased = held(state, active(state))
    other = held(state, leased, now=NOW + LEASE_TIMEOUT)
    assert state.finish_sync(other, stored_topic, None)
    assert state.deactivate(MIRA, now=LATER)
    before = stored_subscriber(state)
    for arn, now in ("arn", LATER + MINUTE), (None, LATER):
        marked = before._replace(topic=TOPIC, subscription_arn=arn, sync_due_at=now)
        assert state.mark_out_of_sync(leased, TOPIC, arn, now) == marked
        assert stored_subscriber(state) == marked


def test_after_its_lease_was_lost_a_subscriber_on_another_topic_stays_there_and_is_due(state: State) -> None:
    leased = held(state, active(state))
    synced = states.sync(state, leased, ANOTHER_TOPIC, now=NOW + LEASE_TIMEOUT)
    marked = state.mark_out_of_sync(leased, TOPIC, "arn", LATER + MINUTE)
    assert marked == synced._replace(sync_due_at=LATER + MINUTE) == stored_subscriber(state)


def test_after_its_lease_was_lost_an_inactive_subscriber_is_due_with_its_subscription(state: State) -> None:
    leased = held(state, unsubscribed(state))
    marked = state.mark_out_of_sync(leased, TOPIC, "arn", LATER)
    expected = leased._replace(topic=TOPIC, subscription_arn="arn", sync_due_at=LATER)
    assert marked == expected == stored_subscriber(state)


@pytest.mark.parametrize("is_active", [False, True])
def test_after_its_lease_was_lost_a_subscriber_that_was_not_added_keeps_its_subscription(
    state: State, is_active: bool
) -> None:
    synced = states.sync(state, active(state))
    if not is_active:
        state.deactivate(MIRA, now=NOW)
    before = stored_subscriber(state)
    marked = state.mark_out_of_sync(synced, None, None, LATER)
    assert marked == before._replace(sync_due_at=LATER) == stored_subscriber(state)


def test_a_deleted_subscriber_is_not_marked_out_of_sync(state: State) -> None:
    synced = states.sync(state, unsubscribed(state))
    assert state.delete_subscriber(MIRA)
    assert state.mark_out_of_sync(synced, TOPIC, None, LATER) is None
    assert state.find_subscriber(MIRA) is None


def test_all_active_subscribers_are_marked_out_of_sync(state: State, bystanders: Bystanders) -> None:
    synced = states.sync(state, active(state))
    state.mark_all_out_of_sync(LATER)
    bystanders.expect_out_of_sync(LATER)
    assert stored_subscriber(state) == synced._replace(sync_due_at=LATER)
    numbers = ACTIVE_IN_SYNC, ACTIVE_OUT_OF_SYNC, OPTED_OUT_OUT_OF_SYNC
    assert set(state.out_of_sync(LATER)) == {synced.id, *(stored_subscriber(state, mobile).id for mobile in numbers)}


def test_subscribers_out_of_sync_are_listed_and_counted(state: State) -> None:
    others = {stored_subscriber(state, mobile).id for mobile in (ACTIVE_OUT_OF_SYNC, OPTED_OUT_OUT_OF_SYNC)}
    assert (set(state.out_of_sync(NOW)), state.count_out_of_sync(LATER)) == (others, 2)
    subscriber = active(state)
    assert (set(state.out_of_sync(NOW)), state.count_out_of_sync(LATER)) == ({subscriber.id, *others}, 3)
    states.sync(state, subscriber)
    assert (set(state.out_of_sync(NOW)), state.count_out_of_sync(LATER)) == (others, 2)
    state.deactivate(MIRA, now=NOW)
    assert (set(state.out_of_sync(NOW)), state.count_out_of_sync(LATER)) == ({subscriber.id, *others}, 3)
    assert state.mark_opted_out([MIRA], NOW) == 0
    states.sync(state, stored_subscriber(state))
    assert (set(state.out_of_sync(NOW)), state.count_out_of_sync(LATER)) == (others, 2)


def test_those_whose_sync_was_due_at_a_time_are_counted(state: State) -> None:
    active(state, now=NOW)
    times = [BEFORE - MICROSECOND, BEFORE, BEFORE + MINUTE, NOW - MICROSECOND, NOW]
    assert [state.count_out_of_sync(time) for time in times] == [0, 1, 2, 2, 3]


def test_the_confirmation_is_claimed_once_until_it_is_released(state: State) -> None:
    subscriber = active(state)
    assert state.claim_confirmation(subscriber.id, LATER)
    assert stored_subscriber(state) == subscriber._replace(confirmation_sent_at=LATER)
    assert not state.claim_confirmation(subscriber.id, LATER + MINUTE)
    assert stored_subscriber(state).confirmation_sent_at == LATER
    state.release_confirmation(subscriber.id)
    assert stored_subscriber(state) == subscriber
    assert state.claim_confirmation(subscriber.id, LATER + MINUTE)


def test_the_topics_of_active_subscribers_are_in_use(state: State) -> None:
    assert state.topics_in_use() == [TOPIC]
    others = ["Z-before-lowercase", "arn:b-topic-between", "z-topic-after-all"]
    for n, topic in enumerate(others):
        for mobile in f"+9190281{n:05}", f"+9190282{n:05}":
            states.sync(state, active(state, mobile), topic)
    active(state)
    assert state.topics_in_use() == sorted([TOPIC, *others])
    assert state.store_topic(held(state, stored_subscriber(state)), "its-sync-has-begun")
    assert state.topics_in_use() == sorted([TOPIC, *others, "its-sync-has-begun"])
    state.deactivate(MIRA, now=NOW)
    assert state.topics_in_use() == sorted([TOPIC, *others])


def test_without_active_subscribers_no_topic_is_in_use(state: State, bystanders: Bystanders) -> None:
    bystanders.expect_unsubscribed(LATER)
    for mobile in ACTIVE_IN_SYNC, ACTIVE_OUT_OF_SYNC:
        state.deactivate(mobile, now=LATER)
    assert state.topics_in_use() == []
    active(state)
    assert state.topics_in_use() == []


def test_active_subscribers_in_sync_with_a_topic_are_counted(state: State) -> None:
    assert (state.count_in_sync_with(TOPIC), state.count_in_sync_with(ANOTHER_TOPIC)) == (1, 0)
    subscriber = active(state)
    assert state.store_topic(held(state, subscriber), TOPIC)
    assert state.count_in_sync_with(TOPIC) == 1, "it is on the topic but out of sync"
    states.sync(state, subscriber, ANOTHER_TOPIC, now=NOW + LEASE_TIMEOUT)
    assert (state.count_in_sync_with(TOPIC), state.count_in_sync_with(ANOTHER_TOPIC)) == (1, 1)
    state.deactivate(MIRA, now=NOW)
    states.sync(state, stored_subscriber(state))
    assert (state.count_in_sync_with(TOPIC), state.count_in_sync_with(ANOTHER_TOPIC)) == (1, 0)


def test_a_subscriber_on_a_topic_that_joined_its_time_zone_before_a_time_is_found(state: State) -> None:
    assert not state.has_joined_before(TOPIC, BEFORE)
    assert state.has_joined_before(TOPIC, BEFORE + MICROSECOND)
    subscriber = active(state)
    assert not state.has_joined_before(ANOTHER_TOPIC, LATER), "it is on no topic yet"
    states.sync(state, subscriber, ANOTHER_TOPIC)
    assert not state.has_joined_before(ANOTHER_TOPIC, NOW)
    assert state.has_joined_before(ANOTHER_TOPIC, NOW + MICROSECOND)
    assert state.set_time_zone(subscriber.id, AUCKLAND, now=LATER)
    assert not state.has_joined_before(ANOTHER_TOPIC, LATER)
    assert state.has_joined_before(ANOTHER_TOPIC, LATER + MICROSECOND)
    state.deactivate(MIRA, now=LATER)
    assert not state.has_joined_before(ANOTHER_TOPIC, LATER + MICROSECOND), "it is not active"


# Deliveries


def claim_delivery(
    state: State, *, now: datetime = NOW, unknown_after: timedelta | None = None, day: date = TODAY
) -> Delivery | None:
    return state.claim_delivery(day, TOPIC, now=now, timeout=MINUTE, unknown_after=unknown_after)


def claimed(state: State, *, now: datetime = NOW, unknown_after: timedelta | None = None) -> Delivery:
    claim = claim_delivery(state, now=now, unknown_after=unknown_after)
    assert claim is not None
    return claim


def test_a_delivery_is_claimed_once(state: State) -> None:
    assert state.find_delivery(TODAY, TOPIC) is None
    claim = claimed(state)
    assert claim == Delivery(
        date=TODAY, topic=TOPIC, claimed_at=NOW, sending_at=None, sent_at=None, message_id=None, reported_at=None
    )
    assert state.find_delivery(TODAY, TOPIC) == claim
    for now in NOW, NOW + MICROSECOND:
        assert claim_delivery(state, now=now) is None
        assert claim_delivery(state, now=now, unknown_after=timedelta()) is None
    assert state.find_delivery(TODAY, TOPIC) == claim


@pytest.mark.parametrize("unknown_after", [None, UNKNOWN_AFTER])
def test_a_claim_is_taken_over_after_its_timeout(state: State, unknown_after: timedelta | None) -> None:
    claim = claimed(state)
    assert claim_delivery(state, now=LATER - MICROSECOND, unknown_after=unknown_after) is None
    taken_over = claimed(state, now=LATER, unknown_after=unknown_after)
    assert taken_over == claim._replace(claimed_at=LATER) == state.find_delivery(TODAY, TOPIC)


def test_once_sending_began_a_claim_is_taken_over_after_the_time_that_is_given(state: State) -> None:
    claim = claimed(state)
    assert state.start_sending(claim, LATER)
    stored = state.find_delivery(TODAY, TOPIC)
    assert stored == claim._replace(sending_at=LATER)
    over = LATER + UNKNOWN_AFTER
    assert claim_delivery(state, now=over + UNKNOWN_AFTER) is None
    assert claim_delivery(state, now=over - MICROSECOND, unknown_after=UNKNOWN_AFTER) is None
    assert state.find_delivery(TODAY, TOPIC) == stored
    taken_over = claimed(state, now=over, unknown_after=UNKNOWN_AFTER)
    assert taken_over == claim._replace(claimed_at=over, sending_at=LATER) == state.find_delivery(TODAY, TOPIC)


def test_a_delivery_that_was_sent_is_never_claimed_again(state: State) -> None:
    claim = claimed(state)
    state.finish_delivery(claim, "message", LATER)
    sent = state.find_delivery(TODAY, TOPIC)
    assert sent == claim._replace(sent_at=LATER, message_id="message")
    for unknown_after in None, timedelta():
        assert claim_delivery(state, now=NOW + timedelta(days=9), unknown_after=unknown_after) is None
    assert state.find_delivery(TODAY, TOPIC) == sent


def test_a_delivery_that_was_sent_after_sending_began_is_never_claimed_again(state: State) -> None:
    claim = claimed(state)
    assert state.start_sending(claim, NOW)
    state.finish_delivery(claim, "message", LATER)
    for unknown_after in None, timedelta():
        assert claim_delivery(state, now=NOW + timedelta(days=9), unknown_after=unknown_after) is None


def test_the_delivery_with_the_last_date_is_found(state: State) -> None:
    assert state.last_delivery("no-such-topic") is None
    assert state.last_delivery(TOPIC) == state.find_delivery(TODAY - timedelta(days=1), TOPIC)
    claim = claimed(state)
    assert state.last_delivery(TOPIC) == claim
    claim_delivery(state, day=TODAY - timedelta(days=300), now=LATER)
    assert state.last_delivery(TOPIC) == claim


def test_of_equal_claims_one_starts_sending(state: State) -> None:
    claim = claimed(state)
    assert state.start_sending(claim, LATER)
    assert not state.start_sending(claim, LATER + MINUTE)
    assert state.find_delivery(TODAY, TOPIC) == claim._replace(sending_at=LATER)


def test_of_equal_claims_that_were_taken_over_one_starts_sending(state: State) -> None:
    assert state.start_sending(claimed(state), NOW)
    claim = claimed(state, now=LATER, unknown_after=MINUTE)
    assert state.start_sending(claim, LATER)
    assert not state.start_sending(claim, LATER + MINUTE)
    assert state.find_delivery(TODAY, TOPIC) == claim._replace(sending_at=LATER)


def test_a_claim_that_was_lost_changes_nothing(state: State) -> None:
    lost, claim = claimed(state), claimed(state, now=LATER)
    assert not state.start_sending(lost, LATER)
    state.finish_delivery(lost, "message", LATER)
    state.release_delivery(lost)
    state.release_delivery(lost._replace(sending_at=NOW))
    assert state.find_delivery(TODAY, TOPIC) == claim


def test_the_claim_of_a_delivery_that_is_gone_changes_nothing(state: State) -> None:
    claim = claimed(state)
    state.release_delivery(claim)
    assert not state.start_sending(claim, LATER)
    state.finish_delivery(claim, "message", LATER)
    state.release_delivery(claim)
    state.release_delivery(claim._replace(sending_at=NOW))
    assert state.find_delivery(TODAY, TOPIC) is None


@pytest.mark.parametrize("is_sending", [False, True])
def test_a_released_delivery_can_be_claimed_at_once(state: State, is_sending: bool) -> None:
    claim = claimed(state)
    if is_sending:
        assert state.start_sending(claim, NOW)
    state.release_delivery(claim)
    assert state.find_delivery(TODAY, TOPIC) is None
    assert claimed(state) == claim


def test_a_released_delivery_keeps_when_an_earlier_process_began_to_send(state: State) -> None:
    assert state.start_sending(claimed(state), NOW)
    claim = claimed(state, now=LATER, unknown_after=MINUTE)
    assert state.start_sending(claim, LATER)
    state.release_delivery(claim)
    assert state.find_delivery(TODAY, TOPIC) == claim
    assert claim.sending_at == NOW


def report(
    state: State, *, now: datetime = LATER, claimed_before: datetime = NOW, sending_before: datetime = NOW
) -> Delivery | None:
    """Report a delivery that is missed or in doubt; by default, of a claim from `NOW` or before."""
    return state.report_delivery(TODAY, TOPIC, now=now, claimed_before=claimed_before, sending_before=sending_before)


def test_a_delivery_that_was_never_claimed_is_reported_as_missed_once(state: State) -> None:
    reported = report(state)
    assert reported == Delivery(TODAY, TOPIC, LATER, None, None, None, reported_at=LATER)
    assert state.find_delivery(TODAY, TOPIC) == reported
    assert report(state, now=LATER + MINUTE, claimed_before=LATER + MINUTE) is None
    assert state.find_delivery(TODAY, TOPIC) == reported


def test_a_delivery_whose_process_died_before_sending_is_reported_as_missed_once(state: State) -> None:
    claim = claimed(state)
    for claimed_before in NOW - MICROSECOND, NOW - MINUTE:
        assert report(state, claimed_before=claimed_before, sending_before=LATER) is None
    assert state.find_delivery(TODAY, TOPIC) == claim
    assert report(state) == claim._replace(reported_at=LATER) == state.find_delivery(TODAY, TOPIC)
    assert report(state, now=LATER + MINUTE) is None


def test_a_delivery_whose_outcome_is_unknown_is_reported_as_in_doubt_once(state: State) -> None:
    claim = claimed(state)
    assert state.start_sending(claim, LATER)
    assert report(state, claimed_before=LATER, sending_before=LATER - MICROSECOND) is None
    assert state.find_delivery(TODAY, TOPIC) == claim._replace(sending_at=LATER)
    reported = report(state, claimed_before=NOW - MINUTE, sending_before=LATER)
    assert reported == claim._replace(sending_at=LATER, reported_at=LATER) == state.find_delivery(TODAY, TOPIC)
    assert report(state, now=LATER + MINUTE, sending_before=LATER) is None


@pytest.mark.parametrize("is_sending", [False, True])
def test_a_delivery_that_was_sent_is_not_reported(state: State, is_sending: bool) -> None:
    claim = claimed(state)
    if is_sending:
        assert state.start_sending(claim, NOW)
    state.finish_delivery(claim, "message", NOW)
    sent = state.find_delivery(TODAY, TOPIC)
    assert report(state) is None
    assert state.find_delivery(TODAY, TOPIC) == sent


def test_a_delivery_that_was_reported_can_be_claimed_and_sent_later(state: State) -> None:
    reported = report(state, now=NOW)
    assert reported is not None
    assert claim_delivery(state, now=LATER - MICROSECOND) is None, "the report counts as a claim"
    claim = claimed(state, now=LATER)
    assert claim == reported._replace(claimed_at=LATER)
    assert state.start_sending(claim, LATER)
    state.finish_delivery(claim, "message", LATER)
    sent = claim._replace(sending_at=LATER, sent_at=LATER, message_id="message")
    assert state.find_delivery(TODAY, TOPIC) == sent


@pytest.mark.parametrize("is_sending", [False, True])
@pytest.mark.parametrize("is_reported_first", [False, True])
def test_a_released_delivery_is_not_reported_again(state: State, is_sending: bool, is_reported_first: bool) -> None:
    if is_reported_first:
        assert report(state, now=NOW)
    claim = claimed(state, now=LATER)
    if is_sending:
        assert state.start_sending(claim, LATER)
    if not is_reported_first:
        assert report(state, now=NOW, claimed_before=LATER, sending_before=LATER)
    state.release_delivery(claim)
    assert state.find_delivery(TODAY, TOPIC) == claim._replace(reported_at=NOW)
    assert report(state, now=LATER + MINUTE, claimed_before=LATER + MINUTE) is None


def test_the_last_run_of_the_schedule_is_stored(state: State) -> None:
    assert state.last_due_run() is None
    for now in NOW, LATER:
        state.store_due_run(now)
        assert state.last_due_run() == now


# Rate limits, SMS quota and SMS switch


def swap(state: State, before: str, after: str) -> bool:
    return state.swap_rate_limit_log(LOG_KEY, before, after, now=NOW, keep_until=LATER)


def test_a_log_is_replaced_if_it_is_as_it_was_read(state: State) -> None:
    assert state.read_rate_limit_log(LOG_KEY) == ""
    assert swap(state, "", LOG)
    assert not swap(state, "", "5")
    assert not swap(state, "1", "5")
    assert state.read_rate_limit_log(LOG_KEY) == LOG
    assert swap(state, LOG, f"{LOG} 1791979200000")
    assert state.read_rate_limit_log(LOG_KEY) == f"{LOG} 1791979200000"


def test_a_log_that_does_not_exist_is_only_replaced_as_an_empty_one(state: State) -> None:
    assert not swap(state, LOG, "5")
    assert state.read_rate_limit_log(LOG_KEY) == ""
    assert swap(state, "", "1")


def test_an_empty_log_is_the_same_as_none(state: State) -> None:
    assert swap(state, "", "1")
    assert swap(state, "1", "")
    assert state.read_rate_limit_log(LOG_KEY) == ""
    assert not swap(state, "1", "2")
    assert swap(state, "", "2")
    assert state.read_rate_limit_log(LOG_KEY) == "2"


def test_sms_are_counted_up_to_the_limit(state: State) -> None:
    assert state.read_sms_count(TODAY) == 0
    assert [state.count_sms(TODAY, 3) for _ in range(5)] == [True, True, True, False, False]
    assert state.read_sms_count(TODAY) == 3
    assert not state.count_sms(TODAY, 2)
    assert state.count_sms(TODAY, 4)
    assert state.read_sms_count(TODAY) == 4


def test_with_a_limit_of_zero_no_sms_is_counted(state: State) -> None:
    assert not state.count_sms(TODAY, 0)
    assert state.read_sms_count(TODAY) == 0
    assert state.count_sms(TODAY, 1)
    assert not state.count_sms(TODAY, 0)


def test_an_sms_that_was_not_sent_is_not_counted(state: State) -> None:
    state.uncount_sms(TODAY)
    assert state.read_sms_count(TODAY) == 0
    assert state.count_sms(TODAY, 2)
    assert state.count_sms(TODAY, 2)
    state.uncount_sms(TODAY)
    assert state.read_sms_count(TODAY) == 1
    for _ in range(2):
        state.uncount_sms(TODAY)
    assert state.read_sms_count(TODAY) == 0
    assert [state.count_sms(TODAY, 1) for _ in range(2)] == [True, False]


def test_the_sms_switch_keeps_when_it_was_turned_off_first(state: State) -> None:
    assert state.sms_disabled_at() is None
    state.set_sms_switch(NOW, off=False)
    assert state.sms_disabled_at() is None
    state.set_sms_switch(NOW, off=True)
    state.set_sms_switch(LATER, off=True)
    assert state.sms_disabled_at() == NOW
    state.set_sms_switch(LATER, off=False)
    assert state.sms_disabled_at() is None
    state.set_sms_switch(LATER, off=True)
    assert state.sms_disabled_at() == LATER


def test_what_did_not_expire_is_kept(state: State) -> None:
    otp = generate_otp(state, NOOR, now=NOW)
    swap(state, "", "1")
    state.count_sms(TODAY, LIMIT)
    state.delete_expired(
        otps_requested_before=BEFORE - MICROSECOND,
        tried_before=BEFORE - MICROSECOND,
        logs_before=NOON,
        sms_before=TODAY - timedelta(days=1),
    )
    assert stored_otp(state, otp) == otp
    assert (state.read_rate_limit_log(LOG_KEY), state.read_sms_count(TODAY)) == ("1", 1)
