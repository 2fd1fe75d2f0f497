"""Deprecated alias of `quoteapi.aws.authorizer`, for Zappa settings from before 0.2. To be removed in 0.3."""

from quoteapi.aws.authorizer import authorize

__all__ = ["authorize"]
