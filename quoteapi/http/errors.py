"""Errors as HTTP answers: the one place where a domain's error becomes a status and a problem document (RFC 9457)."""

import json
import logging
import sqlite3
from collections.abc import Callable
from functools import partial

import falcon
from peewee import DatabaseError, InterfaceError

from quoteapi.http.html import prefers_html
from quoteapi.http.rate_limit import set_rate_limit_headers
from quoteapi.http.subscription_form import NEW_CODE, WHERE_QUOTES_ARE, respond_with_problem_page
from quoteapi.quotes.errors import FutureDate, QuoteNotFound
from quoteapi.settings import Settings
from quoteapi.storage.database import PROGRAMMING_ERRORS
from quoteapi.subscriptions.errors import (
    CountryNotServed,
    NoSharedState,
    OptedOut,
    OtpExpired,
    OtpNotSent,
    OtpRejected,
    RateLimited,
    SmsDisabled,
    WrongOtp,
)

PROBLEM_JSON = "application/problem+json"
RETRY_SECONDS = 30

Report = Callable[[Settings, falcon.Request, Exception], None]
"""Reports an unhandled exception to the operator."""
log = logging.getLogger(__name__)


def add_error_handlers(app: "falcon.App[falcon.Request, falcon.Response]", settings: Settings, report: Report) -> None:
    """Make every error of an app a problem document; on Lambda, report those that are faults of ours."""
    app.set_error_serializer(partial(_write, settings))
    app.add_error_handler(FutureDate, _date_to_come)
    app.add_error_handler(QuoteNotFound, _no_quote_found)
    app.add_error_handler(RateLimited, _too_many)
    app.add_error_handler(CountryNotServed, _region_not_served)
    app.add_error_handler(OptedOut, _replied_stop)
    app.add_error_handler(OtpRejected, _not_the_code)
    app.add_error_handler((NoSharedState, SmsDisabled, OtpNotSent), _no_sms)
    app.add_error_handler((DatabaseError, InterfaceError, sqlite3.Error), _database_away)
    unforeseen = partial(_unforeseen, settings, report)
    app.add_error_handler(PROGRAMMING_ERRORS, unforeseen)
    app.add_error_handler(Exception, unforeseen)


def _write(settings: Settings, req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError) -> None:
    """Write an error as the client would have it: as a problem document or, for people, as a page."""
    detail = error.description
    if isinstance(error, falcon.HTTPRouteNotFound):
        detail = f"Nothing is here.{WHERE_QUOTES_ARE}"
    elif isinstance(error, falcon.HTTPMethodNotAllowed):
        detail = f"{req.method} does not work here. Send one of: {resp.get_header('Allow')}."
    # Falcon's own titles repeat the number, as in "404 Not Found".
    title = str(error.title or error.status).removeprefix(f"{error.status_code} ")
    if prefers_html(req, resp):
        respond_with_problem_page(req, resp, settings, title, detail)
        return
    document: dict[str, object] = {"title": title, "status": error.status_code}
    if detail is not None:
        document["detail"] = detail
    resp.data = f"{json.dumps(document, ensure_ascii=False)}\n".encode()
    resp.content_type = PROBLEM_JSON
    resp.set_header("Cache-Control", "no-store")


def _date_to_come(req: falcon.Request, resp: falcon.Response, error: FutureDate, params: object) -> None:
    raise falcon.HTTPBadRequest(
        title="Invalid date",
        description=f"The quote of {error} is not decided yet. Send a date up to today; days begin at midnight UTC.",
    ) from error


def _no_quote_found(req: falcon.Request, resp: falcon.Response, error: QuoteNotFound, params: object) -> None:
    raise falcon.HTTPNotFound(title="No quote found", description=str(error)) from error


def _too_many(req: falcon.Request, resp: falcon.Response, error: RateLimited, params: object) -> None:
    set_rate_limit_headers(resp, error.rate_limits)
    minutes = -(-error.retry_after // 60)
    wait = f"{error.retry_after} seconds" if minutes == 1 else f"{minutes} minutes"
    raise falcon.HTTPTooManyRequests(
        title="Too many requests", description=f"{error} Try again in {wait}.", retry_after=error.retry_after
    ) from error


def _region_not_served(req: falcon.Request, resp: falcon.Response, error: CountryNotServed, params: object) -> None:
    raise falcon.HTTPBadRequest(title="Country not served", description=str(error)) from error


def _replied_stop(req: falcon.Request, resp: falcon.Response, error: OptedOut, params: object) -> None:
    set_rate_limit_headers(resp, error.rate_limits)
    raise falcon.HTTPConflict(
        title="Number replied STOP",
        description=(
            "This number replied STOP to an SMS, so none reaches it any more. To come back, reply START to the same"
            " sender; where that does not help, ask whoever runs this service to let the number back in. Then subscribe"
            " again."
        ),
    ) from error


def _not_the_code(req: falcon.Request, resp: falcon.Response, error: OtpRejected, params: object) -> None:
    set_rate_limit_headers(resp, error.rate_limits)
    if isinstance(error, WrongOtp):
        tries = f"{error.tries_left} {'try' if error.tries_left == 1 else 'tries'} left"
        locked = "" if error.tries_left else ", and the number is locked for a while"
        title, detail = "Wrong OTP", f"This is not the code of the newest SMS; {tries}{locked}. No new SMS was sent."
    elif isinstance(error, OtpExpired):
        title, detail = "OTP expired", f"The code has expired. {NEW_CODE}"
    else:
        title, detail = "No OTP asked for", f"No code was asked for, or it was used. {NEW_CODE}"
    raise falcon.HTTPBadRequest(title=title, description=detail) from error


def _no_sms(req: falcon.Request, resp: falcon.Response, error: Exception, params: object) -> None:
    if isinstance(error, NoSharedState):
        detail = (
            "Subscribing is not possible here: this service has no database that its machines share, and an SQLite"
            " file is none. Its operator has to set DATABASE_URL."
        )
    elif isinstance(error, SmsDisabled):
        detail = "The operator of this service has switched SMS off for now."
    else:
        assert isinstance(error, OtpNotSent)
        set_rate_limit_headers(resp, error.rate_limits)
        detail = "The SMS could not be sent just now, or may be late. If none comes, try again in a minute."
        log.error("A code was not sent: %s", error.__cause__)
    raise falcon.HTTPServiceUnavailable(
        title="SMS not available", description=detail, retry_after=RETRY_SECONDS * 2
    ) from error


def _database_away(req: falcon.Request, resp: falcon.Response, error: Exception, params: object) -> None:
    log.error("The database did not answer: %s", error)
    raise falcon.HTTPServiceUnavailable(
        title="Database not available",
        description="The service cannot reach its database just now. Try again in a while.",
        retry_after=RETRY_SECONDS,
    ) from error


def _unforeseen(  # noqa: PLR0913, PLR0917 Falcon passes the last four
    settings: Settings,
    report: Report,
    req: falcon.Request,
    resp: falcon.Response,
    error: Exception,
    params: object,
) -> None:
    log.error("%s %s failed", req.method, req.uri_template, exc_info=error)
    if settings.on_lambda:  # elsewhere who runs it sees the log
        report(settings, req, error)
    raise falcon.HTTPInternalServerError(
        description="The fault is ours, and it was noted. Try again in a while."
    ) from error
