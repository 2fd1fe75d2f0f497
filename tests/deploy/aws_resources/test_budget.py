from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from quoteapi.deploy.aws_account import AwsAccount
from quoteapi.deploy.aws_resources.budget import BUDGET, set_up_budget
from quoteapi.deploy.checks.check import CheckFailed
from tests.deploy.aws import ACCOUNT_ID, ADDRESS, described, emulate_account, failing_calls, record_calls, writing_calls

KEY = {"AccountId": ACCOUNT_ID, "BudgetName": BUDGET}


@pytest.fixture
def account() -> Iterator[AwsAccount]:
    with emulate_account() as account:
        yield account


def set_up(account: AwsAccount, limit: str | None = None, address: str | None = ADDRESS) -> str:
    (result,) = described(set_up_budget(account, address, limit))
    return result


def limit_of(account: AwsAccount) -> Decimal:
    budget = account.client("budgets").describe_budget(**KEY)["Budget"]
    assert (budget["BudgetType"], budget["TimeUnit"], budget["BudgetLimit"]["Unit"]) == ("COST", "MONTHLY", "USD")
    return Decimal(budget["BudgetLimit"]["Amount"])


def notifications(account: AwsAccount) -> list[tuple[dict[str, Any], list[str]]]:
    client = account.client("budgets")
    found = client.describe_notifications_for_budget(**KEY)["Notifications"]
    return [
        (
            each,
            [
                subscriber["Address"]
                for subscriber in client.describe_subscribers_for_notification(**KEY, Notification=each)["Subscribers"]
            ],
        )
        for each in found
    ]


def test_a_mail_comes_at_80_percent_of_five_dollars(account: AwsAccount) -> None:
    assert set_up(account) == f"done {ADDRESS} gets a mail at 80 % of $5 a month"
    assert limit_of(account) == 5
    ((notification, addresses),) = notifications(account)
    assert (notification["NotificationType"], notification["Threshold"], addresses) == ("ACTUAL", 80, [ADDRESS])
    calls = record_calls()
    assert set_up(account) == f"ok {ADDRESS} gets a mail at 80 % of $5 a month"
    assert writing_calls(calls) == []


def test_a_limit_that_is_given_changes_an_existing_budget(account: AwsAccount) -> None:
    set_up(account, "7.50")
    assert set_up(account) == f"ok {ADDRESS} gets a mail at 80 % of $7.50 a month"
    assert set_up(account, "7.5").startswith("ok ")
    assert set_up(account, "20") == f"done {ADDRESS} gets a mail at 80 % of $20 a month"
    assert limit_of(account) == 20
    assert len(notifications(account)) == 1


def test_another_address_gets_the_mail_too(account: AwsAccount) -> None:
    set_up(account)
    assert set_up(account, address="zola@example.org").startswith("done zola@example.org gets a mail")
    assert notifications(account)[0][1] == [ADDRESS, "zola@example.org"]


def test_what_the_operator_changed_of_the_budget_stays(account: AwsAccount) -> None:
    mine = {"NotificationType": "FORECASTED", "ComparisonOperator": "GREATER_THAN", "Threshold": 50}
    subscribers = [{"SubscriptionType": "EMAIL", "Address": ADDRESS}]
    account.client("budgets").create_budget(
        AccountId=ACCOUNT_ID,
        Budget={
            "BudgetName": BUDGET,
            "BudgetType": "COST",
            "TimeUnit": "MONTHLY",
            "BudgetLimit": {"Amount": "100", "Unit": "USD"},
        },
        NotificationsWithSubscribers=[{"Notification": mine, "Subscribers": subscribers}],
    )
    assert set_up(account) == f"ok {ADDRESS} gets a mail at 80 % of $100 a month"


def test_a_budget_without_mail_gets_one(account: AwsAccount) -> None:
    set_up(account)
    ((notification, _),) = notifications(account)
    account.client("budgets").delete_notification(**KEY, Notification=notification)
    assert set_up(account).startswith("done ")
    assert notifications(account)[0][1] == [ADDRESS]


def test_without_an_address_there_is_no_budget(account: AwsAccount) -> None:
    calls = record_calls()
    assert set_up(account, "5", None) == "skipped there is no mail address for it"
    assert calls == []


def test_a_missing_permission_does_not_fail_the_set_up(account: AwsAccount) -> None:
    with failing_calls("budgets.DescribeBudget", "AccessDeniedException"):
        result = set_up(account)
    assert result.startswith("waiting you have no permission for budgets As root user, allow it in the console")
    assert result.endswith("ask the management account. Then run the command again. The rest works without a budget.")


def test_an_eleventh_address_is_an_error_with_advice(account: AwsAccount) -> None:
    set_up(account)
    rejection = failing_calls("budgets.CreateSubscriber", "CreationLimitExceededException", "Too many subscribers")
    with rejection, pytest.raises(CheckFailed) as failed:
        set_up(account, address="zola@example.org")
    assert failed.value.args[3].startswith("A budget sends mail to at most 10 addresses: remove one")
