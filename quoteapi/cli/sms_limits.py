"""Checks of subscribers, SMS and their cost against the limits, for `doctor` and `publish --dry-run`."""

from collections.abc import Iterator, Sequence

from quoteapi.container import Container
from quoteapi.deploy.aws_resources.sms_account import DEFAULT_SPEND_LIMIT, HOW_TO_SPEND_MORE
from quoteapi.deploy.checks.check import Check
from quoteapi.printable import counted
from quoteapi.sms.gateway import GatewayError
from quoteapi.storage.state import ACTIVE
from quoteapi.subscriptions.daily_delivery import DeliveryPreview

NEAR_LIMIT = 0.8
"""The share of a limit from which on the operator is advised to raise it."""
DAYS_PER_MONTH = 30


def describe_cost(previews: Sequence[DeliveryPreview]) -> str:
    """Return how many segments of the daily SMS are billed and, if the settings limit the price, what they cost."""
    billed = f"{counted(sum(preview.billed_segments for preview in previews), 'segment')} billed"
    max_cost = _max_cost(previews)
    return billed if max_cost is None else f"{billed}, at most ${max_cost:,.2f}"


def _max_cost(previews: Sequence[DeliveryPreview]) -> float | None:
    """Return the most that the daily SMS costs, in US dollars; None if the settings do not limit it."""
    costs = [preview.max_cost for preview in previews if preview.max_cost is not None]
    return sum(costs) if costs else None


def check_limits(container: Container, previews: Sequence[DeliveryPreview]) -> Iterator[Check]:
    """Yield the checks of the limits that a daily SMS may reach."""
    yield check_subscribers(container)
    if container.settings.gateway == "sns":
        yield check_spending(container, previews)


def check_subscribers(container: Container) -> Check:
    """Compare the active subscribers with their limit, and with the count that requests rely on."""
    active, limit = container.state.count_subscribers(ACTIVE), container.settings.max_subscribers
    found, higher = f"{active} active, of at most {limit}", "Set SMS_MAX_SUBSCRIBERS higher if your budget allows it."
    if (stored := container.state.subscriber_count()) != active:
        found = f"{found}; the stored count is {stored}"
        return Check("subscribers", "advice", found, "To correct the count, run `quoteapi reconcile`.")
    if active >= limit:
        return Check("subscribers", "wrong", f"{found}: no number can subscribe", higher)
    if active >= NEAR_LIMIT * limit:
        return Check("subscribers", "advice", found, f"{higher} At the limit, no number can subscribe.")
    return Check("subscribers", "ok", found)


def check_daily_cap(container: Container) -> Check:
    """Compare today's codes and confirmations with `SMS_DAILY_CAP`."""
    cap, today = container.settings.sms_daily_cap, container.clock().date()
    sent = container.state.read_sms_count(today)
    found = f"{sent} codes and confirmations today, of at most {cap}"
    if sent >= cap:
        return Check("daily cap", "wrong", f"{found}: no more codes are sent today", "Set SMS_DAILY_CAP higher.")
    return Check("daily cap", "advice" if sent >= NEAR_LIMIT * cap else "ok", found, "Set SMS_DAILY_CAP higher.")


def check_spending(container: Container, previews: Sequence[DeliveryPreview]) -> Check:
    """Compare what was spent this month, and what a month of such daily SMS costs, with the account's limit."""
    from quoteapi.sms.sns import QuoteSubscription  # noqa: PLC0415 imports boto3

    assert isinstance(container.gateway, QuoteSubscription)
    try:
        limit_set, spent = container.gateway.spend_limit(), container.gateway.spent()
    except GatewayError as error:
        to_do = "Allow sns:GetSMSAttributes and cloudwatch:GetMetricStatistics."
        return Check("spending", "advice", f"unknown: {error}", to_do)
    to_do = f"{HOW_TO_SPEND_MORE} Then raise the limit: SNS console, Text messaging (SMS)."
    limit, month = float(limit_set or DEFAULT_SPEND_LIMIT), DAYS_PER_MONTH * (_max_cost(previews) or 0)
    found = f"${spent:,.2f} of ${limit:,.2f} this month"
    if limit_set is None:
        found = f"${spent:,.2f} this month; no limit is set, so the default of AWS applies: ${DEFAULT_SPEND_LIMIT}"
    if spent >= limit:
        return Check("spending", "wrong", f"{found}: AWS sends no more SMS this month", to_do)
    if month:
        found = f"{found}; {DAYS_PER_MONTH} days like today cost at most ${month:,.2f}"
    is_near = limit_set is None or max(spent, month) >= NEAR_LIMIT * limit
    return Check("spending", "advice" if is_near else "ok", found, to_do)
