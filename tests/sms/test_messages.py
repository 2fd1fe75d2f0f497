import pytest

from quoteapi.quotes.bundled_catalogue import read_catalogue
from quoteapi.quotes.quotation import MAX_NAME_LENGTH, MAX_QUOTE_LENGTH, Quotation
from quoteapi.sms.messages import confirmation_text, daily_text, otp_text
from quoteapi.sms.segments import SmsText, encode_sms
from tests.helpers.data import ALCOTT, KABIR, ZOLA

UNSUBSCRIBE_URL = "https://quotes.example.org/unsubscribe"
SNS_MAX_LENGTH = 1_600
"""Characters of the longest SMS that Amazon SNS accepts."""


def test_an_otp_sms_begins_with_the_code_and_says_its_purpose_and_lifetime() -> None:
    subscribe, unsubscribe = otp_text("012345", "subscribe"), otp_text("012345", "unsubscribe")
    for text in (subscribe, unsubscribe):
        assert text.message.startswith("012345 is your QuoteAPI code to ")
        assert "Valid for 10 minutes." in text.message
        assert text.segments == 1
    assert "to get the quote of the day, 1 SMS a day." in subscribe.message
    assert "to leave the quote of the day." in unsubscribe.message


@pytest.mark.parametrize(
    ("unsubscribe_url", "hint"), [(UNSUBSCRIBE_URL, f"To leave: {UNSUBSCRIBE_URL}"), (None, "To leave, reply STOP.")]
)
def test_confirmation_and_daily_sms_say_how_to_unsubscribe(unsubscribe_url: str | None, hint: str) -> None:
    confirmation, daily = confirmation_text(unsubscribe_url), daily_text(ALCOTT, unsubscribe_url)
    assert confirmation == SmsText(
        f"QuoteAPI: you agreed to get the quote of the day, 1 SMS a day. {hint}",
        1,
    )
    assert daily == SmsText(f'"Hope and keep busy." - Louisa May Alcott\n{hint}', 1)


@pytest.mark.parametrize("quotation", [KABIR, ZOLA._replace(quote="Ça ira — “ça ira”.")])
def test_a_quote_outside_gsm_7_is_not_changed(quotation: Quotation) -> None:
    expected = f"“{quotation.quote}” - {quotation.author}\nTo leave: {UNSUBSCRIBE_URL}"
    assert daily_text(quotation, UNSUBSCRIBE_URL).message == expected


@pytest.mark.parametrize("unsubscribe_url", [UNSUBSCRIBE_URL, None])
def test_every_bundled_quote_is_sent_whole_with_its_author_in_one_sms(unsubscribe_url: str | None) -> None:
    rows = read_catalogue()
    assert rows
    for row in rows:
        quotation = Quotation(str(row["quote"]), str(row["author"]), str(row["category"]))
        message, segments = daily_text(quotation, unsubscribe_url)
        first_line = message.split("\n")[0]
        assert len(message) <= SNS_MAX_LENGTH
        assert 1 <= segments <= 8
        assert first_line in {
            f"“{quotation.quote}” - {quotation.author}",
            encode_sms(f"“{quotation.quote}” - {quotation.author}").message,
        }


@pytest.mark.parametrize("letter", ["…", "ж", "😀"])
def test_sns_accepts_the_longest_quote_that_can_be_stored(letter: str) -> None:
    longest = Quotation(letter * MAX_QUOTE_LENGTH, "n" * MAX_NAME_LENGTH, "any")
    assert len(daily_text(longest, UNSUBSCRIBE_URL).message) <= SNS_MAX_LENGTH
