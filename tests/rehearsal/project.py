"""A copy of the project for Zappa to work in, with files beside it that must never get into a package."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quoteapi.deploy.package import environment_for_lambda
from quoteapi.settings import ROOT
from tests.rehearsal.aws import REGION, Aws
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

ZAPPA = """
import time, types, zipfile
from zappa import cli, core
wait = time.sleep
time.sleep = lambda seconds: wait(min(seconds, 0.05))
core.zipfile = types.SimpleNamespace(**{**vars(zipfile), "ZIP_DEFLATED": zipfile.ZIP_STORED})
cli.handle()
"""
"""Runs the `zappa` command, without what only takes time here: waiting for an emulated AWS that is done at once, and
compressing a zip that the callback `zip` replaces."""


class Project:
    """The project's folder on the operator's laptop."""

    def __init__(self, folder: Path, aws: Aws) -> None:
        """Copy the project and fill in the placeholders of its settings."""
        self.folder = folder
        self._aws = aws
        shutil.copytree(ROOT / "quoteapi", folder / "quoteapi", ignore=shutil.ignore_patterns("__pycache__"))
        for name in COMMITTED_FILES:
            shutil.copy(ROOT / name, folder / name)
        for name in UNWANTED_FILES:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"SOMETHING={CANARY}\n")
        environment = environment_for_lambda()
        (folder / environment.name).symlink_to(environment)
        self.settings = _fill_in((folder / "zappa_settings.json").read_text(), aws.placeholders)
        (folder / "zappa_settings.json").write_text(json.dumps(self.settings))

    def stage_setting(self, stage: str, name: str) -> Any:  # noqa: ANN401 any JSON value
        """Return a setting of a stage, or else that of the stage it extends."""
        own = self.settings[stage]
        return own[name] if name in own else self.settings[own["extends"]].get(name)

    def zappa(self, command: str, stage: str, *options: str) -> str:
        """Run a Zappa command as an operator would. Return its stdout. Raises `CheckFailed` if it fails or warns."""
        completed = self._run("-c", ZAPPA, command, stage, *options)
        if completed.returncode:
            # Zappa could not look for a newer release of itself.
            stdout = "\n".join(line for line in completed.stdout.splitlines() if "Max retries" not in line)
            output = f"{stdout[-3_000:]}{completed.stderr[-3_000:]}"
            raise CheckFailed(f"zappa {command} {stage} exited with {completed.returncode}:\n{output}")
        check_excludes(f"zappa {command} {stage} wrote", completed.stderr, "ERROR:", "WARNING:", "Traceback")
        return completed.stdout

    def quoteapi(self, *words: str) -> str:
        """Run the command `quoteapi`. Return its stdout. Raises `CheckFailed` if it fails."""
        completed = self._run("-m", "quoteapi", *words)
        if completed.returncode:
            raise CheckFailed(f"quoteapi {' '.join(words)} exited with {completed.returncode}: {completed.stderr}")
        return completed.stdout

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the project's folder, with the operator's credentials."""
        home = str(self.folder.parent)
        variables = self._aws.variables() | {"HOME": home, "TMPDIR": home, "PYTHONPATH": str(self.folder)}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )


def _fill_in(settings: str, values: Mapping[str, str]) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(settings)
    for stage in parsed.values():
        _use_emulated_account(stage, values)
    if left := sorted(set(re.findall(r"<[^>\"]+>", json.dumps(parsed)))):
        raise CheckFailed(f"the rehearsal has no value for {left} in zappa_settings.json")
    parsed["base"] |= {"touch": False, "runtime": f"python{sys.version_info.major}.{sys.version_info.minor}"}
    return parsed


def _use_emulated_account(stage: dict[str, Any], values: Mapping[str, str]) -> None:
    """Replace every value that an operator fills in, so that nothing refers to a real account."""
    bucket, domain, account = values["<your-bucket>"], values["<quotes.example.org>"], values["<account-id>"]
    emulated = {
        "aws_region": REGION,
        "s3_bucket": bucket,
        "domain": domain,
        "certificate_arn": f"arn:aws:acm:us-east-1:{account}:certificate/{values['<certificate-id>']}",
        "dead_letter_arn": f"arn:aws:sqs:us-east-1:{account}:quoteapi-failures",
        "vpc_config": {
            "SubnetIds": [values["<subnet-id>"], values["<another-subnet-id>"]],
            "SecurityGroupIds": [values["<security-group-id>"]],
        },
    }
    stage |= {name: value for name, value in emulated.items() if name in stage}
    if "remote_env" in stage:
        stage["remote_env"] = re.sub(r"^s3://[^/]+", f"s3://{bucket}", stage["remote_env"])
    variables = stage.get("environment_variables", {})
    urls = {"PUBLIC_URL": f"https://{domain}", "CORS_ORIGINS": f"https://{values['<www.example.org>']}"}
    variables |= {name: value for name, value in urls.items() if name in variables}
