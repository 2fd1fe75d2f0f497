"""AWS X-Ray: what Lambda's trace of a request shows of calls to AWS, over HTTP and to the database.

Loaded only where it is asked for, as a cold start pays for it.
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

CALLS_OF_PEEWEE = (
    "Database.execute_sql",
    "Database.commit",
    "Database.rollback",
    *(f"{kind}Database.{call}" for kind in ("Postgresql", "Sqlite") for call in ("_connect", "begin")),
)
_WORD = re.compile("[A-Za-z]+")


@cache
def enable_tracing() -> None:
    """Have each call out be a subsegment from now on, for this process; a second time does nothing.

    Lambda itself makes the segment and decides which requests are traced. What is traced goes to Lambda's daemon by
    UDP, which nobody waits for. No subsegment has a number, a code, a key, SQL or the address of a page in it.
    """
    logging.getLogger("aws_xray_sdk").setLevel(logging.ERROR)  # it warns of each call before the first request
    xray_recorder.configure(emitter=_Discreet())
    patch(("botocore",))
    # Who has no upstream API need not load requests.
    wrapt.register_post_import_hook(lambda _: patch(("requests",)), "requests")
    # The SDK's own patch is for psycopg.connect and its pool, which peewee does not call.
    for call in CALLS_OF_PEEWEE:
        wrapt.wrap_function_wrapper("peewee", call, _traced)


class _Discreet(UDPEmitter):  # type: ignore[misc]
    """Sends neither what errors say nor the addresses of pages: numbers and keys may be in them."""

    def send_entity(self, entity: Any) -> None:  # noqa: ANN401
        """Send a subsegment to the daemon."""
        entity.http.get("request", {}).pop("url", None)  # the host is the subsegment's name
        if isinstance(entity.cause, dict):  # else it is the id of an error that was sent before
            for error in entity.cause.get("exceptions", ()):
                error.message = None
        super().send_entity(entity)


def _traced(wrapped: Callable[..., Any], instance: Database, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
    name = _name_of(instance)
    return xray_recorder.record_subsegment(wrapped, instance, args, kwargs, name, "remote", _note_statement)


def _note_statement(
    *,
    wrapped: Callable[..., Any],
    args: tuple[Any, ...],
    exception: Exception | None,
    subsegment: Any,  # noqa: ANN401
    stack: Any,  # noqa: ANN401
    **_: object,
) -> None:
    """Note the first word of a statement, and nothing else of it."""
    statement = args[0] if args and wrapped.__name__ == "execute_sql" else wrapped.__name__
    word = _WORD.search(statement)
    subsegment.set_sql({"sanitized_query": word[0].upper() if word else "?"})
    if exception is not None:
        subsegment.add_exception(exception, stack)


def _name_of(database: Database) -> str:
    """Answer a server and its database, or the path of a file, without who asks it and by what password."""
    parts = urlsplit(database.database or "")
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}" or "database"
