"""The forms to subscribe, unsubscribe and pause, in a real browser."""

import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from quoteapi.storage.models import ConsoleSms, Subscriber
from quoteapi.subscriptions.phone import normalize_digits
from tests.helpers.browser import (
    DEFAULT,
    WITHOUT_JAVASCRIPT,
    BrowserOptions,
    OpenBrowser,
    require_chromium,
    with_and_without_javascript,
    with_axe,
    with_pairwise_options,
)
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, NOOR, OMAR, add_subscribers, latest_otp, sqlite_only, wrong_otp
from tests.helpers.http import serve_app
from tests.helpers.typed_digits import MOBILES, OTPS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from quoteapi.http.middleware import App

require_chromium()
pytestmark = sqlite_only


def subscriber_state(mobile: str) -> str | None:
    state: str | None = Subscriber.select(Subscriber.state).where(Subscriber.mobile == mobile).scalar()
    return state


def count_sms(mobile: str) -> int:
    count: int = ConsoleSms.select().where(ConsoleSms.to == mobile).count()
    return count


# ---- subscribing


@with_pairwise_options
@pytest.mark.parametrize("path", ["/", "/subscribe"])
def test_a_visitor_subscribes_with_the_code_of_the_sms(
    open_browser: OpenBrowser, options: BrowserOptions, path: str
) -> None:
    visitor = open_browser(options)
    page = visitor.open(path)
    if options.javascript:
        visitor.mark_document()
    visitor.submit("Mobile number", "+91 90280-00001")
    expect(visitor.field("Code")).to_be_visible()
    expect(page.locator("#subscription")).to_contain_text("28")
    assert subscriber_state(MIRA) != "active", "the code is the consent"
    visitor.submit("Code", latest_otp(MIRA))
    expect(page.get_by_role("heading", name="You are subscribed")).to_be_visible()
    assert subscriber_state(MIRA) == "active"
    assert count_sms(MIRA) >= 1
    if options.javascript:
        assert visitor.is_same_document
        expect(page).to_have_url(f"{visitor.base_url}{path}")


def test_the_focus_moves_to_the_next_field_or_to_the_result(open_browser: OpenBrowser) -> None:
    visitor = open_browser()
    page = visitor.open("/")
    while page.evaluate("document.activeElement.id") != "mobile":
        page.keyboard.press("Tab")
    page.keyboard.type(MIRA)
    page.keyboard.press("Enter")
    expect(visitor.field("Code")).to_be_focused()
    page.keyboard.type(latest_otp(MIRA))
    page.keyboard.press("Tab")
    expect(page.locator("summary")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_role("heading", name="You are subscribed")).to_be_focused()


def test_a_link_prefills_the_form_and_does_nothing_until_it_is_submitted(open_browser: OpenBrowser) -> None:
    first_visitor = open_browser(WITHOUT_JAVASCRIPT)
    first_visitor.open("/subscribe")
    first_visitor.submit("Mobile number", MIRA)
    expect(first_visitor.field("Code")).to_be_visible()
    code = latest_otp(MIRA)
    for options in (DEFAULT, WITHOUT_JAVASCRIPT):
        visitor = open_browser(options, base_url=first_visitor.base_url)
        page = visitor.open(f"/subscribe?mobile=%2B{MIRA[1:]}&otp={code}")
        expect(visitor.field("Code")).to_have_value(code)
        assert (count_sms(MIRA), subscriber_state(MIRA)) == (1, None)
        visitor.open(f"/subscribe?mobile=%2B{NOOR[1:]}")
        expect(visitor.field("Mobile number")).to_have_value(NOOR)
        assert count_sms(NOOR) == 0
    visitor.open(f"/subscribe?mobile=%2B{MIRA[1:]}&otp={code}")
    page.get_by_role("button", name="Subscribe").click()
    expect(page.get_by_role("heading", name="You are subscribed")).to_be_visible()


# ---- the time zone


def set_time_zone(page: Page, name: str) -> None:
    """Set the time zone of the browser, until the page is closed."""
    page.context.new_cdp_session(page).send("Emulation.setTimezoneOverride", {"timezoneId": name})


@with_pairwise_options
def test_the_page_shows_the_time_zone_of_the_browser_or_else_of_the_number(
    open_browser: OpenBrowser, options: BrowserOptions
) -> None:
    visitor = open_browser(options)
    set_time_zone(visitor.page, "America/New_York")
    page = visitor.open("/")
    visitor.submit("Mobile number", MIRA)
    hour = "at 09:00, New York time" if options.javascript else "at 10:00, Kolkata time"
    expect(page.locator("summary")).to_have_text(f"One SMS a day {hour}. Another time zone?")
    assert visitor.overflowing_elements() == []
    visitor.submit("Code", latest_otp(MIRA))
    day = "today" if options.javascript else "tomorrow"
    expect(page.locator("#subscription")).to_contain_text(f"The next one comes {day} {hour}.")
    time_zone = Subscriber.get().time_zone
    assert time_zone == ("America/New_York" if options.javascript else "Asia/Kolkata")


@with_and_without_javascript
def test_a_visitor_chooses_another_time_zone(open_browser: OpenBrowser, options: BrowserOptions) -> None:
    visitor = open_browser(options)
    set_time_zone(visitor.page, "Asia/Calcutta")  # which Chromium names so
    page = visitor.open("/subscribe")
    visitor.submit("Mobile number", MIRA)
    page.get_by_text("Another time zone?").click()
    expect(page.locator("summary")).to_have_text("One SMS a day at 10:00, Kolkata time. Another time zone?")
    expect(page.locator("summary .hour"), "which may be wrong now").to_be_hidden()
    page.get_by_label("Your time zone").select_option("Buenos Aires, Argentina")
    visitor.submit("Code", wrong_otp(latest_otp(MIRA)))
    expect(page.get_by_role("alert")).to_contain_text("4 tries left")
    visitor.assert_failed_requests("400 POST /subscribe")
    expect(page.locator("summary")).to_contain_text("at 09:00, Buenos Aires time")
    visitor.submit("Code", latest_otp(MIRA))
    expect(page.locator("#subscription")).to_contain_text("The next one comes tomorrow at 09:00, Buenos Aires time.")
    assert Subscriber.get().time_zone == "America/Argentina/Buenos_Aires"


UNKNOWN_TIME_ZONE = "Intl.DateTimeFormat.prototype.resolvedOptions = () => ({ timeZone: 'Mars/Phobos' });"


def test_a_time_zone_of_the_browser_that_the_service_does_not_know_is_chosen_in_the_page(
    open_browser: OpenBrowser,
) -> None:
    visitor = open_browser()
    visitor.page.add_init_script(UNKNOWN_TIME_ZONE)
    page = visitor.open("/")
    visitor.submit("Mobile number", MIRA)
    choice = page.get_by_label("Your time zone")
    expect(choice).to_be_focused()
    expect(choice).to_have_value("Asia/Kolkata")
    expect(choice).to_have_attribute("aria-invalid", "true")
    expect(choice).to_have_accessible_description("Check your time zone, and send the form again.")
    expect(visitor.field("Mobile number")).to_have_value(MIRA)
    assert count_sms(MIRA) == 0
    visitor.assert_failed_requests("400 POST /subscribe")
    page.get_by_role("button", name="Text me a code").click()
    expect(page.locator("summary")).to_contain_text("at 10:00, Kolkata time")
    assert count_sms(MIRA) == 1


def test_a_browser_that_hides_its_time_zone_leaves_the_choice_to_the_number(open_browser: OpenBrowser) -> None:
    visitor = open_browser()
    set_time_zone(visitor.page, "UTC")
    page = visitor.open("/")
    visitor.submit("Mobile number", MIRA)
    expect(page.locator("summary")).to_contain_text("at 10:00, Kolkata time")


# ---- validation


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("12345", "too short"),
        ("+91 90280 00001 00002 00003", "too long"),
        ("call me", "digits"),
    ],
)
def test_an_invalid_number_shows_an_error_and_sends_no_request(
    open_browser: OpenBrowser, typed: str, message: str
) -> None:
    visitor = open_browser()
    page = visitor.open("/")
    requests = visitor.requested_urls()
    field, error = visitor.field("Mobile number"), page.get_by_role("alert")
    field.press_sequentially("+9")
    expect(error, "there is no error while typing").to_be_hidden()
    field.fill(typed)
    field.press("Enter")
    expect(error).to_contain_text(message)
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(re.compile(message))
    expect(field).to_be_focused()
    field.fill(MIRA)
    expect(error).to_be_hidden()
    expect(field).not_to_have_attribute("aria-invalid", "true")
    assert visitor.requested_urls() == requests


@with_and_without_javascript
def test_an_invalid_number_that_only_the_service_detects_shows_its_error(
    open_browser: OpenBrowser, options: BrowserOptions
) -> None:
    visitor = open_browser(options)
    page = visitor.open("/")
    visitor.submit("Mobile number", "+91 00000 00001")
    field = visitor.field("Mobile number")
    expect(field).to_have_attribute("aria-invalid", "true")
    visitor.assert_failed_requests("400 POST /subscribe")
    expect(field).to_have_value("+91 00000 00001")
    expect(page.get_by_role("alert")).to_contain_text("country code")
    expect(page.get_by_role("alert")).not_to_contain_text("%2B")
    expect(field).to_have_accessible_description(re.compile("country code"))
    visitor.submit("Mobile number", MIRA)
    expect(visitor.field("Code")).to_be_visible()


@with_and_without_javascript
def test_a_wrong_code_shows_how_many_tries_are_left(open_browser: OpenBrowser, options: BrowserOptions) -> None:
    visitor = open_browser(options)
    page = visitor.open("/subscribe")
    visitor.submit("Mobile number", MIRA)
    expect(visitor.field("Code")).to_be_visible()
    code = latest_otp(MIRA)
    for left in ("4 tries left", "3 tries left"):
        visitor.submit("Code", wrong_otp(code))
        expect(page.get_by_role("alert")).to_contain_text(left)
        expect(visitor.field("Code")).to_have_accessible_description(re.compile(left))
        expect(visitor.field("Code")).to_have_attribute("aria-invalid", "true")
        visitor.assert_failed_requests("400 POST /subscribe")
    if not options.javascript:
        visitor.field("Code").focus()
    expect(visitor.field("Code")).to_be_focused()
    page.keyboard.type(code)  # without clearing the field
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="You are subscribed")).to_be_visible()


def test_an_invalid_code_shows_an_error_and_sends_no_request(open_browser: OpenBrowser) -> None:
    visitor = open_browser()
    page = visitor.open("/subscribe")
    visitor.submit("Mobile number", MIRA)
    expect(visitor.field("Code")).to_be_visible()
    requests = visitor.requested_urls()
    visitor.submit("Code", "12345")
    expect(page.get_by_role("alert")).to_contain_text("six digits")
    assert visitor.requested_urls() == requests
    page.keyboard.type(latest_otp(MIRA))  # without clearing the field
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="You are subscribed")).to_be_visible()


@with_and_without_javascript
def test_a_second_code_requested_too_soon_shows_how_long_to_wait(
    open_browser: OpenBrowser, clock: FakeClock, options: BrowserOptions
) -> None:
    visitor = open_browser(options)
    page = visitor.open("/")
    visitor.submit("Mobile number", MIRA)
    expect(visitor.field("Code")).to_be_visible()
    first, button = latest_otp(MIRA), page.get_by_role("button", name="Send another code")
    if options.javascript:
        visitor.stop_clock()
    button.click()
    expect(page.get_by_role("alert")).to_have_text("Too many codes for this number. Try again in 60 seconds.")
    expect(button).to_have_accessible_description(re.compile("Try again in 60 seconds"))
    expect(visitor.field("Code")).not_to_have_attribute("aria-invalid", "true")
    expect(visitor.field("Code")).to_have_accessible_description("")
    visitor.assert_failed_requests("429 POST /subscribe")
    if options.javascript:
        expect(button).to_have_attribute("aria-disabled", "true")
        page.clock.fast_forward(20_000)
        expect(page.get_by_role("alert")).to_contain_text("Try again in 40 seconds")
        expect(page.get_by_role("timer")).to_have_attribute("aria-live", "off")
        page.clock.fast_forward(40_000)
        expect(page.get_by_role("alert")).to_have_text("You can try again now.")
    assert count_sms(MIRA) == 1
    clock.advance(minutes=1)
    button.click()
    expect(page.get_by_role("alert")).to_be_hidden()
    assert latest_otp(MIRA) != first
    visitor.submit("Code", latest_otp(MIRA))
    expect(page.get_by_role("heading", name="You are subscribed")).to_be_visible()


def test_offline_the_form_keeps_its_input_and_shows_an_error(open_browser: OpenBrowser) -> None:
    visitor = open_browser()
    page = visitor.open("/")
    visitor.set_offline(is_offline=True)
    visitor.submit("Mobile number", MIRA)
    expect(page.get_by_role("alert")).to_contain_text("Check your connection")
    expect(visitor.field("Mobile number")).to_have_value(MIRA)
    visitor.assert_failed_requests("failed POST /subscribe")
    visitor.set_offline(is_offline=False)
    page.get_by_role("button", name="Text me a code").click()
    expect(visitor.field("Code")).to_be_visible()
    assert count_sms(MIRA) == 1


@with_and_without_javascript
def test_a_failure_that_is_not_about_a_field_does_not_mark_it(
    open_browser: OpenBrowser, options: BrowserOptions
) -> None:
    visitor = open_browser(options, SMS_MAX_SUBSCRIBERS="1")
    page = visitor.open("/subscribe")
    visitor.submit("Mobile number", MIRA)
    expect(visitor.field("Code")).to_be_visible()
    add_subscribers(NOOR)
    visitor.submit("Code", latest_otp(MIRA))
    expect(page.get_by_role("alert")).to_contain_text("Your code is right")
    expect(visitor.field("Code")).to_have_value(latest_otp(MIRA))
    expect(visitor.field("Code")).not_to_have_attribute("aria-invalid", "true")
    visitor.assert_failed_requests("503 POST /subscribe")
    page.get_by_role("link", name="use another number").click()
    visitor.submit("Mobile number", OMAR)
    expect(page.get_by_role("alert")).to_contain_text("as many subscribers as it can serve")
    expect(visitor.field("Mobile number")).to_have_accessible_description(
        re.compile("as many subscribers as it can serve")
    )
    expect(visitor.field("Mobile number")).not_to_have_attribute("aria-invalid", "true")
    visitor.assert_failed_requests("503 POST /subscribe")


@with_and_without_javascript
def test_the_right_code_sent_twice_says_that_the_number_is_subscribed(
    open_browser: OpenBrowser, options: BrowserOptions
) -> None:
    visitor = open_browser(options)
    visitor.open("/subscribe")
    visitor.submit("Mobile number", MIRA)
    expect(visitor.field("Code")).to_be_visible()
    other_tab = open_browser(options, base_url=visitor.base_url)
    for tab in (visitor, other_tab):
        if tab is other_tab:
            tab.open("/subscribe?otp")
            tab.field("Mobile number").fill(MIRA)
        tab.submit("Code", latest_otp(MIRA))
        expect(tab.page.get_by_role("heading", name="You are subscribed")).to_be_visible()
    assert ConsoleSms.select().where(ConsoleSms.kind == "confirmation").count() == 1


# ---- coming back with a code


@with_pairwise_options
@pytest.mark.parametrize("path", ["/", "/subscribe"])
def test_a_visitor_who_has_a_code_types_it_with_the_number(
    open_browser: OpenBrowser, options: BrowserOptions, path: str
) -> None:
    visitor = open_browser(options)
    requested = requests.post(f"{visitor.base_url}/subscribe", {"mobile": MIRA}, timeout=30)
    assert requested.status_code == 200
    page = visitor.open(path)
    page.get_by_role("link", name="I have a code").click()
    expect(visitor.field("Code")).to_be_visible()
    visitor.field("Mobile number").fill("+91 90280 00001")
    visitor.submit("Code", wrong_otp(latest_otp(MIRA)))
    expect(page.get_by_role("alert")).to_contain_text("4 tries left")
    visitor.assert_failed_requests("400 POST /subscribe")
    expect(page.locator("#subscription")).to_contain_text("+91 90280 00001")
    visitor.submit("Code", latest_otp(MIRA))
    expect(page.get_by_role("heading", name="You are subscribed")).to_be_visible()
    assert count_sms(MIRA) == 2, "the code and the confirmation"


@with_and_without_javascript
def test_an_invalid_number_beside_a_code_keeps_the_code(open_browser: OpenBrowser, options: BrowserOptions) -> None:
    visitor = open_browser(options)
    page = visitor.open("/subscribe?otp")
    visitor.field("Mobile number").fill("+91 00000 00001")
    visitor.submit("Code", "123456")
    expect(visitor.field("Mobile number")).to_have_attribute("aria-invalid", "true")
    expect(visitor.field("Mobile number")).to_have_accessible_description(re.compile("not a mobile number"))
    expect(visitor.field("Code")).to_have_value("123456")
    expect(visitor.field("Code")).not_to_have_attribute("aria-invalid", "true")
    visitor.assert_failed_requests("400 POST /subscribe")
    visitor.field("Mobile number").fill(MIRA)
    page.get_by_role("button", name="Send another code").click()
    expect(page.get_by_role("status")).to_contain_text("We are sending a code to +91 90280 00001")
    expect(visitor.field("Code")).to_have_value("")
    assert count_sms(MIRA) == 1


@pytest.mark.parametrize("path", ["/", "/subscribe"])
def test_a_reload_keeps_the_step_and_the_number_is_in_no_url(open_browser: OpenBrowser, path: str) -> None:
    visitor = open_browser()
    page = visitor.open(path)
    visitor.submit("Mobile number", MIRA)
    expect(visitor.field("Code")).to_be_visible()
    page.reload()
    expect(visitor.field("Code")).to_be_visible()
    expect(visitor.field("Mobile number")).to_have_value(MIRA)
    assert not [url for url in visitor.requested_urls() if "9028000001" in url]
    visitor.submit("Code", latest_otp(MIRA))
    expect(page.get_by_role("heading", name="You are subscribed")).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="Text me a code")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_the_number_is_forgotten_with_another_number_and_when_the_code_has_expired(open_browser: OpenBrowser) -> None:
    visitor = open_browser()
    page = visitor.open("/subscribe")
    visitor.submit("Mobile number", MIRA)
    page.get_by_role("link", name="use another number").click()
    expect(page.get_by_role("button", name="Text me a code")).to_be_visible()
    expect(visitor.field("Mobile number")).to_have_value("")
    visitor.submit("Mobile number", NOOR)
    expect(visitor.field("Code")).to_be_visible()
    visitor.stop_clock(minutes=11)
    page.reload()
    expect(page.get_by_role("button", name="Text me a code")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


# ---- national numbers

IN_THE_UNITED_STATES = {"Accept-Language": "en-US,en;q=0.9"}


@with_and_without_javascript
@pytest.mark.parametrize("path", ["/", "/unsubscribe"])
def test_a_number_without_plus_suggests_that_of_the_visitors_country(
    open_browser: OpenBrowser, options: BrowserOptions, path: str
) -> None:
    visitor = open_browser(options)
    add_subscribers("+16785550123")
    page = visitor.open(path)
    page.set_extra_http_headers(IN_THE_UNITED_STATES)
    visitor.submit("Mobile number", "678 555 0123")
    field = visitor.field("Mobile number")
    expect(field).to_have_accessible_description(re.compile("country code.* Did you mean \\+1 678-555-0123"))
    expect(field).to_have_value("678 555 0123")
    with page.expect_response(re.compile("subscribe$")):
        field.press("Enter")  # which chooses no suggestion
    assert (ConsoleSms.select().count(), subscriber_state("+16785550123")) == (0, "active")
    page.get_by_role("button", name="+1 678-555-0123").click()
    result = re.compile("(sending a code|no longer send).*\\+1 678-555-0123")
    expect(page.locator("#subscription")).to_contain_text(result)
    action = "/unsubscribe" if path == "/unsubscribe" else "/subscribe"
    visitor.assert_failed_requests(f"400 POST {action}", f"400 POST {action}")


def test_a_number_without_plus_beside_a_code_suggests_numbers_and_keeps_the_code(open_browser: OpenBrowser) -> None:
    visitor = open_browser()
    visitor.open("/subscribe")
    visitor.submit("Mobile number", MIRA)
    expect(visitor.field("Code")).to_be_visible()
    page = visitor.open("/subscribe?otp")
    visitor.field("Mobile number").fill(MIRA[1:])
    visitor.submit("Code", latest_otp(MIRA))
    page.get_by_role("button", name="+91 90280 00001").click()
    expect(page.get_by_role("heading", name="You are subscribed")).to_be_visible()
    visitor.assert_failed_requests("400 POST /subscribe")


# ---- layout


@pytest.mark.parametrize("options", [DEFAULT, BrowserOptions(phone=True)], ids=str)
def test_errors_and_hints_are_under_their_field_and_above_the_button_for_eyes_and_screen_readers(
    open_browser: OpenBrowser, options: BrowserOptions
) -> None:
    visitor = open_browser(options)
    page = visitor.open("/subscribe")
    visitor.submit("Mobile number", "+91 00000 00001")
    expect(page.get_by_role("alert")).to_be_visible()
    visitor.assert_failed_requests("400 POST /subscribe")
    described = visitor.field("Mobile number").get_attribute("aria-describedby")
    assert described == "mobile-error mobile-hint"
    order = ["#mobile", "#mobile-error", "#mobile-hint", "form > button"]
    elements = page.locator(", ".join(order))
    names = elements.evaluate_all("(elements) => elements.map((element) => element.id || element.localName)")
    tops = elements.evaluate_all("(elements) => elements.map((element) => element.getBoundingClientRect().top)")
    assert names == ["mobile", "mobile-error", "mobile-hint", "button"], "the order of the document"
    assert tops == sorted(set(tops))
    assert visitor.overflowing_elements() == []


@with_axe
@pytest.mark.parametrize("options", [DEFAULT, BrowserOptions(phone=True, dark=True)], ids=str)
def test_axe_finds_no_accessibility_violation_in_any_step(open_browser: OpenBrowser, options: BrowserOptions) -> None:
    visitor = open_browser(options)
    page = visitor.open("/")
    visitor.submit("Mobile number", "12345")
    expect(page.get_by_role("alert")).to_be_visible()
    assert visitor.axe_violations() == []
    page.set_extra_http_headers(IN_THE_UNITED_STATES)
    visitor.submit("Mobile number", "678 555 0123")
    expect(page.get_by_role("button", name="+1 678-555-0123")).to_be_visible()
    visitor.assert_failed_requests("400 POST /subscribe")
    visitor.wait_for_animations()
    assert visitor.axe_violations() == []
    visitor.submit("Mobile number", MIRA)
    expect(visitor.field("Code")).to_be_visible()
    visitor.wait_for_animations()
    assert visitor.axe_violations() == []
    page.get_by_text("Another time zone?").click()
    expect(page.get_by_label("Your time zone")).to_be_visible()
    assert visitor.axe_violations() == []
    page.get_by_role("button", name="Send another code").click()
    expect(page.get_by_role("timer")).to_be_visible()
    visitor.assert_failed_requests("429 POST /subscribe")
    visitor.wait_for_animations()
    assert visitor.axe_violations() == []
    page.reload()
    expect(visitor.field("Code")).to_be_visible()
    expect(visitor.field("Mobile number")).to_have_value(MIRA)
    visitor.wait_for_animations()
    assert visitor.axe_violations() == []
    visitor.submit("Code", wrong_otp(latest_otp(MIRA)))
    expect(page.get_by_role("alert")).to_be_visible()
    visitor.assert_failed_requests("400 POST /subscribe")
    visitor.wait_for_animations()
    assert visitor.axe_violations() == []
    visitor.submit("Code", latest_otp(MIRA))
    expect(page.get_by_role("heading", name="You are subscribed")).to_be_visible()
    visitor.wait_for_animations()
    assert visitor.axe_violations() == []


# ---- unsubscribing


@with_pairwise_options
def test_a_visitor_unsubscribes_in_one_step(open_browser: OpenBrowser, options: BrowserOptions) -> None:
    visitor = open_browser(options)
    add_subscribers(MIRA, NOOR)
    page = visitor.open("/")
    page.get_by_role("link", name="Unsubscribe").click()
    visitor.submit("Mobile number", MIRA)
    expect(page.get_by_role("heading", name="You are unsubscribed")).to_be_visible()
    assert (subscriber_state(MIRA), subscriber_state(NOOR)) == ("unsubscribed", "active")


@with_and_without_javascript
def test_a_visitor_unsubscribes_with_a_code_if_the_settings_require_it(
    open_browser: OpenBrowser, options: BrowserOptions
) -> None:
    visitor = open_browser(options, UNSUBSCRIBE_REQUIRES_OTP="true")
    add_subscribers(MIRA)
    page = visitor.open("/unsubscribe")
    visitor.submit("Mobile number", MIRA)
    expect(visitor.field("Code")).to_be_visible()
    assert subscriber_state(MIRA) == "active"
    visitor.submit("Code", latest_otp(MIRA))
    expect(page.get_by_role("heading", name="You are unsubscribed")).to_be_visible()
    assert subscriber_state(MIRA) == "unsubscribed"


def test_a_link_does_not_unsubscribe_until_the_form_is_submitted(open_browser: OpenBrowser) -> None:
    visitor = open_browser()
    add_subscribers(MIRA)
    page = visitor.open(f"/unsubscribe?mobile=%2B{MIRA[1:]}")
    expect(visitor.field("Mobile number")).to_have_value(MIRA)
    assert subscriber_state(MIRA) == "active"
    page.get_by_role("button", name="Unsubscribe").click()
    expect(page.get_by_role("heading", name="You are unsubscribed")).to_be_visible()


# ---- pausing


def paused_until(mobile: str) -> datetime | None:
    moment: datetime | None = Subscriber.select(Subscriber.paused_until).where(Subscriber.mobile == mobile).scalar()
    return moment


@with_pairwise_options
def test_a_visitor_who_wants_to_unsubscribe_can_pause_instead(
    open_browser: OpenBrowser, options: BrowserOptions
) -> None:
    visitor = open_browser(options)
    add_subscribers(MIRA, NOOR)
    page = visitor.open("/unsubscribe")
    page.get_by_role("link", name="Pause for some days").click()
    expect(page.get_by_label("Pause for")).to_have_value("7")
    page.get_by_label("Pause for").select_option("14 days")
    visitor.submit("Mobile number", MIRA)
    expect(page.get_by_role("heading", name="The daily SMS is paused")).to_be_visible()
    expect(page.locator("#subscription")).to_contain_text("for 14 days. If the number is subscribed")
    assert (paused_until(MIRA), paused_until(NOOR)) == (datetime(2026, 12, 7, tzinfo=UTC), None)
    assert visitor.overflowing_elements() == []
    page.get_by_role("link", name="subscribe again").click()
    expect(page.get_by_role("heading", name="Get the quote by SMS")).to_be_visible()


@with_and_without_javascript
def test_a_visitor_pauses_with_a_code_if_the_settings_require_it(
    open_browser: OpenBrowser, options: BrowserOptions
) -> None:
    visitor = open_browser(options, UNSUBSCRIBE_REQUIRES_OTP="true")
    add_subscribers(MIRA)
    page = visitor.open("/pause?days=5")
    visitor.submit("Mobile number", MIRA)
    expect(visitor.field("Code")).to_be_visible()
    if options.javascript:
        page.reload()
        expect(visitor.field("Mobile number")).to_have_value(MIRA)
        expect(page.get_by_label("Pause for"), "which has no choice of 5").to_have_value("5")
    visitor.submit("Code", wrong_otp(latest_otp(MIRA)))
    expect(page.get_by_role("alert")).to_contain_text("4 tries left")
    visitor.assert_failed_requests("400 POST /pause")
    assert paused_until(MIRA) is None
    visitor.submit("Code", latest_otp(MIRA))
    expect(page.get_by_role("heading", name="The daily SMS is paused")).to_be_visible()
    assert paused_until(MIRA) == datetime(2026, 11, 28, tzinfo=UTC)


@with_axe
@pytest.mark.parametrize("options", [DEFAULT, BrowserOptions(phone=True, dark=True)], ids=str)
def test_axe_finds_no_accessibility_violation_in_a_pause(open_browser: OpenBrowser, options: BrowserOptions) -> None:
    visitor = open_browser(options, UNSUBSCRIBE_REQUIRES_OTP="true")
    for path in ("/unsubscribe", "/pause?otp", "/pause"):
        visitor.open(path)
        visitor.wait_for_animations()
        assert visitor.axe_violations() == []
    for field, text in (("Mobile number", MIRA), ("Code", "")):
        visitor.submit(field, text)
        expect(visitor.field("Code")).to_be_visible()
        visitor.wait_for_animations()
        assert visitor.axe_violations() == []


# ---- cross-site requests (CSRF)


@contextmanager
def serve_other_site(html: str) -> Iterator[str]:
    """Serve a page of another site. Yields its URL, which has another host name."""

    def page(env: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
        body = html.encode()
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))])
        return [body]

    with serve_app(cast("App", page)) as url:
        yield url.replace("127.0.0.1", "localhost")


@pytest.fixture
def unchecked_page(browser: Browser) -> Iterator[Page]:
    """Open a page in which errors and external requests are allowed."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("sender", ["localhost", "127.0.0.1"])
def test_a_form_of_another_site_is_rejected_and_sends_no_sms(
    open_browser: OpenBrowser, unchecked_page: Page, sender: str
) -> None:
    base_url = open_browser().base_url
    fields = f'<input name="mobile" value="{MIRA}"><button>Win</button>'
    form = f'<form method="post" action="{base_url}/subscribe">{fields}</form>'
    with serve_other_site(form) as url:
        unchecked_page.goto(url.replace("localhost", sender))
        with unchecked_page.expect_navigation() as navigation:
            unchecked_page.get_by_role("button").click()
        assert navigation.value.status == 403
        expect(unchecked_page.get_by_role("main")).to_contain_text("Another website may have sent this.")
        assert count_sms(MIRA) == 0


def test_an_image_of_another_site_sends_no_sms(open_browser: OpenBrowser, unchecked_page: Page) -> None:
    base_url = open_browser().base_url
    with serve_other_site(f'<img src="{base_url}/subscribe?mobile=%2B{MIRA[1:]}">') as url:
        with unchecked_page.expect_request(f"{base_url}/subscribe*"):
            unchecked_page.goto(url)  # which waits for its images
        assert count_sms(MIRA) == 0


def test_a_site_of_cors_origins_may_send_forms(open_browser: OpenBrowser, unchecked_page: Page) -> None:
    with serve_other_site("<p>An allowed site</p>") as url:
        base_url = open_browser(CORS_ORIGINS=url).base_url
        unchecked_page.goto(url)
        send = "async ([to, mobile]) => (await fetch(to, {method: 'POST', body: new URLSearchParams({mobile})})).status"
        assert unchecked_page.evaluate(send, [f"{base_url}/subscribe", MIRA]) == 200
        assert count_sms(MIRA) == 1


def test_no_other_site_can_show_a_page_in_a_frame(open_browser: OpenBrowser, unchecked_page: Page) -> None:
    base_url = open_browser().base_url
    with serve_other_site(f'<iframe src="{base_url}/"></iframe><iframe src="{base_url}/subscribe"></iframe>') as url:
        unchecked_page.goto(url)
        frames = unchecked_page.frames[1:]
        assert len(frames) == 2
        for frame in frames:
            frame.wait_for_url(re.compile("^chrome-error:"), wait_until="commit")


def test_a_form_submitted_twice_sends_one_request(open_browser: OpenBrowser) -> None:
    visitor = open_browser()
    page = visitor.open("/subscribe")
    visitor.field("Mobile number").fill(MIRA)
    page.evaluate("() => { const form = document.forms[0]; form.requestSubmit(); form.requestSubmit(); }")
    expect(visitor.field("Code")).to_be_visible()
    assert sum(request.method == "POST" for request in visitor.requests) == 1


def test_a_response_that_is_not_a_page_of_the_service_shows_an_error(open_browser: OpenBrowser) -> None:
    visitor = open_browser()
    page = visitor.open("/subscribe")
    page.route("**/subscribe", lambda route: route.fulfill(status=502, content_type="text/html", body="Bad gateway"))
    visitor.submit("Mobile number", MIRA)
    expect(page.get_by_role("alert")).to_contain_text("Something went wrong.")
    visitor.assert_failed_requests("502 POST /subscribe")


def test_the_page_normalizes_numbers_and_codes_as_the_service_does(open_browser: OpenBrowser) -> None:
    page = open_browser().open("/subscribe")
    texts = [text for text, _ in MOBILES + OTPS]
    texts += [character for number in range(0x110000) if unicodedata.category(character := chr(number)) not in "Cn Cs"]
    results = page.evaluate(
        """async (texts) => {
          const { normalizeDigits } = await import(document.querySelector("script[src*='script.js']").src);
          return texts.map(normalizeDigits);
        }""",
        texts,
    )
    different = {text for text, result in zip(texts, results, strict=True) if result != normalize_digits(text)}
    assert different <= {"\N{AHOM CONSONANT SIGN MEDIAL RA}"}, "its category changed with Unicode 15"


@pytest.mark.parametrize("typed", ["+91\u200b9028000001", "＋91 9028000001", "+6907290", "+٩١٩٠٢٨٠٠٠٠٠١"])
def test_a_number_that_the_service_accepts_shows_no_error(open_browser: OpenBrowser, typed: str) -> None:
    visitor = open_browser()
    visitor.open("/subscribe")
    visitor.submit("Mobile number", typed)
    expect(visitor.field("Code")).to_be_visible()
