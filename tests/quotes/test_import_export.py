import io

import pytest

from quoteapi.quotes.import_export import (
    FileFormat,
    ImportRow,
    UnreadableFile,
    import_rows,
    read_quotations,
    write_quotations,
)
from quoteapi.quotes.quotation import InvalidQuotation, Quotation
from quoteapi.storage.models import Quote
from tests.helpers.data import ALCOTT, AUSTEN, KABIR, NOON, ZOLA, numbered_quotations

FORMATS: tuple[FileFormat, ...] = ("csv", "json", "jsonl")


# ---- files


@pytest.mark.parametrize("form", FORMATS)
def test_written_quotations_are_read_back_unchanged(form: FileFormat) -> None:
    odd = Quotation('He said: "a, b"; ‘c’ \\ {d}', "Ñandú O’Neil, Jr.", "wit")
    quotations = [ALCOTT, AUSTEN, ZOLA, KABIR, odd]
    stream = io.StringIO(newline="")
    write_quotations(quotations, stream, form)
    stream.seek(0)
    assert [quotation for _, quotation in read_quotations(stream, form)] == quotations


@pytest.mark.parametrize("form", FORMATS)
def test_no_quotations_are_read_back_as_none(form: FileFormat) -> None:
    stream = io.StringIO()
    write_quotations([], stream, form)
    stream.seek(0)
    assert list(read_quotations(stream, form)) == []


def read_lines(text: str, form: FileFormat) -> list[tuple[int, str]]:
    rows = read_quotations(io.StringIO(text, newline=""), form)
    return [(line, quotation.quote if isinstance(quotation, Quotation) else str(quotation)) for line, quotation in rows]


def test_csv_rows_are_numbered_by_their_first_line() -> None:
    text = 'author,category,quote\r\nA,b,"one\r\nand a half"\r\n\r\nA,b\r\nA,b,\r\nA,b,two\r\n'
    assert read_lines(text, "csv") == [
        (2, "one and a half"),
        (5, "2 fields, but the first line has 3"),
        (6, "quote is empty"),
        (7, "two"),
    ]


def test_a_malformed_csv_row_does_not_stop_the_import() -> None:
    text = f'quote,author,category\n"x"y,A,b\n{"x" * 200_000},A,b\nlast,A,b\n'
    rows = read_lines(text, "csv")
    assert [line for line, _ in rows] == [2, 3, 4]
    assert rows[0][1] == "',' expected after '\"'"
    assert "field larger than field limit" in rows[1][1]
    assert rows[2][1] == "last"


def test_json_rows_are_numbered_by_element() -> None:
    text = '[{"quote": "one", "author": "A", "category": "b"}, 7, {"quote": "x"}, {"quot": "x"}]'
    assert read_lines(text, "json") == [
        (1, "one"),
        (2, "not an object with quote, author and category"),
        (3, "author is missing"),
        (4, "unknown names: quot; use quote, author, category, source"),
    ]


def test_json_lines_are_numbered_by_line() -> None:
    text = '{"quote": "one", "author": "A", "category": "b"}\n\n{broken\n[]\n'
    lines = read_lines(text, "jsonl")
    assert [line for line, _ in lines] == [1, 3, 4]
    assert lines[1][1].startswith("not valid JSON")


@pytest.mark.parametrize(
    ("text", "form", "error"),
    [
        ("", "csv", "line 1: missing columns: quote, author, category"),
        ("quote,author\n", "csv", "line 1: missing columns: category"),
        ("quote,author,category,mood\n", "csv", "line 1: unknown columns: mood"),
        ("quote,author,category,quote\n", "csv", "line 1: a column appears twice"),
        ("", "json", "not valid JSON"),
        ("[" * 100_000, "json", "not valid JSON"),
        ("{", "json", "not valid JSON"),
    ],
)
def test_an_unreadable_file_is_refused_as_a_whole(text: str, form: FileFormat, error: str) -> None:
    with pytest.raises(UnreadableFile) as refused:
        read_lines(text, form)
    assert str(refused.value).startswith(error)


# ---- what an import stores


def test_stored_quotes_are_not_added_again(open_database: None) -> None:
    rows = enumerate([ALCOTT, KABIR, KABIR, AUSTEN])
    result = import_rows(rows, lambda: NOON)
    assert (result.new, result.duplicates, result.invalid) == (1, 3, [])
    assert Quote.select().count() == 4


def test_a_bad_row_does_not_stop_the_import(open_database: None) -> None:
    rows: list[ImportRow] = [
        (2, KABIR),
        (3, InvalidQuotation("quote is empty")),
        *((4, one) for one in numbered_quotations(1_200)),
    ]
    result = import_rows(rows, lambda: NOON)
    assert (result.new, result.invalid, result.refused) == (1_201, [(3, "quote is empty")], False)
    assert Quote.select().count() == 1_204


def test_imported_quotes_are_numbered_without_gaps(open_database: None) -> None:
    import_rows(enumerate([*numbered_quotations(10), *numbered_quotations(20)]), lambda: NOON)
    assert [quote.id for quote in Quote.select().order_by(Quote.id)] == list(range(1, 24))
