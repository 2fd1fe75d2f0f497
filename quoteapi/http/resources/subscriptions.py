"""`/subscribe` and `/unsubscribe`: subscriptions of phone numbers to the daily SMS."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import falcon

from quoteapi.http.client_ip import client_ip
from quoteapi.http.csrf import check_csrf
from quoteapi.http.errors import Problem
from quoteapi.http.html import prefers_html
from quoteapi.http.parameters import reject_misspelt_names
from quoteapi.http.rate_limit import set_rate_limit_headers
from quoteapi.http.request_fields import read_fields
from quoteapi.http.subscription_form import SubscriptionForm, preferred_regions, respond_with_form
from quoteapi.http.urls import request_base_url
from quoteapi.subscriptions.otp import OTP_DIGITS
from quoteapi.subscriptions.phone import (
    InvalidMobile,
    normalize_digits,
    parse_mobile,
    require_country_code,
    suggest_mobiles,
)

if TYPE_CHECKING:
    from quoteapi.container import Container
    from quoteapi.storage.state import Purpose
    from quoteapi.subscriptions.sliding_window import RateLimitStatuses


class _SubscriptionResource:
    bulkhead = "subscribing"
    parameters = ("mobile", "otp")
    purpose: "Purpose"
    goal: str
    if_subscribed = ""
    done_message: str

    def __init__(self, container: "Container") -> None:
        self._container = container
        self._settings = container.settings

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Do what POST does, but send browsers the form: a link must neither send an SMS nor unsubscribe."""
        if prefers_html(req, resp):
            self.on_head(req, resp)
        else:
            self.on_post(req, resp)

    def on_head(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send the page with the form, whatever the client prefers: HEAD must do nothing (RFC 9110)."""
        prefers_html(req, resp)  # adds `Vary: Accept`
        form = _read_form(self.purpose, read_fields(req), requires_otp=self._requires_otp())
        if form.step == "code":
            with suppress(InvalidMobile):  # the page must not say that an OTP was sent to an invalid number
                form = form._replace(mobile=parse_mobile(form.mobile), is_number_known=True)
        respond_with_form(req, resp, self._settings, form)

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send an OTP to `mobile`, a phone number. With `otp`, or if none is required, (un)subscribe it."""
        check_csrf(req, self._settings)
        requires_otp = self._requires_otp()
        is_form = prefers_html(req, resp)
        mobile, otp = self._parse_request(req, requires_otp=requires_otp, is_form=is_form)
        is_done = otp is not None or not requires_otp
        message = self.done_message if is_done else self._otp_sent_message(req, mobile)  # may raise, so first
        ip = client_ip(req.env, self._settings)
        set_rate_limit_headers(resp, self._apply(mobile, otp, ip, requires_otp=requires_otp))
        if is_form:
            form = req.context.form._replace(step="done" if is_done else "code")
            respond_with_form(req, resp, self._settings, form)
        else:
            resp.text = f"{json.dumps({'message': message})}\n"
            resp.set_header("Cache-Control", "no-store")

    def _requires_otp(self) -> bool:
        return True

    def _parse_request(self, req: falcon.Request, *, requires_otp: bool, is_form: bool) -> tuple[str, str | None]:
        """Return the number and OTP of a request. Store the form in `req.context`, for an error page to show.

        In a form, people write national numbers: a number must begin with + or 00.
        """
        fields = read_fields(req)
        reject_misspelt_names(fields, self.parameters)
        req.context.form = form = _read_form(self.purpose, fields, requires_otp=requires_otp)
        try:
            if is_form:
                require_country_code(form.mobile)
            mobile = self._parse_mobile(form.mobile)
        except InvalidMobile as error:
            suggestions = suggest_mobiles(form.mobile, preferred_regions(req)) if is_form else ()
            req.context.form = form._replace(error_at="mobile", suggestions=suggestions)
            texts = f"{error} {error.hint}", f"{error} {error.page_hint}"
            raise Problem(falcon.HTTP_400, "Invalid mobile", *texts) from None
        req.context.form = form._replace(mobile=mobile, is_number_known=True)
        return mobile, None if form.error_at == "again" else _parse_otp(fields)

    def _parse_mobile(self, text: str) -> str:
        return parse_mobile(text)

    def _apply(self, mobile: str, otp: str | None, ip: str, *, requires_otp: bool) -> "RateLimitStatuses":
        """Send an OTP, or subscribe or unsubscribe a number. Return the status of the rate limits."""
        subscriptions, dispatcher = self._container.subscriptions, self._container.dispatcher
        if otp is None and requires_otp:
            return subscriptions.request_otp(mobile, self.purpose, ip, dispatcher)
        if self.purpose == "unsubscribe":
            return subscriptions.unsubscribe(mobile, ip, dispatcher, otp if requires_otp else None)
        assert otp is not None, "subscribing requires an OTP"
        return subscriptions.subscribe(mobile, otp, ip, dispatcher)

    def _otp_sent_message(self, req: falcon.Request, mobile: str) -> str:
        base = self._settings.public_url or request_base_url(req, self._settings)
        link = f"{base}/{self.purpose}?mobile={quote(mobile, safe='')}&otp=xxxxxx"
        return (
            f"An OTP verification has been sent on mobile {mobile}{self.if_subscribed}."
            f" To complete the {self.goal}, Use OTP with this URL pattern {link}."
        )


class Subscribe(_SubscriptionResource):
    """Subscribes a number in two requests: the first one requests an OTP, the second one contains it."""

    purpose, goal = "subscribe", "subscription"
    done_message = "Congratulations!!! You have successfully subscribed for daily famous quote."


class Unsubscribe(_SubscriptionResource):
    """Unsubscribes a number: as `Subscribe` does or, if no OTP is required, at once."""

    purpose, goal = "unsubscribe", "unsubscription"
    if_subscribed = ", if it is subscribed"
    done_message = "You have successfully unsubscribed from daily famous quote. See you again."

    def _parse_mobile(self, text: str) -> str:
        return self._container.subscriptions.find_mobile(text)

    def _requires_otp(self) -> bool:
        return self._container.rate_limits.requires_otp_to_unsubscribe()


def _read_form(purpose: "Purpose", fields: Mapping[str, Any], *, requires_otp: bool) -> SubscriptionForm:
    form = SubscriptionForm(purpose, mobile=_field(fields, "mobile"), requires_otp=requires_otp)
    if requires_otp and "again" in fields:  # sent by a button beside the field of the OTP
        return form._replace(step="code", error_at="again")
    if requires_otp and fields.get("otp") is not None:
        return form._replace(step="code", error_at="otp", otp=_field(fields, "otp"))
    return form


def _field(fields: Mapping[str, Any], name: str) -> str:
    """Return a field as text: the last value if sent repeatedly, "" if missing or neither text nor a number."""
    value = fields.get(name)
    if isinstance(value, list):
        value = value[-1] if value else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return value.encode(errors="replace").decode()  # JSON may have lone surrogates, which UTF-8 cannot encode
    return ""


def _parse_otp(fields: dict[str, Any]) -> str | None:
    """Return the OTP of a request as six ASCII digits; None if `otp` is missing.

    Raises `Problem` if it is invalid. An empty one is, so that it does not request a new OTP.
    """
    if fields.get("otp") is None:
        return None
    text = _field(fields, "otp")
    is_number = text and isinstance(fields["otp"], int | float)  # in JSON, which has no leading zeros
    digits = text.zfill(OTP_DIGITS) if is_number else normalize_digits(text)
    if not (digits.isdecimal() and len(digits) == OTP_DIGITS):
        expected = "the six digits from the SMS."
        raise Problem(falcon.HTTP_400, "Invalid otp", f"Send otp as {expected}", f"Enter {expected}")
    return digits
