"""Finding quotes: by words, author, category and length, with an index that knows all of these.

A quote is indexed as a list of tokens, made here, so that SQLite's FTS5 and PostgreSQL's text search, which part and
fold words each in their own way, have nothing left to differ about. The tokens are the words without case and accents;
its author and category; and for its length the stretches of numbers that it lies in, so that a range of lengths is a
few tokens too. What is asked for is one expression over tokens, which both answer from their index.
"""

import re
import unicodedata
from collections.abc import Iterator
from hashlib import blake2b
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from peewee import SQL, Table
from playhouse import fts_parser

from quoteapi.storage import database
from quoteapi.storage.models import Quote

if TYPE_CHECKING:
    from peewee import ModelSelect

LONGEST_SEARCH = 200
"""Characters that may be typed: FTS5 cannot follow any length."""
LONGEST_TOKEN = 60
"""Characters of a word that count."""
SHORTEST_PREFIX = 3
"""Fewer letters before a `*` would stand for half of all words."""
MOST_STARS = 4
"""Each looks up many words; from the fifth on they do not count."""
MOST_BRACKETS = 10
"""With more of them, none counts: FTS5 cannot follow expressions in expressions very deep."""
LONGEST = 511
"""No quote is as long."""
COVERING = 8
"""So many tokens are asked for a range of lengths."""
LEVELS = (LONGEST // COVERING).bit_length() + 1
"""How many stretches of numbers a length lies in, each twice as long as the one before."""
END = "="
"""Stands between the fields, so that no phrase reaches over them; no word has it."""
NO_WORD = "=="
_ACCENTS = frozenset((1, *range(10, 256)))
"""Canonical combining classes of the marks that people leave out; not those of vowel signs, viramas and voicing."""
_VARIANTS = frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
"""Marks that choose how a character is drawn."""
_TERM = re.compile(r'"([^"]*)"(\*?)')
_AS_TYPED = str.maketrans({"_": " ", **dict.fromkeys("“”„‟«»\uff02", '"')})
"""A line is no letter, and telephones have quotation marks of their own."""
_NO_BRACKETS = str.maketrans("()", "  ")
_PARSED = re.compile(r'"([^"]*)"(\*?)|AND|OR|NOT|[()]')
_OPERATORS = {"AND": " & ", "OR": " | ", "NOT": " & !", "(": "(", ")": ")"}
_index: Any = Table("quote_search", ("rowid",))


class Filters(NamedTuple):
    """What quotes are narrowed by; case, accents and, in the names, punctuation and spaces do not count."""

    category: str | None = None
    author: str | None = None
    max_length: int | None = None
    min_length: int | None = None
    words: str | None = None
    """As people type them: all of them are wanted; also "a phrase", OR, -without, begin*, and parentheses."""


class _Quotation(Protocol):
    @property
    def quote(self) -> str: ...
    @property
    def author(self) -> str: ...
    @property
    def category(self) -> str: ...
    @property
    def source(self) -> str: ...


def tokenize(text: str) -> list[str]:
    """Answer the words of a text: letters and digits, without case and accents."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return "".join(_kept(character) for character in decomposed).split()


def comparison_key(text: str) -> str:
    """Answer the letters and digits of a text: without case, accents, punctuation and spaces."""
    return "".join(tokenize(text))


def _kept(character: str) -> str:
    if character.isalnum():
        return character
    kind = unicodedata.category(character)
    if kind in {"Cf", "Me"} or character in _VARIANTS or unicodedata.combining(character) in _ACCENTS:
        return ""  # what nobody sees, what is around a letter, and accents
    return character if kind[0] == "M" else " "


def search_tokens(quotation: _Quotation) -> str:
    """Answer the tokens that a quotation is found by, with spaces between."""
    tokens: list[str] = []
    for text in (quotation.quote, quotation.author, quotation.source):
        tokens += [word[:LONGEST_TOKEN] for word in tokenize(text)]
        tokens.append(END)
    length = len(quotation.quote)
    tokens += [_name_token("a", quotation.author), _name_token("c", quotation.category)]
    tokens += [_length_token(level, length >> level) for level in range(LEVELS)]
    return " ".join(tokens)


def _name_token(kind: str, name: str) -> str:
    key = comparison_key(name)
    if len(key) > LONGEST_TOKEN:
        key = f"{key[:LONGEST_TOKEN]}={blake2b(key.encode(), digest_size=8).hexdigest()}"
    return f"{kind}={key}"


def _length_token(level: int, number: int) -> str:
    return f"{level}={number}"


def _lengths(low: int, high: int) -> list[str]:
    """Answer a few tokens, of one level, that cover the lengths from `low` to `high`, and little more."""
    level = next(level for level in range(LEVELS) if (high >> level) - (low >> level) < COVERING)
    return [_length_token(level, number) for number in range(low >> level, (high >> level) + 1)]


def filter_quotes(query: "ModelSelect[Quote]", filters: Filters) -> tuple["ModelSelect[Quote]", Any]:
    """Narrow a query of quotes by the index. Answer it, and the column to order it by: the id."""
    if filters == Filters():
        return query, Quote.id
    if database.is_sqlite():
        joined = query.join_from(Quote, _index, on=(_index.rowid == Quote.id))
        return _of_lengths(joined.where(_matching(filters)), filters), _index.rowid
    # PostgreSQL has other indexes for names, and knows better how many quotes each has.
    narrowed = _of_lengths(filter_by_name(query, filters), filters)
    if expression := " AND ".join(_words_and_lengths(filters)):
        narrowed = narrowed.where(SQL("search @@ %s::tsquery", (_for_postgresql(expression),)))
    return narrowed, Quote.id


def filter_by_name(query: "ModelSelect[Quote]", filters: Filters) -> "ModelSelect[Quote]":
    """Narrow a query of quotes to an author and a category."""
    if filters.author is not None:
        query = query.where(Quote.author_key == comparison_key(filters.author))
    if filters.category is not None:
        query = query.where(Quote.category_key == comparison_key(filters.category))
    return query


def _of_lengths(query: "ModelSelect[Quote]", filters: Filters) -> "ModelSelect[Quote]":
    """Hold to the lengths, which the index of words knows but roughly."""
    if filters.min_length is not None:
        query = query.where(Quote.length >= filters.min_length)
    if filters.max_length is not None:
        query = query.where(Quote.length <= filters.max_length)
    return query


def _matching(filters: Filters) -> SQL:
    return SQL("quote_search MATCH ?", (" AND ".join((*_names(filters), *_words_and_lengths(filters))),))


def _names(filters: Filters) -> Iterator[str]:
    """Answer what is asked for of names, in the language of FTS5."""
    if filters.author is not None:
        yield _quoted(_name_token("a", filters.author))
    if filters.category is not None:
        yield _quoted(_name_token("c", filters.category))


def _words_and_lengths(filters: Filters) -> Iterator[str]:
    """Answer what else is asked for, in the language of FTS5."""
    if filters.words is not None:
        yield f"({_folded(filters.words)})"
    if filters.min_length is not None or filters.max_length is not None:
        low = filters.min_length or 0
        high = min(LONGEST if filters.max_length is None else filters.max_length, LONGEST)
        tokens = _lengths(low, high) if low <= high else [NO_WORD]
        yield f"({' OR '.join(_quoted(token) for token in tokens)})"


def _quoted(token: str) -> str:
    return f'"{token}"'


def _folded(typed: str) -> str:
    """Turn what people type into a right expression whose words are as they are in the index."""
    if typed.count("(") > MOST_BRACKETS:
        typed = typed.translate(_NO_BRACKETS)
    parsed = fts_parser.parse(typed.translate(_AS_TYPED))

    stars = count()

    def fold(term: re.Match[str]) -> str:
        folded = [word[:LONGEST_TOKEN] for word in tokenize(term[1])] or [NO_WORD]
        star = "*" if term[2] and len(folded[-1]) >= SHORTEST_PREFIX and next(stars) < MOST_STARS else ""
        return f'"{" ".join(folded)}"{star}'

    return _TERM.sub(fold, parsed)


def _for_postgresql(expression: str) -> str:
    """Turn an expression of FTS5 into one of PostgreSQL."""

    def translate(piece: re.Match[str]) -> str:
        if piece[1] is None:
            return _OPERATORS[piece[0]]
        *before, last = [f"'{word}'" for word in piece[1].split()]
        return f"({' <-> '.join([*before, last + (':*' if piece[2] else '')])})"

    return "".join(translate(piece) for piece in _PARSED.finditer(expression))
