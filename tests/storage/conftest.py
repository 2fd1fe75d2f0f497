"""Fixtures of the tests of the state."""

from collections.abc import Iterator

import pytest

from quoteapi.settings import Settings
from quoteapi.storage.state import State
from tests.helpers.states import Bystanders


@pytest.fixture
def bystanders(state: State, settings: Settings) -> Iterator[Bystanders]:
    """Add data that the test must not change, and check that it did not."""
    bystanders = Bystanders(state, settings)
    yield bystanders
    bystanders.check()
