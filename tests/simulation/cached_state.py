"""A cache of what runs read again and again, as ten years would take too long without it."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from quoteapi.storage.state import Delivery

READS_OF_DELIVERIES = ("last_delivery", "find_delivery")
READS_OF_SUBSCRIBERS = ("topics_in_use", "has_joined_before", "subscribers_without_time_zone")
READS = ("out_of_sync", "count_out_of_sync", "find_subscriber", "subscriber_count")
WRITES_OF_DELIVERIES = ("claim_delivery", "start_sending", "finish_delivery", "release_delivery", "report_delivery")
OTHER_WRITES = ("store_due_run", "count_sms", "uncount_sms", "request_otp", "claim_otp")


class CachedState:
    """Passes calls on to the state. A read that was done since the last write to its table is not done again.

    This is the same as reading, because nothing else writes to the database.
    """

    def __init__(self, state: object) -> None:
        self._state = state
        self._deliveries: defaultdict[str, dict[object, Any]] = defaultdict(dict)
        """By topic."""
        self._subscribers: dict[object, Any] = {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        method = getattr(self._state, name)
        if name in READS_OF_DELIVERIES:
            method = _cache(method, lambda args: self._deliveries[args[-1]])
        elif name in READS_OF_SUBSCRIBERS:
            method = _cache(method, lambda _: self._subscribers)
        elif name in WRITES_OF_DELIVERIES:
            method = _clear(method, lambda args: self._deliveries[_topic_of(args)])
        elif name not in READS + OTHER_WRITES:
            method = _clear(method, lambda _: self._subscribers)
        self.__dict__[name] = method
        return method


_Find = Callable[[tuple[Any, ...]], dict[object, Any]]
"""Finds the results that depend on what a call with these arguments reads or writes."""


def _topic_of(args: tuple[Any, ...]) -> str:
    topic: str = args[0].topic if isinstance(args[0], Delivery) else args[1]
    return topic


def _cache(method: Callable[..., Any], find: _Find) -> Callable[..., Any]:
    def read(*args: Any) -> Any:  # noqa: ANN401
        results, key = find(args), (method, *args)
        if key not in results:
            result = method(*args)
            results[key] = list(result) if hasattr(result, "__next__") else result
        return results[key]

    return read


def _clear(method: Callable[..., Any], find: _Find) -> Callable[..., Any]:
    def write(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        find(args).clear()
        return method(*args, **kwargs)

    return write
