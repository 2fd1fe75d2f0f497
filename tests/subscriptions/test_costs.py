"""What each use case costs: SQL statements or requests to DynamoDB, as docs/scaling.md says."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from quoteapi.container import Container
from quoteapi.settings import ROOT, Settings, read_settings
from quoteapi.storage.dynamodb_state import DynamoDbState
from quoteapi.subscriptions.errors import WrongOtp
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, NOOR, environment, wrong_otp
from tests.helpers.dispatcher import RecordingDispatcher
from tests.helpers.dynamodb_requests import record_requests
from tests.helpers.dynamodb_server import on_every_engine
from tests.helpers.sns_emulator import SETTINGS, backend, sent_to
from tests.helpers.sql import record_sql
from tests.helpers.subscribing import CLIENT_IP

MOBILES_IN_OTHER_TIME_ZONES = "+64211234567", "+12125550123"
Work = Callable[[], object]


def documented_costs() -> dict[str, tuple[int, int]]:
    """Return the table in docs/scaling.md: by use case, the SQL statements and the requests to DynamoDB."""
    text = (ROOT / "docs/scaling.md").read_text()
    section = text.partition("## What a use case costs")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| (\d+) \| (\d+) \| \d+ \| \d+ \|$", section, re.MULTILINE)
    return {use_case: (int(statements), int(requests)) for use_case, statements, requests in rows}


class Costs:
    """Runs use cases of one subscriber, and records what each costs."""

    def __init__(self, container: Container) -> None:
        self.container, self.subscriptions = container, container.subscriptions
        self.dispatcher = RecordingDispatcher()
        self.by_use_case: dict[str, list[str]] = {}

    @contextmanager
    def measure(self, use_case: str) -> Iterator[None]:
        with self._record() as operations:
            yield
        self.by_use_case[use_case] = operations

    def _record(self) -> AbstractContextManager[list[str]]:
        state = self.container.state
        return record_requests(state._table) if isinstance(state, DynamoDbState) else record_sql()

    def request_otp(self, mobile: str, purpose: str, use_case: str) -> str:
        """Request and send an OTP. Return it."""
        with self.measure(use_case):
            self.subscriptions.request_otp(mobile, purpose, CLIENT_IP, self.dispatcher)  # type: ignore[arg-type]
        with self.measure("send a code, in a task"):
            self.subscriptions.send_otp(self.dispatcher.requests[-1])
        return sent_to(mobile)[-1][:6]

    def run(self, clock: FakeClock) -> None:
        """Run all use cases, in the order of a subscriber's life."""
        code = self.request_otp(MIRA, "subscribe", "request a code to subscribe")
        with self.measure("a wrong code"), pytest.raises(WrongOtp):
            self.subscriptions.subscribe(MIRA, wrong_otp(code), CLIENT_IP, self.dispatcher)
        with self.measure("the right code: subscribe"):
            self.subscriptions.subscribe(MIRA, code, CLIENT_IP, self.dispatcher)
            self.subscriptions.next_morning(MIRA)
        with self.measure("add to the topic and confirm, in a task"):
            self.container.topic_sync.sync(self.dispatcher.subscribers[-1])
        with self.measure("send the daily SMS to all"):
            assert [done.state for done in self.container.daily_delivery.publish()] == ["sent"]
        backend().opt_out_numbers.clear()  # moto begins with some
        with self.measure("reconcile, all in sync"):
            self.container.topic_sync.reconcile()
        self.run_schedule(clock)
        code = self.request_otp(MIRA, "unsubscribe", "request a code to unsubscribe")
        with self.measure("the right code: unsubscribe"):
            self.subscriptions.unsubscribe(MIRA, CLIENT_IP, self.dispatcher, code)
        with self.measure("remove from the topic, in a task"):
            self.container.topic_sync.sync(self.dispatcher.subscribers[-1])
        clock.advance(days=1)
        code = self.request_otp(MIRA, "subscribe", "request a code to subscribe")
        self.subscriptions.subscribe(MIRA, code, CLIENT_IP, self.dispatcher)
        with self.measure("unsubscribe without a code"):
            self.subscriptions.unsubscribe(MIRA, CLIENT_IP, self.dispatcher)

    def run_schedule(self, clock: FakeClock) -> None:
        """Run the schedule on the next morning, before and at the hour of the daily SMS in India."""
        clock.advance(hours=16)
        self.container.quotes.quote_of_date(clock().date())  # as `set_quote_of_the_day` does when the date begins
        with self.measure("a run of the schedule, nothing due"):
            assert self.container.schedule.run() == []
        clock.advance(minutes=30)
        with self.measure("a run of the schedule, the daily SMS due in a time zone"):
            assert [done.state for done in self.container.schedule.run()] == ["sent"]


@pytest.fixture
def costs(sns_container: Container, settings: Settings, clock: FakeClock) -> Costs:
    """Return a recorder for a service that is warm: what is read once per process was read."""
    more = {**SETTINGS, "UNSUBSCRIBE_REQUIRES_OTP": "true"}
    container = Container(read_settings(environment(settings, **more)), now=clock)
    container.state.find_subscriber(NOOR)
    container.quotes.quote_of_date(clock().date())
    return Costs(container)


@on_every_engine
def test_each_use_case_costs_what_is_documented(costs: Costs, clock: FakeClock) -> None:
    costs.run(clock)
    engine = isinstance(costs.container.state, DynamoDbState)
    documented = {use_case: both[engine] for use_case, both in documented_costs().items()}
    assert {use_case: len(operations) for use_case, operations in costs.by_use_case.items()} == documented


@on_every_engine
def test_each_further_time_zone_adds_to_a_run_what_is_documented(costs: Costs, clock: FakeClock) -> None:
    for mobile in (MIRA, *MOBILES_IN_OTHER_TIME_ZONES):
        code = costs.request_otp(mobile, "subscribe", "request a code to subscribe")
        costs.subscriptions.subscribe(mobile, code, CLIENT_IP, costs.dispatcher)
        costs.container.topic_sync.sync(costs.dispatcher.subscribers[-1])
    assert len(costs.container.daily_delivery.publish(in_quiet_hours=True)) == 3
    backend().opt_out_numbers.clear()
    clock.advance(hours=16)
    is_dynamodb = isinstance(costs.container.state, DynamoDbState)
    one_time_zone = documented_costs()["a run of the schedule, nothing due"][is_dynamodb]
    with costs.measure("of a process that knows what was sent"):
        assert costs.container.schedule.run() == []
    costs.container.daily_delivery._sent.clear()
    with costs.measure("of another process"):
        assert costs.container.schedule.run() == []
    found = [
        len(costs.by_use_case[process]) for process in ("of a process that knows what was sent", "of another process")
    ]
    assert found == [one_time_zone + 2 * is_dynamodb, one_time_zone + 2 * (1 + is_dynamodb)]


@pytest.mark.parametrize("database_url", ["dynamodb"], indirect=True)
def test_no_use_case_scans_the_table(costs: Costs, clock: FakeClock) -> None:
    costs.run(clock)
    operations = Counter(operation for recorded in costs.by_use_case.values() for operation in recorded)
    assert set(operations) <= {"GetItem", "UpdateItem", "TransactWriteItems", "Query"}
