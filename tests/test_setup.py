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


def add_python(path: Path, *, runs: bool = True, has_venv: bool = True) -> None:
    """Write a fake Python that creates no environment, but writes its path to the file `used`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    venv = f'case "$2" in *ensurepip*) exit {0 if has_venv else 1};; venv) echo "{path}" >used; exit 1;; esac'
    path.write_text(f"#!/bin/sh\n{venv if runs else 'exit 127'}\n")
    path.chmod(0o755)


FAILS, NO_VENV = {"runs": False}, {"has_venv": False}


@pytest.mark.parametrize(
    ("pythons", "expected"),
    [
        ({"bin/python3.13": {}, "bin/python3": {}}, "bin/python3.13"),
        ({"bin/python3.13": FAILS, ".pyenv/versions/3.13.7/bin/python3.13": {}, "bin/python3": {}}, ".pyenv/"),
        ({"bin/python3.13": FAILS, "bin/python3": {}}, "bin/python3"),
        ({"bin/python3.13": NO_VENV, "bin/python3.12": {}}, "bin/python3.12"),
        ({"bin/python3.11": {}, "bin/python3.12": {}, "bin/python3.14": {}}, "bin/python3.14"),
    ],
)
def test_the_python_of_lambda_comes_first_if_it_runs(
    clone: Path, tools_without_python: str, pythons: dict[str, dict[str, bool]], expected: str
) -> None:
    for name, options in pythons.items():
        add_python(clone / name, **options)
    stopped = make(clone, "setup", path=f"{clone}/bin:{tools_without_python}")
    assert (clone / "used").read_text().startswith(f"{clone}/{expected}"), stopped.stderr


def test_pyenv_root_says_where_pyenv_has_its_pythons(clone: Path, tools_without_python: str) -> None:
    add_python(clone / "my pyenv/versions/3.13.1/bin/python3.13")
    make(clone, "setup", path=tools_without_python, PYENV_ROOT=f"{clone}/my pyenv")
    assert (clone / "used").read_text() == f"{clone}/my pyenv/versions/3.13.1/bin/python3.13\n"


def test_an_environment_keeps_its_python_when_packages_change(clone: Path, tools_without_python: str) -> None:
    for path in ("bin/python3.13", ".venv/bin/python", ".venv-pipenv/bin/python"):
        add_python(clone / path)
    (clone / ".venv-pipenv/.ready").write_text(f"{clone}\n")
    done = make(clone, "setup", path=f"{clone}/bin:{tools_without_python}")
    assert (done.returncode, (clone / "used").exists()) == (0, False), done.stderr


def test_an_environment_whose_python_is_gone_is_made_again(clone: Path, tools_without_python: str) -> None:
    add_python(clone / "bin/python3.13")
    (clone / ".venv/bin").mkdir(parents=True)
    (clone / ".venv/bin/python").symlink_to("/no/such/python")
    (clone / ".venv-pipenv").mkdir()
    (clone / ".venv-pipenv/.ready").write_text(f"{clone}\n")
    make(clone, "setup", path=f"{clone}/bin:{tools_without_python}")
    assert (clone / "used").read_text() == f"{clone}/bin/python3.13\n"


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
