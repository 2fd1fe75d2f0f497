"""`quoteapi setup` as an operator types it: in a terminal, with an emulated AWS account."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from quoteapi.deploy import zappa_settings
from quoteapi.settings import ROOT
from tests.cli.conftest import Command
from tests.helpers.terminal import CTRL_C, CTRL_D, ENTER, Script, Transcript, UnexpectedQuestion, run_in_terminal
from tests.rehearsal.aws import Aws, emulate_aws

MOBILE = "+919028000002"
QUESTIONS = (
    "Mail address for alarms",
    "Countries for SMS",
    "Hour of the daily SMS",
    "Domain, as in",
    "Your mobile number, as in",
    "Code that AWS sent",
)
DEFAULTS = {question: [ENTER] for question in QUESTIONS[:4]}
PRINT_TO_FILE = """
import os
os.dup2(os.open("printed", os.O_WRONLY | os.O_CREAT), 1)
from quoteapi.cli import main
main()
"""


@pytest.fixture(scope="module", name="emulated_aws")
def emulated_aws_fixture() -> Iterator[Aws]:
    with emulate_aws() as aws:
        yield aws


@pytest.fixture
def aws(emulated_aws: Aws) -> Aws:
    """Return an empty account in the SMS sandbox."""
    requests.post(f"{emulated_aws.address}/moto-api/reset", timeout=10).raise_for_status()
    emulated_aws.enter_sms_sandbox()
    return emulated_aws


class Project(NamedTuple):
    """A copy of the project, and the environment of its operator."""

    folder: Path
    environment: dict[str, str]

    def setup(self, script: Script, *words: str) -> Transcript:
        """Type `quoteapi setup` and the answers in a terminal. Check that there is no traceback."""
        command = ["-m", "quoteapi", "setup", *words]
        transcript = run_in_terminal(command, script, folder=self.folder, environment=self.environment)
        assert "Traceback" not in transcript.text
        return transcript

    @property
    def local_settings(self) -> Path:
        return self.folder / "zappa_settings.local.json"


@pytest.fixture
def project(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    shutil.copytree(ROOT / "quoteapi", tmp_path / "quoteapi")
    for name in ("quote_database.db", "zappa_settings.json"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setattr(zappa_settings, "ZAPPA_SETTINGS", tmp_path / "zappa_settings.json")
    return Project(tmp_path, aws.variables() | {"PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)})


def test_an_invalid_answer_is_asked_again_and_says_what_to_write(project: Project) -> None:
    script: Script = {
        "Mail address": ["me", ENTER],
        "Countries": ["India", "IN, XX", "in"],
        "Hour": ["nine", "25", "9:30"],
        "Domain": ["https://quotes.example.org", "quotes", ENTER],
        "Your mobile number": ["12", "none"],
    }
    transcript = project.setup(script, "dev")
    assert transcript.returncode == 0
    said = re.findall(r"^Error: (.*)$", transcript.text, re.MULTILINE)
    assert [line.partition(",")[0] for line in said] == [
        "Write a mail address",
        "Write * alone",
        "Write two-letter country codes",
        "Write a local time from 00:00 to 23:59",
        "Write a local time from 00:00 to 23:59",
        "Write a host name without https://",
        "Write a host name without https://",
        "This is not an international phone number. Start with + and the country code",
    ]
    again = project.setup(DEFAULTS | {"Your mobile number": [ENTER]}, "dev")
    questions = [question for question, _ in again.answers]
    assert "Countries for SMS, as in IN,US [IN]:" in questions
    assert "Hour of the daily SMS [09:30]:" in questions


@pytest.mark.parametrize(
    ("number", "key"), [*((number, CTRL_C) for number in range(len(QUESTIONS))), (1, CTRL_D), (5, CTRL_D)]
)
def test_setup_can_be_left_at_each_question(number: int, key: str, project: Project) -> None:
    answers = [ENTER, "IN", ENTER, ENTER, MOBILE]
    script = {question: [answer] for question, answer in zip(QUESTIONS, (*answers[:number], key), strict=False)}
    left = project.setup(script, "dev")
    assert left.returncode == 1
    assert left.answers[-1][1] == key
    expected = "Error: Stopped. What was done stays. To go on, run `.* setup dev` again."
    assert re.search(rf"^{expected}\n\Z", left.text, re.MULTILINE), left.text
    assert project.local_settings.exists() == (number >= 4), "the first four questions come before the first step"


def test_the_code_of_an_own_number_can_be_entered_later(aws: Aws, project: Project) -> None:
    script = DEFAULTS | {"Your mobile number": [MOBILE], "Code": [CTRL_C]}
    assert project.setup(script, "dev").returncode == 1
    again = project.setup(DEFAULTS | {"Code": [lambda: aws.sandbox_code(MOBILE)]}, "dev")
    assert again.returncode == 0
    assert "+ sandbox          verified: +91••••••0002. In the SMS sandbox, no other number gets SMS" in again.text


def test_an_unexpected_question_is_named_with_what_was_shown(project: Project) -> None:
    with pytest.raises(UnexpectedQuestion, match=r"asks 'Countries for SMS, as in IN,US \[.+\]:'(.|\n)*Mail address"):
        project.setup({"Mail address": [ENTER]}, "dev")


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["dve", "--yes"], 3, "there is no stage dve. Did you mean dev?"),
        (["base", "--yes"], 3, "base is no stage: the stages extend it. Name a stage, for example dev."),
        ([], 2, "Missing argument 'STAGE'"),
        (["dev", "--yes", "--country", "IN"], 2, "No such option"),
        (["dev", "--yes", "--countries", "XX"], 2, "Write two-letter country codes, for example IN or GB; XX is none."),
        (["dev", "--yes", "--hour", "9am"], 2, "Write a local time from 00:00 to 23:59"),
        (["dev", "--yes", "--domain", "https://a.example"], 2, "Write a host name without https://"),
        (["dev", "--yes", "--email", "me"], 2, "Write a mail address"),
        (["dev", "--yes", "--subnet", "mine"], 2, "Write an ID, for example subnet-0123456789abcdef0."),
        (["dev", "--yes", "--security-group", "subnet-1"], 2, "Write an ID, for example sg-0123456789abcdef0."),
        (["dev", "--yes", "--profile", "nobody"], 3, "(nobody) could not be found. To list your profiles, run"),
        (["dev"], 2, "There is no terminal to ask for --email. Add it, or --yes for the defaults."),
        (["dev", "--email", "none", "--countries", "none", "--hour", "09:00"], 2, "no terminal to ask for --domain."),
    ],
)
def test_what_is_wrong_stops_setup_before_the_first_step(
    words: list[str], code: int, expected: str, project: Project, quoteapi: Command
) -> None:
    stopped = quoteapi("setup", *words, **project.environment)
    assert (stopped.returncode, stopped.stdout.partition("Stage dev in")[0]) == (code, "")
    assert expected in stopped.stderr
    assert not project.local_settings.exists()


def test_with_json_there_is_no_other_text_on_stdout(project: Project, quoteapi: Command) -> None:
    ran = quoteapi("setup", "dev_key", "--yes", "--json", **project.environment)
    assert ran.returncode == 0, ran.stderr
    results = json.loads(ran.stdout)
    assert {"name", "state", "found", "to_do"} == set(results[0])
    assert {"bucket", "local settings", "runtime", "remote env"} <= {result["name"] for result in results}
    assert ran.stderr.startswith("Stage dev_key in the AWS account 123456789012, us-east-1, as arn:aws:")


def test_questions_are_asked_on_stderr_so_that_stdout_can_go_to_a_file(project: Project) -> None:
    transcript = run_in_terminal(
        ["-c", PRINT_TO_FILE, "setup", "dev_iam", "--json"],
        DEFAULTS | {"Your mobile number": [ENTER]},
        folder=project.folder,
        environment=project.environment,
    )
    assert (transcript.returncode, len(transcript.answers)) == (0, 5), transcript.text
    assert "bucket" in {result["name"] for result in json.loads((project.folder / "printed").read_text())}
