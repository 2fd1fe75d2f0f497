"""Tracing with AWS X-Ray: a subsegment for each AWS call, outbound HTTP request and SQL statement.

Import this module only if tracing is enabled: the import makes a cold start slower.
"""

import logging
import re
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import wrapt
from aws_xray_sdk.core import patch, xray_recorder  # type: ignore[import-untyped]
from aws_xray_sdk.core.emitters.udp_emitter import UDPEmitter  # type: ignore[import-untyped]
from peewee import Database

TRACED_PEEWEE_METHODS = (
    "Database.execute_sql",
    "Database.commit",
    "Database.rollback",
    *(f"{kind}Database.{method}" for kind in ("Postgresql", "Sqlite") for method in ("_connect", "begin")),
)
_WORD = re.compile("[A-Za-z]+")


@cache
def enable_tracing() -> None:
    """Trace all outbound calls of this process. Idempotent.

    Lambda makes the segment, and decides which requests are sampled. Subsegments go to the X-Ray daemon by UDP, without
    waiting for it. They contain no phone number, OTP, key, SQL beyond its first word, or URL beyond its host.
    """
    logging.getLogger("aws_xray_sdk").setLevel(logging.ERROR)  # it warns of each call before the first request
    xray_recorder.configure(emitter=_RedactingEmitter())
    patch(("botocore",))
    # Importing `requests` here would slow down each service without an upstream API.
    wrapt.register_post_import_hook(lambda _: patch(("requests",)), "requests")
    # The SDK can patch psycopg.connect and its pool, but peewee calls neither.
    for method in TRACED_PEEWEE_METHODS:
        wrapt.wrap_function_wrapper("peewee", method, _trace_database_call)


class _RedactingEmitter(UDPEmitter):  # type: ignore[misc]
    """Sends subsegments without URLs and exception texts, which may contain phone numbers and keys."""

    def send_entity(self, entity: Any) -> None:  # noqa: ANN401
        """Send a subsegment to the X-Ray daemon."""
        entity.http.get("request", {}).pop("url", None)  # the name of the subsegment is the host
        if isinstance(entity.cause, dict):  # else it is the id of an exception that was sent before
            for exception in entity.cause.get("exceptions", ()):
                exception.message = None
        super().send_entity(entity)


def _trace_database_call(
    wrapped: Callable[..., Any], database: Database, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:  # noqa: ANN401
    """Call a method of peewee in a subsegment with the first word of its statement, such as SELECT."""
    word = _WORD.search(args[0] if args and wrapped.__name__ == "execute_sql" else wrapped.__name__)
    with xray_recorder.in_subsegment(_database_name(database), namespace="remote") as subsegment:
        if subsegment is not None:
            subsegment.set_sql({"sanitized_query": word[0].upper() if word else "?"})
        return wrapped(*args, **kwargs)


def _database_name(database: Database) -> str:
    """Return the host and name of a database, or the path of its file, without user name and password."""
    url = urlsplit(database.database or "")
    return f"{url.netloc.rpartition('@')[2]}{url.path}" or "database"
