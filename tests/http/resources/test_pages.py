import re
import subprocess
import sys
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urljoin

import pytest
import requests
from falcon.testing import TestClient

from quoteapi.app import create_app
from quoteapi.http.html import ASSET_TYPES, ASSETS
from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import ROOT, Settings, read_settings
from quoteapi.storage.catalogue import store_quotation
from quoteapi.storage.models import ConsoleSms, SmsSwitch, Subscriber
from quoteapi.storage.models import database as bound
from tests.conftest import Serve
from tests.helpers.clock import FakeClock
from tests.helpers.data import (
    ALCOTT,
    AUSTEN,
    MIRA,
    NOON,
    ZOLA,
    add_subscribers,
    database_file,
    environment,
    latest_otp,
    sqlite_only,
    wrong_otp,
)
from tests.helpers.http import assert_problem
from tests.helpers.sql import record_sql

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
HTML = "text/html; charset=utf-8"
TODAY = NOON.date()
PAGES = ["/", f"/days/{TODAY}", "/days/2026-11-01", "/quotes/1", "/subscribe", "/unsubscribe", "/nowhere"]


def visit(address: str, **headers: str) -> requests.Response:
    """Ask as a browser does when somebody follows a link."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.get(address, headers={"Accept": BROWSER, **named}, timeout=5)


def send(address: str, fields: dict[str, str], **headers: str) -> requests.Response:
    """Send a form of a page as a browser does."""
    base = "/".join(address.split("/")[:3])
    of_a_form = {"Accept": BROWSER, "Origin": base, "Sec-Fetch-Site": "same-origin"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(address, data=fields, headers={**of_a_form, **named}, timeout=5)


def text_of(page: requests.Response) -> str:
    """Answer what a page says, without its markup."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


class Links(HTMLParser):
    """Every address that a page names."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in {"href", "src", "action", "data-copy"} and value]


def links_of(page: str) -> list[str]:
    parser = Links()
    parser.feed(page)
    return parser.found


# ---- who gets a page, and who JSON


@pytest.mark.parametrize("accept", [BROWSER, "text/html", "text/html;q=0.9, application/json;q=0.5"])
def test_a_browser_gets_a_page_of_todays_quote(serve: Serve, accept: str) -> None:
    base = serve()
    page = visit(f"{base}/", Accept=accept)
    daily = requests.get(f"{base}/daily", timeout=5).json()
    assert (page.status_code, page.headers["Content-Type"], page.headers["Vary"]) == (200, HTML, "Accept")
    assert f"The quote of Sunday, 22 November 2026 {daily['quote']} {daily['author']}" in text_of(page)


@sqlite_only
@pytest.mark.parametrize("accept", ["*/*", "application/json", "", "text/html;q=0.5, */*", "nonsense", "text/plain"])
@pytest.mark.parametrize("path", ["/", "/quotes/1"])
def test_curl_and_programs_get_json(serve: Serve, path: str, accept: str) -> None:
    answer = visit(f"{serve()}{path}", Accept=accept)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.headers["Vary"] == "Accept"
    assert {"quote", "author", "category"} <= set(answer.json())


@sqlite_only
@pytest.mark.parametrize("path", ["/daily", "/random", "/quote", "/quotes", "/authors", "/health"])
def test_what_is_for_programs_is_json_in_a_browser_too(serve: Serve, path: str) -> None:
    answer = visit(f"{serve()}{path}")
    assert (answer.headers["Content-Type"], "Vary" in answer.headers) == ("application/json", False)


@sqlite_only
def test_a_browser_gets_an_error_as_a_page_and_a_program_as_a_problem(serve: Serve) -> None:
    base = serve()
    page = visit(f"{base}/quotes/99")
    assert (page.status_code, page.headers["Content-Type"], page.headers["Vary"]) == (404, HTML, "Accept")
    assert "No quote found No quote has this id." in text_of(page)
    assert page.headers["Cache-Control"] == "no-store"
    assert_problem(requests.get(f"{base}/quotes/99", timeout=5), 404, "No quote found")


@sqlite_only
def test_nowhere_is_a_page_that_leads_home_and_names_no_methods(serve: Serve) -> None:
    base = serve()
    page = visit(f"{base}/nowhere")
    assert page.status_code == 404
    assert "Nothing is here. Today’s quote" in text_of(page)
    assert "/" in links_of(page.text)


# ---- what a page says


def test_a_quote_is_shown_with_its_author_and_source_and_what_can_be_shared(serve: Serve) -> None:
    base = serve()
    page = visit(f"{base}/quotes/2")
    assert f"On nature {AUSTEN.quote} {AUSTEN.author} {AUSTEN.source}" in text_of(page)
    assert f'<meta property="og:description" content="“{AUSTEN.quote}”">' in page.text
    assert f'<meta property="og:url" content="{base}/quotes/2">' in page.text
    assert f'<meta property="og:image" content="{base}/quotes/2.svg">' in page.text
    assert {"/quotes/2", "/quotes/2.svg", "/another", "/"} <= set(links_of(page.text))


@sqlite_only
def test_a_quote_is_text_whatever_it_says(serve: Serve) -> None:
    base = serve()
    nasty = Quotation('<script>alert("1")</script> & \' ]]> {{ home }}', '"><img src=x>', "</title>", "<b>")
    quote_id, _ = store_quotation(nasty, NOON)
    page = visit(f"{base}/quotes/{quote_id}")
    for part in nasty:
        assert part in unescape(page.text)
    assert "<img" not in page.text
    assert page.text.count("<script") == 1


@sqlite_only
def test_the_days_before_and_after_are_a_link_away(serve: Serve) -> None:
    base = serve()
    yesterday, before = TODAY - timedelta(days=1), TODAY - timedelta(days=2)
    assert f"/days/{yesterday}" in links_of(visit(f"{base}/").text)
    assert not any(str(TODAY + timedelta(days=1)) in link for link in links_of(visit(f"{base}/").text))
    page = visit(f"{base}/days/{yesterday}")
    assert {f"/days/{before}", "/"} <= set(links_of(page.text))
    assert "Today →" in text_of(page)
    assert f"/days/{yesterday}" in links_of(visit(f"{base}/days/{before}").text)


@sqlite_only
def test_the_page_of_a_date_has_its_quote(serve: Serve) -> None:
    base = serve()
    for day in ("2026-11-22", "2026-11-21", "2025-01-31", "0001-01-01"):
        daily = requests.get(f"{base}/daily?date={day}", timeout=5).json()
        assert daily["quote"] in text_of(visit(f"{base}/days/{day}")), day


@sqlite_only
@pytest.mark.parametrize("day", ["2026-11-23", "9999-12-31"])
def test_a_day_to_come_is_not_decided_yet(serve: Serve, day: str) -> None:
    page = visit(f"{serve()}/days/{day}")
    assert page.status_code == 404
    assert "Not decided yet" in text_of(page)


@sqlite_only
@pytest.mark.parametrize("day", ["today", "20261122", "2026-11-31", "2026-W47-7", "%D9%A2026-11-22"])
def test_what_is_no_date_is_no_day(serve: Serve, day: str) -> None:
    page = visit(f"{serve()}/days/{day}")
    assert page.status_code == 404
    assert "No such day" in text_of(page)


@sqlite_only
def test_the_first_day_of_all_has_none_before(serve: Serve) -> None:
    assert "/days/0001-01-02" in (found := links_of(visit(f"{serve()}/days/0001-01-01").text))
    assert not any(link.startswith("/days/0000") for link in found)


@sqlite_only
def test_another_one_leads_to_another_quote_each_time(serve: Serve) -> None:
    base = serve()
    led = requests.get(f"{base}/another", headers={"Accept": BROWSER}, timeout=5, allow_redirects=False)
    assert (led.status_code, led.headers["Cache-Control"]) == (303, "no-store")
    seen = {visit(f"{base}/another").url for _ in range(12)}
    assert seen == {f"{base}/quotes/{number}" for number in (1, 2, 3)}


def test_while_the_database_is_away_the_pages_of_quotes_go_on(settings: Settings, clock: FakeClock) -> None:
    away = read_settings(environment(settings, DATABASE_URL="postgresql://nobody@127.0.0.1:9/nothing"))
    client = TestClient(create_app(away, now=clock), headers={"Accept": BROWSER})
    for path in ("/", "/days/2026-11-01", "/another"):
        page = client.simulate_get(path)
        assert (page.status_code, page.headers["cache-control"]) == (200, "no-store"), path
        assert any(quotation.quote in unescape(page.text) for quotation in (ALCOTT, AUSTEN, ZOLA))
        assert "As a picture" not in page.text, "which nobody could show just now"


# ---- headers, links and cost


@sqlite_only
@pytest.mark.parametrize("path", PAGES)
def test_no_page_lets_anything_in_from_elsewhere(serve: Serve, path: str) -> None:
    page = visit(f"{serve()}{path}")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
    assert policy.pop("default-src") == policy.pop("frame-ancestors") == policy.pop("base-uri") == "'none'"
    assert set(policy.values()) == {"'self'"}
    assert set(policy) == {"style-src", "script-src", "img-src", "connect-src", "form-action"}
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(
        r"<style|\sstyle=|\son\w+=|<script(?! type=\"module\" src=\"/assets/)|javascript:|http://(?!127)", page.text
    )


@sqlite_only
@pytest.mark.parametrize("path", PAGES)
def test_under_a_stage_every_link_carries_it(settings: Settings, clock: FakeClock, path: str) -> None:
    client = TestClient(create_app(settings, now=clock), headers={"Accept": BROWSER})
    page = client.simulate_get(path, root_path="/dev")
    found = links_of(page.text)
    assert [link for link in found if not link.startswith(("/dev/", "#", "http://falconframework.org/dev"))] == []
    assert len(found) > 8
    for link in found:
        if link.startswith("/dev/"):
            assert client.simulate_get(link.removeprefix("/dev"), root_path="/dev").status_code in {200, 303}, link


@sqlite_only
def test_behind_a_proxy_with_a_path_links_begin_with_that_of_public_url(serve: Serve) -> None:
    base = serve(PUBLIC_URL="https://example.org/quotes-of-ours/")
    found = links_of(visit(f"{base}/").text)
    ours = ("/quotes-of-ours/", "https://example.org/quotes-of-ours/", "#")
    assert [link for link in found if not link.startswith(ours)] == []


@sqlite_only
def test_a_host_that_a_client_made_up_is_in_no_page_behind_a_proxy(serve: Serve) -> None:
    base = serve(TRUSTED_PROXIES="127.0.0.1")
    page = visit(f"{base}/", Host="evil.example", X_Forwarded_Host="evil.example")
    assert (page.status_code, "evil" in page.text, "og:url" in page.text) == (200, False, False)


@sqlite_only
def test_caches_keep_a_page_for_minutes_and_never_beyond_midnight(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    assert visit(f"{base}/").headers["Cache-Control"] == "public, max-age=300"
    clock.advance(hours=11, minutes=59, seconds=30)
    assert visit(f"{base}/").headers["Cache-Control"] == "public, max-age=30"
    before = text_of(visit(f"{base}/"))
    clock.advance(seconds=30)
    assert "Monday, 23 November 2026" in (after := text_of(visit(f"{base}/")))
    assert before != after


def test_the_page_of_today_costs_no_statement_once_it_was_asked_for(serve: Serve) -> None:
    base = serve()
    visit(f"{base}/")
    with record_sql() as statements:
        visit(f"{base}/")
    assert statements == []


@sqlite_only
def test_a_page_of_a_quote_costs_one_statement_and_another_one_costs_one(serve: Serve) -> None:
    base = serve()
    visit(f"{base}/another")
    with record_sql() as statements:
        visit(f"{base}/quotes/2")
        requests.get(f"{base}/another", timeout=5, allow_redirects=False)
    assert len(statements) == 2


def test_reading_quotes_as_json_never_loads_the_template_engine(settings: Settings) -> None:
    script = (
        "import os, sys; from falcon.testing import TestClient; from quoteapi.app import api\n"
        "for path in ('/', '/daily', '/random', '/nowhere', '/subscribe'): TestClient(api).simulate_get(path)\n"
        "assert not {'jinja2', 'markupsafe'} & set(sys.modules)\n"
        "TestClient(api).simulate_get('/', headers={'Accept': 'text/html'}); assert 'jinja2' in sys.modules"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], env=environment(settings), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


# ---- what pages load


@sqlite_only
def test_every_file_that_pages_load_is_there_and_named_by_what_is_in_it(serve: Serve) -> None:
    base = serve()
    loaded = [link for link in links_of(visit(f"{base}/").text) if link.startswith("/assets/")]
    assert len(loaded) == 3
    for link in loaded:
        asset = requests.get(urljoin(base, link), timeout=5)
        assert asset.status_code == 200, link
        assert asset.content == (ASSETS / Path(link.partition("?")[0]).name).read_bytes()
        assert asset.headers["Content-Type"] == ASSET_TYPES[Path(link.partition("?")[0]).suffix]
        assert asset.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert asset.headers["X-Content-Type-Options"] == "nosniff"
        assert re.search(r"\?v=[0-9a-f]{12}$", link)


@sqlite_only
@pytest.mark.parametrize("name", ["nothing.css", "..%2F__init__.py", "__init__.py", ".", "style.css%00"])
def test_nothing_else_is_served_as_a_file(serve: Serve, name: str) -> None:
    assert requests.get(f"{serve()}/assets/{name}", timeout=5).status_code == 404


# ---- the form


def test_somebody_subscribes_by_pages_alone(serve: Serve) -> None:
    base = serve()
    asked = send(f"{base}/subscribe", {"mobile": "+91 90280-00001"})
    assert (asked.status_code, asked.headers["Cache-Control"], asked.headers["Vary"]) == (200, "no-store", "Accept")
    assert "We are texting a code to +91 90280 00001" in text_of(asked)
    assert "The code is printed in the terminal" in text_of(asked)
    assert 'name="mobile" value="+919028000001"' in asked.text
    done = send(f"{base}/subscribe", {"mobile": MIRA, "otp": latest_otp(MIRA)})
    assert done.status_code == 200
    assert "You will get tomorrow’s." in text_of(done)
    assert [(row.mobile, row.state) for row in Subscriber.select()] == [(MIRA, "active")]


def test_somebody_leaves_by_a_page(serve: Serve) -> None:
    base = serve()
    add_subscribers(MIRA)
    left = send(f"{base}/unsubscribe", {"mobile": MIRA})
    assert "You are off the list." in text_of(left)
    assert Subscriber.get().state == "unsubscribed"


@sqlite_only
def test_leaving_by_a_code_takes_two_pages(serve: Serve) -> None:
    base = serve(UNSUBSCRIBE_REQUIRES_OTP="true")
    add_subscribers(MIRA)
    assert "A code makes sure that the number is yours." in text_of(visit(f"{base}/unsubscribe"))
    asked = send(f"{base}/unsubscribe", {"mobile": MIRA})
    assert "We are texting a code to +91 90280 00001 , if it is subscribed." in text_of(asked)
    assert Subscriber.get().state == "active"
    assert "You are off the list." in text_of(send(f"{base}/unsubscribe", {"mobile": MIRA, "otp": latest_otp(MIRA)}))
    assert Subscriber.get().state == "unsubscribed"


@sqlite_only
def test_what_is_wrong_with_a_number_is_said_at_the_field_that_keeps_it(serve: Serve) -> None:
    page = send(f"{serve()}/subscribe", {"mobile": "<b>12"})
    assert page.status_code == 400
    assert 'value="&lt;b&gt;12"' in page.text
    assert 'aria-invalid="true"' in page.text
    assert "This is not a phone number. Begin with the country code, as in +91 90280 00001." in text_of(page)
    assert ConsoleSms.select().count() == 0


FOR_PROGRAMS = (
    "Send mobile as an international number, for example +919028000001.",
    "Send mobile without otp to get a new one.",
    "Send otp as the six digits of the SMS.",
    "GET /daily answers the quote of the day, /random another one each time, /quotes all.",
)


@sqlite_only
def test_what_is_wrong_with_a_code_is_said_in_words_for_people(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    send(f"{base}/subscribe", {"mobile": MIRA})
    tried = send(f"{base}/subscribe", {"mobile": MIRA, "otp": wrong_otp(latest_otp(MIRA))})
    assert (tried.status_code, "4 tries left" in text_of(tried)) == (400, True)
    odd = send(f"{base}/subscribe", {"mobile": MIRA, "otp": "12"})
    assert "The code is the six digits of the SMS." in text_of(odd)
    clock.advance(minutes=11)
    late = send(f"{base}/subscribe", {"mobile": MIRA, "otp": latest_otp(MIRA)})
    assert "The code has expired. Send another code." in text_of(late)
    for page in (tried, odd, late):
        assert not any(sentence in page.text for sentence in FOR_PROGRAMS)
        assert 'name="otp"' in page.text


@sqlite_only
def test_a_limit_is_said_on_the_page_with_how_long_to_wait(serve: Serve) -> None:
    base = serve()
    send(f"{base}/subscribe", {"mobile": MIRA})
    again = send(f"{base}/subscribe", {"mobile": MIRA})
    assert (again.status_code, again.headers["Retry-After"]) == (429, "60")
    assert "Too many codes for this number. Try again in 60 seconds." in text_of(again)


@sqlite_only
def test_while_sms_are_switched_off_the_page_says_so(serve: Serve) -> None:
    base = serve()
    SmsSwitch.create(name="sms", disabled_at=NOON)
    page = send(f"{base}/subscribe", {"mobile": MIRA})
    assert (page.status_code, "switched SMS off for now" in text_of(page)) == (503, True)


def test_where_nobody_can_subscribe_no_form_asks_for_a_number(settings: Settings, clock: FakeClock) -> None:
    alone = read_settings(
        {
            "AWS_LAMBDA_FUNCTION_NAME": "quoteapi-dev",
            "SECRET_KEY": environment(settings)["SECRET_KEY"],
            "SMS_ALLOWED_REGIONS": "IN",
        }
    )
    client = TestClient(create_app(alone, now=clock), headers={"Accept": BROWSER})
    for path in ("/", "/subscribe", "/unsubscribe"):
        page = client.simulate_get(path)
        assert "<form" not in page.text
        assert "the service’s machines share no database" in page.text


# ---- nothing happens that nobody meant


@sqlite_only
@pytest.mark.parametrize("path", ["/subscribe", "/unsubscribe"])
def test_a_link_only_fills_the_form_in(serve: Serve, path: str) -> None:
    base = serve()
    add_subscribers(MIRA)
    page = visit(f"{base}{path}?mobile={quote(MIRA)}&otp=123456")
    assert (page.status_code, page.headers["Cache-Control"]) == (200, "no-store")
    assert 'value="+919028000001"' in page.text
    assert 'value="123456"' in page.text
    assert visit(f"{base}{path}?mobile=nonsense&otp=x").status_code == 200
    assert (ConsoleSms.select().count(), Subscriber.get().state) == (0, "active")


OTHERS = [
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"},
    {"Sec_Fetch_Site": "cross-site", "Origin": "null"},
    {"Sec_Fetch_Site": "", "Origin": "https://evil.example"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1"},
    {"Origin": "http://["},
    {"Origin": "://"},
]


@sqlite_only
@pytest.mark.parametrize("headers", OTHERS, ids=str)
@pytest.mark.parametrize("path", ["/subscribe", "/unsubscribe"])
def test_what_another_site_sends_is_refused(serve: Serve, path: str, headers: dict[str, str]) -> None:
    base = serve(CORS_ORIGINS="*")  # which is for reading
    add_subscribers(MIRA)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = requests.post(f"{base}{path}", data={"mobile": MIRA}, headers=named, timeout=5)
    asked = requests.get(f"{base}{path}", params={"mobile": MIRA}, headers=named, timeout=5)
    for answer in (sent, asked):
        assert_problem(answer, 403, "Sent by another site")
    assert (ConsoleSms.select().count(), Subscriber.get().state) == (0, "active")


@sqlite_only
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "OURS"},
        {"Origin": "https://example.org", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://quotes.example.org"},
        {"User-Agent": "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1"},
    ],
    ids=str,
)
@pytest.mark.parametrize("public_url", ["https://Quotes.example.org", "https://quotes.example.org/daily-quotes"])
def test_programs_our_own_pages_and_those_that_may_call_are_let_in(
    serve: Serve, headers: dict[str, str], public_url: str
) -> None:
    base = serve(CORS_ORIGINS="https://example.org", PUBLIC_URL=public_url)
    named = {name: value.replace("OURS", base) for name, value in headers.items()}
    assert requests.post(f"{base}/subscribe", data={"mobile": MIRA}, headers=named, timeout=5).status_code == 200


@sqlite_only
def test_a_proxy_that_speaks_https_does_not_make_our_own_page_another_site(serve: Serve) -> None:
    base = serve(TRUSTED_PROXIES="127.0.0.1")
    forwarded = {"X-Forwarded-Host": "quotes.example.org", "X-Forwarded-Proto": "https"}
    headers = {**forwarded, "Origin": "https://quotes.example.org"}
    assert requests.post(f"{base}/subscribe", data={"mobile": MIRA}, headers=headers, timeout=5).status_code == 200


@sqlite_only
@pytest.mark.parametrize("path", ["/subscribe", "/unsubscribe"])
def test_where_there_is_no_tls_an_image_of_another_site_does_nothing_either(serve: Serve, path: str) -> None:
    base = serve()
    add_subscribers(MIRA)
    of_an_image = {"Accept": "image/avif,image/webp,*/*;q=0.8", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"}
    loaded = requests.get(f"{base}{path}", params={"mobile": MIRA}, headers=of_an_image, timeout=5)
    assert_problem(loaded, 403, "Sent by another site", "or POST.")
    assert (ConsoleSms.select().count(), Subscriber.get().state) == (0, "active")


@sqlite_only
def test_a_link_puts_no_words_of_others_on_the_page(serve: Serve) -> None:
    page = visit(f"{serve()}/subscribe?otp=1&mobile=Your account is blocked: call +1 900 555 0100")
    assert "The code was sent to" not in text_of(page)
    assert "blocked" not in text_of(page), "but in the field, where it can be mended"


@sqlite_only
@pytest.mark.parametrize("body", ['{"mobile": "\\ud800"}', '{"mobile": "+919028000001", "otp": "\\ud800"}'])
def test_half_a_character_is_a_mistake_like_any_other(serve: Serve, body: str) -> None:
    headers = {"Accept": BROWSER, "Content-Type": "application/json"}
    assert requests.post(f"{serve()}/subscribe", data=body, headers=headers, timeout=5).status_code == 400


@sqlite_only
def test_what_no_browser_would_accept_at_such_length_is_not_read(serve: Serve) -> None:
    base = serve()
    longest = f"{BROWSER}, {'x/y;q=0.1, ' * 1_000}"[:1_000].rpartition(",")[0]
    assert visit(f"{base}/", Accept=longest).headers["Content-Type"] == HTML
    assert visit(f"{base}/", Accept=f"{longest}, {'x' * 1_000}").headers["Content-Type"] == "application/json"


@sqlite_only
@pytest.mark.parametrize("query", ["", "?v=ffffffffffff"])
def test_a_file_is_kept_under_no_name_of_another_release(serve: Serve, query: str) -> None:
    asset = requests.get(f"{serve()}/assets/script.js{query}", timeout=5)
    assert (asset.status_code, asset.headers["Cache-Control"]) == (200, "public, max-age=300")


@sqlite_only
def test_who_wants_a_second_code_too_soon_still_has_a_field_for_the_first(serve: Serve) -> None:
    base = serve()
    asked = send(f"{base}/subscribe", {"mobile": MIRA})
    assert 'name="again"' in asked.text
    again = send(f"{base}/subscribe", {"mobile": MIRA, "again": "1"})
    assert (again.status_code, 'name="otp"' in again.text) == (429, True)
    assert "Try again in 60 seconds." in text_of(again)
    assert "You will get tomorrow’s." in text_of(send(f"{base}/subscribe", {"mobile": MIRA, "otp": latest_otp(MIRA)}))


@sqlite_only
def test_verse_is_set_in_its_lines(serve: Serve) -> None:
    base = serve()
    quote_id, _ = store_quotation(Quotation("One line, / and another.", "A", "verse"), NOON)
    assert "<p>One line,<br>and another.</p>" in visit(f"{base}/quotes/{quote_id}").text


@sqlite_only
def test_vary_names_what_it_names_once(serve: Serve) -> None:
    assert send(f"{serve()}/subscribe", {"mobile": "x"}).headers["Vary"] == "Accept"


# ---- what else a page says


@sqlite_only
def test_the_page_of_a_quote_leads_to_today(serve: Serve) -> None:
    assert "Today →" in text_of(visit(f"{serve()}/quotes/1"))


@sqlite_only
@pytest.mark.parametrize(
    ("length", "size"), [(49, "display"), (50, "large"), (119, "large"), (120, "text"), (220, "small")]
)
def test_a_short_quote_is_set_larger_than_a_long_one(serve: Serve, length: int, size: str) -> None:
    base = serve()
    quote_id, _ = store_quotation(Quotation("x" * length, "Nobody", "work"), NOON)
    assert f'<article class="quote in-{size}">' in visit(f"{base}/quotes/{quote_id}").text


def test_where_the_address_is_not_known_no_preview_names_one(settings: Settings, clock: FakeClock) -> None:
    behind = read_settings(environment(settings, TRUSTED_PROXIES="127.0.0.1"))
    client = TestClient(create_app(behind, now=clock), headers={"Accept": BROWSER})
    for root in ("", "/dev"):
        page = client.simulate_get("/quotes/1", root_path=root)
        assert not re.search(r"og:url|og:image|canonical", page.text)


def test_only_a_laptop_is_said_to_print_codes(settings: Settings) -> None:
    on_sns = environment(settings, SMS_GATEWAY="sns", SMS_ALLOWED_REGIONS="IN")
    client = TestClient(create_app(read_settings(on_sns)), headers={"Accept": BROWSER})
    page = client.simulate_get("/subscribe", params={"mobile": MIRA, "otp": "123456"})
    assert "Type the code that came to" in page.text
    assert "laptop" not in page.text


@sqlite_only
def test_once_the_database_is_back_the_page_of_today_is_whole_again(
    settings: Settings, clock: FakeClock, tmp_path: Path
) -> None:
    client = TestClient(create_app(settings, now=clock), headers={"Accept": BROWSER})
    working = database_file(settings)
    kept = working.rename(tmp_path / "away.db")
    working.mkdir()  # which no database can be opened in
    bound.close()
    away = client.simulate_get("/")
    assert (away.status_code, away.headers["cache-control"], "As a picture" in away.text) == (200, "no-store", False)
    working.rmdir()
    kept.rename(working)
    clock.advance(seconds=11)
    back = client.simulate_get("/")
    assert (back.headers["cache-control"], "As a picture" in back.text) == ("public, max-age=300", True)


@sqlite_only
def test_programs_and_browsers_are_kept_apart_by_caches_at_the_forms_too(serve: Serve) -> None:
    base = serve()
    form = visit(f"{base}/subscribe")
    asked = requests.post(f"{base}/subscribe", data={"mobile": MIRA}, timeout=5)
    for answer in (form, asked):
        assert (answer.headers["Vary"], answer.headers["Cache-Control"]) == ("Accept", "no-store")


@sqlite_only
def test_a_wrong_code_stays_in_its_field_and_a_new_step_begins_empty(serve: Serve) -> None:
    base = serve(UNSUBSCRIBE_REQUIRES_OTP="true")
    asked = send(f"{base}/unsubscribe", {"mobile": MIRA})
    assert 'name="otp" value=""' in asked.text
    assert '"codes";r=9' in asked.headers["RateLimit"]
    assert 'name="otp" value="12"' in send(f"{base}/unsubscribe", {"mobile": MIRA, "otp": "12"}).text


@sqlite_only
def test_of_a_field_that_was_sent_twice_the_last_counts(serve: Serve) -> None:
    asked = requests.post(f"{serve()}/subscribe", json={"mobile": ["+919028000003", MIRA]}, timeout=5)
    assert asked.status_code == 200
    assert [sms.to for sms in ConsoleSms.select()] == [MIRA]


@sqlite_only
def test_a_code_without_a_number_asks_for_the_number(serve: Serve) -> None:
    page = visit(f"{serve()}/subscribe?otp=123456")
    assert ('id="mobile"' in page.text, 'id="otp"' in page.text) == (True, False)


@sqlite_only
@pytest.mark.parametrize("path", [*PAGES, "/docs"])
def test_no_attribute_touches_the_one_before(serve: Serve, path: str) -> None:
    assert re.findall(r'<\w[^<>]*="[^"]*"[a-z]', visit(f"{serve()}{path}").text) == []
