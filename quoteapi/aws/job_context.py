"""The job context of one Lambda task or schedule."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from quoteapi import clock
from quoteapi.container import Service
from quoteapi.observability import logs
from quoteapi.settings import Settings, WrongSetting, load_settings
from quoteapi.storage import database

_log = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def _put_together(settings: Settings, now: clock.Clock) -> Service:
    """Put the service together once a process: its clients of AWS cost more than most work does."""
    return Service(settings, now=now)


def watch(settings: Settings) -> None:
    """Have log lines written and, where it is asked for, calls out traced."""
    logs.configure(settings)
    if settings.xray_tracing:
        from quoteapi.aws import xray

        xray.start()


@contextmanager
def at_work() -> Iterator[Service]:
    """Put the service together from the environment, with its database open, for one piece of work of Lambda's.

    Raises `WorkFailed`, whatever goes wrong.
    """
    with reported_failures():
        settings = load_settings(os.environ)
        if settings.on_lambda:
            watch(settings)
        with database.connect(settings).connection_context():
            yield _put_together(settings, clock.now)


class WorkFailed(Exception):
    """A task or a scheduled run that failed, in words without a number or a secret: they may be logged."""


@contextmanager
def reported_failures() -> Iterator[None]:
    """Let failures out as `WorkFailed`, so that Lambda tries again and then gives up for all to see.

    Lambda logs what gets out, and the text of an error may have a number in it. Nor must a TypeError get out, which
    Zappa would take for a wrong signature and run the work again.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 raised again, in other words
        _log.exception("The work failed")
        raise WorkFailed(_in_words(error)) from None


def _in_words(error: Exception) -> str:
    from quoteapi.observability.redaction import without_secrets

    try:
        settings = load_settings(os.environ)
    except WrongSetting:
        settings = Settings()
    return without_secrets(settings, f"{type(error).__name__}: {error}")
