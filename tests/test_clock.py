from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from quoteapi import clock


def test_now_is_aware_and_in_utc() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    before, now, after = datetime.now(india), clock.now(), datetime.now(india)
    assert before <= now <= after
    assert now.tzinfo is UTC


def test_a_day_starts_at_midnight_in_utc() -> None:
    assert clock.start_of_day(date(2026, 11, 22)) == datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        (datetime(2026, 11, 22, tzinfo=UTC), 86_400),
        (datetime(2026, 11, 22, 0, 0, 0, 999_999, tzinfo=UTC), 86_400),
        (datetime(2026, 11, 22, 23, 59, 59, 999_999, tzinfo=UTC), 1),
    ],
)
def test_there_are_1_to_86400_seconds_until_midnight(moment: datetime, seconds: int) -> None:
    assert clock.seconds_until_midnight(moment) == seconds
