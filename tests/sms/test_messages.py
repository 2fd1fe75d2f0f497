from statistics import mean
from typing import get_args

import pytest

from quoteapi.quotes.bundled_catalogue import read_catalogue
from quoteapi.quotes.quotation import MAX_NAME_LENGTH, MAX_QUOTE_LENGTH, Quotation
from quoteapi.sms.messages import confirmation_text, daily_text, otp_text
from quoteapi.sms.segments import SmsText, encode_sms
from quoteapi.storage.state import Purpose
from quoteapi.time_zones import all_time_zones, place_name
from tests.helpers.data import ALCOTT, KABIR, ZOLA

PUBLIC_URL = "https://daily.example.in"
assert len(PUBLIC_URL) == 24
UNSUBSCRIBE_URL = f"{PUBLIC_URL}/u"
HOUR = "at 09:00, Kolkata time"
SNS_MAX_LENGTH = 1_600
"""Characters of the longest SMS that Amazon SNS accepts."""


@pytest.mark.parametrize(
    ("purpose", "goal"),
    [
        ("subscribe", "get the quote of the day, 1 SMS a day"),
        ("unsubscribe", "leave the quote of the day"),
        ("pause", "pause the quote of the day"),
    ],
)
def test_an_otp_sms_has_the_code_its_purpose_and_its_lifetime_in_one_segment(purpose: Purpose, goal: str) -> None:
    expected = f"012345 is your QuoteAPI code to {goal}. Valid for 10 minutes. Not you? Ignore this."
    assert otp_text("012345", purpose) == SmsText(expected, 1)


def test_every_purpose_has_an_otp_sms() -> None:
    assert len({otp_text("012345", purpose) for purpose in get_args(Purpose)}) == len(get_args(Purpose))


@pytest.mark.parametrize(
    ("unsubscribe_url", "hint"), [(UNSUBSCRIBE_URL, f"Stop {UNSUBSCRIBE_URL}"), (None, "To stop, reply STOP.")]
)
def test_confirmation_and_daily_sms_say_how_to_unsubscribe(unsubscribe_url: str | None, hint: str) -> None:
    expected = f"QuoteAPI: you agreed to get the quote of the day, 1 SMS a day at 09:00, Kolkata time. {hint}"
    assert confirmation_text(unsubscribe_url, HOUR) == SmsText(expected, 1)
    assert daily_text(ALCOTT, unsubscribe_url) == SmsText(f'"Hope and keep busy."\nLouisa May Alcott\n{hint}', 1)


def test_a_confirmation_is_one_segment_with_the_longest_name_of_a_place() -> None:
    place = max(map(place_name, all_time_zones()), key=len)
    assert confirmation_text(UNSUBSCRIBE_URL, f"at 09:00, {place} time").segments == 1


def test_a_name_outside_gsm_7_is_sent_in_base_letters() -> None:
    quotation = Quotation("Tea is a work of art.", "Okakura Kakuzō", "art")
    assert daily_text(quotation, UNSUBSCRIBE_URL) == SmsText(
        f'"Tea is a work of art."\nOkakura Kakuzo\nStop {UNSUBSCRIBE_URL}', 1
    )


@pytest.mark.parametrize("quotation", [KABIR, ZOLA._replace(quote="Не “ça ira” — жду…")])
def test_a_quote_in_another_script_is_not_changed(quotation: Quotation) -> None:
    assert daily_text(quotation, None).message == f'"{quotation.quote}"\n{quotation.author}\nTo stop, reply STOP.'


@pytest.mark.parametrize(
    ("letters", "marks", "segments"),
    [(108, True, 1), (109, False, 1), (110, False, 1), (111, True, 2), (254, True, 2), (255, False, 2), (257, True, 3)],
)
def test_quotation_marks_are_left_out_if_that_saves_a_segment(letters: int, marks: bool, segments: int) -> None:
    text = daily_text(Quotation("q" * letters, "Louisa May Alcott", "any"), UNSUBSCRIBE_URL)
    assert (text.message.startswith('"'), text.segments) == (marks, segments)


def test_the_mean_of_the_bundled_quotes_is_at_most_1_15_segments() -> None:
    texts = [daily_text(quotation, UNSUBSCRIBE_URL) for quotation in _bundled_quotations()]
    assert len(texts) > 500
    assert mean(text.segments for text in texts) <= 1.15
    assert max(text.segments for text in texts) == 2


@pytest.mark.parametrize("unsubscribe_url", [UNSUBSCRIBE_URL, None])
def test_every_bundled_quote_is_sent_whole_with_its_author_in_one_sms(unsubscribe_url: str | None) -> None:
    for quotation in _bundled_quotations():
        message, segments = daily_text(quotation, unsubscribe_url)
        quote, author, _ = message.split("\n")
        assert len(message) <= SNS_MAX_LENGTH
        assert 1 <= segments <= 2
        assert quote in {encode_sms(f'"{quotation.quote}"').message, encode_sms(quotation.quote).message}
        assert author == encode_sms(quotation.author).message


@pytest.mark.parametrize("letter", ["…", "ж", "😀"])
def test_sns_accepts_the_longest_quote_that_can_be_stored(letter: str) -> None:
    longest = Quotation(letter * MAX_QUOTE_LENGTH, "n" * MAX_NAME_LENGTH, "any")
    assert len(daily_text(longest, UNSUBSCRIBE_URL).message) <= SNS_MAX_LENGTH


def _bundled_quotations() -> list[Quotation]:
    return [Quotation(str(row["quote"]), str(row["author"]), str(row["category"])) for row in read_catalogue()]
