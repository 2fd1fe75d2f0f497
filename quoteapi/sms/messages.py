"""The texts of the SMS."""

from quoteapi.quotes.quotation import Quotation
from quoteapi.sms.segments import SmsText, encode_sms
from quoteapi.storage.state import Purpose

SERVICE_NAME = "QuoteAPI"
OTP_LIFETIME_MINUTES = 10


def otp_text(code: str, purpose: Purpose) -> SmsText:
    """Return the SMS with an OTP."""
    goal = "get the quote of the day, 1 SMS a day" if purpose == "subscribe" else "leave the quote of the day"
    return encode_sms(
        f"{code} is your {SERVICE_NAME} code to {goal}. Valid for {OTP_LIFETIME_MINUTES} minutes. Not you? Ignore this."
    )


def confirmation_text(unsubscribe_url: str | None) -> SmsText:
    """Return the confirmation SMS, with how to unsubscribe."""
    hint = _unsubscribe_hint(unsubscribe_url)
    return encode_sms(f"{SERVICE_NAME}: you agreed to get the quote of the day, 1 SMS a day. {hint}")


def daily_text(quotation: Quotation, unsubscribe_url: str | None) -> SmsText:
    """Return the daily SMS: the quote, its author, and how to unsubscribe."""
    return encode_sms(f"“{quotation.quote}” - {quotation.author}\n{_unsubscribe_hint(unsubscribe_url)}")


def _unsubscribe_hint(url: str | None) -> str:
    # STOP is the last resort: some countries and sender ids do not support replies.
    return f"To leave: {url}" if url is not None else "To leave, reply STOP."
