"""The Lambda dispatcher: runs work in another Lambda invocation.

Each method imports `quoteapi.aws.tasks` when it is called, since Zappa makes four AWS clients during that import.
"""

import logging

from quoteapi.sms.gateway import GatewayUnavailable

_log = logging.getLogger(__name__)


class LambdaDispatcher:
    """Starts an asynchronous Lambda task for each unit of work."""

    def send_otp(self, request: str) -> None:
        """Start a task that sends the OTP of the OTP request with this id. Raises `GatewayUnavailable`."""
        try:
            from quoteapi.aws.tasks import async_send_otp

            async_send_otp(request)
        except Exception as error:  # noqa: BLE001 errors of boto3, which this module does not import
            _log.exception("Lambda task not started")
            raise GatewayUnavailable(f"Lambda did not start the task ({type(error).__name__})") from None

    def subscribe(self, subscriber_id: int) -> None:
        """Start a task that adds a subscriber to the topic."""
        from quoteapi.aws.tasks import async_subscribe

        async_subscribe(subscriber_id)

    def unsubscribe(self, subscriber_id: int) -> None:
        """Start a task that removes a subscriber from the topic."""
        from quoteapi.aws.tasks import async_unsubscribe

        async_unsubscribe(subscriber_id)


def start_failing_task() -> None:
    """Start a task that fails, to show the operator where failures are reported."""
    from quoteapi.aws.tasks import async_fail

    async_fail()
