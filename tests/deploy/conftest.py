"""Valid stages of `zappa_settings.json`, and the problems that the checks find once a test changes one."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quoteapi.deploy.checks.check import Check
from quoteapi.deploy.checks.zappa_settings_checks import check_stage
from quoteapi.deploy.zappa_settings import ZAPPA_SETTINGS, local_settings_file
from quoteapi.settings import ROOT
from tests.helpers.data import SECRET_KEY

STAGES = json.loads(ZAPPA_SETTINGS.read_text())
STAGES["base"]["runtime"] = f"python{sys.version_info.major}.{sys.version_info.minor}"  # the Python of the tests
STAGE_NAMES = [name for name in STAGES if name != "base"]
TEMPLATE = ROOT / "docs/remote-env.json"
REMOTE = {
    "DATABASE_URL": "postgresql://me:pw@db.example.org:5432/quoteapi",
    "SECRET_KEY": SECRET_KEY,
    "SMS_ALLOWED_REGIONS": "IN",
    "PUBLIC_URL": "https://quotes.example.org",
}
TOKENS = {"JWT_SECRET": SECRET_KEY, "JWT_ISSUER": "us", "JWT_AUDIENCE": "you"}
DAILY_SMS = {"function": "quoteapi.aws.schedulers.publish_quote_of_the_day", "expression": "rate(15 minutes)"}
GOOD = {
    "s3_bucket": "our-bucket",
    "debug": False,
    "log_level": "WARNING",
    "app_function": "quoteapi.app.api",
    "exception_handler": "quoteapi.aws.error_reports.unhandled_exceptions",
    "callbacks": {
        "settings": "quoteapi.deploy.zappa_callbacks.prepare",
        "zip": "quoteapi.deploy.zappa_callbacks.finish",
        "post": "quoteapi.deploy.zappa_callbacks.set_up",
    },
    "events": [DAILY_SMS],
}

ProblemsOf = Callable[..., list[Check]]


def local_settings(stage: str) -> dict[str, Any]:
    """Return the settings that `quoteapi setup` stores for a stage of the project; `prod` has a domain."""
    settings: dict[str, Any] = {
        "aws_region": "us-east-1",
        "s3_bucket": "our-bucket",
        "remote_env": f"s3://our-bucket/quoteapi-{stage}.json",
        "dead_letter_arn": f"arn:aws:sqs:us-east-1:123456789012:quoteapi-{stage}-failures",
    }
    if stage == "prod":
        certificate = "arn:aws:acm:us-east-1:123456789012:certificate/1"
        settings |= {"domain": "quotes.example.org", "certificate_arn": certificate}
    if stage == "dev_vpc":
        settings["vpc_config"] = {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    return settings


def write_project_settings(folder: Path) -> Path:
    """Write the project's settings and the local ones of each stage, as after `quoteapi setup`. Return the path."""
    path = folder / "zappa_settings.json"
    path.write_text(json.dumps(STAGES))
    local_settings_file(path).write_text(json.dumps({name: local_settings(name) for name in STAGE_NAMES}))
    return path


@pytest.fixture
def problems_of(tmp_path: Path) -> ProblemsOf:
    """Return a function that checks a valid stage with changes, and returns the checks that are not ok."""

    def find(remote: Any = None, **changes: Any) -> list[Check]:  # noqa: ANN401
        (tmp_path / "zappa_settings.json").write_text(json.dumps({"dev": GOOD | changes}))
        (tmp_path / "remote.json").write_text(json.dumps(REMOTE if remote is None else remote))
        (tmp_path / "remote.json").chmod(0o600)
        found = check_stage(tmp_path / "zappa_settings.json", "dev", tmp_path / "remote.json")
        return [check for check in found if check.state != "ok"]

    return find


def describe(check: Check) -> str:
    return f"{check.state}: {check.found} {check.to_do}"
