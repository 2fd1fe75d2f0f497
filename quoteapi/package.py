"""Deprecated alias of `quoteapi.deploy.package`, for Zappa settings from before 0.2. To be removed in 0.3."""

from quoteapi.deploy.package import finish, prepare

__all__ = ["finish", "prepare"]
