"""A record of the calls that an AWS session makes."""

from typing import Any

import boto3

READING = ("Describe", "Get", "Head", "List")


def record_calls(session: boto3.Session) -> list[str]:
    """Return a list to which each call of a session is added from now on, as in `sns.Subscribe`."""
    calls: list[str] = []

    def record(model: Any, **_: object) -> None:  # noqa: ANN401 botocore has no types
        calls.append(f"{model.service_model.service_name}.{model.name}")

    events: Any = session.events
    events.register("before-call", record)
    return calls


def writing_calls(calls: list[str]) -> list[str]:
    """Return the calls that change something."""
    return [call for call in calls if not call.partition(".")[2].startswith(READING)]
