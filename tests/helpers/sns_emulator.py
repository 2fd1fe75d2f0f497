"""Amazon SNS as moto has it, behind boto3's own code for sending, retrying and reading answers; and how it fails."""

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

Fault = Literal["throttled", "refused", "forbidden", "error 500", "nonsense", "timed out", "answer lost"]
SETTINGS = {
    "SMS_GATEWAY": "sns",
    "SMS_ALLOWED_REGIONS": "*",
    "aws_access_key_id": "testing",
    "aws_secret_access_key": "testing",
}


def backend() -> SNSBackend:
    return sns_backends["123456789012"]["us-east-1"]


def subscribed_numbers() -> list[str]:
    """Answer the numbers that would get the daily SMS."""
    return sorted(subscription.endpoint for subscription in backend().subscriptions.values())


def sent_to(mobile: str) -> list[str]:
    """Answer the SMS that went to one number, the oldest first."""
    return [sent[1] for sent in backend().sms_messages.values() if sent[0] == mobile]


def published() -> list[str]:
    """Answer what was published to topics."""
    return [sent[1] for topic in backend().topics.values() for sent in topic.sent_notifications]


class SnsCalls:
    """Every HTTP request to SNS, in order, and what becomes of those that are to fail."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.becomes: Callable[[int, str], Fault | None] = lambda _number, _operation: None

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stand before moto, where boto3's own code sends a request and waits for the answer."""
        answer = type(botocore_stubber).__call__

        def watched(
            stubber: BotocoreStubber, event_name: str, request: AWSPreparedRequest, **more: object
        ) -> AWSResponse | None:
            operation = event_name.rpartition(".")[2]
            fault = self.becomes(len(self.made), operation)
            self.made.append(operation)
            if fault is None or fault == "answer lost":
                answered: AWSResponse | None = answer(stubber, event_name, request, **more)
                if fault is None:
                    return answered
            return _failed(fault, request)

        monkeypatch.setattr(BotocoreStubber, "__call__", watched)


def _failed(fault: Fault, request: AWSPreparedRequest) -> AWSResponse:
    match fault:
        case "throttled":
            return _error(request, 429, "Throttled")
        case "refused":
            return _error(request, 400, "InvalidParameter")
        case "forbidden":
            return _error(request, 403, "AuthorizationError")
        case "error 500":
            return _error(request, 500, "InternalError")
        case "nonsense":
            html = cast("HTTPHeaders", {"Content-Type": "text/html"})
            return AWSResponse(request.url, 200, html, _Raw(b"<html><br></html>"))
    raise ReadTimeoutError(endpoint_url=request.url)


def _error(request: AWSPreparedRequest, status: int, code: str) -> AWSResponse:
    body = (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>+919028000001 is at fault</Message>"
        "</Error><RequestId>1a2b3c4d-5e6f-4a1b-8c2d-3e4f5a6b7c8d</RequestId></ErrorResponse>"
    )
    return AWSResponse(request.url, status, cast("HTTPHeaders", {"Content-Type": "text/xml"}), _Raw(body.encode()))


class _Raw(io.BytesIO):
    def stream(self, **_: object) -> Iterator[bytes]:
        while piece := self.read():
            yield piece


def count_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have moto count who is on a topic; it always answers none."""

    def counted(topic: Topic) -> int:
        return sum(subscription.topic is topic for subscription in backend().subscriptions.values())

    monkeypatch.setattr(Topic, "subscriptions_confimed", property(counted, lambda *_: None), raising=False)
