"""The step that deletes with `quoteapi teardown` what `zappa undeploy` leaves."""

import json
from typing import TYPE_CHECKING

from tests.rehearsal.aws import ACCOUNT, Aws
from tests.rehearsal.checks import check_contains, check_equal, check_excludes
from tests.rehearsal.rehearsal import Rehearsal
from tests.rehearsal.setup_step import LOCAL_SETTINGS

if TYPE_CHECKING:
    from tests.helpers.terminal import Script


def teardown(rehearsal: Rehearsal) -> None:
    """Delete what is left, and check that this is all but what a new deploy needs for subscribers in PostgreSQL."""
    stage, project = rehearsal.stage, rehearsal.project
    if stage.database == "DynamoDB":
        script: Script = {"Delete these": ["y"], "type its name": [stage.function]}
        output = project.type_quoteapi(script, "teardown", stage.name).text
    else:
        output = project.quoteapi("teardown", stage.name, "--yes")
    check_excludes("quoteapi teardown printed", output, "✗ ")
    left = {kind: names for kind, names in _list_resources(rehearsal.aws).items() if names}
    has_subscribers = stage.database == "PostgreSQL"
    check_equal("kinds of what is left in the account", [*left], ["buckets", "topics"] if has_subscribers else [])
    if has_subscribers:
        check_contains(
            "quoteapi teardown printed", output, "Stays: topics DailyQuoteSubscription", "PostgreSQL is never"
        )
    local = json.loads((project.folder / LOCAL_SETTINGS).read_text())
    check_equal("stages in the local settings", [*local], [stage.name] if has_subscribers else [])


def _list_resources(aws: Aws) -> dict[str, list[str]]:
    """Return the names of everything in the account that setting up, deploying or running a stage creates."""
    gateway, zones = aws.client("apigateway"), aws.client("route53").list_hosted_zones()["HostedZones"]
    return {
        "alarms": [each["AlarmName"] for each in aws.client("cloudwatch").describe_alarms()["MetricAlarms"]],
        "API keys": [each["name"] for each in gateway.get_api_keys()["items"]],
        "APIs": [each["name"] for each in gateway.get_rest_apis()["items"]],
        "buckets": [each["Name"] for each in aws.client("s3").list_buckets()["Buckets"]],
        "budgets": [
            each["BudgetName"] for each in aws.client("budgets").describe_budgets(AccountId=ACCOUNT)["Budgets"]
        ],
        "certificates": [
            each["DomainName"] for each in aws.client("acm").list_certificates()["CertificateSummaryList"]
        ],
        "domain names": [each["domainName"] for each in gateway.get_domain_names()["items"]],
        "functions": [each["FunctionName"] for each in aws.client("lambda").list_functions()["Functions"]],
        "hosted zones": [each["Name"] for each in zones],
        "log groups": [each["logGroupName"] for each in aws.client("logs").describe_log_groups()["logGroups"]],
        "queues": aws.client("sqs").list_queues().get("QueueUrls", []),
        "roles": [each["RoleName"] for each in aws.client("iam").list_roles()["Roles"]],
        "rules": [each["Name"] for each in aws.client("events").list_rules()["Rules"]],
        "stacks": [each["StackName"] for each in aws.client("cloudformation").describe_stacks()["Stacks"]],
        "tables": aws.client("dynamodb").list_tables()["TableNames"],
        "topics": [each["TopicArn"] for each in aws.client("sns").list_topics()["Topics"]],
        "usage plans": [each["name"] for each in gateway.get_usage_plans()["items"]],
    }
