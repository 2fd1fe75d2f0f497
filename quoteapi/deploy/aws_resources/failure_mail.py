"""Mail about failures: the SNS topic of error reports and alarms, with the operator's mail address subscribed.

All stages of an account and a region share the topic.
"""

from collections.abc import Iterator

from quoteapi.deploy.aws_account import AwsAccount, aws_errors
from quoteapi.deploy.checks.check import Check
from quoteapi.deploy.setup_result import SetupResult

_INVALID_ADDRESS = {"InvalidParameter": "Run the command again, with a mail address that SNS accepts."}
_CONFIRM = (
    "Click the link in the mail from AWS, also in the spam folder. After 48 hours, run this command for a new link."
)
_HOW_TO_START = "To get it, run the command again with --email ADDRESS."
_HOW_TO_END = "To end that, click the link at the end of such a mail."


def failure_topic_arn(account: AwsAccount, region: str) -> str:
    """Return the ARN of the topic in a region."""
    from quoteapi.aws.error_reports import TOPIC  # noqa: PLC0415 imports boto3, which is slow

    return account.arn("sns", TOPIC, region)


def find_mail_address(account: AwsAccount, region: str) -> str | None:
    """Return a mail address on the topic, a confirmed one if possible; None if there is none. Raises `CheckFailed`."""
    addresses = list_mail_addresses(account, region)
    return max(addresses, key=lambda address: addresses[address], default=None)


def list_mail_addresses(account: AwsAccount, region: str) -> dict[str, bool]:
    """Return the mail addresses on the topic, and whether each is confirmed. AWS cannot remove those that are not.

    Raises `CheckFailed`.
    """
    client = account.client("sns", region)
    pages = client.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=failure_topic_arn(account, region))
    with aws_errors("mail"):
        try:
            return {
                each["Endpoint"]: each["SubscriptionArn"] != "PendingConfirmation"
                for page in pages
                for each in page["Subscriptions"]
                if each["Protocol"] == "email" and each["SubscriptionArn"] != "Deleted"
            }
        except client.exceptions.NotFoundException:
            return {}


def check_failure_mail(stage: str, addresses: dict[str, bool]) -> Check:
    """Return whether an address gets mail, and which are not confirmed."""
    if waiting := how_to_confirm(addresses):
        return Check("mail", "advice", "not all addresses for mail about failures are confirmed", waiting)
    if addresses:
        return Check("mail", "ok", f"mail about failures goes to {', '.join(sorted(addresses))}")
    to_do = f"Run `quoteapi setup {stage} --email ADDRESS`."
    return Check("mail", "advice", "nobody gets mail about failures", to_do)


def how_to_confirm(addresses: dict[str, bool]) -> str:
    """Return what to do about addresses that are not confirmed; empty if all are."""
    waiting = sorted(address for address, is_confirmed in addresses.items() if not is_confirmed)
    return f"Click the link in the mail that AWS sent to {', '.join(waiting)} within 48 hours." if waiting else ""


def set_up_failure_mail(account: AwsAccount, region: str, address: str | None) -> Iterator[SetupResult]:
    """Subscribe a mail address to the topic, and say whether its owner confirmed that. Others stay on the topic.

    Raises `CheckFailed`.
    """
    addresses = list_mail_addresses(account, region)
    with aws_errors("mail", _INVALID_ADDRESS):
        client, topic = account.client("sns", region), failure_topic_arn(account, region)
        if address is not None and address not in addresses:
            client.create_topic(Name=topic.rpartition(":")[2])
            client.subscribe(TopicArn=topic, Protocol="email", Endpoint=address)
    others = ", ".join(sorted(set(addresses) - {address}))
    also = f"{others} gets mail {'too' if address else 'from before'}" if others else ""
    if address is None:
        yield SetupResult("mail", "skipped", also or "no mail about failures", _HOW_TO_END if others else _HOW_TO_START)
    elif addresses.get(address):
        yield SetupResult("mail", "ok", "; ".join(filter(None, (address, also))), _HOW_TO_END if others else "")
    else:
        yield SetupResult("mail", "waiting", "; ".join(filter(None, (f"{address} is not confirmed", also))), _CONFIRM)
