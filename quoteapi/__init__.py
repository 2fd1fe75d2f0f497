"""A quote service that one person can run: the quote of the day over HTTP and by SMS."""

__version__ = "0.1.0"
