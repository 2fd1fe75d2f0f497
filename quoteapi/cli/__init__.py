"""The command `quoteapi`. Its modules are imported here, because that registers their commands."""

from quoteapi.cli import db, doctor, policy, publish, quotes, serve, setup, sms, subscribers, teardown
from quoteapi.cli.root import main

__all__ = ["db", "doctor", "main", "policy", "publish", "quotes", "serve", "setup", "sms", "subscribers", "teardown"]
