"""The gateway `sns`: sends SMS by Amazon SNS. No other module calls SNS with boto3.

Sending is attempted once, since an SMS may have gone out before a timeout; boto3 retries most other calls. Errors of
boto3 are raised as those of `gateway.py`, without a `__cause__`, whose text may have the phone number.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import boto3
from botocore import exceptions as errors
from botocore.config import Config
from botocore.parsers import ResponseParserError

from quoteapi.clock import Clock
from quoteapi.settings import Settings
from quoteapi.sms import gateway
from quoteapi.sms.topics import TimeZoneTopics

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sns.type_defs import MessageAttributeValueTypeDef

CONNECT_TIMEOUT_SECONDS = 3
READ_TIMEOUT_SECONDS = 5
REPORT_TIMEOUT_SECONDS = 2
"""For an error report, both to connect and to read; short, because the client of the failed request waits for it."""
MAX_ATTEMPTS = 3
HTTP_FORBIDDEN = 403
NOT_FOUND = frozenset({"NotFound", "NotFoundException"})
"""Error codes for a topic or subscription that was deleted."""
TRANSIENT = NOT_FOUND | {"Throttled", "Throttling", "ThrottledException", "ThrottlingException", "RequestLimitExceeded"}
"""Error codes after which a later try may succeed; it creates a deleted topic again."""
CREDENTIAL_ERRORS = (
    errors.CredentialRetrievalError,
    errors.NoCredentialsError,
    errors.NoRegionError,
    errors.PartialCredentialsError,
    errors.ProfileNotFound,
    errors.SSOError,
    errors.TokenRetrievalError,
)
CONNECTION_ERRORS = (errors.EndpointConnectionError, errors.ConnectTimeoutError, errors.ProxyConnectionError)


class QuoteSubscription:
    """The SNS topics of the daily SMS, and SMS to single numbers. Implements `Gateway`."""

    def __init__(self, settings: Settings, now: Clock) -> None:
        """Create no client and call nothing before the first use."""
        self.topics = TimeZoneTopics(f"{settings.sns_region}:{settings.sns_topic}", settings.default_time_zone)
        self._settings = settings
        self._now = now
        self._lock = threading.RLock()
        self._topic_arns: dict[str, str] = {}

    def send_sms(self, mobile: str, message: str, kind: gateway.SmsKind) -> str:
        """Send one SMS, in one attempt. Return its SNS message id."""
        attributes = self._message_attributes(kind)
        with self._translated_errors():
            sent = self._sending_client.publish(PhoneNumber=mobile, Message=message, MessageAttributes=attributes)
            return sent["MessageId"]

    def subscribe(self, mobile: str, topic: str) -> str:
        """Add a number to a topic. Return the ARN of its subscription, also if it was subscribed before."""
        with self._translated_errors():
            subscribed = self._client.subscribe(TopicArn=self._topic_arn(topic), Protocol="sms", Endpoint=mobile)
            return subscribed["SubscriptionArn"]

    def unsubscribe(self, subscription_arn: str) -> None:
        """Delete a subscription. Idempotent."""
        if subscription_arn.startswith("arn:"):  # else the console gateway made it, and SNS has none
            with self._translated_errors(), suppress(self._client.exceptions.NotFoundException):
                self._client.unsubscribe(SubscriptionArn=subscription_arn)

    def publish(self, message: str, topic: str) -> str:
        """Send the daily SMS to all numbers on a topic, in one attempt. Return its SNS message id."""
        attributes = self._message_attributes("quote")
        with self._translated_errors():
            arn = self._topic_arn(topic)
            sent = self._sending_client.publish(TopicArn=arn, Message=message, MessageAttributes=attributes)
            return sent["MessageId"]

    def count_subscriptions(self, topic: str) -> int:
        """Return the subscriber count of a topic, which SNS updates with some seconds' delay."""
        with self._translated_errors():
            found = self._client.get_topic_attributes(TopicArn=self._topic_arn(topic))
            return int(found["Attributes"]["SubscriptionsConfirmed"])

    def is_opted_out(self, mobile: str) -> bool:
        """Return whether the number opted out; in one attempt, because a client waits."""
        with self._translated_errors():
            return self._sending_client.check_if_phone_number_is_opted_out(phoneNumber=mobile)["isOptedOut"]

    def list_opted_out(self) -> Iterator[list[str]]:
        """Return the numbers that opted out, in pages of a hundred."""
        with self._translated_errors():
            for page in self._client.get_paginator("list_phone_numbers_opted_out").paginate():
                yield page["phoneNumbers"]

    def opt_in(self, mobile: str) -> None:
        """Opt a number in again, which AWS allows once in 30 days."""
        with self._translated_errors():
            self._client.opt_in_phone_number(phoneNumber=mobile)

    def spend_limit(self) -> str | None:
        """Return the account's monthly SMS spending limit in US dollars; None if none was set."""
        with self._translated_errors():
            response = self._client.get_sms_attributes(attributes=["MonthlySpendLimit"])
            return response["attributes"].get("MonthlySpendLimit")

    def spent(self) -> float:
        """Return the account's SMS spending of this month in US dollars, from CloudWatch."""
        now = self._now()
        with self._translated_errors():
            cloudwatch = self._session.client("cloudwatch", config=client_config(MAX_ATTEMPTS))
            response = cloudwatch.get_metric_statistics(
                Namespace="AWS/SNS",
                MetricName="SMSMonthToDateSpentUSD",
                StartTime=now - timedelta(days=1),
                EndTime=now,
                Period=86_400,
                Statistics=["Maximum"],
            )
            return max((point["Maximum"] for point in response["Datapoints"]), default=0.0)

    def is_in_sandbox(self) -> bool:
        """Return whether the account is in the SMS sandbox, and can send only to verified numbers."""
        with self._translated_errors():
            return self._client.get_sms_sandbox_account_status()["IsInSandbox"]

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Raise errors of boto3, and those of reading an unexpected response, as `GatewayError`."""
        try:
            yield
        except errors.ClientError as error:
            if error.response.get("Error", {}).get("Code") in NOT_FOUND:
                self._topic_arns.clear()  # a topic was deleted: the next call creates it
            raise _gateway_error(error) from None
        except errors.ParamValidationError:
            raise gateway.NumberRejected("boto3 rejected the request to SNS") from None
        except CREDENTIAL_ERRORS as error:
            raise gateway.GatewayMisconfigured(
                f"no usable AWS credentials were found ({type(error).__name__})"
            ) from None
        except CONNECTION_ERRORS as error:
            raise gateway.GatewayUnavailable(f"SNS cannot be reached ({type(error).__name__})") from None
        except (errors.BotoCoreError, ResponseParserError, KeyError, TypeError, ValueError) as error:
            raise gateway.OutcomeUnknown(f"no readable response from SNS ({type(error).__name__})") from None

    # Threads may share a client, but must not make clients of one session at the same time.

    @cached_property
    def _session(self) -> boto3.Session:
        return _make_session(self._settings)

    @cached_property
    def _client(self) -> "SNSClient":
        with self._lock:
            return self._session.client("sns", config=client_config(MAX_ATTEMPTS))

    @cached_property
    def _sending_client(self) -> "SNSClient":
        with self._lock:
            return self._session.client("sns", config=client_config(1))

    def _topic_arn(self, topic: str) -> str:
        """Return the ARN of a topic, which is created if it does not exist, and then cached."""
        region, _, name = topic.partition(":")
        if region != self._settings.sns_region:
            raise gateway.GatewayMisconfigured(f"SNS_REGION is {self._settings.sns_region}, but the topic is {topic}")
        with self._lock:
            if topic not in self._topic_arns:
                self._topic_arns[topic] = self._client.create_topic(Name=name)["TopicArn"]
            return self._topic_arns[topic]

    def _message_attributes(self, kind: gateway.SmsKind) -> "dict[str, MessageAttributeValueTypeDef]":
        settings = self._settings
        attributes = [
            ("AWS.SNS.SMS.SMSType", "String", "Promotional" if kind == "quote" else "Transactional"),
            ("AWS.SNS.SMS.SenderID", "String", settings.sms_sender_id),
            ("AWS.SNS.SMS.MaxPrice", "Number", settings.sms_max_price),
            ("AWS.MM.SMS.EntityId", "String", settings.sms_entity_id),
            ("AWS.MM.SMS.TemplateId", "String", dict(settings.sms_template_ids).get(kind)),
        ]
        return {
            name: {"DataType": type_, "StringValue": value} for name, type_, value in attributes if value is not None
        }


def publish_error_report(settings: Settings, topic: str, subject: str, message: str) -> None:
    """Publish to an SNS topic, created if it does not exist. Raises `GatewayError` or an error of boto3."""
    config = client_config(1, REPORT_TIMEOUT_SECONDS, REPORT_TIMEOUT_SECONDS)
    client = _make_session(settings).client("sns", config=config)
    try:
        arn = client.create_topic(Name=topic)["TopicArn"]
        client.publish(TopicArn=arn, Subject=subject, Message=message)
    except errors.ClientError as error:
        raise _gateway_error(error) from None


def _make_session(settings: Settings) -> boto3.Session:
    return boto3.Session(settings.aws_access_key_id, settings.aws_secret_access_key, region_name=settings.sns_region)


def client_config(attempts: int, connect: int = CONNECT_TIMEOUT_SECONDS, read: int = READ_TIMEOUT_SECONDS) -> Config:
    """Return a boto3 client configuration with this number of attempts in total, and timeouts in seconds."""
    return Config(
        connect_timeout=connect, read_timeout=read, retries={"total_max_attempts": attempts, "mode": "standard"}
    )


def _gateway_error(error: errors.ClientError) -> gateway.GatewayError:
    """Return the `GatewayError` for an error response of SNS, chosen by its error code and HTTP status."""
    code = error.response.get("Error", {}).get("Code", "without a code")
    metadata = error.response.get("ResponseMetadata", {})
    status, request_id = metadata.get("HTTPStatusCode", 0), metadata.get("RequestId", "unknown")
    message = f"SNS returned {status} {code} for {error.operation_name} (request {request_id})"
    if code in TRANSIENT:
        return gateway.GatewayUnavailable(message)
    if status == HTTP_FORBIDDEN:
        return gateway.GatewayMisconfigured(message)
    is_client_error = status in range(400, 500)
    return gateway.NumberRejected(message) if is_client_error else gateway.OutcomeUnknown(message)
