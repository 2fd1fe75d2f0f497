"""Run the example clients exactly as `docs/clients.md` shows them, against the service over HTTP."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import jwt
import pytest
import requests
from botocore.credentials import Credentials

from quoteapi.app import create_app
from quoteapi.settings import ROOT, read_settings
from tests.helpers.api_gateway import ApiGateway
from tests.helpers.data import MIRA, SECRET_KEY
from tests.helpers.http import serve_app
from tests.helpers.processes import quoteapi

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from quoteapi.http.middleware import App

if not shutil.which("node") and os.environ.get("CI") != "true":
    pytest.skip("Node.js is not installed (on Debian: apt install nodejs)", allow_module_level=True)

TOOLS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
INTERPRETERS = {"python": [sys.executable, "-"], "js": ["node", "--input-type=module", "-"]}
DOCUMENTED_BASE_URL = "http://127.0.0.1:8000"
DOCUMENTED_OTP = "482913"
DOCUMENTED_API = re.compile(r"https://(<api-id>|\$API)\.execute-api\.us-east-1\.amazonaws\.com")

API_KEY = "a-key-of-the-stage"
TOKEN_SETTINGS = {"JWT_SECRET": SECRET_KEY, "JWT_ISSUER": "https://login.example.org", "JWT_AUDIENCE": "quoteapi"}

Blocks = dict[str, list[str]]
Middleware = Callable[["WSGIApplication"], "WSGIApplication"]


def code_blocks(text: str) -> Blocks:
    """Return the code blocks of a page by their language."""
    found: Blocks = {}
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        found.setdefault(language, []).append(block)
    return found


PAGE = (ROOT / "docs/clients.md").read_text()
SECTIONS = {section.partition("\n")[0]: code_blocks(section) for section in PAGE.split("\n## ")}


class RunningService:
    """A service with the bundled catalogue that records the statuses of its responses."""

    def __init__(self, folder: Path, stack: ExitStack, gateway: Middleware = lambda app: app, **settings: str) -> None:
        self.statuses: list[str] = []
        self.environment = {"PATH": TOOLS, "HOME": os.environ["HOME"]}
        self._database_url = f"sqlite:///{folder}/working.db"
        settings = {"DATABASE_URL": self._database_url, "SECRET_KEY": SECRET_KEY, **settings}
        app = gateway(create_app(read_settings(settings)))

        def record_status(env: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
            def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:  # noqa: ANN401 see PEP 3333
                self.statuses.append(status[:3])
                return start_response(status, headers, *more)

            return app(env, start)

        self.base_url = stack.enter_context(serve_app(cast("App", record_status)))

    def run(self, command: list[str], example: str = "", stdin: int | None = None) -> subprocess.CompletedProcess[str]:
        """Run an example against this service, with the OTP from the local inbox."""
        *arguments, program = [self._fill_in(text) for text in (*command, example)]
        return subprocess.run(
            arguments,
            input=None if stdin else program,
            stdin=stdin,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def _fill_in(self, example: str) -> str:
        if DOCUMENTED_OTP in example:
            inbox = json.loads(quoteapi("sms", "inbox", "--json", DATABASE_URL=self._database_url).stdout)
            example = example.replace(
                DOCUMENTED_OTP, [sms["message"][:6] for sms in inbox if sms["kind"] == "code"][-1]
            )
        return DOCUMENTED_API.sub(self.base_url, example.replace(DOCUMENTED_BASE_URL, self.base_url))


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[Callable[..., RunningService]]:
    with ExitStack() as stack:
        yield lambda *gateway, **settings: RunningService(tmp_path, stack, *gateway, **settings)


@pytest.fixture
def start_stages(
    start_service: Callable[..., RunningService], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., RunningService]:
    """Return a function that serves the stages with authorization, and stores AWS credentials for the AWS CLI."""
    for name, value in TOKEN_SETTINGS.items():
        monkeypatch.setenv(name, value)

    def start(session_token: str | None = None) -> RunningService:
        credentials = Credentials("AKIAEXAMPLE", "secret/+key", session_token)
        values = {"aws_access_key_id": credentials.access_key, "aws_secret_access_key": credentials.secret_key}
        values |= {"aws_session_token": session_token} if session_token else {}
        file, command = tmp_path / "credentials", tmp_path / "aws"
        file.write_text("\n".join(["[default]", *(f"{name} = {value}" for name, value in values.items())]))
        # What version 2 of the AWS CLI prints; the development environment has version 1, without this command.
        exports = "\n".join(f"export {name.upper()}={value}" for name, value in values.items())
        command.write_text(f'#!/bin/sh\n[ "$*" = "configure export-credentials --format env" ] && echo "{exports}"\n')
        command.chmod(0o755)
        service = start_service(lambda app: ApiGateway(app, API_KEY, credentials))
        service.environment |= {"AWS_SHARED_CREDENTIALS_FILE": str(file), "HOME": str(tmp_path)}
        service.environment["PATH"] = f"{tmp_path}{os.pathsep}{TOOLS}"
        return service

    return start


def commands(block: str) -> list[str]:
    """Return the commands of a console block; a command may have several lines."""
    return [command.strip() for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]


def daily_quote(base_url: str) -> dict[str, Any]:
    return dict(requests.get(f"{base_url}/daily", timeout=30).json())


def authors_of(search: subprocess.CompletedProcess[str]) -> set[str]:
    return {quote["author"] for quote in json.loads(search.stdout)["quotes"]}


@pytest.mark.parametrize(("section", "language"), [("Python", "python"), ("JavaScript", "js")])
def test_the_programs_read_search_retry_and_show_errors(
    start_service: Callable[..., RunningService], section: str, language: str
) -> None:
    service = start_service(READ_LIMIT="2/2s")
    _, client, use, *_ = SECTIONS[section][language]
    ran = service.run(INTERPRETERS[language], f"{client}\n{use}")
    assert "429" in service.statuses, "the client did not have to wait"
    today, *found, problem = ran.stdout.splitlines() or [ran.stderr]
    service = start_service(READ_LIMIT="off")
    quote = daily_quote(service.base_url)
    assert today == f"{quote['quote']} — {quote['author']}"
    listed = requests.get(f"{service.base_url}/quotes?q=time&limit=100", timeout=30).json()
    assert found == [f"{quote['id']} {quote['quote']}" for quote in listed["quotes"]]
    assert len(found) > 20, "the search has one page only"
    assert problem.startswith("Send the date as YYYY-MM-DD")


@pytest.mark.parametrize(("section", "language"), [("Python", "python"), ("JavaScript", "js")])
def test_the_programs_subscribe_a_number(
    start_service: Callable[..., RunningService], section: str, language: str
) -> None:
    _, client, _, ask, confirm = SECTIONS[section][language]
    service = start_service()
    asked = service.run(INTERPRETERS[language], f"{client}\n{ask}")
    assert asked.stdout.startswith("An OTP verification has been sent"), asked.stderr
    confirmed = service.run(INTERPRETERS[language], f"{client}\n{confirm}")
    assert confirmed.stdout.startswith("Congratulations"), confirmed.stderr
    requests.post(f"{service.base_url}/unsubscribe", {"mobile": MIRA}, timeout=30)
    too_late = service.run(INTERPRETERS[language], f"{client}\n{confirm}")
    assert "This number has no code: none was requested, or it was used." in too_late.stderr


def test_the_curl_commands_work(start_service: Callable[..., RunningService]) -> None:
    reading, paging, subscribing = SECTIONS["curl"]["console"]
    service = start_service()
    daily, search, problem = (service.run(["bash", "-c", line]) for line in commands(reading))
    assert json.loads(daily.stdout) == daily_quote(service.base_url)
    assert authors_of(search) == {"Jane Austen", "John Muir"}
    assert (problem.returncode, json.loads(problem.stdout)["title"]) == (22, "Invalid date")
    second = service.run(["bash", "-c", "\n".join(commands(paging))])
    first = requests.get(f"{service.base_url}/quotes?q=time", timeout=30).json()
    assert json.loads(second.stdout) == requests.get(first["next"], timeout=30).json()
    asked, confirmed = (service.run(["bash", "-c", line]) for line in commands(subscribing))
    assert json.loads(asked.stdout)["message"].startswith("An OTP verification has been sent")
    assert json.loads(confirmed.stdout)["message"].startswith("Congratulations")


def test_curl_waits_for_as_long_as_retry_after_says(start_service: Callable[..., RunningService]) -> None:
    service = start_service(READ_LIMIT="1/2s")
    first_line = commands(SECTIONS["curl"]["console"][0])[0]
    for _ in range(2):
        assert service.run(["bash", "-c", first_line]).returncode == 0
    assert service.statuses == ["200", "429", "200"]


def test_the_httpie_commands_work(start_service: Callable[..., RunningService]) -> None:
    service = start_service()
    leader, terminal = pty.openpty()  # HTTPie would send any other standard input as the body
    (block,) = SECTIONS["HTTPie"]["console"]
    daily, search, problem, asked, confirmed = (
        service.run(["bash", "-c", line], stdin=terminal) for line in commands(block)
    )
    os.close(terminal)
    os.close(leader)
    assert json.loads(daily.stdout) == daily_quote(service.base_url), daily.stderr
    assert authors_of(search) == {"Jane Austen", "John Muir"}
    assert (problem.returncode, json.loads(problem.stdout)["title"]) == (4, "Invalid date")
    assert json.loads(asked.stdout)["message"].startswith("An OTP verification has been sent")
    assert json.loads(confirmed.stdout)["message"].startswith("Congratulations")


@pytest.mark.parametrize(("section", "language"), [("Python", "python"), ("JavaScript", "js")])
def test_the_shortest_programs_show_todays_quote(
    start_service: Callable[..., RunningService], section: str, language: str
) -> None:
    service = start_service(READ_LIMIT="2/1h")
    program = SECTIONS[section][language][0]
    quote = daily_quote(service.base_url)
    assert service.run(INTERPRETERS[language], program).stdout == f"{quote['quote']} — {quote['author']}\n"
    problem = requests.get(f"{service.base_url}/daily", timeout=30).json()
    assert problem["status"] == 429
    assert service.run(INTERPRETERS[language], program).stdout == f"{problem['detail']}\n"


STAGES = SECTIONS["API keys, signed requests and tokens"]
DEPLOY_COMMANDS = [
    command
    for block in code_blocks((ROOT / "docs/stages.md").read_text().partition("\n## Who may ask\n")[2])["console"]
    for command in commands(block)
]


def with_export(command: str) -> str:
    """Return a command that signs, after the one that exports the credentials."""
    return f'eval "$(aws configure export-credentials --format env)"\n{command}'


def documented_commands(fragment: str) -> list[str]:
    """Return the curl commands of both pages that contain a text."""
    clients = [command for block in STAGES["console"] for command in commands(block)]
    return [command for command in (*clients, *DEPLOY_COMMANDS) if command.startswith("curl") and fragment in command]


def test_a_client_with_the_api_key_gets_in(start_stages: Callable[..., RunningService]) -> None:
    service = start_stages()
    both = documented_commands("x-api-key")
    for command in both:
        service.environment["QUOTEAPI_API_KEY"] = "another-key"
        service.run(["bash", "-c", command])
        service.environment["QUOTEAPI_API_KEY"] = API_KEY
        assert json.loads(service.run(["bash", "-c", command]).stdout)["quote"]
    assert service.statuses == ["403", "200"] * 2


def test_a_client_with_a_valid_token_gets_in(start_stages: Callable[..., RunningService]) -> None:
    service = start_stages()
    claims = {"sub": "me", "iss": TOKEN_SETTINGS["JWT_ISSUER"], "aud": TOKEN_SETTINGS["JWT_AUDIENCE"]}
    for command in documented_commands("Bearer"):
        for seconds in (-600, 600):
            token = jwt.encode({**claims, "exp": int(time.time()) + seconds}, SECRET_KEY, "HS256")
            service.environment["QUOTEAPI_TOKEN"] = token
            ran = service.run(["bash", "-c", command])
        assert json.loads(ran.stdout)["quote"]
    assert service.statuses == ["401", "200"] * 2


@pytest.mark.parametrize("session_token", [None, "session/+token=="])
def test_curl_signs_requests_with_the_credentials_of_the_aws_cli(
    start_stages: Callable[..., RunningService], session_token: str | None
) -> None:
    service = start_stages(session_token)
    both = documented_commands("--aws-sigv4")
    for command in both:
        (with_query,) = re.findall(r"`/dev_iam(/random\?\S+)`", PAGE)
        for signed in (command, command.replace("/daily", with_query.replace("&", "\\&"))):
            ran = service.run(["bash", "-c", with_export(signed)])
            assert "quote" in json.loads(ran.stdout), (ran.stdout, ran.stderr)
        service.run(["bash", "-c", with_export(f'AWS_SECRET_ACCESS_KEY="another/key"\n{command}')])
        service.run(["curl", f"{service.base_url}/dev_iam/daily"])
    assert service.statuses == ["200", "200", "403", "403"] * 2


@pytest.mark.parametrize("session_token", [None, "session/+token=="])
def test_python_signs_requests_with_the_credentials_of_the_aws_cli(
    start_stages: Callable[..., RunningService], session_token: str | None
) -> None:
    service = start_stages(session_token)
    (program,) = STAGES["python"]
    ran = service.run(INTERPRETERS["python"], program)
    assert ran.stdout.strip(), ran.stderr
    service.environment["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    service.environment |= {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "another/key"}
    assert "403 Client Error" in service.run(INTERPRETERS["python"], program).stderr
    assert service.statuses == ["200", "403"]
