from datetime import timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from quoteapi.settings import RateLimit
from quoteapi.storage.models import RateLimitLog
from quoteapi.storage.sql_state import SqlState
from quoteapi.subscriptions.sliding_window import (
    RateLimitStatus,
    WindowFull,
    add_timestamp,
    count_event,
    rate_limit_statuses,
    seconds_to_wait,
)
from tests.helpers.clock import FakeClock
from tests.helpers.data import NOON
from tests.helpers.sql import record_sql

KEY = "0123456789abcdef" * 2
ONE_A_MINUTE = (RateLimit(1, 60),)


@given(steps=st.lists(st.integers(0, 90), max_size=60))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_no_period_has_more_events_than_its_window_allows(steps: list[int]) -> None:
    windows = (RateLimit(1, 7), RateLimit(3, 60), RateLimit(5, 400))
    now, log, events = NOON, "", []
    for step in steps:
        now += timedelta(seconds=step)
        if wait := seconds_to_wait(log, windows, now):
            assert seconds_to_wait(log, windows, now + timedelta(seconds=wait)) == 0, (
                "an event is allowed after the wait"
            )
            continue
        log = add_timestamp(log, windows, now)
        events.append(now)
    for window in windows:
        for first in events:
            end = first + timedelta(seconds=window.seconds)
            assert sum(first <= event < end for event in events) <= window.limit


@given(steps=st.lists(st.integers(0, 90), max_size=60))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_as_many_events_are_allowed_at_once_as_remain_and_the_next_after_the_stated_seconds(steps: list[int]) -> None:
    windows = (RateLimit(2, 7), RateLimit(4, 60), RateLimit(7, 400))
    now, log = NOON, ""
    for step in steps:
        now += timedelta(seconds=step)
        statuses = rate_limit_statuses("codes", log, windows, now)
        full = log
        for _ in range(min(status.remaining for status in statuses)):
            assert seconds_to_wait(full, windows, now) == 0
            full = add_timestamp(full, windows, now)
        wait = seconds_to_wait(full, windows, now)
        assert wait > 0
        after = rate_limit_statuses("codes", full, windows, now)
        assert wait == max(status.seconds for status in after if status.remaining == 0)
        if any(status.remaining == 0 for status in statuses):
            continue
        log = add_timestamp(log, windows, now)


def test_more_events_than_a_new_setting_allows_leave_nothing_for_the_stated_seconds() -> None:
    now, log = NOON, ""
    for _ in range(5):
        log = add_timestamp(log, (RateLimit(10, 3_600),), now)
        now += timedelta(minutes=1)
    (status,) = rate_limit_statuses("codes", log, (RateLimit(2, 3_600),), now)
    wait = seconds_to_wait(log, (RateLimit(2, 3_600),), now)
    assert wait > 0
    assert (status.remaining, status.seconds) == (0, wait)


def test_the_second_window_of_a_policy_has_a_number_in_its_name() -> None:
    windows = (RateLimit(1, 60), RateLimit(3, 600))
    assert rate_limit_statuses("codes", "", windows, NOON) == (
        RateLimitStatus("codes", windows[0], 1, 60),
        RateLimitStatus("codes-2", windows[1], 3, 600),
    )
    assert rate_limit_statuses(None, "", windows, NOON) == ()


def test_an_event_costs_two_statements_and_a_full_window_one(open_database: None, clock: FakeClock) -> None:
    with record_sql() as statements:
        count_event(SqlState(), KEY, ONE_A_MINUTE, clock())
    assert len(statements) == 2
    with record_sql() as statements, pytest.raises(WindowFull) as full:
        count_event(SqlState(), KEY, ONE_A_MINUTE, clock(), "codes")
    assert len(statements) == 1
    assert (full.value.retry_after, full.value.rate_limits) == (60, (RateLimitStatus("codes", ONE_A_MINUTE[0], 0, 60),))


def test_an_event_can_be_undone_also_after_another_is_counted(open_database: None, clock: FakeClock) -> None:
    windows = (RateLimit(2, 60),)
    first = count_event(SqlState(), KEY, windows, clock())
    clock.advance(seconds=1)
    second = count_event(SqlState(), KEY, windows, clock())
    first.undo()
    assert RateLimitLog.get_by_id(KEY).timestamps == second.log.split()[1]
    second.undo()
    assert RateLimitLog.get_by_id(KEY).timestamps == ""
    first.undo()
    assert RateLimitLog.get_by_id(KEY).timestamps == ""


def test_of_events_at_the_same_time_one_is_undone(open_database: None, clock: FakeClock) -> None:
    windows = (RateLimit(2, 60),)
    first, second = (count_event(SqlState(), KEY, windows, clock()) for _ in range(2))
    first.undo()
    assert RateLimitLog.get_by_id(KEY).timestamps == first.log
    second.undo()
    assert RateLimitLog.get_by_id(KEY).timestamps == ""


def test_a_clock_that_is_set_back_allows_no_more(open_database: None, clock: FakeClock) -> None:
    count_event(SqlState(), KEY, ONE_A_MINUTE, clock())
    clock.advance(seconds=-30)
    with pytest.raises(WindowFull) as full:
        count_event(SqlState(), KEY, ONE_A_MINUTE, clock())
    assert full.value.retry_after == 90
