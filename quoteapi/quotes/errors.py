"""Errors of quotes."""

EMPTY_CATALOGUE = "The catalogue has no quotes. The operator must import some."


class QuoteNotFound(Exception):
    """No quote matches the filters, or the catalogue is empty; the message says which."""


class FutureDate(Exception):
    """The quote of a date that has not begun in any time zone is not decided yet; the message is the date."""
