"""The HTML forms to subscribe and to unsubscribe."""

from typing import Literal, NamedTuple

import falcon

from quoteapi.http.html import respond_with_page
from quoteapi.settings import Settings
from quoteapi.sms.messages import Purpose
from quoteapi.subscriptions.phone import format_international


class SubscriptionForm(NamedTuple):
    """A form with the values entered, and its step: enter the number, enter the OTP (code), or done."""

    purpose: Purpose
    step: Literal["mobile", "code", "done"] = "mobile"
    mobile: str = ""
    otp: str = ""
    error: str = ""
    requires_otp: bool = True

    @property
    def number(self) -> str:
        """The number as in +91 90280 00001; text that is not a phone number is unchanged."""
        return format_international(self.mobile)


def respond_with_form(req: falcon.Request, resp: falcon.Response, settings: Settings, form: SubscriptionForm) -> None:
    """Send the page of a form. No cache may keep it, because it can contain a phone number."""
    respond_with_page(req, resp, settings, "form.html", 0, **form_values(settings, form))


def respond_with_problem_page(
    req: falcon.Request, resp: falcon.Response, settings: Settings, title: str, detail: str | None
) -> None:
    """Send a page with an error: the form that the client sent, if any, else one that has only the error."""
    form: SubscriptionForm | None = getattr(req.context, "form", None)
    if form is not None:
        respond_with_form(req, resp, settings, form._replace(error=detail or title))
    else:
        respond_with_page(req, resp, settings, "problem.html", 0, title=title, detail=detail)


def form_values(settings: Settings, form: SubscriptionForm) -> dict[str, object]:
    """Return the values that a template needs to render a form."""
    return {
        "form": form,
        "is_open": settings.has_shared_state,
        "on_laptop": settings.gateway == "console",
    }
