"""Many processes at once, on one database: what the database decides."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from quoteapi.aws import schedulers
from quoteapi.container import Container
from quoteapi.settings import Settings, read_settings
from quoteapi.storage import database
from quoteapi.storage.models import Delivery, SmsUsage, Subscriber
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, SECRET_KEY, latest_otp, wrong_otp
from tests.helpers.dispatcher import RecordingDispatcher
from tests.helpers.sns_emulator import SETTINGS, backend, published, subscribed_numbers

PROCESSES = 4
ADDRESS = "192.0.2.1"


@pytest.fixture(scope="module")
def processes() -> Iterator[Pool]:
    with get_context("spawn").Pool(PROCESSES) as pool:
        yield pool


@contextmanager
def _service(url: str, **more: str) -> Iterator[Container]:
    """Put the service together in another process."""
    settings = read_settings({"DATABASE_URL": url, "SECRET_KEY": SECRET_KEY, **more})
    with database.connect(settings).connection_context():
        yield Container(settings, now=FakeClock())


def _outcome(do: Callable[[], object]) -> str:
    """Do something. Answer its outcome, or the name of the error."""
    try:
        return str(do())
    except Exception as error:  # noqa: BLE001 its name is what the test looks at
        return type(error).__name__


def ask(url: str, mobile: str, address: str, cap: str) -> str:
    with _service(url, SMS_DAILY_CAP=cap) as serve:
        return _outcome(lambda: serve.subscriptions.request_otp(mobile, "subscribe", address, RecordingDispatcher()))


def guess(url: str, code: str, first: int, many: int) -> Counter[str]:
    """Guess the same, `many` times, each time from another address."""
    outcomes = Counter[str]()
    with _service(url) as serve:
        for n in range(first, first + many):
            address = f"10.0.{n // 250}.{n % 250}"
            outcomes[_outcome(partial(serve.subscriptions.subscribe, MIRA, code, address, RecordingDispatcher()))] += 1
    return outcomes


def confirm(url: str, code: str) -> str:
    hand = RecordingDispatcher()
    with _service(url) as serve:
        failed = _outcome(lambda: serve.subscriptions.subscribe(MIRA, code, ADDRESS, hand))
    return f"{failed}, {len(hand.subscribers)} handed on"


def settle(url: str, subscriber_id: int, environment: dict[str, str]) -> str:
    os.environ["AWS_ENDPOINT_URL"] = environment["AWS_ENDPOINT_URL"]
    with _service(url, **SETTINGS) as serve:
        return _outcome(lambda: serve.topic_sync.sync(subscriber_id))


def publish(environment: dict[str, str]) -> bool:
    os.environ.update(environment)
    return bool(schedulers.publish_quote_of_the_day({}, None)["sent"])


@pytest.fixture
def url(settings: Settings, open_database: None) -> str:
    return settings.database_url or ""


@pytest.fixture
def a_code(container: Container) -> str:
    """Have a code sent to Mira."""
    container.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, container.dispatcher)
    return latest_otp(MIRA)


@pytest.fixture
def sns_of_all(url: str) -> Iterator[dict[str, str]]:
    """Answer the environment of processes that share one SNS."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    backend().reset()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield {"DATABASE_URL": url, "SECRET_KEY": SECRET_KEY, "AWS_ENDPOINT_URL": f"http://{host}:{port}", **SETTINGS}
    server.stop()
    backend().reset()


def test_of_thousands_of_guesses_at_a_code_five_are_compared(processes: Pool, url: str, a_code: str) -> None:
    parts = 40
    on_a_file = url.startswith("sqlite")
    many = (10_000 if on_a_file else 2_000) // parts  # on a server each waits for the others at the same row
    guesses = [(url, wrong_otp(a_code), part * many, many) for part in range(parts)]
    outcomes = sum(processes.starmap(guess, guesses, chunksize=1), Counter[str]())
    assert outcomes["WrongOtp"] == 5
    # Where four at once never pause, SQLite may let one wait until it gives up; a 503, which compares nothing.
    gave_up = outcomes["OperationalError"] if on_a_file else 0
    assert outcomes["RateLimited"] + gave_up == many * parts - 5
    assert confirm(url, a_code) == "RateLimited, 0 handed on", "nor is the right one, once it is locked"


def test_of_right_answers_at_once_one_subscribes(processes: Pool, url: str, a_code: str) -> None:
    outcomes = Counter(processes.starmap(confirm, [(url, a_code)] * 16, chunksize=1))
    assert outcomes == {"None, 1 handed on": 1, "NoOtpRequested, 0 handed on": 15}
    assert Subscriber.select().count() == 1


def test_a_number_that_is_asked_for_at_once_gets_one_code(processes: Pool, url: str) -> None:
    asked = [(url, MIRA, f"10.0.0.{n}", "100") for n in range(16)]
    assert Counter(processes.starmap(ask, asked, chunksize=1)) == {"None": 1, "RateLimited": 15}


def test_an_address_that_asks_at_once_gets_as_many_as_it_may(processes: Pool, url: str) -> None:
    asked = [(url, f"+9190280{n:05}", ADDRESS, "100") for n in range(40)]
    assert Counter(processes.starmap(ask, asked, chunksize=1)) == {"None": 10, "RateLimited": 30}


def test_the_days_cap_holds_for_those_who_ask_at_once(processes: Pool, url: str) -> None:
    asked = [(url, f"+9190280{n:05}", f"10.0.0.{n}", "7") for n in range(40)]
    assert Counter(processes.starmap(ask, asked, chunksize=1)) == {"None": 7, "RateLimited": 33}
    assert SmsUsage.get().count == 7


def test_a_hundred_events_at_once_make_one_publish(processes: Pool, sns_of_all: dict[str, str]) -> None:
    sent = processes.map(publish, [sns_of_all] * 100, chunksize=1)
    assert Counter(sent) == {True: 1, False: 99}
    assert len(published()) == 1
    assert Delivery.get().sent_at is not None


def test_who_is_settled_by_many_at_once_is_on_the_topic_and_told_once(
    processes: Pool, sns_of_all: dict[str, str], url: str, container: Container, a_code: str
) -> None:
    hand = RecordingDispatcher()
    container.subscriptions.subscribe(MIRA, a_code, ADDRESS, hand)
    work = [(url, hand.subscribers[0], sns_of_all)] * 16
    outcomes = Counter(processes.starmap(settle, work, chunksize=1))
    assert outcomes == {"subscribed": 1, "nothing to do": 15}
    assert subscribed_numbers() == [MIRA]
    assert len(backend().sms_messages) == 1, "the confirmation"


def test_subscribing_and_leaving_at_once_ends_as_the_database_says(
    processes: Pool, sns_of_all: dict[str, str], url: str, container: Container, tmp_path: Path
) -> None:
    for n in range(10):
        mobile, hand = f"+9190280{n:05}", RecordingDispatcher()
        container.rate_limits.delete_number(mobile)
        container.subscriptions.request_otp(mobile, "subscribe", f"10.0.0.{n}", container.dispatcher)
        container.subscriptions.subscribe(mobile, latest_otp(mobile), f"10.0.0.{n}", hand)
        started = processes.starmap_async(settle, [(url, hand.subscribers[0], sns_of_all)] * 2, chunksize=1)
        container.subscriptions.unsubscribe(mobile, f"10.0.0.{n}", hand)
        after = processes.starmap(settle, [(url, hand.subscribers[0], sns_of_all)] * 2, chunksize=1)
        assert {*started.get(), *after} <= {"subscribed", "unsubscribed", "nothing to do"}
    assert subscribed_numbers() == []
    assert Subscriber.select().where(Subscriber.sync_needed_since.is_null(is_null=False)).count() == 0
