import json
import re
from datetime import datetime, timedelta

from quoteapi import clock
from quoteapi.container import Container
from quoteapi.sms import console
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
from tests.helpers.data import MIRA, NOOR, OMAR


def test_publish_dry_run_prints_the_sms_its_segments_and_its_recipients(
    quoteapi: Command, working_database: Container
) -> None:
    subscribe(working_database, MIRA, NOOR)
    text = working_database.daily_delivery.preview().text
    shown = quoteapi("publish", "--dry-run")
    assert shown.returncode == 0
    assert shown.stdout.startswith("".join(f"  │ {line}\n" for line in text.message.splitlines()))
    segments = f"{text.segments} segment" if text.segments == 1 else f"{text.segments} segments"
    to_whom = f"to 2 subscribers: {2 * text.segments} segments billed. Nothing was sent."
    assert shown.stdout.endswith(f"\n{len(text.message)} characters in {segments}, {to_whom}\n")
    as_json = json.loads(quoteapi("publish", "--dry-run", "--json").stdout)
    assert as_json == {
        "date": f"{clock.now():%Y-%m-%d}",
        "message": text.message,
        "parts": text.segments,
        "people": 2,
        "sent_at": None,
        "parts_to_pay": 2 * text.segments,
        "max_cost_usd": None,
    }
    assert shown.stderr == ""
    assert recipients_of_the_daily_sms() == []
    assert Delivery.select().count() == 0


def test_publish_sends_the_daily_sms_to_the_topic_once(quoteapi_process: Command, working_database: Container) -> None:
    subscribe(working_database, MIRA, NOOR, OMAR)
    working_database.subscriptions.unsubscribe(NOOR, CLIENT_IP, working_database.dispatcher)
    sent = quoteapi_process("publish")
    assert sent.returncode == 0
    assert sent.stdout.endswith("\nSent to 2 subscribers.\n")
    assert not WHOLE_NUMBER.search(sent.stdout)
    again = quoteapi_process("publish", "--again")
    assert again.returncode == 0
    assert re.fullmatch(
        r"Already sent at \d\d:\d\d UTC; nothing sent now\. New .*\.\n",
        again.stdout,
    )
    as_json = json.loads(quoteapi_process("publish", "--json").stdout)
    assert set(as_json) == {"date", "sent", "message", "message_id", "is_pending"}
    assert as_json["sent"] is False
    assert as_json["message"].startswith("Already sent at ")
    assert recipients_of_the_daily_sms() == [MIRA, OMAR]


def test_publish_without_subscribers_says_that_nothing_was_sent(quoteapi: Command) -> None:
    for _ in range(2):
        published = quoteapi("publish")
        assert (published.returncode, published.stderr) == (0, "")
        assert published.stdout == (
            "Nobody is subscribed; nothing sent. If somebody subscribes today, publish again.\n"
        )
    assert json.loads(quoteapi("publish", "--json").stdout)["sent"] is False


def test_publish_with_json_prints_only_json(quoteapi: Command, working_database: Container) -> None:
    subscribe(working_database, MIRA)
    published = json.loads(quoteapi("publish", "--json").stdout)
    assert published.pop("message_id").startswith("console-")
    assert not published.pop("is_pending")
    assert published == {"date": f"{clock.now():%Y-%m-%d}", "sent": True, "message": "Sent to 1 subscriber."}


def test_a_daily_sms_of_unknown_outcome_is_sent_again_only_with_again(
    quoteapi: Command, working_database: Container
) -> None:
    subscribe(working_database, MIRA)
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
    assert (left.returncode, left.stdout) == (0, "Nothing sent: another process is sending it now.\n")
    assert recipients_of_the_daily_sms() == []


def test_publish_dry_run_reckons_in_money_if_the_price_is_limited(
    quoteapi: Command, working_database: Container
) -> None:
    for mobile in (MIRA, NOOR):
        insert_subscriber(mobile)
    parts = 2 * working_database.daily_delivery.preview().text.segments
    shown = quoteapi("publish", "--dry-run", SMS_MAX_PRICE="0.071")
    assert f": {parts} segments billed, at most ${0.071 * parts:.2f}. Nothing was sent.\n" in shown.stdout
    as_json = json.loads(quoteapi("publish", "--dry-run", "--json", SMS_MAX_PRICE="0.071").stdout)
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
    assert json.loads(quoteapi("publish", "--dry-run", "--json", SMS_MAX_SUBSCRIBERS="5").stdout)["people"] == 4
    assert "no number can subscribe" in quoteapi("publish", "--dry-run", SMS_MAX_SUBSCRIBERS="4").stderr
    assert quoteapi("publish", "--dry-run", SMS_MAX_SUBSCRIBERS="6").stderr == ""


def test_publish_dry_run_warns_near_the_monthly_limit_of_the_account(
    quoteapi: Command, working_database: Container, aws_account: dict[str, str]
) -> None:
    priced = {**aws_account, "SMS_MAX_PRICE": "0.05"}
    insert_subscriber(MIRA, subscription_arn=None, topic=None, sync_due_at=clock.now())
    quoteapi("reconcile", **aws_account)
    assert "no limit is set, so the default of AWS applies: $1" in quoteapi("publish", "--dry-run", **priced).stderr
    month = 30 * 0.05 * working_database.daily_delivery.preview().text.segments
    set_spend_limit(aws_account, int(month / 0.8))
    near = quoteapi("publish", "--dry-run", **priced)
    assert f"this month; 30 days like today cost at most ${month:.2f}. Ask AWS" in near.stderr
    assert near.returncode == 0
    set_spend_limit(aws_account, int(month / 0.8) + 1)
    assert quoteapi("publish", "--dry-run", **priced).stderr == ""


def test_publish_sends_to_more_recipients_than_the_daily_cap(quoteapi: Command, working_database: Container) -> None:
    for mobile in (MIRA, NOOR, OMAR):
        insert_subscriber(mobile)
    published = quoteapi("publish", SMS_DAILY_CAP="2", SMS_MAX_SUBSCRIBERS="1")
    assert (published.returncode, published.stderr) == (0, "")
    assert len(recipients_of_the_daily_sms()) == 3


def test_publish_with_a_daily_cap_of_0_names_the_setting(quoteapi: Command, working_database: Container) -> None:
    insert_subscriber(MIRA)
    capped = quoteapi("publish", SMS_DAILY_CAP="0")
    assert (capped.returncode, capped.stdout) == (1, "")
    assert "SMS_DAILY_CAP" in capped.stderr
    doctor = quoteapi("doctor", SMS_DAILY_CAP="0")
    assert doctor.returncode == 1
    assert re.search(r"^✗ switch .*SMS_DAILY_CAP is 0", doctor.stdout, re.MULTILINE)
    assert recipients_of_the_daily_sms() == []


def test_inbox_prints_the_sms_newest_last(quoteapi_process: Command, working_database: Container) -> None:
    subscribe(working_database, MIRA)
    working_database.daily_delivery.publish()
    shown = quoteapi_process("sms", "inbox")
    heads = re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC  (\w+) to (.+)\n  │ .+", shown.stdout, flags=re.MULTILINE)
    assert shown.returncode == 0
    assert heads == [("code", MIRA), ("confirmation", MIRA), ("quote", MIRA)]
    newest = quoteapi_process("sms", "inbox", "--limit", "1").stdout
    assert " quote to " in newest
    assert " code to " not in newest
    assert quoteapi_process("sms", "inbox", "--limit", "0").returncode == 2


def test_inbox_as_json_has_four_fields(quoteapi: Command, working_database: Container) -> None:
    subscribe(working_database, MIRA)
    code, confirmation = json.loads(quoteapi("sms", "inbox", "--json").stdout)
    assert list(code) == ["to", "message", "sent_at", "kind"]
    assert (code["to"], code["kind"]) == (MIRA, "code")
    assert re.match(r"\d{6} is your QuoteAPI code", code["message"])
    assert datetime.fromisoformat(code["sent_at"]).utcoffset() == timedelta()
    assert (confirmation["to"], confirmation["kind"]) == (MIRA, "confirmation")
    assert json.loads(quoteapi("sms", "inbox", "--json", "--limit", "1").stdout) == [confirmation]


def test_an_empty_inbox_says_how_to_fill_it(quoteapi: Command) -> None:
    empty = quoteapi("sms", "inbox")
    assert (empty.returncode, empty.stdout) == (0, "")
    assert empty.stderr == "No SMS yet. Subscribe a number to get its code here.\n"
    assert json.loads(quoteapi("sms", "inbox", "--json").stdout) == []
    elsewhere = quoteapi("sms", "inbox", SMS_GATEWAY="sns", SMS_ALLOWED_REGIONS="IN")
    assert (elsewhere.returncode, elsewhere.stdout) == (1, "")
    assert "set SMS_GATEWAY=console" in elsewhere.stderr


def test_stop_switches_sms_off_until_start(quoteapi: Command, working_database: Container) -> None:
    insert_subscriber(MIRA)
    for _ in range(2):
        off = quoteapi("sms", "stop")
        assert (off.returncode, off.stdout) == (
            0,
            "SMS are switched off. To switch them on, run `quoteapi sms start`.\n",
        )
    stopped = quoteapi("publish")
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert stopped.stderr == "Error: SMS are switched off. To switch them on, run `quoteapi sms start`.\n"
    doctor = quoteapi("doctor")
    assert doctor.returncode == 1
    assert re.search(
        r"^✗ switch +SMS were switched off at .* UTC\n +To switch them on, run `quoteapi sms start`\.$",
        doctor.stdout,
        re.MULTILINE,
    )
    assert recipients_of_the_daily_sms() == []
    assert "unsubscribing needs no code" in quoteapi("sms", "stop", UNSUBSCRIBE_REQUIRES_OTP="true").stdout
    on = quoteapi("sms", "start")
    assert (on.returncode, on.stdout) == (0, "SMS are switched on.\n")
    assert quoteapi("doctor").returncode == 0
    assert quoteapi("publish").returncode == 0
    assert recipients_of_the_daily_sms() == [MIRA]
