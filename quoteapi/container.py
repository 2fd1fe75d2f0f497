"""The composition root: builds the services from the settings."""

import os
import random
from functools import cached_property

from quoteapi import clock
from quoteapi.clock import Clock
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import Settings
from quoteapi.sms.gateway import Gateway
from quoteapi.subscriptions.delivery import DailyDelivery
from quoteapi.subscriptions.dispatcher import Dispatcher, InlineDispatcher, ThreadPoolDispatcher
from quoteapi.subscriptions.hmac_digest import HmacDigest, load_hmac_digest
from quoteapi.subscriptions.otp import OneTimePasswords
from quoteapi.subscriptions.rate_limits import RateLimits
from quoteapi.subscriptions.service import SubscriptionService
from quoteapi.subscriptions.topic_sync import TopicSync


class Container:
    """The rooms of the domain, each put together when it is first asked for: a reader of quotes needs no key."""

    def __init__(
        self,
        settings: Settings,
        *,
        now: clock.Clock = clock.now,
        randomness: random.Random | None = None,
        dispatcher: Dispatcher | None = None,
    ) -> None:
        """Use `dispatcher` or, without one, do the work in this process."""
        self.settings = settings
        self.clock = now
        self.randomness = randomness or _fresh_randomness()
        self._dispatcher = dispatcher

    @cached_property
    def quotes(self) -> QuoteService:
        """What answers quotes, with the upstream API of the settings where one is set."""
        settings, upstream = self.settings, None
        if settings.upstream_endpoint is not None:
            from quoteapi.quotes.mashape import MashapeQuotes  # who has none need not load requests

            upstream = MashapeQuotes(settings.upstream_endpoint, settings.upstream_key)
        return QuoteService(self.clock, self.randomness, upstream, has_shared_state=settings.has_shared_state)

    @cached_property
    def gateway(self) -> Gateway:
        """How SMS go out."""
        return gateway_of(self.settings, self.clock)

    @cached_property
    def rate_limits(self) -> RateLimits:
        """What guards people and the bill."""
        return RateLimits(self.settings, self._digests, self.clock)

    @cached_property
    def subscriptions(self) -> SubscriptionService:
        """The use cases of subscriptions."""
        return SubscriptionService(
            self.settings, self.gateway, self.rate_limits, self._passwords, self.topic_sync, self.clock
        )

    @cached_property
    def topic_sync(self) -> TopicSync:
        """What makes the topic match the database."""
        return TopicSync(self.settings, self.gateway, self.rate_limits, self._passwords, self.clock)

    @cached_property
    def daily_delivery(self) -> DailyDelivery:
        """The SMS of the day."""
        return DailyDelivery(self.settings, self.quotes, self.gateway, self.rate_limits, self.clock)

    @cached_property
    def dispatcher(self) -> Dispatcher:
        """Run work outside the request: as given, in a thread if it calls AWS, or inline."""
        if self._dispatcher is not None:
            return self._dispatcher
        make = ThreadPoolDispatcher if self.settings.gateway == "sns" else InlineDispatcher
        return make(self.subscriptions.send_otp, self.topic_sync.sync)

    @cached_property
    def _passwords(self) -> OneTimePasswords:
        return OneTimePasswords(self._digests, self.settings.wrong_tries_per_number, self.clock)

    @cached_property
    def _digests(self) -> HmacDigest:
        return load_hmac_digest(self.settings)


def _fresh_randomness() -> random.Random:
    randomness = random.Random()  # noqa: S311 it chooses quotes and names requests, nothing secret
    os.register_at_fork(after_in_child=randomness.seed)
    return randomness


def gateway_of(settings: Settings, now: Clock) -> Gateway:
    """Make the gateway of the settings. Nothing is called before it is used."""
    if settings.gateway == "sns":
        from quoteapi.sms.sns import QuoteSubscription

        return QuoteSubscription(settings, now)
    from quoteapi.sms.console import ConsoleGateway

    return ConsoleGateway(now)
