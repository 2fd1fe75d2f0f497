"""What an SMS says and how many parts it costs, and by which gateway it goes."""

import unicodedata
from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

from quoteapi.clock import Clock
from quoteapi.config import Settings
from quoteapi.quotes import Quotation

Kind = Literal["code", "confirmation", "quote"]
"""What an SMS is for; codes and confirmations are Transactional, quotes Promotional."""

Purpose = Literal["subscribe", "unsubscribe"]
"""What a code is for."""

SERVICE = "QuoteAPI"
CODE_MINUTES = 10

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("\f^{}\\[~]|€")
"""Characters of GSM-7 that take the place of two."""
_PLAINER = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′`´", "'"),
        **dict.fromkeys("“”„‟″«»", '"'),
        **dict.fromkeys("‹›", "'"),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        **dict.fromkeys("\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}\N{HAIR SPACE}\t", " "),
        **dict.fromkeys("\N{SOFT HYPHEN}\N{ZERO WIDTH SPACE}", ""),
        "…": "...",
        "•": "-",
        "·": "-",
    }
)


class GatewayError(Exception):
    """The gateway did not do what it was asked. The message has no number in it."""


class Refused(GatewayError):
    """It never will: the number is at fault."""


class NotAllowed(GatewayError):
    """It will once the operator has mended credentials, permissions or quotas."""


class Unavailable(GatewayError):
    """It may, a while later."""


class OutcomeUnknown(GatewayError):
    """It may have, for all that is known: no answer came. What must not happen twice must not be tried again."""


class Gateway(Protocol):
    """How SMS go out, and who is on the topic of the daily one. Every method may raise `GatewayError`."""

    topic: str
    """What the topic is known by in the database: `console`, or region and name."""

    def send_sms(self, mobile: str, message: str, kind: Kind) -> str:
        """Send one SMS, in one attempt. Answer the id that the gateway gave it."""

    def subscribe(self, mobile: str) -> str:
        """Put a number on the topic. Answer the subscription's ARN, the same for a number that is there already."""

    def unsubscribe(self, subscription_arn: str) -> None:
        """Take a subscription off the topic, in one call; one that is gone already will do."""

    def publish(self, message: str) -> str:
        """Send a quote to everyone on the topic, in one attempt. Answer the id that the gateway gave it."""

    def people(self) -> int:
        """Answer how many are on the topic."""

    def has_stopped(self, mobile: str) -> bool:
        """Whether the number replied STOP."""

    def all_stopped(self) -> Iterator[list[str]]:
        """Answer the numbers that replied STOP, some at a time."""

    def let_back_in(self, mobile: str) -> None:
        """Take a number off the list of those that replied STOP; AWS does that once in 30 days."""


def gateway_of(settings: Settings, now: Clock) -> Gateway:
    """Make the gateway of the settings. Nothing is called before it is used."""
    if settings.gateway == "sns":
        from quoteapi.sns import QuoteSubscription  # noqa: PLC0415 boto3 is large, and a laptop need not load it

        return QuoteSubscription(settings, now)
    from quoteapi.console import Console  # noqa: PLC0415

    return Console(now)


# ---- what a message says


class Text(NamedTuple):
    """A message as it goes out, and the parts that it is sent and billed in."""

    message: str
    parts: int


def code_text(code: str, purpose: Purpose) -> Text:
    """Write the SMS that carries a one-time password."""
    goal = {
        "subscribe": "get the quote of the day, 1 SMS a day",
        "unsubscribe": "leave the quote of the day",
    }[purpose]
    return text_of(f"{code} is your {SERVICE} code to {goal}. Valid for {CODE_MINUTES} minutes. Not you? Ignore this.")


def confirmation_text(leave_url: str | None) -> Text:
    """Write the SMS that says what was agreed to, and how to leave."""
    return text_of(f"{SERVICE}: you agreed to get the quote of the day, 1 SMS a day. {_way_out(leave_url)}")


def daily_text(quotation: Quotation, leave_url: str | None) -> Text:
    """Write the SMS of the day: the quote, its author, and how to leave."""
    return text_of(f"“{quotation.quote}” - {quotation.author}\n{_way_out(leave_url)}")


def _way_out(leave_url: str | None) -> str:
    # Where there is no page, STOP is all there is; some countries and sender ids do not know it.
    return f"To leave: {leave_url}" if leave_url is not None else "To leave, reply STOP."


# ---- how it is written


def text_of(message: str) -> Text:
    """Write a message in GSM-7 where no letter would be lost; else leave it as it is, in UCS-2."""
    message = unicodedata.normalize("NFC", message)
    plainer = message.translate(_PLAINER)
    if all(character in _BASIC or character in _EXTENDED for character in plainer):
        units = [2 if character in _EXTENDED else 1 for character in plainer]
        return Text(plainer, _parts(units, 160, 153))
    return Text(message, _parts([len(character.encode("utf-16-le")) // 2 for character in message], 70, 67))


def _parts(units: list[int], alone: int, together: int) -> int:
    """Answer how many parts characters of so many units each take; none is torn in two."""
    if sum(units) <= alone:
        return 1
    parts, free = 1, together
    for unit in units:
        if unit > free:
            parts, free = parts + 1, together
        free -= unit
    return parts
