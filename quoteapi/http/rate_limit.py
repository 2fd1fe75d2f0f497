"""How many requests a client may send: counted in the process, by its address, and told by `RateLimit` headers.

Their form is that of draft-ietf-httpapi-ratelimit-headers-10: `RateLimit-Policy` says what is granted, `RateLimit` what
is left of it, and for how many seconds.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Lock

import falcon

from quoteapi.clock import Clock
from quoteapi.http.client_ip import client_ip_from_environ
from quoteapi.settings import RateLimit, Settings
from quoteapi.subscriptions.errors import RateLimited
from quoteapi.subscriptions.sliding_window import RateLimitStatus

MOST_ADDRESSES = 20_000
"""How many addresses a process remembers: some megabytes. A stranger with more gains little by having all forgotten."""
_SECOND = timedelta(seconds=1)
_NEVER = datetime.min.replace(tzinfo=UTC)


class _Counts(dict[str, "count[int]"]):
    """What each address has sent: the next step of its count. No other thread can come between one."""

    def __missing__(self, address: str) -> "count[int]":
        if len(self) >= MOST_ADDRESSES:
            self.clear()
        return self.setdefault(address, count(1))


class ReadRateLimit:
    """So many requests of an address in a window. The next window begins with the first request after it.

    All addresses share the window: the answers of a second have the same time left, and old counts go all at once.
    """

    def __init__(self, window: RateLimit) -> None:
        self._most = window.limit
        self._length = timedelta(seconds=window.seconds)
        self._policy = ("ratelimit-policy", _policy("reads", window))
        self._window = _NEVER, _NEVER
        self._this_second = _NEVER, _NEVER, 0, _Counts()  # a tuple, so that threads see all of it or nothing
        self._beginning = Lock()

    def count(self, address: str, now: datetime) -> tuple[int, int]:
        """Count a request. Answer how many are left, less than none if it is one too many, and for how many seconds."""
        begins, ends, seconds, counts = self._this_second
        if not begins <= now < ends:
            with self._beginning:
                seconds, counts = self._begin(now)
        return self._most - next(counts[address]), seconds

    def headers(self, left: int, seconds: int) -> list[tuple[str, str]]:
        """Answer the headers that tell what `count` answered."""
        return [self._policy, ("ratelimit", f'"reads";r={left};t={seconds}')]

    def _begin(self, now: datetime) -> tuple[int, _Counts]:
        """Begin a second and, where no window is open, one. Answer the seconds that are left of it, and its counts."""
        begins, counts = now.replace(microsecond=0), self._this_second[3]
        if not self._window[0] <= now < self._window[1]:
            self._window, counts = (begins, begins + self._length), _Counts()
        seconds = round((self._window[1] - begins).total_seconds())
        self._this_second = begins, begins + _SECOND, seconds, counts
        return seconds, counts


class ReadRateLimitMiddleware:
    """Counts every request but those for `/health`, which machines ask, and OPTIONS, which browsers add."""

    def __init__(self, limit: ReadRateLimit, settings: Settings, now: Clock) -> None:
        self._limit = limit
        self._settings = settings
        self._now = now

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Tell what is left. Raises `RateLimited`."""
        if req.method == "OPTIONS" or req.path == "/health":
            return
        left, seconds = self._limit.count(client_ip_from_environ(req.env, self._settings), self._now())
        for name, value in self._limit.headers(max(0, left), seconds):
            resp.set_header(name, value)
        if left < 0:
            raise RateLimited("Too many requests from your address.", seconds)


def set_rate_limit_headers(resp: falcon.Response, lefts: Iterable[RateLimitStatus]) -> None:
    """Tell what other limits leave to a client, besides what is told already."""
    for left in lefts:
        resp.append_header("RateLimit-Policy", _policy(left.policy, left.limit))
        resp.append_header("RateLimit", _left(left.policy, left.remaining, left.seconds))


def _policy(name: str, window: RateLimit) -> str:
    return f'"{name}";q={window.limit};w={window.seconds}'


def _left(name: str, left: int, seconds: int) -> str:
    return f'"{name}";r={left};t={seconds}'
