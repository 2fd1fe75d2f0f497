"""What every test stands on: no network but loopback, no settings of the machine, a database of its own."""

import logging
import os
import random
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from quoteapi.app import create_app
from quoteapi.container import Container as Whole
from quoteapi.observability import logging_setup, request_log
from quoteapi.quotes.quotation import Quotation
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import Settings, model, read_settings
from quoteapi.storage import database
from quoteapi.storage.models import database as bound
from quoteapi.subscriptions.dispatcher import InlineDispatcher
from tests.helpers import postgresql_server
from tests.helpers.clock import FakeClock
from tests.helpers.data import ALCOTT, AUSTEN, SECRET_KEY, ZOLA, environment, make_catalogue
from tests.helpers.http import serve_app
from tests.helpers.upstream_api import UpstreamApi

if TYPE_CHECKING:
    from tests.helpers.sns_emulator import SnsCalls

hypothesis.settings.register_profile("here", deadline=None, max_examples=40, derandomize=True)
hypothesis.settings.load_profile("here")

Serve = Callable[..., str]


def pytest_configure(config: pytest.Config) -> None:
    """Start the server that all processes of a run share."""
    if not hasattr(config, "workerinput"):
        until_the_end = ExitStack()
        os.environ[postgresql_server.ADDRESS] = until_the_end.enter_context(postgresql_server.a_server())
        config.add_cleanup(until_the_end.close)


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:  # noqa: ANN401
        if self.family != socket.AF_UNIX and address[0] not in {"127.0.0.1", "::1"}:
            raise AssertionError(f"a test reached for the network: {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name in model.SETTING_NAMES or name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # where boto3 would look last for credentials
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)


@pytest.fixture(autouse=True)
def _no_number_and_no_code_in_any_log_line(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Read every log line of every test, as it is before numbers are masked in it and as it is written."""
    lines: list[str] = []

    class Reader(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())
            lines.append(logging_setup.RedactingFormatter(Settings()).format(record))

    def write(writer: request_log.BatchWriter, line: str) -> None:
        lines.append(line)
        original_write(writer, line)

    original_write = request_log.BatchWriter.write
    monkeypatch.setattr(request_log.BatchWriter, "write", write)
    root, reader = logging.getLogger(), Reader(logging.INFO)
    level = root.level
    root.addHandler(reader)
    root.setLevel(logging.INFO)
    token = request_log.request_id.set("-")
    yield
    request_log.request_id.reset(token)
    root.setLevel(level)
    root.removeHandler(reader)
    logging.getLogger("quoteapi").propagate = True
    assert [line for line in lines if leaks_personal_data(line)] == []


def leaks_personal_data(line: str) -> bool:
    """Whether a log line has a whole phone number or a one-time password in it."""
    return re.search(r"(?<![0-9A-Za-z.])(\+?\d{10,15}|\d{6})(?![0-9A-Za-z])", line) is not None


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bundled_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Quotation]], Path]:
    """Put another catalogue in the place of the shipped one."""

    def put(quotations: list[Quotation]) -> Path:
        path = make_catalogue(tmp_path / "shipped.db", quotations)
        monkeypatch.setattr(database, "BUNDLED_CATALOGUE", path)
        return path

    return put


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Answer the address of a database to be: whatever stands on it is tested on a file and on a server."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/working.db"
    else:
        with postgresql_server.a_database() as address:
            yield address


@pytest.fixture
def settings(database_url: str, bundled_catalogue: Callable[[list[Quotation]], Path]) -> Settings:
    """Make the settings of a service with three quotes."""
    bundled_catalogue([ALCOTT, AUSTEN, ZOLA])
    return read_settings({"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY})


@pytest.fixture
def open_database(settings: Settings) -> Iterator[None]:
    """Open the working database."""
    opened = database.connect(settings)
    yield
    opened.close()


@pytest.fixture
def quotes(open_database: None, clock: FakeClock) -> QuoteService:
    return QuoteService(clock, random.Random(1))


@pytest.fixture
def container(settings: Settings, open_database: None, clock: FakeClock) -> Whole:
    """Put the service together on the working database, as an entrance does."""
    return Whole(settings, now=clock, randomness=random.Random(1))


@pytest.fixture
def sns_container(
    settings: Settings, open_database: None, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Whole]:
    """Put the service together with Amazon SNS as moto has it; who tries again waits no time."""
    from moto import mock_aws  # noqa: PLC0415 most tests need not load it

    from tests.helpers.sns_emulator import SETTINGS, count_people  # noqa: PLC0415

    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    count_people(monkeypatch)
    with mock_aws():
        container = Whole(read_settings(environment(settings, **SETTINGS)), now=clock)
        container.dispatcher = InlineDispatcher(
            container.subscriptions.send_otp, container.topic_sync.sync
        )  # what is handed on is done before a test looks
        yield container


@pytest.fixture
def sns_calls(sns_container: Whole, monkeypatch: pytest.MonkeyPatch) -> "SnsCalls":
    """Watch every HTTP request to SNS, and let a test say which fail."""
    from tests.helpers.sns_emulator import SnsCalls  # noqa: PLC0415 which loads moto

    sns_calls = SnsCalls()
    sns_calls.watch(monkeypatch)
    return sns_calls


@pytest.fixture
def serve(settings: Settings, clock: FakeClock, tmp_path: Path) -> Iterator[Serve]:
    """Serve the app over HTTP, with more settings where a test names them. Answers the address."""
    with ExitStack() as stack:

        def start(**more: str) -> str:
            app = create_app(read_settings(environment(settings, **more)), now=clock, randomness=random.Random(1))
            stack.callback(bound.obj.close)  # which a test may have opened in its own thread
            return stack.enter_context(serve_app(app))

        yield start


@pytest.fixture
def upstream_api() -> Iterator[UpstreamApi]:
    api = UpstreamApi()
    yield api
    api.stop()
