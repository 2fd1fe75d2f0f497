"""A state with data in it: short ways to make OTPs and subscribers, and bystanders that a test must not change."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

from peewee import Model

from quoteapi.settings import Settings
from quoteapi.storage import models
from quoteapi.storage.dynamodb import Item, Key, Table
from quoteapi.storage.dynamodb_state import DynamoDbState
from quoteapi.storage.models import SubscriberCount
from quoteapi.storage.state import ACTIVE, UNSUBSCRIBED, Otp, OtpPolicy, Purpose, State, Subscriber
from tests.helpers import dynamodb_server
from tests.helpers.data import MIRA, NOON

POLICY = OtpPolicy(tries=3, lock=timedelta(hours=1), lifetime=timedelta(minutes=10))
MICROSECOND = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)
LEASE_TIMEOUT = timedelta(minutes=5)
DIGEST, WRONG_DIGEST = "d" * 32, "e" * 32
CLIENT_IP = "192.0.2.7"
LIMIT = 100
TOPIC, ANOTHER_TOPIC = "arn:aws:sns:us-east-1:1:m", "arn:aws:sns:us-east-1:1:f"
KOLKATA, AUCKLAND = "Asia/Kolkata", "Pacific/Auckland"
TODAY = NOON.date()
ACTIVE_IN_SYNC, ACTIVE_OUT_OF_SYNC, UNSUBSCRIBED_IN_SYNC, OPTED_OUT_OUT_OF_SYNC = (
    f"+9190280{n:05}" for n in range(11, 15)
)
ACTIVE_BYSTANDERS = 2
LOG = "1791979200000 1791979200001"
"""The log of each key of the bystanders."""
LOG_KEY, LOG_KEYS = "0" * 32, ("1" * 32, "2" * 32)
NOW = NOON + timedelta(microseconds=123_456)
"""The time of most tests; a claim and a lease of the bystanders are from this time too."""
BEFORE = datetime(2026, 11, 20, 8, 30, 0, 654_321, tzinfo=NOON.tzinfo)
"""When the bystanders were stored."""
DYNAMODB_BATCH = 25
SQL_TABLES: tuple[type[Model], ...] = (
    models.Subscriber,
    SubscriberCount,
    models.OneTimePassword,
    models.RateLimitLog,
    models.SmsUsage,
    models.Delivery,
)
_bystanders_in_sql: list[tuple[dict[type[Model], list[dict[str, Any]]], "Snapshot"]] = []
Snapshot = dict[tuple[str, object], object]


def generate_otp(  # noqa: PLR0913 a test names what matters to it
    state: State,
    mobile: str = MIRA,
    purpose: Purpose = "subscribe",
    *,
    now: datetime = NOON,
    digest: str = DIGEST,
    expires_at: datetime | None = None,
) -> Otp:
    """Store an OTP with a digest, and return it."""
    requested = state.request_otp(mobile, purpose, CLIENT_IP, now=now, policy=POLICY)
    expires_at = expires_at or now + POLICY.lifetime
    assert state.claim_otp(requested.otp_request_id, digest, now=now, expires_at=expires_at)
    return stored_otp(state, requested)


def stored_otp(state: State, otp: Otp) -> Otp:
    stored = state.find_otp(otp.otp_request_id)
    assert stored is not None
    return stored


def activate(state: State, mobile: str = MIRA, *, now: datetime = NOON, time_zone: str | None = KOLKATA) -> Subscriber:
    """Store an active subscriber that is out of sync, as a right OTP does."""
    assert confirm(state, generate_otp(state, mobile, now=now), now=now, time_zone=time_zone) is not None
    return stored_subscriber(state, mobile)


def confirm(
    state: State, otp: Otp, *, now: datetime = NOON, limit: int = LIMIT, time_zone: str | None = None
) -> str | None:
    """Activate the number of an OTP, whose own time zone is that of Kolkata."""
    how = {"tries": POLICY.tries, "confirmed_from": CLIENT_IP, "limit": limit}
    return state.activate(otp, now=now, time_zone=time_zone, default_time_zone=KOLKATA, **how)  # type: ignore[arg-type]


def stored_subscriber(state: State, mobile: str = MIRA) -> Subscriber:
    stored = state.find_subscriber(mobile)
    assert stored is not None
    return stored


def acquire_lease(
    state: State, subscriber: Subscriber, topic: str | None = TOPIC, *, now: datetime | None = None
) -> Subscriber:
    """Acquire the lease of a subscriber when its sync is due, and store the topic of an active one if it is given."""
    now = now or stored_subscriber(state, subscriber.mobile).sync_due_at
    assert now is not None
    held = state.acquire_lease(subscriber.id, now=now, timeout=LEASE_TIMEOUT)
    assert held is not None
    if held.state == ACTIVE and topic is not None:
        assert state.store_topic(held, topic)
        return held._replace(topic=topic, subscription_arn=None)
    return held


def sync(state: State, subscriber: Subscriber, topic: str = TOPIC, *, now: datetime | None = None) -> Subscriber:
    """Put a subscriber in sync: on the topic if it is active, else on none."""
    held = acquire_lease(state, subscriber, topic, now=now)
    place = (topic, f"{topic}:{subscriber.id}") if held.state == ACTIVE else (None, None)
    assert state.finish_sync(held, *place)
    return stored_subscriber(state, subscriber.mobile)


def send_delivery(state: State, day: date, topic: str, *, now: datetime) -> None:
    """Store that the daily SMS of a date was sent."""
    claim = state.claim_delivery(day, topic, now=now, timeout=MINUTE)
    assert claim is not None
    assert state.start_sending(claim, now)
    state.finish_delivery(claim, f"message of {day}", now)


def add_bystanders(state: State) -> Snapshot:
    """Store data of every kind, none of it of `MIRA` but an OTP to unsubscribe. Return what is stored."""
    _add_subscribers(state)
    otps = [
        generate_otp(state, MIRA, "unsubscribe", now=BEFORE),
        generate_otp(state, ACTIVE_IN_SYNC, "unsubscribe", now=BEFORE),
        generate_otp(state, ACTIVE_OUT_OF_SYNC, digest=WRONG_DIGEST, now=BEFORE),
    ]
    for otp in otps[1:]:
        state.try_otp(otp.mobile, otp.purpose, "f" * 32, now=BEFORE, policy=POLICY)
    request: dict[str, Any] = {"client_ip": CLIENT_IP, "now": BEFORE, "policy": POLICY}
    otps.append(state.request_otp(UNSUBSCRIBED_IN_SYNC, "subscribe", time_zone=AUCKLAND, **request))
    otps.append(state.request_otp(ACTIVE_IN_SYNC, "pause", **request))
    for days, topic in (-1, TOPIC), (-2, TOPIC), (0, ANOTHER_TOPIC), (1, ANOTHER_TOPIC):
        assert state.claim_delivery(TODAY + timedelta(days=days), topic, now=NOW, timeout=MINUTE)
    send_delivery(state, TODAY - timedelta(days=3), TOPIC, now=BEFORE)
    for key in LOG_KEYS:
        assert state.swap_rate_limit_log(key, "", LOG, now=NOON, keep_until=NOON + POLICY.lock)
    for days in -1, -1, 1:
        assert state.count_sms(TODAY + timedelta(days=days), LIMIT)
    return snapshot(state, [otp.otp_request_id for otp in otps])


def _add_subscribers(state: State) -> None:
    sync(state, activate(state, ACTIVE_IN_SYNC, now=BEFORE), now=BEFORE)
    acquire_lease(state, activate(state, ACTIVE_OUT_OF_SYNC, now=BEFORE, time_zone=AUCKLAND), now=NOW)
    ended = [activate(state, mobile, now=BEFORE) for mobile in (UNSUBSCRIBED_IN_SYNC, OPTED_OUT_OUT_OF_SYNC)]
    for subscriber in ended:
        sync(state, subscriber, ANOTHER_TOPIC, now=BEFORE)
    assert state.deactivate(UNSUBSCRIBED_IN_SYNC, now=BEFORE + MINUTE)
    assert state.mark_opted_out([OPTED_OUT_OUT_OF_SYNC], BEFORE + MINUTE) == 1
    held = acquire_lease(state, ended[0], TOPIC, now=BEFORE + MINUTE)
    assert state.finish_sync(held, TOPIC, f"{TOPIC}:{ended[0].id}")  # it keeps a topic, as in no other state
    assert state.claim_confirmation(stored_subscriber(state, ACTIVE_IN_SYNC).id, BEFORE)


def store_bystanders(state: State, settings: Settings) -> Snapshot:
    """Store the bystanders as `add_bystanders` does, but by a copy of rows or items, which is faster."""
    if settings.dynamodb_table is not None:
        items, stored = _bystanders_in_dynamodb()
        puts: Any = [{"PutRequest": {"Item": item}} for item in items]
        for first in range(0, len(puts), DYNAMODB_BATCH):
            batch = {settings.dynamodb_table.name: puts[first : first + DYNAMODB_BATCH]}
            dynamodb_server.client().batch_write_item(RequestItems=batch)
        return dict(stored)
    if not _bystanders_in_sql:
        stored = add_bystanders(state)
        metas: Any = {table: table._meta for table in SQL_TABLES}
        selects: Any = {table: table.select().order_by(*metas[table].get_primary_keys()) for table in SQL_TABLES}
        rows = {table: [row.__data__ for row in select] for table, select in selects.items()}
        _bystanders_in_sql.append((rows, stored))
        return dict(stored)
    rows, stored = _bystanders_in_sql[0]
    SubscriberCount.delete().execute()
    for table, rows_of_table in rows.items():
        names = [name for name in rows_of_table[0] if name != "id"]  # the sequence assigns the same ids again
        table.insert_many([{name: row[name] for name in names} for row in rows_of_table]).execute()
    return dict(stored)


@cache
def _bystanders_in_dynamodb() -> tuple[list[dict[str, Any]], Snapshot]:
    """Return the items of a table with the bystanders, with the table's key, and what is stored."""
    table = dynamodb_server.create_table()
    stored = add_bystanders(DynamoDbState(table))
    return list(table.client.scan(TableName=table.name)["Items"]), stored


def snapshot(state: State, otp_request_ids: list[str]) -> Snapshot:
    """Return what is stored of the bystanders, read with the methods of the state."""
    days = [TODAY + timedelta(days=days) for days in (-3, -2, -1, 0, 1)]
    others = {ACTIVE_IN_SYNC, ACTIVE_OUT_OF_SYNC, UNSUBSCRIBED_IN_SYNC, OPTED_OUT_OUT_OF_SYNC}
    deliveries = [(day, topic) for day in days for topic in (TOPIC, ANOTHER_TOPIC) if (day, topic) != (TODAY, TOPIC)]
    return {
        **{("otp", otp_request_id): state.find_otp(otp_request_id) for otp_request_id in otp_request_ids},
        **{("subscriber", found.mobile): found for found in state.subscribers() if found.mobile in others},
        **{("delivery", key): state.find_delivery(*key) for key in deliveries},
        **{("log", key): state.read_rate_limit_log(key) for key in LOG_KEYS},
        **{("sms", day): state.read_sms_count(day) for day in days if day != TODAY},
    }


class ScannedTable(Table):
    """A copy of the items of a table, read by one request, with which `DynamoDbState` reads without further ones."""

    def __init__(self, name: str) -> None:
        super().__init__(name, dynamodb_server.REGION)
        self.__dict__["client"] = dynamodb_server.client()
        self._items = {(item["pk"], item["sk"]): item for item in super().scan("attribute_exists(#pk)")}

    def get(self, key: Key) -> Item | None:
        """Return an item of the copy."""
        return self._items.get(key)

    def scan(self, only: str, *, count: bool = False, **values: object) -> Iterator[Item]:
        """Yield the subscribers of the copy, in the state that `DynamoDbState` asks for."""
        subscribers = (item for (_, sk), item in self._items.items() if sk == "subscriber")
        return (item for item in subscribers if values["state"] in {None, item["state"]})


class Bystanders:
    """The bystanders in a state, and what must be found of them after a test."""

    def __init__(self, state: State, settings: Settings) -> None:
        self._state, self._table = state, settings.dynamodb_table
        self.expected = store_bystanders(state, settings)

    def check(self) -> None:
        """Assert that what is stored is as expected, and that the subscriber count is the number of active ones."""
        state = self._state if self._table is None else DynamoDbState(ScannedTable(self._table.name))
        assert snapshot(state, [str(key) for kind, key in self.expected if kind == "otp"]) == self.expected
        assert state.subscriber_count() == len(list(state.subscribers(ACTIVE)))

    def expect_out_of_sync(self, now: datetime) -> None:
        """Expect that the sync of the active ones was made due."""
        self._expect_of_active(sync_due_at=now)

    def expect_unsubscribed(self, now: datetime) -> None:
        """Expect that the active ones unsubscribed."""
        self._expect_of_active(state=UNSUBSCRIBED, ended_at=now, sync_due_at=now)

    def _expect_of_active(self, **changes: Any) -> None:  # noqa: ANN401
        for key, stored in self.expected.items():
            if isinstance(stored, Subscriber) and stored.state == ACTIVE:
                self.expected[key] = stored._replace(**changes)
