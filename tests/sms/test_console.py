import pytest

from quoteapi.sms.console import ConsoleGateway, inbox
from quoteapi.storage.models import ConsoleSms
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, NOON, NOOR, OMAR, UTC_ZONE, add_subscribers
from tests.helpers.sql import record_sql


@pytest.fixture
def console(open_database: None, clock: FakeClock) -> ConsoleGateway:
    return ConsoleGateway(clock, UTC_ZONE)


def test_an_sms_is_printed_and_stored(console: ConsoleGateway, capsys: pytest.CaptureFixture[str]) -> None:
    console.send_sms(MIRA, "Hope and\nkeep busy.", "code")
    assert capsys.readouterr().out == "\nSMS to +919028000001 (code):\n  │ Hope and\n  │ keep busy.\n\n"
    (stored,) = inbox(10)
    assert (stored.to, stored.message, stored.kind, stored.sent_at) == (MIRA, "Hope and\nkeep busy.", "code", NOON)


def test_the_inbox_ends_with_the_newest_sms(console: ConsoleGateway) -> None:
    for number in range(5):
        console.send_sms(MIRA, f"{number}", "code")
    assert [sms.message for sms in inbox(3)] == ["2", "3", "4"]


def test_a_quote_is_sent_to_active_subscribers_in_one_statement(
    console: ConsoleGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    add_subscribers(MIRA, NOOR)
    add_subscribers(OMAR, state="unsubscribed")
    assert console.count_subscriptions("console") == 2
    with record_sql() as statements:
        console.publish("Hope.", "console")
    assert len(statements) == 1
    assert "SMS to 2 subscribers (quote)" in capsys.readouterr().out
    assert [(sms.to, sms.message, sms.kind, sms.sent_at) for sms in ConsoleSms.select().order_by(ConsoleSms.to)] == [
        (MIRA, "Hope.", "quote", NOON),
        (NOOR, "Hope.", "quote", NOON),
    ]


def test_no_number_opts_out_of_the_console_gateway(console: ConsoleGateway) -> None:
    assert not console.is_opted_out(MIRA)
    assert list(console.list_opted_out()) == []
