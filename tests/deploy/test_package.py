import fcntl
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import click
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from zappa.handler import DEFAULT_TEXT_MIMETYPES

from quoteapi.deploy import package
from quoteapi.deploy.package import environment_for_lambda, finish, parts_of, prepare
from quoteapi.deploy.zappa_settings import find_problems
from quoteapi.http.html import ASSET_TYPES
from quoteapi.settings import ROOT

RUNNING = f"python{sys.version_info.major}.{sys.version_info.minor}"
CANARY = "+919028000001 is a secret"
STRAY = (
    *("quoteapi/local.json", "quoteapi/people.csv", "quoteapi/server.key", "quoteapi/quoteapi.db"),
    *("quoteapi/http/openapi.json.orig", "quoteapi/http/assets/people.csv", "quoteapi/http/assets/.style.css.swp"),
    *("quoteapi/http/templates/quote.html~", "quoteapi/http/templates/letters.txt"),
)
"""What may lie in our folder and is nobody's business."""


def zappa(**settings: object) -> SimpleNamespace:
    """Make what Zappa hands to its callbacks."""
    usual = {"command": "deploy", "api_stage": "dev", "runtime": RUNNING, "memory": 512}
    return SimpleNamespace(**{**usual, "authorizer": {}, "xray_tracing": False, **settings})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Build the package of dev once for all processes of a run, in a copy of the project."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "project"
    with folder.with_name("project.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _copy_project(folder)
            ran = make_package(folder, "dev")
            (folder / "said").write_text(ran.stdout)
            assert ran.returncode == 0, ran.stderr
    return folder


def _copy_project(folder: Path) -> None:
    """Copy the project, with things beside it that are nobody's business."""
    folder.mkdir()
    for name in ("quoteapi", "docs"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("quote_database.db", "Pipfile.lock", "README.md"):
        shutil.copy(ROOT / name, folder)
    (folder / "tests").mkdir()
    for name in (".env", "people.csv", "quoteapi.db", "quoteapi.db.key", "tests/test_it.py", *STRAY):
        (folder / name).write_text(CANARY)
    (folder / ".venv-lambda").symlink_to(environment_for_lambda())
    settings = json.loads((ROOT / "zappa_settings.json").read_text())
    settings["base"]["runtime"] = RUNNING
    (folder / "zappa_settings.json").write_text(json.dumps(settings))


def make_package(project: Path, stage: str) -> subprocess.CompletedProcess[str]:
    """Run what `make package` runs."""
    command = [sys.executable, "-m", "quoteapi.deploy.package", stage]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def names(project: Path) -> list[str]:
    with ZipFile(project / "build/quoteapi-dev.zip") as built:
        return built.namelist()


def test_the_package_of_dev_is_small_and_its_ten_largest_parts_are_shown(project: Path) -> None:
    rows = re.findall(r"^(\S.*?) +([\d.]+) MB +([\d.]+) MB$", (project / "said").read_text(), re.MULTILINE)
    assert len(rows) == 11
    assert rows[0][0] == "psycopg_binary.libs", "the PostgreSQL driver is in it"
    sizes = [float(unzipped) for _, _, unzipped in rows[:10]]
    assert sizes == sorted(sizes, reverse=True)
    built = project / "build/quoteapi-dev.zip"
    assert built.stat().st_size <= 12_000_000
    assert sum(part.unzipped for part in parts_of(built)) <= 35_000_000
    assert rows[10][1] == f"{built.stat().st_size / 1e6:.1f}"


def test_the_package_has_what_the_service_needs_and_nothing_else_of_the_projects_folder(names: list[str]) -> None:
    tops = {name.partition("/")[0] for name in names}
    packages = {path.name for path in (environment_for_lambda() / "lib" / RUNNING / "site-packages").iterdir()}
    bytecode = {f"{name.removesuffix('.py')}.pyc" for name in packages}
    ours = {"handler.py", "quote_database.db", "quoteapi", "zappa_settings.py", "__pycache__"}
    assert tops - packages - bytecode == ours
    assert {"falcon", "peewee.pyc", "psycopg", "boto3", "zappa", "phonenumbers"} <= tops


def test_the_package_has_all_that_pages_are_made_of(project: Path, names: list[str]) -> None:
    ours = ROOT / "quoteapi/http"
    made_of = [ours / "openapi.json", *(ours / "assets").iterdir(), *(ours / "templates").glob("*.*")]
    assert len(made_of) > 10
    with ZipFile(project / "build/quoteapi-dev.zip") as built:
        for path in made_of:
            assert built.read(f"quoteapi/http/{path.relative_to(ours)}") == path.read_bytes()
    assert {"jinja2/environment.pyc", "markupsafe/__init__.pyc"} <= set(names)


def test_api_gateway_is_told_that_all_we_answer_is_text() -> None:
    contract = json.loads((ROOT / "quoteapi/http/openapi.json").read_text())
    operations = [one for path in contract["paths"].values() for one in path.values() if isinstance(one, dict)]
    answers = [contract["components"]["responses"], *(operation["responses"] for operation in operations)]
    answered = {kind for each in answers for answer in each.values() for kind in answer.get("content", {})}
    settings = json.loads((ROOT / "zappa_settings.json").read_text())["base"]
    text = (*DEFAULT_TEXT_MIMETYPES, *settings["additional_text_mimetypes"])
    assert {"text/html", "image/svg+xml", "application/atom+xml", "application/feed+json"} <= answered
    assert [kind for kind in answered if not kind.startswith(text)] == []
    assert [kind for kind in ASSET_TYPES.values() if not kind.startswith(text)] == []


@pytest.mark.parametrize(
    "unwanted",
    ["click", "pip", "setuptools", "granian", "gunicorn", "troposphere", "jwt", "cryptography", "aws_xray_sdk"],
)
def test_the_package_of_dev_leaves_out(unwanted: str, names: list[str]) -> None:
    assert not [name for name in names if name.startswith(unwanted)]


@pytest.mark.parametrize(
    "unwanted",
    ["quoteapi/cli/root.py", "quoteapi/deploy/package.py", "zappa/cli.pyc", "zappa/core.pyc", "botocore/data/ec2"],
)
def test_the_package_leaves_out_what_only_deploying_needs(unwanted: str, names: list[str]) -> None:
    assert not [name for name in names if name.startswith(unwanted)]


def test_nothing_that_lies_beside_the_project_gets_in(project: Path, names: list[str]) -> None:
    with ZipFile(project / "build/quoteapi-dev.zip") as built:
        assert [name for name in names if CANARY.encode() in built.read(name)] == []


def test_lambda_believes_the_bytecode_of_every_module(project: Path, names: list[str]) -> None:
    tag = sys.implementation.cache_tag
    with ZipFile(project / "build/quoteapi-dev.zip") as built:
        compiled = {name: built.read(name)[:8] for name in names if name.endswith(".pyc")}
    believed = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")  # by its hash, which nobody checks
    assert {name for name, start in compiled.items() if start != believed} == set()
    sources = {name for name in names if name.endswith(".py")}
    assert {"quoteapi/app.py", "handler.py", "zappa_settings.py"} <= sources
    for name in sources:
        folder, _, module = name.rpartition("/")
        assert f"{folder}/__pycache__/{module[:-3]}.{tag}.pyc".lstrip("/") in compiled


@pytest.fixture
def zipped(tmp_path: Path) -> Path:
    """Make a zip as Zappa leaves it, small."""
    path = tmp_path / "package.zip"
    with ZipFile(path, "w") as made:
        made.writestr("handler.py", "import quoteapi\n")
        made.writestr("quoteapi/__init__.py", "")
        made.writestr("quoteapi/__pycache__/__init__.cpython-311.pyc", b"stale")
        for library in ("aws_xray_sdk", "cryptography", "jwt", "peewee"):
            made.writestr(f"{library}/__init__.pyc", "")
            made.writestr(f"{library}/__init__.py", "")
        made.writestr("secrets.csv", CANARY)
    return path


def test_the_same_package_is_the_same_file(zipped: Path) -> None:
    again = zipped.with_name("again.zip")
    shutil.copy(zipped, again)
    finish(zappa(zip_path=str(zipped)))
    finish(zappa(zip_path=str(again)))
    assert zipped.read_bytes() == again.read_bytes()
    with ZipFile(zipped) as finished:
        modes = {entry.external_attr >> 16 for entry in finished.infolist()}
    assert modes == {0o644}, "whoever Lambda runs as may read it"


@pytest.mark.parametrize(
    ("settings", "brought"),
    [
        ({}, set()),
        ({"xray_tracing": True}, {"aws_xray_sdk"}),
        ({"authorizer": {"function": "quoteapi.aws.authorizer.authorize"}}, {"cryptography", "jwt"}),
        ({"authorizer": {"arn": "arn:aws:lambda:us-east-1:123456789012:function:another"}}, set()),
    ],
)
def test_a_stage_has_in_its_package_what_it_alone_uses(
    zipped: Path, settings: dict[str, object], brought: set[str]
) -> None:
    finish(zappa(zip_path=str(zipped), **settings))
    with ZipFile(zipped) as finished:
        tops = {name.partition("/")[0] for name in finished.namelist()}
    assert tops & {"aws_xray_sdk", "cryptography", "jwt", "secrets.csv"} == brought


def test_what_cannot_be_compiled_is_not_uploaded(zipped: Path) -> None:
    with ZipFile(zipped, "a") as made:
        made.writestr("quoteapi/broken.py", "def\n")
    with pytest.raises(click.ClickException, match="cannot be compiled"):
        finish(zappa(zip_path=str(zipped)))


def settings_file(tmp_path: Path, **changed: object) -> Path:
    """Write settings that can be deployed but for what is changed."""
    settings = json.loads((ROOT / "zappa_settings.json").read_text().replace("<your-bucket>", "our-bucket"))
    settings["base"] |= {"runtime": RUNNING, **changed}
    path = tmp_path / "zappa_settings.json"
    path.write_text(json.dumps(settings))
    return path


@pytest.mark.parametrize("command", ["deploy", "update", "certify", "schedule"])
def test_a_placeholder_stops_what_would_go_to_aws_and_is_named(tmp_path: Path, command: str) -> None:
    path = settings_file(tmp_path, s3_bucket="<your-bucket>")
    with pytest.raises(click.ClickException, match=r"s3_bucket still has <your-bucket>\n.*aws s3 mb"):
        prepare(zappa(command=command, vargs={"settings_file": str(path)}))


def test_advice_stops_nothing(tmp_path: Path) -> None:
    path = settings_file(tmp_path, exception_handler="")
    assert [check.state for check in find_problems(path, "dev")] == ["advice"]
    prepare(zappa(command="package", vargs={"settings_file": str(path)}))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoCredentialsError(), r"No AWS credentials can be used \(NoCredentialsError\): run `aws configure`"),
        (EndpointConnectionError(endpoint_url="https://sts"), "AWS cannot be reached. Is the network up"),
        (
            ClientError({"Error": {"Code": "ExpiredToken"}}, "GetCallerIdentity"),
            r"AWS does not take your credentials \(ExpiredToken\)",
        ),
    ],
)
def test_who_may_not_deploy_is_told_before_anything_is_built(tmp_path: Path, error: Exception, said: str) -> None:
    class Sts:
        def get_caller_identity(self) -> None:
            raise error

    aws = SimpleNamespace(sts_client=Sts())
    with pytest.raises(click.ClickException, match=said):
        prepare(zappa(zappa=aws, vargs={"settings_file": str(settings_file(tmp_path))}))


@pytest.mark.parametrize("command", ["package", "undeploy", "tail"])
def test_a_placeholder_does_not_stop_the_rest(tmp_path: Path, command: str) -> None:
    path = settings_file(tmp_path, s3_bucket="<your-bucket>")
    prepare(zappa(command=command, vargs={"settings_file": str(path)}))


def test_a_misspelt_key_stops_a_deploy(tmp_path: Path) -> None:
    path = settings_file(tmp_path, memory_sise=512)
    with pytest.raises(click.ClickException, match=r"memory_sise is no key that Zappa knows\n.*memory_size"):
        prepare(zappa(vargs={"settings_file": str(path)}))


def test_a_runtime_that_is_not_this_python_is_told_with_what_to_set(tmp_path: Path) -> None:
    path = settings_file(tmp_path, runtime="python3.9")
    with pytest.raises(click.ClickException, match=rf'Set "runtime": "{RUNNING}"'):
        prepare(zappa(command="package", vargs={"settings_file": str(path)}))


def test_zappa_packages_the_environment_for_lambda_whatever_is_active(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", "/somewhere/else")
    prepare(zappa(command="package", vargs={"settings_file": str(settings_file(tmp_path))}))
    assert os.environ["VIRTUAL_ENV"] == str(ROOT / ".venv-lambda")


def test_what_lambda_needs_is_fetched_by_the_locks_hashes_for_an_old_linux(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "ENVIRONMENT", tmp_path / ".venv-lambda")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(click.ClickException, match="Is the network up"):
        environment_for_lambda()
    asked = (tmp_path / ".venv-lambda/requirements.txt").read_text()
    lock = json.loads((ROOT / "Pipfile.lock").read_text())["default"]
    assert f"falcon{lock['falcon']['version']} --hash={lock['falcon']['hashes'][0]}" in asked.replace(
        f" ; {lock['falcon'].get('markers')}", ""
    )
    assert "\nclick" not in asked
    assert not (tmp_path / ".venv-lambda/.ready").exists(), "so that the next try fetches again"


def test_what_lies_in_a_folder_that_is_named_like_a_library_is_not_uploaded(zipped: Path) -> None:
    stray = ["falcon/keys.csv", *STRAY]
    with ZipFile(zipped, "a") as made:
        for name in stray:
            made.writestr(name, CANARY)
        made.writestr("quoteapi/rds.pem", "who vouches for the database")
    finish(zappa(zip_path=str(zipped)))
    with ZipFile(zipped) as finished:
        assert set(finished.namelist()) & {*stray, "quoteapi/rds.pem"} == {"quoteapi/rds.pem"}
