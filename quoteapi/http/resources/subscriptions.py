"""`/subscribe` and `/unsubscribe`."""

import json
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import falcon

from quoteapi.http.bulkhead import bulkhead
from quoteapi.http.client_ip import client_ip
from quoteapi.http.csrf import check_csrf
from quoteapi.http.errors import Problem
from quoteapi.http.html import prefers_html
from quoteapi.http.rate_limit import set_rate_limit_headers
from quoteapi.http.subscription_form import SubscriptionForm, respond_with_form
from quoteapi.http.urls import request_base_url
from quoteapi.subscriptions.otp import DIGITS
from quoteapi.subscriptions.phone import MOBILE_HINT, InvalidMobile, parse_mobile

if TYPE_CHECKING:
    from collections.abc import Callable

    from quoteapi.container import Container
    from quoteapi.settings import Settings
    from quoteapi.sms.messages import Purpose

SUBSCRIBED = "Congratulations!!! You have successfully subscribed for daily famous quote."
UNSUBSCRIBED = "You have successfully unsubscribed from daily famous quote. See you again."
MOST_BYTES = 4_096
EXAMPLE_BODY = '{"mobile": "+919028000001"}'


class Subscribe:
    """A code to a number first; with the code, the number is subscribed."""

    def __init__(self, service: "Container") -> None:
        self._service = service

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Do as with POST; who would rather have a page gets the form."""
        _show_form_or(self.on_post, req, resp, self._service.settings, "subscribe")

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send a code to `mobile` or, with its `otp`, subscribe it."""
        service, settings = self._service, self._service.settings
        with bulkhead():
            mobile, otp = _said(req, settings, "subscribe")
            address = client_ip(req, settings)
            if otp is None:
                service.subscriptions.request_otp(
                    mobile, "subscribe", address, service.dispatcher, partial(set_rate_limit_headers, resp)
                )
                _answer(
                    req,
                    resp,
                    settings,
                    _sent(settings.public_url or request_base_url(req, settings), mobile, "subscribe"),
                    "code",
                )
            else:
                service.subscriptions.subscribe(
                    mobile, otp, address, service.dispatcher, partial(set_rate_limit_headers, resp)
                )
                _answer(req, resp, settings, SUBSCRIBED, "done")


class Unsubscribe:
    """Leaving: at once or, where the operator wants it so, by a code too."""

    def __init__(self, service: "Container") -> None:
        self._service = service

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Do as with POST; who would rather have a page gets the form."""
        _show_form_or(self.on_post, req, resp, self._service.settings, "unsubscribe")

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Unsubscribe `mobile` or, where leaving takes a code, send one first."""
        service, settings = self._service, self._service.settings
        takes_code = settings.unsubscribe_requires_otp
        with bulkhead():
            mobile, otp = _said(req, settings, "unsubscribe")
            address = client_ip(req, settings)
            if takes_code and otp is None:
                service.subscriptions.request_otp(
                    mobile, "unsubscribe", address, service.dispatcher, partial(set_rate_limit_headers, resp)
                )
                _answer(
                    req,
                    resp,
                    settings,
                    _sent(settings.public_url or request_base_url(req, settings), mobile, "unsubscribe"),
                    "code",
                )
            else:
                code = otp if takes_code else None
                service.subscriptions.unsubscribe(
                    mobile, address, service.dispatcher, code, partial(set_rate_limit_headers, resp)
                )
                _answer(req, resp, settings, UNSUBSCRIBED, "done")


def _show_form_or(
    act: "Callable[[falcon.Request, falcon.Response], None]",
    req: falcon.Request,
    resp: falcon.Response,
    settings: "Settings",
    purpose: "Purpose",
) -> None:
    """Show a browser the form with what its address says filled in: a link must not send an SMS, nor end anything."""
    if not prefers_html(req, resp):
        act(req, resp)
        return
    mobile, otp = (_text(dict(req.params), name) or "" for name in ("mobile", "otp"))
    step: Literal["mobile", "code"] = "mobile"
    if otp:
        with suppress(InvalidMobile):  # of nothing but a number does a page say that a code was sent there
            mobile, step = parse_mobile(mobile), "code"
    respond_with_form(req, resp, settings, SubscriptionForm(purpose, step, mobile, otp))


def _said(req: falcon.Request, settings: "Settings", purpose: "Purpose") -> tuple[str, str | None]:
    """Read the number and the code, as a request of our own page or of a program says them.

    What was read is kept for the page of an error, which shows it again.
    """
    check_csrf(req, settings)
    fields = _fields(req)
    req.context.form = SubscriptionForm(purpose, "mobile", _text(fields, "mobile") or "")
    mobile = _mobile(fields)
    has_a_code = fields.get("otp") is not None or "again" in fields
    step: Literal["mobile", "code"] = "code" if has_a_code else "mobile"
    req.context.form = SubscriptionForm(purpose, step, mobile, _text(fields, "otp") or "")
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
        return parse_mobile(_text(fields, "mobile") or "")
    except InvalidMobile as error:
        hint = "Begin with the country code, as in +91 90280 00001."
        raise Problem(falcon.HTTP_400, "Invalid mobile", f"{error} {MOBILE_HINT}", f"{error} {hint}") from None


def _otp(fields: dict[str, Any]) -> str | None:
    """Answer the code that was sent, None where none was; an empty one is wrong, and brings no new SMS."""
    if fields.get("otp") is None:
        return None
    digits = "".join((_text(fields, "otp") or "").split())
    if digits and isinstance(fields["otp"], int):
        digits = digits.zfill(DIGITS)  # a number of JSON has no zeros in front
    if not (digits.isdecimal() and len(digits) == DIGITS):
        digits = "the six digits of the SMS."
        raise Problem(falcon.HTTP_400, "Invalid otp", f"Send otp as {digits}", f"The code is {digits}")
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
    if prefers_html(req, resp):
        respond_with_form(req, resp, settings, req.context.form._replace(step=step))
        return
    resp.text = f"{json.dumps({'message': message})}\n"
    resp.set_header("Cache-Control", "no-store")
