"""The example clients, run as they are written, against the service over HTTP."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import requests

from quoteapi.app import create_app
from quoteapi.settings import ROOT, read_settings
from tests.helpers.data import SECRET_KEY
from tests.helpers.http import serve_app
from tests.helpers.processes import quoteapi

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from quoteapi.http.middleware import App

if not shutil.which("node") and os.environ.get("CI") != "true":
    pytest.skip("Node.js is not installed (on Debian: apt install nodejs)", allow_module_level=True)

TOOLS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
INTERPRETERS = {"python": [sys.executable, "-"], "js": ["node", "--input-type=module", "-"]}
WRITTEN_BASE = "http://127.0.0.1:8000"
WRITTEN_CODE = "482913"

Example = dict[str, list[str]]


def examples(text: str) -> Example:
    """Answer the blocks of a page by their language."""
    found: Example = {}
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        found.setdefault(language, []).append(block)
    return found


PAGE = (ROOT / "docs/clients.md").read_text()
SECTIONS = {section.partition("\n")[0]: examples(section) for section in PAGE.split("\n## ")}
README = examples((ROOT / "README.md").read_text().partition("\n## Example clients\n")[2].partition("\n## ")[0])


class Place:
    """A service with the shipped catalogue, that notes how it answered."""

    def __init__(self, folder: Path, stack: ExitStack, **settings: str) -> None:
        self.statuses: list[str] = []
        self._database_url = f"sqlite:///{folder}/working.db"
        app = create_app(read_settings({"DATABASE_URL": self._database_url, "SECRET_KEY": SECRET_KEY, **settings}))

        def noting(env: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
            def note(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:  # noqa: ANN401 as PEP 3333 has it
                self.statuses.append(status[:3])
                return start_response(status, headers, *more)

            return app(env, note)

        self.base = stack.enter_context(serve_app(cast("App", noting)))

    def run(self, command: list[str], example: str = "", stdin: int | None = None) -> subprocess.CompletedProcess[str]:
        """Run an example where the service is, with the code in the local inbox."""
        said = [self._here(words) for words in (*command, example)]
        return subprocess.run(
            said[:-1],
            input=None if stdin else said[-1],
            stdin=stdin,
            env={"PATH": TOOLS, "HOME": os.environ["HOME"]},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def _here(self, example: str) -> str:
        if WRITTEN_CODE in example:
            inbox = json.loads(quoteapi("sms", "inbox", "--json", DATABASE_URL=self._database_url).stdout)
            example = example.replace(WRITTEN_CODE, [sms["message"][:6] for sms in inbox if sms["kind"] == "code"][-1])
        return example.replace(WRITTEN_BASE, self.base)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    with ExitStack() as stack:
        yield lambda **settings: Place(tmp_path, stack, **settings)


def lines(block: str) -> list[str]:
    """Answer the commands of a console block."""
    return [line.removeprefix("$ ") for line in block.splitlines()]


def todays(base: str) -> dict[str, Any]:
    return dict(requests.get(f"{base}/daily", timeout=5).json())


def authors_of(search: subprocess.CompletedProcess[str]) -> set[str]:
    return {quote["author"] for quote in json.loads(search.stdout)["quotes"]}


@pytest.mark.parametrize(("section", "language"), [("Python", "python"), ("JavaScript", "js")])
def test_the_programs_read_search_wait_and_say_what_is_wrong(
    place: Callable[..., Place], section: str, language: str
) -> None:
    there = place(READ_LIMIT="2/2s")
    client, use, *_ = SECTIONS[section][language]
    ran = there.run(INTERPRETERS[language], f"{client}\n{use}")
    assert "429" in there.statuses, "so it had to wait"
    today, *found, problem = ran.stdout.splitlines() or [ran.stderr]
    there = place(READ_LIMIT="off")
    quote = todays(there.base)
    assert today == f"{quote['quote']} — {quote['author']}"
    listed = requests.get(f"{there.base}/quotes?q=time&limit=100", timeout=5).json()
    assert found == [f"{one['id']} {one['quote']}" for one in listed["quotes"]]
    assert len(found) > 20, "which are more than a page has"
    assert problem.startswith("Send the date as YYYY-MM-DD")


@pytest.mark.parametrize(("section", "language"), [("Python", "python"), ("JavaScript", "js")])
def test_the_programs_subscribe_a_number(place: Callable[..., Place], section: str, language: str) -> None:
    client, _, ask, confirm = SECTIONS[section][language]
    there = place()
    asked = there.run(INTERPRETERS[language], f"{client}\n{ask}")
    assert asked.stdout.startswith("An OTP verification has been sent"), asked.stderr
    confirmed = there.run(INTERPRETERS[language], f"{client}\n{confirm}")
    assert confirmed.stdout.startswith("Congratulations"), confirmed.stderr
    too_late = there.run(INTERPRETERS[language], f"{client}\n{confirm}")
    assert "No code was asked for, or it was used." in too_late.stderr


def test_the_lines_for_curl_do_what_they_say(place: Callable[..., Place]) -> None:
    reading, paging, subscribing = SECTIONS["curl"]["console"]
    there = place()
    daily, search, problem = (there.run(["bash", "-c", line]) for line in lines(reading))
    assert json.loads(daily.stdout) == todays(there.base)
    assert authors_of(search) == {"Jane Austen", "John Muir"}
    assert (problem.returncode, json.loads(problem.stdout)["title"]) == (22, "Invalid date")
    second = there.run(["bash", "-c", "\n".join(lines(paging))])
    first = requests.get(f"{there.base}/quotes?q=time", timeout=5).json()
    assert json.loads(second.stdout) == requests.get(first["next"], timeout=5).json()
    asked, confirmed = (there.run(["bash", "-c", line]) for line in lines(subscribing))
    assert json.loads(asked.stdout)["message"].startswith("An OTP verification has been sent")
    assert json.loads(confirmed.stdout)["message"].startswith("Congratulations")


def test_curl_waits_where_the_service_says_so(place: Callable[..., Place]) -> None:
    there = place(READ_LIMIT="1/2s")
    first_line = lines(SECTIONS["curl"]["console"][0])[0]
    for _ in range(2):
        assert there.run(["bash", "-c", first_line]).returncode == 0
    assert there.statuses == ["200", "429", "200"]


def test_the_lines_for_httpie_do_what_they_say(place: Callable[..., Place]) -> None:
    there = place()
    leader, terminal = pty.openpty()  # what HTTPie finds on another standard input, it sends
    (block,) = SECTIONS["HTTPie"]["console"]
    daily, search, problem, asked, confirmed = (
        there.run(["bash", "-c", line], stdin=terminal) for line in lines(block)
    )
    os.close(terminal)
    os.close(leader)
    assert json.loads(daily.stdout) == todays(there.base), daily.stderr
    assert authors_of(search) == {"Jane Austen", "John Muir"}
    assert (problem.returncode, json.loads(problem.stdout)["title"]) == (4, "Invalid date")
    assert json.loads(asked.stdout)["message"].startswith("An OTP verification has been sent")
    assert json.loads(confirmed.stdout)["message"].startswith("Congratulations")


@pytest.mark.parametrize("language", ["python", "js"])
def test_the_readmes_programs_show_todays_quote(place: Callable[..., Place], language: str) -> None:
    there = place()
    (program,) = README[language]
    quote = todays(there.base)
    assert there.run(INTERPRETERS[language], program).stdout == f"{quote['quote']} — {quote['author']}\n"


def test_the_readmes_lines_answer(place: Callable[..., Place]) -> None:
    there = place()
    leader, terminal = pty.openpty()
    (block,) = README["console"]
    curl, httpie = (there.run(["bash", "-c", line], stdin=terminal) for line in lines(block))
    os.close(terminal)
    os.close(leader)
    assert json.loads(curl.stdout) == todays(there.base)
    assert json.loads(httpie.stdout)["quotes"], httpie.stderr
