import json
import re
from datetime import datetime, timedelta

from quoteapi.container import Container
from tests.cli.conftest import (
    Command,
    insert_subscriber,
    recipients_of_the_daily_sms,
    subscribe,
)
from tests.helpers.data import MIRA


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
