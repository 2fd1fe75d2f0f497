import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import phonenumbers
import pytest
from botocore.session import Session
from falcon.testing import TestClient
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from quoteapi.app import create_app
from quoteapi.aws import error_reports, schedulers
from quoteapi.aws.error_reports import ErrorReport, ErrorReporter, format_report, unhandled_exceptions
from quoteapi.aws.job_context import RedactedError
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import ROOT, Settings, read_settings
from quoteapi.sms import sns
from quoteapi.sms.gateway import OutcomeUnknown
from quoteapi.subscriptions.phone import country_of
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, NOON, environment, sqlite_only
from tests.helpers.sns_emulator import SETTINGS, Fault, SnsCalls, backend
from tests.helpers.waiting import LIMIT_SECONDS

LAMBDA_ID = "8f507cfc-1a2b-4c3d-9e8f-12345678901a"
GATEWAY_ID = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"
CONTEXT = SimpleNamespace(aws_request_id=LAMBDA_ID)
ON_LAMBDA = {**SETTINGS, "AWS_LAMBDA_FUNCTION_NAME": "quoteapi-dev", "STAGE": "dev"}

REQUEST = {
    "httpMethod": "GET",
    "resource": "/{proxy+}",
    "path": "/subscribe/of-mira",
    "headers": {"Host": "example.org", "Authorization": "Bearer of-mira"},
    "queryStringParameters": {"mobile": MIRA, "otp": "271828"},
    "body": "the body of mira",
    "requestContext": {"requestId": GATEWAY_ID, "stage": "dev"},
}
REQUEST_V2 = {
    "version": "2.0",
    "routeKey": "$default",
    "rawPath": "/daily/of-mira",
    "rawQueryString": "otp=271828",
    "headers": {"host": "example.org"},
    "requestContext": {"http": {"method": "GET", "path": "/daily/of-mira"}, "requestId": "JKJaXmPLvHcESHA="},
}
TASK = {
    "command": "zappa.asynchronous.route_lambda_task",
    "task_path": "quoteapi.aws.tasks.async_send_otp",
    "args": ["of-mira"],
    "kwargs": {},
}
SCHEDULED = {
    "version": "0",
    "source": "aws.events",
    "detail-type": "Scheduled Event",
    "resources": [
        "arn:aws:events:us-east-1:123456789012:rule/quoteapi-dev-sms-quoteapi.aws.schedulers.publish_quote_of_the_day"
    ],
    "detail": {},
}
AUTHORIZER = {
    "type": "TOKEN",
    "authorizationToken": "Bearer of-mira",
    "methodArn": "arn:aws:execute-api:us-east-1:123456789012:apiid/dev_auth/GET/daily",
}
OTHERS = [
    TASK,
    SCHEDULED,
    AUTHORIZER,
    {"command": "quoteapi.aws.schedulers.migrate_database"},
    {"Records": []},
    {},
    None,
]


@pytest.fixture(autouse=True)
def _new_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the reporter of this process by one that has sent nothing yet."""
    monkeypatch.setattr(error_reports, "_reporter", ErrorReporter())


@pytest.fixture
def aws() -> Iterator[None]:
    with mock_aws():
        yield


@pytest.fixture
def sns_calls(aws: None, monkeypatch: pytest.MonkeyPatch) -> SnsCalls:
    sns_calls = SnsCalls()
    sns_calls.watch(monkeypatch)
    return sns_calls


@pytest.fixture
def on_lambda(
    settings: Settings, open_database: None, aws: None, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Set the environment of a Lambda container; return its settings."""
    variables = environment(settings, **ON_LAMBDA)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("quoteapi.clock.now", clock)
    return read_settings(variables)


def reports() -> list[str]:
    """Return the messages on the topic of reports, the oldest first."""
    return [sent[1] for topic in _topics() for sent in topic.sent_notifications]


def subjects() -> list[str]:
    return [sent[2] for topic in _topics() for sent in topic.sent_notifications]


def _topics() -> list[Any]:
    return [topic for topic in backend().topics.values() if topic.name == "UnhandledException"]


def raised(error: BaseException) -> BaseException:
    """Return an error with a traceback, as if it was raised."""
    if error.__traceback__ is not None:
        return error
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001
        return caught


def report_of(error: BaseException, operation: str = "GET /random") -> ErrorReport:
    return ErrorReport(raised(error), operation, f"Lambda {LAMBDA_ID}", "The client got a response with status 500.")


def message_of(error: BaseException, settings: Settings) -> str:
    return format_report(report_of(error), settings, NOON)[1]


def fail_random_quotes(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Make `/random` raise an error."""

    def fail(self: QuoteService, filters: object) -> None:
        raise error

    monkeypatch.setattr(QuoteService, "random_quote", fail)


# ---- what Zappa and Lambda see


@sqlite_only
@pytest.mark.parametrize("event", [REQUEST, REQUEST_V2, {"httpMethod": "POST"}, {"version": "2.0"}])
def test_a_failed_request_is_handled_and_reported(on_lambda: Settings, event: dict[str, Any]) -> None:
    assert unhandled_exceptions(raised(RuntimeError("broken")), event, CONTEXT) is True
    assert len(reports()) == 1


@pytest.mark.parametrize("event", OTHERS)
@sqlite_only
def test_any_other_failed_event_is_reported_and_raised_so_that_lambda_retries(
    on_lambda: Settings, event: object
) -> None:
    assert unhandled_exceptions(raised(RuntimeError("broken")), event, CONTEXT) is False
    assert len(reports()) == 1


@sqlite_only
def test_a_wrong_token_is_not_reported(on_lambda: Settings) -> None:
    assert unhandled_exceptions(Exception("Unauthorized"), AUTHORIZER, CONTEXT) is False
    assert backend().topics == {}
    assert unhandled_exceptions(Exception("Unauthorized"), TASK, CONTEXT) is False
    assert unhandled_exceptions(RuntimeError("broken"), AUTHORIZER, CONTEXT) is False
    assert [message.splitlines()[0] for message in reports()] == ["Exception: Unauthorized", "RuntimeError: broken"]


@sqlite_only
def test_nothing_is_reported_outside_lambda(on_lambda: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME")
    assert unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT) is True
    assert backend().topics == {}


# ---- the text of a report


@sqlite_only
def test_a_report_names_the_error_the_place_the_time_and_the_request_ids(on_lambda: Settings) -> None:
    unhandled_exceptions(raised(RuntimeError("the wheel came off")), REQUEST, CONTEXT)
    (message,), (subject,) = reports(), subjects()
    assert subject == "QuoteAPI dev: RuntimeError in GET /{proxy+}"
    assert message.startswith(
        "RuntimeError: the wheel came off\n\nWhere: GET /{proxy+}, in tests.aws.test_error_reports:"
    )
    assert "\nStage: dev (function quoteapi-dev)\nTime: 2026-11-22T12:00:00Z\n" in message
    assert f"\nRequest: Lambda {LAMBDA_ID}, API Gateway {GATEWAY_ID}\n" in message
    assert "\nThe client got a response with status 500. To see the log, run `zappa tail dev --since 1h`.\n" in message
    assert "\nTraceback (most recent call last):\n" in message
    assert message.endswith("RuntimeError: the wheel came off\n")


@pytest.mark.parametrize(
    ("event", "operation"),
    [
        (REQUEST, "GET /{proxy+}"),
        (REQUEST_V2, "GET $default"),
        (TASK, "task quoteapi.aws.tasks.async_send_otp"),
        ({"command": "quoteapi.aws.schedulers.migrate_database"}, "task quoteapi.aws.schedulers.migrate_database"),
        (SCHEDULED, "schedule quoteapi.aws.schedulers.publish_quote_of_the_day"),
        (AUTHORIZER, "the authorizer"),
        ({"Records": []}, "an event of Lambda"),
    ],
)
@sqlite_only
def test_a_report_names_the_route_or_the_function_and_contains_no_text_of_a_client(
    on_lambda: Settings, event: dict[str, Any], operation: str
) -> None:
    unhandled_exceptions(RuntimeError("broken"), event, CONTEXT)
    (message,) = reports()
    assert f"\nWhere: {operation}, in " in message
    for personal in ("mira", "example.org", "9028000001", "271828"):
        assert personal not in message


@pytest.mark.parametrize("event", [TASK, SCHEDULED])
@sqlite_only
def test_a_report_of_a_task_or_schedule_says_that_lambda_retries(on_lambda: Settings, event: dict[str, Any]) -> None:
    unhandled_exceptions(RuntimeError("broken"), event, CONTEXT)
    assert "Lambda retries it twice, then sends it to the dead-letter queue" in reports()[0]


@sqlite_only
def test_a_report_contains_the_causes_of_the_error(on_lambda: Settings) -> None:
    error = KeyError("wheel")
    error.__cause__ = raised(ValueError("of wheels"))
    message = message_of(error, on_lambda)
    assert "ValueError: of wheels" in message
    assert "direct cause" in message
    assert message.startswith("KeyError: 'wheel'")


@sqlite_only
def test_a_long_message_is_cut_in_the_middle_to_8_kb(on_lambda: Settings) -> None:
    long = f"it begins {'é and goes on ' * 20_000} it ends"
    assert len(long.encode()) > 300_000
    message = message_of(RuntimeError(long), on_lambda)
    assert len(message.encode()) < 8_200
    assert message.startswith("RuntimeError: it begins")
    assert message.endswith("it ends\n")
    assert "Traceback (most recent call last)" in message
    assert "Stage: dev" in message


@sqlite_only
def test_an_endless_recursion_is_cut_to_8_kb(on_lambda: Settings) -> None:
    def ping() -> None:
        pong()

    def pong() -> None:
        ping()

    with pytest.raises(RecursionError) as caught:
        ping()
    message = message_of(caught.value, on_lambda)
    assert len(message.encode()) < 8_200
    assert message.endswith("maximum recursion depth exceeded\n")


@pytest.mark.parametrize("text", ["a\x00b\x1b[0m", "\ud800", "\r\n\r\n", "", "•" * 5_000, "{}%s%(x)s"])
@sqlite_only
def test_sns_accepts_a_report_of_any_error_text(on_lambda: Settings, text: str) -> None:
    unhandled_exceptions(raised(type("Ünusual" + "X" * 200, (Exception,), {})(text)), REQUEST, CONTEXT)
    (message,), (subject,) = reports(), subjects()
    assert subject.isascii()
    assert subject.isprintable()
    assert len(subject) < 100
    assert not any(ord(character) < 32 and character not in "\n\t" for character in message)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


@sqlite_only
def test_an_error_whose_str_fails_is_reported(on_lambda: Settings) -> None:
    assert unhandled_exceptions(raised(Unprintable()), REQUEST, CONTEXT) is True
    assert "Unprintable: <exception str() failed>" in reports()[0]


@sqlite_only
def test_a_report_names_the_innermost_place_of_this_package(on_lambda: Settings) -> None:
    assert find_spec(error_reports.TRACING_MODULE) is not None
    with pytest.raises(phonenumbers.NumberParseException) as caught:
        country_of("nonsense")
    assert re.search(
        r"\nWhere: GET /random, in quoteapi\.subscriptions\.phone:\d+ country_of\n", message_of(caught.value, on_lambda)
    )


# ---- personal data


@pytest.mark.parametrize(
    "text",
    [
        f"no such number: {MIRA}",
        "mobile=%2B919028000001",
        "919028000001",
        "x9028000001y",
        "+91 90280 00001",
        "(+91) 90280-00001",
        "90280 00001",
        "+91-9028-000-001",
        "९०२८०००००१",
    ],
)
@sqlite_only
def test_a_report_contains_no_phone_number(on_lambda: Settings, text: str) -> None:
    message = message_of(ValueError(text), on_lambda)
    digits = "".join(character for character in message.splitlines()[0] if character.isdigit())
    assert len(digits) <= 7, message.splitlines()[0]
    for part in ("9028000", "90280 0", "028-000", "80-000", "९०२८"):
        assert part not in message


@pytest.mark.parametrize(
    "text", ["code 271828", "otp=271828", "'271828'", "271828 is your code", "x271828", "_271828_"]
)
@sqlite_only
def test_a_report_contains_no_otp(on_lambda: Settings, text: str) -> None:
    assert "271828" not in message_of(ValueError(text), on_lambda)


@sqlite_only
def test_a_report_contains_no_secret_of_the_settings(on_lambda: Settings) -> None:
    assert on_lambda.secret_key is not None
    assert on_lambda.secret_key not in message_of(ValueError(f"not with {on_lambda.secret_key}"), on_lambda)


# ---- a report never fails


@given(
    event=st.recursive(
        st.none() | st.integers() | st.text() | st.booleans(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "version",
                        "httpMethod",
                        "detail-type",
                        "resources",
                        "command",
                        "task_path",
                        "type",
                        "requestContext",
                    ]
                )
                | st.text(),
                inner,
            )
        ),
    )
)
def test_an_event_of_any_shape_raises_no_error(event: object) -> None:
    assert unhandled_exceptions(raised(RuntimeError("broken")), event, object()) in {True, False}
    _ = error_reports._describe(event), error_reports._request_ids(event, None)  # which off Lambda are read, too


@pytest.mark.parametrize("fault", ["throttled", "refused", "forbidden", "error 500", "nonsense", "timed out"])
@sqlite_only
def test_a_report_that_sns_rejects_is_logged_after_one_attempt(
    on_lambda: Settings, sns_calls: SnsCalls, clock: FakeClock, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    sns_calls.fault_for = lambda _number, _operation: fault
    assert unhandled_exceptions(raised(RuntimeError("broken")), SCHEDULED, CONTEXT) is False
    assert sns_calls.operations == ["CreateTopic"]
    (record,) = [record for record in caplog.records if record.name == "quoteapi.aws.error_reports"]
    assert "Error report not sent" in record.getMessage()
    assert record.exc_info is None
    clock.advance(minutes=1)
    sns_calls.fault_for = lambda _number, operation: fault if operation == "Publish" else None
    unhandled_exceptions(raised(RuntimeError("broken")), SCHEDULED, CONTEXT)
    assert sns_calls.operations == ["CreateTopic"] * 2 + ["Publish"]


@sqlite_only
def test_missing_credentials_are_logged(
    on_lambda: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("aws_access_key_id", "aws_secret_access_key"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(Session, "get_credentials", lambda _: None)  # as moto has some of its own
    assert unhandled_exceptions(raised(RuntimeError("broken")), TASK, CONTEXT) is False
    assert "Error report not sent (NoCredentialsError)" in caplog.text


@sqlite_only
def test_invalid_settings_are_logged(
    on_lambda: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PORT", "none")
    assert unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT) is True
    assert "Error report not sent: PORT must be a port number" in caplog.text


@sqlite_only
def test_a_report_times_out_when_sns_does_not_answer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for name, value in environment(settings, **ON_LAMBDA).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert sns.REPORT_TIMEOUT_SECONDS == 2
        monkeypatch.setattr(sns, "REPORT_TIMEOUT_SECONDS", 0.2)
        begun = time.monotonic()
        assert unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT) is True
        assert time.monotonic() - begun < LIMIT_SECONDS, "boto3 would wait for a minute"
        silent.accept()[0].close()
        silent.settimeout(0)
        with pytest.raises(BlockingIOError):
            silent.accept()
    assert "(ReadTimeoutError)" in caplog.text


# ---- one report a minute


@sqlite_only
def test_repeated_errors_are_one_report_a_minute_that_counts_the_others(on_lambda: Settings, clock: FakeClock) -> None:
    def storm() -> None:
        for _ in range(10):
            unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT)
            clock.advance(seconds=5.9)

    storm()
    assert len(reports()) == 1
    assert "Not reported" not in reports()[0]
    clock.advance(seconds=1)
    storm()
    assert len(reports()) == 2
    assert "Not reported: 9 more of this error since the last report, in this container" in reports()[1]


@sqlite_only
def test_the_same_error_in_many_threads_is_one_report(on_lambda: Settings, clock: FakeClock) -> None:
    with ThreadPoolExecutor(16) as threads:
        errors = [raised(RuntimeError("broken")) for _ in range(64)]
        list(threads.map(lambda error: unhandled_exceptions(error, REQUEST, CONTEXT), errors))
    assert len(reports()) == 1
    clock.advance(minutes=1)
    unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT)
    assert "Not reported: 63 more" in reports()[1]


@sqlite_only
def test_another_error_is_reported_at_once(on_lambda: Settings) -> None:
    unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT)
    unhandled_exceptions(raised(ValueError("broken")), REQUEST, CONTEXT)
    try:
        raise RuntimeError("broken")
    except RuntimeError as elsewhere:
        unhandled_exceptions(elsewhere, REQUEST, CONTEXT)
    assert len(reports()) == 3


@sqlite_only
def test_after_a_report_that_sns_rejected_the_next_one_is_sent(on_lambda: Settings, sns_calls: SnsCalls) -> None:
    sns_calls.fault_for = lambda number, _: "throttled" if number < 2 else None
    for _ in range(3):
        unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT)
    (message,) = reports()
    assert "Not reported: 2 more" in message


@pytest.mark.parametrize("fault", ["timed out", "answer lost"])
@sqlite_only
def test_after_a_timeout_no_report_of_the_same_error_is_tried_for_a_minute(
    on_lambda: Settings, sns_calls: SnsCalls, clock: FakeClock, fault: Fault
) -> None:
    sns_calls.fault_for = lambda number, operation: fault if operation == "Publish" and number < 2 else None
    for _ in range(3):
        unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT)
    assert sns_calls.operations == ["CreateTopic", "Publish"]
    clock.advance(minutes=1)
    unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT)
    assert "Not reported: 3 more" in reports()[-1]


@sqlite_only
def test_the_same_error_in_another_operation_is_reported(on_lambda: Settings) -> None:
    error = raised(RuntimeError("refused"))
    unhandled_exceptions(error, TASK, CONTEXT)
    unhandled_exceptions(error, SCHEDULED, CONTEXT)
    unhandled_exceptions(error, SCHEDULED, CONTEXT)
    assert len(reports()) == 2


@sqlite_only
def test_a_clock_that_is_set_back_suppresses_no_report(on_lambda: Settings, clock: FakeClock) -> None:
    clock.advance(days=400)
    unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT)
    clock.advance(days=-400)
    unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT)
    assert len(reports()) == 2


@sqlite_only
def test_each_container_reports_for_itself(on_lambda: Settings) -> None:
    for _ in range(2):
        ErrorReporter().send(on_lambda, report_of(RuntimeError("broken")))
    assert len(reports()) == 2


# ---- from the app, the schedules and Zappa


def create_client(settings: Settings, clock: FakeClock) -> TestClient:
    return TestClient(create_app(settings, now=clock))


@sqlite_only
def test_an_error_in_a_route_is_reported_with_the_route_template(
    on_lambda: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = create_client(on_lambda, clock)
    fail_random_quotes(monkeypatch, RuntimeError(f"broken for {MIRA}"))
    environ = {"lambda.event": REQUEST, "lambda.context": CONTEXT}
    response = client.simulate_get(
        "/random", query_string="author=Jane", headers={"X-Request-ID": "abc"}, extras=environ
    )
    assert (response.status_code, response.json["detail"]) == (
        500,
        "Something went wrong on our side, and it was logged. Try again later.",
    )
    (message,) = reports()
    assert message.startswith("RuntimeError: broken for +91••••••0001\n")
    assert "\nWhere: GET /random, in quoteapi." in message
    assert f"\nRequest: Lambda {LAMBDA_ID}, API Gateway {GATEWAY_ID}, in the log abc\n" in message
    assert "Jane" not in message
    client.simulate_get("/random")
    assert len(reports()) == 1


@sqlite_only
def test_an_otp_in_the_request_id_of_a_client_is_masked(
    on_lambda: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = create_client(on_lambda, clock)
    fail_random_quotes(monkeypatch, RuntimeError("broken"))
    client.simulate_get("/random", headers={"X-Request-ID": "otp=x2718281"})
    assert "271828" not in reports()[0]


@sqlite_only
def test_an_error_in_a_route_is_a_500_even_if_sns_does_not_answer(
    on_lambda: Settings, clock: FakeClock, sns_calls: SnsCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    sns_calls.fault_for = lambda _number, _operation: "timed out"
    client = create_client(on_lambda, clock)
    fail_random_quotes(monkeypatch, RuntimeError("broken"))
    assert client.simulate_get("/random").status_code == 500
    assert sns_calls.operations == ["CreateTopic"]


@sqlite_only
def test_on_a_laptop_an_error_in_a_route_is_only_logged(
    settings: Settings,
    aws: None,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = create_client(settings, clock)
    fail_random_quotes(monkeypatch, RuntimeError("broken"))
    assert client.simulate_get("/random").status_code == 500
    assert backend().topics == {}
    assert "GET /random failed" in caplog.text


def test_a_failed_scheduled_run_is_reported_with_its_original_error(
    on_lambda: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: QuoteService, day: object) -> None:
        raise LookupError(f"nothing for {MIRA}")

    monkeypatch.setattr(QuoteService, "quote_of_date", fail)
    with pytest.raises(RedactedError) as failed:
        schedulers.set_quote_of_the_day(SCHEDULED, CONTEXT)
    assert unhandled_exceptions(failed.value, SCHEDULED, CONTEXT) is False
    (message,) = reports()
    assert message.startswith("LookupError: nothing for +91••••••0001\n")
    assert "in quoteapi.aws.schedulers:" in message.split("\n")[2]
    assert 'raise LookupError(f"nothing for' in message
    assert "RedactedError" not in message
    assert "9028000001" not in message


def test_an_incomplete_reconciliation_is_reported(on_lambda: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "has_shared_state", property(lambda _: True))
    reconciled = SimpleNamespace(failed=2)
    monkeypatch.setattr("quoteapi.subscriptions.topic_sync.TopicSync.reconcile", lambda *_: reconciled)
    with pytest.raises(RedactedError) as failed:
        schedulers.reconcile_subscriptions(SCHEDULED, CONTEXT)
    unhandled_exceptions(failed.value, SCHEDULED, CONTEXT)
    assert reports()[0].startswith("quoteapi.aws.schedulers.ReconcileIncomplete: 2 failed")


@pytest.fixture
def handle_event(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, object], Any]:
    """Return Zappa's handler of events, with an app that always fails and our exception handler."""
    from zappa import handler  # noqa: PLC0415 it is slow to load
    from zappa.middleware import ZappaWSGIMiddleware  # noqa: PLC0415

    def broken_app(env: object, start_response: object) -> None:
        raise RuntimeError("the app itself broke")

    zappa_handler = object.__new__(handler.LambdaHandler)
    zappa_handler.settings = SimpleNamespace(
        DEBUG=False,
        EXCEPTION_HANDLER="quoteapi.aws.error_reports.unhandled_exceptions",
        API_STAGE="dev",
        DOMAIN=None,
        BINARY_SUPPORT=False,
        CONTEXT_HEADER_MAPPINGS={},
        AUTHORIZER_FUNCTION=None,
    )
    zappa_handler.wsgi_app = ZappaWSGIMiddleware(broken_app)
    monkeypatch.setattr(handler, "global_handler", zappa_handler)
    return handler.LambdaHandler.lambda_handler  # type: ignore[no-any-return]


@pytest.mark.parametrize("event", [REQUEST, REQUEST_V2])
@sqlite_only
def test_an_error_in_the_app_itself_is_a_500_and_reported_once(
    on_lambda: Settings, handle_event: Callable[[Any, object], Any], event: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert handle_event(event, CONTEXT)["statusCode"] == 500
    (message,) = reports()
    assert message.startswith("RuntimeError: the app itself broke\n")
    assert "mira" not in message
    assert "Traceback (most recent call last)" in caplog.text, "a suppressed report is at least in the log"


def test_zappa_raises_a_failed_run_after_one_report(
    on_lambda: Settings, handle_event: Callable[[Any, object], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: QuoteService, day: object) -> None:
        raise TypeError("broken")

    monkeypatch.setattr(QuoteService, "quote_of_date", fail)
    rule = f"{SCHEDULED['resources'][0].rpartition('-')[0]}-quoteapi.aws.schedulers.set_quote_of_the_day"  # type: ignore[index]
    with pytest.raises(RedactedError):
        handle_event({**SCHEDULED, "resources": [rule]}, CONTEXT)
    assert len(reports()) == 1


@sqlite_only
def test_zappa_raises_unauthorized_without_a_report(
    on_lambda: Settings, handle_event: Callable[[Any, object], Any]
) -> None:
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        handle_event(AUTHORIZER, CONTEXT)
    assert backend().topics == {}


def test_a_cold_start_does_not_import_error_reports_and_boto3(settings: Settings) -> None:
    code = (
        "import sys; from quoteapi.app import create_app; from quoteapi.settings import read_settings;"
        f"create_app(read_settings({environment(settings, **ON_LAMBDA)!r}));"
        "assert not {'boto3', 'quoteapi.aws.error_reports', 'quoteapi.sms.sns'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@sqlite_only
def test_a_rejection_by_sns_is_a_gateway_error(on_lambda: Settings, sns_calls: SnsCalls) -> None:
    sns_calls.fault_for = lambda _number, _operation: "error 500"
    with pytest.raises(OutcomeUnknown, match="SNS returned 500 InternalError for CreateTopic"):
        sns.publish_error_report(on_lambda, "UnhandledException", "subject", "message")
