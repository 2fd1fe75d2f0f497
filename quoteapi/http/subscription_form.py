"""The HTML forms to subscribe, to unsubscribe and to pause."""

import re
from functools import lru_cache
from operator import itemgetter
from typing import Literal, NamedTuple

import falcon

from quoteapi.http.html import respond_with_page
from quoteapi.settings import Settings
from quoteapi.storage.state import Purpose
from quoteapi.subscriptions.delivery_hours import DeliveryHours
from quoteapi.subscriptions.phone import format_international
from quoteapi.time_zones import all_time_zones, place_name

HTTP_BAD_REQUEST = 400
MAX_LANGUAGES_LENGTH, MAX_REGIONS = 200, 3
DEFAULT_PAUSE_DAYS, MAX_PAUSE_DAYS = 7, 90
PAUSE_CHOICES = (3, DEFAULT_PAUSE_DAYS, 14, 30, 60, MAX_PAUSE_DAYS)
"""The days of a pause that the form offers."""


class SubscriptionForm(NamedTuple):
    """A form with the values entered, and its step: enter the number, enter the OTP (code), or done."""

    purpose: Purpose
    step: Literal["mobile", "code", "done"] = "mobile"
    mobile: str = ""
    otp: str = ""
    error: str = ""
    requires_otp: bool = True
    is_number_known: bool = False
    """Whether `mobile` is an E.164 number; else the step of the OTP has a field for the number, too."""
    time_zone: str = ""
    """The normalized time zone that is chosen in the form; empty if it has none to choose."""
    days: int = DEFAULT_PAUSE_DAYS
    next_sms: str = ""
    """When the next SMS comes: "tomorrow at 09:00, Kolkata time"."""
    error_at: str = "mobile"
    """Where the error is shown: at the field with this name, or at `again`, the button that requests another OTP."""
    is_invalid: bool = False
    """Whether the value of the field at `error_at` is wrong; else the same value may be right later."""
    retry_after: str = ""
    """After how many seconds the request may be repeated; empty if that is not known."""
    suggestions: tuple[str, ...] = ()
    """The E.164 numbers that `mobile` may mean."""

    @property
    def number(self) -> str:
        """The number as in +91 90280 00001; text that is not a phone number is unchanged."""
        return format_international(self.mobile)

    @property
    def suggested_numbers(self) -> dict[str, str]:
        """The suggestions, each with its international notation."""
        return {mobile: format_international(mobile) for mobile in self.suggestions}


def preferred_regions(req: falcon.Request) -> list[str]:
    """Return the countries (ISO 3166 codes) of the client's `Accept-Language`, in its order: US for en-US."""
    tags = (req.get_header("Accept-Language") or "")[:MAX_LANGUAGES_LENGTH]
    regions = re.findall(r"-([A-Za-z]{2})(?![\w-])", tags)
    return list(dict.fromkeys(map(str.upper, regions)))[:MAX_REGIONS]


def respond_with_form(req: falcon.Request, resp: falcon.Response, settings: Settings, form: SubscriptionForm) -> None:
    """Send the page of a form. No cache may keep it, because it can contain a phone number."""
    respond_with_page(req, resp, settings, "form.html", 0, **form_values(settings, form))


def respond_with_problem_page(
    req: falcon.Request, resp: falcon.Response, settings: Settings, title: str, detail: str | None
) -> None:
    """Send a page with an error: the form that the client sent, if any, else one that has only the error."""
    form: SubscriptionForm | None = getattr(req.context, "form", None)
    if form is not None:
        is_invalid = resp.status_code == HTTP_BAD_REQUEST
        otp = "" if is_invalid and form.error_at == "otp" else form.otp  # the next one is typed into an empty field
        retry_after = resp.get_header("Retry-After") or ""
        form = form._replace(error=detail or title, is_invalid=is_invalid, otp=otp, retry_after=retry_after)
        respond_with_form(req, resp, settings, form)
    else:
        respond_with_page(req, resp, settings, "problem.html", 0, title=title, detail=detail)


@lru_cache(maxsize=1)
def time_zone_choices() -> dict[str, list[tuple[str, str]]]:
    """Return the names of all time zones with their labels, such as "Knox, Indiana", by region."""
    choices: dict[str, list[tuple[str, str]]] = {}
    for name in all_time_zones():
        region, *districts = name.replace("_", " ").split("/")
        label = ", ".join([place_name(name), *districts[:-1]])
        choices.setdefault("Other" if region == "Etc" else region, []).append((name, label))
    return {region: sorted(zones, key=itemgetter(1)) for region, zones in choices.items()}


def form_values(settings: Settings, form: SubscriptionForm) -> dict[str, object]:
    """Return the values that a template needs to render a form."""
    return {
        "form": form,
        "hour": DeliveryHours(settings).describe_hour(form.time_zone) if form.time_zone else "",
        "time_zones": time_zone_choices() if form.time_zone else {},
        "pause_choices": sorted({*PAUSE_CHOICES, form.days}),
        "is_open": settings.has_shared_state,
        "on_laptop": settings.gateway == "console",
    }
