"""The texts of the SMS."""

from quoteapi.quotes.quotation import Quotation
from quoteapi.sms.segments import SmsText, encode_sms
from quoteapi.storage.state import Purpose

SERVICE_NAME = "QuoteAPI"
OTP_LIFETIME_MINUTES = 10
_GOALS: dict[Purpose, str] = {
    "subscribe": "get the quote of the day, 1 SMS a day",
    "unsubscribe": "leave the quote of the day",
    "pause": "pause the quote of the day",
}


def otp_text(code: str, purpose: Purpose) -> SmsText:
    """Return the SMS with an OTP."""
    return encode_sms(
        f"{code} is your {SERVICE_NAME} code to {_GOALS[purpose]}. Valid for {OTP_LIFETIME_MINUTES} minutes."
        " Not you? Ignore this."
    )


def confirmation_text(unsubscribe_url: str | None, hour: str) -> SmsText:
    """Return the confirmation SMS. `hour` says when the daily SMS is sent: "at 09:00, Kolkata time"."""
    hint = _unsubscribe_hint(unsubscribe_url)
    return encode_sms(f"{SERVICE_NAME}: you agreed to get the quote of the day, 1 SMS a day {hour}. {hint}")


def daily_text(quotation: Quotation, unsubscribe_url: str | None) -> SmsText:
    """Return the daily SMS: the quote, its author, and how to unsubscribe, on a line each.

    The quote has quotation marks, unless the SMS needs one segment less without them.
    """
    end = f"{quotation.author}\n{_unsubscribe_hint(unsubscribe_url)}"
    with_marks, without_marks = encode_sms(f'"{quotation.quote}"\n{end}'), encode_sms(f"{quotation.quote}\n{end}")
    return without_marks if without_marks.segments < with_marks.segments else with_marks


def _unsubscribe_hint(url: str | None) -> str:
    # The reply STOP is the last resort: some countries and sender IDs do not support replies.
    return f"Stop {url}" if url is not None else "To stop, reply STOP."
