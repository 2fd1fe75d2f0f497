import json
from pathlib import Path

import boto3
import pytest
from slugify import slugify
from zappa.cli import ZappaCLI
from zappa.core import Zappa

from quoteapi.deploy.checks.check import CheckFailed
from quoteapi.deploy.checks.zappa_settings_checks import check_stage, find_problems
from quoteapi.deploy.zappa_settings import PLACEHOLDER, aws_region, function_name, read_stage
from quoteapi.settings import SETTING_NAMES
from tests.deploy.conftest import STAGES, TEMPLATE, ProblemsOf, describe
from tests.helpers.data import SECRET_KEY


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
        ("{}", "dev", "there is no stage dev", "The stages are: none."),
        ('{"prod": {}, "test": {}}', "prd", "there is no stage prd", "Did you mean prod?"),
        ('{"a": {"extends": "b"}}', "a", "there is no stage b, which a extends", "The stages are: a."),
        ('{"a": {"extends": "b"}, "b": {"extends": "a"}}', "a", "a extends itself: a extends b extends a", ""),
        ('{"a": []}', "a", "there is no stage a", ""),
        ("[]", "a", "zappa_settings.json is not a JSON object", ""),
        ('{"a": {},}', "a", "zappa_settings.json is not valid JSON: ", "Correct it"),
        ("[" * 100_000, "a", "zappa_settings.json is not valid JSON: ", "Correct it"),
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


def test_the_template_has_only_settings_and_is_ok_once_its_placeholders_are_replaced(problems_of: ProblemsOf) -> None:
    template = json.loads(TEMPLATE.read_text())
    assert set(template) <= set(SETTING_NAMES)
    found = problems_of(template, authorizer={"arn": "x"})
    assert {check.found.split()[0] for check in found} == {name for name, value in template.items() if "<" in value}
    assert all(check.to_do.startswith('To leave it out, write "". ') for check in found)
    words = {"SMS_ALLOWED_REGIONS": "IN,US", "SECRET_KEY": SECRET_KEY, "JWT_SECRET": SECRET_KEY}
    filled = {name: PLACEHOLDER.sub("example.org", value) for name, value in template.items()}
    assert problems_of(filled | words, authorizer={"arn": "x"}) == []
    assert [describe(check)[:20] for check in problems_of(dict.fromkeys(template, ""))] == ["advice: quotes only:"]


def test_a_function_has_the_name_that_zappa_gives_it() -> None:
    names = {stage: function_name(stage, {"project_name": "Quote API_2"}) for stage in STAGES}
    assert names == {stage: slugify("Quote API_2" + "-" + stage) for stage in STAGES}
    assert function_name("dev_key", STAGES["base"]) == "quoteapi-dev-key"


KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}


@pytest.mark.parametrize("profile", [None, "mine"])
@pytest.mark.parametrize(
    "environment", [{}, KEYS, {"AWS_DEFAULT_REGION": "eu-west-1"}, KEYS | {"AWS_DEFAULT_REGION": "eu-west-1"}]
)
@pytest.mark.parametrize("region", [None, "ap-south-1"])
def test_the_region_of_a_stage_is_the_one_that_zappa_deploys_to(
    profile: str | None,
    environment: dict[str, str],
    region: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "config").write_text("[profile mine]\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    zappa = Zappa.__new__(Zappa)
    zappa.aws_region = region
    zappa.load_credentials(profile_name=profile)
    ours = aws_region({"profile_name": profile, "aws_region": region})
    assert boto3.Session(profile_name=profile, region_name=ours).region_name == zappa.aws_region
