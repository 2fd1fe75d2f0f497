"""The texts of the SMS."""

from typing import Literal

from quoteapi.quotes.quotation import Quotation
from quoteapi.sms.segments import SmsText, encode_sms

Purpose = Literal["subscribe", "unsubscribe"]
"""What a code is for."""
SERVICE = "QuoteAPI"
CODE_MINUTES = 10


def code_text(code: str, purpose: Purpose) -> SmsText:
    """Write the SMS that carries a one-time password."""
    goal = {
        "subscribe": "get the quote of the day, 1 SMS a day",
        "unsubscribe": "leave the quote of the day",
    }[purpose]
    return encode_sms(
        f"{code} is your {SERVICE} code to {goal}. Valid for {CODE_MINUTES} minutes. Not you? Ignore this."
    )


def confirmation_text(leave_url: str | None) -> SmsText:
    """Write the SMS that says what was agreed to, and how to leave."""
    return encode_sms(f"{SERVICE}: you agreed to get the quote of the day, 1 SMS a day. {_way_out(leave_url)}")


def daily_text(quotation: Quotation, leave_url: str | None) -> SmsText:
    """Write the SMS of the day: the quote, its author, and how to leave."""
    return encode_sms(f"“{quotation.quote}” - {quotation.author}\n{_way_out(leave_url)}")


def _way_out(leave_url: str | None) -> str:
    # Where there is no page, STOP is all there is; some countries and sender ids do not know it.
    return f"To leave: {leave_url}" if leave_url is not None else "To leave, reply STOP."
