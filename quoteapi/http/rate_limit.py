"""The read rate limit, per client IP and process in fixed windows, and the `RateLimit` headers.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10: `RateLimit-Policy` is the quota and its window,
`RateLimit` the remaining quota and the seconds until it grows.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import count
from math import ceil
from threading import Lock

import falcon

from quoteapi.settings import RateLimit
from quoteapi.subscriptions.sliding_window import RateLimitStatus

MAX_CLIENT_IPS = 20_000
"""How many client IPs a process counts at most, in some megabytes; one more resets all counts."""
_EPOCH = datetime.fromtimestamp(0, UTC)


class _Counts(dict[str, "count[int]"]):
    """An iterator over 1, 2, 3, … for each client IP. `next` counts atomically, without a lock."""

    def __missing__(self, client_ip: str) -> "count[int]":
        if len(self) >= MAX_CLIENT_IPS:
            self.clear()
        return self.setdefault(client_ip, count(1))


class ReadRateLimit:
    """A fixed-window rate limit. Windows are the same for all client IPs; each has its own count.

    A window starts with the first request after the previous one has ended, rounded down to a whole second because the
    headers give its end in whole seconds.
    """

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._policy_header = "ratelimit-policy", _policy("reads", limit)
        self._window = _EPOCH, _EPOCH, _Counts()  # a tuple, so that threads see all of it or nothing
        self._opening = Lock()

    def count(self, client_ip: str, now: datetime) -> tuple[int, int]:
        """Count a request. Return the remaining quota (negative: exceeded) and the seconds until its reset."""
        begin, end, counts = self._window
        if not begin <= now < end:
            begin, end, counts = self._open_window(now)
        return self._limit.limit - next(counts[client_ip]), ceil((end - now).total_seconds())

    def headers(self, remaining: int, seconds: int) -> list[tuple[str, str]]:
        """Return the `RateLimit` headers for the results of `count`; `remaining` must not be negative."""
        return [self._policy_header, ("ratelimit", _status("reads", remaining, seconds))]

    def _open_window(self, now: datetime) -> tuple[datetime, datetime, _Counts]:
        with self._opening:
            if not self._window[0] <= now < self._window[1]:  # else another thread has just opened it
                begin = now.replace(microsecond=0)
                self._window = begin, begin + timedelta(seconds=self._limit.seconds), _Counts()
            return self._window


def set_rate_limit_headers(resp: falcon.Response, statuses: Iterable[RateLimitStatus]) -> None:
    """Add rate limits, besides the read rate limit, to the `RateLimit` headers of a response."""
    for status in statuses:
        resp.append_header("RateLimit-Policy", _policy(status.policy, status.limit))
        resp.append_header("RateLimit", _status(status.policy, status.remaining, status.seconds))


def _policy(name: str, limit: RateLimit) -> str:
    return f'"{name}";q={limit.limit};w={limit.seconds}'


def _status(name: str, remaining: int, seconds: int) -> str:
    return f'"{name}";r={remaining};t={seconds}'
