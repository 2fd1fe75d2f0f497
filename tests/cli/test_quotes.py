import json
import os
from pathlib import Path

import pytest

from quoteapi.settings import ROOT
from tests.cli.conftest import Command


def test_daily_prints_the_quote_its_author_and_its_source(quoteapi_process: Command) -> None:
    shown = quoteapi_process("daily")
    as_json = json.loads(quoteapi_process("daily", "--json").stdout)
    assert shown.returncode == 0
    assert set(as_json) == {"quote", "author", "category", "source"}
    assert shown.stdout.startswith("“")
    assert f"— {as_json['author']}" in shown.stdout


def test_daily_accepts_a_past_date_and_rejects_a_future_one(quoteapi: Command) -> None:
    assert quoteapi("daily", "--date", "2026-11-01").returncode == 0
    to_come = quoteapi("daily", "--date", "2999-01-01")
    assert (to_come.returncode, to_come.stdout) == (1, "")
    assert "2999-01-01 is not chosen yet" in to_come.stderr
    wrong = quoteapi("daily", "--date", "yesterday")
    assert wrong.returncode == 2
    assert "'yesterday' is not a date. Write it as YYYY-MM-DD, for example 2026-11-22." in wrong.stderr


def test_random_has_filters_and_fails_if_no_quote_matches(quoteapi: Command) -> None:
    words = ("random", "--author", "jane austen", "--category", "Wit", "--max-length", "100", "--json")
    assert json.loads(quoteapi(*words).stdout)["author"] == "Jane Austen"
    nothing = quoteapi("random", "--author", "Nobody")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert nothing.stderr.startswith("Error: There is no quote by 'Nobody'.")
    assert quoteapi("random", "--max-length", "0").returncode == 2


def test_an_added_quote_is_listed_and_not_added_twice(quoteapi: Command) -> None:
    words = ("quotes", "add", "काल करे सो आज कर", "--author", "कबीर", "--category", "समय", "--source", "Dohe (c. 1500)")
    assert quoteapi(*words).stdout == "Added as quote 597.\n"
    assert quoteapi(*words).stdout == "The quote exists already, as quote 597.\n"
    assert json.loads(quoteapi(*words, "--json").stdout) == {"id": 597, "new": False}
    (listed,) = json.loads(quoteapi("quotes", "list", "--author", "कबीर", "--json").stdout)
    assert listed == {"id": 597, "author": "कबीर", "category": "समय", "quote": "काल करे सो आज कर"}


def test_an_invalid_quote_is_a_usage_error(quoteapi: Command) -> None:
    refused = quoteapi("quotes", "add", "x" * 321, "--author", "A", "--category", "b")
    assert refused.returncode == 2
    assert "quote has 321 characters; the maximum is 320" in refused.stderr


def test_list_prints_a_table_newest_first(quoteapi: Command) -> None:
    lines = quoteapi("quotes", "list", "--limit", "3").stdout.splitlines()
    assert lines[0].split() == ["id", "author", "category", "quote"]
    assert [line.split()[0] for line in lines[1:]] == ["596", "595", "594"]
    empty = quoteapi("quotes", "list", "--category", "cookery")
    assert (empty.returncode, empty.stdout, empty.stderr) == (0, "", "No quotes found.\n")
    assert json.loads(quoteapi("quotes", "list", "--category", "cookery", "--json").stdout) == []
    similar = quoteapi("quotes", "list", "--author", "shakespeare")
    assert (similar.returncode, similar.stderr) == (0, "No quotes found. Did you mean William Shakespeare?\n")


@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
def test_an_export_can_be_imported_into_another_database(quoteapi: Command, tmp_path: Path, form: str) -> None:
    quoteapi("quotes", "add", "Mine, “truly”", "--author", "Me", "--category", "b")
    exported = quoteapi("quotes", "export", f"all.{form}")
    assert (exported.returncode, exported.stdout) == (0, "")
    assert quoteapi("quotes", "export", "-", "--format", form).stdout == (tmp_path / f"all.{form}").read_text()
    elsewhere = {"DATABASE_URL": f"sqlite:///{tmp_path}/elsewhere.db"}
    imported = quoteapi("quotes", "import", f"all.{form}", **elsewhere)
    assert (imported.returncode, imported.stdout) == (0, "1 added, 596 already there, 0 invalid.\n")
    (listed,) = json.loads(quoteapi("quotes", "list", "--limit", "1", "--json", **elsewhere).stdout)
    assert listed["quote"] == "Mine, “truly”"


def test_an_export_for_spreadsheets_is_imported_unchanged(quoteapi: Command, tmp_path: Path) -> None:
    for quote in ('=HYPERLINK("http://x.example")', "'=1+1 again", "-1 is less than 0", "'Tis done", "a; @b"):
        assert quoteapi("quotes", "add", "--author", "+Me", "--category", "b", "--", quote).returncode == 0
    exact, safe = "exact.csv", "safe.csv"
    assert quoteapi("quotes", "export", exact).returncode == 0
    assert quoteapi("quotes", "export", safe, "--escape-formulas").returncode == 0
    assert "\n'=1+1 again,+Me,b,\n" in (tmp_path / exact).read_text()
    assert '\n"\'\'=1+1 again","\'+Me","b","","escaped"\n' in (tmp_path / safe).read_text()
    elsewhere = {"DATABASE_URL": f"sqlite:///{tmp_path}/elsewhere.db"}
    assert quoteapi("quotes", "import", safe, **elsewhere).stdout == "5 added, 596 already there, 0 invalid.\n"
    assert quoteapi("quotes", "export", "again.csv", **elsewhere).returncode == 0
    assert (tmp_path / "again.csv").read_text() == (tmp_path / exact).read_text()


@pytest.mark.parametrize("group", ["quotes", "subscribers"])
def test_only_csv_has_formulas_to_escape(quoteapi: Command, group: str) -> None:
    refused = quoteapi(group, "export", "all.jsonl", "--escape-formulas")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--escape-formulas works only with CSV. Add --format csv." in refused.stderr


def test_the_catalogues_csv_file_can_be_imported(quoteapi: Command) -> None:
    imported = quoteapi("quotes", "import", str(ROOT / "catalogue/quotes.csv"))
    assert (imported.returncode, imported.stdout) == (0, "0 added, 596 already there, 0 invalid.\n")


def test_invalid_rows_are_reported_by_line_and_skipped(quoteapi_process: Command) -> None:
    text = "quote,author,category\nGood,A,b\n,A,b\nAlso good,A,b\n"
    imported = quoteapi_process("quotes", "import", "-", "--format", "csv", given=text)
    assert imported.returncode == 1
    assert imported.stdout == "2 added, 0 already there, 1 invalid.\n"
    assert imported.stderr == "line 3: quote is empty\n"


def test_strict_import_stores_nothing_if_a_row_is_invalid(quoteapi: Command) -> None:
    text = "quote,author,category\nGood,A,b\n,A,b\n"
    refused = quoteapi("quotes", "import", "-", "--format", "csv", "--strict", "--json", given=text)
    assert refused.returncode == 1
    assert json.loads(refused.stdout) == {
        "new": 0,
        "known": 0,
        "bad": [{"line": 3, "reason": "quote is empty"}],
        "refused": True,
    }
    assert json.loads(quoteapi("quotes", "list", "--author", "A", "--json").stdout) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b"\xef\xbb\xbfquote,author,category\r\nWith a mark,A,b\r\n", "1 added, 0 already there, 0 invalid.\n"),
        (b"quote,author,category\nCaf\xe9,A,b\n", "line 2: quote has control characters or invalid Unicode\n"),
        (b"quote,author,category\nA\x00B,A,b\n", "line 2: "),
        (b"", "Error: -: line 1: missing columns"),
        (b"quote,author,category,mood\nx,A,b,c\n", "Error: -: line 1: unknown columns: mood"),
    ],
)
def test_import_of_unusual_files_succeeds_or_fails_with_a_message(
    quoteapi: Command, given: bytes, message: str
) -> None:
    imported = quoteapi("quotes", "import", "-", "--format", "csv", given=given)
    assert message in imported.stdout + imported.stderr
    assert "Traceback" not in imported.stderr


@pytest.mark.parametrize("words", [("import", "none.csv"), ("import", "."), ("import", "-"), ("export", "all.txt")])
def test_an_unusable_file_name_is_a_usage_error(quoteapi: Command, words: tuple[str, ...]) -> None:
    assert quoteapi("quotes", *words).returncode == 2


def test_export_writes_to_devices_and_pipes(quoteapi_process: Command, tmp_path: Path) -> None:
    device = Path(os.devnull)
    assert quoteapi_process("quotes", "export", str(device), "--format", "csv").returncode == 0
    assert not device.is_file()
    assert quoteapi_process("quotes", "export", "/dev/fd/1", "--format", "csv").stdout.startswith(
        "quote,author,category,source\n"
    )
    nowhere = quoteapi_process("quotes", "export", f"{tmp_path}/none/all.csv")
    assert nowhere.returncode == 1
    assert nowhere.stderr == f"Error: The folder {tmp_path}/none does not exist.\n"
    assert "Traceback" not in nowhere.stderr
