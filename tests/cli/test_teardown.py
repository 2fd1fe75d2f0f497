import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from quoteapi.cli import main
from quoteapi.deploy import zappa_settings
from tests.deploy.aws import ADDRESS, emulate_account
from tests.deploy.operator_project import BUCKET, Project
from tests.helpers.data import SECRET_KEY

Run = Callable[..., Result]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    with emulate_account() as account:
        created = Project(tmp_path, account)
        monkeypatch.setattr(zappa_settings, "ZAPPA_SETTINGS", created.path)
        yield created


@pytest.fixture
def teardown(project: Project) -> Run:
    """Return a function that runs `quoteapi teardown dev` with options, and types lines."""

    def run(*options: str, typed: str = "") -> Result:
        ran = CliRunner().invoke(main, ("teardown", "dev", *options), typed)
        assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
        return ran

    return run


def test_a_deployed_stage_is_refused(project: Project, teardown: Run) -> None:
    project.set_up()
    project.deploy_function()
    refused = teardown("--yes", "--delete-subscribers")
    assert refused.exit_code == 1
    assert "Error: quoteapi-dev is deployed. Run `zappa undeploy dev` first.\n" in refused.stderr
    assert project.buckets() == [BUCKET]


def test_the_list_has_what_each_part_costs(project: Project, teardown: Run) -> None:
    project.set_up()
    project.set_up("prod")
    listed = teardown("--dry-run")
    assert listed.exit_code == 0
    lines = [" ".join(line.split()) for line in listed.stdout.splitlines()]
    assert lines[:3] == [
        "Stage dev in the AWS account 123456789012, eu-west-1.",
        "left a month name contents",
        "error alarm up to $0.10 quoteapi-dev-errors sends mail",
    ]
    assert f"Stays: mail UnhandledException ({ADDRESS}; nothing a month): prod uses it." in lines
    assert len(project.alarms()) == 4


def test_nothing_is_deleted_without_confirmation(project: Project, teardown: Run) -> None:
    project.set_up()
    for typed in ("", "n\n", "\n"):
        assert teardown(typed=typed).exit_code == 1
    assert project.buckets() == [BUCKET]
    deleted = teardown(typed="y\n")
    assert (deleted.exit_code, project.buckets()) == (0, [])
    assert "Delete these 9? [y/N]: " in deleted.stderr
    again = teardown()
    assert (again.exit_code, again.stdout.splitlines()[1:], again.stderr) == (0, ["Nothing is left."], "")


@pytest.mark.parametrize("typed", ["y\n\n", "y\ny\n", "y\nquoteapi\n"])
def test_the_subscribers_stay_unless_the_name_of_their_table_is_typed(
    project: Project, teardown: Run, typed: str
) -> None:
    project.serve_subscribers(count=1)
    kept = teardown(typed=typed)
    assert (kept.exit_code, project.tables(), project.alarms()) == (0, ["quoteapi-dev"], [])
    question = (
        "The DynamoDB table quoteapi-dev has 1 subscriber. To delete it, type its name; to keep it, press Enter: "
    )
    assert question in kept.stderr
    deleted = teardown(typed="y\nquoteapi-dev\n")
    assert (deleted.exit_code, project.tables(), project.topics(), project.buckets()) == (0, [], [], [])


def test_yes_alone_keeps_the_subscribers(project: Project, teardown: Run) -> None:
    project.serve_subscribers()
    assert (teardown("--yes").exit_code, project.tables()) == (0, ["quoteapi-dev"])
    assert (teardown("--yes", "--delete-subscribers").exit_code, project.tables()) == (0, [])


def test_the_settings_stay_with_the_subscribers_in_postgresql(project: Project, teardown: Run) -> None:
    url = "postgresql://me:secret@db.example.org/quoteapi"
    project.set_up(SECRET_KEY=SECRET_KEY, SMS_ALLOWED_REGIONS="IN", DATABASE_URL=url)
    kept = teardown(typed="y\n")
    assert "The subscribers stay, and so do the settings" in kept.stderr
    assert (kept.exit_code, project.buckets(), project.alarms()) == (0, [BUCKET], [])
    assert (teardown("--yes").exit_code, project.buckets()) == (0, [BUCKET])
    assert (teardown("--yes", "--delete-subscribers").exit_code, project.buckets()) == (0, [])


def test_the_option_for_subscribers_does_not_replace_the_questions(project: Project, teardown: Run) -> None:
    project.serve_subscribers()
    assert (teardown("--delete-subscribers", typed="y\n\n").exit_code, project.tables()) == (0, ["quoteapi-dev"])


def test_programs_get_json(project: Project, teardown: Run) -> None:
    project.set_up()
    listed = teardown("--dry-run", "--json")
    assert json.loads(listed.stdout)[0] == {
        "kind": "error alarm",
        "name": "quoteapi-dev-errors",
        "contents": "sends mail",
        "cost": "up to $0.10",
        "kept": "",
    }
    deleted = json.loads(teardown("--yes", "--json").stdout)
    assert {result["state"] for result in deleted} == {"done"}
    assert json.loads(teardown("--yes", "--json").stdout) == []


def test_what_fails_is_named_and_a_second_run_finishes(project: Project, teardown: Run) -> None:
    project.set_up()
    project.create_role()
    iam = project.account.client("iam")
    iam.create_instance_profile(InstanceProfileName="mine")
    iam.add_role_to_instance_profile(InstanceProfileName="mine", RoleName="quoteapi-dev-ZappaLambdaExecutionRole")
    failed = teardown("--yes")
    assert (failed.exit_code, project.buckets(), project.alarms()) == (1, [BUCKET], [])
    assert "DeleteRole failed: DeleteConflict" in failed.stdout
    assert failed.stderr.endswith("1 part could not be deleted. Run the command again to finish.\n")
    iam.remove_role_from_instance_profile(InstanceProfileName="mine", RoleName="quoteapi-dev-ZappaLambdaExecutionRole")
    assert (teardown("--yes").exit_code, project.buckets()) == (0, [])
