"""`make screenshots`: the pictures in docs/, of a service that has a date and a catalogue of its own."""

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
SHOWN = Quotation(
    "There is nothing like staying at home for real comfort.", "Jane Austen", "home", "Emma, chapter 32 (1815)"
)
SETTINGS = {
    "PUBLIC_URL": "https://quotes.example.org",  # and not a port that is another one each time
    "CODES_PER_NUMBER": "9/1m",
}


class Window(NamedTuple):
    """How large it is, in pixels of CSS, and how many of a screen are one of them."""

    width: int
    height: int
    scale: int = 1


DESKTOP = Window(1280, 900)
PHONE = Window(390, 844, 2)
FORM = Window(800, 600)
REFERENCE = Window(1180, 800)
CARD = Window(1200, 630)


# ---- where somebody goes


def home(page: Page) -> None:
    page.goto("/")


def reference(page: Page) -> None:
    page.goto("/docs")


def card(page: Page) -> None:
    page.goto("/daily.svg")


def type_in(page: Page, name: str, text: str) -> None:
    page.get_by_role("textbox", name=name).fill(text)
    page.keyboard.press("Enter")  # and not with a mouse, which would leave the button lit


def wrong_number(page: Page) -> None:
    page.goto("/subscribe")
    type_in(page, "Mobile number", "12345")
    page.get_by_role("alert").wait_for()


def code(page: Page) -> None:
    page.goto("/subscribe")
    type_in(page, "Mobile number", MIRA)
    page.get_by_role("textbox", name="Code").wait_for()


def done(page: Page) -> None:
    code(page)
    type_in(page, "Code", latest_otp(MIRA))
    page.get_by_role("heading", name="You will get tomorrow’s.").wait_for()


PICTURES: dict[str, tuple[Window, str, Callable[[Page], None]]] = {
    "page-desktop-light": (DESKTOP, "light", home),
    "page-desktop-dark": (DESKTOP, "dark", home),
    "page-phone-light": (PHONE, "light", home),
    "page-phone-dark": (PHONE, "dark", home),
    "subscribe-error": (FORM, "light", wrong_number),
    "subscribe-code": (FORM, "light", code),
    "subscribe-done": (FORM, "light", done),
    "docs-reference": (REFERENCE, "light", reference),
    "card-light": (CARD, "light", card),
    "card-dark": (CARD, "dark", card),
}


@contextmanager
def a_service() -> Iterator[str]:
    """Serve one quote, on a fixed date. Answers the address."""
    with TemporaryDirectory() as folder:
        bundled_catalogue = make_catalogue(Path(folder, "shipped.db"), [SHOWN])
        with patch.object(database, "BUNDLED_CATALOGUE", bundled_catalogue):
            said = {"DATABASE_URL": f"sqlite:///{folder}/working.db", "SECRET_KEY": SECRET_KEY, **SETTINGS}
            with serve_app(create_app(read_settings(said), now=FakeClock())) as address:
                yield address
            bound.obj.close()


def take(browser: Browser, address: str, name: str) -> Path:
    """Take a picture. Answers where it is."""
    window, light, go = PICTURES[name]
    context = browser.new_context(
        base_url=address,
        viewport={"width": window.width, "height": window.height},
        device_scale_factor=window.scale,
        color_scheme="dark" if light == "dark" else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    go(page)
    path = DOCS / f"{name}.png"
    page.screenshot(path=path, animations="disabled", caret="hide")
    context.close()
    return path


def main() -> None:
    """Take all of them."""
    if CHROMIUM is None:
        sys.exit(f"No pictures were taken: {MISSING_CHROMIUM}")
    with (
        redirect_stdout(io.StringIO()),
        a_service() as address,
        launch_chromium() as browser,
    ):  # an SMS is printed there
        paths = [take(browser, address, name) for name in PICTURES]
    for path in paths:
        sys.stdout.write(f"{path.relative_to(ROOT)}  {path.stat().st_size // 1000} kB\n")


if __name__ == "__main__":
    main()
