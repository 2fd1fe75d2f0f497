import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from quoteapi import clock
from quoteapi.container import Container
from quoteapi.settings import ROOT
from quoteapi.sms import console
from quoteapi.sms.topics import TimeZoneTopics
from quoteapi.storage.models import Delivery
from tests.cli.conftest import (
    CLIENT_IP,
    WHOLE_NUMBER,
    Command,
    insert_subscriber,
    recipients_of_the_daily_sms,
    set_spend_limit,
    subscribe,
)
from tests.helpers.data import AUCKLAND, KOLKATA, MIRA, NEW_YORK, NOON, NOOR, OMAR, UTC_ZONE
from tests.helpers.sns_emulator import published, subscribed_to

SetClock = Callable[[datetime], None]
TOPICS = TimeZoneTopics(console.TOPIC, UTC_ZONE)
MORNING = NOON - timedelta(hours=3)
"""14:30 in Kolkata; 04:00 in New York and 22:00 in Auckland, in quiet hours."""
TODAY = f"{NOON:%Y-%m-%d}"


def insert_in(time_zone: str, mobile: str, **columns: object) -> None:
    """Insert a subscriber who joined a time zone long ago, by default on its topic."""
    topic = TOPICS.name(time_zone)
    long_ago = {"time_zone": time_zone, "joined_at": NOON - timedelta(days=9)}
    insert_subscriber(mobile, **{"topic": topic, "subscription_arn": f"{topic}:{mobile}", **long_ago, **columns})


def insert_out_of_sync(time_zone: str, mobile: str) -> None:
    joined = dict.fromkeys(("joined_at", "sync_due_at"), NOON - timedelta(hours=12))
    insert_in(time_zone, mobile, topic=None, subscription_arn=None, **joined)


def insert_delivery(time_zone: str, day: datetime, **columns: object) -> None:
    Delivery.insert(date=day.date(), topic=TOPICS.name(time_zone), **columns).execute()


def test_publish_dry_run_prints_the_sms_its_segments_and_its_recipients(
    quoteapi: Command, working_database: Container
) -> None:
    for mobile in (MIRA, NOOR):
        insert_subscriber(mobile)
    (preview,) = working_database.daily_delivery.previews()
    text = preview.text
    shown = quoteapi("publish", "--dry-run")
    assert shown.returncode == 0
    assert shown.stdout.startswith("".join(f"  │ {line}\n" for line in text.message.splitlines()))
    segments = f"{text.segments} segment" if text.segments == 1 else f"{text.segments} segments"
    assert f"\n{clock.now():%Y-%m-%d}: {len(text.message)} characters in {segments}\n" in shown.stdout
    assert shown.stdout.endswith(f"\nTo 2 subscribers: {2 * text.segments} segments billed. Nothing was sent.\n")
    as_json = json.loads(quoteapi("publish", "--dry-run", "--json").stdout)
    assert as_json == [
        {
            "date": f"{clock.now():%Y-%m-%d}",
            "time_zone": UTC_ZONE,
            "message": text.message,
            "parts": text.segments,
            "people": 2,
            "sent_at": None,
            "parts_to_pay": 2 * text.segments,
            "max_cost_usd": None,
        }
    ]
    assert shown.stderr == ""
    assert recipients_of_the_daily_sms() == []
    assert Delivery.select().count() == 0


def test_publish_dry_run_prints_the_cost_of_each_time_zone_and_in_total(
    quoteapi: Command, working_database: Container, set_clock: SetClock
) -> None:
    set_clock(NOON - timedelta(hours=10))  # still the day before in New York
    insert_in(KOLKATA, MIRA)
    insert_in(KOLKATA, NOOR)
    insert_in(NEW_YORK, OMAR)
    previews = json.loads(quoteapi("publish", "--dry-run", "--json", SMS_MAX_PRICE="0.5").stdout)
    assert [(row["time_zone"], row["date"], row["people"]) for row in previews] == [
        (NEW_YORK, "2026-11-21", 1),
        (KOLKATA, "2026-11-22", 2),
    ]
    total = sum(row["parts_to_pay"] for row in previews)
    shown = quoteapi("publish", "--dry-run", SMS_MAX_PRICE="0.5").stdout
    for row in previews:
        box = "\n".join(console.message_box(row["message"]))
        assert f"{box}\n\n{row['date']}: {len(row['message'])} characters" in shown
        billed = rf"{row['parts_to_pay']} segments? billed, at most \${row['max_cost_usd']:.2f}"
        assert re.search(rf"^{row['time_zone']} +{row['date']} +{row['people']} +{billed}$", shown, re.MULTILINE)
    assert shown.endswith(f"\nTo 3 subscribers: {total} segments billed, at most ${total / 2:.2f}. Nothing was sent.\n")


def test_publish_sends_the_daily_sms_to_the_topic_once(quoteapi_process: Command, working_database: Container) -> None:
    subscribe(working_database, MIRA, NOOR, OMAR)
    working_database.subscriptions.unsubscribe(NOOR, CLIENT_IP, working_database.dispatcher)
    sent = quoteapi_process("publish")
    assert sent.returncode == 0
    assert re.search(r"\n\d{4}-\d\d-\d\d, Asia/Kolkata: Sent to 2 subscribers\.\n$", sent.stdout)
    assert not WHOLE_NUMBER.search(sent.stdout)
    again = quoteapi_process("publish", "--again")
    assert again.returncode == 0
    assert re.fullmatch(
        r"[-0-9]+, Asia/Kolkata: Already sent at \d\d:\d\d UTC; nothing sent now\. New .*\.\n", again.stdout
    )
    (as_json,) = json.loads(quoteapi_process("publish", "--json").stdout)
    assert set(as_json) == {"date", "time_zone", "state", "message", "message_id"}
    assert as_json["state"] == "already sent"
    assert as_json["message"].startswith("Already sent at ")
    assert recipients_of_the_daily_sms() == [MIRA, OMAR]


def test_publish_sends_at_any_hour_to_all_time_zones_of_the_console_gateway(
    quoteapi: Command, working_database: Container, set_clock: SetClock
) -> None:
    set_clock(MORNING)
    insert_in(KOLKATA, MIRA, joined_at=MORNING)
    insert_in(NEW_YORK, NOOR, joined_at=MORNING)
    insert_in(AUCKLAND, OMAR, joined_at=MORNING)
    insert_delivery(KOLKATA, NOON, claimed_at=MORNING, sending_at=MORNING, sent_at=MORNING)
    sent = quoteapi("publish")
    assert (sent.returncode, sent.stderr) == (0, "")
    table = [re.split("  +", line) for line in sent.stdout.splitlines()[-4:]]
    assert table == [
        ["time_zone", "date", "result"],
        [NEW_YORK, TODAY, "Sent to 1 subscriber."],
        [KOLKATA, TODAY, "Already sent at 09:00 UTC; nothing sent now. New subscribers get the next one."],
        [AUCKLAND, TODAY, "Sent to 1 subscriber."],
    ]
    assert recipients_of_the_daily_sms() == [NOOR, OMAR]


def test_publish_without_subscribers_says_that_nothing_was_sent(quoteapi: Command) -> None:
    for _ in range(2):
        published = quoteapi("publish")
        assert (published.returncode, published.stderr) == (0, "")
        assert published.stdout == (
            "Nobody is subscribed; nothing sent. If somebody subscribes today, publish again.\n"
        )
    assert json.loads(quoteapi("publish", "--json").stdout) == []


def test_publish_with_json_prints_only_json(quoteapi: Command, working_database: Container) -> None:
    insert_subscriber(MIRA)
    (published,) = json.loads(quoteapi("publish", "--json").stdout)
    assert published.pop("message_id").startswith("console-")
    assert published == {
        "date": f"{clock.now():%Y-%m-%d}",
        "time_zone": UTC_ZONE,
        "state": "sent",
        "message": "Sent to 1 subscriber.",
    }


@pytest.mark.parametrize("words", [("--due", "--again"), ("--status", "--dry-run"), ("--dry-run", "--again")])
def test_options_that_exclude_each_other_are_a_usage_error(quoteapi: Command, words: tuple[str, ...]) -> None:
    refused = quoteapi("publish", *words)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "Error: Add only one of --due, --again, --status and --dry-run.\n" in refused.stderr


def test_publish_without_a_terminal_leaves_out_time_zones_in_quiet_hours(
    quoteapi: Command, working_database: Container, aws_account: dict[str, str], set_clock: SetClock
) -> None:
    set_clock(MORNING)
    for time_zone, mobile in ((KOLKATA, MIRA), (NEW_YORK, NOOR), (AUCKLAND, OMAR)):
        insert_out_of_sync(time_zone, mobile)
    assert quoteapi("reconcile", **aws_account).returncode == 0
    assert subscribed_to("us-east-1:DailyQuoteSubscription-Asia-Kolkata") == [MIRA]
    sent = quoteapi("publish", **aws_account)
    assert (sent.returncode, sent.stdout) == (1, f"{TODAY}, Asia/Kolkata: Sent to 1 subscriber.\n")
    assert sent.stderr == (
        "Error: Not sent because of quiet hours: America/New_York, Pacific/Auckland. To send it when they end, run"
        " `quoteapi publish --due`.\n"
    )
    assert len(published()) == 1
    repeated = quoteapi("publish", "--json", **aws_account)
    assert repeated.returncode == 1
    states = {result["time_zone"]: result["state"] for result in json.loads(repeated.stdout)}
    assert states == {KOLKATA: "already sent", NEW_YORK: "quiet hours", AUCKLAND: "quiet hours"}
    set_clock(NOON + timedelta(hours=3))  # 20:30 in Kolkata, 10:00 in New York
    assert quoteapi("publish", "--due", **aws_account).stdout == f"{TODAY}, America/New_York: Sent to 1 subscriber.\n"
    assert len(published()) == 2


def test_quiet_hours_do_not_hide_that_the_sms_was_sent_before_them(
    quoteapi: Command, working_database: Container, aws_account: dict[str, str], set_clock: SetClock
) -> None:
    set_clock(NOON)
    insert_out_of_sync(KOLKATA, MIRA)
    quoteapi("reconcile", **aws_account)
    assert quoteapi("publish", **aws_account).returncode == 0
    set_clock(NOON + timedelta(hours=4))  # 21:30 in Kolkata
    late = quoteapi("publish", **aws_account)
    assert (late.returncode, late.stderr) == (0, "")
    assert "Already sent at 12:00 UTC" in late.stdout


@pytest.mark.parametrize("answer", ["y", "n", "\x04"], ids=["yes", "no", "end"])
def test_publish_on_a_terminal_asks_before_it_sends_in_quiet_hours(
    quoteapi: Command,
    working_database: Container,
    aws_account: dict[str, str],
    environment: dict[str, str],
    answer: str,
) -> None:
    joined = dict.fromkeys(("joined_at", "sync_due_at"), clock.now() - timedelta(hours=1))
    insert_in(UTC_ZONE, MIRA, topic=None, subscription_arn=None, **joined)
    quoteapi("reconcile", **aws_account)
    now = clock.now()
    start, end = (f"{now + timedelta(hours=hours):%H:%M}" for hours in (-1, 1))
    quiet = {"QUIET_HOURS": f"{start}-{end}", "DAILY_SMS_AT": "14:00" if now.hour < 13 else "10:00"}
    leader, terminal = pty.openpty()
    os.write(leader, f"{answer}\n".encode())
    ran = subprocess.run(
        [sys.executable, "-m", "quoteapi", "publish"],
        stdin=terminal,
        capture_output=True,
        encoding="utf-8",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment, **aws_account, **quiet},
        check=False,
        timeout=60,
    )
    assert re.search(
        r"^There are quiet hours in Etc/UTC \(\d\d:\d\d\)\. Send the SMS there too\? \[y/N\]: ", ran.stderr
    )
    assert (ran.returncode, len(published())) == ((0, 1) if answer == "y" else (1, 0))
    assert ("Sent to 1 subscriber." in ran.stdout) == (answer == "y")
    assert ("quoteapi publish --due`" in ran.stderr) == (answer != "y")
    os.close(terminal)
    os.close(leader)


def test_publish_due_prints_what_it_sent_and_else_nothing(
    quoteapi: Command, working_database: Container, set_clock: SetClock
) -> None:
    set_clock(NOON)
    assert quoteapi("publish", "--due").stdout == ""
    insert_in(KOLKATA, MIRA)
    insert_in(NEW_YORK, NOOR)
    insert_delivery(NEW_YORK, NOON - timedelta(days=1), claimed_at=NOON, sending_at=NOON, sent_at=NOON)
    insert_delivery(KOLKATA, NOON - timedelta(days=1), claimed_at=NOON, sending_at=NOON, sent_at=NOON)
    ran = quoteapi("publish", "--due")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.endswith(f"\n{TODAY}, Asia/Kolkata: Sent to 1 subscriber.\n")
    nothing = quoteapi("publish", "--due")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "")
    assert json.loads(quoteapi("publish", "--due", "--json").stdout) == []
    assert recipients_of_the_daily_sms() == [MIRA]


def test_publish_due_syncs_subscribers_first(
    quoteapi: Command, working_database: Container, set_clock: SetClock
) -> None:
    set_clock(NOON)
    insert_out_of_sync(KOLKATA, MIRA)
    insert_delivery(KOLKATA, NOON - timedelta(days=1), claimed_at=NOON, sending_at=NOON, sent_at=NOON)
    quoteapi("publish", "--due")
    assert recipients_of_the_daily_sms() == [MIRA]


def test_publish_due_ends_with_an_error_for_a_morning_that_was_missed_or_is_in_doubt(
    quoteapi: Command, working_database: Container, set_clock: SetClock
) -> None:
    set_clock(NOON)
    insert_in(KOLKATA, MIRA)
    insert_in(NEW_YORK, NOOR)
    begun = NOON - timedelta(hours=20)
    insert_delivery(NEW_YORK, begun, claimed_at=begun, sending_at=begun)
    failed = quoteapi("publish", "--due")
    assert failed.returncode == 1
    assert failed.stdout.endswith(f"\n{TODAY}, Asia/Kolkata: Sent to 1 subscriber.\n")
    assert set(failed.stderr.splitlines()) == {
        "Error: 2026-11-21, Asia/Kolkata: The SMS of 2026-11-21 was not sent before quiet hours began.",
        (
            "Error: 2026-11-21, America/New_York: The SMS of 2026-11-21 may have been sent at 16:00 UTC: the result is"
            " unknown. To send it, perhaps a second time, run `quoteapi publish --again`."
        ),
    }
    assert quoteapi("publish", "--due").returncode == 0, "each is reported once"


def test_publish_status_lists_the_state_of_today_and_yesterday(
    quoteapi: Command, working_database: Container, set_clock: SetClock
) -> None:
    set_clock(NOON)
    empty = quoteapi("publish", "--status")
    assert (
        empty.stdout
        == "Nobody is subscribed, or all subscribers are paused.\nThe schedule (`quoteapi publish --due`) never ran.\n"
    )
    insert_in(KOLKATA, MIRA)
    insert_in(NEW_YORK, NOOR)
    sent_at = NOON - timedelta(hours=7)
    insert_delivery(KOLKATA, NOON, claimed_at=sent_at, sending_at=sent_at, sent_at=sent_at, message_id="m-1")
    begun = NOON - timedelta(hours=20)
    insert_delivery(NEW_YORK, begun, claimed_at=begun, sending_at=begun, reported_at=NOON)
    working_database.state.store_due_run(sent_at)
    shown = quoteapi("publish", "--status")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert [re.split("  +", line) for line in shown.stdout.splitlines()] == [
        ["time_zone", "date", "state", "opens_at", "sent_at"],
        [NEW_YORK, TODAY, "not yet", "09:00"],
        [NEW_YORK, "2026-11-21", "in doubt", "09:00", "11:00"],
        [KOLKATA, TODAY, "sent", "10:00", "10:30"],
        [KOLKATA, "2026-11-21", "missed", "10:00"],
        [""],
        ["Dates and times are local."],
        ["The schedule (`quoteapi publish --due`) last ran on 2026-11-22 at 05:00 UTC."],
    ]
    as_json = json.loads(quoteapi("publish", "--status", "--json").stdout)
    assert as_json["last_due_run"] == "2026-11-22T05:00:00+00:00"
    assert as_json["statuses"][2] == {
        "date": TODAY,
        "time_zone": KOLKATA,
        "state": "sent",
        "opens_at": "2026-11-22T04:30:00+00:00",
        "sent_at": "2026-11-22T05:00:00+00:00",
        "message_id": "m-1",
    }
    assert recipients_of_the_daily_sms() == []


def test_a_daily_sms_of_unknown_outcome_is_sent_again_only_with_again(
    quoteapi: Command, working_database: Container
) -> None:
    insert_subscriber(MIRA)
    begun = clock.now() - timedelta(minutes=2)
    Delivery.insert(date=clock.now().date(), topic=console.TOPIC, claimed_at=begun, sending_at=begun).execute()
    in_doubt = quoteapi("publish")
    assert (in_doubt.returncode, in_doubt.stdout) == (1, "")
    assert f"may have been sent at {begun:%H:%M} UTC" in in_doubt.stderr
    assert "quoteapi publish --again" in in_doubt.stderr
    doctor = quoteapi("doctor")
    assert doctor.returncode == 1
    assert re.search(r"^✗ daily SMS .*\n +.*quoteapi publish --again", doctor.stdout, re.MULTILINE)
    assert recipients_of_the_daily_sms() == []
    assert quoteapi("publish", "--again").returncode == 0
    assert recipients_of_the_daily_sms() == [MIRA]
    assert quoteapi("doctor").returncode == 0


def test_publish_does_not_send_what_another_process_is_sending(quoteapi: Command, working_database: Container) -> None:
    insert_subscriber(MIRA)
    now = clock.now()
    Delivery.insert(date=now.date(), topic=console.TOPIC, claimed_at=now, sending_at=now).execute()
    left = quoteapi("publish", "--again")
    assert left.returncode == 0
    assert left.stdout.endswith(", Etc/UTC: Nothing sent: another process is sending it now.\n")
    assert recipients_of_the_daily_sms() == []


def test_publish_dry_run_reckons_in_money_if_the_price_is_limited(
    quoteapi: Command, working_database: Container
) -> None:
    for mobile in (MIRA, NOOR):
        insert_subscriber(mobile)
    parts = 2 * working_database.daily_delivery.previews()[0].text.segments
    shown = quoteapi("publish", "--dry-run", SMS_MAX_PRICE="0.071")
    assert f": {parts} segments billed, at most ${0.071 * parts:.2f}. Nothing was sent.\n" in shown.stdout
    (as_json,) = json.loads(quoteapi("publish", "--dry-run", "--json", SMS_MAX_PRICE="0.071").stdout)
    assert (as_json["parts_to_pay"], round(as_json["max_cost_usd"], 3)) == (parts, round(0.071 * parts, 3))


def test_publish_dry_run_warns_near_the_limit_of_subscribers(quoteapi: Command, working_database: Container) -> None:
    for n in range(4):
        insert_subscriber(f"+91902800000{n}")
    near = quoteapi("publish", "--dry-run", SMS_MAX_SUBSCRIBERS="5")
    assert near.returncode == 0
    assert near.stderr == (
        "subscribers: 4 active, of at most 5. Set SMS_MAX_SUBSCRIBERS higher if your budget allows it. At the limit,"
        " no number can subscribe.\n"
    )
    assert json.loads(quoteapi("publish", "--dry-run", "--json", SMS_MAX_SUBSCRIBERS="5").stdout)[0]["people"] == 4
    assert "no number can subscribe" in quoteapi("publish", "--dry-run", SMS_MAX_SUBSCRIBERS="4").stderr
    assert quoteapi("publish", "--dry-run", SMS_MAX_SUBSCRIBERS="6").stderr == ""


def test_publish_dry_run_warns_near_the_monthly_limit_of_the_account(
    quoteapi: Command, working_database: Container, aws_account: dict[str, str]
) -> None:
    priced = {**aws_account, "SMS_MAX_PRICE": "0.05"}
    insert_subscriber(MIRA, subscription_arn=None, topic=None, sync_due_at=clock.now())
    quoteapi("reconcile", **aws_account)
    assert "no limit is set, so the default of AWS applies: $1" in quoteapi("publish", "--dry-run", **priced).stderr
    month = 30 * 0.05 * working_database.daily_delivery.previews()[0].text.segments
    set_spend_limit(aws_account, int(month / 0.8))
    near = quoteapi("publish", "--dry-run", **priced)
    assert f"this month; 30 days like today cost at most ${month:.2f}. To ask AWS" in near.stderr
    assert near.returncode == 0
    set_spend_limit(aws_account, int(month / 0.8) + 1)
    assert quoteapi("publish", "--dry-run", **priced).stderr == ""


def test_publish_sends_to_more_recipients_than_the_daily_cap(quoteapi: Command, working_database: Container) -> None:
    for mobile in (MIRA, NOOR, OMAR):
        insert_subscriber(mobile)
    published = quoteapi("publish", SMS_DAILY_CAP="2", SMS_MAX_SUBSCRIBERS="1")
    assert (published.returncode, published.stderr) == (0, "")
    assert len(recipients_of_the_daily_sms()) == 3


@pytest.mark.parametrize("option", [[], ["--due"]])
def test_publish_with_a_daily_cap_of_0_names_the_setting(
    quoteapi: Command, working_database: Container, option: list[str]
) -> None:
    insert_subscriber(MIRA)
    capped = quoteapi("publish", *option, SMS_DAILY_CAP="0")
    assert (capped.returncode, capped.stdout) == (1, "")
    assert "SMS_DAILY_CAP" in capped.stderr
    doctor = quoteapi("doctor", SMS_DAILY_CAP="0")
    assert doctor.returncode == 1
    assert re.search(r"^✗ switch .*SMS_DAILY_CAP is 0", doctor.stdout, re.MULTILINE)
    assert recipients_of_the_daily_sms() == []
