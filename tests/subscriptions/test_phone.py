import re
import time

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quoteapi.subscriptions.phone import (
    InvalidMobile,
    all_countries,
    country_of,
    e164_as_typed,
    normalize_digits,
    parse_mobile,
    require_country_code,
    suggest_mobiles,
    time_zone_of,
)
from quoteapi.time_zones import country_of_time_zone, time_zones_of_country
from tests.helpers.data import MIRA, mobile_of_every_country
from tests.helpers.typed_digits import MOBILES, OTPS

E164 = re.compile(r"\+[1-9]\d{6,14}", re.ASCII)

AS_DEVANAGARI = str.maketrans("0123456789", "०१२३४५६७८९")
AS_ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
AS_PERSIAN = str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")
AS_FULLWIDTH = str.maketrans("+0123456789", "＋０１２３４５６７８９")

almost_numbers = st.text(st.sampled_from("0123456789+ -.()/x٣९７²\N{NO-BREAK SPACE}\u202a—"), max_size=24)
likely_numbers = st.from_regex(r"(\+|00| )?(919|4474|49151|1201)[ -]?\d{6,8}", fullmatch=True)
any_text = st.text(st.characters(), max_size=80) | almost_numbers | likely_numbers


# ---- accepted numbers


@pytest.mark.parametrize(
    "written",
    [
        pytest.param("+919028000001", id="E.164"),
        pytest.param("919028000001", id="without a plus"),
        pytest.param("00919028000001", id="with 00"),
        pytest.param(" 919028000001", id="a plus that became a space in a query"),
        pytest.param("+91 90280 00001", id="spaces"),
        pytest.param("\t+919028000001\r\n", id="blanks around it"),
        pytest.param("+91\N{NO-BREAK SPACE}90280\N{NARROW NO-BREAK SPACE}00001", id="spaces that do not break"),
        pytest.param("+91\N{EN SPACE}90280\N{THIN SPACE}0000\N{IDEOGRAPHIC SPACE}1", id="spaces of a typesetter"),
        pytest.param("+91-90280-00001", id="hyphens"),
        pytest.param("+91‐90280‑00001", id="hyphens of Unicode"),
        pytest.param("+91–90280—00001", id="dashes"),
        pytest.param("+91−90280－00001", id="a minus sign and a wide hyphen"),
        pytest.param("+91 (90280) 00001", id="brackets"),
        pytest.param("(+91) 90280 00001", id="brackets around the country code"),
        pytest.param("+91（90280）00001", id="wide brackets"),
        pytest.param("+91.90280.00001", id="dots"),
        pytest.param("+91/90280/00001", id="slashes"),
        pytest.param("+91 (0)90280 00001", id="the zero that is dialled inside the country"),
        pytest.param("tel:+91-90280-00001", id="a link"),
        pytest.param("\u202a+91 90280 00001\u202c", id="marks of direction around it"),
        pytest.param("\u200e+91\u200b9028000001\ufeff", id="other invisible characters"),
        pytest.param(MIRA.translate(AS_FULLWIDTH), id="wide digits"),
        pytest.param(MIRA.translate(AS_DEVANAGARI), id="digits of Devanagari"),
        pytest.param(MIRA.translate(AS_ARABIC), id="digits of Arabic"),
        pytest.param(MIRA[1:].translate(AS_PERSIAN), id="digits of Persian, without a plus"),
    ],
)
def test_a_number_is_accepted_in_every_notation(written: str) -> None:
    assert parse_mobile(written) == MIRA


@pytest.mark.parametrize(
    ("written", "mobile", "region"),
    [
        ("1 (201) 555-0123", "+12015550123", "US"),
        ("+1 416 555 0123", "+14165550123", "CA"),
        ("0044 7400 123456", "+447400123456", "GB"),
        ("+44 (0)7400 123456", "+447400123456", "GB"),
        ("+49 1512 3456789", "+4915123456789", "DE"),
        ("+39 312 345 6789", "+393123456789", "IT"),
        ("+54 11 15 2345-6789", "+5491123456789", "AR"),
        (MIRA, MIRA, "IN"),
    ],
)
def test_numbers_of_other_countries_are_accepted_with_their_country(written: str, mobile: str, region: str) -> None:
    assert parse_mobile(written) == mobile
    assert country_of(mobile) == region


def test_a_number_of_every_country_is_accepted_unchanged_and_has_a_known_country() -> None:
    mobiles = mobile_of_every_country()
    assert len(mobiles) > 240
    assert [parse_mobile(mobile) for mobile in mobiles] == mobiles
    assert {country_of(mobile) for mobile in mobiles} <= all_countries()


@pytest.mark.parametrize(("written", "mobile"), MOBILES)
def test_a_number_is_read_as_phones_and_keyboards_write_it(written: str, mobile: str) -> None:
    assert parse_mobile(written) == mobile


@pytest.mark.parametrize(("written", "otp"), OTPS)
def test_the_digits_of_an_otp_are_read_as_phones_and_keyboards_write_them(written: str, otp: str) -> None:
    assert normalize_digits(written) == otp


@pytest.mark.parametrize(
    ("written", "mobile"),
    [
        pytest.param("+54 351 311-6713", "+5493513116713", id="Argentina, without the 9"),
        pytest.param("+54 0351 15 311-6713", "+5493513116713", id="Argentina, as dialled there"),
        pytest.param("+52 1 55 1234 5678", "+525512345678", id="Mexico, with the 1 of before 2019"),
        pytest.param("+55 11 8765-4321", "+5511987654321", id="Brazil, without the ninth digit of 2012 to 2016"),
    ],
)
def test_a_number_in_an_old_form_is_read_as_what_it_is_today(written: str, mobile: str) -> None:
    assert parse_mobile(written) == mobile


@pytest.mark.parametrize(
    ("number", "example"),
    [
        pytest.param("+22990123456", "+229 01 ", id="Benin: since 2024 with 01"),
        pytest.param("+22507012345", "+225 0", id="Ivory Coast: since 2021 with ten digits"),
        pytest.param("+24106031", "+241 06 ", id="Gabon: before 2019"),
        pytest.param("+551187", "+55 11 9", id="Brazil: too short"),
    ],
)
def test_the_hint_for_a_number_that_is_wrong_today_is_an_example_of_its_country(number: str, example: str) -> None:
    with pytest.raises(InvalidMobile) as invalid:
        parse_mobile(number)
    assert invalid.value.hint.startswith("A mobile number with this country code looks like ")
    assert example in invalid.value.hint


# ---- numbers without a country code


@pytest.mark.parametrize(
    "national",
    [
        pytest.param("678 555 0123", id="United States, or Vanuatu"),
        pytest.param("(680) 620-1234", id="United States, or Palau"),
        pytest.param("269-321-2345", id="United States, or the Comoros"),
        pytest.param("688 90 12 34", id="Spain, or Tuvalu"),
        pytest.param("691 350 1234", id="Greece, or Micronesia"),
        pytest.param(" 678 555 0123", id="a space, which may have been a plus"),
    ],
)
def test_digits_that_are_likelier_a_number_of_a_larger_country_need_a_plus(national: str) -> None:
    with pytest.raises(InvalidMobile, match=r"^Without \+, this could be a number of another country\.$") as invalid:
        parse_mobile(national)
    assert "%2B" in invalid.value.hint
    assert parse_mobile(f"+{national.strip()}") == parse_mobile(f"00{national.strip()}")


def test_the_digits_of_most_countries_need_no_plus() -> None:
    refused = []
    for mobile in mobile_of_every_country():
        try:
            assert parse_mobile(mobile[1:]) == mobile
        except InvalidMobile:
            refused.append(country_of(mobile))
    assert len(refused) < 45
    assert not {"IN", "US", "GB", "DE", "BR", "MX", "NO", "SG", "AE", "NG", "BD"} & set(refused)


# ---- numbers as they were stored, whatever today's plans say


@pytest.mark.parametrize(
    ("written", "mobile"),
    [
        pytest.param("+22990123456", "+22990123456", id="no longer valid"),
        pytest.param("00229 90-12-34-56", "+22990123456", id="in another notation"),
        pytest.param("+52 1 55 1234 5678", "+5215512345678", id="in an old form"),
        pytest.param("+442071838750", "+442071838750", id="a landline"),
        pytest.param(MIRA, MIRA, id="valid"),
        pytest.param("22990123456", None, id="without a plus"),
        pytest.param("+012345678", None, id="no country code"),
        pytest.param("+12", None, id="too short"),
        pytest.param("+12345678901234567", None, id="too long"),
    ],
)
def test_a_number_is_read_as_typed_without_a_look_at_its_plan(written: str, mobile: str | None) -> None:
    assert e164_as_typed(written) == mobile


# ---- rejected numbers


@pytest.mark.parametrize("number", ["491711234567.0", "+491711234567,00", "4.91711234567E+11", " 4,9e+11 "])
def test_a_number_that_a_program_turned_into_a_decimal_is_rejected_as_such(number: str) -> None:
    with pytest.raises(InvalidMobile, match=r"^This is a decimal number, not a phone number\.$"):
        parse_mobile(number)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("number", id="letters"),
        pytest.param("+1800FLOWERS", id="a number that spells a word"),
        pytest.param("+919028000001 ext. 5", id="an extension"),
        pytest.param("+919028000001;ext=5", id="an extension as in a link"),
        pytest.param("+919028000001, +919028000002", id="two numbers"),
        pytest.param("91+9028000001", id="a plus in the middle"),
        pytest.param("++919028000001", id="two pluses"),
        pytest.param("+", id="a plus alone"),
        pytest.param("-()./", id="only punctuation"),
        pytest.param("\u202a\u202c", id="only invisible characters"),
        pytest.param("+91\x009028000001", id="a control character"),
        pytest.param("+91902800000\ud800", id="half a surrogate pair"),
        pytest.param("+91 " + "-" * 61 + "9028000001", id="longer than anyone writes it"),
    ],
)
def test_text_that_is_no_number_is_rejected(text: str) -> None:
    with pytest.raises(InvalidMobile, match=r"^This is not a phone number\.$"):
        parse_mobile(text)


@pytest.mark.parametrize("text", ["", " ", "\t\r\n", "\N{NO-BREAK SPACE}\N{IDEOGRAPHIC SPACE}"])
def test_a_missing_number_is_rejected_as_missing(text: str) -> None:
    with pytest.raises(InvalidMobile, match="missing"):
        parse_mobile(text)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        pytest.param("9028000001", "wrong length for its country. is the country code missing", id="no country code"),
        pytest.param("09028000001", "not an international phone number", id="a zero for the country code"),
        pytest.param("+999123456789", "not an international phone number", id="no such country"),
        pytest.param("0", "not an international phone number", id="zero"),
        pytest.param("+9190280", "this number is too short", id="too short"),
        pytest.param("+9190280000010001", "this number is too long", id="too long"),
        pytest.param("+1" + "0" * 40, "not an international phone number", id="far too long"),
        pytest.param("+911028000001", "not a mobile number", id="an unassigned length"),
        pytest.param("+442071838750", "not a mobile number", id="a landline"),
        pytest.param("+18002345678", "not a mobile number", id="toll-free"),
        pytest.param("+449012345678", "not a mobile number", id="premium rate"),
        pytest.param("+445612345678", "not a mobile number", id="over the internet"),
        pytest.param("+447640123456", "not a mobile number", id="a pager"),
    ],
)
def test_a_number_of_no_mobile_phone_is_rejected_with_the_reason_but_without_the_number(number: str, said: str) -> None:
    with pytest.raises(InvalidMobile) as refusal:
        parse_mobile(number)
    assert said in str(refusal.value).lower()
    chain = f"{refusal.value!r} {refusal.value.__cause__!r}"
    assert re.search(r"\d{2}", chain) is None


@pytest.mark.parametrize(
    "character", ["9", " ", "\N{NO-BREAK SPACE}", "\u202a", "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}"]
)
def test_a_hundred_thousand_characters_are_rejected_quickly(character: str) -> None:
    begun = time.thread_time()
    with pytest.raises(InvalidMobile):
        parse_mobile(character * 100_000)
    assert time.thread_time() - begun < 0.1


@hypothesis.settings(max_examples=400)
@given(any_text)
def test_any_text_is_parsed_or_raises_invalid_mobile(text: str) -> None:
    mobile, said = MIRA, ""
    try:
        mobile = parse_mobile(text)
    except InvalidMobile as refusal:
        said = str(refusal)
    assert E164.fullmatch(mobile)
    assert parse_mobile(mobile) == mobile
    assert re.search(r"\d", said) is None


# ---- national numbers


@pytest.mark.parametrize(
    ("text", "regions", "suggestions"),
    [
        ("678 555 0123", ["US"], ["+16785550123", "+6785550123"]),
        ("678 555 0123", [], ["+6785550123"]),
        ("0171 2345678", ["DE"], ["+491712345678"]),
        ("06 12 34 56 78", ["FR"], ["+33612345678"]),
        ("09028000001", ["IN"], ["+919028000001"]),
        ("9028000001", ["GB", "IN"], ["+919028000001"]),
        ("９０２８０ ００００１", ["IN"], ["+919028000001"]),
        ("8 912 345-67-89", ["RU"], ["+79123456789"]),
        ("11 15 2345 6789", ["AR"], ["+5491123456789"]),
        ("919028000001", ["IN"], ["+919028000001"]),
        ("020 7183 8750", ["GB"], []),
        ("0171 2345678", ["ZZ", "XX"], []),
        ("+91 90280", ["IN"], []),
        ("0091 90280 00001", ["US"], []),
        ("call me", ["IN"], []),
        ("", ["IN"], []),
    ],
)
def test_a_number_without_plus_suggests_the_mobile_numbers_that_it_may_mean(
    text: str, regions: list[str], suggestions: list[str]
) -> None:
    assert list(suggest_mobiles(text, regions)) == suggestions


@pytest.mark.parametrize("text", ["+91 90280 00001", "0091 90280 00001", "＋９１ 90280 00001", "tel:+919028000001"])
def test_a_number_with_plus_or_00_has_a_country_code(text: str) -> None:
    require_country_code(text)


@pytest.mark.parametrize("text", ["919028000001", "09028000001", "9028000001", "tel:9028000001"])
def test_a_number_without_plus_or_00_may_be_one_of_another_country(text: str) -> None:
    with pytest.raises(InvalidMobile, match="could be a number of another country"):
        require_country_code(text)


# ---- time zones


@pytest.mark.parametrize(
    ("mobile", "time_zone"),
    [
        pytest.param("+12125550123", "America/New_York", id="an area code"),
        pytest.param("+13125550123", "America/Chicago", id="another area code"),
        pytest.param("+18085550123", "Pacific/Honolulu", id="Hawaii"),
        pytest.param("+17875550123", "America/Puerto_Rico", id="Puerto Rico, a country of its own"),
        pytest.param("+14165550123", "America/Toronto", id="Canada"),
        pytest.param("+12425550123", "America/Nassau", id="Bahamas"),
        pytest.param("+18005551234", "America/New_York", id="toll-free: no place, so the country's first"),
        pytest.param(MIRA, "Asia/Kolkata", id="the current name of Asia/Calcutta"),
        pytest.param("+79161234567", "Europe/Moscow", id="several in the country: the first of them"),
        pytest.param("+77011234567", "Asia/Almaty", id="several, and the same country code as Russia"),
        pytest.param("+64211234567", "Pacific/Auckland", id="not Chatham"),
        pytest.param("+61412345678", "Australia/Sydney", id="not the island Lord Howe, which the database has first"),
        pytest.param("+34612345678", "Europe/Madrid", id="not the Canaries"),
        pytest.param("+5511961234567", "America/Sao_Paulo", id="an area code of Brazil"),
        pytest.param("+4740612345", "Europe/Oslo", id="Norway, not Svalbard"),
        pytest.param("+447400123456", "Europe/London", id="the United Kingdom"),
        pytest.param("+447797712345", "Europe/Jersey", id="Jersey, with the same country code"),
        pytest.param("+353850123456", "Europe/Dublin", id="Ireland, whose numbers are listed for London"),
        pytest.param("+375294911911", "Europe/Minsk", id="Belarus, whose numbers are listed for Moscow"),
        pytest.param("+380501234567", "Europe/Kyiv", id="the current name of Europe/Kiev"),
        pytest.param("+9779841234567", "Asia/Kathmandu", id="a quarter of an hour"),
        pytest.param("+881612345678", None, id="a satellite phone"),
        pytest.param("+999123456789", None, id="no country"),
    ],
)
def test_the_time_zone_of_a_number(mobile: str, time_zone: str | None) -> None:
    assert time_zone_of(mobile) == time_zone


def test_a_mobile_of_every_country_has_a_time_zone_of_its_country() -> None:
    elsewhere = {}
    for mobile in mobile_of_every_country():
        country, time_zone = country_of(mobile), time_zone_of(mobile)
        assert time_zone is not None
        if country_of_time_zone(time_zone) != country:
            elsewhere[country] = time_zone
    assert elsewhere == {"AC": "Atlantic/St_Helena", "XK": "Europe/Belgrade"}, "Ascension and Kosovo have none"
    assert not any(map(time_zones_of_country, elsewhere))
