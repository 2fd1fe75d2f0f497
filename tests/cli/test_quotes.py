import json
import os
import pty
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from quoteapi.settings import ROOT
from tests.helpers.data import numbered_quotations

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def quoteapi(tmp_path: Path) -> Command:
    """Run the command as an operator would, on a working database of its own."""

    def run(*words: str, given: str | bytes = "", **environment: str) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            [sys.executable, "-m", "quoteapi", *words],
            input=given.encode() if isinstance(given, str) else given,
            capture_output=True,
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "DATABASE_URL": f"sqlite:///{tmp_path}/working.db",
                **environment,
            },
            check=False,
            timeout=60,
        )
        return subprocess.CompletedProcess(ran.args, ran.returncode, ran.stdout.decode(), ran.stderr.decode())

    return run


def test_help_names_every_command(quoteapi: Command) -> None:
    helped = quoteapi("--help")
    assert helped.returncode == 0
    for command in ("serve", "daily", "random", "quotes", "completion"):
        assert re.search(rf"^  {command} ", helped.stdout, re.MULTILINE)
    assert quoteapi("--version").stdout.startswith("python -m quoteapi, version 0.")


# ---- daily and random


def test_daily_shows_the_quote_its_author_and_its_source(quoteapi: Command) -> None:
    shown = quoteapi("daily")
    as_json = json.loads(quoteapi("daily", "--json").stdout)
    assert shown.returncode == 0
    assert set(as_json) == {"quote", "author", "category", "source"}
    assert shown.stdout.startswith("“")
    assert f"— {as_json['author']}" in shown.stdout


def test_daily_of_a_past_date_and_of_one_to_come(quoteapi: Command) -> None:
    assert quoteapi("daily", "--date", "2026-11-01").returncode == 0
    to_come = quoteapi("daily", "--date", "2999-01-01")
    assert (to_come.returncode, to_come.stdout) == (1, "")
    assert "2999-01-01 is not decided yet" in to_come.stderr
    assert quoteapi("daily", "--date", "yesterday").returncode == 2


def test_random_is_narrowed_and_says_when_nothing_is_left(quoteapi: Command) -> None:
    words = ("random", "--author", "jane austen", "--category", "Wit", "--max-length", "100", "--json")
    assert json.loads(quoteapi(*words).stdout)["author"] == "Jane Austen"
    nothing = quoteapi("random", "--author", "Nobody")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert nothing.stderr.startswith("Error: No quote has author 'Nobody'.")
    assert quoteapi("random", "--max-length", "0").returncode == 2


# ---- quotes


def test_a_quote_that_is_added_is_listed_and_not_added_again(quoteapi: Command) -> None:
    words = ("quotes", "add", "काल करे सो आज कर", "--author", "कबीर", "--category", "समय", "--source", "Dohe (c. 1500)")
    assert quoteapi(*words).stdout == "Added as quote 597.\n"
    assert quoteapi(*words).stdout == "It is there already, as quote 597.\n"
    assert json.loads(quoteapi(*words, "--json").stdout) == {"id": 597, "new": False}
    (listed,) = json.loads(quoteapi("quotes", "list", "--author", "कबीर", "--json").stdout)
    assert listed == {"id": 597, "author": "कबीर", "category": "समय", "quote": "काल करे सो आज कर"}


def test_a_quote_that_cannot_be_is_refused(quoteapi: Command) -> None:
    refused = quoteapi("quotes", "add", "x" * 321, "--author", "A", "--category", "b")
    assert refused.returncode == 2
    assert "quote has 321 characters; at most 320 fit" in refused.stderr


def test_the_list_is_a_table_newest_first(quoteapi: Command) -> None:
    lines = quoteapi("quotes", "list", "--limit", "3").stdout.splitlines()
    assert lines[0].split() == ["id", "author", "category", "quote"]
    assert [line.split()[0] for line in lines[1:]] == ["596", "595", "594"]
    empty = quoteapi("quotes", "list", "--category", "cookery")
    assert (empty.returncode, empty.stdout, empty.stderr) == (0, "", "No quotes.\n")
    assert json.loads(quoteapi("quotes", "list", "--category", "cookery", "--json").stdout) == []


@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
def test_what_is_exported_can_be_imported_elsewhere(quoteapi: Command, tmp_path: Path, form: str) -> None:
    quoteapi("quotes", "add", "Mine, “truly”", "--author", "Me", "--category", "b")
    exported = quoteapi("quotes", "export", f"all.{form}")
    assert (exported.returncode, exported.stdout) == (0, "")
    assert quoteapi("quotes", "export", "-", "--format", form).stdout == (tmp_path / f"all.{form}").read_text()
    elsewhere = {"DATABASE_URL": f"sqlite:///{tmp_path}/elsewhere.db"}
    imported = quoteapi("quotes", "import", f"all.{form}", **elsewhere)
    assert (imported.returncode, imported.stdout) == (0, "1 added, 596 there already, 0 bad.\n")
    (listed,) = json.loads(quoteapi("quotes", "list", "--limit", "1", "--json", **elsewhere).stdout)
    assert listed["quote"] == "Mine, “truly”"


def test_the_catalogues_own_file_can_be_imported(quoteapi: Command) -> None:
    imported = quoteapi("quotes", "import", str(ROOT / "catalogue/quotes.csv"))
    assert (imported.returncode, imported.stdout) == (0, "0 added, 596 there already, 0 bad.\n")


def test_bad_rows_are_told_by_line_and_skipped(quoteapi: Command) -> None:
    text = "quote,author,category\nGood,A,b\n,A,b\nAlso good,A,b\n"
    imported = quoteapi("quotes", "import", "-", "--format", "csv", given=text)
    assert imported.returncode == 1
    assert imported.stdout == "2 added, 0 there already, 1 bad.\n"
    assert imported.stderr == "line 3: quote is empty\n"


def test_bad_rows_refuse_the_whole_where_asked(quoteapi: Command) -> None:
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
    ("given", "said"),
    [
        (b"\xef\xbb\xbfquote,author,category\r\nWith a mark,A,b\r\n", "1 added, 0 there already, 0 bad.\n"),
        (b"quote,author,category\nCaf\xe9,A,b\n", "line 2: quote has characters that are not text\n"),
        (b"quote,author,category\nA\x00B,A,b\n", "line 2: "),
        (b"", "Error: -: line 1: missing columns"),
        (b"quote,author,category,mood\nx,A,b,c\n", "Error: -: line 1: unknown columns: mood"),
    ],
)
def test_files_of_other_makes_are_read_or_refused_in_a_sentence(quoteapi: Command, given: bytes, said: str) -> None:
    imported = quoteapi("quotes", "import", "-", "--format", "csv", given=given)
    assert said in imported.stdout + imported.stderr
    assert "Traceback" not in imported.stderr


@pytest.mark.parametrize("words", [("import", "none.csv"), ("import", "."), ("import", "-"), ("export", "all.txt")])
def test_a_file_that_cannot_be_meant_is_wrong_usage(quoteapi: Command, words: tuple[str, ...]) -> None:
    assert quoteapi("quotes", *words).returncode == 2


def test_on_a_terminal_long_work_shows_how_far_it_is(quoteapi: Command, tmp_path: Path) -> None:
    rows = "".join(f"{quotation.quote},{quotation.author},c\n" for quotation in numbered_quotations(3_000))
    (tmp_path / "many.csv").write_text(f"quote,author,category\n{rows}")
    terminal, end = pty.openpty()
    environment = {**os.environ, "DATABASE_URL": f"sqlite:///{tmp_path}/working.db", "TERM": "xterm"}
    words = [sys.executable, "-m", "quoteapi", "quotes", "import", str(tmp_path / "many.csv")]
    subprocess.run(words, stderr=end, stdout=subprocess.DEVNULL, env=environment, cwd=ROOT, check=True)
    os.close(end)
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert "Reading many.csv" in shown
    assert "100%" in shown


def test_an_export_goes_into_what_is_no_file_too(quoteapi: Command, tmp_path: Path) -> None:
    device = Path(os.devnull)
    assert quoteapi("quotes", "export", str(device), "--format", "csv").returncode == 0
    assert not device.is_file()
    assert quoteapi("quotes", "export", "/dev/fd/1", "--format", "csv").stdout.startswith(
        "quote,author,category,source\n"
    )
    nowhere = quoteapi("quotes", "export", f"{tmp_path}/none/all.csv")
    assert nowhere.returncode == 1
    assert nowhere.stderr == f"Error: The folder {tmp_path}/none does not exist.\n"
    assert "Traceback" not in nowhere.stderr


# ---- what the operator should read


def test_a_wrong_setting_stops_every_command_with_a_sentence(quoteapi: Command) -> None:
    for words in (("serve",), ("daily",), ("random",), ("quotes", "list"), ("quotes", "export")):
        stopped = quoteapi(*words, PORT="http")
        assert (stopped.returncode, stopped.stdout) == (3, "")
        assert stopped.stderr == "Error: PORT must be a port number from 1 to 65535, for example 8000, not 'http'.\n"


def test_a_database_that_cannot_be_used_stops_with_a_sentence(quoteapi: Command, tmp_path: Path) -> None:
    (tmp_path / "other.db").write_text("something else entirely, and long enough to be looked at")
    stopped = quoteapi("daily", DATABASE_URL=f"sqlite:///{tmp_path}/other.db")
    assert stopped.returncode == 3
    assert re.fullmatch(r"Error: The database .*other\.db cannot be used .*Set DATABASE_URL .*\.\n", stopped.stderr)


def test_serve_says_when_the_port_is_taken(quoteapi: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        stopped = quoteapi("serve", "--port", str(port))
    assert stopped.returncode == 3
    assert f"Cannot listen on 127.0.0.1 port {port}: Address already in use. Set HOST or PORT" in stopped.stderr


def test_serve_says_when_there_is_no_such_host(quoteapi: Command) -> None:
    for host in ("a..b", "x" * 70):
        stopped = quoteapi("serve", HOST=host)
        assert (stopped.returncode, stopped.stdout) == (3, "")
        assert f"Cannot listen on {host}" in stopped.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_can_complete_the_words(quoteapi: Command, shell: str) -> None:
    script = quoteapi("completion", shell)
    assert script.returncode == 0
    assert "_QUOTEAPI_COMPLETE" in script.stdout


def test_bash_completes_the_words(tmp_path: Path) -> None:
    words = {"_QUOTEAPI_COMPLETE": "bash_complete", "COMP_WORDS": "quoteapi quotes ex", "COMP_CWORD": "2"}
    code = "from quoteapi.cli import main; main(prog_name='quoteapi')"
    ran = subprocess.run([sys.executable, "-c", code], env=words, cwd=ROOT, capture_output=True, check=True)
    assert ran.stdout == b"plain,export\n"
