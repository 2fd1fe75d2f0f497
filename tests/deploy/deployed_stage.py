"""A stage that is set up and deployed in an emulated AWS account, as `quoteapi setup` and Zappa leave it."""

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import boto3
import pytest
from moto import mock_aws

from quoteapi.deploy.after_deploy import Deployment, find_deployment
from quoteapi.deploy.zappa_settings import read_stage, write_local_stage
from tests.deploy.conftest import GOOD
from tests.helpers.data import SECRET_KEY
from tests.helpers.sms_sandbox import add_sms_sandbox
from tests.rehearsal import moto_extensions
from tests.rehearsal.emulated_deployment import extend_moto_with_deployments

ACCOUNT, REGION, BUCKET, FUNCTION = "123456789012", "eu-west-1", "our-bucket", "quoteapi-dev"
QUEUE_ARN = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{FUNCTION}-failures"
MAIL = "operator@example.org"
RUNTIME = f"python3.{sys.version_info.minor}"
_LOCAL = {
    "aws_region": REGION,
    "s3_bucket": BUCKET,
    "remote_env": f"s3://{BUCKET}/{FUNCTION}.json",
    "dead_letter_arn": QUEUE_ARN,
}
_TRUST = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}}]}
_READ_SECRETS = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/{FUNCTION}.json"}


@cache
def client(service: str, region: str = REGION) -> Any:  # noqa: ANN401 each service has its own type
    """Return a client of the emulated account. All tests share it, as making one takes long."""
    create: Any = boto3.client
    return create(service, region, aws_access_key_id="testing", aws_secret_access_key="testing")  # noqa: S106


class DeployedStage:
    """The stage `dev`, whose settings and resources a test changes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "zappa_settings.json"
        self.path.write_text(json.dumps({"dev": GOOD | {"project_name": "quoteapi"}}))
        self.invoked: list[object] = []
        self.response: dict[str, str] = {}
        self.change()
        self._set_up()
        self.api = self._deploy()

    def _set_up(self) -> None:
        """Create what `quoteapi setup` does."""
        location = {"LocationConstraint": REGION}
        client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration=location)
        self.put_remote(SECRET_KEY=SECRET_KEY, SMS_ALLOWED_REGIONS="IN", SNS_REGION=REGION)
        client("logs").create_log_group(logGroupName=f"/aws/lambda/{FUNCTION}")
        client("logs").put_retention_policy(logGroupName=f"/aws/lambda/{FUNCTION}", retentionInDays=30)
        client("sqs").create_queue(QueueName=f"{FUNCTION}-failures")
        sns = client("sns")
        topic = sns.create_topic(Name="UnhandledException")["TopicArn"]
        sns.subscribe(TopicArn=topic, Protocol="email", Endpoint=MAIL)
        moto_extensions.confirm_mail_addresses(REGION)
        for name in ("errors", "failures"):
            client("cloudwatch").put_metric_alarm(
                AlarmName=f"{FUNCTION}-{name}",
                MetricName="Errors",
                Namespace="AWS/Lambda",
                Period=300,
                EvaluationPeriods=1,
                Threshold=0,
                ComparisonOperator="GreaterThanThreshold",
                Statistic="Sum",
            )

    def _deploy(self) -> str:
        """Create what `zappa deploy` does. Return the ID of the API."""
        iam, name = client("iam"), f"{FUNCTION}-ZappaLambdaExecutionRole"
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(_TRUST))["Role"]["Arn"]
        self.allow(_READ_SECRETS)
        package = io.BytesIO()
        ZipFile(package, "w").close()
        client("lambda").create_function(
            FunctionName=FUNCTION,
            Role=role,
            Handler="handler.lambda_handler",
            Runtime=RUNTIME,
            Code={"ZipFile": package.getvalue()},
            DeadLetterConfig={"TargetArn": QUEUE_ARN},
            Description="Zappa Deployment",
        )
        return self.create_api()

    def create_api(self) -> str:
        """Create an API. Return its ID."""
        api: str = client("apigateway").create_rest_api(name=FUNCTION)["id"]
        return api

    def allow(self, *statements: dict[str, str]) -> None:
        """Replace the policy of the function's role."""
        policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        role = f"{FUNCTION}-ZappaLambdaExecutionRole"
        client("iam").put_role_policy(RoleName=role, PolicyName="zappa-permissions", PolicyDocument=policy)

    def change(self, **settings: object) -> None:
        """Change the operator's settings of the stage."""
        write_local_stage(self.path, "dev", {"runtime": RUNTIME, **_LOCAL, **settings})

    def stage(self) -> dict[str, Any]:
        return read_stage(self.path, "dev")

    def put_remote(self, **values: str) -> None:
        client("s3").put_object(Bucket=BUCKET, Key=f"{FUNCTION}.json", Body=json.dumps(values).encode())

    def remote(self) -> dict[str, str]:
        found = client("s3").get_object(Bucket=BUCKET, Key=f"{FUNCTION}.json")
        values: dict[str, str] = json.load(found["Body"])
        return values

    def function(self) -> dict[str, Any]:
        """Return the configuration of the function."""
        found: dict[str, Any] = client("lambda").get_function_configuration(FunctionName=FUNCTION)
        return found

    def cli(self, command: str = "update", **options: object) -> SimpleNamespace:
        """Return what Zappa passes to its callbacks."""
        zappa = SimpleNamespace(
            get_api_id=lambda _: self.api,
            wait_until_lambda_function_is_active=lambda _: None,
            wait_until_lambda_function_is_updated=lambda _: None,
            invoke_lambda_function=self._invoke,
            boto_session=SimpleNamespace(region_name=None),
        )
        return SimpleNamespace(
            command=command,
            api_stage="dev",
            lambda_name=FUNCTION,
            zappa=zappa,
            override_stage_config_setting=lambda *_: None,
            load_settings=lambda *_: None,
            profile_name=None,
            vargs={"settings_file": str(self.path), **options},
        )

    def deployment(self) -> Deployment:
        return find_deployment(self.cli().zappa, "dev", self.stage())

    def _invoke(self, *arguments: str) -> dict[str, str]:
        self.invoked.append(arguments)
        return self.response


@pytest.fixture(name="deployed")
def deployed_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DeployedStage]:
    """Yield a deployed stage in a new account."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    extend_moto_with_deployments()
    moto_extensions.extend_moto()
    add_sms_sandbox(partial(monkeypatch.setattr, raising=False))
    with mock_aws(config={"lambda": {"use_docker": False}}):
        yield DeployedStage(tmp_path)


@contextmanager
def recorded_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Yield the names of the operations of AWS that are called until the block ends."""
    from botocore.client import BaseClient  # noqa: PLC0415

    calls, call = list[str](), BaseClient._make_api_call  # type: ignore[attr-defined]

    def record(self: Any, operation: str, parameters: Any) -> Any:  # noqa: ANN401
        calls.append(operation)
        return call(self, operation, parameters)

    with monkeypatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", record)
        yield calls
