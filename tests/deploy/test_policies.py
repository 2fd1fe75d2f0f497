"""The policies of each kind of stage, what each statement is for, and how wide it is."""

import json
from collections.abc import Mapping
from typing import Any

import boto3
import pytest

from quoteapi.deploy.aws_account import AwsAccount
from quoteapi.deploy.policies import ANY, Policy, deployer_policy, function_policy
from quoteapi.deploy.stage_names import StageNames, stage_names
from quoteapi.deploy.zappa_settings import stage_settings
from tests.deploy.conftest import GOOD, STAGES
from tests.helpers.data import SECRET_KEY
from tests.rehearsal.policy_evaluation import is_allowed
from tests.rehearsal.required_permissions import Permission

REGION = "eu-west-1"
ACCOUNT = "123456789012"
SMS = {"SECRET_KEY": SECRET_KEY, "SMS_ALLOWED_REGIONS": "IN"}
POSTGRESQL = {**SMS, "DATABASE_URL": "postgresql://me:pw@db.example.org/quoteapi"}
MAX_INLINE_POLICY, MAX_MANAGED_POLICY = 10_240, 6_144
"""Characters without white space: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html."""
RUN = {"Log", "Secrets", "InvokeItself", "ErrorReports"}
SEND = {"DailySms", "SmsToNumbers", "OptOuts", "SmsBySns"}
WITHOUT_RESOURCE = {
    "acm:ListCertificates",
    "acm:RequestCertificate",
    "cloudwatch:GetMetricStatistics",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
    "events:ListRuleNamesByTarget",
    "logs:DescribeLogGroups",
    "route53:CreateHostedZone",
    "route53:ListHostedZones",
    "sns:CheckIfPhoneNumberIsOptedOut",
    "sns:CreateSMSSandboxPhoneNumber",
    "sns:GetSMSAttributes",
    "sns:GetSMSSandboxAccountStatus",
    "sns:ListPhoneNumbersOptedOut",
    "sns:ListSMSSandboxPhoneNumbers",
    "sns:ListTopics",
    "sns:OptInPhoneNumber",
    "sns:SetSMSAttributes",
    "sns:Unsubscribe",
    "sns:VerifySMSSandboxPhoneNumber",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}
"""Actions that AWS does not limit to a resource (Service Authorization Reference)."""
WHY_ON_ALL = {
    "cloudfront:UpdateDistribution": "the distribution is one of API Gateway, in its account",
    "cloudwatch:DescribeAlarms": "only reads, and the alarms may not exist",
    "ec2:AssignPrivateIpAddresses": "of network interfaces that Lambda creates; not for the code of the function",
    "ec2:CreateNetworkInterface": "as in AWSLambdaVPCAccessExecutionRole; not for the code of the function",
    "ec2:DeleteNetworkInterface": "Lambda refuses a role that may not delete any; not for the code of the function",
    "ec2:UnassignPrivateIpAddresses": "of network interfaces that Lambda creates; not for the code of the function",
    "sms-voice:": "the numbers and senders that SNS chooses; only by SNS",
}
"""Other actions on all resources, and why."""


def names_of(name: str = "dev", region: str = REGION, **keys: Any) -> StageNames:  # noqa: ANN401
    session = boto3.Session("testing", "testing", region_name=region)
    return stage_names(AwsAccount(session, ACCOUNT, region, f"arn:aws:iam::{ACCOUNT}:user/me"), name, stage_of(**keys))


def stage_of(**keys: Any) -> dict[str, Any]:  # noqa: ANN401
    return {**GOOD, "project_name": "quoteapi", "remote_env": "s3://our-bucket/quoteapi-dev.json", **keys}


def policy_of(remote: Mapping[str, Any] | None = None, **keys: Any) -> Policy:  # noqa: ANN401
    stage = stage_of(**keys)
    return function_policy(names_of(**keys), stage, stage_settings("dev", stage, SMS if remote is None else remote))


def deployer_policy_of(**keys: Any) -> Policy:  # noqa: ANN401
    return deployer_policy(names_of(**keys), stage_of(**keys))


def statements(policy: Policy) -> dict[str, dict[str, Any]]:
    by_sid = {statement["Sid"]: statement for statement in policy["Statement"]}
    assert len(by_sid) == len(policy["Statement"]), "AWS wants each Sid once"
    return by_sid


def allows(policy: Policy, action: str, resource: str = ANY, **context: str) -> bool:
    return is_allowed([policy], Permission(action, resource, context))


# ---- the function


@pytest.mark.parametrize(
    ("remote", "keys", "expected"),
    [
        pytest.param(SMS, {}, {*RUN, *SEND, "State", "StateIndexes"}, id="DynamoDB"),
        pytest.param(POSTGRESQL, {}, {*RUN, *SEND}, id="PostgreSQL"),
        pytest.param({"SECRET_KEY": SECRET_KEY}, {}, RUN, id="quotes only"),
        pytest.param({}, {"remote_env": ""}, RUN - {"Secrets"}, id="without a remote environment"),
        pytest.param({}, {"dead_letter_arn": "arn:aws:sqs:x:1:q"}, {*RUN, "DeadLetters"}, id="dead letters"),
        pytest.param({}, {"xray_tracing": True}, {*RUN, "Traces"}, id="X-Ray"),
        pytest.param({}, {"vpc_config": {"SubnetIds": ["subnet-1"]}}, {*RUN, "Network"}, id="VPC"),
        pytest.param({}, {"aws_kms_key_arn": "arn:aws:kms:x:1:key/1"}, {*RUN, "Variables"}, id="KMS"),
    ],
)
def test_a_function_may_do_only_what_its_stage_needs(
    remote: Mapping[str, Any], keys: dict[str, Any], expected: set[str]
) -> None:
    assert statements(policy_of(remote, **keys)).keys() == expected


def test_a_function_may_read_only_its_own_secrets() -> None:
    policy = policy_of()
    assert allows(policy, "s3:GetObject", "arn:aws:s3:::our-bucket/quoteapi-dev.json")
    assert not allows(policy, "s3:GetObject", "arn:aws:s3:::our-bucket/quoteapi-prod.json")
    assert not allows(policy, "s3:PutObject", "arn:aws:s3:::our-bucket/quoteapi-dev.json")
    assert not allows(policy, "s3:ListBucket", "arn:aws:s3:::our-bucket")


def test_a_function_may_send_sms_to_numbers_and_its_topics_but_not_to_other_topics() -> None:
    policy, topic = policy_of(), f"arn:aws:sns:us-east-1:{ACCOUNT}:DailyQuoteSubscription-quoteapi-dev"
    assert allows(policy, "sns:Publish", "+919028000007")
    assert allows(policy, "sns:Publish", topic)
    assert allows(policy, "sns:Subscribe", f"{topic}-Asia-Kolkata")
    assert not allows(policy, "sns:Publish", f"arn:aws:sns:us-east-1:{ACCOUNT}:another")
    assert not allows(policy, "sns:Publish", topic.replace("us-east-1", REGION)), "SNS_REGION is another"
    assert not allows(policy, "sns:DeleteTopic", topic)


def test_a_function_may_use_end_user_messaging_only_through_sns() -> None:
    by_sns = {"aws:CalledViaLast": "sns.amazonaws.com"}
    assert allows(policy_of(), "sms-voice:SendTextMessage", **by_sns)
    assert not allows(policy_of(), "sms-voice:SendTextMessage")


def test_a_function_may_publish_where_its_settings_say() -> None:
    policy = policy_of({**SMS, "SNS_REGION": "ap-south-1", "SNS_TOPIC": "Morning"})
    assert allows(policy, "sns:Publish", f"arn:aws:sns:ap-south-1:{ACCOUNT}:Morning-Asia-Kolkata")
    assert allows(policy, "sns:CreateTopic", f"arn:aws:sns:ap-south-1:{ACCOUNT}:UnhandledException")
    assert "us-east-1" not in json.dumps(policy)


def test_a_function_that_calls_sns_with_keys_of_its_own_may_not_by_its_role() -> None:
    keys = {"aws_access_key_id": "AKIA0EXAMPLE", "aws_secret_access_key": "secret"}
    assert "sns:" not in json.dumps(policy_of({**SMS, **keys}))


def test_a_function_may_change_items_of_its_table_but_not_the_table() -> None:
    policy, table = policy_of(), f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/quoteapi-dev"
    for action in ("GetItem", "UpdateItem", "DeleteItem", "Query"):
        assert allows(policy, f"dynamodb:{action}", table)
    assert allows(policy, "dynamodb:Query", f"{table}/index/topic")
    for action in ("Scan", "DeleteTable", "UpdateTable"):
        assert not allows(policy, f"dynamodb:{action}", table)
    assert not allows(policy, "dynamodb:GetItem", f"{table}-key")


def test_a_function_may_use_the_table_that_its_settings_name() -> None:
    policy = policy_of({**SMS, "DATABASE_URL": "dynamodb://another?region=ap-south-1"})
    assert allows(policy, "dynamodb:GetItem", f"arn:aws:dynamodb:ap-south-1:{ACCOUNT}:table/another")
    assert not allows(policy, "dynamodb:GetItem", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/quoteapi-dev")


@pytest.mark.parametrize("key", ["apigateway_lambda_qualifier", "provisioned_concurrency", "snap_start"])
def test_api_gateway_may_invoke_the_alias_of_a_function_that_has_one(key: str) -> None:
    function = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:quoteapi-dev"
    keys: dict[str, Any] = {key: "live"}
    assert allows(policy_of(), "lambda:InvokeFunction", function)
    assert not allows(policy_of(), "lambda:InvokeFunction", f"{function}:1")
    assert allows(policy_of(**keys), "lambda:InvokeFunction", f"{function}:live")
    assert not allows(policy_of(**keys), "lambda:InvokeFunction", f"{function}-key")


def test_dead_letters_may_go_to_a_topic() -> None:
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:failed"
    assert allows(policy_of({}, dead_letter_arn=topic), "sns:Publish", topic)


def test_only_lambda_may_change_the_network_not_the_code_of_the_function() -> None:
    policy = policy_of(vpc_config={"SubnetIds": ["subnet-1"]})
    assert allows(policy, "ec2:CreateNetworkInterface")
    source = {"lambda:SourceFunctionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:quoteapi-dev"}
    assert not allows(policy, "ec2:CreateNetworkInterface", **source)


# ---- who deploys


def test_a_deployer_may_pass_the_role_of_the_stage_only_to_the_services_that_zappa_gives_it_to() -> None:
    policy, role = deployer_policy_of(), f"arn:aws:iam::{ACCOUNT}:role/quoteapi-dev-ZappaLambdaExecutionRole"
    for service in ("lambda", "apigateway", "events"):
        assert allows(policy, "iam:PassRole", role, **{"iam:PassedToService": f"{service}.amazonaws.com"})
    assert not allows(policy, "iam:PassRole", role, **{"iam:PassedToService": "ec2.amazonaws.com"})
    assert not allows(policy, "iam:PutRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/admin")


def test_a_deployer_may_write_the_secrets_of_the_stage_but_not_those_of_others() -> None:
    policy = deployer_policy_of()
    assert allows(policy, "s3:PutObject", "arn:aws:s3:::our-bucket/quoteapi-dev.json")
    assert allows(policy, "s3:PutObject", "arn:aws:s3:::our-bucket/quoteapi-dev-1796000000.zip")
    assert allows(policy, "s3:PutObject", "arn:aws:s3:::our-bucket/quoteapi-dev-template-1796000000.json")
    assert not allows(policy, "s3:GetObject", "arn:aws:s3:::our-bucket/quoteapi-dev-key.json")


def test_a_deployer_may_change_the_rules_that_zappa_names() -> None:
    from zappa.core import Zappa  # noqa: PLC0415 slow

    policy, zappa = deployer_policy_of(), Zappa(boto3.Session(region_name=REGION), load_credentials=False)
    for event in (*STAGES["base"]["events"], {"name": "x", "function": "a.b"}):
        rule = zappa.get_scheduled_event_name(event, event["function"], "quoteapi-dev")
        assert allows(policy, "events:PutRule", f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{rule}"), rule
        other = zappa.get_scheduled_event_name(event, event["function"], "quoteapi-prod")
        assert not allows(policy, "events:PutRule", f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{other}")


@pytest.mark.parametrize(
    ("key", "value", "role"),
    [
        ("role_arn", f"arn:aws:iam::{ACCOUNT}:role/ours", f"arn:aws:iam::{ACCOUNT}:role/ours"),
        ("role_name", "ours", f"arn:aws:iam::{ACCOUNT}:role/ours"),
    ],
)
def test_a_deployer_may_pass_the_role_that_the_stage_names(key: str, value: str, role: str) -> None:
    policy = deployer_policy_of(**{key: value})
    assert allows(policy, "iam:PassRole", role, **{"iam:PassedToService": "lambda.amazonaws.com"})


# ---- how wide they are

KEYS: dict[str, Any] = {
    "dead_letter_arn": f"arn:aws:sqs:ap-southeast-1:{ACCOUNT}:quoteapi-development-failures",
    "xray_tracing": True,
    "vpc_config": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
    "snap_start": "PublishedVersions",
    "aws_kms_key_arn": f"arn:aws:kms:ap-southeast-1:{ACCOUNT}:key/01234567-89ab-cdef-0123-456789abcdef",
}
"""A stage with everything that adds to a policy."""


@pytest.fixture(params=["function", "deployer"])
def widest(request: pytest.FixtureRequest) -> Policy:
    return policy_of(**KEYS) if request.param == "function" else deployer_policy_of(**KEYS)


def test_no_statement_allows_all_actions_of_a_service(widest: Policy) -> None:
    for statement in widest["Statement"]:
        assert statement["Effect"] == "Allow"
        assert not [action for action in statement["Action"] if "*" in action]


def test_only_actions_without_a_resource_are_allowed_on_all_resources_or_there_is_a_reason(widest: Policy) -> None:
    on_all = {
        action
        for statement in widest["Statement"]
        if ANY in statement.get("Resource", ())
        for action in statement["Action"]
    }
    assert not [each for each in on_all - WITHOUT_RESOURCE if not each.startswith(tuple(WHY_ON_ALL))]


def test_actions_without_a_resource_are_allowed_on_all_resources(widest: Policy) -> None:
    limited = {
        action
        for statement in widest["Statement"]
        if ANY not in statement.get("Resource", ())
        for action in statement["Action"]
    }
    assert not limited & WITHOUT_RESOURCE, "AWS would not allow them at all"


def test_each_resource_is_in_the_account_if_its_arn_has_one(widest: Policy) -> None:
    for statement in widest["Statement"]:
        for resource in statement.get("Resource", ()):
            assert resource == ANY or resource.split(":")[4] in {ACCOUNT, ""}


@pytest.mark.parametrize(("partition", "region"), [("aws", "ap-southeast-1"), ("aws-cn", "cn-north-1")])
def test_the_policies_are_not_larger_than_aws_allows(partition: str, region: str) -> None:
    session = boto3.Session(region_name=region)
    account = AwsAccount(session, ACCOUNT, region, f"arn:{partition}:sts::{ACCOUNT}:assumed-role/me/me")
    stage = stage_of(**KEYS) | {"s3_bucket": "", "remote_env": ""}  # those that `quoteapi setup` chooses
    names = stage_names(account, "dev_auth", stage)
    assert _size(function_policy(names, stage, stage_settings("dev_auth", stage, SMS))) < MAX_INLINE_POLICY / 2
    stage.pop(
        "aws_kms_key_arn"
    )  # with one, the policy of the deployer is larger, and must be an inline policy of a role
    assert _size(deployer_policy(names, stage)) < MAX_MANAGED_POLICY


def _size(policy: Policy) -> int:
    return len(json.dumps(policy, separators=(",", ":")))
