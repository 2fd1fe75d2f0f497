"""Quiet hours, in which no daily SMS is sent, and the open hours, which they leave for it.

The sources of the quiet hours of countries are in docs/sms.md.
"""

from collections.abc import Iterable
from datetime import time
from typing import NamedTuple


class QuietHours(NamedTuple):
    """The local hours in which no daily SMS is sent, from `start` until `end`, which is not included.

    If `start` is after `end`, they include midnight.
    """

    start: time
    end: time

    def include(self, wall_time: time) -> bool:
        """Return whether a local time is in the quiet hours."""
        if self.start < self.end:
            return self.start <= wall_time < self.end
        return wall_time >= self.start or wall_time < self.end


class OpenHours(NamedTuple):
    """The local hours in which the daily SMS may be sent; `closes` is None for the end of the local date."""

    opens: time
    closes: time | None

    @property
    def minutes(self) -> int:
        """How many minutes they last on a day on which clocks do not change."""
        closes = 24 * 60 if self.closes is None else _minutes(self.closes)
        return closes - _minutes(self.opens)


_OF_INDIA = QuietHours(time(21), time(10))
_OF_THE_US = QuietHours(time(20), time(8))
COUNTRY_QUIET_HOURS = {"IN": _OF_INDIA, **dict.fromkeys(("US", "AS", "GU", "MP", "PR", "UM", "VI"), _OF_THE_US)}
"""The quiet hours that a country requires, by its ISO 3166 code. Territories of the US have those of the US."""


def quiet_hours_of(country: str | None, quiet_hours: QuietHours | None) -> tuple[QuietHours, ...]:
    """Return the quiet hours that apply in a country: those of the setting, and those that the country requires."""
    required = COUNTRY_QUIET_HOURS.get(country or "")
    return tuple(hours for hours in (quiet_hours, required) if hours is not None)


def open_hours(daily_sms_at: time, quiet: Iterable[QuietHours]) -> OpenHours | None:
    """Return the first open hours of a day that begin at `daily_sms_at` or later; None if there are none."""
    quiet = tuple(quiet)
    candidates = sorted({daily_sms_at, *(hours.end for hours in quiet if hours.end > daily_sms_at)})
    opens = next((candidate for candidate in candidates if not is_quiet(candidate, quiet)), None)
    if opens is None:
        return None
    return OpenHours(opens, min((hours.start for hours in quiet if hours.start > opens), default=None))


def is_quiet(wall_time: time, quiet: Iterable[QuietHours]) -> bool:
    """Return whether a local time is in any of the quiet hours."""
    return any(hours.include(wall_time) for hours in quiet)


def _minutes(wall_time: time) -> int:
    return wall_time.hour * 60 + wall_time.minute
