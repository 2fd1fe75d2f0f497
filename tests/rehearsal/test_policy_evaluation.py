from typing import Any

import pytest

from tests.rehearsal.policy_evaluation import is_allowed
from tests.rehearsal.required_permissions import Permission

TOPIC = "arn:aws:sns:us-east-1:123456789012:news"


def policy(**statement: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"Statement": [{"Effect": "Allow", "Action": "sns:Publish", "Resource": "*", **statement}]}


@pytest.mark.parametrize(
    ("statement", "permission", "expected"),
    [
        ({}, Permission("sns:Publish", TOPIC), True),
        ({}, Permission("sns:Subscribe", TOPIC), False),
        ({"Action": ["SNS:publish"]}, Permission("sns:Publish", TOPIC), True),
        ({"Action": ["sns:P*"]}, Permission("sns:Publish", TOPIC), True),
        ({"Resource": ["arn:aws:sns:*:*:ne?s"]}, Permission("sns:Publish", TOPIC), True),
        ({"Resource": "arn.aws.sns.*"}, Permission("sns:Publish", TOPIC), False),
        ({"Resource": TOPIC}, Permission("sns:Publish", "*"), False),
        ({"Condition": {"StringEquals": {"key": "yes"}}}, Permission("sns:Publish", TOPIC, {"key": "yes"}), True),
        ({"Condition": {"StringEquals": {"key": "yes"}}}, Permission("sns:Publish", TOPIC, {"key": "no"}), False),
        ({"Condition": {"StringEquals": {"key": "yes"}}}, Permission("sns:Publish", TOPIC), False),
        ({"Condition": {"ArnNotEquals": {"key": "arn:*"}}}, Permission("sns:Publish", TOPIC, {"key": "arn:a"}), False),
        ({"Condition": {"ArnNotEquals": {"key": "arn:*"}}}, Permission("sns:Publish", TOPIC), True),
    ],
)
def test_a_statement_allows_what_it_is_about(
    statement: dict[str, Any], permission: Permission, *, expected: bool
) -> None:
    assert is_allowed([policy(**statement)], permission) is expected


def test_everything_but_a_resource_may_be_allowed() -> None:
    statement = {"Effect": "Allow", "Action": "sns:Publish", "NotResource": "arn:aws:sns:*:*:*"}
    numbers = [{"Statement": [statement]}]
    assert is_allowed(numbers, Permission("sns:Publish", "+919028000007"))
    assert not is_allowed(numbers, Permission("sns:Publish", TOPIC))


def test_a_denial_wins_in_any_policy() -> None:
    both = [policy(), policy(Effect="Deny", Resource=TOPIC)]
    assert not is_allowed(both, Permission("sns:Publish", TOPIC))
    assert is_allowed(both, Permission("sns:Publish", f"{TOPIC}-2"))


@pytest.mark.parametrize("unknown", [{"NotAction": "a:b"}, {"Condition": {"Bool": {"key": "true"}}}])
def test_what_cannot_be_evaluated_fails(unknown: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a policy has"):
        is_allowed([policy(**unknown)], Permission("sns:Publish", TOPIC))
