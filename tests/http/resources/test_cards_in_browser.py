"""Cards as Chromium draws them: how wide and high letters are is known there alone."""

from typing import Any

import pytest
from playwright.sync_api import Browser

from quoteapi.http.resources.cards import card
from quoteapi.quotes.bundled_catalogue import read_catalogue
from quoteapi.quotes.quotation import Quotation
from tests.helpers.browser import Arrive, Manner, a_browser_or_skip
from tests.helpers.data import ALCOTT, KABIR, ZOLA, sqlite_only

a_browser_or_skip()

FONTS = ("as it is", "DejaVu Serif", "Liberation Serif")
"""The widest of the common fonts and one of the narrowest; where they are not installed, another one serves."""
NASTY = [
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

MEASURED = """([cards, font]) => {
  const context = document.createElement("canvas").getContext("2d");
  const measured = (line) => {
    const style = getComputedStyle(line), box = line.getBBox(), y = Number(line.getAttribute("y"));
    context.font = `${style.fontSize} ${style.fontFamily}`;
    const ink = context.measureText(line.textContent);
    const top = y - ink.actualBoundingBoxAscent, bottom = y + ink.actualBoundingBoxDescent;
    return {text: line.textContent, left: box.x, right: box.x + box.width, top, bottom};
  };
  const wrong = (card) => {
    document.body.innerHTML = card;
    if (font !== "as it is") document.querySelector("svg").style.fontFamily = `"${font}"`;
    const lines = [...document.querySelectorAll("text")].map(measured);
    const foot = lines.splice(-2);
    const leaves = (one) => one.left < 40 || one.right > 1160 || one.top < 20 || one.bottom > 610;
    const out = [...lines, ...foot].filter(leaves);
    const stacked = [...lines, foot[0]];
    const over = stacked.filter((one, place) => place > 0 && one.top < stacked[place - 1].bottom);
    const side = foot[0].right > foot[1].left && foot[1].right > foot[0].left ? foot : [];
    return [...out, ...over, ...side];
  };
  return cards.flatMap(wrong);
}"""


def wrong(browser: Browser, quotations: list[Quotation], font: str) -> Any:  # noqa: ANN401 as JavaScript answers it
    """Answer the lines that leave the frame or touch another one."""
    page = browser.new_page()
    try:
        return page.evaluate(MEASURED, [[card(quotation) for quotation in quotations], font])
    finally:
        page.close()


@pytest.mark.parametrize("font", FONTS)
def test_no_line_of_the_catalogue_leaves_its_card_or_touches_another(browser: Browser, font: str) -> None:
    names = ("quote", "author", "category", "source")
    quotations = [Quotation(*(str(row[name]) for name in names)) for row in read_catalogue()]
    assert wrong(browser, quotations, font) == []


@pytest.mark.parametrize("font", FONTS)
@pytest.mark.parametrize("quotation", NASTY, ids=lambda quotation: quotation.quote[:5])
def test_whatever_is_quoted_stays_on_its_card(browser: Browser, quotation: Quotation, font: str) -> None:
    fitting = quotation._replace(quote=quotation.quote[:320].strip())
    assert wrong(browser, [fitting], font) == []


@sqlite_only
@pytest.mark.parametrize(("dark", "paper"), [(False, "rgb(251, 248, 242)"), (True, "rgb(25, 22, 19)")])
def test_a_card_is_light_or_dark_as_the_reader_is_and_its_policy_lets_its_style_be(
    arrive: Arrive, dark: bool, paper: str
) -> None:
    page = arrive(Manner(dark=dark)).open("/daily.svg")
    assert page.evaluate("getComputedStyle(document.querySelector('.paper')).fill") == paper


@sqlite_only
def test_a_page_of_another_site_shows_a_card(arrive: Arrive) -> None:
    visitor = arrive()
    page = visitor.page
    page.set_content(f'<img src="{visitor.home}/daily.svg" alt="">')
    page.wait_for_function("document.images[0].complete")
    assert page.evaluate("[document.images[0].naturalWidth, document.images[0].naturalHeight]") == [1200, 630]
