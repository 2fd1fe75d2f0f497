import json
from datetime import date, timedelta

import pytest
import zappa

from quoteapi.deploy.runtimes import (
    DEFAULT_RUNTIME,
    check_runtime_end,
    how_to_run_on,
    is_supported,
    running_runtime,
    supports_arm64,
)
from quoteapi.settings import ROOT
from tests.deploy.conftest import describe
from tests.deploy.test_package import RUNNING

END_OF_3_11 = date(2027, 6, 30)


def test_the_python_of_the_tests_is_supported() -> None:
    assert running_runtime() == RUNNING
    assert is_supported(RUNNING)


@pytest.mark.parametrize(
    "runtime", ["python3.10", "python3.15", "python3.1", "nodejs22.x", "", None, 3.13, ["python3.13"]]
)
def test_a_runtime_without_support_is_not_supported(runtime: object) -> None:
    assert not is_supported(runtime)


@pytest.mark.parametrize("runtime", ["python3.12", "python3.13", "python3.14"])
def test_a_runtime_with_a_recent_glibc_supports_arm64(runtime: str) -> None:
    assert supports_arm64(runtime)
    assert not supports_arm64("python3.11")


def test_zappa_supports_every_runtime_and_the_oldest_is_the_oldest_python_of_the_project() -> None:
    names = [f"python{major}.{minor}" for major, minor in zappa.SUPPORTED_VERSIONS]
    supported = [name for name in names if is_supported(name)]
    assert supported == ["python3.11", "python3.12", "python3.13", "python3.14"]
    assert 'requires-python = ">=3.11"' in (ROOT / "pyproject.toml").read_text()


def test_the_default_runtime_is_that_of_the_settings_and_of_the_makefile() -> None:
    assert json.loads((ROOT / "zappa_settings.json").read_text())["base"]["runtime"] == DEFAULT_RUNTIME
    assert f'$(if $(PYTHON),"$(PYTHON)",{DEFAULT_RUNTIME} ' in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize(
    ("days_left", "state", "found"),
    [
        (184, "ok", "AWS supports python3.11 until 2027-06-30"),
        (183, "advice", "AWS ends python3.11 on 2027-06-30"),
        (1, "advice", "AWS ends python3.11 on 2027-06-30"),
        (0, "wrong", "AWS ended python3.11 on 2027-06-30"),
        (-400, "wrong", "AWS ended python3.11 on 2027-06-30"),
    ],
)
def test_the_end_of_a_runtime_is_announced_six_months_before(days_left: int, state: str, found: str) -> None:
    check = check_runtime_end("python3.11", END_OF_3_11 - timedelta(days=days_left))
    assert (check.name, check.state, check.found) == ("runtime", state, found)
    assert bool(check.to_do) == (state != "ok")


@pytest.mark.parametrize("runtime", ["python3.11", "python3.12"])
def test_before_a_runtime_ends_the_default_runtime_is_recommended(runtime: str) -> None:
    assert check_runtime_end(runtime, date(2028, 10, 1)).to_do == (
        'Install Python 3.13 if it is missing, then run `make clean` and `make setup`. Set "runtime": "python3.13", and'
        " deploy again."
    )


def test_a_runtime_that_ends_last_needs_a_later_release() -> None:
    check = check_runtime_end(DEFAULT_RUNTIME, date(2029, 6, 1))
    assert describe(check) == "advice: AWS ends python3.13 on 2029-06-30 Upgrade QuoteAPI, for a later Python."


def test_an_unknown_runtime_is_wrong() -> None:
    check = check_runtime_end("python3.8", date(2026, 12, 1))
    assert describe(check).startswith("wrong: Lambda or Zappa does not support python3.8 Install Python 3.13 if")


def test_make_finds_only_the_default_python_by_itself() -> None:
    assert how_to_run_on("python3.13").endswith("run `make clean` and `make setup`.")
    assert how_to_run_on("python3.12").endswith("run `make clean` and `PYTHON=python3.12 make setup`.")
