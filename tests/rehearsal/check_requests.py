"""The step that sends requests as API Gateway does, to every page and endpoint."""

import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as ET

from tests.helpers.data import KABIR
from tests.rehearsal.aws import WEB_PAGE
from tests.rehearsal.checks import CheckFailed, check_contains, check_count, check_equal
from tests.rehearsal.rehearsal import FORM, UPSTREAM_KEY, Rehearsal, Response

CATALOGUE_SIZE = 596
"""Quotes in the bundled catalogue."""
MIGRATE = "quoteapi.aws.schedulers.migrate_database"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
LINK, FORM_ACTION = re.compile(r'\s(?:href|src)="([^"#][^"]*)"'), re.compile(r'\saction="([^"]*)"')
ENTRY = "{http://www.w3.org/2005/Atom}entry"
UPSTREAM_QUOTE = {"quote": KABIR.quote, "author": KABIR.author, "category": KABIR.category}


def requests(rehearsal: Rehearsal) -> None:
    """Request every endpoint and page, and many that do not exist."""
    rehearsal.upstream.respond = rehearsal.upstream.json_response([KABIR._asdict()])
    if rehearsal.stage.database == "PostgreSQL":
        _migrate(rehearsal)
    _check_daily(rehearsal)
    _check_random(rehearsal)
    _check_catalogue(rehearsal)
    _crawl_pages(rehearsal)
    _check_forms(rehearsal)
    _check_cards_and_feeds(rehearsal)
    _check_client_errors(rehearsal)
    _check_cors(rehearsal)


def _migrate(rehearsal: Rehearsal) -> None:
    """Create the tables of an empty database with the documented command."""
    with rehearsal.record_aws_requests() as aws_requests:
        rehearsal.project.zappa("invoke", rehearsal.stage.name, MIGRATE)
    invocations = [each for each in aws_requests if each.path.endswith("/invocations")]
    check_count("invocations by zappa invoke", invocations, 1)
    outcome = rehearsal.function.invoke(json.loads(invocations[0].body))
    check_equal("migrating an empty database: error", outcome.error, None)
    if not outcome.result["applied"]:
        raise CheckFailed("migrating an empty database applied no migration")


def check_problem(rehearsal: Rehearsal, status: int, title: str, method: str, path: str) -> Response:
    """Send a request that must fail with a problem document. Return the response."""
    response = rehearsal.send(method, path)
    check_equal(f"{method} {path}", response.status, status)
    check_equal(f"{method} {path}: content type", response.headers["content-type"], "application/problem+json")
    check_equal(f"{method} {path}: title", response.json["title"], title)
    return response


def _get(rehearsal: Rehearsal, path: str) -> Response:
    """Request JSON that must be there. Return the response."""
    response = rehearsal.send("GET", path)
    check_equal(f"GET {path}", (response.status, response.text[:300] if response.status != 200 else ""), (200, ""))
    check_equal(f"GET {path}: content type", response.headers["content-type"], "application/json")
    check_contains(f"GET {path}: headers", response.headers, "x-request-id", "cache-control")
    return response


def _check_daily(rehearsal: Rehearsal) -> None:
    today = datetime.now(UTC).date()
    daily = _get(rehearsal, "/daily")
    for path in ("/daily", "/daily/", "/quote", "/quote?type=daily", f"/daily?date={today}"):
        check_equal(f"GET {path}", _get(rehearsal, path).json, daily.json)
    if rehearsal.stage.database == "PostgreSQL":
        check_equal("the daily quote, from the upstream API", daily.json, UPSTREAM_QUOTE)
    again = rehearsal.send("GET", "/daily", If_None_Match=daily.headers["etag"])
    check_equal("GET /daily with If-None-Match", (again.status, again.text), (304, ""))
    head = rehearsal.send("HEAD", "/daily")
    check_equal("HEAD /daily", (head.status, head.text, head.headers["etag"]), (200, "", daily.headers["etag"]))
    check_equal(
        "yesterday's quote",
        set(_get(rehearsal, f"/daily?date={today - timedelta(days=1)}").json),
        set(UPSTREAM_QUOTE),
    )


def _check_random(rehearsal: Rehearsal) -> None:
    for path in ("/", "/random", "/quote?type=random") if rehearsal.stage.has_upstream else ():
        before = len(rehearsal.upstream.requests)
        check_equal(f"GET {path}, from the upstream API", _get(rehearsal, path).json, UPSTREAM_QUOTE)
        check_count(f"requests to the upstream API for {path}", rehearsal.upstream.requests[before:], 1)
        check_equal(
            "the upstream key of the remote environment", rehearsal.upstream.requests[-1]["X-Mashape-Key"], UPSTREAM_KEY
        )
    check_equal("GET /random?category=love", _get(rehearsal, "/random?category=love").json["category"], "love")
    author = "Emily Brontë"
    check_equal(
        f"GET /random?author={author}", _get(rehearsal, f"/random?author={quote(author)}").json["author"], author
    )


def _check_catalogue(rehearsal: Rehearsal) -> None:
    quotes = CATALOGUE_SIZE + (rehearsal.stage.database == "PostgreSQL")  # the quote from the upstream API was stored
    health = {"status": "ok", "database": "ok", "catalogue": {"quotes": quotes}}
    check_equal("GET /health", _get(rehearsal, "/health").json, health)
    for path, name in (("/quotes", "quotes"), ("/authors", "authors"), ("/categories", "categories")):
        page = _get(rehearsal, f"{path}?limit=2")
        check_count(f"GET {path}?limit=2", page.json[name], 2)
        check_contains(f"GET {path}: Link", page.headers["link"], page.json["next"])
        second = _get(rehearsal, page.json["next"])
        if second.json[name][0] in page.json[name]:
            raise CheckFailed(f"the second page of {path} repeats the first")
    found = _get(rehearsal, f"/quotes?q={quote('nature time')}&author={quote('Jules Verne')}").json
    check_equal("GET /quotes?q=nature time", [each["author"] for each in found["quotes"]], ["Jules Verne"])
    quote_id, text = found["quotes"][0]["id"], found["quotes"][0]["quote"]
    check_equal(f"GET /quotes/{quote_id}", _get(rehearsal, f"/quotes/{quote_id}").json["quote"], text)


def _get_page(rehearsal: Rehearsal, path: str, status: int = 200) -> Response:
    """Request a page as a browser does. Return the response."""
    page = rehearsal.send("GET", path, Accept=BROWSER)
    check_equal(f"GET {path} by a browser", page.status, status)
    check_equal(f"GET {path}: content type", page.headers["content-type"], "text/html; charset=utf-8")
    check_contains(
        f"GET {path}: Content-Security-Policy", page.headers["content-security-policy"], "default-src 'none'"
    )
    return page


def _crawl_pages(rehearsal: Rehearsal) -> None:
    """Follow every link of the pages: each must be below the stage's base URL and lead to a page or file."""
    queue, visited = ["/", "/quotes/1", "/docs"], set[str]()
    while queue:
        path = queue.pop()
        visited.add(path)
        response = rehearsal.send("GET", path, Accept=BROWSER)
        is_redirect = path == "/another" and "location" in response.headers
        check_equal(f"GET {path} by a browser", response.status, 303 if is_redirect else 200)
        if response.headers.get("content-type", "").startswith("text/html"):
            found = {_path_in_stage(rehearsal, path, link) for link in LINK.findall(response.text)}
            queue += [link for link in found - visited - set(queue) if not link.startswith("/days/")]
            for target in FORM_ACTION.findall(response.text):
                _path_in_stage(rehearsal, path, target)
    unlinked = {"/unsubscribe", "/another", "/feed.xml", "/openapi.json"} - visited
    check_equal("pages that no page links to", unlinked, set())
    loaded = {path.partition("?")[0] for path in visited}
    check_contains("files that pages load", loaded, "/assets/style.css", "/assets/script.js", "/assets/icon.svg")
    for path in ("/", "/quotes/1"):
        check_contains(f"GET {path}: Vary", _get_page(rehearsal, path).headers["vary"], "Accept")
    check_contains(
        "the page for a path that does not exist",
        _get_page(rehearsal, "/nothing-here", 404).text,
        "This page does not exist",
    )


def _path_in_stage(rehearsal: Rehearsal, path: str, link: str) -> str:
    """Return the path of a link within the stage. Raises `CheckFailed` if the link leaves the stage."""
    prefix = urlsplit(rehearsal.base).path
    path_in_stage = link.removeprefix(rehearsal.base if link.startswith("https:") else prefix)
    if not path_in_stage.startswith("/") or (prefix and path_in_stage == link):
        raise CheckFailed(f"{path} leads to {link}, which is not below {rehearsal.base}")
    return path_in_stage


def _check_forms(rehearsal: Rehearsal) -> None:
    """Post an invalid number, which the form must show again, and post as a page of another site does."""
    parts = urlsplit(rehearsal.base)
    same_site = {"Origin": f"https://{parts.netloc}", "Sec_Fetch_Site": "same-origin"}
    cross_site = {"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"}
    for path in ("/subscribe", "/unsubscribe"):
        form = _get_page(rehearsal, path)
        invalid = _post_form(rehearsal, path, 400, **same_site)
        if rehearsal.stage.database:
            check_contains(f"GET {path}: form action", form.text, f'action="{parts.path}{path}"')
            check_contains(f"POST {path}: entered number", invalid.text, 'value="+91 12"')
        else:
            check_contains(f"GET {path}", form.text, "Subscribing is not possible yet")
        _post_form(rehearsal, path, 403, **cross_site)


def _post_form(rehearsal: Rehearsal, path: str, status: int, **headers: str) -> Response:
    response = rehearsal.send("POST", path, "mobile=%2B91+12", Accept=BROWSER, Content_Type=FORM, **headers)
    check_equal(f"POST {path} by a browser", response.status, status)
    check_equal(f"POST {path}: content type", response.headers["content-type"], "text/html; charset=utf-8")
    return response


def _check_cards_and_feeds(rehearsal: Rehearsal) -> None:
    daily = _get(rehearsal, "/daily").json
    for path in ("/daily.svg", "/quotes/1.svg"):
        card = rehearsal.send("GET", path)
        check_equal(f"GET {path}", (card.status, card.headers["content-type"]), (200, "image/svg+xml"))
        again = rehearsal.send("GET", path, If_None_Match=card.headers["etag"])
        check_equal(f"GET {path} with If-None-Match", (again.status, again.text), (304, ""))
    check_contains("today's card", unescape(rehearsal.send("GET", "/daily.svg").text), daily["quote"], daily["author"])
    atom, feed = rehearsal.send("GET", "/feed.xml"), rehearsal.send("GET", "/feed.json")
    check_contains("GET /feed.xml: content type", atom.headers["content-type"], "application/atom+xml")
    check_contains("GET /feed.json: content type", feed.headers["content-type"], "application/feed+json")
    check_count("entries of the Atom feed", ET.fromstring(atom.text).findall(ENTRY), 30)  # noqa: S314 our own XML
    check_count("items of the JSON feed", feed.json["items"], 30)
    check_equal("URL of the JSON feed", feed.json["feed_url"], f"{rehearsal.base}/feed.json")
    check_contains("today's page", unescape(_get_page(rehearsal, feed.json["items"][0]["url"]).text), daily["quote"])


def _check_client_errors(rehearsal: Rehearsal) -> None:
    in_two_days = datetime.now(UTC).date() + timedelta(days=2)
    check_problem(rehearsal, 400, "Invalid date", "GET", "/daily?date=tomorrow")
    check_problem(rehearsal, 400, "Invalid date", "GET", f"/daily?date={in_two_days}")
    check_problem(rehearsal, 400, "Invalid Quote type", "GET", "/quote?type=weekly")
    check_problem(rehearsal, 404, "No quote found", "GET", "/quotes/999999")
    check_problem(rehearsal, 404, "Not found", "GET", f"/{quote('नमस्ते')}")
    check_problem(rehearsal, 400, "Invalid mobile", "POST", "/subscribe")
    not_allowed = check_problem(rehearsal, 405, "Method not allowed", "DELETE", "/daily")
    check_contains("DELETE /daily: Allow", not_allowed.headers["allow"], "GET", "HEAD")
    if not rehearsal.stage.database:
        for path in ("/subscribe", "/unsubscribe"):
            check_problem(rehearsal, 503, "SMS not available", "GET", f"{path}?mobile=%2B919028000001")
    if not rehearsal.stage.has_async_failure:
        check_problem(rehearsal, 404, "Not found", "POST", "/async-failure")


def _check_cors(rehearsal: Rehearsal) -> None:
    origin = f"https://{WEB_PAGE}"
    expected = origin if rehearsal.stage.has_domain else None
    for path in ("/daily", "/random", "/nothing-here"):
        response = rehearsal.send("GET", path, Origin=origin)
        check_equal(f"GET {path} from an allowed origin", response.headers.get("access-control-allow-origin"), expected)
    check_equal("GET /daily from another origin", _allowed_origin(rehearsal, "https://evil.example"), None)
    if expected:
        preflight = rehearsal.send("OPTIONS", "/subscribe", Origin=origin, Access_Control_Request_Method="POST")
        check_equal(
            "OPTIONS /subscribe from an allowed origin", preflight.headers.get("access-control-allow-origin"), expected
        )
        check_contains("OPTIONS /subscribe", preflight.headers["access-control-allow-methods"], "POST")


def _allowed_origin(rehearsal: Rehearsal, origin: str) -> str | None:
    return rehearsal.send("GET", "/daily", Origin=origin).headers.get("access-control-allow-origin")
