"""The bulkhead: bounds concurrent slow requests, so that threads stay free for other ones."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

import falcon

MAX_CONCURRENT = 3
"""How many requests of a bulkhead a process handles at a time."""
MAX_CONCURRENT_PER_CLIENT = 2
"""How many of them may be from the same client IP."""
WAIT_SECONDS = 0.5


class Bulkhead:
    """The slots for slow requests of one kind. They belong to an event loop: a request that waits holds no thread."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)
        self._client_slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def slot(self, client_ip: str) -> AsyncIterator[None]:
        """Hold a slot of a client IP, and one of all slots.

        Raises `falcon.HTTPServiceUnavailable` if one is not free within `WAIT_SECONDS`.
        """
        client_slots = self._client_slots.setdefault(client_ip, asyncio.Semaphore(MAX_CONCURRENT_PER_CLIENT))
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await held.enter_async_context(client_slots)
                    await held.enter_async_context(self._slots)
            except TimeoutError:
                raise too_busy() from None
            yield


def too_busy() -> falcon.HTTPServiceUnavailable:
    """Return the error for a request that gets no slot."""
    return falcon.HTTPServiceUnavailable(
        title="Server busy", description="Server busy. Try again in a second.", retry_after=1
    )
