"""The clock. Only this module reads the system time; other code is passed a `Clock`."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time

Clock = Callable[[], datetime]
"""Returns the current time, aware and in UTC."""


def now() -> datetime:
    """Return the current time, aware and in UTC."""
    return datetime.now(UTC)


def start_of_day(day: date) -> datetime:
    """Return the time at which a date begins in UTC."""
    return datetime.combine(day, time(), UTC)


def seconds_until_midnight(moment: datetime) -> int:
    """Return the seconds until the next midnight in UTC, rounded up: 1 to 86,400."""
    return 86_400 - moment.hour * 3_600 - moment.minute * 60 - moment.second
