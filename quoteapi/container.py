"""The container (composition root): builds the services from the settings.

It imports what only subscriptions need when that is first used: reading quotes makes most cold starts on Lambda.
"""

import os
import random
from functools import cached_property
from typing import TYPE_CHECKING

from quoteapi import clock
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import Settings
from quoteapi.sms.gateway import Gateway
from quoteapi.storage.state import State
from quoteapi.subscriptions.delivery_hours import DeliveryHours
from quoteapi.subscriptions.hmac_digest import HmacDigest, load_hmac_digest
from quoteapi.subscriptions.otp import OneTimePasswords

if TYPE_CHECKING:
    from quoteapi.subscriptions.daily_delivery import DailyDelivery
    from quoteapi.subscriptions.dispatcher import Dispatcher
    from quoteapi.subscriptions.rate_limits import RateLimits
    from quoteapi.subscriptions.schedule import Schedule
    from quoteapi.subscriptions.service import SubscriptionService
    from quoteapi.subscriptions.topic_sync import TopicSync


class Container:
    """The services, each built on first use: reading quotes, for example, needs no secret key."""

    def __init__(
        self,
        settings: Settings,
        *,
        now: clock.Clock = clock.now,
        randomness: random.Random | None = None,
        dispatcher: "Dispatcher | None" = None,
    ) -> None:
        """Run background work with `dispatcher` or, without one, in this process."""
        self.settings = settings
        self.clock = now
        self.randomness = randomness or random.Random()  # noqa: S311 it chooses quotes and request ids, nothing secret
        os.register_at_fork(after_in_child=self.randomness.seed)  # else all workers would draw the same quotes
        if dispatcher is not None:
            self.dispatcher = dispatcher

    @cached_property
    def quotes(self) -> QuoteService:
        """Reads quotes from the catalogue and, if the settings name one, from an upstream API."""
        settings, fetch = self.settings, None
        can_write_catalogue = settings.has_shared_state and settings.dynamodb_table is None
        if settings.upstream_endpoint is not None:
            from quoteapi.quotes.mashape import MashapeQuotes  # which imports requests

            fetch = MashapeQuotes(settings.upstream_endpoint, settings.upstream_key).fetch
        needs_state = can_write_catalogue or (settings.has_shared_state and fetch is not None)
        state = self.state if needs_state else None
        return QuoteService(self.clock, self.randomness, state, fetch, can_write_catalogue=can_write_catalogue)

    @cached_property
    def gateway(self) -> Gateway:
        """Sends SMS. It creates AWS clients and calls AWS only when one of its methods needs to."""
        if self.settings.gateway == "sns":
            from quoteapi.sms.sns import QuoteSubscription  # which imports boto3

            return QuoteSubscription(self.settings, self.clock)
        from quoteapi.sms.console import ConsoleGateway

        return ConsoleGateway(self.clock, self.settings.default_time_zone)

    @cached_property
    def state(self) -> State:
        """What requests and schedules write: in a DynamoDB table, else in the working database."""
        if (table := self.settings.dynamodb_table) is not None:
            from quoteapi.storage.dynamodb import Table
            from quoteapi.storage.dynamodb_state import DynamoDbState

            return DynamoDbState(Table(table.name, table.region))
        from quoteapi.storage.sql_state import SqlState

        return SqlState()

    @cached_property
    def rate_limits(self) -> "RateLimits":
        """Limits OTPs per number, requests and wrong OTPs per client IP, and the SMS of a day."""
        from quoteapi.subscriptions.rate_limits import RateLimits

        return RateLimits(self.settings, self.state, self._hmac_digest, self.clock)

    @cached_property
    def subscriptions(self) -> "SubscriptionService":
        """The use cases: request an OTP, subscribe, unsubscribe, send an OTP, remove a number."""
        from quoteapi.subscriptions.service import SubscriptionService

        return SubscriptionService(
            *(self.settings, self.state, self.gateway, self.rate_limits, self._otps, self.topic_sync),
            *(self.delivery_hours, self.clock),
        )

    @cached_property
    def topic_sync(self) -> "TopicSync":
        """Makes the SNS topics match the subscribers in the state."""
        from quoteapi.subscriptions.topic_sync import TopicSync

        return TopicSync(
            *(self.settings, self.state, self.gateway, self.rate_limits, self._otps, self.delivery_hours, self.clock)
        )

    @cached_property
    def daily_delivery(self) -> "DailyDelivery":
        """Sends the daily SMS to the subscribers."""
        from quoteapi.subscriptions.daily_delivery import DailyDelivery

        return DailyDelivery(
            *(self.settings, self.state, self.quotes, self.gateway, self.rate_limits, self.delivery_hours, self.clock)
        )

    @cached_property
    def schedule(self) -> "Schedule":
        """Runs every 15 minutes: syncs subscribers, and sends the daily SMS where it is due."""
        from quoteapi.subscriptions.schedule import Schedule

        return Schedule(self.topic_sync, self.daily_delivery)

    @cached_property
    def delivery_hours(self) -> DeliveryHours:
        """Knows when the daily SMS may be sent in a time zone."""
        return DeliveryHours(self.settings)

    @cached_property
    def dispatcher(self) -> "Dispatcher":
        """Runs background work: the constructor's dispatcher, else a thread pool for `sns`, else inline."""
        from quoteapi.subscriptions.dispatcher import InlineDispatcher, ThreadPoolDispatcher

        make = ThreadPoolDispatcher if self.settings.gateway == "sns" else InlineDispatcher
        return make(self.subscriptions.send_otp, self.topic_sync.sync)

    @cached_property
    def _otps(self) -> OneTimePasswords:
        return OneTimePasswords(self.state, self._hmac_digest, self.settings.wrong_tries_per_number, self.clock)

    @cached_property
    def _hmac_digest(self) -> HmacDigest:
        return load_hmac_digest(self.settings)
