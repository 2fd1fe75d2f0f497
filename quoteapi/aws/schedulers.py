"""What EventBridge has done at set times: handlers of `(event, context)` that answer what they did, for the log.

A run that fails raises `RedactedError`, so that Lambda tries it again.
"""

import logging
import os
from collections.abc import Callable
from typing import Any

from quoteapi.aws.job_context import job_context, redact_errors
from quoteapi.observability import logs
from quoteapi.settings import load_settings
from quoteapi.storage import database
from quoteapi.subscriptions.errors import NoSharedState, SmsDisabled

SPARE_MILLISECONDS = 10_000
"""How long before its time-out a run begins nothing new."""
_log = logging.getLogger(__name__)


class ReconcileIncomplete(Exception):
    """A reconciliation that has to be tried again."""


def set_quote_of_the_day(event: object, context: object) -> dict[str, Any]:
    """Decide the quote of the day that begins, and store it."""
    _name(context)
    with job_context() as service:
        today = service.clock().date()
        quotation = service.quotes.quote_of_date(today)
        return {"date": today.isoformat(), "quote": quotation.quote, "author": quotation.author}


def publish_quote_of_the_day(event: object, context: object) -> dict[str, Any]:
    """Send the quote that `/daily` answers to everyone on the topic, once a date, however often this is called."""
    _name(context)
    with job_context() as service:
        try:
            published = service.daily_delivery.publish()
        except (NoSharedState, SmsDisabled) as error:  # as the operator has it, and no failure
            _log.warning("No SMS of the day: %s", error)
            return {"sent": False, "message": str(error)}
        return {"date": published.date.isoformat(), "sent": published.sent, "message": published.message}


def reconcile_subscriptions(event: object, context: object) -> dict[str, Any]:
    """Make SNS agree with the database, as far as the time allows."""
    _name(context)
    with job_context() as service:
        if not service.settings.has_shared_state:
            return {"message": "nobody can subscribe here"}
        done = service.topic_sync.reconcile(_time_is_up(context))
        _log.info("Reconciled: %s", done)
        if done.failed:
            raise ReconcileIncomplete(f"{done.failed} failed: {done}")
        return done._asdict()


def migrate_database(event: object, context: object) -> dict[str, Any]:
    """Apply the migrations that are missing, for `zappa invoke STAGE quoteapi.aws.schedulers.migrate_database`."""
    _name(context)
    with redact_errors():
        settings = load_settings(os.environ)
        return {"applied": database.migrate_database(settings)}


def _name(context: object) -> None:
    logs.request_id.set(getattr(context, "aws_request_id", "-"))


def _time_is_up(context: object) -> Callable[[], bool]:
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    return lambda: remaining is not None and remaining() < SPARE_MILLISECONDS
