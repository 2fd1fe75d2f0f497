"""The IAM policies of a stage: what its function may do, and what its operator may do (least privilege).

Both name resources as narrowly as AWS allows. Which actions know no resource, so that theirs is `*`, says AWS's
"Service Authorization Reference".
"""

import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from quoteapi.deploy.aws_resources.budget import BUDGET
from quoteapi.deploy.aws_resources.certificate import REGION as CERTIFICATE_REGION
from quoteapi.deploy.aws_resources.failure_mail import failure_topic_arn
from quoteapi.deploy.stage_names import StageNames
from quoteapi.deploy.zappa_settings import Stage
from quoteapi.settings import Settings
from quoteapi.settings.model import DEFAULT_TOPIC

Policy = dict[str, Any]
Statement = dict[str, Any]
ANY = "*"
"""The resource of actions that AWS cannot limit to a resource."""
_CALLED_BY_SNS: Statement = {"Condition": {"StringEquals": {"aws:CalledViaLast": "sns.amazonaws.com"}}}
"""SNS hands SMS on to AWS End User Messaging in the name of its caller.

https://docs.aws.amazon.com/sns/latest/dg/security-iam-awsmanpol.html
"""
_SERVICES_WITH_ROLE = ["apigateway.amazonaws.com", "events.amazonaws.com", "lambda.amazonaws.com"]
"""The services to which Zappa passes the function's role."""


def _actions(service: str, names: str) -> list[str]:
    return [f"{service}:{name}" for name in names.split()]


def _policy(*statements: Statement) -> Policy:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(sid: str, actions: list[str], *resources: str) -> Statement:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": list(resources)}


def function_policy(names: StageNames, stage: Stage, settings: Settings) -> Policy:
    """Return the policy of the role of a stage's function.

    It covers the calls of the function itself, and those that Lambda and API Gateway make by its role. The `settings`
    of the function decide whether it may send SMS, and where its state is.
    """
    return _policy(
        *_run_statements(names, stage),
        *(() if settings.aws_access_key_id else _sns_statements(names, settings)),
        *_table_statements(names, settings),
        *_option_statements(names, stage),
    )


def _run_statements(names: StageNames, stage: Stage) -> Iterator[Statement]:
    """Yield what each function needs."""
    log = names.account.arn("logs", f"log-group:{names.log_group}")
    # If the group is missing, Lambda creates it by this role, or else drops the log.
    yield _allow("Log", _actions("logs", "CreateLogGroup CreateLogStream PutLogEvents"), log, f"{log}:*")
    if url := stage.get("remote_env"):
        # Not s3:ListBucket, which would show the other stages. So S3 returns 403, not 404, if the object is missing.
        yield _allow("Secrets", ["s3:GetObject"], _object_arn(names, url))
    # The function starts tasks, and API Gateway uses this role for each request: it invokes the alias, if there is one.
    has_alias = any(map(stage.get, ("apigateway_lambda_qualifier", "provisioned_concurrency", "snap_start")))
    aliases = [f"{names.function_arn}:*"] if has_alias else []
    yield _allow("InvokeItself", ["lambda:InvokeFunction"], names.function_arn, *aliases)


def _sns_statements(names: StageNames, settings: Settings) -> Iterator[Statement]:
    """Yield what a function needs of SNS."""
    yield _allow(
        "ErrorReports", _actions("sns", "CreateTopic Publish"), failure_topic_arn(names.account, settings.sns_region)
    )
    if settings.has_shared_state:
        # Each time zone has a topic, which the function creates for the first subscriber there.
        topic = names.account.arn("sns", settings.sns_topic, settings.sns_region)
        actions = _actions("sns", "CreateTopic GetTopicAttributes Publish Subscribe")
        yield _allow("DailySms", actions, topic, f"{topic}-*")
        yield _sms_to_numbers(names)
        yield _allow(
            "OptOuts", _actions("sns", "CheckIfPhoneNumberIsOptedOut ListPhoneNumbersOptedOut Unsubscribe"), ANY
        )
        yield _allow("SmsBySns", _actions("sms-voice", "DescribeOptedOutNumbers SendTextMessage"), ANY) | _CALLED_BY_SNS


def _sms_to_numbers(names: StageNames) -> Statement:
    """Return what sending an SMS to a number needs: its resource is the number, which is no ARN.

    https://github.com/zappa/Zappa/issues/791
    """
    topics = f"arn:{names.account.partition}:sns:*:*:*"
    return {"Sid": "SmsToNumbers", "Effect": "Allow", "Action": ["sns:Publish"], "NotResource": [topics]}


def _table_statements(names: StageNames, settings: Settings) -> Iterator[Statement]:
    """Yield what the state in DynamoDB needs: an update in a transaction is an update."""
    if (table := settings.dynamodb_table) is not None:
        arn = names.account.arn("dynamodb", f"table/{table.name}", table.region)
        yield _allow("State", _actions("dynamodb", "DeleteItem GetItem Query UpdateItem"), arn)
        yield _allow("StateIndexes", ["dynamodb:Query"], f"{arn}/index/*")


def _option_statements(names: StageNames, stage: Stage) -> Iterator[Statement]:
    """Yield what keys of the stage need, which Lambda does by the function's role."""
    if target := stage.get("dead_letter_arn"):
        yield _allow("DeadLetters", ["sqs:SendMessage" if _is_queue(target) else "sns:Publish"], target)
    if stage.get("xray_tracing"):
        yield _allow("Traces", _actions("xray", "PutTelemetryRecords PutTraceSegments"), ANY)
    if stage.get("vpc_config"):
        # As in AWSLambdaVPCAccessExecutionRole, but not for the code of the function, as AWS recommends:
        # https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
        not_its_code = {"ArnNotEquals": {"lambda:SourceFunctionArn": names.function_arn}}
        yield _allow("Network", _NETWORK_ACTIONS, ANY) | {"Condition": not_its_code}
    if key := stage.get("aws_kms_key_arn"):
        yield _allow("Variables", ["kms:Decrypt"], key)


_NETWORK_ACTIONS = _actions(
    "ec2",
    "AssignPrivateIpAddresses CreateNetworkInterface DeleteNetworkInterface DescribeNetworkInterfaces DescribeSubnets"
    " UnassignPrivateIpAddresses",
)


def deployer_policy(names: StageNames, stage: Stage) -> Policy:
    """Return the deployer's policy: for `quoteapi setup`, `zappa`, `quoteapi --stage` and `quoteapi teardown`.

    It prevents mistakes, not malice: who deploys writes the code and the policy of the function. The table and the
    topics are those with the usual names. Keys of Zappa that no stage of QuoteAPI has may need more.
    """
    return _policy(
        _function_statement(names),
        *_role_statements(names, stage),
        _api_statement(names),
        _storage_statement(names),
        _message_statement(names),
        _sms_to_numbers(names),
        _allow("SmsBySns", _SMS_ACTIONS, ANY) | _CALLED_BY_SNS,
        *_key_statements(stage),
        _allow("NoResource", [*_ACTIONS_WITHOUT_RESOURCE, *(_VPC_ACTIONS if stage.get("vpc_config") else [])], ANY),
    )


# A statement that has resources of several services grants no more than one statement for each service, and is shorter:
# AWS limits a managed policy to 6,144 characters.


def _function_statement(names: StageNames) -> Statement:
    """Return what the function, its schedules and its stack need."""
    arn, function = names.account.arn, names.function
    # Zappa replaces the beginning of a long name of a rule by that of the hash of the function's name.
    digest = hashlib.sha1(function.encode(), usedforsecurity=False).hexdigest()
    rules = [arn("events", f"rule/{prefix}*") for prefix in (f"{function}-", digest[:6])]
    stack = arn("cloudformation", f"stack/{function}/*")
    return _allow("Function", _FUNCTION_ACTIONS, names.function_arn, f"{names.function_arn}:*", *rules, stack)


_FUNCTION_ACTIONS = [
    *_actions("cloudformation", "CreateStack DeleteStack DescribeStackResource DescribeStacks"),
    *_actions("cloudformation", "ListStackResources UpdateStack"),
    *_actions("events", "DeleteRule DescribeRule ListTargetsByRule PutRule PutTargets RemoveTargets"),
    *_actions("lambda", "AddPermission CreateFunction DeleteFunction DeleteFunctionConcurrency GetFunction"),
    *_actions("lambda", "GetAlias GetFunctionConfiguration GetPolicy InvokeFunction ListFunctionUrlConfigs"),
    *_actions("lambda", "ListVersionsByFunction PutFunctionConcurrency RemovePermission UpdateFunctionCode"),
    *_actions("lambda", "UpdateFunctionConfiguration"),
]


def _role_statements(names: StageNames, stage: Stage) -> Iterator[Statement]:
    """Yield what managing the function's role and passing it on need."""
    iam = f"arn:{names.account.partition}:iam::{names.account.account_id}"
    role = stage.get("role_arn") or f"{iam}:role/{stage.get('role_name') or names.role}"
    yield _allow("Role", _ROLE_ACTIONS, role)
    services = {"StringEquals": {"iam:PassedToService": _SERVICES_WITH_ROLE}}
    yield _allow("PassRole", ["iam:PassRole"], role) | {"Condition": services}


_ROLE_ACTIONS = [
    *_actions("iam", "CreateRole DeleteRole DeleteRolePolicy DetachRolePolicy GetRole GetRolePolicy"),
    *_actions("iam", "ListAttachedRolePolicies ListRolePolicies PutRolePolicy SimulatePrincipalPolicy"),
    "iam:UpdateAssumeRolePolicy",
]


def _api_statement(names: StageNames) -> Statement:
    """Return what the API and its domain need, in which APIs, keys, zones and certificates get their IDs from AWS."""
    aws = f"arn:{names.account.partition}"
    kinds = "apikeys", "domainnames", "restapis", "tags", "usageplans"
    paths = [f"{aws}:apigateway:{names.account.region}::/{kind}*" for kind in kinds]
    certificates = names.account.arn("acm", "certificate/*", CERTIFICATE_REGION)
    return _allow("Api", _API_ACTIONS, *paths, certificates, f"{aws}:route53:::hostedzone/*")


_API_ACTIONS = [
    *_actions("acm", "DeleteCertificate DescribeCertificate"),
    *_actions("apigateway", "DELETE GET PATCH POST PUT"),
    *_actions("route53", "ChangeResourceRecordSets DeleteHostedZone GetHostedZone ListResourceRecordSets"),
]


def _storage_statement(names: StageNames) -> Statement:
    """Return what the bucket, the stage's objects in it, and the table need."""
    bucket = f"arn:{names.account.partition}:s3:::{names.bucket}"
    uploads = f"{bucket}/{names.function}-*.zip", f"{bucket}/{names.function}-template-*.json"
    table = names.account.arn("dynamodb", f"table/{names.function}")
    objects = _object_arn(names, names.remote_env), *uploads
    return _allow("Storage", _STORAGE_ACTIONS, bucket, *objects, table, f"{table}/index/*")


_STORAGE_ACTIONS = [
    *_actions("dynamodb", "BatchWriteItem CreateTable DeleteItem DeleteTable DescribeContinuousBackups DescribeTable"),
    *_actions("dynamodb", "DescribeTimeToLive GetItem Query Scan UpdateContinuousBackups UpdateItem UpdateTable"),
    "dynamodb:UpdateTimeToLive",
    *_actions("s3", "CreateBucket DeleteBucket DeleteObject GetBucketPublicAccessBlock GetEncryptionConfiguration"),
    *_actions("s3", "GetObject ListBucket PutBucketPublicAccessBlock PutEncryptionConfiguration PutObject"),
]


def _message_statement(names: StageNames) -> Statement:
    """Return what the topics of SMS and of mail, the dead-letter queue, the alarms, the log and the budget need."""
    topics = failure_topic_arn(names.account, ANY), names.account.arn("sns", f"{DEFAULT_TOPIC}*", ANY)
    log = names.account.arn("logs", f"log-group:{names.log_group}")
    api_log = names.account.arn("logs", "log-group:API-Gateway-Execution-Logs_*")  # `zappa undeploy --remove-logs`
    alarms = names.account.arn("cloudwatch", f"alarm:{names.function}-*")
    budget = f"arn:{names.account.partition}:budgets::{names.account.account_id}:budget/{BUDGET}"
    return _allow("Messages", _MESSAGE_ACTIONS, *topics, names.queue_arn, alarms, log, f"{log}:*", api_log, budget)


_MESSAGE_ACTIONS = [
    *_actions("budgets", "ModifyBudget ViewBudget"),
    *_actions("cloudwatch", "DeleteAlarms PutMetricAlarm"),
    *_actions("logs", "CreateLogGroup DeleteLogGroup DescribeLogStreams FilterLogEvents PutRetentionPolicy"),
    *_actions("sns", "CreateTopic DeleteTopic GetTopicAttributes ListSubscriptionsByTopic Publish Subscribe"),
    *_actions("sqs", "CreateQueue DeleteQueue GetQueueAttributes GetQueueUrl SetQueueAttributes"),
]
_SMS_ACTIONS = [
    *_actions("sms-voice", "CreateVerifiedDestinationNumber DeleteOptedOutNumber DescribeAccountAttributes"),
    *_actions("sms-voice", "DescribeOptedOutNumbers DescribeSpendLimits DescribeVerifiedDestinationNumbers"),
    *_actions("sms-voice", "SendDestinationNumberVerificationCode SendTextMessage SetTextMessageSpendLimitOverride"),
    "sms-voice:VerifyDestinationNumber",
]
_VPC_ACTIONS = _actions("ec2", "DescribeSecurityGroups DescribeSubnets DescribeVpcs")
_ACTIONS_WITHOUT_RESOURCE = [
    *_actions("acm", "ListCertificates RequestCertificate"),
    "cloudfront:UpdateDistribution",  # that of API Gateway, for a domain
    *_actions("cloudwatch", "DescribeAlarms GetMetricStatistics"),
    "events:ListRuleNamesByTarget",
    "logs:DescribeLogGroups",
    *_actions("route53", "CreateHostedZone ListHostedZones"),
    *_actions("sns", "CheckIfPhoneNumberIsOptedOut CreateSMSSandboxPhoneNumber GetSMSAttributes"),
    "sns:GetSMSSandboxAccountStatus",
    *_actions("sns", "ListPhoneNumbersOptedOut ListSMSSandboxPhoneNumbers ListTopics OptInPhoneNumber"),
    *_actions("sns", "SetSMSAttributes Unsubscribe VerifySMSSandboxPhoneNumber"),
]


def _key_statements(stage: Stage) -> Iterator[Statement]:
    """Yield what encrypting the function's variables with a key of the operator needs."""
    if key := stage.get("aws_kms_key_arn"):
        yield _allow("Variables", _actions("kms", "CreateGrant Decrypt Encrypt"), key)


def _is_queue(arn: str) -> bool:
    return ":sqs:" in arn


def _object_arn(names: StageNames, url: str) -> str:
    """Return the ARN of an object on S3."""
    return f"arn:{names.account.partition}:s3:::{urlsplit(url).netloc}{urlsplit(url).path.rstrip('/')}"
