"""Requests that Schemathesis generates from `openapi.json`, with `HEAD` and `OPTIONS`, sent to a running server."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import schemathesis
from hypothesis import strategies

from quoteapi.settings import ROOT
from quoteapi.time_zones import all_time_zones
from tests.helpers.openapi import full_document
from tests.helpers.servers import GUNICORN, Servers

# Formats that a schema cannot express. Schemathesis loads this module as its hooks.
schemathesis.openapi.format("date", strategies.dates(max_value=datetime.now(UTC).date()).map(str))
schemathesis.openapi.format("mobile", strategies.integers(0, 9_999_999).map("+91902{:07}".format))
schemathesis.openapi.format("cursor", strategies.just(""))
schemathesis.openapi.format("time-zone", strategies.sampled_from(all_time_zones()))

CONFIGURATION = """
hooks = "tests.http.test_schemathesis"
continue-on-failure = true

[generation]
deterministic = true
database = "none"
max-examples = 10
# Unknown parameters are ignored, as everywhere on the web.
allow-extra-parameters = false

# It exists only on Lambda, if a setting enables it.
[[operations]]
include-path = "/async-failure"
enabled = false

# Parameters have no meaning for OPTIONS.
[[operations]]
include-method = "OPTIONS"
checks.negative_data_rejection.enabled = false

# A date and a time zone together are rejected.
[[operations]]
include-path-regex = "^/(daily|quote)$"
checks.positive_data_acceptance.expected-statuses = [200, 304, 400, 404]

# Parameters of the other type are ignored.
[[operations]]
include-path = "/quote"
checks.negative_data_rejection.enabled = false

# A generated OTP is wrong, so the response is 400.
[[operations]]
include-path-regex = "^/(pause|(un)?subscribe)$"
checks.positive_data_acceptance.expected-statuses = [200, 400, 429]
"""
GENEROUS_LIMITS = {
    "READ_LIMIT": "off",
    "CODES_PER_NUMBER": "999/1s",
    "CODES_PER_ADDRESS": "999/1s",
    "WRONG_TRIES_PER_NUMBER": "999/1s",
    "WRONG_TRIES_PER_ADDRESS": "999/1s",
    "SMS_DAILY_CAP": "1000000",
}


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    running = Servers(tmp_path)
    yield running
    running.stop()


def test_schemathesis_finds_no_failure_under_a_stage_prefix(servers: Servers, tmp_path: Path) -> None:
    base = servers.start(
        *GUNICORN, "--threads", "4", "--limit-request-line", "0", terminal=None, SCRIPT_NAME="/dev", **GENEROUS_LIMITS
    )
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(full_document()))
    result = subprocess.run(
        [
            *(Path(sys.executable).parent / "schemathesis", "--config-file", configuration, "run"),
            *(document, "--url", f"{base}/dev", "--no-color", "--workers", "2"),
        ],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HYPOTHESIS_STORAGE_DIRECTORY": str(ROOT / ".hypothesis"),  # its Unicode tables take seconds to compute
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in servers.output()
    generated = re.search(r"(\d+) generated", result.stdout)
    assert generated is not None
    assert int(generated[1]) > 1_000
