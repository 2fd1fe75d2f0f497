"""The Lambda dispatcher: runs work in another Lambda invocation.

It imports `quoteapi.aws.tasks` when work is started, since Zappa makes four AWS clients during that import.
"""

import logging

from quoteapi.sms.gateway import GatewayUnavailable

_log = logging.getLogger(__name__)


class LambdaDispatcher:
    """Starts an asynchronous Lambda task for each unit of work. Methods raise `GatewayUnavailable`."""

    def send_otp(self, otp_request_id: str) -> None:
        """Start a task that sends the OTP of an OTP request."""
        _start_task("async_send_otp", otp_request_id)

    def subscribe(self, subscriber_id: str) -> None:
        """Start a task that adds a subscriber to the topic."""
        _start_task("async_subscribe", subscriber_id)

    def unsubscribe(self, subscriber_id: str) -> None:
        """Start a task that removes a subscriber from the topic."""
        _start_task("async_unsubscribe", subscriber_id)


def start_failing_task() -> None:
    """Start a task that fails, to show the operator where failures are reported."""
    from quoteapi.aws.tasks import async_fail

    async_fail()


def _start_task(name: str, argument: str | int) -> None:
    """Start a task of `quoteapi.aws.tasks`. Raises `GatewayUnavailable` if Lambda does not accept it."""
    try:
        from quoteapi.aws import tasks

        getattr(tasks, name)(argument)
    except Exception as error:  # noqa: BLE001 errors of boto3, which this module does not import
        _log.exception("Lambda task not started")
        raise GatewayUnavailable(f"Lambda did not start the task ({type(error).__name__})") from None
