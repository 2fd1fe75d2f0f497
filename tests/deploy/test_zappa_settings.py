import json
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
from moto import mock_aws
from zappa.cli import ZappaCLI

from quoteapi.deploy.check import Check, CheckFailed
from quoteapi.deploy.zappa_settings import read_stage
from quoteapi.deploy.zappa_settings_checks import check_stage, find_problems
from quoteapi.settings import SETTING_NAMES
from tests.deploy.conftest import GOOD, REMOTE, TEMPLATE, ProblemsOf, describe, fill_placeholders
from tests.helpers.data import SECRET_KEY
from tests.helpers.upstream_api import UpstreamApi

ChecksOfStage = Callable[..., list[Check]]
URL = "s3://the-bucket/quoteapi-dev.json"


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


@pytest.fixture
def checks_of_stage_on_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ChecksOfStage:
    """Return a function that checks a stage whose remote environment is on S3, in moto."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)

    def check(url: str = URL) -> list[Check]:
        (tmp_path / "zappa_settings.json").write_text(
            json.dumps({"dev": {**GOOD, "aws_region": "us-east-1", "remote_env": url}})
        )
        return list(check_stage(tmp_path / "zappa_settings.json", "dev"))[2:]

    return check


def upload(content: bytes) -> None:
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket="the-bucket")
    s3.put_object(Bucket="the-bucket", Key="quoteapi-dev.json", Body=content)


def test_the_template_has_only_settings_and_is_ok_once_its_placeholders_are_replaced(problems_of: ProblemsOf) -> None:
    template = json.loads(TEMPLATE.read_text())
    assert set(template) <= set(SETTING_NAMES)
    found = problems_of(template, authorizer={"arn": "x"})
    assert {check.found.split()[0] for check in found} == {name for name, value in template.items() if "<" in value}
    assert all(check.to_do.startswith('To leave it out, write "". ') for check in found)
    words = {"SMS_ALLOWED_REGIONS": "IN,US", "SECRET_KEY": SECRET_KEY, "JWT_SECRET": SECRET_KEY}
    assert problems_of(fill_placeholders(template) | words, authorizer={"arn": "x"}) == []
    assert [describe(check)[:20] for check in problems_of(dict.fromkeys(template, ""))] == ["advice: quotes only:"]


@mock_aws
def test_the_remote_environment_is_read_from_s3(checks_of_stage_on_s3: ChecksOfStage) -> None:
    upload(json.dumps(REMOTE).encode())
    assert [(check.name, check.state) for check in checks_of_stage_on_s3()] == [
        ("remote env", "ok"),
        ("settings", "ok"),
        ("database", "ok"),
    ]


@mock_aws
@pytest.mark.parametrize("content", [b"", b"A=1", b'{"A": "1",}', b"\xff\xff"])
def test_a_remote_environment_that_is_not_json_is_reported(
    checks_of_stage_on_s3: ChecksOfStage, content: bytes
) -> None:
    upload(content)
    (check,) = checks_of_stage_on_s3()
    assert describe(check).startswith(f"wrong: {URL} is not valid JSON")


@mock_aws
def test_a_missing_remote_environment_is_reported(checks_of_stage_on_s3: ChecksOfStage) -> None:
    (check,) = checks_of_stage_on_s3()
    assert describe(check).startswith(f"wrong: {URL} does not exist: the service would start without it")
    upload(b"{}")
    (check,) = checks_of_stage_on_s3("s3://the-bucket/other.json")
    assert check.to_do.startswith("To upload it, run `aws s3 cp FILE s3://the-bucket/other.json`")


@pytest.mark.parametrize("url", ["quoteapi-dev.json", "s3://the-bucket", "s3:///quoteapi-dev.json"])
def test_a_url_that_zappa_ignores_is_reported(checks_of_stage_on_s3: ChecksOfStage, url: str) -> None:
    (check,) = checks_of_stage_on_s3(url)
    assert describe(check).startswith(f"wrong: remote_env is {url}, which Zappa ignores without a warning")


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (403, "AccessDenied", "wrong: S3 does not allow you to read"),
        (500, "InternalError", "advice: not checked: S3 returned"),
    ],
)
def test_an_error_of_s3_is_reported(
    checks_of_stage_on_s3: ChecksOfStage, monkeypatch: pytest.MonkeyPatch, status: int, code: str, expected: str
) -> None:
    s3 = UpstreamApi()
    s3.respond = s3.bytes_response(f"<Error><Code>{code}</Code></Error>".encode(), status)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3.host}")
    try:
        (check,) = checks_of_stage_on_s3()
    finally:
        s3.stop()
    assert describe(check).startswith(expected)


def test_a_missing_network_and_missing_credentials_are_told_apart(
    checks_of_stage_on_s3: ChecksOfStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = UpstreamApi()
    gone.stop()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{gone.host}")
    (away,) = checks_of_stage_on_s3()
    assert describe(away).startswith("wrong: not checked: S3 cannot be reached")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (no_credentials,) = checks_of_stage_on_s3()
    assert describe(no_credentials).startswith(
        "wrong: not checked: no usable AWS credentials (NoCredentialsError) Run `aws configure`"
    )
    assert "--env-file" in no_credentials.to_do
