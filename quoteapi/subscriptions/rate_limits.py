"""Every limit but that of reads, by name. All are kept in the database, and hold however many processes there are.

A bucket holds so many tokens, and each comes back one window after it was taken: so no stretch of that length, wherever
it begins, sees more of them taken. Keys are digests: the table has neither numbers nor addresses.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from math import ceil
from typing import NamedTuple

from quoteapi.clock import Clock, seconds_until_midnight
from quoteapi.settings import ANY_REGION, RateLimit, Settings
from quoteapi.storage.models import RateLimitLog, SmsSwitch, SmsUsage
from quoteapi.subscriptions.hmac_digest import HmacDigest
from quoteapi.subscriptions.phone import country_of

SMS_SWITCH = "sms"


class RateLimitStatus(NamedTuple):
    """What a limit leaves to a client address: so many more within so many seconds."""

    policy: str
    limit: RateLimit
    remaining: int
    seconds: int


Tell = Callable[[tuple[RateLimitStatus, ...]], None]
"""Tells a client what its address has left. Never what a number has: others ask for that too."""


class RateLimited(Exception):
    """A limit was reached. The message says which; `retry_after` is in seconds; `left` is of a client address only."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = max(1, ceil(retry_after))
        self.left: tuple[RateLimitStatus, ...] = ()


class CountryNotServed(Exception):
    """No SMS go to the country of a number; the message says which do get them."""


class SmsDisabled(Exception):
    """The operator wants no SMS to go out; the message says how to change that."""


class CountedEvent:
    """A token that was taken, and can be given back in the same transaction."""

    def __init__(self, key: str, before: str, after: str, left: tuple[RateLimitStatus, ...]) -> None:
        self._key, self._before, self._after = key, before, after
        self.left = left

    def undo(self) -> None:
        """Undo the taking."""
        taken = (RateLimitLog.key == self._key) & (RateLimitLog.taken == self._after)
        RateLimitLog.update(taken=self._before).where(taken).execute()


class RateLimits:
    """The limits of the settings. Each method raises when it is reached, and else counts."""

    def __init__(self, settings: Settings, digests: HmacDigest, clock: Clock) -> None:
        self._settings = settings
        self._digests = digests
        self._clock = clock

    def count_code_to_number(self, mobile: str) -> None:
        """Count a code to a number: what its owner can be bothered with. Raises `RateLimited`."""
        self._take("codes to number", mobile, self._settings.codes_per_number, "Too many codes for this number.")

    def count_request_by_client_ip(self, address: str) -> CountedEvent:
        """Count what one client address asks for: codes, and leaving without one. Raises `RateLimited`."""
        windows = self._settings.codes_per_client_ip
        return self._take("asked by address", address, windows, "Too many requests from your address.", "codes")

    def count_try_by_client_ip(self, address: str) -> CountedEvent:
        """Count a try at a code by one client address; a right one is given back. Raises `RateLimited`."""
        windows = self._settings.wrong_tries_per_client_ip
        return self._take("tries by address", address, windows, "Too many wrong codes from your address.", "tries")

    def check_country(self, mobile: str) -> None:
        """Let pass the countries that SMS go to. Raises `CountryNotServed`."""
        allowed = self._settings.sms_allowed_regions
        if allowed and allowed != {ANY_REGION} and country_of(mobile) not in allowed:
            raise CountryNotServed(f"SMS go to numbers of {', '.join(sorted(allowed))} only.")

    def check_sms_switch(self) -> None:
        """Let pass while the operator did not throw the switch. Raises `SmsDisabled`."""
        if self._settings.sms_daily_cap == 0:
            raise SmsDisabled("SMS_DAILY_CAP is 0, so no SMS goes out: set it to how many may")
        if SmsSwitch.select().where(SmsSwitch.name == SMS_SWITCH).exists():
            raise SmsDisabled("SMS are switched off; `quoteapi sms start` switches them on")

    def count_sms(self) -> None:
        """Count an SMS to one number against the day's cap for the whole service. Raises `RateLimited`."""
        now, cap = self._clock(), self._settings.sms_daily_cap
        counted = SmsUsage.insert(date=now.date(), count=1).on_conflict(
            conflict_target=[SmsUsage.date],
            update={SmsUsage.count: SmsUsage.count + 1},
            where=SmsUsage.count < cap,
        )
        if cap < 1 or not counted.as_rowcount().execute():
            raise RateLimited("The service has sent as many SMS as it may today.", seconds_until_midnight(now))

    def uncount_sms(self) -> None:
        """Take back what `count_sms` counted: it did not go out."""
        today = SmsUsage.date == self._clock().date()
        SmsUsage.update(count=SmsUsage.count - 1).where(today & (SmsUsage.count > 0)).execute()

    def check_daily_sms_quota(self, people: int, parts: int) -> None:
        """Let the daily SMS pass if all its parts, to all who get it, are within the day's cap. Raises `RateLimited`."""
        cap = self._settings.sms_daily_cap
        if people * parts > cap:
            in_parts = f" in {parts} parts" if parts > 1 else ""
            message = (
                f"{people} people would get the SMS{in_parts}, and SMS_DAILY_CAP is {cap}. Set it higher to go on."
            )
            raise RateLimited(message, seconds_until_midnight(self._clock()))

    def delete_number(self, mobile: str) -> bool:
        """Remove what was counted for a number. Answer whether there was something."""
        key = self._digests("codes to number", mobile)
        return bool(RateLimitLog.delete().where(RateLimitLog.key == key).execute())

    def delete_expired(self) -> None:
        """Remove what no window reaches back to."""
        settings = self._settings
        windows = settings.codes_per_number + settings.codes_per_client_ip + settings.wrong_tries_per_client_ip
        now = self._clock()
        longest = timedelta(seconds=max(window.seconds for window in windows))
        RateLimitLog.delete().where(RateLimitLog.updated_at < now - longest).execute()
        SmsUsage.delete().where(SmsUsage.date < now.date() - timedelta(days=400)).execute()

    def _take(
        self, name: str, value: str, windows: tuple[RateLimit, ...], message: str, policy: str | None = None
    ) -> CountedEvent:
        """Take a token of each window. With the name of a `policy`, tell what is left: whoever asks may know."""
        key, now = self._digests(name, value), self._clock()
        while True:  # until nobody else took one between reading and writing
            before: str | None = RateLimitLog.select(RateLimitLog.taken).where(RateLimitLog.key == key).scalar()
            try:
                after = _one_more(before or "", windows, now, message)
            except RateLimited as error:
                error.left = _left(policy, before or "", windows, now)
                raise
            row = {"taken": after, "updated_at": now}
            if before is None:
                changed = RateLimitLog.insert(key=key, **row).on_conflict_ignore().as_rowcount().execute()
            else:
                same = (RateLimitLog.key == key) & (RateLimitLog.taken == before)
                changed = RateLimitLog.update(row).where(same).execute()
            if changed:
                return CountedEvent(key, before or "", after, _left(policy, after, windows, now))


def set_sms_switch(now: datetime, *, off: bool) -> None:
    """Throw the switch that stops every SMS, or put it back."""
    if off:
        SmsSwitch.insert(name=SMS_SWITCH, thrown_at=now).on_conflict_ignore().execute()
    else:
        SmsSwitch.delete().where(SmsSwitch.name == SMS_SWITCH).execute()


def _one_more(taken: str, windows: tuple[RateLimit, ...], now: datetime, message: str) -> str:
    """Answer when tokens were taken, with one taken now. Raises `RateLimited`."""
    millis, moments = _moments(taken, windows, now)
    waits = [
        moments[-window.limit] + window.seconds * 1_000 - millis for window in windows if len(moments) >= window.limit
    ]
    if (wait := max(waits, default=0)) > 0:
        raise RateLimited(message, wait / 1_000)
    most = max(window.limit for window in windows)
    return " ".join(map(str, [*moments, millis][-most:]))


def _left(policy: str | None, taken: str, windows: tuple[RateLimit, ...], now: datetime) -> tuple[RateLimitStatus, ...]:
    """Answer what each window leaves, and how long until one more comes back; nothing where nobody may know."""
    if policy is None:
        return ()
    millis, moments = _moments(taken, windows, now)
    lefts = []
    for number, (most, seconds) in enumerate(windows, 1):
        inside = [moment for moment in moments if moment > millis - seconds * 1_000]
        back = [*inside[-most:], millis][0] + seconds * 1_000 - millis
        name = policy if number == 1 else f"{policy}-{number}"
        lefts.append(RateLimitStatus(name, RateLimit(most, seconds), max(0, most - len(inside)), ceil(back / 1_000)))
    return tuple(lefts)


def _moments(taken: str, windows: tuple[RateLimit, ...], now: datetime) -> tuple[int, list[int]]:
    """Answer this moment and those when tokens were taken, in milliseconds."""
    millis = round(now.timestamp() * 1_000)
    longest = max(window.seconds for window in windows) * 1_000
    # What lies further ahead than any window is from a clock that was wrong.
    return millis, [moment for moment in map(int, taken.split()) if moment <= millis + longest]
