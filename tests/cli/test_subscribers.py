import csv
import io
import json
import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from quoteapi import clock
from quoteapi.container import Container
from quoteapi.storage.models import Subscriber
from quoteapi.storage.models import database as bound
from tests.cli.conftest import CLIENT_IP, WHOLE_NUMBER, Command, insert_subscriber, subscribe
from tests.helpers.data import MIRA, NOON, NOOR, OMAR
from tests.helpers.sns_emulator import subscribed_to

LATA, KIRAN = "+447420500600", "+447420505401"
"""Numbers that moto reports as opted out, for every account."""
LISTED_COLUMNS = ["id", "mobile", "state", "confirmed_at", "ended_at", "on_topic", "time_zone", "paused_until"]
EXPORTED_COLUMNS = [
    "id",
    "mobile",
    "state",
    "asked_at",
    "asked_from",
    "confirmed_at",
    "confirmed_from",
    "ended_at",
    "on_topic",
    "time_zone",
    "paused_until",
]
NOTHING_RECONCILED = {"subscribed": 0, "unsubscribed": 0, "stopped": 0, "refused": 0, "failed": 0, "left": 0}


def database_bytes(tmp_path: Path) -> bytes:
    files = sorted(tmp_path.glob("working.db*"))
    assert tmp_path / "working.db" in files
    return b"".join(file.read_bytes() for file in files)


def test_list_prints_a_table_newest_first_with_masked_numbers(
    quoteapi_process: Command, working_database: Container
) -> None:
    subscribe(working_database, MIRA, NOOR, OMAR)
    working_database.subscriptions.unsubscribe(NOOR, CLIENT_IP, working_database.dispatcher)
    listed = quoteapi_process("subscribers", "list")
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d"
    head, *rows = listed.stdout.splitlines()
    assert (listed.returncode, listed.stderr) == (0, "")
    assert head.split() == LISTED_COLUMNS
    assert len(rows) == 3
    assert re.fullmatch(rf"3 +\+91••••••0003 +active +{moment} +yes +Asia/Kolkata", rows[0])
    assert re.fullmatch(rf"2 +\+91••••••0002 +unsubscribed +{moment} +{moment} +no +Asia/Kolkata", rows[1])
    assert re.fullmatch(rf"1 +\+91••••••0001 +active +{moment} +yes +Asia/Kolkata", rows[2])
    assert not WHOLE_NUMBER.search(listed.stdout)


def test_list_has_options_for_whole_numbers_state_and_limit(quoteapi: Command, working_database: Container) -> None:
    insert_subscriber(MIRA)
    insert_subscriber(NOOR, state="stopped", ended_at=clock.now())
    insert_subscriber(OMAR)
    unmasked = quoteapi("subscribers", "list", "--unmasked").stdout.splitlines()
    assert [line.split()[1] for line in unmasked[1:]] == [OMAR, NOOR, MIRA]
    stopped = quoteapi("subscribers", "list", "--state", "stopped").stdout.splitlines()
    assert [line.split()[1] for line in stopped[1:]] == ["+91••••••0002"]
    newest = quoteapi("subscribers", "list", "--limit", "1").stdout.splitlines()
    assert [line.split()[1] for line in newest[1:]] == ["+91••••••0003"]
    assert quoteapi("subscribers", "list", "--state", "asleep").returncode == 2
    assert quoteapi("subscribers", "list", "--limit", "0").returncode == 2


def test_list_as_json_has_the_whole_consent(quoteapi: Command, working_database: Container) -> None:
    subscribe(working_database, MIRA)
    (listed,) = json.loads(quoteapi("subscribers", "list", "--json").stdout)
    assert list(listed) == EXPORTED_COLUMNS
    asked, confirmed = (datetime.fromisoformat(listed.pop(name)) for name in ("asked_at", "confirmed_at"))
    assert asked.utcoffset() == timedelta()
    assert asked <= confirmed <= clock.now()
    assert listed == {
        "id": "1",
        "mobile": "+91••••••0001",
        "state": "active",
        "asked_from": CLIENT_IP,
        "confirmed_from": CLIENT_IP,
        "ended_at": None,
        "on_topic": True,
        "time_zone": "Asia/Kolkata",
        "paused_until": None,
    }
    (unmasked,) = json.loads(quoteapi("subscribers", "list", "--json", "--unmasked").stdout)
    assert unmasked["mobile"] == MIRA


def test_list_without_subscribers_says_so(quoteapi: Command) -> None:
    empty = quoteapi("subscribers", "list")
    assert (empty.returncode, empty.stdout, empty.stderr) == (0, "", "No subscribers.\n")
    assert json.loads(quoteapi("subscribers", "list", "--json").stdout) == []


def test_export_to_standard_output_is_masked_and_oldest_first(quoteapi: Command, working_database: Container) -> None:
    subscribe(working_database, MIRA, NOOR)
    working_database.subscriptions.unsubscribe(MIRA, CLIENT_IP, working_database.dispatcher)
    exported = quoteapi("subscribers", "export")
    rows = list(csv.DictReader(io.StringIO(exported.stdout)))
    assert (exported.returncode, exported.stderr) == (0, "")
    assert list(rows[0]) == EXPORTED_COLUMNS
    assert [(row["mobile"], row["state"], row["on_topic"]) for row in rows] == [
        ("+91••••••0001", "unsubscribed", "False"),
        ("+91••••••0002", "active", "True"),
    ]
    assert rows[0]["ended_at"]
    assert rows[1]["ended_at"] == ""
    assert not WHOLE_NUMBER.search(exported.stdout)


def test_export_for_spreadsheets_has_no_formulas(quoteapi: Command, working_database: Container) -> None:
    insert_subscriber(MIRA, asked_from="=cmd|' /c calc'!A0")
    exported = quoteapi("subscribers", "export", "--escape-formulas")
    (row,) = csv.DictReader(io.StringIO(exported.stdout))
    assert (row["mobile"], row["asked_from"]) == ("'+91••••••0001", "'=cmd|' /c calc'!A0")


def test_export_has_options_for_json_lines_whole_numbers_and_state(
    quoteapi: Command, working_database: Container
) -> None:
    insert_subscriber(MIRA)
    insert_subscriber(NOOR, state="unsubscribed", ended_at=clock.now(), subscription_arn=None)
    lines = quoteapi("subscribers", "export", "-", "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line)["mobile"] for line in lines] == ["+91••••••0001", "+91••••••0002"]
    words = ("subscribers", "export", "--format", "jsonl", "--unmasked", "--state", "unsubscribed")
    (left,) = map(json.loads, quoteapi(*words).stdout.splitlines())
    assert list(left) == EXPORTED_COLUMNS
    assert (left["mobile"], left["on_topic"]) == (NOOR, False)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_export_replaces_a_file_that_only_its_owner_can_read(
    quoteapi: Command, working_database: Container, tmp_path: Path, form: str
) -> None:
    subscribe(working_database, MIRA, NOOR)
    file = tmp_path / f"people.{form}"
    file.write_text("What was there before, and is far longer than what comes now.\n" * 1_000)
    file.chmod(0o644)
    masked = quoteapi("subscribers", "export", str(file))
    assert (masked.returncode, masked.stdout) == (0, "")
    assert (
        masked.stderr
        == f"2 subscribers written to {file}. Numbers are masked. To write full numbers, add --unmasked.\n"
    )
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


def test_remove_asks_for_confirmation(quoteapi: Command, working_database: Container) -> None:
    subscribe(working_database, MIRA)
    kept = quoteapi("subscribers", "remove", MIRA, given="n\n")
    assert kept.returncode == 1
    assert f"Unsubscribe {MIRA}, and delete all its data, with the record of its consent? [y/N]" in kept.stdout
    assert quoteapi("subscribers", "remove", MIRA).returncode == 1  # without an answer
    assert Subscriber.select().count() == 1
    removed = quoteapi("subscribers", "remove", "0091 90280-00001", given="y\n")
    assert removed.returncode == 0
    assert removed.stdout.endswith("Removed. All data of the number is deleted.\n")
    assert Subscriber.select().count() == 0


@pytest.mark.parametrize(
    "command", [("remove", "--yes"), ("opt-in",), ("set-time-zone", "Asia/Kolkata")], ids=lambda words: words[0]
)
def test_a_number_can_be_given_on_standard_input(
    quoteapi_process: Command, working_database: Container, command: tuple[str, ...]
) -> None:
    insert_subscriber(MIRA)
    done = quoteapi_process("subscribers", *command, given=f"nonsense\n{MIRA}\n")
    assert (done.returncode, done.stderr.count("Mobile: ")) == (0, 2)
    assert Subscriber.select().count() == (0 if command[0] == "remove" else 1)
    assert quoteapi_process("subscribers", *command).returncode == 1, "nothing was given"


def test_a_removed_number_is_in_no_byte_of_the_database(
    quoteapi: Command, working_database: Container, tmp_path: Path
) -> None:
    subscribe(working_database, NOOR, MIRA, OMAR)
    working_database.subscriptions.unsubscribe(MIRA, CLIENT_IP, working_database.dispatcher)
    working_database.daily_delivery.publish()
    assert MIRA.encode() in database_bytes(tmp_path)
    removed = quoteapi("subscribers", "remove", MIRA, "--yes")
    assert (removed.returncode, removed.stdout) == (0, "Removed. All data of the number is deleted.\n")
    left = database_bytes(tmp_path)
    assert MIRA.removeprefix("+").encode() not in left
    assert NOOR.encode() in left
    again = quoteapi("subscribers", "remove", MIRA, "--yes")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "Error: No data for this number.\n"


def test_a_removed_number_among_many_is_in_no_byte_of_the_database(
    quoteapi_process: Command, working_database: Container, tmp_path: Path
) -> None:
    mobiles = [f"+9190280{number:05}" for number in range(1_000)]
    random.Random(1).shuffle(mobiles)
    for mobile in mobiles:
        insert_subscriber(mobile)
    bound.secure_delete()
    # SQLite leaves copies behind where it splits a page in two: the number with the most copies is the hardest.
    before = database_bytes(tmp_path)
    hardest = max(mobiles, key=lambda mobile: before.count(mobile.encode()))
    assert quoteapi_process("subscribers", "remove", hardest, "--yes").returncode == 0
    assert database_bytes(tmp_path).count(hardest.encode()) == 0


def test_a_number_that_only_requested_an_otp_can_be_removed(
    quoteapi: Command, working_database: Container, tmp_path: Path
) -> None:
    working_database.subscriptions.request_otp(MIRA, "subscribe", CLIENT_IP, working_database.dispatcher)
    assert quoteapi("subscribers", "remove", MIRA, "--yes").returncode == 0
    assert MIRA.encode() not in database_bytes(tmp_path)


@pytest.mark.parametrize("command", ["remove", "opt-in", "set-time-zone Asia/Kolkata"])
@pytest.mark.parametrize("written", ["+9190280", "+912024567890", "Asha", ""])
def test_an_invalid_number_is_a_usage_error_with_an_example(quoteapi: Command, command: str, written: str) -> None:
    wrong = quoteapi("subscribers", *command.split(), written)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert re.search(r"(for example|looks like) \+[\d ]+\.( There is no data for this number\.)?\n$", wrong.stderr)
    assert not written or written not in wrong.stderr


@pytest.mark.parametrize("mobile", ["+22990123456", "+5215512345678"])
def test_a_stored_number_that_is_no_longer_valid_can_be_removed(
    quoteapi: Command, working_database: Container, mobile: str
) -> None:
    insert_subscriber(mobile)
    assert quoteapi("subscribers", "remove", mobile, "--yes").returncode == 0
    assert Subscriber.select().count() == 0


def test_a_stored_number_that_is_no_longer_valid_can_be_opted_in(
    quoteapi: Command, working_database: Container
) -> None:
    insert_subscriber("+22990123456", state="stopped")
    assert quoteapi("subscribers", "opt-in", "+229 90 12 34 56").returncode == 0


def test_remove_while_sns_is_unreachable_unsubscribes_and_can_be_repeated(
    quoteapi: Command, working_database: Container, unreachable_sns: dict[str, str], aws_account: dict[str, str]
) -> None:
    insert_subscriber(
        MIRA,
        topic="us-east-1:DailyQuoteSubscription",
        subscription_arn="arn:aws:sns:us-east-1:123456789012:DailyQuoteSubscription:1",
    )
    failed = quoteapi("subscribers", "remove", MIRA, "--yes", **unreachable_sns)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "SNS cannot be reached" in failed.stderr
    assert Subscriber.get().state == "unsubscribed"
    elsewhere = quoteapi("subscribers", "remove", MIRA, "--yes")
    assert (elsewhere.returncode, elsewhere.stdout) == (1, "")
    assert "on a topic of Amazon SNS. Set SMS_GATEWAY to sns" in elsewhere.stderr
    assert quoteapi("subscribers", "remove", MIRA, "--yes", **aws_account).returncode == 0
    assert Subscriber.select().count() == 0


def test_set_time_zone_moves_a_subscriber_and_says_when_the_next_sms_comes(
    quoteapi: Command, working_database: Container, set_clock: Callable[[datetime], None]
) -> None:
    set_clock(NOON)
    insert_subscriber(MIRA)
    moved = quoteapi("subscribers", "set-time-zone", "asia/calcutta", MIRA)
    assert (moved.returncode, moved.stderr) == (0, "")
    assert moved.stdout == "Moved. The next SMS comes tomorrow at 10:00, Kolkata time.\n"
    row = Subscriber.get()
    assert (row.time_zone, row.topic, row.subscription_arn) == (
        *("Asia/Kolkata", "console-Asia-Kolkata"),
        f"console-Asia-Kolkata:{MIRA}",
    )
    again = quoteapi("subscribers", "set-time-zone", "Asia/Kolkata", MIRA)
    assert (again.returncode, again.stdout) == (
        0,
        "The subscriber is in this time zone already. The next SMS comes tomorrow at 10:00, Kolkata time.\n",
    )


def test_set_time_zone_of_a_number_that_is_not_subscribed_is_an_error(
    quoteapi: Command, working_database: Container
) -> None:
    insert_subscriber(NOOR, state="unsubscribed")
    for mobile in (MIRA, NOOR):
        refused = quoteapi("subscribers", "set-time-zone", "Asia/Kolkata", mobile)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == "Error: This number is not subscribed.\n"


@pytest.mark.parametrize("name", ["Kolkata", "+05:30", "Asia/Kolkata\x9b"])
def test_an_unknown_time_zone_is_a_usage_error(quoteapi: Command, name: str) -> None:
    refused = quoteapi("subscribers", "set-time-zone", name, MIRA)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "This is not the name of a time zone, such as Asia/Kolkata or America/New_York.\n" in refused.stderr


def test_a_move_that_sns_does_not_take_is_stored_and_ends_with_an_error(
    quoteapi: Command, working_database: Container, unreachable_sns: dict[str, str], aws_account: dict[str, str]
) -> None:
    insert_subscriber(MIRA, subscription_arn=None, topic=None, sync_due_at=clock.now())
    failed = quoteapi("subscribers", "set-time-zone", "Asia/Kolkata", MIRA, **unreachable_sns)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "SNS cannot be reached" in failed.stderr
    assert quoteapi("reconcile", **aws_account).returncode == 0
    assert subscribed_to("us-east-1:DailyQuoteSubscription-Asia-Kolkata") == [MIRA]


def test_list_shows_until_when_a_subscriber_is_paused(quoteapi: Command, working_database: Container) -> None:
    insert_subscriber(MIRA, time_zone="America/Los_Angeles", paused_until=datetime(2030, 1, 7, tzinfo=UTC))
    listed = quoteapi("subscribers", "list").stdout.splitlines()[1]
    assert listed.endswith("  America/Los_Angeles  2030-01-07 00:00")
    (exported,) = csv.DictReader(io.StringIO(quoteapi("subscribers", "export").stdout))
    assert (exported["time_zone"], exported["paused_until"]) == ("America/Los_Angeles", "2030-01-07T00:00:00+00:00")


def test_opt_in_lets_a_number_that_replied_stop_subscribe_again(
    quoteapi: Command, working_database: Container, aws_account: dict[str, str]
) -> None:
    insert_subscriber(LATA)
    insert_subscriber(KIRAN)
    let_in = quoteapi("subscribers", "opt-in", LATA, **aws_account)
    assert (let_in.returncode, let_in.stdout) == (0, "Done. The number can subscribe again.\n")
    reconciled = json.loads(quoteapi("reconcile", "--json", **aws_account).stdout)
    assert reconciled["stopped"] == 1
    assert [row.mobile for row in Subscriber.select().where(Subscriber.state == "stopped")] == [KIRAN]


def test_opt_in_with_the_console_gateway_succeeds(quoteapi: Command) -> None:
    assert quoteapi("subscribers", "opt-in", MIRA).returncode == 0


def test_reconcile_prints_how_many_were_subscribed_and_unsubscribed(
    quoteapi_process: Command, working_database: Container
) -> None:
    a_while_ago = clock.now() - timedelta(hours=1)
    insert_subscriber(MIRA, subscription_arn=None, topic=None, sync_due_at=a_while_ago)
    insert_subscriber(NOOR, state="unsubscribed", sync_due_at=a_while_ago)
    insert_subscriber(OMAR)
    reconciled = quoteapi_process("reconcile")
    assert (reconciled.returncode, reconciled.stderr) == (0, "")
    assert (
        reconciled.stdout
        == "1 added to a topic, 1 removed, 0 replied STOP, 0 rejected by SNS, 0 failed, 0 not tried.\n"
    )
    on_topic = Subscriber.select().where(Subscriber.subscription_arn.is_null(is_null=False))
    assert sorted(row.mobile for row in on_topic) == [MIRA, OMAR]
    nothing_to_do = quoteapi_process("reconcile", "--json")
    assert (nothing_to_do.returncode, json.loads(nothing_to_do.stdout)) == (0, NOTHING_RECONCILED)


def test_reconcile_with_json_prints_only_json(quoteapi: Command, working_database: Container) -> None:
    insert_subscriber(MIRA, subscription_arn=None, topic=None, confirmation_sent_at=None, sync_due_at=clock.now())
    reconciled = quoteapi("reconcile", "--json")
    assert json.loads(reconciled.stdout) == {**NOTHING_RECONCILED, "subscribed": 1}


def test_reconcile_leaves_a_subscriber_whose_lease_another_process_holds(
    quoteapi: Command, working_database: Container
) -> None:
    insert_subscriber(MIRA, subscription_arn=None, topic=None, sync_due_at=clock.now(), lease_acquired_at=clock.now())
    left = quoteapi("reconcile")
    assert left.returncode == 1
    assert left.stdout.endswith("0 failed, 1 not tried.\n")
    assert left.stderr == "Not all are in sync. Run the command again to resume.\n"


def test_reconcile_takes_numbers_that_replied_stop_off_the_topic(
    quoteapi_process: Command, working_database: Container, aws_account: dict[str, str]
) -> None:
    insert_subscriber(LATA, subscription_arn=None, topic=None, sync_due_at=clock.now())
    insert_subscriber(MIRA, subscription_arn=None, topic=None, confirmation_sent_at=None, sync_due_at=clock.now())
    insert_subscriber(NOOR, subscription_arn=None, topic=None, confirmation_sent_at=None, sync_due_at=clock.now())
    reconciled = quoteapi_process("reconcile", "--json", **aws_account, SMS_DAILY_CAP="1")
    assert reconciled.returncode == 0
    assert json.loads(reconciled.stdout) == {**NOTHING_RECONCILED, "subscribed": 2, "unsubscribed": 1, "stopped": 1}
    assert "Confirmation SMS to +91••••••0002 not sent" in reconciled.stderr
    stopped = quoteapi_process("subscribers", "list", "--state", "stopped").stdout.splitlines()
    assert [line.split()[1] for line in stopped[1:]] == ["+44••••••0600"]


def test_reconcile_fails_while_sns_is_unreachable(
    quoteapi_process: Command, working_database: Container, unreachable_sns: dict[str, str]
) -> None:
    insert_subscriber(MIRA, subscription_arn=None, topic=None, sync_due_at=clock.now())
    failed = quoteapi_process("reconcile", "--json", **unreachable_sns)
    assert failed.returncode == 1
    done = json.loads(failed.stdout)
    assert done["failed"] > 0
    assert done["subscribed"] == 0
    assert "SNS cannot be reached" in failed.stderr


def test_reconcile_fails_without_aws_credentials(quoteapi_process: Command, working_database: Container) -> None:
    insert_subscriber(MIRA, subscription_arn=None, topic=None, sync_due_at=clock.now())
    failed = quoteapi_process("reconcile", SMS_GATEWAY="sns", SMS_ALLOWED_REGIONS="IN")
    assert "no usable AWS credentials were found" in failed.stderr
    assert failed.returncode == 1
