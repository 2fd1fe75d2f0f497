import json
import re
import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from quoteapi import clock
from quoteapi.cli import main
from quoteapi.container import Container
from quoteapi.deploy import zappa_settings
from quoteapi.settings import ROOT
from quoteapi.sms import console
from quoteapi.storage.models import Delivery, Quote
from tests.cli.conftest import WHOLE_NUMBER, Command, insert_subscriber, subscribe
from tests.deploy.conftest import REMOTE, STAGES, TEMPLATE, fill_placeholders
from tests.helpers.data import MIRA, NOOR


def run_doctor(*words: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *words])


def test_doctor_of_a_stage_reports_its_placeholders() -> None:
    result = run_doctor("--stage", "prod")
    assert result.exit_code == 1
    assert result.stdout.startswith("✓ stage        prod of zappa_settings.json\n✗ placeholder  s3_bucket still has <")
    as_json = json.loads(run_doctor("--stage", "prod", "--json").stdout)
    assert {check["state"] for check in as_json} == {"ok", "wrong", "advice"}


def test_doctor_of_a_stage_reads_a_remote_environment_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote, settings = tmp_path / "remote.json", tmp_path / "zappa_settings.json"
    remote.write_text(json.dumps(REMOTE))
    settings.write_text(json.dumps(fill_placeholders(STAGES)))
    monkeypatch.setattr(zappa_settings, "ZAPPA_SETTINGS", settings)
    well = run_doctor("--stage", "dev", "--env-file", str(remote))
    assert well.exit_code == 0, well.stdout
    assert re.findall(r"^(.) (\w+)", well.stdout, re.MULTILINE) == [
        *(("✓", "stage"), ("✓", "file"), ("✓", "remote"), ("✓", "settings"), ("✓", "database"))
    ]
    remote.write_text(json.dumps(REMOTE | {"SECRET_KEY": "short"}))
    assert run_doctor("--stage", "dev", "--env-file", str(remote)).exit_code == 1


def test_env_file_without_a_stage_is_a_usage_error() -> None:
    alone = run_doctor("--env-file", str(TEMPLATE))
    assert alone.exit_code == 2
    assert "goes with --stage" in alone.stderr


def test_every_check_of_a_healthy_service_is_ok(quoteapi_process: Command, working_database: Container) -> None:
    subscribe(working_database, MIRA, NOOR)
    well = quoteapi_process("doctor")
    assert (well.returncode, well.stderr) == (0, "")
    assert all(line.startswith("✓ ") for line in well.stdout.splitlines())
    assert "2 active" in well.stdout
    assert not WHOLE_NUMBER.search(well.stdout)
    checks = json.loads(quoteapi_process("doctor", "--json").stdout)
    assert all(list(check) == ["name", "state", "found", "to_do"] for check in checks)
    assert {check["state"] for check in checks} == {"ok"}
    assert [check["name"] for check in checks] == [
        "database",
        "catalogue",
        "secret key",
        "subscribers",
        "switch",
        "daily SMS",
        "gateway",
    ]
    assert [line[2:14].rstrip() for line in well.stdout.splitlines()] == [check["name"] for check in checks]


def test_an_invalid_setting_is_reported(quoteapi: Command) -> None:
    wrong = quoteapi("doctor", SMS_DAILY_CAP="many")
    assert (wrong.returncode, wrong.stderr) == (1, "")
    assert wrong.stdout.startswith("✗ settings     SMS_DAILY_CAP must be a whole number")
    (check,) = json.loads(quoteapi("doctor", "--json", SMS_GATEWAY="sns").stdout)
    assert (check["name"], check["state"]) == ("settings", "wrong")
    assert check["found"].startswith("SMS_ALLOWED_REGIONS must be set")


def test_an_empty_catalogue_is_reported(quoteapi: Command, working_database: Container) -> None:
    Quote.delete().execute()
    empty = quoteapi("doctor")
    assert empty.returncode == 1
    assert re.search(r"^✗ catalogue +no quotes\n +Import some: quoteapi quotes import", empty.stdout, re.MULTILINE)
    assert quoteapi("quotes", "import", str(ROOT / "catalogue/quotes.csv")).returncode == 0
    assert quoteapi("doctor").returncode == 0


def test_a_subscriber_out_of_sync_for_hours_is_reported(quoteapi: Command, working_database: Container) -> None:
    insert_subscriber(MIRA, subscription_arn=None, topic=None, sync_needed_since=clock.now() - timedelta(hours=3))
    insert_subscriber(NOOR, subscription_arn=None, topic=None, sync_needed_since=clock.now() - timedelta(minutes=30))
    waiting = quoteapi("doctor")
    assert waiting.returncode == 1
    assert re.search(r"^✗ subscribers +1 for hours .*\n +Run: quoteapi reconcile\. .*$", waiting.stdout, re.MULTILINE)
    assert quoteapi("reconcile").returncode == 0
    assert quoteapi("doctor").returncode == 0


def test_a_daily_sms_that_is_being_sent_is_ok(quoteapi: Command, working_database: Container) -> None:
    now = clock.now()
    Delivery.insert(date=now.date(), topic=console.TOPIC, claimed_at=now).execute()
    assert quoteapi("doctor").returncode == 0


def test_a_file_that_is_no_database_is_reported(quoteapi: Command, tmp_path: Path) -> None:
    (tmp_path / "working.db").write_text("something else entirely, and long enough to be looked at")
    garbage = quoteapi("doctor")
    assert (garbage.returncode, garbage.stderr) == (1, "")
    assert re.fullmatch(r"✗ .*working\.db.*not a database.*\n +.+\n", garbage.stdout)


def test_a_damaged_database_is_reported(quoteapi_process: Command, tmp_path: Path) -> None:
    quoteapi_process("doctor")
    with closing(sqlite3.connect(tmp_path / "working.db")) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'quote'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    with (tmp_path / "working.db").open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"damage" * 500)
    damaged = quoteapi_process("doctor")
    assert (damaged.returncode, damaged.stderr) == (1, "")
    assert re.search(r"^✗ database ", damaged.stdout, re.MULTILINE)


def test_the_aws_account_is_checked_if_sms_go_out_by_sns(
    quoteapi: Command, working_database: Container, aws_account: dict[str, str]
) -> None:
    insert_subscriber(MIRA, subscription_arn=None, topic=None, confirmation_sent_at=None, sync_needed_since=clock.now())
    insert_subscriber(NOOR, subscription_arn=None, topic=None, confirmation_sent_at=None, sync_needed_since=clock.now())
    quoteapi("reconcile", **aws_account)
    unsubscribing = {"PUBLIC_URL": "https://quotes.example.org", "UNSUBSCRIBE_REQUIRES_OTP": "true"}
    found = quoteapi("doctor", **aws_account, **unsubscribing)
    assert (found.returncode, found.stderr) == (0, "")
    assert "✓ gateway      sns in us-east-1, topic DailyQuoteSubscription, 2 on it\n" in found.stdout
    assert "! sandbox      not known: " in found.stdout  # moto does not implement it
    assert "! spending     $0.00 this month; no limit was set" in found.stdout
    assert "✓ daily cap    2 codes and confirmations today, 2 get the daily SMS; at most 1000 each\n" in found.stdout
    assert "✓ leaving      https://quotes.example.org/unsubscribe, by a code\n" in found.stdout
    capped = quoteapi("doctor", "--json", **aws_account, SMS_DAILY_CAP="1")
    states = {check["name"]: check["state"] for check in json.loads(capped.stdout)}
    assert capped.returncode == 1
    assert (states["gateway"], states["daily cap"], states["leaving"]) == ("ok", "wrong", "advice")


def test_missing_aws_credentials_are_reported(quoteapi: Command) -> None:
    no_credentials = quoteapi("doctor", SMS_GATEWAY="sns", SMS_ALLOWED_REGIONS="IN")
    assert (no_credentials.returncode, no_credentials.stderr) == (1, "")
    assert re.search(
        r"^✗ gateway +sns in us-east-1: no usable AWS credentials were found .*\n +Set aws_access_key_id",
        no_credentials.stdout,
        re.MULTILINE,
    )


def test_unreachable_sns_is_reported_within_seconds(quoteapi: Command, unreachable_sns: dict[str, str]) -> None:
    begun = time.monotonic()
    unreachable = quoteapi("doctor", **unreachable_sns)
    assert time.monotonic() - begun < 8
    assert (unreachable.returncode, unreachable.stderr) == (1, "")
    assert "✗ gateway      sns in us-east-1: SNS cannot be reached" in unreachable.stdout
    assert "aws configure" not in unreachable.stdout  # the credentials are not what is wrong


def test_the_proxy_is_checked_if_the_service_is_public(quoteapi: Command) -> None:
    public = {"PUBLIC_URL": "https://quotes.example.org"}
    alone = quoteapi("doctor", **public)
    assert "! proxy        PUBLIC_URL is set, but TRUSTED_PROXIES is not" in alone.stdout
    assert "Set TRUSTED_PROXIES to the proxy's address: docs/operate.md" in alone.stdout
    behind = quoteapi("doctor", **public, TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8")
    assert "✓ proxy        X-Forwarded-For is believed from 127.0.0.1/32, 10.0.0.0/8. docs/operate.md" in behind.stdout
