"""The operator's own settings in `zappa_settings.local.json`, as the checks and the real Zappa read them."""

import json
import shutil
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import pytest
from zappa.cli import ZappaCLI

from quoteapi.deploy.checks.check import CheckFailed
from quoteapi.deploy.checks.zappa_settings_checks import find_problems
from quoteapi.deploy.zappa_callbacks import prepare
from quoteapi.deploy.zappa_settings import (
    local_settings_file,
    read_local_stage,
    read_local_stages,
    read_stage,
    write_local_stage,
)
from quoteapi.settings import ROOT
from tests.deploy.conftest import local_settings, write_project_settings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write two stages. Return the path of the settings, which have no local ones."""
    path = tmp_path / "zappa_settings.json"
    base = {
        "aws_region": "us-east-1",
        "memory_size": 512,
        "environment_variables": {"A": "shared", "B": "shared"},
        "exclude": ["a"],
    }
    path.write_text(json.dumps({"base": base, "dev": {"extends": "base"}, "prod": {"extends": "base"}}))
    return path


def write_local(path: Path, text: str) -> None:
    local_settings_file(path).write_text(text)


def test_without_local_settings_a_stage_is_that_of_the_tracked_file(path: Path) -> None:
    assert read_local_stage(path, "dev") == {}
    assert read_stage(path, "dev")["memory_size"] == 512


def test_local_settings_replace_keys_and_add_to_objects(path: Path) -> None:
    local = {"memory_size": 1024, "environment_variables": {"B": "mine"}, "exclude": ["b"], "vpc_config": {"C": []}}
    write_local(path, json.dumps({"dev": local}))
    stage = read_stage(path, "dev")
    assert stage["environment_variables"] == {"A": "shared", "B": "mine"}
    assert (stage["memory_size"], stage["exclude"], stage["vpc_config"]) == (1024, ["b"], {"C": []})
    assert read_stage(path, "prod")["environment_variables"] == {"A": "shared", "B": "shared"}


def test_local_settings_make_no_stage(path: Path) -> None:
    write_local(path, '{"test": {"s3_bucket": "mine"}}')
    with pytest.raises(CheckFailed, match="there is no stage test"):
        read_stage(path, "test")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"dev": {},}', "zappa_settings.local.json is not valid JSON: "),
        ("[" * 100_000, "zappa_settings.local.json is not valid JSON: "),
        ("[]", "zappa_settings.local.json is not a JSON object"),
        ('{"dev": ["s3_bucket"]}', "dev in zappa_settings.local.json is not a JSON object"),
    ],
)
def test_an_unreadable_local_file_is_named(path: Path, text: str, expected: str) -> None:
    write_local(path, text)
    (check,) = find_problems(path, "dev")
    assert (check.state, check.found[: len(expected)]) == ("wrong", expected)
    with pytest.raises(click.ClickException, match=f"`zappa status dev` stopped: {expected}"):
        prepare(zappa_cli(path, "dev"))


def test_an_unreadable_local_file_is_not_overwritten(path: Path) -> None:
    write_local(path, '{"prod": {},}')
    with pytest.raises(CheckFailed):
        write_local_stage(path, "dev", {"s3_bucket": "mine"})
    assert local_settings_file(path).read_text() == '{"prod": {},}'


def test_settings_of_other_stages_stay_when_one_is_written(path: Path) -> None:
    write_local_stage(path, "dev", {"s3_bucket": "première"})
    write_local_stage(path, "prod", {"s3_bucket": "second"})
    write_local_stage(path, "dev", {"domain": "dév.example"})
    text = local_settings_file(path).read_text()
    assert json.loads(text) == {"prod": {"s3_bucket": "second"}, "dev": {"domain": "dév.example"}}
    assert text.endswith("}\n"), "a person may edit it"
    assert "dév" in text
    write_local_stage(path, "prod", {})
    write_local_stage(path, "dev", {})
    assert json.loads(local_settings_file(path).read_text()) == {}
    assert {file.name for file in path.parent.iterdir()} == {path.name, local_settings_file(path).name}, "no other file"


def test_no_stage_is_lost_when_several_are_written_at_once(path: Path) -> None:
    names = [f"stage{number}" for number in range(8)]
    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(lambda name: write_local_stage(path, name, {"s3_bucket": name}), names))
    assert read_local_stages(path) == {name: {"s3_bucket": name} for name in names}
    assert stat.S_IMODE(local_settings_file(path).stat().st_mode) == 0o600


# ---- the real Zappa


def zappa_cli(path: Path, stage: str) -> Any:  # noqa: ANN401 Zappa has no types
    """Return Zappa's command line for `zappa -s PATH status STAGE`, with the settings loaded once."""
    cli: Any = ZappaCLI()
    cli.vargs, cli.command, cli.api_stage = {"settings_file": str(path)}, "status", stage
    cli.load_settings(str(path))
    return cli


@pytest.mark.parametrize("name", ["zappa_settings.json", "other.json"])
def test_zappa_gets_all_local_settings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text("[profile mine]\nregion = eu-north-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    path = tmp_path / name
    write_project_settings(tmp_path).rename(path)
    own = local_settings("prod") | {
        "aws_region": "eu-central-1",
        "profile_name": "mine",
        "runtime": "python3.12",
        "vpc_config": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
        "environment_variables": {"CORS_ORIGINS": "https://www.example.org"},
    }
    write_local(path, json.dumps({"prod": own}))
    cli = zappa_cli(path, "prod")
    assert cli.domain is None
    prepare(cli)
    assert cli.stage_config == read_stage(path, "prod")
    for key in ("domain", "remote_env", "aws_region", "profile_name", "runtime", "vpc_config"):
        assert getattr(cli, key) == own[key]
    assert cli.s3_bucket_name == own["s3_bucket"]
    assert cli.dead_letter_config == {"TargetArn": own["dead_letter_arn"]}
    assert cli.stage_config["certificate_arn"] == own["certificate_arn"]
    assert cli.environment_variables == {
        "UNSUBSCRIBE_REQUIRES_OTP": "true",
        "CORS_ORIGINS": "https://www.example.org",
    }
    assert (cli.zappa.aws_region, cli.zappa.runtime, cli.zappa.boto_session.profile_name) == (
        "eu-central-1",
        "python3.12",
        "mine",
    )


def test_each_stage_of_one_zappa_command_gets_its_own_settings(path: Path) -> None:
    write_local(path, '{"dev": {"s3_bucket": "of-dev", "domain": "dev.example.org"}, "prod": {"s3_bucket": "of-prod"}}')
    cli = zappa_cli(path, "dev")
    prepare(cli)
    assert (cli.s3_bucket_name, cli.domain) == ("of-dev", "dev.example.org")
    cli.api_stage = "prod"  # `zappa status --all` goes from stage to stage
    cli.load_settings(str(path))
    prepare(cli)
    assert (cli.s3_bucket_name, cli.domain) == ("of-prod", None)


def test_without_an_option_zappa_reads_the_files_of_the_current_folder(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_local(path, '{"dev": {"s3_bucket": "mine"}}')
    monkeypatch.chdir(path.parent)
    cli = zappa_cli(path, "dev")
    cli.vargs = {"settings_file": None}
    prepare(cli)
    assert cli.s3_bucket_name == "mine"


# ---- git


def test_a_pull_never_conflicts_with_the_settings_of_an_operator(tmp_path: Path) -> None:
    def git(folder: Path, *words: str) -> str:
        author = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        variables = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1", **author}
        ran = subprocess.run(
            ["git", *words], cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=30
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    git(ours, "init")
    for name in (".gitignore", "zappa_settings.json"):
        shutil.copy(ROOT / name, ours / name)
    git(ours, "add", ".")
    git(ours, "commit", "--message", "Add the settings")
    git(tmp_path, "clone", str(ours), str(theirs))
    write_local_stage(theirs / "zappa_settings.json", "dev", local_settings("dev"))
    write_local_stage(theirs / "zappa_settings.json", "prod", local_settings("prod"))
    assert git(theirs, "status", "--porcelain") == ""
    changed = (ours / "zappa_settings.json").read_text().replace('"memory_size": 512', '"memory_size": 1024')
    (ours / "zappa_settings.json").write_text(changed)
    git(ours, "commit", "--all", "--message", "Use more memory")
    git(theirs, "pull", "--ff-only")
    assert git(theirs, "status", "--porcelain") == ""
    stage = read_stage(theirs / "zappa_settings.json", "prod")
    assert (stage["memory_size"], stage["domain"]) == (1024, "quotes.example.org")
