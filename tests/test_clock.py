from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from quoteapi import clock


def test_now_is_aware_and_in_utc() -> None:
    assert clock.now().tzinfo is UTC
    assert abs(clock.now() - datetime.now(timezone(timedelta(hours=5, minutes=30)))) < timedelta(seconds=5)


def test_midnight_begins_the_day_in_utc() -> None:
    assert clock.start_of_day(date(2026, 11, 22)) == datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        (datetime(2026, 11, 22, tzinfo=UTC), 86_400),
        (datetime(2026, 11, 22, 0, 0, 0, 999_999, tzinfo=UTC), 86_400),
        (datetime(2026, 11, 22, 23, 59, 59, 999_999, tzinfo=UTC), 1),
    ],
)
def test_the_seconds_to_midnight_are_one_to_a_whole_day(moment: datetime, left: int) -> None:
    assert clock.seconds_until_midnight(moment) == left
