"""Fixtures of all tests: no network but loopback, no settings of this machine, an isolated database."""

import functools
import logging
import os
import random
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from botocore.loaders import JSONFileLoader

from quoteapi.app import create_app
from quoteapi.container import Container
from quoteapi.observability import logging_setup, request_log
from quoteapi.quotes.quotation import Quotation
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import Settings, model, read_settings
from quoteapi.storage import database
from quoteapi.storage.models import database as bound
from quoteapi.storage.sql_state import SqlState
from quoteapi.storage.state import State
from quoteapi.subscriptions.dispatcher import InlineDispatcher
from tests.helpers import dynamodb_server, postgresql_server
from tests.helpers.clock import FakeClock
from tests.helpers.data import ALCOTT, AUSTEN, SECRET_KEY, ZOLA, environment, make_catalogue
from tests.helpers.http import serve_app
from tests.helpers.temporary_folders import temporary_files_in_memory
from tests.helpers.upstream_api import UpstreamApi

if TYPE_CHECKING:
    from tests.helpers.sns_emulator import SnsCalls

hypothesis.settings.register_profile("quoteapi", deadline=None, max_examples=40, derandomize=True)
hypothesis.settings.load_profile("quoteapi")

Serve = Callable[..., str]

LONGEST_TEST_FILES = ("test_rehearsal.py", "test_schemathesis.py")


def pytest_configure(config: pytest.Config) -> None:
    """Start the PostgreSQL server and set the temporary folder that all processes of a test run share."""
    if not hasattr(config, "workerinput"):
        exit_stack = ExitStack()
        os.environ[postgresql_server.URL_VARIABLE] = exit_stack.enter_context(postgresql_server.run_server())
        exit_stack.enter_context(temporary_files_in_memory())
        config.add_cleanup(exit_stack.close)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest tests first, so that no worker runs one of them while the others are done."""
    is_long = [item.path.name in LONGEST_TEST_FILES for item in items]
    longest = [item for item, long in zip(items, is_long, strict=True) if long]
    others = [item for item, long in zip(items, is_long, strict=True) if not long]
    middle = len(items) // 2 - len(longest[1::2])  # xdist gives each of two workers one half
    items[:] = [*longest[::2], *others[:middle], *longest[1::2], *others[middle:]]


@pytest.fixture(scope="session", autouse=True)
def _parse_files_of_botocore_once() -> Iterator[None]:
    """Share the parsed service models between sessions, each of which parses them again otherwise (0.1 s)."""
    load_once = functools.cache(functools.partial(JSONFileLoader.load_file, JSONFileLoader()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", staticmethod(load_once))
        yield


@pytest.fixture(autouse=True)
def _allow_only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def connect_to_loopback(self: socket.socket, address: Any) -> None:  # noqa: ANN401
        if self.family != socket.AF_UNIX and address[0] not in {"127.0.0.1", "::1"}:
            raise AssertionError(f"a test connected to the network: {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_to_loopback)


@pytest.fixture(autouse=True)
def _restore_environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _remove_settings_of_this_machine(_restore_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name in model.SETTING_NAMES or name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # the last place where boto3 looks for credentials
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)


@pytest.fixture(autouse=True)
def _check_log_for_personal_data(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test if a log line has a phone number or an OTP, before or after redaction."""
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
    monkeypatch.setattr(request_log, "_writer", None)  # else a command's log goes on in the tests after it
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
    """Return whether a log line has an unmasked phone number or a one-time password."""
    return re.search(r"(?<![0-9A-Za-z.])(\+?\d{10,15}|\d{6})(?![0-9A-Za-z])", line) is not None


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bundled_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Quotation]], Path]:
    """Return a function that replaces the bundled catalogue with one of the given quotes."""

    def replace(quotations: list[Quotation]) -> Path:
        path = make_catalogue(tmp_path / "shipped.db", quotations)
        monkeypatch.setattr(database, "BUNDLED_CATALOGUE", path)
        return path

    return replace


@pytest.fixture(scope="session")
def catalogue_of_three_quotes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a catalogue once, for the fixture `settings` to copy."""
    return make_catalogue(tmp_path_factory.mktemp("catalogue") / "shipped.db", [ALCOTT, AUSTEN, ZOLA])


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the URL of a new database; tests that use it run on SQLite and on PostgreSQL.

    Tests marked with `dynamodb_server.on_every_engine` run on DynamoDB too.
    """
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/working.db"
    elif request.param == "dynamodb":
        for name, value in dynamodb_server.environment().items():
            monkeypatch.setenv(name, value)
        yield f"dynamodb://{dynamodb_server.create_table().name}?region={dynamodb_server.REGION}"
    else:
        with postgresql_server.create_database() as url:
            yield url


@pytest.fixture
def settings(
    database_url: str, catalogue_of_three_quotes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Return the settings of a service with three quotes."""
    catalogue = tmp_path / "shipped.db"
    shutil.copyfile(catalogue_of_three_quotes, catalogue)
    monkeypatch.setattr(database, "BUNDLED_CATALOGUE", catalogue)
    is_dynamodb = database_url.startswith("dynamodb:")  # where the console gateway has no inbox
    gateway = {"SMS_GATEWAY": "sns", "SMS_ALLOWED_REGIONS": "*"} if is_dynamodb else {}
    return read_settings({"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY, **gateway})


@pytest.fixture
def open_database(settings: Settings) -> Iterator[None]:
    """Connect this thread to the working database."""
    connection = database.connect(settings)
    yield
    connection.close()


@pytest.fixture
def quotes(open_database: None, clock: FakeClock) -> QuoteService:
    return QuoteService(clock, random.Random(1), SqlState())


@pytest.fixture
def container(settings: Settings, open_database: None, clock: FakeClock) -> Container:
    """Return the container of a service on the working database."""
    return Container(settings, now=clock, randomness=random.Random(1))


@pytest.fixture
def state(container: Container) -> State:
    """Return the shared state."""
    return container.state


@pytest.fixture
def sns_container(
    settings: Settings, open_database: None, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Container]:
    """Return a container whose gateway is moto's Amazon SNS; retries do not wait."""
    from moto import mock_aws  # noqa: PLC0415 slow to load, and most tests do not use it

    from tests.helpers.sns_emulator import SETTINGS, count_people  # noqa: PLC0415

    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    count_people(monkeypatch)
    with mock_aws():
        container = Container(read_settings(environment(settings, **SETTINGS)), now=clock)
        container.dispatcher = InlineDispatcher(
            container.subscriptions.send_otp, container.topic_sync.sync
        )  # what is handed on is done before a test looks
        yield container


@pytest.fixture
def sns_calls(sns_container: Container, monkeypatch: pytest.MonkeyPatch) -> "SnsCalls":
    """Return a recorder of all HTTP requests to SNS, with which a test can make requests fail."""
    from tests.helpers.sns_emulator import SnsCalls  # noqa: PLC0415 it loads moto

    sns_calls = SnsCalls()
    sns_calls.watch(monkeypatch)
    return sns_calls


@pytest.fixture
def serve(settings: Settings, clock: FakeClock, tmp_path: Path) -> Iterator[Serve]:
    """Return a function that serves the app over HTTP, with extra settings if given, and returns its URL."""
    with ExitStack() as stack:

        def start(**extra: str) -> str:
            app = create_app(read_settings(environment(settings, **extra)), now=clock, randomness=random.Random(1))
            stack.callback(bound.obj.close)  # a test may have opened a connection in its own thread
            return stack.enter_context(serve_app(app))

        yield start


@pytest.fixture
def upstream_api() -> Iterator[UpstreamApi]:
    api = UpstreamApi()
    yield api
    api.stop()
