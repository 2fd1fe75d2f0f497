"""Races between processes that share one database."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from quoteapi.aws import schedulers
from quoteapi.aws.job_context import RedactedError
from quoteapi.clock import now
from quoteapi.container import Container
from quoteapi.settings import Settings, read_settings
from quoteapi.storage import database
from quoteapi.storage.models import Delivery, SmsUsage, Subscriber
from quoteapi.storage.sql_state import SqlState
from tests.helpers import subscribing
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, SECRET_KEY, latest_otp, wrong_otp
from tests.helpers.dispatcher import RecordingDispatcher
from tests.helpers.sns_emulator import SETTINGS, backend, count_people, published, subscribed_numbers
from tests.helpers.subscribing import CLIENT_IP, add_sns_subscribers

PROCESSES = 4


@pytest.fixture(scope="module")
def processes() -> Iterator[Pool]:
    with get_context("spawn").Pool(PROCESSES) as pool:
        yield pool


@contextmanager
def _open_container(url: str, **more: str) -> Iterator[Container]:
    """Build the container in this process."""
    settings = read_settings({"DATABASE_URL": url, "SECRET_KEY": SECRET_KEY, **more})
    with database.connect(settings).connection_context():
        yield Container(settings, now=FakeClock())


def _outcome(call: Callable[[], object]) -> str:
    """Return what a call returns, or the name of its error."""
    try:
        return str(call())
    except Exception as error:  # noqa: BLE001 the test checks its name
        return type(error).__name__


def request_otp(url: str, mobile: str, client_ip: str, sms_quota: str) -> str:
    with _open_container(url, SMS_DAILY_CAP=sms_quota) as container:
        request = partial(container.subscriptions.request_otp, mobile, "subscribe", client_ip, RecordingDispatcher())
        return _outcome(lambda: "requested" if request() else "no status")


def guess(url: str, code: str, first: int, count: int) -> Counter[str]:
    """Try the same wrong code `count` times, each time from another client IP."""
    outcomes = Counter[str]()
    with _open_container(url) as container:
        for n in range(first, first + count):
            client_ip = f"10.0.{n // 250}.{n % 250}"
            subscribe = partial(container.subscriptions.subscribe, MIRA, code, client_ip, RecordingDispatcher())
            outcomes[_outcome(subscribe)] += 1
    return outcomes


def subscribe(url: str, code: str) -> str:
    dispatcher = RecordingDispatcher()
    with _open_container(url) as container:
        outcome = _outcome(lambda: container.subscriptions.subscribe(MIRA, code, CLIENT_IP, dispatcher))
    return f"{outcome}, {len(dispatcher.subscribers)} dispatched"


def confirm(url: str, mobile: str, code: str, limit: int) -> str:
    with _open_container(url, SMS_MAX_SUBSCRIBERS=str(limit)) as container:
        return _outcome(lambda: container.subscriptions.subscribe(mobile, code, CLIENT_IP, RecordingDispatcher()))


def sync(url: str, subscriber_id: str, environment: dict[str, str]) -> str:
    os.environ["AWS_ENDPOINT_URL"] = environment["AWS_ENDPOINT_URL"]
    with _open_container(url, **SETTINGS) as container:
        return _outcome(lambda: container.topic_sync.sync(subscriber_id))


def publish(environment: dict[str, str]) -> bool:
    os.environ.update(environment)
    try:
        return bool(schedulers.publish_quote_of_the_day({}, None)["sent"])
    except RedactedError as error:  # the run of another process, which Lambda makes again
        if "DeliveryPending" not in str(error):
            raise
        return False


def time_zone_at_noon() -> str:
    """Return a time zone in which it is between 12:00 and 13:00 now, by the real clock."""
    hours = 12 - now().hour
    return f"Etc/GMT{-hours:+}" if hours else "Etc/GMT"


@pytest.fixture
def url(settings: Settings, open_database: None) -> str:
    return settings.database_url or ""


@pytest.fixture
def otp(container: Container) -> str:
    """Request an OTP, and return it."""
    return subscribing.request_otp(container)


@pytest.fixture
def shared_sns(url: str) -> Iterator[dict[str, str]]:
    """Return the environment of processes that share one SNS."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    backend().reset()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield {"DATABASE_URL": url, "SECRET_KEY": SECRET_KEY, "AWS_ENDPOINT_URL": f"http://{host}:{port}", **SETTINGS}
    server.stop()
    backend().reset()


def test_of_a_thousand_guesses_five_are_compared_with_the_otp(processes: Pool, url: str, otp: str) -> None:
    guesses, batch = 1_000, 25
    work = [(url, wrong_otp(otp), first, batch) for first in range(0, guesses, batch)]
    outcomes = sum(processes.starmap(guess, work, chunksize=1), Counter[str]())
    assert outcomes["WrongOtp"] == 5
    # Four busy writers may starve one until SQLite's busy timeout: a 503, which compares nothing.
    timeouts = outcomes["OperationalError"] if url.startswith("sqlite") else 0
    assert outcomes["RateLimited"] + timeouts == guesses - 5
    assert subscribe(url, otp) == "RateLimited, 0 dispatched", "the right OTP is not accepted once it is locked"


def test_of_right_otps_at_once_one_subscribes(processes: Pool, url: str, otp: str) -> None:
    outcomes = Counter(processes.starmap(subscribe, [(url, otp)] * 16, chunksize=1))
    assert outcomes == {"(), 1 dispatched": 1, "(), 0 dispatched": 15}
    assert Subscriber.select().count() == 1


def test_parallel_requests_for_a_number_send_one_otp(processes: Pool, url: str) -> None:
    requests = [(url, MIRA, f"10.0.0.{n}", "100") for n in range(16)]
    assert Counter(processes.starmap(request_otp, requests, chunksize=1)) == {"requested": 1, "RateLimited": 15}


def test_parallel_requests_of_a_client_ip_get_as_many_otps_as_its_limit(processes: Pool, url: str) -> None:
    requests = [(url, f"+9190280{n:05}", CLIENT_IP, "100") for n in range(40)]
    assert Counter(processes.starmap(request_otp, requests, chunksize=1)) == {"requested": 10, "RateLimited": 30}


def test_parallel_requests_get_as_many_otps_as_the_sms_quota(processes: Pool, url: str) -> None:
    requests = [(url, f"+9190280{n:05}", f"10.0.0.{n}", "7") for n in range(40)]
    assert Counter(processes.starmap(request_otp, requests, chunksize=1)) == {"requested": 7, "RateLimited": 33}
    assert SmsUsage.get().count == 7


def test_of_right_otps_at_once_as_many_subscribe_as_there_are_places(
    processes: Pool, url: str, container: Container
) -> None:
    work = []
    for n in range(16):
        mobile = f"+9190280{n:05}"
        container.subscriptions.request_otp(mobile, "subscribe", f"10.0.0.{n}", container.dispatcher)
        work.append((url, mobile, latest_otp(mobile), 5))
    outcomes = Counter(processes.starmap(confirm, work, chunksize=1))
    assert outcomes == {"()": 5, "SubscriberLimitReached": 11}
    assert Subscriber.select().count() == SqlState().subscriber_count() == 5


def test_a_hundred_events_at_once_publish_once(
    processes: Pool, shared_sns: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    count_people(monkeypatch)
    assert not any(processes.map(publish, [shared_sns] * 8, chunksize=1)), "nobody is on the topic"
    assert (published(), Delivery.select().count()) == ([], 0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", shared_sns["AWS_ENDPOINT_URL"])
    add_sns_subscribers(Container(read_settings(shared_sns)), MIRA, time_zone=time_zone_at_noon())
    Subscriber.update(joined_at=now() - timedelta(hours=12)).execute()  # after yesterday's morning, before this one
    sent = processes.map(publish, [shared_sns] * 100, chunksize=1)
    assert Counter(sent) == {True: 1, False: 99}
    assert len(published()) == 1
    assert Delivery.get().sent_at is not None


def test_parallel_syncs_of_a_subscriber_subscribe_and_confirm_once(
    processes: Pool, shared_sns: dict[str, str], url: str, container: Container, otp: str
) -> None:
    dispatcher = RecordingDispatcher()
    container.subscriptions.subscribe(MIRA, otp, CLIENT_IP, dispatcher)
    work = [(url, dispatcher.subscribers[0], shared_sns)] * 16
    outcomes = Counter(processes.starmap(sync, work, chunksize=1))
    assert outcomes == {"subscribed": 1, "nothing to do": 15}
    assert subscribed_numbers() == [MIRA]
    assert len(backend().sms_messages) == 1, "the confirmation"


def test_after_parallel_syncs_the_topic_matches_the_database(
    processes: Pool, shared_sns: dict[str, str], url: str, container: Container, tmp_path: Path
) -> None:
    for n in range(10):
        mobile, dispatcher = f"+9190280{n:05}", RecordingDispatcher()
        container.state.delete_number(mobile, container.rate_limits.log_keys(mobile))
        container.subscriptions.request_otp(mobile, "subscribe", f"10.0.0.{n}", container.dispatcher)
        container.subscriptions.subscribe(mobile, latest_otp(mobile), f"10.0.0.{n}", dispatcher)
        started = processes.starmap_async(sync, [(url, dispatcher.subscribers[0], shared_sns)] * 2, chunksize=1)
        container.subscriptions.unsubscribe(mobile, f"10.0.0.{n}", dispatcher)
        after = processes.starmap(sync, [(url, dispatcher.subscribers[0], shared_sns)] * 2, chunksize=1)
        assert {*started.get(), *after} <= {"subscribed", "unsubscribed", "waiting", "nothing to do"}
    assert subscribed_numbers() == []
    assert Subscriber.select().where(Subscriber.sync_due_at.is_null(is_null=False)).count() == 0
