"""`quoteapi setup`: prepares a stage in the operator's AWS account, in a few questions."""

import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from quoteapi.cli.output import print_json, print_lines
from quoteapi.cli.root import EXIT_FAILED, json_option, main
from quoteapi.deploy import zappa_settings
from quoteapi.deploy.aws_resources.host_names import parse_host_name
from quoteapi.deploy.aws_resources.sms_account import NEW_CODE
from quoteapi.deploy.setup_result import MARKS, SetupResult
from quoteapi.deploy.stage_setup import Answers, StageSetup, open_stage
from quoteapi.observability.redaction import mask_phone_number
from quoteapi.settings import ANY_REGION
from quoteapi.settings.parsers import parse_regions, parse_wall_time
from quoteapi.subscriptions.phone import (
    InvalidMobile,
    all_countries,
    country_of,
    is_in_regions,
    parse_mobile,
    suggest_mobiles,
)

NONE = "none"
POLL_SECONDS = 10
"""How long to wait between two requests to AWS that ask whether something is done."""
_DOLLARS = re.compile(r"\d{1,7}(\.\d\d?)?")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def _check_ids(_context: click.Context, option: click.Parameter, ids: tuple[str, ...]) -> tuple[str, ...]:
    prefix = "sg" if option.name == "security_group" else "subnet"
    for each in ids:
        if not re.fullmatch(rf"{prefix}-[0-9a-f]+", each):
            raise click.BadParameter(f"Write an ID, for example {prefix}-0123456789abcdef0.")
    return ids


@main.command("setup")
@click.argument("stage")
@click.option("--email", metavar="ADDRESS", help="Where mail about failures and costs goes; none: no mail.")
@click.option("--countries", metavar="CODES", help="Where SMS go, as in IN,US; none: the stage serves quotes only.")
@click.option("--hour", metavar="HH:MM", help="When the daily SMS comes, in each subscriber's time zone.")
@click.option("--domain", metavar="HOST", help="Your domain, as in quotes.example.org; none: that of API Gateway.")
@click.option("--hosted-zone", metavar="NAME", help="The domain's zone in Route 53; none: its DNS stays elsewhere.")
@click.option("--budget", metavar="USD", help="Dollars a month; a mail comes at 80 %. [default: 5]")
@click.option("--own-number", metavar="NUMBER", help="Your mobile number, to verify it in the SMS sandbox of AWS.")
@click.option("--code", metavar="CODE", help="The code that AWS sent to this number; new: send another.")
@click.option(
    "--sms-spend-limit",
    type=click.IntRange(1),
    metavar="USD",
    help="The most that all SMS of the account may cost a month.",
)
@click.option(
    "--subnet",
    multiple=True,
    callback=_check_ids,
    metavar="ID",
    help="Private subnet of the function. Repeat it for several.",
)
@click.option(
    "--security-group",
    multiple=True,
    callback=_check_ids,
    metavar="ID",
    help="Security group of the function, with --subnet.",
)
@click.option("--profile", metavar="NAME", help="Your AWS profile. [default: AWS_PROFILE, else default]")
@click.option("--region", metavar="REGION", help="The AWS region. [default: that of the profile, else us-east-1]")
@click.option("--yes", is_flag=True, help="Ask nothing: take the default for each option that is not given.")
@click.option("--wait", is_flag=True, help="Wait for the certificate of the domain, also with --yes.")
@json_option
def setup_(stage: str, *, yes: bool, wait: bool, as_json: bool, **given: Any) -> None:  # noqa: ANN401 options
    """Prepare STAGE in your AWS account, so that `zappa deploy STAGE` works.

    Each question is also an option. Run the command again at any time: it shows what is there, does what is missing,
    and changes nothing that is right.
    """
    try:
        _set_up(stage, given, asks=not yes, waits=wait or (sys.stderr.isatty() and not yes), as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        print_lines("", err=True)
        message = f"Stopped. What was done stays. To go on, run `quoteapi setup {stage}` again."
        raise click.ClickException(message) from None


def _set_up(stage: str, given: Mapping[str, Any], *, asks: bool, waits: bool, as_json: bool) -> None:
    prepared = open_stage(zappa_settings.ZAPPA_SETTINGS, stage, given["profile"], given["region"])
    account = prepared.account
    print_lines(
        f"Stage {stage} in the AWS account {account.account_id}, {account.region}, as {account.caller_arn}.",
        err=as_json,
    )
    prepared.require_known_settings()
    operator = TerminalOperator(asks, waits, code=_parse_given("code", _parse_code, given))
    answers = _ask(prepared, operator, given)
    if not answers.countries:
        _require_no_sms(given)
    results = []
    for result in prepared.run(answers, operator):
        results.append(result)
        if not as_json:  # each at once, as some take seconds
            print_result(result)
    if as_json:
        print_json([result._asdict() for result in results])
    if any(result.state == "failed" for result in results):
        print_lines("Correct each line marked ✗, then run the command again.", err=True)
        sys.exit(EXIT_FAILED)
    print_lines(f"Next: `zappa deploy {stage}`, or `zappa update {stage}` if it is deployed.", err=as_json)


def print_result(result: SetupResult) -> None:
    """Print the result of a step, and what to do."""
    print_lines(f"{result.name:<16} {result.found}", mark=MARKS[result.state])
    if result.to_do:
        print_lines(f"  {'':<16} {result.to_do}")


@dataclass
class TerminalOperator:
    """Asks at the terminal, unless `--yes` is given. Implements `Operator`."""

    asks: bool
    waits: bool = False
    sleep: Callable[[float], object] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    code: str | None = None
    """What the option --code has, for the first time that a code is asked for."""

    def ask(self, question: str, default: str, parse: Callable[[str], str], given: Mapping[str, Any], name: str) -> str:
        """Return an answer, parsed: the option if given, else what is typed, or the default; asks again if invalid."""
        if (value := _parse_given(name, parse, given)) is not None:
            return value
        if not self.asks:
            return default
        if not sys.stdin.isatty():
            option = _option(name)
            raise click.UsageError(f"There is no terminal to ask for {option}. Add it, or --yes for the defaults.")
        answer: str = click.prompt(question, default or NONE, value_proc=partial(_parse_typed, parse=parse), err=True)
        return answer

    def ask_own_number(self, countries: frozenset[str]) -> str | None:
        """Return the operator's mobile number, of one of the countries; None if they type none, or nobody is there."""
        if self.asks and sys.stdin.isatty():
            print_lines("The account is in the SMS sandbox: AWS sends SMS only to numbers that you verify.", err=True)
        question = "Your mobile number, as in +919028000001"
        return self._ask_in_sandbox(question, partial(_parse_typed_number, countries=countries), NONE)

    def ask_sandbox_code(self, mobile: str, problem: str) -> str | None:
        """Return the code that AWS sent, or `new`; None if nothing is typed, or nobody is there."""
        if problem:
            print_lines(problem, err=True)
        given, self.code = self.code, None
        question = f"Code that AWS sent to {mask_phone_number(mobile)} ({NEW_CODE}: send another; Enter: later)"
        return given or self._ask_in_sandbox(question, partial(_parse_typed, parse=_parse_code), "")

    def _ask_in_sandbox(self, question: str, parse: Callable[[str], str], default: str) -> str | None:
        """Return what is typed, parsed; None for the default, and where there is no terminal."""
        if not (self.asks and sys.stdin.isatty()):
            return None
        typed: str = click.prompt(question, default, value_proc=parse, show_default=bool(default), err=True)
        return typed or None

    def wait(self, label: str, is_done: Callable[[], bool]) -> bool:
        """Return whether something is done, at once or after waiting for it. Ctrl-C ends the waiting.

        Shows how long it takes, if stderr is a terminal.
        """
        started = self.monotonic()
        try:
            while not (done := is_done()) and self.waits:
                for _ in range(POLL_SECONDS):
                    _show_progress(label, self.monotonic() - started)
                    self.sleep(1)
        except KeyboardInterrupt:
            return False
        finally:
            _rewrite_line("")
        return done


def _show_progress(label: str, seconds: float) -> None:
    minutes, rest = divmod(int(seconds), 60)
    _rewrite_line(f"{label}: {minutes}:{rest:02} (Ctrl-C stops waiting)")


def _rewrite_line(text: str) -> None:
    """Replace the last line of a terminal; a longer text would wrap, and stay."""
    if sys.stderr.isatty():
        fitting = text[: shutil.get_terminal_size().columns - 1]
        click.echo(f"\r\033[K{fitting}", err=True, nl=False)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _parse_given(name: str, parse: Callable[[str], str], given: Mapping[str, Any]) -> str | None:
    """Return the value of an option, empty for `none`; None if it is not given. Raises `click.BadParameter`."""
    if (value := given[name]) is None:
        return None
    try:
        return "" if value.strip().lower() == NONE else parse(value.strip())
    except ValueError as error:
        raise click.BadParameter(f"Write {error}.", param_hint=_option(name)) from None
    except InvalidMobile as error:
        raise click.BadParameter(f"{error} {error.page_hint}", param_hint=_option(name)) from None


def _parse_typed(typed: str, parse: Callable[[str], str]) -> str:
    try:
        return "" if typed.strip().lower() in {NONE, ""} else parse(typed.strip())
    except ValueError as error:
        raise click.BadParameter(f"Write {error}.") from None


def _ask(prepared: StageSetup, operator: TerminalOperator, given: Mapping[str, Any]) -> Answers:
    now = prepared.current_answers()
    answers = Answers(
        operator.ask("Mail address for alarms", now.email or "", _parse_email, given, "email") or None,
        operator.ask("Countries for SMS, as in IN,US", now.countries, _parse_countries, given, "countries"),
        operator.ask("Hour of the daily SMS", now.hour, _parse_hour, given, "hour"),
        operator.ask("Domain, as in quotes.example.org", now.domain or "", parse_host_name, given, "domain") or None,
        _parse_given("hosted_zone", parse_host_name, given),
        budget=_parse_given("budget", _parse_dollars, given) or None,
        sms_spend_limit=given["sms_spend_limit"],
        subnets=given["subnet"],
        security_groups=given["security_group"],
    )
    own_number = _parse_given("own_number", partial(_parse_own_number, countries=answers.regions), given)
    if answers.countries or given["countries"] is not None:
        return answers._replace(own_number=own_number or None)
    if own_number is None and operator.asks and prepared.lacks_sandbox_number():
        own_number = operator.ask_own_number(answers.regions)
    return answers._replace(own_number=own_number, countries=country_of(own_number)) if own_number else answers


def _require_no_sms(given: Mapping[str, object]) -> None:
    """Raise `click.UsageError` if an option is given that works only with countries."""
    for name in ("own_number", "code", "sms_spend_limit"):
        if given[name] is not None:
            raise click.UsageError(f"{_option(name)} is for SMS, so add --countries.")


def _parse_typed_number(typed: str, countries: frozenset[str]) -> str:
    """Return the E.164 form of what is typed, empty for `none`. The error has a number that may be meant."""
    try:
        return "" if typed.strip().lower() in {NONE, ""} else _parse_own_number(typed, countries)
    except InvalidMobile as error:
        meant = suggest_mobiles(typed, sorted(countries - {ANY_REGION}))
        raise click.BadParameter(f"{error} {f'Is it {meant[0]}?' if meant else error.page_hint}") from None


def _parse_own_number(text: str, countries: frozenset[str]) -> str:
    """Return the E.164 form of a mobile number. Raises `InvalidMobile`, also if SMS do not go to its country."""
    mobile = parse_mobile(text)
    if not is_in_regions(mobile, countries):
        served = f"SMS go only to {', '.join(sorted(countries))}."
        raise InvalidMobile(served, page_hint="Write a number from there, or add its country to --countries.")
    return mobile


def _parse_code(text: str) -> str:
    code = re.sub(r"[\s-]", "", text).lower()
    if not re.fullmatch(rf"[0-9]{{5,8}}|{NEW_CODE}", code):
        raise ValueError(f"the digits of the code that AWS sent, or {NEW_CODE} to get another")
    return code


def _parse_email(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise ValueError("a mail address, for example you@example.org, or none")
    return text


def _parse_dollars(text: str) -> str:
    if not _DOLLARS.fullmatch(text) or not float(text):
        raise ValueError("US dollars a month, for example 5 or 7.50")
    return text


def _parse_countries(text: str) -> str:
    countries = parse_regions(text)
    if unknown := countries - {ANY_REGION} - all_countries():
        raise ValueError(f"two-letter country codes, for example IN or GB; {', '.join(sorted(unknown))} is none")
    return ",".join(sorted(countries))


def _parse_hour(text: str) -> str:
    hour, _, minute = text.partition(":")  # 9 is 09:00
    minute = minute or "00"
    return f"{parse_wall_time(f'{hour.zfill(2)}:{minute}'):%H:%M}"
