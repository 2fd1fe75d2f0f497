"""`/subscribe` and `/unsubscribe`."""

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import falcon

from quoteapi.otp import DIGITS
from quoteapi.phone import RIGHT_FORM, InvalidMobile, read_mobile
from quoteapi.resources.addresses import base_address, client_address
from quoteapi.resources.crowd import few_at_once

if TYPE_CHECKING:
    from quoteapi.service import Service
    from quoteapi.sms import Purpose

SUBSCRIBED = "Congratulations!!! You have successfully subscribed for daily famous quote."
UNSUBSCRIBED = "You have successfully unsubscribed from daily famous quote. See you again."
MOST_BYTES = 4_096
EXAMPLE_BODY = '{"mobile": "+919028000001"}'


class Subscribe:
    """A code to a number first; with the code, the number is subscribed."""

    def __init__(self, service: "Service") -> None:
        self._service = service

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send a code to `mobile` or, with its `otp`, subscribe it."""
        service = self._service
        with few_at_once():
            fields = _fields(req)
            mobile, otp, address = _mobile(fields), _otp(fields), client_address(req, service.settings)
            if otp is None:
                service.subscriptions.ask(mobile, "subscribe", address, service.handing)
                _answer(resp, _sent(base_address(req, service.settings), mobile, "subscribe"))
            else:
                service.subscriptions.confirm(mobile, otp, address, service.handing)
                _answer(resp, SUBSCRIBED)

    on_post = on_get


class Unsubscribe:
    """Leaving: at once or, where the operator wants it so, by a code too."""

    def __init__(self, service: "Service") -> None:
        self._service = service

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Unsubscribe `mobile` or, where leaving takes a code, send one first."""
        service = self._service
        takes_code = service.settings.unsubscribe_requires_otp
        with few_at_once():
            fields = _fields(req)
            mobile, otp, address = _mobile(fields), _otp(fields), client_address(req, service.settings)
            if takes_code and otp is None:
                service.subscriptions.ask(mobile, "unsubscribe", address, service.handing)
                _answer(resp, _sent(base_address(req, service.settings), mobile, "unsubscribe"))
            else:
                service.subscriptions.leave(mobile, address, service.handing, otp if takes_code else None)
                _answer(resp, UNSUBSCRIBED)

    on_post = on_get


def _fields(req: falcon.Request) -> dict[str, Any]:
    """Answer what was sent: the query and, with POST, a JSON object or a form, which wins."""
    fields: dict[str, Any] = dict(req.params)
    if req.method == "POST" and req.content_length:
        if req.content_length > MOST_BYTES:
            raise falcon.HTTPContentTooLarge(description=f"Send at most {MOST_BYTES} bytes: {EXAMPLE_BODY}")
        try:
            sent = req.get_media()
        except (falcon.MediaMalformedError, RecursionError):  # lists in lists in lists
            sent = None
        if not isinstance(sent, dict) or any(name.lstrip().startswith("{") for name in sent):
            raise falcon.HTTPBadRequest(
                title="Invalid body",
                description=f"Send a form, or JSON with Content-Type: application/json, for example {EXAMPLE_BODY}",
            )
        fields.update(sent)
    return fields


def _text(fields: dict[str, Any], name: str) -> str | None:
    """Answer a field as text; of one that was sent more than once, the last."""
    value = fields.get(name)
    if isinstance(value, list):
        value = value[-1] if value else None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) or value is None else ""


def _mobile(fields: dict[str, Any]) -> str:
    try:
        return read_mobile(_text(fields, "mobile") or "")
    except InvalidMobile as error:
        raise falcon.HTTPBadRequest(
            title="Invalid mobile",
            description=f"{error} {RIGHT_FORM}",
        ) from None


def _otp(fields: dict[str, Any]) -> str | None:
    """Answer the code that was sent, None where none was; an empty one is wrong, and brings no new SMS."""
    if fields.get("otp") is None:
        return None
    digits = "".join((_text(fields, "otp") or "").split())
    if digits and isinstance(fields["otp"], int):
        digits = digits.zfill(DIGITS)  # a number of JSON has no zeros in front
    if not (digits.isdecimal() and len(digits) == DIGITS):
        raise falcon.HTTPBadRequest(title="Invalid otp", description="Send otp as the six digits of the SMS.")
    return f"{int(digits):0{DIGITS}}"


def _sent(base: str, mobile: str, purpose: "Purpose") -> str:
    if_subscribed = ", if it is subscribed" if purpose == "unsubscribe" else ""
    goal = {"subscribe": "subscription", "unsubscribe": "unsubscription"}[purpose]
    link = f"{base}/{purpose}?mobile={quote(mobile, safe='')}&otp=xxxxxx"
    return (
        f"An OTP verification has been sent on mobile {mobile}{if_subscribed}."
        f" To complete the {goal}, Use OTP with this URL pattern {link}."
    )


def _answer(resp: falcon.Response, message: str) -> None:
    resp.text = f"{json.dumps({'message': message})}\n"
    resp.set_header("Cache-Control", "no-store")
