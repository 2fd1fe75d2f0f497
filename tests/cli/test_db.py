import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from peewee import fn

from quoteapi.cli import main
from quoteapi.settings import ROOT, Settings, settings_for_database
from quoteapi.storage import database, database_copy, state_copy
from quoteapi.storage.migrate import known_migrations
from quoteapi.storage.models import MODELS, SmsSwitch
from tests.helpers import dynamodb_server, postgresql_server
from tests.helpers.databases import create_file_of_release, fill_all_tables, open_migrated, rows_by_table
from tests.helpers.processes import BARE, quoteapi

NAMES = list(known_migrations())


@pytest.fixture
def empty() -> Iterator[Settings]:
    """Make the settings of a database without tables on a server."""
    with postgresql_server.create_database(with_tables=False) as url:
        yield settings_for_database(url)


@pytest.fixture
def source(tmp_path: Path) -> Settings:
    settings = settings_for_database(f"sqlite:///{tmp_path}/source.db")
    fill_all_tables(settings)
    return settings


@pytest.mark.parametrize("kind", ["file of an earlier release", "empty server"])
def test_status_shows_what_is_missing_and_migrate_applies_it(kind: str, empty: Settings, tmp_path: Path) -> None:
    outdated, missing = empty, NAMES
    if kind.startswith("file"):
        create_file_of_release(2, tmp_path / "working.db")
        outdated, missing = settings_for_database(f"sqlite:///{tmp_path}/working.db"), NAMES[2:]
    url = {"DATABASE_URL": outdated.database_url or ""}
    status = quoteapi("db", "status", **url)
    assert status.returncode == 1
    assert status.stdout.splitlines()[0] == database.describe_database(outdated)
    assert [line.split()[1] for line in status.stdout.splitlines()[3:]] == [
        "missing" if name in missing else "applied" for name in NAMES
    ]
    applied = quoteapi("db", "migrate", "--json", **url)
    assert (applied.returncode, json.loads(applied.stdout)) == (0, {"applied": missing})
    assert quoteapi("db", "migrate", **url).stdout == "The database is up to date.\n"
    status = quoteapi("db", "status", "--json", **url)
    assert (status.returncode, json.loads(status.stdout)) == (0, [{"name": it, "state": "applied"} for it in NAMES])


def test_migrate_creates_a_file_that_does_not_exist(tmp_path: Path) -> None:
    settings = settings_for_database(f"sqlite:///{tmp_path}/new.db")
    migrated = quoteapi("db", "migrate", DATABASE_URL=settings.database_url or "")
    assert (migrated.returncode, migrated.stdout) == (0, "The database is up to date.\n")
    assert migrated.stderr == f"Created the database {tmp_path}/new.db.\n"
    status = quoteapi("db", "status", DATABASE_URL=settings.database_url or "")
    assert (status.returncode, status.stdout.count("applied")) == (0, len(NAMES))


def test_copy_shows_progress_and_what_is_the_same(source: Settings, empty: Settings, tmp_path: Path) -> None:
    here, there = source.database_url or "", (empty.database_url or "").replace("postgres:@", "postgres:S3cret@")
    terminal, end = pty.openpty()
    words = [sys.executable, "-m", "quoteapi", "db", "copy", here, there]
    copied = subprocess.run(words, stderr=end, stdout=subprocess.PIPE, env=BARE, cwd=ROOT, check=True, text=True)
    os.close(end)
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert "Copying and comparing" in shown
    assert "100%" in shown
    assert "S3cret" not in shown + copied.stdout
    lines = copied.stdout.splitlines()
    assert lines[0].split("  ")[0] == "table"
    assert [line.split()[:2] for line in lines[1 : 1 + len(MODELS)]] == [
        [name, str(len(rows))] for name, rows in rows_by_table(source).items()
    ]
    assert f"{database.describe_database(empty)} is now a copy of {source.database_path}." in lines
    assert f"{source.database_path}.key" in lines[-1]
    again = quoteapi("db", "copy", here, there)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "Error: TO already has data, for example a finished copy. Set TO to a new database.\n"
    back = quoteapi("db", "copy", there, f"sqlite:///{tmp_path}/back.db", "--json")
    assert [(table["table"], table["rows"]) for table in json.loads(back.stdout)] == [
        (name, len(rows)) for name, rows in rows_by_table(source).items()
    ]


def test_copy_takes_its_addresses_from_the_environment(source: Settings, empty: Settings, tmp_path: Path) -> None:
    here, there = source.database_url or "", empty.database_url or ""
    addresses = {"SOURCE_DATABASE_URL": here, "TARGET_DATABASE_URL": there}
    copied = quoteapi("db", "copy", **addresses)
    assert copied.returncode == 0, copied.stderr
    back = quoteapi("db", "copy", there, f"sqlite:///{tmp_path}/back.db", **addresses)
    assert back.returncode == 0, "an argument wins"
    onward = quoteapi("db", "copy", there, TARGET_DATABASE_URL=f"sqlite:///{tmp_path}/onward.db")
    assert onward.returncode == 0, "one of both may be an argument"
    assert (tmp_path / "onward.db").stat().st_mode & 0o777 == 0o600
    missing = quoteapi("db", "copy")
    assert missing.returncode == 2
    assert "Missing argument 'FROM'" in missing.stderr


def test_copy_refuses_in_a_sentence(source: Settings, tmp_path: Path) -> None:
    here, nowhere = source.database_url or "", f"sqlite:///{tmp_path}/none.db"
    for words, exit_code, said in (
        ((nowhere, here), 1, f"There is no database {tmp_path}/none.db. Check FROM."),
        ((here, here), 1, "FROM and TO are the same database."),
        (
            (here, "postgresql://noor:S3cret@@localhost/quotes"),
            3,
            "A database URL must be a URL that names a database",
        ),
        ((here, "postgresql://noor:S3cret@127.0.0.1:1/quotes"), 3, "The database cannot be used: connection failed"),
        ((here, f"sqlite:///{tmp_path}/none/new.db"), 3, "cannot be created (No such file or directory)"),
    ):
        refused = quoteapi("db", "copy", *words)
        assert (refused.returncode, refused.stdout) == (exit_code, "")
        assert refused.stderr.startswith("Error: ")
        assert said in refused.stderr
        assert "S3cret" not in refused.stderr
        assert "Traceback" not in refused.stderr


def test_a_copy_that_is_interrupted_ends_with_a_sentence(
    source: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(database_copy, "_copy_table", interrupt)
    ran = CliRunner().invoke(main, ["db", "copy", source.database_url or "", f"sqlite:///{tmp_path}/new.db"])
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr.endswith("Error: Interrupted. Nothing was copied.\n")
    assert not (tmp_path / "new.db").exists()


def test_copy_to_a_table_and_back_tells_what_was_copied(source: Settings, tmp_path: Path) -> None:
    here, there, back = source.database_url or "", "dynamodb://copied-by-command", f"sqlite:///{tmp_path}/back.db"
    with open_migrated(source):
        SmsSwitch.delete().where(SmsSwitch.name != SmsSwitch.select(fn.MIN(SmsSwitch.name))).execute()
    aws = dynamodb_server.environment() | {"AWS_DEFAULT_REGION": dynamodb_server.REGION}
    copied = quoteapi("db", "copy", here, there, **aws)
    assert (copied.returncode, copied.stderr.count("Traceback")) == (0, 0), copied.stderr
    assert "which were not copied: 8. To keep them" in copied.stderr, "two of the ten are bundled"
    lines = copied.stdout.splitlines()
    rows = rows_by_table(source)
    assert [line.split()[:2] for line in lines[1:8]] == [[kind, str(len(rows[kind]))] for kind in state_copy.COLUMNS]
    assert f"{there} is now a copy of {source.database_path}." in lines
    assert f"{source.database_path}.key" in lines[-2]
    assert "to move them to DailyQuoteSubscription-copied-by-command, run" in lines[-1]
    again = quoteapi("db", "copy", here, there, **aws)
    assert again.stderr == "Error: TO already has data, for example a finished copy. Set TO to a new table.\n"
    returned = quoteapi("db", "copy", there, back, "--json", **aws)
    assert returned.stderr == ""
    assert {kind["table"]: kind["rows"] for kind in json.loads(returned.stdout)} == {
        kind: len(rows[kind]) for kind in state_copy.COLUMNS
    }
    missing = quoteapi("db", "copy", "dynamodb://no-such-table", f"sqlite:///{tmp_path}/other.db", **aws)
    assert (missing.returncode, missing.stdout) == (3, "")
    assert "there is no DynamoDB table no-such-table" in missing.stderr
    assert not (tmp_path / "other.db").exists()


def test_an_interrupted_copy_to_a_table_says_to_run_it_again(source: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(state_copy, "copy_database", interrupt)
    ran = CliRunner().invoke(main, ["db", "copy", source.database_url or "", "dynamodb://quotes"])
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr.endswith("Error: Interrupted. Run the command again: until then, TO can't be used.\n")
