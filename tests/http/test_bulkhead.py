import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import falcon
import pytest

from quoteapi.http import bulkhead
from quoteapi.http.bulkhead import MAX_CONCURRENT, MAX_CONCURRENT_PER_CLIENT, WAIT_SECONDS, Bulkhead
from tests.helpers.event_loop import run_coroutine
from tests.helpers.waiting import LIMIT_SECONDS


def in_event_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    return lambda: run_coroutine(test())


@in_event_loop
async def test_a_request_without_a_slot_waits_then_gets_503() -> None:
    slots = Bulkhead()
    async with AsyncExitStack() as held:
        for number in range(MAX_CONCURRENT):
            await held.enter_async_context(slots.slot(f"192.0.2.{number}"))
        started = time.monotonic()
        with pytest.raises(falcon.HTTPServiceUnavailable):
            await held.enter_async_context(slots.slot("192.0.2.99"))
        assert WAIT_SECONDS - 0.1 <= time.monotonic() - started < LIMIT_SECONDS


@in_event_loop
async def test_one_client_leaves_a_slot_to_the_others() -> None:
    slots = Bulkhead()
    async with AsyncExitStack() as held:
        for _ in range(MAX_CONCURRENT_PER_CLIENT):
            await held.enter_async_context(slots.slot("192.0.2.1"))
        with pytest.raises(falcon.HTTPServiceUnavailable):
            await held.enter_async_context(slots.slot("192.0.2.1"))
        await held.enter_async_context(slots.slot("192.0.2.2"))


def test_a_released_slot_goes_to_a_request_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulkhead, "WAIT_SECONDS", LIMIT_SECONDS)
    slots = Bulkhead()

    async def search(client_ip: str) -> None:
        async with slots.slot(client_ip):
            await asyncio.sleep(0.001)

    async def search_often() -> None:
        await asyncio.gather(*(search(f"192.0.2.{number % 3}") for number in range(60)))

    run_coroutine(search_often())


@in_event_loop
async def test_clients_without_a_request_take_no_memory() -> None:
    slots = Bulkhead()
    for number in range(100):
        async with slots.slot(f"192.0.2.{number}"):
            pass
    assert len(slots._client_slots) <= 1
