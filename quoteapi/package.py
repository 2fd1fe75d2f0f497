"""The name before 0.2 of `quoteapi.deploy.package`, for stages whose settings still use it. To be removed in 0.3."""

from quoteapi.deploy.package import finish, prepare

__all__ = ["finish", "prepare"]
