import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import click
import pytest
from zappa.handler import DEFAULT_TEXT_MIMETYPES

from quoteapi.deploy import package
from quoteapi.deploy.package import environment_for_lambda, list_parts
from quoteapi.http.html import ASSET_TYPES
from quoteapi.settings import ROOT

RUNNING = f"python{sys.version_info.major}.{sys.version_info.minor}"
CANARY = "+919028000001 is a secret"
UNWANTED_FILES = (
    *("quoteapi/local.json", "quoteapi/people.csv", "quoteapi/server.key", "quoteapi/quoteapi.db"),
    *("quoteapi/http/openapi.json.orig", "quoteapi/http/assets/people.csv", "quoteapi/http/assets/.style.css.swp"),
    *("quoteapi/http/templates/quote.html~", "quoteapi/http/templates/letters.txt"),
)
"""Files in `quoteapi/` that must not be packaged."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Build the package of dev once for all processes of a test run, in a copy of the project."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "project"
    with folder.with_name("project.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _copy_project(folder)
            ran = make_package(folder, "dev")
            (folder / "output").write_text(ran.stdout)
            assert ran.returncode == 0, ran.stderr
    return folder


def _copy_project(folder: Path) -> None:
    """Copy the project, and add files that must not be packaged."""
    folder.mkdir()
    for name in ("quoteapi", "docs"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("quote_database.db", "Pipfile.lock", "README.md"):
        shutil.copy(ROOT / name, folder)
    (folder / "tests").mkdir()
    for name in (".env", "people.csv", "quoteapi.db", "quoteapi.db.key", "tests/test_it.py", *UNWANTED_FILES):
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
    rows = re.findall(r"^(\S.*?) +([\d.]+) MB +([\d.]+) MB$", (project / "output").read_text(), re.MULTILINE)
    assert len(rows) == 11
    assert rows[0][0] == "psycopg_binary.libs", "the PostgreSQL driver is in it"
    sizes = [float(unzipped) for _, _, unzipped in rows[:10]]
    assert sizes == sorted(sizes, reverse=True)
    built = project / "build/quoteapi-dev.zip"
    assert built.stat().st_size <= 12_000_000
    assert sum(size for _, _, size in list_parts(built)) <= 35_000_000
    assert rows[10][1] == f"{built.stat().st_size / 1e6:.1f}"


def test_the_package_has_what_the_service_needs_and_nothing_else_of_the_projects_folder(names: list[str]) -> None:
    tops = {name.partition("/")[0] for name in names}
    packages = {path.name for path in (environment_for_lambda() / "lib" / RUNNING / "site-packages").iterdir()}
    bytecode = {f"{name.removesuffix('.py')}.pyc" for name in packages}
    of_project = {"handler.py", "quote_database.db", "quoteapi", "zappa_settings.py", "__pycache__"}
    assert tops - packages - bytecode == of_project
    assert {"falcon", "peewee.pyc", "psycopg", "boto3", "zappa", "phonenumbers"} <= tops


def test_the_package_has_the_templates_the_assets_and_the_openapi_document(project: Path, names: list[str]) -> None:
    folder = ROOT / "quoteapi/http"
    files = [folder / "openapi.json", *(folder / "assets").iterdir(), *(folder / "templates").glob("*.*")]
    assert len(files) > 10
    with ZipFile(project / "build/quoteapi-dev.zip") as built:
        for path in files:
            assert built.read(f"quoteapi/http/{path.relative_to(folder)}") == path.read_bytes()
    assert {"jinja2/environment.pyc", "markupsafe/__init__.pyc"} <= set(names)


def test_every_media_type_of_a_response_is_text_for_zappa() -> None:
    document = json.loads((ROOT / "quoteapi/http/openapi.json").read_text())
    operations = [item for path in document["paths"].values() for item in path.values() if isinstance(item, dict)]
    responses = [document["components"]["responses"], *(operation["responses"] for operation in operations)]
    media_types = {kind for each in responses for response in each.values() for kind in response.get("content", {})}
    settings = json.loads((ROOT / "zappa_settings.json").read_text())["base"]
    text = (*DEFAULT_TEXT_MIMETYPES, *settings["additional_text_mimetypes"])
    assert {"text/html", "image/svg+xml", "application/atom+xml", "application/feed+json"} <= media_types
    assert [kind for kind in media_types if not kind.startswith(text)] == []
    assert [kind for kind in ASSET_TYPES.values() if not kind.startswith(text)] == []


@pytest.mark.parametrize(
    "unwanted",
    [
        "click",
        "pip",
        "setuptools",
        "granian",
        "gunicorn",
        "uvloop",
        "troposphere",
        "jwt",
        "cryptography",
        "aws_xray_sdk",
    ],
)
def test_the_package_of_dev_leaves_out(unwanted: str, names: list[str]) -> None:
    assert not [name for name in names if name.startswith(unwanted)]


@pytest.mark.parametrize(
    "unwanted",
    ["quoteapi/cli/root.py", "quoteapi/deploy/package.py", "zappa/cli.pyc", "zappa/core.pyc", "botocore/data/ec2"],
)
def test_the_package_leaves_out_what_only_deploying_needs(unwanted: str, names: list[str]) -> None:
    assert not [name for name in names if name.startswith(unwanted)]


def test_no_other_file_of_the_projects_folder_is_packaged(project: Path, names: list[str]) -> None:
    with ZipFile(project / "build/quoteapi-dev.zip") as built:
        assert [name for name in names if CANARY.encode() in built.read(name)] == []


def test_every_module_has_bytecode_with_an_unchecked_hash(project: Path, names: list[str]) -> None:
    tag = sys.implementation.cache_tag
    with ZipFile(project / "build/quoteapi-dev.zip") as built:
        compiled = {name: built.read(name)[:8] for name in names if name.endswith(".pyc")}
    unchecked_hash = importlib.util.MAGIC_NUMBER + (1).to_bytes(
        4, "little"
    )  # PEP 552: bit 0 is hash-based, bit 1 checked
    assert {name for name, start in compiled.items() if start != unchecked_hash} == set()
    sources = {name for name in names if name.endswith(".py")}
    assert {"quoteapi/app.py", "handler.py", "zappa_settings.py"} <= sources
    for name in sources:
        folder, _, module = name.rpartition("/")
        assert f"{folder}/__pycache__/{module[:-3]}.{tag}.pyc".lstrip("/") in compiled


ELF_MACHINES = {"x86_64": 62, "arm64": 183}
"""`e_machine` in the header of a file of each architecture: EM_X86_64 and EM_AARCH64."""


def elf_machine(file: bytes) -> int:
    """Return the machine that an ELF file is for, or 0 if it is no ELF file."""
    return int.from_bytes(file[18:20], "little") if file.startswith(b"\x7fELF") else 0


def test_every_library_in_machine_code_is_for_the_architecture_of_the_stage(project: Path, names: list[str]) -> None:
    with ZipFile(project / "build/quoteapi-dev.zip") as built:
        machines = {name: elf_machine(built.read(name)) for name in names if ".so" in name}
    assert len(machines) > 10
    assert set(machines.values()) == {ELF_MACHINES["x86_64"]}


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that pip uses as its only index, with wheels of one library for both architectures.

    The lock of the project has only this library.
    """
    folder = tmp_path / "wheels"
    folder.mkdir()
    version = f"cp{sys.version_info.major}{sys.version_info.minor}"
    platforms = {"x86_64": "manylinux_2_17_x86_64.manylinux2014_x86_64", "arm64": "manylinux_2_28_aarch64"}
    for architecture, platform in platforms.items():
        tag = f"{version}-{version}-{platform}"
        with ZipFile(folder / f"native-1.0-{tag}.whl", "w") as wheel:
            wheel.writestr("native.so", b"\x7fELF" + bytes(14) + ELF_MACHINES[architecture].to_bytes(2, "little"))
            wheel.writestr("native-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: native\nVersion: 1.0\n")
            wheel.writestr("native-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
            wheel.writestr("native-1.0.dist-info/RECORD", "")
    hashes = [f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in folder.iterdir()]
    lock = {"default": {"native": {"version": "==1.0", "hashes": hashes}}}
    (tmp_path / "Pipfile.lock").write_text(json.dumps(lock))
    monkeypatch.setattr(package, "ROOT", tmp_path)
    for architecture in ELF_MACHINES:
        monkeypatch.setitem(package.ENVIRONMENTS, architecture, tmp_path / architecture)
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return folder


def test_each_architecture_has_an_environment_with_wheels_for_it_that_is_fetched_once(wheels: Path) -> None:
    for architecture, machine in ELF_MACHINES.items():
        environment = environment_for_lambda(architecture)
        library = environment / "lib" / RUNNING / "site-packages/native.so"
        assert elf_machine(library.read_bytes()) == machine
    shutil.rmtree(wheels)
    for architecture in ELF_MACHINES:
        environment_for_lambda(architecture)


def test_libraries_are_fetched_with_the_hashes_of_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(package.ENVIRONMENTS, "x86_64", tmp_path / ".venv-lambda")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(click.ClickException, match="Check the network"):
        environment_for_lambda()
    requirements = (tmp_path / ".venv-lambda/requirements.txt").read_text()
    lock = json.loads((ROOT / "Pipfile.lock").read_text())["default"]
    assert f"falcon{lock['falcon']['version']} --hash={lock['falcon']['hashes'][0]}" in requirements.replace(
        f" ; {lock['falcon'].get('markers')}", ""
    )
    assert "\nclick" not in requirements
    assert not (tmp_path / ".venv-lambda/.ready").exists(), "so that the next try fetches again"


def test_the_package_has_time_zones_and_no_other_data_about_places(names: list[str]) -> None:
    zones = {"phonenumbers/timezone.pyc", "phonenumbers/tzdata/data0.pyc", "tzdata/zones"}
    assert zones | {"tzdata/zoneinfo/tzdata.zi", "tzdata/zoneinfo/zone.tab", "tzdata/zoneinfo/Asia/Kolkata"} <= set(
        names
    )
    unwanted = ("geodata/", "geocoder", "carrier", "prefix", "shortdata/region_")
    assert [name for name in names if name.startswith(tuple(f"phonenumbers/{part}" for part in unwanted))] == []


def test_the_packaged_libraries_know_the_time_zone_of_a_number(project: Path, tmp_path: Path) -> None:
    with ZipFile(project / "build/quoteapi-dev.zip") as built:
        built.extractall(tmp_path)
    code = """
import phonenumbers
from quoteapi.subscriptions.phone import parse_mobile, time_zone_of
from quoteapi.time_zones import zone_info
print(zone_info(time_zone_of(parse_mobile("+12125550123"))), phonenumbers.__file__)
"""
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{code}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["America/New_York", f"{tmp_path}/phonenumbers/__init__.pyc"]
