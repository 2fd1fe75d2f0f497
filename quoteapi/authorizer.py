"""The name before 0.2 of `quoteapi.aws.authorizer`, for stages whose settings still use it. To be removed in 0.3."""

from quoteapi.aws.authorizer import authorize

__all__ = ["authorize"]
