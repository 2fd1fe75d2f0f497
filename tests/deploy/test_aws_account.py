"""The AWS account of the operator's credentials."""

from pathlib import Path

import pytest

from quoteapi.deploy.aws_account import open_account
from quoteapi.deploy.checks.check import CheckFailed


@pytest.mark.parametrize("stage", [{"profile_name": "misspelt"}, {}])
def test_a_profile_that_does_not_exist_is_named(
    stage: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "misspelt")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    with pytest.raises(CheckFailed) as failed:
        open_account(stage)
    assert "misspelt" in failed.value.args[2]
    assert "`aws configure list-profiles`" in failed.value.args[3]
