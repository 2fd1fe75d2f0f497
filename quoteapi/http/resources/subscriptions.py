"""`/subscribe` and `/unsubscribe`."""

import json
from contextlib import suppress
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
from quoteapi.subscriptions.otp import OTP_DIGITS
from quoteapi.subscriptions.phone import MOBILE_HINT, InvalidMobile, parse_mobile

if TYPE_CHECKING:
    from quoteapi.container import Container
    from quoteapi.sms.messages import Purpose
    from quoteapi.subscriptions.sliding_window import RateLimitStatus

MAX_BODY_BYTES = 4_096
EXAMPLE_BODY = '{"mobile": "+919028000001"}'


class _SubscriptionResource:
    purpose: "Purpose"
    goal: str
    if_subscribed = ""
    done_message: str

    def __init__(self, service: "Container") -> None:
        self._service = service
        self._settings = service.settings
        self._requires_otp = True

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Do what POST does, but show browsers the form: a link must neither send an SMS nor unsubscribe."""
        if not prefers_html(req, resp):
            self.on_post(req, resp)
            return
        mobile, otp = (_text(dict(req.params), name) or "" for name in ("mobile", "otp"))
        step: Literal["mobile", "code"] = "mobile"
        if otp:
            with suppress(InvalidMobile):  # the page must not say that an OTP was sent to what is no number
                mobile, step = parse_mobile(mobile), "code"
        respond_with_form(req, resp, self._settings, SubscriptionForm(self.purpose, step, mobile, otp))

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send an OTP to `mobile` or, with its `otp`, subscribe or unsubscribe it."""
        with bulkhead():
            check_csrf(req, self._settings)
            mobile, otp = _parse_request(req, self.purpose)
            ip = client_ip(req, self._settings)
            is_done = otp is not None or not self._requires_otp
            if is_done:
                rate_limits = self._complete(mobile, otp, ip)
            else:
                service = self._service
                rate_limits = service.subscriptions.request_otp(mobile, self.purpose, ip, service.dispatcher)
            set_rate_limit_headers(resp, rate_limits)
            if prefers_html(req, resp):
                form = req.context.form._replace(step="done" if is_done else "code")
                respond_with_form(req, resp, self._settings, form)
            else:
                message = self.done_message if is_done else self._otp_sent_message(req, mobile)
                resp.text = f"{json.dumps({'message': message})}\n"
                resp.set_header("Cache-Control", "no-store")

    def _complete(self, mobile: str, otp: str | None, ip: str) -> "tuple[RateLimitStatus, ...]":
        raise NotImplementedError

    def _otp_sent_message(self, req: falcon.Request, mobile: str) -> str:
        base = self._settings.public_url or request_base_url(req, self._settings)
        link = f"{base}/{self.purpose}?mobile={quote(mobile, safe='')}&otp=xxxxxx"
        return (
            f"An OTP verification has been sent on mobile {mobile}{self.if_subscribed}."
            f" To complete the {self.goal}, Use OTP with this URL pattern {link}."
        )


class Subscribe(_SubscriptionResource):
    """Subscribes a number: the first request sends an OTP, the second has it."""

    purpose, goal = "subscribe", "subscription"
    done_message = "Congratulations!!! You have successfully subscribed for daily famous quote."

    def _complete(self, mobile: str, otp: str | None, ip: str) -> "tuple[RateLimitStatus, ...]":
        assert otp is not None, "subscribing requires an OTP"
        return self._service.subscriptions.subscribe(mobile, otp, ip, self._service.dispatcher)


class Unsubscribe(_SubscriptionResource):
    """Unsubscribes a number: at once, or by an OTP if the settings require one."""

    purpose, goal = "unsubscribe", "unsubscription"
    if_subscribed = ", if it is subscribed"
    done_message = "You have successfully unsubscribed from daily famous quote. See you again."

    def __init__(self, service: "Container") -> None:
        super().__init__(service)
        self._requires_otp = service.settings.unsubscribe_requires_otp

    def _complete(self, mobile: str, otp: str | None, ip: str) -> "tuple[RateLimitStatus, ...]":
        code = otp if self._requires_otp else None
        return self._service.subscriptions.unsubscribe(mobile, ip, self._service.dispatcher, code)


def _parse_request(req: falcon.Request, purpose: "Purpose") -> tuple[str, str | None]:
    """Return the number and the OTP of a request. Keep the form for an error page, which shows it again."""
    fields = _read_fields(req)
    req.context.form = SubscriptionForm(purpose, "mobile", _text(fields, "mobile") or "")
    try:
        mobile = parse_mobile(_text(fields, "mobile") or "")
    except InvalidMobile as error:
        hint = "Begin with the country code, as in +91 90280 00001."
        raise Problem(falcon.HTTP_400, "Invalid mobile", f"{error} {MOBILE_HINT}", f"{error} {hint}") from None
    step: Literal["mobile", "code"] = "code" if fields.get("otp") is not None or "again" in fields else "mobile"
    req.context.form = SubscriptionForm(purpose, step, mobile, _text(fields, "otp") or "")
    return mobile, _parse_otp(fields)


def _read_fields(req: falcon.Request) -> dict[str, Any]:
    """Return the query parameters and, with POST, the fields of a JSON object or form, which win."""
    fields: dict[str, Any] = dict(req.params)
    if req.method != "POST" or not req.content_length:
        return fields
    if req.content_length > MAX_BODY_BYTES:
        raise falcon.HTTPContentTooLarge(description=f"Send at most {MAX_BODY_BYTES} bytes: {EXAMPLE_BODY}")
    try:
        body = req.get_media()
    except (falcon.MediaMalformedError, RecursionError):  # too deeply nested JSON
        body = None
    if not isinstance(body, dict) or any(name.lstrip().startswith("{") for name in body):
        raise falcon.HTTPBadRequest(
            title="Invalid body",
            description=f"Send a form, or JSON with Content-Type: application/json, for example {EXAMPLE_BODY}",
        )
    return fields | body


def _text(fields: dict[str, Any], name: str) -> str | None:
    """Return a field as text, the last if it was sent more than once; "" if it is no text."""
    value = fields.get(name)
    if isinstance(value, list):
        value = value[-1] if value else None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return value.encode(errors="replace").decode()  # JSON may have lone surrogates, which UTF-8 cannot encode
    return None if value is None else ""


def _parse_otp(fields: dict[str, Any]) -> str | None:
    """Return the OTP of a request; None if it has none. An empty one is invalid, and sends no new SMS."""
    if fields.get("otp") is None:
        return None
    digits = "".join((_text(fields, "otp") or "").split())
    if digits and isinstance(fields["otp"], int):
        digits = digits.zfill(OTP_DIGITS)  # a JSON number has no leading zeros
    if not (digits.isdecimal() and len(digits) == OTP_DIGITS):
        digits = "the six digits of the SMS."
        raise Problem(falcon.HTTP_400, "Invalid otp", f"Send otp as {digits}", f"The code is {digits}")
    return f"{int(digits):0{OTP_DIGITS}}"
