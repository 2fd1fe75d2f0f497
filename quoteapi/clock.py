"""The time. The only place that asks for it; everything else is given a `Clock`."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time

Clock = Callable[[], datetime]
"""Answers the present moment, aware, in UTC."""


def now() -> datetime:
    """Answer the present moment, aware, in UTC."""
    return datetime.now(UTC)


def start_of_day(day: date) -> datetime:
    """Answer the moment at which `day` begins, in UTC."""
    return datetime.combine(day, time(), UTC)


def seconds_until_midnight(moment: datetime) -> int:
    """Answer the whole seconds left of the moment's UTC day: 1 to 86,400."""
    return 86_400 - moment.hour * 3_600 - moment.minute * 60 - moment.second
