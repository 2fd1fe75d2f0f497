"""How a rehearsal fails if a permission is missing, or is there without a reason."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from quoteapi.deploy.policies import deployer_policy
from tests.deploy.test_policies import names_of, stage_of
from tests.rehearsal.aws import ACCOUNT, FUNCTION_KEY, OPERATOR_KEY, Aws, emulate_aws
from tests.rehearsal.checks import CheckFailed
from tests.rehearsal.permissions import POLICY, check_permissions, enforce_policies, permissions, unused_permissions

ROLE = "quoteapi-dev-ZappaLambdaExecutionRole"
REPORTS = f"arn:aws:sns:us-east-1:{ACCOUNT}:UnhandledException"
TABLE = f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/quoteapi-dev"


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with emulate_aws() as emulated:
        yield emulated


@pytest.fixture
def rehearsal(aws: Aws) -> Any:  # noqa: ANN401
    """Return a rehearsal of a stage whose function may only create the topic of error reports."""
    printed = json.dumps(deployer_policy(names_of(region="us-east-1"), stage_of()))
    stage, project = SimpleNamespace(name="dev", function="quoteapi-dev"), SimpleNamespace(quoteapi=lambda *_: printed)
    rehearsal: Any = SimpleNamespace(aws=aws, stage=stage, project=project)
    enforce_policies(rehearsal)
    put_policy(aws, Action=["sns:CreateTopic"], Resource=[REPORTS])
    return rehearsal


def put_policy(aws: Aws, **statement: object) -> None:
    iam, document = (
        aws.client("iam"),
        json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}),
    )
    if ROLE not in {role["RoleName"] for role in iam.list_roles()["Roles"]}:
        iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument="{}")
    iam.put_role_policy(RoleName=ROLE, PolicyName=POLICY, PolicyDocument=document)


def client(aws: Aws, key: str, service: str) -> Any:  # noqa: ANN401
    session = boto3.Session(key, "testing", region_name="us-east-1")
    return session.client(service, endpoint_url=aws.address)  # type: ignore[call-overload]


def test_a_function_may_do_what_the_policy_of_its_role_says_now(rehearsal: Any) -> None:  # noqa: ANN401
    sns = client(rehearsal.aws, FUNCTION_KEY, "sns")
    with check_permissions(rehearsal.aws):
        sns.create_topic(Name="UnhandledException")
    put_policy(rehearsal.aws, Action=["sns:Publish"], Resource=[REPORTS])
    with (
        pytest.raises(CheckFailed, match=f"the function called CreateTopic, .* sns:CreateTopic on {REPORTS}$"),
        check_permissions(rehearsal.aws),
    ):
        sns.create_topic(Name="UnhandledException")


def test_a_denied_request_fails_a_step_that_goes_on(rehearsal: Any) -> None:  # noqa: ANN401
    with (
        pytest.raises(CheckFailed, match=r"the operator called GetUser, and has no permission for iam:GetUser on \*"),
        check_permissions(rehearsal.aws),
        pytest.raises(Exception, match="AccessDenied"),
    ):
        client(rehearsal.aws, OPERATOR_KEY, "iam").get_user()


def test_another_failure_of_a_step_stays(rehearsal: Any) -> None:  # noqa: ANN401
    with pytest.raises(ZeroDivisionError), check_permissions(rehearsal.aws):
        _ = 1 / 0


def test_a_permission_that_no_call_shows_needs_a_reason(rehearsal: Any) -> None:  # noqa: ANN401
    with check_permissions(rehearsal.aws):
        client(rehearsal.aws, FUNCTION_KEY, "sns").create_topic(Name="UnhandledException")
    assert permissions(rehearsal) == []
    put_policy(rehearsal.aws, Action=["dynamodb:DeleteItem"], Resource=[TABLE])
    assert permissions(rehearsal) == ["dynamodb:DeleteItem: releases the claim of a daily SMS that SNS rejected"]
    put_policy(rehearsal.aws, Action=["dynamodb:DeleteTable"], Resource=[TABLE])
    with pytest.raises(CheckFailed, match=r"permissions that no call shows: .*dynamodb:DeleteTable on "):
        permissions(rehearsal)


def test_each_resource_of_a_statement_must_be_used() -> None:
    statement = {"Effect": "Allow", "Action": ["sns:CreateTopic"], "Resource": [REPORTS, "arn:aws:sns:*:*:other"]}
    unused = dict(unused_permissions({"Statement": [statement]}, {("sns:CreateTopic", REPORTS)}))
    assert list(unused) == ["sns:CreateTopic on arn:aws:sns:*:*:other"]
