"""`/subscribe` and `/unsubscribe`."""

import json
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import falcon

from quoteapi.http.bulkhead import few_at_once
from quoteapi.http.client_ip import client_address
from quoteapi.http.csrf import refuse_other_sites
from quoteapi.http.html import prefers_page
from quoteapi.http.rate_limit import tell
from quoteapi.http.subscription_form import SIX_DIGITS, Form, answer_form
from quoteapi.http.urls import base_address
from quoteapi.subscriptions.otp import DIGITS
from quoteapi.subscriptions.phone import RIGHT_FORM, InvalidMobile, read_mobile

if TYPE_CHECKING:
    from collections.abc import Callable

    from quoteapi.container import Service
    from quoteapi.settings import Settings
    from quoteapi.sms.messages import Purpose

SUBSCRIBED = "Congratulations!!! You have successfully subscribed for daily famous quote."
UNSUBSCRIBED = "You have successfully unsubscribed from daily famous quote. See you again."
MOST_BYTES = 4_096
EXAMPLE_BODY = '{"mobile": "+919028000001"}'


class Subscribe:
    """A code to a number first; with the code, the number is subscribed."""

    def __init__(self, service: "Service") -> None:
        self._service = service

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Do as with POST; who would rather have a page gets the form."""
        _show_form_or(self.on_post, req, resp, self._service.settings, "subscribe")

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send a code to `mobile` or, with its `otp`, subscribe it."""
        service, settings = self._service, self._service.settings
        with few_at_once():
            mobile, otp = _said(req, settings, "subscribe")
            address = client_address(req, settings)
            if otp is None:
                service.subscriptions.ask(mobile, "subscribe", address, service.handing, partial(tell, resp))
                _answer(
                    req,
                    resp,
                    settings,
                    _sent(settings.public_url or base_address(req, settings), mobile, "subscribe"),
                    "code",
                )
            else:
                service.subscriptions.confirm(mobile, otp, address, service.handing, partial(tell, resp))
                _answer(req, resp, settings, SUBSCRIBED, "done")


class Unsubscribe:
    """Leaving: at once or, where the operator wants it so, by a code too."""

    def __init__(self, service: "Service") -> None:
        self._service = service

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Do as with POST; who would rather have a page gets the form."""
        _show_form_or(self.on_post, req, resp, self._service.settings, "unsubscribe")

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Unsubscribe `mobile` or, where leaving takes a code, send one first."""
        service, settings = self._service, self._service.settings
        takes_code = settings.unsubscribe_requires_otp
        with few_at_once():
            mobile, otp = _said(req, settings, "unsubscribe")
            address = client_address(req, settings)
            if takes_code and otp is None:
                service.subscriptions.ask(mobile, "unsubscribe", address, service.handing, partial(tell, resp))
                _answer(
                    req,
                    resp,
                    settings,
                    _sent(settings.public_url or base_address(req, settings), mobile, "unsubscribe"),
                    "code",
                )
            else:
                code = otp if takes_code else None
                service.subscriptions.leave(mobile, address, service.handing, code, partial(tell, resp))
                _answer(req, resp, settings, UNSUBSCRIBED, "done")


def _show_form_or(
    act: "Callable[[falcon.Request, falcon.Response], None]",
    req: falcon.Request,
    resp: falcon.Response,
    settings: "Settings",
    purpose: "Purpose",
) -> None:
    """Show a browser the form with what its address says filled in: a link must not send an SMS, nor end anything."""
    if not prefers_page(req, resp):
        act(req, resp)
        return
    mobile, otp = (_text(dict(req.params), name) or "" for name in ("mobile", "otp"))
    step: Literal["mobile", "code"] = "mobile"
    if otp:
        with suppress(InvalidMobile):  # of nothing but a number does a page say that a code was sent there
            mobile, step = read_mobile(mobile), "code"
    answer_form(req, resp, settings, Form(purpose, step, mobile, otp))


def _said(req: falcon.Request, settings: "Settings", purpose: "Purpose") -> tuple[str, str | None]:
    """Read the number and the code, as a request of our own page or of a program says them.

    What was read is kept for the page of an error, which shows it again.
    """
    refuse_other_sites(req, settings)
    fields = _fields(req)
    req.context.form = Form(purpose, "mobile", _text(fields, "mobile") or "")
    mobile = _mobile(fields)
    has_a_code = fields.get("otp") is not None or "again" in fields
    step: Literal["mobile", "code"] = "code" if has_a_code else "mobile"
    req.context.form = Form(purpose, step, mobile, _text(fields, "otp") or "")
    return mobile, _otp(fields)


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
    if isinstance(value, str):
        return value.encode(errors="replace").decode()  # JSON may have halves of characters, which no page can show
    return None if value is None else ""


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
        raise falcon.HTTPBadRequest(title="Invalid otp", description=SIX_DIGITS)
    return f"{int(digits):0{DIGITS}}"


def _sent(base: str, mobile: str, purpose: "Purpose") -> str:
    if_subscribed = ", if it is subscribed" if purpose == "unsubscribe" else ""
    goal = {"subscribe": "subscription", "unsubscribe": "unsubscription"}[purpose]
    link = f"{base}/{purpose}?mobile={quote(mobile, safe='')}&otp=xxxxxx"
    return (
        f"An OTP verification has been sent on mobile {mobile}{if_subscribed}."
        f" To complete the {goal}, Use OTP with this URL pattern {link}."
    )


def _answer(
    req: falcon.Request,
    resp: falcon.Response,
    settings: "Settings",
    message: str,
    step: Literal["code", "done"],
) -> None:
    """Say what was done: to a program by a message, to a browser by the page of the next step."""
    if prefers_page(req, resp):
        answer_form(req, resp, settings, req.context.form._replace(step=step))
        return
    resp.text = f"{json.dumps({'message': message})}\n"
    resp.set_header("Cache-Control", "no-store")
