"""What every test stands on: no network but loopback, no settings of the machine, a database of its own."""

import random
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from quoteapi import config, database
from quoteapi.app import create_app
from quoteapi.config import Settings, read_settings
from quoteapi.models import database as bound
from quoteapi.quotes import Quotation, Quotes
from tests.cast import ALCOTT, AUSTEN, ZOLA, StoppedClock, UpstreamApi, make_catalogue, serving

hypothesis.settings.register_profile("here", deadline=None, max_examples=40, derandomize=True)
hypothesis.settings.load_profile("here")

Service = Callable[..., str]


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
    for setting in config.SETTING_NAMES:
        monkeypatch.delenv(setting, raising=False)


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Quotation]], Path]:
    """Put another catalogue in the place of the shipped one."""

    def put(quotations: list[Quotation]) -> Path:
        path = make_catalogue(tmp_path / "shipped.db", quotations)
        monkeypatch.setattr(database, "SHIPPED_DATABASE", path)
        return path

    return put


@pytest.fixture
def settings(tmp_path: Path, shipped: Callable[[list[Quotation]], Path]) -> Settings:
    """Make the settings of a laptop with three quotes."""
    shipped([ALCOTT, AUSTEN, ZOLA])
    return read_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/working.db"})


@pytest.fixture
def store(settings: Settings) -> Iterator[None]:
    """Open the working database."""
    with database.connect(settings).connection_context():
        yield


@pytest.fixture
def quotes(store: None, clock: StoppedClock) -> Quotes:
    return Quotes(clock, random.Random(1))


@pytest.fixture
def service(settings: Settings, clock: StoppedClock, tmp_path: Path) -> Iterator[Service]:
    """Serve the app over HTTP, with more settings where a test names them. Answers the address."""
    with ExitStack() as stack:

        def start(**more: str) -> str:
            environment = {"DATABASE_URL": f"sqlite:///{settings.database_path}", **more}
            app = create_app(read_settings(environment), now=clock, randomness=random.Random(1))
            stack.callback(bound.obj.close)  # which a test may have opened in its own thread
            return stack.enter_context(serving(app))

        yield start


@pytest.fixture
def upstream_api() -> Iterator[UpstreamApi]:
    api = UpstreamApi()
    yield api
    api.stop()
