"""The checks agree with what the installed Zappa does to each path."""

import json
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from zappa.handler import DEFAULT_TEXT_MIMETYPES, LambdaHandler

from quoteapi.deploy.checks.path_checks import OPENAPI_DOCUMENT, check_paths
from quoteapi.deploy.checks.zappa_settings_checks import find_problems
from tests.deploy.conftest import GOOD, describe
from tests.rehearsal.lambda_events import api_gateway_event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from wsgiref.types import StartResponse, WSGIEnvironment

ROUTES = list(json.loads(OPENAPI_DOCUMENT.read_bytes())["paths"])
PATHS = [route.replace("{", "").replace("}", "") for route in ROUTES]
API_HOST, DOMAIN = "a1b2c3.execute-api.us-east-1.amazonaws.com", "quotes.example.org"
NAMES = sorted({path[1:end] for path in PATHS for end in (2, 4, len(path)) if path[1:end].replace("-", "").isalnum()})
"""Beginnings of routes, and whole ones."""
SAFE_NAMES = ("dev", "prod", "dev_key", "production", "v1", "Quote", "daily2", "xquote")


def path_in_the_app(path: str, *, stage: str, host: str, base_path: str = "", domain: str = "") -> str:
    """Send a request through the installed Zappa; return the path that the app gets."""
    logging.getLogger("zappa.wsgi").setLevel(logging.WARNING)  # as the service does: its lines have six-digit durations
    seen: list[str] = []

    def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterator[bytes]":
        seen.append(environ["PATH_INFO"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter([b""])

    names = {"API_STAGE": stage, "DOMAIN": domain or None, "BASE_PATH": base_path or None}
    options = {"DEBUG": False, "BINARY_SUPPORT": True, "CONTEXT_HEADER_MAPPINGS": {}, "EXCEPTION_HANDLER": None}
    handler = object.__new__(LambdaHandler)
    handler.settings = SimpleNamespace(**names, **options)
    handler.wsgi_app, handler._text_mimetypes = app, DEFAULT_TEXT_MIMETYPES
    in_url = f"/{stage}" if host == API_HOST else ""
    sent = api_gateway_event("GET", f"https://{host}{in_url}{path}", stage=stage, api="a1b2c3")
    assert sent["path"] == path
    response: dict[str, Any] = handler.handler(sent, None)
    assert response["statusCode"] == 200, response
    return seen[0]


def loses_a_path(stage: str, host: str, base_path: str = "") -> bool:
    base = f"/{base_path}" if base_path else ""
    return any(path_in_the_app(f"{base}{path}", stage=stage, host=host, base_path=base_path) != path for path in PATHS)


@pytest.mark.parametrize("name", [*NAMES, *SAFE_NAMES])
def test_a_stage_is_reported_exactly_if_zappa_loses_a_part_of_a_path(name: str) -> None:
    assert bool(list(check_paths(name, {}))) == loses_a_path(name, API_HOST)
    assert not loses_a_path(name, DOMAIN)
    assert [check.state for check in check_paths(name, {"domain": DOMAIN})] == ["advice"] * (name in NAMES)


@pytest.mark.parametrize("name", [*NAMES, *SAFE_NAMES])
def test_a_base_path_is_reported_exactly_if_zappa_loses_a_part_of_a_path(name: str) -> None:
    stage = {"domain": DOMAIN, "base_path": name}
    assert bool(list(check_paths("prod", stage))) == loses_a_path("prod", DOMAIN, name)
    assert bool(list(check_paths("quote", stage))) == (name in NAMES), "it replaces the stage"


def test_a_base_path_with_slashes_at_its_ends_is_reported() -> None:
    (check,) = check_paths("prod", {"base_path": "/v1/"})
    assert describe(check) == 'wrong: base_path is /v1/, but must not begin or end with a slash Set "base_path": "v1".'
    assert path_in_the_app("/v1/daily", stage="prod", host=DOMAIN, base_path="/v1/") == "/v1/daily"


def test_the_report_names_a_path_that_is_lost(tmp_path: "Path") -> None:
    path = tmp_path / "zappa_settings.json"
    path.write_text(json.dumps({"quote": GOOD, "dev": GOOD}))
    assert path_in_the_app("/quotes/17", stage="quote", host=API_HOST) == "s/17"
    (check,) = find_problems(path, "quote")
    assert check.state == "wrong"
    assert check.found == "the stage is called quote: Zappa removes /quote from the beginning of /quote and 3 more"
    assert find_problems(path, "dev") == []
