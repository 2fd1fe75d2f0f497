"""Deprecated alias of `quoteapi.aws.error_reports`, for Zappa settings from before 0.2. To be removed in 0.3."""

from quoteapi.aws.error_reports import unhandled_exceptions

__all__ = ["unhandled_exceptions"]
