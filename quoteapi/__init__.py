"""A self-hosted quote service: the quote of the day and random quotes, over HTTP and by SMS."""

import sys

# peewee imports the PostgreSQL driver if it is installed, which lengthens a start by half. It is hidden here;
# `quoteapi.storage.postgresql` imports it if it is needed.
if "psycopg" not in sys.modules:
    sys.modules["psycopg"] = None  # type: ignore[assignment]
    import peewee  # noqa: F401

    del sys.modules["psycopg"]

__version__ = "0.1.0"
