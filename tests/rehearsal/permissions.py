"""The least permissions of a stage: each request to AWS is held against the policy of its caller."""

import json
from typing import TYPE_CHECKING

from tests.rehearsal.aws import FUNCTION_KEY, OPERATOR_KEY, Aws
from tests.rehearsal.checks import CheckFailed

if TYPE_CHECKING:
    from tests.rehearsal.rehearsal import Rehearsal

FUNCTION, OPERATOR = "the function", "the operator"
POLICY = "zappa-permissions"


def enforce_policies(rehearsal: "Rehearsal") -> None:
    """From now on, allow the operator only what `quoteapi policy --deployer` says, and the function what its role may.

    The operator's policy is printed by somebody who may do all.
    """
    policy = json.loads(rehearsal.project.quoteapi("policy", rehearsal.stage.name, "--deployer"))
    rehearsal.aws.limit(OPERATOR_KEY, OPERATOR, policy=policy)
    function = f"arn:aws:lambda:us-east-1:123456789012:function:{rehearsal.stage.function}"
    context = {"lambda:SourceFunctionArn": function}
    rehearsal.aws.limit(FUNCTION_KEY, FUNCTION, role=role_name(rehearsal), context=context)


def role_name(rehearsal: "Rehearsal") -> str:
    """Return the name of the function's role."""
    return f"{rehearsal.stage.function}-ZappaLambdaExecutionRole"


def check_no_request_was_denied(aws: Aws) -> None:
    """Raise `CheckFailed` if AWS has denied a request of the operator or the function."""
    if denied := sorted({each.denied for each in aws.requests() if each.denied}):
        raise CheckFailed("; ".join(denied))
