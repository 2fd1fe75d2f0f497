from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quoteapi.http.resources.cards import card
from quoteapi.quotes.card_layout import NAME_LINES, START, WIDTH, estimate_width, wrap_text
from quoteapi.quotes.quotation import InvalidQuotation, Quotation, validate_quotation
from tests.helpers.data import ALCOTT, AUSTEN, KABIR, ZOLA

SVG = "{http://www.w3.org/2000/svg}"
VERSE = Quotation("काल करे सो आज कर, आज करे सो अब। / पल में परलय होएगी, बहुरि करेगा कब॥", "कबीर", "समय")
MUTANABBI = Quotation("إذا رأيت نيوب الليث بارزة فلا تظنن أن الليث يبتسم", "المتنبي", "حكمة")
FAMILY, FRANCE = "👩🏽\u200d❤️\u200d💋\u200d👨🏽", "🇫🇷"

texts = st.one_of(
    st.text(min_size=1, max_size=320),
    st.lists(st.text("abcilmwW.,—-'é", min_size=1, max_size=40), min_size=1, max_size=12).map(" ".join),
    st.text("知之為，。「」 aW", min_size=1, max_size=320),
    st.text("कखि्ाेया ।", min_size=1, max_size=320),
    st.text(f"{FAMILY}{FRANCE}😀 ", min_size=1, max_size=320),
)
measures = st.floats(20, 200)


def parsed(quotation: Quotation) -> ET.Element:
    return ET.fromstring(card(quotation))  # noqa: S314 it is ours


def drawn(quotation: Quotation) -> list[tuple[float, list[ET.Element]]]:
    """Parse a card: of the quote, the author, the source and the foot, how large the font is, and the lines."""
    groups = parsed(quotation).iter(f"{SVG}g")
    return [(float(group.get("font-size", 0)), list(group)) for group in groups if group.get("font-size")]


def lines_of(quotation: Quotation) -> list[str]:
    """Answer the lines in which a quote is set."""
    return [line.text or "" for line in drawn(quotation)[0][1]]


# ---- lines


@given(texts, measures)
@example("W" * 320, 20)
@example("क्" * 160, 20)
@example("a" * 30 + " b", 20)
def test_no_line_is_longer_than_it_may_be_and_no_character_is_lost(text: str, measure: float) -> None:
    lines = wrap_text(text, measure)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert [line for line in lines if estimate_width(line) > measure + 1e-6] == []


@given(texts, measures)
def test_no_line_starts_or_ends_with_a_space_and_none_is_empty(text: str, measure: float) -> None:
    one_spaced = " ".join(text.split())
    assert all(line and line == line.strip() for line in wrap_text(one_spaced, measure))


@given(st.lists(st.sampled_from(["I", "am", "not", "afraid", "of", "storms"]), min_size=1, max_size=60), measures)
def test_no_fewer_lines_would_do(words: list[str], measure: float) -> None:
    greedy, line = 1, words[0]
    for word in words[1:]:
        if estimate_width(f"{line} {word}") > measure:
            greedy, line = greedy + 1, word
        else:
            line = f"{line} {word}"
    assert len(wrap_text(" ".join(words), measure)) == greedy


def test_lines_are_even_rather_than_full() -> None:
    assert wrap_text("What are men to rocks and mountains?", 16.5) == ["What are men to", "rocks and mountains?"]
    assert wrap_text("Nothing happens to any man that he is not formed by nature to bear.", 30) == [
        "Nothing happens to any man that",
        "he is not formed by nature to bear.",
    ]


def test_a_line_may_end_at_a_dash_or_a_hyphen_but_not_start_with_one() -> None:
    assert wrap_text("him,—pray", 4) == ["him,—", "pray"]
    assert wrap_text("well-known", 4) == ["well-", "known"]
    assert wrap_text("voilà — tout", 5) == ["voilà —", "tout"]


def test_what_french_sets_apart_by_a_space_stays_together() -> None:
    assert wrap_text("dit « vrai » !", 5) == ["dit", "« vrai » !"]


def test_chinese_is_broken_anywhere_but_before_a_stop_and_after_a_bracket() -> None:
    assert wrap_text("知之為知之，不知", 5.5) == ["知之為知", "之，不知"]
    assert wrap_text("知之「不知」也", 3.2) == ["知之", "「不", "知」也"]


@pytest.mark.parametrize("together", [FAMILY, FRANCE, "é̂", "क्षि", "กำ", "เก", "👍🏿", "각"])
def test_what_readers_take_for_one_character_is_never_parted(together: str) -> None:
    for line in wrap_text(together * 20, 6):
        assert line.replace(together, "") == ""


# ---- the picture


@given(texts, texts.map(lambda text: text[:100]), texts.map(lambda text: text[:200]))
@example("W" * 320, "W" * 100, "W" * 200)
@example("\ufdfd" * 320, "\ufdfd" * 100, "\ufdfd" * 200)
@example("😀" * 320, "x", "")
def test_whatever_may_be_stored_fits_whole_and_is_xml(quote: str, author: str, source: str) -> None:
    try:
        quotation = validate_quotation({"quote": quote, "author": author, "category": author, "source": source})
    except InvalidQuotation:
        return
    (size, quoted), (_, names), (_, sources), (_, foot) = drawn(quotation)
    heights = [float(line.get("y", 0)) for line in (*quoted, *names, *sources, foot[0])]
    assert heights[0] - size > 30
    assert heights[-2] < 530
    assert all(later - earlier >= size for earlier, later in pairwise(heights[: len(quoted)]))
    assert all(later - earlier >= 30 for earlier, later in pairwise(heights[len(quoted) :]))
    shown = "".join(lines_of(quotation)).replace(" ", "")
    kept = "".join(each for each in quotation.quote.replace(" / ", "") if each not in " \ufffe\uffff")
    assert shown == kept


def test_a_long_word_makes_the_quote_smaller_and_is_broken_only_where_it_would_be_tiny() -> None:
    word = "Donaudampfschiffahrtselektrizitätenhauptbetriebswerk"[:36]
    assert word in lines_of(ALCOTT._replace(quote=f"The {word} is closed."))
    assert len(lines_of(ALCOTT._replace(quote=word * 4))) > 1


def test_verse_is_set_in_its_lines() -> None:
    assert lines_of(VERSE) == VERSE.quote.split(" / ")


def test_a_short_quote_is_set_larger_than_a_long_one() -> None:
    assert drawn(ALCOTT)[0][0] > 2 * drawn(ALCOTT._replace(quote="Hope and keep busy. " * 15))[0][0]


def test_a_name_of_more_than_two_lines_ends_in_three_dots() -> None:
    author = drawn(ALCOTT._replace(author="Wilhelmina " * 9))[1][1]
    assert len(author) == NAME_LINES
    assert (author[-1].text or "").endswith("…")


def test_arabic_is_set_from_the_right_and_hindi_from_the_left() -> None:
    assert 'direction="rtl"' in card(MUTANABBI)
    assert {line.get("x") for line in drawn(MUTANABBI)[0][1]} == {str(WIDTH - START)}
    assert 'direction="rtl"' not in card(KABIR)
    assert {line.get("x") for line in drawn(KABIR)[0][1]} == {str(START)}


def test_a_card_is_an_image_with_a_name_and_has_a_style_for_the_dark() -> None:
    root = parsed(ZOLA)
    assert root.get("role") == "img"
    assert root.get("viewBox") == "0 0 1200 630"
    assert root[0].tag == f"{SVG}title"
    assert root[0].text == f"“{ZOLA.quote}” — {ZOLA.author}"
    assert "@media (prefers-color-scheme: dark)" in (root.findtext(f"{SVG}style") or "")


def test_all_that_belongs_to_a_quote_is_on_its_card() -> None:
    texts = [line.text for _, lines in drawn(AUSTEN)[1:] for line in lines]
    assert texts == [AUSTEN.author, AUSTEN.source, AUSTEN.category, "QuoteAPI"]


def test_no_text_is_taken_for_markup() -> None:
    nasty = Quotation("<b>1 & 2</b> ]]> \"x\" 'y' {{ 7 * 7 }}", "<script>alert(1)</script>", "&lt;", "-->")
    root = parsed(nasty)
    assert {element.tag for element in root.iter()} == {
        f"{SVG}{tag}" for tag in ("svg", "title", "style", "rect", "g", "path", "text")
    }
    assert "".join(lines_of(nasty)).replace(" ", "") == nasty.quote.replace(" ", "")
    assert drawn(nasty)[1][1][0].text == nasty.author


def test_characters_that_xml_has_not_are_left_out() -> None:
    assert lines_of(Quotation("Hope\ufffe and\uffff \x00it.", "\uffff", "\ufffe")) == ["Hope and it."]
