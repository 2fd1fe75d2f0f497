"""`make screenshots`: takes the screenshots in docs/ of a service with a fixed date and one quote."""

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest.mock import patch

from playwright.sync_api import Browser, Page

from quoteapi.app import create_app
from quoteapi.quotes.quotation import Quotation
from quoteapi.settings import ROOT, read_settings
from quoteapi.storage import database
from quoteapi.storage.models import database as bound
from tests.helpers.browser import CHROMIUM, MISSING_CHROMIUM, launch_chromium
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, SECRET_KEY, latest_otp, make_catalogue
from tests.helpers.http import serve_app

DOCS = ROOT / "docs"
QUOTATION = Quotation(
    "There is nothing like staying at home for real comfort.", "Jane Austen", "home", "Emma, chapter 32 (1815)"
)
SETTINGS = {
    "PUBLIC_URL": "https://quotes.example.org",  # a port would differ each time
    "CODES_PER_NUMBER": "9/1m",
}


class Window(NamedTuple):
    """A window size in CSS pixels, and the device pixels of each (`scale`)."""

    width: int
    height: int
    scale: int = 1


DESKTOP = Window(1280, 900)
PHONE = Window(390, 844, 2)
FORM = Window(800, 600)
REFERENCE = Window(1180, 800)
CARD = Window(1200, 630)


# ---- pages to show


def open_home_page(page: Page) -> None:
    page.goto("/")


def open_api_reference(page: Page) -> None:
    page.goto("/docs")


def open_card(page: Page) -> None:
    page.goto("/daily.svg")


def submit(page: Page, name: str, text: str) -> None:
    page.get_by_role("textbox", name=name).fill(text)
    page.keyboard.press("Enter")  # a click would leave the button highlighted


def submit_invalid_number(page: Page) -> None:
    page.goto("/subscribe")
    submit(page, "Mobile number", "12345")
    page.get_by_role("alert").wait_for()


def request_code(page: Page) -> None:
    page.goto("/subscribe")
    submit(page, "Mobile number", MIRA)
    page.get_by_role("textbox", name="Code").wait_for()


def subscribe(page: Page) -> None:
    request_code(page)
    submit(page, "Code", latest_otp(MIRA))
    page.get_by_role("heading", name="You are subscribed").wait_for()


SCREENSHOTS: dict[str, tuple[Window, str, Callable[[Page], None]]] = {
    "page-desktop-light": (DESKTOP, "light", open_home_page),
    "page-desktop-dark": (DESKTOP, "dark", open_home_page),
    "page-phone-light": (PHONE, "light", open_home_page),
    "page-phone-dark": (PHONE, "dark", open_home_page),
    "subscribe-error": (FORM, "light", submit_invalid_number),
    "subscribe-code": (FORM, "light", request_code),
    "subscribe-done": (FORM, "light", subscribe),
    "docs-reference": (REFERENCE, "light", open_api_reference),
    "card-light": (CARD, "light", open_card),
    "card-dark": (CARD, "dark", open_card),
}


@contextmanager
def serve_one_quote() -> Iterator[str]:
    """Serve one quote on a fixed date. Yields the base URL."""
    with TemporaryDirectory() as folder:
        bundled_catalogue = make_catalogue(Path(folder, "shipped.db"), [QUOTATION])
        with patch.object(database, "BUNDLED_CATALOGUE", bundled_catalogue):
            environment = {"DATABASE_URL": f"sqlite:///{folder}/working.db", "SECRET_KEY": SECRET_KEY, **SETTINGS}
            with serve_app(create_app(read_settings(environment), now=FakeClock())) as base_url:
                yield base_url
            bound.obj.close()


def take_screenshot(browser: Browser, base_url: str, name: str) -> Path:
    """Take a screenshot, and return its path."""
    window, colour_scheme, open_page = SCREENSHOTS[name]
    context = browser.new_context(
        base_url=base_url,
        viewport={"width": window.width, "height": window.height},
        device_scale_factor=window.scale,
        color_scheme="dark" if colour_scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    open_page(page)
    path = DOCS / f"{name}.png"
    page.screenshot(path=path, animations="disabled", caret="hide")
    context.close()
    return path


def main() -> None:
    """Take all screenshots."""
    if CHROMIUM is None:
        sys.exit(f"No pictures were taken: {MISSING_CHROMIUM}")
    with (
        redirect_stdout(io.StringIO()),
        serve_one_quote() as base_url,
        launch_chromium() as browser,
    ):  # without the SMS that the service prints
        paths = [take_screenshot(browser, base_url, name) for name in SCREENSHOTS]
    for path in paths:
        sys.stdout.write(f"{path.relative_to(ROOT)}  {path.stat().st_size // 1000} kB\n")


if __name__ == "__main__":
    main()
