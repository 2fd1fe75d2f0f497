import re
import subprocess
import sys
from pathlib import Path

import pytest

from quoteapi.settings import ROOT
from tests.cli.conftest import Command


def test_help_lists_every_command(quoteapi_process: Command) -> None:
    helped = quoteapi_process("--help")
    assert helped.returncode == 0
    for command in ("serve", "daily", "random", "quotes", "completion"):
        assert re.search(rf"^  {command} ", helped.stdout, re.MULTILINE)
    assert quoteapi_process("--version").stdout.startswith("python -m quoteapi, version 0.")


def test_an_invalid_setting_stops_every_command_with_a_message(quoteapi: Command) -> None:
    for words in (("serve",), ("daily",), ("random",), ("quotes", "list"), ("quotes", "export")):
        stopped = quoteapi(*words, PORT="http")
        assert (stopped.returncode, stopped.stdout) == (3, "")
        assert stopped.stderr == "Error: PORT must be a port number from 1 to 65535, for example 8000, not 'http'.\n"


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
