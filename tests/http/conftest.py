"""Fixtures of a real browser."""

from tests.helpers.browser import browser_fixture, contexts_fixture, open_browser_fixture

__all__ = ["browser_fixture", "contexts_fixture", "open_browser_fixture"]
