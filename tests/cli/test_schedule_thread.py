import logging
import random
import signal
import time
from collections.abc import Callable
from datetime import date, timedelta

import pytest

from quoteapi import clock
from quoteapi.cli.schedule_thread import run_until_exit, seconds_to_next_run
from quoteapi.container import Container
from quoteapi.storage.models import ConsoleSms, Delivery
from quoteapi.subscriptions.daily_delivery import DeliveryResult
from quoteapi.subscriptions.errors import SmsDisabled
from quoteapi.subscriptions.schedule import INTERVAL
from tests.cli.conftest import insert_subscriber, recipients_of_the_daily_sms
from tests.helpers.clock import FakeClock
from tests.helpers.data import KOLKATA, MIRA, NOON, NOOR, add_subscribers
from tests.helpers.servers import Servers
from tests.helpers.sql import record_sql
from tests.helpers.subscribing import run_in_thread
from tests.helpers.waiting import LIMIT_SECONDS, wait_until

LONG_AGO = clock.now() - timedelta(days=9)


class Sleeper:
    """Advances a clock instead of sleeping, and ends the process after some runs."""

    def __init__(self, clock: FakeClock, runs: int) -> None:
        self.clock, self.runs = clock, runs
        self.began: list[str] = []

    def __call__(self, seconds: float) -> bool:
        if seconds:
            self.clock.advance(seconds=seconds)
            self.began.append(f"{self.clock():%H:%M}")
            self.runs -= 1
        return self.runs < 0


class FlakySchedule:
    """A schedule that raises errors, then sends."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def run(self, remaining_seconds: Callable[[], float], on_result: Callable[[DeliveryResult], None]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        on_result(DeliveryResult(date(2026, 11, 22), KOLKATA, "sent", "Sent to 1 subscriber."))


def run_schedule(container: Container, sleeper: Sleeper) -> None:
    run_in_thread(run_until_exit, container, random.Random(1), sleeper)


@pytest.mark.parametrize(("minutes", "expected"), [(0, 15), (1, 14), (14.9, 0.1), (15, 15)])
def test_a_run_begins_within_half_a_minute_after_each_quarter_of_an_hour(minutes: float, expected: float) -> None:
    randomness, now = random.Random(1), NOON + timedelta(minutes=minutes)
    delays = [seconds_to_next_run(now, INTERVAL, randomness) - 60 * expected for _ in range(100)]
    assert all(-1e-6 <= delay <= 30 for delay in delays)
    assert max(delays) - min(delays) > 25


def test_the_daily_sms_is_sent_in_the_first_run_after_its_hour(container: Container, clock: FakeClock) -> None:
    clock.moment = NOON - timedelta(hours=8)  # 09:30 in Kolkata
    add_subscribers(MIRA, time_zone=KOLKATA)
    before = Delivery(date=NOON.date() - timedelta(days=1), topic=f"console-{KOLKATA.replace('/', '-')}")
    before.claimed_at = before.sending_at = before.sent_at = clock.moment
    before.save(force_insert=True)
    sleeper = Sleeper(clock, runs=4)
    run_schedule(container, sleeper)
    assert sleeper.began == ["04:15", "04:30", "04:45", "05:00", "05:15"]
    assert [(row.to, f"{row.sent_at:%H:%M}") for row in ConsoleSms.select()] == [(MIRA, "04:30")]


def test_errors_are_logged_and_the_next_run_goes_on(
    container: Container, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    add_subscribers(MIRA)
    vars(container)["schedule"] = FlakySchedule(OSError("no disk"), SmsDisabled())
    with caplog.at_level(logging.INFO, "quoteapi"):
        run_schedule(container, Sleeper(clock, runs=3))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "The schedule of the daily SMS failed; the next run tries again"),
        ("WARNING", f"Daily SMS not sent: {SmsDisabled()}"),
        ("INFO", "Daily SMS of 2026-11-22, Asia/Kolkata: Sent to 1 subscriber."),
    ]
    assert "no disk" in caplog.text


def test_a_service_without_subscribers_does_two_queries_a_run(container: Container, clock: FakeClock) -> None:
    with record_sql() as statements:
        run_schedule(container, Sleeper(clock, runs=3))
    selects = [statement for statement in statements if statement.startswith("SELECT")]
    assert len(selects) == 6
    assert not [statement for statement in statements if statement.startswith(("INSERT", "UPDATE"))]


def serve_with_schedule(servers: Servers, workers: int, *, extra: str = "") -> None:
    """Start a server whose schedule runs each second, and whose SMS are due at any hour."""
    script = f"""
import time
from datetime import timedelta
from quoteapi.cli import main
from quoteapi.sms.console import ConsoleGateway
from quoteapi.subscriptions import schedule
schedule.INTERVAL = timedelta(seconds=1)
{extra}
main(["serve", "--workers", "{workers}"])
"""
    servers.start("python", "-c", script, DAILY_SMS_AT="00:00", QUIET_HOURS="off")


def test_the_workers_of_a_server_send_the_daily_sms_once(servers: Servers, working_database: Container) -> None:
    insert_subscriber(MIRA, joined_at=LONG_AGO)
    serve_with_schedule(servers, 2)
    wait_until(lambda: "Etc/UTC: Sent to 1 subscriber." in servers.output())
    time.sleep(2)
    assert recipients_of_the_daily_sms() == [MIRA]
    insert_subscriber(NOOR, topic=None, subscription_arn=None, confirmation_sent_at=None, sync_due_at=LONG_AGO)
    wait_until(lambda: ConsoleSms.select().where(ConsoleSms.to == NOOR).exists())  # the confirmation
    (process,) = servers.processes
    process.terminate()
    assert process.wait(LIMIT_SECONDS) == 0
    assert "Traceback" not in servers.output()


SLOW_GATEWAY = """
publish = ConsoleGateway.publish
def slowly(*arguments):
    print("slow publish begins", flush=True)
    time.sleep(2)
    return publish(*arguments)
ConsoleGateway.publish = slowly
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_server_finishes_the_sms_under_way_and_begins_no_other(
    servers: Servers, working_database: Container, stop: signal.Signals
) -> None:
    insert_subscriber(MIRA, joined_at=LONG_AGO)
    insert_subscriber(NOOR, joined_at=LONG_AGO, time_zone="Africa/Accra", topic="console-Africa-Accra")
    serve_with_schedule(servers, 1, extra=SLOW_GATEWAY)
    wait_until(lambda: "slow publish begins" in servers.output())
    (process,) = servers.processes
    process.send_signal(stop)
    assert process.wait(LIMIT_SECONDS) == 0
    assert servers.output().count("slow publish begins") == 1
    sent = Delivery.select().where(Delivery.sent_at.is_null(is_null=False))
    in_doubt = Delivery.select().where(Delivery.sent_at.is_null() & Delivery.sending_at.is_null(is_null=False))
    assert (sent.count(), in_doubt.count(), len(recipients_of_the_daily_sms())) == (1, 0, 1)
