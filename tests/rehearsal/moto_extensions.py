"""Behavior of AWS that moto lacks.

It shows mail addresses that are not confirmed, counts the subscriptions of a topic, changes budgets, and has domain
names without APIs.
"""

import copy
import json
from collections.abc import Callable
from typing import Any

from moto.apigateway.models import APIGatewayBackend
from moto.budgets.exceptions import NotFoundException
from moto.budgets.models import BudgetsBackend, Notification
from moto.budgets.responses import BudgetsResponse
from moto.sns.models import SNSBackend, Subscription, Topic, sns_backends


def extend_moto(patch: Callable[[Any, str, Any], None] = setattr) -> None:
    """Add the behavior to the classes of moto, by `patch`."""
    patch(SNSBackend, "list_subscriptions_by_topic", _list_subscriptions_by_topic)
    patch(Topic, "subscriptions_confimed", property(_subscription_count, lambda *_: None))
    patch(BudgetsResponse, "update_budget", _update_budget)
    patch(BudgetsResponse, "describe_subscribers_for_notification", _describe_subscribers)
    patch(BudgetsResponse, "create_subscriber", _create_subscriber)
    patch(APIGatewayBackend, "get_base_path_mappings", _get_base_path_mappings)


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


def _subscription_count(topic: Topic) -> int:
    return sum(subscription.topic is topic for subscription in topic.sns_backend.subscriptions.values())


def _get_base_path_mappings(self: APIGatewayBackend, domain_name: str) -> Any:  # noqa: ANN401
    return list(self.base_path_mappings.get(domain_name, {}).values())


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
