"""The command `quoteapi`: importing a module registers its commands."""

from quoteapi.cli import db, doctor, quotes, serve, sms, subscribers
from quoteapi.cli.root import main

__all__ = ["db", "doctor", "main", "quotes", "serve", "sms", "subscribers"]
