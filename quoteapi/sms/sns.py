"""The gateway on AWS: Amazon SNS. The only room that knows boto3.

What goes out is attempted once: after a time-out it may have gone out already. The rest is tried up to three times by
boto3 itself. Errors become those of `sms.py`, without the cause in their chain: it may have the number in its text.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from quoteapi.clock import Clock
from quoteapi.settings import Settings
from quoteapi.sms.gateway import (
    GatewayError,
    GatewayMisconfigured,
    GatewayUnavailable,
    Kind,
    NumberRejected,
    OutcomeUnknown,
)

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sns.type_defs import MessageAttributeValueTypeDef

CONNECT_SECONDS = 3
READ_SECONDS = 5
REPORT_SECONDS = 2
"""How long a report waits to be connected, and again for its answer: who was failed waits for it too."""
ATTEMPTS = 3
FORBIDDEN = 403
CLIENT_ERROR = range(400, 500)
TRANSACTIONAL = frozenset({"code", "confirmation"})
LATER = frozenset({"Throttled", "Throttling", "ThrottledException", "ThrottlingException", "RequestLimitExceeded"})
"""Codes of refusals that time mends."""
GONE = frozenset({"NotFound", "NotFoundException"})
"""Codes of what somebody deleted."""
CREDENTIALS = (
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)


class QuoteSubscription:
    """The topic of the daily SMS, and SMS to single numbers."""

    def __init__(self, settings: Settings, now: Clock) -> None:
        """Prepare; nothing is called, and no client made, before the first use."""
        self.topic = f"{settings.sns_region}:{settings.sns_topic}"
        self._settings = settings
        self._now = now
        self._lock = threading.RLock()
        self._topic_arn: str | None = None

    # ---- the gateway, as `sms.Gateway` has it

    def send_sms(self, mobile: str, message: str, kind: Kind) -> str:
        """Send one SMS, in one attempt. Answer SNS's message id."""
        attributes = self._attributes(kind)
        with self._translated_errors():
            sent = self._sending.publish(PhoneNumber=mobile, Message=message, MessageAttributes=attributes)
            return sent["MessageId"]

    def subscribe(self, mobile: str) -> str:
        """Put a number on the topic. Answer the subscription's ARN, the same for a number that is there already."""
        with self._translated_errors():
            subscribed = self._client.subscribe(TopicArn=self._topic(), Protocol="sms", Endpoint=mobile)
            return subscribed["SubscriptionArn"]

    def unsubscribe(self, subscription_arn: str) -> None:
        """Take a subscription off the topic, in one call; one that is gone already will do."""
        if subscription_arn.startswith("arn:"):  # else it is of the console, and nothing is on SNS
            with self._translated_errors(), suppress(self._client.exceptions.NotFoundException):
                self._client.unsubscribe(SubscriptionArn=subscription_arn)

    def publish(self, message: str) -> str:
        """Send a quote to everyone on the topic, in one attempt. Answer SNS's message id."""
        attributes = self._attributes("quote")
        with self._translated_errors():
            sent = self._sending.publish(TopicArn=self._topic(), Message=message, MessageAttributes=attributes)
            return sent["MessageId"]

    def count_subscriptions(self) -> int:
        """Answer how many are on the topic, as SNS counts them, some seconds late."""
        with self._translated_errors():
            found = self._client.get_topic_attributes(TopicArn=self._topic())
            return int(found["Attributes"]["SubscriptionsConfirmed"])

    def is_opted_out(self, mobile: str) -> bool:
        """Whether the number replied STOP to the account; asked once, as somebody waits for the answer."""
        with self._translated_errors():
            return self._sending.check_if_phone_number_is_opted_out(phoneNumber=mobile)["isOptedOut"]

    def list_opted_out(self) -> Iterator[list[str]]:
        """Answer the numbers that replied STOP, a hundred at a time."""
        token: str | None = ""
        while token is not None:
            with self._translated_errors():
                page = self._client.list_phone_numbers_opted_out(**({"nextToken": token} if token else {}))
                mobiles, token = page["phoneNumbers"], page.get("nextToken")
            yield mobiles

    def opt_in(self, mobile: str) -> None:
        """Take a number off the list of those that replied STOP; AWS does that once in 30 days."""
        with self._translated_errors():
            self._client.opt_in_phone_number(phoneNumber=mobile)

    # ---- what the doctor asks

    def spend_limit(self) -> str | None:
        """Answer the account's monthly limit for SMS, in US dollars; None where the account never set one."""
        with self._translated_errors():
            found = self._client.get_sms_attributes(attributes=["MonthlySpendLimit"])
            return found["attributes"].get("MonthlySpendLimit")

    def spent(self) -> float:
        """Answer what SMS cost the account this month, in US dollars, as CloudWatch has it."""
        now = self._now()
        with self._translated_errors():
            found = self._metrics.get_metric_statistics(
                Namespace="AWS/SNS",
                MetricName="SMSMonthToDateSpentUSD",
                StartTime=now - timedelta(days=1),
                EndTime=now,
                Period=86_400,
                Statistics=["Maximum"],
            )
            return max((point["Maximum"] for point in found["Datapoints"]), default=0.0)

    def is_in_sandbox(self) -> bool:
        """Whether the account may only send to numbers that it verified."""
        with self._translated_errors():
            return self._client.get_sms_sandbox_account_status()["IsInSandbox"]

    # ---- how it is called

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Turn what boto3 raises, and what comes of an answer without its fields, into the errors of `sms.py`."""
        try:
            yield
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in GONE:
                self._topic_arn = None  # somebody deleted the topic: the next call makes it anew
            raise _refusal(error) from None
        except ParamValidationError:
            raise NumberRejected("boto3 will not send such a request to SNS") from None
        except CREDENTIALS as error:
            raise GatewayMisconfigured(f"no usable AWS credentials were found ({type(error).__name__})") from None
        except (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError) as error:
            raise GatewayUnavailable(f"SNS cannot be reached ({type(error).__name__})") from None
        except (BotoCoreError, ResponseParserError, KeyError, TypeError, ValueError) as error:
            raise OutcomeUnknown(f"no answer from SNS that can be read ({type(error).__name__})") from None

    @cached_property
    def _session(self) -> boto3.Session:
        return _session_of(self._settings)

    # A session must not make two clients at a time; clients themselves may be shared by threads.

    @cached_property
    def _client(self) -> "SNSClient":
        with self._lock:
            return self._session.client("sns", config=client_config(ATTEMPTS))

    @cached_property
    def _sending(self) -> "SNSClient":
        with self._lock:
            return self._session.client("sns", config=client_config(1))

    @cached_property
    def _metrics(self) -> "CloudWatchClient":
        with self._lock:
            return self._session.client("cloudwatch", config=client_config(ATTEMPTS))

    def _topic(self) -> str:
        """Answer the topic's ARN; the topic is made if there is none, and asked for once a process."""
        with self._lock:
            if self._topic_arn is None:
                self._topic_arn = self._client.create_topic(Name=self._settings.sns_topic)["TopicArn"]
            return self._topic_arn

    def _attributes(self, kind: Kind) -> "dict[str, MessageAttributeValueTypeDef]":
        settings = self._settings
        values = {
            "AWS.SNS.SMS.SMSType": "Transactional" if kind in TRANSACTIONAL else "Promotional",
            "AWS.SNS.SMS.SenderID": settings.sms_sender_id,
            "AWS.MM.SMS.EntityId": settings.sms_entity_id,
            "AWS.MM.SMS.TemplateId": dict(settings.sms_template_ids).get(kind),
        }
        attributes: dict[str, MessageAttributeValueTypeDef] = {
            name: {"DataType": "String", "StringValue": value} for name, value in values.items() if value is not None
        }
        if settings.sms_max_price is not None:
            attributes["AWS.SNS.SMS.MaxPrice"] = {"DataType": "Number", "StringValue": settings.sms_max_price}
        return attributes


def publish_report(settings: Settings, topic: str, subject: str, message: str) -> None:
    """Publish to a topic, which is made if there is none, in one attempt. Raises `sms.GatewayError` or boto3's own."""
    client = _session_of(settings).client("sns", config=client_config(1, REPORT_SECONDS, REPORT_SECONDS))
    try:
        arn = client.create_topic(Name=topic)["TopicArn"]
        client.publish(TopicArn=arn, Subject=subject, Message=message)
    except ClientError as error:
        raise _refusal(error) from None


def _session_of(settings: Settings) -> boto3.Session:
    return boto3.Session(
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=settings.aws_secret_access_key,
        region_name=settings.sns_region,
    )


def client_config(attempts: int, connect: int = CONNECT_SECONDS, read: int = READ_SECONDS) -> Config:
    """Have a client of AWS give up after so many attempts, and seconds."""
    return Config(
        connect_timeout=connect,
        read_timeout=read,
        retries={"total_max_attempts": attempts, "mode": "standard"},
    )


def _refusal(error: ClientError) -> GatewayError:
    """Say whether trying again can help: SNS answered, but not with success."""
    code = error.response.get("Error", {}).get("Code", "without a code")
    meta = error.response.get("ResponseMetadata", {})
    status = meta.get("HTTPStatusCode", 0)
    said = f"SNS answered {status} {code} to {error.operation_name} (request {meta.get('RequestId', 'unknown')})"
    if code in LATER or code in GONE:
        return GatewayUnavailable(said)
    if status == FORBIDDEN:
        return GatewayMisconfigured(said)
    return NumberRejected(said) if status in CLIENT_ERROR else OutcomeUnknown(said)
