from datetime import timedelta
from typing import Any

import pytest
from zappa.core import Zappa

from quoteapi.deploy.checks.event_checks import MAX_MINUTES, rule_name
from quoteapi.subscriptions.schedule import INTERVAL
from tests.deploy.conftest import DAILY_SMS, REMOTE, ProblemsOf, describe


def make_event(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"function": "quoteapi.aws.schedulers.reconcile_subscriptions", "expression": "rate(1 hour)", **changes}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([make_event(), make_event()], "events[1] has the same name as events[0]"),
        (
            [make_event(name="a"), make_event(name="b"), make_event(name="a")],
            "events[2] has the same name as events[0]",
        ),
        ([make_event(name="a" * 16)], "events[0]: name and function have 64 characters together"),
        ([make_event(name="a b")], "events[0].name has a character"),
        ([make_event(function="quoteapi.re-do")], "events[0].function has a character"),
        ([make_event(expression="rate(1 hours)")], "events[0]: EventBridge does not understand rate(1 hours)"),
        ([make_event(expression="cron(0 2 * * *)")], "events[0]: EventBridge does not understand cron(0 2 * * *)"),
        (
            [make_event(expression=None, expressions=["rate(1 day)", "daily"])],
            "events[0]: EventBridge does not understand daily",
        ),
        ([make_event(expression=None)], "events[0] has no schedule"),
        (["daily"], "events[0] has no schedule"),
    ],
)
def test_an_event_that_would_lose_schedules_is_reported(
    problems_of: ProblemsOf, events: list[Any], expected: str
) -> None:
    found = [check for check in problems_of(events=events) if check.name == "event"]
    assert found
    assert {check.state for check in found} == {"wrong"}
    assert found[0].found.startswith(expected)


def test_valid_events_have_no_problems(problems_of: ProblemsOf) -> None:
    twice = make_event(name="b", expression=None, expressions=["rate(2 days)", "cron(0 2 ? * MON-FRI *)"])
    stream = {
        "function": "quoteapi.aws.schedulers.reconcile_subscriptions",
        "event_source": {"arn": "arn:aws:sqs:x:1:q"},
    }
    assert problems_of(events=[make_event(), make_event(name="a" * 9), twice, stream, DAILY_SMS]) == []


@pytest.mark.parametrize(
    "expressions",
    [
        ["rate(15 minutes)"],
        ["rate(1 minute)"],
        ["rate(7 minutes)"],
        ["cron(0/15 * * * ? *)"],
        ["cron(*/5 * ? * * *)"],
        ["cron(* * * * ? *)"],
        ["cron(1,16,31,46 * * * ? *)"],
        ["cron(0-59/10 0/1 * * ? *)"],
        ["rate(1 day)", "rate(15 minutes)"],
        ["cron(0,30 * * * ? *)", "cron(15,45 * * * ? *)"],
    ],
)
def test_an_event_that_sends_the_daily_sms_every_15_minutes_is_ok(
    problems_of: ProblemsOf, expressions: list[str]
) -> None:
    event = DAILY_SMS | {"expression": None, "expressions": expressions}
    assert problems_of(events=[event]) == []
    apart = [DAILY_SMS | {"name": f"sms-{number}", "expression": text} for number, text in enumerate(expressions)]
    assert problems_of(events=apart) == []


@pytest.mark.parametrize(
    "expression",
    [
        "cron(0 2 * * ? *)",
        "cron(0/15 2-20 * * ? *)",
        "cron(0/15 * ? * MON-FRI *)",
        "cron(0/20 * * * ? *)",
        "cron(0,15,30 * * * ? *)",
        "cron(0-30/15 * * * ? *)",
        "cron(L * * * ? *)",
        "rate(16 minutes)",
        "rate(1 hour)",
        "rate(1 day)",
    ],
)
@pytest.mark.parametrize("module", ["quoteapi.aws.schedulers", "quoteapi.schedulers"])
def test_an_event_that_sends_the_daily_sms_too_rarely_is_reported(
    problems_of: ProblemsOf, expression: str, module: str
) -> None:
    function = f"{module}.publish_quote_of_the_day"
    (problem,) = problems_of(events=[{"name": "sms", "function": function, "expression": expression}])
    assert describe(problem) == (
        f"wrong: {expression} of publish_quote_of_the_day is too rare: not all time zones get the daily SMS"
        ' Set its "expression" to "rate(15 minutes)".'
    )


def test_the_longest_interval_is_that_of_the_schedule() -> None:
    assert timedelta(minutes=MAX_MINUTES) == INTERVAL


def test_a_stage_that_has_subscribers_needs_an_event_that_sends_the_daily_sms(problems_of: ProblemsOf) -> None:
    (problem,) = problems_of(events=[make_event()])
    assert describe(problem).startswith("wrong: no event sends the daily SMS Add an event with the function ")
    assert problems_of({"SECRET_KEY": REMOTE["SECRET_KEY"]}, events=[make_event()])[0].name == "database"


@pytest.mark.parametrize("changes", [{}, {"name": "a"}, {"name": "a" * 19}, {"name": "quoteapi.x"}])
@pytest.mark.parametrize("index", [0, 1, 11])
def test_a_rule_has_the_name_that_zappa_gives_it(changes: dict[str, str], index: int) -> None:
    rule = rule_name(make_event(**changes), index)
    zappa, event = Zappa(load_credentials=False), make_event(**changes)
    if len(rule) > 63:
        with pytest.raises(OSError, match="too long"):
            zappa.get_scheduled_event_name(event, event["function"], "q", index)
    else:
        assert zappa.get_scheduled_event_name(event, event["function"], "q", index).endswith(f"-{rule}")
