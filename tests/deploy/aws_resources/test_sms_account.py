import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import boto3
import pytest
from moto.sns.exceptions import InternalError, SNSException
from moto.sns.responses import SNSResponse

from quoteapi.deploy.aws_account import AwsAccount
from quoteapi.deploy.aws_resources.sms_account import NEW_CODE, set_up_sandbox, set_up_spending_limit
from quoteapi.deploy.setup_result import SetupResult, run_steps
from quoteapi.deploy.stage_names import StageNames, stage_names
from tests.helpers.data import MIRA, NOOR, OMAR
from tests.helpers.sms_sandbox import (
    ACCOUNT,
    MAX_NUMBERS,
    REGION,
    NotAllowed,
    OptedOut,
    SandboxNumber,
    SmsSandbox,
    Throttled,
    UserError,
    sandbox_fixture,
    sms_sandbox,
)
from tests.helpers.sns_emulator import SnsCalls, backend

__all__ = ["sandbox_fixture"]
BRITISH = "+447400123456"
CALLER = f"arn:aws:iam::{ACCOUNT}:user/testing"
INDIA = frozenset({"IN"})
VERIFIED = "verified: +91••••••0001. In the SMS sandbox, no other number gets SMS"


@dataclass
class Typist:
    """An operator with prepared answers: a number, and codes; the one that AWS sent, where a code is `sent`."""

    sandbox: SmsSandbox
    number: str | None = MIRA
    codes: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def ask_own_number(self, countries: frozenset[str]) -> str | None:
        self.asked.append(f"number in {','.join(sorted(countries))}")
        return self.number

    def ask_sandbox_code(self, mobile: str, problem: str) -> str | None:
        self.asked.append(f"code {problem}".strip())
        code = self.codes.pop(0) if self.codes else None
        return self.sandbox.numbers[mobile].codes[-1] if code == "sent" else code


@pytest.fixture
def names(sandbox: SmsSandbox) -> StageNames:
    return stage_names(AwsAccount(boto3.Session(region_name=REGION), ACCOUNT, REGION, CALLER), "dev", {})


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, sandbox: SmsSandbox) -> SnsCalls:
    calls = SnsCalls()
    calls.watch(monkeypatch)
    return calls


def run(step: Callable[[], Iterable[SetupResult]]) -> SetupResult:
    """Return the result of a step, none of whose words has a whole phone number."""
    (result,) = run_steps([step])
    assert not any(number in " ".join(result) for number in (MIRA, NOOR, OMAR, BRITISH))
    return result


def verify(names: StageNames, typist: Typist, own_number: str | None = None) -> SetupResult:
    return run(lambda: set_up_sandbox(names, REGION, INDIA, typist, own_number))


def add(sandbox: SmsSandbox, *mobiles: str, status: str = "Verified") -> None:
    for mobile in mobiles:
        sandbox.send_code(mobile)
        sandbox.numbers[mobile].status = status


# ---- the sandbox


def test_the_number_and_its_code_are_asked_for_once(names: StageNames, sandbox: SmsSandbox, calls: SnsCalls) -> None:
    typist = Typist(sandbox, MIRA, ["sent"])
    assert verify(names, typist) == ("sandbox", "done", VERIFIED, "")
    assert typist.asked == ["number in IN", "code"]
    assert sandbox.numbers[MIRA].status == "Verified"
    calls.operations.clear()
    assert verify(names, typist) == ("sandbox", "ok", VERIFIED, "")
    assert calls.operations == ["GetSMSSandboxAccountStatus", "ListSMSSandboxPhoneNumbers"]
    assert typist.asked == ["number in IN", "code"]


def test_an_account_outside_the_sandbox_needs_no_number(names: StageNames, sandbox: SmsSandbox) -> None:
    sandbox.is_in_sandbox = False
    typist = Typist(sandbox)
    assert verify(names, typist) == ("sandbox", "ok", "the account is not in the SMS sandbox of us-east-1", "")
    assert typist.asked == []


def test_each_region_has_a_sandbox_of_its_own(names: StageNames, sandbox: SmsSandbox) -> None:
    add(sandbox, MIRA)
    sms_sandbox("eu-west-1").is_in_sandbox = True
    result = run(lambda: set_up_sandbox(names, "eu-west-1", INDIA, Typist(sandbox, None)))
    assert result.state == "waiting"


def test_an_operator_may_enter_no_number(names: StageNames, sandbox: SmsSandbox) -> None:
    result = verify(names, Typist(sandbox, None))
    assert result == (
        "sandbox",
        "waiting",
        "the account is in the SMS sandbox: only verified numbers get SMS",
        "To get them yourself, run `quoteapi setup dev --own-number NUMBER`.",
    )
    assert sandbox.numbers == {}


def test_a_code_may_be_entered_at_the_next_run(names: StageNames, sandbox: SmsSandbox, calls: SnsCalls) -> None:
    result = verify(names, Typist(sandbox))
    assert (result.state, result.found) == ("waiting", "AWS sent a code to +91••••••0001")
    assert result.to_do.startswith("To enter it, run `quoteapi setup dev` again. If it does not come within 15 minutes")
    calls.operations.clear()
    typist = Typist(sandbox, None, ["sent"])
    assert verify(names, typist).state == "done"
    assert typist.asked == ["code"]
    assert "CreateSMSSandboxPhoneNumber" not in calls.operations, "the code of the first run is still valid"


def test_an_interrupted_run_goes_on_with_the_code(names: StageNames, sandbox: SmsSandbox) -> None:
    class Interrupting(Typist):
        def ask_sandbox_code(self, mobile: str, problem: str) -> str | None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(names, Interrupting(sandbox))
    typist = Typist(sandbox, None, ["sent"])
    assert verify(names, typist).state == "done"
    assert typist.asked == ["code"]


def test_a_wrong_code_is_asked_for_again(names: StageNames, sandbox: SmsSandbox) -> None:
    typist = Typist(sandbox, MIRA, ["99999", "sent"])
    assert verify(names, typist).state == "done"
    problem = 'Wrong code, or no longer valid. Enter the newest one, or "new" to get another.'
    assert typist.asked == ["number in IN", "code", f"code {problem}"]


def test_a_wrong_code_alone_fails(names: StageNames, sandbox: SmsSandbox) -> None:
    result = verify(names, Typist(sandbox, MIRA, ["99999"]))
    assert (result.state, result.found) == ("failed", "that is not the code that AWS sent to +91••••••0001")
    assert sandbox.numbers[MIRA].status == "Pending"


def test_another_code_can_be_sent(names: StageNames, sandbox: SmsSandbox) -> None:
    typist = Typist(sandbox, MIRA, ["99999", NEW_CODE, "sent"])
    assert verify(names, typist).state == "done"
    assert len(sandbox.numbers[MIRA].codes) == 2
    assert typist.asked[-1] == "code", "the new code has no problem"


def test_an_own_number_is_verified_although_another_one_is(names: StageNames, sandbox: SmsSandbox) -> None:
    add(sandbox, NOOR)
    typist = Typist(sandbox, None, ["sent"])
    assert verify(names, typist, MIRA).state == "done"
    assert typist.asked == ["code"]
    assert verify(names, typist, MIRA).state == "ok"


def test_a_number_of_another_country_does_not_count(names: StageNames, sandbox: SmsSandbox) -> None:
    add(sandbox, BRITISH)
    typist = Typist(sandbox, MIRA, ["sent"])
    assert verify(names, typist).state == "done"
    assert typist.asked[0] == "number in IN"


def test_of_several_pending_numbers_the_operator_says_which(names: StageNames, sandbox: SmsSandbox) -> None:
    add(sandbox, MIRA, NOOR, status="Pending")
    typist = Typist(sandbox, NOOR, ["sent"])
    assert verify(names, typist).state == "done"
    assert {mobile: number.status for mobile, number in sandbox.numbers.items()} == {MIRA: "Pending", NOOR: "Verified"}
    assert len(sandbox.numbers[NOOR].codes) == 1


def test_a_full_sandbox_is_reported_before_a_code_is_sent(
    names: StageNames, sandbox: SmsSandbox, calls: SnsCalls
) -> None:
    sandbox.numbers.update({f"+4474001234{n}": SandboxNumber("Verified") for n in range(10, 10 + MAX_NUMBERS)})
    result = verify(names, Typist(sandbox))
    assert (result.state, result.found) == (
        "failed",
        "the SMS sandbox of us-east-1 has 10 numbers, and AWS allows no more",
    )
    assert "24 hours after its last code" in result.to_do
    assert "CreateSMSSandboxPhoneNumber" not in calls.operations


def test_codes_beyond_those_of_a_day_are_reported(names: StageNames, sandbox: SmsSandbox) -> None:
    result = verify(names, Typist(sandbox, MIRA, [NEW_CODE] * 9))
    assert (result.state, len(sandbox.numbers[MIRA].codes)) == ("failed", 5)
    assert result.found == ("AWS sends no code to this number (5 codes were sent to +91••••••0001 in 24 hours)")
    assert "after that, wait a day" in result.to_do


def test_a_number_that_replied_stop_is_reported(names: StageNames, sandbox: SmsSandbox) -> None:
    opted_out_in_moto = "+919028000099"
    result = verify(names, Typist(sandbox, opted_out_in_moto))
    assert result.found.startswith("the number replied STOP, so AWS sends it no SMS")
    assert "`aws sns opt-in-phone-number`" in result.to_do


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OptedOut(), r"the number replied STOP.*Use another one"),
        (UserError(f"not {MIRA}"), r"AWS sends no code to this number \(not \+91••••••0001\)"),
        (Throttled(), r"AWS gets too many requests.*Wait a minute"),
        (NotAllowed(), r"you have no permission for CreateSMSSandboxPhoneNumber.*Ask an administrator"),
        (InternalError(f"of {MIRA}"), r"CreateSMSSandboxPhoneNumber failed: InternalError of \+91••••••0001"),
    ],
)
def test_each_error_of_aws_is_a_sentence(
    names: StageNames, sandbox: SmsSandbox, monkeypatch: pytest.MonkeyPatch, error: SNSException, expected: str
) -> None:
    def fail(_: SNSResponse) -> None:
        raise error

    monkeypatch.setattr(SNSResponse, "create_sms_sandbox_phone_number", fail)
    result = verify(names, Typist(sandbox))
    assert result.state == "failed"
    assert re.match(expected, f"{result.found}. {result.to_do}")


def test_a_code_is_requested_in_one_attempt(names: StageNames, sandbox: SmsSandbox, calls: SnsCalls) -> None:
    calls.fault_for = lambda _, operation: "answer lost" if operation.startswith("Create") else None
    assert verify(names, Typist(sandbox)).state == "failed"
    assert calls.operations.count("CreateSMSSandboxPhoneNumber") == 1
    assert verify(names, Typist(sandbox, None, ["sent"])).state == "done", "the code may have come"


def test_a_number_that_was_deleted_meanwhile_is_reported(names: StageNames, sandbox: SmsSandbox) -> None:
    class Deleting(Typist):
        def ask_sandbox_code(self, mobile: str, problem: str) -> str | None:
            self.sandbox.numbers.clear()
            return "12345"

    assert verify(names, Deleting(sandbox)).found.startswith("the number was removed from the SMS sandbox")


# ---- the spending limit


def limit_spending(names: StageNames, dollars: int | None = None) -> SetupResult:
    return run(lambda: set_up_spending_limit(names, REGION, dollars))


def test_a_new_account_gets_the_limit_that_it_has_anyway(names: StageNames, calls: SnsCalls) -> None:
    assert limit_spending(names) == ("spending", "done", "AWS stops SMS at $1 a month", "")
    assert backend().sms_attributes == {"MonthlySpendLimit": "1"}
    calls.operations.clear()
    assert limit_spending(names) == ("spending", "ok", "AWS stops SMS at $1 a month", "")
    assert calls.operations == ["GetSMSAttributes"]


def test_a_limit_that_is_set_stays(names: StageNames, sandbox: SmsSandbox, calls: SnsCalls) -> None:
    sandbox.spend_quota = 100
    assert limit_spending(names, 50).state == "done"
    assert limit_spending(names).found == "AWS stops SMS at $50 a month"
    assert calls.operations.count("SetSMSAttributes") == 1
    assert limit_spending(names, 25) == ("spending", "done", "AWS stops SMS at $25 a month", "")


def test_a_limit_above_the_quota_is_reported(names: StageNames, sandbox: SmsSandbox) -> None:
    result = limit_spending(names, 2_000)
    assert (result.state, result.found) == (
        "failed",
        "AWS rejects a limit of $2,000: it is above the account's spending quota",
    )
    assert "https://console.aws.amazon.com/support/home#/case/create" in result.to_do
    assert backend().sms_attributes == {}


def test_an_account_that_is_in_use_is_not_limited_unasked(names: StageNames, sandbox: SmsSandbox) -> None:
    sandbox.is_in_sandbox = False
    result = limit_spending(names)
    assert (result.state, backend().sms_attributes) == ("skipped", {})
    assert "--sms-spend-limit USD" in result.to_do
    assert limit_spending(names, 1).state == "done"


def test_a_missing_permission_to_limit_is_reported(names: StageNames, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: SNSResponse) -> None:
        raise NotAllowed

    monkeypatch.setattr(SNSResponse, "set_sms_attributes", refuse)
    assert limit_spending(names).found == "you have no permission for SetSMSAttributes"
