"""Every command with control characters in its arguments, settings, files, database and network responses."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from quoteapi import cli
from quoteapi.clock import now
from quoteapi.container import Container
from quoteapi.settings import ROOT, loader
from quoteapi.storage.models import ConsoleSms, Quote
from quoteapi.storage.models import database as bound
from tests.cli.conftest import Command, insert_subscriber, sns_settings
from tests.helpers.data import MIRA
from tests.helpers.text_strategies import UNPRINTABLE
from tests.helpers.upstream_api import UpstreamApi

POISON = "\x1b]0;title\x07\x1b[2J\r\nforged\x1b[1A\x9b1A\x7f\u202egnp\u2066.\u2028forged\x85\t"
"""Sets the title, clears the screen, moves the cursor, begins lines and reverses text."""
SNS_ERROR = (
    "<ErrorResponse><Error><Type>Sender</Type><Code>{}</Code><Message>{}</Message></Error>"
    "<RequestId>{}</RequestId></ErrorResponse>"
)
XML_POISON = "no\nforged \x9b1A\x7f\u202egnp\u2028forged\x85"
"""What of it XML can hold."""
Run = Callable[..., str]


@pytest.fixture
def run(quoteapi: Command) -> Run:
    """Return a function that runs a command, checks that its output is printable, and returns it."""

    def run_and_check(*words: str, **environment: str) -> str:
        ran = quoteapi(*words, **environment)
        for stream in (ran.stdout, ran.stderr):
            assert not (set(stream) - {"\n"}) & set(UNPRINTABLE), ascii(stream)
            assert not re.search("^forged", stream, re.MULTILINE), "a line was forged"
        return ran.stdout + ran.stderr

    return run_and_check


@pytest.fixture
def poisoned_database(working_database: Container) -> Container:
    """Return the container of a database into which another program put control characters."""
    Quote.update(quote=f"q{POISON}", author=f"a{POISON}", category=f"c{POISON}", source=f"s{POISON}").execute()
    insert_subscriber(f"+9190{POISON}", topic=f"t{POISON}", confirmed_from=POISON)
    ConsoleSms.insert(to=f"+9190{POISON}", message=f"m{POISON}", kind="code", sent_at=now()).execute()
    bound.execute_sql("INSERT INTO schema_migration (name, applied) VALUES (?, ?)", (f"9{POISON}", "2026-01-01"))
    return working_database


def leaf_commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command that is no group."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaf_commands(command, *path, name)
        else:
            yield (*path, name)


COMMANDS = list(leaf_commands(cli.main))
VALID = {
    ("quotes", "add"): ["x", "--author", "y", "--category", "z"],
    ("quotes", "import"): ["x.csv"],
    ("subscribers", "remove"): [MIRA, "--yes"],
    ("subscribers", "opt-in"): [MIRA],
    ("subscribers", "set-time-zone"): ["Asia/Kolkata", MIRA],
    ("db", "copy"): ["sqlite:///from.db", "sqlite:///to.db"],
    ("completion",): ["bash"],
}
"""Valid arguments of the commands that need some."""
WITHOUT_SETTINGS = {("completion",), ("db", "copy"), ("policy",), ("setup",), ("teardown",)}
"""The commands that do not use the settings of this machine."""


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_arguments_and_settings_are_printed_printably(command: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("quote,author,category\n")
    for words in ([f"--{POISON}"], [f"-{POISON}"], [POISON] * 5, [f"--json={POISON}"]):
        assert "Error" in run(*command, *words)
    if command not in WITHOUT_SETTINGS:
        for name in ("PORT", "PUBLIC_URL", "LOG_LEVEL"):
            assert name in run(*command, *VALID.get(command, []), **{name: POISON})
        assert "x.db" not in run(*command, *VALID.get(command, []), DATABASE_URL=f"sqlite:////{POISON}/x.db")


@pytest.mark.parametrize(
    "words",
    [
        (POISON,),
        (f"--{POISON}",),
        ("quotes", POISON),
        ("quotes", "import", f"{POISON}.csv"),
        ("quotes", "import", f"{POISON}", "--format", "csv"),
        ("quotes", "import", "x.csv", "--format", POISON),
        ("quotes", "export", f"{POISON}/x.csv"),
        ("quotes", "export", POISON),
        ("quotes", "add", f"x{POISON}", "--author", "y", "--category", "z"),
        ("quotes", "add", "x", "--author", f"y{POISON}", "--category", "z"),
        ("quotes", "list", "--limit", POISON),
        ("random", "--author", POISON),
        ("random", "--max-length", POISON),
        ("daily", "--date", POISON),
        ("subscribers", "list", "--state", POISON),
        ("subscribers", "export", f"{POISON}/x.csv"),
        ("subscribers", "remove", POISON),
        ("subscribers", "opt-in", f"+91{POISON}"),
        ("subscribers", "set-time-zone", POISON, MIRA),
        ("sms", "inbox", "--limit", POISON),
        ("db", "copy", f"sqlite:///{POISON}.db", "sqlite:///to.db"),
        ("db", "copy", POISON, POISON),
        ("serve", "--host", POISON),
        ("serve", "--port", POISON),
        ("doctor", "--stage", POISON),
        ("doctor", "--stage", "dev", "--env-file", POISON),
        ("completion", POISON),
    ],
)
def test_values_of_arguments_are_printed_printably(words: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("quote,author,category\n")
    run(*words)


FILES = {
    "a column.csv": f"quote,author,{POISON}category\nx,y,z\n",
    "long columns.csv": ",".join(f"{POISON}{number}" * 99 for number in range(999)) + "\n",
    "rows.csv": f'quote,author,category\n"x{POISON}",y,z\n"x","y{POISON}",z\nx,y,z,{POISON}\n"x{POISON}\n',
    "a key.json": json.dumps([{"quote": "x", "author": "y", "category": "z", POISON: "k"}]),
    "values.json": json.dumps([{"quote": POISON, "author": POISON, "category": POISON}, POISON, {"quote": [POISON]}]),
    "lines.jsonl": f'{{"quote": "x", "author": "y", "category": "z", {json.dumps(POISON)}: 1}}\n\x1b[2J{{\n',
    "broken.json": "\x1b[2J\x00",
    "binary.csv": bytes(range(256)).decode("latin-1") * 9,
    "binary.json": bytes(range(256)).decode("latin-1"),
    "binary.jsonl": bytes(range(256)).decode("latin-1"),
    "an archive.csv": "PK\x03\x04\x14\x00\x08\x08\x08\x00!\x00\xcb\x9e\x05\x00\x00\x00[Content_Types].xml\n" * 20,
    "one long line.csv": "\x00\x1b" * 200_000,
    f"named {POISON}.csv": "quote,author\n",
    "\udcff.csv": "quote,author\n",
}


@pytest.mark.parametrize("name", FILES, ids=ascii)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_texts_of_files_are_printed_printably(name: str, encoding: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILES[name].encode(encoding, "replace"))
    for options in ([], ["--strict"], ["--json"]):
        assert len(run("quotes", "import", str(tmp_path / name), *options)) < 3_000


def test_an_import_refuses_control_characters(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("quote,author,category\nx\x1b[2J,y,z\nx,y\x9b1A,z\nx,y,z\x7f\n")
    refused = run("quotes", "import", "rows.csv")
    assert refused.count("has control characters or invalid Unicode") == 3
    assert "0 added" in refused


READING = [
    ("daily",),
    ("random",),
    ("quotes", "list"),
    ("quotes", "list", "--category", f"c{POISON}"),
    ("subscribers", "list"),
    ("subscribers", "list", "--unmasked"),
    ("publish", "--dry-run"),
    ("publish",),
    ("sms", "inbox"),
    ("db", "status"),
    ("doctor",),
    ("reconcile", "--all"),
]


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_texts_of_a_database_are_printed_printably(
    words: tuple[str, ...], run: Run, poisoned_database: Container
) -> None:
    run(*words)
    if "publish" not in words or "--dry-run" in words:
        run(*words, "--json")


def test_json_output_means_what_the_database_has(quoteapi: Command, poisoned_database: Container) -> None:
    assert json.loads(quoteapi("daily", "--json").stdout)["quote"] == f"q{POISON}"
    assert json.loads(quoteapi("sms", "inbox", "--json").stdout)[0]["message"] == f"m{POISON}"


def test_an_export_is_not_altered(quoteapi: Command, poisoned_database: Container, tmp_path: Path) -> None:
    assert quoteapi("quotes", "export", "all.jsonl").returncode == 0
    first = (tmp_path / "all.jsonl").read_text().split("\n")[0]
    assert json.loads(first)["quote"] == f"q{POISON}"


@pytest.mark.parametrize("code", ["InvalidParameter", "AuthorizationError", "InternalError", XML_POISON])
def test_errors_of_sns_are_printed_printably(
    code: str, run: Run, upstream_api: UpstreamApi, poisoned_database: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    status = 500 if code == "InternalError" else 400
    upstream_api.respond = upstream_api.bytes_response(SNS_ERROR.format(code, XML_POISON, XML_POISON).encode(), status)
    settings = sns_settings(f"http://{upstream_api.host}")
    for words in (("doctor",), ("reconcile", "--all"), ("publish",), ("subscribers", "opt-in", MIRA)):
        run(*words, **settings)
    assert upstream_api.requests


def test_errors_of_an_upstream_api_are_printed_printably(run: Run, upstream_api: UpstreamApi) -> None:
    for document in ({POISON: POISON}, [{"quote": POISON, "author": POISON}], POISON, [POISON]):
        upstream_api.respond = upstream_api.json_response(document)
        run("daily", Mashape_API_Endpoint=upstream_api.address)
    assert upstream_api.requests


def test_names_in_a_dotenv_file_are_printed_printably(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(f"'POIS{POISON}ON'=x\nPORT\x1b[2J=1\nexport X\x9b1A=1\nLOG_LEVELS=1\n")
    monkeypatch.setattr(loader.find_unknown_names, "__defaults__", (tmp_path / ".env",))
    assert "LOG_LEVELS in .env is not a setting" in run("doctor")


def test_commands_print_by_the_functions_that_escape() -> None:
    printing = re.compile(r"click\.s?echo|\bprint\(|\.write\(")
    modules = (ROOT / "quoteapi" / "cli").glob("*.py")
    lines = [(path.name, line) for path in modules for line in path.read_text().splitlines() if printing.search(line)]
    assert {name for name, _ in lines} == {"output.py", "root.py", "subscribers.py"}
    assert [line.strip()[:24] for name, line in lines if name == "root.py"] == ["click.echo(completer(mai"]
    assert ['f"{json.dumps(row)}' in line for name, line in lines if name == "subscribers.py"] == [True], "an export"
