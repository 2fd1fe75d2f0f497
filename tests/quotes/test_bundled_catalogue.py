import csv
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from quoteapi.quotes.bundled_catalogue import CATALOGUE, InvalidCatalogue, build, read_catalogue
from quoteapi.settings import BUNDLED_CATALOGUE
from quoteapi.storage import migrate

# What is replaced by a GSM-7 character in an SMS; then the characters of GSM-7, and those that count as two septets.
TO_GSM = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "—": "-", "–": "-"})
GSM = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENSION = set("^{}\\[~]|€")


@pytest.fixture(scope="module")
def bundled_rows() -> list[dict[str, str]]:
    with (CATALOGUE / "quotes.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


# ---- the bundled catalogue


def test_the_database_file_is_built_from_the_text_file() -> None:
    with closing(sqlite3.connect(f"file:{BUNDLED_CATALOGUE}?mode=ro", uri=True)) as connection:
        names = ("id", "quote", "author", "category", "source", "created_at", "fingerprint", "shuffle", "length")
        stored = connection.execute(f"SELECT {', '.join(names)} FROM quote ORDER BY id").fetchall()  # noqa: S608
    rows = read_catalogue()
    expected = [tuple({**row, "created_at": str(row["created_at"])[:19]}[name] for name in names) for row in rows]
    assert stored == expected, "run `make catalogue`"


def test_the_catalogue_is_large_and_varied(bundled_rows: list[dict[str, str]]) -> None:
    categories = Counter(row["category"] for row in bundled_rows)
    assert len(bundled_rows) >= 500
    assert len(categories) >= 12
    assert min(categories.values()) >= 20
    assert len({row["author"] for row in bundled_rows}) >= 100


def test_nine_in_ten_quotes_fit_one_sms_segment_with_their_author(bundled_rows: list[dict[str, str]]) -> None:
    def fits(row: dict[str, str]) -> bool:
        text = f"{row['quote']} - {row['author']}".translate(TO_GSM)
        if not set(text) <= GSM | GSM_EXTENSION:
            return False
        return len(text) + sum(character in GSM_EXTENSION for character in text) <= 160

    assert sum(map(fits, bundled_rows)) >= 0.9 * len(bundled_rows)


def test_quotation_marks_and_dashes_are_typographic(bundled_rows: list[dict[str, str]]) -> None:
    not_typographic = [row["id"] for row in bundled_rows if set(row["quote"]) & set("'\"") or "--" in row["quote"]]
    assert not_typographic == []


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
def test_well_known_misattributions_are_not_in_the_catalogue(
    bundled_rows: list[dict[str, str]], misattributed: str
) -> None:
    assert not [row for row in bundled_rows if misattributed.casefold() in row["quote"].casefold()]


# ---- the build


HEADER = "id,quote,author,category,source,checked_in,added\n"
VALID_LINE = '1,Hope and keep busy.,Louisa May Alcott,hope,"Little Women (1868)",a/text,2026-11-01\n'


def write_catalogue(folder: Path, lines: str, header: str = HEADER) -> Path:
    (folder / "authors.csv").write_text(
        "author,born,died\nLouisa May Alcott,1832,1888\nPlato,-428,-348\nAlbert Einstein,1879,1955\n"
    )
    (folder / "quotes.csv").write_text(header + lines, encoding="utf-8")
    return folder


def test_the_same_catalogue_is_built_to_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.db", "another.db"):
        build(write_catalogue(tmp_path, VALID_LINE), tmp_path / name)
    assert (tmp_path / "one.db").read_bytes() == (tmp_path / "another.db").read_bytes()


def test_a_valid_catalogue_is_built(tmp_path: Path) -> None:
    lines = VALID_LINE + '2,“A — b”,Plato,truth,"Republic (c. 375 BC)",a/text,2026-11-02\n'
    assert build(write_catalogue(tmp_path, lines), tmp_path / "built.db") == 2
    with closing(sqlite3.connect(tmp_path / "built.db")) as connection:
        assert connection.execute("SELECT id, quote, created_at FROM quote ORDER BY id").fetchall() == [
            (1, "Hope and keep busy.", "2026-11-01 00:00:00"),
            (2, "“A — b”", "2026-11-02 00:00:00"),
        ]
        applied = connection.execute("SELECT name FROM schema_migration ORDER BY name").fetchall()
        assert applied == [(name,) for name in migrate.known_migrations()]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("2,HOPE and  keep busy!!,Louisa May Alcott,hope,W (1868),t,2026-11-01", "line 3: the same quote as in line 2"),
        ("2,“Hope and keep—busy”,Plato,hope,W (1868),t,2026-11-01", "line 3: the same quote as in line 2"),
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
        (
            "2,x,Albert Einstein,hope,W (1916),t,2026-11-01",
            "line 3: Albert Einstein died in 1955; only authors who died by 1929 are accepted",
        ),
        ("2,x,Homer Simpson,hope,W (1868),t,2026-11-01", "line 3: author 'Homer Simpson' is not in authors.csv"),
        (f"2,{'x' * 321},Plato,hope,W (1868),t,2026-11-01", "line 3: quote has 321 characters; the maximum is 320"),
        ("2,x ,Plato,hope,W (1868),t,2026-11-01", "line 3: extra white space"),
        ("2,x,Plato,hope,W (1868),t", "line 3: 6 fields, but the first line has 7"),
        ("2,x,Plato,hope,W (1868),t,2026-11-01,more", "line 3: 8 fields, but the first line has 7"),
    ],
)
def test_an_invalid_line_is_named_and_nothing_is_built(tmp_path: Path, line: str, error: str) -> None:
    target = tmp_path / "built.db"
    target.write_bytes(b"what was there")
    with pytest.raises(InvalidCatalogue) as refused:
        build(write_catalogue(tmp_path, f"{VALID_LINE}{line}\n"), target)
    assert str(refused.value).startswith(error)
    assert target.read_bytes() == b"what was there"


def test_all_invalid_lines_are_named_at_once(tmp_path: Path) -> None:
    lines = f"{VALID_LINE}2,,Plato,hope,W (1868),t,2026-11-01\n2,x,Plato,hope,W,t,2026-11-01\n"
    with pytest.raises(InvalidCatalogue) as refused:
        read_catalogue(write_catalogue(tmp_path, lines))
    assert [error[:6] for error in str(refused.value).splitlines()] == ["line 3", "line 4"]


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (HEADER.replace("added", "added,mood"), "line 1: unknown columns: mood"),
        (HEADER.replace(",source", ""), "line 1: missing columns: source"),
        (HEADER.replace("author", "quote"), "line 1: missing columns: author"),
        ("", "line 1: "),
    ],
)
def test_unknown_and_missing_columns_are_named(tmp_path: Path, header: str, error: str) -> None:
    with pytest.raises(InvalidCatalogue) as refused:
        read_catalogue(write_catalogue(tmp_path, "", header))
    assert str(refused.value).startswith(error)
