"""A short simulation; `make simulate` runs a long one. And faults in the service that a simulation finds."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any

import pytest

from quoteapi.subscriptions.daily_delivery import DailyDelivery, DeliveryResult, Morning
from quoteapi.subscriptions.delivery_hours import DeliveryHours, DeliveryWindow
from quoteapi.subscriptions.topic_sync import TopicSync
from quoteapi.time_zones import start_of_local_date
from tests.simulation.__main__ import simulate, split
from tests.simulation.world import Plan

AUTUMN = Plan(date(2011, 10, 25), date(2011, 11, 10), 120, "1", actions_per_day=12)
"""Clocks change in Europe, America and Australia."""
SAMOA = Plan(date(2011, 12, 22), date(2012, 1, 4), 120, "2", actions_per_day=12)


@pytest.mark.parametrize("plan", [AUTUMN, SAMOA, replace(AUTUMN, daily_sms_at="02:30", quiet_hours="off", seed="3")])
def test_nothing_is_lost_doubled_or_in_quiet_hours(plan: Plan) -> None:
    counts, violation = simulate(plan)
    assert violation is None
    assert counts["delivered"] > 0.7 * counts["mornings"] > 100


def test_a_seed_replays_a_simulation() -> None:
    plan = replace(AUTUMN, last=AUTUMN.first + timedelta(days=5))
    assert simulate(plan) == simulate(plan) != simulate(replace(plan, seed="another"))


def test_a_plan_is_split_into_consecutive_parts() -> None:
    parts = list(split(Plan(date(2009, 1, 1), date(2018, 12, 31), 3_000, "x"), 2))
    assert [(part.first, part.last, part.people, part.seed) for part in parts] == [
        (date(2009, 1, 1), date(2013, 12, 31), 1_500, "x/1"),
        (date(2014, 1, 1), date(2018, 12, 31), 1_500, "x/2"),
    ]


# ---- faults in the service, each of which must be found


window = DeliveryHours.window


def join_at_once(*_: object) -> None:
    return None


def publish_without_claim(self: DailyDelivery, morning: Morning, **_: object) -> DeliveryResult:
    message_id = self.gateway.publish(self._preview(morning).text.message, morning.topic)
    return self._result(morning, "sent", "Sent.", message_id)


def close_late(self: DeliveryHours, time_zone: str, day: date) -> DeliveryWindow:
    opens_at, closes_at = window(self, time_zone, day)
    return DeliveryWindow(opens_at, closes_at + timedelta(hours=2))


def report_nothing(*_: object) -> Iterator[Any]:
    return iter(())


def open_at_utc(self: DeliveryHours, time_zone: str, day: date) -> DeliveryWindow:
    start = datetime.combine(day, time(9), start_of_local_date(day, "Etc/UTC").tzinfo)
    return DeliveryWindow(start, start + timedelta(hours=12))


@pytest.mark.parametrize(
    ("owner", "name", "fault", "found"),
    [
        (TopicSync, "_wait_until", join_at_once, "doubled"),
        (DailyDelivery, "_publish", publish_without_claim, "doubled"),
        (TopicSync, "sync_due", lambda *_: None, "lost"),
        (DeliveryHours, "window", close_late, "in quiet hours"),
        (DeliveryHours, "window", open_at_utc, "paused for"),
        (DailyDelivery, "_report", report_nothing, "not reported"),
    ],
)
def test_a_fault_in_the_service_is_found(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, fault: Callable[..., Any], found: str
) -> None:
    monkeypatch.setattr(owner, name, fault)
    descriptions = (simulate(replace(AUTUMN, seed=f"{number}"))[1] for number in range(6))
    assert found in (next(filter(None, descriptions), None) or "nothing was found").split("\n")[0]
