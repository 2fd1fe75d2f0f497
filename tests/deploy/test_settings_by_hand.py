"""What an operator set by hand, and what belongs to others, stays as it is when a stage is set up."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quoteapi.deploy.aws_account import require_same_account
from quoteapi.deploy.checks.check import CheckFailed
from quoteapi.deploy.remote_environment import read_remote_environment
from quoteapi.deploy.setup_result import SetupResult
from quoteapi.deploy.stage_setup import open_stage
from quoteapi.deploy.zappa_settings import local_settings_file, read_local_stage
from tests.deploy.aws import REGION, emulate_account
from tests.deploy.operator_project import ANSWERS, BUCKET, LOCATION, Nobody, Project
from tests.helpers.data import SECRET_KEY


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with emulate_account() as account:
        yield Project(tmp_path, account)


def set_up(project: Project, **changed: Any) -> dict[str, SetupResult]:  # noqa: ANN401
    """Set `dev` up with its defaults, as with `--yes`, but for these answers. Return the results by name."""
    stage = project.stage()
    answers = ANSWERS._replace(**stage.current_answers()._replace(email=None, **changed)._asdict())
    return {result.name: result for result in stage.run(answers, Nobody())}


def remote(project: Project) -> dict[str, Any]:
    return read_remote_environment(project.stage().stage).values


def test_values_that_an_operator_set_by_hand_stay(project: Project) -> None:
    by_hand = {"READ_LIMIT": "60/minute", "SNS_REGION": "ap-south-1", "SECRET_KEY": SECRET_KEY, "CACHE": "no"}
    project.set_up(**by_hand, DAILY_SMS_AT="07:30", SMS_ALLOWED_REGIONS="US,IN")
    before = remote(project)
    stage = project.stage()
    (result,) = stage._save_remote_environment(stage.current_answers())
    assert (result.state, remote(project)) == ("ok", before)


@pytest.mark.parametrize("own", [{"role_arn": "arn:aws:iam::123456789012:role/mine"}, {"attach_policy": "mine.json"}])
def test_a_role_of_the_operator_gets_no_queue_that_it_may_not_use(project: Project, own: dict[str, str]) -> None:
    project.stage().save_local(own)
    set_up(project)
    assert "dead_letter_arn" not in read_local_stage(project.path, "dev")


@pytest.mark.parametrize("place", ["remote", "environment_variables"])
def test_the_topics_of_a_stage_that_was_deployed_before_stay_in_their_region(project: Project, place: str) -> None:
    by_hand = {"SECRET_KEY": SECRET_KEY, "SMS_ALLOWED_REGIONS": "IN", "DAILY_SMS_AT": "09:00"}
    project.stage().save_local({"s3_bucket": BUCKET, "remote_env": f"s3://{BUCKET}/shared.json"})
    s3 = project.account.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=LOCATION)
    s3.put_object(Bucket=BUCKET, Key="shared.json", Body=json.dumps(by_hand if place == "remote" else {}))
    if place == "environment_variables":
        project.stage().save_local({place: by_hand})
    stage = project.stage()
    list(stage._save_remote_environment(stage.current_answers()))
    assert stage.sns_region == "us-east-1", "the default of SNS_REGION"
    assert not {"SNS_REGION", "READ_LIMIT"} & set(remote(project))


@pytest.mark.parametrize("url", ["https://www.example.org", "https://quotes.example.org/v1"])
def test_another_public_url_than_that_of_the_domain_stays(project: Project, url: str) -> None:
    project.set_up(PUBLIC_URL=url)
    secrets = set_up(project, domain="quotes.example.org", hosted_zone="")["remote env"]
    assert (remote(project)["PUBLIC_URL"], secrets.found) == (
        url,
        f"quoteapi-dev.json in the bucket: settings and secrets, PUBLIC_URL is {url}",
    )


@pytest.mark.parametrize("url", ["", "https://a1b2.execute-api.eu-west-1.amazonaws.com/dev", "https://old.example.org"])
def test_the_domain_replaces_an_address_of_aws_and_a_former_domain(project: Project, url: str) -> None:
    project.set_up(PUBLIC_URL=url)
    project.stage().save_local({"domain": "old.example.org"})
    set_up(project, domain="quotes.example.org", hosted_zone="")
    assert remote(project)["PUBLIC_URL"] == "https://quotes.example.org"


def test_countries_of_the_settings_file_are_the_default_too(project: Project) -> None:
    project.stage().save_local({"environment_variables": {"SMS_ALLOWED_REGIONS": "GB", "DAILY_SMS_AT": "08:00"}})
    answers = project.stage().current_answers()
    assert (answers.countries, answers.hour) == ("GB", "08:00")


# ---- the bucket


def test_a_bucket_of_the_operator_stays_as_it_is(project: Project) -> None:
    project.stage().save_local({"s3_bucket": "photos"})
    s3 = project.account.client("s3")
    s3.create_bucket(Bucket="photos", CreateBucketConfiguration=LOCATION)
    result = set_up(project)["bucket"]
    assert (result.state, result.found) == ("waiting", "photos, which does not block public access")
    with pytest.raises(s3.exceptions.ClientError, match="NoSuchPublicAccessBlockConfiguration"):
        s3.get_public_access_block(Bucket="photos")


def test_a_bucket_of_the_operator_that_is_missing_is_created_private(project: Project) -> None:
    project.stage().save_local({"s3_bucket": "mine"})
    assert set_up(project)["bucket"].found == "mine, created, made private, encrypted"
    assert set_up(project)["bucket"].state == "ok"


# ---- a stage that was deployed before


def test_a_deployed_stage_whose_settings_are_elsewhere_is_not_given_others(project: Project) -> None:
    project.deploy_function()
    with pytest.raises(CheckFailed) as stopped:
        project.stage().require_known_settings()
    assert "quoteapi-dev is deployed, but zappa_settings.local.json does not have its s3_bucket" in str(stopped.value)


def test_a_deployed_stage_of_which_this_machine_has_no_settings_is_found_in_the_usual_place(project: Project) -> None:
    project.set_up()
    local_settings_file(project.path).unlink()
    project.deploy_function()
    project.stage().require_known_settings()


@pytest.mark.parametrize("local", [{"s3_bucket": "mine"}, {"remote_env": "s3://mine/quoteapi-dev.json"}])
def test_a_deployed_stage_whose_settings_are_known_is_set_up(project: Project, local: dict[str, str]) -> None:
    project.deploy_function()
    project.stage().save_local(local)
    project.stage().require_known_settings()


# ---- the account


@pytest.mark.parametrize(
    "local",
    [
        {"s3_bucket": f"quoteapi-999999999999-{REGION}"},
        {"s3_bucket": "mine", "dead_letter_arn": f"arn:aws:sqs:{REGION}:999999999999:mine"},
        {"s3_bucket": "mine", "certificate_arn": "arn:aws:acm:us-east-1:999999999999:certificate/1"},
    ],
)
def test_the_account_of_other_settings_is_refused(local: dict[str, str]) -> None:
    with pytest.raises(CheckFailed, match=r"dev is set up in the AWS account 999999999999"):
        require_same_account("dev", local, "123456789012", REGION)


@pytest.mark.usefixtures("project")
def test_another_region_than_that_of_the_option_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with pytest.raises(CheckFailed, match="the region is us-east-1, by AWS_DEFAULT_REGION, not eu-west-3"):
        open_stage(tmp_path / "zappa_settings.json", "dev", region="eu-west-3")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"profile": "nobody"}, r"The config profile \(nobody\) could not be found"),
        ({"region": "eu west 3"}, "Provided region_name 'eu west 3' doesn't match a supported format"),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_profile_or_region_that_does_not_exist_is_named(
    tmp_path: Path, options: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with pytest.raises(CheckFailed, match=expected):
        open_stage(tmp_path / "zappa_settings.json", "dev", **options)


# ---- the local settings


def test_the_local_settings_are_private_and_keep_what_two_setups_write_at_once(project: Project) -> None:
    project.set_up()
    file = local_settings_file(project.path)
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text())["dev"] == read_local_stage(project.path, "dev")
    assert BUCKET in file.read_text()
