"""Scheduled functions: handlers of `(event, context)` that Amazon EventBridge invokes.

Each returns what it did, for the log. A run that fails raises `RedactedError`, so that Lambda retries it.
"""

import logging
import math
from typing import Any

from quoteapi.aws.job_context import job_context, redact_errors
from quoteapi.settings import load_settings
from quoteapi.storage import database
from quoteapi.subscriptions.errors import NoSharedState, SmsDisabled
from quoteapi.subscriptions.schedule import log_result, raise_failures
from quoteapi.time_zones import last_begun_date

MIN_REMAINING_MILLISECONDS = 10_000
"""A reconciliation starts no more work if less time than this is left before Lambda's timeout."""
_log = logging.getLogger(__name__)


class ReconcileIncomplete(Exception):
    """Syncing some subscribers with the SNS topic failed; Lambda retries the reconciliation."""


class DeliveryPending(Exception):
    """Another process has claimed the daily SMS, and may have died. Lambda retries until the SMS is sent."""


def set_quote_of_the_day(event: object, context: object) -> dict[str, Any]:
    """Decide the quote of the last date that has begun somewhere, and store it.

    Run it at 10:00 UTC, when the next date begins in UTC+14.
    """
    with job_context(context) as container:
        day = last_begun_date(container.clock())
        quotation = container.quotes.quote_of_date(day)
        return {"date": day.isoformat(), "quote": quotation.quote, "author": quotation.author}


def publish_quote_of_the_day(event: object, context: object) -> dict[str, Any]:
    """Send the quote of the local date to each time zone whose morning is due, once a date (idempotent).

    Run it every 15 minutes. Raises `DeliveryFailed`, `DeliveryPending`, as `RedactedError`.
    """
    with job_context(context) as container:
        try:
            results = container.schedule.run(lambda: _remaining_milliseconds(context) / 1_000, log_result)
        except (NoSharedState, SmsDisabled) as error:  # the operator's choice, not a failure
            _log.warning("Daily SMS not sent: %s", error)
            return {"sent": 0, "message": str(error)}
        raise_failures(results)
        if pending := [result.time_zone for result in results if result.state == "being sent"]:
            raise DeliveryPending(f"another process is sending the daily SMS to {', '.join(pending)}")
        return {"sent": len(results), "time_zones": [result.time_zone for result in results]}


def reconcile_subscriptions(event: object, context: object) -> dict[str, Any]:
    """Make the SNS topic match the database, until Lambda's timeout is near."""
    with job_context(context) as container:
        if not container.settings.has_shared_state:
            return {"message": "Nothing to do: nobody can subscribe without a shared database."}
        result = container.topic_sync.reconcile(lambda: _remaining_milliseconds(context) < MIN_REMAINING_MILLISECONDS)
        _log.info("Subscriptions reconciled: %s", result)
        if result.failed:
            raise ReconcileIncomplete(f"{result.failed} failed: {result}")
        return result._asdict()


def _remaining_milliseconds(context: object) -> float:
    """Return the time until Lambda's timeout; without limit outside of Lambda."""
    return float(getattr(context, "get_remaining_time_in_millis", lambda: math.inf)())


def migrate_database(event: object, context: object) -> dict[str, Any]:
    """Apply the missing migrations, for `zappa invoke STAGE quoteapi.aws.schedulers.migrate_database`."""
    with redact_errors(context):
        return {"applied": database.migrate_database(load_settings())}
