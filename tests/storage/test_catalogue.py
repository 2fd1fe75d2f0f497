import pytest

from quoteapi.quotes.quotation import Quotation, validate_quotation
from quoteapi.storage.catalogue import (
    find_quote_id,
    quotes_with_ids,
    shortest_length,
    store_quotation,
    store_quotations,
)
from quoteapi.storage.full_text_search import Filters
from quoteapi.storage.models import Quote
from tests.helpers.data import ALCOTT, AUSTEN, KABIR, NOON, ZOLA
from tests.helpers.sql import record_sql


def test_the_id_of_a_stored_quotation_is_found_in_one_statement(open_database: None) -> None:
    quote_id, _ = store_quotation(KABIR, NOON)
    for duplicate in (KABIR, KABIR._replace(quote="काल करे, सो आज कर!", category="other")):
        with record_sql() as statements:
            assert find_quote_id(duplicate) == quote_id
        assert len(statements) == 1
    assert find_quote_id(KABIR._replace(author="Rahim")) is None


@pytest.mark.parametrize("quotation", [ALCOTT, AUSTEN, ZOLA, KABIR])
def test_a_stored_quotation_is_read_back_unchanged(open_database: None, quotation: Quotation) -> None:
    quote_id, _ = store_quotation(quotation, NOON)
    assert quotes_with_ids([quote_id]) == {quote_id: quotation}


def test_the_same_text_by_the_same_author_is_stored_once(open_database: None) -> None:
    first, is_new = store_quotation(KABIR, NOON)
    assert is_new
    for duplicate in ("काल करे, सो आज कर!", " काल  करे सो आज कर "):
        assert store_quotation(validate_quotation(KABIR._replace(quote=duplicate)._asdict()), NOON) == (first, False)
    assert store_quotations([KABIR, KABIR], NOON) == 0
    other, is_new = store_quotation(KABIR._replace(author="Rahim"), NOON)
    assert is_new
    assert other == first + 1


def test_the_shortest_length_is_found_in_a_few_statements(open_database: None) -> None:
    Quote.delete().execute()
    assert shortest_length(Filters()) is None
    lengths = {"Ann": (7, 8, 63), "Bob": (64, 65, 300), "Cid": (127, 128), "Dee": (320,)}
    quotations = [
        Quotation("x" * length, author, "odd" if length % 2 else "even")
        for author, own in lengths.items()
        for length in own
    ]
    store_quotations(quotations, NOON)
    for author, own in lengths.items():
        with record_sql() as statements:
            assert shortest_length(Filters(author=author, max_length=5)) == min(own)
        assert len(statements) == 3
    assert shortest_length(Filters()) == 7
    assert shortest_length(Filters(category="even")) == 8
    assert shortest_length(Filters(author="Bob", category="odd")) == 65
    with record_sql() as statements:
        assert shortest_length(Filters(author="Dee", category="odd", max_length=5)) is None
    assert len(statements) == 1
