"""A quote service that one person can run: the quote of the day, and random ones, over HTTP."""

__version__ = "0.1.0"
