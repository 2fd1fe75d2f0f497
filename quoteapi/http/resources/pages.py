"""Pages for people: the quote of the day and of a date, one quote, another one; and the files that pages load."""

from datetime import date, timedelta
from typing import NamedTuple

import falcon
from peewee import DatabaseError, InterfaceError

from quoteapi.clock import Clock, seconds_until_midnight
from quoteapi.http.html import PAGE_SECONDS, prefers_html, respond_with_page
from quoteapi.http.parameters import parse_date
from quoteapi.http.resources.quotes import RandomQuote
from quoteapi.http.subscription_form import SubscriptionForm, form_values
from quoteapi.http.urls import link_prefix, public_base_url
from quoteapi.quotes.errors import FutureDate
from quoteapi.quotes.fallback import QuotesWithFallback
from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import Settings
from quoteapi.storage.catalogue import find_quote_id
from quoteapi.storage.full_text_search import Filters

SIZES = ((220, "in-small"), (120, "in-text"), (50, "in-large"), (0, "in-display"))
"""From how many characters on a quote is set how."""


class Turn(NamedTuple):
    """Where another day's quote is, and what it is called there."""

    path: str
    name: str


class HomePage:
    """The page of today's quote; to programs, which do not prefer a page, a random quote."""

    def __init__(self, quotes: QuotesWithFallback, random: RandomQuote, settings: Settings, clock: Clock) -> None:
        self._days = _Days(quotes, settings, clock)
        self._random = random

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer as the client would have it."""
        if prefers_html(req, resp):
            self._days.answer(req, resp)
        else:
            self._random.on_get(req, resp)

    on_head = on_get


class DayPage:
    """The page of a date's quote."""

    def __init__(self, quotes: QuotesWithFallback, settings: Settings, clock: Clock) -> None:
        self._days = _Days(quotes, settings, clock)

    def on_get(self, req: falcon.Request, resp: falcon.Response, day: str) -> None:
        """Answer the page."""
        try:
            asked_for = parse_date(day)
        except ValueError as error:
            raise falcon.HTTPNotFound(
                title="No such day", description="An address of a day ends with its date, as in /days/2026-11-22."
            ) from error
        try:
            self._days.answer(req, resp, asked_for)
        except FutureDate as error:
            raise falcon.HTTPNotFound(
                title="Not decided yet",
                description="The quote of this day is not decided yet. Days begin at midnight UTC.",
            ) from error

    on_head = on_get


class _Shown(NamedTuple):
    """A quote with its id, where it has one; and whether both are sure, or the database is away."""

    quotation: Quotation
    quote_id: int | None
    is_sure: bool


class _Days:
    def __init__(self, quotes: QuotesWithFallback, settings: Settings, clock: Clock) -> None:
        self._quotes = quotes
        self._settings = settings
        self._clock = clock
        self._today: tuple[date, _Shown] | None = None

    def answer(self, req: falcon.Request, resp: falcon.Response, day: date | None = None) -> None:
        """Answer the page of a date's quote, or of today's. Raises `FutureDate`."""
        now = self._clock()
        today = now.date()
        shown = self._of_date(day or today, today)
        seconds = min(PAGE_SECONDS, seconds_until_midnight(now)) if shown.is_sure else 0
        path = f"/days/{day}" if day is not None else "/"
        about = {"day": day or today, **_neighbours(day or today, today)}
        respond_with_quote_page(req, resp, self._settings, shown.quotation, shown.quote_id, seconds, path, **about)

    def _of_date(self, day: date, today: date) -> _Shown:
        """Answer the quote of a date; today's is kept, as most people ask for that."""
        if self._today is not None and self._today[0] == day:
            return self._today[1]
        quotation, is_sure = self._quotes.quote_of_date(day)
        shown = _Shown(quotation, _id_or_none(quotation) if is_sure else None, is_sure)
        if day == today and is_sure:
            self._today = day, shown
        return shown


class AnotherQuote:
    """Leads to the page of a random quote."""

    def __init__(self, quotes: QuotesWithFallback, settings: Settings) -> None:
        self._quotes = quotes
        self._settings = settings

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer where it is; a quote that has no page of its own is shown at once."""
        quotation = self._quotes.random_quote(Filters())
        quote_id = _id_or_none(quotation)
        if quote_id is None:
            respond_with_quote_page(req, resp, self._settings, quotation, None, 0, "/another")
            return
        resp.status = falcon.HTTP_303
        resp.location = f"{link_prefix(req, self._settings)}/quotes/{quote_id}"
        resp.set_header("Cache-Control", "no-store")

    on_head = on_get


def respond_with_quote_page(  # noqa: PLR0913, PLR0917 what such a page consists of
    req: falcon.Request,
    resp: falcon.Response,
    settings: Settings,
    quotation: Quotation,
    quote_id: int | None,
    max_age: int,
    path: str,
    **about_the_day: object,
) -> None:
    """Answer the page of a quote, which has no id where it is not stored. `path` is where it is."""
    base = public_base_url(req, settings)
    about = {"day": None, "date": "", "earlier": None, "later": Turn("/", "Today"), **about_the_day}
    respond_with_page(
        req,
        resp,
        settings,
        "quote.html",
        max_age,
        quotation=quotation,
        quote_id=quote_id,
        size=next(size for length, size in SIZES if len(quotation.quote) >= length),
        base=base if base.startswith("http") else None,
        path=path,
        **about,
        **form_values(settings, SubscriptionForm("subscribe")),
    )


def _neighbours(day: date, today: date) -> dict[str, object]:
    """Answer how a date is written, and where the days before and after it are."""
    earlier = Turn(f"/days/{day - timedelta(days=1)}", _short(day - timedelta(days=1))) if day > date.min else None
    later = None
    if day < today:
        following = day + timedelta(days=1)
        later = Turn(f"/days/{following}", _short(following)) if following < today else Turn("/", "Today")
    return {"date": f"{day:%A}, {_short(day)} {day.year}", "earlier": earlier, "later": later}


def _short(day: date) -> str:
    return f"{day.day} {day:%B}"


def _id_or_none(quotation: Quotation) -> int | None:
    try:
        return find_quote_id(quotation)
    except (DatabaseError, InterfaceError):  # it is away: there is no page of this quote just now
        return None
