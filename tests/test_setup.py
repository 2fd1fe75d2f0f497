"""Set-up on a fresh machine: the Makefile's own checks, and what must not be in the lock."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pip
import pytest

from quoteapi.settings import ROOT


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder, with a space in its name, that has the files that set-up reads."""
    folder = tmp_path / "a clone"
    folder.mkdir()
    for name in ("Makefile", "Pipfile", "Pipfile.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


def make(
    folder: Path, *targets: str, path: str = os.environ["PATH"], **settings: str
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": path, "HOME": str(folder), **settings}
    return subprocess.run(
        [shutil.which("make") or "make", *targets],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def tools_without_python(tmp_path: Path) -> str:
    """Return a folder with common tools and a Python that is too old."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "rm", "touch", "grep", "tail", "awk", "echo", "cat"):
        (folder / tool).symlink_to(shutil.which(tool) or tool)
    old = folder / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize("target", ["run", "test"])
def test_without_python_it_says_so_in_a_sentence(clone: Path, tools_without_python: str, target: str) -> None:
    stopped = make(clone, target, path=tools_without_python)
    assert stopped.returncode != 0
    assert stopped.stderr.startswith("Python 3.11 or later is missing. Install it, or set PYTHON to its path.\n")


@pytest.fixture
def python_with_ready_pip(tmp_path: Path) -> dict[str, str]:
    """Return settings for a Python that shares its pip with the environments it makes: installing pip takes seconds."""
    (tmp_path / "pip").symlink_to(Path(pip.__file__).parent)
    python, real = tmp_path / "python", f'exec "{sys.executable}"'
    python.write_text(f'#!/bin/sh\n[ "$2" = venv ] && {real} -m venv --without-pip "$3"\n{real} "$@"\n')
    python.chmod(0o755)
    return {"PYTHON": str(python), "PYTHONPATH": str(tmp_path)}


def test_without_the_network_it_says_so_in_a_sentence(clone: Path, python_with_ready_pip: dict[str, str]) -> None:
    no_index = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    stopped = make(clone, "run", **no_index, **python_with_ready_pip)
    assert stopped.returncode != 0
    assert stopped.stderr.startswith("Set-up failed: the package index cannot be reached. Check the network.")
    assert not list(clone.glob(".venv*/.ready")), "the next run would not set up again"


def test_environments_are_set_up_once(clone: Path) -> None:
    for name in (".venv", ".venv-pipenv"):
        (clone / name).mkdir()
        (clone / name / ".ready").write_text(f"{clone}\n")
    planned = make(clone, "--dry-run", "run")
    assert planned.stdout.strip() == "exec .venv/bin/quoteapi serve"


def test_a_moved_folder_is_set_up_again(clone: Path) -> None:
    for name in (".venv", ".venv-dev"):
        (clone / name).mkdir()
        (clone / name / ".ready").write_text("/somewhere/else\n")
    make(clone, "help")
    assert not list(clone.glob(".venv*"))


def test_a_missing_python_of_the_user_is_not_replaced(clone: Path) -> None:
    stopped = make(clone, "run", PYTHON="/no/such python")
    assert stopped.returncode != 0
    assert "set PYTHON to its path (now /no/such python)." in stopped.stderr


def test_help_names_the_targets(clone: Path) -> None:
    lines = make(clone).stdout.splitlines()
    assert "  make run         Serve on http://127.0.0.1:8000 (to change that, set HOST and PORT)" in lines


def test_no_package_index_is_named() -> None:
    lock = json.loads((ROOT / "Pipfile.lock").read_text())
    assert lock["_meta"]["sources"] == []
    assert not re.search(r'https?://|"index"', (ROOT / "Pipfile.lock").read_text())
    assert not re.search(r'"resolved"|\.tgz|registry\.', (ROOT / "tests/npm/package-lock.json").read_text())
    assert "source" not in tomllib.loads((ROOT / "Pipfile").read_text())


def test_the_service_has_few_packages_and_no_development_tools() -> None:
    lock = json.loads((ROOT / "Pipfile.lock").read_text())
    assert len(lock["default"]) <= 48, "zappa requires 20 of them, RS256 and X-Ray 5, templates 2, time zones 1"
    assert not {"pipenv", "pytest", "mypy", "ruff", "moto", "flask", "awscli", "awslambdaric"} & set(lock["default"])
