"""Run the commands of docs/cli.md, block by block, and compare its tables with the command."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from quoteapi import clock
from quoteapi.cli.root import main
from quoteapi.settings import ROOT, read_settings, settings_for_database
from quoteapi.storage import database
from quoteapi.storage.models import Subscriber
from tests.helpers.data import MIRA, add_subscribers
from tests.helpers.processes import quoteapi

PAGE = (ROOT / "docs/cli.md").read_text()
BLOCKS = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Create a database with a subscriber who has just joined, and a folder with the command."""
    url = f"sqlite:///{tmp_path}/working.db"
    with database.connect(read_settings({"DATABASE_URL": url})).connection_context():
        add_subscribers(MIRA)
        Subscriber.update(joined_at=clock.now()).execute()
    command = tmp_path / "bin/quoteapi"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m quoteapi "$@"\n')
    command.chmod(0o700)
    return {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "DATABASE_URL": url}


@pytest.mark.parametrize("block", BLOCKS, ids=[block.splitlines()[-1].removeprefix("$ ") for block in BLOCKS])
def test_the_commands_of_the_page_work(block: str, environment: dict[str, str], tmp_path: Path) -> None:
    shutil.copy(tmp_path / "working.db", tmp_path / "quoteapi.db")
    answers = f"sqlite:///{tmp_path}/target.db\n" if "db copy" in block else f"{MIRA}\ny\n"
    lines = [line.removeprefix("$ ") for line in block.splitlines() if "activate" not in line]
    script = "\n".join(["set -e", *lines]).replace("sqlite:///quoteapi.db", f"sqlite:///{tmp_path}/quoteapi.db")
    ran = subprocess.run(
        ["bash", "-c", script],
        input=answers,
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    if "db copy" in block:
        target = settings_for_database(f"sqlite:///{tmp_path}/target.db")
        with database.open_database(target), database.connect(target).connection_context():
            assert [subscriber.mobile for subscriber in Subscriber.select()] == [MIRA]
    if "remove" in block:
        with database.connect(read_settings({"DATABASE_URL": environment["DATABASE_URL"]})).connection_context():
            assert Subscriber.select().count() == 0


def all_commands(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    """Yield the commands of a group and of its groups, with their words."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from ((f"{name} {words}", below) for words, below in all_commands(command))
        else:
            yield name, command


def test_the_page_lists_every_command_and_no_other() -> None:
    documented = re.findall(r"^\| `quoteapi ([\w -]+)` \|", PAGE, re.MULTILINE)
    assert sorted(documented) == sorted(name for name, _ in all_commands(main))


def test_the_page_lists_the_commands_that_print_json() -> None:
    (listed,) = re.findall(r"prints JSON for programs: (.+?)\.\n", PAGE, re.DOTALL)
    have_json = [
        name for name, command in all_commands(main) if "as_json" in {option.name for option in command.params}
    ]
    assert sorted(re.findall(r"`([\w ]+)`", listed)) == sorted(have_json)


def test_the_options_that_the_page_names_exist() -> None:
    known = {option for _, command in all_commands(main) for named in command.params for option in named.opts}
    assert set(re.findall(r"(--[a-z][a-z-]+)", PAGE)) <= known | {"--help"}


def test_the_lines_for_tab_completion_are_those_of_the_help() -> None:
    help_text = dict(all_commands(main))["completion"].help or ""
    lines = re.findall(r"^\| (?:bash|zsh|fish) \| `(.+?)` \| `.+` \|$", PAGE, re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        assert line.replace("\\|", "|") in help_text


@pytest.mark.parametrize(
    ("arguments", "log_level", "code"),
    [
        (["daily"], "INFO", 0),
        (["random", "--author", "Nobody"], "INFO", 1),
        (["daily", "--no-such-option"], "INFO", 2),
        (["daily"], "LOUD", 3),
    ],
)
def test_the_exit_codes_are_those_of_the_page(
    arguments: list[str], log_level: str, code: int, environment: dict[str, str]
) -> None:
    assert re.search(rf"^\| {code} \| ", PAGE, re.MULTILINE)
    ran = quoteapi(*arguments, LOG_LEVEL=log_level, DATABASE_URL=environment["DATABASE_URL"])
    assert ran.returncode == code
