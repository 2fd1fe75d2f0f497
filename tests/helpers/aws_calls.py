"""A record of the calls to an AWS account."""

from typing import Any

from quoteapi.deploy.aws_account import AwsAccount

READING = ("Describe", "Get", "Head", "List")


def record_calls(account: AwsAccount) -> list[str]:
    """Return a list to which each call by an account's clients is added from now on, as in `sns.Subscribe`."""
    calls: list[str] = []

    def record(model: Any, **_: object) -> None:  # noqa: ANN401 botocore has no types
        calls.append(f"{model.service_model.service_name}.{model.name}")

    events: Any = account.session.events
    events.register("before-call", record)
    account._clients.clear()  # they have the former events
    return calls


def writing_calls(calls: list[str]) -> list[str]:
    """Return the calls that change something."""
    return [call for call in calls if not call.partition(".")[2].startswith(READING)]
