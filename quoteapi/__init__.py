"""A quote service that one person can run: the quote of the day, and random ones, over HTTP."""

import sys

# peewee loads the driver of PostgreSQL where it finds one, which takes half as long again as all the rest. It is hidden
# until `postgresql.py` wants it.
if "psycopg" not in sys.modules:
    sys.modules["psycopg"] = None  # type: ignore[assignment]
    import peewee  # noqa: F401

    del sys.modules["psycopg"]

__version__ = "0.1.0"
