"""Asynchronous tasks: on Lambda, a call runs in another invocation; elsewhere it is a plain call.

Task payloads pass through queues and logs, so they contain no phone numbers and OTPs. All tasks raise `RedactedError`.
Importing `zappa.asynchronous` makes four AWS clients, so import `quoteapi.aws.tasks` only to start a task.
"""

from zappa import asynchronous
from zappa.asynchronous import task

from quoteapi.aws.job_context import job_context, redact_errors
from quoteapi.sms.sns import client_config
from quoteapi.subscriptions.schedule import raise_failures

INVOKE_ATTEMPTS = 2
"""Starting a task is retried once; a task that was started twice does no harm."""

if hasattr(asynchronous, "LAMBDA_CLIENT"):  # not without a region, as on a laptop
    # Zappa's own client waits for a minute, and the client of a request with it.
    asynchronous.LAMBDA_CLIENT = asynchronous.aws_session.client("lambda", config=client_config(INVOKE_ATTEMPTS))


class DeliberateFailure(Exception):
    """The failure of a task that `/async-failure` started."""


@task
def async_send_otp(otp_request_id: str) -> str:
    """Generate and send the OTP of the OTP request with this id."""
    with job_context() as container:
        return container.subscriptions.send_otp(otp_request_id)


@task
def async_subscribe(subscriber_id: str) -> str:
    """Add a subscriber to the topic."""
    with job_context() as container:
        return container.topic_sync.sync(str(subscriber_id))  # tasks of the version before have a number


@task
def async_unsubscribe(subscriber_id: str) -> str:
    """Remove a subscriber from the topic."""
    with job_context() as container:
        return container.topic_sync.sync(str(subscriber_id))  # tasks of the version before have a number


@task
def async_fail() -> None:
    """Fail, so that the operator sees how a failure is retried, reported and dead-lettered."""
    with redact_errors():
        raise DeliberateFailure("a client called /async-failure")


@task
def async_publish() -> str:
    """Send today's SMS in each time zone, unless it was sent or it is quiet hours there."""
    with job_context() as container:
        results = container.daily_delivery.publish()
        raise_failures(results)
        return " ".join(f"{result.time_zone}: {result.message}" for result in results)
