"""A copy of the project in which Zappa works, with what must never get into a package lying beside it."""

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
from tests.rehearsal.wrong import Wrong, lacks

CANARY = "canary-3f9d1c-that-must-not-leave"
"""Stands in every file that has no business in a package."""
BESIDE = (
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
COMMITTED = ("quote_database.db", "Pipfile", "Pipfile.lock", "README.md", "zappa_settings.json")
SECONDS = 120


class Project:
    """The project's folder on the laptop of who deploys."""

    def __init__(self, folder: Path, aws: Aws) -> None:
        """Copy the work tree, with the placeholders of its settings filled in."""
        self.folder = folder
        self._aws = aws
        shutil.copytree(ROOT / "quoteapi", folder / "quoteapi", ignore=shutil.ignore_patterns("__pycache__"))
        for name in COMMITTED:
            shutil.copy(ROOT / name, folder / name)
        for name in BESIDE:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"SOMETHING={CANARY}\n")
        environment = environment_for_lambda()
        (folder / environment.name).symlink_to(environment)
        self.settings = _filled_in((folder / "zappa_settings.json").read_text(), aws.placeholders)
        (folder / "zappa_settings.json").write_text(json.dumps(self.settings))

    def of_stage(self, stage: str, name: str) -> Any:  # noqa: ANN401 whatever JSON has
        """Answer a setting of a stage, its base's where it has none of its own."""
        own = self.settings[stage]
        return own[name] if name in own else self.settings[own["extends"]].get(name)

    def zappa(self, command: str, stage: str, *words: str) -> str:
        """Run a command of Zappa, as an operator would. Answer what it wrote to stdout. Raises `Wrong`."""
        called = [sys.executable, "-m", "zappa.cli", command, stage, *words]
        home = str(self.folder.parent)
        variables = self._aws.variables() | {"HOME": home, "TMPDIR": home, "PYTHONPATH": str(self.folder)}
        done = subprocess.run(
            called, cwd=self.folder, env=variables, capture_output=True, text=True, check=False, timeout=SECONDS
        )
        if done.returncode:
            # Which cannot ask for a newer Zappa.
            said = "\n".join(line for line in done.stdout.splitlines() if "Max retries" not in line)
            raise Wrong(f"zappa {command} {stage} ended with {done.returncode}:\n{said[-3_000:]}{done.stderr[-3_000:]}")
        lacks(f"zappa {command} {stage} wrote", done.stderr, "ERROR:", "WARNING:", "Traceback")
        return done.stdout


def _filled_in(settings: str, values: Mapping[str, str]) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(settings)
    for stage in parsed.values():
        _move_to_emulated(stage, values)
    if left := sorted(set(re.findall(r"<[^>\"]+>", json.dumps(parsed)))):
        raise Wrong(f"the rehearsal has nothing to put for {left} in zappa_settings.json")
    parsed["base"] |= {"touch": False, "runtime": f"python{sys.version_info.major}.{sys.version_info.minor}"}
    return parsed


def _move_to_emulated(stage: dict[str, Any], values: Mapping[str, str]) -> None:
    """Fill in what an operator does, also where it is filled in: nothing of the rehearsal is of the real account."""
    bucket, domain, account = values["<your-bucket>"], values["<quotes.example.org>"], values["<account-id>"]
    there = {
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
    stage |= {name: value for name, value in there.items() if name in stage}
    if "remote_env" in stage:
        stage["remote_env"] = re.sub(r"^s3://[^/]+", f"s3://{bucket}", stage["remote_env"])
    variables = stage.get("environment_variables", {})
    addresses = {"PUBLIC_URL": f"https://{domain}", "CORS_ORIGINS": f"https://{values['<www.example.org>']}"}
    variables |= {name: value for name, value in addresses.items() if name in variables}
