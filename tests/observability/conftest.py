import logging
from collections.abc import Callable, Iterator

import pytest

from quoteapi.observability import request_log


@pytest.fixture
def read_log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Yield a function that reads what was written to standard error; reset logging afterwards."""
    monkeypatch.setattr(request_log, "_writer", None)
    package_logger = logging.getLogger("quoteapi")
    level = package_logger.level
    yield lambda: capsys.readouterr().err
    package_logger.handlers.clear()
    package_logger.setLevel(level)
