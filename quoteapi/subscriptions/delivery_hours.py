"""Delivery windows: when the daily SMS of a local date may be sent to a time zone."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from quoteapi.settings.quiet_hours import OpenHours, is_quiet, open_hours, quiet_hours_of
from quoteapi.time_zones import country_of_time_zone, local_date, place_name, zone_info

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from quoteapi.settings import Settings

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


class DeliveryWindow(NamedTuple):
    """The time, in UTC, in which the daily SMS of a local date may be sent; `closes_at` is not included.

    It is empty for a date that the time zone skipped, as Samoa skipped December 30, 2011.
    """

    opens_at: datetime
    closes_at: datetime


class DeliveryHours:
    """The delivery windows and quiet hours of time zones, by the settings and the rules of countries."""

    def __init__(self, settings: "Settings") -> None:
        self._daily_sms_at = settings.daily_sms_at
        self._quiet_hours = settings.quiet_hours

    def window(self, time_zone: str, day: date) -> DeliveryWindow:
        """Return the delivery window of a local date.

        It opens at the first local time from `DAILY_SMS_AT` on that is not in quiet hours, and closes when quiet hours
        begin, or when the date ends. If clocks skip the opening hour, it opens when they change. If they repeat that
        hour, it opens the second time.
        """
        zone, hours = zone_info(time_zone), self._open_hours(time_zone)
        opens_at = _occurrences(datetime.combine(day, hours.opens), zone)[1]
        end = datetime.combine(day, hours.closes) if hours.closes else datetime.combine(day + _DAY, time())
        first, last = _occurrences(end, zone)
        return DeliveryWindow(opens_at, first if first > opens_at else last)

    def next_date(self, time_zone: str, moment: datetime) -> date:
        """Return the local date of the first delivery window that opens after a moment."""
        day_before = local_date(moment, time_zone) - _DAY
        days = (day_before + number * _DAY for number in count())
        return next(day for day in days if _opens_after(self.window(time_zone, day), moment))

    def is_quiet(self, time_zone: str, moment: datetime) -> bool:
        """Return whether it is in quiet hours in a time zone at a moment."""
        wall_time = moment.astimezone(zone_info(time_zone)).time()
        return is_quiet(wall_time, quiet_hours_of(country_of_time_zone(time_zone), self._quiet_hours))

    def describe_hour(self, time_zone: str) -> str:
        """Return the usual hour of the daily SMS in a time zone, as in "at 09:00, Kolkata time"."""
        return _describe(self._open_hours(time_zone).opens, time_zone)

    def _open_hours(self, time_zone: str) -> OpenHours:
        country = country_of_time_zone(time_zone)
        hours = open_hours(self._daily_sms_at, quiet_hours_of(country, self._quiet_hours))
        if hours is None:
            raise ValueError("DAILY_SMS_AT leaves no time for the daily SMS.")  # the loader of settings rejects that
        return hours


def describe_morning(opens_at: datetime, time_zone: str, now: datetime) -> str:
    """Return when a delivery window opens: "today at 09:00, Kolkata time", "tomorrow at …", or "on Tuesday, …"."""
    opens = opens_at.astimezone(zone_info(time_zone))
    days = (opens.date() - local_date(now, time_zone)).days
    day = {0: "today", 1: "tomorrow"}.get(days, f"on {opens:%A, %B} {opens.day},")
    return f"{day} {_describe(opens.time(), time_zone)}"


def _describe(wall_time: time, time_zone: str) -> str:
    return f"at {wall_time:%H:%M}, {place_name(time_zone)} time"


def _opens_after(window: DeliveryWindow, moment: datetime) -> bool:
    return moment < window.opens_at < window.closes_at


def _occurrences(wall_time: datetime, zone: "ZoneInfo") -> tuple[datetime, datetime]:
    """Return the first and the last moment in UTC at which clocks show a local time (PEP 495).

    They differ if clocks are set back and show it twice. If clocks skip it, both are the moment at which they change.
    """
    moments = [wall_time.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    if moments[0] <= moments[1]:
        return moments[0], moments[1]
    change = _find_change(moments[1], moments[0], zone)
    return change, change


def _find_change(before: datetime, after: datetime, zone: "ZoneInfo") -> datetime:
    """Return the moment at which clocks change between two moments, to the second, by bisection."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // _SECOND // 2 * _SECOND
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after
