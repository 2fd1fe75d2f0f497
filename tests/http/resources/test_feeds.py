import random
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID
from xml.etree import ElementTree as ET

import falcon
import feedparser  # type: ignore[import-untyped]
import pytest
import requests
from falcon import testing

from quoteapi.http.resources.feeds import ATOM, DAYS, JSON_FEED, Feed, FeedFormat
from quoteapi.quotes.daily_schedule import scheduled_quote_id
from quoteapi.quotes.fallback import QuotesWithFallback
from quoteapi.quotes.quotation import Quotation
from quoteapi.quotes.service import QuoteService
from quoteapi.settings import Settings
from quoteapi.storage.models import Quote, StoredDailyQuote
from tests.conftest import Serve
from tests.helpers.clock import FakeClock
from tests.helpers.data import AUSTEN, KABIR, ZOLA, database_file, sqlite_only
from tests.helpers.http import assert_problem, serve_under_prefix
from tests.helpers.sql import record_sql

DAY = timedelta(days=1)
PATHS = ["/feed.xml", "/feed.json"]
ATOM_NAMESPACE = "{http://www.w3.org/2005/Atom}"

LESSING = Quotation('A < B && "C" > D', "<b>Lessing</b> & Söhne", "a < b & 'c'", "<script>alert(1)</script>")
CDATA = Quotation("So it ends ]]> and <![CDATA[ it begins; &amp; &#0; <!-- -- -->", "Nobody <![CDATA[", "]]>")
RUMI = Quotation("لا تحزن، أي شيء تفقده يعود إليك في هيئة أخرى", "جلال الدين الرومي", "أمل")
EMOJI = Quotation("Be kind 👩‍👩‍👧‍👦 🇮🇳 𝒪", "A 🙂", "🙂")
UNUSUAL_QUOTATIONS = [LESSING, CDATA, RUMI, EMOJI, KABIR, ZOLA, AUSTEN]


def get(url: str, **headers: str) -> requests.Response:
    return requests.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()}, timeout=30)


def parse_atom(response: requests.Response) -> ET.Element:
    return ET.fromstring(response.content)  # noqa: S314 our own document


def entries(feed: ET.Element) -> list[ET.Element]:
    return feed.findall(f"{ATOM_NAMESPACE}entry")


def text(element: ET.Element, name: str) -> str:
    """Return the text of the only child element with a name."""
    (found,) = element.findall(f"{ATOM_NAMESPACE}{name}")
    return found.text or ""


def link(element: ET.Element, relation: str) -> str:
    (found,) = [candidate for candidate in element.findall(f"{ATOM_NAMESPACE}link") if candidate.get("rel") == relation]
    return found.get("href") or ""


def is_absolute(url: str) -> bool:
    return urlsplit(url).scheme in {"http", "https"} and bool(urlsplit(url).netloc)


def is_midnight(timestamp: str) -> bool:
    return bool(re.fullmatch(r"\d{4}-\d\d-\d\dT00:00:00Z", timestamp))


def ids(base: str) -> list[str]:
    entry_ids = [text(entry, "id") for entry in entries(parse_atom(get(f"{base}/feed.xml")))]
    assert entry_ids == [item["id"] for item in get(f"{base}/feed.json").json()["items"]], (
        "both feeds have the same ids"
    )
    return entry_ids


@pytest.fixture
def with_unusual_quotations(
    settings: Settings, bundled_catalogue: Callable[[list[Quotation]], Path], tmp_path: Path
) -> None:
    (tmp_path / "shipped.db").unlink()
    bundled_catalogue(UNUSUAL_QUOTATIONS)


# ---- what is in a feed


def test_feeds_have_the_daily_quotes_of_thirty_days_newest_first(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    days = [clock().date() - n * DAY for n in range(30)]
    daily = [get(f"{base}/daily?date={day}").json() for day in days]
    shown = get(f"{base}/feed.json").json()["items"]
    assert [item["url"] for item in shown] == [f"{base}/days/{day}" for day in days]
    assert [item["content_text"].split("\n")[0] for item in shown] == [quote["quote"] for quote in daily]
    assert [item["authors"] for item in shown] == [[{"name": quote["author"]}] for quote in daily]
    assert [item["tags"] for item in shown] == [[quote["category"]] for quote in daily]
    assert [item["date_published"] for item in shown] == [f"{day}T00:00:00Z" for day in days]

    read = entries(parse_atom(get(f"{base}/feed.xml")))
    assert [link(entry, "alternate") for entry in read] == [item["url"] for item in shown]
    assert [text(entry, "content") for entry in read] == [item["content_html"] for item in shown]
    assert [text(entry, "title") for entry in read] == [item["title"] for item in shown]
    assert [text(entry, "published") for entry in read] == [item["date_published"] for item in shown]


def test_the_atom_feed_conforms_to_rfc_4287(serve: Serve) -> None:
    base = serve()
    response = get(f"{base}/feed.xml")
    assert response.headers["Content-Type"] == "application/atom+xml"
    assert response.content.startswith(
        b'<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">'
    )
    feed = parse_atom(response)
    assert feed.tag == f"{ATOM_NAMESPACE}feed"
    assert link(feed, "self") == f"{base}/feed.xml"
    assert link(feed, "alternate") == f"{base}/"
    assert text(feed, "icon") == f"{base}/assets/icon.svg"
    assert text(feed, "title")
    assert text(feed, "updated") == text(entries(feed)[0], "updated")
    (author,) = feed.findall(f"{ATOM_NAMESPACE}author")
    assert text(author, "name")
    for entry in entries(feed):
        assert UUID(text(entry, "id").removeprefix("urn:uuid:"))
        assert text(entry, "title")
        assert is_midnight(text(entry, "updated"))
        assert is_absolute(link(entry, "alternate"))
        (category,) = entry.findall(f"{ATOM_NAMESPACE}category")
        assert category.get("term")
        (content,) = entry.findall(f"{ATOM_NAMESPACE}content")
        assert content.get("type") == "html"
        assert not list(content)
    all_ids = [text(feed, "id"), *(text(entry, "id") for entry in entries(feed))]
    assert len(set(all_ids)) == 31


def test_the_json_feed_conforms_to_version_1_1(serve: Serve) -> None:
    base = serve()
    response = get(f"{base}/feed.json")
    assert response.headers["Content-Type"] == "application/feed+json"
    feed = response.json()
    assert feed["version"] == "https://jsonfeed.org/version/1.1"
    assert (feed["home_page_url"], feed["feed_url"]) == (f"{base}/", f"{base}/feed.json")
    assert feed["icon"] == feed["favicon"] == f"{base}/assets/icon.svg"
    of_the_feed = {"title": str, "description": str, "authors": list, "items": list}
    assert all(isinstance(feed[name], kind) and feed[name] for name, kind in of_the_feed.items())
    assert set(feed) == {"version", "home_page_url", "feed_url", "icon", "favicon", *of_the_feed}
    for item in feed["items"]:
        assert_item(item)
    assert len({item["id"] for item in feed["items"]}) == 30


def assert_item(item: dict[str, Any]) -> None:
    """Assert that an item conforms to JSON Feed 1.1 and has no other members."""
    texts = {"id", "url", "title", "content_html", "content_text", "date_published", "date_modified"}
    assert set(item) == {*texts, "authors", "tags"}
    assert all(isinstance(item[name], str) and item[name] for name in texts)
    assert is_absolute(item["url"])
    for name in ("date_published", "date_modified"):
        assert is_midnight(item[name])
        assert datetime.fromisoformat(item[name]).tzinfo == UTC
    assert all(set(author) <= {"name", "url", "avatar"} and author["name"] for author in item["authors"])
    assert all(isinstance(tag, str) and tag for tag in item["tags"])


@pytest.mark.usefixtures("with_unusual_quotations")
def test_feed_readers_show_any_quotation_unchanged(serve: Serve) -> None:
    base = serve()
    by_text = {quotation.quote: quotation for quotation in UNUSUAL_QUOTATIONS}
    feed = entries(parse_atom(get(f"{base}/feed.xml")))
    read = feedparser.parse(get(f"{base}/feed.xml").content)
    shown = get(f"{base}/feed.json").json()["items"]
    assert (read.bozo, read.version, len(read.entries)) == (False, "atom10", 30)
    assert {item["content_text"].split("\n")[0] for item in shown} == set(by_text)
    for entry, parsed, item in zip(feed, read.entries, shown, strict=True):
        quotation = by_text[item["content_text"].split("\n")[0]]
        credit = f"— {', '.join(filter(None, (quotation.author, quotation.source)))}"
        assert item["content_text"] == f"{quotation.quote}\n{credit}"
        assert (
            re.sub(r'<blockquote dir="auto">|<p( dir="auto")?>|</(blockquote|p)>', "", text(entry, "content")).count(
                "<"
            )
            == 0
        )
        assert unescape(re.sub(r"<[^>]*>", "", text(entry, "content"))) == f"{quotation.quote}{credit}"
        assert unescape(re.sub(r"<[^>]*>", "", parsed.content[0].value)) == f"{quotation.quote}{credit}"
        assert (parsed.author, parsed.tags[0].term) == (quotation.author, quotation.category)
        assert text(entry, "title") == f"{quotation.author}: {quotation.quote}"


@pytest.mark.usefixtures("open_database")
def test_characters_that_xml_does_not_allow_are_removed_from_the_atom_feed(serve: Serve) -> None:
    Quote.update(quote="a\ufffe b\uffff c\x0b", author="D\x1b").execute()
    base = serve()
    assert {text(entry, "title") for entry in entries(parse_atom(get(f"{base}/feed.xml")))} == {"D: a b c"}
    assert feedparser.parse(get(f"{base}/feed.xml").content).bozo is False


@pytest.mark.parametrize(
    ("quote", "title"),
    [
        ("To be, or not to be", "A: To be, or not to be"),
        ("x" * 80, f"A: {'x' * 80}"),
        ("word " * 15 + "seventy-fives and more of them", f"A: {('word ' * 15).strip()}…"),
        ("word " * 15 + "eight and more of them", f"A: {'word ' * 15}eight…"),
        (f"{'x' * 79}, yes", f"A: {'x' * 79}…"),
        ("知" * 90, f"A: {'知' * 80}…"),
        (f"Oh {'x' * 90}", f"A: Oh {'x' * 77}…"),
    ],
)
@sqlite_only
def test_a_title_is_the_author_and_as_many_whole_words_as_fit(
    serve: Serve, open_database: None, quote: str, title: str
) -> None:
    Quote.update(quote=quote, author="A").execute()
    assert get(f"{serve()}/feed.json").json()["items"][0]["title"] == title


# ---- caching


@pytest.mark.parametrize("path", PATHS)
def test_a_feed_is_cacheable_until_midnight_and_not_modified_for_a_known_etag(
    serve: Serve, clock: FakeClock, path: str
) -> None:
    base = serve()
    response = get(f"{base}{path}")
    assert response.headers["Cache-Control"] == "public, max-age=43200"
    clock.advance(hours=11)
    etag = response.headers["ETag"]
    known = get(f"{base}{path}", If_None_Match=etag)
    assert (known.status_code, known.content, known.headers["ETag"]) == (304, b"", etag)
    assert known.headers["Cache-Control"] == "public, max-age=3600"
    clock.advance(hours=1)
    tomorrow = get(f"{base}{path}", If_None_Match=etag)
    assert (tomorrow.status_code, tomorrow.headers["Cache-Control"]) == (200, "public, max-age=86400")


@pytest.mark.parametrize("path", PATHS)
def test_head_has_the_headers_of_a_feed_and_no_body(serve: Serve, path: str) -> None:
    base = serve()
    response, head = get(f"{base}{path}"), requests.head(f"{base}{path}", timeout=30)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("Content-Type", "Content-Length", "ETag", "Cache-Control"):
        assert head.headers[name] == response.headers[name]


def test_the_next_day_adds_one_entry_and_leaves_the_others_unchanged(serve: Serve, clock: FakeClock) -> None:
    base = serve()
    today = [ET.tostring(entry).strip() for entry in entries(parse_atom(get(f"{base}/feed.xml")))]
    clock.advance(days=1)
    tomorrow = [ET.tostring(entry).strip() for entry in entries(parse_atom(get(f"{base}/feed.xml")))]
    assert tomorrow[0] != today[0]
    assert tomorrow[1:] == today[:-1]


@sqlite_only
def test_without_a_database_a_feed_is_cacheable_for_seconds_and_not_kept_by_the_service(
    serve: Serve, settings: Settings, clock: FakeClock
) -> None:
    base = serve()
    yesterday = clock().date() - DAY
    other = Quote.get(Quote.id != scheduled_quote_id(yesterday))
    StoredDailyQuote.create(date=yesterday, quote=other)
    working = database_file(settings)
    renamed = working.rename(working.with_suffix(".renamed"))
    responses = [get(f"{base}{path}") for path in PATHS]
    assert [response.headers["Cache-Control"] for response in responses] == ["public, max-age=10"] * 2
    renamed.rename(working)
    clock.advance(seconds=11)
    assert responses[1].json()["items"][1]["title"] != f"{other.author}: {other.quote}"
    again = [get(f"{base}{path}") for path in PATHS]
    assert [response.headers["Cache-Control"] for response in again] == ["public, max-age=43189"] * 2
    assert again[1].json()["items"][1]["title"] == f"{other.author}: {other.quote}"


def test_a_feed_takes_five_statements_when_cold_and_none_when_cached(serve: Serve) -> None:
    base = serve()
    get(f"{base}/daily")
    with record_sql() as cold:
        get(f"{base}/feed.xml")
    with record_sql() as warm:
        get(f"{base}/feed.xml")
        get(f"{base}/feed.xml", Host="other.example")
        get(f"{base}/feed.xml?x=1")
    assert len(cold) == 5, "what is stored, three for the schedule, the quotes"
    assert warm == []


def test_an_empty_catalogue_has_no_feed(
    serve: Serve, bundled_catalogue: Callable[[list[Quotation]], Path], tmp_path: Path
) -> None:
    (tmp_path / "shipped.db").unlink()
    bundled_catalogue([])
    base = serve()
    for path in PATHS:
        assert_problem(
            get(f"{base}{path}"), 404, "No quote found", "The catalogue has no quotes. The operator must import some."
        )


# ---- ids and URLs


def test_an_entry_has_the_same_id_at_each_host_name_and_in_each_response(serve: Serve) -> None:
    base = serve()
    entry_ids = ids(base)
    assert ids(base) == ids(serve()) == entry_ids
    assert ids(base.replace("127.0.0.1", "localhost")) == entry_ids


def test_with_public_url_set_ids_depend_on_it_alone(serve: Serve) -> None:
    entry_ids = ids(serve(PUBLIC_URL="https://quotes.example.org"))
    other = serve(PUBLIC_URL="https://quotes.example.org")
    assert ids(other.replace("127.0.0.1", "localhost")) == entry_ids
    assert not set(entry_ids) & set(ids(serve(PUBLIC_URL="https://other.example.org")))
    assert not set(entry_ids) & set(ids(serve()))


@pytest.mark.parametrize("path", PATHS)
def test_every_url_in_a_feed_begins_with_the_public_base_url(serve: Serve, path: str) -> None:
    for public in ("", "https://quotes.example.org/api"):
        base = serve(PUBLIC_URL=public)
        named = set(re.findall(r"https?://[^/\"<]+", get(f"{base}{path}").text.replace('\\"', '"')))
        known = {"http://www.w3.org", "https://jsonfeed.org"}
        assert named - known == {public.removesuffix("/api") or base}
        assert f"{public or base}/days/2026-11-22" in get(f"{base}{path}").text


@pytest.mark.parametrize(
    ("more", "base_url", "scope"),
    [
        ({}, "http://found.example/production", "public"),
        ({"TRUSTED_PROXIES": "127.0.0.0/8"}, "https://asked.example/production", "private"),
        ({"TRUSTED_PROXIES": "192.0.2.1"}, "http://found.example/production", "private"),
        ({"TRUSTED_PROXIES": "127.0.0.0/8", "PUBLIC_URL": "https://q.example"}, "https://q.example", "public"),
    ],
)
@sqlite_only
def test_links_have_stage_and_forwarded_host_and_are_private_if_a_client_can_choose_them(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, more: dict[str, str], base_url: str, scope: str
) -> None:
    serve_under_prefix(monkeypatch, "/production")
    base = serve(**more)
    headers = {"Host": "found.example", "X-Forwarded-Host": "asked.example", "X-Forwarded-Proto": "https"}
    for path in PATHS:
        response = get(f"{base}{path}", **headers)
        assert response.headers["Cache-Control"] == f"{scope}, max-age=43200"
    assert link(parse_atom(get(f"{base}/feed.xml", **headers)), "self") == f"{base_url}/feed.xml"
    assert response.json()["feed_url"] == f"{base_url}/feed.json"
    assert response.json()["items"][0]["url"] == f"{base_url}/days/2026-11-22"


@sqlite_only
@pytest.mark.parametrize("feed_format", [ATOM, JSON_FEED])
def test_the_cache_is_bounded_for_any_host_header(
    settings: Settings, quotes: QuoteService, clock: FakeClock, feed_format: FeedFormat
) -> None:
    feed = Feed(feed_format, QuotesWithFallback(quotes, clock, random.Random(1)), settings, clock)
    app: falcon.App[falcon.Request, falcon.Response] = falcon.App()
    app.add_route("/feed", feed)
    client = testing.TestClient(app)
    for n in range(100):
        assert client.simulate_get("/feed", headers={"Host": f"{n}.example"}).status_code == 200
    assert feed._rendered.cache_info().currsize == 16
    assert client.simulate_get("/feed", headers={"Host": "x" * 60_000}).status_code == 400
    assert client.simulate_get("/feed", headers={"Host": f"{'x' * 200}:8000"}).text.count("x" * 200) > DAYS
