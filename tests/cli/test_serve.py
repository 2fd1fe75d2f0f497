import json
import os
import pty
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from quoteapi.settings import ROOT
from tests.cli.conftest import Command
from tests.helpers.http import assert_problem
from tests.helpers.servers import GUNICORN, Servers
from tests.helpers.waiting import LIMIT_SECONDS, wait_until


@pytest.mark.parametrize("words", [("quoteapi", "serve"), GUNICORN, (*GUNICORN, "--preload", "--workers", "3")])
def test_the_servers_of_the_docs_serve_requests(servers: Servers, words: tuple[str, ...]) -> None:
    base = servers.start(*words)
    daily = requests.get(f"{base}/daily", headers={"X-Request-ID": "check-17"}, timeout=30)
    assert daily.status_code == 200
    assert daily.headers["X-Request-ID"] == "check-17"
    not_modified = requests.get(f"{base}/daily", headers={"If-None-Match": daily.headers["ETag"]}, timeout=30)
    assert (not_modified.status_code, not_modified.content) == (304, b"")
    assert requests.head(f"{base}/daily", timeout=30).headers["Content-Length"] == str(len(daily.content))
    assert_problem(requests.get(f"{base}/caf%C3%A9?q=%FF", timeout=30), 404, "Not found")
    assert_problem(requests.post(f"{base}/random", data="x", timeout=30), 405, "Method not allowed")
    request_ids = {requests.get(f"{base}/random", timeout=30).headers["X-Request-ID"] for _ in range(30)}
    assert len(request_ids) == 30, "forked processes do not generate the same ids"


def test_the_commands_of_the_readme_subscribe_and_unsubscribe_a_number(servers: Servers, tmp_path: Path) -> None:
    section = (ROOT / "README.md").read_text().split("## Try the daily SMS")[1].split("\n## ")[0]
    lines = [line[2:] for line in section.splitlines() if line.startswith("$ ")]
    base = servers.start("quoteapi", "serve")
    messages = []
    for line in lines:
        if not line.startswith("curl "):
            messages.append(run_quoteapi(shlex.split(line)[1:], tmp_path))
            continue
        code = re.search(r"│ (\d{6}) is your QuoteAPI code", servers.output())
        words = shlex.split(line.replace("482913", code[1] if code is not None else "none yet"))
        fields = dict(word.split("=") for word in words if "=" in word)
        response = requests.post(words[-1].replace("http://127.0.0.1:8000", base), data=fields, timeout=30)
        assert response.status_code == 200, response.text
        messages.append(response.json()["message"])
    requested, subscribed, sent, inbox, unsubscribed = messages
    assert f"Use OTP with this URL pattern {base}/subscribe?mobile=%2B919028000001&otp=xxxxxx." in requested
    assert subscribed.startswith("Congratulations!!!")
    assert "Sent to 1 subscriber." in sent
    author = requests.get(f"{base}/daily", timeout=30).json()["author"]
    assert [word in inbox for word in ("code to +919028000001", "confirmation to", "quote to", author)] == [True] * 4
    assert unsubscribed.startswith("You have successfully unsubscribed")


def run_quoteapi(words: list[str], folder: Path) -> str:
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": f"sqlite:///{folder}/working.db"}
    command = [sys.executable, "-m", "quoteapi", *words]
    ran = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=True)
    return ran.stdout.decode()


def test_serve_prints_urls_and_logs_each_request(servers: Servers) -> None:
    base = servers.start("quoteapi", "serve")
    requests.get(f"{base}/daily", headers={"X-Request-ID": "check-17"}, timeout=30)
    wait_until(lambda: "[check-17]" in servers.output())
    output = servers.output()
    assert f"QuoteAPI is running at {base}" in output
    for path in ("/daily", "/random", "/health"):
        assert f"curl {base}{path}" in output
    assert f"curl '{base}/quotes?q=hope'" in output
    for words in re.findall(r"^  curl (.+?)  ", output, re.MULTILINE):
        assert words == shlex.join(shlex.split(words)), "zsh expands a ? that is not quoted"
    assert re.search(r"run `('.*/|\S*/)?quoteapi'? sms inbox`", output)
    assert re.search(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO GET /daily 200 \[check-17\]$", output, re.MULTILINE)
    assert "WARNING" not in output


def test_unencoded_utf_8_in_a_url_is_understood(servers: Servers) -> None:
    base = servers.start("quoteapi", "serve", "--workers", "1")
    with socket.create_connection(("127.0.0.1", int(base.rpartition(":")[2])), timeout=30) as connection:
        connection.sendall("GET /random?author=Émile+Zolà&x=1 HTTP/1.0\r\n\r\n".encode())
        response = b"".join(iter(lambda: connection.recv(4_096), b""))
    problem = json.loads(response.partition(b"\r\n\r\n")[2])
    assert problem["detail"].startswith("There is no quote by 'Émile Zolà'.")


def test_two_servers_serve_one_quote_of_the_day_under_load(servers: Servers) -> None:
    bases = [servers.start("quoteapi", "serve", "--workers", "2"), servers.start(*GUNICORN, "--workers", "2")]

    def get_daily(number: int) -> str:
        return requests.get(f"{bases[number % 2]}/daily", timeout=30).text

    with ThreadPoolExecutor(16) as pool:
        bodies = list(pool.map(get_daily, range(200)))
    assert len(set(bodies)) == 1


def test_two_services_without_shared_state_serve_the_same_quotes(servers: Servers, tmp_path: Path) -> None:
    one = servers.start("quoteapi", "serve", "--workers", "1")
    other = servers.start("quoteapi", "serve", "--workers", "1", DATABASE_URL=f"sqlite:///{tmp_path}/other.db")
    for day in ("2026-11-01", "2026-11-02", "2025-01-31", "1999-12-31"):
        first, second = (requests.get(f"{base}/daily?date={day}", timeout=30) for base in (one, other))
        assert first.content == second.content
        assert first.headers["ETag"] == second.headers["ETag"]
    assert requests.get(f"{one}/daily", timeout=30).content == requests.get(f"{other}/daily", timeout=5).content


def test_an_invalid_setting_stops_gunicorn_with_the_message(servers: Servers) -> None:
    with pytest.raises(AssertionError, match="Error: LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR"):
        servers.start(*GUNICORN, LOG_LEVEL="loud")
    assert "Traceback" not in servers.output()
    assert servers.processes[0].wait(LIMIT_SECONDS) == 3


AWS_WARNING = "AWS_PROFILE in .env is not a setting of QuoteAPI. Set it as an environment variable: boto3 does not read"
WARNINGS = [
    f"Warning: {AWS_WARNING} .env.",
    r"Warning: LOG_LEVELS\x9b in .env is not a setting of QuoteAPI. Did you mean LOG_LEVEL?",
    "Warning: PUBLIC_ULR in .env is not a setting of QuoteAPI. Did you mean PUBLIC_URL?",
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the project with misspelt names in `.env`."""
    shutil.copytree(ROOT / "quoteapi", tmp_path / "project" / "quoteapi", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "quote_database.db", tmp_path / "project")
    (tmp_path / "project" / ".env").write_text(
        "PUBLIC_ULR=https://x.example\nLOG_LEVELS\x9b=1\nAWS_PROFILE=x\nMIIBIjANBgkqhkiG9w0=\nPORT=1\n"
    )
    return tmp_path / "project"


def pythonpath(words: tuple[str, ...], project: Path) -> str:
    return "" if "--pythonpath" in words else str(project)  # gunicorn would put the working folder before it


@pytest.mark.parametrize(
    "words", [("quoteapi", "serve", "--workers", "2"), (*GUNICORN, "--pythonpath", "PROJECT", "--preload")]
)
def test_misspelt_names_in_the_file_dotenv_are_told_once_at_the_start(
    servers: Servers, project: Path, words: tuple[str, ...]
) -> None:
    base = servers.start(
        *(word.replace("PROJECT", str(project)) for word in words), PYTHONPATH=pythonpath(words, project)
    )
    assert requests.get(f"{base}/daily", timeout=30).status_code == 200
    assert [line for line in servers.output().splitlines() if ".env" in line] == WARNINGS
    assert "MIIB" not in servers.output(), "a name that resembles none may be a part of a key"


@pytest.mark.parametrize("words", [("quoteapi", "serve"), (*GUNICORN, "--pythonpath", "PROJECT")])
def test_misspelt_names_are_told_although_an_invalid_setting_stops_the_service(
    servers: Servers, project: Path, words: tuple[str, ...]
) -> None:
    command = [word.replace("PROJECT", str(project)) for word in words]
    with pytest.raises(AssertionError, match="Error: SMS_ALLOWED_REGIONS must be set"):
        servers.start(*command, PYTHONPATH=pythonpath(words, project), SMS_GATEWAY="sns")
    assert WARNINGS[2] in servers.output()


def test_a_taken_port_is_an_error(quoteapi_process: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        stopped = quoteapi_process("serve", "--port", str(port))
    assert stopped.returncode == 3
    assert f"Cannot listen on 127.0.0.1 port {port}: Address already in use. Set HOST or PORT" in stopped.stderr


def test_an_unknown_host_is_an_error(quoteapi: Command) -> None:
    for host in ("a..b", "x" * 70):
        stopped = quoteapi("serve", HOST=host)
        assert (stopped.returncode, stopped.stdout) == (3, "")
        assert f"Cannot listen on {host}" in stopped.stderr


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_server_cleanly(servers: Servers, stop: signal.Signals) -> None:
    base = servers.start("quoteapi", "serve")
    requests.get(f"{base}/daily", headers={"X-Request-ID": "the-last"}, timeout=30)
    (process,) = servers.processes
    process.send_signal(stop)
    assert process.wait(LIMIT_SECONDS) == 0
    assert "Traceback" not in servers.output()
    assert "[the-last]" in servers.output(), "buffered log lines are written at the end"


def test_ctrl_c_on_a_terminal_stops_the_server(servers: Servers) -> None:
    leader, terminal = pty.openpty()
    base = servers.start("quoteapi", "serve", "--workers", "2", terminal=terminal)
    assert requests.get(f"{base}/daily", timeout=30).status_code == 200
    os.write(leader, b"\x03")
    (process,) = servers.processes
    # A worker that is still starting may not notice the signal; it is killed after `WORKER_SHUTDOWN_SECONDS`.
    assert process.wait(LIMIT_SECONDS) == 0
    os.close(terminal)
    os.close(leader)


def test_the_host_can_be_a_name(servers: Servers) -> None:
    base = servers.start("quoteapi", "serve", HOST="localhost")
    assert requests.get(f"{base}/health", timeout=30).status_code == 200
