"""Failures that nobody foresaw, reported to whoever runs the service: a message on an Amazon SNS topic.

Loaded with the first failure, on Lambda only. What is reported has no number, code, key, query, header or body in it,
and reporting never fails, whatever goes wrong with it.
"""

import logging
import os
import re
import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from peewee import InterfaceError, OperationalError

from quoteapi import clock
from quoteapi.aws.job_context import RedactedError
from quoteapi.observability import logs
from quoteapi.observability.redaction import CODE, mask_numbers, redact, truncate_middle
from quoteapi.settings import Settings, SettingsError, load_settings
from quoteapi.sms.gateway import GatewayError
from quoteapi.storage import database
from quoteapi.subscriptions.errors import RateLimited
from quoteapi.subscriptions.hmac_digest import load_hmac_digest
from quoteapi.subscriptions.rate_limits import REPORTS, RateLimits
from quoteapi.subscriptions.sliding_window import CountedEvent

TOPIC = "UnhandledException"
ONCE_IN = timedelta(seconds=REPORTS.seconds)
DATABASE_SECONDS = 1
"""How long a report waits for a statement that asks whether another container made it."""
TRACING = "quoteapi.aws.xray"
"""Stands around each call out, and is never at fault."""
ANSWERED = "Who asked was answered 500."
UNAUTHORIZED = ("Unauthorized",)
"""What an authorizer raises where the client's token is wrong, in the words that API Gateway wants."""
MOST_SUBJECT = 99
"""In characters of ASCII."""
MOST_LINE = 250, 250
"""In bytes, like what follows: of the begin and of the end of what may be long."""
MOST_MESSAGE = 4_000, 4_000
"""SNS takes 256 kB, and bills each 64; nobody reads that."""
_log = logging.getLogger(__name__)


class ErrorReport(NamedTuple):
    """What failed, where, and in answer to what."""

    error: BaseException
    where: str
    requests: str
    outcome: str
    """What becomes of the work, for whoever reads the report."""


def unhandled_exceptions(e: BaseException, event: object, context: object) -> bool:
    """Report what got out of everything else; Zappa calls this, as its `exception_handler`.

    Answer True for an HTTP request, whose answer is Zappa's 500. Answer False for a task, a scheduled run, an
    authorizer and anything else: Zappa then lets the error out, and Lambda tries again. Never raises.
    """
    with _swallowed():
        if e.args != UNAUTHORIZED or _text(event, "type") != "TOKEN":
            settings = load_settings(os.environ)
            failure = ErrorReport(_original(e), _where(event), _ids(event, context), _outcome(event))
            if _is_http(event):  # of which Zappa logs no traceback
                _log.error("%s failed\n%s", failure.where, redact(settings, _traceback(e)))
            _report(settings, failure)
    return _is_http(event)


def report_failed_request(settings: Settings, error: BaseException, route: str, event: object, context: object) -> None:
    """Report a request that the app answered with 500, by its method and route. Never raises."""
    with _swallowed():
        requests = f"{_ids(event, context)}, in the log {_id(logs.request_id.get())}"
        _report(settings, ErrorReport(error, route, requests, ANSWERED))


@contextmanager
def _swallowed() -> Iterator[None]:
    try:
        yield
    except (GatewayError, SettingsError) as error:  # which have no secret in their words
        _log.error("A failure could not be reported: %s", error)
    except Exception as error:  # noqa: BLE001 there is nobody left to tell
        _log.error("A failure could not be reported (%s)", type(error).__name__)


def _original(error: BaseException) -> BaseException:
    """Answer what made work fail: `RedactedError` says it in a line, for the eyes of all."""
    if isinstance(error, RedactedError) and error.__context__ is not None:
        return error.__context__
    return error


class ErrorReporter:
    """Sends reports, and of one failure no more than one a minute.

    One failure is a type of error, at one place in this package, in one kind of work.
    """

    def __init__(self, settings: Settings, now: clock.Clock) -> None:
        self._settings = settings
        self._now = now
        self._lock = threading.Lock()
        # There are as many keys as places that fail, and kinds of work.
        self._next: dict[str, datetime] = {}
        self._kept_back: Counter[str] = Counter()

    def send(self, failure: ErrorReport) -> None:
        """Report a failure, unless it was a moment ago. Raises where SNS does not take the report."""
        kind = type(failure.error)
        key = f"{kind.__module__}.{kind.__qualname__} {_place(failure.error)} {failure.where}"
        kept_back = self._claim(key)
        if kept_back is None:
            return
        try:
            self._send(failure, key, kept_back)
        except RateLimited as error:  # another container did
            self._keep_back(key, kept_back + 1, self._now() + timedelta(seconds=error.retry_after))
        except BaseException as error:
            # Where SNS refused it, the next one may go out; else nobody knows, and nobody should wait for it again.
            until = self._now() if isinstance(error, GatewayError) else self._now() + ONCE_IN
            self._keep_back(key, kept_back + 1, until)
            raise

    def _claim(self, key: str) -> int | None:
        """Take the turn of this process. Answer how many were kept back before it; None where it has to wait."""
        with self._lock:
            now = self._now()
            # What lies further ahead is from a clock that was wrong.
            if now < self._next.get(key, now) <= now + ONCE_IN:
                self._kept_back[key] += 1
                return None
            self._next[key] = now + ONCE_IN
            return self._kept_back.pop(key, 0)

    def _keep_back(self, key: str, count: int, until: datetime) -> None:
        with self._lock:
            self._kept_back[key] += count
            self._next[key] = until

    def _send(self, failure: ErrorReport, key: str, kept_back: int) -> None:
        from quoteapi.sms import sns  # noqa: PLC0415 what is kept back needs no boto3

        subject, message = format_report(failure, self._settings, self._now(), kept_back)
        taken = self._claim_for_all(failure.error, key)
        try:
            sns.publish_report(self._settings, TOPIC, subject, message)
        except GatewayError:
            if taken is not None:
                with suppress(Exception), self._database():
                    taken.undo()
            raise

    def _claim_for_all(self, failed: BaseException, key: str) -> CountedEvent | None:
        """Take the turn of all containers, where they share a database that answers. Raises `RateLimited`."""
        if not self._settings.has_shared_state or isinstance(failed, OperationalError | InterfaceError):
            return None
        try:
            with self._database():
                return RateLimits(self._settings, load_hmac_digest(self._settings), self._now).reports(key)
        except RateLimited:
            raise
        except Exception as error:  # noqa: BLE001 rather two reports than none
            _log.warning("Whether another container reported it is not known (%s)", type(error).__name__)
            return None

    @contextmanager
    def _database(self) -> Iterator[None]:
        with database.connect(self._settings).connection_context(), database.statement_timeout(DATABASE_SECONDS):
            yield


@lru_cache(maxsize=1)
def _put_together(settings: Settings, now: clock.Clock) -> ErrorReporter:
    return ErrorReporter(settings, now)


_one_at_a_time = threading.Lock()


def _report(settings: Settings, failure: ErrorReport) -> None:
    if settings.on_lambda:  # elsewhere who runs it sees the log
        with _one_at_a_time:
            reports = _put_together(settings, clock.now)
        reports.send(failure)


def format_report(failure: ErrorReport, settings: Settings, now: datetime, kept_back: int = 0) -> tuple[str, str]:
    """Write a report: its subject, in at most 99 characters of ASCII, and its message, in about 8 kB of UTF-8."""
    error, stage = failure.error, settings.stage or "?"
    where = _line(settings, failure.where)
    lines = [
        _line(settings, "".join(traceback.TracebackException.from_exception(error).format_exception_only())),
        "",
        f"Where: {where}, in {_line(settings, _place(error))}",
        f"Stage: {stage} (function {settings.lambda_function})",
        f"Time: {now:%Y-%m-%dT%H:%M:%SZ}",
        f"Request: {failure.requests}",
        f"Kept back: {kept_back} more like it since the last report, in this container" if kept_back else "",
        f"{failure.outcome} `zappa tail {stage} --since 1h` shows the log.".lstrip(),
        "",
        redact(settings, _traceback(error)),
    ]
    subject = f"QuoteAPI {stage}: {type(error).__name__} in {where}"
    return re.sub(r"[^ -~]", "*", subject)[:MOST_SUBJECT], truncate_middle("\n".join(lines), *MOST_MESSAGE)


def _line(settings: Settings, text: str) -> str:
    return truncate_middle(redact(settings, text), *MOST_LINE).strip()


def _traceback(error: BaseException) -> str:
    return "".join(traceback.TracebackException.from_exception(error).format())


def _place(error: BaseException) -> str:
    """Answer the innermost place in this package, or else anywhere, as in `quoteapi.quotes:120 Quotes.random`."""
    place = "no place of ours"
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__"))
        is_ours = module.startswith("quoteapi.") and module != TRACING
        if is_ours or not place.startswith("quoteapi."):
            place = f"{module}:{line} {frame.f_code.co_qualname}"
    return place


def _text(event: Any, *names: str | int) -> str:  # noqa: ANN401 it is what somebody sent
    """Answer the text that an event has by these names, one within the other; none where it has none."""
    for name in names:
        try:
            event = event[name]
        except (LookupError, TypeError):
            return ""
    return event if isinstance(event, str) else ""


def _is_http(event: object) -> bool:
    return isinstance(event, dict) and (event.get("version") == "2.0" or bool(event.get("httpMethod")))


def _where(event: object) -> str:
    """Answer the route, the task or the function that an event is for; never the path that somebody asked for."""
    if _is_http(event):
        method = _text(event, "httpMethod") or _text(event, "requestContext", "http", "method")
        return f"{method} {_text(event, 'resource') or _text(event, 'routeKey')}"
    if _text(event, "detail-type"):  # with a rule that Zappa named: …:rule/…-name-module.function
        return f"schedule {_text(event, 'resources', 0).rpartition('-')[2]}"
    if task := _text(event, "task_path") or _text(event, "command"):
        return f"task {task}"
    return "the authorizer" if _text(event, "type") == "TOKEN" else "an event of Lambda"


def _outcome(event: object) -> str:
    if _is_http(event):
        return ANSWERED
    if _text(event, "task_path") or _text(event, "detail-type"):
        return "Lambda tries it twice more, and then hands it to the dead-letter queue, where there is one."
    return ""


_UUID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}")


def _ids(event: object, context: object) -> str:
    """Answer by what a request is found in the logs of Lambda and of API Gateway."""
    gateway = _text(event, "requestContext", "requestId")
    ids = f"Lambda {_id(getattr(context, 'aws_request_id', 'unknown'))}"
    return f"{ids}, API Gateway {_id(gateway)}" if gateway else ids


def _id(value: object) -> str:
    """Answer an id as it is where AWS or we made it; else it may be a client's, and what not."""
    text = str(value)[:128]
    return text if _UUID.fullmatch(text) else CODE.sub("•", mask_numbers(text))
