import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from quoteapi.container import Container
from quoteapi.settings import ROOT
from tests.cli.conftest import Command, insert_subscriber
from tests.helpers.data import MIRA, numbered_quotations


def test_a_file_in_a_missing_folder_is_an_error(quoteapi: Command, tmp_path: Path) -> None:
    nowhere = quoteapi("subscribers", "export", f"{tmp_path}/none/people.csv")
    assert (nowhere.returncode, nowhere.stdout) == (1, "")
    assert nowhere.stderr == f"Error: The folder {tmp_path}/none does not exist.\n"


def test_a_private_file_can_be_a_pipe(quoteapi: Command, working_database: Container, tmp_path: Path) -> None:
    insert_subscriber(MIRA)
    pipe = tmp_path / "to-be-encrypted"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    exported = quoteapi("subscribers", "export", str(pipe), "--unmasked", "--format", "csv")
    read = os.read(reader, 10_000).decode()
    os.close(reader)
    assert exported.returncode == 0
    assert pipe.is_fifo()
    assert MIRA in read


def test_a_terminal_shows_a_progress_bar(quoteapi: Command, tmp_path: Path) -> None:
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


# ---- how hints name the command


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Install the command as pip does, in a folder with a space in its name. Return the folder."""
    folder = tmp_path / "my quotes"
    script = folder / ".venv/bin/quoteapi"
    script.parent.mkdir(parents=True)
    start = f"#!/bin/sh\n'''exec' \"{sys.executable}\" \"$0\" \"$@\"\n' '''"  # as pip, if a path has a space
    script.write_text(f"{start}\nfrom quoteapi.cli.root import main\nmain()\n")
    script.chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("started", "on_path", "named"),
    [
        (".venv/bin/quoteapi", "/nowhere", ".venv/bin/quoteapi"),
        ("{folder}/.venv/bin/quoteapi", "/nowhere", "'{folder}/.venv/bin/quoteapi'"),
        ("quoteapi", "{folder}/.venv/bin", "quoteapi"),
        (".venv/bin/quoteapi", "{folder}/.venv/bin", "quoteapi"),
        (".venv/bin/quoteapi", "{folder}/other", ".venv/bin/quoteapi"),
        ("{python} -m quoteapi", "{folder}/.venv/bin", "{python} -m quoteapi"),
    ],
)
def test_hints_name_the_command_so_that_it_can_be_pasted(
    installed: Path, environment: dict[str, str], started: str, on_path: str, named: str
) -> None:
    (installed / "other").mkdir()
    (installed / "other/quoteapi").symlink_to("/bin/true")
    names = {"folder": str(installed), "python": shlex.quote(sys.executable)}
    variables = {"PATH": f"{on_path.format(**names)}:/usr/bin:/bin", "PYTHONPATH": str(ROOT), **environment}
    command = started.format(**names) if "-m" in started else shlex.quote(started.format(**names))

    def run(line: str) -> subprocess.CompletedProcess[str]:
        shell = ["/bin/sh", "-c", line]
        return subprocess.run(shell, env=variables, cwd=installed, capture_output=True, text=True, check=False)

    hint = f"{named.format(**names)} sms start"
    assert run(f"{command} sms stop").stdout == f"SMS are switched off. To switch them on, run `{hint}`.\n"
    refused = run(f"{command} publish")
    assert refused.stderr == f"Error: SMS are switched off. To switch them on, run `{hint}`.\n"
    assert f"To switch them on, run `{hint}`." in run(f"{command} doctor").stdout
    assert f"Try '{named.format(**names)} sms --help' for help." in run(f"{command} sms pause").stderr
    assert run(hint).stdout == "SMS are switched on.\n"
