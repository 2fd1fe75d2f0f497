"""The budget of the account: a mail when most of a monthly amount is spent. AWS cannot stop a service at an amount.

A budget without actions costs nothing (https://aws.amazon.com/aws-cost-management/aws-budgets/pricing/, December 2026).
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from quoteapi.deploy.aws_account import AwsAccount, aws_errors
from quoteapi.deploy.setup_result import SetupResult

BUDGET = "quoteapi"
DEFAULT_LIMIT = "5"
"""US dollars a month."""
_NOTIFICATION = {
    "NotificationType": "ACTUAL",
    "ComparisonOperator": "GREATER_THAN",
    "Threshold": 80,
    "ThresholdType": "PERCENTAGE",
}
_CHANGEABLE = ("BudgetName", "BudgetType", "TimeUnit", "TimePeriod", "CostFilters", "CostTypes")
"""What an update sends back as it is; AWS calculates the rest, except for the limit."""
_NO_PERMISSION = SetupResult(
    "budget",
    "waiting",
    "you have no permission for budgets",
    "As root user, allow it in the console under Account, IAM user and role access to Billing; in a member account of"
    " an organization, ask the management account. Then run the command again. The rest works without a budget.",
)
_TO_DO = {
    "CreationLimitExceededException": "A budget sends mail to at most 10 addresses: remove one in the console, Billing,"
    " Budgets.",
}


def set_up_budget(account: AwsAccount, address: str | None, limit: str | None) -> Iterator[SetupResult]:
    """Create the budget, if there is a mail address for it. Raises `CheckFailed`.

    An existing one gets a limit that is given (US dollars a month), and the address.
    """
    if address is None:
        yield SetupResult("budget", "skipped", "there is no mail address for it")
        return
    client = account.client("budgets")
    with aws_errors("budget", _TO_DO):
        try:
            yield _set_up(client, account, address, limit)
        except client.exceptions.AccessDeniedException:
            yield _NO_PERMISSION


def find_budget(account: AwsAccount) -> dict[str, Any] | None:
    """Return the budget; None if there is none. Raises errors of boto3."""
    client = account.client("budgets")
    try:
        budget: dict[str, Any] = client.describe_budget(AccountId=account.account_id, BudgetName=BUDGET)["Budget"]
    except client.exceptions.NotFoundException:
        return None
    return budget


def _set_up(client: Any, account: AwsAccount, address: str, limit: str | None) -> SetupResult:  # noqa: ANN401 boto3
    budget = find_budget(account)
    if budget is None:
        amount, done = limit or DEFAULT_LIMIT, True
        _create(client, account, address, amount)
    else:
        done = any([_change_limit(client, account, budget, limit), _add_address(client, account, address)])
        amount = limit or budget.get("BudgetLimit", {}).get("Amount", "?")
    found = f"{address} gets a mail at 80 % of ${amount} a month"
    return SetupResult("budget", "done" if done else "ok", found)


def _create(client: Any, account: AwsAccount, address: str, limit: str) -> None:  # noqa: ANN401 boto3
    client.create_budget(
        AccountId=account.account_id,
        Budget={
            "BudgetName": BUDGET,
            "BudgetType": "COST",
            "TimeUnit": "MONTHLY",
            "BudgetLimit": {"Amount": limit, "Unit": "USD"},
        },
        NotificationsWithSubscribers=[{"Notification": _NOTIFICATION, "Subscribers": [_subscriber(address)]}],
    )


def _subscriber(address: str) -> dict[str, str]:
    return {"SubscriptionType": "EMAIL", "Address": address}


def _change_limit(client: Any, account: AwsAccount, budget: dict[str, Any], limit: str | None) -> bool:  # noqa: ANN401
    """Give an existing budget a limit, if one is given. Return whether that changed it."""
    if limit is None or Decimal(limit) == Decimal(budget.get("BudgetLimit", {}).get("Amount", 0)):
        return False
    same = {name: budget[name] for name in _CHANGEABLE if name in budget}
    changed = {**same, "BudgetLimit": {"Amount": limit, "Unit": "USD"}}
    client.update_budget(AccountId=account.account_id, NewBudget=changed)
    return True


def _add_address(client: Any, account: AwsAccount, address: str) -> bool:  # noqa: ANN401 boto3
    """Make an existing budget send mail to an address. Return whether it did not before."""
    budget = {"AccountId": account.account_id, "BudgetName": BUDGET}
    notifications = client.describe_notifications_for_budget(**budget)["Notifications"]
    if not notifications:
        client.create_notification(**budget, Notification=_NOTIFICATION, Subscribers=[_subscriber(address)])
        return True
    keys = ("NotificationType", "ComparisonOperator", "Threshold", "ThresholdType")
    first = {name: notifications[0][name] for name in keys if name in notifications[0]}
    subscribers = client.describe_subscribers_for_notification(**budget, Notification=first)["Subscribers"]
    if address in {each["Address"] for each in subscribers}:
        return False
    client.create_subscriber(**budget, Notification=first, Subscriber=_subscriber(address))
    return True
