"""The permissions that a request to AWS requires: its own action, and those of services that act for the caller.

Actions and resources are as in AWS's "Service Authorization Reference". An operation that this module does not know
requires a permission that nobody has, so that a rehearsal fails until somebody adds it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import chain
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from botocore.model import OperationModel, ServiceModel
from botocore.session import Session, get_session

ACCOUNT = "123456789012"
ANY = "*"


class Permission(NamedTuple):
    """An action on a resource, in a context: the values of condition keys."""

    action: str
    resource: str
    context: dict[str, str] = {}  # noqa: RUF012 never changed


class HttpRequest(NamedTuple):
    """A request as it is sent; the names of headers are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class Call(NamedTuple):
    """A request as an operation with parameters."""

    service: str
    """The name that signs requests, as in `monitoring`."""
    region: str
    protocol: str
    operation: str
    parameters: dict[str, Any]
    method: str
    path: str


class UnknownCall(Exception):
    """The request is not one that this module can parse."""


SERVICE_PREFIXES = {"monitoring": "cloudwatch"}
"""The prefix of actions, if it is not the name that signs requests."""
ACTIONS = {
    "budgets:CreateBudget": "budgets:ModifyBudget",
    "budgets:CreateNotification": "budgets:ModifyBudget",
    "budgets:CreateSubscriber": "budgets:ModifyBudget",
    "budgets:DeleteBudget": "budgets:ModifyBudget",
    "budgets:DescribeBudget": "budgets:ViewBudget",
    "budgets:DescribeNotificationsForBudget": "budgets:ViewBudget",
    "budgets:DescribeSubscribersForNotification": "budgets:ViewBudget",
    "budgets:UpdateBudget": "budgets:ModifyBudget",
    "lambda:Invoke": "lambda:InvokeFunction",
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:ListObjects": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:UploadPart": "s3:PutObject",
}
"""The actions of operations that have another name."""
RESOURCES = {
    "acm": ("{CertificateArn}",),
    "budgets": (f"arn:aws:budgets::{ACCOUNT}:budget/{{BudgetName}}",),
    "cloudformation": (f"arn:aws:cloudformation:{{region}}:{ACCOUNT}:stack/{{StackName}}/id",),
    "dynamodb": (
        f"arn:aws:dynamodb:{{region}}:{ACCOUNT}:table/{{TableName}}/index/{{IndexName}}",
        f"arn:aws:dynamodb:{{region}}:{ACCOUNT}:table/{{TableName}}",
    ),
    "events": (
        f"arn:aws:events:{{region}}:{ACCOUNT}:rule/{{Rule}}",
        f"arn:aws:events:{{region}}:{ACCOUNT}:rule/{{Name}}",
    ),
    "iam": (f"arn:aws:iam::{ACCOUNT}:role/{{RoleName}}", "{PolicySourceArn}"),
    "lambda": (
        f"arn:aws:lambda:{{region}}:{ACCOUNT}:function:{{FunctionName}}:{{Qualifier}}",
        f"arn:aws:lambda:{{region}}:{ACCOUNT}:function:{{FunctionName}}",
    ),
    "logs": (f"arn:aws:logs:{{region}}:{ACCOUNT}:log-group:{{logGroupName}}",),
    "monitoring": (f"arn:aws:cloudwatch:{{region}}:{ACCOUNT}:alarm:{{AlarmName}}",),
    "route53": ("arn:aws:route53:::hostedzone/{HostedZoneId}", "arn:aws:route53:::hostedzone/{Id}"),
    "s3": ("arn:aws:s3:::{Bucket}/{Key}", "arn:aws:s3:::{Bucket}"),
    "sns": ("{TopicArn}", f"arn:aws:sns:{{region}}:{ACCOUNT}:{{Name}}"),
    "sqs": (f"arn:aws:sqs:{{region}}:{ACCOUNT}:{{QueueName}}",),
}
"""How the parameters of an operation name its resource: the first one whose parameters are all there, else `*`."""
SMS_ACTIONS = {
    "CheckIfPhoneNumberIsOptedOut": ("DescribeOptedOutNumbers",),
    "CreateSMSSandboxPhoneNumber": ("CreateVerifiedDestinationNumber", "SendDestinationNumberVerificationCode"),
    "GetSMSAttributes": ("DescribeSpendLimits",),
    "GetSMSSandboxAccountStatus": ("DescribeAccountAttributes",),
    "ListPhoneNumbersOptedOut": ("DescribeOptedOutNumbers",),
    "ListSMSSandboxPhoneNumbers": ("DescribeVerifiedDestinationNumbers",),
    "OptInPhoneNumber": ("DeleteOptedOutNumber",),
    "SetSMSAttributes": ("SetTextMessageSpendLimitOverride",),
    "VerifySMSSandboxPhoneNumber": ("VerifyDestinationNumber",),
}
"""The actions of AWS End User Messaging that SNS calls in the caller's name, by operation of SNS."""


def parse_call(request: HttpRequest) -> Call:
    """Return the operation of a signed request, and its parameters. Raises `UnknownCall`."""
    scope = re.search(r"Credential=[^/]+/\d+/([a-z0-9-]+)/([a-z0-9-]+)/", request.headers.get("authorization", ""))
    if scope is None:
        raise UnknownCall(f"{request.method} {request.path} is not signed")
    region, service = scope.groups()
    return Call(service, region, *_parse_operation(_service_model(service), request), request.method, request.path)


def _parse_operation(model: ServiceModel, request: HttpRequest) -> tuple[str, str, dict[str, Any]]:
    """Return the protocol, the operation and the parameters of a request."""
    protocol = model.metadata["protocol"]
    if target := request.headers.get("x-amz-target"):
        return "json", target.rpartition(".")[2], json.loads(request.body or b"{}")
    if protocol in {"ec2", "query"}:
        form = dict(parse_qsl(request.body.decode()))
        return protocol, form["Action"], form
    operation, parameters = _match_operation(model, request)
    has_json = protocol == "rest-json" and request.body.startswith(b"{")
    return protocol, operation, (json.loads(request.body) if has_json else {}) | parameters


@cache
def _service_model(service: str) -> ServiceModel:
    name = {"monitoring": "cloudwatch"}.get(service, service)
    return _session().get_service_model(name)


@cache
def _session() -> Session:
    return get_session()


def _match_operation(model: ServiceModel, request: HttpRequest) -> tuple[str, dict[str, str]]:
    """Return the operation with a request's method, path, query and headers; and the parameters in path and query."""
    given = {**request.headers, **dict(parse_qsl(request.query, keep_blank_values=True))}
    found = [
        (len(required), name, {label: unquote(value) for label, value in match.groupdict().items()})
        for name, expected_method, pattern, required in _operations(model)
        if expected_method == request.method
        and (match := pattern.fullmatch(request.path.rstrip("/")))
        and all(key in given and value in {"", given[key]} for key, value in required.items())
    ]
    if not found:
        raise UnknownCall(f"{request.method} {request.path} is no operation of {model.service_name}")
    _, name, parameters = max(found, key=lambda each: each[0])
    return name, {**dict(parse_qsl(request.query)), **parameters}


@cache
def _operations(model: ServiceModel) -> list[tuple[str, str, re.Pattern[str], dict[str, str]]]:
    """Return the name and the method of each operation, the pattern of its path, and what it requires besides.

    That is query parameters and headers by name, of which some have a fixed value.
    """
    return [_describe_operation(model.operation_model(name)) for name in model.operation_names]


def _describe_operation(operation: OperationModel) -> tuple[str, str, re.Pattern[str], dict[str, str]]:
    path, _, query = operation.http["requestUri"].partition("?")
    path = operation.http.get("authPath", path)  # with the bucket, which boto3's clients remove from the model
    pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path.rstrip("/")))
    pattern = re.sub(r"\\{(\w+)\\\+\\}", r"(?P<\1>.+)", pattern)
    shape = operation.input_shape
    members = [shape.members[name].serialization for name in shape.required_members] if shape else []
    required = {each["name"]: "" for each in members if each.get("location") == "querystring"}
    required |= {each["name"].lower(): "" for each in members if each.get("location") == "header"}
    fixed = dict(parse_qsl(query, keep_blank_values=True))
    return operation.name, operation.http["method"], re.compile(pattern), {**required, **fixed}


def required_permissions(call: Call) -> list[Permission]:
    """Return the permissions that a call requires."""
    if call.service == "sts":
        return []  # GetCallerIdentity needs none
    if call.service == "apigateway":
        own = Permission(f"apigateway:{call.method}", f"arn:aws:apigateway:{call.region}::{call.path}")
        return [
            own,
            *([Permission("cloudfront:UpdateDistribution", ANY)] if call.operation == "CreateDomainName" else []),
        ]
    if call.operation in {"BatchWriteItem", "TransactWriteItems"}:
        return list(_permissions_of_writes(call))
    return [*_own_permissions(call), *_permissions_of_services(call)]


def _own_permissions(call: Call) -> Iterator[Permission]:
    action = f"{SERVICE_PREFIXES.get(call.service, call.service)}:{call.operation}"
    for resource in _resources(call):
        yield Permission(ACTIONS.get(action, action), resource)


def _resources(call: Call) -> list[str]:
    """Return the resources of a call: `*` if it has none."""
    if call.service == "sns" and call.operation == "Publish" and "PhoneNumber" in call.parameters:
        return [call.parameters["PhoneNumber"]]
    names = _names(call)
    for template in RESOURCES.get(call.service, ()):
        if names.keys() >= set(re.findall(r"\{(\w+)\}", template)):
            return [template.format_map(names)]
    if call.operation == "DeleteAlarms":
        return [RESOURCES["monitoring"][0].format(region=call.region, AlarmName=name) for name in names["AlarmNames"]]
    return [ANY]


def _names(call: Call) -> dict[str, Any]:
    """Return the parameters of a call and of their objects, with names instead of ARNs and URLs."""
    nested = [value for value in call.parameters.values() if isinstance(value, dict)]
    names = {name: value for each in (*nested, call.parameters) for name, value in each.items()}
    if "FunctionName" in names:
        names["FunctionName"] = names["FunctionName"].rpartition("function:")[2]
    if "QueueUrl" in names:
        names["QueueName"] = names["QueueUrl"].rpartition("/")[2]
    return {**names, "region": call.region}


def _permissions_of_writes(call: Call) -> Iterator[Permission]:
    """Yield those of a transaction, or of a batch, in DynamoDB."""
    if call.operation == "BatchWriteItem":
        writes = [("BatchWriteItem", table) for table in call.parameters["RequestItems"]]
    else:
        items = chain.from_iterable(item.items() for item in call.parameters["TransactItems"])
        writes = [(f"{kind}Item", write["TableName"]) for kind, write in items]
    for action, table in writes:
        yield Permission(f"dynamodb:{action}", f"arn:aws:dynamodb:{call.region}:{ACCOUNT}:table/{table}")


def _permissions_of_services(call: Call) -> Iterator[Permission]:
    """Yield those of what the service does in the caller's name, or by a role that the caller passes to it."""
    parameters = call.parameters
    role = parameters.get("Role") or parameters.get("RoleArn")
    if role and call.service in {"events", "lambda"}:
        yield Permission("iam:PassRole", role, {"iam:PassedToService": f"{call.service}.amazonaws.com"})
    code = parameters.get("Code", parameters)
    if call.service == "lambda" and "S3Key" in code:
        yield Permission("s3:GetObject", f"arn:aws:s3:::{code['S3Bucket']}/{code['S3Key']}")
    if call.service == "lambda" and parameters.get("VpcConfig", {}).get("SubnetIds"):
        for action in ("DescribeSecurityGroups", "DescribeSubnets", "DescribeVpcs"):
            yield Permission(f"ec2:{action}", ANY)
    if call.service == "sns":
        is_sms = call.operation == "Publish" and "PhoneNumber" in parameters
        for action in ("SendTextMessage",) if is_sms else SMS_ACTIONS.get(call.operation, ()):
            yield Permission(f"sms-voice:{action}", ANY, {"aws:CalledViaLast": "sns.amazonaws.com"})
    if "TemplateURL" in parameters:
        yield Permission("s3:GetObject", f"arn:aws:s3:::{unquote(parameters['TemplateURL'].split('/', 3)[3])}")
    if call.operation == "DeleteStack":
        yield Permission("apigateway:DELETE", f"arn:aws:apigateway:{call.region}::/restapis/id")


STACK_CALLS = {
    "AWS::ApiGateway::RestApi": ("POST", "/restapis"),
    "AWS::ApiGateway::Resource": ("POST", "/restapis/id/resources/id"),
    "AWS::ApiGateway::Method": ("PUT", "/restapis/id/resources/id/methods/ANY"),
    "AWS::ApiGateway::Authorizer": ("POST", "/restapis/id/authorizers"),
}
"""How CloudFormation creates a resource of each type in the caller's name."""


def stack_permissions(template: Mapping[str, Any], region: str, *, is_tagged: bool) -> Iterator[Permission]:
    """Yield what creating the resources of a template requires, and passing its roles to API Gateway."""
    calls = {STACK_CALLS.get(each["Type"], ("POST", "/unknown")) for each in template["Resources"].values()}
    for method, path in sorted(calls | ({("PUT", "/tags/arn")} if is_tagged else set())):
        yield Permission(f"apigateway:{method}", f"arn:aws:apigateway:{region}::{path}")
    for role in sorted(set(re.findall(r'"(arn:aws:iam::[^"]+)"', json.dumps(template)))):
        yield Permission("iam:PassRole", role, {"iam:PassedToService": "apigateway.amazonaws.com"})
