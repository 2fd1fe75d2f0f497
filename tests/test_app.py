import subprocess
import sys
from pathlib import Path

import pytest
import requests

from quoteapi import app as app_module
from quoteapi.settings import ROOT, Settings
from tests.conftest import Serve
from tests.helpers.data import environment, sqlite_only


def test_importing_the_package_has_no_side_effects(tmp_path: Path) -> None:
    paths = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "quoteapi").rglob("*.py")]
    names = ", ".join(".".join(path.parts) for path in paths if path.stem.isidentifier() and path.stem != "__main__")
    ran = subprocess.run(
        [sys.executable, "-c", f"import threading, {names}; assert threading.active_count() == 1"],
        env={"PYTHONPATH": str(ROOT), "DATABASE_URL": "nonsense"},
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert (ran.stdout, ran.stderr) == (b"", b"")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_attribute_of_the_module_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_such"):
        app_module.nothing_such  # noqa: B018


def test_requests_is_not_imported_without_an_upstream_api(settings: Settings) -> None:
    code = (
        "import sys; from quoteapi.app import create_app; from quoteapi.settings import read_settings;"
        f"create_app(read_settings({environment(settings)!r}));"
        "assert 'requests' not in sys.modules and 'dotenv' not in sys.modules and 'click' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@sqlite_only  # the driver of PostgreSQL imports zoneinfo
def test_the_time_zone_database_is_not_read_for_daily_without_a_time_zone(settings: Settings) -> None:
    code = (
        "import sys; from falcon.testing import TestClient;"
        "from quoteapi.app import create_app; from quoteapi.settings import read_settings;"
        f"client = TestClient(create_app(read_settings({environment(settings)!r})));"
        "before = set(sys.modules);"
        "assert [client.simulate_get('/daily').status_code for _ in range(2)] == [200, 200];"
        "assert client.simulate_get('/daily?utm_source=x').status_code == 200;"
        "assert not {'tzdata', 'zoneinfo'} & set(sys.modules), sorted(set(sys.modules) - before)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_trailing_slash_is_ignored(serve: Serve) -> None:
    base = serve()
    assert requests.get(f"{base}/daily/", timeout=30).content == requests.get(f"{base}/daily", timeout=5).content
