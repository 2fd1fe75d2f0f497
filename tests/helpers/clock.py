"""A clock that tests set."""

from datetime import datetime, timedelta

from tests.helpers.data import NOON


class FakeClock:
    """A clock that goes on when it is told to."""

    def __init__(self, moment: datetime = NOON) -> None:
        self.moment = moment

    def __call__(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def advance(self, **time_by: float) -> None:
        self.moment += timedelta(**time_by)
