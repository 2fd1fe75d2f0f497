"""Visitors with a real browser (Chromium), and checks that hold on every page that they open."""

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, cast

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Response,
    WebError,
    expect,
    sync_playwright,
)

from quoteapi.app import create_app
from quoteapi.settings import ROOT, Settings, read_settings
from quoteapi.storage.models import database as bound
from tests.helpers.clock import FakeClock
from tests.helpers.data import environment
from tests.helpers.http import serve_app
from tests.helpers.waiting import LIMIT_SECONDS

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from quoteapi.http.middleware import App

CHROMIUM = shutil.which("chromium")
MISSING_CHROMIUM = "Chromium is not installed (on Debian: apt install chromium)"
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",  # the sandbox does not work for root
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    "--disable-partial-raster",  # it makes screenshots differ by a pixel or two
    "--host-resolver-rules=MAP *.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
]
AXE = ROOT / "tests/npm/node_modules/axe-core/axe.min.js"
IN_CI = os.environ.get("CI") == "true"
expect.set_options(timeout=LIMIT_SECONDS * 1_000)
FIND_OVERFLOWING_ELEMENTS = """() => {
  const width = document.documentElement.clientWidth;
  const scrolls = (element) => element !== null
    && (/auto|scroll/.test(getComputedStyle(element).overflowX) || scrolls(element.parentElement));
  const overflows = (element) => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && (box.right > width + 1 || box.left < -1) && !scrolls(element.parentElement);
  };
  const overflowing = [...document.querySelectorAll("body *")].filter(overflows);
  const found = overflowing.map((element) => element.outerHTML.slice(0, 90));
  return document.documentElement.scrollWidth > width ? [...found, "the page itself"] : found;
}"""
RUN_AXE = """async () => {
  const options = {rules: {"target-size": {enabled: true}}, resultTypes: ["violations"]};
  const {violations} = await axe.run(document, options);  // the whole result is too large to transfer
  return violations.flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.html}`));
}"""
with_axe = pytest.mark.skipif(
    not (AXE.exists() or IN_CI), reason="axe-core is not installed (on Debian: apt install npm, then make test again)"
)


class BrowserOptions(NamedTuple):
    """The device and preferences of a visitor, and the prefix (`stage`) under which the service is served."""

    phone: bool = False
    dark: bool = False
    javascript: bool = True
    stage: str = ""

    def __str__(self) -> str:
        words = ["phone" if self.phone else "desktop", "dark" if self.dark else "light"]
        return " ".join([*words, "with JavaScript" if self.javascript else "without", self.stage]).strip()


DEFAULT = BrowserOptions()
WITHOUT_JAVASCRIPT = BrowserOptions(javascript=False)
PAIRWISE_OPTIONS = (
    DEFAULT,
    BrowserOptions(phone=True, dark=True, stage="/dev"),
    BrowserOptions(phone=True, javascript=False),
    BrowserOptions(dark=True, javascript=False, stage="/dev"),
)
"""Each pair of values is there at least once (pairwise testing)."""
with_pairwise_options = pytest.mark.parametrize("options", PAIRWISE_OPTIONS, ids=str)
with_and_without_javascript = pytest.mark.parametrize("options", [DEFAULT, WITHOUT_JAVASCRIPT], ids=str)


def require_chromium() -> None:
    """Skip a test module if Chromium is not installed; raise `RuntimeError` in CI."""
    if CHROMIUM is None:
        if IN_CI:
            raise RuntimeError(MISSING_CHROMIUM)
        pytest.skip(MISSING_CHROMIUM, allow_module_level=True)


@contextmanager
def launch_chromium() -> Iterator[Browser]:
    """Launch Chromium."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield launched
        launched.close()


class ContextPool:
    """Browser contexts to be reused, as starting a renderer process takes longer than most tests.

    Each visitor gets a new page, an empty cache and no permissions. An idle page keeps the renderer process alive.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._unused: dict[BrowserOptions, list[BrowserContext]] = defaultdict(list)

    def acquire(self, options: BrowserOptions, base_url: str) -> BrowserContext:
        """Return a context that no other visitor uses."""
        unused = self._unused[options._replace(stage="")]
        return unused.pop() if unused else self._create(options, base_url)

    def _create(self, options: BrowserOptions, base_url: str) -> BrowserContext:
        context = self._browser.new_context(
            viewport={"width": 390, "height": 844} if options.phone else {"width": 1280, "height": 860},
            color_scheme="dark" if options.dark else "light",
            java_script_enabled=options.javascript,
            has_touch=options.phone,
            is_mobile=options.phone,
        )
        context.set_default_timeout(LIMIT_SECONDS * 1_000)
        context.new_page().goto(f"{base_url}/health")
        return context

    def release(self, options: BrowserOptions, context: BrowserContext) -> None:
        """Close the pages of a visitor, and reset what the pages of a context share."""
        idle_page, *pages = context.pages
        for page in pages:
            page.close()
        context.set_offline(False)
        context.clear_permissions()
        context.clear_cookies()
        session = context.new_cdp_session(idle_page)
        session.send("Network.clearBrowserCache")
        session.detach()
        self._unused[options._replace(stage="")].append(context)


class Visitor:
    """A user with a browser. `close` asserts that there was no unexpected error, message or external request."""

    def __init__(self, contexts: ContextPool, base_url: str, options: BrowserOptions = DEFAULT) -> None:
        self.base_url = base_url
        self.responses: list[Response] = []
        self.requests: list[Request] = []
        self._contexts = contexts
        self._options = options
        self._console_messages: list[tuple[str, str]] = []
        self._external_requests: list[str] = []
        self._failed_requests: list[tuple[str, str]] = []
        self._is_clock_stopped = False
        self._context = contexts.acquire(options, base_url)
        self._context.on("console", self._on_console)
        self._context.on("weberror", self._on_page_error)
        self._context.on("request", self._on_request)
        self._context.on("requestfailed", self._on_request_failed)
        self._context.on("response", self._on_response)
        self.page = self._context.new_page()

    def _on_console(self, message: ConsoleMessage) -> None:
        url = message.location["url"]
        if not url.endswith("/favicon.ico"):  # the browser requests it for documents that are not HTML
            self._console_messages.append((url, message.text))

    def _on_page_error(self, error: WebError) -> None:
        self._console_messages.append(("", str(error.error)))

    def _on_request(self, request: Request) -> None:
        self.requests.append(request)
        if not f"{request.url}/".startswith(f"{self.base_url}/"):
            self._external_requests.append(f"{request.method} {request.url}")

    def _on_request_failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the visitor left the page before everything was loaded
            self._add_failed_request("failed", request)

    def _on_response(self, response: Response) -> None:
        self.responses.append(response)
        if response.status >= 400:
            self._add_failed_request(str(response.status), response.request)

    def _add_failed_request(self, status: str, request: Request) -> None:
        path = request.url.removeprefix(self.base_url).partition("?")[0]
        self._failed_requests.append((request.url, f"{status} {request.method} {path}"))

    def assert_failed_requests(self, *expected: str) -> None:
        """Assert which requests failed since the last call, such as `400 POST /subscribe`, and forget them."""
        # Browsers load icons when they like, also while a test has cut the network connection.
        failures = [failure for _, failure in self._failed_requests if failure != "failed GET /assets/icon.svg"]
        assert failures == list(expected), self._failed_requests
        urls = {url for url, _ in self._failed_requests}
        # Chromium itself writes each of them to the console.
        self._console_messages = [
            (url, text)
            for url, text in self._console_messages
            if url not in urls or not text.startswith("Failed to load resource")
        ]
        self._failed_requests.clear()

    def close(self) -> None:
        """Release the browser, and assert that nothing unexpected happened in it."""
        self._context.remove_listener("console", self._on_console)
        self._context.remove_listener("weberror", self._on_page_error)
        self._context.remove_listener("request", self._on_request)
        self._context.remove_listener("requestfailed", self._on_request_failed)
        self._context.remove_listener("response", self._on_response)
        if self._is_clock_stopped:
            self._context.close()
        else:
            self._contexts.release(self._options, self._context)
        assert not self._external_requests, f"no request leaves the service, nor its prefix: {self._external_requests}"
        assert not self._failed_requests, self._failed_requests
        assert not self._console_messages, f"the console stays empty: {self._console_messages}"

    # ---- what a visitor does

    def open(self, path: str) -> Page:
        """Open a page of the service."""
        self.page.goto(f"{self.base_url}{path}")
        return self.page

    def set_offline(self, *, is_offline: bool) -> None:
        """Cut the network connection, or restore it."""
        self._context.set_offline(is_offline)

    def stop_clock(self, *, minutes: int = 1) -> None:
        """Stop the clock of all pages some minutes from now. No other visitor gets the context, which keeps it."""
        self._is_clock_stopped = True
        self._context.clock.install()
        self._context.clock.pause_at(datetime.now(UTC) + timedelta(minutes=minutes))

    def grant_permissions(self, *permissions: str) -> None:
        """Grant pages permissions for which a browser asks the user."""
        self._context.grant_permissions(permissions)

    def submit(self, field: str, text: str) -> None:
        """Fill in a field, and submit its form with Enter."""
        self.field(field).fill(text)
        self.field(field).press("Enter")

    def mark_document(self) -> None:
        """Mark the loaded document for `is_same_document`."""
        self.page.evaluate("window.isMarked = true")

    # ---- what a visitor sees

    def field(self, name: str) -> Locator:
        """Return the text field with a label."""
        return self.page.get_by_role("textbox", name=name, exact=True)

    def displayed_quote(self) -> dict[str, str]:
        """Return quote and author that the page shows."""
        selectors = {"quote": "blockquote p", "author": ".author"}
        return {name: self.page.locator(f"#quote {selector}").inner_text() for name, selector in selectors.items()}

    def requested_urls(self) -> list[str]:
        """Return the URLs that were requested, except those of assets: browsers load icons when they like."""
        return [request.url for request in self.requests if "/assets/" not in request.url]

    @property
    def is_same_document(self) -> bool:
        """Whether no document was loaded since `mark_document`."""
        return self.page.evaluate("window.isMarked === true") is True

    def overflowing_elements(self) -> list[str]:
        """Return what is wider than the window."""
        found: list[str] = self.page.evaluate(FIND_OVERFLOWING_ELEMENTS)
        return found

    def wait_for_animations(self) -> None:
        """Wait until all animations are finished: while they run, colours are not the final ones."""
        self.page.evaluate("Promise.all(document.getAnimations().map((animation) => animation.finished))")

    def axe_violations(self) -> list[str]:
        """Return the accessibility violations that axe finds, by all of its rules that are not experimental."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE.read_text())
        violations: list[str] = self.page.evaluate(RUN_AXE)
        return violations


@pytest.fixture(name="browser", scope="package")
def browser_fixture() -> Iterator[Browser]:
    with launch_chromium() as launched:
        yield launched


@pytest.fixture(name="contexts", scope="package")
def contexts_fixture(browser: Browser) -> ContextPool:
    return ContextPool(browser)


OpenBrowser = Callable[..., Visitor]


@pytest.fixture(name="open_browser")
def open_browser_fixture(contexts: ContextPool, settings: Settings, clock: FakeClock) -> Iterator[OpenBrowser]:
    """Return a function that creates a visitor of a new service with more settings, or of one with a base URL."""
    with ExitStack() as stack:

        def serve(stage: str, more_settings: dict[str, str]) -> str:
            app = create_app(read_settings(environment(settings, **more_settings)), now=clock)
            stack.callback(bound.obj.close)
            return stack.enter_context(serve_app(cast("App", mount_under_prefix(stage, app)))) + stage

        def visit(options: BrowserOptions = DEFAULT, base_url: str | None = None, **more_settings: str) -> Visitor:
            visitor = Visitor(contexts, base_url or serve(options.stage, more_settings), options)
            stack.callback(visitor.close)
            return visitor

        yield visit


def mount_under_prefix(prefix: str, app: "WSGIApplication") -> "WSGIApplication":
    """Return an app that serves another one under a prefix only, as API Gateway does under its stage."""

    def gateway(env: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if not f"{env['PATH_INFO']}/".startswith(f"{prefix}/"):
            start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "0")])
            return [b""]
        path = env["PATH_INFO"].removeprefix(prefix)
        return app(env | {"SCRIPT_NAME": prefix, "PATH_INFO": path}, start_response)

    return gateway if prefix else app
