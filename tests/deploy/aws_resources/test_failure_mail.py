from collections.abc import Iterator

import pytest

from quoteapi.aws.error_reports import TOPIC
from quoteapi.deploy.aws_account import AwsAccount
from quoteapi.deploy.aws_resources.failure_mail import failure_topic_arn, find_mail_address, set_up_failure_mail
from quoteapi.deploy.checks.check import CheckFailed
from tests.deploy.aws import ADDRESS, REGION, described, emulate_account, failing_calls, record_calls, writing_calls
from tests.rehearsal.moto_extensions import confirm_mail_addresses

OTHER = "zola@example.org"


@pytest.fixture
def account() -> Iterator[AwsAccount]:
    with emulate_account() as account:
        yield account


def set_up(account: AwsAccount, address: str | None) -> str:
    (result,) = described(set_up_failure_mail(account, REGION, address))
    return result


def test_an_address_waits_until_its_owner_clicks_the_link(account: AwsAccount) -> None:
    assert find_mail_address(account, REGION) is None
    assert set_up(account, ADDRESS).startswith(
        f"waiting {ADDRESS} is not confirmed Click the link in the mail from AWS"
    )
    topics = [topic["TopicArn"] for topic in account.client("sns").list_topics()["Topics"]]
    assert topics == [failure_topic_arn(account, REGION)] == [f"arn:aws:sns:{REGION}:123456789012:{TOPIC}"]
    calls = record_calls()
    assert set_up(account, ADDRESS).startswith("waiting")
    confirm_mail_addresses(REGION)
    assert set_up(account, ADDRESS) == f"ok {ADDRESS}"
    assert find_mail_address(account, REGION) == ADDRESS
    assert writing_calls(calls) == []


def test_the_topic_is_in_the_region_of_sns(account: AwsAccount) -> None:
    list(set_up_failure_mail(account, "ap-south-1", ADDRESS))
    assert find_mail_address(account, REGION) is None
    assert find_mail_address(account, "ap-south-1") == ADDRESS


def test_another_address_leaves_the_one_before_which_may_be_of_another_stage(account: AwsAccount) -> None:
    set_up(account, ADDRESS)
    confirm_mail_addresses(REGION)
    changed = set_up(account, OTHER)
    assert changed.startswith(f"waiting {OTHER} is not confirmed; {ADDRESS} gets mail too Click the link")
    assert find_mail_address(account, REGION) == ADDRESS, "the confirmed one"
    confirm_mail_addresses(REGION)
    assert set_up(account, OTHER) == (
        f"ok {OTHER}; {ADDRESS} gets mail too To end that, click the link at the end of such a mail."
    )


def test_without_an_address_there_is_no_topic(account: AwsAccount) -> None:
    calls = record_calls()
    assert set_up(account, None) == (
        "skipped no mail about failures To get it, run the command again with --email ADDRESS."
    )
    assert writing_calls(calls) == []


def test_without_an_address_the_one_before_is_named(account: AwsAccount) -> None:
    set_up(account, ADDRESS)
    assert set_up(account, None).startswith(f"skipped {ADDRESS} gets mail from before To end that")


def test_other_subscriptions_are_no_mail_addresses(account: AwsAccount) -> None:
    client, topic = account.client("sns"), failure_topic_arn(account, REGION)
    client.create_topic(Name=TOPIC)
    client.subscribe(TopicArn=topic, Protocol="sms", Endpoint="+919028000001")
    client.subscribe(TopicArn=topic, Protocol="https", Endpoint="https://hooks.example.org")
    assert find_mail_address(account, REGION) is None


def test_an_address_that_sns_rejects_is_an_error_with_advice(account: AwsAccount) -> None:
    rejection = failing_calls("sns.Subscribe", "InvalidParameter", "Invalid parameter: Email address")
    with rejection, pytest.raises(CheckFailed) as failed:
        set_up(account, "mira@localhost")
    assert failed.value.args[2:] == (
        "Subscribe failed: InvalidParameter Invalid parameter: Email address",
        "Run the command again, with a mail address that SNS accepts.",
    )
