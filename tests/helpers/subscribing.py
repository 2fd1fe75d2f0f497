"""Steps that tests of subscriptions share."""

from collections.abc import Callable
from threading import Thread

from quoteapi.container import Container
from quoteapi.storage.models import Subscriber as SubscriberRow
from quoteapi.storage.models import database
from quoteapi.storage.state import Subscriber
from tests.helpers.data import MIRA, UTC_ZONE, add_subscribers, latest_otp
from tests.helpers.dispatcher import RecordingDispatcher

CLIENT_IP = "192.0.2.1"


def add_sns_subscribers(container: Container, *mobiles: str, time_zone: str = UTC_ZONE) -> None:
    """Store subscribers who joined the day before, and add them to the topic of their time zone in SNS."""
    topics = container.gateway.topics
    add_subscribers(*mobiles, time_zone=time_zone, base_topic=topics.base)
    for mobile in mobiles:
        arn = container.gateway.subscribe(mobile, topics.name(time_zone))
        SubscriberRow.update(subscription_arn=arn).where(SubscriberRow.mobile == mobile).execute()


def run_in_thread(work: Callable[..., object], *arguments: object) -> None:
    """Run work in another thread with its own database connection."""

    def run() -> None:
        with database.connection_context():
            work(*arguments)

    thread = Thread(target=run)
    thread.start()
    thread.join()


def request_otp(container: Container, mobile: str = MIRA) -> str:
    """Request an OTP to subscribe, and return it."""
    container.subscriptions.request_otp(mobile, "subscribe", CLIENT_IP, container.dispatcher)
    if container.settings.gateway == "console":
        return latest_otp(mobile)
    from tests.helpers.sns_emulator import sent_to  # noqa: PLC0415 which loads moto

    return sent_to(mobile)[-1][:6]


def subscribe(container: Container, mobile: str = MIRA) -> Subscriber:
    """Subscribe a number and sync it with the topic."""
    container.subscriptions.subscribe(mobile, request_otp(container, mobile), CLIENT_IP, container.dispatcher)
    subscriber = container.state.find_subscriber(mobile)
    assert subscriber is not None
    return subscriber


def subscribe_without_sync(container: Container, mobile: str = MIRA) -> str:
    """Subscribe a number, but do not sync it with the topic. Return the subscriber's id."""
    dispatcher = RecordingDispatcher()
    container.subscriptions.subscribe(mobile, request_otp(container, mobile), CLIENT_IP, dispatcher)
    return dispatcher.subscribers[0]
