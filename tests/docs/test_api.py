"""Run the curl commands of README.md and docs/api.md, and compare the responses with those that the pages show."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from falcon.testing import TestClient

from quoteapi.app import create_app
from quoteapi.quotes.bundled_catalogue import read_catalogue
from quoteapi.settings import ROOT, read_settings
from tests.helpers.servers import Servers

DOCUMENTED_BASE_URL = "http://127.0.0.1:8000"
DOCUMENTED_OTP = "482913"
RANDOM = re.compile(r"/daily$|/random\?category=")
"""Matches the end of a command whose response differs by day or by request."""
PAGE = (ROOT / "docs/api.md").read_text()


def shown_requests(page: str) -> list[tuple[str, str]]:
    """Return the curl commands of a page, each with the response that the page shows, "" if it shows none."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return re.findall(r"^\$ (curl .+)\n((?:(?!\$ ).+\n)*)", "".join(blocks), re.MULTILINE)


def without_day(response: str) -> str:
    """Return a response without the day of the next SMS."""
    return re.sub(r"(today|tomorrow) at |\d{4}-\d\d-\d\dT", "", response)


@pytest.mark.parametrize(("page", "count"), [("README.md", 5), ("docs/api.md", 8)])
def test_the_curl_commands_have_the_responses_that_the_page_shows(page: str, count: int, servers: Servers) -> None:
    base = servers.start("quoteapi", "serve")
    requests = shown_requests(page)
    assert len(requests) == count
    for command, shown in requests:
        if DOCUMENTED_OTP in command:
            (otp,) = re.findall(r"│ (\d{6}) is your QuoteAPI code", servers.output())
            command = command.replace(DOCUMENTED_OTP, otp)  # noqa: PLW2901
        line = command.replace(DOCUMENTED_BASE_URL, base)
        ran = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, timeout=30)
        response = json.loads(ran.stdout)
        if not shown:
            assert "status" not in response, (command, response)
        elif re.search(RANDOM, command):
            rows = [{name: row[name] for name in ("quote", "author", "category")} for row in read_catalogue()]
            assert json.loads(shown) in rows
            assert response in rows
        else:
            assert without_day(ran.stdout) == without_day(shown.replace(DOCUMENTED_BASE_URL, base))


def test_every_endpoint_is_in_the_table() -> None:
    table = PAGE.partition("## Endpoints")[2].partition("\n## ")[0]
    documented = {
        re.sub(r"\d+", "{quote_id}", re.sub(r"\d{4}-\d\d-\d\d", "{day}", path))
        for path in re.findall(r"`(?:GET|POST) (/[^`?]*)", table)
    }
    paths = json.loads((ROOT / "quoteapi/http/openapi.json").read_text())["paths"]
    assert documented == set(paths) - {"/assets/{name}"}


def test_every_example_of_the_search_syntax_finds_quotes(tmp_path: Path) -> None:
    client = TestClient(create_app(read_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/working.db"})))
    table = PAGE.partition("### Search syntax")[2].partition("\n## ")[0]
    searches = re.findall(r"`([^`]+)`", "\n".join(re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)))
    assert len(searches) == 7
    for search in searches:
        assert client.simulate_get("/quotes", params={"q": search}).json["total"], search
