"""The API contract, `openapi.json`: it is complete and valid, and the service conforms to it; and `/docs`, its page."""

import csv
import json
import random
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import falcon
import jsonschema_rs
import pytest
import requests
from falcon.inspect import inspect_routes
from falcon.testing import TestClient
from openapi_spec_validator import validate
from peewee import OperationalError

import quoteapi
from quoteapi.app import create_app
from quoteapi.http.bulkhead import too_busy
from quoteapi.http.errors import add_error_handlers
from quoteapi.http.request_fields import MAX_BODY_BYTES
from quoteapi.http.rsgi import body_late
from quoteapi.settings import ROOT, Settings, read_settings
from quoteapi.storage.models import database as bound
from quoteapi.subscriptions.errors import (
    CountryNotServed,
    NoSharedState,
    OptedOut,
    OtpExpired,
    OtpNotSent,
    RateLimited,
    SmsDisabled,
    SubscriberLimitReached,
)
from tests.conftest import Serve
from tests.helpers.clock import FakeClock
from tests.helpers.data import MIRA, SECRET_KEY, environment, latest_otp, sqlite_only, wrong_otp
from tests.helpers.http import serve_app
from tests.helpers.openapi import DOCUMENT, full_document

FULL_DOCUMENT = full_document()
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
OF_HTTP = {"connection", "content-length", "content-type", "date", "server"}
"""Headers that every server sends."""


def resolve(node: Any) -> Any:  # noqa: ANN401 JSON
    """Return a part of the document with its references resolved, and with closed objects."""
    if isinstance(node, list):
        return [resolve(part) for part in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        found: Any = FULL_DOCUMENT
        for name in node["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return resolve(found)
    container = {name: resolve(part) for name, part in node.items()}
    return container | {"additionalProperties": False} if "properties" in container else container


PATHS: dict[str, Any] = resolve(FULL_DOCUMENT["paths"])
OPERATIONS = [(path, method) for path, item in PATHS.items() for method in item if method != "parameters"]
DOCUMENTED = [(path, method) for path, item in DOCUMENT["paths"].items() for method in item if method != "parameters"]


def iter_objects(node: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 JSON
    """Yield every object in a part of the document."""
    if isinstance(node, dict):
        yield node
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from iter_objects(part)


def validate_schema(schema: dict[str, Any], value: object) -> None:
    jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(value)


# ---- the document itself


def test_the_document_is_valid_and_has_the_version_of_the_package() -> None:
    validate(DOCUMENT)
    validate(FULL_DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert DOCUMENT["info"]["version"] == quoteapi.__version__


@pytest.mark.parametrize("prefix", ["", "/dev"])
def test_the_server_url_is_right_under_a_prefix_too(prefix: str) -> None:
    (server,) = DOCUMENT["servers"]
    assert urljoin(f"https://quotes.example.org{prefix}/openapi.json", f"{server['url']}/daily") == (
        f"https://quotes.example.org{prefix}/daily"
    )


def test_every_component_is_used() -> None:
    used = set(re.findall(r'"\$ref": "#/components/(\w+/\w+)"', json.dumps(DOCUMENT)))
    used |= {f"securitySchemes/{name}" for scheme in DOCUMENT["security"] for name in scheme}
    assert used == {f"{kind}/{name}" for kind, components in DOCUMENT["components"].items() for name in components}


def test_every_operation_has_a_unique_id_and_a_summary() -> None:
    documented = [PATHS[path][method] for path, method in DOCUMENTED]
    assert len({operation["operationId"] for operation in documented}) == len(documented)
    assert {tag for operation in documented for tag in operation["tags"]} == {tag["name"] for tag in DOCUMENT["tags"]}
    assert all(operation["summary"] for operation in documented)


def test_a_generated_client_has_a_function_with_a_verb_for_each_get_and_post_and_no_other() -> None:
    assert {method for _, method in DOCUMENTED} == {"get", "post"}
    verbs = re.compile("(get|list|start)([A-Z][a-z]+)+|(pause|(un)?subscribe)(WithGet)?")
    ids = [PATHS[path][method]["operationId"] for path, method in DOCUMENTED]
    assert [operation_id for operation_id in ids if not verbs.fullmatch(operation_id)] == []
    assert ids[:3] == ["getDailyQuote", "getRandomQuote", "getQuote"]


def test_every_example_conforms_to_its_schema() -> None:
    checked = 0
    for part in iter_objects(resolve(FULL_DOCUMENT)):
        if "schema" in part:
            examples = [example["value"] for example in part.get("examples", {}).values()]
            for example in [*examples, *([part["example"]] if "example" in part else [])]:
                validate_schema(part["schema"], example)
                checked += 1
    assert checked > 100


def test_every_quote_in_an_example_is_in_the_catalogue() -> None:
    with (ROOT / "catalogue" / "quotes.csv").open(encoding="utf-8", newline="") as file:
        catalogue = list(csv.DictReader(file))
    quotes = [part for part in iter_objects(DOCUMENT) if isinstance(part.get("quote"), str)]
    assert len(quotes) > 4
    for quote in quotes:
        assert any(quote.items() <= {**row, "id": int(row["id"])}.items() for row in catalogue), quote


ON_LAMBDA = {"AWS_LAMBDA_FUNCTION_NAME": "quotes-dev", "SMS_ALLOWED_REGIONS": "IN", "ASYNC_FAILURE": "true"}


@sqlite_only
@pytest.mark.parametrize("lambda_only", [{}, ON_LAMBDA], ids=["on a laptop", "on Lambda"])
def test_the_document_has_exactly_the_routes_of_the_service(settings: Settings, lambda_only: dict[str, str]) -> None:
    app = create_app(read_settings(environment(settings, **lambda_only)))
    routes = {
        (route.path, method.method.lower())
        for route in inspect_routes(app)
        for method in route.methods or ()
        if not method.internal or method.method == "OPTIONS"
    }
    missing = set() if lambda_only else {(path, method) for path, method in OPERATIONS if path == "/async-failure"}
    assert routes == set(OPERATIONS) - missing


# ---- responses


@pytest.fixture
def base(tmp_path: Path, clock: FakeClock) -> Iterator[str]:
    """Serve the bundled catalogue, with CORS for one origin."""
    variables = {"DATABASE_URL": f"sqlite:///{tmp_path}/working.db", "SECRET_KEY": SECRET_KEY}
    settings = read_settings(variables | {"CORS_ORIGINS": "https://www.example.org"})
    with serve_app(create_app(settings, now=clock, randomness=random.Random(1))) as address:
        yield address
    bound.obj.close()


def send_example(base: str, path: str, method: str, headers: dict[str, str]) -> requests.Response:
    """Send the example request of an operation."""
    documented = PATHS[path][method]
    for parameter in PATHS[path]["parameters"]:
        path = path.replace(f"{{{parameter['name']}}}", str(parameter.get("example")))
    body = next(iter(documented["requestBody"]["content"].values()))["examples"] if "requestBody" in documented else {}
    json_body = next(iter(body.values()))["value"] if body else None
    address, query = f"{base}{path}", documented.get("x-example-query", {})
    return requests.request(
        method, address, params=query, json=json_body, headers=headers, timeout=30, allow_redirects=False
    )


def assert_documented(response: requests.Response, path: str, method: str) -> None:
    """Assert that the document has all of a response, and the response all that is required."""
    documented = PATHS[path][method]["responses"]
    assert str(response.status_code) in documented, f"{response.status_code}: {response.text}"
    promised = documented[str(response.status_code)]
    headers = {name.lower(): header for name, header in promised["headers"].items()}
    assert {name.lower() for name in response.headers} - OF_HTTP <= set(headers)
    for name, header in headers.items():
        if name in response.headers:
            value = response.headers[name]
            validate_schema(header["schema"], int(value) if header["schema"].get("type") == "integer" else value)
        else:
            assert not header.get("required"), name
    if response.content:
        media_type = response.headers["Content-Type"].partition(";")[0]
        content = promised["content"][media_type]
        validate_schema(content["schema"], response.json() if "json" in media_type else response.text)


@pytest.mark.parametrize(("path", "method"), [one for one in OPERATIONS if one[0] != "/async-failure"])
def test_responses_conform_to_the_document(base: str, path: str, method: str) -> None:
    program = send_example(base, path, method, {"Origin": "https://www.example.org"})
    assert program.status_code in {200, 302, 303}, program.text
    assert_documented(program, path, method)
    browser = send_example(base, path, method, BROWSER)
    assert_documented(browser, path, method)
    content = PATHS[path][method]["responses"][str(browser.status_code)].get("content", {})
    if "text/html" in content and browser.status_code == 200:
        assert browser.headers["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    "path", [path for path, method in OPERATIONS if method == "get" and "304" in PATHS[path][method]["responses"]]
)
def test_operations_with_a_documented_304_return_it(base: str, path: str) -> None:
    first = send_example(base, path, "get", {})
    again = send_example(base, path, "get", {"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert_documented(again, path, "get")


@pytest.mark.parametrize("path", ["/daily", "/quotes", "/quotes/{quote_id}"])
def test_example_responses_that_do_not_change_are_those_of_the_service(base: str, path: str) -> None:
    response = send_example(base, path, "get", {})
    assert response.json() == PATHS[path]["get"]["responses"]["200"]["content"]["application/json"]["example"]


def example_of(component: str, name: str) -> dict[str, Any]:
    documented: dict[str, Any] = resolve(FULL_DOCUMENT["components"]["responses"][component])["content"]
    value: dict[str, Any] = documented["application/problem+json"]["examples"][name]["value"]
    return value


GET_ERRORS = [
    ("/random", "/random?max_length=0", "InvalidRequest", "invalid value"),
    ("/random", "/random?author=shakespeare", "NoMatchingQuote", "similar name"),
    ("/quote", "/quote?type=x", "InvalidRequest", "invalid type"),
    ("/quotes", "/quotes?categry=wit", "InvalidRequest", "misspelled name"),
    ("/quotes/{quote_id}", "/quotes/999999", "QuoteNotFound", "unknown ID"),
    ("/quotes/{quote_id}.svg", "/quotes/999999.svg", "QuoteNotFound", "unknown ID"),
    ("/days/{day}", "/days/tomorrow", "DayNotFound", "invalid day"),
    ("/days/{day}", "/days/2999-01-01", "DayNotFound", "future day"),
    ("/assets/{name}", "/assets/nothing.css", "NotFound", "unknown URL"),
    ("/subscribe", "/subscribe?mobile=12", "InvalidSubscription", "invalid mobile"),
    ("/unsubscribe", "/unsubscribe?mobile=919028000001&otp=12", "InvalidSubscription", "invalid OTP"),
    ("/subscribe", "/subscribe?mobile=919028000001&otp=482913", "InvalidSubscription", "no OTP requested"),
    ("/subscribe", "/subscribe?mobile=919028000001&time_zone=Kolkata", "InvalidSubscription", "invalid time zone"),
    ("/pause", "/pause?mobile=919028000001&days=0", "InvalidSubscription", "invalid days"),
]


@pytest.mark.parametrize(("path", "address", "component", "name"), GET_ERRORS)
def test_errors_are_those_of_the_examples(base: str, path: str, address: str, component: str, name: str) -> None:
    response = requests.get(base + address, timeout=30)
    assert response.json() == example_of(component, name)
    assert_documented(response, path, "get")
    assert_documented(requests.get(base + address, headers={"Accept": "text/html"}, timeout=30), path, "get")


GET_ERRORS_WITHOUT_EXAMPLE = [
    ("/daily", "/daily?date=tomorrow", "Invalid date", "Send the date as YYYY-MM-DD, for example ?date=2026-11-22."),
    (
        *("/daily", "/daily?date=2999-01-01", "Invalid date"),
        (
            "2999-01-01 is in the future. Send a date that has begun somewhere."
            " A date begins first in UTC+14, at 10:00 UTC on the day before."
        ),
    ),
    ("/daily", "/daily?tz=IST", "Invalid tz", "Send an IANA time zone, for example ?tz=Asia/Kolkata."),
    (
        *("/daily", "/daily?date=2026-11-22&tz=Asia/Kolkata", "Invalid tz"),
        "Send either date or tz. A date has the same quote in every time zone.",
    ),
    ("/random", f"/random?author={'x' * 201}", "Invalid author", "Send at most 200 characters."),
    ("/quotes", "/quotes?limit=101", "Invalid limit", "Send at most 100. For more results, follow `next`."),
    (
        *("/quotes", "/quotes?cursor=x", "Invalid cursor"),
        "Use the URL in `next` of the previous page, or start again without a cursor.",
    ),
    (
        *("/quotes", f"/quotes?q={'x' * 201}", "Invalid q"),
        "Send at most 200 characters. For example, send ?q=rocks+mountains.",
    ),
    (
        *("/quotes", f"/quotes?q={'a-b-' * 11}", "Invalid q"),
        (
            "Send at most 20 words. A word with a hyphen or an apostrophe counts as two."
            " For example, send ?q=rocks+mountains."
        ),
    ),
    (
        *("/authors", "/authors?limit=0", "Invalid limit"),
        "Send a whole number, 1 or more, for example ?limit=20.",
    ),
    (
        *("/subscribe", "/subscribe?moblie=919028000001", "Unknown parameter"),
        "There is no parameter moblie here. Did you mean mobile?",
    ),
    (
        *("/subscribe", "/subscribe", "Invalid mobile"),
        "The mobile number is missing. Send mobile as an international number, for example +919028000001.",
    ),
    (
        *("/subscribe", "/subscribe?mobile=919028000001&mobile=919028000002", "Invalid mobile"),
        "The request has different values of mobile. Send one value.",
    ),
]


@pytest.mark.parametrize(("path", "address", "title", "detail"), GET_ERRORS_WITHOUT_EXAMPLE)
def test_other_errors_are_documented_too(base: str, path: str, address: str, title: str, detail: str) -> None:
    response = requests.get(base + address, timeout=30)
    assert response.json() == {"title": title, "status": 400, "detail": detail}
    assert_documented(response, path, "get")
    assert_documented(requests.get(base + address, headers={"Accept": "text/html"}, timeout=30), path, "get")


def test_the_error_for_an_author_without_quotes_is_documented(base: str) -> None:
    response = requests.get(f"{base}/random?author=nobody", timeout=30)
    assert response.json() == {
        "title": "No quote found",
        "status": 404,
        "detail": "There is no quote by 'nobody'. Use the full name, as in 'Jane Austen'.",
    }
    assert_documented(response, "/random", "get")


@pytest.mark.parametrize("path", ["/feed.xml", "/feed.json", "/docs"])
def test_the_error_of_an_invalid_host_is_that_of_the_example(base: str, path: str) -> None:
    response = requests.get(f"{base}{path}", headers={"Host": "a b"}, timeout=30)
    assert response.json() == example_of("InvalidRequest", "invalid host")
    assert_documented(response, path, "get")


Post = Callable[[str], requests.Response]


def post(headers: dict[str, str], body: str) -> Post:
    return lambda base: requests.post(f"{base}/subscribe", data=body, headers=headers, timeout=30)


def without_length(base: str) -> requests.Response:
    return requests.post(f"{base}/subscribe", data=iter([b"mobile=919028000001"]), headers=FORM, timeout=30)


def with_wrong_otp(base: str) -> requests.Response:
    requests.post(f"{base}/subscribe", data={"mobile": MIRA}, timeout=30)
    return requests.post(f"{base}/subscribe", data={"mobile": MIRA, "otp": wrong_otp(latest_otp(MIRA))}, timeout=30)


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
POST_ERRORS = [
    (post({"Content-Type": "application/json"}, "[]"), "InvalidSubscription", "invalid body"),
    (post({"Content-Type": "text/x"}, "x"), "UnsupportedMediaType", "unsupported media type"),
    (post(FORM, "x" * (MAX_BODY_BYTES + 1)), "ContentTooLarge", "too large"),
    (without_length, "LengthRequired", "no length"),
    (post(FORM | {"Sec-Fetch-Site": "cross-site"}, "mobile=919028000001"), "CrossSiteRequest", "cross-site request"),
    (with_wrong_otp, "InvalidSubscription", "wrong OTP"),
]


@pytest.mark.parametrize(("send", "component", "name"), POST_ERRORS)
def test_errors_of_posts_are_those_of_the_examples(base: str, send: Post, component: str, name: str) -> None:
    response = send(base)
    assert response.json() == example_of(component, name)
    assert_documented(response, "/subscribe", "post")


def test_the_error_for_two_otps_in_a_row_is_documented(base: str) -> None:
    requests.post(f"{base}/subscribe", data={"mobile": MIRA}, timeout=30)
    again = requests.post(f"{base}/subscribe", data={"mobile": MIRA}, timeout=30)
    detail = "Too many codes for this number. Try again in 60 seconds."
    assert again.json() == {"title": "Too many requests", "status": 429, "detail": detail}
    assert_documented(again, "/subscribe", "post")


@sqlite_only
def test_the_error_of_the_read_rate_limit_is_that_of_the_example(serve: Serve, clock: FakeClock) -> None:
    base = serve(READ_LIMIT="1/1m")
    requests.get(f"{base}/daily", timeout=30)
    clock.advance(seconds=18)
    response = requests.get(f"{base}/daily", timeout=30)
    assert response.json() == example_of("TooManyRequests", "client IP")
    assert_documented(response, "/daily", "get")


class _Raises:
    """Raises domain exceptions that are hard to provoke."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        raise self._error


RAISED_ERRORS = [
    (OtpExpired(), "InvalidSubscription", "expired OTP"),
    (
        CountryNotServed("SMS go only to these countries: IN, US. Use a number from one of them."),
        "InvalidSubscription",
        "country not served",
    ),
    (OptedOut(), "OptedOut", "opted out"),
    (RuntimeError(), "InternalServerError", "internal error"),
    (OperationalError(), "DatabaseUnavailable", "no database"),
    (OtpNotSent(), "SmsUnavailable", "not sent"),
    (SubscriberLimitReached(), "SmsUnavailable", "subscriber limit"),
    (too_busy(), "DatabaseUnavailable", "busy"),
    (body_late(), "RequestTimeout", "timeout"),
]


@pytest.mark.parametrize(("error", "component", "name"), RAISED_ERRORS)
def test_rare_errors_are_those_of_the_examples(error: Exception, component: str, name: str) -> None:
    assert problem_of(error) == example_of(component, name)


RAISED_ERRORS_WITHOUT_EXAMPLE = [
    (
        *(RateLimited("Too many requests from your IP address.", 3_600), 429, "Too many requests"),
        "Too many requests from your IP address. Try again in 60 minutes.",
    ),
    (
        *(RateLimited("Only five test failures an hour are allowed.", 3_600), 429, "Too many requests"),
        "Only five test failures an hour are allowed. Try again in 60 minutes.",
    ),
    (
        *(NoSharedState(), 503, "SMS not available"),
        (
            "Subscribing is not possible yet: this service has no shared database. "
            "The operator must set SMS_ALLOWED_REGIONS and SECRET_KEY, or DATABASE_URL."
        ),
    ),
    (*(SmsDisabled(), 503, "SMS not available"), "The operator of this service switched SMS off. Try again later."),
    (
        *(SubscriberLimitReached(otp_is_valid=True), 503, "Service full"),
        (
            "The service has as many subscribers as it can serve. Your code is right and stays valid until it expires."
            " Send it again in a minute."
        ),
    ),
]


@pytest.mark.parametrize(("error", "status", "title", "detail"), RAISED_ERRORS_WITHOUT_EXAMPLE)
def test_rare_errors_without_example_have_titles_of_the_examples(
    error: Exception, status: int, title: str, detail: str
) -> None:
    assert problem_of(error) == {"title": title, "status": status, "detail": detail}
    assert title in {part["title"] for part in iter_objects(DOCUMENT) if part.get("status") == status}


def problem_of(error: Exception) -> dict[str, Any]:
    app: falcon.App[falcon.Request, falcon.Response] = falcon.App()
    add_error_handlers(app, Settings(), lambda *_: None)
    app.add_route("/", _Raises(error))
    problem: dict[str, Any] = TestClient(app).simulate_get("/").json
    return problem


def test_every_error_example_is_tested_here() -> None:
    shown = {
        (response, name)
        for response, documented in DOCUMENT["components"]["responses"].items()
        for name in documented.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }
    elsewhere = {("TooManyRequests", "client IP"), ("InvalidRequest", "invalid host")}
    asked = (
        {row[2:] for row in GET_ERRORS}
        | {row[1:] for row in POST_ERRORS}
        | {row[1:] for row in RAISED_ERRORS}
        | elsewhere
    )
    assert shown == asked


# ---- the page


class Page(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def all(self, attribute: str) -> list[str]:
        return [value for _, attrs in self.elements if (value := attrs.get(attribute)) is not None]


def page_of(address: str) -> Page:
    response = requests.get(f"{address}/docs", timeout=30)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    return Page(response.text)


def test_the_document_is_served_unchanged(base: str) -> None:
    response = requests.get(f"{base}/openapi.json", timeout=30)
    assert response.json() == DOCUMENT
    assert response.headers["Cache-Control"] == "public, max-age=3600"


def test_the_page_has_every_operation_with_a_form(base: str) -> None:
    page = page_of(base)
    articles = [attrs["id"] for tag, attrs in page.elements if tag == "article"]
    assert sorted(map(str, articles)) == sorted(PATHS[path][method]["operationId"] for path, method in DOCUMENTED)
    forms = [(attrs["method"], attrs["data-path"]) for tag, attrs in page.elements if tag == "form"]
    assert sorted((str(path), str(method)) for method, path in forms) == sorted(DOCUMENTED)


def test_the_page_lists_the_endpoints_in_the_order_of_the_document_and_the_general_rules_last(base: str) -> None:
    page = page_of(base)
    first_links = list(dict.fromkeys(href for href in page.all("href") if href.startswith("#get")))
    assert first_links[:3] == ["#getDailyQuote", "#getRandomQuote", "#getQuote"]
    ids = page.all("id")
    assert (
        ids.index("endpoints") < ids.index("getDailyQuote") < ids.index("startFailingTaskWithGet") < ids.index("rules")
    )
    assert len([one for one in ids if one.startswith("rule-")]) == DOCUMENT["info"]["description"].count("## ") > 4


def test_every_field_has_a_label_and_there_are_no_inline_scripts_or_styles(base: str) -> None:
    page = page_of(base)
    fields, ids = page.elements, page.all("id")
    assert len(ids) == len(set(ids))
    assert {name.removeprefix("#") for name in page.all("href") if name.startswith("#")} <= set(ids)
    labelled = {attrs["for"] for tag, attrs in fields if tag == "label"}
    assert {attrs["id"] for tag, attrs in fields if tag in {"input", "select"}} == labelled
    assert not [name for _, attrs in fields for name in attrs if name.startswith("on") or name == "style"]
    assert not [tag for tag, attrs in fields if tag == "style" or (tag == "script" and "src" not in attrs)]


@sqlite_only
def test_every_link_on_the_page_has_the_prefix(settings: Settings) -> None:
    client = TestClient(create_app(settings), headers={"Host": "quotes.example.org"})
    response = client.simulate_get("/docs", root_path="/dev")
    page = Page(response.text)
    addresses = [*page.all("href"), *page.all("src"), *page.all("action"), *page.all("data-path")]
    assert len(addresses) > 80
    assert not [address for address in addresses if not address.startswith(("/dev/", "#"))]
    assert not [address for address in [*page.all("href"), *page.all("action")] if "{" in address]
    assert "curl &#39;http://quotes.example.org/dev/daily?date=2026-11-22&#39;" in response.text


def test_every_get_form_works_without_javascript(base: str) -> None:
    for method, address in [
        (attrs["method"], attrs["action"]) for tag, attrs in page_of(base).elements if tag == "form"
    ]:
        if method == "get":
            response = requests.get(f"{base}{address}", headers=BROWSER, timeout=30)
            is_off = address == "/async-failure"  # it needs Lambda and ASYNC_FAILURE
            assert response.status_code == (404 if is_off else 200), address


def test_no_form_is_prefilled_with_a_number(base: str) -> None:
    page = page_of(base)
    numbers = [attrs for tag, attrs in page.elements if tag == "input" and attrs.get("name") in {"mobile", "otp"}]
    assert len(numbers) == 12
    assert {attrs["value"] for attrs in numbers} == {""}


def test_the_page_is_small() -> None:
    folder = ROOT / "quoteapi/http"
    files = [folder / "templates" / "docs.html", folder / "assets" / "docs.css", folder / "assets" / "docs.js"]
    assert sum(path.stat().st_size for path in files) < 30_000
