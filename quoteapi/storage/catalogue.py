"""Queries of the catalogue: quotes, authors and categories."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

from peewee import EXCLUDED

from quoteapi.quotes.quotation import Quotation
from quoteapi.storage import database
from quoteapi.storage.database import table_lock
from quoteapi.storage.full_text_search import Filters, _index, _matching, comparison_key, filter_quotes, search_tokens
from quoteapi.storage.models import Author, Category, Quote
from quoteapi.storage.models import database as bound

COUNT_LIMIT = 100
"""Up to so many are counted exactly; to count on would cost the more, the more there are."""
_COLUMNS = (Quote.id, Quote.quote, Quote.author, Quote.category, Quote.source)


class Total(NamedTuple):
    """How many there are."""

    value: int
    is_exact: bool
    """Where it is not, there are more than `value`."""


def list_quotes(filters: Filters, limit: int, before: int | None = None) -> list[Quote]:
    """Answer up to `limit` quotes that fit, the newest first, of those whose ids are smaller than `before`."""
    rows, key = filter_quotes(Quote.select(*_COLUMNS), filters)
    if before is not None:
        rows = rows.where(key < before)
    return list(rows.order_by(key.desc()).limit(limit))


def count_quotes(filters: Filters) -> Total:
    """Count the quotes that fit."""
    asked = {name for name, value in filters._asdict().items() if value is not None}
    if asked == {"author"}:
        return Total(_counted(Author, filters.author), is_exact=True)
    if asked == {"category"}:
        return Total(_counted(Category, filters.category), is_exact=True)
    if not asked:
        return Total(catalogue_size(), is_exact=True)
    if database.is_sqlite() and filters.min_length is None and filters.max_length is None:  # the index alone will do
        return count_up_to(_index.select(_index.rowid).where(_matching(filters)).bind(bound))
    return count_up_to(filter_quotes(Quote.select(Quote.id), filters)[0])


def count_up_to(rows: Any, most: int | None = None) -> Total:  # noqa: ANN401 queries of models and tables are no kin
    """Count rows, as far as is worth it."""
    most = most or COUNT_LIMIT
    counted = rows.limit(most + 1).count()
    return Total(min(counted, most), counted <= most)


def catalogue_size() -> int:
    """Answer how many quotes there are: the highest id, since ids are given in order and quotes are not taken out."""
    return Quote.select(Quote.id).order_by(Quote.id.desc()).limit(1).scalar() or 0


def list_names(table: type[Author | Category], limit: int, after: str = "") -> list[Author | Category]:
    """Answer up to `limit` authors or categories with their quotes, in the order of their keys, from `after` on."""
    return list(table.select().where(table.key > after).order_by(table.key).limit(limit))


def _counted(table: type[Author | Category], name: str | None) -> int:
    return table.select(table.quotes).where(table.key == comparison_key(name or "")).scalar() or 0


def quote_row(quotation: Quotation, created_at: datetime) -> dict[str, Any]:
    """Answer the columns of a quotation as `Quote` stores it."""
    digest = _fingerprint(quotation)
    return {
        **quotation._asdict(),
        "created_at": created_at,
        "fingerprint": digest.hex(),
        "shuffle": int.from_bytes(digest[:8]) >> 1,
        "length": len(quotation.quote),
        "author_key": comparison_key(quotation.author),
        "category_key": comparison_key(quotation.category),
        "words": search_tokens(quotation),
    }


def _fingerprint(quotation: Quotation) -> bytes:
    """Answer what tells quotations apart: text and author."""
    told = f"{comparison_key(quotation.quote)}|{comparison_key(quotation.author)}"
    return hashlib.blake2b(told.encode(), digest_size=16).digest()


def find_quote_id(quotation: Quotation) -> int | None:
    """Answer the id under which a quotation is stored; None where it is not."""
    known = Quote.select(Quote.id).where(Quote.fingerprint == _fingerprint(quotation).hex())
    return cast("int | None", known.scalar())


def store_quotation(quotation: Quotation, now: datetime) -> tuple[int, bool]:
    """Store a quotation once. Answer its id, and whether it is new."""
    if (known := find_quote_id(quotation)) is not None:
        return known, False
    row = quote_row(quotation, now)
    new = _store({row["fingerprint"]: row}) == 1
    return cast("int", find_quote_id(quotation)), new


def store_quotations(quotations: Iterable[Quotation], now: datetime) -> int:
    """Store quotations, those that are there already aside, in the order given. Answer how many are new."""
    rows: dict[str, dict[str, Any]] = {}
    for row in (quote_row(quotation, now) for quotation in quotations):
        rows.setdefault(row["fingerprint"], row)
    return _store(rows)


def _store(rows: dict[str, dict[str, Any]]) -> int:
    """Store rows by their fingerprints. Answer how many are new."""
    with table_lock(Quote):
        for known in Quote.select(Quote.fingerprint).where(Quote.fingerprint.in_(list(rows))):
            del rows[known.fingerprint]
        if not rows:
            return 0
        # A clock that is set back must not put a quote among those that earlier days were chosen from.
        newest = Quote.select(Quote.created_at).order_by(Quote.created_at.desc()).limit(1).scalar()
        for quote_id, row in enumerate(rows.values(), catalogue_size() + 1):
            row["id"] = quote_id
            if newest is not None and row["created_at"] <= newest:
                row["created_at"] = newest + timedelta(microseconds=1)
        insert_quotes(list(rows.values()))
        return len(rows)


def insert_quotes(rows: list[dict[str, Any]]) -> None:
    """Insert rows that are new, with their ids, and count them. Whoever calls is alone with the table."""
    Quote.insert_many(rows).execute()
    for table, key, name in ((Author, "author_key", "author"), (Category, "category_key", "category")):
        counts = Counter(row[key] for row in rows)
        names = {row[key]: row[name] for row in reversed(rows)}
        counted = table.insert_many([{"key": key, "name": names[key], "quotes": counts[key]} for key in counts])
        added = {"quotes": table.quotes + EXCLUDED.quotes}
        counted.on_conflict(conflict_target=[table.key], update=added).execute()
