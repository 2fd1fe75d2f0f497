"""Full-text search of quotes by words, author, category and length, with one index for all of them.

A quote is indexed as a list of tokens that are made here, because SQLite's FTS5 and PostgreSQL's text search each split
and normalize words differently. The tokens are its words without case and accents, its author, its category, and its
length as the intervals of numbers that contain it, so that a range of lengths is a few tokens as well. A search is one
expression over tokens, which both engines evaluate with their index.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from peewee import SQL, SqliteDatabase, Table
from playhouse import fts_parser

from quoteapi.storage.models import Quote
from quoteapi.storage.models import database as bound

if TYPE_CHECKING:
    from peewee import ModelSelect

MAX_SEARCH_LENGTH = 200
"""Maximum length of a search in characters; FTS5 fails on very long expressions."""
MAX_SEARCH_WORDS = 20
"""Maximum number of words in a search; nine of ten quotes have no more different ones."""
MAX_REPEATED_WORDS = 4
"""How many words of a search, in phrases for example, may be repetitions: each reads all quotes with the word again."""
MAX_SEARCH_OPERATORS = 4
"""How many OR, NOT, - and * a search may have: they read all quotes with each of their words.

If all words must match, only the quotes with the rarest are read.
"""
MAX_TOKEN_LENGTH = 60
"""Longer words are cut to this many characters."""
MIN_PREFIX_LENGTH = 3
"""A `*` after fewer letters is ignored: it would match half of all words."""
MAX_PARENTHESES = 10
"""With more pairs, all parentheses of a search are ignored: FTS5 limits how deep expressions nest."""
MAX_LENGTH = 511
"""No quote has more characters."""
MAX_LENGTH_TOKENS = 8
"""The maximum number of tokens in a search that cover a range of lengths."""
LENGTH_LEVELS = (MAX_LENGTH // MAX_LENGTH_TOKENS).bit_length() + 1
"""The number of intervals in which each length is indexed; their sizes are 1, 2, 4 and so on."""
FIELD_SEPARATOR = "="
"""The token between two fields, which keeps phrases from matching across them; no word contains it."""
NO_WORD = "=="
"""A term that matches nothing, as no quote has this token."""
_ACCENTS = frozenset((1, *range(10, 256)))
"""Canonical combining classes of accents that users leave out; vowel signs, viramas and voicing marks have others."""
_VARIATION_SELECTORS = frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
_TERM = re.compile(r'"([^"]*)"(\*?)')
_CHAIN = re.compile(r'"[^"]*"\*?(?: (AND|OR) "[^"]*"\*?)(?: \1 "[^"]*"\*?)*')
"""Terms of an FTS5 expression with one operator between them; what `fts_parser` nests, it puts into parentheses."""
_COSTLY_OPERATOR = re.compile(r' (?:OR|NOT) |"\*')
_TYPED_CHARACTERS = str.maketrans({"_": " ", **dict.fromkeys("“”„‟«»\uff02", '"')})
"""Replacements in a typed search: `_` separates words, and phone keyboards type quotation marks beyond ASCII."""
_FTS5_SYNTAX = re.compile(rf"{_TERM.pattern}|AND|OR|NOT|[()]")
_POSTGRESQL_OPERATORS = {"AND": " & ", "OR": " | ", "NOT": " & !", "(": "(", ")": ")"}
search_index: Any = Table("quote_search", ("rowid",))
"""The FTS5 table of SQLite."""


class Filters(NamedTuple):
    """Conditions that quotes must match, ignoring case, accents and, in names, punctuation and spaces."""

    category: str | None = None
    author: str | None = None
    max_length: int | None = None
    min_length: int | None = None
    words: str | None = None
    """A search as typed by a user. All words must match; also "a phrase", OR, -without, begin*, and parentheses."""


def tokenize(text: str) -> list[str]:
    """Return the words of a text, case-folded, without punctuation and accents."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return "".join(map(_normalize_character, decomposed)).split()


def comparison_key(text: str) -> str:
    """Return a text case-folded, without spaces, punctuation and accents."""
    return "".join(tokenize(text))


def _normalize_character(character: str) -> str:
    if character.isalnum():
        return character
    category = unicodedata.category(character)
    if category in {"Cf", "Me"} or character in _VARIATION_SELECTORS or unicodedata.combining(character) in _ACCENTS:
        return ""  # invisible characters, enclosing marks and accents
    return character if category[0] == "M" else " "


def search_tokens(quote: str, author: str, category: str, source: str) -> str:
    """Return the tokens by which a quote is found, separated by spaces."""
    tokens: list[str] = []
    for text in (quote, author, source):
        tokens += [word[:MAX_TOKEN_LENGTH] for word in tokenize(text)]
        tokens.append(FIELD_SEPARATOR)
    tokens += [_name_token("a", author), _name_token("c", category)]
    tokens += [f"{level}={len(quote) >> level}" for level in range(LENGTH_LEVELS)]
    return " ".join(tokens)


def _name_token(kind: str, name: str) -> str:
    key = comparison_key(name)
    if len(key) > MAX_TOKEN_LENGTH:
        key = f"{key[:MAX_TOKEN_LENGTH]}={blake2b(key.encode(), digest_size=8).hexdigest()}"
    return f"{kind}={key}"


def filter_quotes(query: "ModelSelect[Quote]", filters: Filters) -> tuple["ModelSelect[Quote]", Any]:
    """Add filters to a query of quotes. Return the query, and the id column by which to order it."""
    if filters == Filters():
        return query, Quote.id
    if isinstance(bound.obj, SqliteDatabase):
        joined = query.join_from(Quote, search_index, on=(search_index.rowid == Quote.id))
        return _filter_by_length(joined.where(_fts5_match(filters)), filters), search_index.rowid
    # PostgreSQL has indexes of names, and statistics of how many quotes each name has.
    filtered = _filter_by_length(filter_by_name(query, filters), filters)
    if expression := " AND ".join(_word_and_length_terms(filters)):
        filtered = filtered.where(SQL("search @@ %s::tsquery", (_to_tsquery(expression),)))
    return filtered, Quote.id


def matching_ids(filters: Filters) -> Any:  # noqa: ANN401 queries of models and tables differ in type
    """Return a query of the ids of the quotes that match, the newest first; at least one filter is set."""
    has_lengths = filters.min_length is not None or filters.max_length is not None
    if isinstance(bound.obj, SqliteDatabase) and not has_lengths:  # needs no other table
        rows, key = search_index.select(search_index.rowid).where(_fts5_match(filters)).bind(bound), search_index.rowid
    else:
        rows, key = filter_quotes(Quote.select(Quote.id), filters)
    return rows.order_by(key.desc())


def filter_by_name(query: "ModelSelect[Quote]", filters: Filters) -> "ModelSelect[Quote]":
    """Add only the filters by author and category to a query of quotes."""
    if filters.author is not None:
        query = query.where(Quote.author_key == comparison_key(filters.author))
    if filters.category is not None:
        query = query.where(Quote.category_key == comparison_key(filters.category))
    return query


def _filter_by_length(query: "ModelSelect[Quote]", filters: Filters) -> "ModelSelect[Quote]":
    """Add exact limits of length, because the tokens of the index match a few other lengths too."""
    if filters.min_length is not None:
        query = query.where(Quote.length >= filters.min_length)
    if filters.max_length is not None:
        query = query.where(Quote.length <= filters.max_length)
    return query


def _fts5_match(filters: Filters) -> SQL:
    """Return the FTS5 condition for all filters, of which at least one is set."""
    names = (("a", filters.author), ("c", filters.category))
    name_terms = [f'"{_name_token(kind, name)}"' for kind, name in names if name is not None]
    return SQL("quote_search MATCH ?", (" AND ".join([*name_terms, *_word_and_length_terms(filters)]),))


def _word_and_length_terms(filters: Filters) -> Iterator[str]:
    """Yield FTS5 expressions for the filters of words and of length, not for author and category."""
    if filters.words is not None:
        yield f"({_parse_search(filters.words)})"
    if filters.min_length is not None or filters.max_length is not None:
        low = filters.min_length or 0
        high = min(MAX_LENGTH if filters.max_length is None else filters.max_length, MAX_LENGTH)
        # Intervals of the first level on which few enough cover the range.
        level = next(level for level in range(LENGTH_LEVELS) if (high >> level) - (low >> level) < MAX_LENGTH_TOKENS)
        intervals = range(low >> level, (high >> level) + 1) if low <= high else ()
        yield "({})".format(" OR ".join(f'"{level}={interval}"' for interval in intervals) or f'"{NO_WORD}"')


def search_error(typed: str) -> str | None:
    """Return what is wrong with a search as typed by a user, as a sentence; None if it may be executed."""
    if len(typed) > MAX_SEARCH_LENGTH:
        return f"Send at most {MAX_SEARCH_LENGTH} characters."
    expression = _parse_search(typed)
    words = Counter(word for term in _TERM.finditer(expression) for word in term[1].split())
    if words.total() > MAX_SEARCH_WORDS:
        return f"Send at most {MAX_SEARCH_WORDS} words. A word with a hyphen or an apostrophe counts as two."
    if words.total() - len(words) > MAX_REPEATED_WORDS:
        return f"Repeat at most {MAX_REPEATED_WORDS} words."
    if len(_COSTLY_OPERATOR.findall(expression)) > MAX_SEARCH_OPERATORS:
        return f"Use OR, NOT, - and * at most {MAX_SEARCH_OPERATORS} times in all."
    return None


def _parse_search(typed: str) -> str:
    """Turn a search typed by a user into a valid FTS5 expression of words as `tokenize` returns them."""
    if typed.count("(") > MAX_PARENTHESES:
        typed = typed.translate(str.maketrans("()", "  "))

    def normalize_term(term: re.Match[str]) -> str:
        words = [word[:MAX_TOKEN_LENGTH] for word in tokenize(term[1])] or [NO_WORD]
        is_prefix = term[2] and len(words[-1]) >= MIN_PREFIX_LENGTH
        return f'"{" ".join(words)}"{"*" if is_prefix else ""}'

    expression = _TERM.sub(normalize_term, fts_parser.parse(typed.translate(_TYPED_CHARACTERS)))
    return _CHAIN.sub(_remove_repeated_terms, expression)


def _remove_repeated_terms(chain: re.Match[str]) -> str:
    """Return a chain of terms with each of them once; PostgreSQL takes a repeated one for a rarer one."""
    operator = f" {chain[1]} "
    return operator.join(dict.fromkeys(chain[0].split(operator)))


def _to_tsquery(expression: str) -> str:
    """Translate an FTS5 expression to PostgreSQL's `tsquery`."""

    def translate(piece: re.Match[str]) -> str:
        if piece[1] is None:
            return _POSTGRESQL_OPERATORS[piece[0]]
        *words, last = [f"'{word}'" for word in piece[1].split()]
        return f"({' <-> '.join([*words, last + (':*' if piece[2] else '')])})"

    return "".join(translate(piece) for piece in _FTS5_SYNTAX.finditer(expression))
