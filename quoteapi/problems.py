"""Errors as HTTP answers: the one place where a domain's error becomes a status and a problem document (RFC 9457)."""

import json
import logging
import sqlite3

import falcon
from peewee import DatabaseError, IntegrityError, InterfaceError, ProgrammingError

from quoteapi.quotes import DateToCome, NoQuoteFound

PROBLEM_JSON = "application/problem+json"
RETRY_SECONDS = 30

log = logging.getLogger(__name__)


def add_problems(app: "falcon.App[falcon.Request, falcon.Response]") -> None:
    """Make every error of an app a problem document."""
    app.set_error_serializer(_write)
    app.add_error_handler(DateToCome, _date_to_come)
    app.add_error_handler(NoQuoteFound, _no_quote_found)
    app.add_error_handler((DatabaseError, InterfaceError, sqlite3.Error), _database_away)
    app.add_error_handler((IntegrityError, ProgrammingError), _unforeseen)
    app.add_error_handler(Exception, _unforeseen)


def _write(req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError) -> None:
    detail = error.description
    if isinstance(error, falcon.HTTPRouteNotFound):
        detail = "Nothing is here. GET /daily answers the quote of the day, and /random another one each time."
    elif isinstance(error, falcon.HTTPMethodNotAllowed):
        detail = f"{req.method} does not work here. Send one of: {resp.get_header('Allow')}."
    # Falcon's own titles repeat the number, as in "404 Not Found".
    title = str(error.title or error.status).removeprefix(f"{error.status_code} ")
    document: dict[str, object] = {"title": title, "status": error.status_code}
    if detail is not None:
        document["detail"] = detail
    resp.data = f"{json.dumps(document, ensure_ascii=False)}\n".encode()
    resp.content_type = PROBLEM_JSON
    resp.set_header("Cache-Control", "no-store")


def _date_to_come(req: falcon.Request, resp: falcon.Response, error: DateToCome, params: object) -> None:
    raise falcon.HTTPBadRequest(
        title="Invalid date",
        description=f"The quote of {error} is not decided yet. Send a date up to today; days begin at midnight UTC.",
    ) from error


def _no_quote_found(req: falcon.Request, resp: falcon.Response, error: NoQuoteFound, params: object) -> None:
    raise falcon.HTTPNotFound(title="No quote found", description=str(error)) from error


def _database_away(req: falcon.Request, resp: falcon.Response, error: Exception, params: object) -> None:
    log.error("The database did not answer", exc_info=error)
    raise falcon.HTTPServiceUnavailable(
        title="Database not available",
        description="The service cannot reach its database just now. Try again in a while.",
        retry_after=RETRY_SECONDS,
    ) from error


def _unforeseen(req: falcon.Request, resp: falcon.Response, error: Exception, params: object) -> None:
    log.error("%s %s failed", req.method, req.uri_template, exc_info=error)
    raise falcon.HTTPInternalServerError(
        description="The fault is ours, and it was noted. Try again in a while."
    ) from error
