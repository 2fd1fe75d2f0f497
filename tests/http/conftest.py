"""Fixtures of a real browser."""

from tests.helpers.browser import arriving, one_browser

__all__ = ["arriving", "one_browser"]
