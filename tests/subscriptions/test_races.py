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
from quoteapi.container import Service
from quoteapi.settings import Settings, read_settings
from quoteapi.storage import database
from quoteapi.storage.models import Delivery, SmsCount, Subscriber
from tests.helpers.clock import StoppedClock
from tests.helpers.data import MIRA, SECRET_KEY, code_for, wrong
from tests.helpers.dispatcher import Noted
from tests.helpers.sns_emulator import SETTINGS, backend, on_the_topic, published

PROCESSES = 4
ADDRESS = "192.0.2.1"


@pytest.fixture(scope="module")
def processes() -> Iterator[Pool]:
    with get_context("spawn").Pool(PROCESSES) as pool:
        yield pool


@contextmanager
def _service(url: str, **more: str) -> Iterator[Service]:
    """Put the service together in another process."""
    settings = read_settings({"DATABASE_URL": url, "SECRET_KEY": SECRET_KEY, **more})
    with database.connect(settings).connection_context():
        yield Service(settings, now=StoppedClock())


def _outcome(do: Callable[[], object]) -> str:
    """Do something. Answer its outcome, or the name of the error."""
    try:
        return str(do())
    except Exception as error:  # noqa: BLE001 its name is what the test looks at
        return type(error).__name__


def ask(url: str, mobile: str, address: str, cap: str) -> str:
    with _service(url, SMS_DAILY_CAP=cap) as service:
        return _outcome(lambda: service.subscriptions.ask(mobile, "subscribe", address, Noted()))


def guess(url: str, code: str, first: int, many: int) -> Counter[str]:
    """Guess the same, `many` times, each time from another address."""
    outcomes = Counter[str]()
    with _service(url) as service:
        for n in range(first, first + many):
            address = f"10.0.{n // 250}.{n % 250}"
            outcomes[_outcome(partial(service.subscriptions.confirm, MIRA, code, address, Noted()))] += 1
    return outcomes


def confirm(url: str, code: str) -> str:
    hand = Noted()
    with _service(url) as service:
        failed = _outcome(lambda: service.subscriptions.confirm(MIRA, code, ADDRESS, hand))
    return f"{failed}, {len(hand.subscribers)} handed on"


def settle(url: str, subscriber_id: int, environment: dict[str, str]) -> str:
    os.environ["AWS_ENDPOINT_URL"] = environment["AWS_ENDPOINT_URL"]
    with _service(url, **SETTINGS) as service:
        return _outcome(lambda: service.subscriptions.settle(subscriber_id))


def publish(environment: dict[str, str]) -> bool:
    os.environ.update(environment)
    return bool(schedulers.publish_quote_of_the_day({}, None)["sent"])


@pytest.fixture
def url(settings: Settings, store: None) -> str:
    return settings.database_url or ""


@pytest.fixture
def a_code(whole: Service) -> str:
    """Have a code sent to Mira."""
    whole.subscriptions.ask(MIRA, "subscribe", ADDRESS, whole.handing)
    return code_for(MIRA)


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
    guesses = [(url, wrong(a_code), part * many, many) for part in range(parts)]
    outcomes = sum(processes.starmap(guess, guesses, chunksize=1), Counter[str]())
    assert outcomes["WrongCode"] == 5
    # Where four at once never pause, SQLite may let one wait until it gives up; a 503, which compares nothing.
    gave_up = outcomes["OperationalError"] if on_a_file else 0
    assert outcomes["TooMany"] + gave_up == many * parts - 5
    assert confirm(url, a_code) == "TooMany, 0 handed on", "nor is the right one, once it is locked"


def test_of_right_answers_at_once_one_subscribes(processes: Pool, url: str, a_code: str) -> None:
    outcomes = Counter(processes.starmap(confirm, [(url, a_code)] * 16, chunksize=1))
    assert outcomes == {"None, 1 handed on": 1, "NoCodeAskedFor, 0 handed on": 15}
    assert Subscriber.select().count() == 1


def test_a_number_that_is_asked_for_at_once_gets_one_code(processes: Pool, url: str) -> None:
    asked = [(url, MIRA, f"10.0.0.{n}", "100") for n in range(16)]
    assert Counter(processes.starmap(ask, asked, chunksize=1)) == {"None": 1, "TooMany": 15}


def test_an_address_that_asks_at_once_gets_as_many_as_it_may(processes: Pool, url: str) -> None:
    asked = [(url, f"+9190280{n:05}", ADDRESS, "100") for n in range(40)]
    assert Counter(processes.starmap(ask, asked, chunksize=1)) == {"None": 10, "TooMany": 30}


def test_the_days_cap_holds_for_those_who_ask_at_once(processes: Pool, url: str) -> None:
    asked = [(url, f"+9190280{n:05}", f"10.0.0.{n}", "7") for n in range(40)]
    assert Counter(processes.starmap(ask, asked, chunksize=1)) == {"None": 7, "TooMany": 33}
    assert SmsCount.get().count == 7


def test_a_hundred_events_at_once_make_one_publish(processes: Pool, sns_of_all: dict[str, str]) -> None:
    sent = processes.map(publish, [sns_of_all] * 100, chunksize=1)
    assert Counter(sent) == {True: 1, False: 99}
    assert len(published()) == 1
    assert Delivery.get().sent_at is not None


def test_who_is_settled_by_many_at_once_is_on_the_topic_and_told_once(
    processes: Pool, sns_of_all: dict[str, str], url: str, whole: Service, a_code: str
) -> None:
    hand = Noted()
    whole.subscriptions.confirm(MIRA, a_code, ADDRESS, hand)
    work = [(url, hand.subscribers[0], sns_of_all)] * 16
    outcomes = Counter(processes.starmap(settle, work, chunksize=1))
    assert outcomes == {"subscribed": 1, "nothing to do": 15}
    assert on_the_topic() == [MIRA]
    assert len(backend().sms_messages) == 1, "the confirmation"


def test_subscribing_and_leaving_at_once_ends_as_the_database_says(
    processes: Pool, sns_of_all: dict[str, str], url: str, whole: Service, tmp_path: Path
) -> None:
    for n in range(10):
        mobile, hand = f"+9190280{n:05}", Noted()
        whole.limits.forget_number(mobile)
        whole.subscriptions.ask(mobile, "subscribe", f"10.0.0.{n}", whole.handing)
        whole.subscriptions.confirm(mobile, code_for(mobile), f"10.0.0.{n}", hand)
        started = processes.starmap_async(settle, [(url, hand.subscribers[0], sns_of_all)] * 2, chunksize=1)
        whole.subscriptions.leave(mobile, f"10.0.0.{n}", hand)
        after = processes.starmap(settle, [(url, hand.subscribers[0], sns_of_all)] * 2, chunksize=1)
        assert {*started.get(), *after} <= {"subscribed", "unsubscribed", "nothing to do"}
    assert on_the_topic() == []
    assert Subscriber.select().where(Subscriber.unsettled_since.is_null(is_null=False)).count() == 0
