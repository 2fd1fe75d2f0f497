"""The SMS sandbox and the spending quota of an account, which moto's Amazon SNS lacks.

Limits are those of https://docs.aws.amazon.com/sns/latest/dg/sns-sms-sandbox.html and of the page about verifying
numbers. AWS documents the codes of errors, but not which one reports the limits: here that is `UserError`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from moto import mock_aws
from moto.core.responses import ActionResult, EmptyResult
from moto.sns.exceptions import ResourceNotFoundError, SNSException, SNSInvalidParameter
from moto.sns.models import SNSBackend, sns_backends
from moto.sns.responses import SNSResponse
from moto.sns.utils import is_e164

ACCOUNT, REGION = "123456789012", "us-east-1"
MAX_NUMBERS = 10
MAX_CODES_PER_DAY = 5
DAY = timedelta(days=1)


class OptedOut(SNSException):
    code = "OptedOut"
    message = "The phone number opted out"


class UserError(SNSException):
    code = "UserError"


class Throttled(SNSException):
    code = "Throttled"
    message = "Rate exceeded"


class NotAllowed(SNSException):
    code = "AuthorizationError"
    message = "User: arn:aws:iam::123456789012:user/testing is not authorized to perform this operation"


class WrongCode(SNSException):
    code = "VerificationException"
    message = "The code is invalid"


@dataclass
class SandboxNumber:
    """A number that was added to the sandbox."""

    status: str = "Pending"
    codes: list[str] = field(default_factory=list)
    """The codes that AWS sent to it, oldest first; only the newest one is valid."""
    sent_at: list[datetime] = field(default_factory=list)
    verified_at: datetime | None = None


@dataclass
class SmsSandbox:
    """What the account has in a region. It is outside the sandbox until a test sets `is_in_sandbox`."""

    is_in_sandbox: bool = False
    spend_quota: int = 1
    """The largest monthly spending limit that can be set, in US dollars."""
    numbers: dict[str, SandboxNumber] = field(default_factory=dict)

    def allows_sms_to(self, mobile: str) -> bool:
        """Return whether an SMS to a number arrives."""
        return not self.is_in_sandbox or (mobile in self.numbers and self.numbers[mobile].status == "Verified")

    def send_code(self, mobile: str) -> None:
        """Add a number if it is new, and send a code to it."""
        if mobile not in self.numbers and len(self.numbers) >= MAX_NUMBERS:
            raise UserError(f"{MAX_NUMBERS} numbers are in the sandbox, so {mobile} cannot be added")
        number, now = self.numbers.setdefault(mobile, SandboxNumber()), datetime.now(UTC)
        if sum(moment > now - DAY for moment in number.sent_at) >= MAX_CODES_PER_DAY:
            raise UserError(f"{MAX_CODES_PER_DAY} codes were sent to {mobile} in 24 hours")
        number.codes.append(str(100_000 + sum(len(each.codes) for each in self.numbers.values())))
        number.sent_at.append(now)

    def verify(self, mobile: str, code: str) -> None:
        """Make a number a verified one."""
        number = self.find(mobile)
        if code != number.codes[-1]:
            raise WrongCode
        number.status, number.verified_at = "Verified", datetime.now(UTC)

    def delete(self, mobile: str) -> None:
        """Remove a number, which AWS allows 24 hours after it was verified or sent a code."""
        number = self.find(mobile)
        if (number.verified_at or number.sent_at[-1]) > datetime.now(UTC) - DAY:
            raise UserError(f"{mobile} was added within the last 24 hours")
        del self.numbers[mobile]

    def find(self, mobile: str) -> SandboxNumber:
        """Return a number of the sandbox."""
        if mobile not in self.numbers:
            raise ResourceNotFoundError
        return self.numbers[mobile]


def sms_sandbox(region: str = REGION, account: str = ACCOUNT) -> SmsSandbox:
    """Return the sandbox of a region."""
    return _sandbox_of(sns_backends[account][region])


def _sandbox_of(backend: SNSBackend) -> SmsSandbox:
    sandbox: SmsSandbox = vars(backend).setdefault("sms_sandbox", SmsSandbox())
    return sandbox


def add_sms_sandbox(set_attribute: Callable[[type, str, Any], None] = setattr) -> None:
    """Have moto implement the sandbox, by setting attributes of its classes.

    An SMS to a number that is not verified is accepted, and not recorded in `sms_messages`: it does not arrive.
    """
    publish, set_sms_attributes = SNSBackend.publish, SNSBackend.set_sms_attributes

    def publish_in_sandbox(backend: SNSBackend, message: str, **options: Any) -> str:  # noqa: ANN401
        message_id = publish(backend, message, **options)
        if options.get("phone_number") and not _sandbox_of(backend).allows_sms_to(options["phone_number"]):
            del backend.sms_messages[message_id], backend.sms_message_objects[message_id]
        return message_id

    def set_within_quota(backend: SNSBackend, attributes: dict[str, str]) -> None:
        limit = attributes.get("MonthlySpendLimit", "0")
        if not limit.isdigit() or int(limit) > _sandbox_of(backend).spend_quota:
            raise SNSInvalidParameter("Invalid parameter: MonthlySpendLimit")
        set_sms_attributes(backend, attributes)

    set_attribute(SNSBackend, "publish", publish_in_sandbox)
    set_attribute(SNSBackend, "set_sms_attributes", set_within_quota)
    for name, member in vars(_Calls).items():
        if not name.startswith("__"):
            set_attribute(SNSResponse, name, member)


class _Calls(SNSResponse):
    """The calls that moto lacks."""

    def get_sms_sandbox_account_status(self) -> ActionResult:
        return ActionResult({"IsInSandbox": self._sandbox.is_in_sandbox})

    def create_sms_sandbox_phone_number(self) -> EmptyResult:
        mobile = self._get_param("PhoneNumber")
        if not is_e164(mobile):
            raise SNSInvalidParameter(f"Invalid parameter: PhoneNumber Reason: {mobile}")
        if self.backend.check_if_phone_number_is_opted_out(mobile):
            raise OptedOut
        self._sandbox.send_code(mobile)
        return EmptyResult()

    def verify_sms_sandbox_phone_number(self) -> EmptyResult:
        self._sandbox.verify(self._get_param("PhoneNumber"), self._get_param("OneTimePassword"))
        return EmptyResult()

    def delete_sms_sandbox_phone_number(self) -> EmptyResult:
        self._sandbox.delete(self._get_param("PhoneNumber"))
        return EmptyResult()

    def list_sms_sandbox_phone_numbers(self) -> ActionResult:
        start, size = int(self._get_param("NextToken") or 0), int(self._get_param("MaxResults") or 100)
        numbers = [{"PhoneNumber": mobile, "Status": number.status} for mobile, number in self._sandbox.numbers.items()]
        more = {"NextToken": str(start + size)} if start + size < len(numbers) else {}
        return ActionResult({"PhoneNumbers": numbers[start : start + size], **more})

    @property
    def _sandbox(self) -> SmsSandbox:
        return _sandbox_of(self.backend)


@pytest.fixture(name="sandbox")
def sandbox_fixture(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmsSandbox]:
    """Put an emulated account into the SMS sandbox of us-east-1, and return what it has there."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    add_sms_sandbox(partial(monkeypatch.setattr, raising=False))
    with mock_aws():
        sandbox = sms_sandbox()
        sandbox.is_in_sandbox = True
        yield sandbox
