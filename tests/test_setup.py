"""What a fresh machine meets: the Makefile's own checks, and what must not be in the lock."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from quoteapi.settings import ROOT


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Make a folder with a space in its name that has what set-up reads."""
    folder = tmp_path / "a clone"
    folder.mkdir()
    for name in ("Makefile", "Pipfile", "Pipfile.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


def make(
    folder: Path, *words: str, path: str = os.environ["PATH"], **settings: str
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": path, "HOME": str(folder), **settings}
    return subprocess.run(
        [shutil.which("make") or "make", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def tools_without_python(tmp_path: Path) -> str:
    """Make a folder of the ordinary tools, and of a Python that is too old."""
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
    assert stopped.stderr.startswith("Python 3.11 or later is missing: install it, or set PYTHON to where it is.\n")


def test_without_the_network_it_says_so_in_a_sentence(clone: Path) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    stopped = make(clone, "run", **nowhere)
    assert stopped.returncode != 0
    assert stopped.stderr.startswith("Set-up stopped: the package index cannot be reached. Is the network up?")
    assert not list(clone.glob(".venv*/.ready")), "so that the next try sets up again"


def test_what_is_set_up_is_not_set_up_again(clone: Path) -> None:
    for name in (".venv", ".venv-pipenv"):
        (clone / name).mkdir()
        (clone / name / ".ready").write_text(f"{clone}\n")
    planned = make(clone, "--dry-run", "run")
    assert planned.stdout.strip() == "exec .venv/bin/python -m quoteapi serve"


def test_what_was_set_up_before_the_folder_was_moved_is_set_up_again(clone: Path) -> None:
    for name in (".venv", ".venv-dev"):
        (clone / name).mkdir()
        (clone / name / ".ready").write_text("/somewhere/else\n")
    make(clone, "help")
    assert not list(clone.glob(".venv*"))


def test_a_python_that_was_asked_for_is_not_replaced_by_another(clone: Path) -> None:
    stopped = make(clone, "run", PYTHON="/no/such python")
    assert stopped.returncode != 0
    assert "set PYTHON to where it is (it is /no/such python now)" in stopped.stderr


def test_help_names_the_targets(clone: Path) -> None:
    lines = make(clone).stdout.splitlines()
    assert "  make run         Serve on http://127.0.0.1:8000 (HOST and PORT change that)" in lines


def test_no_package_index_is_named() -> None:
    lock = json.loads((ROOT / "Pipfile.lock").read_text())
    assert lock["_meta"]["sources"] == []
    assert not re.search(r'https?://|"index"', (ROOT / "Pipfile.lock").read_text())
    assert not re.search(r'"resolved"|\.tgz|registry\.', (ROOT / "tests/npm/package-lock.json").read_text())
    assert "source" not in tomllib.loads((ROOT / "Pipfile").read_text())


def test_the_services_packages_are_few_and_pipenv_is_none_of_them() -> None:
    lock = json.loads((ROOT / "Pipfile.lock").read_text())
    assert len(lock["default"]) <= 46, "zappa brings 20 of them, RS256 and X-Ray five, and pages two"
    assert not {"pipenv", "pytest", "mypy", "ruff", "moto", "flask", "awscli", "awslambdaric"} & set(lock["default"])
