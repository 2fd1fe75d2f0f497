"""The job context of one Lambda task or schedule."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from quoteapi import clock
from quoteapi.container import Container
from quoteapi.observability import logs
from quoteapi.settings import Settings, SettingsError, load_settings
from quoteapi.storage import database

_log = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def _cached_container(settings: Settings, now: clock.Clock) -> Container:
    """Put the service together once a process: its clients of AWS cost more than most work does."""
    return Container(settings, now=now)


def configure_observability(settings: Settings) -> None:
    """Have log lines written and, where it is asked for, calls out traced."""
    logs.configure_logging(settings)
    if settings.xray_tracing:
        from quoteapi.aws import xray

        xray.enable_tracing()


@contextmanager
def job_context() -> Iterator[Container]:
    """Put the service together from the environment, with its database open, for one piece of work of Lambda's.

    Raises `RedactedError`, whatever goes wrong.
    """
    with redact_errors():
        settings = load_settings(os.environ)
        if settings.on_lambda:
            configure_observability(settings)
        with database.connect(settings).connection_context():
            yield _cached_container(settings, clock.now)


class RedactedError(Exception):
    """A task or a scheduled run that failed, in words without a number or a secret: they may be logged."""


@contextmanager
def redact_errors() -> Iterator[None]:
    """Let failures out as `RedactedError`, so that Lambda tries again and then gives up for all to see.

    Lambda logs what gets out, and the text of an error may have a number in it. Nor must a TypeError get out, which
    Zappa would take for a wrong signature and run the work again.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 raised again, in other words
        _log.exception("The work failed")
        raise RedactedError(_redacted_text(error)) from None


def _redacted_text(error: Exception) -> str:
    from quoteapi.observability.redaction import redact

    try:
        settings = load_settings(os.environ)
    except SettingsError:
        settings = Settings()
    return redact(settings, f"{type(error).__name__}: {error}")
