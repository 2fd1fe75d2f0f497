"""A valid stage of `zappa_settings.json`, and the problems that the checks find once a test changes it."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quoteapi.deploy.check import Check
from quoteapi.deploy.zappa_settings import ZAPPA_SETTINGS
from quoteapi.deploy.zappa_settings_checks import check_stage
from quoteapi.settings import ROOT
from tests.helpers.data import SECRET_KEY

STAGES = json.loads(ZAPPA_SETTINGS.read_text())
STAGES["base"]["runtime"] = f"python{sys.version_info.major}.{sys.version_info.minor}"  # the Python of the tests
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


def fill_placeholders(value: Any) -> Any:  # noqa: ANN401 a JSON document
    """Replace every placeholder with the words in its brackets."""
    return json.loads(re.sub(r"<([^<>\"]+)>", r"\1", json.dumps(value).replace("<account-id>", "123456789012")))


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
