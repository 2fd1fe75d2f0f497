"""A clock for tests."""

from datetime import datetime, timedelta

from tests.helpers.data import NOON


class FakeClock:
    """A clock that stands still until a test advances it."""

    def __init__(self, moment: datetime = NOON) -> None:
        self.moment = moment

    def __call__(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def advance(self, **delta: float) -> None:
        self.moment += timedelta(**delta)
