"""What is special to the state in DynamoDB: the requests it makes, its keys, and its expiry times."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from quoteapi.settings import Settings
from quoteapi.storage.dynamodb import Table
from quoteapi.storage.dynamodb_state import COUNT_KEY, TABLE_KEY, DynamoDbState
from quoteapi.storage.state import ACTIVE, UNSUBSCRIBED, OtpReplaced, StateUnavailable
from tests.helpers import dynamodb_server, states
from tests.helpers.data import AUSTEN, MIRA, NOON, NOOR
from tests.helpers.dynamodb_requests import lose_answers, record_requests
from tests.helpers.states import (
    ACTIVE_IN_SYNC,
    ANOTHER_TOPIC,
    AUCKLAND,
    CLIENT_IP,
    DIGEST,
    KOLKATA,
    LEASE_TIMEOUT,
    LIMIT,
    LOG_KEY,
    MICROSECOND,
    MINUTE,
    OPTED_OUT_OUT_OF_SYNC,
    POLICY,
    TODAY,
    TOPIC,
    WRONG_DIGEST,
    Bystanders,
    stored_subscriber,
)

pytestmark = pytest.mark.parametrize("database_url", ["dynamodb"], indirect=True)
MANY = 300
GET, UPDATE, DELETE, TRANSACT, QUERY, SCAN = (
    "GetItem",
    "UpdateItem",
    "DeleteItem",
    "TransactWriteItems",
    "Query",
    "Scan",
)
CONFIRMATION: dict[str, Any] = {
    "tries": POLICY.tries,
    "confirmed_from": CLIENT_IP,
    "now": NOON,
    "limit": LIMIT,
    "time_zone": None,
    "default_time_zone": KOLKATA,
}


def items(state: DynamoDbState) -> list[dict[str, Any]]:
    return list(state._table.scan("attribute_exists(#pk)"))


def item_of(state: DynamoDbState, sort_key: str) -> dict[str, Any]:
    (found,) = (item for item in items(state) if item["sk"] == sort_key)
    return found


def add_subscribers(state: DynamoDbState, count: int) -> None:
    """Add active subscribers in sync, as copies of one."""
    client, name = state._table.client, state._table.name
    key = {"pk": {"S": f"number#{stored_subscriber(state, ACTIVE_IN_SYNC).id}"}, "sk": {"S": "subscriber"}}
    item: Any = client.get_item(TableName=name, Key=key)["Item"]
    copies: list[Any] = [{**item, "pk": {"S": f"number#{n:032}"}, "id": {"S": f"{n:032}"}} for n in range(count)]
    for first in range(0, count, 25):
        puts: Any = [{"PutRequest": {"Item": copy}} for copy in copies[first : first + 25]]
        client.batch_write_item(RequestItems={name: puts})


class RequestRecorder:
    """Calls methods of the state, and records the operations that each requests."""

    def __init__(self, state: DynamoDbState) -> None:
        self.state = state
        self.requests: dict[str, list[str]] = {}

    def __call__(self, name: str, *arguments: object, case: str = "", **named: object) -> Any:  # noqa: ANN401
        """Call a method; `case` tells several calls of it apart."""
        with record_requests(self.state._unchecked_table) as operations:
            result = getattr(self.state, name)(*arguments, **named)
            if isinstance(result, Iterator):
                result = list(result)
        self.requests[f"{name}, {case}" if case else name] = operations
        return result


def call_methods_of_otps_and_confirmations(call: RequestRecorder) -> str:
    """Subscribe. Return the subscriber's id."""
    call("subscriber_count")
    requested = call("request_otp", MIRA, "subscribe", CLIENT_IP, now=NOON, policy=POLICY)
    call("claim_otp", requested.otp_request_id, DIGEST, now=NOON, expires_at=NOON + MINUTE)
    call("release_otp", requested.otp_request_id)
    call("claim_otp", requested.otp_request_id, DIGEST, now=NOON, expires_at=NOON + MINUTE, case="again")
    call("mark_otp_sent", requested.otp_request_id, NOON)
    call("try_otp", MIRA, "subscribe", WRONG_DIGEST, now=NOON, policy=POLICY, case="wrong")
    otp = call("try_otp", MIRA, "subscribe", DIGEST, now=NOON, policy=POLICY).otp
    call("find_otp", otp.otp_request_id)
    confirmation = CONFIRMATION | {"limit": LIMIT + MANY}
    subscriber_id = call("activate", otp, **confirmation)
    call("reset_otp_tries", otp, POLICY.tries)
    for case, time_zone in ("of an active one", None), ("that moves it", AUCKLAND):
        again = states.generate_otp(call.state, now=NOON)
        call("activate", again, **confirmation | {"time_zone": time_zone}, case=case)
    call("find_subscriber", MIRA)
    return str(subscriber_id)


def call_methods_of_the_topic_sync(call: RequestRecorder, subscriber_id: str) -> None:
    held = call("acquire_lease", subscriber_id, now=NOON, timeout=LEASE_TIMEOUT)
    call("release_lease", held)
    held = call("acquire_lease", subscriber_id, now=NOON, timeout=LEASE_TIMEOUT)
    call("store_topic", held, TOPIC)
    call("store_subscription_arn", held, "arn")
    call("finish_sync", held, TOPIC, "arn", last_sms_date=TODAY)
    call("mark_out_of_sync", held, TOPIC, "arn", NOON)
    call("mark_out_of_sync", held, ANOTHER_TOPIC, "arn", NOON, case="on another topic")
    call("claim_confirmation", subscriber_id, NOON)
    call("release_confirmation", subscriber_id)
    call("set_time_zone", subscriber_id, KOLKATA, now=NOON)
    call("pause", MIRA, until=NOON, now=NOON)
    call("topics_in_use")
    call("count_in_sync_with", TOPIC)
    call("has_joined_before", TOPIC, NOON)
    call("out_of_sync", NOON)
    call("count_out_of_sync", NOON)


def call_methods_of_lists_and_ends(call: RequestRecorder, subscriber_id: str) -> None:
    call("subscribers", UNSUBSCRIBED)
    call("subscribers_without_time_zone")
    call("newest_subscribers", 3)
    call("count_subscribers")
    call("count_subscribers", ACTIVE, case="active")
    call("recount_subscribers")
    call("deactivate", MIRA, now=NOON)
    lease: dict[str, Any] = {"now": NOON, "timeout": LEASE_TIMEOUT}
    held = call("acquire_lease", subscriber_id, **lease, case="of an inactive one")
    call("finish_sync", held._replace(state=ACTIVE), TOPIC, "arn", case="changed meanwhile")
    unsubscribe = states.generate_otp(call.state, purpose="unsubscribe", now=NOON)
    call("deactivate", MIRA, now=NOON, otp=unsubscribe, tries=POLICY.tries, case="of an inactive one")
    pause = states.generate_otp(call.state, purpose="pause", now=NOON)
    call("pause", MIRA, until=NOON, now=NOON, otp=pause, tries=POLICY.tries, case="of an inactive one")
    call("mark_opted_out", [MIRA, OPTED_OUT_OUT_OF_SYNC], NOON, case="none active")
    call("delete_subscriber", MIRA)
    call("delete_number", MIRA, [LOG_KEY])


def call_methods_of_deliveries_and_limits(call: RequestRecorder) -> None:
    claim = call("claim_delivery", TODAY, TOPIC, now=NOON, timeout=MINUTE)
    call("find_delivery", TODAY, TOPIC)
    call("last_delivery", TOPIC)
    call("start_sending", claim, NOON)
    call("finish_delivery", claim, "message", NOON)
    call("report_delivery", TODAY, TOPIC, now=NOON, claimed_before=NOON, sending_before=NOON)
    call("release_delivery", claim)
    call("store_due_run", NOON)
    call("last_due_run")
    call("daily_quotes", TODAY, TODAY)
    call("store_daily_quote", TODAY, AUSTEN, NOON)
    call("read_rate_limit_log", LOG_KEY)
    call("swap_rate_limit_log", LOG_KEY, "", "1", now=NOON, keep_until=NOON)
    call("count_sms", TODAY, 5)
    call("uncount_sms", TODAY)
    call("read_sms_count", TODAY)
    call("sms_disabled_at")
    call("set_sms_switch", NOON, off=True)
    call("set_sms_switch", NOON, off=False, case="on")
    call("erase_deleted")
    times: dict[str, Any] = {
        "otps_requested_before": NOON,
        "tried_before": NOON,
        "logs_before": NOON,
        "sms_before": TODAY,
    }
    call("delete_expired", **times)


REQUESTS = {
    "subscriber_count": [GET],
    "request_otp": [UPDATE],
    "claim_otp": [UPDATE],
    "release_otp": [UPDATE],
    "claim_otp, again": [UPDATE],
    "mark_otp_sent": [UPDATE],
    "try_otp, wrong": [UPDATE],
    "try_otp": [UPDATE],
    "find_otp": [GET],
    "activate": [TRANSACT],
    "reset_otp_tries": [UPDATE],
    "acquire_lease": [UPDATE],
    "release_lease": [UPDATE],
    "store_topic": [UPDATE],
    "store_subscription_arn": [UPDATE],
    "finish_sync": [UPDATE],
    "mark_out_of_sync": [UPDATE],
    "mark_out_of_sync, on another topic": [UPDATE, UPDATE],
    "claim_confirmation": [UPDATE],
    "release_confirmation": [UPDATE],
    "activate, of an active one": [TRANSACT, GET, TRANSACT],
    "activate, that moves it": [TRANSACT, GET, TRANSACT],
    "set_time_zone": [UPDATE],
    "pause": [TRANSACT],
    "pause, of an inactive one": [TRANSACT, TRANSACT],
    "subscribers_without_time_zone": [],
    "find_subscriber": [GET],
    "topics_in_use": [QUERY, QUERY],
    "count_in_sync_with": [QUERY],
    "has_joined_before": [QUERY],
    "out_of_sync": [QUERY],
    "count_out_of_sync": [QUERY],
    "subscribers": [SCAN],
    "newest_subscribers": [SCAN],
    "count_subscribers": [SCAN],
    "count_subscribers, active": [GET],
    "recount_subscribers": [GET],
    "deactivate": [TRANSACT],
    "acquire_lease, of an inactive one": [UPDATE],
    "finish_sync, changed meanwhile": [UPDATE, UPDATE],
    "deactivate, of an inactive one": [TRANSACT, TRANSACT],
    "mark_opted_out, none active": [GET, GET],
    "delete_subscriber": [DELETE],
    "delete_number": [DELETE, DELETE, DELETE, DELETE],
    "claim_delivery": [UPDATE],
    "find_delivery": [GET],
    "last_delivery": [QUERY],
    "start_sending": [UPDATE],
    "finish_delivery": [UPDATE],
    "release_delivery": [DELETE],
    "report_delivery": [UPDATE],
    "store_due_run": [UPDATE],
    "last_due_run": [GET],
    "read_rate_limit_log": [GET],
    "swap_rate_limit_log": [UPDATE],
    "count_sms": [UPDATE],
    "uncount_sms": [UPDATE],
    "read_sms_count": [GET],
    "sms_disabled_at": [GET],
    "set_sms_switch": [UPDATE],
    "set_sms_switch, on": [DELETE],
    "daily_quotes": [QUERY],
    "store_daily_quote": [UPDATE],
    "erase_deleted": [],
    "delete_expired": [],
}
"""The requests of each method; a page of a Query or a Scan has up to a megabyte, of thousands of subscribers."""
READS_ALL = {"mark_all_out_of_sync"}
"""Methods that request a write for each subscriber, too."""


@pytest.mark.parametrize("more_subscribers", [0, MANY])
def test_each_method_makes_few_requests_however_many_subscribers_there_are(
    state: DynamoDbState, settings: Settings, more_subscribers: int
) -> None:
    states.store_bystanders(state, settings)
    add_subscribers(state, more_subscribers)
    stored_subscriber(state, ACTIVE_IN_SYNC)  # reads the table's key, once a process
    call = RequestRecorder(state)
    subscriber_id = call_methods_of_otps_and_confirmations(call)
    call_methods_of_the_topic_sync(call, subscriber_id)
    call_methods_of_lists_and_ends(call, subscriber_id)
    call_methods_of_deliveries_and_limits(call)
    assert call.requests == REQUESTS


def test_only_methods_that_say_so_read_the_whole_table(state: DynamoDbState) -> None:
    methods = {name: method.__doc__ or "" for name, method in vars(type(state)).items() if not name.startswith("_")}
    measured = {name.partition(",")[0] for name in REQUESTS}
    assert measured | READS_ALL == methods.keys()
    scanning = {name.partition(",")[0] for name, operations in REQUESTS.items() if SCAN in operations}
    assert scanning | READS_ALL == {name for name, text in methods.items() if "reads the whole table" in text}


def test_the_key_of_the_table_is_read_once(state: DynamoDbState) -> None:
    with record_requests(state._unchecked_table) as operations:
        state.find_subscriber(MIRA)
        state.find_subscriber(NOOR)
    assert operations == [GET, GET, GET]


def test_without_the_key_of_the_table_the_state_is_unavailable(state: DynamoDbState) -> None:
    state._unchecked_table.delete(TABLE_KEY)
    with pytest.raises(StateUnavailable, match="is not complete; run `quoteapi db migrate`"):
        state.find_subscriber(MIRA)


def test_without_a_subscriber_count_it_is_zero(state: DynamoDbState) -> None:
    state._table.delete(COUNT_KEY)
    assert state.subscriber_count() == 0


def test_a_query_for_each_topic_finds_those_in_use(state: DynamoDbState) -> None:
    for n in range(3):
        states.sync(state, states.activate(state, f"+9190281{n:05}"), f"topic {n}")
    with record_requests(state._table) as operations:
        assert state.topics_in_use() == ["topic 0", "topic 1", "topic 2"]
    assert operations == [QUERY] * 4


def test_no_key_has_a_phone_number(state: DynamoDbState, bystanders: Bystanders) -> None:
    states.activate(state, MIRA)
    numbers = {item["mobile"].strip("+") for item in items(state) if "mobile" in item}
    assert len(numbers) == 5
    keys = [f"{item['pk']} {item['sk']} {item.get('id')} {item.get('otp_request_id')}" for item in items(state)]
    assert not any(number in key for key in keys for number in numbers)


def test_tables_name_the_same_number_differently(state: DynamoDbState) -> None:
    other = DynamoDbState(dynamodb_server.create_table())
    ids = [states.activate(each, MIRA).id for each in (state, other)]
    assert ids[0] != ids[1]
    assert states.stored_subscriber(DynamoDbState(Table(state._table.name, "us-east-1"))).id == ids[0]


def ttl(time: datetime) -> int:
    """Return a Unix time at which an item that is needed until `time` may be deleted."""
    return int(time.timestamp()) + 1


NOW = NOON + timedelta(microseconds=999_999)


def test_an_otp_expires_after_its_last_use_and_its_lock(state: DynamoDbState) -> None:
    otp = states.generate_otp(state, now=NOW)
    assert item_of(state, "otp#subscribe")["ttl"] == ttl(NOW + POLICY.lock)
    state.try_otp(MIRA, "subscribe", WRONG_DIGEST, now=NOW + MINUTE, policy=POLICY)
    assert item_of(state, "otp#subscribe")["ttl"] == ttl(NOW + MINUTE + POLICY.lock)
    policy = POLICY._replace(lock=POLICY.lifetime)
    state.request_otp(MIRA, "subscribe", CLIENT_IP, now=NOW, policy=policy)
    assert item_of(state, "otp#subscribe")["ttl"] == ttl(NOW + 2 * POLICY.lifetime), "it may be sent that late"
    assert otp.requested_at == NOW


def test_a_log_and_an_sms_count_expire(state: DynamoDbState) -> None:
    state.swap_rate_limit_log(LOG_KEY, "", "1", now=NOW, keep_until=NOW + MINUTE)
    (log,) = (item for item in items(state) if item["pk"].startswith("rate_limit#"))
    assert log["ttl"] == ttl(NOW + MINUTE)
    state.count_sms(TODAY, LIMIT)
    assert item_of(state, TODAY.isoformat())["ttl"] > (NOW + timedelta(days=365)).timestamp()


def test_subscribers_deliveries_and_the_switch_do_not_expire(state: DynamoDbState) -> None:
    states.sync(state, states.activate(state))
    states.send_delivery(state, TODAY, TOPIC, now=NOON)
    state.set_sms_switch(NOON, off=True)
    expiring = {item["sk"] for item in items(state) if "ttl" in item}
    assert expiring == {"otp#subscribe"}


def race_once(state: DynamoDbState, operation: str, meanwhile: Callable[[], object]) -> None:
    """Let another process do something just before the first request of an operation is sent."""
    events, is_done = state._table.client.meta.events, False

    def interrupt(**_: object) -> None:
        nonlocal is_done
        if not is_done:
            is_done = True
            meanwhile()

    events.register(f"before-send.dynamodb.{operation}", interrupt)


@pytest.fixture
def other(state: DynamoDbState) -> DynamoDbState:
    """Return the same state as another process has it."""
    return DynamoDbState(Table(state._table.name, state._table.region))


def second_request(state: DynamoDbState, operation: str, meanwhile: Callable[[], object]) -> None:
    """Let another process do something between the first and the second request of an operation."""
    events, seen = state._table.client.meta.events, 0

    def interrupt(**_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == 2:
            meanwhile()

    events.register(f"before-send.dynamodb.{operation}", interrupt)


def test_a_lock_that_another_process_ended_meanwhile_stays_ended(state: DynamoDbState, other: DynamoDbState) -> None:
    now = NOON + POLICY.lock
    states.generate_otp(state, now=NOON)
    state.try_otp(MIRA, "subscribe", WRONG_DIGEST, now=NOON, policy=POLICY)
    request = partial(other.request_otp, MIRA, "subscribe", CLIENT_IP, now=now, policy=POLICY)
    second_request(state, UPDATE, request)
    otp = state.request_otp(MIRA, "subscribe", "198.51.100.4", now=now, policy=POLICY)
    assert (otp.tries_left, otp.last_wrong_try_at, otp.requested_from) == (POLICY.tries, None, "198.51.100.4")
    assert other.find_otp(otp.otp_request_id) == otp


def test_a_wrong_try_after_another_process_ended_the_lock_is_not_forgotten(
    state: DynamoDbState, other: DynamoDbState
) -> None:
    now = NOON + POLICY.lock
    states.generate_otp(state, now=NOON)
    state.try_otp(MIRA, "subscribe", WRONG_DIGEST, now=NOON, policy=POLICY)

    def end_lock_and_guess() -> None:
        states.generate_otp(other, now=now)
        other.try_otp(MIRA, "subscribe", WRONG_DIGEST, now=now, policy=POLICY)

    second_request(state, UPDATE, end_lock_and_guess)
    otp = state.request_otp(MIRA, "subscribe", CLIENT_IP, now=now, policy=POLICY)
    assert (otp.tries_left, otp.last_wrong_try_at) == (POLICY.tries - 1, now)
    assert other.find_otp(otp.otp_request_id) == otp


def test_a_lease_that_another_process_acquires_meanwhile_is_not_acquired(
    state: DynamoDbState, other: DynamoDbState
) -> None:
    subscriber = states.activate(state)
    race_once(state, UPDATE, partial(other.acquire_lease, subscriber.id, now=NOON, timeout=LEASE_TIMEOUT))
    assert state.acquire_lease(subscriber.id, now=NOON + MICROSECOND, timeout=LEASE_TIMEOUT) is None
    assert stored_subscriber(other).lease_acquired_at == NOON


@pytest.mark.parametrize("time_zone", [AUCKLAND, None])
def test_an_active_subscriber_that_unsubscribes_while_it_is_changed_stays_unsubscribed(
    state: DynamoDbState, other: DynamoDbState, time_zone: str | None
) -> None:
    states.activate(state)
    state.pause(MIRA, until=NOON + MINUTE, now=NOON)
    otp = states.generate_otp(state, now=NOON)
    second_request(state, TRANSACT, lambda: other.deactivate(MIRA, now=NOON + MINUTE))
    assert states.confirm(state, otp, now=NOON, time_zone=time_zone) is None
    stored = stored_subscriber(other)
    assert (stored.state, stored.time_zone, stored.sync_due_at) == (UNSUBSCRIBED, KOLKATA, NOON + MINUTE)
    assert states.stored_otp(other, otp).is_used


def test_a_subscriber_that_is_deleted_while_it_is_activated_again_stays_deleted(
    state: DynamoDbState, other: DynamoDbState
) -> None:
    states.sync(state, states.activate(state))
    otp = states.generate_otp(state, now=NOON)

    def remove() -> None:
        other.deactivate(MIRA, now=NOON)
        states.sync(other, stored_subscriber(other))
        assert other.delete_subscriber(MIRA)

    race_once(state, "GetItem", remove)
    assert states.confirm(state, otp) is None
    assert other.find_subscriber(MIRA) is None
    assert states.stored_otp(other, otp).is_used


def test_a_subscriber_that_unsubscribes_while_it_is_marked_as_opted_out_is_counted_once(
    state: DynamoDbState, other: DynamoDbState
) -> None:
    states.activate(state)
    race_once(state, TRANSACT, lambda: other.deactivate(MIRA, now=NOON))
    assert state.mark_opted_out([MIRA], NOON) == 0
    assert (stored_subscriber(other).state, other.subscriber_count()) == (UNSUBSCRIBED, 0)


def test_a_subscriber_that_unsubscribes_while_all_are_marked_out_of_sync_is_not_marked(
    state: DynamoDbState, other: DynamoDbState
) -> None:
    states.activate(state)
    race_once(state, UPDATE, lambda: other.deactivate(MIRA, now=NOON))
    state.mark_all_out_of_sync(NOON + MINUTE)
    assert stored_subscriber(other).sync_due_at == NOON


def test_a_sync_that_finishes_while_another_process_takes_the_lease_over_stores_nothing(
    state: DynamoDbState, other: DynamoDbState
) -> None:
    held = states.acquire_lease(state, states.activate(state))
    race_once(state, UPDATE, lambda: states.acquire_lease(other, held, now=NOON + LEASE_TIMEOUT))
    assert not state.finish_sync(held, TOPIC, "arn")
    assert stored_subscriber(other).subscription_arn is None


@pytest.mark.parametrize("change", ["activate", "move", "deactivate", "pause"])
def test_an_otp_that_another_process_uses_between_two_requests_is_replaced(
    state: DynamoDbState, other: DynamoDbState, change: str
) -> None:
    states.activate(state)
    otp = states.generate_otp(state, now=NOON)
    used: dict[str, Any] = {"now": NOON, "otp": otp, "tries": POLICY.tries}
    changes: dict[str, Callable[[], object]] = {
        "activate": lambda: states.confirm(state, otp),
        "move": lambda: states.confirm(state, otp, time_zone=AUCKLAND),
        "deactivate": lambda: state.deactivate(MIRA, **used),
        "pause": lambda: state.pause(MIRA, until=NOON, **used),
    }
    if change in {"deactivate", "pause"}:
        state.deactivate(MIRA, now=NOON)
    second_request(state, TRANSACT, lambda: states.confirm(other, otp))
    with pytest.raises(OtpReplaced):
        changes[change]()


@pytest.fixture
def lost_answers(state: DynamoDbState, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Lose the first answer to each write. Return the operations."""
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    with lose_answers(state._table) as operations:
        yield operations


def test_an_otp_whose_answers_are_lost_is_claimed_tried_and_used_once(
    state: DynamoDbState, lost_answers: list[str]
) -> None:
    otp = states.generate_otp(state)  # which asserts that it is claimed
    assert not state.claim_otp(otp.otp_request_id, WRONG_DIGEST, now=NOON, expires_at=NOON + MINUTE)
    tried = state.try_otp(MIRA, "subscribe", WRONG_DIGEST, now=NOON, policy=POLICY)
    assert (tried.is_compared, tried.otp and tried.otp.tries_left) == (True, POLICY.tries - 1)
    count = state.subscriber_count()
    assert states.confirm(state, otp) == stored_subscriber(state, MIRA).id
    with pytest.raises(OtpReplaced):
        states.confirm(state, otp)
    assert state.pause(MIRA, until=NOON + MINUTE, now=NOON) is not None
    assert states.confirm(state, states.generate_otp(state), time_zone=AUCKLAND) is not None
    assert (stored_subscriber(state).time_zone, stored_subscriber(state).paused_until) == (AUCKLAND, None)
    assert state.subscriber_count() == count + 1
    assert state.deactivate(MIRA, now=NOON) is not None
    assert state.subscriber_count() == count
    assert {UPDATE, TRANSACT} <= {*lost_answers}


def test_a_topic_sync_whose_answers_are_lost_holds_its_lease_and_confirms_once(
    state: DynamoDbState, lost_answers: list[str]
) -> None:
    held = states.acquire_lease(state, states.activate(state))
    assert state.acquire_lease(held.id, now=NOON, timeout=LEASE_TIMEOUT) is None
    assert state.claim_confirmation(held.id, NOON)
    assert not state.claim_confirmation(held.id, NOON)
    assert state.finish_sync(held, TOPIC, "arn", last_sms_date=TODAY)
    assert stored_subscriber(state, MIRA).sync_due_at is None
    assert state.set_time_zone(held.id, AUCKLAND, now=NOON)
    assert not state.set_time_zone(held.id, AUCKLAND, now=NOON)
    marked = state.mark_out_of_sync(held, TOPIC, "arn", NOON + MINUTE)
    assert marked == stored_subscriber(state, MIRA)
    assert (marked.sync_due_at, marked.last_sms_date) == (NOON + MINUTE, TODAY)
    assert lost_answers


def test_a_delivery_whose_answers_are_lost_is_claimed_and_sent_once(
    state: DynamoDbState, lost_answers: list[str]
) -> None:
    claim = state.claim_delivery(TODAY, TOPIC, now=NOON, timeout=MINUTE)
    assert claim is not None
    assert state.claim_delivery(TODAY, TOPIC, now=NOON, timeout=MINUTE) is None
    assert state.start_sending(claim, NOON)
    assert not state.start_sending(claim, NOON)
    state.finish_delivery(claim, "m", NOON)
    assert state.find_delivery(TODAY, TOPIC) == claim._replace(sending_at=NOON, sent_at=NOON, message_id="m")
    assert lost_answers


def test_a_delivery_whose_answers_are_lost_is_reported_once_and_stays_reported(
    state: DynamoDbState, lost_answers: list[str]
) -> None:
    times = {"claimed_before": NOON, "sending_before": NOON}
    reported = state.report_delivery(TODAY, TOPIC, now=NOON, **times)
    assert reported is not None
    assert state.report_delivery(TODAY, TOPIC, now=NOON, **times) is None
    claim = state.claim_delivery(TODAY, TOPIC, now=NOON + MINUTE, timeout=MINUTE)
    assert claim == reported._replace(claimed_at=NOON + MINUTE)
    assert state.start_sending(claim, NOON + MINUTE)
    state.release_delivery(claim)
    assert state.find_delivery(TODAY, TOPIC) == claim
    assert lost_answers


def test_a_claim_whose_answers_are_lost_is_released(state: DynamoDbState, lost_answers: list[str]) -> None:
    claim = state.claim_delivery(TODAY, TOPIC, now=NOON, timeout=MINUTE)
    assert claim is not None
    state.release_delivery(claim)
    assert state.find_delivery(TODAY, TOPIC) is None
    assert lost_answers


def test_an_event_and_an_sms_whose_answers_are_lost_are_counted_once(
    state: DynamoDbState, lost_answers: list[str]
) -> None:
    times = {"now": NOON, "keep_until": NOON + MINUTE}
    assert state.swap_rate_limit_log(LOG_KEY, "", "1", **times)
    assert not state.swap_rate_limit_log(LOG_KEY, "", "1", **times)
    assert [state.count_sms(TODAY, 2) for _ in range(3)] == [True, True, False]
    assert state.read_sms_count(TODAY) == 2
    state.uncount_sms(TODAY)
    assert state.read_sms_count(TODAY) == 1
    assert lost_answers
