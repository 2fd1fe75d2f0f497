"""The real servers: processes that are started as the README says."""

import json
import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from benchmarks.http import free_port
from quoteapi.settings import ROOT
from tests.conftest import leaks_personal_data
from tests.helpers.http import assert_problem

Start = Callable[..., str]


class Servers:
    """Real servers of one working database, and what they said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str, terminal: int | None = None, **settings: str) -> str:
        port = free_port()
        command = [
            str(Path(sys.executable).parent / words[0]),
            *(word.replace("PORT", str(port)) for word in words[1:]),
        ]
        environment = {
            "PATH": os.environ["PATH"],
            "PORT": str(port),
            "DATABASE_URL": f"sqlite:///{self.folder}/working.db",
            **settings,
        }
        with (self.folder / f"said-{len(self.processes)}").open("wb") as said:
            command = command if terminal is None else ["setsid", "--ctty", *command]
            process = subprocess.Popen(command, env=environment, cwd=ROOT, stdin=terminal, stdout=said, stderr=said)
        self.processes.append(process)
        base = f"http://127.0.0.1:{port}"
        for _ in range(200):
            if process.poll() is not None:
                break
            with suppress(requests.ConnectionError):
                requests.get(f"{base}/health", timeout=5)
                return base
            time.sleep(0.05)
        raise AssertionError(self.said())

    def said(self, which: int = -1) -> str:
        return (self.folder / f"said-{range(len(self.processes))[which]}").read_text()

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(20)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    running = Servers(tmp_path)
    yield running
    running.stop()
    log_lines = [line for said in tmp_path.glob("said-*") for line in said.read_text().splitlines() if line[:2] == "20"]
    assert not [line for line in log_lines if leaks_personal_data(line)]


GUNICORN = ("gunicorn", "--bind", "127.0.0.1:PORT", "quoteapi.app:api")


@pytest.mark.parametrize("words", [("quoteapi", "serve"), GUNICORN, (*GUNICORN, "--preload", "--workers", "3")])
def test_the_servers_of_the_readme_answer(servers: Servers, words: tuple[str, ...]) -> None:
    base = servers.start(*words)
    daily = requests.get(f"{base}/daily", headers={"X-Request-ID": "check-17"}, timeout=5)
    assert daily.status_code == 200
    assert daily.headers["X-Request-ID"] == "check-17"
    known = requests.get(f"{base}/daily", headers={"If-None-Match": daily.headers["ETag"]}, timeout=5)
    assert (known.status_code, known.content) == (304, b"")
    assert requests.head(f"{base}/daily", timeout=5).headers["Content-Length"] == str(len(daily.content))
    assert_problem(requests.get(f"{base}/caf%C3%A9?q=%FF", timeout=5), 404, "Not Found")
    assert_problem(requests.post(f"{base}/random", data="x", timeout=5), 405, "Method Not Allowed")
    identities = {requests.get(f"{base}/random", timeout=5).headers["X-Request-ID"] for _ in range(30)}
    assert len(identities) == 30, "processes that were forked do not make up the same"


def test_the_readmes_five_lines_are_the_life_of_a_subscription(servers: Servers, tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text().split("### The daily SMS, on your laptop")[1].split("\n## ")[0]
    lines = [line[2:] for line in section.splitlines() if line.startswith("$ ")]
    base = servers.start("quoteapi", "serve")
    said = []
    for line in lines:
        if not line.startswith("curl "):
            said.append(quoteapi_says(shlex.split(line)[1:], tmp_path))
            continue
        code = re.search(r"│ (\d{6}) is your QuoteAPI code", servers.said())
        words = shlex.split(line.replace("482913", code[1] if code is not None else "none yet"))
        fields = dict(word.split("=") for word in words if "=" in word)
        answer = requests.post(words[-1].replace("http://127.0.0.1:8000", base), data=fields, timeout=5)
        assert answer.status_code == 200, answer.text
        said.append(answer.json()["message"])
    asked, subscribed, sent, inbox, unsubscribed = said
    assert f"Use OTP with this URL pattern {base}/subscribe?mobile=%2B919028000001&otp=xxxxxx." in asked
    assert subscribed.startswith("Congratulations!!!")
    assert "sent to 1." in sent
    author = requests.get(f"{base}/daily", timeout=5).json()["author"]
    assert [word in inbox for word in ("code to +919028000001", "confirmation to", "quote to", author)] == [True] * 4
    assert unsubscribed.startswith("You have successfully unsubscribed")


def quoteapi_says(words: list[str], folder: Path) -> str:
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": f"sqlite:///{folder}/working.db"}
    command = [sys.executable, "-m", "quoteapi", *words]
    ran = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=True)
    return ran.stdout.decode()


def test_serve_says_what_to_open_and_writes_a_line_a_request(servers: Servers) -> None:
    base = servers.start("quoteapi", "serve")
    requests.get(f"{base}/daily", headers={"X-Request-ID": "check-17"}, timeout=5)
    time.sleep(0.3)
    said = servers.said()
    assert f"QuoteAPI is at {base}" in said
    for path in ("/daily", "/random", "/health"):
        assert f"curl {base}{path}" in said
    assert re.search(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO GET /daily 200 \[check-17\]$", said, re.MULTILINE)
    assert "WARNING" not in said


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_cleanly(servers: Servers, stop: signal.Signals) -> None:
    base = servers.start("quoteapi", "serve")
    requests.get(f"{base}/daily", headers={"X-Request-ID": "the-last"}, timeout=5)
    (process,) = servers.processes
    process.send_signal(stop)
    assert process.wait(20) == 0
    assert "Traceback" not in servers.said()
    assert "[the-last]" in servers.said(), "what was gathered is written at the end"


def test_ctrl_c_on_a_terminal_ends_it(servers: Servers) -> None:
    leader, terminal = pty.openpty()
    base = servers.start("quoteapi", "serve", "--workers", "2", terminal=terminal)
    assert requests.get(f"{base}/daily", timeout=5).status_code == 200
    os.write(leader, b"\x03")
    (process,) = servers.processes
    assert process.wait(5) == 0
    os.close(terminal)
    os.close(leader)


def test_text_that_was_typed_into_curl_as_it_is_finds_its_quotes(servers: Servers) -> None:
    base = servers.start("quoteapi", "serve", "--workers", "1")
    with socket.create_connection(("127.0.0.1", int(base.rpartition(":")[2])), timeout=5) as connection:
        connection.sendall("GET /random?author=Émile+Zolà&x=1 HTTP/1.0\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(4_096), b""))
    problem = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert problem["detail"].startswith("No quote has author 'Émile Zolà'.")


def test_a_hosts_name_will_do(servers: Servers) -> None:
    base = servers.start("quoteapi", "serve", HOST="localhost")
    assert requests.get(f"{base}/health", timeout=5).status_code == 200


def test_many_at_once_on_two_servers_get_one_quote_of_the_day(servers: Servers) -> None:
    bases = [servers.start("quoteapi", "serve", "--workers", "2"), servers.start(*GUNICORN, "--workers", "2")]

    def ask(number: int) -> str:
        return requests.get(f"{bases[number % 2]}/daily", timeout=10).text

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(200)))
    assert len(set(answers)) == 1


def test_two_services_that_share_nothing_agree(servers: Servers, tmp_path: Path) -> None:
    one = servers.start("quoteapi", "serve", "--workers", "1")
    other = servers.start("quoteapi", "serve", "--workers", "1", DATABASE_URL=f"sqlite:///{tmp_path}/other.db")
    for day in ("2026-11-01", "2026-11-02", "2025-01-31", "1999-12-31"):
        first, second = (requests.get(f"{base}/daily?date={day}", timeout=5) for base in (one, other))
        assert first.content == second.content
        assert first.headers["ETag"] == second.headers["ETag"]
    assert requests.get(f"{one}/daily", timeout=5).content == requests.get(f"{other}/daily", timeout=5).content


def test_a_wrong_setting_stops_gunicorn_with_the_sentence(servers: Servers) -> None:
    with pytest.raises(AssertionError, match="Error: LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR"):
        servers.start(*GUNICORN, LOG_LEVEL="loud")
    assert "Traceback" not in servers.said()
    assert servers.processes[0].wait(10) == 3


def test_however_many_send_slowly_the_quote_of_the_day_is_answered(servers: Servers) -> None:
    base = servers.start("quoteapi", "serve", WORKERS="1")
    head = (
        b"POST /subscribe HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    slow = [socket.create_connection(("127.0.0.1", int(base.rpartition(":")[2]))) for _ in range(20)]
    for connection in slow:
        connection.sendall(head)
    time.sleep(0.2)
    for _ in range(3):
        assert requests.get(f"{base}/daily", timeout=10).status_code == 200
    for connection in slow:
        connection.close()
    answers: list[int] = []
    while 200 not in answers and len(answers) < 50:
        time.sleep(0.1)
        answers.append(requests.post(f"{base}/subscribe", data={"mobile": "+919028000001"}, timeout=10).status_code)
    assert answers[-1] == 200, "and soon all is well again"
