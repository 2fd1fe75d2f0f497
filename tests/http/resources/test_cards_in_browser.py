"""Cards as Chromium renders them, with the real widths and heights of letters."""

from collections.abc import Iterator
from functools import cache

import pytest
from playwright.sync_api import Browser, Page

from quoteapi.http.resources.cards import render_card
from quoteapi.quotes.bundled_catalogue import read_catalogue
from quoteapi.quotes.quotation import Quotation
from tests.helpers.browser import BrowserOptions, OpenBrowser, require_chromium
from tests.helpers.data import ALCOTT, KABIR, ZOLA, sqlite_only

require_chromium()

FONTS = ("default", "DejaVu Serif", "Liberation Serif")
"""The font of the style, the widest common font, and a narrow one; Chromium replaces those not installed."""
UNUSUAL_QUOTATIONS = [
    Quotation("W" * 320, "W" * 100, "W" * 100, "W" * 200),
    Quotation("Www " * 80, "Mmm " * 25, "x"),
    Quotation("Donaudampfschiffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 4, "x", "words"),
    Quotation("知之為知之，不知為不知，是知也。" * 20, "孔子", "智"),
    Quotation("إذا رأيت نيوب الليث بارزة فلا تظنن أن الليث يبتسم " * 6, "المتنبي", "حكمة", "ديوان المتنبي (965)"),
    Quotation("काल करे सो आज कर आज करे सो अब पल में परलय होएगी " * 6, "कबीर", "समय"),
    Quotation("👩🏽\u200d❤️\u200d💋\u200d👨🏽 🇫🇷 👍🏿 ☀️ 😀😀😀 " * 16, "😀 Smile", "😀"),
    Quotation("😀" * 320, "x", "y"),
    Quotation("ความพยายามอยู่ที่ไหนความสำเร็จอยู่ที่นั่น" * 7, "สุภาษิต", "x"),
    Quotation("Ấỹ Ǟ jpqÇ Ợ " * 20, "Ấỹ", "x"),
    ALCOTT,
    ZOLA,
    KABIR,
]

FIND_MISPLACED_LINES = """([cards, font]) => {
  const context = document.createElement("canvas").getContext("2d");
  const measure = (line) => {
    const style = getComputedStyle(line), box = line.getBBox(), y = Number(line.getAttribute("y"));
    context.font = `${style.fontSize} ${style.fontFamily}`;
    const ink = context.measureText(line.textContent);
    const top = y - ink.actualBoundingBoxAscent, bottom = y + ink.actualBoundingBoxDescent;
    return {text: line.textContent, left: box.x, right: box.x + box.width, top, bottom};
  };
  const misplacedLines = (card) => {
    document.body.innerHTML = card;
    if (font !== "default") document.querySelector("svg").style.fontFamily = `"${font}"`;
    const lines = [...document.querySelectorAll("text")].map(measure);
    const footer = lines.splice(-2);
    const isOutside = (line) => line.left < 40 || line.right > 1160 || line.top < 20 || line.bottom > 610;
    const outside = [...lines, ...footer].filter(isOutside);
    const stacked = [...lines, footer[0]];
    const overlapping = stacked.filter((line, index) => index > 0 && line.top < stacked[index - 1].bottom);
    const touching = footer[0].right > footer[1].left && footer[1].right > footer[0].left ? footer : [];
    return [...outside, ...overlapping, ...touching];
  };
  return cards.flatMap(misplacedLines);
}"""


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page()
    yield opened
    opened.close()


@cache
def bundled_cards() -> list[str]:
    names = ("quote", "author", "category", "source")
    return [render_card(Quotation(*(str(row[name]) for name in names))) for row in read_catalogue()]


@pytest.mark.parametrize("font", FONTS)
def test_no_line_of_the_bundled_catalogue_overflows_its_card_or_overlaps_another(page: Page, font: str) -> None:
    assert page.evaluate(FIND_MISPLACED_LINES, [bundled_cards(), font]) == []


@pytest.mark.parametrize("font", FONTS)
@pytest.mark.parametrize("quotation", UNUSUAL_QUOTATIONS, ids=lambda quotation: quotation.quote[:5])
def test_no_line_of_an_unusual_quotation_overflows_its_card_or_overlaps_another(
    page: Page, quotation: Quotation, font: str
) -> None:
    card = render_card(quotation._replace(quote=quotation.quote[:320].strip()))
    assert page.evaluate(FIND_MISPLACED_LINES, [[card], font]) == []


@sqlite_only
@pytest.mark.parametrize(("dark", "paper"), [(False, "rgb(251, 248, 242)"), (True, "rgb(25, 22, 19)")])
def test_a_card_is_light_or_dark_by_preference_and_its_policy_allows_its_style(
    open_browser: OpenBrowser, dark: bool, paper: str
) -> None:
    page = open_browser(BrowserOptions(dark=dark)).open("/daily.svg")
    assert page.evaluate("getComputedStyle(document.querySelector('.paper')).fill") == paper


@sqlite_only
def test_a_page_of_another_site_can_embed_a_card(open_browser: OpenBrowser) -> None:
    visitor = open_browser()
    page = visitor.page
    page.set_content(f'<img src="{visitor.base_url}/daily.svg" alt="">')
    page.wait_for_function("document.images[0].complete")
    assert page.evaluate("[document.images[0].naturalWidth, document.images[0].naturalHeight]") == [1200, 630]
