"""What an account needs for SMS in a region of SNS: a spending limit and, in the SMS sandbox, a verified number.

Both belong to the account and the region, so that its stages there share them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from quoteapi.deploy.aws_account import AwsAccount, aws_errors
from quoteapi.deploy.checks.check import CheckFailed
from quoteapi.deploy.setup_result import SetupResult
from quoteapi.deploy.stage_names import StageNames
from quoteapi.observability.redaction import mask_phone_number, mask_phone_numbers
from quoteapi.subscriptions.phone import is_in_regions

DEFAULT_SPEND_LIMIT = 1
"""The monthly SMS spending quota of a new account, in US dollars.

https://docs.aws.amazon.com/sns/latest/dg/channels-sms-awssupport-spend-threshold.html
"""
MAX_SANDBOX_NUMBERS = 10
"""https://docs.aws.amazon.com/sns/latest/dg/sns-sms-sandbox.html"""
NEW_CODE = "new"
"""What an operator enters instead of a code, to have AWS send another one."""
_NEW_CODES = f'If it does not come within 15 minutes, enter "{NEW_CODE}": AWS sends five codes a day to a number.'
"""https://docs.aws.amazon.com/sns/latest/dg/sns-sms-sandbox-verifying-phone-numbers.html"""
SANDBOX_FOUND = "the account is in the SMS sandbox: only verified numbers get SMS"
NO_SANDBOX_FOUND = "the account is not in the SMS sandbox"
_CASE = "https://console.aws.amazon.com/support/home#/case/create?issueType=service-limit-increase&limitType=service-code-sns"
HOW_TO_SPEND_MORE = f"To ask AWS for a higher spending quota, open {_CASE}"


def how_to_leave_sandbox(sns_region: str) -> str:
    """Return a sentence that says how to leave the SMS sandbox of a region."""
    console = f"https://console.aws.amazon.com/sns/v3/home?region={sns_region}#/mobile/text-messaging"
    return f"To ask AWS to move the account out of the sandbox, choose Exit SMS sandbox at {console}"


class SandboxOperator(Protocol):
    """The person at the terminal, or the options that they gave."""

    def ask_own_number(self, countries: frozenset[str]) -> str | None:
        """Return a mobile number of these countries in E.164 form, to which AWS sends a code; None to skip that."""

    def ask_sandbox_code(self, mobile: str, problem: str) -> str | None:
        """Return the code that AWS sent to a number, or `NEW_CODE`; None to enter it at the next run.

        `problem` says what is wrong with the code before; it is empty for the first one.
        """


class SandboxNumbers(NamedTuple):
    """The numbers of the SMS sandbox, in E.164 form."""

    verified: list[str]
    pending: list[str]
    """Those whose code is not entered yet."""


def is_in_sandbox(client: Any) -> bool:  # noqa: ANN401 boto3
    """Return whether an account is in the SMS sandbox of the region of a client of SNS."""
    return bool(client.get_sms_sandbox_account_status()["IsInSandbox"])


def list_sandbox_numbers(client: Any) -> SandboxNumbers:  # noqa: ANN401 boto3
    """Return the numbers of the SMS sandbox of the region of a client of SNS."""
    pages = client.get_paginator("list_sms_sandbox_phone_numbers").paginate()
    statuses = {each["PhoneNumber"]: each["Status"] for page in pages for each in page["PhoneNumbers"]}
    verified = [mobile for mobile, status in statuses.items() if status == "Verified"]
    return SandboxNumbers(verified, [mobile for mobile in statuses if mobile not in verified])


def lacks_sandbox_number(account: AwsAccount, sns_region: str) -> bool:
    """Return whether the account is in the SMS sandbox of a region, and has no number there. Raises `CheckFailed`."""
    with aws_errors("sandbox"):
        client = account.client("sns", sns_region)
        return is_in_sandbox(client) and not any(list_sandbox_numbers(client))


def set_up_spending_limit(names: StageNames, sns_region: str, limit: int | None) -> Iterator[SetupResult]:
    """Set the account's monthly SMS spending limit, in US dollars. Raises `CheckFailed`.

    Without `limit`, what is set stays. If nothing is set in the SMS sandbox, set `DEFAULT_SPEND_LIMIT`, which is the
    quota there. Outside, that could stop SMS of others that use the account, so the operator must decide.
    """
    with aws_errors("spending"):
        client = names.account.client("sns", sns_region)
        current = client.get_sms_attributes(attributes=["MonthlySpendLimit"])["attributes"].get("MonthlySpendLimit")
        if limit is None and current is None and not is_in_sandbox(client):
            to_do = "To set your own for all SMS of the account, add --sms-spend-limit USD."
            yield SetupResult(
                "spending", "skipped", "the account has no SMS spending limit but the quota of AWS", to_do
            )
            return
        wanted = limit or float(current or DEFAULT_SPEND_LIMIT)
        is_set = current is not None and float(current) == wanted
        if not is_set:
            _set_spending_limit(client, int(wanted))
        yield SetupResult("spending", "ok" if is_set else "done", f"AWS stops SMS at ${wanted:,.0f} a month")


def _set_spending_limit(client: Any, limit: int) -> None:  # noqa: ANN401 boto3
    try:
        client.set_sms_attributes(attributes={"MonthlySpendLimit": str(limit)})
    except client.exceptions.InvalidParameterException:
        found = f"AWS rejects a limit of ${limit:,}: it is above the account's spending quota"
        raise CheckFailed("spending", "wrong", found, HOW_TO_SPEND_MORE) from None


def set_up_sandbox(
    names: StageNames,
    sns_region: str,
    countries: frozenset[str],
    operator: SandboxOperator,
    own_number: str | None = None,
) -> Iterator[SetupResult]:
    """Verify a number of the operator, if the account is in the SMS sandbox. Raises `CheckFailed`.

    `own_number` is verified even if the sandbox has another verified number. Otherwise, one verified number of the
    countries that the stage serves is enough, and a single pending one needs only its code.
    """
    with _sandbox_errors():
        client = names.account.client("sns", sns_region, attempts=1)
        if not is_in_sandbox(client):
            yield SetupResult("sandbox", "ok", f"{NO_SANDBOX_FOUND} of {sns_region}")
            return
        numbers = list_sandbox_numbers(client)
        verified = [mobile for mobile in numbers.verified if is_in_regions(mobile, countries)]
        if verified and own_number in (None, *numbers.verified):
            yield SetupResult("sandbox", "ok", _describe_verified(*map(mask_phone_number, verified)))
            return
        mobile = own_number or _find_pending(numbers, countries) or operator.ask_own_number(countries)
        if mobile is None:
            to_do = f"To get them yourself, run `quoteapi setup {names.stage} --own-number NUMBER`."
            yield SetupResult("sandbox", "waiting", SANDBOX_FOUND, to_do)
            return
        if mobile not in numbers.pending:
            _require_place(numbers, sns_region)
            client.create_sms_sandbox_phone_number(PhoneNumber=mobile)
        yield _verify(client, names.stage, mobile, operator)


def _describe_verified(*masked: str) -> str:
    return f"verified: {', '.join(masked)}. In the SMS sandbox, no other number gets SMS"


def _find_pending(numbers: SandboxNumbers, countries: frozenset[str]) -> str | None:
    """Return the number whose verification was interrupted; None if there is none, or several."""
    pending = [mobile for mobile in numbers.pending if is_in_regions(mobile, countries)]
    return pending[0] if len(pending) == 1 else None


def _require_place(numbers: SandboxNumbers, sns_region: str) -> None:
    if len(numbers.verified) + len(numbers.pending) >= MAX_SANDBOX_NUMBERS:
        found = f"the SMS sandbox of {sns_region} has {MAX_SANDBOX_NUMBERS} numbers, and AWS allows no more"
        to_do = "Delete one in the SNS console, Text messaging (SMS): AWS allows that 24 hours after its last code."
        raise CheckFailed("sandbox", "wrong", found, to_do)


def _verify(client: Any, stage: str, mobile: str, operator: SandboxOperator) -> SetupResult:  # noqa: ANN401 boto3
    """Have the operator enter the code that AWS sent to a number, until it is right or they want to do that later."""
    problem, masked = "", mask_phone_number(mobile)
    to_do = f"To enter it, run `quoteapi setup {stage}` again. {_NEW_CODES}"
    while (code := operator.ask_sandbox_code(mobile, problem)) is not None:
        if code == NEW_CODE:
            client.create_sms_sandbox_phone_number(PhoneNumber=mobile)
            problem = ""
        elif _is_right(client, mobile, code):
            return SetupResult("sandbox", "done", _describe_verified(masked))
        else:
            problem = f'Wrong code, or no longer valid. Enter the newest one, or "{NEW_CODE}" to get another.'
    if problem:
        return SetupResult("sandbox", "failed", f"that is not the code that AWS sent to {masked}", to_do)
    return SetupResult("sandbox", "waiting", f"AWS sent a code to {masked}", to_do)


def _is_right(client: Any, mobile: str, code: str) -> bool:  # noqa: ANN401 boto3
    try:
        client.verify_sms_sandbox_phone_number(PhoneNumber=mobile, OneTimePassword=code)
    except client.exceptions.VerificationException:
        return False
    return True


_SANDBOX_ERRORS = {
    "OptedOut": (
        "the number replied STOP, so AWS sends it no SMS",
        "Use another one with --own-number. Or opt it in, once in 30 days: `aws sns opt-in-phone-number`.",
    ),
    "UserError": (
        "AWS sends no code to this number",
        "Check it. AWS sends five codes to a number in 24 hours: after that, wait a day, or use another one.",
    ),
    "InvalidParameter": ("AWS rejects the number", "Use another one with --own-number."),
    "ResourceNotFound": ("the number was removed from the SMS sandbox", "Run the command again to add it."),
    "Throttled": ("AWS gets too many requests", "Wait a minute, then run the command again."),
}
"""By error code of SNS, what happened, and what to do."""


@contextmanager
def _sandbox_errors() -> Iterator[None]:
    """Raise errors of boto3 as `CheckFailed`, without phone numbers, which messages of AWS may have."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 slow

    with aws_errors("sandbox"):
        try:
            yield
        except ClientError as error:
            details = error.response.setdefault("Error", {})
            details["Message"] = mask_phone_numbers(details.get("Message", ""))
            if (known := _SANDBOX_ERRORS.get(details.get("Code", ""))) is None:
                raise
            found, to_do = known
            raise CheckFailed("sandbox", "wrong", f"{found} ({details['Message']})", to_do) from None
