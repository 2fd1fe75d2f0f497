"""Rate limits of OTPs, the SMS quota and the SMS switch: checked before an SMS is sent.

All are kept in the state, so that they hold for all processes together. The key of a sliding-window log is the HMAC
of a phone number or client IP, so that the table of logs contains neither.
"""

from dataclasses import dataclass
from datetime import timedelta

from quoteapi.clock import Clock, seconds_until_midnight
from quoteapi.settings import Settings
from quoteapi.storage.state import Purpose, State
from quoteapi.subscriptions.errors import CountryNotServed, RateLimited, SmsDisabled
from quoteapi.subscriptions.hmac_digest import HmacDigest
from quoteapi.subscriptions.phone import is_in_regions
from quoteapi.subscriptions.sliding_window import CountedEvent, WindowFull, Windows, count_event

OTPS_PER_NUMBER: dict[Purpose, str] = {
    "subscribe": "codes to number",
    "unsubscribe": "codes to leave to number",
    "pause": "codes to pause to number",
}
REQUESTS_PER_CLIENT_IP, TRIES_PER_CLIENT_IP = "asked by address", "tries by address"
"""Names of rate limits. They are part of the HMACs of the keys, so renaming a limit discards its recent events."""
MIN_LOG_RETENTION = timedelta(days=1)
"""Longer than the windows of limits that are no settings, such as that of `/async-failure`."""
USAGE_RETENTION = timedelta(days=400)


@dataclass
class RateLimits:
    """The rate limits and SMS quota of the settings. Methods raise if a limit is reached.

    Otherwise, methods named `count_…` and `consume_…` count one event.
    """

    settings: Settings
    state: State
    digests: HmacDigest
    clock: Clock

    def count_otp_to_number(self, mobile: str, purpose: Purpose) -> CountedEvent:
        """Count an OTP to a number; each purpose has a limit of its own. Raises `RateLimited`."""
        windows = self.settings.codes_per_number
        return self._count(OTPS_PER_NUMBER[purpose], mobile, windows, "Too many codes for this number.")

    def count_request_by_client_ip(self, client_ip: str) -> CountedEvent:
        """Count a request for an OTP, or to unsubscribe or pause without one. Raises `RateLimited`."""
        windows = self.settings.codes_per_client_ip
        return self._count(
            REQUESTS_PER_CLIENT_IP, client_ip, windows, "Too many requests from your IP address.", "codes"
        )

    def count_try_by_client_ip(self, client_ip: str) -> CountedEvent:
        """Count a try at an OTP; the caller undoes it if the OTP is right. Raises `RateLimited`."""
        windows = self.settings.wrong_tries_per_client_ip
        return self._count(
            TRIES_PER_CLIENT_IP, client_ip, windows, "Too many wrong codes from your IP address.", "tries"
        )

    def check_country(self, mobile: str) -> None:
        """Raise `CountryNotServed` if `SMS_ALLOWED_REGIONS` excludes the country of a number."""
        countries = self.settings.sms_allowed_regions
        if not is_in_regions(mobile, countries):
            raise CountryNotServed(
                f"SMS go only to these countries: {', '.join(sorted(countries))}. Use a number from one of them."
            )

    def check_sms_switch(self) -> None:
        """Raise `SmsDisabled` if the operator switched SMS off or `SMS_DAILY_CAP` is 0."""
        if self.settings.sms_daily_cap == 0:
            raise SmsDisabled("SMS_DAILY_CAP is 0, so no SMS is sent. Set it to the SMS per day to allow")
        if self.state.sms_disabled_at() is not None:
            raise SmsDisabled("SMS are switched off. To switch them on, run `quoteapi sms start`")

    def requires_otp_to_unsubscribe(self) -> bool:
        """Return whether unsubscribing and pausing require an OTP now: not while SMS are off."""
        if not self.settings.unsubscribe_requires_otp:
            return False
        try:
            self.check_sms_switch()
        except SmsDisabled:
            return False
        return True

    def consume_sms_quota(self) -> None:
        """Count one SMS to a single number toward the SMS quota of the day (UTC). Raises `RateLimited`.

        OTPs to unsubscribe are not counted: a used-up quota must not keep a subscriber from unsubscribing, and what is
        left of it must not show whether a number is subscribed and so was sent an OTP.
        """
        now, quota = self.clock(), self.settings.sms_daily_cap
        if not self.state.count_sms(now.date(), quota):
            raise RateLimited("The service reached its limit of SMS for today.", seconds_until_midnight(now))

    def release_sms_quota(self) -> None:
        """Undo `consume_sms_quota` for an SMS that was not sent."""
        self.state.uncount_sms(self.clock().date())

    def log_keys(self, mobile: str) -> list[str]:
        """Return the keys of the logs of OTPs to a number."""
        return [self.digests(name, mobile) for name in OTPS_PER_NUMBER.values()]

    @property
    def log_retention(self) -> timedelta:
        """For how long logs may have events that count: the longest window, and at least `MIN_LOG_RETENTION`."""
        settings = self.settings
        windows = settings.codes_per_number + settings.codes_per_client_ip + settings.wrong_tries_per_client_ip
        return max(MIN_LOG_RETENTION, *(timedelta(seconds=window.seconds) for window in windows))

    def _count(self, name: str, value: str, windows: Windows, message: str, policy: str | None = None) -> CountedEvent:
        """Count an event of a number or client IP. `policy` names the limit in headers. Raises `RateLimited`."""
        try:
            return count_event(self.state, self.digests(name, value), windows, self.clock(), policy)
        except WindowFull as full:
            raise RateLimited(message, full.retry_after, full.rate_limits) from None
