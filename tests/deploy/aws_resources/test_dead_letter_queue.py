from collections.abc import Iterator

import pytest

from quoteapi.deploy.aws_account import AwsAccount
from quoteapi.deploy.aws_resources.dead_letter_queue import set_up_dead_letter_queue
from quoteapi.deploy.checks.check import CheckFailed
from quoteapi.deploy.stage_names import StageNames
from tests.deploy.aws import described, emulate_account, failing_calls, names_of, record_calls, writing_calls

DONE = "done kept for 14 days in the queue quoteapi-dev-failures"


@pytest.fixture
def account() -> Iterator[AwsAccount]:
    with emulate_account() as account:
        yield account


def attributes(names: StageNames) -> dict[str, str]:
    client = names.account.client("sqs")
    url = client.get_queue_url(QueueName=names.queue)["QueueUrl"]
    found: dict[str, str] = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return found


def test_the_queue_is_encrypted_and_keeps_messages_for_14_days(account: AwsAccount) -> None:
    names = names_of(account)
    assert described(set_up_dead_letter_queue(names)) == [DONE]
    found = attributes(names)
    assert (found["MessageRetentionPeriod"], found["SqsManagedSseEnabled"].lower()) == ("1209600", "true")
    assert found["QueueArn"] == names.queue_arn == "arn:aws:sqs:eu-west-1:123456789012:quoteapi-dev-failures"
    calls = record_calls()
    assert described(set_up_dead_letter_queue(names)) == [DONE.replace("done", "ok")]
    assert writing_calls(calls) == []


def test_an_existing_queue_gets_what_it_lacks(account: AwsAccount) -> None:
    names = names_of(account)
    account.client("sqs").create_queue(
        QueueName=names.queue, Attributes={"VisibilityTimeout": "60", "SqsManagedSseEnabled": "false"}
    )
    assert described(set_up_dead_letter_queue(names)) == [DONE]
    found = attributes(names)
    assert (found["MessageRetentionPeriod"], found["VisibilityTimeout"]) == ("1209600", "60")
    assert found["SqsManagedSseEnabled"].lower() == "true"


def test_a_key_of_the_operator_keeps_encrypting_the_queue(account: AwsAccount) -> None:
    names = names_of(account)
    key = {"KmsMasterKeyId": "alias/mine", "SqsManagedSseEnabled": "false", "MessageRetentionPeriod": "1209600"}
    account.client("sqs").create_queue(QueueName=names.queue, Attributes=key)
    assert described(set_up_dead_letter_queue(names)) == [DONE.replace("done", "ok")]


def test_another_queue_of_the_settings_stays_as_it_is(account: AwsAccount) -> None:
    other = "arn:aws:sqs:eu-west-1:123456789012:mine"
    names = names_of(account, dead_letter_arn=other)
    assert names.queue_arn == other
    calls = record_calls()
    assert described(set_up_dead_letter_queue(names)) == [f"ok go to {other}, as your settings say"]
    assert calls == []


def test_a_stage_that_moves_to_another_region_gets_a_queue_there(account: AwsAccount) -> None:
    names = names_of(account, dead_letter_arn="arn:aws:sqs:us-east-1:123456789012:quoteapi-dev-failures")
    assert names.queue_arn == "arn:aws:sqs:eu-west-1:123456789012:quoteapi-dev-failures"
    assert described(set_up_dead_letter_queue(names)) == [DONE]


def test_a_queue_that_was_just_deleted_asks_for_a_minute_of_patience(account: AwsAccount) -> None:
    recently = failing_calls("sqs.CreateQueue", "AWS.SimpleQueueService.QueueDeletedRecently", "You must wait.")
    with recently, pytest.raises(CheckFailed) as failed:
        list(set_up_dead_letter_queue(names_of(account)))
    assert failed.value.args[3] == "SQS reserves the name of a deleted queue for a minute. Then run the command again."
