"""The dispatcher that runs work in another Lambda invocation."""

import logging

import falcon

from quoteapi.settings import Settings
from quoteapi.sms.gateway import GatewayUnavailable

_log = logging.getLogger(__name__)


class LambdaDispatcher:
    """Hands work on to other invocations. Their module is loaded with the first one: it makes four clients of AWS."""

    def send_otp(self, request: str) -> None:
        """Have the code of a request made and sent. Raises `sms.Unavailable`."""
        try:
            from quoteapi.aws.tasks import async_send_otp

            async_send_otp(request)
        except Exception as error:  # noqa: BLE001 boto3 is not known here
            _log.exception("Lambda did not take a task")
            raise GatewayUnavailable(f"Lambda did not take the task ({type(error).__name__})") from None

    def subscribe(self, subscriber_id: int) -> None:
        """Have somebody put on the topic."""
        from quoteapi.aws.tasks import async_subscribe

        async_subscribe(subscriber_id)

    def unsubscribe(self, subscriber_id: int) -> None:
        """Have somebody taken off the topic."""
        from quoteapi.aws.tasks import async_unsubscribe

        async_unsubscribe(subscriber_id)


def start_failing_task() -> None:
    """Start a Lambda task that fails, so that the operator sees where failures go."""
    from quoteapi.aws.tasks import async_fail

    async_fail()


def report_failed_request(settings: Settings, req: falcon.Request, error: Exception) -> None:
    """Report a request that the app answered with 500."""
    from quoteapi.aws.error_reports import report_failed_request

    route = f"{req.method} {req.uri_template or '(no such page)'}"
    report_failed_request(settings, error, route, req.env.get("lambda.event"), req.env.get("lambda.context"))
