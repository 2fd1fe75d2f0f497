import os
import pty
import subprocess
import sys
from pathlib import Path

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
