"""The name before 0.2 of `quoteapi.aws.error_reports`, for stages whose settings still use it. To be removed in 0.3."""

from quoteapi.aws.error_reports import unhandled_exceptions

__all__ = ["unhandled_exceptions"]
