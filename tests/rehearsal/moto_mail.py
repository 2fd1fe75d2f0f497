"""Behavior of AWS that moto lacks: mail addresses that are not confirmed yet, and changes of budgets.

`extend_moto` can be called again.
"""

import copy
import json
from typing import Any

from moto.budgets.exceptions import NotFoundException
from moto.budgets.models import BudgetsBackend, Notification
from moto.budgets.responses import BudgetsResponse
from moto.sns.models import SNSBackend, Subscription, sns_backends


def extend_moto() -> None:
    """List subscriptions of mail addresses as AWS does; support `UpdateBudget` and a budget's subscribers."""
    backend: Any = SNSBackend
    backend.list_subscriptions_by_topic = _list_subscriptions_by_topic
    responses: Any = BudgetsResponse
    responses.update_budget = _update_budget
    responses.describe_subscribers_for_notification = _describe_subscribers
    responses.create_subscriber = _create_subscriber


def confirm_mail_addresses(region: str, account: str = "123456789012") -> None:
    """Click the links in all mails from SNS."""
    for subscription in sns_backends[account][region].subscriptions.values():
        subscription.confirmed = True


_list_all = SNSBackend.list_subscriptions_by_topic


def _list_subscriptions_by_topic(self: SNSBackend, topic_arn: str, next_token: str | None = None) -> Any:  # noqa: ANN401
    subscriptions, token = _list_all(self, topic_arn, next_token)
    return [_as_listed(subscription) for subscription in subscriptions], token


def _as_listed(subscription: Subscription) -> Subscription:
    if subscription.protocol != "email" or subscription.confirmed:
        return subscription
    listed = copy.copy(subscription)
    listed.arn = "PendingConfirmation"
    return listed


def _update_budget(self: BudgetsResponse) -> str:
    account, changed = self._get_param("AccountId"), self._get_param("NewBudget")
    self.backend.describe_budget(account, changed["BudgetName"])  # raises if there is none
    self.backend.budgets[account][changed["BudgetName"]].budget.update(changed)
    return json.dumps({})


def _describe_subscribers(self: BudgetsResponse) -> str:
    return json.dumps({"Subscribers": _notification(self).subscribers})


def _create_subscriber(self: BudgetsResponse) -> str:
    subscribers: Any = _notification(self).subscribers
    subscribers.append(self._get_param("Subscriber"))
    return json.dumps({})


def _notification(response: BudgetsResponse) -> Notification:
    backend: BudgetsBackend = response.backend
    budget = backend.budgets[response._get_param("AccountId")][response._get_param("BudgetName")]
    for notification in budget.notifications:
        if notification.details == response._get_param("Notification"):
            return notification
    raise NotFoundException("Unable to find the notification.")
