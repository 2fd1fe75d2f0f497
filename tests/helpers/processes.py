"""Run Python and the `quoteapi` command in a process with only the settings that a test gives."""

import os
import subprocess
import sys

from quoteapi.settings import ROOT
from tests.helpers.data import SECRET_KEY

BARE = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "SECRET_KEY": SECRET_KEY}


def python(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run Python and wait for it."""
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=BARE | settings, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


def quoteapi(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the `quoteapi` command as an operator would."""
    return python("-m", "quoteapi", *arguments, **settings)
