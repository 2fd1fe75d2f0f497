"""What schemathesis, which makes requests up from `openapi.json`, finds wrong in the running service: nothing."""

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
from tests.helpers.servers import GUNICORN, Servers

# What a schema cannot say: schemathesis loads this module for it.
schemathesis.openapi.format("date", strategies.dates(max_value=datetime.now(UTC).date()).map(str))
schemathesis.openapi.format("mobile", strategies.integers(0, 9_999_999).map("+91902{:07}".format))
schemathesis.openapi.format("cursor", strategies.just(""))

CONFIGURATION = """
hooks = "tests.http.test_schemathesis"
continue-on-failure = true

[generation]
deterministic = true
database = "none"
max-examples = 10
# A parameter that nobody knows does not count, as everywhere on the web.
allow-extra-parameters = false

# It is there only on Lambda, where an operator asks for it.
[[operations]]
include-path = "/async-failure"
enabled = false

# Parameters have no meaning for OPTIONS.
[[operations]]
include-method = "OPTIONS"
checks.negative_data_rejection.enabled = false

# Those of the other type have none.
[[operations]]
include-path = "/quote"
checks.negative_data_rejection.enabled = false

# Nobody can guess a code: one that is made up is answered 400, as it should be.
[[operations]]
include-path-regex = "^/(un)?subscribe$"
checks.positive_data_acceptance.expected-statuses = [200, 400, 429]
"""
GENEROUS = {
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


def test_schemathesis_finds_nothing_wrong_under_a_stage_prefix(servers: Servers, tmp_path: Path) -> None:
    base = servers.start(
        *GUNICORN, "--threads", "4", "--limit-request-line", "0", terminal=None, SCRIPT_NAME="/dev", **GENEROUS
    )
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    ran = subprocess.run(
        [
            *(Path(sys.executable).parent / "schemathesis", "--config-file", configuration, "run"),
            # It does not know, as others do, that an address of `servers` is relative to the document's own.
            *(f"{base}/dev/openapi.json", "--url", f"{base}/dev", "--no-color", "--workers", "2"),
        ],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Traceback" not in servers.output()
    generated = re.search(r"(\d+) generated", ran.stdout)
    assert generated is not None
    assert int(generated[1]) > 1_000
