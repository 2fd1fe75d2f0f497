import boto3
import pytest
from moto.sns.responses import SNSResponse

from quoteapi.container import Container
from quoteapi.deploy.aws_account import AwsAccount
from quoteapi.deploy.first_sms import OPERATOR_IP, describe_first_sms
from quoteapi.settings import Settings, read_settings
from quoteapi.storage.database import migrate_database
from quoteapi.subscriptions.dispatcher import InlineDispatcher
from tests.helpers.data import MIRA, NOOR, SECRET_KEY
from tests.helpers.sms_sandbox import ACCOUNT, REGION, NotAllowed, SmsSandbox, sandbox_fixture
from tests.helpers.sns_emulator import SnsCalls, backend, sent_to

__all__ = ["sandbox_fixture"]
ADDRESS = "https://abc.execute-api.us-east-1.amazonaws.com/dev"
VARIABLES = {"AWS_LAMBDA_FUNCTION_NAME": "quoteapi-dev", "SECRET_KEY": SECRET_KEY, "SMS_ALLOWED_REGIONS": "IN"}
HOW_TO_REQUEST = [
    "To get your first SMS, a code, put your mobile number for NUMBER, as in +919028000001:",
    f"  curl --data-urlencode mobile=NUMBER {ADDRESS}/subscribe",
    "To subscribe to the daily SMS, put the code for CODE, within ten minutes:",
    f"  curl --data-urlencode mobile=NUMBER -d otp=CODE {ADDRESS}/subscribe",
]


@pytest.fixture
def settings(sandbox: SmsSandbox, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings of a stage whose table exists."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    settings = read_settings(VARIABLES)
    migrate_database(settings)
    return settings


def describe(settings: Settings) -> list[str]:
    account = AwsAccount(boto3.Session(region_name=REGION), ACCOUNT, REGION, f"arn:aws:iam::{ACCOUNT}:user/testing")
    return list(describe_first_sms(account, settings, ADDRESS, "curl {}".format))


def verify(sandbox: SmsSandbox, *mobiles: str) -> None:
    for mobile in mobiles:
        sandbox.send_code(mobile)
        sandbox.verify(mobile, sandbox.numbers[mobile].codes[-1])


def subscribe(settings: Settings, mobile: str) -> None:
    container = Container(settings)
    service = container.subscriptions
    dispatcher = InlineDispatcher(service.send_otp, container.topic_sync.sync)
    service.request_otp(mobile, "subscribe", OPERATOR_IP, dispatcher)
    service.subscribe(mobile, sent_to(mobile)[-1][:6], OPERATOR_IP, dispatcher)


def test_the_verified_number_gets_a_code_that_subscribes_it(
    settings: Settings, sandbox: SmsSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify(sandbox, MIRA)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    lines = describe(settings)
    (sms,) = sent_to(MIRA)
    assert lines == [
        "An SMS with a code is on its way to +91••••••0001.",
        "To subscribe to the daily SMS, put the code for CODE, within ten minutes:",
        f"  curl --data-urlencode mobile={MIRA} -d otp=CODE {ADDRESS}/subscribe",
    ]
    container = Container(settings)
    dispatcher = InlineDispatcher(container.subscriptions.send_otp, container.topic_sync.sync)
    container.subscriptions.subscribe(MIRA, sms[:6], "192.0.2.7", dispatcher)
    subscriber = container.state.find_subscriber(MIRA)
    assert subscriber is not None
    assert (subscriber.state, subscriber.requested_from) == ("active", OPERATOR_IP)


def test_a_log_has_no_number(settings: Settings, sandbox: SmsSandbox) -> None:
    verify(sandbox, MIRA)
    assert describe(settings) == ["An SMS with a code is on its way to +91••••••0001.", *HOW_TO_REQUEST[2:]]


@pytest.mark.parametrize("verified", [(), (MIRA, NOOR)])
def test_without_a_single_verified_number_the_operator_sends_theirs(
    settings: Settings, sandbox: SmsSandbox, verified: tuple[str, ...]
) -> None:
    verify(sandbox, *verified)
    assert describe(settings) == HOW_TO_REQUEST
    assert backend().sms_messages == {}


def test_outside_the_sandbox_the_operator_sends_their_number(settings: Settings, sandbox: SmsSandbox) -> None:
    verify(sandbox, MIRA)
    sandbox.is_in_sandbox = False
    assert describe(settings) == HOW_TO_REQUEST
    assert sent_to(MIRA) == []


def test_a_stage_with_subscribers_sends_no_code(settings: Settings, sandbox: SmsSandbox) -> None:
    verify(sandbox, MIRA)
    subscribe(settings, MIRA)
    before = len(backend().sms_messages)
    assert describe(settings) == HOW_TO_REQUEST
    assert len(backend().sms_messages) == before


def test_a_stage_on_postgresql_sends_no_code(sandbox: SmsSandbox) -> None:
    verify(sandbox, MIRA)
    url = "postgresql://me:pw@db.example.org:5432/quoteapi"
    assert describe(read_settings(VARIABLES | {"DATABASE_URL": url})) == HOW_TO_REQUEST


@pytest.mark.parametrize("missing", ["SMS_ALLOWED_REGIONS", "SECRET_KEY"])
def test_a_stage_without_sms_says_nothing(sandbox: SmsSandbox, missing: str) -> None:
    variables = {name: value for name, value in VARIABLES.items() if name != missing}
    assert describe(read_settings(variables)) == []


def test_the_limits_and_the_switch_of_the_stage_apply(settings: Settings, sandbox: SmsSandbox) -> None:
    verify(sandbox, MIRA)
    container = Container(settings)
    container.state.set_sms_switch(container.clock(), off=True)
    off = "Sending a code to your phone failed: SMS are switched off. To switch them on, run `quoteapi sms start`"
    assert describe(settings) == [off, *HOW_TO_REQUEST]
    container.state.set_sms_switch(container.clock(), off=False)
    describe(settings)
    assert describe(settings)[0] == "Sending a code to your phone failed: Too many codes for this number"
    assert len(sent_to(MIRA)) == 1


def test_another_country_is_reported(settings: Settings, sandbox: SmsSandbox) -> None:
    verify(sandbox, "+447400123456")
    assert "SMS go only to these countries: IN" in describe(settings)[0]


def test_an_opted_out_number_is_reported(
    settings: Settings, sandbox: SmsSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify(sandbox, MIRA)
    monkeypatch.setattr("moto.sns.models.SNSBackend.check_if_phone_number_is_opted_out", lambda *_: True)
    assert describe(settings)[0].startswith("Sending a code to your phone failed: the number replied STOP.")


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("get_sms_sandbox_account_status", "you have no permission for GetSMSSandboxAccountStatus. Ask an admin"),
        ("publish", "SNS returned 403 AuthorizationError for Publish"),
    ],
)
def test_a_missing_permission_is_reported(
    settings: Settings, sandbox: SmsSandbox, monkeypatch: pytest.MonkeyPatch, operation: str, expected: str
) -> None:
    def refuse(_: SNSResponse) -> None:
        raise NotAllowed

    verify(sandbox, MIRA)
    monkeypatch.setattr(SNSResponse, operation, refuse)
    lines = describe(settings)
    assert lines[0].startswith(f"Sending a code to your phone failed: {expected}")
    assert lines[1:] == HOW_TO_REQUEST


def test_a_missing_table_is_reported(sandbox: SmsSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    verify(sandbox, MIRA)
    assert describe(read_settings(VARIABLES))[0].startswith("Sending a code to your phone failed: ")


def test_an_sms_is_not_sent_twice_if_the_answer_is_lost(
    settings: Settings, sandbox: SmsSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify(sandbox, MIRA)
    calls = SnsCalls()
    calls.watch(monkeypatch)
    calls.fault_for = lambda _, operation: "answer lost" if operation == "Publish" else None
    assert "no readable response from SNS" in describe(settings)[0]
    assert calls.operations.count("Publish") == 1
