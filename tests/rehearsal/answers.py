"""The step that sends requests by API Gateway's way, to every page there is."""

import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as ET

from tests.helpers.data import KABIR
from tests.rehearsal.aws import WEB_PAGE
from tests.rehearsal.rehearsal import UPSTREAM_KEY, Answer, Rehearsal
from tests.rehearsal.wrong import Wrong, count, holds, same

SHIPPED = 596
"""How many quotes the catalogue has."""
MIGRATE = "quoteapi.aws.schedulers.migrate_database"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
FORM = "application/x-www-form-urlencoded"
LINKS, TARGETS = re.compile(r'\s(?:href|src)="([^"#][^"]*)"'), re.compile(r'\saction="([^"]*)"')
ENTRY = "{http://www.w3.org/2005/Atom}entry"
SHOWN = {"quote": KABIR.quote, "author": KABIR.author, "category": KABIR.category}


def answers(rehearsal: Rehearsal) -> None:
    """Ask for everything, and for much that is not there."""
    rehearsal.upstream.answer = rehearsal.upstream.with_json([KABIR._asdict()])
    if rehearsal.stage.shares_state:
        _migrate(rehearsal)
    _daily(rehearsal)
    _random(rehearsal)
    _catalogue(rehearsal)
    _pages(rehearsal)
    _forms(rehearsal)
    _cards_and_feeds(rehearsal)
    _mistakes(rehearsal)
    _cross_origin(rehearsal)


def _migrate(rehearsal: Rehearsal) -> None:
    """Make the tables of a database that is empty, as the operator is told to."""
    with rehearsal.watching() as asked:
        rehearsal.project.zappa("invoke", rehearsal.stage.name, MIGRATE)
    called = [each for each in asked if each.path.endswith("/invocations")]
    count("calls by zappa invoke", called, 1)
    outcome = rehearsal.function.invoke(json.loads(called[0].body))
    same("migrating failed with", outcome.error, None)
    if not outcome.answer["applied"]:
        raise Wrong("migrating an empty database applied nothing")


def problem(rehearsal: Rehearsal, status: int, title: str, method: str, path: str) -> Answer:
    """Ask for what is answered by a problem document. Answer it."""
    answer = rehearsal.ask(method, path)
    same(f"{method} {path}", answer.status, status)
    same(f"{method} {path}: kind", answer.headers["content-type"], "application/problem+json")
    same(f"{method} {path}: title", answer.json["title"], title)
    return answer


def _right(rehearsal: Rehearsal, path: str) -> Answer:
    answer = rehearsal.ask("GET", path)
    same(f"GET {path}", (answer.status, answer.text[:300] if answer.status != 200 else ""), (200, ""))
    same(f"GET {path}: kind", answer.headers["content-type"], "application/json")
    holds(f"GET {path}: headers", answer.headers, "x-request-id", "cache-control")
    return answer


def _daily(rehearsal: Rehearsal) -> None:
    today = datetime.now(UTC).date()
    daily = _right(rehearsal, "/daily")
    for path in ("/daily", "/daily/", "/quote", "/quote?type=daily", f"/daily?date={today}"):
        same(f"GET {path}", _right(rehearsal, path).json, daily.json)
    if rehearsal.stage.shares_state:
        same("the quote of the day, of the upstream API", daily.json, SHOWN)
    again = rehearsal.ask("GET", "/daily", If_None_Match=daily.headers["etag"])
    same("GET /daily, which the client has", (again.status, again.text), (304, ""))
    head = rehearsal.ask("HEAD", "/daily")
    same("HEAD /daily", (head.status, head.text, head.headers["etag"]), (200, "", daily.headers["etag"]))
    same("the quote of yesterday", set(_right(rehearsal, f"/daily?date={today - timedelta(days=1)}").json), set(SHOWN))


def _random(rehearsal: Rehearsal) -> None:
    for path in ("/", "/random", "/quote?type=random"):
        before = len(rehearsal.upstream.asked)
        same(f"GET {path}, of the upstream API", _right(rehearsal, path).json, SHOWN)
        count(f"requests to the upstream API for {path}", rehearsal.upstream.asked[before:], 1)
        same("the key of the remote environment", rehearsal.upstream.asked[-1]["X-Mashape-Key"], UPSTREAM_KEY)
    same("GET /random?category=love", _right(rehearsal, "/random?category=love").json["category"], "love")
    author = "Emily Brontë"
    same(f"GET /random?author={author}", _right(rehearsal, f"/random?author={quote(author)}").json["author"], author)


def _catalogue(rehearsal: Rehearsal) -> None:
    quotes = SHIPPED + rehearsal.stage.shares_state  # which keeps what the upstream API answered
    health = {"status": "ok", "database": "ok", "catalogue": {"quotes": quotes}}
    same("GET /health", _right(rehearsal, "/health").json, health)
    for path, name in (("/quotes", "quotes"), ("/authors", "authors"), ("/categories", "categories")):
        page = _right(rehearsal, f"{path}?limit=2")
        count(f"GET {path}?limit=2", page.json[name], 2)
        holds(f"GET {path}: Link", page.headers["link"], page.json["next"])
        following = _right(rehearsal, page.json["next"])
        if following.json[name][0] in page.json[name]:
            raise Wrong(f"the second page of {path} repeats the first")
    found = _right(rehearsal, f"/quotes?q={quote('nature time')}&author={quote('Jules Verne')}").json
    same("GET /quotes?q=nature time", [each["author"] for each in found["quotes"]], ["Jules Verne"])
    one = found["quotes"][0]["id"]
    same(f"GET /quotes/{one}", _right(rehearsal, f"/quotes/{one}").json["quote"], found["quotes"][0]["quote"])


def _page(rehearsal: Rehearsal, path: str, status: int = 200) -> Answer:
    """Ask as a browser does. Answer the page."""
    page = rehearsal.ask("GET", path, Accept=BROWSER)
    same(f"GET {path} by a browser", page.status, status)
    same(f"GET {path}: kind", page.headers["content-type"], "text/html; charset=utf-8")
    holds(f"GET {path}: what it may load", page.headers["content-security-policy"], "default-src 'none'")
    return page


def _pages(rehearsal: Rehearsal) -> None:
    """Go wherever pages lead, to all that they load too: nothing is outside of the stage, and all is there."""
    to_see, seen = ["/", "/quotes/1", "/docs"], set[str]()
    while to_see:
        path = to_see.pop()
        seen.add(path)
        answer = rehearsal.ask("GET", path, Accept=BROWSER)
        same(
            f"GET {path} by a browser",
            answer.status,
            303 if path == "/another" and "location" in answer.headers else 200,
        )
        if answer.headers.get("content-type", "").startswith("text/html"):
            found = {_inside(rehearsal, path, link) for link in LINKS.findall(answer.text)}
            to_see += [link for link in found - seen - set(to_see) if not link.startswith("/days/")]
            for target in TARGETS.findall(answer.text):
                _inside(rehearsal, path, target)
    missed = {"/unsubscribe", "/another", "/feed.xml", "/openapi.json"} - seen
    same("no page leads to", missed, set())
    loaded = {path.partition("?")[0] for path in seen}
    holds("what pages load", loaded, "/assets/style.css", "/assets/script.js", "/assets/icon.svg")
    for path in ("/", "/quotes/1"):
        holds(f"GET {path}: what decides", _page(rehearsal, path).headers["vary"], "Accept")
    holds("the page of nothing", _page(rehearsal, "/nothing-here", 404).text, "Nothing is here")


def _inside(rehearsal: Rehearsal, path: str, link: str) -> str:
    """Answer where in the stage a link leads. Raises `Wrong` where that is outside of it."""
    prefix = urlsplit(rehearsal.base).path
    inside = link.removeprefix(rehearsal.base if link.startswith("https:") else prefix)
    if not inside.startswith("/") or (prefix and inside == link):
        raise Wrong(f"{path} leads to {link}, which is not below {rehearsal.base}")
    return inside


def _forms(rehearsal: Rehearsal) -> None:
    """Post what is no number, which must come back as it was sent; and as another site's page would."""
    parts = urlsplit(rehearsal.base)
    ours = {"Origin": f"https://{parts.netloc}", "Sec_Fetch_Site": "same-origin"}
    theirs = {"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"}
    for path in ("/subscribe", "/unsubscribe"):
        form = _page(rehearsal, path)
        refused = _posted(rehearsal, path, 400, **ours)
        if rehearsal.stage.shares_state:
            holds(f"GET {path}: where the form goes", form.text, f'action="{parts.path}{path}"')
            holds(f"POST {path}: what was sent", refused.text, 'value="+91 12"')
        else:
            holds(f"GET {path}", form.text, "Nobody can subscribe here yet")
        _posted(rehearsal, path, 403, **theirs)


def _posted(rehearsal: Rehearsal, path: str, status: int, **headers: str) -> Answer:
    answer = rehearsal.ask("POST", path, "mobile=%2B91+12", Accept=BROWSER, Content_Type=FORM, **headers)
    same(f"POST {path} by a browser", answer.status, status)
    same(f"POST {path}: kind", answer.headers["content-type"], "text/html; charset=utf-8")
    return answer


def _cards_and_feeds(rehearsal: Rehearsal) -> None:
    daily = _right(rehearsal, "/daily").json
    for path in ("/daily.svg", "/quotes/1.svg"):
        card = rehearsal.ask("GET", path)
        same(f"GET {path}", (card.status, card.headers["content-type"]), (200, "image/svg+xml"))
        again = rehearsal.ask("GET", path, If_None_Match=card.headers["etag"])
        same(f"GET {path}, which the client has", (again.status, again.text), (304, ""))
    holds("the card of the day", unescape(rehearsal.ask("GET", "/daily.svg").text), daily["quote"], daily["author"])
    atom, feed = rehearsal.ask("GET", "/feed.xml"), rehearsal.ask("GET", "/feed.json")
    holds("GET /feed.xml: kind", atom.headers["content-type"], "application/atom+xml")
    holds("GET /feed.json: kind", feed.headers["content-type"], "application/feed+json")
    count("entries of the Atom feed", ET.fromstring(atom.text).findall(ENTRY), 30)  # noqa: S314 it is ours
    count("items of the JSON feed", feed.json["items"], 30)
    same("where the JSON feed is", feed.json["feed_url"], f"{rehearsal.base}/feed.json")
    holds("the page of today", unescape(_page(rehearsal, feed.json["items"][0]["url"]).text), daily["quote"])


def _mistakes(rehearsal: Rehearsal) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    problem(rehearsal, 400, "Invalid date", "GET", "/daily?date=tomorrow")
    problem(rehearsal, 400, "Invalid date", "GET", f"/daily?date={tomorrow}")
    problem(rehearsal, 400, "Invalid Quote type", "GET", "/quote?type=weekly")
    problem(rehearsal, 404, "No quote found", "GET", "/quotes/999999")
    problem(rehearsal, 404, "Not Found", "GET", f"/{quote('नमस्ते')}")
    problem(rehearsal, 400, "Invalid mobile", "POST", "/subscribe")
    not_allowed = problem(rehearsal, 405, "Method Not Allowed", "DELETE", "/daily")
    holds("DELETE /daily: Allow", not_allowed.headers["allow"], "GET", "HEAD")
    if not rehearsal.stage.shares_state:
        for path in ("/subscribe", "/unsubscribe"):
            problem(rehearsal, 503, "SMS not available", "GET", f"{path}?mobile=%2B919028000001")
    if not rehearsal.stage.fails_on_demand:
        problem(rehearsal, 404, "Not Found", "POST", "/async-failure")


def _cross_origin(rehearsal: Rehearsal) -> None:
    origin = f"https://{WEB_PAGE}"
    wanted = origin if rehearsal.stage.has_domain else None
    for path in ("/daily", "/random", "/nothing-here"):
        answer = rehearsal.ask("GET", path, Origin=origin)
        same(f"GET {path} from a web page", answer.headers.get("access-control-allow-origin"), wanted)
    same("GET /daily from another web page", _allowed(rehearsal, "https://evil.example"), None)
    if wanted:
        flight = rehearsal.ask("OPTIONS", "/subscribe", Origin=origin, Access_Control_Request_Method="POST")
        same("OPTIONS /subscribe from a web page", flight.headers.get("access-control-allow-origin"), wanted)
        holds("OPTIONS /subscribe", flight.headers["access-control-allow-methods"], "POST")


def _allowed(rehearsal: Rehearsal, origin: str) -> str | None:
    return rehearsal.ask("GET", "/daily", Origin=origin).headers.get("access-control-allow-origin")
