from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from quoteapi.settings import QuietHours, Settings, read_settings
from quoteapi.settings.quiet_hours import COUNTRY_QUIET_HOURS
from quoteapi.subscriptions.delivery_hours import DeliveryHours, DeliveryWindow, describe_morning
from quoteapi.time_zones import all_time_zones, country_of_time_zone, local_date, zone_info

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
FIRST_DAY, LAST_DAY = date(2007, 1, 1), date(2016, 12, 31)
"""Ten years in which Samoa skipped a day, and Venezuela and North Korea changed their time by half an hour."""


def utc(day: int, hour: int, minute: int = 0, *, month: int = 12) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def hours(**variables: str) -> DeliveryHours:
    return DeliveryHours(read_settings(variables))


# ---- windows


@pytest.mark.parametrize(
    ("time_zone", "opens_at", "closes_at"),
    [
        pytest.param("America/New_York", utc(8, 14), utc(9, 1), id="09:00 to 20:00, the quiet hours of the US"),
        pytest.param("America/Puerto_Rico", utc(8, 13), utc(9, 0), id="a territory of the US"),
        pytest.param(
            "Asia/Kolkata", utc(8, 4, 30), utc(8, 15, 30), id="10:00, the end of quiet hours in India, to 21:00"
        ),
        pytest.param("Asia/Calcutta", utc(8, 4, 30), utc(8, 15, 30), id="an old name of the same"),
        pytest.param("Pacific/Auckland", utc(7, 20), utc(8, 8), id="09:00 to 21:00, on the date before in UTC"),
        pytest.param("Asia/Kathmandu", utc(8, 3, 15), utc(8, 15, 15), id="a quarter of an hour"),
        pytest.param("Pacific/Kiritimati", utc(7, 19), utc(8, 7), id="the first zone of a date"),
        pytest.param("Etc/GMT+12", utc(8, 21), utc(9, 9), id="the last zone of a date"),
    ],
)
def test_a_window_is_from_the_opening_hour_until_quiet_hours_begin(
    time_zone: str, opens_at: datetime, closes_at: datetime
) -> None:
    assert hours().window(time_zone, date(2026, 12, 8)) == DeliveryWindow(opens_at, closes_at)


@pytest.mark.parametrize(
    ("daily_sms_at", "quiet_hours", "time_zone", "opens", "closes"),
    [
        ("07:30", "21:00-09:00", "Europe/Oslo", (8, 9, 0), (8, 21, 0)),
        ("07:30", "22:00-07:00", "Europe/Oslo", (8, 7, 30), (8, 22, 0)),
        ("07:30", "off", "Europe/Oslo", (8, 7, 30), (9, 0, 0)),
        ("07:30", "off", "America/New_York", (8, 8, 0), (8, 20, 0)),
        ("07:30", "off", "Asia/Kolkata", (8, 10, 0), (8, 21, 0)),
        ("11:45", "21:00-09:00", "Asia/Kolkata", (8, 11, 45), (8, 21, 0)),
        ("00:00", "off", "Europe/Oslo", (8, 0, 0), (9, 0, 0)),
        ("09:00", "13:00-15:00", "Europe/Oslo", (8, 9, 0), (8, 13, 0)),
        ("13:00", "13:00-15:00", "Europe/Oslo", (8, 15, 0), (9, 0, 0)),
        ("09:00", "00:00-10:00", "Europe/Oslo", (8, 10, 0), (9, 0, 0)),
        ("09:00", "22:00-00:00", "Europe/Oslo", (8, 9, 0), (8, 22, 0)),
        ("09:00", "09:00-10:00", "Asia/Kolkata", (8, 10, 0), (8, 21, 0)),
    ],
)
def test_the_later_of_the_setting_and_the_quiet_hours_opens_a_window(
    daily_sms_at: str, quiet_hours: str, time_zone: str, opens: tuple[int, int, int], closes: tuple[int, int, int]
) -> None:
    window = hours(DAILY_SMS_AT=daily_sms_at, QUIET_HOURS=quiet_hours).window(time_zone, date(2026, 12, 8))
    zone = zone_info(time_zone)
    assert window == tuple(datetime(2026, 12, *wall, tzinfo=zone).astimezone(UTC) for wall in (opens, closes))


def test_windows_follow_the_clocks_through_both_changes_of_a_year() -> None:
    days = [date(2026, 3, 7), date(2026, 3, 8), date(2026, 10, 31), date(2026, 11, 1)]
    opens = [hours().window("America/New_York", day).opens_at for day in days]
    assert opens == [utc(7, 14, month=3), utc(8, 13, month=3), utc(31, 13, month=10), utc(1, 14, month=11)]


def test_a_window_whose_hour_is_skipped_opens_when_the_clocks_change() -> None:
    skipped = hours(DAILY_SMS_AT="02:30", QUIET_HOURS="off").window("Europe/Oslo", date(2026, 3, 29))
    assert skipped == (utc(29, 1, month=3), utc(29, 22, month=3))


def test_a_window_whose_hour_comes_twice_opens_the_second_time() -> None:
    """So clocks are not set back into the quiet hours before it."""
    repeated = hours(DAILY_SMS_AT="02:30", QUIET_HOURS="23:00-02:30").window("Europe/Oslo", date(2026, 10, 25))
    assert repeated == (utc(25, 1, 30, month=10), utc(25, 22, month=10))


def test_quiet_hours_that_come_twice_close_a_window_the_first_time() -> None:
    until_half_past_two = Settings(daily_sms_at=time(), quiet_hours=QuietHours(time(2, 30), time(20)))
    window = DeliveryHours(until_half_past_two).window("Europe/Oslo", date(2026, 10, 25))
    assert window == (utc(24, 22, month=10), utc(25, 0, 30, month=10))


def test_a_window_between_repeated_hours_is_open_once() -> None:
    settings = Settings(daily_sms_at=time(2, 5), quiet_hours=QuietHours(time(2, 55), time(2, 5)))
    window = DeliveryHours(settings).window("Europe/Oslo", date(2026, 10, 25))
    assert window == (utc(25, 1, 5, month=10), utc(25, 1, 55, month=10))


def test_a_skipped_date_has_an_empty_window() -> None:
    opens_at, closes_at = hours().window("Pacific/Apia", date(2011, 12, 30))
    assert opens_at == closes_at == datetime(2011, 12, 30, 10, 0, tzinfo=UTC)


# ---- the next date


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        pytest.param(utc(8, 13, 59), date(2026, 12, 8), id="before it opens"),
        pytest.param(utc(8, 14), date(2026, 12, 9), id="when it opens"),
        pytest.param(utc(8, 20), date(2026, 12, 9), id="while it is open"),
        pytest.param(utc(9, 4, 59), date(2026, 12, 9), id="late in the evening"),
        pytest.param(utc(9, 5), date(2026, 12, 9), id="after midnight"),
    ],
)
def test_the_next_date_is_that_of_the_first_window_that_opens_later(moment: datetime, day: date) -> None:
    assert hours().next_date("America/New_York", moment) == day


def test_the_next_date_is_not_one_that_the_zone_skips() -> None:
    after_opening = datetime(2011, 12, 29, 20, 0, tzinfo=UTC)
    assert local_date(after_opening, "Pacific/Apia") == date(2011, 12, 29)
    assert hours().next_date("Pacific/Apia", after_opening) == date(2011, 12, 31)


def test_every_moment_of_a_year_has_a_next_date_whose_window_opens_within_a_day() -> None:
    for zone in ("Asia/Kolkata", "America/New_York", "Australia/Lord_Howe", "America/St_Johns", "Africa/Cairo"):
        for number in range(0, 365 * 24, 31):
            moment = utc(1, 0, month=1) + timedelta(hours=number)
            day = hours().next_date(zone, moment)
            assert hours().window(zone, day - DAY).opens_at <= moment < hours().window(zone, day).opens_at


# ---- quiet hours


@pytest.mark.parametrize(
    ("time_zone", "first", "last"),
    [
        ("Europe/Oslo", utc(8, 20), utc(9, 7, 59)),
        ("America/New_York", utc(9, 1), utc(9, 13, 59)),
        ("Asia/Kolkata", utc(8, 15, 30), utc(9, 4, 29)),
    ],
)
def test_quiet_hours_begin_and_end_on_the_minute(time_zone: str, first: datetime, last: datetime) -> None:
    moments = (first - MINUTE, first, last, last + MINUTE)
    assert [hours().is_quiet(time_zone, moment) for moment in moments] == [False, True, True, False]


def test_without_the_setting_only_the_quiet_hours_of_the_country_count() -> None:
    night = utc(8, 2)
    zones = ("Europe/Oslo", "America/New_York", "Asia/Kolkata", "Etc/UTC")
    assert [hours(QUIET_HOURS="off").is_quiet(zone, night) for zone in zones] == [False, True, True, False]


# ---- what subscribers read


@pytest.mark.parametrize(
    ("time_zone", "now", "text"),
    [
        ("Asia/Kolkata", utc(7, 18, 0), "tomorrow at 10:00, Kolkata time"),
        ("Asia/Kolkata", utc(7, 18, 30), "today at 10:00, Kolkata time"),
        ("America/New_York", utc(7, 15), "tomorrow at 09:00, New York time"),
        ("Etc/GMT-5", utc(8, 0), "today at 09:00, UTC+5 time"),
        ("Pacific/Auckland", utc(5, 0), "on Tuesday, December 8, at 09:00, Auckland time"),
    ],
)
def test_a_morning_is_described_in_local_time(time_zone: str, now: datetime, text: str) -> None:
    opens_at = hours().window(time_zone, date(2026, 12, 8)).opens_at
    assert describe_morning(opens_at, time_zone, now) == text


def test_the_usual_hour_is_described() -> None:
    assert hours().describe_hour("Asia/Kolkata") == "at 10:00, Kolkata time"
    assert hours(DAILY_SMS_AT="09:05").describe_hour("America/New_York") == "at 09:05, New York time"


# ---- all time zones through ten years


def dates_to_check(zone: ZoneInfo) -> set[date]:
    """Return the dates around each change of the clocks, and the first and the last date. Others are like those."""
    noons = [
        datetime.combine(FIRST_DAY + number * DAY, time(12), zone) for number in range((LAST_DAY - FIRST_DAY).days)
    ]
    changes = [noon.date() for noon, after in pairwise(noons) if noon.utcoffset() != after.utcoffset()]
    return {FIRST_DAY, LAST_DAY, *(day + number * DAY for day in changes for number in (-1, 0, 1, 2))}


@pytest.fixture(scope="module")
def dates() -> dict[str, set[date]]:
    return {zone: dates_to_check(zone_info(zone)) for zone in all_time_zones()}


def moments_in(window: DeliveryWindow, zone: ZoneInfo) -> Iterator[datetime]:
    """Yield the first moment and the last second of a window, and every half hour if clocks change in it."""
    opens_at, closes_at = window
    if opens_at < closes_at:
        yield from (opens_at, closes_at - timedelta(seconds=1))
    if opens_at.astimezone(zone).utcoffset() != closes_at.astimezone(zone).utcoffset():
        halves = (closes_at - opens_at) // timedelta(minutes=30)
        yield from (opens_at + number * timedelta(minutes=30) for number in range(halves))


@pytest.mark.parametrize(
    ("settings", "zones"),
    [
        pytest.param(Settings(), all_time_zones(), id="by default"),
        pytest.param(Settings(quiet_hours=None, daily_sms_at=time()), all_time_zones(), id="all day"),
        pytest.param(
            Settings(quiet_hours=QuietHours(time(3, 30), time(2, 15)), daily_sms_at=time(2, 15)),
            [zone for zone in all_time_zones() if country_of_time_zone(zone) not in COUNTRY_QUIET_HOURS],
            id="while clocks change",
        ),
    ],
)
def test_windows_are_on_their_date_and_neither_quiet_nor_overlap(
    dates: dict[str, set[date]], settings: Settings, zones: Iterable[str]
) -> None:
    delivery_hours = DeliveryHours(settings)
    for zone in zones:
        local, hour = zone_info(zone), delivery_hours.describe_hour(zone)
        for day in dates[zone]:
            window = delivery_hours.window(zone, day)
            assert window.closes_at <= delivery_hours.window(zone, day + DAY).opens_at
            for moment in moments_in(window, local):
                assert moment.astimezone(local).date() == day
                assert not delivery_hours.is_quiet(zone, moment)
            opens, before = (moment.astimezone(local) for moment in (window.opens_at, window.opens_at - MINUTE))
            assert f"at {opens:%H:%M}, " in hour or opens.utcoffset() != before.utcoffset(), "clocks skip the hour"


def test_every_date_that_exists_has_a_window(dates: dict[str, set[date]]) -> None:
    delivery_hours = hours()
    without = {
        (zone, day) for zone, days in dates.items() for day in days if len(set(delivery_hours.window(zone, day))) == 1
    }
    assert without == {("Pacific/Apia", date(2011, 12, 30)), ("Pacific/Fakaofo", date(2011, 12, 30))}
    assert not any(exists(zone, day) for zone, day in without)


def exists(zone: str, day: date) -> bool:
    """Return whether it is a date at any hour in a time zone."""
    start = datetime.combine(day, time(), UTC)
    return any(local_date(start + timedelta(hours=number), zone) == day for number in range(-24, 48))
