"""Every limit but that of reads, by name. All are kept in the database, and hold however many processes there are.

A bucket holds so many tokens, and each comes back one window after it was taken: so no stretch of that length, wherever
it begins, sees more of them taken. Keys are digests: the table has neither numbers nor addresses.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from math import ceil
from typing import NamedTuple

from quoteapi.clock import Clock, seconds_to_midnight
from quoteapi.settings import ANY_REGION, Settings, Window
from quoteapi.storage.models import SmsCount, Switch, TokenBucket
from quoteapi.subscriptions.hmac_digest import Digests
from quoteapi.subscriptions.phone import region_of

SMS_SWITCH = "sms"
REPORTS = Window(1, 60)
"""Of one failure, in all containers together; no setting, as nobody wants to read more of them."""


class Left(NamedTuple):
    """What a limit leaves to a client address: so many more within so many seconds."""

    policy: str
    window: Window
    left: int
    seconds: int


Tell = Callable[[tuple[Left, ...]], None]
"""Tells a client what its address has left. Never what a number has: others ask for that too."""


class TooMany(Exception):
    """A limit was reached. The message says which; `retry_after` is in seconds; `left` is of a client address only."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = max(1, ceil(retry_after))
        self.left: tuple[Left, ...] = ()


class RegionNotServed(Exception):
    """No SMS go to the country of a number; the message says which do get them."""


class SmsSwitchedOff(Exception):
    """The operator wants no SMS to go out; the message says how to change that."""


class Taken:
    """A token that was taken, and can be given back in the same transaction."""

    def __init__(self, key: str, before: str, after: str, left: tuple[Left, ...]) -> None:
        self._key, self._before, self._after = key, before, after
        self.left = left

    def give_back(self) -> None:
        """Undo the taking."""
        taken = (TokenBucket.key == self._key) & (TokenBucket.taken == self._after)
        TokenBucket.update(taken=self._before).where(taken).execute()


class Limits:
    """The limits of the settings. Each method raises when it is reached, and else counts."""

    def __init__(self, settings: Settings, digests: Digests, clock: Clock) -> None:
        self._settings = settings
        self._digests = digests
        self._clock = clock

    def codes_to_number(self, mobile: str) -> None:
        """Count a code to a number: what its owner can be bothered with. Raises `TooMany`."""
        self._take("codes to number", mobile, self._settings.codes_per_number, "Too many codes for this number.")

    def asked_by_address(self, address: str) -> Taken:
        """Count what one client address asks for: codes, and leaving without one. Raises `TooMany`."""
        windows = self._settings.codes_per_address
        return self._take("asked by address", address, windows, "Too many requests from your address.", "codes")

    def tries_by_address(self, address: str) -> Taken:
        """Count a try at a code by one client address; a right one is given back. Raises `TooMany`."""
        windows = self._settings.wrong_tries_per_address
        return self._take("tries by address", address, windows, "Too many wrong codes from your address.", "tries")

    def regions(self, mobile: str) -> None:
        """Let pass the countries that SMS go to. Raises `RegionNotServed`."""
        allowed = self._settings.allowed_regions
        if allowed and allowed != {ANY_REGION} and region_of(mobile) not in allowed:
            raise RegionNotServed(f"SMS go to numbers of {', '.join(sorted(allowed))} only.")

    def switch(self) -> None:
        """Let pass while the operator did not throw the switch. Raises `SmsSwitchedOff`."""
        if self._settings.daily_cap == 0:
            raise SmsSwitchedOff("SMS_DAILY_CAP is 0, so no SMS goes out: set it to how many may")
        if Switch.select().where(Switch.name == SMS_SWITCH).exists():
            raise SmsSwitchedOff("SMS are switched off; `quoteapi sms start` switches them on")

    def single_sms_of_the_day(self) -> None:
        """Count an SMS to one number against the day's cap for the whole service. Raises `TooMany`."""
        now, cap = self._clock(), self._settings.daily_cap
        counted = SmsCount.insert(date=now.date(), count=1).on_conflict(
            conflict_target=[SmsCount.date],
            update={SmsCount.count: SmsCount.count + 1},
            where=SmsCount.count < cap,
        )
        if cap < 1 or not counted.as_rowcount().execute():
            raise TooMany("The service has sent as many SMS as it may today.", seconds_to_midnight(now))

    def give_back_sms(self) -> None:
        """Take back what `single_sms_of_the_day` counted: it did not go out."""
        today = SmsCount.date == self._clock().date()
        SmsCount.update(count=SmsCount.count - 1).where(today & (SmsCount.count > 0)).execute()

    def quote_of_the_day(self, people: int, parts: int) -> None:
        """Let the daily SMS pass if all its parts, to all who get it, are within the day's cap. Raises `TooMany`."""
        cap = self._settings.daily_cap
        if people * parts > cap:
            in_parts = f" in {parts} parts" if parts > 1 else ""
            message = (
                f"{people} people would get the SMS{in_parts}, and SMS_DAILY_CAP is {cap}. Set it higher to go on."
            )
            raise TooMany(message, seconds_to_midnight(self._clock()))

    def reports(self, failure: str) -> Taken:
        """Count a report of a failure, which is given back where it could not be sent. Raises `TooMany`."""
        return self._take("reports", failure, (REPORTS,), "This failure was reported a moment ago.")

    def forget_number(self, mobile: str) -> bool:
        """Remove what was counted for a number. Answer whether there was something."""
        key = self._digests("codes to number", mobile)
        return bool(TokenBucket.delete().where(TokenBucket.key == key).execute())

    def forget_old(self) -> None:
        """Remove what no window reaches back to."""
        settings = self._settings
        windows = settings.codes_per_number + settings.codes_per_address + settings.wrong_tries_per_address
        now = self._clock()
        longest = timedelta(seconds=max(window.seconds for window in windows))
        TokenBucket.delete().where(TokenBucket.updated_at < now - longest).execute()
        SmsCount.delete().where(SmsCount.date < now.date() - timedelta(days=400)).execute()

    def _take(
        self, name: str, value: str, windows: tuple[Window, ...], message: str, policy: str | None = None
    ) -> Taken:
        """Take a token of each window. With the name of a `policy`, tell what is left: whoever asks may know."""
        key, now = self._digests(name, value), self._clock()
        while True:  # until nobody else took one between reading and writing
            before: str | None = TokenBucket.select(TokenBucket.taken).where(TokenBucket.key == key).scalar()
            try:
                after = _one_more(before or "", windows, now, message)
            except TooMany as error:
                error.left = _left(policy, before or "", windows, now)
                raise
            row = {"taken": after, "updated_at": now}
            if before is None:
                changed = TokenBucket.insert(key=key, **row).on_conflict_ignore().as_rowcount().execute()
            else:
                same = (TokenBucket.key == key) & (TokenBucket.taken == before)
                changed = TokenBucket.update(row).where(same).execute()
            if changed:
                return Taken(key, before or "", after, _left(policy, after, windows, now))


def set_switch(now: datetime, *, off: bool) -> None:
    """Throw the switch that stops every SMS, or put it back."""
    if off:
        Switch.insert(name=SMS_SWITCH, thrown_at=now).on_conflict_ignore().execute()
    else:
        Switch.delete().where(Switch.name == SMS_SWITCH).execute()


def _one_more(taken: str, windows: tuple[Window, ...], now: datetime, message: str) -> str:
    """Answer when tokens were taken, with one taken now. Raises `TooMany`."""
    millis, moments = _moments(taken, windows, now)
    waits = [
        moments[-window.most] + window.seconds * 1_000 - millis for window in windows if len(moments) >= window.most
    ]
    if (wait := max(waits, default=0)) > 0:
        raise TooMany(message, wait / 1_000)
    most = max(window.most for window in windows)
    return " ".join(map(str, [*moments, millis][-most:]))


def _left(policy: str | None, taken: str, windows: tuple[Window, ...], now: datetime) -> tuple[Left, ...]:
    """Answer what each window leaves, and how long until one more comes back; nothing where nobody may know."""
    if policy is None:
        return ()
    millis, moments = _moments(taken, windows, now)
    lefts = []
    for number, (most, seconds) in enumerate(windows, 1):
        inside = [moment for moment in moments if moment > millis - seconds * 1_000]
        back = [*inside[-most:], millis][0] + seconds * 1_000 - millis
        name = policy if number == 1 else f"{policy}-{number}"
        lefts.append(Left(name, Window(most, seconds), max(0, most - len(inside)), ceil(back / 1_000)))
    return tuple(lefts)


def _moments(taken: str, windows: tuple[Window, ...], now: datetime) -> tuple[int, list[int]]:
    """Answer this moment and those when tokens were taken, in milliseconds."""
    millis = round(now.timestamp() * 1_000)
    longest = max(window.seconds for window in windows) * 1_000
    # What lies further ahead than any window is from a clock that was wrong.
    return millis, [moment for moment in map(int, taken.split()) if moment <= millis + longest]
