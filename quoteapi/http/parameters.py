"""What a query says, read strictly: an empty parameter, as a form sends for a field left empty, counts as not sent."""

import re
from datetime import date

import falcon

from quoteapi.quotes.quotation import MAX_NAME_LENGTH
from quoteapi.storage.full_text_search import LONGEST_SEARCH, Filters
from quoteapi.storage.models import Quote

DIGITS = 9
"""So many fit into what a database takes for a number."""


def parse_filters(req: falcon.Request, *names: str) -> Filters:
    """Read those filters of a query that have a meaning here. Raises `falcon.HTTPBadRequest`."""
    return Filters(
        category=_name(req, "category") if "category" in names else None,
        author=_name(req, "author") if "author" in names else None,
        max_length=parse_positive_integer(req, "max_length") if "max_length" in names else None,
        min_length=parse_positive_integer(req, "min_length") if "min_length" in names else None,
        words=_words(req) if "q" in names else None,
    )


def parse_positive_integer(req: falcon.Request, name: str) -> int | None:
    """Read a number of 1 or more; one too large for a database counts as the largest."""
    text = req.get_param(name) or None
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and text.strip("0")):
        raise falcon.HTTPBadRequest(
            title=f"Invalid {name}",
            description=f"Send the number of characters, 1 or more, for example ?{name}=120."
            if name.endswith("length")
            else f"Send a whole number, 1 or more, for example ?{name}=20.",
        )
    digits = text.lstrip("0")
    return int(digits) if len(digits) <= DIGITS else 10**DIGITS


def _name(req: falcon.Request, name: str) -> str | None:
    value = req.get_param(name) or None
    if value is not None and len(value) > 2 * MAX_NAME_LENGTH:
        raise falcon.HTTPBadRequest(
            title=f"Invalid {name}", description=f"No {name} has more than {MAX_NAME_LENGTH} characters."
        )
    return value


def _words(req: falcon.Request) -> str | None:
    value = req.get_param("q") or None
    if value is not None and len(value) > LONGEST_SEARCH:
        raise falcon.HTTPBadRequest(
            title="Invalid q", description=f"Send at most {LONGEST_SEARCH} characters, for example ?q=rocks+mountains."
        )
    return value


_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def parse_date(text: str) -> date:
    """Read a date, strictly of the form YYYY-MM-DD: Python itself would take 20261122 and 2026-W47-7 too.

    Raises `ValueError`.
    """
    return date.fromisoformat(text if _DATE.fullmatch(text) else "")


def date_parameter(req: falcon.Request) -> date | None:
    text = req.get_param("date")
    if text is None:
        return None
    try:
        return parse_date(text)
    except ValueError as error:
        raise falcon.HTTPBadRequest(
            title="Invalid date", description="Send the date as YYYY-MM-DD, for example ?date=2026-11-22."
        ) from error


MOST_DIGITS = 9


def get_quote(quote_id: str) -> Quote:
    """Answer the quote with the id that an address has. Raises `falcon.HTTPNotFound`."""
    known = re.fullmatch(rf"[1-9]\d{{0,{MOST_DIGITS - 1}}}", quote_id, re.ASCII)
    row: Quote | None = Quote.get_or_none(Quote.id == int(quote_id)) if known else None
    if row is None:
        raise falcon.HTTPNotFound(
            title="No quote found", description="No quote has this id. GET /quotes lists them with their ids."
        )
    return row
