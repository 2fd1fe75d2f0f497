"""The forms to subscribe and to unsubscribe."""

from typing import Literal, NamedTuple

import falcon

from quoteapi.http.html import answer_page
from quoteapi.settings import Settings
from quoteapi.sms.messages import Purpose
from quoteapi.subscriptions.phone import RIGHT_FORM, spaced

NEW_CODE = "Send mobile without otp to get a new one."
WHERE_QUOTES_ARE = " GET /daily answers the quote of the day, /random another one each time, /quotes all."
SIX_DIGITS = "Send otp as the six digits of the SMS."
IN_OTHER_WORDS = {
    f" {RIGHT_FORM}": " Begin with the country code, as in +91 90280 00001.",
    NEW_CODE: "Send another code.",
    SIX_DIGITS: "The code is the six digits of the SMS.",
    WHERE_QUOTES_ARE: "",
}
"""What programs are told to send, and what is said to people instead."""


class Form(NamedTuple):
    """How far somebody is with subscribing, or with leaving."""

    purpose: Purpose
    step: Literal["mobile", "code", "done"] = "mobile"
    mobile: str = ""
    otp: str = ""
    error: str = ""

    @property
    def number(self) -> str:
        """The number as people read it."""
        return spaced(self.mobile)


def answer_form(req: falcon.Request, resp: falcon.Response, settings: Settings, form: Form) -> None:
    """Answer the page of a form, which has a number in it: no cache may keep it."""
    answer_page(req, resp, settings, "form.html", 0, **_of_form(settings, form))


def answer_problem(
    req: falcon.Request, resp: falcon.Response, settings: Settings, title: str, detail: str | None
) -> None:
    """Answer the page of an error: where a form was sent, that form again, which says what is wrong with it."""
    form: Form | None = getattr(req.context, "form", None)
    for sentence, for_people in IN_OTHER_WORDS.items():
        detail = detail and detail.replace(sentence, for_people)
    if form is not None:
        answer_form(req, resp, settings, form._replace(error=detail or title))
    else:
        answer_page(req, resp, settings, "problem.html", 0, title=title, detail=detail)


def _of_form(settings: Settings, form: Form) -> dict[str, object]:
    return {
        "form": form,
        "takes_code": settings.unsubscribe_requires_otp,
        "is_open": settings.state_is_shared,
        "on_laptop": settings.gateway == "console",
    }
