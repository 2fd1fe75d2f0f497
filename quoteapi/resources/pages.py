"""Pages for people: the quote of the day and of a date, one quote, another one; and the files that pages load."""

import hashlib
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import falcon
from peewee import DatabaseError, InterfaceError

from quoteapi.clock import Clock, seconds_to_midnight
from quoteapi.config import Settings
from quoteapi.phone import RIGHT_FORM, spaced
from quoteapi.quotes import DateToCome, Quotation, SteadyQuotes, id_of
from quoteapi.resources.addresses import home_of, own_address
from quoteapi.resources.quotes import Random, date_of
from quoteapi.search import Filters
from quoteapi.sms import Purpose
from quoteapi.templates import render

ASSETS = Path(__file__).parent.parent / "assets"
KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

PAGE_SECONDS = 300
"""How long caches keep a page, which is less than the quote of the day lasts: a new release shows soon."""
ASSET_SECONDS = 31_536_000
"""Pages name what they load with a digest of it."""
LONGEST_ACCEPT = 1_000
"""No browser says more. Falcon keeps what it read of a hundred of them, at forty times their size."""
SIZES = ((220, "in-small"), (120, "in-text"), (50, "in-large"), (0, "in-display"))
"""From how many characters on a quote is set how."""

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

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # an address may have a number in it; and with none, forms would name no origin
}


# ---- what every page has


def prefers_page(req: falcon.Request, resp: falcon.Response) -> bool:
    """Whether a client would rather have a page than JSON: browsers say so, curl and programs do not.

    The answer's `Vary` says that this was asked.
    """
    if "Accept" not in (resp.get_header("Vary") or ""):
        resp.append_header("Vary", "Accept")
    if len(req.accept) > LONGEST_ACCEPT:
        return False
    return req.client_prefers((falcon.MEDIA_JSON, falcon.MEDIA_HTML)) == falcon.MEDIA_HTML


def answer_page(
    req: falcon.Request, resp: falcon.Response, settings: Settings, template: str, max_age: int, **values: object
) -> None:
    """Answer a page from a template, which caches may keep for so many seconds."""
    send_page(resp, render_page(template, home_of(req, settings), **values), max_age)


def render_page(template: str, home: str, **values: object) -> str:
    """Fill a page's template. `home` is what every link begins with."""
    return render(template, home=home, version=_version(), **values)


def send_page(resp: falcon.Response, page: str, max_age: int) -> None:
    """Answer a page that is filled, which caches may keep for so many seconds."""
    resp.text = page
    resp.content_type = falcon.MEDIA_HTML
    resp.set_headers(PAGE_HEADERS)
    resp.set_header("Cache-Control", f"public, max-age={max_age}" if max_age else "no-store")


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


# ---- quotes


class Turn(NamedTuple):
    """Where another day's quote is, and what it is called there."""

    path: str
    name: str


class Home:
    """The page of today's quote; to programs, which do not prefer a page, a random quote."""

    def __init__(self, quotes: SteadyQuotes, random: Random, settings: Settings, clock: Clock) -> None:
        self._days = _Days(quotes, settings, clock)
        self._random = random

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer as the client would have it."""
        if prefers_page(req, resp):
            self._days.answer(req, resp)
        else:
            self._random.on_get(req, resp)

    on_head = on_get


class Day:
    """The page of a date's quote."""

    def __init__(self, quotes: SteadyQuotes, settings: Settings, clock: Clock) -> None:
        self._days = _Days(quotes, settings, clock)

    def on_get(self, req: falcon.Request, resp: falcon.Response, day: str) -> None:
        """Answer the page."""
        try:
            asked_for = date_of(day)
        except ValueError as error:
            raise falcon.HTTPNotFound(
                title="No such day", description="An address of a day ends with its date, as in /days/2026-11-22."
            ) from error
        try:
            self._days.answer(req, resp, asked_for)
        except DateToCome as error:
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
    def __init__(self, quotes: SteadyQuotes, settings: Settings, clock: Clock) -> None:
        self._quotes = quotes
        self._settings = settings
        self._clock = clock
        self._today: tuple[date, _Shown] | None = None

    def answer(self, req: falcon.Request, resp: falcon.Response, day: date | None = None) -> None:
        """Answer the page of a date's quote, or of today's. Raises `DateToCome`."""
        now = self._clock()
        today = now.date()
        shown = self._of_date(day or today, today)
        seconds = min(PAGE_SECONDS, seconds_to_midnight(now)) if shown.is_sure else 0
        path = f"/days/{day}" if day is not None else "/"
        about = {"day": day or today, **_neighbours(day or today, today)}
        answer_quote(req, resp, self._settings, shown.quotation, shown.quote_id, seconds, path, **about)

    def _of_date(self, day: date, today: date) -> _Shown:
        """Answer the quote of a date; today's is kept, as most people ask for that."""
        if self._today is not None and self._today[0] == day:
            return self._today[1]
        quotation, is_sure = self._quotes.of_date(day)
        shown = _Shown(quotation, _id_or_none(quotation) if is_sure else None, is_sure)
        if day == today and is_sure:
            self._today = day, shown
        return shown


class Another:
    """Leads to the page of a random quote."""

    def __init__(self, quotes: SteadyQuotes, settings: Settings) -> None:
        self._quotes = quotes
        self._settings = settings

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer where it is; a quote that has no page of its own is shown at once."""
        quotation = self._quotes.random(Filters())
        quote_id = _id_or_none(quotation)
        if quote_id is None:
            answer_quote(req, resp, self._settings, quotation, None, 0, "/another")
            return
        resp.status = falcon.HTTP_303
        resp.location = f"{home_of(req, self._settings)}/quotes/{quote_id}"
        resp.set_header("Cache-Control", "no-store")

    on_head = on_get


def answer_quote(  # noqa: PLR0913, PLR0917 what such a page consists of
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
    base = own_address(req, settings)
    about = {"day": None, "date": "", "earlier": None, "later": Turn("/", "Today"), **about_the_day}
    answer_page(
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
        **_of_form(settings, Form("subscribe")),
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
        return id_of(quotation)
    except (DatabaseError, InterfaceError):  # it is away: there is no page of this quote just now
        return None


# ---- what pages load


class Assets:
    """The files that pages load, as they are."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        """Answer a file."""
        content = _assets().get(name)
        if content is None:
            raise falcon.HTTPRouteNotFound
        resp.data = content
        resp.content_type = KINDS[Path(name).suffix]
        # Under the name of another release it is another file, which nobody should keep for long under that name.
        is_named = req.get_param("v") == _version()
        keep = f"max-age={ASSET_SECONDS}, immutable" if is_named else f"max-age={PAGE_SECONDS}"
        resp.set_header("Cache-Control", f"public, {keep}")

    on_head = on_get


@lru_cache(maxsize=1)
def _assets() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(ASSETS.iterdir()) if path.suffix in KINDS}


@lru_cache(maxsize=1)
def _version() -> str:
    return hashlib.blake2b(b"".join(_assets().values()), digest_size=6).hexdigest()
