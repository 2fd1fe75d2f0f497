"""HTML pages of quotes: the quote of the day, of another date, one quote by its id, and a random one; redirects."""

from datetime import date, timedelta

import falcon

from quoteapi.clock import Clock, seconds_until_midnight
from quoteapi.http.html import PAGE_SECONDS, prefers_html, respond_with_page
from quoteapi.http.parameters import parse_date
from quoteapi.http.resources.quotes import RandomQuoteResource
from quoteapi.http.subscription_form import SubscriptionForm, form_values
from quoteapi.http.urls import link_prefix, public_base_url
from quoteapi.quotes.errors import FutureDate
from quoteapi.quotes.fallback import QuotesWithFallback
from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import Settings
from quoteapi.storage.catalogue import find_quote_id
from quoteapi.storage.database import DATABASE_ERRORS
from quoteapi.storage.full_text_search import Filters

FONT_SIZE_CLASSES = ((220, "in-small"), (120, "in-text"), (50, "in-large"), (0, "in-display"))
"""CSS classes of quotes, each with the minimum length of the quote in characters, longest first."""
LINK_TO_TODAY = {"path": "/", "label": "Today"}


class DayPage:
    """The resource `/days/{day}`: the page of a date's quote; today's quote is cached."""

    def __init__(self, quotes: QuotesWithFallback, settings: Settings, clock: Clock) -> None:
        self._quotes = quotes
        self._settings = settings
        self._clock = clock
        self._cached: tuple[date, tuple[Quotation, int | None, bool]] | None = None

    def on_get(self, req: falcon.Request, resp: falcon.Response, day: str) -> None:
        """Send the page of a date's quote. Raises `falcon.HTTPNotFound` for an invalid or a future date."""
        try:
            requested_day = parse_date(day)
        except ValueError as error:
            raise falcon.HTTPNotFound(
                title="No such day", description="Write the date as YYYY-MM-DD, as in /days/2026-11-22."
            ) from error
        try:
            self.respond(req, resp, requested_day)
        except FutureDate as error:
            raise falcon.HTTPNotFound(
                title="No quote yet",
                description="This day is in the future. Its quote appears when the day begins in UTC+14, at 10:00 UTC"
                " on the day before.",
            ) from error

    def respond(self, req: falcon.Request, resp: falcon.Response, requested_day: date | None = None) -> None:
        """Send the page of a date's quote, by default today's. Raises `FutureDate`."""
        now = self._clock()
        today = now.date()
        day = requested_day or today
        quotation, quote_id, is_authoritative = self._daily_quotation(day, today)
        max_age = min(PAGE_SECONDS, seconds_until_midnight(now)) if is_authoritative else 0
        values = {"quote_id": quote_id, **_day_navigation(day, today)}
        respond_with_quote_page(req, resp, self._settings, quotation, max_age, **values)

    def _daily_quotation(self, day: date, today: date) -> tuple[Quotation, int | None, bool]:
        """Return a date's quote, its id if known, and whether it is authoritative: not of the fallback."""
        if self._cached is not None and self._cached[0] == day:
            return self._cached[1]
        quotation, is_authoritative = self._quotes.quote_of_date(day)
        quote_id = _find_quote_id_or_none(quotation) if is_authoritative else None
        if day == today and is_authoritative:
            self._cached = day, (quotation, quote_id, is_authoritative)
        return quotation, quote_id, is_authoritative


class HomePage:
    """The resource `/`: the page of today's quote for browsers, a random quote as JSON for other clients."""

    parameters = RandomQuoteResource.parameters

    def __init__(
        self, quotes: QuotesWithFallback, random: RandomQuoteResource, settings: Settings, clock: Clock
    ) -> None:
        self._day_page = DayPage(quotes, settings, clock)
        self._random = random

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send the page of today's quote or, unless `Accept` prefers HTML, a random quote as JSON."""
        if prefers_html(req, resp):
            self._day_page.respond(req, resp)
        else:
            self._random.on_get(req, resp)


class AnotherQuote:
    """The resource `/another`: a redirect to the page of a random quote."""

    def __init__(self, quotes: QuotesWithFallback, settings: Settings) -> None:
        self._quotes = quotes
        self._settings = settings

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Redirect to the page of a random quote, or send that page if the id of the quote is not known."""
        quotation = self._quotes.random_quote(Filters())
        quote_id = _find_quote_id_or_none(quotation)
        if quote_id is None:
            respond_with_quote_page(req, resp, self._settings, quotation, max_age=0)
            return
        resp.status = falcon.HTTP_303
        resp.location = f"{link_prefix(req, self._settings)}/quotes/{quote_id}"
        resp.set_header("Cache-Control", "no-store")


class UnsubscribeLink:
    """The resource `/u`: the short link of the SMS, a redirect to the form to unsubscribe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Redirect to the form, without the query: a link that is only opened must not unsubscribe a number.

        The redirect is temporary (302), because browsers keep a permanent one (308) after the form has moved.
        """
        resp.status = falcon.HTTP_302
        resp.location = f"{link_prefix(req, self._settings)}/unsubscribe"
        resp.set_header("Cache-Control", "no-store")


def respond_with_quote_page(
    req: falcon.Request, resp: falcon.Response, settings: Settings, quotation: Quotation, max_age: int, **values: object
) -> None:
    """Send the page of a quote; `values` are its `quote_id`, if known, and a date's `_day_navigation`."""
    base_url = public_base_url(req, settings)
    values = {"quote_id": None, "day": None, "earlier": None, "later": LINK_TO_TODAY, **values}
    values |= {"quotation": quotation, "path": req.path, **form_values(settings, SubscriptionForm("subscribe"))}
    values["base"] = base_url if base_url.startswith("http") else None
    values["font_size_class"] = next(name for length, name in FONT_SIZE_CLASSES if len(quotation.quote) >= length)
    respond_with_page(req, resp, settings, "quote.html", max_age, **values)


def _day_navigation(day: date, today: date) -> dict[str, object]:
    """Return a date for templates: `day`, `date` (its text), and links or None as `earlier` and `later`."""
    earlier = _day_link(day - timedelta(days=1), today) if day > date.min else None
    later = _day_link(day + timedelta(days=1), today) if day < today else None
    return {"day": day, "date": f"{day:%A, {day.day} %B} {day.year}", "earlier": earlier, "later": later}


def _day_link(day: date, today: date) -> dict[str, str]:
    return LINK_TO_TODAY if day == today else {"path": f"/days/{day}", "label": f"{day:{day.day} %B}"}


def _find_quote_id_or_none(quotation: Quotation) -> int | None:
    try:
        return find_quote_id(quotation)
    except DATABASE_ERRORS:  # the quote is from the fallback catalogue, and has no page now
        return None
