"""The name before 0.2 of `quoteapi.aws.schedulers`, for stages whose settings still use it. To be removed in 0.3."""

from quoteapi.aws.schedulers import (
    migrate_database,
    publish_quote_of_the_day,
    reconcile_subscriptions,
    set_quote_of_the_day,
)

__all__ = ["migrate_database", "publish_quote_of_the_day", "reconcile_subscriptions", "set_quote_of_the_day"]
