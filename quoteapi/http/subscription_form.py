"""The forms to subscribe and to unsubscribe."""

from typing import Literal, NamedTuple

import falcon

from quoteapi.http.html import respond_with_page
from quoteapi.settings import Settings
from quoteapi.sms.messages import Purpose
from quoteapi.subscriptions.phone import MOBILE_HINT, format_international

NEW_CODE = "Send mobile without otp to get a new one."
WHERE_QUOTES_ARE = " GET /daily answers the quote of the day, /random another one each time, /quotes all."
SIX_DIGITS = "Send otp as the six digits of the SMS."
IN_OTHER_WORDS = {
    f" {MOBILE_HINT}": " Begin with the country code, as in +91 90280 00001.",
    NEW_CODE: "Send another code.",
    SIX_DIGITS: "The code is the six digits of the SMS.",
    WHERE_QUOTES_ARE: "",
}
"""What programs are told to send, and what is said to people instead."""


class SubscriptionForm(NamedTuple):
    """How far somebody is with subscribing, or with leaving."""

    purpose: Purpose
    step: Literal["mobile", "code", "done"] = "mobile"
    mobile: str = ""
    otp: str = ""
    error: str = ""

    @property
    def number(self) -> str:
        """The number as people read it."""
        return format_international(self.mobile)


def respond_with_form(req: falcon.Request, resp: falcon.Response, settings: Settings, form: SubscriptionForm) -> None:
    """Answer the page of a form, which has a number in it: no cache may keep it."""
    respond_with_page(req, resp, settings, "form.html", 0, **form_template_values(settings, form))


def respond_with_problem_page(
    req: falcon.Request, resp: falcon.Response, settings: Settings, title: str, detail: str | None
) -> None:
    """Answer the page of an error: where a form was sent, that form again, which says what is wrong with it."""
    form: SubscriptionForm | None = getattr(req.context, "form", None)
    for sentence, for_people in IN_OTHER_WORDS.items():
        detail = detail and detail.replace(sentence, for_people)
    if form is not None:
        respond_with_form(req, resp, settings, form._replace(error=detail or title))
    else:
        respond_with_page(req, resp, settings, "problem.html", 0, title=title, detail=detail)


def form_template_values(settings: Settings, form: SubscriptionForm) -> dict[str, object]:
    """Return the values that the template of the form needs."""
    return {
        "form": form,
        "takes_code": settings.unsubscribe_requires_otp,
        "is_open": settings.has_shared_state,
        "on_laptop": settings.gateway == "console",
    }
