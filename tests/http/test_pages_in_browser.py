"""Pages of quotes and the API reference in a real browser."""

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
    DEFAULT,
    WITHOUT_JAVASCRIPT,
    BrowserOptions,
    OpenBrowser,
    Visitor,
    require_chromium,
    with_and_without_javascript,
    with_axe,
    with_pairwise_options,
)
from tests.helpers.data import KABIR, sqlite_only

require_chromium()
pytestmark = sqlite_only

PutCatalogue = Callable[[list[Quotation]], Path]

MARKUP = Quotation("<script>alert(1)</script> & <b>bold</b> &amp; so", "<i>Nobody</i> & Sons", "x<y", "A & B (1901)")
ARABIC = Quotation("اطلبوا العلم من المهد إلى اللحد", "مثل عربي", "علم", "كتاب الأمثال")
LONG_WORD = Quotation("Donaudampfschifffahrtsgesellschaft" * 9, "A" * 70, "long", "S" * 90)
LONG_QUOTE = Quotation(
    " ".join(["All work and no play makes Jack a dull boy, it is said by people"] * 5)[:320], "J", "work"
)

PAGES = ("/", "/quotes/1", "/subscribe", "/unsubscribe", "/docs", "/nothing-is-here")
MAX_BYTES = 100_000
MIN_WIDTH = 320

DESCRIBE_FOCUS = """() => {
  const element = document.activeElement, box = element.getBoundingClientRect(), style = getComputedStyle(element);
  const isVisible = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 && box.width > 0;
  return [element.innerText || element.id, Math.round(box.top + scrollY), isVisible];
}"""


def api_quote(visitor: Visitor, path: str) -> dict[str, str]:
    """Return quote and author as the API has them."""
    document = requests.get(f"{visitor.base_url}{path}", timeout=30).json()
    return {name: document[name] for name in ("quote", "author")}


# ---- quotes


@with_pairwise_options
def test_the_home_page_shows_the_quote_of_the_day_and_links_to_earlier_days(
    open_browser: OpenBrowser, options: BrowserOptions
) -> None:
    visitor = open_browser(options)
    page = visitor.open("/")
    today = api_quote(visitor, "/daily")
    assert visitor.displayed_quote() == today
    expect(page.locator("#quote .source")).to_contain_text("18")
    page.locator(".earlier").click()
    expect(page).to_have_url(f"{visitor.base_url}/days/2026-11-21")
    assert visitor.displayed_quote() == api_quote(visitor, "/daily?date=2026-11-21") != today
    page.get_by_role("link", name="20 November").click()
    expect(page).to_have_url(f"{visitor.base_url}/days/2026-11-20")
    page.get_by_role("link", name="21 November").click()
    page.get_by_role("link", name="Today").click()
    expect(page).to_have_url(f"{visitor.base_url}/")
    assert visitor.displayed_quote() == today
    expect(page.locator(".later")).to_have_count(0)


@with_pairwise_options
def test_another_quote_has_a_url_to_share_and_a_picture(open_browser: OpenBrowser, options: BrowserOptions) -> None:
    visitor = open_browser(options)
    page = visitor.open("/")
    page.get_by_role("link", name="Another quote").click()
    page.wait_for_url(f"{visitor.base_url}/quotes/*")
    displayed = visitor.displayed_quote()
    url = page.get_by_role("link", name="Link to this quote").evaluate("link => link.href")
    other_visitor = open_browser(options, base_url=visitor.base_url)
    other_visitor.page.goto(url)
    assert other_visitor.displayed_quote() == displayed == api_quote(visitor, url.removeprefix(visitor.base_url))
    other_visitor.page.get_by_role("link", name="Image").click()
    expect(other_visitor.page.locator("svg text").first).to_be_visible()
    expect(other_visitor.page.locator("svg")).to_contain_text(displayed["author"])


def test_another_quote_loads_without_a_reload_and_the_back_button_returns_to_the_one_before(
    open_browser: OpenBrowser,
) -> None:
    visitor = open_browser()
    page = visitor.open("/")
    title, today = page.title(), visitor.displayed_quote()
    visitor.mark_document()
    another = page.get_by_role("link", name="Another quote")
    while visitor.displayed_quote() == today:
        with page.expect_response("**/quotes/*"):
            another.click()
        page.wait_for_url("**/quotes/*")
    expect(another, "it can be pressed again").to_be_focused()
    expect(page.locator("#quote[aria-live=polite] blockquote")).to_have_text(visitor.displayed_quote()["quote"])
    assert page.title() != title
    page.go_back()
    while page.url != f"{visitor.base_url}/":
        page.go_back()
    expect(page.locator("#quote blockquote")).to_have_text(today["quote"])
    expect(page).to_have_title(title)
    assert visitor.is_same_document


@pytest.mark.parametrize("length", [30, 80, 160, 300])
def test_a_quote_of_any_length_has_the_text_colour(
    open_browser: OpenBrowser, set_only_quote: Callable[[Quotation], None], length: int
) -> None:
    set_only_quote(Quotation(("so many words " * 30)[:length], "Nobody", "work"))
    page = open_browser().open("/")
    text_colour = page.evaluate("getComputedStyle(document.body).color")
    for selector in ("blockquote", ".author", ".another", ".earlier"):
        colour = page.locator(f"#quote {selector}").evaluate("element => getComputedStyle(element).color")
        assert (colour == text_colour) == (selector != ".another"), selector


def test_a_navigation_replaces_a_pending_one_and_the_back_button_still_works(
    open_browser: OpenBrowser,
) -> None:
    visitor = open_browser()
    page = visitor.open("/days/2026-11-10")
    pending: list[Route] = []
    page.route("**/days/2026-11-09", lambda route: pending.append(route))  # noqa: PLW0108 no builtin will do
    page.locator(".earlier").click()
    page.locator(".earlier").dblclick()
    page.locator(".later").click()
    expect(page).to_have_url(f"{visitor.base_url}/days/2026-11-11")
    page.unroute_all(behavior="ignoreErrors")
    expect(page.locator("time")).to_have_text("Wednesday, 11 November 2026")
    page.go_back()
    expect(page).to_have_url(f"{visitor.base_url}/days/2026-11-10")
    expect(page.locator("time")).to_have_text("Tuesday, 10 November 2026")
    assert pending


def test_the_link_to_the_next_day_keeps_the_focus(open_browser: OpenBrowser) -> None:
    visitor = open_browser()
    page = visitor.open("/days/2026-11-10")
    page.locator(".later").focus()
    for day in ("11", "12"):
        page.keyboard.press("Enter")
        expect(page.locator("time")).to_contain_text(f" {day} November")
        expect(page.locator(".later")).to_be_focused()


def test_pages_can_embed_a_card(open_browser: OpenBrowser) -> None:
    visitor = open_browser()
    visitor.open("/")
    load_image = """async (url) => {
      const image = new Image();
      image.src = url;
      await image.decode();
      return [image.naturalWidth, image.naturalHeight];
    }"""
    for path in ("/daily.svg", "/quotes/1.svg"):
        assert visitor.page.evaluate(load_image, f"{visitor.base_url}{path}") == [1200, 630]


def test_a_button_copies_the_link_and_confirms_it(open_browser: OpenBrowser) -> None:
    visitor = open_browser()
    visitor.grant_permissions("clipboard-read", "clipboard-write")
    page = visitor.open("/quotes/2")
    visitor.stop_clock()
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == f"{visitor.base_url}/quotes/2"
    page.clock.fast_forward(2_000)
    expect(page.get_by_role("button", name="Copy link")).to_be_visible()


@with_and_without_javascript
def test_the_not_found_page_links_to_the_home_page(open_browser: OpenBrowser, options: BrowserOptions) -> None:
    visitor = open_browser(options._replace(stage="/dev"))
    page = visitor.open("/nothing-is-here")
    visitor.assert_failed_requests("404 GET /nothing-is-here")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.get_by_role("main").get_by_role("link").click()
    expect(page).to_have_url(f"{visitor.base_url}/")
    assert visitor.displayed_quote() == api_quote(visitor, "/daily")


@pytest.mark.parametrize("options", [DEFAULT, BrowserOptions(stage="/dev")], ids=str)
def test_no_page_has_a_dead_link(open_browser: OpenBrowser, options: BrowserOptions) -> None:
    visitor = open_browser(options)
    links = set()
    for path in ("/", "/subscribe", "/docs"):
        links |= set(visitor.open(path).eval_on_selector_all("[href], [src]", "all => all.map((e) => e.href || e.src)"))
    assert {link for link in links if not f"{link}/".startswith(f"{visitor.base_url}/")} == set()
    urls = {link.partition("#")[0] for link in links}
    browser_headers = {"Accept": "text/html,*/*;q=0.8"}
    statuses = {link: requests.get(link, headers=browser_headers, timeout=30).status_code for link in urls}
    assert {link: status for link, status in statuses.items() if status != 200} == {}


# ---- texts


@pytest.fixture
def set_only_quote(settings: Settings, bundled_catalogue: PutCatalogue, tmp_path: Path) -> Callable[[Quotation], None]:
    """Return a function that makes a quote the only one of the catalogue."""

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
        LONG_WORD,
        LONG_QUOTE,
    ],
    ids=["markup", "Arabic", "Hindi", "one long word", "long quote"],
)  # fmt: skip
@pytest.mark.parametrize("options", [WITHOUT_JAVASCRIPT, BrowserOptions(phone=True)], ids=str)
def test_any_quote_is_displayed_unchanged_and_fits_on_the_page(
    open_browser: OpenBrowser,
    set_only_quote: Callable[[Quotation], None],
    options: BrowserOptions,
    quotation: Quotation,
) -> None:
    set_only_quote(quotation)
    visitor = open_browser(options)
    page = visitor.open("/")
    assert visitor.displayed_quote() == {"quote": quotation.quote, "author": quotation.author}
    for width in (MIN_WIDTH, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert visitor.overflowing_elements() == []
    direction = page.locator("blockquote").evaluate("quote => getComputedStyle(quote).direction")
    assert direction == ("rtl" if "\u0600" < quotation.quote[0] < "\u0700" else "ltr")


# ---- accessibility


@with_axe
@pytest.mark.parametrize("options", [DEFAULT, BrowserOptions(phone=True, dark=True, stage="/dev")], ids=str)
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_no_accessibility_violation(open_browser: OpenBrowser, options: BrowserOptions, path: str) -> None:
    visitor = open_browser(options)
    visitor.open(path)
    if path == "/nothing-is-here":
        visitor.assert_failed_requests("404 GET /nothing-is-here")
    assert visitor.axe_violations() == []


@pytest.mark.parametrize("path", ["/", "/subscribe"])
def test_everything_is_reachable_by_keyboard_in_reading_order_with_a_visible_focus(
    open_browser: OpenBrowser, path: str
) -> None:
    visitor = open_browser()
    page = visitor.open(path)
    focused = []
    for _ in page.locator("a:visible, button:visible, input:visible").all():
        page.keyboard.press("Tab")
        focused.append(page.evaluate(DESCRIBE_FOCUS))
    assert focused[0][0] == "Skip to content"
    assert [name for name, _, is_visible in focused if not is_visible] == []
    assert len({(name, top) for name, top, _ in focused}) == len(focused), "nothing gets the focus twice"
    tops = [top for _, top, _ in focused[1:]]
    assert all(top >= before - 20 for before, top in pairwise(tops)), focused


def test_the_skip_link_moves_the_focus_to_the_content_without_loading_a_page(open_browser: OpenBrowser) -> None:
    visitor = open_browser()
    page = visitor.open("/")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator(".earlier")).to_be_focused()
    assert visitor.requested_urls() == [f"{visitor.base_url}/"]


@pytest.mark.parametrize("path", PAGES[:-1])
def test_nothing_overflows_a_narrow_window_nor_at_twice_the_font_size(open_browser: OpenBrowser, path: str) -> None:
    visitor = open_browser(BrowserOptions(phone=True))
    page = visitor.open(path)
    assert visitor.overflowing_elements() == []
    page.set_viewport_size({"width": MIN_WIDTH, "height": 640})
    assert visitor.overflowing_elements() == []
    page.set_viewport_size({"width": 640, "height": 640})
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert visitor.overflowing_elements() == []


def test_a_printed_page_has_the_quote_and_no_controls(open_browser: OpenBrowser) -> None:
    visitor = open_browser(BrowserOptions(dark=True))
    page = visitor.open("/")
    page.emulate_media(media="print")
    expect(page.locator("blockquote")).to_be_visible()
    expect(page.locator(".author")).to_be_visible()
    for selector in ("form", "button", "#quote nav", "footer a"):
        for element in page.locator(selector).all():
            expect(element).to_be_hidden()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf(format="A4").count(b"/Type /Page\n") == 1


@pytest.mark.parametrize(("preference", "is_animated"), [("no-preference", True), ("reduce", False)])
def test_nothing_is_animated_with_reduced_motion(
    open_browser: OpenBrowser, preference: str, *, is_animated: bool
) -> None:
    visitor = open_browser()
    page = visitor.open("/")
    page.emulate_media(reduced_motion="reduce" if preference == "reduce" else "no-preference")
    starts_animation = """() => new Promise((resolve) => {
      new MutationObserver(() => setTimeout(() => resolve(document.getAnimations().length > 0)))
        .observe(document.getElementById("quote"), { attributes: true });
      document.querySelector(".earlier").click();
    })"""
    assert page.evaluate(starts_animation) is is_animated


# ---- size


@pytest.mark.parametrize("path", ["/", "/quotes/1", "/subscribe"])
def test_a_page_and_its_assets_are_small(open_browser: OpenBrowser, path: str) -> None:
    visitor = open_browser()
    visitor.open(path).wait_for_load_state("networkidle")
    assert {response.url.partition("?")[0].rpartition("/")[2] for response in visitor.responses} >= {
        "style.css",
        "script.js",
    }
    assert sum(len(response.body()) for response in visitor.responses) < MAX_BYTES


# ---- the API reference


@with_and_without_javascript
def test_the_form_of_an_operation_shows_its_response(open_browser: OpenBrowser, options: BrowserOptions) -> None:
    visitor = open_browser(options._replace(stage="/dev"))
    page = visitor.open("/docs")
    form = page.locator("form.try[action$='/daily']")
    form.get_by_role("button").click()
    result = form.locator(".result") if options.javascript else page.locator("body")
    expect(result).to_be_visible()
    expect(result).to_contain_text(api_quote(visitor, "/daily")["quote"])
    if options.javascript:
        expect(form.get_by_role("status")).to_contain_text("200")
    else:
        expect(page).to_have_url(re.compile(f"^{re.escape(visitor.base_url)}/daily"))


def test_the_form_of_an_operation_shows_an_error_response(open_browser: OpenBrowser) -> None:
    visitor = open_browser()
    page = visitor.open("/docs")
    form = page.locator("form.try[data-path='/quotes/{quote_id}']")
    form.get_by_label("quote_id").fill("999")
    form.get_by_role("button").click()
    expect(form.locator(".result")).to_contain_text("No quote found")
    expect(form.get_by_role("status")).to_contain_text("404")
    visitor.assert_failed_requests("404 GET /quotes/999")


def test_a_path_parameter_is_escaped(open_browser: OpenBrowser) -> None:
    visitor = open_browser()
    form = visitor.open("/docs").locator("form.try[data-path='/assets/{name}']")
    form.get_by_label("name").fill("../daily")
    form.get_by_role("button").click()
    expect(form.get_by_role("status")).to_contain_text("404")
    visitor.assert_failed_requests("404 GET /assets/..%2Fdaily")


def test_a_link_opens_in_another_tab_with_the_control_key(open_browser: OpenBrowser) -> None:
    visitor = open_browser()
    page = visitor.open("/")
    with page.context.expect_page() as new_tab:
        page.get_by_role("link", name="Another quote").click(modifiers=["Control"])
    assert "/quotes/" in new_tab.value.url
    expect(page).to_have_url(f"{visitor.base_url}/")
