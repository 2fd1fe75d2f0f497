from itertools import pairwise
from xml.etree import ElementTree as ET

from hypothesis import example, given

from quoteapi.http.resources.cards import render_card
from quoteapi.quotes.quotation import InvalidQuotation, Quotation, validate_quotation
from quoteapi.quotes.svg_card_layout import MARGIN, MAX_NAME_LINES, WIDTH
from tests.helpers.data import ALCOTT, AUSTEN, KABIR, ZOLA
from tests.helpers.text_strategies import texts

SVG = "{http://www.w3.org/2000/svg}"
VERSE = Quotation("काल करे सो आज कर, आज करे सो अब। / पल में परलय होएगी, बहुरि करेगा कब॥", "कबीर", "समय")
MUTANABBI = Quotation("إذا رأيت نيوب الليث بارزة فلا تظنن أن الليث يبتسم", "المتنبي", "حكمة")


def parse_card(quotation: Quotation) -> ET.Element:
    return ET.fromstring(render_card(quotation))  # noqa: S314 our own document


def text_groups(quotation: Quotation) -> list[tuple[float, list[ET.Element]]]:
    """Return the font size and the lines of the quote, the author, the source and the footer of a card."""
    groups = parse_card(quotation).iter(f"{SVG}g")
    return [(float(group.get("font-size", 0)), list(group)) for group in groups if group.get("font-size")]


def quote_lines(quotation: Quotation) -> list[str]:
    return [line.text or "" for line in text_groups(quotation)[0][1]]


@given(texts, texts.map(lambda text: text[:100]), texts.map(lambda text: text[:200]))
@example("W" * 320, "W" * 100, "W" * 200)
@example("\ufdfd" * 320, "\ufdfd" * 100, "\ufdfd" * 200)
@example("😀" * 320, "x", "")
def test_any_valid_quotation_fits_on_its_card_without_loss(quote: str, author: str, source: str) -> None:
    try:
        quotation = validate_quotation({"quote": quote, "author": author, "category": author, "source": source})
    except InvalidQuotation:
        return
    (font_size, quote_block), (_, names), (_, sources), (_, footer) = text_groups(quotation)
    baselines = [float(line.get("y", 0)) for line in (*quote_block, *names, *sources, footer[0])]
    assert baselines[0] - font_size > 30
    assert baselines[-2] < 530
    assert all(later - earlier >= font_size for earlier, later in pairwise(baselines[: len(quote_block)]))
    assert all(later - earlier >= 30 for earlier, later in pairwise(baselines[len(quote_block) :]))
    displayed = "".join(quote_lines(quotation)).replace(" ", "")
    expected = "".join(
        character for character in quotation.quote.replace(" / ", "") if character not in " \ufffe\uffff"
    )
    assert displayed == expected


def test_a_long_word_shrinks_the_font_and_is_broken_only_if_the_font_would_be_tiny() -> None:
    word = "Donaudampfschiffahrtselektrizitätenhauptbetriebswerk"[:36]
    assert word in quote_lines(ALCOTT._replace(quote=f"The {word} is closed."))
    assert len(quote_lines(ALCOTT._replace(quote=word * 4))) > 1


def test_verse_keeps_its_lines() -> None:
    assert quote_lines(VERSE) == VERSE.quote.split(" / ")


def test_a_short_quote_has_a_larger_font_than_a_long_one() -> None:
    assert text_groups(ALCOTT)[0][0] > 2 * text_groups(ALCOTT._replace(quote="Hope and keep busy. " * 15))[0][0]


def test_a_name_of_more_than_two_lines_is_shortened_with_an_ellipsis() -> None:
    author = text_groups(ALCOTT._replace(author="Wilhelmina " * 9))[1][1]
    assert len(author) == MAX_NAME_LINES
    assert (author[-1].text or "").endswith("…")


def test_arabic_is_laid_out_right_to_left_and_hindi_left_to_right() -> None:
    assert 'direction="rtl"' in render_card(MUTANABBI)
    assert {line.get("x") for line in text_groups(MUTANABBI)[0][1]} == {str(WIDTH - MARGIN)}
    assert 'direction="rtl"' not in render_card(KABIR)
    assert {line.get("x") for line in text_groups(KABIR)[0][1]} == {str(MARGIN)}


def test_a_card_is_an_image_with_a_title_and_a_dark_style() -> None:
    root = parse_card(ZOLA)
    assert root.get("role") == "img"
    assert root.get("viewBox") == "0 0 1200 630"
    assert root[0].tag == f"{SVG}title"
    assert root[0].text == f"“{ZOLA.quote}” — {ZOLA.author}"
    assert "@media (prefers-color-scheme: dark)" in (root.findtext(f"{SVG}style") or "")


def test_a_card_shows_quote_author_source_and_category() -> None:
    texts = [line.text for _, lines in text_groups(AUSTEN)[1:] for line in lines]
    assert texts == [AUSTEN.author, AUSTEN.source, AUSTEN.category, "QuoteAPI"]


def test_markup_in_a_quotation_is_escaped() -> None:
    markup = Quotation("<b>1 & 2</b> ]]> \"x\" 'y' {{ 7 * 7 }}", "<script>alert(1)</script>", "&lt;", "-->")
    root = parse_card(markup)
    assert {element.tag for element in root.iter()} == {
        f"{SVG}{tag}" for tag in ("svg", "title", "style", "rect", "g", "path", "text")
    }
    assert "".join(quote_lines(markup)).replace(" ", "") == markup.quote.replace(" ", "")
    assert text_groups(markup)[1][1][0].text == markup.author


def test_characters_that_xml_does_not_allow_are_removed() -> None:
    assert quote_lines(Quotation("Hope\ufffe and\uffff \x00it.", "\uffff", "\ufffe")) == ["Hope and it."]
