"""moto's Amazon SNS, with a recorder of requests that can make them fail. boto3's own retries and parsing run."""

import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, cast

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ReadTimeoutError
from moto.core.botocore_stubber import BotocoreStubber
from moto.core.models import botocore_stubber
from moto.sns.models import SNSBackend, Topic, sns_backends

if TYPE_CHECKING:
    from botocore.compat import HTTPHeaders

TOPIC = "us-east-1:DailyQuoteSubscription"
"""The topic of the default time zone, as the state names it."""
Fault = Literal["throttled", "refused", "forbidden", "error 500", "nonsense", "timed out", "answer lost"]
SETTINGS = {
    "SMS_GATEWAY": "sns",
    "SMS_ALLOWED_REGIONS": "*",
    "aws_access_key_id": "testing",
    "aws_secret_access_key": "testing",
}


def backend(region: str = "us-east-1") -> SNSBackend:
    return sns_backends["123456789012"][region]


def subscribed_numbers() -> list[str]:
    """Return the numbers subscribed to any topic, sorted."""
    return sorted(subscription.endpoint for subscription in backend().subscriptions.values())


def sent_to(mobile: str) -> list[str]:
    """Return the SMS sent directly to a number, oldest first."""
    return [sent[1] for sent in backend().sms_messages.values() if sent[0] == mobile]


def published(topic: str = "") -> list[str]:
    """Return the messages published to topics, or to the one that is named as in the state."""
    arn = topic.replace("us-east-1", "", 1)
    return [sent[1] for each in backend().topics.values() if each.arn.endswith(arn) for sent in each.sent_notifications]


def subscribed_to(topic: str) -> list[str]:
    """Return the numbers subscribed to a topic, which is named as in the state, sorted."""
    arn = f":{topic.partition(':')[2]}"
    return sorted(row.endpoint for row in backend().subscriptions.values() if row.topic.arn.endswith(arn))


class SnsCalls:
    """Records the operation of each HTTP request to SNS, in order, and makes chosen requests fail.

    `fault_for` decides, from the number of earlier requests and the operation, which fault a request meets.
    """

    def __init__(self) -> None:
        self.operations: list[str] = []
        self.fault_for: Callable[[int, str], Fault | None] = lambda _number, _operation: None

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Intercept requests between boto3 and moto."""
        send = type(botocore_stubber).__call__

        def intercept(
            stubber: BotocoreStubber, event_name: str, request: AWSPreparedRequest, **context: object
        ) -> AWSResponse | None:
            operation = event_name.rpartition(".")[2]
            fault = self.fault_for(len(self.operations), operation)
            self.operations.append(operation)
            if fault is None or fault == "answer lost":
                response: AWSResponse | None = send(stubber, event_name, request, **context)
                if fault is None:
                    return response
            return _fail(fault, request)

        monkeypatch.setattr(BotocoreStubber, "__call__", intercept)


def _fail(fault: Fault, request: AWSPreparedRequest) -> AWSResponse:
    match fault:
        case "throttled":
            return _error_response(request, 429, "Throttled")
        case "refused":
            return _error_response(request, 400, "InvalidParameter")
        case "forbidden":
            return _error_response(request, 403, "AuthorizationError")
        case "error 500":
            return _error_response(request, 500, "InternalError")
        case "nonsense":
            html = cast("HTTPHeaders", {"Content-Type": "text/html"})
            return AWSResponse(request.url, 200, html, _RawBody(b"<html><br></html>"))
    raise ReadTimeoutError(endpoint_url=request.url)


def _error_response(request: AWSPreparedRequest, status: int, code: str) -> AWSResponse:
    body = (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>+919028000001 is at fault</Message>"
        "</Error><RequestId>1a2b3c4d-5e6f-4a1b-8c2d-3e4f5a6b7c8d</RequestId></ErrorResponse>"
    )
    return AWSResponse(request.url, status, cast("HTTPHeaders", {"Content-Type": "text/xml"}), _RawBody(body.encode()))


class _RawBody(io.BytesIO):
    def stream(self, **_: object) -> Iterator[bytes]:
        while piece := self.read():
            yield piece


def count_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have moto count the subscriptions of a topic; it always reports 0."""

    def count(topic: Topic) -> int:
        region = topic.arn.split(":")[3]
        return sum(subscription.topic is topic for subscription in backend(region).subscriptions.values())

    monkeypatch.setattr(Topic, "subscriptions_confimed", property(count, lambda *_: None), raising=False)
