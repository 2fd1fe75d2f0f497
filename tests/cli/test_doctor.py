import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from quoteapi.cli import main
from quoteapi.deploy import zappa_settings
from tests.deploy.conftest import REMOTE, STAGES, TEMPLATE, fill_placeholders


def run_doctor(*words: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *words])


def test_doctor_of_a_stage_reports_its_placeholders() -> None:
    result = run_doctor("--stage", "prod")
    assert result.exit_code == 1
    assert result.stdout.startswith("✓ stage        prod of zappa_settings.json\n✗ placeholder  s3_bucket still has <")
    as_json = json.loads(run_doctor("--stage", "prod", "--json").stdout)
    assert {check["state"] for check in as_json} == {"ok", "wrong", "advice"}


def test_doctor_of_a_stage_reads_a_remote_environment_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote, settings = tmp_path / "remote.json", tmp_path / "zappa_settings.json"
    remote.write_text(json.dumps(REMOTE))
    settings.write_text(json.dumps(fill_placeholders(STAGES)))
    monkeypatch.setattr(zappa_settings, "ZAPPA_SETTINGS", settings)
    well = run_doctor("--stage", "dev", "--env-file", str(remote))
    assert well.exit_code == 0, well.stdout
    assert re.findall(r"^(.) (\w+)", well.stdout, re.MULTILINE) == [
        *(("✓", "stage"), ("✓", "file"), ("✓", "remote"), ("✓", "settings"), ("✓", "database"))
    ]
    remote.write_text(json.dumps(REMOTE | {"SECRET_KEY": "short"}))
    assert run_doctor("--stage", "dev", "--env-file", str(remote)).exit_code == 1


def test_env_file_without_a_stage_is_a_usage_error() -> None:
    alone = run_doctor("--env-file", str(TEMPLATE))
    assert alone.exit_code == 2
    assert "goes with --stage" in alone.stderr
