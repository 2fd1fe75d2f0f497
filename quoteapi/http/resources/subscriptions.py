"""`/subscribe`, `/unsubscribe` and `/pause`: subscriptions of phone numbers to the daily SMS."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import falcon

from quoteapi.http.client_ip import client_ip
from quoteapi.http.csrf import check_csrf
from quoteapi.http.errors import Problem
from quoteapi.http.html import prefers_html
from quoteapi.http.parameters import reject_misspelt_names
from quoteapi.http.rate_limit import set_rate_limit_headers
from quoteapi.http.request_fields import read_fields
from quoteapi.http.subscription_fields import (
    InvalidField,
    SubscriptionRequest,
    field_text,
    parse_days,
    parse_otp,
    parse_time_zone,
)
from quoteapi.http.subscription_form import SubscriptionForm, preferred_regions, respond_with_form
from quoteapi.http.urls import request_base_url
from quoteapi.subscriptions.delivery_hours import describe_morning
from quoteapi.subscriptions.phone import (
    InvalidMobile,
    parse_mobile,
    require_country_code,
    suggest_mobiles,
    time_zone_of,
)
from quoteapi.time_zones import zone_info

if TYPE_CHECKING:
    from quoteapi.container import Container
    from quoteapi.storage.state import Purpose
    from quoteapi.subscriptions.sliding_window import RateLimitStatuses


class _Result(NamedTuple):
    """What was done: the media of the response and, for the page, when the next SMS comes."""

    media: dict[str, str]
    next_sms: str = ""


class _SubscriptionResource:
    bulkhead = "subscribing"
    parameters: tuple[str, ...] = ("mobile", "otp")
    purpose: "Purpose"
    goal: str
    if_subscribed = ""

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
        form = _read_form(self.purpose, read_fields(req, self.parameters), requires_otp=self._requires_otp())
        if form.step == "code":
            with suppress(InvalidMobile):  # the page must not say that an OTP was sent to an invalid number
                form = form._replace(mobile=parse_mobile(form.mobile), is_number_known=True)
        respond_with_form(req, resp, self._settings, form)

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send an OTP to `mobile`, a phone number. With `otp`, or if none is required, do what was requested."""
        check_csrf(req, self._settings)
        requires_otp = self._requires_otp()
        is_form = prefers_html(req, resp)
        request = self._parse_request(req, requires_otp=requires_otp, is_form=is_form)
        if request.otp is None and requires_otp:
            media = self._request_otp(req, resp, request)
        else:
            media = self._complete(req, resp, request if requires_otp else request._replace(otp=None))
        if is_form:
            respond_with_form(req, resp, self._settings, req.context.form)
        else:
            resp.text = f"{json.dumps(media)}\n"
            resp.set_header("Cache-Control", "no-store")

    def _request_otp(self, req: falcon.Request, resp: falcon.Response, request: SubscriptionRequest) -> dict[str, str]:
        """Send an OTP. Return the media of the response, and store the form for the OTP in `req.context`."""
        message = self._otp_sent_message(req, request)  # may raise, so first
        subscriptions, dispatcher = self._container.subscriptions, self._container.dispatcher
        ip = client_ip(req.env, self._settings)
        rate_limits = subscriptions.request_otp(request.mobile, self.purpose, ip, dispatcher, request.time_zone)
        set_rate_limit_headers(resp, rate_limits)
        time_zone = request.time_zone or self._time_zone_of(request.mobile)
        req.context.form = req.context.form._replace(step="code", time_zone=time_zone)
        return {"message": message}

    def _complete(self, req: falcon.Request, resp: falcon.Response, request: SubscriptionRequest) -> dict[str, str]:
        """Do what was requested. Return the media of the response, and store the result's form in `req.context`."""
        set_rate_limit_headers(resp, self._execute(request, client_ip(req.env, self._settings)))
        result = self._result(request)
        req.context.form = req.context.form._replace(step="done", next_sms=result.next_sms)
        return result.media

    def _requires_otp(self) -> bool:
        return True

    def _parse_request(self, req: falcon.Request, *, requires_otp: bool, is_form: bool) -> SubscriptionRequest:
        """Return the values of a request. Store the form in `req.context`, for an error page to show."""
        fields = read_fields(req, self.parameters)
        reject_misspelt_names(fields, self.parameters)
        req.context.form = form = _read_form(self.purpose, fields, requires_otp=requires_otp)
        mobile = self._parse_mobile_field(req, form, is_form=is_form)
        req.context.form = form = form._replace(mobile=mobile, is_number_known=True)
        known = {name: fields.get(name) for name in self.parameters}
        try:
            time_zone, days = parse_time_zone(known), parse_days(known)
            otp = None if form.error_at == "again" else parse_otp(known)
        except InvalidField as error:
            time_zone = self._time_zone_of(mobile) if error.name == "time_zone" else form.time_zone
            req.context.form = form._replace(error_at=error.name, time_zone=time_zone)
            raise
        return SubscriptionRequest(mobile, otp, time_zone, days)

    def _parse_mobile_field(self, req: falcon.Request, form: SubscriptionForm, *, is_form: bool) -> str:
        """Return the number of a request. In a form, people write national numbers: it must begin with + or 00."""
        try:
            if is_form:
                require_country_code(form.mobile)
            return self._parse_mobile(form.mobile)
        except InvalidMobile as error:
            suggestions = suggest_mobiles(form.mobile, preferred_regions(req)) if is_form else ()
            req.context.form = form._replace(error_at="mobile", suggestions=suggestions)
            texts = f"{error} {error.hint}", f"{error} {error.page_hint}"
            raise Problem(falcon.HTTP_400, "Invalid mobile", *texts) from None

    def _parse_mobile(self, text: str) -> str:
        return parse_mobile(text)

    def _time_zone_of(self, mobile: str) -> str:
        """Return the time zone of a number for the form; "" if the form has none."""
        return ""

    def _execute(self, request: SubscriptionRequest, ip: str) -> "RateLimitStatuses":
        """Do what was requested, with the OTP if there is one. Return the status of the rate limits."""
        raise NotImplementedError

    def _result(self, request: SubscriptionRequest) -> _Result:
        raise NotImplementedError

    def _otp_sent_message(self, req: falcon.Request, request: SubscriptionRequest) -> str:
        base = self._settings.public_url or request_base_url(req, self._settings)
        days = f"&days={request.days}" if "days" in self.parameters else ""
        link = f"{base}/{self.purpose}?mobile={quote(request.mobile, safe='')}{days}&otp=xxxxxx"
        return (
            f"An OTP verification has been sent on mobile {request.mobile}{self.if_subscribed}."
            f" To complete the {self.goal}, Use OTP with this URL pattern {link}."
        )


class Subscribe(_SubscriptionResource):
    """Subscribes a number in two requests: the first one requests an OTP, the second one contains it."""

    purpose, goal = "subscribe", "subscription"
    parameters = ("mobile", "otp", "time_zone")

    def _time_zone_of(self, mobile: str) -> str:
        return time_zone_of(mobile) or self._settings.default_time_zone

    def _execute(self, request: SubscriptionRequest, ip: str) -> "RateLimitStatuses":
        mobile, otp, time_zone, _ = request
        assert otp is not None, "subscribing requires an OTP"
        return self._container.subscriptions.subscribe(mobile, otp, ip, self._container.dispatcher, time_zone)

    def _result(self, request: SubscriptionRequest) -> _Result:
        message = "Congratulations!!! You have successfully subscribed for daily famous quote."
        morning = self._container.subscriptions.next_morning(request.mobile)
        if morning is None:  # another request unsubscribed it since
            return _Result({"message": message})
        next_sms = describe_morning(morning.opens_at, morning.time_zone, self._container.clock())
        opens_at = morning.opens_at.astimezone(zone_info(morning.time_zone))
        media = {"message": f"{message} The next SMS comes {next_sms}."}
        return _Result(media | {"time_zone": morning.time_zone, "next_sms_at": opens_at.isoformat()}, next_sms)


class Unsubscribe(_SubscriptionResource):
    """Unsubscribes a number: as `Subscribe` does or, if no OTP is required, at once."""

    purpose: "Purpose" = "unsubscribe"
    goal = "unsubscription"
    if_subscribed = ", if it is subscribed"

    def _parse_mobile(self, text: str) -> str:
        return self._container.subscriptions.find_mobile(text)

    def _requires_otp(self) -> bool:
        return self._container.rate_limits.requires_otp_to_unsubscribe()

    def _execute(self, request: SubscriptionRequest, ip: str) -> "RateLimitStatuses":
        return self._container.subscriptions.unsubscribe(request.mobile, ip, self._container.dispatcher, request.otp)

    def _result(self, request: SubscriptionRequest) -> _Result:
        return _Result({"message": "You have successfully unsubscribed from daily famous quote. See you again."})


class Pause(Unsubscribe):
    """Pauses the daily SMS of a number for some days, in as many requests as `Unsubscribe`."""

    purpose, goal = "pause", "pause"
    parameters = ("mobile", "otp", "days")

    def _execute(self, request: SubscriptionRequest, ip: str) -> "RateLimitStatuses":
        mobile, otp, _, days = request
        return self._container.subscriptions.pause(mobile, days, ip, self._container.dispatcher, otp)

    def _result(self, request: SubscriptionRequest) -> _Result:
        days = "1 day" if request.days == 1 else f"{request.days} days"
        message = f"You have successfully paused daily famous quote for {days}, if the number is subscribed."
        how_it_ends = "It starts again by itself, or at once if you subscribe again."
        return _Result({"message": f"{message} {how_it_ends}"})


def _read_form(purpose: "Purpose", fields: Mapping[str, Any], *, requires_otp: bool) -> SubscriptionForm:
    """Return the form with the values of a request; with the default of a value that no browser sends."""
    form = SubscriptionForm(purpose, mobile=field_text(fields, "mobile"), requires_otp=requires_otp)
    with suppress(InvalidField):
        form = form._replace(time_zone=parse_time_zone(fields) or "")
    with suppress(InvalidField):
        form = form._replace(days=parse_days(fields))
    if requires_otp and "again" in fields:  # sent by a button beside the field of the OTP
        return form._replace(step="code", error_at="again")
    if requires_otp and fields.get("otp") is not None:
        return form._replace(step="code", error_at="otp", otp=field_text(fields, "otp"))
    return form
