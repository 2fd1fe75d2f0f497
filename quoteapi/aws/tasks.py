"""Work that Lambda does in another invocation than the request; elsewhere these are plain calls.

Loading this module makes four clients of AWS (Zappa does), so it is loaded when a task is first handed on. What a task
is told has neither numbers nor codes: it goes through queues and logs.
"""

from zappa import asynchronous
from zappa.asynchronous import task

from quoteapi.aws.job_context import job_context, redact_errors
from quoteapi.sms.sns import client_config

INVOKE_ATTEMPTS = 2
"""At handing work on, which may be done twice."""


if hasattr(asynchronous, "LAMBDA_CLIENT"):  # not where no region is set, as on a laptop
    # Zappa's own waits for a minute; whoever hands work on has somebody waiting.
    asynchronous.LAMBDA_CLIENT = asynchronous.aws_session.client("lambda", config=client_config(INVOKE_ATTEMPTS))


class DeliberateFailure(Exception):
    """What a task raises that is there to fail: it shows the way of a failure to the dead-letter queue."""


@task
def async_send_otp(request: str) -> str:
    """Make the code that was asked for by `request` and send it. Raises `RedactedError`."""
    with job_context() as service:
        return service.subscriptions.send_otp(request)


@task
def async_subscribe(subscriber_id: int) -> str:
    """Put a subscriber on the topic. Raises `RedactedError`."""
    with job_context() as service:
        return service.topic_sync.sync(subscriber_id)


@task
def async_unsubscribe(subscriber_id: int) -> str:
    """Take a subscriber off the topic. Raises `RedactedError`."""
    with job_context() as service:
        return service.topic_sync.sync(subscriber_id)


@task
def async_fail() -> None:
    """Fail, as `/async-failure` asks for. Raises `RedactedError`."""
    with redact_errors():
        raise DeliberateFailure("somebody called /async-failure")


@task
def async_publish() -> str:
    """Send the quote of the day to everyone on the topic, unless it was sent. Raises `RedactedError`."""
    with job_context() as service:
        return service.daily_delivery.publish().message
