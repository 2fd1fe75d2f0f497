import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quoteapi.quotes.csv_formulas import escape_formulas, unescape_formulas
from quoteapi.quotes.import_export import read_quotations, write_quotations
from quoteapi.quotes.quotation import InvalidQuotation, Quotation, validate_quotation
from tests.helpers.text_strategies import texts

FORMULAS = (
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    "＋1",
    "－1",
    "＠1",
    '=HYPERLINK("http://x")',
)
cells = st.one_of(texts, st.text("'=+-@\t\r\n ;,\"a＝", max_size=12))
"""Texts, and those that consist of what matters in a cell."""


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_formula_gets_an_apostrophe(formula: str) -> None:
    assert escape_formulas(formula) == f"'{formula}"
    assert escape_formulas(f"  {formula}") == f"  '{formula}"
    assert escape_formulas(f"a; {formula}") == f"a; '{formula}"
    assert escape_formulas(f"'{formula}") == f"''{formula}"


@pytest.mark.parametrize(
    "text", ["", "Hope — and keep busy.", "’Tis done.", "'Tis done", "1+1=2", "a-b", "me@x.org", "'"]
)
def test_other_text_is_not_changed(text: str) -> None:
    assert escape_formulas(text) == unescape_formulas(text) == text


@given(cells)
@example("''=1")
def test_unescaping_restores_every_cell(cell: str) -> None:
    assert unescape_formulas(escape_formulas(cell)) == cell


@given(st.lists(st.tuples(cells, cells, cells, cells), max_size=5))
def test_no_spreadsheet_finds_a_formula_in_the_export_and_the_import_restores_it(
    rows: list[tuple[str, str, str, str]],
) -> None:
    quotations = [quotation for row in rows for quotation in valid(row)]
    stream = io.StringIO(newline="")
    write_quotations(quotations, stream, "csv", escape=True)
    for separator in ",;\t":
        for row in csv.reader(io.StringIO(stream.getvalue(), newline=""), delimiter=separator):
            assert [cell for cell in row if cell.lstrip(' "')[:1] in tuple("=+-@＝＋－＠\t\r\n")] == []
    stream.seek(0)
    assert [quotation for _, quotation in read_quotations(stream, "csv")] == quotations


def valid(row: tuple[str, str, str, str]) -> list[Quotation]:
    try:
        return [validate_quotation(dict(zip(Quotation._fields, row, strict=True)))]
    except InvalidQuotation:
        return []


def test_only_rows_that_say_so_are_unescaped() -> None:
    text = "quote,author,category,formulas\n'=1+1,A,b,escaped\n'=1+1,A,b,\n'=1+1,A,b,no\n"
    escaped, exact, wrong = (row for _, row in read_quotations(io.StringIO(text), "csv"))
    assert isinstance(escaped, Quotation)
    assert isinstance(exact, Quotation)
    assert (escaped.quote, exact.quote) == ("=1+1", "'=1+1")
    assert str(wrong) == "formulas must be escaped or empty, not 'no'"
