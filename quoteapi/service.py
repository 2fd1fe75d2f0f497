"""The service put together from its settings, for every entrance: the HTTP app, the command, tasks and schedules."""

import logging
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property, lru_cache
from typing import Any

from quoteapi import clock, database, log, models
from quoteapi.config import Settings, WrongSetting, load_settings
from quoteapi.deliveries import Deliveries
from quoteapi.digests import Digests, digests_of
from quoteapi.limits import Limits
from quoteapi.otp import OneTimePasswords
from quoteapi.quotes import Quotes
from quoteapi.sms import Gateway, Unavailable, gateway_of
from quoteapi.subscriptions import Handing, Subscriptions

THREADS = 2
"""How many at a time do what is handed on."""

_log = logging.getLogger(__name__)


class Service:
    """The rooms of the domain, each put together when it is first asked for: a reader of quotes needs no key."""

    def __init__(
        self,
        settings: Settings,
        *,
        now: clock.Clock = clock.now,
        randomness: random.Random | None = None,
    ) -> None:
        self.settings = settings
        self.clock = now
        self.randomness = randomness or _fresh_randomness()

    @cached_property
    def quotes(self) -> Quotes:
        """What answers quotes, with the upstream API of the settings where one is set."""
        settings, upstream = self.settings, None
        if settings.upstream_endpoint is not None:
            from quoteapi.mashape import MashapeQuotes  # who has none need not load requests

            upstream = MashapeQuotes(settings.upstream_endpoint, settings.upstream_key)
        return Quotes(self.clock, self.randomness, upstream, state_is_shared=settings.state_is_shared)

    @cached_property
    def gateway(self) -> Gateway:
        """How SMS go out."""
        return gateway_of(self.settings, self.clock)

    @cached_property
    def limits(self) -> Limits:
        """What guards people and the bill."""
        return Limits(self.settings, self._digests, self.clock)

    @cached_property
    def subscriptions(self) -> Subscriptions:
        """Who gets the quote of the day."""
        passwords = OneTimePasswords(self._digests, self.settings.wrong_tries_per_number, self.clock)
        return Subscriptions(self.settings, self.gateway, self.limits, passwords, self.clock)

    @cached_property
    def deliveries(self) -> Deliveries:
        """The SMS of the day."""
        return Deliveries(self.settings, self.quotes, self.gateway, self.limits, self.clock)

    @cached_property
    def handing(self) -> Handing:
        """How a request hands work on: to another invocation on Lambda, to a thread if it takes calls of AWS."""
        if self.settings.on_lambda:
            return ToTasks()
        return InBackground(self.subscriptions) if self.settings.gateway == "sns" else AtOnce(self.subscriptions)

    @staticmethod
    def start_a_failure() -> None:
        """Have a task of Lambda's fail, so that its operator sees where failures go."""
        from quoteapi.tasks import async_fail

        async_fail()

    @cached_property
    def _digests(self) -> Digests:
        return digests_of(self.settings)


@lru_cache(maxsize=1)
def _put_together(settings: Settings, now: clock.Clock) -> Service:
    """Put the service together once a process: its clients of AWS cost more than most work does."""
    return Service(settings, now=now)


def watch(settings: Settings) -> None:
    """Have log lines written and, where it is asked for, calls out traced."""
    log.configure(settings)
    if settings.xray_tracing:
        from quoteapi import xray

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
    from quoteapi.redaction import without_secrets

    try:
        settings = load_settings(os.environ)
    except WrongSetting:
        settings = Settings()
    return without_secrets(settings, f"{type(error).__name__}: {error}")


class AtOnce:
    """Does the work that is handed on, before it returns."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions

    def send_otp(self, request: str) -> None:
        """Make and send the code of a request."""
        self._subscriptions.send_code(request)

    def subscribe(self, subscriber_id: int) -> None:
        """Put somebody on the topic."""
        self._subscriptions.settle(subscriber_id)

    def unsubscribe(self, subscriber_id: int) -> None:
        """Take somebody off the topic."""
        self._subscriptions.settle(subscriber_id)


class InBackground:
    """Does the work that is handed on in other threads: nobody waits for SNS, or learns from how long it takes."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._at_once = AtOnce(subscriptions)
        self._threads = ThreadPoolExecutor(THREADS)

    def send_otp(self, request: str) -> None:
        """Have the code of a request made and sent."""
        self._threads.submit(_done, self._at_once.send_otp, request)

    def subscribe(self, subscriber_id: int) -> None:
        """Have somebody put on the topic."""
        self._threads.submit(_done, self._at_once.subscribe, subscriber_id)

    def unsubscribe(self, subscriber_id: int) -> None:
        """Have somebody taken off the topic."""
        self._threads.submit(_done, self._at_once.unsubscribe, subscriber_id)


def _done(work: Callable[[Any], None], what: str | int) -> None:
    """Do work in a thread, where nobody hears what fails."""
    try:
        with models.database.connection_context():
            work(what)
    except Exception:  # noqa: BLE001 it ends here, in the log
        _log.exception("Work that was handed on failed")


class ToTasks:
    """Hands work on to other invocations. Their module is loaded with the first one: it makes four clients of AWS."""

    def send_otp(self, request: str) -> None:
        """Have the code of a request made and sent. Raises `sms.Unavailable`."""
        try:
            from quoteapi.tasks import async_send_otp

            async_send_otp(request)
        except Exception as error:  # noqa: BLE001 boto3 is not known here
            _log.exception("Lambda did not take a task")
            raise Unavailable(f"Lambda did not take the task ({type(error).__name__})") from None

    def subscribe(self, subscriber_id: int) -> None:
        """Have somebody put on the topic."""
        from quoteapi.tasks import async_subscribe

        async_subscribe(subscriber_id)

    def unsubscribe(self, subscriber_id: int) -> None:
        """Have somebody taken off the topic."""
        from quoteapi.tasks import async_unsubscribe

        async_unsubscribe(subscriber_id)


def _fresh_randomness() -> random.Random:
    randomness = random.Random()  # noqa: S311 it chooses quotes and names requests, nothing secret
    os.register_at_fork(after_in_child=randomness.seed)
    return randomness
