"""The name before 0.2 of `quoteapi.deploy.zappa_callbacks`, for stages that still use it. To be removed in 0.3."""

from quoteapi.deploy.zappa_callbacks import finish, prepare

__all__ = ["finish", "prepare"]
