import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from quoteapi import clock
from quoteapi.cli import main
from quoteapi.settings import ROOT, model, read_settings, settings_for_database
from quoteapi.storage import database
from quoteapi.storage.sql_state import SqlState
from tests.cli.conftest import Command
from tests.helpers import postgresql_server
from tests.helpers.data import MIRA, SECRET_KEY


def test_help_lists_every_command(quoteapi_process: Command) -> None:
    helped = quoteapi_process("--help")
    assert helped.returncode == 0
    for command in ("serve", "daily", "random", "quotes", "completion"):
        assert re.search(rf"^  {command} ", helped.stdout, re.MULTILINE)
    assert quoteapi_process("--version").stdout.startswith("quoteapi, version 0.")


def test_an_invalid_setting_stops_every_command_with_a_message(quoteapi: Command) -> None:
    for words in (("serve",), ("daily",), ("random",), ("quotes", "list"), ("quotes", "export")):
        stopped = quoteapi(*words, PORT="http")
        assert (stopped.returncode, stopped.stdout) == (3, "")
        assert (
            stopped.stderr == "Error: PORT must be a port number from 1 to 65535, for example 8000. It is now 'http'.\n"
        )


def test_an_unusable_database_stops_a_command_with_a_message(quoteapi_process: Command, tmp_path: Path) -> None:
    (tmp_path / "other.db").write_text("something else entirely, and long enough to be looked at")
    stopped = quoteapi_process("daily", DATABASE_URL=f"sqlite:///{tmp_path}/other.db")
    assert stopped.returncode == 3
    assert re.fullmatch(r"Error: The database .*other\.db cannot be used .*Set DATABASE_URL .*\.\n", stopped.stderr)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_completion_script(quoteapi: Command, shell: str) -> None:
    script = quoteapi("completion", shell)
    assert script.returncode == 0
    assert "_QUOTEAPI_COMPLETE" in script.stdout


def test_bash_completes_commands(tmp_path: Path) -> None:
    words = {"_QUOTEAPI_COMPLETE": "bash_complete", "COMP_WORDS": "quoteapi quotes ex", "COMP_CWORD": "2"}
    code = "from quoteapi.cli import main; main(prog_name='quoteapi')"
    ran = subprocess.run([sys.executable, "-c", code], env=words, cwd=ROOT, capture_output=True, check=True)
    assert ran.stdout == b"plain,export\n"


# ---- a database that does not exist

MAY_CREATE = {"serve", "db migrate", "db copy", "quotes add", "quotes import"}
WITHOUT_DATABASE = {"completion", "policy", "setup", "teardown"}
ARGUMENTS = {
    "subscribers remove": [MIRA, "--yes"],
    "subscribers opt-in": [MIRA],
    "subscribers set-time-zone": ["Asia/Kolkata", MIRA],
}


def commands_that_need_a_database(group: click.Group = main, prefix: tuple[str, ...] = ()) -> Iterator[list[str]]:
    for name, command in group.commands.items():
        words = (*prefix, name)
        if isinstance(command, click.Group):
            yield from commands_that_need_a_database(command, words)
        elif " ".join(words) not in MAY_CREATE | WITHOUT_DATABASE:
            yield [*words, *ARGUMENTS.get(" ".join(words), [])]


COMMANDS = [*commands_that_need_a_database(), ["publish", "--dry-run"]]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_misspelled_file_is_named_and_not_created(words: list[str], quoteapi: Command, tmp_path: Path) -> None:
    refused = quoteapi(*words, DATABASE_URL=f"sqlite:///{tmp_path}/typo.db")
    said = refused.stdout if words == ["doctor"] else refused.stderr
    assert refused.returncode == (1 if words == ["doctor"] else 3)
    assert f"There is no database {tmp_path}/typo.db. Check DATABASE_URL." in said
    assert "quoteapi db migrate" in said
    assert not list(tmp_path.glob("typo.db*"))


@pytest.mark.parametrize("words", [words for words in COMMANDS if words != ["db", "status"]], ids=" ".join)
def test_a_server_without_tables_is_named_and_gets_none(words: list[str], quoteapi: Command) -> None:
    with postgresql_server.create_database(with_tables=False) as url:
        refused = quoteapi(*words, DATABASE_URL=url, SECRET_KEY=SECRET_KEY)
        said = refused.stdout if words == ["doctor"] else refused.stderr
        assert refused.returncode == (1 if words == ["doctor"] else 3)
        assert "has no tables of QuoteAPI. Check DATABASE_URL." in said
        assert url not in said
        with database.open_database(settings_for_database(url)) as opened:
            assert opened.get_tables() == []


@pytest.mark.parametrize(
    "words",
    [["quotes", "add", "Try again.", "--author", "Me", "--category", "wit"], ["quotes", "import", "new.csv"]],
    ids=lambda words: words[1],
)
def test_a_command_that_adds_quotes_creates_a_database_and_names_it(
    words: list[str], quoteapi: Command, tmp_path: Path
) -> None:
    (tmp_path / "new.csv").write_text("quote,author,category\nTry again.,Me,wit\n")
    added = quoteapi(*words, DATABASE_URL=f"sqlite:///{tmp_path}/new.db")
    assert (added.returncode, added.stderr) == (0, f"Created the database {tmp_path}/new.db.\n")


def test_without_database_url_the_first_command_creates_the_default_file(
    quoteapi: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "ROOT", tmp_path)
    first = quoteapi("daily", DATABASE_URL="")
    assert (first.returncode, first.stderr) == (0, f"Created the database {tmp_path}/quoteapi.db.\n")


def test_a_relative_path_starts_at_the_projects_folder(
    quoteapi: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    project.mkdir()
    elsewhere.mkdir()
    monkeypatch.setattr(model, "ROOT", project)
    monkeypatch.chdir(elsewhere)
    assert quoteapi("db", "migrate", DATABASE_URL="sqlite:///mine.db").returncode == 0
    assert (list(elsewhere.iterdir()), (project / "mine.db").exists()) == ([], True)
    assert quoteapi("subscribers", "list", DATABASE_URL="sqlite:///mine.db").returncode == 0
    (project / "mine.db").rename(elsewhere / "mine.db")
    for words in (["subscribers", "list"], ["db", "migrate"]):
        refused = quoteapi(*words, DATABASE_URL="sqlite:///mine.db")
        assert refused.returncode == 3
        assert f"DATABASE_URL could mean {project}/mine.db or {elsewhere}/mine.db: " in refused.stderr
    assert not (project / "mine.db").exists()
    (project / "mine.db").write_bytes(b"of a first try")
    assert quoteapi("subscribers", "list", DATABASE_URL="sqlite:///mine.db").returncode == 3
    assert quoteapi("subscribers", "list", DATABASE_URL=f"sqlite:///{elsewhere}/mine.db").returncode == 0


def test_files_with_secrets_or_numbers_are_created_for_their_owner_only(
    quoteapi: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    mask = os.umask(0)
    try:
        assert quoteapi("db", "migrate", DATABASE_URL=f"sqlite:///{tmp_path}/new.db").returncode == 0
        assert quoteapi("doctor", DATABASE_URL=f"sqlite:///{tmp_path}/new.db").returncode == 0
        assert quoteapi("subscribers", "export", "people.csv", "--unmasked").returncode == 0
        assert quoteapi("db", "copy", environment["DATABASE_URL"], f"sqlite:///{tmp_path}/copy.db").returncode == 0
        with database.connect(read_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/new.db"})).connection_context():
            SqlState().set_sms_switch(clock.now(), off=True)
            created = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    finally:
        os.umask(mask)
    assert {"new.db", "new.db-wal", "new.db-shm", "new.db.key", "people.csv", "copy.db"} <= set(created)
    assert {name for name, mode in created.items() if mode != 0o600} == set()
