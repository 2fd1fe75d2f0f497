import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import phonenumbers
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.session import Session
from falcon.testing import TestClient
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws
from peewee import OperationalError

from quoteapi.app import create_app
from quoteapi.aws import error_reports, schedulers
from quoteapi.aws.error_reports import ErrorReport, ErrorReporter, format_report, unhandled_exceptions
from quoteapi.aws.job_context import RedactedError
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import ROOT, Settings, read_settings
from quoteapi.sms import sns
from quoteapi.sms.gateway import GatewayMisconfigured, OutcomeUnknown
from quoteapi.storage.models import RateLimitLog
from quoteapi.subscriptions.phone import country_of
from quoteapi.subscriptions.rate_limits import RateLimits
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, NOON, environment, sqlite_only
from tests.helpers.sns_emulator import SETTINGS, Fault, SnsCalls, backend

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
def _forgotten() -> None:
    """Have this process have reported nothing yet."""
    error_reports._put_together.cache_clear()


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
    """Set the environment of a container of Lambda. Answers its settings."""
    said = environment(settings, **ON_LAMBDA)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("quoteapi.clock.now", clock)
    return read_settings(said)


@pytest.fixture
def shared(on_lambda: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Answer settings of containers that share a database, also where that is a file."""
    monkeypatch.setattr(Settings, "has_shared_state", property(lambda _: True))
    return on_lambda


def reports() -> list[str]:
    """Answer the messages on the topic of reports, the oldest first."""
    return [sent[1] for topic in _topics() for sent in topic.sent_notifications]


def subjects() -> list[str]:
    return [sent[2] for topic in _topics() for sent in topic.sent_notifications]


def _topics() -> list[Any]:
    return [topic for topic in backend().topics.values() if topic.name == "UnhandledException"]


def raised(error: BaseException) -> BaseException:
    """Answer an error as one that was raised, with a place."""
    if error.__traceback__ is not None:
        return error
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001
        return caught


def failure(error: BaseException, where: str = "GET /random") -> ErrorReport:
    return ErrorReport(raised(error), where, f"Lambda {LAMBDA_ID}", "Who asked was answered 500.")


def message_of(error: BaseException, settings: Settings) -> str:
    return format_report(failure(error), settings, NOON)[1]


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Have random quotes fail."""

    def fail(self: QuoteService, filters: object) -> None:
        raise error

    monkeypatch.setattr(QuoteService, "random_quote", fail)


# ---- what becomes of what failed


@sqlite_only
@pytest.mark.parametrize("event", [REQUEST, REQUEST_V2, {"httpMethod": "POST"}, {"version": "2.0"}])
def test_a_request_is_answered_and_done_with(on_lambda: Settings, event: dict[str, Any]) -> None:
    assert unhandled_exceptions(raised(RuntimeError("broken")), event, CONTEXT) is True
    assert len(reports()) == 1


@pytest.mark.parametrize("event", OTHERS)
@sqlite_only
def test_all_else_is_seen_as_failed_so_that_lambda_tries_again(on_lambda: Settings, event: object) -> None:
    assert unhandled_exceptions(raised(RuntimeError("broken")), event, CONTEXT) is False
    assert len(reports()) == 1


@sqlite_only
def test_a_wrong_token_is_the_mistake_of_a_client_and_reported_to_nobody(on_lambda: Settings) -> None:
    assert unhandled_exceptions(Exception("Unauthorized"), AUTHORIZER, CONTEXT) is False
    assert backend().topics == {}
    assert unhandled_exceptions(Exception("Unauthorized"), TASK, CONTEXT) is False
    assert unhandled_exceptions(RuntimeError("broken"), AUTHORIZER, CONTEXT) is False
    assert [message.splitlines()[0] for message in reports()] == ["Exception: Unauthorized", "RuntimeError: broken"]


@sqlite_only
def test_elsewhere_than_on_lambda_nothing_is_reported(on_lambda: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME")
    assert unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT) is True
    assert backend().topics == {}


# ---- what a report says


@sqlite_only
def test_a_report_says_what_where_when_and_how_to_find_the_rest(on_lambda: Settings) -> None:
    unhandled_exceptions(raised(RuntimeError("the wheel came off")), REQUEST, CONTEXT)
    (message,), (subject,) = reports(), subjects()
    assert subject == "QuoteAPI dev: RuntimeError in GET /{proxy+}"
    assert message.startswith(
        "RuntimeError: the wheel came off\n\nWhere: GET /{proxy+}, in tests.aws.test_error_reports:"
    )
    assert "\nStage: dev (function quoteapi-dev)\nTime: 2026-11-22T12:00:00Z\n" in message
    assert f"\nRequest: Lambda {LAMBDA_ID}, API Gateway {GATEWAY_ID}\n" in message
    assert "\nWho asked was answered 500. `zappa tail dev --since 1h` shows the log.\n" in message
    assert "\nTraceback (most recent call last):\n" in message
    assert message.endswith("RuntimeError: the wheel came off\n")


@pytest.mark.parametrize(
    ("event", "where"),
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
def test_it_names_the_route_or_the_function_and_nothing_that_a_client_sent(
    on_lambda: Settings, event: dict[str, Any], where: str
) -> None:
    unhandled_exceptions(RuntimeError("broken"), event, CONTEXT)
    (message,) = reports()
    assert f"\nWhere: {where}, in " in message
    for sent in ("mira", "example.org", "9028000001", "271828"):
        assert sent not in message


@pytest.mark.parametrize("event", [TASK, SCHEDULED])
@sqlite_only
def test_it_says_that_lambda_tries_again(on_lambda: Settings, event: dict[str, Any]) -> None:
    unhandled_exceptions(RuntimeError("broken"), event, CONTEXT)
    assert "Lambda tries it twice more, and then hands it to the dead-letter queue" in reports()[0]


@sqlite_only
def test_errors_that_led_to_it_are_in_it(on_lambda: Settings) -> None:
    error = KeyError("wheel")
    error.__cause__ = raised(ValueError("of wheels"))
    message = message_of(error, on_lambda)
    assert "ValueError: of wheels" in message
    assert "direct cause" in message
    assert message.startswith("KeyError: 'wheel'")


@sqlite_only
def test_300_kb_of_an_error_are_8_with_its_begin_and_its_end(on_lambda: Settings) -> None:
    long = f"it begins {'é and goes on ' * 20_000} it ends"
    assert len(long.encode()) > 300_000
    message = message_of(RuntimeError(long), on_lambda)
    assert len(message.encode()) < 8_200
    assert message.startswith("RuntimeError: it begins")
    assert message.endswith("it ends\n")
    assert "Traceback (most recent call last)" in message
    assert "Stage: dev" in message


@sqlite_only
def test_of_calls_without_end_the_first_and_the_last_are_in_it(on_lambda: Settings) -> None:
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
def test_sns_takes_whatever_an_error_says(on_lambda: Settings, text: str) -> None:
    unhandled_exceptions(raised(type("Ünusual" + "X" * 200, (Exception,), {})(text)), REQUEST, CONTEXT)
    (message,), (subject,) = reports(), subjects()
    assert subject.isascii()
    assert subject.isprintable()
    assert len(subject) < 100
    assert not any(ord(character) < 32 and character not in "\n\t" for character in message)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


@sqlite_only
def test_an_error_that_cannot_be_written_is_reported_all_the_same(on_lambda: Settings) -> None:
    assert unhandled_exceptions(raised(Unspeakable()), REQUEST, CONTEXT) is True
    assert "Unspeakable: <exception str() failed>" in reports()[0]


@sqlite_only
def test_the_innermost_place_of_this_package_is_named(on_lambda: Settings) -> None:
    with pytest.raises(phonenumbers.NumberParseException) as caught:
        country_of("nonsense")
    assert re.search(
        r"\nWhere: GET /random, in quoteapi\.subscriptions\.phone:\d+ country_of\n", message_of(caught.value, on_lambda)
    )


# ---- what it does not say


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
def test_a_phone_number_does_not_get_out(on_lambda: Settings, text: str) -> None:
    message = message_of(ValueError(text), on_lambda)
    digits = "".join(character for character in message.splitlines()[0] if character.isdigit())
    assert len(digits) <= 7, message.splitlines()[0]
    for part in ("9028000", "90280 0", "028-000", "80-000", "९०२८"):
        assert part not in message


@pytest.mark.parametrize(
    "text", ["code 271828", "otp=271828", "'271828'", "271828 is your code", "x271828", "_271828_"]
)
@sqlite_only
def test_a_code_does_not_get_out(on_lambda: Settings, text: str) -> None:
    assert "271828" not in message_of(ValueError(text), on_lambda)


def test_no_secret_of_the_settings_gets_out(monkeypatch: pytest.MonkeyPatch) -> None:
    password, token = "correct/zebra", "IQoJb-zebra-of-the-role"
    secrets = {
        "DATABASE_URL": f"postgresql://quotes:{quote(password, safe='')}@db.example.org/quoteapi",
        "SECRET_KEY": "a zebra \\ with 'stripes' and more of them",
        "X_Mashape_Key": "k-zebra",
        "Mashape_API_Endpoint": "https://api.example.org/quotes?key=zebra-of-the-endpoint",
        "aws_access_key_id": "AKIAZZZZZZ-zebra",
        "aws_secret_access_key": "wJalrXUtnFEMI/K-zebra",
        "JWT_SECRET": "zebra-of-the-bearers-abcdefghijklmnop",
    }
    assert {s.metadata["name"] for s in fields(Settings) if not s.repr} == {*secrets, "JWT_PUBLIC_KEY"}
    monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    more = {"JWT_ISSUER": "me", "JWT_AUDIENCE": "you", "SMS_ALLOWED_REGIONS": "IN"}
    settings = read_settings({**secrets, **more, "AWS_LAMBDA_FUNCTION_NAME": "quoteapi-dev", "STAGE": "dev"})
    told = [*secrets.values(), password, quote(password, safe=""), token, "zebra-of-the-endpoint"]
    for text in told:
        for form in (text, repr(text), quote(text, safe=""), f"({text})"):
            assert "zebra" not in message_of(ValueError(f"first {form}, {form}"), settings), form
    assert "zebra" not in message_of(ValueError(" ".join(told)), settings)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgresql://other:hunter2@db.example.org/quoteapi failed", "hunter2"),
        ("connection failed: host=db password=hunter2 user=me", "hunter2"),
        ("{'password': 'hunter2'}", "hunter2"),
        ("Max retries exceeded with url: /quotes?key=hunter2&x=1 (Caused by", "hunter2"),
        ("GET /subscribe?mobile=hunter2", "hunter2"),
        ("'Authorization': 'Bearer hunter2hunter2'", "hunter2"),
        ("token eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl is odd", "c2lnbmF0dXJl"),
        ("key AKIAIOSFODNN7EXAMPLE is not known", "IOSFODNN7EXAMPLE"),
    ],
)
@sqlite_only
def test_passwords_queries_and_tokens_of_others_do_not_get_out(on_lambda: Settings, text: str, hidden: str) -> None:
    message = message_of(ValueError(text), on_lambda)
    assert hidden not in message
    assert "•••" in message.splitlines()[0]


@sqlite_only
def test_a_short_secret_does_not_take_the_words_apart(on_lambda: Settings) -> None:
    settings = read_settings({**environment(on_lambda, **ON_LAMBDA), "X_Mashape_Key": "sand"})
    assert message_of(ValueError("sand in sandals"), settings).startswith("ValueError: ••• in sandals\n")


def test_what_is_no_secret_is_read_as_it_is(on_lambda: Settings) -> None:
    said = "KeyError at 2026-11-22 12:00:30 in /var/task/quoteapi/quotes.py, line 120, of 10.0.0.1:5432 (3.11.4)"
    assert message_of(ValueError(said), on_lambda).startswith(f"ValueError: {said}\n")


@pytest.mark.parametrize(
    "piece", ["://", "?a=", "eyJ", "eyJa.", "password=", "1 ", "+1-", "12345 ", "9", "Bearer ", "@"]
)
@sqlite_only
def test_no_text_takes_long_to_look_through(on_lambda: Settings, piece: str) -> None:
    began = time.perf_counter()
    message_of(ValueError(piece * (300_000 // len(piece))), on_lambda)
    assert time.perf_counter() - began < 5


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
def test_an_event_of_any_shape_is_answered(event: object) -> None:
    assert unhandled_exceptions(raised(RuntimeError("broken")), event, object()) in {True, False}
    (
        error_reports._where(event),
        error_reports._outcome(event),
        error_reports._ids(event, None),
    )  # which off Lambda are read, too


@pytest.mark.parametrize("fault", ["throttled", "refused", "forbidden", "error 500", "nonsense", "timed out"])
@sqlite_only
def test_what_sns_does_not_take_is_a_line_in_the_log_after_one_attempt(
    on_lambda: Settings, sns_calls: SnsCalls, clock: FakeClock, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    sns_calls.becomes = lambda _number, _operation: fault
    assert unhandled_exceptions(raised(RuntimeError("broken")), SCHEDULED, CONTEXT) is False
    assert sns_calls.made == ["CreateTopic"]
    (record,) = [record for record in caplog.records if record.name == "quoteapi.aws.error_reports"]
    assert "A failure could not be reported" in record.getMessage()
    assert record.exc_info is None
    clock.advance(minutes=1)
    sns_calls.becomes = lambda _number, operation: fault if operation == "Publish" else None
    unhandled_exceptions(raised(RuntimeError("broken")), SCHEDULED, CONTEXT)
    assert sns_calls.made == ["CreateTopic"] * 2 + ["Publish"]


@sqlite_only
def test_without_credentials_there_is_a_line_in_the_log(
    on_lambda: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("aws_access_key_id", "aws_secret_access_key"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(Session, "get_credentials", lambda _: None)  # as moto has some of its own
    assert unhandled_exceptions(raised(RuntimeError("broken")), TASK, CONTEXT) is False
    assert "A failure could not be reported (NoCredentialsError)" in caplog.text


@sqlite_only
def test_with_wrong_settings_there_is_a_line_in_the_log(
    on_lambda: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PORT", "none")
    assert unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT) is True
    assert "A failure could not be reported: PORT must be a port number" in caplog.text


@sqlite_only
def test_an_sns_that_does_not_answer_is_not_waited_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for name, value in environment(settings, **ON_LAMBDA).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert sns.REPORT_TIMEOUT_SECONDS == 2
        monkeypatch.setattr(sns, "REPORT_TIMEOUT_SECONDS", 0.2)
        began = time.perf_counter()
        assert unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT) is True
        assert time.perf_counter() - began < 1.5
    assert "(ReadTimeoutError)" in caplog.text


# ---- a storm


@sqlite_only
def test_a_storm_is_one_report_a_minute_that_counts_the_others(on_lambda: Settings, clock: FakeClock) -> None:
    def storm() -> None:
        for _ in range(10):
            unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT)
            clock.advance(seconds=5.9)

    storm()
    assert len(reports()) == 1
    assert "Kept back" not in reports()[0]
    clock.advance(seconds=1)
    storm()
    assert len(reports()) == 2
    assert "Kept back: 9 more like it since the last report, in this container" in reports()[1]


@sqlite_only
def test_a_storm_of_many_threads_is_one_report(on_lambda: Settings, clock: FakeClock) -> None:
    with ThreadPoolExecutor(16) as threads:
        errors = [raised(RuntimeError("broken")) for _ in range(64)]
        list(threads.map(lambda error: unhandled_exceptions(error, REQUEST, CONTEXT), errors))
    assert len(reports()) == 1
    clock.advance(minutes=1)
    unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT)
    assert "Kept back: 63 more" in reports()[1]


@sqlite_only
def test_another_failure_is_reported_at_once(on_lambda: Settings) -> None:
    unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT)
    unhandled_exceptions(raised(ValueError("broken")), REQUEST, CONTEXT)
    try:
        raise RuntimeError("broken")
    except RuntimeError as elsewhere:
        unhandled_exceptions(elsewhere, REQUEST, CONTEXT)
    assert len(reports()) == 3


@sqlite_only
def test_after_a_report_that_sns_refused_the_next_one_may_be(on_lambda: Settings, sns_calls: SnsCalls) -> None:
    sns_calls.becomes = lambda number, _: "throttled" if number < 2 else None
    for _ in range(3):
        unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT)
    (message,) = reports()
    assert "Kept back: 2 more" in message


@pytest.mark.parametrize("fault", ["timed out", "answer lost"])
@sqlite_only
def test_while_sns_does_not_answer_one_a_minute_waits_for_it_and_no_report_goes_twice(
    on_lambda: Settings, sns_calls: SnsCalls, clock: FakeClock, fault: Fault
) -> None:
    sns_calls.becomes = lambda number, operation: fault if operation == "Publish" and number < 2 else None
    for _ in range(3):
        unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT)
    assert sns_calls.made == ["CreateTopic", "Publish"]
    clock.advance(minutes=1)
    unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT)
    assert "Kept back: 3 more" in reports()[-1]


@sqlite_only
def test_one_failure_does_not_silence_another_that_comes_from_the_same_place(on_lambda: Settings) -> None:
    error = raised(RuntimeError("refused"))
    unhandled_exceptions(error, TASK, CONTEXT)
    unhandled_exceptions(error, SCHEDULED, CONTEXT)
    unhandled_exceptions(error, SCHEDULED, CONTEXT)
    assert len(reports()) == 2


@sqlite_only
def test_a_clock_that_is_put_right_silences_nothing(on_lambda: Settings, clock: FakeClock) -> None:
    clock.advance(days=400)
    unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT)
    clock.advance(days=-400)
    unhandled_exceptions(raised(RuntimeError("broken")), REQUEST, CONTEXT)
    assert len(reports()) == 2


def test_containers_that_share_a_database_send_one_report_a_minute_together(shared: Settings, clock: FakeClock) -> None:
    one, other = ErrorReporter(shared, clock), ErrorReporter(shared, clock)
    broken = failure(RuntimeError("broken"))
    one.send(broken)
    clock.advance(seconds=30)
    other.send(broken)
    other.send(broken)
    assert len(reports()) == 1
    (row,) = RateLimitLog.select()
    assert "RuntimeError" not in row.key
    clock.advance(seconds=30)
    other.send(broken)
    assert len(reports()) == 2, "the minute is that of all"
    assert "Kept back: 2 more" in reports()[1]


@sqlite_only
def test_containers_that_share_nothing_report_each_for_itself(on_lambda: Settings, clock: FakeClock) -> None:
    for _ in range(2):
        ErrorReporter(on_lambda, clock).send(failure(RuntimeError("broken")))
        assert RateLimitLog.select().count() == 0
    assert len(reports()) == 2


def test_what_one_container_could_not_send_another_one_may(
    shared: Settings, clock: FakeClock, sns_calls: SnsCalls
) -> None:
    sns_calls.becomes = lambda number, _: "forbidden" if number == 0 else None
    broken = failure(RuntimeError("broken"))
    with pytest.raises(GatewayMisconfigured):
        ErrorReporter(shared, clock).send(broken)
    ErrorReporter(shared, clock).send(broken)
    assert len(reports()) == 1


def test_what_one_container_may_have_sent_no_other_one_sends(
    shared: Settings, clock: FakeClock, sns_calls: SnsCalls
) -> None:
    sns_calls.becomes = lambda _, operation: "answer lost" if operation == "Publish" else None
    broken = failure(RuntimeError("broken"))
    with pytest.raises(ReadTimeoutError):
        ErrorReporter(shared, clock).send(broken)
    sns_calls.becomes = lambda _number, _operation: None
    ErrorReporter(shared, clock).send(broken)
    assert len(reports()) == 1


def test_threads_of_many_containers_send_one_report(shared: Settings, clock: FakeClock) -> None:
    broken = failure(RuntimeError("broken"))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: ErrorReporter(shared, clock).send(broken), range(8)))
    assert len(reports()) == 1


def test_where_the_database_fails_memory_decides(
    shared: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("away")

    asked: list[object] = []
    monkeypatch.setattr(RateLimits, "reports", away)
    mine = ErrorReporter(shared, clock)
    for _ in range(3):
        mine.send(failure(RuntimeError("broken")))
    assert len(reports()) == 1
    assert "Whether another container reported it is not known (OperationalError)" in caplog.text
    monkeypatch.setattr(RateLimits, "reports", lambda *asks: asked.append(asks))
    mine.send(failure(OperationalError("the database did not answer")))
    assert len(reports()) == 2
    assert asked == [], "what just failed is not asked"


@sqlite_only
def test_a_server_that_does_not_answer_holds_no_report_up(settings: Settings, aws: None, clock: FakeClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/quotes?connect_timeout=2"
        away = read_settings({**environment(settings, **ON_LAMBDA), "DATABASE_URL": url})
        began = time.perf_counter()
        ErrorReporter(away, clock).send(failure(RuntimeError("broken")))
        assert time.perf_counter() - began < 4
    assert len(reports()) == 1


# ---- where reports come from


def client_of(settings: Settings, clock: FakeClock) -> TestClient:
    return TestClient(create_app(settings, now=clock))


@sqlite_only
def test_what_breaks_in_a_route_is_reported_by_its_template(
    on_lambda: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(on_lambda, clock)
    failing(monkeypatch, RuntimeError(f"broken for {MIRA}"))
    environ = {"lambda.event": REQUEST, "lambda.context": CONTEXT}
    answer = client.simulate_get("/random", query_string="author=Jane", headers={"X-Request-ID": "abc"}, extras=environ)
    assert (answer.status_code, answer.json["detail"]) == (
        500,
        "The fault is ours, and it was noted. Try again in a while.",
    )
    (message,) = reports()
    assert message.startswith("RuntimeError: broken for +91••••••0001\n")
    assert "\nWhere: GET /random, in quoteapi." in message
    assert f"\nRequest: Lambda {LAMBDA_ID}, API Gateway {GATEWAY_ID}, in the log abc\n" in message
    assert "Jane" not in message
    client.simulate_get("/random")
    assert len(reports()) == 1


@sqlite_only
def test_the_id_that_a_client_gave_may_be_a_code_and_does_not_get_out(
    on_lambda: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(on_lambda, clock)
    failing(monkeypatch, RuntimeError("broken"))
    client.simulate_get("/random", headers={"X-Request-ID": "otp=x2718281"})
    assert "271828" not in reports()[0]


@sqlite_only
def test_a_route_that_breaks_answers_500_also_where_sns_does_not_answer(
    on_lambda: Settings, clock: FakeClock, sns_calls: SnsCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    sns_calls.becomes = lambda _number, _operation: "timed out"
    client = client_of(on_lambda, clock)
    failing(monkeypatch, RuntimeError("broken"))
    assert client.simulate_get("/random").status_code == 500
    assert sns_calls.made == ["CreateTopic"]


@sqlite_only
def test_on_a_laptop_a_route_that_breaks_is_in_the_log_alone(
    settings: Settings,
    aws: None,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = client_of(settings, clock)
    failing(monkeypatch, RuntimeError("broken"))
    assert client.simulate_get("/random").status_code == 500
    assert backend().topics == {}
    assert "GET /random failed" in caplog.text


def test_a_scheduled_run_that_fails_is_reported_once_with_where_it_failed(
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


def test_a_reconciliation_that_has_to_be_tried_again_is_reported(
    on_lambda: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Settings, "has_shared_state", property(lambda _: True))
    reconciled = SimpleNamespace(failed=2)
    monkeypatch.setattr("quoteapi.subscriptions.topic_sync.TopicSync.reconcile", lambda *_: reconciled)
    with pytest.raises(RedactedError) as failed:
        schedulers.reconcile_subscriptions(SCHEDULED, CONTEXT)
    unhandled_exceptions(failed.value, SCHEDULED, CONTEXT)
    assert reports()[0].startswith("quoteapi.aws.schedulers.ReconcileIncomplete: 2 failed")


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, object], Any]:
    """Handle events as Zappa does on Lambda, with an app and our exception handler."""
    from zappa import handler  # noqa: PLC0415 it is slow to load
    from zappa.middleware import ZappaWSGIMiddleware  # noqa: PLC0415

    def broken(env: object, start_response: object) -> None:
        raise RuntimeError("the app itself broke")

    ours = object.__new__(handler.LambdaHandler)
    ours.settings = SimpleNamespace(
        DEBUG=False,
        EXCEPTION_HANDLER="quoteapi.aws.error_reports.unhandled_exceptions",
        API_STAGE="dev",
        DOMAIN=None,
        BINARY_SUPPORT=False,
        CONTEXT_HEADER_MAPPINGS={},
        AUTHORIZER_FUNCTION=None,
    )
    ours.wsgi_app = ZappaWSGIMiddleware(broken)
    monkeypatch.setattr(handler, "global_handler", ours)
    return handler.LambdaHandler.lambda_handler  # type: ignore[no-any-return]


@pytest.mark.parametrize("event", [REQUEST, REQUEST_V2])
@sqlite_only
def test_an_app_that_itself_breaks_is_500_and_reported_once(
    on_lambda: Settings, handled: Callable[[Any, object], Any], event: object, caplog: pytest.LogCaptureFixture
) -> None:
    assert handled(event, CONTEXT)["statusCode"] == 500
    (message,) = reports()
    assert message.startswith("RuntimeError: the app itself broke\n")
    assert "mira" not in message
    assert "Traceback (most recent call last)" in caplog.text, "or nobody saw what was kept back"


def test_zappa_lets_a_failed_run_out_after_it_was_reported_once(
    on_lambda: Settings, handled: Callable[[Any, object], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: QuoteService, day: object) -> None:
        raise TypeError("broken")

    monkeypatch.setattr(QuoteService, "quote_of_date", fail)
    rule = f"{SCHEDULED['resources'][0].rpartition('-')[0]}-quoteapi.aws.schedulers.set_quote_of_the_day"  # type: ignore[index]
    with pytest.raises(RedactedError):
        handled({**SCHEDULED, "resources": [rule]}, CONTEXT)
    assert len(reports()) == 1


@sqlite_only
def test_zappa_lets_unauthorized_out_unreported(on_lambda: Settings, handled: Callable[[Any, object], Any]) -> None:
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        handled(AUTHORIZER, CONTEXT)
    assert backend().topics == {}


def test_a_cold_start_loads_nothing_of_it(settings: Settings) -> None:
    code = (
        "import sys; from quoteapi.app import create_app; from quoteapi.settings import read_settings;"
        f"create_app(read_settings({environment(settings, **ON_LAMBDA)!r}));"
        "assert not {'boto3', 'quoteapi.aws.error_reports', 'quoteapi.sms.sns'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@sqlite_only
def test_what_sns_answers_to_a_report_is_an_error_without_its_words(on_lambda: Settings, sns_calls: SnsCalls) -> None:
    sns_calls.becomes = lambda _number, _operation: "error 500"
    with pytest.raises(OutcomeUnknown, match="SNS answered 500 InternalError to CreateTopic"):
        sns.publish_report(on_lambda, "UnhandledException", "subject", "message")
