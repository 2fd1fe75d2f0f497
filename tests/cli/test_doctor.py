import json
import re
import shlex
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from quoteapi import clock
from quoteapi.cli import doctor, main
from quoteapi.container import Container
from quoteapi.deploy import zappa_settings
from quoteapi.deploy.zappa_settings import local_settings_file
from quoteapi.settings import ROOT
from quoteapi.sms import console
from quoteapi.sms.topics import TimeZoneTopics
from quoteapi.storage.models import Delivery, Quote, SubscriberCount
from quoteapi.time_zones import time_zones_of_country
from tests.cli.conftest import WHOLE_NUMBER, Command, insert_subscriber, set_spend_limit, subscribe
from tests.deploy.conftest import REMOTE, TEMPLATE, write_project_settings
from tests.helpers.data import KOLKATA, MIRA, NEW_YORK, NOON, NOOR, OMAR, SECRET_KEY, UTC_ZONE
from tests.helpers.databases import create_file_of_release
from tests.helpers.sns_emulator import backend


def run_doctor(*words: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *words])


def test_doctor_of_a_stage_that_is_not_set_up_says_how_to_do_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = write_project_settings(tmp_path)
    local_settings_file(settings).unlink()
    monkeypatch.setattr(zappa_settings, "ZAPPA_SETTINGS", settings)
    result = run_doctor("--stage", "prod")
    assert result.exit_code == 1
    assert result.stdout.startswith(
        "✓ stage        prod of zappa_settings.json\n"
        "✗ bucket       prod is not set up: it has no s3_bucket\n               Run `quoteapi setup prod`.\n"
    )
    as_json = json.loads(run_doctor("--stage", "prod", "--json").stdout)
    assert {check["state"] for check in as_json} == {"ok", "wrong", "advice"}


def test_doctor_of_a_stage_reads_a_remote_environment_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote, settings = tmp_path / "remote.json", write_project_settings(tmp_path)
    remote.write_text(json.dumps(REMOTE))
    remote.chmod(0o600)
    monkeypatch.setattr(zappa_settings, "ZAPPA_SETTINGS", settings)
    well = run_doctor("--stage", "dev", "--env-file", str(remote))
    assert well.exit_code == 0, well.stdout
    assert re.findall(r"^(.) (\w+)", well.stdout, re.MULTILINE) == [
        *(("✓", "stage"), ("✓", "file"), ("✓", "remote"), ("✓", "settings"), ("✓", "database"))
    ]
    remote.write_text(json.dumps(REMOTE | {"SECRET_KEY": "short"}))
    assert run_doctor("--stage", "dev", "--env-file", str(remote)).exit_code == 1


def test_a_remote_environment_that_others_can_read_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote, settings = tmp_path / "remote env.json", write_project_settings(tmp_path)
    remote.write_text(json.dumps(REMOTE))
    remote.chmod(0o644)
    monkeypatch.setattr(zappa_settings, "ZAPPA_SETTINGS", settings)
    found = run_doctor("--stage", "dev", "--env-file", str(remote))
    assert found.exit_code == 0
    assert f"! file mode    other users of this machine can read or change {remote}" in found.stdout
    assert f"Run `chmod 600 '{remote}'`." in found.stdout


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o602, 0o600, 0o400, 0o700], ids=oct)
@pytest.mark.parametrize("name", [".env", "working.db", "working.db.key", "working.db-wal", "quoteapi-dev.json"])
def test_a_file_with_secrets_or_numbers_that_others_can_read_is_reported(
    name: str, mode: int, quoteapi: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "DOTENV", tmp_path / ".env")
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    (tmp_path / name).touch()
    (tmp_path / name).chmod(mode)
    if name.endswith("key"):
        (tmp_path / name).write_text(SECRET_KEY)
    found = [check for check in json.loads(quoteapi("doctor", "--json").stdout) if check["name"] == "file mode"]
    expected = f"other users of this machine can read or change {tmp_path / name}"
    assert [(check["state"], check["found"]) for check in found] == [("advice", expected)] * (
        mode not in {0o600, 0o400, 0o700}
    )


def test_env_file_without_a_stage_is_a_usage_error() -> None:
    alone = run_doctor("--env-file", str(TEMPLATE))
    assert alone.exit_code == 2
    assert "works only with --stage" in alone.stderr


def test_every_check_of_a_healthy_service_is_ok(quoteapi_process: Command, working_database: Container) -> None:
    subscribe(working_database, MIRA, NOOR)
    working_database.state.store_due_run(clock.now())
    well = quoteapi_process("doctor")
    assert (well.returncode, well.stderr) == (0, "")
    assert all(line.startswith("✓ ") for line in well.stdout.splitlines())
    assert "✓ subscribers  2 active, of at most 1000\n" in well.stdout
    assert "✓ daily cap    4 codes and confirmations today, of at most 1000\n" in well.stdout
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
        "daily cap",
        "daily SMS",
        "schedule",
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
    assert re.search(r"^✗ catalogue +no quotes\n +Run `.*quoteapi quotes import", empty.stdout, re.MULTILINE)
    assert quoteapi("quotes", "import", str(ROOT / "catalogue/quotes.csv")).returncode == 0
    assert quoteapi("doctor").returncode == 0


def test_a_subscriber_out_of_sync_for_hours_is_reported(quoteapi: Command, working_database: Container) -> None:
    insert_subscriber(MIRA, subscription_arn=None, topic=None, sync_due_at=clock.now() - timedelta(hours=3))
    insert_subscriber(NOOR, subscription_arn=None, topic=None, sync_due_at=clock.now() - timedelta(minutes=30))
    waiting = quoteapi("doctor")
    assert waiting.returncode == 1
    assert re.search(
        r"^✗ subscribers +1 out of sync .*\n +Run `quoteapi reconcile`\. .*$", waiting.stdout, re.MULTILINE
    )
    assert quoteapi("reconcile").returncode == 0
    assert quoteapi("doctor").returncode == 0


def test_a_daily_sms_that_is_being_sent_is_ok(quoteapi: Command, working_database: Container) -> None:
    now = clock.now()
    Delivery.insert(date=now.date(), topic=console.TOPIC, claimed_at=now).execute()
    assert quoteapi("doctor").returncode == 0


SetClock = Callable[[datetime], None]


def insert_in(time_zone: str, mobile: str, **columns: object) -> None:
    """Insert a subscriber who joined a time zone long ago."""
    topic = TimeZoneTopics(console.TOPIC, UTC_ZONE).name(time_zone)
    insert_subscriber(mobile, time_zone=time_zone, topic=topic, joined_at=NOON - timedelta(days=9), **columns)


def check_named(quoteapi: Command, name: str, **settings: str) -> list[tuple[str, str, str]]:
    checks = json.loads(quoteapi("doctor", "--json", **settings).stdout)
    return [(check["state"], check["found"], check["to_do"]) for check in checks if check["name"] == name]


def test_a_daily_sms_that_was_missed_is_late_or_is_in_doubt_is_reported_with_its_time_zone(
    quoteapi: Command, working_database: Container, set_clock: SetClock
) -> None:
    set_clock(NOON)
    insert_in(KOLKATA, MIRA)
    insert_in(NEW_YORK, NOOR)
    insert_in(UTC_ZONE, OMAR)
    for days, topic in ((0, console.TOPIC), (1, "console-America-New_York")):
        begun = NOON - timedelta(days=days, hours=1)
        Delivery.insert(date=begun.date(), topic=topic, claimed_at=begun, sending_at=begun).execute()
    assert sorted(check_named(quoteapi, "daily SMS")) == [
        (
            "advice",
            "may or may not have been sent: 2026-11-21 in America/New_York",
            "Nothing to do: the next one is sent as usual.",
        ),
        (
            "wrong",
            "due, but not sent: 2026-11-22 in Asia/Kolkata",
            "Check that the schedule is running. To send it now, run `quoteapi publish --due`.",
        ),
        (
            "wrong",
            "may or may not have been sent: 2026-11-22 in Etc/UTC",
            "To send it, perhaps a second time, run `quoteapi publish --again`.",
        ),
        (
            "wrong",
            "not sent before quiet hours began: 2026-11-21 in Etc/UTC, 2026-11-21 in Asia/Kolkata",
            "Check that the schedule is running.",
        ),
    ]


def test_many_time_zones_are_not_all_named(quoteapi: Command, working_database: Container, set_clock: SetClock) -> None:
    set_clock(NOON - timedelta(hours=3))  # before the hour in Brazil
    for number, time_zone in enumerate(time_zones_of_country("BR")[:7]):
        insert_in(time_zone, f"+91902800000{number}")
    (check,) = check_named(quoteapi, "daily SMS")
    assert re.fullmatch(r"not sent before quiet hours began: (2026-11-21 in America/\w+, ){4}.* and 2 more", check[1])


def test_a_daily_sms_that_is_due_for_minutes_or_later_today_is_ok(
    quoteapi: Command, working_database: Container, set_clock: SetClock
) -> None:
    set_clock(NOON - timedelta(hours=7))  # 10:30 in Kolkata, 00:00 in New York
    for time_zone, mobile in ((KOLKATA, MIRA), (NEW_YORK, NOOR)):
        insert_in(time_zone, mobile)
        sent = NOON - timedelta(days=1)
        topic = TimeZoneTopics(console.TOPIC, UTC_ZONE).name(time_zone)
        columns = {"claimed_at": sent, "sending_at": sent, "sent_at": sent}
        Delivery.insert(date=sent.date(), topic=topic, **columns).execute()
    assert check_named(quoteapi, "daily SMS") == [("ok", "last sent 2026-11-21 12:00 UTC", "")]


def test_a_schedule_that_runs_once_a_day_is_reported(
    quoteapi: Command, working_database: Container, set_clock: SetClock
) -> None:
    set_clock(NOON)
    assert check_named(quoteapi, "schedule") == [], "nobody is subscribed"
    insert_subscriber(MIRA, joined_at=NOON - timedelta(minutes=30))
    ((state, found, to_do),) = check_named(quoteapi, "schedule")
    assert (state, found) == ("advice", "has not run yet: nobody gets the daily SMS")
    command = re.escape(shlex.quote(f"{Path(sys.executable).with_name('quoteapi')}"))
    assert re.fullmatch(
        rf"Run `.*quoteapi serve`, which has .* this line to the crontab: \*/15 \* \* \* \* {command} publish --due",
        to_do,
    )
    working_database.state.store_due_run(NOON - timedelta(hours=10))
    found = "last ran 2026-11-22 02:00 UTC; it must run every 15 minutes"
    assert check_named(quoteapi, "schedule")[0][:2] == ("ok", found), "`serve` does not run it while nobody waits"
    insert_subscriber(NOOR, joined_at=NOON - timedelta(hours=2))
    assert check_named(quoteapi, "schedule") == [("wrong", found, to_do)]
    assert quoteapi("publish", "--due").returncode == 0
    assert check_named(quoteapi, "schedule")[0][0] == "ok"


def test_a_topic_of_other_settings_is_reported(quoteapi: Command, working_database: Container) -> None:
    insert_subscriber(MIRA, topic="us-east-1:DailyQuoteSubscription", subscription_arn="arn:aws:sns:1")
    to_do = "Correct SMS_GATEWAY, SNS_TOPIC and SNS_REGION or, to move the subscribers, run `quoteapi reconcile --all`."
    assert check_named(quoteapi, "topic") == [
        (
            "wrong",
            "subscribers are on the topic us-east-1:DailyQuoteSubscription, but the settings name console",
            to_do,
        )
    ]


def test_each_topic_is_compared_with_the_database_and_their_costs_are_added(
    quoteapi: Command, working_database: Container, aws_account: dict[str, str], set_clock: SetClock
) -> None:
    set_clock(NOON)
    for time_zone, mobile in ((KOLKATA, MIRA), (UTC_ZONE, NOOR), (UTC_ZONE, OMAR)):
        columns = {"topic": None, "subscription_arn": None, "sync_due_at": NOON - timedelta(hours=1)}
        insert_subscriber(mobile, time_zone=time_zone, **columns)
    assert quoteapi("reconcile", **aws_account).returncode == 0
    assert check_named(quoteapi, "gateway", **aws_account) == [
        ("ok", "sns in us-east-1, DailyQuoteSubscription: 2 topics, 3 subscriptions", "")
    ]
    assert check_named(quoteapi, "topic", **aws_account) == []
    ((_, cost, _),) = check_named(quoteapi, "cost", **aws_account, SMS_MAX_PRICE="0.1")
    assert cost.startswith("today's SMS to 3 subscribers: ")
    assert re.search(r"segments billed, at most \$\d\.\d\d$", cost)
    for arn, subscription in list(backend().subscriptions.items()):
        if subscription.endpoint == MIRA:
            backend().subscriptions.pop(arn)
    ((state, found, _),) = check_named(quoteapi, "topic", **aws_account)
    assert (state, found) == (
        "wrong",
        "us-east-1:DailyQuoteSubscription-Asia-Kolkata: 0 subscriptions in SNS, but 1 subscriber in the database",
    )


def test_missing_migrations_are_reported_and_not_applied(quoteapi: Command, tmp_path: Path) -> None:
    create_file_of_release(2, tmp_path / "old.db")
    (tmp_path / "old.db").chmod(0o600)
    for _ in range(2):
        outdated = quoteapi("doctor", DATABASE_URL=f"sqlite:///{tmp_path}/old.db")
        assert outdated.returncode == 1
        lacks = r"✗ database +.*old\.db has missing migrations: 0003_search, .*\n +Run `quoteapi db migrate`\. .*\n"
        assert re.fullmatch(lacks, outdated.stdout)
    assert quoteapi("db", "migrate", DATABASE_URL=f"sqlite:///{tmp_path}/old.db").returncode == 0
    assert quoteapi("doctor", DATABASE_URL=f"sqlite:///{tmp_path}/old.db").returncode == 0


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
    insert_subscriber(MIRA, subscription_arn=None, topic=None, confirmation_sent_at=None, sync_due_at=clock.now())
    insert_subscriber(NOOR, subscription_arn=None, topic=None, confirmation_sent_at=None, sync_due_at=clock.now())
    quoteapi("reconcile", **aws_account)
    unsubscribing = {"PUBLIC_URL": "https://quotes.example.org", "UNSUBSCRIBE_REQUIRES_OTP": "true"}
    found = quoteapi("doctor", **aws_account, **unsubscribing)
    assert (found.returncode, found.stderr) == (0, "")
    assert "✓ gateway      sns in us-east-1, DailyQuoteSubscription: 1 topic, 2 subscriptions\n" in found.stdout
    assert "! sandbox      unknown: " in found.stdout  # moto does not implement it
    assert "! spending     $0.00 this month; no limit is set" in found.stdout
    assert "✓ daily cap    2 codes and confirmations today, of at most 1000\n" in found.stdout
    segments = working_database.daily_delivery.previews()[0].text.segments
    assert f"✓ cost         today's SMS to 2 subscribers: {2 * segments} segments billed\n" in found.stdout
    assert "✓ unsubscribe  https://quotes.example.org/unsubscribe, with a code\n" in found.stdout
    capped = quoteapi("doctor", "--json", **aws_account, SMS_DAILY_CAP="1")
    states = {check["name"]: check["state"] for check in json.loads(capped.stdout)}
    assert capped.returncode == 1
    assert (states["gateway"], states["daily cap"], states["unsubscribe"]) == ("ok", "wrong", "advice")


def test_the_cost_of_a_month_is_compared_with_the_limit_of_the_account(
    quoteapi: Command, working_database: Container, aws_account: dict[str, str]
) -> None:
    insert_subscriber(MIRA, subscription_arn=None, topic=None, sync_due_at=clock.now())
    quoteapi("reconcile", **aws_account)
    parts = working_database.daily_delivery.previews()[0].text.segments
    set_spend_limit(aws_account, 1_000)
    priced = quoteapi("doctor", **aws_account, SMS_MAX_PRICE="0.05").stdout
    assert f"✓ cost         today's SMS to 1 subscriber: {parts} segment" in priced
    assert f" billed, at most ${0.05 * parts:.2f}\n" in priced
    assert (
        f"✓ spending     $0.00 of $1,000.00 this month; 30 days like today cost at most ${1.5 * parts:.2f}\n" in priced
    )
    expensive = quoteapi("doctor", **aws_account, SMS_MAX_PRICE=f"{27 / parts:.5f}")
    assert "! spending     $0.00 of $1,000.00 this month; 30 days like today cost at most $8" in expensive.stdout
    assert "✓ spending     $0.00 of $1,000.00 this month\n" in quoteapi("doctor", **aws_account).stdout


def test_an_empty_catalogue_hides_no_other_check_of_sns(
    quoteapi: Command, working_database: Container, aws_account: dict[str, str]
) -> None:
    Quote.delete().execute()
    checks = json.loads(quoteapi("doctor", "--json", **aws_account).stdout)
    assert {"catalogue", "gateway", "sandbox", "unsubscribe"} <= {check["name"] for check in checks}


@pytest.mark.parametrize(("limit", "mark"), [(3, "✗"), (4, "✗"), (5, "!"), (6, "✓")])
def test_subscribers_near_or_at_their_limit_are_reported(
    quoteapi: Command, working_database: Container, limit: int, mark: str
) -> None:
    for n in range(4):
        insert_subscriber(f"+91902800000{n}")
    found = quoteapi("doctor", SMS_MAX_SUBSCRIBERS=str(limit))
    assert found.returncode == (1 if mark == "✗" else 0)
    assert re.search(rf"^{mark} subscribers  4 active, of at most {limit}", found.stdout, re.MULTILINE)
    assert ("Set SMS_MAX_SUBSCRIBERS higher" in found.stdout) == (mark != "✓")


def test_a_subscriber_count_that_is_wrong_is_reported_until_reconcile_corrects_it(
    quoteapi: Command, working_database: Container
) -> None:
    insert_subscriber(MIRA)
    SubscriberCount.update(count=3).execute()
    found = quoteapi("doctor").stdout
    assert "! subscribers  1 active, of at most 1000; the stored count is 3\n" in found
    assert "To correct the count, run `quoteapi reconcile`." in found
    quoteapi("reconcile")
    assert "✓ subscribers  1 active, of at most 1000\n" in quoteapi("doctor").stdout


def test_a_daily_cap_that_is_nearly_used_up_is_reported(quoteapi: Command, working_database: Container) -> None:
    subscribe(working_database, MIRA, NOOR)
    states = {}
    for cap in (4, 5, 6):
        checks = json.loads(quoteapi("doctor", "--json", SMS_DAILY_CAP=str(cap)).stdout)
        states[cap] = next(check["state"] for check in checks if check["name"] == "daily cap")
    assert states == {4: "wrong", 5: "advice", 6: "ok"}


def test_missing_aws_credentials_are_reported(quoteapi: Command) -> None:
    no_credentials = quoteapi("doctor", SMS_GATEWAY="sns", SMS_ALLOWED_REGIONS="IN")
    assert (no_credentials.returncode, no_credentials.stderr) == (1, "")
    assert re.search(
        r"^✗ gateway +sns in us-east-1: no usable AWS credentials were found .*\n +Set aws_access_key_id",
        no_credentials.stdout,
        re.MULTILINE,
    )


def test_unreachable_sns_is_reported_within_seconds(
    quoteapi: Command, unreachable_sns: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", waits.append)  # between the tries
    unreachable = quoteapi("doctor", **unreachable_sns)
    assert sum(waits) < 8
    assert (unreachable.returncode, unreachable.stderr) == (1, "")
    assert "✗ gateway      sns in us-east-1: SNS cannot be reached" in unreachable.stdout
    assert "aws configure" not in unreachable.stdout  # the credentials are not what is wrong


def test_the_proxy_is_checked_if_the_service_is_public(quoteapi: Command) -> None:
    public = {"PUBLIC_URL": "https://quotes.example.org"}
    alone = quoteapi("doctor", **public)
    assert "! proxy        PUBLIC_URL is set, but TRUSTED_PROXIES is not" in alone.stdout
    assert "Set TRUSTED_PROXIES to the IP address of the proxy. See docs/operate.md." in alone.stdout
    behind = quoteapi("doctor", **public, TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8")
    trusted = "✓ proxy        X-Forwarded-For is trusted from 127.0.0.1/32, 10.0.0.0/8. For what a proxy must do, see"
    assert f"{trusted} docs/operate.md\n" in behind.stdout
