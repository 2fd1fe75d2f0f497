"""The commands about people and their SMS, run as an operator runs them."""

import csv
import io
import json
import os
import random
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import requests
from moto.server import ThreadedMotoServer

from quoteapi import clock
from quoteapi.container import Container
from quoteapi.settings import ROOT, read_settings
from quoteapi.sms import console
from quoteapi.storage import database
from quoteapi.storage.models import ConsoleSms, Delivery, Quote, Subscriber
from quoteapi.subscriptions.phone import MOBILE_HINT
from tests.helpers.data import MIRA, NOOR, OMAR, latest_otp
from tests.helpers.sns_emulator import count_people

Command = Callable[..., subprocess.CompletedProcess[str]]

LATA, KIRAN = "+447420500600", "+447420505401"
"""Numbers that replied STOP, as moto has it of every account."""
ADDRESS = "192.0.2.7"

WHOLE_NUMBER = re.compile(r"(?:91|44)\d{10}")
TABLE = ["id", "mobile", "state", "confirmed_at", "ended_at", "on_topic"]
CONSENT = [
    "id",
    "mobile",
    "state",
    "asked_at",
    "asked_from",
    "confirmed_at",
    "confirmed_from",
    "ended_at",
    "on_topic",
]
NOBODY_RECONCILED = {"subscribed": 0, "unsubscribed": 0, "stopped": 0, "refused": 0, "failed": 0, "left": 0}


@pytest.fixture
def quoteapi(tmp_path: Path) -> Command:
    """Run the command as an operator would. Whatever it complains of, no whole number is in it."""

    def run(*words: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        ran = subprocess.run(
            [sys.executable, "-m", "quoteapi", *words],
            input=given,
            capture_output=True,
            encoding="utf-8",
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "DATABASE_URL": f"sqlite:///{tmp_path}/working.db",
                "HOME": str(tmp_path),  # where no AWS credentials are
                "AWS_EC2_METADATA_DISABLED": "true",
                **environment,
            },
            check=False,
            timeout=60,
        )
        assert "Traceback" not in ran.stderr, ran.stderr
        assert not WHOLE_NUMBER.search(ran.stderr.replace(MOBILE_HINT, "")), ran.stderr
        return ran

    return run


@pytest.fixture
def working(tmp_path: Path) -> Iterator[Container]:
    """Open the database of the commands in this process too, as a server beside them does."""
    settings = read_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/working.db"})
    with database.connect(settings).connection_context():
        yield Container(settings)


@pytest.fixture
def aws_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Serve an AWS account of its own on loopback. Answers the settings that lead there."""
    count_people(monkeypatch)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    requests.post(f"http://{host}:{port}/moto-api/reset", timeout=10).raise_for_status()
    yield by_sns(f"http://{host}:{port}")
    server.stop()


@pytest.fixture
def sns_out_of_reach() -> Iterator[dict[str, str]]:
    """Answer settings that lead to where every connection is refused."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and does not listen
        yield by_sns(f"http://127.0.0.1:{deaf.getsockname()[1]}")


def by_sns(endpoint: str) -> dict[str, str]:
    credentials = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nothing"}
    return {"SMS_GATEWAY": "sns", "SMS_ALLOWED_REGIONS": "IN", "AWS_ENDPOINT_URL": endpoint, **credentials}


def subscribe(working: Container, *mobiles: str) -> None:
    """Have people subscribe as they do: ask, read the code in the SMS, confirm."""
    for mobile in mobiles:
        working.subscriptions.request_otp(mobile, "subscribe", ADDRESS, working.dispatcher)
        working.subscriptions.subscribe(mobile, latest_otp(mobile), ADDRESS, working.dispatcher)


def insert(mobile: str, **columns: object) -> None:
    """Insert a subscriber who is active and on the topic, where nothing else is said."""
    now = clock.now()
    row = {"mobile": mobile, "state": "active", "topic": "console", "subscription_arn": f"console:{mobile}"}
    consent = {"asked_at": now, "asked_from": ADDRESS, "confirmed_at": now, "confirmed_from": ADDRESS}
    Subscriber.insert({**row, **consent, "welcomed_at": now, **columns}).execute()


def quotes_sent_to() -> list[str]:
    return [row.to for row in ConsoleSms.select().where(ConsoleSms.kind == "quote").order_by(ConsoleSms.id)]


def bytes_of_the_database(tmp_path: Path) -> bytes:
    files = sorted(tmp_path.glob("working.db*"))
    assert tmp_path / "working.db" in files
    return b"".join(file.read_bytes() for file in files)


# ---- subscribers list


def test_the_list_is_a_table_newest_first_with_masked_numbers(quoteapi: Command, working: Container) -> None:
    subscribe(working, MIRA, NOOR, OMAR)
    working.subscriptions.unsubscribe(NOOR, ADDRESS, working.dispatcher)
    listed = quoteapi("subscribers", "list")
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d"
    head, *rows = listed.stdout.splitlines()
    assert (listed.returncode, listed.stderr) == (0, "")
    assert head.split() == TABLE
    assert len(rows) == 3
    assert re.fullmatch(rf"3 +\+91••••••0003 +active +{moment} +yes", rows[0])
    assert re.fullmatch(rf"2 +\+91••••••0002 +unsubscribed +{moment} +{moment} +no", rows[1])
    assert re.fullmatch(rf"1 +\+91••••••0001 +active +{moment} +yes", rows[2])
    assert not WHOLE_NUMBER.search(listed.stdout)


def test_the_list_shows_whole_numbers_states_and_so_many_as_are_asked_for(
    quoteapi: Command, working: Container
) -> None:
    insert(MIRA)
    insert(NOOR, state="stopped", ended_at=clock.now())
    insert(OMAR)
    unmasked = quoteapi("subscribers", "list", "--unmasked").stdout.splitlines()
    assert [line.split()[1] for line in unmasked[1:]] == [OMAR, NOOR, MIRA]
    stopped = quoteapi("subscribers", "list", "--state", "stopped").stdout.splitlines()
    assert [line.split()[1] for line in stopped[1:]] == ["+91••••••0002"]
    newest = quoteapi("subscribers", "list", "--limit", "1").stdout.splitlines()
    assert [line.split()[1] for line in newest[1:]] == ["+91••••••0003"]
    assert quoteapi("subscribers", "list", "--state", "asleep").returncode == 2
    assert quoteapi("subscribers", "list", "--limit", "0").returncode == 2


def test_the_list_as_json_has_the_whole_consent(quoteapi: Command, working: Container) -> None:
    subscribe(working, MIRA)
    (listed,) = json.loads(quoteapi("subscribers", "list", "--json").stdout)
    assert list(listed) == CONSENT
    asked, confirmed = (datetime.fromisoformat(listed.pop(name)) for name in ("asked_at", "confirmed_at"))
    assert asked.utcoffset() == timedelta()
    assert asked <= confirmed <= clock.now()
    assert listed == {
        "id": 1,
        "mobile": "+91••••••0001",
        "state": "active",
        "asked_from": ADDRESS,
        "confirmed_from": ADDRESS,
        "ended_at": None,
        "on_topic": True,
    }
    (unmasked,) = json.loads(quoteapi("subscribers", "list", "--json", "--unmasked").stdout)
    assert unmasked["mobile"] == MIRA


def test_the_list_of_nobody_says_so(quoteapi: Command) -> None:
    nobody = quoteapi("subscribers", "list")
    assert (nobody.returncode, nobody.stdout, nobody.stderr) == (0, "", "No subscribers.\n")
    assert json.loads(quoteapi("subscribers", "list", "--json").stdout) == []


# ---- subscribers export


def test_an_export_to_standard_output_is_masked_and_in_the_order_they_came(
    quoteapi: Command, working: Container
) -> None:
    subscribe(working, MIRA, NOOR)
    working.subscriptions.unsubscribe(MIRA, ADDRESS, working.dispatcher)
    exported = quoteapi("subscribers", "export")
    rows = list(csv.DictReader(io.StringIO(exported.stdout)))
    assert (exported.returncode, exported.stderr) == (0, "")
    assert list(rows[0]) == CONSENT
    assert [(row["mobile"], row["state"], row["on_topic"]) for row in rows] == [
        ("+91••••••0001", "unsubscribed", "False"),
        ("+91••••••0002", "active", "True"),
    ]
    assert rows[0]["ended_at"]
    assert rows[1]["ended_at"] == ""
    assert not WHOLE_NUMBER.search(exported.stdout)


def test_an_export_as_json_lines_is_of_one_state_and_unmasked_where_asked(
    quoteapi: Command, working: Container
) -> None:
    insert(MIRA)
    insert(NOOR, state="unsubscribed", ended_at=clock.now(), subscription_arn=None)
    lines = quoteapi("subscribers", "export", "-", "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line)["mobile"] for line in lines] == ["+91••••••0001", "+91••••••0002"]
    words = ("subscribers", "export", "--format", "jsonl", "--unmasked", "--state", "unsubscribed")
    (left,) = map(json.loads, quoteapi(*words).stdout.splitlines())
    assert list(left) == CONSENT
    assert (left["mobile"], left["on_topic"]) == (NOOR, False)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_an_export_to_a_file_replaces_it_whole_for_its_owners_eyes(
    quoteapi: Command, working: Container, tmp_path: Path, form: str
) -> None:
    subscribe(working, MIRA, NOOR)
    file = tmp_path / f"people.{form}"
    file.write_text("What was there before, and is far longer than what comes now.\n" * 1_000)
    file.chmod(0o644)
    masked = quoteapi("subscribers", "export", str(file))
    assert (masked.returncode, masked.stdout) == (0, "")
    assert masked.stderr == f"2 written to {file}; --unmasked writes whole numbers.\n"
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_bytes().decode()
    assert "before" not in text
    assert "0001" in text
    assert not WHOLE_NUMBER.search(text)
    quoteapi("subscribers", "export", file.name, "--unmasked")
    text = file.read_bytes().decode()
    rows = csv.DictReader(io.StringIO(text)) if form == "csv" else map(json.loads, text.splitlines())
    assert [row["mobile"] for row in rows] == [MIRA, NOOR]
    assert [path.name for path in tmp_path.iterdir() if "people" in path.name] == [file.name]


def test_an_export_into_a_folder_that_is_not_there_says_so(quoteapi: Command, tmp_path: Path) -> None:
    nowhere = quoteapi("subscribers", "export", f"{tmp_path}/none/people.csv")
    assert (nowhere.returncode, nowhere.stdout) == (1, "")
    assert nowhere.stderr == f"Error: The folder {tmp_path}/none does not exist.\n"


def test_an_export_goes_into_a_pipe_and_leaves_it_one(quoteapi: Command, working: Container, tmp_path: Path) -> None:
    insert(MIRA)
    pipe = tmp_path / "to-be-encrypted"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    exported = quoteapi("subscribers", "export", str(pipe), "--unmasked", "--format", "csv")
    read = os.read(reader, 10_000).decode()
    os.close(reader)
    assert exported.returncode == 0
    assert pipe.is_fifo()
    assert MIRA in read


# ---- subscribers remove


def test_removing_asks_first(quoteapi: Command, working: Container) -> None:
    subscribe(working, MIRA)
    kept = quoteapi("subscribers", "remove", MIRA, given="n\n")
    assert kept.returncode == 1
    assert f"Remove {MIRA}, with the proof of its consent? [y/N]" in kept.stdout
    assert quoteapi("subscribers", "remove", MIRA).returncode == 1  # nobody is there to answer
    assert Subscriber.select().count() == 1
    removed = quoteapi("subscribers", "remove", "0091 90280-00001", given="y\n")
    assert removed.returncode == 0
    assert removed.stdout.endswith("Removed; nothing of the number is left.\n")
    assert Subscriber.select().count() == 0


def test_a_number_that_is_removed_is_in_no_byte_of_the_database(
    quoteapi: Command, working: Container, tmp_path: Path
) -> None:
    subscribe(working, NOOR, MIRA, OMAR)
    working.subscriptions.unsubscribe(MIRA, ADDRESS, working.dispatcher)
    working.daily_delivery.publish()
    assert MIRA.encode() in bytes_of_the_database(tmp_path)
    removed = quoteapi("subscribers", "remove", MIRA, "--yes")
    assert (removed.returncode, removed.stdout) == (0, "Removed; nothing of the number is left.\n")
    left = bytes_of_the_database(tmp_path)
    assert MIRA.removeprefix("+").encode() not in left
    assert NOOR.encode() in left
    again = quoteapi("subscribers", "remove", MIRA, "--yes")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "Error: There is nothing of this number.\n"


def test_a_number_among_many_is_in_no_byte_either_once_it_is_removed(
    quoteapi: Command, working: Container, tmp_path: Path
) -> None:
    mobiles = [f"+9190280{number:05}" for number in range(1_000)]
    random.Random(1).shuffle(mobiles)
    for mobile in mobiles:
        insert(mobile)
    database.secure_delete()
    # SQLite leaves copies behind where it splits a page in two: the number with the most copies is the hardest.
    before = bytes_of_the_database(tmp_path)
    hardest = max(mobiles, key=lambda mobile: before.count(mobile.encode()))
    assert quoteapi("subscribers", "remove", hardest, "--yes").returncode == 0
    assert bytes_of_the_database(tmp_path).count(hardest.encode()) == 0


def test_a_number_that_only_asked_for_a_code_can_be_removed(
    quoteapi: Command, working: Container, tmp_path: Path
) -> None:
    working.subscriptions.request_otp(MIRA, "subscribe", ADDRESS, working.dispatcher)
    assert quoteapi("subscribers", "remove", MIRA, "--yes").returncode == 0
    assert MIRA.encode() not in bytes_of_the_database(tmp_path)


@pytest.mark.parametrize("command", ["remove", "opt-in"])
@pytest.mark.parametrize("written", ["+9190280", "+912024567890", "Asha", ""])
def test_what_is_no_mobile_number_is_wrong_usage_and_the_right_form_is_shown(
    quoteapi: Command, command: str, written: str
) -> None:
    wrong = quoteapi("subscribers", command, written)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert MOBILE_HINT in wrong.stderr
    assert not written or written not in wrong.stderr.replace(MOBILE_HINT, "")


def test_a_number_that_sns_cannot_be_told_of_is_unsubscribed_and_removed_later(
    quoteapi: Command, working: Container, sns_out_of_reach: dict[str, str], aws_account: dict[str, str]
) -> None:
    insert(
        MIRA,
        topic="us-east-1:DailyQuoteSubscription",
        subscription_arn="arn:aws:sns:us-east-1:123456789012:DailyQuoteSubscription:1",
    )
    failed = quoteapi("subscribers", "remove", MIRA, "--yes", **sns_out_of_reach)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "SNS cannot be reached" in failed.stderr
    assert Subscriber.get().state == "unsubscribed"
    elsewhere = quoteapi("subscribers", "remove", MIRA, "--yes")
    assert (elsewhere.returncode, elsewhere.stdout) == (1, "")
    assert "on a topic of Amazon SNS, and SMS_GATEWAY is console here" in elsewhere.stderr
    assert quoteapi("subscribers", "remove", MIRA, "--yes", **aws_account).returncode == 0
    assert Subscriber.select().count() == 0


# ---- subscribers opt-in


def test_a_number_that_replied_stop_is_let_back_in(
    quoteapi: Command, working: Container, aws_account: dict[str, str]
) -> None:
    insert(LATA)
    insert(KIRAN)
    let_in = quoteapi("subscribers", "opt-in", LATA, **aws_account)
    assert (let_in.returncode, let_in.stdout) == (0, "Done. The number can subscribe again.\n")
    reconciled = json.loads(quoteapi("reconcile", "--json", **aws_account).stdout)
    assert reconciled["stopped"] == 1
    assert [row.mobile for row in Subscriber.select().where(Subscriber.state == "stopped")] == [KIRAN]


def test_in_the_inbox_of_a_laptop_nobody_replies_stop_so_all_are_let_in(quoteapi: Command) -> None:
    assert quoteapi("subscribers", "opt-in", MIRA).returncode == 0


# ---- publish


def test_a_dry_run_shows_the_sms_its_parts_and_how_many_get_it(quoteapi: Command, working: Container) -> None:
    subscribe(working, MIRA, NOOR)
    text = working.daily_delivery.preview().text
    shown = quoteapi("publish", "--dry-run")
    assert shown.returncode == 0
    assert shown.stdout.startswith("".join(f"  │ {line}\n" for line in text.message.splitlines()))
    parts = f"{text.segments} part" if text.segments == 1 else f"{text.segments} parts"
    to_whom = f"to 2 people: {2 * text.segments} SMS to pay for. Nothing was sent."
    assert shown.stdout.endswith(f"\n{len(text.message)} characters in {parts}, {to_whom}\n")
    as_json = json.loads(quoteapi("publish", "--dry-run", "--json").stdout)
    assert as_json == {
        "date": f"{clock.now():%Y-%m-%d}",
        "message": text.message,
        "parts": text.segments,
        "people": 2,
        "sent_at": None,
    }
    assert quotes_sent_to() == []
    assert Delivery.select().count() == 0


def test_the_sms_of_the_day_goes_to_everyone_on_the_topic_once(quoteapi: Command, working: Container) -> None:
    subscribe(working, MIRA, NOOR, OMAR)
    working.subscriptions.unsubscribe(NOOR, ADDRESS, working.dispatcher)
    sent = quoteapi("publish")
    assert sent.returncode == 0
    assert sent.stdout.endswith(f"The SMS of {clock.now():%Y-%m-%d} sent to 2.\n")
    assert not WHOLE_NUMBER.search(sent.stdout)
    again = quoteapi("publish", "--again")
    assert again.returncode == 0
    assert re.fullmatch(
        r"The SMS of \d{4}-\d\d-\d\d was sent at \d\d:\d\d UTC; who .*\.\n",
        again.stdout,
    )
    as_json = json.loads(quoteapi("publish", "--json").stdout)
    assert set(as_json) == {"date", "sent", "message", "message_id"}
    assert as_json["sent"] is False
    assert as_json["message"].startswith("was sent at ")
    assert quotes_sent_to() == [MIRA, OMAR]


def test_publishing_says_in_nothing_but_json_that_it_sent(quoteapi: Command, working: Container) -> None:
    subscribe(working, MIRA)
    published = json.loads(quoteapi("publish", "--json").stdout)
    assert published.pop("message_id").startswith("console-")
    assert published == {"date": f"{clock.now():%Y-%m-%d}", "sent": True, "message": "sent to 1"}


def test_an_sms_of_which_nobody_knows_is_sent_again_only_where_that_is_asked_for(
    quoteapi: Command, working: Container
) -> None:
    subscribe(working, MIRA)
    begun = clock.now() - timedelta(minutes=2)
    Delivery.insert(date=clock.now().date(), topic=console.TOPIC, claimed_at=begun, sending_at=begun).execute()
    in_doubt = quoteapi("publish")
    assert (in_doubt.returncode, in_doubt.stdout) == (1, "")
    assert f"may have gone out at {begun:%H:%M} UTC" in in_doubt.stderr
    assert "quoteapi publish --again" in in_doubt.stderr
    doctor = quoteapi("doctor")
    assert doctor.returncode == 1
    assert re.search(r"^✗ daily SMS .*\n +.*quoteapi publish --again", doctor.stdout, re.MULTILINE)
    assert quotes_sent_to() == []
    assert quoteapi("publish", "--again").returncode == 0
    assert quotes_sent_to() == [MIRA]
    assert quoteapi("doctor").returncode == 0


def test_an_sms_that_somebody_else_is_sending_is_left_to_them(quoteapi: Command, working: Container) -> None:
    insert(MIRA)
    now = clock.now()
    Delivery.insert(date=now.date(), topic=console.TOPIC, claimed_at=now, sending_at=now).execute()
    left = quoteapi("publish", "--again")
    assert (left.returncode, left.stdout) == (0, f"The SMS of {now:%Y-%m-%d} is being sent.\n")
    assert quotes_sent_to() == []


def test_more_people_than_the_cap_get_nothing_until_it_is_set_higher(quoteapi: Command, working: Container) -> None:
    for mobile in (MIRA, NOOR, OMAR):
        insert(mobile)
    capped = quoteapi("publish", SMS_DAILY_CAP="2")
    assert (capped.returncode, capped.stdout) == (1, "")
    assert re.search(r"3 people would get the SMS.*, and SMS_DAILY_CAP is 2\. Set it higher to go on\.", capped.stderr)
    assert quotes_sent_to() == []
    assert quoteapi("publish", SMS_DAILY_CAP="30").returncode == 0
    assert len(quotes_sent_to()) == 3


def test_a_cap_of_nothing_is_what_has_to_be_set(quoteapi: Command, working: Container) -> None:
    insert(MIRA)
    capped = quoteapi("publish", SMS_DAILY_CAP="0")
    assert (capped.returncode, capped.stdout) == (1, "")
    assert "SMS_DAILY_CAP" in capped.stderr
    doctor = quoteapi("doctor", SMS_DAILY_CAP="0")
    assert doctor.returncode == 1
    assert re.search(r"^✗ switch .*SMS_DAILY_CAP is 0", doctor.stdout, re.MULTILINE)
    assert quotes_sent_to() == []


# ---- sms


def test_the_inbox_shows_what_was_sent_the_newest_last(quoteapi: Command, working: Container) -> None:
    subscribe(working, MIRA)
    working.daily_delivery.publish()
    shown = quoteapi("sms", "inbox")
    heads = re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC  (\w+) to (.+)\n  │ .+", shown.stdout, flags=re.MULTILINE)
    assert shown.returncode == 0
    assert heads == [("code", MIRA), ("confirmation", MIRA), ("quote", MIRA)]
    newest = quoteapi("sms", "inbox", "--limit", "1").stdout
    assert " quote to " in newest
    assert " code to " not in newest
    assert quoteapi("sms", "inbox", "--limit", "0").returncode == 2


def test_the_inbox_as_json_has_what_a_program_needs_and_no_more(quoteapi: Command, working: Container) -> None:
    subscribe(working, MIRA)
    code, confirmation = json.loads(quoteapi("sms", "inbox", "--json").stdout)
    assert list(code) == ["to", "message", "sent_at", "kind"]
    assert (code["to"], code["kind"]) == (MIRA, "code")
    assert re.match(r"\d{6} is your QuoteAPI code", code["message"])
    assert datetime.fromisoformat(code["sent_at"]).utcoffset() == timedelta()
    assert (confirmation["to"], confirmation["kind"]) == (MIRA, "confirmation")
    assert json.loads(quoteapi("sms", "inbox", "--json", "--limit", "1").stdout) == [confirmation]


def test_an_empty_inbox_says_how_something_comes_into_it(quoteapi: Command) -> None:
    empty = quoteapi("sms", "inbox")
    assert (empty.returncode, empty.stdout) == (0, "")
    assert empty.stderr == "No SMS yet. Subscribe a number, and its code comes here.\n"
    assert json.loads(quoteapi("sms", "inbox", "--json").stdout) == []
    elsewhere = quoteapi("sms", "inbox", SMS_GATEWAY="sns", SMS_ALLOWED_REGIONS="IN")
    assert (elsewhere.returncode, elsewhere.stdout) == (1, "")
    assert "set SMS_GATEWAY=console" in elsewhere.stderr


def test_what_is_switched_off_sends_nothing_until_it_is_switched_on(quoteapi: Command, working: Container) -> None:
    insert(MIRA)
    for _ in range(2):
        off = quoteapi("sms", "stop")
        assert (off.returncode, off.stdout) == (0, "SMS are switched off. To go on: quoteapi sms start\n")
    stopped = quoteapi("publish")
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert stopped.stderr == "Error: SMS are switched off; `quoteapi sms start` switches them on.\n"
    doctor = quoteapi("doctor")
    assert doctor.returncode == 1
    assert re.search(
        r"^✗ switch +SMS were switched off at .* UTC\n +To go on: quoteapi sms start$", doctor.stdout, re.MULTILINE
    )
    assert quotes_sent_to() == []
    on = quoteapi("sms", "start")
    assert (on.returncode, on.stdout) == (0, "SMS are switched on.\n")
    assert quoteapi("doctor").returncode == 0
    assert quoteapi("publish").returncode == 0
    assert quotes_sent_to() == [MIRA]


# ---- reconcile


def test_reconciling_says_how_many_were_put_on_and_taken_off(quoteapi: Command, working: Container) -> None:
    a_while_ago = clock.now() - timedelta(hours=1)
    insert(MIRA, subscription_arn=None, topic=None, unsettled_since=a_while_ago)
    insert(NOOR, state="unsubscribed", unsettled_since=a_while_ago)
    insert(OMAR)
    reconciled = quoteapi("reconcile")
    assert (reconciled.returncode, reconciled.stderr) == (0, "")
    assert reconciled.stdout == "1 put on the topic, 1 taken off, 0 replied STOP, 0 refused, 0 failed, 0 left.\n"
    on_topic = Subscriber.select().where(Subscriber.subscription_arn.is_null(is_null=False))
    assert sorted(row.mobile for row in on_topic) == [MIRA, OMAR]
    nothing_to_do = quoteapi("reconcile", "--json")
    assert (nothing_to_do.returncode, json.loads(nothing_to_do.stdout)) == (0, NOBODY_RECONCILED)


def test_reconciling_says_in_nothing_but_json_what_it_did(quoteapi: Command, working: Container) -> None:
    insert(MIRA, subscription_arn=None, topic=None, welcomed_at=None, unsettled_since=clock.now())
    reconciled = quoteapi("reconcile", "--json")
    assert json.loads(reconciled.stdout) == {**NOBODY_RECONCILED, "subscribed": 1}


def test_whom_somebody_else_is_settling_is_left(quoteapi: Command, working: Container) -> None:
    insert(MIRA, subscription_arn=None, topic=None, unsettled_since=clock.now(), settling_since=clock.now())
    left = quoteapi("reconcile")
    assert left.returncode == 1
    assert left.stdout.endswith("0 failed, 1 left.\n")


def test_who_replied_stop_is_noted_and_taken_off_the_topic(
    quoteapi: Command, working: Container, aws_account: dict[str, str]
) -> None:
    insert(LATA, subscription_arn=None, topic=None, unsettled_since=clock.now())
    insert(MIRA, subscription_arn=None, topic=None, welcomed_at=None, unsettled_since=clock.now())
    insert(NOOR, subscription_arn=None, topic=None, welcomed_at=None, unsettled_since=clock.now())
    reconciled = quoteapi("reconcile", "--json", **aws_account, SMS_DAILY_CAP="1")
    assert reconciled.returncode == 0
    assert json.loads(reconciled.stdout) == {**NOBODY_RECONCILED, "subscribed": 2, "unsubscribed": 1, "stopped": 1}
    assert "No confirming SMS to +91••••••0002" in reconciled.stderr
    stopped = quoteapi("subscribers", "list", "--state", "stopped").stdout.splitlines()
    assert [line.split()[1] for line in stopped[1:]] == ["+44••••••0600"]


def test_reconciling_fails_while_sns_is_out_of_reach(
    quoteapi: Command, working: Container, sns_out_of_reach: dict[str, str]
) -> None:
    insert(MIRA, subscription_arn=None, topic=None, unsettled_since=clock.now())
    failed = quoteapi("reconcile", "--json", **sns_out_of_reach)
    assert failed.returncode == 1
    done = json.loads(failed.stdout)
    assert done["failed"] > 0
    assert done["subscribed"] == 0
    assert "SNS cannot be reached" in failed.stderr


def test_reconciling_fails_where_nobody_may_ask_sns_at_all(quoteapi: Command, working: Container) -> None:
    insert(MIRA, subscription_arn=None, topic=None, unsettled_since=clock.now())
    failed = quoteapi("reconcile", SMS_GATEWAY="sns", SMS_ALLOWED_REGIONS="IN")
    assert "no usable AWS credentials were found" in failed.stderr
    assert failed.returncode == 1


# ---- doctor


def test_where_all_is_well_the_doctor_says_so_of_each_thing(quoteapi: Command, working: Container) -> None:
    subscribe(working, MIRA, NOOR)
    well = quoteapi("doctor")
    assert (well.returncode, well.stderr) == (0, "")
    assert all(line.startswith("✓ ") for line in well.stdout.splitlines())
    assert "2 active" in well.stdout
    assert not WHOLE_NUMBER.search(well.stdout)
    checks = json.loads(quoteapi("doctor", "--json").stdout)
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


def test_the_doctor_names_a_wrong_setting(quoteapi: Command) -> None:
    wrong = quoteapi("doctor", SMS_DAILY_CAP="many")
    assert (wrong.returncode, wrong.stderr) == (1, "")
    assert wrong.stdout.startswith("✗ settings     SMS_DAILY_CAP must be a whole number")
    (check,) = json.loads(quoteapi("doctor", "--json", SMS_GATEWAY="sns").stdout)
    assert (check["name"], check["state"]) == ("settings", "wrong")
    assert check["found"].startswith("SMS_ALLOWED_REGIONS must be set")


def test_the_doctor_finds_an_empty_catalogue_and_what_fills_it(quoteapi: Command, working: Container) -> None:
    Quote.delete().execute()
    empty = quoteapi("doctor")
    assert empty.returncode == 1
    assert re.search(r"^✗ catalogue +no quotes\n +Import some: quoteapi quotes import", empty.stdout, re.MULTILINE)
    assert quoteapi("quotes", "import", str(ROOT / "catalogue/quotes.csv")).returncode == 0
    assert quoteapi("doctor").returncode == 0


def test_the_doctor_finds_who_waits_for_hours_and_what_helps(quoteapi: Command, working: Container) -> None:
    insert(MIRA, subscription_arn=None, topic=None, unsettled_since=clock.now() - timedelta(hours=3))
    insert(NOOR, subscription_arn=None, topic=None, unsettled_since=clock.now() - timedelta(minutes=30))
    waiting = quoteapi("doctor")
    assert waiting.returncode == 1
    assert re.search(r"^✗ subscribers +1 for hours .*\n +Run: quoteapi reconcile\. .*$", waiting.stdout, re.MULTILINE)
    assert quoteapi("reconcile").returncode == 0
    assert quoteapi("doctor").returncode == 0


def test_the_doctor_has_no_doubt_about_an_sms_that_is_being_sent(quoteapi: Command, working: Container) -> None:
    now = clock.now()
    Delivery.insert(date=now.date(), topic=console.TOPIC, claimed_at=now).execute()
    assert quoteapi("doctor").returncode == 0


def test_the_doctor_finds_a_database_that_is_none(quoteapi: Command, tmp_path: Path) -> None:
    (tmp_path / "working.db").write_text("something else entirely, and long enough to be looked at")
    garbage = quoteapi("doctor")
    assert (garbage.returncode, garbage.stderr) == (1, "")
    assert re.fullmatch(r"✗ .*working\.db.*not a database.*\n +.+\n", garbage.stdout)


def test_the_doctor_finds_a_database_that_is_damaged_inside(quoteapi: Command, tmp_path: Path) -> None:
    quoteapi("doctor")
    with closing(sqlite3.connect(tmp_path / "working.db")) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'quote'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    with (tmp_path / "working.db").open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"damage" * 500)
    damaged = quoteapi("doctor")
    assert (damaged.returncode, damaged.stderr) == (1, "")
    assert re.search(r"^✗ database ", damaged.stdout, re.MULTILINE)


def test_the_doctor_looks_at_the_account_where_sms_go_by_sns(
    quoteapi: Command, working: Container, aws_account: dict[str, str]
) -> None:
    insert(MIRA, subscription_arn=None, topic=None, welcomed_at=None, unsettled_since=clock.now())
    insert(NOOR, subscription_arn=None, topic=None, welcomed_at=None, unsettled_since=clock.now())
    quoteapi("reconcile", **aws_account)
    leaving = {"PUBLIC_URL": "https://quotes.example.org", "UNSUBSCRIBE_REQUIRES_OTP": "true"}
    looked = quoteapi("doctor", **aws_account, **leaving)
    assert (looked.returncode, looked.stderr) == (0, "")
    assert "✓ gateway      sns in us-east-1, topic DailyQuoteSubscription, 2 on it\n" in looked.stdout
    assert "! sandbox      not known: " in looked.stdout  # moto does not know of it
    assert "! spending     $0.00 this month; no limit was set" in looked.stdout
    assert "✓ daily cap    2 codes and confirmations today, 2 get the daily SMS; at most 1000 each\n" in looked.stdout
    assert "✓ leaving      https://quotes.example.org/unsubscribe, by a code\n" in looked.stdout
    capped = quoteapi("doctor", "--json", **aws_account, SMS_DAILY_CAP="1")
    states = {check["name"]: check["state"] for check in json.loads(capped.stdout)}
    assert capped.returncode == 1
    assert (states["gateway"], states["daily cap"], states["leaving"]) == ("ok", "wrong", "advice")


def test_the_doctor_finds_that_there_are_no_credentials_and_what_to_set(quoteapi: Command) -> None:
    nobody = quoteapi("doctor", SMS_GATEWAY="sns", SMS_ALLOWED_REGIONS="IN")
    assert (nobody.returncode, nobody.stderr) == (1, "")
    assert re.search(
        r"^✗ gateway +sns in us-east-1: no usable AWS credentials were found .*\n +Set aws_access_key_id",
        nobody.stdout,
        re.MULTILINE,
    )


def test_the_doctor_finds_soon_that_sns_is_out_of_reach(quoteapi: Command, sns_out_of_reach: dict[str, str]) -> None:
    begun = time.monotonic()
    unreachable = quoteapi("doctor", **sns_out_of_reach)
    assert time.monotonic() - begun < 8
    assert (unreachable.returncode, unreachable.stderr) == (1, "")
    assert "✗ gateway      sns in us-east-1: SNS cannot be reached" in unreachable.stdout
    assert "aws configure" not in unreachable.stdout  # the credentials are not what is wrong
