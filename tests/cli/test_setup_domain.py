"""Runs `quoteapi setup` with a domain, and its waiting for the certificate."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from moto import mock_aws, settings

from quoteapi.cli import main, setup
from quoteapi.cli.setup import POLL_SECONDS, TerminalOperator
from quoteapi.deploy import zappa_settings
from tests.rehearsal.emulated_domains import extend_moto_with_domains

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Return a function that runs `quoteapi setup prod` in an emulated account, in which ACM needs a second."""
    path = tmp_path / "zappa_settings.json"
    path.write_text(json.dumps({"prod": {"project_name": "quoteapi"}}))
    monkeypatch.setattr(zappa_settings, "ZAPPA_SETTINGS", path)
    monkeypatch.setattr(settings, "ACM_VALIDATION_WAIT", 1)
    monkeypatch.setattr(setup, "POLL_SECONDS", 1)
    extend_moto_with_domains()
    with mock_aws():
        yield lambda *words: CliRunner().invoke(main, ["setup", "prod", "--yes", *words])


def test_setup_does_not_wait_for_a_certificate_with_yes(run: Run) -> None:
    result = run("--domain", "quotes.example.org")
    assert result.exit_code == 0, result.output
    assert "… domain           the certificate of quotes.example.org is not issued yet" in result.output
    assert "To go on when it is issued, run `quoteapi setup prod` again." in result.output


def test_setup_waits_for_a_certificate_if_asked_to(run: Run) -> None:
    result = run("--domain", "Quotes.Example.org.", "--wait", "--json")
    assert result.exit_code == 0, result.output
    found = {each["name"]: each for each in json.loads(result.stdout)}
    assert found["domain"]["found"] == "https://quotes.example.org"
    assert found["domain"]["to_do"].startswith("After `zappa deploy prod`, run `zappa certify prod`.")


def test_an_invalid_host_name_is_a_usage_error(run: Run) -> None:
    for option in ("--domain", "--hosted-zone"):
        result = run(option, "https://quotes.example.org")
        assert result.exit_code == 2
        assert f"Invalid value for {option}: Write a host name without https://" in " ".join(result.output.split())


class Waiting:
    """An operator who waits at a terminal of 60 columns, with a clock that only their sleep moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        self.polled_at: list[float] = []
        self.issued_at = self.interrupted_at = 1e9
        self.operator = TerminalOperator(asks=True, waits=True, sleep=self._sleep, monotonic=lambda: self.seconds)
        self.is_terminal = True
        self._monkeypatch = monkeypatch
        monkeypatch.setenv("COLUMNS", "60")

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds
        if self.seconds >= self.interrupted_at:
            raise KeyboardInterrupt

    def wait(self) -> bool:
        self._monkeypatch.setattr(sys.stderr, "isatty", lambda: self.is_terminal)
        return self.operator.wait("Waiting for the certificate of quotes.example.org", self._is_issued)

    def _is_issued(self) -> bool:
        self.polled_at.append(self.seconds)
        return self.seconds >= self.issued_at


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Waiting:
    return Waiting(monkeypatch)


def test_waiting_shows_how_long_it_takes_and_asks_aws_now_and_then(
    waiting: Waiting, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting.issued_at = 65
    assert waiting.wait()
    assert waiting.polled_at == [0, *range(POLL_SECONDS, 71, POLL_SECONDS)]
    shown = capsys.readouterr().err.split("\r\033[K")
    assert shown[1:3] == [f"Waiting for the certificate of quotes.example.org: 0:0{n} (Ct" for n in (0, 1)]
    assert shown[-2:] == ["Waiting for the certificate of quotes.example.org: 1:09 (Ct", ""]
    assert max(map(len, shown)) < 60, "a longer line would wrap"


def test_ctrl_c_ends_the_waiting(waiting: Waiting, capsys: pytest.CaptureFixture[str]) -> None:
    waiting.interrupted_at = 3
    assert not waiting.wait()
    assert capsys.readouterr().err.endswith("\r\033[K")


def test_what_is_done_is_not_waited_for(waiting: Waiting) -> None:
    waiting.issued_at = 0
    assert waiting.wait()
    assert (waiting.polled_at, waiting.seconds) == ([0], 0)


def test_without_a_terminal_waiting_shows_nothing(waiting: Waiting, capsys: pytest.CaptureFixture[str]) -> None:
    waiting.is_terminal = False
    waiting.issued_at = 20
    assert waiting.wait()
    assert capsys.readouterr().err == ""


def test_an_operator_who_does_not_wait_asks_aws_once(waiting: Waiting) -> None:
    waiting.operator.waits = False
    assert not waiting.wait()
    assert waiting.polled_at == [0]
