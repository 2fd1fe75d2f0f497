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
    NOOR,
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
PAGES = ["/", f"/days/{TODAY}", "/days/2026-11-01", "/quotes/1", "/subscribe", "/unsubscribe", "/pause", "/nowhere"]


def visit(url: str, **headers: str) -> requests.Response:
    """Send a request as a browser does for a link."""
    extra_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.get(url, headers={"Accept": BROWSER, **extra_headers}, timeout=30)


def submit(url: str, fields: dict[str, str], **headers: str) -> requests.Response:
    """Submit a form of a page as a browser does."""
    base = "/".join(url.split("/")[:3])
    form_headers = {"Accept": BROWSER, "Origin": base, "Sec-Fetch-Site": "same-origin"}
    extra_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(url, data=fields, headers={**form_headers, **extra_headers}, timeout=30)


def page_text(page: requests.Response) -> str:
    """Return the text of a page, without its markup."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.text)).split())


class LinkParser(HTMLParser):
    """Collects every URL in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.urls += [value for name, value in attrs if name in {"href", "src", "action", "data-copy"} and value]


def page_links(page: str) -> list[str]:
    parser = LinkParser()
    parser.feed(page)
    return parser.urls


# ---- content negotiation


@pytest.mark.parametrize("accept", [BROWSER, "text/html", "text/html;q=0.9, application/json;q=0.5"])
def test_a_browser_gets_a_page_of_todays_quote(serve: Serve, accept: str) -> None:
    base = serve()
    page = visit(f"{base}/", Accept=accept)
    daily = requests.get(f"{base}/daily", timeout=30).json()
    assert (page.status_code, page.headers["Content-Type"], page.headers["Vary"]) == (200, HTML, "Accept")
    assert f"Quote for Sunday, 22 November 2026 {daily['quote']} {daily['author']}" in page_text(page)


@sqlite_only
@pytest.mark.parametrize("accept", ["*/*", "application/json", "", "text/html;q=0.5, */*", "nonsense", "text/plain"])
@pytest.mark.parametrize("path", ["/", "/quotes/1"])
def test_a_client_that_does_not_prefer_html_gets_json(serve: Serve, path: str, accept: str) -> None:
    response = visit(f"{serve()}{path}", Accept=accept)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
    assert response.headers["Vary"] == "Accept"
    assert {"quote", "author", "category"} <= set(response.json())


@sqlite_only
@pytest.mark.parametrize("path", ["/daily", "/random", "/quote", "/quotes", "/authors", "/health"])
def test_an_api_path_is_json_in_a_browser_too(serve: Serve, path: str) -> None:
    response = visit(f"{serve()}{path}")
    assert (response.headers["Content-Type"], "Vary" in response.headers) == ("application/json", False)


@sqlite_only
def test_a_browser_gets_an_error_as_a_page_and_other_clients_as_a_problem_document(serve: Serve) -> None:
    base = serve()
    page = visit(f"{base}/quotes/99")
    assert (page.status_code, page.headers["Content-Type"], page.headers["Vary"]) == (404, HTML, "Accept")
    assert "No quote found No quote has this ID." in page_text(page)
    assert page.headers["Cache-Control"] == "no-store"
    assert_problem(requests.get(f"{base}/quotes/99", timeout=30), 404, "No quote found")


@sqlite_only
def test_the_not_found_page_links_to_the_home_page(serve: Serve) -> None:
    base = serve()
    page = visit(f"{base}/nowhere")
    assert page.status_code == 404
    assert "This page does not exist. Today’s quote" in page_text(page)
    assert "/" in page_links(page.text)


# ---- content


def test_a_quote_page_has_author_source_previews_and_links(serve: Serve) -> None:
    base = serve()
    page = visit(f"{base}/quotes/2")
    assert f"On nature {AUSTEN.quote} {AUSTEN.author} {AUSTEN.source}" in page_text(page)
    assert f'<meta property="og:description" content="“{AUSTEN.quote}”">' in page.text
    assert f'<meta property="og:url" content="{base}/quotes/2">' in page.text
    assert f'<meta property="og:image" content="{base}/quotes/2.svg">' in page.text
    assert {"/quotes/2", "/quotes/2.svg", "/another", "/"} <= set(page_links(page.text))


@sqlite_only
def test_markup_in_a_quotation_is_escaped(serve: Serve) -> None:
    base = serve()
    markup = Quotation('<script>alert("1")</script> & \' ]]> {{ home }}', '"><img src=x>', "</title>", "<b>")
    quote_id, _ = store_quotation(markup, NOON)
    page = visit(f"{base}/quotes/{quote_id}")
    for part in markup:
        assert part in unescape(page.text)
    assert "<img" not in page.text
    assert page.text.count("<script") == 1


@sqlite_only
def test_a_day_page_links_to_the_days_before_and_after(serve: Serve) -> None:
    base = serve()
    yesterday, before = TODAY - timedelta(days=1), TODAY - timedelta(days=2)
    assert f"/days/{yesterday}" in page_links(visit(f"{base}/").text)
    assert not any(str(TODAY + timedelta(days=1)) in link for link in page_links(visit(f"{base}/").text))
    page = visit(f"{base}/days/{yesterday}")
    assert {f"/days/{before}", "/"} <= set(page_links(page.text))
    assert "Today →" in page_text(page)
    assert f"/days/{yesterday}" in page_links(visit(f"{base}/days/{before}").text)


@sqlite_only
def test_a_day_page_has_the_quote_of_its_date(serve: Serve) -> None:
    base = serve()
    for day in ("2026-11-22", "2026-11-21", "2025-01-31", "0001-01-01"):
        daily = requests.get(f"{base}/daily?date={day}", timeout=30).json()
        assert daily["quote"] in page_text(visit(f"{base}/days/{day}")), day


@sqlite_only
@pytest.mark.parametrize("day", ["2026-11-24", "9999-12-31"])
def test_a_future_day_is_not_decided_yet(serve: Serve, day: str) -> None:
    page = visit(f"{serve()}/days/{day}")
    assert page.status_code == 404
    assert "No quote yet" in page_text(page)


@sqlite_only
def test_a_day_that_has_begun_somewhere_has_a_page_without_a_later_day(serve: Serve) -> None:
    base = serve()
    page = visit(f"{base}/days/2026-11-23")  # it is noon of the day before in UTC
    assert page.status_code == 200
    assert requests.get(f"{base}/daily?date=2026-11-23", timeout=30).json()["quote"] in page_text(page)
    assert "/days/2026-11-24" not in page.text


@sqlite_only
@pytest.mark.parametrize("day", ["today", "20261122", "2026-11-31", "2026-W47-7", "%D9%A2026-11-22"])
def test_an_invalid_date_is_not_found(serve: Serve, day: str) -> None:
    page = visit(f"{serve()}/days/{day}")
    assert page.status_code == 404
    assert "No such day" in page_text(page)


@sqlite_only
def test_the_first_possible_day_has_no_link_to_an_earlier_day(serve: Serve) -> None:
    assert "/days/0001-01-02" in (found := page_links(visit(f"{serve()}/days/0001-01-01").text))
    assert not any(link.startswith("/days/0000") for link in found)


@sqlite_only
def test_another_redirects_to_a_random_quote(serve: Serve) -> None:
    base = serve()
    redirect = requests.get(f"{base}/another", headers={"Accept": BROWSER}, timeout=30, allow_redirects=False)
    assert (redirect.status_code, redirect.headers["Cache-Control"]) == (303, "no-store")
    seen = {visit(f"{base}/another").url for _ in range(12)}
    assert seen == {f"{base}/quotes/{number}" for number in (1, 2, 3)}


@sqlite_only
@pytest.mark.parametrize("accept", [BROWSER, "*/*"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_link_in_sms_redirects_to_the_form_to_unsubscribe(serve: Serve, method: str, accept: str) -> None:
    base = serve()
    redirect = requests.request(method, f"{base}/u", headers={"Accept": accept}, timeout=30, allow_redirects=False)
    assert (redirect.status_code, redirect.headers["Location"], redirect.content) == (302, "/unsubscribe", b"")
    assert redirect.headers["Cache-Control"] == "no-store"
    form = visit(f"{base}/u")
    assert (form.url, form.status_code) == (f"{base}/unsubscribe", 200)
    assert "<form" in form.text


def test_the_link_in_sms_stays_within_the_stage_and_the_path_of_the_public_url(settings: Settings) -> None:
    def location(root_path: str, **variables: str) -> str:
        client = TestClient(create_app(read_settings(environment(settings, **variables))))
        return client.simulate_get("/u", root_path=root_path, headers={"Host": "a&b"}).headers["location"]

    assert location("/dev") == "/dev/unsubscribe"
    assert location("/dev", PUBLIC_URL="https://a1b2c3.execute-api.ap-south-1.amazonaws.com/dev") == "/dev/unsubscribe"
    assert location("", PUBLIC_URL="https://example.org/quotes") == "/quotes/unsubscribe", "a proxy removes the path"
    assert location("", TRUSTED_PROXIES="127.0.0.1") == "/unsubscribe"


def test_without_a_database_pages_show_quotes_of_the_fallback_catalogue(settings: Settings, clock: FakeClock) -> None:
    away = read_settings(environment(settings, DATABASE_URL="postgresql://nobody@127.0.0.1:9/nothing"))
    client = TestClient(create_app(away, now=clock), headers={"Accept": BROWSER})
    for path in ("/", "/days/2026-11-01", "/another"):
        page = client.simulate_get(path)
        assert (page.status_code, page.headers["cache-control"]) == (200, "no-store"), path
        assert any(quotation.quote in unescape(page.text) for quotation in (ALCOTT, AUSTEN, ZOLA))
        assert ">Image</a>" not in page.text, "it is unavailable without the database"


# ---- headers, links and SQL statements


@sqlite_only
@pytest.mark.parametrize("path", PAGES)
def test_the_headers_of_a_page_allow_no_external_content(serve: Serve, path: str) -> None:
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
def test_under_a_stage_prefix_every_link_has_it(settings: Settings, clock: FakeClock, path: str) -> None:
    client = TestClient(create_app(settings, now=clock), headers={"Accept": BROWSER})
    page = client.simulate_get(path, root_path="/dev")
    found = page_links(page.text)
    assert [link for link in found if not link.startswith(("/dev/", "#", "http://falconframework.org/dev"))] == []
    assert len(found) > 8
    for link in found:
        if link.startswith("/dev/"):
            assert client.simulate_get(link.removeprefix("/dev"), root_path="/dev").status_code in {200, 302, 303}, link


@sqlite_only
def test_links_begin_with_the_path_of_public_url(serve: Serve) -> None:
    base = serve(PUBLIC_URL="https://example.org/quotes-of-ours/")
    found = page_links(visit(f"{base}/").text)
    ours = ("/quotes-of-ours/", "https://example.org/quotes-of-ours/", "#")
    assert [link for link in found if not link.startswith(ours)] == []


@sqlite_only
def test_behind_a_proxy_no_page_has_the_host_header_of_a_client(serve: Serve) -> None:
    base = serve(TRUSTED_PROXIES="127.0.0.1")
    page = visit(f"{base}/", Host="evil.example", X_Forwarded_Host="evil.example")
    assert (page.status_code, "evil" in page.text, "og:url" in page.text) == (200, False, False)


@sqlite_only
def test_a_page_is_cacheable_for_minutes_but_not_beyond_midnight(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    assert visit(f"{base}/").headers["Cache-Control"] == "public, max-age=300"
    clock.advance(hours=11, minutes=59, seconds=30)
    assert visit(f"{base}/").headers["Cache-Control"] == "public, max-age=30"
    before = page_text(visit(f"{base}/"))
    clock.advance(seconds=30)
    assert "Monday, 23 November 2026" in (after := page_text(visit(f"{base}/")))
    assert before != after


def test_the_page_of_today_takes_no_statement_once_cached(serve: Serve) -> None:
    base = serve()
    visit(f"{base}/")
    with record_sql() as statements:
        visit(f"{base}/")
    assert statements == []


@sqlite_only
def test_a_quote_page_takes_one_statement_and_so_does_the_redirect_to_another(serve: Serve) -> None:
    base = serve()
    visit(f"{base}/another")
    with record_sql() as statements:
        visit(f"{base}/quotes/2")
        requests.get(f"{base}/another", timeout=30, allow_redirects=False)
    assert len(statements) == 2


def test_json_responses_do_not_load_the_template_engine(settings: Settings) -> None:
    script = (
        "import os, sys; from falcon.testing import TestClient; from quoteapi.app import api\n"
        "for path in ('/', '/daily', '/random', '/nowhere', '/subscribe'): TestClient(api).simulate_get(path)\n"
        "assert not {'jinja2', 'markupsafe'} & set(sys.modules)\n"
        "TestClient(api).simulate_get('/', headers={'Accept': 'text/html'}); assert 'jinja2' in sys.modules"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment(settings), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


# ---- assets


@sqlite_only
def test_assets_are_linked_by_a_digest_of_their_content_and_cacheable_for_a_year(serve: Serve) -> None:
    base = serve()
    assets = [link for link in page_links(visit(f"{base}/").text) if link.startswith("/assets/")]
    assert len(assets) == 3
    for link in assets:
        asset = requests.get(urljoin(base, link), timeout=30)
        assert asset.status_code == 200, link
        assert asset.content == (ASSETS / Path(link.partition("?")[0]).name).read_bytes()
        assert asset.headers["Content-Type"] == ASSET_TYPES[Path(link.partition("?")[0]).suffix]
        assert asset.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert asset.headers["X-Content-Type-Options"] == "nosniff"
        assert re.search(r"\?v=[0-9a-f]{12}$", link)


@sqlite_only
@pytest.mark.parametrize("name", ["nothing.css", "..%2F__init__.py", "__init__.py", ".", "style.css%00"])
def test_no_other_file_is_served_as_an_asset(serve: Serve, name: str) -> None:
    assert requests.get(f"{serve()}/assets/{name}", timeout=30).status_code == 404


# ---- subscription forms


def test_a_visitor_subscribes_with_the_form(serve: Serve) -> None:
    base = serve()
    otp_response = submit(f"{base}/subscribe", {"mobile": "+91 90280-00001"})
    assert (otp_response.status_code, otp_response.headers["Cache-Control"], otp_response.headers["Vary"]) == (
        200,
        "no-store",
        "Accept",
    )
    assert "We are sending a code to +91 90280 00001" in page_text(otp_response)
    assert "This service sends no real SMS. Find the code in the terminal where it runs." in page_text(otp_response)
    assert 'name="mobile" value="+919028000001"' in otp_response.text
    done = submit(f"{base}/subscribe", {"mobile": MIRA, "otp": latest_otp(MIRA)})
    assert done.status_code == 200
    assert "You are subscribed" in page_text(done)
    assert [(row.mobile, row.state) for row in Subscriber.select()] == [(MIRA, "active")]


def test_a_visitor_unsubscribes_with_the_form(serve: Serve) -> None:
    base = serve()
    add_subscribers(MIRA)
    left = submit(f"{base}/unsubscribe", {"mobile": MIRA})
    assert "You are unsubscribed" in page_text(left)
    assert Subscriber.get().state == "unsubscribed"


@sqlite_only
def test_unsubscribing_with_a_code_takes_two_steps(serve: Serve) -> None:
    base = serve(UNSUBSCRIBE_REQUIRES_OTP="true")
    add_subscribers(MIRA)
    assert "We send you a code, to make sure that the number is yours." in page_text(visit(f"{base}/unsubscribe"))
    otp_response = submit(f"{base}/unsubscribe", {"mobile": MIRA})
    assert "We are sending a code to +91 90280 00001 , if it is subscribed." in page_text(otp_response)
    assert Subscriber.get().state == "active"
    assert "You are unsubscribed" in page_text(submit(f"{base}/unsubscribe", {"mobile": MIRA, "otp": latest_otp(MIRA)}))
    assert Subscriber.get().state == "unsubscribed"


@sqlite_only
def test_the_field_of_an_invalid_number_keeps_it_and_shows_the_error(serve: Serve) -> None:
    page = submit(f"{serve()}/subscribe", {"mobile": "<b>12"})
    assert page.status_code == 400
    assert 'value="&lt;b&gt;12"' in page.text
    assert 'aria-invalid="true"' in page.text
    assert "This is not a phone number. Start with + and the country code, for example +919028000001." in page_text(
        page
    )
    assert ConsoleSms.select().count() == 0


@sqlite_only
def test_the_form_says_that_every_place_is_taken_and_keeps_the_number(serve: Serve) -> None:
    base = serve(SMS_MAX_SUBSCRIBERS="0")
    page = submit(f"{base}/subscribe", {"mobile": MIRA})
    assert (page.status_code, page.headers["Content-Type"]) == (503, HTML)
    assert "The service has as many subscribers as it can serve." in page_text(page)
    assert "No code was sent. Try again another day." in page_text(page)
    assert f'value="{MIRA}"' in page.text
    assert ConsoleSms.select().count() == 0


@sqlite_only
def test_the_form_keeps_asking_for_a_right_code_that_was_too_late_for_the_last_place(serve: Serve) -> None:
    base = serve(SMS_MAX_SUBSCRIBERS="1")
    for mobile in (MIRA, NOOR):
        submit(f"{base}/subscribe", {"mobile": mobile})
    submit(f"{base}/subscribe", {"mobile": MIRA, "otp": latest_otp(MIRA)})
    late = submit(f"{base}/subscribe", {"mobile": NOOR, "otp": latest_otp(NOOR)})
    assert late.status_code == 503
    assert "Your code is right and stays valid until it expires. Send it again in a minute." in page_text(late)
    assert 'name="otp"' in late.text


FOR_PROGRAMS = (
    "Send mobile as an international number, for example +919028000001.",
    "To get a new code, send mobile without otp.",
    "Send otp as the six digits from the SMS.",
    "Try GET /daily, /random or /quotes.",
)


@sqlite_only
def test_an_error_of_a_code_does_not_mention_api_parameters(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    submit(f"{base}/subscribe", {"mobile": MIRA})
    tried = submit(f"{base}/subscribe", {"mobile": MIRA, "otp": wrong_otp(latest_otp(MIRA))})
    assert (tried.status_code, "4 tries left" in page_text(tried)) == (400, True)
    odd = submit(f"{base}/subscribe", {"mobile": MIRA, "otp": "12"})
    assert "Enter the six digits from the SMS." in page_text(odd)
    clock.advance(minutes=11)
    late = submit(f"{base}/subscribe", {"mobile": MIRA, "otp": latest_otp(MIRA)})
    assert "The code expired. Select “Send another code”." in page_text(late)
    for page in (tried, odd, late):
        assert not any(sentence in page.text for sentence in FOR_PROGRAMS)
        assert 'name="otp"' in page.text


@sqlite_only
def test_a_rate_limit_shows_how_long_to_wait(serve: Serve) -> None:
    base = serve()
    submit(f"{base}/subscribe", {"mobile": MIRA})
    again = submit(f"{base}/subscribe", {"mobile": MIRA})
    assert (again.status_code, again.headers["Retry-After"]) == (429, "60")
    assert "Too many codes for this number. Try again in 60 seconds." in page_text(again)


@sqlite_only
def test_the_page_shows_that_sms_are_switched_off(serve: Serve) -> None:
    base = serve()
    SmsSwitch.create(name="sms", disabled_at=NOON)
    page = submit(f"{base}/subscribe", {"mobile": MIRA})
    assert (page.status_code, "switched SMS off. Try again later." in page_text(page)) == (503, True)


@sqlite_only
def test_while_sms_are_switched_off_the_page_unsubscribes_without_a_code(serve: Serve) -> None:
    base = serve(UNSUBSCRIBE_REQUIRES_OTP="true")
    assert "<button>Text me a code</button>" in visit(f"{base}/unsubscribe").text
    submit(f"{base}/unsubscribe", {"mobile": MIRA})
    SmsSwitch.create(name="sms", disabled_at=NOON)
    for page in (visit(f"{base}/unsubscribe"), submit(f"{base}/unsubscribe", {"mobile": "1"})):
        assert "code" not in page_text(page).replace("country code", "")
        assert "<button>Unsubscribe</button>" in page.text
    for fields in ({"mobile": MIRA, "otp": "000000"}, {"mobile": MIRA, "again": "1"}, {"mobile": MIRA}):
        assert "You are unsubscribed" in page_text(submit(f"{base}/unsubscribe", fields))


def test_without_shared_state_there_is_no_form(settings: Settings, clock: FakeClock) -> None:
    without_shared_state = read_settings(
        {
            "AWS_LAMBDA_FUNCTION_NAME": "quoteapi-dev",
            "SECRET_KEY": environment(settings)["SECRET_KEY"],
        }
    )
    client = TestClient(create_app(without_shared_state, now=clock), headers={"Accept": BROWSER})
    for path in ("/", "/subscribe", "/unsubscribe", "/pause"):
        page = client.simulate_get(path)
        assert "<form" not in page.text
        assert "this service has no shared database" in page.text


# ---- the time zone and a pause


@sqlite_only
def test_the_page_shows_when_the_sms_comes_and_how_to_change_that(serve: Serve) -> None:
    base = serve()
    page = submit(f"{base}/subscribe", {"mobile": MIRA, "time_zone": "Asia/Calcutta"})
    assert "One SMS a day at 10:00, Kolkata time. Another time zone?" in page_text(page)
    assert '<option value="Asia/Kolkata" selected>Kolkata</option>' in page.text
    assert page.text.count(" selected>") == 1
    fields = {"mobile": MIRA, "otp": latest_otp(MIRA), "time_zone": "America/Indiana/Knox"}
    done = submit(f"{base}/subscribe", fields)
    assert "The next one comes today at 09:00, Knox time ." in page_text(done)
    assert {"/subscribe", "/pause"} <= set(page_links(done.text))


@sqlite_only
@pytest.mark.parametrize("otp", [{}, {"otp": "000000"}])
def test_a_form_with_an_unknown_time_zone_asks_for_it(serve: Serve, otp: dict[str, str]) -> None:
    page = submit(f"{serve()}/subscribe", {"mobile": MIRA, "time_zone": "<b>Mars", **otp})
    assert page.status_code == 400
    assert "Check your time zone, and send the form again." in page_text(page)
    assert re.search(r'<select id="time_zone"[^>]* aria-invalid="true" data-focus>', page.text)
    assert '<option value="Asia/Kolkata" selected>' in page.text
    assert ('value="000000"' in page.text) == bool(otp)
    assert "Mars" not in page.text
    assert ConsoleSms.select().count() == 0


@sqlite_only
def test_without_a_time_zone_the_step_of_the_code_does_not_choose_one(serve: Serve) -> None:
    base = serve()
    submit(f"{base}/subscribe", {"mobile": MIRA, "time_zone": "Europe/Paris"})
    code = latest_otp(MIRA)
    for page in (visit(f"{base}/subscribe?otp"), submit(f"{base}/subscribe", {"mobile": MIRA, "otp": wrong_otp(code)})):
        assert 'name="otp"' in page.text
        assert "time_zone" not in page.text, "that of the request for the code counts"
    done = submit(f"{base}/subscribe", {"mobile": MIRA, "otp": code})
    assert "tomorrow at 09:00, Paris time" in page_text(done)


@sqlite_only
@pytest.mark.parametrize("otp", [{}, {"otp": "000000"}])
def test_a_form_with_invalid_days_asks_for_them(serve: Serve, otp: dict[str, str]) -> None:
    base = serve(UNSUBSCRIBE_REQUIRES_OTP="true")
    page = submit(f"{base}/pause", {"mobile": MIRA, "days": "<b>91", **otp})
    assert (page.status_code, "Choose a whole number from 1 to 90." in page_text(page)) == (400, True)
    assert re.search(r'<select id="days"[^>]* aria-invalid="true" data-focus>', page.text)
    assert ('value="000000"' in page.text) == bool(otp)
    assert "91" not in page_text(page).replace(MIRA, "").replace("+91", "")


@sqlite_only
@pytest.mark.parametrize(("query", "days"), [("", 7), ("days=5", 5), ("days=0", 7), ("days=x", 7), ("days=90", 90)])
def test_a_link_prefills_the_days_of_a_pause(serve: Serve, query: str, days: int) -> None:
    page = visit(f"{serve()}/pause?{query}")
    assert re.findall(r'<option value="(\d+)" selected>', page.text) == [str(days)]


@sqlite_only
@pytest.mark.parametrize(("time_zone", "value"), [("asia/tokyo", "Asia/Tokyo"), ("nonsense", ""), ("", "")])
def test_a_link_prefills_the_time_zone_if_the_service_knows_it(serve: Serve, time_zone: str, value: str) -> None:
    page = visit(f"{serve()}/subscribe?time_zone={time_zone}")
    assert f'<input type="hidden" name="time_zone" value="{value}">' in page.text


# ---- CSRF protection


@sqlite_only
@pytest.mark.parametrize("path", ["/subscribe", "/unsubscribe", "/pause"])
def test_a_link_only_prefills_the_form(serve: Serve, path: str) -> None:
    base = serve()
    add_subscribers(MIRA)
    page = visit(f"{base}{path}?mobile={quote(MIRA)}&otp=123456")
    assert (page.status_code, page.headers["Cache-Control"]) == (200, "no-store")
    assert 'value="+919028000001"' in page.text
    takes_code = path == "/subscribe"
    assert ('value="123456"' in page.text) == takes_code
    assert visit(f"{base}{path}?mobile=nonsense&otp=x").status_code == 200
    assert (ConsoleSms.select().count(), Subscriber.get().state) == (0, "active")


CROSS_SITE_HEADERS = [
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
@pytest.mark.parametrize("headers", CROSS_SITE_HEADERS, ids=str)
@pytest.mark.parametrize("path", ["/subscribe", "/unsubscribe", "/pause"])
def test_a_cross_site_request_is_rejected(serve: Serve, path: str, headers: dict[str, str]) -> None:
    base = serve(CORS_ORIGINS="*")  # it is for reading only
    add_subscribers(MIRA)
    extra_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    post_response = requests.post(f"{base}{path}", data={"mobile": MIRA}, headers=extra_headers, timeout=30)
    get_response = requests.get(f"{base}{path}", params={"mobile": MIRA}, headers=extra_headers, timeout=30)
    for response in (post_response, get_response):
        assert_problem(response, 403, "Cross-site request")
    assert (ConsoleSms.select().count(), Subscriber.get().state) == (0, "active")


@sqlite_only
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://example.org", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://quotes.example.org"},
        {"User-Agent": "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1"},
    ],
    ids=str,
)
@pytest.mark.parametrize("public_url", ["https://Quotes.example.org", "https://quotes.example.org/daily-quotes"])
def test_requests_of_own_pages_allowed_origins_and_other_clients_are_accepted(
    serve: Serve, headers: dict[str, str], public_url: str
) -> None:
    base = serve(CORS_ORIGINS="https://example.org", PUBLIC_URL=public_url)
    assert requests.post(f"{base}/subscribe", data={"mobile": MIRA}, headers=headers, timeout=30).status_code == 200


@sqlite_only
def test_a_page_behind_an_https_proxy_is_not_cross_site(serve: Serve) -> None:
    base = serve(TRUSTED_PROXIES="127.0.0.1")
    forwarded = {"X-Forwarded-Host": "quotes.example.org", "X-Forwarded-Proto": "https"}
    headers = {**forwarded, "Origin": "https://quotes.example.org"}
    assert requests.post(f"{base}/subscribe", data={"mobile": MIRA}, headers=headers, timeout=30).status_code == 200


@sqlite_only
@pytest.mark.parametrize("path", ["/subscribe", "/unsubscribe", "/pause"])
def test_without_tls_an_image_of_another_site_is_rejected_too(serve: Serve, path: str) -> None:
    base = serve()
    add_subscribers(MIRA)
    image_headers = {"Accept": "image/avif,image/webp,*/*;q=0.8", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"}
    loaded = requests.get(f"{base}{path}", params={"mobile": MIRA}, headers=image_headers, timeout=30)
    assert_problem(loaded, 403, "Cross-site request", "or send POST from a program.")
    assert (ConsoleSms.select().count(), Subscriber.get().state) == (0, "active")


@sqlite_only
def test_a_link_puts_its_text_only_into_the_field(serve: Serve) -> None:
    page = visit(f"{serve()}/subscribe?otp=1&mobile=Your account is blocked: call +1 900 555 0100")
    assert "The code was sent to" not in page_text(page)
    assert "blocked" not in page_text(page), "except in the field"


@sqlite_only
@pytest.mark.parametrize("body", ['{"mobile": "\\ud800"}', '{"mobile": "+919028000001", "otp": "\\ud800"}'])
def test_a_lone_surrogate_is_a_bad_request(serve: Serve, body: str) -> None:
    headers = {"Accept": BROWSER, "Content-Type": "application/json"}
    assert requests.post(f"{serve()}/subscribe", data=body, headers=headers, timeout=30).status_code == 400


@sqlite_only
def test_an_accept_header_that_is_too_long_is_ignored(serve: Serve) -> None:
    base = serve()
    longest = f"{BROWSER}, {'x/y;q=0.1, ' * 1_000}"[:1_000].rpartition(",")[0]
    assert visit(f"{base}/", Accept=longest).headers["Content-Type"] == HTML
    assert visit(f"{base}/", Accept=f"{longest}, {'x' * 1_000}").headers["Content-Type"] == "application/json"


@sqlite_only
@pytest.mark.parametrize("query", ["", "?v=ffffffffffff"])
def test_an_asset_of_another_version_is_cacheable_for_minutes_only(serve: Serve, query: str) -> None:
    asset = requests.get(f"{serve()}/assets/script.js{query}", timeout=30)
    assert (asset.status_code, asset.headers["Cache-Control"]) == (200, "public, max-age=300")


@sqlite_only
def test_a_second_code_requested_too_soon_keeps_the_field_for_the_first(serve: Serve) -> None:
    base = serve()
    otp_response = submit(f"{base}/subscribe", {"mobile": MIRA})
    assert 'name="again"' in otp_response.text
    again = submit(f"{base}/subscribe", {"mobile": MIRA, "again": "1"})
    assert (again.status_code, 'name="otp"' in again.text) == (429, True)
    assert "Try again in 60 seconds." in page_text(again)
    assert "You are subscribed" in page_text(submit(f"{base}/subscribe", {"mobile": MIRA, "otp": latest_otp(MIRA)}))


@sqlite_only
def test_verse_keeps_its_lines(serve: Serve) -> None:
    base = serve()
    quote_id, _ = store_quotation(Quotation("One line, / and another.", "A", "verse"), NOON)
    assert "<p>One line,<br>and another.</p>" in visit(f"{base}/quotes/{quote_id}").text


@sqlite_only
def test_vary_has_no_duplicates(serve: Serve) -> None:
    assert submit(f"{serve()}/subscribe", {"mobile": "x"}).headers["Vary"] == "Accept"


# ---- more content


@sqlite_only
def test_a_quote_page_links_to_today(serve: Serve) -> None:
    assert "Today →" in page_text(visit(f"{serve()}/quotes/1"))


@sqlite_only
@pytest.mark.parametrize(
    ("length", "size"), [(49, "display"), (50, "large"), (119, "large"), (120, "text"), (220, "small")]
)
def test_a_short_quote_has_a_larger_font_than_a_long_one(serve: Serve, length: int, size: str) -> None:
    base = serve()
    quote_id, _ = store_quotation(Quotation("x" * length, "Nobody", "work"), NOON)
    assert f'<article class="quote in-{size}">' in visit(f"{base}/quotes/{quote_id}").text


def test_without_a_known_host_previews_have_no_url(settings: Settings, clock: FakeClock) -> None:
    behind = read_settings(environment(settings, TRUSTED_PROXIES="127.0.0.1"))
    client = TestClient(create_app(behind, now=clock), headers={"Accept": BROWSER})
    for root in ("", "/dev"):
        page = client.simulate_get("/quotes/1", root_path=root)
        assert not re.search(r"og:url|og:image|canonical", page.text)


def test_only_the_console_gateway_is_said_to_print_codes(settings: Settings) -> None:
    on_sns = environment(settings, SMS_GATEWAY="sns", SMS_ALLOWED_REGIONS="IN")
    client = TestClient(create_app(read_settings(on_sns)), headers={"Accept": BROWSER})
    page = client.simulate_get("/subscribe", params={"mobile": MIRA, "otp": "123456"})
    assert "Enter the code from the SMS to" in page.text
    assert "terminal" not in page.text


@sqlite_only
def test_the_page_of_today_recovers_with_the_database(settings: Settings, clock: FakeClock, tmp_path: Path) -> None:
    client = TestClient(create_app(settings, now=clock), headers={"Accept": BROWSER})
    working = database_file(settings)
    kept = working.rename(tmp_path / "away.db")
    working.mkdir()  # a directory cannot be opened as a database
    bound.close()
    away = client.simulate_get("/")
    assert (away.status_code, away.headers["cache-control"], ">Image</a>" in away.text) == (200, "no-store", False)
    working.rmdir()
    kept.rename(working)
    clock.advance(seconds=11)
    back = client.simulate_get("/")
    assert (back.headers["cache-control"], ">Image</a>" in back.text) == ("public, max-age=300", True)


@sqlite_only
def test_forms_vary_by_accept_and_are_not_cached(serve: Serve) -> None:
    base = serve()
    form = visit(f"{base}/subscribe")
    otp_response = requests.post(f"{base}/subscribe", data={"mobile": MIRA}, timeout=30)
    for response in (form, otp_response):
        assert (response.headers["Vary"], response.headers["Cache-Control"]) == ("Accept", "no-store")


@sqlite_only
def test_the_field_of_a_code_is_empty_at_first_and_after_a_wrong_code(serve: Serve) -> None:
    base = serve(UNSUBSCRIBE_REQUIRES_OTP="true")
    otp_response = submit(f"{base}/unsubscribe", {"mobile": MIRA})
    assert 'name="otp" value=""' in otp_response.text
    assert '"codes";r=9' in otp_response.headers["RateLimit"]
    for code in ("12", wrong_otp("123456")):
        assert 'name="otp" value=""' in submit(f"{base}/unsubscribe", {"mobile": MIRA, "otp": code}).text


@sqlite_only
def test_a_link_with_a_code_only_shows_the_fields_of_both(serve: Serve) -> None:
    base = serve()
    for query, value in (("otp=123456", "123456"), ("otp=", ""), ("otp", ""), ("mobile=nonsense&otp=123456", "123456")):
        page = visit(f"{base}/subscribe?{query}")
        assert 'name="mobile" type="tel"' in page.text
        assert f'name="otp" value="{value}"' in page.text
        assert "sending a code" not in page.text
    assert 'id="otp"' not in visit(f"{base}/unsubscribe?otp").text, "leaving takes no code"


@sqlite_only
@pytest.mark.parametrize(
    ("languages", "suggested"),
    [("en-US,en", ["+1 678-555-0123", "+678 555 0123"]), ("de-DE", ["+678 555 0123"]), ("en", ["+678 555 0123"])],
)
def test_the_form_asks_for_a_plus_and_suggests_numbers(serve: Serve, languages: str, suggested: list[str]) -> None:
    base = serve()
    page = submit(f"{base}/subscribe", {"mobile": "678 555 0123"}, Accept_Language=languages)
    assert page.status_code == 400
    assert "Start with + and the country code, for example +919028000001." in page_text(page)
    assert f"Did you mean {' or '.join(suggested)} ?" in page_text(page)
    assert ConsoleSms.select().count() == 0
    assert requests.post(f"{base}/subscribe", {"mobile": MIRA[1:]}, timeout=30).status_code == 200, "programs need none"


@sqlite_only
@pytest.mark.parametrize("path", [*PAGES, "/docs"])
def test_attributes_are_separated_by_spaces(serve: Serve, path: str) -> None:
    assert re.findall(r'<\w[^<>]*="[^"]*"[a-z]', visit(f"{serve()}{path}").text) == []
