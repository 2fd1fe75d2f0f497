"""Fixtures of a real browser, and of real servers."""

from tests.helpers.browser import browser_fixture, contexts_fixture, open_browser_fixture
from tests.helpers.servers import servers_fixture

__all__ = ["browser_fixture", "contexts_fixture", "open_browser_fixture", "servers_fixture"]
