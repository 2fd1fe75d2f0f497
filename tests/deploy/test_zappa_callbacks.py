import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import boto3
import click
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from botocore.stub import Stubber
from moto import mock_aws
from zappa.core import Zappa

from quoteapi.deploy.checks.zappa_settings_checks import find_problems
from quoteapi.deploy.package import required_files
from quoteapi.deploy.zappa_callbacks import finish, prepare
from quoteapi.settings import ROOT
from tests.deploy.conftest import REMOTE
from tests.deploy.test_package import CANARY, RUNNING, UNWANTED_FILES
from tests.helpers.data import SECRET_KEY


def zappa_cli(**settings: object) -> SimpleNamespace:
    """Make the object that Zappa passes to its callbacks."""
    usual = {"command": "deploy", "api_stage": "dev", "runtime": RUNNING, "architecture": "x86_64", "memory": 512}
    return SimpleNamespace(**{**usual, "authorizer": {}, "xray_tracing": False, **settings})


@pytest.fixture
def zappa_zip(tmp_path: Path) -> Path:
    """Make a small zip such as Zappa makes."""
    path = tmp_path / "package.zip"
    with ZipFile(path, "w") as package:
        package.writestr("handler.py", "import quoteapi\n")
        for name in required_files():
            package.writestr(name, "")
        package.writestr("quoteapi/__pycache__/__init__.cpython-311.pyc", b"stale")
        for library in ("aws_xray_sdk", "cryptography", "jwt", "peewee"):
            package.writestr(f"{library}/__init__.pyc", "")
            package.writestr(f"{library}/__init__.py", "")
        package.writestr("secrets.csv", CANARY)
    return path


def test_a_package_is_reproducible(zappa_zip: Path) -> None:
    again = zappa_zip.with_name("again.zip")
    shutil.copy(zappa_zip, again)
    finish(zappa_cli(zip_path=str(zappa_zip)))
    finish(zappa_cli(zip_path=str(again)))
    assert zappa_zip.read_bytes() == again.read_bytes()
    with ZipFile(zappa_zip) as trimmed:
        modes = {entry.external_attr >> 16 for entry in trimmed.infolist()}
    assert modes == {0o644}, "any user on Lambda can read it"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, set()),
        ({"xray_tracing": True}, {"aws_xray_sdk"}),
        ({"authorizer": {"function": "quoteapi.aws.authorizer.authorize"}}, {"cryptography", "jwt"}),
        ({"authorizer": {"arn": "arn:aws:lambda:us-east-1:123456789012:function:another"}}, set()),
    ],
)
def test_a_package_has_the_libraries_that_only_its_stage_uses(
    zappa_zip: Path, settings: dict[str, object], expected: set[str]
) -> None:
    finish(zappa_cli(zip_path=str(zappa_zip), **settings))
    with ZipFile(zappa_zip) as trimmed:
        tops = {name.partition("/")[0] for name in trimmed.namelist()}
    assert tops & {"aws_xray_sdk", "cryptography", "jwt", "secrets.csv"} == expected


@pytest.mark.parametrize(
    "missing",
    ["quote_database.db", "quoteapi/app.py", "quoteapi/http/templates/base.html", "quoteapi/http/openapi.json"],
)
def test_a_package_without_a_file_that_lambda_needs_stops_the_deploy(zappa_zip: Path, missing: str) -> None:
    assert missing in required_files()
    incomplete = zappa_zip.with_name("incomplete.zip")
    with ZipFile(zappa_zip) as package, ZipFile(incomplete, "w") as without:
        for name in package.namelist():
            if name != missing:
                without.writestr(name, package.read(name))
    with pytest.raises(
        click.ClickException, match=f"The package does not contain {missing}. Run zappa in .*exclude_glob"
    ):
        finish(zappa_cli(zip_path=str(incomplete)))


def test_slim_handler_stops_a_deploy_with_a_sentence(tmp_path: Path) -> None:
    path = settings_file(tmp_path, slim_handler=True)
    with pytest.raises(click.ClickException, match=r"slim_handler splits the package, .*\n    Remove it\."):
        prepare(zappa_cli(vargs={"settings_file": str(path)}))
    archive = tmp_path / "quoteapi-dev.tar.gz"
    archive.write_bytes(b"no zip")
    with pytest.raises(click.ClickException, match=r"is not a zip file. Remove slim_handler"):
        finish(zappa_cli(zip_path=str(archive)))


def test_a_stage_that_is_called_like_a_route_stops_a_deploy(tmp_path: Path) -> None:
    path = settings_file(tmp_path)
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"daily": settings["dev"]}))
    with pytest.raises(click.ClickException, match="the stage is called daily: Zappa removes /daily from"):
        prepare(zappa_cli(api_stage="daily", vargs={"settings_file": str(path)}))


def test_a_module_that_does_not_compile_stops_the_deploy(zappa_zip: Path) -> None:
    with ZipFile(zappa_zip, "a") as package:
        package.writestr("quoteapi/broken.py", "def\n")
    with pytest.raises(click.ClickException, match="cannot be compiled"):
        finish(zappa_cli(zip_path=str(zappa_zip)))


def test_other_files_in_the_folder_of_a_library_are_not_packaged(zappa_zip: Path) -> None:
    unwanted = ["falcon/keys.csv", *UNWANTED_FILES]
    with ZipFile(zappa_zip, "a") as package:
        for name in unwanted:
            package.writestr(name, CANARY)
        package.writestr("quoteapi/rds.pem", "certificates of Amazon RDS")
    finish(zappa_cli(zip_path=str(zappa_zip)))
    with ZipFile(zappa_zip) as trimmed:
        assert set(trimmed.namelist()) & {*unwanted, "quoteapi/rds.pem"} == {"quoteapi/rds.pem"}


def settings_file(tmp_path: Path, **changed: object) -> Path:
    """Write settings that can be deployed, except for these changes."""
    settings = json.loads((ROOT / "zappa_settings.json").read_text())
    ours = {"s3_bucket": "our-bucket", "remote_env": "s3://our-bucket/quoteapi-dev.json"}
    settings["base"] |= {"runtime": RUNNING, **ours, **changed}
    path = tmp_path / "zappa_settings.json"
    path.write_text(json.dumps(settings))
    return path


@pytest.mark.parametrize("command", ["deploy", "update", "certify", "schedule"])
@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"s3_bucket": ""}, r"dev is not set up: it has no s3_bucket\n.*Run `quoteapi setup dev`\."),
        ({"s3_bucket": "<your-bucket>"}, "s3_bucket still has <your-bucket>"),
    ],
)
def test_a_missing_bucket_name_or_a_placeholder_stops_a_command_that_calls_aws(
    tmp_path: Path, changed: dict[str, str], expected: str, command: str
) -> None:
    path = settings_file(tmp_path, **changed)
    with pytest.raises(click.ClickException, match=expected):
        prepare(zappa_cli(command=command, vargs={"settings_file": str(path)}))


@pytest.mark.parametrize("command", ["package", "undeploy", "tail"])
def test_a_stage_that_is_not_set_up_does_not_stop_other_commands(tmp_path: Path, command: str) -> None:
    path = settings_file(tmp_path, s3_bucket="", remote_env="")
    prepare(zappa_cli(command=command, vargs={"settings_file": str(path)}))


def test_advice_does_not_stop_a_command(tmp_path: Path) -> None:
    path = settings_file(tmp_path, exception_handler="")
    assert [check.state for check in find_problems(path, "dev")] == ["advice"]
    prepare(zappa_cli(command="package", vargs={"settings_file": str(path)}))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NoCredentialsError(), r"No usable AWS credentials were found \(NoCredentialsError\)\. Run `aws configure`"),
        (EndpointConnectionError(endpoint_url="https://sts"), "AWS cannot be reached. Check the network"),
        (
            ClientError({"Error": {"Code": "ExpiredToken"}}, "GetCallerIdentity"),
            r"AWS rejects your credentials \(ExpiredToken\)",
        ),
    ],
)
def test_unusable_credentials_stop_a_deploy_before_the_build(tmp_path: Path, error: Exception, message: str) -> None:
    class Sts:
        def get_caller_identity(self) -> None:
            raise error

    aws = SimpleNamespace(sts_client=Sts())
    with pytest.raises(click.ClickException, match=message):
        prepare(zappa_cli(zappa=aws, vargs={"settings_file": str(settings_file(tmp_path))}))


def test_a_misspelled_key_stops_a_deploy(tmp_path: Path) -> None:
    path = settings_file(tmp_path, memory_sise=512)
    with pytest.raises(click.ClickException, match=r"memory_sise is not a key that Zappa knows\n.*memory_size"):
        prepare(zappa_cli(vargs={"settings_file": str(path)}))


def test_a_runtime_other_than_this_python_stops_a_build(tmp_path: Path) -> None:
    path = settings_file(tmp_path, runtime="python3.9")
    with pytest.raises(click.ClickException, match=f"To deploy for {RUNNING}, run `quoteapi setup dev`"):
        prepare(zappa_cli(command="package", vargs={"settings_file": str(path)}))


def test_zappa_packages_the_environment_for_lambda_not_the_active_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", "/somewhere/else")
    prepare(zappa_cli(command="package", vargs={"settings_file": str(settings_file(tmp_path))}))
    assert os.environ["VIRTUAL_ENV"] == str(ROOT / ".venv-lambda")


# ---- the secret key


class Deploy:
    """A stage whose file and remote environment a test changes, in an emulated AWS account."""

    def __init__(self, folder: Path) -> None:
        self.s3 = boto3.client("s3", region_name="us-east-1")
        self.s3.create_bucket(Bucket="our-bucket")
        self.functions = boto3.client("lambda", region_name="us-east-1")
        self.folder = folder

    def put(self, **values: str) -> None:
        self.s3.put_object(Bucket="our-bucket", Key="quoteapi-dev.json", Body=json.dumps(values).encode())

    def values(self) -> dict[str, str]:
        found = self.s3.get_object(Bucket="our-bucket", Key="quoteapi-dev.json")
        values: dict[str, str] = json.load(found["Body"])
        return values

    def cli(self, command: str, **settings: object) -> SimpleNamespace:
        """Return what Zappa passes to its callbacks."""
        path = settings_file(self.folder, aws_region="eu-west-1")
        stages = json.loads(path.read_text())
        path.write_text(json.dumps(stages | {"dev": stages["dev"] | settings}))
        aws = SimpleNamespace(
            sts_client=boto3.client("sts", region_name="us-east-1"),
            lambda_client=self.functions,
        )
        return zappa_cli(command=command, zappa=aws, lambda_name="quoteapi-dev", vargs={"settings_file": str(path)})


@pytest.fixture
def deploy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deploy]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("VIRTUAL_ENV", "")
    with mock_aws():
        yield Deploy(tmp_path)


@pytest.mark.parametrize("command", ["deploy", "update"])
def test_a_stage_without_a_secret_key_gets_one(
    deploy: Deploy, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(deploy.cli(command))
    key = deploy.values()["SECRET_KEY"]
    printed = capsys.readouterr().out
    assert printed == "Generated a SECRET_KEY, and stored it in s3://our-bucket/quoteapi-dev.json.\n"
    prepare(deploy.cli(command))
    assert (deploy.values(), capsys.readouterr().out) == ({"SECRET_KEY": key}, "")


def test_an_update_sends_the_architecture_of_the_stage(deploy: Deploy) -> None:
    cli = deploy.cli("update")
    prepare(cli)
    cli.architecture = "arm64"  # only now: before, its packages would be fetched
    with Stubber(deploy.functions) as stubber:
        stubber.add_response("update_function_code", {}, {"FunctionName": "quoteapi-dev", "Architectures": ["arm64"]})
        deploy.functions.update_function_code(FunctionName="quoteapi-dev")
        stubber.assert_no_pending_responses()


def test_only_deploy_and_update_write_to_the_remote_environment(deploy: Deploy) -> None:
    for command in ("package", "certify", "schedule", "undeploy", "tail"):
        prepare(deploy.cli(command))
    assert deploy.s3.list_objects_v2(Bucket="our-bucket")["KeyCount"] == 0


def test_a_missing_bucket_stops_a_deploy_with_a_sentence(deploy: Deploy) -> None:
    with pytest.raises(click.ClickException) as stopped:
        prepare(deploy.cli("deploy", remote_env="s3://nobody/quoteapi-dev.json"))
    assert stopped.value.message == (
        "`zappa deploy dev` stopped: there is no bucket nobody. To create it, run `quoteapi setup` for the stage."
    )


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ""),
        ({"SMS_ALLOWED_REGIONS": "IN"}, 'Set "remote_env": "s3://our-bucket/quoteapi-dev.json".\n'),
    ],
)
def test_a_stage_without_a_remote_environment_is_told_what_to_set_if_people_could_subscribe(
    deploy: Deploy, variables: dict[str, str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(deploy.cli("deploy", remote_env="", environment_variables=variables))
    printed = capsys.readouterr().out
    assert printed.endswith(expected)
    assert bool(printed) == bool(expected)


def test_an_invalid_setting_stops_a_deploy_with_a_sentence(deploy: Deploy) -> None:
    deploy.put(SECRET_KEY=SECRET_KEY, DAILY_SMS_AT="nine")
    with pytest.raises(click.ClickException, match="`zappa deploy dev` stopped: DAILY_SMS_AT"):
        prepare(deploy.cli("deploy"))


@pytest.mark.parametrize("command", ["deploy", "update", "certify"])
def test_credentials_of_another_account_than_that_of_setup_stop_a_command(
    deploy: Deploy, tmp_path: Path, command: str
) -> None:
    cli = deploy.cli(command)
    local = {"dev": {"s3_bucket": "quoteapi-999999999999-eu-west-1"}}
    (tmp_path / "zappa_settings.local.json").write_text(json.dumps(local))
    cli.override_stage_config_setting = cli.load_settings = lambda *_: None
    cli.profile_name, cli.zappa.boto_session = None, SimpleNamespace(region_name="eu-west-1")
    with pytest.raises(click.ClickException, match="dev is set up in the AWS account 999999999999, but your cred"):
        prepare(cli)


def test_undeploying_says_how_to_delete_the_rest(deploy: Deploy, capsys: pytest.CaptureFixture[str]) -> None:
    deploy.put(**REMOTE | {"DATABASE_URL": ""})
    prepare(deploy.cli("undeploy"))
    assert capsys.readouterr().out == (
        "Parts of dev stay in your AWS account, among them the DynamoDB table quoteapi-dev with the subscribers."
        " After this, `quoteapi teardown dev` lists them, and deletes them if you confirm.\n"
    )


def test_undeploying_works_without_readable_settings(deploy: Deploy, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(deploy.cli("undeploy", remote_env="s3://nobody/quoteapi-dev.json"))
    deploy.put(**REMOTE)
    prepare(deploy.cli("undeploy"))
    assert (
        capsys.readouterr().out.count("Parts of dev stay in your AWS account. After this, `quoteapi teardown dev`") == 2
    )


# ---- the policy of the function's role

ROLE = "quoteapi-dev-ZappaLambdaExecutionRole"


class Roles:
    """The real Zappa, which creates or updates the role of a function, in an emulated account."""

    def __init__(self, deploy: Deploy) -> None:
        self._deploy = deploy
        self.iam = boto3.client("iam", region_name="us-east-1")

    def run(self, command: str = "deploy", **settings: Any) -> bool:  # noqa: ANN401
        """Run the callback and Zappa's `create_iam_roles`. Return whether Zappa wrote to IAM."""
        zappa = Zappa(boto_session=boto3.Session(region_name="eu-west-1"), desired_role_name=ROLE)
        if "attach_policy" in settings:
            zappa.attach_policy = Path(settings["attach_policy"]).read_text()
        zappa.extra_permissions = settings.get("extra_permissions")
        cli = self._deploy.cli(command, **settings)
        cli.zappa = zappa
        prepare(cli)
        written: bool = zappa.create_iam_roles()[1]
        return written

    def allowed(self) -> set[str]:
        """Return the actions that the role may do."""
        policy = self.iam.get_role_policy(RoleName=ROLE, PolicyName="zappa-permissions")["PolicyDocument"]
        return {action for statement in policy["Statement"] for action in statement["Action"]}


@pytest.fixture
def roles(deploy: Deploy) -> Roles:
    return Roles(deploy)


def test_the_role_gets_the_policy_of_its_stage(deploy: Deploy, roles: Roles) -> None:
    deploy.put(SMS_ALLOWED_REGIONS="IN")
    roles.run()
    assert {"s3:GetObject", "dynamodb:Query", "sns:Publish"} <= roles.allowed(), "the SECRET_KEY was generated before"
    assert not [action for action in roles.allowed() if action.endswith("*")]


def test_an_update_replaces_the_policy_of_a_role_once(deploy: Deploy, roles: Roles) -> None:
    deploy.put(SMS_ALLOWED_REGIONS="IN")
    roles.run(attach_policy=write_policy(deploy.folder, "s3:*"))
    assert roles.allowed() == {"s3:*"}
    assert roles.run("update")
    assert "s3:*" not in roles.allowed()
    assert not roles.run("update"), "a second update finds it as it is"


def test_an_update_after_a_change_of_the_settings_changes_the_role(deploy: Deploy, roles: Roles) -> None:
    deploy.put()
    roles.run()
    assert "dynamodb:Query" not in roles.allowed()
    deploy.put(**deploy.values(), SMS_ALLOWED_REGIONS="IN")
    assert roles.run("update")
    assert "dynamodb:Query" in roles.allowed()


def test_the_permissions_of_the_operator_are_added(deploy: Deploy, roles: Roles) -> None:
    own = {"Effect": "Allow", "Action": ["ses:SendEmail"], "Resource": "*"}
    roles.run(extra_permissions=[own])
    assert {"ses:SendEmail", "lambda:InvokeFunction"} <= roles.allowed()


@pytest.mark.parametrize(
    "own",
    [{"role_name": "ours"}, {"role_arn": "arn:aws:iam::123456789012:role/ours"}, {"manage_roles": False}],
    ids=lambda own: next(iter(own)),
)
def test_a_role_of_the_operator_keeps_its_policy(deploy: Deploy, own: dict[str, Any]) -> None:
    cli = deploy.cli("deploy", **own)
    prepare(cli)
    assert not hasattr(cli.zappa, "attach_policy")


def test_a_policy_of_the_operator_stays(deploy: Deploy, roles: Roles) -> None:
    roles.run(attach_policy=write_policy(deploy.folder, "s3:*"))
    assert roles.allowed() == {"s3:*"}


def write_policy(folder: Path, action: str) -> str:
    statement = {"Effect": "Allow", "Action": [action], "Resource": "*"}
    (folder / "policy.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    return str(folder / "policy.json")
