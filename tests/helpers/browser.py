"""People with a real browser, and what must never happen in it."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple, cast

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, Response, sync_playwright

from quoteapi.app import create_app
from quoteapi.settings import ROOT, Settings, read_settings
from quoteapi.storage.models import database as bound
from tests.helpers.clock import FakeClock
from tests.helpers.data import environment
from tests.helpers.http import serve_app

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from quoteapi.http.middleware import App

CHROMIUM = shutil.which("chromium")
MISSING = "Chromium is not installed (on Debian: apt install chromium)"
ARGUMENTS = [
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    "--disable-partial-raster",  # which leaves a pixel or two as they were before
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
]
AXE = ROOT / "tests/npm/node_modules/axe-core/axe.min.js"
IN_CI = os.environ.get("CI") == "true"
PATIENCE = 5_000
"""For how many milliseconds what should come is waited for."""
STICKING_OUT = """() => {
  const width = document.documentElement.clientWidth;
  const scrolls = (one) => one !== null
    && (/auto|scroll/.test(getComputedStyle(one).overflowX) || scrolls(one.parentElement));
  const sticksOut = (one) => {
    const box = one.getBoundingClientRect();
    return box.width > 0 && (box.right > width + 1 || box.left < -1) && !scrolls(one.parentElement);
  };
  const out = [...document.querySelectorAll("body *")].filter(sticksOut).map((one) => one.outerHTML.slice(0, 90));
  return document.documentElement.scrollWidth > width ? [...out, "the page itself"] : out;
}"""
with_axe = pytest.mark.skipif(
    not (AXE.exists() or IN_CI), reason="axe-core is not installed (on Debian: apt install npm, then make test again)"
)


class Manner(NamedTuple):
    """How somebody comes to the pages: with what, and under which prefix."""

    phone: bool = False
    dark: bool = False
    javascript: bool = True
    stage: str = ""

    def __str__(self) -> str:
        words = ["phone" if self.phone else "desktop", "dark" if self.dark else "light"]
        return " ".join([*words, "with JavaScript" if self.javascript else "without", self.stage]).strip()


PLAIN = Manner()
WITHOUT_JAVASCRIPT = Manner(javascript=False)
MANNERS = (
    PLAIN,
    Manner(phone=True, dark=True, stage="/dev"),
    Manner(phone=True, javascript=False),
    Manner(dark=True, javascript=False, stage="/dev"),
)
"""All that there is, in pairs; the product of all would show no more."""
in_every_manner = pytest.mark.parametrize("manner", MANNERS, ids=str)
with_and_without_javascript = pytest.mark.parametrize("manner", [PLAIN, WITHOUT_JAVASCRIPT], ids=str)


def a_browser_or_skip() -> None:
    """Leave a file of tests out where there is no browser, and say so; where nothing may be left out, fail."""
    if CHROMIUM is None:
        if IN_CI:
            raise RuntimeError(MISSING)
        pytest.skip(MISSING, allow_module_level=True)


@contextmanager
def a_browser() -> Iterator[Browser]:
    """Start Chromium."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


class Visitor:
    """Somebody with a browser of their own. What goes wrong in it is kept until they leave."""

    def __init__(self, browser: Browser, home: str, manner: Manner = PLAIN) -> None:
        self.home = home
        self.manner = manner
        self._browser = browser
        self._said: list[tuple[str, str]] = []
        self._outside: list[str] = []
        self._refused: list[tuple[str, str]] = []
        self.loaded: list[Response] = []
        self._context = browser.new_context(
            viewport={"width": 390, "height": 844} if manner.phone else {"width": 1280, "height": 860},
            color_scheme="dark" if manner.dark else "light",
            java_script_enabled=manner.javascript,
            has_touch=manner.phone,
            is_mobile=manner.phone,
        )
        self._context.set_default_timeout(PATIENCE)
        self._watch()
        self.page = self._context.new_page()

    def _watch(self) -> None:
        self._context.on("console", self._on_console)
        self._context.on("weberror", lambda error: self._said.append(("", str(error.error))))
        self._context.on("request", self._on_request)
        self._context.on("requestfailed", self._on_failure)
        self._context.on("response", self._on_response)

    def _on_console(self, message: ConsoleMessage) -> None:
        where = message.location["url"]
        if not where.endswith("/favicon.ico"):  # which the browser itself looks for beside what is no page
            self._said.append((where, message.text))

    def _on_request(self, request: Request) -> None:
        if not f"{request.url}/".startswith(f"{self.home}/"):
            self._outside.append(f"{request.method} {request.url}")

    def _on_failure(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # by somebody who went on before all was there
            self._on_refusal("failed", request)

    def _on_response(self, response: Response) -> None:
        self.loaded.append(response)
        if response.status >= 400:
            self._on_refusal(str(response.status), response.request)

    def _on_refusal(self, what: str, request: Request) -> None:
        path = request.url.removeprefix(self.home).partition("?")[0]
        self._refused.append((request.url, f"{what} {request.method} {path}"))

    def was_refused(self, *answers: str) -> None:
        """Assert what was refused since, as in `400 POST /subscribe`, which then is no surprise any more."""
        assert [answer for _, answer in self._refused] == list(answers), self._refused
        urls = {url for url, _ in self._refused}
        # The browser itself tells of each, and nobody can keep it from that.
        self._said = [
            one for one in self._said if one[0] not in urls or not one[1].startswith("Failed to load resource")
        ]
        self._refused.clear()

    def leave(self) -> None:
        """Close the browser's windows, and assert that nothing went wrong in them."""
        self._context.close()
        assert not self._outside, f"no request leaves the origin, nor the stage: {self._outside}"
        assert not self._refused, self._refused
        assert not self._said, f"the console stays empty: {self._said}"

    # ---- what people do, and see

    def open(self, path: str) -> Page:
        """Go to a page of the service."""
        self.page.goto(f"{self.home}{path}")
        return self.page

    def go_offline(self, *, back: bool = False) -> None:
        """Lose the network, or find it again."""
        self._context.set_offline(not back)

    def may(self, *permissions: str) -> None:
        """Allow pages what a browser asks people for."""
        self._context.grant_permissions(permissions)

    def field(self, name: str) -> Locator:
        """Answer the field of a form that has a name."""
        return self.page.get_by_role("textbox", name=name, exact=True)

    def types_in(self, name: str, text: str) -> None:
        """Fill in a field, and send its form by Enter."""
        self.field(name).fill(text)
        self.field(name).press("Enter")

    def reads(self) -> dict[str, str]:
        """Answer the quote that is shown, as `/daily` would."""
        words = {"quote": "blockquote p", "author": ".author"}
        return {name: self.page.locator(f"#quote {where}").inner_text() for name, where in words.items()}

    def marks_the_page(self) -> None:
        """Leave something on the page that a reload takes away."""
        self.page.evaluate("window.marked = true")

    @property
    def page_is_the_same(self) -> bool:
        """Whether nothing was loaded anew since the page was marked."""
        return self.page.evaluate("window.marked === true") is True

    @property
    def focused(self) -> Locator:
        """Answer what has the focus."""
        return self.page.locator("*:focus")

    @property
    def sees_cut_off(self) -> list[str]:
        """Answer what is wider than the window."""
        found: list[str] = self.page.evaluate(STICKING_OUT)
        return found

    def is_still(self) -> None:
        """Wait until nothing moves: what fades in has not its colours yet."""
        self.page.evaluate("Promise.all(document.getAnimations().map((one) => one.finished))")

    @property
    def barriers(self) -> list[str]:
        """Answer what axe finds, by all of its rules that are no experiment."""
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run(document, {rules: {'target-size': {enabled: true}}})")
        return [f"{rule['id']}: {node['html']}" for rule in found["violations"] for node in rule["nodes"]]


@pytest.fixture(name="browser", scope="module")
def one_browser() -> Iterator[Browser]:
    with a_browser() as started:
        yield started


Arrive = Callable[..., Visitor]


@pytest.fixture(name="arrive")
def arriving(browser: Browser, settings: Settings, clock: FakeClock) -> Iterator[Arrive]:
    """Have somebody arrive at a service that has more settings where a test names them, or at a home that is named."""
    with ExitStack() as stack:

        def serve(stage: str, more: dict[str, str]) -> str:
            app = create_app(read_settings(environment(settings, **more)), now=clock)
            stack.callback(bound.obj.close)
            return stack.enter_context(serve_app(cast("App", under(stage, app)))) + stage

        def come(manner: Manner = PLAIN, home: str | None = None, **more: str) -> Visitor:
            visitor = Visitor(browser, home or serve(manner.stage, more), manner)
            stack.callback(visitor.leave)
            return visitor

        yield come


def under(stage: str, app: "WSGIApplication") -> "WSGIApplication":
    """Put an app where API Gateway would have it: under a prefix, beside which nothing is found."""

    def gateway(env: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if not f"{env['PATH_INFO']}/".startswith(f"{stage}/"):
            start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "0")])
            return [b""]
        path = env["PATH_INFO"].removeprefix(stage)
        return app(env | {"SCRIPT_NAME": stage, "PATH_INFO": path}, start_response)

    return gateway if stage else app
