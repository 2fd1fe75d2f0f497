"""Queries of the catalogue: quotes, authors and categories."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

from peewee import EXCLUDED, Select, Value, fn

from quoteapi.clock import start_of_day
from quoteapi.storage import full_text_search
from quoteapi.storage.database import iterate_in_batches
from quoteapi.storage.full_text_search import Filters, comparison_key, search_tokens
from quoteapi.storage.models import Author, Category, Quote
from quoteapi.storage.models import database as bound
from quoteapi.time_zones import last_begun_date

LENGTH_RANGES = 64, 8, 1
"""The sizes of the ranges that `shortest_length` searches, eight at a time: the index has a token for each range."""
COUNT_LIMIT = 100
"""Quotes are counted exactly up to this number, which bounds the cost of counting."""
QUOTATION_COLUMNS = (Quote.quote, Quote.author, Quote.category, Quote.source)


class Quotation(NamedTuple):
    """A quote with its author, category and, if known, source."""

    quote: str
    author: str
    category: str
    source: str = ""

    @property
    def lines(self) -> list[str]:
        """The lines of a verse, which are separated by " / "; prose is one line."""
        return self.quote.split(" / ")


class Total(NamedTuple):
    """A count of rows, exact or a lower bound."""

    value: int
    is_exact: bool
    """If false, there are more than `value`."""


def list_quotes(filters: Filters, limit: int, before: int | None = None) -> list[Quote]:
    """Return up to `limit` quotes that match, the newest first, with ids smaller than `before`."""
    rows, key = full_text_search.filter_quotes(Quote.select(Quote.id, *QUOTATION_COLUMNS), filters)
    if before is not None:
        rows = rows.where(key < before)
    return list(rows.order_by(key.desc()).limit(limit))


def iterate_quotations() -> Iterator[Quotation]:
    """Yield all quotations in the order of their ids, in constant memory."""
    for row in iterate_in_batches(Quote.select(Quote.id, *QUOTATION_COLUMNS)):
        yield Quotation(row.quote, row.author, row.category, row.source)


def list_and_count_quotes(filters: Filters, limit: int) -> tuple[list[Quote], Total]:
    """Return up to `limit` quotes that match, the newest first, and how many match in all.

    `limit` is at most `COUNT_LIMIT` + 1. Above `COUNT_LIMIT`, the total may be a lower bound. One search finds both: if
    few match, it reads all that the index has of its words.
    """
    total = _stored_count(filters)
    if total is not None:
        return list_quotes(filters, limit), Total(total, is_exact=True)
    newest: Any = full_text_search.matching_ids(filters).limit(COUNT_LIMIT + 1).tuples()
    ids = [quote_id for (quote_id,) in newest]
    rows = Quote.select(Quote.id, *QUOTATION_COLUMNS).where(Quote.id.in_(ids[:limit])).order_by(Quote.id.desc())
    return list(rows), Total(min(len(ids), COUNT_LIMIT), len(ids) <= COUNT_LIMIT)


def _stored_count(filters: Filters) -> int | None:
    """Return how many quotes match if that needs no search: all quotes, or those of an author or of a category."""
    names = {name for name, value in filters._asdict().items() if value is not None}
    for name, table in (("author", Author), ("category", Category)):
        if names == {name}:
            of_name = table.select(table.quotes).where(table.key == comparison_key(getattr(filters, name)))
            return of_name.scalar() or 0
    return None if names else catalogue_size()


def count_up_to(rows: Any, limit: int) -> Total:  # noqa: ANN401 queries of models and tables differ in type
    """Count the rows of a query, at most `limit` of them."""
    counted = rows.limit(limit + 1).count()
    return Total(min(counted, limit), counted <= limit)


def catalogue_size() -> int:
    """Return the highest id, which is the number of quotes unless an operator deleted some."""
    return Quote.select(Quote.id).order_by(Quote.id.desc()).limit(1).scalar() or 0


def catalogue_size_before(moment: datetime) -> int:
    """Return how many quotes (at least one) were added before a moment: `created_at` rises with the id."""
    earlier = Quote.select(Quote.id).where(Quote.created_at < moment)
    return int(earlier.order_by(Quote.created_at.desc(), Quote.id.desc()).limit(1).scalar())


def first_created_at(since: datetime) -> datetime | None:
    """Return the `created_at` of the first quote added at a moment or later; None if there is none."""
    rows = Quote.select(Quote.created_at).where(Quote.created_at >= since)
    return cast("datetime | None", rows.order_by(Quote.created_at).limit(1).scalar())


def list_names(table: type[Author | Category], limit: int, after: str = "") -> list[Author | Category]:
    """Return up to `limit` authors or categories with keys greater than `after`, ordered by key."""
    return list(table.select().where(table.key > after).order_by(table.key).limit(limit))


def quotes_with_ids(ids: Iterable[int]) -> dict[int, Quotation]:
    """Return the quotes with these ids, without those that do not exist."""
    rows: Any = Quote.select(Quote.id, *QUOTATION_COLUMNS).where(Quote.id.in_(set(ids))).tuples()
    return {quote_id: Quotation(*columns) for quote_id, *columns in rows}


def quote_at_or_after(quote_id: int) -> Quotation | None:
    """Return the quote with an id, else that with the next higher id, else the first, else None."""
    rows: Any = Quote.select(*QUOTATION_COLUMNS).order_by(Quote.id).limit(1).objects(Quotation)
    return cast("Quotation | None", rows.where(Quote.id >= quote_id).first() or rows.first())


def random_quotes(filters: Filters, pivot: int, limit: int) -> list[Quotation]:
    """Return up to `limit` quotes that match, starting at a random place and wrapping around.

    Supports the filters `category`, `author` and `max_length`. `pivot` is a random number of 63 bits. One statement
    reads an index from there, so the cost does not grow with the catalogue. The index is that of `shuffle` or, with
    `max_length`, the search index, which is in the order of ids.
    """
    start_key: Any = pivot
    if filters.max_length is None:
        matching, key = full_text_search.filter_by_name(Quote.select(*QUOTATION_COLUMNS), filters), Quote.shuffle
    else:
        matching, key = full_text_search.filter_quotes(Quote.select(*QUOTATION_COLUMNS), filters)
        start_key = Quote.select(fn.COALESCE(fn.MAX(Quote.id).cast("BIGINT"), 0) * (pivot >> 32) / 2**31)
    from_start_key, wrapped_around = (
        Select([part], [getattr(part.c, column.name) for column in QUOTATION_COLUMNS])
        for condition in (key >= start_key, key < start_key)
        for part in [matching.where(condition).order_by(key).limit(limit).alias("part")]
    )
    return [Quotation(*row) for row in bound.execute((from_start_key + wrapped_around).limit(limit)).fetchall()]


def shortest_length(filters: Filters) -> int | None:
    """Return the length of the shortest quote that matches the filters except those of length; None if none does.

    Each of at most three statements finds which of eight ranges has it, by the search index. Unlike `MIN`, none reads
    more than a few rows.
    """
    shortest = 0
    for size in LENGTH_RANGES:
        starts = range(shortest, shortest + 8 * size, size)
        ranges = [(start, filters._replace(min_length=start, max_length=start + size - 1)) for start in starts]
        found = [full_text_search.filter_quotes(Quote.select(Value(start)), one)[0].limit(1) for start, one in ranges]
        (row,) = bound.execute(Select(columns=[fn.COALESCE(*found)])).fetchall()
        if row[0] is None:
            return None
        shortest = row[0]
    return shortest


def quote_row(quotation: Quotation, created_at: datetime) -> dict[str, Any]:
    """Return the columns of a quotation as `Quote` stores them, except the id."""
    digest = fingerprint(quotation)
    return {
        **quotation._asdict(),
        "created_at": created_at,
        "fingerprint": digest.hex(),
        "shuffle": int.from_bytes(digest[:8]) >> 1,
        "length": len(quotation.quote),
        "author_key": comparison_key(quotation.author),
        "category_key": comparison_key(quotation.category),
        "words": search_tokens(*quotation),
    }


def fingerprint(quotation: Quotation) -> bytes:
    """Return a digest of text and author, by which duplicates are found."""
    identity = f"{comparison_key(quotation.quote)}|{comparison_key(quotation.author)}"
    return hashlib.blake2b(identity.encode(), digest_size=16).digest()


def find_quote_id(quotation: Quotation) -> int | None:
    """Return the id of a stored quotation; None if it is not stored."""
    stored = Quote.select(Quote.id).where(Quote.fingerprint == fingerprint(quotation).hex())
    return cast("int | None", stored.scalar())


def store_quotation(quotation: Quotation, now: datetime) -> tuple[int, bool]:
    """Store a quotation unless it is stored. Return its id, and whether it is new."""
    if (stored_id := find_quote_id(quotation)) is not None:
        return stored_id, False
    is_new = store_quotations([quotation], now) == 1
    return cast("int", find_quote_id(quotation)), is_new


def store_quotations(quotations: Iterable[Quotation], now: datetime) -> int:
    """Store quotations in the order given, without duplicates. Return how many are new."""
    rows: dict[str, dict[str, Any]] = {}
    for row in (quote_row(quotation, now) for quotation in quotations):
        rows.setdefault(row["fingerprint"], row)
    with bound.table_lock(Quote):
        for stored in Quote.select(Quote.fingerprint).where(Quote.fingerprint.in_(list(rows))):
            del rows[stored.fingerprint]
        if not rows:
            return 0
        newest = Quote.select(Quote.created_at).order_by(Quote.created_at.desc()).limit(1).scalar()
        created_at = now
        if newest is not None:
            # The quotes of dates that have begun somewhere may have been served, also if the clock was set back since:
            # they must not be chosen again with this quote among them.
            created_at = max(now, start_of_day(last_begun_date(now)), newest + timedelta(microseconds=1))
        numbered = enumerate(rows.values(), catalogue_size() + 1)
        insert_quotes([{**row, "id": quote_id, "created_at": created_at} for quote_id, row in numbered])
    return len(rows)


def insert_quotes(rows: list[dict[str, Any]]) -> None:
    """Insert quotes with their ids, and count them by author and category. The caller locks the table."""
    Quote.insert_many(rows).execute()
    for table, key, name in ((Author, "author_key", "author"), (Category, "category_key", "category")):
        counts = Counter(row[key] for row in rows)
        names = {row[key]: row[name] for row in reversed(rows)}
        inserted = table.insert_many([{"key": key, "name": names[key], "quotes": counts[key]} for key in counts])
        increment = {"quotes": table.quotes + EXCLUDED.quotes}
        inserted.on_conflict(conflict_target=[table.key], update=increment).execute()
