"""What people see who read quotes, in a real browser."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Route, expect

from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import Settings
from tests.helpers.browser import (
    PLAIN,
    WITHOUT_JAVASCRIPT,
    Arrive,
    Manner,
    Visitor,
    a_browser_or_skip,
    in_every_manner,
    with_and_without_javascript,
    with_axe,
)
from tests.helpers.data import KABIR, sqlite_only

a_browser_or_skip()
pytestmark = sqlite_only

Ship = Callable[[list[Quotation]], Path]

MARKUP = Quotation("<script>alert(1)</script> & <b>bold</b> &amp; so", "<i>Nobody</i> & Sons", "x<y", "A & B (1901)")
ARABIC = Quotation("اطلبوا العلم من المهد إلى اللحد", "مثل عربي", "علم", "كتاب الأمثال")
ONE_WORD = Quotation("Donaudampfschifffahrtsgesellschaft" * 9, "A" * 70, "long", "S" * 90)
LONGEST = Quotation(
    " ".join(["All work and no play makes Jack a dull boy, it is said by people"] * 5)[:320], "J", "work"
)

PAGES = ("/", "/quotes/1", "/subscribe", "/unsubscribe", "/docs", "/nothing-is-here")
MOST_BYTES = 100_000
NARROWEST = 320

REACHED_BY_KEYBOARD = """() => {
  const one = document.activeElement, box = one.getBoundingClientRect(), style = getComputedStyle(one);
  const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 && box.width > 0;
  return [one.innerText || one.id, Math.round(box.top + scrollY), seen];
}"""


def quote_of(visitor: Visitor, path: str) -> dict[str, str]:
    """Ask the API what a page should show."""
    said = requests.get(f"{visitor.home}{path}", timeout=5).json()
    return {name: said[name] for name in ("quote", "author")}


# ---- reading


@in_every_manner
def test_the_page_shows_the_quote_of_the_day_and_leads_to_days_before_and_back(arrive: Arrive, manner: Manner) -> None:
    reader = arrive(manner)
    page = reader.open("/")
    today = quote_of(reader, "/daily")
    assert reader.reads() == today
    expect(page.locator("#quote .source")).to_contain_text("18")
    page.locator(".earlier").click()
    expect(page).to_have_url(f"{reader.home}/days/2026-11-21")
    assert reader.reads() == quote_of(reader, "/daily?date=2026-11-21") != today
    page.get_by_role("link", name="20 November").click()
    expect(page).to_have_url(f"{reader.home}/days/2026-11-20")
    page.get_by_role("link", name="21 November").click()
    page.get_by_role("link", name="Today").click()
    expect(page).to_have_url(f"{reader.home}/")
    assert reader.reads() == today
    expect(page.locator(".later")).to_have_count(0)


@in_every_manner
def test_another_quote_has_an_address_to_share_and_a_picture(arrive: Arrive, manner: Manner) -> None:
    reader = arrive(manner)
    page = reader.open("/")
    page.get_by_role("link", name="Another one").click()
    page.wait_for_url(f"{reader.home}/quotes/*")
    shown = reader.reads()
    address = page.get_by_role("link", name="Link to this quote").evaluate("link => link.href")
    friend = arrive(manner, home=reader.home)
    friend.page.goto(address)
    assert friend.reads() == shown == quote_of(reader, address.removeprefix(reader.home))
    friend.page.get_by_role("link", name="As a picture").click()
    expect(friend.page.locator("svg text").first).to_be_visible()
    expect(friend.page.locator("svg")).to_contain_text(shown["author"])


def test_another_quote_comes_without_a_reload_and_the_way_back_leads_to_the_one_before(arrive: Arrive) -> None:
    reader = arrive()
    page = reader.open("/")
    title, today = page.title(), reader.reads()
    reader.marks_the_page()
    another = page.get_by_role("link", name="Another one")
    while reader.reads() == today:
        with page.expect_response("**/quotes/*"):
            another.click()
        page.wait_for_url("**/quotes/*")
    expect(another, "whoever pressed Enter can press it again").to_be_focused()
    expect(page.locator("#quote[aria-live=polite] blockquote")).to_have_text(reader.reads()["quote"])
    assert page.title() != title
    page.go_back()
    while page.url != f"{reader.home}/":
        page.go_back()
    expect(page.locator("#quote blockquote")).to_have_text(today["quote"])
    expect(page).to_have_title(title)
    assert reader.page_is_the_same


@pytest.mark.parametrize("length", [30, 80, 160, 300])
def test_a_quote_of_any_length_has_the_colour_of_ink(
    arrive: Arrive, the_only_quote: Callable[[Quotation], None], length: int
) -> None:
    the_only_quote(Quotation(("so many words " * 30)[:length], "Nobody", "work"))
    page = arrive().open("/")
    ink = page.evaluate("getComputedStyle(document.body).color")
    for seen in ("blockquote", ".author", ".another", ".earlier"):
        colour = page.locator(f"#quote {seen}").evaluate("one => getComputedStyle(one).color")
        assert (colour == ink) == (seen != ".another"), seen


def test_who_turns_on_before_a_page_has_come_gets_the_last_one_and_finds_the_way_back(arrive: Arrive) -> None:
    reader = arrive()
    page = reader.open("/days/2026-11-10")
    held: list[Route] = []
    page.route("**/days/2026-11-09", lambda route: held.append(route))  # noqa: PLW0108 no builtin will do
    page.locator(".earlier").click()
    page.locator(".earlier").dblclick()
    page.locator(".later").click()
    expect(page).to_have_url(f"{reader.home}/days/2026-11-11")
    page.unroute_all(behavior="ignoreErrors")
    expect(page.locator("time")).to_have_text("Wednesday, 11 November 2026")
    page.go_back()
    expect(page).to_have_url(f"{reader.home}/days/2026-11-10")
    expect(page.locator("time")).to_have_text("Tuesday, 10 November 2026")
    assert held


def test_who_turns_to_a_later_day_by_keyboard_can_go_on(arrive: Arrive) -> None:
    reader = arrive()
    page = reader.open("/days/2026-11-10")
    page.locator(".later").focus()
    for day in ("11", "12"):
        page.keyboard.press("Enter")
        expect(page.locator("time")).to_contain_text(f" {day} November")
        expect(page.locator(".later")).to_be_focused()


def test_the_picture_is_one_that_pages_can_show(arrive: Arrive) -> None:
    reader = arrive()
    reader.open("/")
    size = """async (address) => {
      const picture = new Image();
      picture.src = address;
      await picture.decode();
      return [picture.naturalWidth, picture.naturalHeight];
    }"""
    for path in ("/daily.svg", "/quotes/1.svg"):
        assert reader.page.evaluate(size, f"{reader.home}{path}") == [1200, 630]


def test_a_link_is_copied_by_a_button_that_says_so(arrive: Arrive) -> None:
    reader = arrive()
    reader.may("clipboard-read", "clipboard-write")
    page = reader.open("/quotes/2")
    page.get_by_role("button", name="Copy it").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == f"{reader.home}/quotes/2"


@with_and_without_javascript
def test_an_address_that_leads_nowhere_shows_a_way_home(arrive: Arrive, manner: Manner) -> None:
    reader = arrive(manner._replace(stage="/dev"))
    page = reader.open("/nothing-is-here")
    reader.was_refused("404 GET /nothing-is-here")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.get_by_role("main").get_by_role("link").click()
    expect(page).to_have_url(f"{reader.home}/")
    assert reader.reads() == quote_of(reader, "/daily")


@pytest.mark.parametrize("manner", [PLAIN, Manner(stage="/dev")], ids=str)
def test_every_link_on_every_page_leads_somewhere(arrive: Arrive, manner: Manner) -> None:
    reader = arrive(manner)
    links = set()
    for path in ("/", "/subscribe", "/docs"):
        links |= set(reader.open(path).eval_on_selector_all("[href], [src]", "all => all.map((e) => e.href || e.src)"))
    assert {link for link in links if not f"{link}/".startswith(f"{reader.home}/")} == set()
    addresses = {link.partition("#")[0] for link in links}
    as_browsers_do = {"Accept": "text/html,*/*;q=0.8"}
    answers = {link: requests.get(link, headers=as_browsers_do, timeout=5).status_code for link in addresses}
    assert {link: status for link, status in answers.items() if status != 200} == {}


# ---- any text


@pytest.fixture
def the_only_quote(settings: Settings, bundled_catalogue: Ship, tmp_path: Path) -> Callable[[Quotation], None]:
    """Have a catalogue of one quote."""

    def put(quotation: Quotation) -> None:
        (tmp_path / "shipped.db").unlink()
        bundled_catalogue([quotation])

    return put


@pytest.mark.parametrize(
    "quotation",
    [
        MARKUP,
        ARABIC,
        KABIR._replace(source="दोहे"),
        ONE_WORD,
        LONGEST,
    ],
    ids=["markup", "Arabic", "Hindi", "words without end", "the longest"],
)  # fmt: skip
@pytest.mark.parametrize("manner", [WITHOUT_JAVASCRIPT, Manner(phone=True)], ids=str)
def test_any_quote_is_shown_as_it_was_written_and_stays_on_the_page(
    arrive: Arrive, the_only_quote: Callable[[Quotation], None], manner: Manner, quotation: Quotation
) -> None:
    the_only_quote(quotation)
    reader = arrive(manner)
    page = reader.open("/")
    assert reader.reads() == {"quote": quotation.quote, "author": quotation.author}
    for width in (NARROWEST, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert reader.sees_cut_off == []
    direction = page.locator("blockquote").evaluate("quote => getComputedStyle(quote).direction")
    assert direction == ("rtl" if "\u0600" < quotation.quote[0] < "\u0700" else "ltr")


# ---- any eyes and hands


@with_axe
@pytest.mark.parametrize("manner", [PLAIN, Manner(phone=True, dark=True, stage="/dev")], ids=str)
@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_a_barrier_that_axe_knows_of(arrive: Arrive, manner: Manner, path: str) -> None:
    reader = arrive(manner)
    reader.open(path)
    if path == "/nothing-is-here":
        reader.was_refused("404 GET /nothing-is-here")
    assert reader.barriers == []


@pytest.mark.parametrize("path", ["/", "/subscribe"])
def test_everything_is_reached_by_keyboard_in_the_order_it_is_read_and_seen_when_it_is(
    arrive: Arrive, path: str
) -> None:
    reader = arrive()
    page = reader.open(path)
    reached = []
    for _ in page.locator("a:visible, button:visible, input:visible").all():
        page.keyboard.press("Tab")
        reached.append(page.evaluate(REACHED_BY_KEYBOARD))
    assert reached[0][0] == "Skip to the content"
    assert [name for name, _, is_seen in reached if not is_seen] == []
    assert len({(name, top) for name, top, _ in reached}) == len(reached), "nothing is reached twice"
    tops = [top for _, top, _ in reached[1:]]
    assert all(top >= before - 20 for before, top in pairwise(tops)), reached


def test_who_skips_to_the_content_is_there_and_nothing_is_loaded_anew(arrive: Arrive) -> None:
    reader = arrive()
    page = reader.open("/")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator(".earlier")).to_be_focused()
    page.wait_for_load_state("networkidle")
    pages = [response.url for response in reader.loaded if "/assets/" not in response.url]
    assert pages == [f"{reader.home}/"]


@pytest.mark.parametrize("path", PAGES[:-1])
def test_nothing_sticks_out_of_the_narrowest_window_nor_when_text_is_twice_as_large(arrive: Arrive, path: str) -> None:
    reader = arrive(Manner(phone=True))
    page = reader.open(path)
    assert reader.sees_cut_off == []
    page.set_viewport_size({"width": NARROWEST, "height": 640})
    assert reader.sees_cut_off == []
    page.set_viewport_size({"width": 640, "height": 640})
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert reader.sees_cut_off == []


def test_on_paper_there_is_the_quote_on_one_page_and_nothing_to_press(arrive: Arrive) -> None:
    reader = arrive(Manner(dark=True))
    page = reader.open("/")
    page.emulate_media(media="print")
    expect(page.locator("blockquote")).to_be_visible()
    expect(page.locator(".author")).to_be_visible()
    for gone in ("form", "button", "#quote nav", "footer a"):
        for one in page.locator(gone).all():
            expect(one).to_be_hidden()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf(format="A4").count(b"/Type /Page\n") == 1


@pytest.mark.parametrize(("wanted", "moving"), [("no-preference", True), ("reduce", False)])
def test_nothing_moves_for_those_who_want_it_so(arrive: Arrive, wanted: str, *, moving: bool) -> None:
    reader = arrive()
    page = reader.open("/")
    page.emulate_media(reduced_motion="reduce" if wanted == "reduce" else "no-preference")
    started = """() => new Promise((seen) => {
      new MutationObserver(() => setTimeout(() => seen(document.getAnimations().length > 0)))
        .observe(document.getElementById("quote"), { attributes: true });
      document.querySelector(".earlier").click();
    })"""
    assert page.evaluate(started) is moving


# ---- what it costs


@pytest.mark.parametrize("path", ["/", "/quotes/1", "/subscribe"])
def test_a_page_with_everything_it_loads_is_light(arrive: Arrive, path: str) -> None:
    reader = arrive()
    reader.open(path).wait_for_load_state("networkidle")
    assert {response.url.partition("?")[0].rpartition("/")[2] for response in reader.loaded} >= {
        "style.css",
        "script.js",
    }
    assert sum(len(response.body()) for response in reader.loaded) < MOST_BYTES


# ---- the reference


@with_and_without_javascript
def test_the_reference_lets_people_try_what_it_tells_of(arrive: Arrive, manner: Manner) -> None:
    reader = arrive(manner._replace(stage="/dev"))
    page = reader.open("/docs")
    tried = page.locator("form.try[action$='/daily']")
    tried.get_by_role("button").click()
    said = tried.locator(".result") if manner.javascript else page.locator("body")
    expect(said).to_be_visible()
    expect(said).to_contain_text(quote_of(reader, "/daily")["quote"])
    if manner.javascript:
        expect(tried.get_by_role("status")).to_contain_text("200")
    else:
        expect(page).to_have_url(re.compile(f"^{re.escape(reader.home)}/daily"))


def test_the_reference_shows_what_a_wrong_try_is_told(arrive: Arrive) -> None:
    reader = arrive()
    page = reader.open("/docs")
    tried = page.locator("form.try[data-path='/quotes/{quote_id}']")
    tried.get_by_label("quote_id").fill("999")
    tried.get_by_role("button").click()
    expect(tried.locator(".result")).to_contain_text("No quote found")
    expect(tried.get_by_role("status")).to_contain_text("404")
    reader.was_refused("404 GET /quotes/999")


def test_what_is_typed_into_a_path_stays_one_part_of_it(arrive: Arrive) -> None:
    reader = arrive()
    tried = reader.open("/docs").locator("form.try[data-path='/assets/{name}']")
    tried.get_by_label("name").fill("../daily")
    tried.get_by_role("button").click()
    expect(tried.get_by_role("status")).to_contain_text("404")
    reader.was_refused("404 GET /assets/..%2Fdaily")


def test_a_link_opens_in_another_tab_for_who_wants_it_so(arrive: Arrive) -> None:
    reader = arrive()
    page = reader.open("/")
    with page.context.expect_page() as other:
        page.get_by_role("link", name="Another one").click(modifiers=["Control"])
    assert "/quotes/" in other.value.url
    expect(page).to_have_url(f"{reader.home}/")
