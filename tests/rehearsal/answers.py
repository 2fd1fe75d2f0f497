"""The step that sends requests by API Gateway's way, to every page there is."""

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from tests.cast import KABIR
from tests.rehearsal.aws import WEB_PAGE
from tests.rehearsal.rehearsal import UPSTREAM_KEY, Answer, Rehearsal
from tests.rehearsal.wrong import Wrong, count, holds, same

SHIPPED = 596
"""How many quotes the catalogue has."""
MIGRATE = "quoteapi.schedulers.migrate_database"
SHOWN = {"quote": KABIR.quote, "author": KABIR.author, "category": KABIR.category}


def answers(rehearsal: Rehearsal) -> None:
    """Ask for everything, and for much that is not there."""
    rehearsal.upstream.answer = rehearsal.upstream.with_json([KABIR._asdict()])
    if rehearsal.stage.shares_state:
        _migrate(rehearsal)
    _daily(rehearsal)
    _random(rehearsal)
    _catalogue(rehearsal)
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
