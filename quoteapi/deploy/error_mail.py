"""The mail addresses that get error reports: subscriptions of the SNS topic to which the function publishes them."""

from collections.abc import Iterator
from typing import Any

from quoteapi.deploy.aws_account import aws_errors
from quoteapi.deploy.check import Check
from quoteapi.deploy.stage_names import StageNames
from quoteapi.settings import Settings

NAME = "mail"


def check_error_mail(names: StageNames, settings: Settings) -> Iterator[Check]:
    """Yield whether a mail address gets error reports, and which did not confirm. Raises `CheckFailed`."""
    mails = list_error_mail(names, settings)
    if waiting := [address for address, is_confirmed in mails.items() if not is_confirmed]:
        found = f"{', '.join(waiting)} did not confirm, so gets no error reports"
        yield Check(NAME, "advice", found, how_to_confirm(waiting))
    elif mails:
        yield Check(NAME, "ok", f"error reports go to {', '.join(mails)}")
    else:
        to_do = f"Run `quoteapi setup {names.stage} --email ADDRESS`."
        yield Check(NAME, "advice", "nobody gets mail about errors", to_do)


def list_error_mail(names: StageNames, settings: Settings) -> dict[str, bool]:
    """Return the addresses that error reports are sent to, and whether each confirmed that. Raises `CheckFailed`."""
    from quoteapi.aws.error_reports import TOPIC  # noqa: PLC0415 imports boto3

    arn, found = names.account.arn("sns", TOPIC, settings.sns_region), dict[str, Any]()
    with aws_errors(NAME):
        client = names.account.client("sns", settings.sns_region)
        try:
            for page in client.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=arn):
                found |= {each["Endpoint"]: each for each in page["Subscriptions"] if each["Protocol"] == "email"}
        except client.exceptions.NotFoundException:
            return {}
    return {address: found[address]["SubscriptionArn"] != "PendingConfirmation" for address in sorted(found)}


def how_to_confirm(addresses: list[str]) -> str:
    """Return what to do about addresses that did not confirm."""
    return (
        f"Click the link in the mail that AWS sent to {', '.join(addresses)}, within two days: it has the subject AWS"
        " Notification - Subscription Confirmation."
    )
