import json
import socket
from base64 import urlsafe_b64encode
from urllib.parse import urljoin

import pytest
import requests

from quoteapi.settings import Settings
from quoteapi.storage import catalogue
from quoteapi.storage.catalogue import store_quotation, store_quotations
from tests.conftest import Serve
from tests.helpers.data import ALCOTT, AUSTEN, KABIR, NOON, ZOLA, database_file, numbered_quotations, sqlite_only
from tests.helpers.http import assert_problem, serve_under_prefix
from tests.helpers.sql import record_sql

PATHS = ["/quotes", "/quotes?q=rocks", "/quotes/1", "/authors", "/categories"]
SHOWN = [
    {"id": number, "quote": quotation.quote, "author": quotation.author, "category": quotation.category}
    for number, quotation in ((3, ZOLA), (2, AUSTEN), (1, ALCOTT))
]


def get(address: str, **headers: str) -> requests.Response:
    return requests.get(address, headers={name.replace("_", "-"): value for name, value in headers.items()}, timeout=5)


def ids(answer: requests.Response) -> list[int]:
    return [shown["id"] for shown in answer.json()["quotes"]]


def pages(address: str) -> list[requests.Response]:
    """Ask for a page and all that follow, each of which says the same of the whole."""
    answers = [get(address)]
    while following := answers[-1].json()["next"]:
        assert answers[-1].links["next"]["url"] == following
        answers.append(get(urljoin(address, following)))
    assert "next" not in answers[-1].links
    said = [(one.json()["total"], one.json()["total_relation"], one.links["first"]) for one in answers]
    assert said == said[:1] * len(said)
    return answers


def cursor(said: object) -> str:
    return urlsafe_b64encode(said if isinstance(said, bytes) else json.dumps(said).encode()).decode().rstrip("=")


# ---- /quotes


def test_the_catalogue_is_listed_the_newest_first(serve: Serve) -> None:
    base = serve()
    answer = get(f"{base}/quotes")
    assert answer.status_code == 200
    assert answer.json() == {"quotes": SHOWN, "total": 3, "total_relation": "eq", "next": None}
    assert ZOLA.quote.encode() in answer.content, "as UTF-8, not as escapes"
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Link"] == f"<{base}/quotes>; rel=first"


@pytest.mark.parametrize(("query", "sizes"), [("", [20, 20, 11]), ("?limit=100", [51]), ("?limit=25", [25, 25, 1])])
def test_page_by_page_each_quote_comes_once_and_is_counted_once(serve: Serve, query: str, sizes: list[int]) -> None:
    base = serve()
    store_quotations(numbered_quotations(48), NOON)
    for narrowed, fitting in ((query, range(51, 0, -1)), (f"{query or '?'}&q=quote+number", range(51, 3, -1))):
        with record_sql() as statements:
            answers = pages(f"{base}/quotes{narrowed}")
        assert [one for answer in answers for one in ids(answer)] == list(fitting)
        assert answers[0].json()["total"] == len(fitting)
        assert len(statements) == 1 + len(answers), "the total is the cursor's business from the second page on"
    assert [len(ids(answer)) for answer in pages(f"{base}/quotes{query}")] == sizes


def test_what_is_too_many_to_count_is_at_least_so_many_on_each_page(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "COUNT_LIMIT", 2)
    monkeypatch.setattr("quoteapi.http.resources.catalogue.NAME_COUNT_LIMIT", 2)
    base = serve()
    for path in ("/quotes?min_length=1&limit=2", "/authors?limit=2"):
        answers = pages(f"{base}{path}")
        assert [(one.json()["total"], one.json()["total_relation"]) for one in answers] == [(2, "gte")] * 2


def test_filters_narrow_the_listing_and_what_is_none_does_not(serve: Serve) -> None:
    base = serve()
    for query, expected in {
        "q=rocks": [2],
        "q=rocks+OR+busy": [2, 1],
        "q=%22keep+busy%22+-austen": [1],
        "q=%22": [],
        "category=Truth": [3],
        "author=emile+zola": [3],
        "min_length=36&max_length=0036": [2],
        "min_length=9&max_length=8": [],
        "max_length=99999999999999999999": [3, 2, 1],
        "min_length=99999999999999999999": [],
        "q=rocks&category=nature&author=Jane+Austen&min_length=2&max_length=99&limit=1": [2],
        "q=&category=&author=&min_length=&max_length=&limit=&cursor=": [3, 2, 1],
        "utm_source=x&page=7&type=daily": [3, 2, 1],
    }.items():
        answer = get(f"{base}/quotes?{query}")
        assert (answer.status_code, ids(answer), answer.json()["total"]) == (200, expected, len(expected)), query


def test_the_links_say_again_what_was_asked_for_and_nothing_else(serve: Serve) -> None:
    base = serve()
    store_quotations(numbered_quotations(3), NOON)
    answer = get(f"{base}/quotes/?utm=1&limit=2&author=&q=%22number%22+%2Bmany%26%C3%A9*+OR+quote&min_length=3")
    first = f"{base}/quotes?q=%22number%22%20%2Bmany%26%C3%A9%2A%20OR%20quote&min_length=3&limit=2"
    assert answer.links["first"]["url"] == first
    assert answer.json()["next"].startswith(f"{first}&cursor=")
    assert (ids(answer), ids(get(urljoin(base, answer.json()["next"])))) == ([6, 5], [4])


def test_a_search_that_was_typed_into_curl_as_it_is_finds_its_quotes(serve: Serve) -> None:
    host, port = serve().removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall("GET /quotes?q=vérité*&author=Émile%20zola HTTP/1.0\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["quotes"] == SHOWN[:1]
    assert b"/quotes?q=v%C3%A9rit%C3%A9%2A&author=%C3%89mile%20zola>; rel=first" in answer


def test_what_is_wrong_is_told_its_form(serve: Serve) -> None:
    base = serve()
    for name, detail, wrong in (
        ("limit", "?limit=20", ("0", "-1", "1.5", "ten", "٣", "+5", "%00")),
        ("limit", "at most 100", ("101", "9" * 5_000)),
        ("min_length", "?min_length=120", ("0", "x")),
        ("max_length", "?max_length=120", ("0", "1e3")),
        ("q", "at most 200 characters", ("a" * 201,)),
        *((name, "more than 100 characters", ("a" * 201,)) for name in ("author", "category")),
    ):
        for value in wrong:
            assert_problem(get(f"{base}/quotes?{name}={value}"), 400, f"Invalid {name}", detail)


def test_whatever_is_searched_for_is_never_an_error(serve: Serve) -> None:
    base = serve()
    for typed in ("%00", "%FF%FE", "%ED%A0%80", "%E2%9D%A4", "'; DROP TABLE quote", '"' * 200, "(" * 200):
        assert get(f"{base}/quotes?q={typed}").status_code == 200, typed


FORGED: dict[str, tuple[object, ...]] = {
    "/quotes": (
        *([place, 3, True] for place in ("2", "", -1, 10**9, 10**400, 1.5, True, None, [2])),
        *([2, counted, True] for counted in ("3", 1.5, None, -3, 10**400, True)),
        *([2, 3, 1], [2, 3], [2, 3, True, 4], {"2": 3}, 2, None, "x" * 5_000),
        *(b"\xff\xfe", b"[2,3,true", b"[" * 2_900, b"[2,NaN,true]", b"\0" * 9),
    ),
    "/authors": tuple([place, 3, True] for place in (2, -1, None, "\0", "\ud800", "a\n")),
    "/categories": (["a", "3", True], ["a"], [["a"], 3, True]),
}


def test_a_cursor_that_is_none_is_refused(serve: Serve) -> None:
    base = serve()
    for path, forged in FORGED.items():
        for written in (*map(cursor, forged), "nonsense", "a", "é", "%00", "%25", "=", cursor([2, 3, True])[:-3]):
            answer = get(f"{base}{path}?cursor={written}")
            assert_problem(answer, 400, "Invalid cursor", "as `next` of the page before has it")


def test_a_new_quote_is_found_at_once_and_shifts_no_page(serve: Serve) -> None:
    base = serve()
    first = get(f"{base}/quotes?limit=2")
    store_quotation(KABIR, NOON)
    second = get(urljoin(base, first.json()["next"]))
    assert ids(first) + ids(second) == [3, 2, 1]
    assert second.json()["total"] == 3, "as it was when the first page was asked for"
    assert ids(get(urljoin(base, first.links["first"]["url"]))) == [4, 3]
    for found in (get(f"{base}/quotes?q=काल"), get(f"{base}/quotes?author=कबीर")):
        assert (ids(found), found.json()["total"]) == ([4], 1)
    assert get(f"{base}/authors").json()["authors"][-1] == {"author": "कबीर", "quotes": 1}


# ---- /quotes/<id>


def test_a_quote_has_an_address_that_says_where_it_stands(serve: Serve) -> None:
    base = serve()
    assert get(f"{base}/quotes/1").json() == {**SHOWN[2], "source": ALCOTT.source}
    for unknown in ("0", "-1", "4", "9" * 9, "9" * 5_000, "one", "1.0", "1e0", "+1", "%201", "１", "٣", "%00"):
        assert_problem(get(f"{base}/quotes/{unknown}"), 404, "No quote found", "GET /quotes lists them with their ids")
    assert_problem(get(f"{base}/quotes/1/source"), 404, "Not Found")


# ---- /authors and /categories


@pytest.mark.parametrize(
    ("one", "many", "expected"),
    [
        ("author", "authors", {"Émile Zola": 1, "Homer": 2, "Jane Austen": 1, "Louisa May Alcott": 1, "कबीर": 1}),
        ("category", "categories", {"hope": 1, "nature": 1, "truth": 1, "War": 2, "समय": 1}),
    ],
)
def test_authors_and_categories_are_counted_in_the_order_of_the_alphabet(
    serve: Serve, one: str, many: str, expected: dict[str, int]
) -> None:
    base = serve()
    homer = ALCOTT._replace(author="Homer", category="War")
    store_quotations([KABIR, homer, homer._replace(quote="Sing!", author="HOMER", category="war")], NOON)
    for limit, statements_expected in ((2, 4), (20, 2)):
        with record_sql() as statements:
            answers = pages(f"{base}/{many}?limit={limit}")
        shown = [(row[one], row["quotes"]) for answer in answers for row in answer.json()[many]]
        assert shown == list(expected.items())
        assert len(statements) == statements_expected
    assert answers[0].json() == {
        many: [{one: name, "quotes": quotes} for name, quotes in expected.items()],
        "total": 5,
        "total_relation": "eq",
        "next": None,
    }


# ---- all of them


@pytest.mark.parametrize("path", PATHS)
def test_programs_pages_and_caches_get_what_they_need(serve: Serve, path: str) -> None:
    base = serve(CORS_ORIGINS="*")
    answer = get(f"{base}{path}")
    assert answer.headers["Cache-Control"] == f"public, max-age={86_400 if path == '/quotes/1' else 60}"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Link" in answer.headers["Access-Control-Expose-Headers"].split(", ")

    head = requests.head(f"{base}{path}", timeout=5)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("Content-Length", "Cache-Control", "Content-Type"):
        assert head.headers[name] == answer.headers[name]
    assert head.headers.get("Link") == answer.headers.get("Link")

    options = requests.options(f"{base}{path}", timeout=5)
    assert (options.status_code, options.headers["Allow"]) == (200, "GET, HEAD")
    assert_problem(requests.post(f"{base}{path}", timeout=5), 405, "Method Not Allowed")


@pytest.mark.parametrize("public", ["", "https://quotes.example/production"])
def test_links_have_the_stage_and_no_host_that_a_client_could_name(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, public: str
) -> None:
    serve_under_prefix(monkeypatch, "/production")
    base = serve(TRUSTED_PROXIES="127.0.0.0/8", PUBLIC_URL=public)
    answer = get(f"{base}/quotes?limit=1", X_Forwarded_Host="evil.example", Forwarded="host=evil.example", Host="evil")
    first = f"{public or '/production'}/quotes?limit=1"
    assert answer.links["first"]["url"] == first
    assert answer.json()["next"].startswith(f"{first}&cursor=")


@sqlite_only
def test_while_the_database_is_gone_quotes_go_on_and_the_catalogue_says_when_to_come_back(
    serve: Serve, settings: Settings
) -> None:
    base = serve()
    for file in database_file(settings).parent.glob("working.db*"):
        file.unlink()
    for path in PATHS:
        answer = get(f"{base}{path}")
        assert_problem(answer, 503, "Database not available", "Try again")
        assert answer.headers["Retry-After"] == "30"
    daily = [get(f"{base}/daily") for _ in range(2)]
    assert daily[0].json() == daily[1].json()
    assert {one.headers["Cache-Control"] for one in daily} == {"public, max-age=10"}
    assert get(f"{base}/random?author=Jane+Austen").json()["quote"] == AUSTEN.quote
