"""Deprecated alias of `quoteapi.aws.tasks`, for tasks that a release before 0.2 queued. To be removed in 0.3."""

from quoteapi.aws.tasks import async_fail, async_publish, async_send_otp, async_subscribe, async_unsubscribe

__all__ = ["async_fail", "async_publish", "async_send_otp", "async_subscribe", "async_unsubscribe"]
