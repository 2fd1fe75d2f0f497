"""What a query says, read strictly: an empty parameter, as a form sends for a field left empty, counts as not sent."""

import falcon

from quoteapi.quotes import MAX_NAME_LENGTH
from quoteapi.search import LONGEST_SEARCH, Filters

DIGITS = 9
"""So many fit into what a database takes for a number."""


def filters_asked_for(req: falcon.Request, *names: str) -> Filters:
    """Read those filters of a query that have a meaning here. Raises `falcon.HTTPBadRequest`."""
    return Filters(
        category=_name(req, "category") if "category" in names else None,
        author=_name(req, "author") if "author" in names else None,
        max_length=number(req, "max_length") if "max_length" in names else None,
        min_length=number(req, "min_length") if "min_length" in names else None,
        words=_words(req) if "q" in names else None,
    )


def number(req: falcon.Request, name: str) -> int | None:
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
