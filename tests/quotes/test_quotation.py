import pytest
from hypothesis import given
from hypothesis import strategies as st

from quoteapi.quotes.quotation import InvalidQuotation, Quotation, validate_quotation


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"author": "A", "category": "b"}, "quote is missing"),
        ({"quote": None, "author": "A", "category": "b"}, "quote is missing"),
        ({"quote": 7, "author": "A", "category": "b"}, "quote is not text"),
        ({"quote": ["x"], "author": "A", "category": "b"}, "quote is not text"),
        ({"quote": " \u200b—! ", "author": "A", "category": "b"}, "quote is empty"),
        ({"quote": "x", "author": "\ufdfa" * 99, "category": "b"}, "author is too long after Unicode normalization"),
        ({"quote": "x", "author": "", "category": "b"}, "author is empty"),
        ({"quote": "x", "author": "A", "category": "  "}, "category is empty"),
        ({"quote": "x" * 321, "author": "A", "category": "b"}, "quote has 321 characters; the maximum is 320"),
        ({"quote": "x", "author": "A" * 101, "category": "b"}, "author has 101 characters; the maximum is 100"),
        ({"quote": "x\x00y", "author": "A", "category": "b"}, "quote has control characters or invalid Unicode"),
        ({"quote": "x\ud800y", "author": "A", "category": "b"}, "quote has control characters or invalid Unicode"),
        ({"quote": "x", "author": "A", "category": "b", "source": 1850}, "source is not text"),
        ({"quote": "x", "author": "A", "category": "b", "source": []}, "source is not text"),
        (
            {"quote": "a" + "\u0301\u0316" * 32_000, "author": "A", "category": "b"},
            "quote has 64001 characters; the maximum is 320",
        ),
    ],
)
def test_an_invalid_quotation_is_refused_with_the_reason(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidQuotation) as refused:
        validate_quotation(fields)
    assert str(refused.value) == reason


def test_white_space_is_collapsed_and_invisible_characters_are_removed() -> None:
    fields = {
        "quote": "\ufeff To  be,\n or\tnot\u00a0to\u200b be\u202e\uffff\ufffe ",
        "author": " A ",
        "category": "b",
        "source": None,
    }
    assert validate_quotation(fields) == Quotation("To be, or not to be", "A", "b", "")


@given(st.text(max_size=400), st.text(max_size=120))
def test_any_text_is_either_refused_or_valid_as_it_is_stored(quote: str, author: str) -> None:
    try:
        quotation = validate_quotation({"quote": quote, "author": author, "category": "any"})
    except InvalidQuotation:
        return
    assert validate_quotation(quotation._asdict()) == quotation
    assert quotation.quote.encode().decode() == quotation.quote.strip()
