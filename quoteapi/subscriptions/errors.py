"""Errors of subscriptions, a class for each fact. `quoteapi.http.errors` maps them to HTTP responses."""

from math import ceil

from quoteapi.subscriptions.sliding_window import RateLimitStatuses

HOW_TO_SHARE_STATE = (
    "set SMS_ALLOWED_REGIONS, for example IN, and a SECRET_KEY (`zappa deploy` and `zappa update` generate one) or, to"
    " use PostgreSQL, also DATABASE_URL"
)
"""What an operator must do so that a stage on Lambda, which serves only quotes, can have subscribers."""


class NoSharedState(Exception):
    """Each Lambda container has its own SQLite database, so subscriptions cannot be stored."""

    def __init__(self) -> None:
        super().__init__(f"subscribing needs shared state: {HOW_TO_SHARE_STATE}")


class CountryNotServed(Exception):
    """The settings allow no SMS to the country of the number. The message lists the allowed countries."""


class SmsDisabled(Exception):
    """SMS are switched off; the message says how to switch them on."""


class SubscriberLimitReached(Exception):
    """The service has as many subscribers as `SMS_MAX_SUBSCRIBERS`. Nothing was stored, and no SMS sent.

    `otp_is_valid`: the client submitted the right OTP, which stays valid until it expires.
    """

    def __init__(self, *, otp_is_valid: bool = False) -> None:
        super().__init__("as many as SMS_MAX_SUBSCRIBERS allows are subscribed")
        self.otp_is_valid = otp_is_valid


class CountedRequestError(Exception):
    """A request counted by rate limits failed. `rate_limits` is the remaining quota of the client IP."""

    def __init__(self, message: object = "", rate_limits: RateLimitStatuses = ()) -> None:
        super().__init__(message)
        self.rate_limits = rate_limits


class RateLimited(CountedRequestError):
    """A rate limit or SMS quota is reached; the message says which. `retry_after` is in whole seconds."""

    def __init__(self, message: str, retry_after: float, rate_limits: RateLimitStatuses = ()) -> None:
        super().__init__(message, rate_limits)
        self.retry_after = max(1, ceil(retry_after))


class OptedOut(CountedRequestError):
    """The number replied STOP, so SNS sends it no SMS."""


class OtpNotSent(CountedRequestError):
    """The SMS with the OTP was not sent, or it is not known whether it was."""


class OtpRejected(CountedRequestError):
    """An OTP is not accepted; the subclass says why."""


class WrongOtp(OtpRejected):
    """The OTP differs from the newest one for its purpose.

    `tries_left` more wrong tries lock the number for `lock_seconds`.
    """

    def __init__(self, tries_left: int, lock_seconds: int) -> None:
        super().__init__(tries_left)
        self.tries_left, self.lock_seconds = tries_left, lock_seconds


class OtpExpired(OtpRejected):
    """The OTP expired."""


class NoOtpRequested(OtpRejected):
    """The number has no OTP for this purpose: none was requested, none is generated yet, or it was used."""


class OtpUsed(NoOtpRequested):
    """The right OTP was sent again, within its lifetime. It changed nothing."""
