"""The job context: opens the database and the container for one Lambda task or schedule."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from quoteapi import clock
from quoteapi.container import Container
from quoteapi.observability import logging_setup
from quoteapi.observability.request_log import request_id
from quoteapi.settings import Settings, SettingsError, load_settings
from quoteapi.storage import database

_cached_container = lru_cache(maxsize=1)(Container)
"""Returns the same container for all jobs of a process: making its AWS clients takes longer than most jobs."""
_log = logging.getLogger(__name__)


class RedactedError(Exception):
    """The failure of a task or a scheduled run, with a text without phone numbers and secrets."""


def configure_observability(settings: Settings) -> None:
    """Start logging and, if the settings ask for it, tracing."""
    logging_setup.configure_logging(settings)
    if settings.xray_tracing:
        from quoteapi.aws import xray

        xray.enable_tracing()


@contextmanager
def job_context(lambda_context: object = None) -> Iterator[Container]:
    """Yield the container, with the environment's settings and an open database. Raises `RedactedError`."""
    with redact_errors(lambda_context):
        settings = load_settings()
        if settings.on_lambda:
            configure_observability(settings)
        with database.connect(settings).connection_context():
            yield _cached_container(settings, now=clock.now)


@contextmanager
def redact_errors(lambda_context: object = None) -> Iterator[None]:
    """Re-raise any exception as `RedactedError`, so that Lambda retries, and then dead-letters the event.

    Lambda logs the text of an exception. And on a `TypeError`, Zappa would assume a wrong signature, and call the
    function again. Log lines have the request id of the Lambda context.
    """
    request_id.set(getattr(lambda_context, "aws_request_id", "-"))
    try:
        yield
    except Exception as error:  # noqa: BLE001 raised again
        from quoteapi.observability.redaction import redact

        _log.exception("Job failed")
        try:
            settings = load_settings()
        except SettingsError:
            settings = Settings()
        raise RedactedError(redact(settings, f"{type(error).__name__}: {error}")) from None
