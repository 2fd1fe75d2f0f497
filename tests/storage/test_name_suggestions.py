"""Suggestions for authors and categories that no quote has, on both engines."""

import pytest

from quoteapi.quotes.quotation import Quotation
from quoteapi.storage import name_suggestions
from quoteapi.storage.catalogue import store_quotations
from quoteapi.storage.full_text_search import Filters
from quoteapi.storage.name_suggestions import suggest_names
from tests.helpers.data import KABIR, NOON, numbered_quotations
from tests.helpers.sql import record_sql

AUTHORS = [
    *(
        "William Shakespeare",
        "Charlotte Brontë",
        "Emily Brontë",
        "Anne Brontë",
        "Mark Twain",
        "Oscar Wilde",
        "O. Henry",
    ),
    *("Friedrich Nietzsche", "Martin Luther King", "Jean de La Bruyère", "Alfred, Lord Tennyson", "Edgar Allan Poe"),
    *("Alexander Pope", "Ralph Waldo Emerson", "Samuel Johnson", "Plato", "Booker T. Washington"),
]


@pytest.fixture(autouse=True)
def _quotes_of_many_authors(open_database: None) -> None:
    categories = ["wisdom", "happiness", "wit", "life"]
    quotations = [Quotation(f"{name} said so.", name, categories[n % 4]) for n, name in enumerate(AUTHORS)]
    store_quotations([*quotations, KABIR], NOON)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("shakespeare", ["William Shakespeare"]),  # the surname alone
        ("Twain", ["Mark Twain"]),
        ("bronte", ["Anne Brontë", "Charlotte Brontë", "Emily Brontë"]),
        ("la bruyere", ["Jean de La Bruyère"]),
        ("poe", ["Edgar Allan Poe"]),
        ("oscar", ["Oscar Wilde"]),  # the first name alone
        ("martin king", ["Martin Luther King"]),  # names left out, abbreviated, added, and in another order
        ("Lord Tennyson", ["Alfred, Lord Tennyson"]),
        ("W. Shakespeare", ["William Shakespeare"]),
        ("Ralph W. Emerson", ["Ralph Waldo Emerson"]),
        ("Dr. Samuel Johnson", ["Samuel Johnson"]),
        ("Shakespeare, William", ["William Shakespeare"]),
        ("William Shakspere", ["William Shakespeare"]),  # letters missing, added, swapped, or others
        ("shakespear", ["William Shakespeare"]),
        ("Nietzche", ["Friedrich Nietzsche"]),
        ("twian", ["Mark Twain"]),
        ("Emily Brontee", ["Emily Brontë"]),
        ("Jane Austin", ["Jane Austen"]),
        ("Platon", ["Plato"]),
    ],
)
def test_an_author_is_suggested_by_a_part_of_the_name_or_a_similar_spelling(typed: str, meant: list[str]) -> None:
    assert suggest_names(Filters(author=typed)) == {"author": meant}


@pytest.mark.parametrize(
    ("typed", "meant"), [("wisdum", "wisdom"), ("Hapiness", "happiness"), ("wits", "wit"), ("lifes", "life")]
)
def test_a_category_is_suggested_by_a_similar_spelling(typed: str, meant: str) -> None:
    assert suggest_names(Filters(category=typed)) == {"category": [meant]}


@pytest.mark.parametrize(
    "typed", ["nobody", "q", "said", "love", "!?", "' OR 1=1 --", '"*" AND (', "x" * 200, "\x00", "समय"]
)
def test_a_name_that_resembles_none_has_no_suggestion(typed: str) -> None:
    assert suggest_names(Filters(author=typed)) == {}


def test_names_that_exist_have_no_suggestions() -> None:
    assert suggest_names(Filters(author="emily bronte", category="WIT")) == {}
    both = suggest_names(Filters(author="wilde", category="wisdum", words="no such words"))
    assert both == {"author": ["Oscar Wilde"], "category": ["wisdom"]}


def test_each_name_takes_one_sql_statement_and_no_name_takes_none() -> None:
    with record_sql() as statements:
        suggest_names(Filters(max_length=1, words="x"))
    assert statements == []
    with record_sql() as statements:
        suggest_names(Filters(author="shakespeare", category="wisdum"))
    assert len(statements) == 2


def test_in_a_large_catalogue_surnames_and_similar_names_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_suggestions, "MAX_NEIGHBOURS", 2)
    store_quotations(numbered_quotations(30), NOON)
    store_quotations([Quotation(f"Love Shakespeare {n}!", f"Nobody {n}", "wit") for n in range(30)], NOON)
    assert suggest_names(Filters(author="shakespeare")) == {"author": ["William Shakespeare"]}
    assert suggest_names(Filters(author="William Shakspere")) == {"author": ["William Shakespeare"]}
