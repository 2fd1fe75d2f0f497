"""A copy of the project for Zappa to work in, with files beside it that must never get into a package."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from quoteapi.deploy.package import environment_for_lambda
from quoteapi.deploy.zappa_settings import read_stage
from quoteapi.settings import ROOT
from tests.helpers.terminal import Script, Transcript, run_in_terminal
from tests.rehearsal.aws import Aws
from tests.rehearsal.checks import CheckFailed, check_excludes

CANARY = "canary-3f9d1c-that-must-not-leave"
"""The content of every file that must not be in a package."""
UNWANTED_FILES = (
    *(
        ".env",
        "people.csv",
        "quoteapi/local.json",
        "quoteapi.db",
        "quoteapi.db.key",
        "keys.pem",
        "notes.txt",
        "tests/test_app.py",
    ),
    *("docs/deploy.md", ".aws/credentials", "quoteapi.db-wal", "exports/people.json"),
)
COMMITTED_FILES = ("quote_database.db", "Pipfile", "Pipfile.lock", "README.md", "zappa_settings.json")
TIMEOUT_SECONDS = 120

_SHORT_SLEEP = """
import time
wait = time.sleep
time.sleep = lambda seconds: wait(min(seconds, 0.005))
"""
ZAPPA = f"""{_SHORT_SLEEP}
import types, zipfile
from zappa import cli, core
core.zipfile = types.SimpleNamespace(**{{**vars(zipfile), "ZIP_DEFLATED": zipfile.ZIP_STORED}})
cli.ZappaCLI.touch_endpoint = lambda *_: None
cli.handle()
"""
"""Runs the `zappa` command, without what only takes time here: waiting for an emulated AWS that is done at once, and
compressing a zip that the callback `zip` replaces. It does not request a page of the API either, as `touch` has it do
after a deploy, because the emulated API Gateway cannot respond."""
QUOTEAPI = f"""{_SHORT_SLEEP}
from quoteapi.cli import main
main(prog_name="quoteapi")
"""
"""Runs the `quoteapi` command, without waiting for an emulated AWS that is done at once."""


class Project:
    """The project's folder on the operator's laptop."""

    def __init__(self, folder: Path, aws: Aws) -> None:
        """Copy the project."""
        self.commands: list[str] = []
        """What the operator typed in a terminal, for example `zappa deploy dev`."""
        self.folder = folder
        self._aws = aws
        shutil.copytree(ROOT / "quoteapi", folder / "quoteapi")
        for name in COMMITTED_FILES:
            shutil.copy(ROOT / name, folder / name)
        for name in UNWANTED_FILES:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"SOMETHING={CANARY}\n")
        environment = environment_for_lambda()
        (folder / environment.name).symlink_to(environment)

    def stage_setting(self, stage: str, name: str) -> Any:  # noqa: ANN401 any JSON value
        """Return a setting of a stage: a local one, its own, or that of the stage it extends."""
        return read_stage(self.folder / "zappa_settings.json", stage).get(name)

    def files(self) -> dict[str, bytes]:
        """Return the contents of all files but the environment of the package, by their path."""
        files = (path for path in self.folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}

    def zappa(self, command: str, stage: str, *options: str) -> str:
        """Run a Zappa command as an operator would. Return its stdout. Raises `CheckFailed` if it fails or warns."""
        self.commands.append(shlex.join(["zappa", command, stage, *options]))
        completed = self._run(ZAPPA, command, stage, *options)
        if completed.returncode:
            # Zappa could not look for a newer release of itself.
            stdout = "\n".join(line for line in completed.stdout.splitlines() if "Max retries" not in line)
            output = f"{stdout[-3_000:]}{completed.stderr[-3_000:]}"
            raise CheckFailed(f"zappa {command} {stage} exited with {completed.returncode}:\n{output}")
        check_excludes(f"zappa {command} {stage} wrote", completed.stderr, "ERROR:", "WARNING:", "Traceback")
        return completed.stdout

    def quoteapi(self, *words: str) -> str:
        """Run the command `quoteapi`. Return its stdout. Raises `CheckFailed` if it fails."""
        completed = self._run(QUOTEAPI, *words)
        if completed.returncode:
            raise CheckFailed(f"quoteapi {' '.join(words)} exited with {completed.returncode}: {completed.stderr}")
        return completed.stdout

    def type_quoteapi(self, script: Script, *words: str) -> Transcript:
        """Run the command `quoteapi` in a terminal, and type the answers. Raises `CheckFailed` if it fails."""
        self.commands.append(shlex.join(["quoteapi", *words]))
        transcript = run_in_terminal(
            ["-c", QUOTEAPI, *words], script, folder=self.folder, environment=self._variables(), timeout=TIMEOUT_SECONDS
        )
        if transcript.returncode:
            raise CheckFailed(f"{self.commands[-1]} exited with {transcript.returncode}:\n{transcript.text}")
        return transcript

    def _run(self, code: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's folder, with the operator's credentials."""
        return subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=self.folder,
            env=self._variables(),
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )

    def _variables(self) -> dict[str, str]:
        home = str(self.folder.parent)
        return self._aws.variables() | {"HOME": home, "TMPDIR": home, "PYTHONPATH": str(self.folder)}
