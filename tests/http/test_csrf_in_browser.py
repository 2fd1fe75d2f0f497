"""What the pages of other sites can send, in a real browser without TLS: there it sends no `Sec-Fetch-Site`."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from quoteapi.storage.models import ConsoleSms
from tests.conftest import Serve
from tests.helpers.browser import require_chromium
from tests.helpers.data import MIRA, sqlite_only

require_chromium()
pytestmark = sqlite_only
SEND = """async ([url, headers, mobile]) => {
  const options = {method: "POST", headers, body: new URLSearchParams({mobile})};
  return fetch(url, options).then((response) => response.status, () => "not sent");
}"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        yield context.new_page()


def at(name: str, base: str) -> str:
    """Return the base URL of a service with a name that leads the browser to this machine."""
    return base.replace("127.0.0.1", name)


@pytest.mark.parametrize("name", ["X-Forwarded-Host", "Forwarded", "X_Forwarded_Host"])
@pytest.mark.parametrize("more", [{}, {"TRUSTED_PROXIES": "127.0.0.1"}], ids=str)
def test_a_page_elsewhere_cannot_forge_its_origin(serve: Serve, page: Page, name: str, more: dict[str, str]) -> None:
    evil, base = at("evil.test", serve()), serve(CORS_ORIGINS="*", **more)
    page.goto(f"{evil}/openapi.json")
    host = evil.removeprefix("http://")
    value = f"host={host}" if name == "Forwarded" else host
    assert page.evaluate(SEND, [f"{at('quotes.test', base)}/subscribe", {name: value}, MIRA]) == "not sent"
    assert page.evaluate(SEND, [f"{at('quotes.test', base)}/subscribe", {}, MIRA]) == 403
    assert ConsoleSms.select().count() == 0


def test_with_a_public_url_a_rebound_name_cannot_send(serve: Serve, page: Page) -> None:
    base = serve(PUBLIC_URL="http://quotes.test")
    page.goto(f"{at('evil.test', base)}/openapi.json")
    assert page.evaluate(SEND, ["/subscribe", {}, MIRA]) == 403
    assert ConsoleSms.select().count() == 0


def test_a_page_of_the_service_can_send(serve: Serve, page: Page) -> None:
    page.goto(f"{at('quotes.test', serve())}/openapi.json")
    assert page.evaluate(SEND, ["/subscribe", {}, MIRA]) == 200
