import json
from pathlib import Path

import pytest
from zappa.cli import ZappaCLI

from quoteapi.deploy.check import CheckFailed
from quoteapi.deploy.stage_checks import check_stage, find_problems
from quoteapi.deploy.zappa_settings import read_stage


def test_a_stage_has_the_settings_that_zappa_resolves(tmp_path: Path) -> None:
    path = tmp_path / "zappa_settings.json"
    path.write_text(
        json.dumps(
            {
                "a": {"debug": True, "tags": {"a": "1"}, "memory_size": 128},
                "b": {"extends": "a", "tags": {"b": "2"}, "debug": None},
                "c": {"extends": "b", "memory_size": 512},
                "d": {"extends": ""},
            }
        )
    )
    for stage in "abcd":
        zappa = ZappaCLI()
        zappa.api_stage = stage
        zappa.load_settings_file(str(path))
        assert read_stage(path, stage) == zappa.stage_config


@pytest.mark.parametrize(
    ("text", "stage", "found", "to_do"),
    [
        ("{}", "dev", "there is no stage dev", "There are none."),
        ('{"prod": {}, "test": {}}', "prd", "there is no stage prd", "Did you mean prod?"),
        ('{"a": {"extends": "b"}}', "a", "there is no stage b, which a extends", "There are a."),
        ('{"a": {"extends": "b"}, "b": {"extends": "a"}}', "a", "a extends itself: a extends b extends a", ""),
        ('{"a": []}', "a", "there is no stage a", ""),
        ("[]", "a", "zappa_settings.json has no stages", ""),
        ('{"a": {},}', "a", "zappa_settings.json is no JSON: ", "Mend it"),
        ("[" * 100_000, "a", "zappa_settings.json is no JSON: ", "Mend it"),
    ],
)
def test_an_unreadable_stage_is_one_failed_check(text: str, stage: str, found: str, to_do: str, tmp_path: Path) -> None:
    path = tmp_path / "zappa_settings.json"
    path.write_text(text)
    (check,) = find_problems(path, stage)
    assert check.state == "wrong"
    assert check.found.startswith(found)
    assert check.to_do.startswith(to_do)
    assert list(check_stage(path, stage)) == [check]
    with pytest.raises(CheckFailed):
        read_stage(tmp_path / "nowhere.json", stage)
