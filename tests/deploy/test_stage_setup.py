"""The steps of `quoteapi setup` that store settings, in an emulated account, with profiles in an AWS config file."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import click
import pytest
from moto import mock_aws

from quoteapi.cli.setup import TerminalOperator
from quoteapi.deploy import runtimes, stage_setup
from quoteapi.deploy.checks.check import CheckFailed
from quoteapi.deploy.setup_result import SetupResult
from quoteapi.deploy.stage_setup import Answers, open_stage
from quoteapi.deploy.zappa_callbacks import prepare
from quoteapi.deploy.zappa_settings import local_settings_file, read_stage
from tests.deploy.conftest import GOOD

RUNNING = f"python{sys.version_info.major}.{sys.version_info.minor}"
ACCOUNT, OTHER = "123456789012", "999999999999"
BUCKET = f"quoteapi-{ACCOUNT}-eu-west-1"
NO_ANSWERS = Answers(None, "", "09:00", None)
SetUp = Callable[..., dict[str, SetupResult]]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write settings with a stage `dev`, and an AWS config file with two profiles. Return the path of the settings."""
    path = tmp_path / "zappa_settings.json"
    path.write_text(json.dumps({"base": {}, "dev": {**GOOD, "project_name": "quoteapi", "s3_bucket": None}}))
    profile = "[{0}]\nregion = {2}\naws_access_key_id = {1}\naws_secret_access_key = {1}\n"
    profiles = ("default", "usual", "eu-west-1"), ("profile mine", "mine", "eu-north-1")
    (tmp_path / "config").write_text("".join(profile.format(*each) for each in profiles))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws(config={"core": {"mock_credentials": False}}):
        yield path


def set_up(path: Path, answers: Answers = NO_ANSWERS, profile: str | None = None) -> dict[str, SetupResult]:
    """Run all steps. Return the results by their names."""
    prepared = open_stage(path, "dev", profile)
    return {result.name: result for result in prepared.run(answers, TerminalOperator(asks=False))}


def local(path: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(local_settings_file(path).read_text())["dev"]
    return settings


def remote(path: Path) -> dict[str, str]:
    found = boto3.client("s3").get_object(Bucket=BUCKET, Key="quoteapi-dev.json")
    values: dict[str, str] = json.load(found["Body"])
    return values


def put_remote(values: dict[str, str]) -> None:
    boto3.client("s3").put_object(Bucket=BUCKET, Key="quoteapi-dev.json", Body=json.dumps(values))


def test_what_belongs_to_the_operator_is_stored_beside_the_settings(path: Path) -> None:
    assert {result.state for result in set_up(path).values()} <= {"done", "skipped"}
    assert local(path) == {
        "aws_region": "eu-west-1",
        "s3_bucket": BUCKET,
        "remote_env": f"s3://{BUCKET}/quoteapi-dev.json",
        "dead_letter_arn": f"arn:aws:sqs:eu-west-1:{ACCOUNT}:quoteapi-dev-failures",
        "runtime": RUNNING,
    }
    before = local_settings_file(path).stat().st_mtime_ns
    assert {result.state for result in set_up(path).values()} <= {"ok", "skipped"}
    assert local_settings_file(path).stat().st_mtime_ns == before


# ---- the profile


def test_the_default_profile_is_not_stored(path: Path) -> None:
    set_up(path)
    assert "profile_name" not in local(path)


@pytest.mark.parametrize("chosen_by", ["option", "environment"])
def test_a_chosen_profile_is_stored_and_used_from_then_on(
    path: Path, chosen_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if chosen_by == "environment":
        monkeypatch.setenv("AWS_PROFILE", "mine")
    set_up(path, profile="mine" if chosen_by == "option" else None)
    assert (local(path)["profile_name"], local(path)["aws_region"]) == ("mine", "eu-north-1")
    monkeypatch.setenv("AWS_PROFILE", "default")
    again = open_stage(path, "dev")
    assert (again.account.session.profile_name, again.account.region) == ("mine", "eu-north-1")
    found = again.account.session.get_credentials()
    assert found is not None
    assert found.access_key == "mine"
    set_up(path)
    assert local(path)["profile_name"] == "mine"


def test_credentials_of_the_environment_come_before_its_profile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "environment")
    monkeypatch.setenv("AWS_PROFILE", "mine")
    set_up(path)
    assert "profile_name" not in local(path)


def test_an_unknown_profile_stops_with_a_sentence(path: Path) -> None:
    with pytest.raises(CheckFailed, match=r"profile \(nobody\) could not be found.*aws configure list-profiles"):
        open_stage(path, "dev", "nobody")


# ---- the account


@pytest.mark.parametrize(
    "known",
    [
        {"s3_bucket": f"quoteapi-{OTHER}-eu-west-1"},
        {"s3_bucket": "mine", "dead_letter_arn": f"arn:aws:sqs:eu-west-1:{OTHER}:quoteapi-dev-failures"},
    ],
)
def test_credentials_of_another_account_stop_setup_and_zappa(path: Path, known: dict[str, str]) -> None:
    local_settings_file(path).write_text(json.dumps({"dev": {"aws_region": "eu-west-1", **known}}))
    expected = rf"dev is set up in the AWS account {OTHER}, but your credentials belong to {ACCOUNT}"
    with pytest.raises(CheckFailed, match=f"{expected}.*Use a profile of {OTHER}, with --profile or AWS_PROFILE"):
        open_stage(path, "dev")
    assert boto3.client("s3").list_buckets()["Buckets"] == []
    with pytest.raises(click.ClickException, match=f"`zappa deploy dev` stopped: {expected}"):
        prepare(real_zappa_cli(path))


def test_another_region_stops_setup_and_zappa(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(path)
    expected = "dev is set up in the region eu-west-1, but the region is now eu-north-1"
    with pytest.raises(CheckFailed, match=expected):
        open_stage(path, "dev", region="eu-north-1")
    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "a"), ("DEFAULT_REGION", "eu-north-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    with pytest.raises(CheckFailed, match=f"{expected}.*Unset AWS_DEFAULT_REGION"):
        open_stage(path, "dev")
    with pytest.raises(click.ClickException, match=f"`zappa deploy dev` stopped: {expected}"):
        prepare(real_zappa_cli(path))


def real_zappa_cli(path: Path) -> Any:  # noqa: ANN401 Zappa has no types
    """Return Zappa's command line for `zappa deploy dev`, with the settings loaded once."""
    from zappa.cli import ZappaCLI  # noqa: PLC0415 slow

    cli: Any = ZappaCLI()
    cli.vargs, cli.command, cli.api_stage = {"settings_file": str(path)}, "deploy", "dev"
    cli.load_settings(str(path))
    return cli


# ---- the runtime


def test_the_runtime_of_this_python_is_stored_only_if_it_is_another_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = json.loads(path.read_text())
    path.write_text(json.dumps(stages | {"dev": stages["dev"] | {"runtime": "python3.13"}}))
    for running, stored in (("python3.12", "python3.12"), ("python3.13", None), ("python3.14", "python3.14")):
        monkeypatch.setattr(stage_setup, "running_runtime", lambda running=running: running)
        assert set_up(path)["runtime"].state == "done"
        assert local(path).get("runtime") == stored
        assert set_up(path)["runtime"].state == "ok"


@pytest.mark.parametrize("running", ["python3.10", "python3.15"])
def test_a_python_that_lambda_does_not_support_is_named(
    path: Path, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_setup, "running_runtime", lambda: running)
    found = set_up(path)["runtime"]
    assert (found.state, running in found.found) == ("failed", True)
    assert f"Install {runtimes.DEFAULT_RUNTIME.replace('python', 'Python ')}" in found.to_do
    assert "runtime" not in local(path)


# ---- the network


def test_a_network_is_stored_and_kept(path: Path) -> None:
    network = NO_ANSWERS._replace(subnets=("subnet-1", "subnet-2"), security_groups=("sg-1",))
    assert set_up(path, network)["network"].found == "subnet-1, subnet-2, sg-1"
    assert local(path)["vpc_config"] == {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
    assert set_up(path)["network"].state == "ok"
    assert set_up(path, NO_ANSWERS._replace(security_groups=("sg-2",)))["network"].state == "done"
    assert read_stage(path, "dev")["vpc_config"] == {
        "SubnetIds": ["subnet-1", "subnet-2"],
        "SecurityGroupIds": ["sg-2"],
    }


@pytest.mark.parametrize(
    "answers",
    [NO_ANSWERS, NO_ANSWERS._replace(subnets=("subnet-1",)), NO_ANSWERS._replace(security_groups=("sg-1",))],
)
def test_an_incomplete_network_is_named(path: Path, answers: Answers) -> None:
    stages = json.loads(path.read_text())
    path.write_text(json.dumps(stages | {"dev": stages["dev"] | {"vpc_config": {"SubnetIds": []}}}))
    found = set_up(path, answers)["network"]
    assert (found.state, found.to_do.startswith("Add --subnet and --security-group")) == ("failed", True)
    assert "vpc_config" not in local(path)


def test_a_stage_without_a_network_has_no_step_for_it(path: Path) -> None:
    assert "network" not in set_up(path)


# ---- the remote environment


def test_what_the_operator_set_stays(path: Path) -> None:
    set_up(path)
    assert remote(path) == {
        "SMS_ALLOWED_REGIONS": "",
        "DAILY_SMS_AT": "09:00",
        "READ_LIMIT": "off",
        "SNS_REGION": "eu-west-1",
    }
    own = {"READ_LIMIT": "100/1m", "SNS_REGION": "eu-central-1", "X_Mashape_Key": "abc", "SECRET_KEY": "s" * 40}
    put_remote(own)
    assert set_up(path, NO_ANSWERS._replace(hour="08:00"))["remote env"].state == "done"
    assert remote(path) == own | {"SMS_ALLOWED_REGIONS": "", "DAILY_SMS_AT": "08:00"}
    assert open_stage(path, "dev").sns_region == "eu-central-1"
    assert open_stage(path, "dev").current_answers().hour == "08:00"


def test_a_bucket_that_was_deleted_is_created_again(path: Path) -> None:
    set_up(path)
    s3 = boto3.client("s3")
    s3.delete_object(Bucket=BUCKET, Key="quoteapi-dev.json")
    s3.delete_bucket(Bucket=BUCKET)
    assert open_stage(path, "dev").current_answers().countries == ""
    found = set_up(path)
    assert (found["bucket"].state, found["remote env"].state) == ("done", "done")


def test_the_stage_that_others_extend_is_no_stage(path: Path) -> None:
    with pytest.raises(CheckFailed, match="base is no stage"):
        open_stage(path, "base")
