"""An operator's project with stages in an emulated account, and what is in the account."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quoteapi.deploy.aws_account import AwsAccount
from quoteapi.deploy.aws_resources.hosted_zone import COMMENT
from quoteapi.deploy.remote_environment import change_remote_environment
from quoteapi.deploy.setup_result import SetupResult
from quoteapi.deploy.stage_setup import Answers, StageSetup
from quoteapi.deploy.teardown.stage_teardown import Teardown
from quoteapi.deploy.zappa_settings import read_stage
from quoteapi.storage.dynamodb import Table
from quoteapi.storage.dynamodb_state import COUNT_KEY
from quoteapi.storage.dynamodb_table import set_up_table
from tests.deploy.aws import ACCOUNT_ID, ADDRESS, REGION
from tests.helpers.data import SECRET_KEY

BUCKET = f"quoteapi-{ACCOUNT_ID}-{REGION}"
LOCATION: Any = {"LocationConstraint": REGION}
DOMAIN = "quotes.example.org"
TOPIC = "DailyQuoteSubscription-quoteapi-dev"
ROLE = "quoteapi-dev-ZappaLambdaExecutionRole"
_STATEMENT = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
TRUST = json.dumps({"Version": "2012-10-17", "Statement": [_STATEMENT]})
POLICY = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sns:Publish", "Resource": "*"}]}
)
ANSWERS = Answers(email=ADDRESS, countries="", hour="09:00", domain=None)


class Nobody:
    """An operator who answers nothing."""

    def ask_own_number(self, countries: frozenset[str]) -> None:
        return None

    def ask_sandbox_code(self, mobile: str, problem: str) -> None:
        return None

    def wait(self, label: str, is_done: Callable[[], bool]) -> bool:
        return is_done()


class Project:
    """The operator's settings files, and their account."""

    def __init__(self, folder: Path, account: AwsAccount) -> None:
        self.path, self.account = folder / "zappa_settings.json", account
        stages = {name: {"project_name": "quoteapi"} for name in ("dev", "dev_key", "prod")}
        self.path.write_text(json.dumps(stages))

    def stage(self, name: str = "dev") -> StageSetup:
        return StageSetup(self.path, name, read_stage(self.path, name), self.account)

    def set_up(self, name: str = "dev", **remote: str) -> list[SetupResult]:
        """Prepare a stage, then change its remote environment."""
        results = list(self.stage(name).run(ANSWERS, Nobody()))
        assert {result.state for result in results} <= {"ok", "done", "waiting"}, results
        change_remote_environment(self.stage(name).stage, lambda values: values | remote)
        return results

    def serve_subscribers(self, name: str = "dev", count: int = 12) -> None:
        """Prepare a stage with a table of subscribers, and topics in two time zones."""
        self.set_up(name, SECRET_KEY=SECRET_KEY, SMS_ALLOWED_REGIONS="IN")
        function = self.stage(name).names.function
        table = Table(function, REGION)
        set_up_table(table)
        table.update(COUNT_KEY, "SET #count = :count", count=count)
        sns = self.account.client("sns")
        for topic in (f"DailyQuoteSubscription-{function}", f"DailyQuoteSubscription-{function}-Asia-Kolkata"):
            arn = sns.create_topic(Name=topic)["TopicArn"]
            sns.subscribe(TopicArn=arn, Protocol="sms", Endpoint="+919028000001")

    def serve_domain(self) -> str:
        """Give `dev` a domain, as `zappa certify` does. Return the ID of its zone."""
        acm, route53 = self.account.client("acm", "us-east-1"), self.account.client("route53")
        certificate = acm.request_certificate(DomainName=DOMAIN, ValidationMethod="DNS")["CertificateArn"]
        own = {"Comment": COMMENT, "PrivateZone": False}
        created = route53.create_hosted_zone(Name="example.org", CallerReference="test", HostedZoneConfig=own)
        zone: str = created["HostedZone"]["Id"]
        self.add_record(zone, f"_a1b2.{DOMAIN}", "_c3d4.acm-validations.aws.")
        client = self.account.client("apigateway")
        target = client.create_domain_name(domainName=DOMAIN, certificateArn=certificate)["distributionDomainName"]
        self.add_record(zone, DOMAIN, target)
        self.stage().save_local({"domain": DOMAIN, "certificate_arn": certificate})
        return zone

    def add_record(self, zone: str, name: str, value: str) -> None:
        self.change_record("CREATE", zone, name, value)

    def change_record(self, action: str, zone: str, name: str, value: str) -> None:
        record = {"Name": name, "Type": "CNAME", "TTL": 60, "ResourceRecords": [{"Value": value}]}
        changes: Any = {"Changes": [{"Action": action, "ResourceRecordSet": record}]}
        self.account.client("route53").change_resource_record_sets(HostedZoneId=zone, ChangeBatch=changes)

    def serve_keys(self) -> None:
        """Give `dev` a usage plan with two keys, one of which is also in another plan."""
        client = self.account.client("apigateway")
        plans = [client.create_usage_plan(name=name)["id"] for name in ("quoteapi-dev", "mine")]
        keys = [client.create_api_key(name=name, enabled=True)["id"] for name in ("mira", "zola")]
        for plan, key in ((plans[0], keys[0]), (plans[0], keys[1]), (plans[1], keys[1])):
            client.create_usage_plan_key(usagePlanId=plan, keyId=key, keyType="API_KEY")

    def create_role(self) -> None:
        iam = self.account.client("iam")
        iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=TRUST)
        iam.put_role_policy(RoleName=ROLE, PolicyName="zappa-permissions", PolicyDocument=POLICY)
        iam.create_policy(PolicyName="mine", PolicyDocument=POLICY)
        iam.attach_role_policy(RoleName=ROLE, PolicyArn=f"arn:aws:iam::{ACCOUNT_ID}:policy/mine")

    def deploy_function(self) -> None:
        """Create the function of `dev`, as `zappa deploy` does."""
        self.create_role()
        self.account.client("lambda").create_function(
            FunctionName="quoteapi-dev",
            Role=f"arn:aws:iam::{ACCOUNT_ID}:role/{ROLE}",
            Runtime="python3.13",
            Handler="handler.lambda_handler",
            Code={"ZipFile": b"a package"},
        )

    def find(self, name: str = "dev") -> Teardown:
        found = Teardown(self.stage(name))
        found.find()
        return found

    def tables(self) -> list[str]:
        return list(self.account.client("dynamodb").list_tables()["TableNames"])

    def topics(self) -> list[str]:
        topics = self.account.client("sns").list_topics()["Topics"]
        return sorted(topic["TopicArn"].rpartition(":")[2] for topic in topics)

    def buckets(self) -> list[str]:
        return [bucket["Name"] for bucket in self.account.client("s3").list_buckets()["Buckets"]]

    def alarms(self) -> list[str]:
        return [each["AlarmName"] for each in self.account.client("cloudwatch").describe_alarms()["MetricAlarms"]]

    def log_groups(self) -> list[str]:
        return [each["logGroupName"] for each in self.account.client("logs").describe_log_groups()["logGroups"]]

    def queues(self) -> list[str]:
        return [url.rpartition("/")[2] for url in self.account.client("sqs").list_queues().get("QueueUrls", [])]

    def budgets(self) -> list[str]:
        found = self.account.client("budgets").describe_budgets(AccountId=ACCOUNT_ID)["Budgets"]
        return [budget["BudgetName"] for budget in found]

    def zones(self) -> list[str]:
        return [zone["Name"] for zone in self.account.client("route53").list_hosted_zones()["HostedZones"]]

    def certificates(self) -> list[str]:
        found = self.account.client("acm", "us-east-1").list_certificates()["CertificateSummaryList"]
        return [certificate["DomainName"] for certificate in found]

    def domain_names(self) -> list[str]:
        return [each["domainName"] for each in self.account.client("apigateway").get_domain_names()["items"]]
