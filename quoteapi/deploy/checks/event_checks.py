"""Checks of the `events` of a stage: Zappa removes all schedules first, so a bad event loses them all."""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

from quoteapi.deploy.checks.check import Check

_wrong = partial(Check, "event", "wrong")
_MAX_RULE_NAME_LENGTH = 57
"""EventBridge allows 64 characters. Zappa prefixes the name with as much of a hash of the stage as fits: without any of
it, two stages would share a rule."""
MAX_MINUTES = 15
"""How often the daily SMS must be sent where it is due, as `subscriptions.schedule.INTERVAL`, whose import is slow."""
_EXPRESSION = re.compile(r"cron\(\S+( \S+){5}\)|rate\((1 (minute|hour|day)|([2-9]|[1-9]\d+) (minute|hour|day)s)\)")
"""A schedule expression of EventBridge."""


def check_events(events: list[dict[str, Any]]) -> Iterator[Check]:
    """Yield the problems of schedule expressions and of the rule names that Zappa derives."""
    event_of_rule: dict[str, int] = {}
    for number, event in enumerate(events):
        expressions = _expressions(event)
        if not expressions and not event.get("event_source"):
            yield _wrong(f"events[{number}] has no schedule", 'Set its "expression", for example "rate(1 hour)".')
        for index, expression in enumerate(expressions):
            if not _EXPRESSION.fullmatch(str(expression)):
                to_do = "Write it as rate(1 hour), rate(5 minutes) or cron(0 2 * * ? *)."
                yield _wrong(f"events[{number}]: EventBridge does not understand {expression}", to_do)
            name = rule_name(event, index)
            if (other_event := event_of_rule.setdefault(name, number)) != number:
                found = f"events[{number}] has the same name as events[{other_event}]: they would share one rule"
                yield _wrong(found, 'Set another "name".')
        if expressions:
            yield from _check_rule_name(f"events[{number}]", event, rule_name(event, len(expressions) - 1))
    yield from check_daily_sms(events)


def check_daily_sms(events: list[dict[str, Any]]) -> Iterator[Check]:
    """Yield a problem if the events that send the daily SMS run too rarely to reach each time zone at its hour."""
    expressions = [str(expression) for event in events if _sends_daily_sms(event) for expression in _expressions(event)]
    minutes = sorted(set().union(*map(_minutes_of_each_hour, expressions)))
    gaps = [after - before for before, after in pairwise([*minutes, *(minute + 60 for minute in minutes[:1])])]
    if expressions and max(gaps, default=60) > MAX_MINUTES:
        found = (
            f"{', '.join(expressions)} of publish_quote_of_the_day is too rare: not all time zones get the daily SMS"
        )
        yield _wrong(found, 'Set its "expression" to "rate(15 minutes)".')


def has_daily_sms(events: list[dict[str, Any]]) -> bool:
    """Return whether an event sends the daily SMS."""
    return any(map(_sends_daily_sms, events))


def _sends_daily_sms(event: Mapping[str, Any]) -> bool:
    return str(event.get("function")).endswith(".schedulers.publish_quote_of_the_day")


def _expressions(event: Mapping[str, Any]) -> list[Any]:
    return [event["expression"]] if event.get("expression") else event.get("expressions") or []


def _minutes_of_each_hour(expression: str) -> set[int]:
    """Return the minutes at which an expression runs in each hour of each day; none if it leaves out an hour."""
    if rate := re.fullmatch(r"rate\(([1-9]\d*) minutes?\)", expression):
        return set(range(0, 60, int(rate[1])))
    fields = expression.removeprefix("cron(").removesuffix(")").split(" ")
    if not expression.startswith("cron(") or any(field not in {"*", "?", "*/1", "0/1"} for field in fields[1:]):
        return set()
    return set().union(*map(_minutes, fields[0].split(",")))


def _minutes(part: str) -> set[int]:
    """Return the minutes of a part of the first field of cron, as 5, 0-30, 0/15 or */15."""
    match = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/([1-9]\d*))?", part)
    if match is None:
        return set()
    first, last, step = match.groups()
    is_range = first is None or step is not None
    end = int(last) if last else 59 if is_range else int(first)
    return set(range(int(first or 0), end + 1, int(step or 1)))


def rule_name(event: Mapping[str, Any], index: int) -> str:
    """Return the name that Zappa gives the rule of an event's expression, without its stage prefix."""
    function = str(event.get("function", ""))
    name = str(event.get("name", function))
    return f"{index}-" * bool(index) + (name if name == function else f"{name}-{function}")


def _check_rule_name(key_path: str, event: Mapping[str, Any], rule: str) -> Iterator[Check]:
    if len(rule) > _MAX_RULE_NAME_LENGTH:
        length = f"{len(rule)} characters together; the maximum is {_MAX_RULE_NAME_LENGTH}"
        yield _wrong(f"{key_path}: name and function have {length}", "Shorten its name.")
    if not re.fullmatch(r"[._A-Za-z0-9]*", str(event.get("function", ""))):
        yield _wrong(f"{key_path}.function has a character other than A-Z a-z 0-9 . _", "Rename it.")
    if not re.fullmatch(r"[-._A-Za-z0-9]+", rule):
        yield _wrong(f"{key_path}.name has a character other than A-Z a-z 0-9 . _ -", "Rename it.")
