"""Work that Lambda does in another invocation than the request; elsewhere these are plain calls.

Loading this module makes four clients of AWS (Zappa does), so it is loaded when a task is first handed on. What a task
is told has neither numbers nor codes: it goes through queues and logs.
"""

from zappa.asynchronous import task

from quoteapi.service import at_work


@task
def async_send_otp(request: str) -> str:
    """Make the code that was asked for by `request` and send it. Raises `service.WorkFailed`."""
    with at_work() as service:
        return service.subscriptions.send_code(request)


@task
def async_subscribe(subscriber_id: int) -> str:
    """Put a subscriber on the topic. Raises `service.WorkFailed`."""
    with at_work() as service:
        return service.subscriptions.settle(subscriber_id)


@task
def async_unsubscribe(subscriber_id: int) -> str:
    """Take a subscriber off the topic. Raises `service.WorkFailed`."""
    with at_work() as service:
        return service.subscriptions.settle(subscriber_id)


@task
def async_publish() -> str:
    """Send the quote of the day to everyone on the topic, unless it was sent. Raises `service.WorkFailed`."""
    with at_work() as service:
        return service.deliveries.publish().message
