"""Errors of quotes."""

EMPTY_CATALOGUE = "The catalogue has no quotes."


class QuoteNotFound(Exception):
    """No quote of the catalogue fits what was asked for."""


class FutureDate(Exception):
    """A date whose quote is not decided yet."""
