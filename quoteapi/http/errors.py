"""Errors as HTTP responses: maps domain exceptions to statuses and problem documents (RFC 9457)."""

import json
import logging
from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Any

import falcon

from quoteapi.http.html import prefers_html
from quoteapi.http.rate_limit import set_rate_limit_headers
from quoteapi.http.subscription_form import respond_with_problem_page
from quoteapi.quotes.errors import FutureDate, QuoteNotFound
from quoteapi.settings import Settings
from quoteapi.storage.database import PROGRAMMING_ERRORS, STORAGE_ERRORS
from quoteapi.subscriptions import errors

PROBLEM_JSON = "application/problem+json"
RETRY_SECONDS = 30
SECONDS_PER_MINUTE = 60
SECONDS_PER_HOUR = 3_600
MAX_SECONDS, MAX_MINUTES = 60, 120
"""Up to these, durations are given in seconds and in minutes, else in hours."""

Report = Callable[[Settings, falcon.Request, Exception], None]
"""Reports an unhandled exception to the operator."""
log = logging.getLogger(__name__)


def format_duration(seconds: int) -> str:
    """Return a duration in words, rounded up. The page's `formatDuration` does the same."""
    if seconds <= MAX_SECONDS:
        count, unit = seconds, "second"
    elif seconds <= MAX_MINUTES * SECONDS_PER_MINUTE:
        count, unit = ceil(seconds / SECONDS_PER_MINUTE), "minute"
    else:
        count, unit = ceil(seconds / SECONDS_PER_HOUR), "hour"
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


class Problem(falcon.HTTPError):
    """An HTTP error with a detail for programs, and optionally one for pages; `retry_after` in seconds."""

    def __init__(
        self, status: str, title: str, detail: str, page_detail: str | None = None, retry_after: int | None = None
    ) -> None:
        headers = {"Retry-After": str(retry_after)} if retry_after is not None else None
        super().__init__(status, title=title, description=detail, headers=headers)
        self.page_detail = page_detail or detail


_bad_request = partial(Problem, falcon.HTTP_400)
_sms_unavailable = partial(Problem, falcon.HTTP_503, "SMS not available", retry_after=2 * RETRY_SECONDS)


def _wrong_otp(error: errors.WrongOtp) -> Problem:
    tries = f"{error.tries_left or 'No'} {'try' if error.tries_left == 1 else 'tries'} left."
    locked = "" if error.tries_left else f" Request a new code in {format_duration(error.lock_seconds)}."
    return _bad_request("Wrong OTP", f"Wrong code. {tries}{locked}")


def _no_valid_otp(title: str, reason: str) -> Problem:
    return _bad_request(
        title, f"{reason} To get a new code, send mobile without otp.", f"{reason} Select “Send another code”."
    )


def _rate_limited(error: errors.RateLimited) -> Problem:
    detail = f"{error} Try again in {format_duration(error.retry_after)}."
    return Problem(falcon.HTTP_429, "Too many requests", detail, retry_after=error.retry_after)


def _subscriber_limit_reached(error: errors.SubscriberLimitReached) -> Problem:
    what_now, seconds = "No code was sent. Try again another day.", SECONDS_PER_HOUR
    if error.otp_is_valid:
        what_now = "Your code is right and stays valid until it expires. Send it again in a minute."
        seconds = SECONDS_PER_MINUTE
    detail = f"The service has as many subscribers as it can serve. {what_now}"
    return Problem(falcon.HTTP_503, "Service full", detail, retry_after=seconds)


def _database_unavailable(_: Exception) -> Problem:
    detail = f"The service cannot use its database. Try again in {format_duration(RETRY_SECONDS)}."
    for_programs = f"{detail} For the cause, see the log of the service."
    return Problem(falcon.HTTP_503, "Database not available", for_programs, detail, RETRY_SECONDS)


PROBLEMS: dict[type[Exception], Callable[[Any], Problem]] = {
    FutureDate: lambda error: _bad_request(
        "Invalid date",
        f"{error} is in the future. Send a date that has begun somewhere. A date begins first in UTC+14, at 10:00 UTC"
        " on the day before.",
    ),
    QuoteNotFound: lambda error: Problem(falcon.HTTP_404, "No quote found", str(error)),
    errors.RateLimited: _rate_limited,
    errors.CountryNotServed: lambda error: _bad_request("Country not served", str(error)),
    errors.SubscriberLimitReached: _subscriber_limit_reached,
    errors.OptedOut: lambda _: Problem(
        falcon.HTTP_409,
        "Number replied STOP",
        "This number replied STOP, so it gets no SMS. Reply START to the same sender, then subscribe again. If that"
        " does not help, ask the operator of this service.",
    ),
    errors.WrongOtp: _wrong_otp,
    errors.OtpExpired: lambda _: _no_valid_otp("OTP expired", "The code expired."),
    errors.NoOtpRequested: lambda _: _no_valid_otp(
        "No OTP requested", "This number has no code: none was requested, or it was used."
    ),
    errors.NoSharedState: lambda _: _sms_unavailable(
        "Subscribing is not possible yet: this service has no shared database. The operator must set"
        " SMS_ALLOWED_REGIONS and SECRET_KEY, or DATABASE_URL."
    ),
    errors.SmsDisabled: lambda _: _sms_unavailable("The operator of this service switched SMS off. Try again later."),
    errors.OtpNotSent: lambda _: _sms_unavailable(
        "The SMS was not sent, or it is late. If it does not arrive within a minute, try again."
    ),
    **dict.fromkeys(STORAGE_ERRORS, _database_unavailable),
}
"""For each type of domain exception, a function that returns the HTTP error for it and its subclasses."""


def add_error_handlers(app: "falcon.App[falcon.Request, falcon.Response]", settings: Settings, report: Report) -> None:
    """Add handlers that send errors as a problem document or page and, on Lambda, report unexpected ones."""

    def handle_unexpected(req: falcon.Request, resp: falcon.Response, error: Exception, params: object) -> None:
        log.error("%s %s failed", req.method, req.uri_template, exc_info=error)
        if settings.on_lambda:  # elsewhere the operator sees the log
            report(settings, req, error)
        detail = "Something went wrong on our side, and it was logged. Try again later."
        raise falcon.HTTPInternalServerError(description=detail) from error

    app.set_error_serializer(partial(_serialize, settings))
    app.add_error_handler(PROBLEMS, _raise_problem)
    app.add_error_handler((*PROGRAMMING_ERRORS, Exception), handle_unexpected)


def _serialize(settings: Settings, req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError) -> None:
    """Write an error as a problem document or, if the client prefers HTML, as a page."""
    detail = error.description
    page_detail = error.page_detail if isinstance(error, Problem) else detail
    if isinstance(error, falcon.HTTPRouteNotFound):
        page_detail = "This page does not exist."
        detail = "Nothing exists at this URL. Try GET /daily, /random or /quotes. For all endpoints, see /docs."
    elif isinstance(error, falcon.HTTPMethodNotAllowed):
        detail = page_detail = f"{req.method} is not allowed here. Use one of: {resp.get_header('Allow')}."
    title, code = str(error.title or error.status), f"{error.status_code} "
    if title.startswith(code):  # Falcon's own, such as "404 Not Found"
        title = title.removeprefix(code).capitalize()
    if prefers_html(req, resp):
        respond_with_problem_page(req, resp, settings, title, page_detail)
        return
    document = {"title": title, "status": error.status_code} | ({"detail": detail} if detail is not None else {})
    resp.data = f"{json.dumps(document, ensure_ascii=False)}\n".encode()
    resp.content_type = PROBLEM_JSON
    resp.set_header("Cache-Control", "no-store")


def _raise_problem(req: falcon.Request, resp: falcon.Response, error: Exception, params: object) -> None:
    problem = next(PROBLEMS[kind](error) for kind in type(error).__mro__ if kind in PROBLEMS)
    set_rate_limit_headers(resp, getattr(error, "rate_limits", ()))
    if isinstance(error, (errors.OtpNotSent, *STORAGE_ERRORS)):  # other problems are the client's, or intended
        log.error("%s: %s", problem.title, str(error) or error.__cause__)
    raise problem from error
