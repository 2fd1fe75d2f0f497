"""Checks of the `events` of a stage: Zappa removes all schedules first, so a bad event loses them all."""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from quoteapi.deploy.check import Check

_wrong = partial(Check, "event", "wrong")
_MAX_RULE_NAME_LENGTH = 57
"""EventBridge allows 64 characters. Zappa prefixes the name with as much of a hash of the stage as fits: without any of
it, two stages would share a rule."""
_EXPRESSION = re.compile(r"cron\(\S+( \S+){5}\)|rate\((1 (minute|hour|day)|([2-9]|[1-9]\d+) (minute|hour|day)s)\)")
"""A schedule expression of EventBridge."""


def check_events(events: list[dict[str, Any]]) -> Iterator[Check]:
    """Yield the problems of schedule expressions and of the rule names that Zappa derives."""
    event_of_rule: dict[str, int] = {}
    for number, event in enumerate(events):
        expressions = [event["expression"]] if event.get("expression") else event.get("expressions") or []
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
