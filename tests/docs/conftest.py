"""Fixtures of real servers."""

from tests.helpers.servers import servers_fixture

__all__ = ["servers_fixture"]
