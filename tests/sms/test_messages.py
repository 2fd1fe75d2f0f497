import sys

import boto3
import pytest

from quoteapi.container import Container
from quoteapi.quotes.bundled_catalogue import read_catalogue
from quoteapi.quotes.quotation import MAX_NAME_LENGTH, MAX_QUOTE_LENGTH, Quotation
from quoteapi.settings import read_settings
from quoteapi.sms.console import ConsoleGateway
from quoteapi.sms.messages import code_text, confirmation_text, daily_text
from quoteapi.sms.segments import SmsText, encode_sms
from quoteapi.sms.sns import QuoteSubscription
from tests.helpers.clock import FakeClock
from tests.helpers.data import ALCOTT, KABIR, ZOLA

LEAVE_URL = "https://quotes.example.org/unsubscribe"
MOST_OF_SNS = 1_600
"""Characters of the longest SMS that Amazon SNS takes."""


# ---- how it is written


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("It’s ‘well’", "It's 'well'"),
        ("“Yes” — „ja“, «oui», ‹si›", '"Yes" - "ja", "oui", \'si\''),
        ("1868–1869 −1 non‑stop", "1868-1869 -1 non-stop"),
        ("Wait…", "Wait..."),
        ("5\N{NO-BREAK SPACE}€\N{NARROW NO-BREAK SPACE}!\tNow", "5 € ! Now"),
        ("hap\N{SOFT HYPHEN}pi\N{ZERO WIDTH SPACE}ness", "happiness"),
        ("caffe\N{COMBINING GRAVE ACCENT}, \N{OHM SIGN}", "caffè, Ω"),
        ("Ñandú", "Ñandú"),
    ],
)
def test_punctuation_of_a_typographer_becomes_plain(written: str, sent: str) -> None:
    assert encode_sms(written).message == sent


@pytest.mark.parametrize(
    "written",
    [
        pytest.param("“Ça va”, she said… — “Garçon!”", id="a letter that GSM-7 has as a capital only"),
        pytest.param("“काल करे सो आज कर” — कबीर", id="another script"),
        pytest.param("“Hope…” 😀", id="an emoji"),
        pytest.param("“Dvořák” — 5\N{NO-BREAK SPACE}€", id="a letter with a caron"),
    ],
)
def test_where_a_letter_would_be_lost_everything_stays_as_it_was_written(written: str) -> None:
    assert encode_sms(written).message == written


def test_the_characters_of_the_standard_count_as_one_and_those_of_its_extension_as_two() -> None:
    points = [*range(0x500), *range(0x2000, 0x2100)]
    texts = {chr(point): chr(point) + "a" * 159 for point in points}
    kept = [character for character, text in texts.items() if encode_sms(text) == SmsText(text, 1)]
    twice = [character for character, text in texts.items() if encode_sms(text) == SmsText(text, 2)]
    assert len(kept) == 128 - 1, "one of the 128 leads to the extension"
    assert {"@", "Ç", "Δ", "¿", "à", "\r", "\n"} <= set(kept)
    assert "".join(twice) == "\f[\\]^{|}~€"


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 153 * 2, 2),
        ("a" * (153 * 2 + 1), 3),
        ("a" * 153 * 3, 3),
        ("a" * (153 * 3 + 1), 4),
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("ж" * 67 * 2, 2),
        ("ж" * (67 * 2 + 1), 3),
        pytest.param("a" * 157 + "…", 1, id="three dots for an ellipsis fit"),
        pytest.param("a" * 158 + "…", 2, id="three dots for an ellipsis are one too many"),
        pytest.param("a" * 158 + "€", 1, id="a euro sign fits"),
        pytest.param("a" * 159 + "€", 2, id="a euro sign is one too many"),
        pytest.param("a" * 152 + "€" + "a" * 151, 2, id="a euro sign goes over to the second part"),
        pytest.param("a" * 152 + "€" + "a" * 152, 3, id="a euro sign that is not torn makes a third part"),
        pytest.param("ж" * 68 + "😀", 1, id="an emoji fits"),
        pytest.param("ж" * 69 + "😀", 2, id="an emoji is one too many"),
        pytest.param("ж" * 66 + "😀" + "ж" * 65, 2, id="an emoji goes over to the second part"),
        pytest.param("ж" * 66 + "😀" + "ж" * 66, 3, id="an emoji that is not torn makes a third part"),
        pytest.param("a" * 69 + "😀", 2, id="an emoji makes every letter a wide one"),
    ],
)
def test_the_parts_are_counted_as_they_are_billed(written: str, parts: int) -> None:
    assert encode_sms(written).segments == parts


# ---- what it says


def test_a_code_comes_first_with_what_it_is_for_and_how_long_it_is_valid() -> None:
    joining, leaving = code_text("012345", "subscribe"), code_text("012345", "unsubscribe")
    for text in (joining, leaving):
        assert text.message.startswith("012345 is your QuoteAPI code to ")
        assert "Valid for 10 minutes." in text.message
        assert text.segments == 1
    assert "to get the quote of the day, 1 SMS a day." in joining.message
    assert "to leave the quote of the day." in leaving.message


@pytest.mark.parametrize(
    ("leave_url", "way_out"), [(LEAVE_URL, f"To leave: {LEAVE_URL}"), (None, "To leave, reply STOP.")]
)
def test_whoever_is_written_to_is_told_how_to_leave(leave_url: str | None, way_out: str) -> None:
    confirmation, daily = confirmation_text(leave_url), daily_text(ALCOTT, leave_url)
    assert confirmation == SmsText(
        f"QuoteAPI: you agreed to get the quote of the day, 1 SMS a day. {way_out}",
        1,
    )
    assert daily == SmsText(f'"Hope and keep busy." - Louisa May Alcott\n{way_out}', 1)


@pytest.mark.parametrize("quotation", [KABIR, ZOLA._replace(quote="Ça ira — “ça ira”.")])
def test_a_quote_that_gsm_cannot_write_goes_out_as_it_is(quotation: Quotation) -> None:
    expected = f"“{quotation.quote}” - {quotation.author}\nTo leave: {LEAVE_URL}"
    assert daily_text(quotation, LEAVE_URL).message == expected


@pytest.mark.parametrize("leave_url", [LEAVE_URL, None])
def test_every_shipped_quote_goes_out_whole_with_its_author_in_one_sms(leave_url: str | None) -> None:
    rows = read_catalogue()
    assert rows
    for row in rows:
        quotation = Quotation(str(row["quote"]), str(row["author"]), str(row["category"]))
        message, parts = daily_text(quotation, leave_url)
        first_line = message.split("\n")[0]
        assert len(message) <= MOST_OF_SNS
        assert 1 <= parts <= 8
        assert first_line in {
            f"“{quotation.quote}” - {quotation.author}",
            encode_sms(f"“{quotation.quote}” - {quotation.author}").message,
        }


@pytest.mark.parametrize("letter", ["…", "ж", "😀"])
def test_the_longest_quote_that_can_be_stored_is_taken_by_sns(letter: str) -> None:
    longest = Quotation(letter * MAX_QUOTE_LENGTH, "n" * MAX_NAME_LENGTH, "any")
    assert len(daily_text(longest, LEAVE_URL).message) <= MOST_OF_SNS


# ---- by which gateway it goes


def test_a_laptop_has_the_console_and_never_loads_the_other_gateway(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "quoteapi.sms.sns", None)
    assert isinstance(Container(read_settings({}), now=clock).gateway, ConsoleGateway)


def test_the_gateway_of_aws_is_made_without_a_client_or_a_call(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing was sent yet")

    monkeypatch.setattr(boto3, "Session", refuse)
    monkeypatch.setattr(boto3, "client", refuse)
    settings = read_settings({"SMS_GATEWAY": "sns", "SMS_ALLOWED_REGIONS": "IN", "SNS_TOPIC": "of-the-tests"})
    gateway = Container(settings, now=clock).gateway
    assert isinstance(gateway, QuoteSubscription)
    assert gateway.topic == "us-east-1:of-the-tests"
