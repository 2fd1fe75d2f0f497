import csv
import io
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from quoteapi.quotes.bundled_catalogue import CATALOGUE, InvalidCatalogue, build, read_catalogue
from quoteapi.quotes.import_export import (
    FileFormat,
    ImportRow,
    UnreadableFile,
    import_rows,
    read_quotations,
    write_quotations,
)
from quoteapi.quotes.quotation import InvalidQuotation, Quotation
from quoteapi.settings import BUNDLED_CATALOGUE
from quoteapi.storage import migrate
from quoteapi.storage.models import Quote
from tests.helpers.data import ALCOTT, AUSTEN, KABIR, NOON, ZOLA, numbered_quotations

# What becomes one GSM-7 character in an SMS, and what GSM-7 has: its basic characters, then those that count twice.
AS_GSM = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "—": "-", "–": "-"})
GSM = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_TWICE = set("^{}\\[~]|€")

FORMATS: tuple[FileFormat, ...] = ("csv", "json", "jsonl")


@pytest.fixture(scope="module")
def shipped_rows() -> list[dict[str, str]]:
    with (CATALOGUE / "quotes.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


# ---- what is shipped


def test_the_shipped_database_is_built_from_the_text_file() -> None:
    with closing(sqlite3.connect(f"file:{BUNDLED_CATALOGUE}?mode=ro", uri=True)) as connection:
        names = ("id", "quote", "author", "category", "source", "created_at", "fingerprint", "shuffle", "length")
        stored = connection.execute(f"SELECT {', '.join(names)} FROM quote ORDER BY id").fetchall()  # noqa: S608
    rows = read_catalogue()
    expected = [tuple({**row, "created_at": str(row["created_at"])[:19]}[name] for name in names) for row in rows]
    assert stored == expected, "run `make catalogue`"


def test_it_is_large_and_varied(shipped_rows: list[dict[str, str]]) -> None:
    categories = Counter(row["category"] for row in shipped_rows)
    assert len(shipped_rows) >= 500
    assert len(categories) >= 12
    assert min(categories.values()) >= 20
    assert len({row["author"] for row in shipped_rows}) >= 100


def test_nine_in_ten_fit_one_sms_with_their_author(shipped_rows: list[dict[str, str]]) -> None:
    def fits(row: dict[str, str]) -> bool:
        text = f"{row['quote']} - {row['author']}".translate(AS_GSM)
        if not set(text) <= GSM | GSM_TWICE:
            return False
        return len(text) + sum(character in GSM_TWICE for character in text) <= 160

    assert sum(map(fits, shipped_rows)) >= 0.9 * len(shipped_rows)


def test_it_is_set_as_a_typographer_would(shipped_rows: list[dict[str, str]]) -> None:
    untidy = [row["id"] for row in shipped_rows if set(row["quote"]) & set("'\"") or "--" in row["quote"]]
    assert untidy == []


@pytest.mark.parametrize(
    "misattributed",
    [
        "Be the change",
        "definition of insanity",
        "Well-behaved women",
        "I disapprove of what you say",
        "If you are going through hell",
        "twenty years from now",
        "Let them eat cake",
        "Elementary, my dear Watson",
        "The only thing necessary for the triumph of evil",
        "Be yourself; everyone else",
        "What lies behind us",
        "An eye for an eye will make",
        "Not all who wander",
        "Whatever you are, be a good one",
    ],
)
def test_the_well_known_misattributions_stay_out(shipped_rows: list[dict[str, str]], misattributed: str) -> None:
    assert not [row for row in shipped_rows if misattributed.casefold() in row["quote"].casefold()]


# ---- building it


HEAD = "id,quote,author,category,source,checked_in,added\n"
GOOD = '1,Hope and keep busy.,Louisa May Alcott,hope,"Little Women (1868)",a/text,2026-11-01\n'


def catalogue_of(folder: Path, lines: str, head: str = HEAD) -> Path:
    (folder / "authors.csv").write_text(
        "author,born,died\nLouisa May Alcott,1832,1888\nPlato,-428,-348\nAlbert Einstein,1879,1955\n"
    )
    (folder / "quotes.csv").write_text(head + lines, encoding="utf-8")
    return folder


def test_the_same_catalogue_makes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.db", "another.db"):
        build(catalogue_of(tmp_path, GOOD), tmp_path / name)
    assert (tmp_path / "one.db").read_bytes() == (tmp_path / "another.db").read_bytes()


def test_a_good_catalogue_is_built(tmp_path: Path) -> None:
    lines = GOOD + '2,“A — b”,Plato,truth,"Republic (c. 375 BC)",a/text,2026-11-02\n'
    assert build(catalogue_of(tmp_path, lines), tmp_path / "built.db") == 2
    with closing(sqlite3.connect(tmp_path / "built.db")) as connection:
        assert connection.execute("SELECT id, quote, created_at FROM quote ORDER BY id").fetchall() == [
            (1, "Hope and keep busy.", "2026-11-01 00:00:00"),
            (2, "“A — b”", "2026-11-02 00:00:00"),
        ]
        applied = connection.execute("SELECT name FROM schema_migration ORDER BY name").fetchall()
        assert applied == [(name,) for name in migrate.known_migrations()]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("2,HOPE and  keep busy!!,Louisa May Alcott,hope,W (1868),t,2026-11-01", "line 3: the same quote as line 2"),
        ("2,“Hope and keep—busy”,Plato,hope,W (1868),t,2026-11-01", "line 3: the same quote as line 2"),
        ("2,,Plato,hope,W (1868),t,2026-11-01", "line 3: quote is empty"),
        ("2,—,Plato,hope,W (1868),t,2026-11-01", "line 3: quote is empty"),
        ("2,x,,hope,W (1868),t,2026-11-01", "line 3: author is empty"),
        ("2,x,Plato,,W (1868),t,2026-11-01", "line 3: category is empty"),
        ("2,x,Plato,hope,,t,2026-11-01", "line 3: source is empty or has no year"),
        ("2,x,Plato,hope,The Republic,t,2026-11-01", "line 3: source is empty or has no year"),
        ("2,x,Plato,hope,W (1868),,2026-11-01", "line 3: checked_in is empty"),
        ("2,x,Plato,hope,W (1868),t,", "line 3: "),
        ("2,x,Plato,hope,W (1868),t,2026-10-31", "line 3: added must not be earlier"),
        ("1,x,Plato,hope,W (1868),t,2026-11-01", "line 3: id must be 2, one more than on the line above"),
        ("two,x,Plato,hope,W (1868),t,2026-11-01", "line 3: id must be 2"),
        ("2,x,Albert Einstein,hope,W (1916),t,2026-11-01", "line 3: Albert Einstein died in 1955, not before 1930"),
        ("2,x,Homer Simpson,hope,W (1868),t,2026-11-01", "line 3: author 'Homer Simpson' is not in authors.csv"),
        (f"2,{'x' * 321},Plato,hope,W (1868),t,2026-11-01", "line 3: quote has 321 characters; at most 320 fit"),
        ("2,x ,Plato,hope,W (1868),t,2026-11-01", "line 3: white space to even out"),
        ("2,x,Plato,hope,W (1868),t", "line 3: 6 fields, where the first line has 7"),
        ("2,x,Plato,hope,W (1868),t,2026-11-01,more", "line 3: 8 fields, where the first line has 7"),
    ],
)
def test_a_faulty_line_is_named_and_nothing_is_built(tmp_path: Path, line: str, fault: str) -> None:
    target = tmp_path / "built.db"
    target.write_bytes(b"what was there")
    with pytest.raises(InvalidCatalogue) as refusal:
        build(catalogue_of(tmp_path, f"{GOOD}{line}\n"), target)
    assert str(refusal.value).startswith(fault)
    assert target.read_bytes() == b"what was there"


def test_every_faulty_line_is_named_at_once(tmp_path: Path) -> None:
    lines = f"{GOOD}2,,Plato,hope,W (1868),t,2026-11-01\n2,x,Plato,hope,W,t,2026-11-01\n"
    with pytest.raises(InvalidCatalogue) as refusal:
        read_catalogue(catalogue_of(tmp_path, lines))
    assert [fault[:6] for fault in str(refusal.value).splitlines()] == ["line 3", "line 4"]


@pytest.mark.parametrize(
    ("head", "fault"),
    [
        (HEAD.replace("added", "added,mood"), "line 1: unknown columns: mood"),
        (HEAD.replace(",source", ""), "line 1: missing columns: source"),
        (HEAD.replace("author", "quote"), "line 1: missing columns: author"),
        ("", "line 1: "),
    ],
)
def test_unknown_and_missing_columns_are_named(tmp_path: Path, head: str, fault: str) -> None:
    with pytest.raises(InvalidCatalogue) as refusal:
        read_catalogue(catalogue_of(tmp_path, "", head))
    assert str(refusal.value).startswith(fault)


# ---- reading and writing files


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_written_reads_back_the_same(form: FileFormat) -> None:
    odd = Quotation('He said: "a, b"; ‘c’ \\ {d}', "Ñandú O’Neil, Jr.", "wit")
    quotations = [ALCOTT, AUSTEN, ZOLA, KABIR, odd]
    stream = io.StringIO(newline="")
    write_quotations(quotations, stream, form)
    stream.seek(0)
    assert [row.quotation for row in read_quotations(stream, form)] == quotations


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_is_written_and_read_as_nothing(form: FileFormat) -> None:
    stream = io.StringIO()
    write_quotations([], stream, form)
    stream.seek(0)
    assert list(read_quotations(stream, form)) == []


def rows_of(text: str, form: FileFormat) -> list[tuple[int, str]]:
    rows = read_quotations(io.StringIO(text, newline=""), form)
    return [
        (row.line, row.quotation.quote if isinstance(row.quotation, Quotation) else str(row.quotation)) for row in rows
    ]


def test_csv_rows_are_told_by_the_line_they_begin_on() -> None:
    text = 'author,category,quote\r\nA,b,"one\r\nand a half"\r\n\r\nA,b\r\nA,b,\r\nA,b,two\r\n'
    assert rows_of(text, "csv") == [
        (2, "one and a half"),
        (5, "2 fields, where the first line has 3"),
        (6, "quote is empty"),
        (7, "two"),
    ]


def test_a_csv_row_that_cannot_be_read_does_not_stop_the_others() -> None:
    text = f'quote,author,category\n"x"y,A,b\n{"x" * 200_000},A,b\nlast,A,b\n'
    rows = rows_of(text, "csv")
    assert [line for line, _ in rows] == [2, 3, 4]
    assert rows[0][1] == "',' expected after '\"'"
    assert "field larger than field limit" in rows[1][1]
    assert rows[2][1] == "last"


def test_json_rows_are_told_by_their_number() -> None:
    text = '[{"quote": "one", "author": "A", "category": "b"}, 7, {"quote": "x"}, {"quot": "x"}]'
    assert rows_of(text, "json") == [
        (1, "one"),
        (2, "not an object with quote, author and category"),
        (3, "author is missing"),
        (4, "unknown: quot; known are quote, author, category, source"),
    ]


def test_json_lines_are_told_by_their_line() -> None:
    text = '{"quote": "one", "author": "A", "category": "b"}\n\n{broken\n[]\n'
    lines = rows_of(text, "jsonl")
    assert [line for line, _ in lines] == [1, 3, 4]
    assert lines[1][1].startswith("not JSON")


@pytest.mark.parametrize(
    ("text", "form", "fault"),
    [
        ("", "csv", "line 1: missing columns: quote, author, category"),
        ("quote,author\n", "csv", "line 1: missing columns: category"),
        ("quote,author,category,mood\n", "csv", "line 1: unknown columns: mood"),
        ("quote,author,category,quote\n", "csv", "line 1: a column comes twice"),
        ("", "json", "this is not JSON"),
        ("[" * 100_000, "json", "this is not JSON"),
        ("{", "json", "this is not JSON"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused_whole(text: str, form: FileFormat, fault: str) -> None:
    with pytest.raises(UnreadableFile) as refusal:
        rows_of(text, form)
    assert str(refusal.value).startswith(fault)


# ---- what an import stores


def test_what_is_there_already_is_not_added_again(open_database: None) -> None:
    rows = [ImportRow(n, quotation) for n, quotation in enumerate([ALCOTT, KABIR, KABIR, AUSTEN])]
    imported = import_rows(rows, lambda: NOON)
    assert (imported.new, imported.known, imported.bad) == (1, 3, [])
    assert Quote.select().count() == 4


def test_a_bad_row_does_not_stop_the_others(open_database: None) -> None:
    rows = [
        ImportRow(2, KABIR),
        ImportRow(3, InvalidQuotation("quote is empty")),
        *(ImportRow(4, one) for one in numbered_quotations(1_200)),
    ]
    imported = import_rows(rows, lambda: NOON)
    assert (imported.new, imported.bad, imported.refused) == (1_201, [(3, "quote is empty")], False)
    assert Quote.select().count() == 1_204


def test_imported_quotes_are_numbered_without_gaps(open_database: None) -> None:
    import_rows(
        [ImportRow(n, one) for n, one in enumerate([*numbered_quotations(10), *numbered_quotations(20)])], lambda: NOON
    )
    assert [quote.id for quote in Quote.select().order_by(Quote.id)] == list(range(1, 24))
