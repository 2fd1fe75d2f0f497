import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import click
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from quoteapi.deploy.package import required_files
from quoteapi.deploy.zappa_callbacks import finish, prepare
from quoteapi.deploy.zappa_settings_checks import find_problems
from quoteapi.settings import ROOT
from tests.deploy.test_package import CANARY, RUNNING, UNWANTED_FILES


def zappa_cli(**settings: object) -> SimpleNamespace:
    """Make the object that Zappa passes to its callbacks."""
    usual = {"command": "deploy", "api_stage": "dev", "runtime": RUNNING, "memory": 512}
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
    settings = json.loads((ROOT / "zappa_settings.json").read_text().replace("<your-bucket>", "our-bucket"))
    settings["base"] |= {"runtime": RUNNING, **changed}
    path = tmp_path / "zappa_settings.json"
    path.write_text(json.dumps(settings))
    return path


@pytest.mark.parametrize("command", ["deploy", "update", "certify", "schedule"])
def test_a_placeholder_stops_a_command_that_calls_aws(tmp_path: Path, command: str) -> None:
    path = settings_file(tmp_path, s3_bucket="<your-bucket>")
    with pytest.raises(click.ClickException, match=r"s3_bucket still has <your-bucket>\n.*aws s3 mb"):
        prepare(zappa_cli(command=command, vargs={"settings_file": str(path)}))


@pytest.mark.parametrize("command", ["package", "undeploy", "tail"])
def test_a_placeholder_does_not_stop_other_commands(tmp_path: Path, command: str) -> None:
    path = settings_file(tmp_path, s3_bucket="<your-bucket>")
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
    with pytest.raises(click.ClickException, match=rf'Set "runtime": "{RUNNING}"'):
        prepare(zappa_cli(command="package", vargs={"settings_file": str(path)}))


def test_zappa_packages_the_environment_for_lambda_not_the_active_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", "/somewhere/else")
    prepare(zappa_cli(command="package", vargs={"settings_file": str(settings_file(tmp_path))}))
    assert os.environ["VIRTUAL_ENV"] == str(ROOT / ".venv-lambda")
