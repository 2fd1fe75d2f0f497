"""SMS in `quoteapi setup`: the questions in the sandbox, and their options."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from quoteapi.cli import main
from quoteapi.deploy import zappa_settings
from tests.deploy.conftest import GOOD
from tests.helpers.data import MIRA
from tests.helpers.sms_sandbox import SmsSandbox, sandbox_fixture
from tests.helpers.sns_emulator import backend

__all__ = ["sandbox_fixture"]
Setup = Callable[..., Result]
IN_INDIA = ("--email", "none", "--countries", "IN", "--hour", "09:00", "--domain", "none")
FIRST_CODE = "100000"


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: SmsSandbox) -> Setup:
    """Return a function that runs `quoteapi setup dev` with options, and types lines at a terminal."""
    path = tmp_path / "zappa_settings.json"
    path.write_text(json.dumps({"dev": {**GOOD, "project_name": "quoteapi", "aws_region": "us-east-1"}}))
    monkeypatch.setattr(zappa_settings, "ZAPPA_SETTINGS", path)
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True, raising=False)

    def run(*options: str, typed: str = "") -> Result:
        return CliRunner().invoke(main, ("setup", "dev", *options), typed)

    return run


def test_in_the_sandbox_two_more_questions_are_asked(setup: Setup, sandbox: SmsSandbox) -> None:
    ran = setup(typed=f"\nIN\n\n\n{MIRA}\n{FIRST_CODE}\n")
    assert ran.exit_code == 0, ran.output
    assert sandbox.numbers[MIRA].status == "Verified"
    questions = re.findall(r"^([A-Z].*) \[.*\]: |^(Code that .*\)): ", ran.stderr, re.MULTILINE)
    assert [first or second for first, second in questions] == [
        "Mail address for alarms",
        "Countries for SMS, as in IN,US",
        "Hour of the daily SMS",
        "Domain, as in quotes.example.org",
        "Your mobile number, as in +919028000001",
        "Code that AWS sent to +91••••••0001 (new: send another; Enter: later)",
    ]
    assert "+ spending         AWS stops SMS at $1 a month\n" in ran.stdout
    again = setup(typed="\n\n\n\n")
    assert (again.exit_code, again.stderr.count("]: ")) == (0, 4)
    assert not re.search(r"^\+", again.stdout, re.MULTILINE), "nothing is done twice"


def test_four_times_enter_and_an_own_number_give_a_stage_with_sms(setup: Setup, sandbox: SmsSandbox) -> None:
    ran = setup(typed=f"\n\n\n\n{MIRA}\n{FIRST_CODE}\n")
    assert ran.exit_code == 0, ran.output
    assert sandbox.numbers[MIRA].status == "Verified"
    again = setup(typed="\n\n\n\n")
    assert "Countries for SMS, as in IN,US [IN]: " in again.stderr


def test_the_country_of_an_own_number_gets_sms(setup: Setup) -> None:
    setup("--yes", "--own-number", MIRA)
    assert "Countries for SMS, as in IN,US [IN]: " in setup(typed="\n\n\n\n\n").stderr


@pytest.mark.parametrize(
    ("options", "typed"), [((), "\n\n\n\n\n"), (("--countries", "none"), "\n\n\n"), (("--yes",), "")]
)
def test_a_stage_can_do_without_sms(options: tuple[str, ...], typed: str, setup: Setup, sandbox: SmsSandbox) -> None:
    ran = setup(*options, typed=typed)
    assert ran.exit_code == 0, ran.output
    assert "sandbox" not in ran.stdout
    assert (sandbox.numbers, backend().sms_attributes) == ({}, {})


def test_invalid_numbers_and_codes_are_asked_for_again(setup: Setup, sandbox: SmsSandbox) -> None:
    typed = "9028000001", "+44 7400 123456", "+91 90280 00001", "12", "55555", FIRST_CODE
    ran = setup(*IN_INDIA, typed="".join(f"{line}\n" for line in typed))
    assert ran.exit_code == 0, ran.output
    assert "Is it +919028000001?" in ran.stderr
    assert "SMS go only to IN. Write a number from there, or add its country to --countries." in ran.stderr
    assert "Write the digits of the code that AWS sent, or new to get another." in ran.stderr
    assert "Wrong code, or no longer valid." in ran.stderr
    assert sandbox.numbers[MIRA].status == "Verified"


def test_enter_leaves_the_code_to_the_next_run(setup: Setup, sandbox: SmsSandbox) -> None:
    ran = setup(*IN_INDIA, typed=f"{MIRA}\n\n")
    assert (ran.exit_code, sandbox.numbers[MIRA].status) == (0, "Pending")
    assert "… sandbox          AWS sent a code to +91••••••0001\n" in ran.stdout


def test_ctrl_c_at_the_code_loses_nothing(setup: Setup, sandbox: SmsSandbox) -> None:
    stopped = setup(*IN_INDIA, typed=f"{MIRA}\n")  # the end of what is typed aborts, too
    assert (stopped.exit_code, sandbox.numbers[MIRA].status) == (1, "Pending")
    setup(*IN_INDIA, typed=f"{FIRST_CODE}\n")
    assert sandbox.numbers[MIRA].codes == [FIRST_CODE]
    assert sandbox.numbers[MIRA].status == "Verified"


def test_a_script_gives_the_number_then_the_code(setup: Setup, sandbox: SmsSandbox) -> None:
    scripted = (*IN_INDIA, "--yes", "--json", "--own-number", MIRA)
    first = setup(*scripted)
    second = setup(*scripted, "--code", FIRST_CODE)
    third = setup(*scripted)
    states = [
        {result["name"]: result["state"] for result in json.loads(ran.stdout)}["sandbox"]
        for ran in (first, second, third)
    ]
    assert states == ["waiting", "done", "ok"]
    assert not any("9028" in ran.output for ran in (first, second, third))


def test_a_wrong_code_of_a_script_fails(setup: Setup, sandbox: SmsSandbox) -> None:
    ran = setup(*IN_INDIA, "--yes", "--own-number", MIRA, "--code", "55555")
    assert ran.exit_code == 1
    assert "✗ sandbox          that is not the code that AWS sent to +91••••••0001\n" in ran.stdout


def test_without_answers_a_script_goes_on(setup: Setup, sandbox: SmsSandbox) -> None:
    ran = setup("--yes", "--countries", "IN")
    assert ran.exit_code == 0
    assert "To get them yourself, run `quoteapi setup dev --own-number NUMBER`." in ran.stdout


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--own-number", "9028000001"), "Invalid value for --own-number: "),
        (("--own-number", "+447400123456"), "Invalid value for --own-number: SMS go only to IN."),
        (("--code", "letters"), "Invalid value for --code: Write the digits"),
        (("--sms-spend-limit", "0"), "Invalid value for '--sms-spend-limit'"),
    ],
)
def test_invalid_options_stop_the_command_before_anything_is_done(
    setup: Setup, sandbox: SmsSandbox, options: tuple[str, ...], expected: str
) -> None:
    ran = setup(*IN_INDIA, "--yes", *options)
    assert (ran.exit_code, ran.stdout.count("bucket")) == (2, 0)
    assert expected in ran.stderr
    assert "+91" not in ran.stderr.replace("+919028000001.", ""), "it names no number but the example"


@pytest.mark.parametrize("option", [("--code", "12345"), ("--sms-spend-limit", "1")])
def test_options_for_sms_need_countries(setup: Setup, option: tuple[str, str]) -> None:
    ran = setup("--yes", *option)
    assert (ran.exit_code, ran.stdout.count("bucket")) == (2, 0)
    assert f"{option[0]} is for SMS, so add --countries." in ran.stderr


def test_the_spending_limit_is_an_option(setup: Setup, sandbox: SmsSandbox) -> None:
    sandbox.spend_quota = 50
    assert "SMS at $20 a month" in setup(*IN_INDIA, "--yes", "--sms-spend-limit", "20").stdout
    assert backend().sms_attributes == {"MonthlySpendLimit": "20"}
