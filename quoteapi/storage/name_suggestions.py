"""Authors and categories to suggest for names that no quote has.

They are searched by indexes and up to limits, so that the cost does not grow with the catalogue: among the names next
to the typed one in alphabetical order, and among the authors of quotes that have its words.
"""

from collections.abc import Iterable
from typing import Any

from peewee import Select

from quoteapi.storage.full_text_search import Filters, matching_ids, tokenize
from quoteapi.storage.models import Author, Category, Quote
from quoteapi.storage.models import database as bound

MAX_SUGGESTIONS = 3
MAX_NEIGHBOURS = 200
"""How many names before and after the typed one are compared with it: in a small catalogue, all."""
MAX_QUOTES, MAX_AUTHORS = 1_000, 100
"""Among how many quotes with the typed words authors with these words are looked for, and how many are compared."""
MAX_WORDS = 6
"""How many words of the typed name count."""
MIN_SIMILARITY = 0.75
MAX_DIFFERENCE = 0.1
"""How much less similar than the best suggestion another one may be."""


def suggest_names(filters: Filters) -> dict[str, list[str]]:
    """Return the names most similar to the author and the category of filters, as `author` and `category`.

    A name that exists has no suggestions, nor has one that none resembles; those are left out. Takes one SQL statement
    for each of the two filters that is set.
    """
    suggestions = {}
    for name, table in (("author", Author), ("category", Category)):
        typed = tokenize(getattr(filters, name) or "")[:MAX_WORDS]
        if typed and (similar := _most_similar(typed, _candidates(table, typed))):
            suggestions[name] = similar
    return suggestions


def _candidates(table: type[Author | Category], typed: list[str]) -> list[str]:
    """Return names that may be similar to the words of the typed name."""
    key: Any = "".join(typed)
    parts: list[Any] = [
        table.select(table.name).where(table.key >= key).order_by(table.key).limit(MAX_NEIGHBOURS),
        table.select(table.name).where(table.key < key).order_by(table.key.desc()).limit(MAX_NEIGHBOURS),
    ]
    if table is Author:
        parts.append(_authors_with_words([word for word in typed if len(word) > 1] or typed))
    first, *others = [Select([part], [part.c.name]) for part in (part.alias("part") for part in parts)]
    return [name for (name,) in bound.execute(sum(others, start=first)).fetchall()]


def _authors_with_words(words: list[str]) -> Any:  # noqa: ANN401 a query
    """Return a query of authors with all of these words, among the newest quotes that have them anywhere."""
    with_words = Filters(words=" ".join(f'"{word}"' for word in words))
    newest = Quote.id.in_(matching_ids(with_words).limit(MAX_QUOTES))
    of_author = [Quote.author_key.contains(word) for word in words]
    return Quote.select(Quote.author.alias("name")).where(newest, *of_author).distinct().limit(MAX_AUTHORS)


def _most_similar(typed: list[str], names: Iterable[str]) -> list[str]:
    """Return up to `MAX_SUGGESTIONS` of the names, the most similar first; none if one is the typed name."""
    words = {name: tokenize(name) for name in names}
    if typed in words.values():
        return []
    similarities = {name: _similarity(typed, words[name]) for name in words}
    minimum = max(MIN_SIMILARITY, max(similarities.values(), default=0) - MAX_DIFFERENCE)
    similar = [name for name in words if similarities[name] >= minimum]
    return sorted(similar, key=lambda name: (-similarities[name], name))[:MAX_SUGGESTIONS]


def _similarity(typed: list[str], name: list[str]) -> float:
    """Return how similar two names are, from 0 to 1: as wholes, or each typed word to a word of the other name."""
    by_words = min(max((_ratio(word, other) for other in name), default=0.0) for word in typed)
    return max(_ratio("".join(typed), "".join(name)), by_words)


def _ratio(typed: str, other: str) -> float:
    """Return how similar two words are, from 0 to 1, less than `MIN_SIMILARITY` being 0; an initial is a whole word."""
    from difflib import SequenceMatcher  # noqa: PLC0415 imported late, to keep cold starts fast

    if typed == other or (len(typed) == 1 and other.startswith(typed)):
        return 1.0
    if 2 * min(len(typed), len(other)) < MIN_SIMILARITY * (len(typed) + len(other)):
        return 0.0
    matcher = SequenceMatcher(None, typed, other, autojunk=False)
    return matcher.ratio() if matcher.quick_ratio() >= MIN_SIMILARITY else 0.0
