"""The first SMS of a stage: after its first deploy, a code to the operator's own phone."""

import sys
from collections.abc import Callable, Iterator

from quoteapi.container import Container
from quoteapi.deploy.aws_account import AwsAccount, aws_errors
from quoteapi.deploy.aws_resources.sms_account import is_in_sandbox, list_sandbox_numbers
from quoteapi.deploy.checks.check import CheckFailed
from quoteapi.observability.redaction import mask_phone_number, mask_phone_numbers
from quoteapi.settings import Settings
from quoteapi.sms.gateway import GatewayError
from quoteapi.subscriptions.dispatcher import InlineDispatcher
from quoteapi.subscriptions.errors import OptedOut, OtpNotSent

OPERATOR_IP = "127.0.0.1"
"""The client IP in the record of consent: the operator's machine made the request, and no client sent it."""


def describe_first_sms(
    account: AwsAccount, settings: Settings, address: str, curl: Callable[[str], str]
) -> Iterator[str]:
    """Send a code to the operator's number, if it is known, and yield how to subscribe with it. Never raises.

    The number is known if the SMS sandbox has one verified number. A code goes out only while nobody is subscribed. The
    number is shown in full only on a terminal, where no log keeps it. `address` is that of the stage, and `curl` makes
    a command of its arguments. boto3's default session must be that of the account.
    """
    if settings.gateway != "sns" or not settings.has_shared_state:
        return
    mobile = None
    try:
        mobile = _send_first_code(account, settings)
    except Exception as error:  # noqa: BLE001 the deploy succeeded
        yield mask_phone_numbers(f"Sending a code to your phone failed: {_describe(error)}".rstrip("."))
    number = mobile if mobile is not None and sys.stdout.isatty() else "NUMBER"
    data, url = f"--data-urlencode mobile={number}", f"{address}/subscribe"
    if mobile is not None:
        yield f"An SMS with a code is on its way to {mask_phone_number(mobile)}."
    else:
        yield "To get your first SMS, a code, put your mobile number for NUMBER, as in +919028000001:"
        yield f"  {curl(f'{data} {url}')}"
    yield "To subscribe to the daily SMS, put the code for CODE, within ten minutes:"
    yield f"  {curl(f'{data} -d otp=CODE {url}')}"


def _send_first_code(account: AwsAccount, settings: Settings) -> str | None:
    """Request an OTP for the operator's number, under all limits of the stage. Return the number; None if unknown."""
    if settings.dynamodb_table is None:  # PostgreSQL may be in a private network
        return None
    container = Container(settings)
    if (mobile := _find_own_number(account, settings)) is None or container.state.subscriber_count():
        return None
    service = container.subscriptions
    dispatcher = InlineDispatcher(service.send_otp, container.topic_sync.sync)
    service.request_otp(mobile, "subscribe", OPERATOR_IP, dispatcher)
    return mobile


def _find_own_number(account: AwsAccount, settings: Settings) -> str | None:
    """Return the only number that is verified in the SMS sandbox; None outside of it."""
    with aws_errors("sandbox"):
        client = account.client("sns", settings.sns_region)
        verified = list_sandbox_numbers(client).verified if is_in_sandbox(client) else []
    return verified[0] if len(verified) == 1 else None


def _describe(error: Exception) -> str:
    """Return what failed, and what to do."""
    match error:
        case CheckFailed(args=(_, _, *words)):
            return ". ".join(words)
        case OptedOut():
            return "the number replied STOP. Let it get SMS again with `aws sns opt-in-phone-number`"
        case OtpNotSent(__cause__=GatewayError() as cause):
            return str(cause)
    return str(error) or type(error).__name__
