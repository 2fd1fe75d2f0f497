"""The least permissions of a stage: each request to AWS is held against the policy of its caller."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Any

from tests.rehearsal.aws import ACCOUNT, FUNCTION_KEY, OPERATOR_KEY, REGION, Aws
from tests.rehearsal.checks import CheckFailed, check_equal
from tests.rehearsal.policy_evaluation import applies, is_allowed, matches
from tests.rehearsal.required_permissions import ANY, Permission

if TYPE_CHECKING:
    from tests.rehearsal.rehearsal import Rehearsal

FUNCTION, OPERATOR = "the function", "the operator"
POLICY = "zappa-permissions"
SOURCE = "lambda:SourceFunctionArn"
"""The condition key with the ARN of the function whose code makes a request."""
NETWORK_ACTIONS = (
    "ec2:AssignPrivateIpAddresses ec2:CreateNetworkInterface ec2:DeleteNetworkInterface ec2:DescribeNetworkInterfaces"
    " ec2:DescribeSubnets ec2:UnassignPrivateIpAddresses"
)


def enforce_policies(rehearsal: "Rehearsal") -> None:
    """From now on, allow the operator only what `quoteapi policy --deployer` says, and the function what its role may.

    The operator's policy is printed by somebody who may do all.
    """
    policy = json.loads(rehearsal.project.quoteapi("policy", rehearsal.stage.name, "--deployer"))
    rehearsal.aws.limit(OPERATOR_KEY, OPERATOR, policy=policy)
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{rehearsal.stage.function}"
    rehearsal.aws.limit(FUNCTION_KEY, FUNCTION, role=role_name(rehearsal), context={SOURCE: arn})


def role_name(rehearsal: "Rehearsal") -> str:
    """Return the name of the function's role."""
    return f"{rehearsal.stage.function}-ZappaLambdaExecutionRole"


@contextmanager
def check_permissions(aws: Aws) -> Iterator[None]:
    """Raise `CheckFailed` if AWS denies a request of the operator or the function in the block, however it ends."""
    before, failure = aws.recorded_bytes(), None
    try:
        yield
    except Exception as error:  # noqa: BLE001 raised again
        failure = error
    denied = {each.denied for each in aws.requests(before) if each.denied}
    if denied:
        raise CheckFailed("; ".join(sorted(denied))) from failure
    if failure is not None:
        raise failure


def check_role_policy(rehearsal: "Rehearsal") -> None:
    """Check that the role allows what AWS does by it, without a request here, and the network only to Lambda itself."""
    policies, function = [read_role_policy(rehearsal)], rehearsal.configuration["FunctionArn"]
    by_lambda = list(_permissions_by_lambda(rehearsal, function))
    missing = [each.action for each in by_lambda if not is_allowed(policies, each)]
    check_equal("actions that Lambda and API Gateway lack in the role", missing, [])
    by_code = [each._replace(context={SOURCE: function}) for each in by_lambda if each.action.startswith("ec2:")]
    allowed = [each.action for each in by_code if is_allowed(policies, each)]
    check_equal("actions on the network that the code of the function may do", allowed, [])


def read_role_policy(rehearsal: "Rehearsal") -> dict[str, Any]:
    """Return the policy that Zappa gave the function's role."""
    iam = rehearsal.aws.client("iam")
    found = iam.get_role_policy(RoleName=role_name(rehearsal), PolicyName=POLICY)
    document: dict[str, Any] = found["PolicyDocument"]
    return document


def _permissions_by_lambda(rehearsal: "Rehearsal", function: str) -> Iterator[Permission]:
    """Yield what Lambda and API Gateway do by the function's role."""
    stage = rehearsal.stage
    log = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/{stage.function}"
    yield Permission("logs:CreateLogGroup", log)
    yield Permission("logs:CreateLogStream", f"{log}:log-stream:2026/12/01/[$LATEST]1")
    yield Permission("logs:PutLogEvents", f"{log}:log-stream:2026/12/01/[$LATEST]1")
    yield Permission("lambda:InvokeFunction", function)
    if target := rehearsal.project.stage_setting(stage.name, "dead_letter_arn"):
        yield Permission("sqs:SendMessage", target)
    if stage.is_traced:
        yield Permission("xray:PutTraceSegments", ANY)
        yield Permission("xray:PutTelemetryRecords", ANY)
    if stage.is_in_vpc:
        yield from (Permission(action, ANY) for action in NETWORK_ACTIONS.split())


WHY_UNUSED = (
    ("logs:CreateLogGroup logs:CreateLogStream logs:PutLogEvents", "*", "Lambda writes the log"),
    ("lambda:InvokeFunction", "*", "API Gateway invokes the function by its role"),
    ("sqs:SendMessage", "*", "Lambda sends dead letters"),
    ("xray:PutTelemetryRecords xray:PutTraceSegments", "*", "Lambda sends traces"),
    (NETWORK_ACTIONS, "*", "Lambda connects the function with the network"),
    (
        "sns:CreateTopic sns:GetTopicAttributes sns:Publish sns:Subscribe",
        "*:DailyQuoteSubscription*",
        "no number is in DEFAULT_TIME_ZONE, and only one stage lives through a night",
    ),
    ("dynamodb:DeleteItem", "*:table/quoteapi-dev", "releases the claim of a daily SMS that SNS rejected"),
)
"""Actions, a pattern of their resources, and why the function may do them, although no request of it shows that."""


def permissions(rehearsal: "Rehearsal") -> list[str]:
    """Check that the function has used each permission, or that `WHY_UNUSED` says why it has it nevertheless.

    Return those that it has not used, with why.
    """
    requests = [each for each in rehearsal.aws.requests() if each.caller == FUNCTION]
    used = {permission for request in requests for permission in request.permissions}
    unused = dict(unused_permissions(read_role_policy(rehearsal), used))
    check_equal("permissions that no call shows", [each for each, why in unused.items() if not why], [])
    return sorted({f"{permission.partition(' ')[0]}: {why}" for permission, why in unused.items()})


def unused_permissions(policy: dict[str, Any], used: set[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield each action on a resource that a policy allows and that was not used, and why it is there, if known."""
    for statement in policy["Statement"]:
        element = "Resource" if "Resource" in statement else "NotResource"
        for action, resource in product(statement["Action"], statement[element]):
            single = {"Effect": "Allow", "Action": action, element: resource}
            if not any(applies(single, Permission(*each)) for each in used):
                yield f"{action} on {resource}", _why(action, resource)


def _why(action: str, resource: str) -> str:
    reasons = (why for actions, on, why in WHY_UNUSED if action in actions.split() and matches(on, resource))
    return next(reasons, "")
