"""Evaluates IAM policies, as far as those of QuoteAPI need it.

moto's evaluation (`moto.iam.access_control`) is not enough: it ignores `NotResource`, and takes a condition that does
not hold for a denial, also in a statement that allows.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from tests.rehearsal.required_permissions import Permission

Statement = Mapping[str, Any]


def is_allowed(policies: Iterable[Mapping[str, Any]], permission: Permission) -> bool:
    """Return whether a statement of the policies allows a permission, and none denies it."""
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in policy["Statement"]
        if applies(statement, permission)
    }
    return effects == {"Allow"}


def applies(statement: Statement, permission: Permission) -> bool:
    """Return whether a statement is about a permission. Raises `ValueError` for elements that this does not know."""
    if unknown := statement.keys() - {"Sid", "Effect", "Action", "Resource", "NotResource", "Condition"}:
        raise ValueError(f"a policy has {unknown}")
    is_about = any(matches(pattern.lower(), permission.action.lower()) for pattern in _list(statement["Action"]))
    resources = _list(statement.get("Resource", statement.get("NotResource")))
    is_resource = any(matches(pattern, permission.resource) for pattern in resources)
    return is_about and is_resource == ("Resource" in statement) and _holds(statement, permission.context)


def matches(pattern: str, text: str) -> bool:
    """Return whether a text matches a pattern with `*` and `?`."""
    return _compile(pattern).fullmatch(text) is not None


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    wildcards = {"*": ".*", "?": "."}
    return re.compile("".join(wildcards.get(char, re.escape(char)) for char in pattern))


def _holds(statement: Statement, context: Mapping[str, str]) -> bool:
    return all(_conditions(statement, context))


def _conditions(statement: Statement, context: Mapping[str, str]) -> Iterator[bool]:
    """Yield whether each condition holds. Without a value for the key, only a negated one does."""
    for operator, keys in statement.get("Condition", {}).items():
        for key, expected in keys.items():
            if operator == "StringEquals":
                yield context.get(key) in _list(expected)
            elif operator == "ArnNotEquals":
                yield not any(matches(pattern, context.get(key, "")) for pattern in _list(expected))
            else:
                raise ValueError(f"a policy has a condition {operator}")


def _list(value: Any) -> list[str]:  # noqa: ANN401
    return [value] if isinstance(value, str) else list(value)
