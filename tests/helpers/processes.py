"""Processes of their own, with no settings but those that a test names."""

import os
import subprocess
import sys

from quoteapi.settings import ROOT
from tests.helpers.data import SECRET_KEY

BARE = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "SECRET_KEY": SECRET_KEY}


def python(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run Python until it ends."""
    command = [sys.executable, *words]
    return subprocess.run(
        command, env=BARE | settings, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


def quoteapi(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command as an operator would."""
    return python("-m", "quoteapi", *words, **settings)
