"""Deprecated alias of `quoteapi.aws.schedulers`, for Zappa settings from before 0.2. To be removed in 0.3."""

from quoteapi.aws.schedulers import (
    migrate_database,
    publish_quote_of_the_day,
    reconcile_subscriptions,
    set_quote_of_the_day,
)

__all__ = ["migrate_database", "publish_quote_of_the_day", "reconcile_subscriptions", "set_quote_of_the_day"]
