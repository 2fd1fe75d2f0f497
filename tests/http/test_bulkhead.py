import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import falcon
import pytest

from quoteapi.http.bulkhead import MAX_CONCURRENT, MAX_CONCURRENT_PER_CLIENT, WAIT_SECONDS, Bulkhead
from tests.helpers.event_loop import run_coroutine


def in_event_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    return lambda: run_coroutine(test())


@in_event_loop
async def test_a_request_without_a_slot_waits_then_gets_503() -> None:
    bulkhead = Bulkhead()
    async with AsyncExitStack() as held:
        for number in range(MAX_CONCURRENT):
            await held.enter_async_context(bulkhead.slot(f"192.0.2.{number}"))
        started = time.monotonic()
        with pytest.raises(falcon.HTTPServiceUnavailable):
            await held.enter_async_context(bulkhead.slot("192.0.2.99"))
        assert WAIT_SECONDS - 0.1 <= time.monotonic() - started < 5


@in_event_loop
async def test_one_client_leaves_a_slot_to_the_others() -> None:
    bulkhead = Bulkhead()
    async with AsyncExitStack() as held:
        for _ in range(MAX_CONCURRENT_PER_CLIENT):
            await held.enter_async_context(bulkhead.slot("192.0.2.1"))
        with pytest.raises(falcon.HTTPServiceUnavailable):
            await held.enter_async_context(bulkhead.slot("192.0.2.1"))
        await held.enter_async_context(bulkhead.slot("192.0.2.2"))


@in_event_loop
async def test_a_released_slot_goes_to_a_request_that_waits() -> None:
    bulkhead = Bulkhead()

    async def search(client_ip: str) -> None:
        async with bulkhead.slot(client_ip):
            await asyncio.sleep(0.001)

    await asyncio.gather(*(search(f"192.0.2.{number % 3}") for number in range(60)))


@in_event_loop
async def test_clients_without_a_request_take_no_memory() -> None:
    bulkhead = Bulkhead()
    for number in range(100):
        async with bulkhead.slot(f"192.0.2.{number}"):
            pass
    assert len(bulkhead._client_slots) <= 1
