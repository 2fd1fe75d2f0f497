from threading import Event
from typing import Literal

import pytest
from peewee import SqliteDatabase

from quoteapi.container import Container
from quoteapi.settings import Settings
from quoteapi.storage import database
from quoteapi.storage.models import database as bound
from quoteapi.subscriptions.dispatcher import ThreadPoolDispatcher, _run
from tests.helpers.data import MIRA
from tests.helpers.sns_emulator import SnsCalls, sent_to
from tests.helpers.subscribing import CLIENT_IP
from tests.helpers.waiting import LIMIT_SECONDS


def test_a_thread_pool_lets_no_request_wait_for_sns(sns_container: Container) -> None:
    dispatcher = ThreadPoolDispatcher(sns_container.subscriptions.send_otp, sns_container.topic_sync.sync)
    send_sms, has_started, may_finish = sns_container.gateway.send_sms, Event(), Event()

    def send_slowly(mobile: str, message: str, kind: Literal["code", "confirmation", "quote"]) -> str:
        has_started.set()
        assert may_finish.wait(LIMIT_SECONDS)
        return send_sms(mobile, message, kind)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sns_container.gateway, "send_sms", send_slowly)
        sns_container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, dispatcher)
        assert has_started.wait(LIMIT_SECONDS)
        assert sent_to(MIRA) == []
        may_finish.set()
        dispatcher._executor.shutdown()
    assert len(sent_to(MIRA)) == 1


def test_a_failure_in_a_thread_is_logged(
    sns_container: Container, sns_calls: SnsCalls, caplog: pytest.LogCaptureFixture
) -> None:
    sns_calls.fault_for = lambda _, operation: "throttled" if operation == "Publish" else None
    dispatcher = ThreadPoolDispatcher(sns_container.subscriptions.send_otp, sns_container.topic_sync.sync)
    sns_container.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, dispatcher)
    dispatcher._executor.shutdown()
    assert "Background work failed" in caplog.text


def test_work_closes_the_connection_that_it_opened_also_if_another_database_is_bound_meanwhile(
    settings: Settings,
) -> None:
    opened = database.connect(settings)
    was_closed = []
    with pytest.MonkeyPatch.context() as patch:  # so that the fixture can close the connections of `opened`

        def bind_another() -> None:
            was_closed.append(opened.is_closed())
            patch.setattr(bound, "obj", SqliteDatabase(":memory:"))

        _run(bind_another)
    assert (was_closed, opened.is_closed()) == ([False], True)
