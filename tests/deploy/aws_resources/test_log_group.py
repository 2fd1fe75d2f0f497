from collections.abc import Iterator

import pytest

from quoteapi.deploy.aws_account import AwsAccount
from quoteapi.deploy.aws_resources.log_group import set_up_log_group
from tests.deploy.aws import described, emulate_account, names_of, record_calls, writing_calls

GROUP = "/aws/lambda/quoteapi-dev"


@pytest.fixture
def account() -> Iterator[AwsAccount]:
    with emulate_account() as account:
        yield account


def retention(account: AwsAccount) -> dict[str, int | None]:
    groups = account.client("logs").describe_log_groups()["logGroups"]
    return {group["logGroupName"]: group.get("retentionInDays") for group in groups}


def test_a_new_log_group_keeps_logs_for_a_month(account: AwsAccount) -> None:
    account.client("logs").create_log_group(logGroupName=f"{GROUP}-key")
    assert described(set_up_log_group(names_of(account))) == [f"done {GROUP}, kept for 30 days"]
    assert retention(account) == {GROUP: 30, f"{GROUP}-key": None}
    calls = record_calls()
    assert described(set_up_log_group(names_of(account))) == [f"ok {GROUP}, kept for 30 days"]
    assert writing_calls(calls) == []


def test_a_log_group_that_lambda_created_gets_a_retention(account: AwsAccount) -> None:
    account.client("logs").create_log_group(logGroupName=GROUP)
    assert described(set_up_log_group(names_of(account))) == [f"done {GROUP}, kept for 30 days"]
    assert retention(account) == {GROUP: 30}


def test_a_retention_that_the_operator_chose_stays(account: AwsAccount) -> None:
    account.client("logs").create_log_group(logGroupName=GROUP)
    account.client("logs").put_retention_policy(logGroupName=GROUP, retentionInDays=400)
    assert described(set_up_log_group(names_of(account))) == [f"ok {GROUP}, kept for 400 days"]
    assert retention(account) == {GROUP: 400}
