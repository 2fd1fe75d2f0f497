import json
import socket
from urllib.parse import urljoin

import pytest
import requests

from quoteapi.http.resources import catalogue as resources
from quoteapi.settings import Settings
from quoteapi.storage import catalogue, sqlite
from quoteapi.storage.catalogue import store_quotation, store_quotations
from tests.conftest import Serve
from tests.helpers.data import ALCOTT, AUSTEN, KABIR, NOON, ZOLA, database_file, numbered_quotations, sqlite_only
from tests.helpers.http import assert_problem, serve_under_prefix
from tests.helpers.sql import record_sql

PATHS = ["/quotes", "/quotes?q=rocks", "/quotes/1", "/authors", "/categories"]
LISTED = [
    {"id": number, "quote": quotation.quote, "author": quotation.author, "category": quotation.category}
    for number, quotation in ((3, ZOLA), (2, AUSTEN), (1, ALCOTT))
]


def get(url: str, **headers: str) -> requests.Response:
    return requests.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()}, timeout=30)


def ids(response: requests.Response) -> list[int]:
    return [quote["id"] for quote in response.json()["quotes"]]


def fetch_pages(url: str) -> list[requests.Response]:
    """Return a page and those after it, which all have the same total and first link."""
    responses = [get(url)]
    while next_url := responses[-1].json()["next"]:
        assert responses[-1].links["next"]["url"] == next_url
        responses.append(get(urljoin(url, next_url)))
    assert "next" not in responses[-1].links
    totals = [(one.json()["total"], one.json()["total_relation"], one.links["first"]) for one in responses]
    assert totals == totals[:1] * len(totals)
    return responses


# ---- /quotes


def test_quotes_are_listed_newest_first(serve: Serve) -> None:
    base = serve()
    response = get(f"{base}/quotes")
    assert response.status_code == 200
    assert response.json() == {"quotes": LISTED, "total": 3, "total_relation": "eq", "next": None}
    assert ZOLA.quote.encode() in response.content, "as UTF-8, not as escapes"
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Link"] == f"<{base}/quotes>; rel=first"


@pytest.mark.parametrize(("query", "sizes"), [("", [20, 20, 11]), ("?limit=100", [51]), ("?limit=25", [25, 25, 1])])
def test_each_quote_is_on_one_page_and_the_total_is_counted_once(serve: Serve, query: str, sizes: list[int]) -> None:
    base = serve()
    store_quotations(numbered_quotations(48), NOON)
    for filtered_query, expected in ((query, range(51, 0, -1)), (f"{query or '?'}&q=quote+number", range(51, 3, -1))):
        with record_sql() as statements:
            responses = fetch_pages(f"{base}/quotes{filtered_query}")
        assert [one for response in responses for one in ids(response)] == list(expected)
        assert responses[0].json()["total"] == len(expected)
        assert len(statements) == 1 + len(responses), "the cursor holds the total from the second page on"
    assert [len(ids(response)) for response in fetch_pages(f"{base}/quotes{query}")] == sizes


def test_a_total_over_the_count_limit_is_a_lower_bound_on_each_page(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "COUNT_LIMIT", 2)
    monkeypatch.setattr("quoteapi.http.resources.catalogue.NAME_COUNT_LIMIT", 2)
    base = serve()
    for path in ("/quotes?min_length=1&limit=2", "/authors?limit=2"):
        responses = fetch_pages(f"{base}{path}")
        assert [(one.json()["total"], one.json()["total_relation"]) for one in responses] == [(2, "gte")] * 2


def test_filters_narrow_the_listing_and_unknown_or_empty_parameters_are_ignored(serve: Serve) -> None:
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
        response = get(f"{base}/quotes?{query}")
        assert (response.status_code, ids(response), response.json()["total"]) == (200, expected, len(expected)), query


@pytest.mark.parametrize(
    ("query", "suggestions"),
    [
        ("author=austen", {"author": ["Jane Austen"]}),
        ("author=emile+zolla&category=thruth", {"author": ["Émile Zola"], "category": ["truth"]}),
        ("category=nature&author=alcott&q=rocks&limit=1", {"author": ["Louisa May Alcott"]}),
    ],
)
def test_an_empty_listing_suggests_similar_authors_and_categories(
    serve: Serve, query: str, suggestions: dict[str, list[str]]
) -> None:
    response = get(f"{serve()}/quotes?{query}")
    nothing = {"quotes": [], "total": 0, "total_relation": "eq", "next": None}
    assert (response.status_code, response.json()) == (200, {**nothing, "did_you_mean": suggestions})


@pytest.mark.parametrize(
    "query", ["author=nobody", "author=Jane+Austen&category=hope", "q=zugzwang", "author=Jane+Austen"]
)
def test_other_listings_suggest_nothing(serve: Serve, query: str) -> None:
    assert set(get(f"{serve()}/quotes?{query}").json()) == {"quotes", "total", "total_relation", "next"}


def test_links_repeat_the_known_parameters_only(serve: Serve) -> None:
    base = serve()
    store_quotations(numbered_quotations(3), NOON)
    response = get(f"{base}/quotes/?utm=1&limit=2&author=&q=%22number%22+%2Bmany%26%C3%A9*+OR+quote&min_length=3")
    first = f"{base}/quotes?q=%22number%22%20%2Bmany%26%C3%A9%2A%20OR%20quote&min_length=3&limit=2"
    assert response.links["first"]["url"] == first
    assert response.json()["next"].startswith(f"{first}&cursor=")
    assert (ids(response), ids(get(urljoin(base, response.json()["next"])))) == ([6, 5], [4])


def test_an_unescaped_utf_8_query_finds_quotes(serve: Serve) -> None:
    host, port = serve().removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall("GET /quotes?q=vérité*&author=Émile%20zola HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        response = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert json.loads(response.partition(b"\r\n\r\n")[2])["quotes"] == LISTED[:1]
    assert b"/quotes?q=v%C3%A9rit%C3%A9%2A&author=%C3%89mile%20zola>; rel=first" in response


def test_an_invalid_parameter_is_rejected_with_an_example(serve: Serve) -> None:
    base = serve()
    for name, detail, wrong in (
        ("limit", "?limit=20", ("0", "-1", "1.5", "ten", "٣", "+5", "%00")),
        ("limit", "at most 100", ("101", "9" * 5_000)),
        ("min_length", "?min_length=120", ("0", "x")),
        ("max_length", "?max_length=120", ("0", "1e3")),
        ("q", "at most 200 characters", ("a" * 201,)),
        ("q", "at most 20 words", (" ".join(map(str, range(21))), "-".join("a" * 100))),
        ("q", "?q=rocks+mountains", ("the -a -b -c -d -e", '"the the the the the the"')),
        *((name, "Send at most 200 characters.", ("a" * 201,)) for name in ("author", "category")),
    ):
        for value in wrong:
            assert_problem(get(f"{base}/quotes?{name}={value}"), 400, f"Invalid {name}", detail)


def test_no_search_query_is_an_error(serve: Serve) -> None:
    base = serve()
    for typed in ("%00", "%FF%FE", "%ED%A0%80", "%E2%9D%A4", "'; DROP TABLE quote", '"' * 200, "(" * 200):
        assert get(f"{base}/quotes?q={typed}").status_code == 200, typed


@sqlite_only
def test_a_search_that_takes_too_long_is_ended(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    base = serve()
    assert get(f"{base}/quotes?q=rocks").status_code == 200
    monkeypatch.setattr(sqlite, "INSTRUCTIONS_PER_CHECK", 1)
    for path in ("/quotes?q=rocks", "/quotes", "/quotes?author=jane+austen&max_length=99"):
        with monkeypatch.context() as hurry:
            hurry.setattr(resources, "READ_TIMEOUT_SECONDS", 1e-6)
            assert_problem(get(f"{base}{path}"), 503, "Database not available", "Try again")
        assert get(f"{base}{path}").status_code == 200, "the next one is not"


def test_a_new_quote_is_found_at_once_and_shifts_no_page(serve: Serve) -> None:
    base = serve()
    first = get(f"{base}/quotes?limit=2")
    store_quotation(KABIR, NOON)
    second = get(urljoin(base, first.json()["next"]))
    assert ids(first) + ids(second) == [3, 2, 1]
    assert second.json()["total"] == 3, "as counted for the first page"
    assert ids(get(urljoin(base, first.links["first"]["url"]))) == [4, 3]
    for found in (get(f"{base}/quotes?q=काल"), get(f"{base}/quotes?author=कबीर")):
        assert (ids(found), found.json()["total"]) == ([4], 1)
    assert get(f"{base}/authors").json()["authors"][-1] == {"author": "कबीर", "quotes": 1}


# ---- /quotes/<id>


def test_a_quote_is_found_by_its_id_with_its_source(serve: Serve) -> None:
    base = serve()
    assert get(f"{base}/quotes/1").json() == {**LISTED[2], "source": ALCOTT.source}
    for unknown in ("0", "-1", "4", "9" * 9, "9" * 5_000, "one", "1.0", "1e0", "+1", "%201", "１", "٣", "%00"):
        assert_problem(
            get(f"{base}/quotes/{unknown}"),
            404,
            "No quote found",
            "No quote has this ID. To find IDs, send GET /quotes.",
        )
    assert_problem(get(f"{base}/quotes/1/source"), 404, "Not found")


# ---- /authors and /categories


@pytest.mark.parametrize(
    ("one", "many", "expected"),
    [
        ("author", "authors", {"Émile Zola": 1, "Homer": 2, "Jane Austen": 1, "Louisa May Alcott": 1, "कबीर": 1}),
        ("category", "categories", {"hope": 1, "nature": 1, "truth": 1, "War": 2, "समय": 1}),
    ],
)
def test_authors_and_categories_are_listed_alphabetically_with_their_number_of_quotes(
    serve: Serve, one: str, many: str, expected: dict[str, int]
) -> None:
    base = serve()
    homer = ALCOTT._replace(author="Homer", category="War")
    store_quotations([KABIR, homer, homer._replace(quote="Sing!", author="HOMER", category="war")], NOON)
    for limit, statements_expected in ((2, 4), (20, 2)):
        with record_sql() as statements:
            responses = fetch_pages(f"{base}/{many}?limit={limit}")
        shown = [(row[one], row["quotes"]) for response in responses for row in response.json()[many]]
        assert shown == list(expected.items())
        assert len(statements) == statements_expected
    assert responses[0].json() == {
        many: [{one: name, "quotes": quotes} for name, quotes in expected.items()],
        "total": 5,
        "total_relation": "eq",
        "next": None,
    }


# ---- all of them


@pytest.mark.parametrize("path", PATHS)
def test_responses_have_cache_and_cors_headers_and_support_head_and_options(serve: Serve, path: str) -> None:
    base = serve(CORS_ORIGINS="*")
    response = get(f"{base}{path}")
    assert response.headers["Cache-Control"] == f"public, max-age={86_400 if path == '/quotes/1' else 60}"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Link" in response.headers["Access-Control-Expose-Headers"].split(", ")

    head = requests.head(f"{base}{path}", timeout=30)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("Content-Length", "Cache-Control", "Content-Type"):
        assert head.headers[name] == response.headers[name]
    assert head.headers.get("Link") == response.headers.get("Link")

    options = requests.options(f"{base}{path}", timeout=30)
    assert (options.status_code, options.headers["Allow"]) == (200, "GET, HEAD")
    assert_problem(requests.post(f"{base}{path}", timeout=30), 405, "Method not allowed")


@pytest.mark.parametrize("public", ["", "https://quotes.example/production"])
def test_links_have_the_stage_prefix_and_no_host_of_a_client(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, public: str
) -> None:
    serve_under_prefix(monkeypatch, "/production")
    base = serve(TRUSTED_PROXIES="127.0.0.0/8", PUBLIC_URL=public)
    response = get(
        f"{base}/quotes?limit=1", X_Forwarded_Host="evil.example", Forwarded="host=evil.example", Host="evil"
    )
    first = f"{public or '/production'}/quotes?limit=1"
    assert response.links["first"]["url"] == first
    assert response.json()["next"].startswith(f"{first}&cursor=")


@sqlite_only
def test_without_a_database_the_catalogue_is_unavailable_with_retry_after_but_quotes_are_served(
    serve: Serve, settings: Settings
) -> None:
    base = serve()
    for file in database_file(settings).parent.glob("working.db*"):
        file.unlink()
    for path in PATHS:
        response = get(f"{base}{path}")
        assert_problem(response, 503, "Database not available", "Try again")
        assert response.headers["Retry-After"] == "30"
    daily = [get(f"{base}/daily") for _ in range(2)]
    assert daily[0].json() == daily[1].json()
    assert {one.headers["Cache-Control"] for one in daily} == {"public, max-age=10"}
    assert get(f"{base}/random?author=Jane+Austen").json()["quote"] == AUSTEN.quote
