"""Error reports: unhandled exceptions, redacted and published to an Amazon SNS topic for the operator.

The module is imported on the first error, and only on Lambda. A report contains no phone number, OTP, secret, query
string, header or body, and sending one never raises.
"""

import logging
import re
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from quoteapi import clock
from quoteapi.aws.job_context import RedactedError
from quoteapi.observability.redaction import OTP_PATTERN, mask_phone_numbers, redact, truncate_middle
from quoteapi.observability.request_log import request_id
from quoteapi.settings import Settings, SettingsError, load_settings
from quoteapi.sms.gateway import GatewayError
from quoteapi.sms.sns import publish_error_report

TOPIC = "UnhandledException"
REPORT_INTERVAL = timedelta(minutes=1)
"""Each Lambda container sends at most one report of the same error in this time."""
TRACING_MODULE = "quoteapi.aws.xray"
"""Its functions wrap each outbound call, so they are left out when the place of an error is found."""
HTTP_OUTCOME = "The client got a response with status 500."
ASYNC_OUTCOME = "Lambda retries it twice, then sends it to the dead-letter queue, if there is one."
MAX_SUBJECT_LENGTH = 99
"""SNS takes at most 100 characters of ASCII."""
MAX_LINE_BYTES = 250, 250
"""The bytes kept at the start and at the end of a longer line; `MAX_MESSAGE_BYTES` likewise."""
MAX_MESSAGE_BYTES = 4_000, 4_000
_UUID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}")
_log = logging.getLogger(__name__)


class ErrorReport(NamedTuple):
    """An unhandled exception, the operation (route, task or schedule) that raised it, and its outcome."""

    error: BaseException
    operation: str
    request_ids: str
    outcome: str


def unhandled_exceptions(e: BaseException, event: object, context: object) -> bool:
    """Report an exception that reached Zappa, which calls this as its `exception_handler`. Never raises.

    Returns whether Zappa should swallow the exception: True for an HTTP request, which then gets a 500. False for a
    task, a scheduled run, an authorizer and any other event: Lambda sees the failure and retries.
    """
    with _log_errors():
        if e.args != ("Unauthorized",) or _text(event, "type") != "TOKEN":  # else the authorizer rejected a token
            settings = load_settings()
            error = e.__context__ or e if isinstance(e, RedactedError) else e
            operation, outcome = _describe(event)
            if _is_http(event):  # Zappa does not log its traceback
                _log.error("%s failed\n%s", operation, redact(settings, "".join(traceback.format_exception(e))))
            _reporter.send(settings, ErrorReport(error, operation, _request_ids(event, context), outcome))
    return _is_http(event)


def report_failed_request(settings: Settings, error: BaseException, route: str, event: object, context: object) -> None:
    """Report an exception of a request to which the app responds with 500. Never raises."""
    with _log_errors():
        request_ids = f"{_request_ids(event, context)}, in the log {_redact_id(request_id.get())}"
        _reporter.send(settings, ErrorReport(error, route, request_ids, HTTP_OUTCOME))


@contextmanager
def _log_errors() -> Iterator[None]:
    """Log exceptions; texts only of `GatewayError` and `SettingsError`, as others may contain secrets."""
    try:
        yield
    except (GatewayError, SettingsError) as error:
        _log.error("Error report not sent: %s", error)
    except Exception as error:  # noqa: BLE001 no caller could handle it
        _log.error("Error report not sent (%s)", type(error).__name__)


class ErrorReporter:
    """Sends error reports, at most one in `REPORT_INTERVAL` of each error.

    Exceptions are the same error if they have the same type, place in this package and operation.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next_at: dict[str, datetime] = {}
        self._suppressed: Counter[str] = Counter()

    def send(self, settings: Settings, report: ErrorReport) -> None:
        """Send a report, or count it if the error was just reported. Raises `GatewayError`, errors of boto3."""
        if not settings.on_lambda:
            return  # the operator reads the log
        kind, now = type(report.error), clock.now()
        key = f"{kind.__module__}.{kind.__qualname__} {_place(report.error)} {report.operation}"
        with self._lock:
            # A time further ahead than the interval comes from a clock that was wrong.
            if now < self._next_at.get(key, now) <= now + REPORT_INTERVAL:
                self._suppressed[key] += 1
                return
            self._next_at[key] = now + REPORT_INTERVAL
            suppressed = self._suppressed.pop(key, 0)
        try:
            publish_error_report(settings, TOPIC, *format_report(report, settings, now, suppressed))
        except BaseException as error:
            with self._lock:
                self._suppressed[key] += suppressed + 1
                if isinstance(error, GatewayError):  # SNS rejected it, without a timeout: the next one may be sent
                    self._next_at.pop(key, None)
            raise


_reporter = ErrorReporter()


def format_report(report: ErrorReport, settings: Settings, now: datetime, suppressed: int = 0) -> tuple[str, str]:
    """Return the subject (at most 99 ASCII characters) and the message (about 8 kB) of a report."""
    error, stage = report.error, settings.stage or "?"
    operation = _format_line(settings, report.operation)
    lines = [
        _format_line(settings, "".join(traceback.format_exception_only(error))),
        "",
        f"Where: {operation}, in {_format_line(settings, _place(error))}",
        f"Stage: {stage} (function {settings.lambda_function})",
        f"Time: {now:%Y-%m-%dT%H:%M:%SZ}",
        f"Request: {report.request_ids}",
        f"Not reported: {suppressed} more of this error since the last report, in this container" if suppressed else "",
        f"{report.outcome} To see the log, run `zappa tail {stage} --since 1h`.".lstrip(),
        "",
        redact(settings, "".join(traceback.format_exception(error))),
    ]
    subject = re.sub(r"[^ -~]", "*", f"QuoteAPI {stage}: {type(error).__name__} in {operation}")
    return subject[:MAX_SUBJECT_LENGTH], truncate_middle("\n".join(lines), *MAX_MESSAGE_BYTES)


def _format_line(settings: Settings, text: str) -> str:
    return truncate_middle(redact(settings, text), *MAX_LINE_BYTES).strip()


def _place(error: BaseException) -> str:
    """Return the innermost traceback frame in `quoteapi`, else in any module, as `module:line function`."""
    places = [
        f"{frame.f_globals.get('__name__')}:{line} {frame.f_code.co_qualname}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    ours = [place for place in places if place.startswith("quoteapi.") and not place.startswith(TRACING_MODULE)]
    return ["an unknown place", *places, *ours][-1]


def _text(event: Any, *path: str | int) -> str:  # noqa: ANN401 an event may have any shape
    """Return the text at a path of keys and indexes in an event, or an empty text."""
    for key in path:
        try:
            event = event[key]
        except (LookupError, TypeError):
            return ""
    return event if isinstance(event, str) else ""


def _is_http(event: object) -> bool:
    """Return whether an event is from API Gateway, in version 1.0 or 2.0 of its payload format."""
    return isinstance(event, dict) and (event.get("version") == "2.0" or bool(event.get("httpMethod")))


def _describe(event: object) -> tuple[str, str]:
    """Return operation and outcome of an event, as in `ErrorReport`; never a path, which is client input."""
    if _is_http(event):
        method = _text(event, "httpMethod") or _text(event, "requestContext", "http", "method")
        return f"{method} {_text(event, 'resource') or _text(event, 'routeKey')}", HTTP_OUTCOME
    if _text(event, "detail-type"):  # the name of Zappa's rule is …:rule/…-name-module.function
        return f"schedule {_text(event, 'resources', 0).rpartition('-')[2]}", ASYNC_OUTCOME
    if task := _text(event, "task_path"):
        return f"task {task}", ASYNC_OUTCOME
    if command := _text(event, "command"):  # of `zappa invoke`, which waits for it
        return f"task {command}", ""
    return ("the authorizer" if _text(event, "type") == "TOKEN" else "an event of Lambda"), ""


def _request_ids(event: object, context: object) -> str:
    """Return the ids by which to find a request in the logs of Lambda and of API Gateway."""
    api_gateway_id = _text(event, "requestContext", "requestId")
    ids = f"Lambda {_redact_id(getattr(context, 'aws_request_id', 'unknown'))}"
    return f"{ids}, API Gateway {_redact_id(api_gateway_id)}" if api_gateway_id else ids


def _redact_id(value: object) -> str:
    """Return an id, at most 128 characters; unless it is a UUID, mask phone numbers and OTPs in it."""
    text = str(value)[:128]
    return text if _UUID.fullmatch(text) else OTP_PATTERN.sub("•", mask_phone_numbers(text))
