"""The permissions that requests of boto3 require, and how the emulated AWS denies those that lack them."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.rehearsal.aws import ACCOUNT, OPERATOR_KEY, Aws, emulate_aws
from tests.rehearsal.required_permissions import (
    HttpRequest,
    Permission,
    UnknownCall,
    parse_call,
    required_permissions,
    stack_permissions,
)

PHONE = "+919028000007"
ARN = f"arn:aws:{{}}:us-east-1:{ACCOUNT}:{{}}"
TOPIC, RULE = ARN.format("sns", "news"), ARN.format("events", "rule/r")


class Sent(Exception):
    pass


def request_of(service: str, operation: str, **parameters: Any) -> HttpRequest:  # noqa: ANN401
    """Return the request that boto3 sends."""
    session = boto3.Session("testing", "testing", region_name="us-east-1")
    client: Any = session.client(service, endpoint_url="http://127.0.0.1:1")  # type: ignore[call-overload]
    sent: list[HttpRequest] = []

    def keep(request: Any, **_: object) -> None:  # noqa: ANN401
        url, headers = urlsplit(request.url), {name.lower(): _text(value) for name, value in request.headers.items()}
        body = request.body.read() if hasattr(request.body, "read") else request.body or b""
        sent.append(
            HttpRequest(
                request.method, url.path, url.query, headers, body if isinstance(body, bytes) else body.encode()
            )
        )
        raise Sent

    client.meta.events.register("before-send", keep)
    with pytest.raises(Sent):
        getattr(client, operation)(**parameters)
    return sent[0]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "expected"),
    [
        ("sts", "get_caller_identity", {}, []),
        (
            "sns",
            "publish",
            {"TopicArn": ARN.format("sns", "t"), "Message": "m"},
            [("sns:Publish", ARN.format("sns", "t"))],
        ),
        (
            "sns",
            "publish",
            {"PhoneNumber": PHONE, "Message": "m"},
            [("sns:Publish", PHONE), ("sms-voice:SendTextMessage", "*")],
        ),
        ("sns", "create_topic", {"Name": "news"}, [("sns:CreateTopic", TOPIC)]),
        (
            "sns",
            "create_sms_sandbox_phone_number",
            {"PhoneNumber": PHONE},
            [
                ("sns:CreateSMSSandboxPhoneNumber", "*"),
                ("sms-voice:CreateVerifiedDestinationNumber", "*"),
                ("sms-voice:SendDestinationNumberVerificationCode", "*"),
            ],
        ),
        ("s3", "head_bucket", {"Bucket": "b"}, [("s3:ListBucket", "arn:aws:s3:::b")]),
        ("s3", "list_objects_v2", {"Bucket": "b"}, [("s3:ListBucket", "arn:aws:s3:::b")]),
        ("s3", "put_object", {"Bucket": "b", "Key": "k/l", "Body": b""}, [("s3:PutObject", "arn:aws:s3:::b/k/l")]),
        (
            "s3",
            "upload_part",
            {"Bucket": "b", "Key": "k", "PartNumber": 1, "UploadId": "u", "Body": b""},
            [("s3:PutObject", "arn:aws:s3:::b/k")],
        ),
        ("s3", "get_bucket_encryption", {"Bucket": "b"}, [("s3:GetEncryptionConfiguration", "arn:aws:s3:::b")]),
        (
            "lambda",
            "invoke",
            {"FunctionName": "f", "InvocationType": "Event"},
            [("lambda:InvokeFunction", ARN.format("lambda", "function:f"))],
        ),
        (
            "lambda",
            "delete_function",
            {"FunctionName": ARN.format("lambda", "function:f"), "Qualifier": "1"},
            [("lambda:DeleteFunction", ARN.format("lambda", "function:f:1"))],
        ),
        (
            "lambda",
            "get_function",
            {"FunctionName": "function:f:1"},
            [("lambda:GetFunction", ARN.format("lambda", "function:f:1"))],
        ),
        ("dynamodb", "scan", {"TableName": "t"}, [("dynamodb:Scan", ARN.format("dynamodb", "table/t"))]),
        (
            "dynamodb",
            "query",
            {"TableName": "t", "IndexName": "topic"},
            [("dynamodb:Query", ARN.format("dynamodb", "table/t/index/topic"))],
        ),
        (
            "dynamodb",
            "transact_write_items",
            {"TransactItems": [{"Update": {"TableName": "t", "Key": {}, "UpdateExpression": "x"}}]},
            [("dynamodb:UpdateItem", ARN.format("dynamodb", "table/t"))],
        ),
        (
            "events",
            "list_targets_by_rule",
            {"Rule": "r"},
            [("events:ListTargetsByRule", ARN.format("events", "rule/r"))],
        ),
        (
            "events",
            "put_rule",
            {"Name": "r", "RoleArn": "arn:aws:iam::1:role/r"},
            [("events:PutRule", RULE), ("iam:PassRole", "arn:aws:iam::1:role/r")],
        ),
        ("apigateway", "get_rest_apis", {}, [("apigateway:GET", "arn:aws:apigateway:us-east-1::/restapis")]),
        (
            "cloudwatch",
            "delete_alarms",
            {"AlarmNames": ["a", "b"]},
            [("cloudwatch:DeleteAlarms", ARN.format("cloudwatch", f"alarm:{name}")) for name in "ab"],
        ),
        ("cloudwatch", "describe_alarms", {"AlarmNames": ["a"]}, [("cloudwatch:DescribeAlarms", "*")]),
        (
            "budgets",
            "update_budget",
            {"AccountId": ACCOUNT, "NewBudget": {"BudgetName": "b", "TimeUnit": "MONTHLY", "BudgetType": "COST"}},
            [("budgets:ModifyBudget", f"arn:aws:budgets::{ACCOUNT}:budget/b")],
        ),
        (
            "route53",
            "list_resource_record_sets",
            {"HostedZoneId": "Z1"},
            [("route53:ListResourceRecordSets", "arn:aws:route53:::hostedzone/Z1")],
        ),
        (
            "sqs",
            "get_queue_attributes",
            {"QueueUrl": f"http://127.0.0.1:1/{ACCOUNT}/q"},
            [("sqs:GetQueueAttributes", ARN.format("sqs", "q"))],
        ),
    ],
)
def test_a_request_requires_the_permissions_that_aws_documents(
    service: str, operation: str, parameters: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    required = required_permissions(parse_call(request_of(service, operation, **parameters)))
    assert [(each.action, each.resource) for each in required] == expected


def test_a_stack_requires_what_cloudformation_does_for_the_caller() -> None:
    method = {"Type": "AWS::ApiGateway::Method", "Properties": {"Credentials": "arn:aws:iam::1:role/r"}}
    template = {"Resources": {"Api": {"Type": "AWS::ApiGateway::RestApi"}, "Get": method}}
    arn = "arn:aws:apigateway:eu-west-1::"
    assert list(stack_permissions(template, "eu-west-1", is_tagged=True)) == [
        Permission("apigateway:POST", f"{arn}/restapis"),
        Permission("apigateway:PUT", f"{arn}/restapis/id/resources/id/methods/ANY"),
        Permission("apigateway:PUT", f"{arn}/tags/arn"),
        Permission("iam:PassRole", "arn:aws:iam::1:role/r", {"iam:PassedToService": "apigateway.amazonaws.com"}),
    ]


def test_a_request_that_is_no_operation_is_refused() -> None:
    request = request_of("lambda", "list_functions")
    with pytest.raises(UnknownCall, match="PATCH /nothing is no operation of lambda"):
        parse_call(request._replace(method="PATCH", path="/nothing"))


# ---- the emulated AWS


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    """Run an emulated AWS in which the operator may only publish to a topic."""
    statement = {"Effect": "Allow", "Action": "sns:CreateTopic", "Resource": TOPIC}
    with emulate_aws() as emulated:
        emulated.limit(OPERATOR_KEY, "the operator", policy={"Statement": [statement]})
        yield emulated


def client_of(aws: Aws, service: str) -> Any:  # noqa: ANN401
    session = boto3.Session(OPERATOR_KEY, "testing", region_name="us-east-1")
    return session.client(service, endpoint_url=aws.address)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "code"),
    [
        ("sns", "create_topic", {"Name": "other"}, "AuthorizationError"),
        ("iam", "get_role", {"RoleName": "r"}, "AccessDenied"),
        ("s3", "get_object", {"Bucket": "b", "Key": "k"}, "AccessDenied"),
        ("s3", "head_bucket", {"Bucket": "b"}, "403"),
        ("route53", "list_hosted_zones", {}, "AccessDenied"),
        ("dynamodb", "get_item", {"TableName": "t", "Key": {}}, "AccessDeniedException"),
        ("lambda", "get_function", {"FunctionName": "f"}, "AccessDeniedException"),
        ("apigateway", "get_rest_apis", {}, "AccessDeniedException"),
    ],
)
def test_aws_denies_a_request_as_the_service_does(
    aws: Aws, service: str, operation: str, parameters: dict[str, Any], code: str
) -> None:
    with pytest.raises(ClientError) as denied:
        getattr(client_of(aws, service), operation)(**parameters)
    assert denied.value.response["Error"]["Code"] == code
    assert "the operator called" in aws.requests()[-1].denied


def test_aws_allows_what_a_policy_says_and_everything_to_others(aws: Aws) -> None:
    client_of(aws, "sns").create_topic(Name="news")
    aws.client("sns").publish(TopicArn=TOPIC, Message="by somebody who may do all")
    ours, others = aws.requests()[-2:]
    assert (ours.caller, ours.permissions, ours.denied) == ("the operator", [("sns:CreateTopic", TOPIC)], "")
    assert (others.caller, others.permissions, others.denied) == ("", [], "")
