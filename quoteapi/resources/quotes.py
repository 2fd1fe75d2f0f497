"""`/daily`, `/random`, `/quote` and `/`."""

import hashlib
import json
import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

import falcon

from quoteapi.clock import Clock, seconds_to_midnight
from quoteapi.quotes import Quotation, SteadyQuotes
from quoteapi.resources.parameters import filters_asked_for
from quoteapi.search import Filters

REMEMBERED_DATES = 64
REMEMBERED_BODIES = 1_024
UNSURE_SECONDS = 10
"""How long caches keep what was answered while the database was away."""

_encode = json.JSONEncoder(ensure_ascii=False).encode
_SECOND = timedelta(seconds=1)
_NEVER = datetime.min.replace(tzinfo=UTC), None
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class Answer(NamedTuple):
    """An answer at a moment: its body, and the headers that go with it."""

    body: bytes
    headers: list[tuple[str, str]]


class Daily:
    """The quote of a date, as bytes that are made once."""

    def __init__(self, quotes: SteadyQuotes, clock: Clock) -> None:
        self._quotes = quotes
        self._clock = clock
        self._known: dict[date, Rendered] = {}
        self._this_second: tuple[datetime, Answer | None] = _NEVER

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the quote of today or of `?date=`, to be kept by caches until midnight UTC."""
        now = self._clock()
        answer_until_midnight(req, resp, self._rendered(_date_asked_for(req) or now.date()), now)

    on_head = on_get

    def known_for_today(self, now: datetime) -> Answer | None:
        """Answer today's quote if it was asked for before; what it takes to find out is left to `on_get`.

        The answer is the same for all of a second, which its `max-age` counts.
        """
        second, answer = self._this_second
        if not second <= now < second + _SECOND:
            rendered = self._known.get(now.date())
            answer = _whole(rendered, now) if rendered is not None else None
            self._this_second = now.replace(microsecond=0), answer
        return answer

    def _rendered(self, day: date) -> "Rendered":
        rendered = self._known.get(day)
        if rendered is None:
            quotation, is_sure = self._quotes.of_date(day)
            rendered = Rendered.of(_body(quotation), is_sure)
            if not rendered.is_sure:
                return rendered
            if len(self._known) >= REMEMBERED_DATES:
                self._known.clear()
            self._known[day] = rendered
            self._this_second = _NEVER
        return rendered


class Random:
    """Another quote each time."""

    def __init__(self, quotes: SteadyQuotes) -> None:
        self._quotes = quotes

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer a random quote, narrowed by `?category=`, `?author=` and `?max_length=`."""
        filters = filters_asked_for(req, "category", "author", "max_length") if req.query_string else Filters()
        quotation = self._quotes.random(filters)
        resp.set_header("Cache-Control", "no-store")
        resp.data = _body(quotation)

    on_head = on_get


class EitherQuote:
    """The quote of the day or a random one, by `?type=`."""

    def __init__(self, daily: Daily, random: Random) -> None:
        self._by_type: dict[str, Daily | Random] = {"daily": daily, "random": random}

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer as the resource of that type does; without a type, the quote of the day."""
        resource = self._by_type.get(req.get_param("type", default="daily"))
        if resource is None:
            raise falcon.HTTPBadRequest(
                title="Invalid Quote type", description="Supported types are 'daily' or 'random'."
            )
        resource.on_get(req, resp)

    on_head = on_get


class Rendered(NamedTuple):
    """What is answered all day; where it is not sure, the database was away."""

    body: bytes
    etag: str
    is_sure: bool

    @classmethod
    def of(cls, body: bytes, is_sure: bool) -> "Rendered":
        """Make one of a body."""
        return cls(body, f'"{hashlib.blake2b(body, digest_size=8).hexdigest()}"', is_sure)


def answer_until_midnight(  # noqa: PLR0913
    req: falcon.Request,
    resp: falcon.Response,
    rendered: Rendered,
    now: datetime,
    *,
    media_type: str = falcon.MEDIA_JSON,
    scope: str = "public",
) -> None:
    """Answer what caches may keep until midnight UTC, or that it is what the client has.

    A `scope` of `private` leaves it to the client's own cache.
    """
    resp.set_headers(_caching(rendered, now, scope))
    if _is_known(req, rendered.etag):
        resp.status = falcon.HTTP_304
    else:
        resp.data = rendered.body
        resp.content_type = media_type


def _caching(rendered: Rendered, now: datetime, scope: str = "public") -> list[tuple[str, str]]:
    seconds = seconds_to_midnight(now) if rendered.is_sure else min(UNSURE_SECONDS, seconds_to_midnight(now))
    return [("etag", rendered.etag), ("cache-control", f"{scope}, max-age={seconds}")]


def _whole(rendered: Rendered, now: datetime) -> Answer:
    of_the_body = [("content-length", str(len(rendered.body))), ("content-type", "application/json")]
    return Answer(rendered.body, _caching(rendered, now) + of_the_body)


@lru_cache(REMEMBERED_BODIES)
def _body(quotation: Quotation) -> bytes:
    shown = {"quote": quotation.quote, "author": quotation.author, "category": quotation.category}
    return f"{_encode(shown)}\n".encode()


def _is_known(req: falcon.Request, etag: str) -> bool:
    asked = req.if_none_match
    return asked is not None and any(known in {"*", etag.strip('"')} for known in asked)


def date_of(text: str) -> date:
    """Read a date, strictly of the form YYYY-MM-DD: Python itself would take 20261122 and 2026-W47-7 too.

    Raises `ValueError`.
    """
    return date.fromisoformat(text if _DATE.fullmatch(text) else "")


def _date_asked_for(req: falcon.Request) -> date | None:
    text = req.get_param("date")
    if text is None:
        return None
    try:
        return date_of(text)
    except ValueError as error:
        raise falcon.HTTPBadRequest(
            title="Invalid date", description="Send the date as YYYY-MM-DD, for example ?date=2026-11-22."
        ) from error
