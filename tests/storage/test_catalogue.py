import pytest

from quoteapi.quotes.quotation import Quotation, validate_quotation
from quoteapi.storage.catalogue import find_quote_id, quotes_with_ids, store_quotation, store_quotations
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
