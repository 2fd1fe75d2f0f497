"""What people see who subscribe and leave, in a real browser."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import pytest
from playwright.sync_api import Browser, Page, expect

from quoteapi.storage.models import ConsoleSms, Subscriber
from tests.helpers.browser import (
    PLAIN,
    WITHOUT_JAVASCRIPT,
    Arrive,
    Manner,
    a_browser_or_skip,
    in_every_manner,
    with_and_without_javascript,
    with_axe,
)
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, NOOR, add_subscribers, latest_otp, sqlite_only, wrong_otp
from tests.helpers.http import serve_app

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from quoteapi.http.middleware import App

a_browser_or_skip()
pytestmark = sqlite_only


def state_of(mobile: str) -> str | None:
    state: str | None = Subscriber.select(Subscriber.state).where(Subscriber.mobile == mobile).scalar()
    return state


def sent_to(mobile: str) -> int:
    sent: int = ConsoleSms.select().where(ConsoleSms.to == mobile).count()
    return sent


# ---- subscribing


@in_every_manner
@pytest.mark.parametrize("path", ["/", "/subscribe"])
def test_somebody_subscribes_with_the_code_of_the_sms(arrive: Arrive, manner: Manner, path: str) -> None:
    mira = arrive(manner)
    page = mira.open(path)
    if manner.javascript:
        mira.marks_the_page()
    mira.types_in("Mobile number", "+91 90280-00001")
    expect(mira.field("Code")).to_be_visible()
    expect(page.locator("#subscription")).to_contain_text("28")
    assert state_of(MIRA) != "active", "consent is the code"
    mira.types_in("Code", latest_otp(MIRA))
    expect(page.get_by_role("heading", name="You will get tomorrow’s.")).to_be_visible()
    assert state_of(MIRA) == "active"
    assert sent_to(MIRA) >= 1
    if manner.javascript:
        assert mira.page_is_the_same
        expect(page).to_have_url(f"{mira.home}{path}")


def test_the_focus_goes_where_there_is_something_to_do_or_to_hear(arrive: Arrive) -> None:
    mira = arrive()
    page = mira.open("/")
    while page.evaluate("document.activeElement.id") != "mobile":
        page.keyboard.press("Tab")
    page.keyboard.type(MIRA)
    page.keyboard.press("Enter")
    expect(mira.field("Code")).to_be_focused()
    page.keyboard.type(latest_otp(MIRA))
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_role("heading", name="You will get tomorrow’s.")).to_be_focused()


def test_a_link_fills_the_form_in_and_does_nothing_before_somebody_says_so(arrive: Arrive) -> None:
    asked = arrive(WITHOUT_JAVASCRIPT)
    asked.open("/subscribe")
    asked.types_in("Mobile number", MIRA)
    expect(asked.field("Code")).to_be_visible()
    code = latest_otp(MIRA)
    for manner in (PLAIN, WITHOUT_JAVASCRIPT):
        mira = arrive(manner, home=asked.home)
        page = mira.open(f"/subscribe?mobile=%2B{MIRA[1:]}&otp={code}")
        expect(mira.field("Code")).to_have_value(code)
        assert (sent_to(MIRA), state_of(MIRA)) == (1, None)
        mira.open(f"/subscribe?mobile=%2B{NOOR[1:]}")
        expect(mira.field("Mobile number")).to_have_value(NOOR)
        assert sent_to(NOOR) == 0
    mira.open(f"/subscribe?mobile=%2B{MIRA[1:]}&otp={code}")
    page.get_by_role("button", name="Subscribe").click()
    expect(page.get_by_role("heading", name="You will get tomorrow’s.")).to_be_visible()


# ---- being told off


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("12345", "too short"),
        ("+91 90280 00001 00002 00003", "too long"),
        ("090280 00001", "country code"),
        ("call me", "digits"),
    ],
)
def test_a_number_that_is_none_is_told_off_at_once_and_nothing_is_sent(arrive: Arrive, typed: str, said: str) -> None:
    mira = arrive()
    page = mira.open("/")
    page.wait_for_load_state("networkidle")
    loaded = len(mira.loaded)
    field, error = mira.field("Mobile number"), page.get_by_role("alert")
    field.press_sequentially("+9")
    expect(error, "nobody is told off while still typing").to_be_hidden()
    field.fill(typed)
    field.press("Enter")
    expect(error).to_contain_text(said)
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(re.compile(said))
    expect(field).to_be_focused()
    field.fill(MIRA)
    expect(error).to_be_hidden()
    expect(field).not_to_have_attribute("aria-invalid", "true")
    assert mira.loaded[loaded:] == []


@with_and_without_javascript
def test_a_number_that_only_the_service_knows_to_be_none_is_told_off_by_its_answer(
    arrive: Arrive, manner: Manner
) -> None:
    mira = arrive(manner)
    page = mira.open("/")
    mira.types_in("Mobile number", "+91 00000 00001")
    field = mira.field("Mobile number")
    expect(field).to_have_attribute("aria-invalid", "true")
    mira.was_refused("400 POST /subscribe")
    expect(field).to_have_value("+91 00000 00001")
    expect(page.get_by_role("alert")).to_contain_text("country code")
    expect(page.get_by_role("alert")).not_to_contain_text("%2B")
    expect(field).to_have_accessible_description(re.compile("country code"))
    mira.types_in("Mobile number", MIRA)
    expect(mira.field("Code")).to_be_visible()


@with_and_without_javascript
def test_a_wrong_code_says_how_many_tries_are_left(arrive: Arrive, manner: Manner) -> None:
    mira = arrive(manner)
    page = mira.open("/subscribe")
    mira.types_in("Mobile number", MIRA)
    expect(mira.field("Code")).to_be_visible()
    code = latest_otp(MIRA)
    for left in ("4 tries left", "3 tries left"):
        mira.types_in("Code", wrong_otp(code))
        expect(page.get_by_role("alert")).to_contain_text(left)
        expect(mira.field("Code")).to_have_accessible_description(re.compile(left))
        mira.was_refused("400 POST /subscribe")
    mira.types_in("Code", code)
    expect(page.get_by_role("heading", name="You will get tomorrow’s.")).to_be_visible()


def test_a_code_that_is_none_is_told_off_at_once(arrive: Arrive) -> None:
    mira = arrive()
    page = mira.open("/subscribe")
    mira.types_in("Mobile number", MIRA)
    expect(mira.field("Code")).to_be_visible()
    loaded = len(mira.loaded)
    mira.types_in("Code", "12345")
    expect(page.get_by_role("alert")).to_contain_text("six digits")
    assert mira.loaded[loaded:] == []


@with_and_without_javascript
def test_who_wants_a_second_code_too_soon_is_told_when_and_then_gets_it(
    arrive: Arrive, clock: FakeClock, manner: Manner
) -> None:
    mira = arrive(manner)
    page = mira.open("/")
    mira.types_in("Mobile number", MIRA)
    expect(mira.field("Code")).to_be_visible()
    first = latest_otp(MIRA)
    page.get_by_role("button", name="Send another code").click()
    expect(page.get_by_role("alert")).to_contain_text("Try again in")
    mira.was_refused("429 POST /subscribe")
    assert sent_to(MIRA) == 1
    clock.advance(minutes=2)
    expect(mira.field("Code")).to_be_visible()
    page.get_by_role("button", name="Send another code").click()
    expect(page.get_by_role("alert")).to_be_hidden()
    assert latest_otp(MIRA) != first
    mira.types_in("Code", latest_otp(MIRA))
    expect(page.get_by_role("heading", name="You will get tomorrow’s.")).to_be_visible()


def test_without_a_network_what_was_typed_is_kept(arrive: Arrive) -> None:
    mira = arrive()
    page = mira.open("/")
    page.wait_for_load_state("networkidle")
    mira.go_offline()
    mira.types_in("Mobile number", MIRA)
    expect(page.get_by_role("alert")).to_contain_text("online")
    expect(mira.field("Mobile number")).to_have_value(MIRA)
    mira.was_refused("failed POST /subscribe")
    mira.go_offline(back=True)
    page.get_by_role("button", name="Text me a code").click()
    expect(mira.field("Code")).to_be_visible()
    assert sent_to(MIRA) == 1


@with_axe
@pytest.mark.parametrize("manner", [PLAIN, Manner(phone=True, dark=True)], ids=str)
def test_no_step_has_a_barrier_that_axe_knows_of(arrive: Arrive, manner: Manner) -> None:
    mira = arrive(manner)
    page = mira.open("/")
    mira.types_in("Mobile number", "12345")
    expect(page.get_by_role("alert")).to_be_visible()
    assert mira.barriers == []
    mira.types_in("Mobile number", MIRA)
    expect(mira.field("Code")).to_be_visible()
    mira.is_still()
    assert mira.barriers == []
    mira.types_in("Code", wrong_otp(latest_otp(MIRA)))
    expect(page.get_by_role("alert")).to_be_visible()
    mira.was_refused("400 POST /subscribe")
    mira.is_still()
    assert mira.barriers == []
    mira.types_in("Code", latest_otp(MIRA))
    expect(page.get_by_role("heading", name="You will get tomorrow’s.")).to_be_visible()
    mira.is_still()
    assert mira.barriers == []


# ---- leaving


@in_every_manner
def test_somebody_leaves_in_one_step(arrive: Arrive, manner: Manner) -> None:
    mira = arrive(manner)
    add_subscribers(MIRA, NOOR)
    page = mira.open("/")
    page.get_by_role("link", name="Unsubscribe").click()
    mira.types_in("Mobile number", MIRA)
    expect(page.get_by_role("heading", name="You are off the list.")).to_be_visible()
    assert (state_of(MIRA), state_of(NOOR)) == ("unsubscribed", "active")


@with_and_without_javascript
def test_where_leaving_takes_a_code_somebody_leaves_with_it(arrive: Arrive, manner: Manner) -> None:
    mira = arrive(manner, UNSUBSCRIBE_REQUIRES_OTP="true")
    add_subscribers(MIRA)
    page = mira.open("/unsubscribe")
    mira.types_in("Mobile number", MIRA)
    expect(mira.field("Code")).to_be_visible()
    assert state_of(MIRA) == "active"
    mira.types_in("Code", latest_otp(MIRA))
    expect(page.get_by_role("heading", name="You are off the list.")).to_be_visible()
    assert state_of(MIRA) == "unsubscribed"


def test_a_link_ends_no_subscription_before_somebody_says_so(arrive: Arrive) -> None:
    mira = arrive()
    add_subscribers(MIRA)
    page = mira.open(f"/unsubscribe?mobile=%2B{MIRA[1:]}")
    expect(mira.field("Mobile number")).to_have_value(MIRA)
    assert state_of(MIRA) == "active"
    page.get_by_role("button", name="Unsubscribe").click()
    expect(page.get_by_role("heading", name="You are off the list.")).to_be_visible()


# ---- other sites


@contextmanager
def another_site(html: str) -> Iterator[str]:
    """Serve a page of somebody else. Answers its address, which is another host's."""

    def page(env: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
        body = html.encode()
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))])
        return [body]

    with serve_app(cast("App", page)) as address:
        yield address.replace("127.0.0.1", "localhost")


@pytest.fixture
def stranger(browser: Browser) -> Iterator[Page]:
    """Open a window in which anything may happen."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("sender", ["localhost", "127.0.0.1"])
def test_a_form_of_another_site_is_refused_and_sends_no_sms(arrive: Arrive, stranger: Page, sender: str) -> None:
    home = arrive().home
    fields = f'<input name="mobile" value="{MIRA}"><button>Win</button>'
    form = f'<form method="post" action="{home}/subscribe">{fields}</form>'
    with another_site(form) as address:
        stranger.goto(address.replace("localhost", sender))
        with stranger.expect_navigation() as navigation:
            stranger.get_by_role("button").click()
        assert navigation.value.status == 403
        expect(stranger.get_by_role("main")).to_contain_text("another site")
        assert sent_to(MIRA) == 0


def test_a_picture_of_another_site_sends_no_sms(arrive: Arrive, stranger: Page) -> None:
    home = arrive().home
    with another_site(f'<img src="{home}/subscribe?mobile=%2B{MIRA[1:]}">') as address:
        with stranger.expect_request(f"{home}/subscribe*"):
            stranger.goto(address)  # and wait for its pictures
        assert sent_to(MIRA) == 0


def test_a_site_that_the_settings_name_may_send_forms(arrive: Arrive, stranger: Page) -> None:
    with another_site("<p>A friend</p>") as address:
        home = arrive(CORS_ORIGINS=address).home
        stranger.goto(address)
        send = "async ([to, mobile]) => (await fetch(to, {method: 'POST', body: new URLSearchParams({mobile})})).status"
        assert stranger.evaluate(send, [f"{home}/subscribe", MIRA]) == 200
        assert sent_to(MIRA) == 1


def test_no_other_site_shows_a_page_in_a_frame(arrive: Arrive, stranger: Page) -> None:
    home = arrive().home
    with another_site(f'<iframe src="{home}/"></iframe><iframe src="{home}/subscribe"></iframe>') as address:
        stranger.goto(address)
        stranger.wait_for_load_state("networkidle")
        shown = [frame.url for frame in stranger.frames[1:]]
        assert len(shown) == 2
        assert all(url.startswith("chrome-error:") for url in shown), shown


def test_who_presses_twice_asks_once(arrive: Arrive) -> None:
    mira = arrive()
    page = mira.open("/subscribe")
    mira.field("Mobile number").fill(MIRA)
    page.evaluate("() => { const form = document.forms[0]; form.requestSubmit(); form.requestSubmit(); }")
    expect(mira.field("Code")).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert sum(response.request.method == "POST" for response in mira.loaded) == 1


def test_an_answer_that_is_no_page_of_ours_is_told(arrive: Arrive) -> None:
    mira = arrive()
    page = mira.open("/subscribe")
    page.route("**/subscribe", lambda route: route.fulfill(status=502, content_type="text/html", body="Bad gateway"))
    mira.types_in("Mobile number", MIRA)
    expect(page.get_by_role("alert")).to_contain_text("That did not work.")
    mira.was_refused("502 POST /subscribe")


@pytest.mark.parametrize("typed", ["+91\u200b9028000001", "＋91 9028000001", "+6907290", "+٩١٩٠٢٨٠٠٠٠٠١"])
def test_a_number_that_the_service_takes_is_not_told_off(arrive: Arrive, typed: str) -> None:
    mira = arrive()
    mira.open("/subscribe")
    mira.types_in("Mobile number", typed)
    expect(mira.field("Code")).to_be_visible()
