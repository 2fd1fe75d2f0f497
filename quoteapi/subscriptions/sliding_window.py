"""Sliding-window log: the timestamps of recent events of a key, updated by compare-and-swap.

A window of N events in S seconds holds for any S seconds, whenever they begin, and for all processes together. A log
is stored as text: Unix times in milliseconds, oldest first, separated by spaces.
"""

from datetime import datetime, timedelta
from math import ceil
from typing import NamedTuple

from quoteapi.settings import RateLimit
from quoteapi.storage.state import State


class RateLimitStatus(NamedTuple):
    """The remaining quota of a rate limit: `remaining` events now; the oldest one expires in `seconds`."""

    policy: str
    limit: RateLimit
    remaining: int
    seconds: int


Windows = tuple[RateLimit, ...]
RateLimitStatuses = tuple[RateLimitStatus, ...]


class WindowFull(Exception):
    """A window allows no event now, but one in `retry_after` seconds."""

    def __init__(self, retry_after: int, rate_limits: RateLimitStatuses) -> None:
        self.retry_after, self.rate_limits = retry_after, rate_limits


class CountedEvent(NamedTuple):
    """An event that was added to the log of a key, and the remaining quota."""

    state: State
    key: str
    log_before: str
    log: str
    counted_at: datetime
    keep_until: datetime
    rate_limits: RateLimitStatuses

    def undo(self) -> None:
        """Remove the event, whatever events were added since."""
        log, log_before = self.log, self.log_before
        while not self._swap(log, log_before):
            log = self.state.read_rate_limit_log(self.key)
            timestamps = log.split()
            if (own := self.log.split()[-1]) not in timestamps:
                return
            timestamps.remove(own)
            log_before = " ".join(timestamps)

    def _swap(self, before: str, after: str) -> bool:
        return self.state.swap_rate_limit_log(self.key, before, after, now=self.counted_at, keep_until=self.keep_until)


def count_event(state: State, key: str, windows: Windows, now: datetime, policy: str | None = None) -> CountedEvent:
    """Add an event to the log of a key. Without `policy`, `rate_limits` is empty. Raises `WindowFull`."""
    keep_until = now + timedelta(seconds=max(window.seconds for window in windows))
    while True:  # compare-and-swap: until no other process changes the log between the read and the write
        before = state.read_rate_limit_log(key)
        if wait := seconds_to_wait(before, windows, now):
            raise WindowFull(wait, rate_limit_statuses(policy, before, windows, now))
        log = add_timestamp(before, windows, now)
        if state.swap_rate_limit_log(key, before, log, now=now, keep_until=keep_until):
            statuses = rate_limit_statuses(policy, log, windows, now)
            return CountedEvent(state, key, before, log, now, keep_until, statuses)


def seconds_to_wait(log: str, windows: Windows, now: datetime) -> int:
    """Return the seconds until all windows allow an event; 0 if all do now."""
    now_ms, timestamps = _parse_log(log, windows, now)
    full = [window for window in windows if len(timestamps) >= window.limit]
    allowed_at = [timestamps[-window.limit] + window.seconds * 1_000 for window in full]
    return max(0, ceil((max(allowed_at, default=now_ms) - now_ms) / 1_000))


def add_timestamp(log: str, windows: Windows, now: datetime) -> str:
    """Return a log (Unix times in ms, separated by spaces) with `now` added and timestamps no window needs dropped."""
    now_ms, timestamps = _parse_log(log, windows, now)
    return " ".join(map(str, [*timestamps, now_ms][-max(window.limit for window in windows) :]))


def rate_limit_statuses(policy: str | None, log: str, windows: Windows, now: datetime) -> RateLimitStatuses:
    """Return the remaining quota of each window, named `policy`, `policy-2` …; empty without a policy."""
    if policy is None:
        return ()
    now_ms, timestamps = _parse_log(log, windows, now)
    statuses = []
    for number, window in enumerate(windows, 1):
        inside = [timestamp for timestamp in timestamps if timestamp > now_ms - window.seconds * 1_000]
        oldest = [*inside[-window.limit :], now_ms][0]
        name = policy if number == 1 else f"{policy}-{number}"
        seconds = ceil((oldest + window.seconds * 1_000 - now_ms) / 1_000)
        statuses.append(RateLimitStatus(name, window, max(0, window.limit - len(inside)), seconds))
    return tuple(statuses)


def _parse_log(log: str, windows: Windows, now: datetime) -> tuple[int, list[int]]:
    """Return `now` and the timestamps of a log, in milliseconds."""
    now_ms = round(now.timestamp() * 1_000)
    longest_ms = max(window.seconds for window in windows) * 1_000
    # A timestamp further ahead than the longest window is from a clock that was wrong.
    return now_ms, [timestamp for timestamp in map(int, log.split()) if timestamp <= now_ms + longest_ms]
