"""Quotes: the one of a date, a random one, what may be stored, and how it is kept."""

import hashlib
import logging
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from peewee import (
    EXCLUDED,
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
    Select,
    fn,
)

from quoteapi.clock import Clock, midnight
from quoteapi.database import alone, each, hurried, shipped
from quoteapi.models import Author, Category, DailyQuote, Quote, database
from quoteapi.search import Filters, catalogue_size, comparable, found, named, words_of

MAX_QUOTE_LENGTH = 320
MAX_NAME_LENGTH = 100
MAX_SOURCE_LENGTH = 200
MOST_LETTERS = 4
"""So many letters a character may stand for on average."""

BLOCK = 256
"""How many random quotes one SQL statement fetches for the requests to come."""
POOL_LIFE = timedelta(seconds=60)
"""How long fetched quotes are given out before the catalogue is asked again, so that new ones show."""
POOL_REUSE = timedelta(seconds=1)
"""How long those that were all given out are given out again: no load asks the database more often than this."""
POOLS = 32
"""How many different filters keep fetched quotes at a time."""


EMPTY_CATALOGUE = "The catalogue has no quotes."

FAULTS = (DataError, IntegrityError, ProgrammingError)
"""Errors of a database that is there: the fault is in what it was told."""

log = logging.getLogger(__name__)


class InvalidQuote(Exception):
    """A quote that cannot be stored; the message says why."""


class NoQuoteFound(Exception):
    """No quote of the catalogue fits what was asked for."""


class DateToCome(Exception):
    """A date whose quote is not decided yet."""


class Quotation(NamedTuple):
    """A quote as it is shown: text, author and category, and its source where it is known."""

    quote: str
    author: str
    category: str
    source: str = ""

    @property
    def lines(self) -> list[str]:
        """The lines of verse, which a quote has " / " between; of prose, one."""
        return self.quote.split(" / ")


class Upstream(Protocol):
    """Where new quotes come from."""

    def fetch(self) -> Quotation | None:
        """Fetch a quote; None where none is to be had now."""


# ---- what may be stored

# Characters that nobody sees but that make texts differ or turn their order round: soft hyphen, zero width
# space, word joiner, byte order mark, and the marks of writing direction; and the two numbers of no character that XML
# refuses. (Joiners are letters' business.)
_INVISIBLE = dict.fromkeys(
    [
        *(0xAD, 0x61C, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, 0xFFFE, 0xFFFF),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    ]
)


def valid_quotation(fields: Mapping[str, object]) -> Quotation:
    """Make a quotation of `quote`, `author`, `category` and `source` (which may be left out).

    White space is evened out and invisible characters are dropped. Raises `InvalidQuote`, which names the field.
    """
    source = fields.get("source")
    return Quotation(
        _valid_text("quote", fields.get("quote"), MAX_QUOTE_LENGTH),
        _valid_text("author", fields.get("author"), MAX_NAME_LENGTH),
        _valid_text("category", fields.get("category"), MAX_NAME_LENGTH),
        _valid_text("source", "" if source is None else source, MAX_SOURCE_LENGTH, may_be_empty=True),
    )


def _valid_text(name: str, value: object, most: int, *, may_be_empty: bool = False) -> str:
    if not isinstance(value, str):
        raise InvalidQuote(f"{name} is missing" if value is None else f"{name} is not text")
    if len(value) > 10 * most:  # before any work: putting marks in order takes the square of their number
        raise InvalidQuote(f"{name} has {len(value)} characters; at most {most} fit")
    text = " ".join(unicodedata.normalize("NFC", value).translate(_INVISIBLE).split())
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        raise InvalidQuote(f"{name} has characters that are not text")
    if not (may_be_empty or comparable(text)):
        raise InvalidQuote(f"{name} is empty")
    if len(text) > most:
        raise InvalidQuote(f"{name} has {len(text)} characters; at most {most} fit")
    if len(comparable(text)) > MOST_LETTERS * most:  # more than an index of PostgreSQL takes
        raise InvalidQuote(f"{name} has characters that stand for whole words")
    return text


# ---- how it is kept


def row_of(quotation: Quotation, created_at: datetime) -> dict[str, Any]:
    """Answer the columns of a quotation as `Quote` stores it."""
    digest = _fingerprint(quotation)
    return {
        **quotation._asdict(),
        "created_at": created_at,
        "fingerprint": digest.hex(),
        "shuffle": int.from_bytes(digest[:8]) >> 1,
        "length": len(quotation.quote),
        "author_key": comparable(quotation.author),
        "category_key": comparable(quotation.category),
        "words": words_of(quotation),
    }


def _fingerprint(quotation: Quotation) -> bytes:
    """Answer what tells quotations apart: text and author."""
    told = f"{comparable(quotation.quote)}|{comparable(quotation.author)}"
    return hashlib.blake2b(told.encode(), digest_size=16).digest()


def id_of(quotation: Quotation) -> int | None:
    """Answer the id under which a quotation is stored; None where it is not."""
    known = Quote.select(Quote.id).where(Quote.fingerprint == _fingerprint(quotation).hex())
    return cast("int | None", known.scalar())


def keep(quotation: Quotation, now: datetime) -> tuple[int, bool]:
    """Store a quotation once. Answer its id, and whether it is new."""
    if (known := id_of(quotation)) is not None:
        return known, False
    row = row_of(quotation, now)
    new = _store({row["fingerprint"]: row}) == 1
    return cast("int", id_of(quotation)), new


def keep_all(quotations: Iterable[Quotation], now: datetime) -> int:
    """Store quotations, those that are there already aside, in the order given. Answer how many are new."""
    rows: dict[str, dict[str, Any]] = {}
    for row in (row_of(quotation, now) for quotation in quotations):
        rows.setdefault(row["fingerprint"], row)
    return _store(rows)


def _store(rows: dict[str, dict[str, Any]]) -> int:
    """Store rows by their fingerprints. Answer how many are new."""
    with alone(Quote):
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
        insert_all(list(rows.values()))
        return len(rows)


def insert_all(rows: list[dict[str, Any]]) -> None:
    """Insert rows that are new, with their ids, and count them. Whoever calls is alone with the table."""
    Quote.insert_many(rows).execute()
    for table, key, name in ((Author, "author_key", "author"), (Category, "category_key", "category")):
        counts = Counter(row[key] for row in rows)
        names = {row[key]: row[name] for row in reversed(rows)}
        counted = table.insert_many([{"key": key, "name": names[key], "quotes": counts[key]} for key in counts])
        added = {"quotes": table.quotes + EXCLUDED.quotes}
        counted.on_conflict(conflict_target=[table.key], update=added).execute()


def all_quotations() -> Iterator[Quotation]:
    """Answer every quote in order, one by one and in constant memory."""
    for row in each(Quote.select(Quote.id, *_COLUMNS), Quote.id):
        yield quotation_of(row)


def quotation_of(row: Quote) -> Quotation:
    """Answer the quotation that a row holds."""
    return Quotation(row.quote, row.author, row.category, row.source)


# ---- the quote of a date


def shuffled(place: int, size: int) -> int:
    """Answer where `place` (0 to `size` - 1) goes in a fixed shuffling of `size` things.

    A Feistel network over the next power of four, walked until it is inside: every place once, in constant memory. A
    few things more leave nearly all of the others where they were.
    """
    half = max(1, (size - 1).bit_length() + 1 >> 1)
    while True:
        left, right = place >> half, place & (1 << half) - 1
        for turn in range(4):
            digest = hashlib.blake2b(f"{half}/{turn}/{right}".encode(), digest_size=8).digest()
            left, right = right, left ^ int.from_bytes(digest) & (1 << half) - 1
        place = left << half | right
        if place < size:
            return place


def scheduled_id(day: date) -> int:
    """Answer the id of the quote that the catalogue gives a date, whatever was stored for it.

    The catalogue is used up in rounds: a round is a shuffling of the quotes that were there before it began, one
    a day; a quote added meanwhile waits for the next. So the answer for a date never changes when quotes are added,
    and machines with the same catalogue agree without talking. Raises `NoQuoteFound` where the catalogue is empty.
    """
    return _scheduled_ids([day])[day]


def _scheduled_ids(days: Iterable[date]) -> dict[date, int]:
    """Answer `scheduled_id` of dates, the earliest first, in no more SQL statements than for the last of them."""
    sizes = _sizes()
    start, size, holds = next(sizes)
    ids = {}
    for day in days:
        while (day - start).days >= holds:
            start, size, holds = next(sizes)
        ids[day] = shuffled((day - start).days % size, size) + 1
    return ids


def _sizes() -> Iterator[tuple[date, int, int]]:
    """Answer from which date on rounds have what size, and for how many days that is known to hold, ever further."""
    first = Quote.select(Quote.created_at).order_by(Quote.created_at).limit(1).scalar()
    if first is None:
        raise NoQuoteFound(EMPTY_CATALOGUE)
    start, counted_to = first.date(), first + timedelta(microseconds=1)
    while True:
        size = _size_before(counted_to)
        yield start, size, size
        later = Quote.select(Quote.created_at).where(Quote.created_at >= counted_to)
        growth = later.order_by(Quote.created_at).limit(1).scalar()
        last_start = date.max if growth is None else growth.date()
        holds = size * ((last_start - start).days // size + 1)
        yield start, size, holds
        start += timedelta(days=holds)
        counted_to = midnight(start)


def _size_before(moment: datetime) -> int:
    """Answer how many quotes there were at a moment: ids and moments are given in order, ids without gaps."""
    earlier = Quote.select(Quote.id).where(Quote.created_at < moment)
    return int(earlier.order_by(Quote.created_at.desc(), Quote.id.desc()).limit(1).scalar())


# ---- what is asked for


class Quotes:
    """What the entrances ask: the quote of a date, and a random one."""

    def __init__(
        self, clock: Clock, random: Random, upstream: Upstream | None = None, *, state_is_shared: bool = True
    ) -> None:
        """Ask `upstream` first, where there is one.

        Where `state_is_shared` is false, what it answers is not kept, and the quote of a date comes from the catalogue
        alone: the other machines could not know of it.
        """
        self._clock = clock
        self._random = random
        self._upstream = upstream
        self._state_is_shared = state_is_shared
        self._day_lock = threading.Lock()
        self._pools: dict[Filters, _Pool] = {}
        self._pools_lock = threading.Lock()

    def of_date(self, day: date) -> Quotation:
        """Answer the quote of a date. Today's is decided and stored by whoever asks first.

        Raises `DateToCome` for tomorrow and later, `NoQuoteFound` where the catalogue is empty.
        """
        if (stored := _stored_for([day]).get(day)) is not None:
            return stored
        today = self._clock().date()
        if day > today:
            raise DateToCome(day.isoformat())
        if day < today:  # nothing is written for it: a stranger can ask for 700,000 days
            return _quotation_from(scheduled_id(day))
        if not self._day_lock.acquire(timeout=DECIDING_SECONDS):
            raise OperationalError("another thread has been deciding for long")
        try:
            return _stored_for([day]).get(day) or self._decide(day)
        finally:
            self._day_lock.release()

    def of_days(self, last: date, count: int) -> list[tuple[date, Quotation]]:
        """Answer the quotes of `count` days, the newest first, as `of_date` does for each, in a few SQL statements.

        `last` is today or earlier. Raises as `of_date` does.
        """
        days = [last - timedelta(days=n) for n in range(count)]
        known = _stored_for(days)
        if last not in known and last >= self._clock().date():
            known[last] = self.of_date(last)
        if missing := [day for day in reversed(days) if day not in known]:
            known |= _scheduled_for(missing)
        return [(day, known[day]) for day in days]

    def _decide(self, day: date) -> Quotation:
        """Store the quote of a date; where another process was faster, answer that one's."""
        fresh = self._upstream.fetch() if self._upstream is not None and self._state_is_shared else None
        if self._clock().date() != day:  # it was over while the upstream API thought: others answer the schedule's
            fresh = None
        quote_id = keep(fresh, self._clock())[0] if fresh is not None else None
        if quote_id is None or DailyQuote.select().where(DailyQuote.quote == quote_id).exists():
            quote_id = scheduled_id(day)
        quotation = _quotation_from(quote_id)
        if not self._state_is_shared:  # who asks next works it out again
            return quotation
        try:
            DailyQuote.insert(date=day, quote=quote_id).on_conflict_ignore().execute()
        except (OperationalError, InternalError) as error:  # such as a server that can only be read
            if self._upstream is not None:
                raise
            log.warning("The quote of %s is not stored, only worked out: %s", day, error)
            return quotation
        return _stored_for([day]).get(day) or quotation

    def random(self, filters: Filters) -> Quotation:
        """Answer another quote each time. Raises `NoQuoteFound` where none fits.

        The upstream API is asked first, unless there are filters, which it does not know.
        """
        if self._upstream is not None and filters == Filters() and (fresh := self._upstream.fetch()) is not None:
            if self._state_is_shared:
                keep(fresh, self._clock())
            return fresh
        if (drawn_before := self._drawn_before(filters)) is not None:
            return drawn_before
        with self._pools_lock:
            pool = self._pools.get(filters)
            if pool is not None:
                pool.is_being_renewed = True
        try:  # without the lock: the others go on with what there is, however long this takes
            drawn = _block(filters, self._random.getrandbits(63))
        finally:
            if pool is not None:
                pool.is_being_renewed = False
        with self._pools_lock:
            return self._given(filters, _Pool(drawn, self._clock(), pool.last if pool is not None else None))

    def at_hand(self, filters: Filters) -> Quotation | None:
        """Answer another quote without asking anybody; None where that cannot be."""
        if self._upstream is not None and filters == Filters():
            return None
        return self._drawn_before(filters)

    def _drawn_before(self, filters: Filters) -> Quotation | None:
        with self._pools_lock:
            pool = self._pools.get(filters)
            if pool is None or not (pool.is_good(self._clock()) or pool.is_being_renewed):
                return None
            return self._given(filters, pool)

    def _given(self, filters: Filters, pool: "_Pool") -> Quotation:
        if not pool.quotations:
            raise NoQuoteFound(_nothing_left(filters))
        self._pools.pop(filters, None)
        self._pools[filters] = pool  # the one used last stands last
        if len(self._pools) > POOLS:
            del self._pools[next(iter(self._pools))]
        return pool.give(self._random)


SLOW_SECONDS = 0.5
"""Who finds another one waiting for the database so long does not wait as well."""
DECIDING_SECONDS = 2
"""How long a thread waits for another one to decide about the quote of a day."""
AGAIN = timedelta(seconds=10)
"""How long a database that was away is left alone by those who can do without it."""


_Answer = TypeVar("_Answer")


class SteadyQuotes:
    """Quotes for who should get one whatever happens: while the database is away, those of the shipped catalogue."""

    def __init__(self, quotes: Quotes, clock: Clock, random: Random) -> None:
        self._quotes = quotes
        self._spare = Quotes(clock, random, state_is_shared=False)
        self._clock = clock
        self._away_until = datetime.min.replace(tzinfo=UTC)
        self._asking: dict[int, float] = {}
        """The threads that ask the database, and since when."""

    def of_date(self, day: date) -> tuple[Quotation, bool]:
        """Answer the quote of a date, and whether it is sure: while the database is away, it may be another.

        Raises `DateToCome`, `NoQuoteFound`.
        """
        return self._ask(lambda quotes: quotes.of_date(day))

    def of_days(self, last: date, count: int) -> tuple[list[tuple[date, Quotation]], bool]:
        """Answer the quotes of `count` days, the newest first, and whether all are sure, as `of_date` does."""
        return self._ask(lambda quotes: quotes.of_days(last, count))

    def random(self, filters: Filters) -> Quotation:
        """Answer another quote each time. Raises `NoQuoteFound` where none fits."""
        return self._quotes.at_hand(filters) or self._ask(lambda quotes: quotes.random(filters))[0]

    def _ask(self, question: Callable[[Quotes], _Answer]) -> tuple[_Answer, bool]:
        now = self._clock()
        if now >= self._away_until and not self._is_slow():
            try:
                with hurried(), self._noted():
                    return question(self._quotes), True
            except (DatabaseError, InterfaceError) as error:
                if isinstance(error, FAULTS):
                    raise
                log.error("The database is away, and quotes come from the shipped catalogue: %s", error)  # noqa: TRY400
                self._away_until = now + AGAIN
        with shipped():
            return question(self._spare), False

    def _is_slow(self) -> bool:
        """Whether somebody has been waiting for the database for long; then nobody else should."""
        return bool(self._asking) and time.monotonic() - min(self._asking.values()) > SLOW_SECONDS

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Note since when this thread is asking."""
        me = threading.get_ident()
        self._asking = {**self._asking, me: time.monotonic()}
        try:
            yield
        finally:
            self._asking = {thread: since for thread, since in self._asking.items() if thread != me}


class _Pool:
    """Quotes that were drawn at random, given out one after another, in a new order each time round."""

    def __init__(self, quotations: list[Quotation], drawn_at: datetime, last: Quotation | None) -> None:
        self.quotations = quotations
        self.last = last
        self.is_being_renewed = False
        self._drawn_at = drawn_at
        self._rest: list[Quotation] = []

    def is_good(self, now: datetime) -> bool:
        """Whether to give out of it, and not to draw anew."""
        return timedelta(0) <= now - self._drawn_at < (POOL_LIFE if self._rest else POOL_REUSE)

    def give(self, random: Random) -> Quotation:
        """Give the next one, which is never the one before if there are two."""
        if not self._rest:
            self._rest = self.quotations.copy()
            random.shuffle(self._rest)
            if self._rest[-1] == self.last:
                self._rest.reverse()
        self.last = self._rest.pop()
        return self.last


_COLUMNS = (Quote.quote, Quote.author, Quote.category, Quote.source)


def _stored_for(days: Sequence[date]) -> dict[date, Quotation]:
    rows: Any = DailyQuote.select(DailyQuote.date, *_COLUMNS).join(Quote).where(DailyQuote.date.in_(days)).tuples()
    return {day: Quotation(*columns) for day, *columns in rows}


def _scheduled_for(days: Iterable[date]) -> dict[date, Quotation]:
    """Answer what the catalogue gives dates, the earliest first; where quotes were taken out, one by one."""
    ids = _scheduled_ids(days)
    rows: Any = Quote.select(Quote.id, *_COLUMNS).where(Quote.id.in_(set(ids.values()))).tuples()
    there = {quote_id: Quotation(*columns) for quote_id, *columns in rows}
    return {day: there.get(quote_id) or _quotation_from(quote_id) for day, quote_id in ids.items()}


def _quotation_from(quote_id: int) -> Quotation:
    """Answer the quote with an id; where somebody took it out of the table, the next one."""
    rows = Quote.select(*_COLUMNS).order_by(Quote.id).limit(1).tuples()
    row = rows.where(Quote.id >= quote_id).first() or rows.first()
    if row is None:
        raise NoQuoteFound(EMPTY_CATALOGUE)
    return Quotation(*row)


def _block(filters: Filters, pivot: int) -> list[Quotation]:
    """Draw up to `BLOCK` quotes that fit, from a random place on and round the end, in one statement.

    An index is walked from one point, so the cost does not grow with the catalogue. It is that of the shuffled order
    or, where length counts, that of the search, which has the order of ids.
    """
    place: Any = pivot
    if filters.max_length is None:
        query, key = named(Quote.select(*_COLUMNS), filters), Quote.shuffle
    else:
        query, key = found(Quote.select(*_COLUMNS), filters)
        place = Quote.select(fn.COALESCE(fn.MAX(Quote.id).cast("BIGINT"), 0) * (pivot >> 32) / 2**31)
    after, before = (
        Select([walked], [getattr(walked.c, column.name) for column in _COLUMNS])
        for side in (key >= place, key < place)
        for walked in [query.where(side).order_by(key).limit(BLOCK).alias("walked")]
    )
    return [Quotation(*row) for row in database.execute((after + before).limit(BLOCK)).fetchall()]


def _nothing_left(filters: Filters) -> str:
    asked = [f"{name} {value!r}" for name, value in filters._asdict().items() if value is not None]
    if not asked:
        return EMPTY_CATALOGUE
    hint = "Authors are whole names, as in 'Jane Austen'." if filters.author is not None else "Ask for something wider."
    return f"No quote has {' and '.join(asked)}. {hint}"
