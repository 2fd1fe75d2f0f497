import subprocess
import sys
from pathlib import Path

import pytest

from quoteapi.settings import ROOT
from tests.cli.conftest import Command


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
