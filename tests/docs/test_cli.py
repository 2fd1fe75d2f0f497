"""Run the commands of docs/cli.md, block by block."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from quoteapi.settings import ROOT, read_settings, settings_for_database
from quoteapi.storage import database
from quoteapi.storage.models import Subscriber
from tests.helpers.data import MIRA, add_subscribers

PAGE = (ROOT / "docs/cli.md").read_text()
BLOCKS = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Create a database with a subscriber, and a folder with the command."""
    url = f"sqlite:///{tmp_path}/working.db"
    with database.connect(read_settings({"DATABASE_URL": url})).connection_context():
        add_subscribers(MIRA)
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
