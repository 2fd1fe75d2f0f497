from itertools import product

import falcon
import pytest
from falcon.testing import TestClient, create_environ

from quoteapi.app import create_app
from quoteapi.http.urls import MAX_BASE_URL_LENGTH, link_prefix, public_base_url, request_base_url
from quoteapi.settings import Settings, read_settings
from quoteapi.storage.models import ConsoleSms
from tests.conftest import Serve
from tests.helpers.data import MIRA, environment, sqlite_only
from tests.helpers.http import assert_problem, get

FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "quotes.example.org"}
PUBLIC, BEHIND_PROXY = {"PUBLIC_URL": "https://example.org/quotes"}, {"TRUSTED_PROXIES": "127.0.0.1"}
HOSTS = (
    *("localhost", "quotes.example.org", "QUOTES.example.org:8000", "quotes.example.org.", "quotes_app:80", "a~b-c.d"),
    *("xn--bcher-kva.example", "127.0.0.1", "127.0.0.1:65535", "[::1]", "[2001:db8::7]:8000", "[::ffff:192.0.2.7]"),
    *("x" * 255, "localhost:"),
)
NO_HOSTS = (
    *("", " ", "a b", "a,b", "a@b", "user:password@a", "a/b", "a?b", "a#b", "a\\b", "a%41", "a&b", "a'b", "a;b"),
    *('"><script>', "]]>", "a\x01b", "a\x0bb", "a\nb", "bücher.example".encode().decode("latin-1"), "a\xa0b"),
    *("a:b", "a:-1", "a:65536", "a:0", "a:80:80", ":80", "a:٨٠", "::1", "[::1", "::1]", "[a]", "[::1]a", "[:::1]"),
    *("[fe80::1%25eth0]", "[v1.a]", "http://a", "x" * (MAX_BASE_URL_LENGTH + 1), "x" * 400_000, ":" * 400_000),
)


def in_short(text: str | None) -> str:
    """Return the id of a test."""
    return repr(text)[:30]


def request_with(host: str | None, **headers: str) -> falcon.Request:
    """Return a request of the peer 127.0.0.1; the names of the headers have underscores here."""
    environ = create_environ(remote_addr="127.0.0.1")
    environ |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    del environ["HTTP_HOST"]
    return falcon.Request(environ | ({} if host is None else {"HTTP_HOST": host}))


@pytest.mark.parametrize(
    ("variables", "by_request", "public", "prefix"),
    [
        ({}, "http://localhost/dev", "http://localhost/dev", "/dev"),
        (PUBLIC, "http://localhost/dev", "https://example.org/quotes", "/dev"),
        (BEHIND_PROXY, "https://quotes.example.org/dev", "/dev", "/dev"),
    ],
)
def test_urls_under_a_stage(variables: dict[str, str], by_request: str, public: str, prefix: str) -> None:
    settings = read_settings(variables)
    environ = create_environ(host="localhost", root_path="/dev", headers=FORWARDED, remote_addr="127.0.0.1")
    req = falcon.Request(environ)
    urls = (request_base_url(req, settings), public_base_url(req, settings), link_prefix(req, settings))
    assert urls == (by_request, public, prefix)


def test_without_a_stage_links_have_the_path_of_the_public_url() -> None:
    assert link_prefix(falcon.Request(create_environ()), read_settings(PUBLIC)) == "/quotes"


@pytest.mark.parametrize("host", HOSTS, ids=in_short)
def test_a_host_is_an_ip_address_or_a_name_with_a_port_or_without(host: str) -> None:
    assert request_base_url(request_with(host), Settings()) == f"http://{host}"
    proxied = request_with("127.0.0.1", x_forwarded_host=host)
    assert request_base_url(proxied, read_settings(BEHIND_PROXY)) == f"http://{host}"


@pytest.mark.parametrize("host", [None, *NO_HOSTS], ids=in_short)
def test_other_text_and_no_text_is_no_host(host: str | None) -> None:
    with pytest.raises(falcon.HTTPBadRequest, match="400"):
        request_base_url(request_with(host), Settings())


@pytest.mark.parametrize("host", [host for host in NO_HOSTS if host.strip() and "," not in host], ids=in_short)
def test_a_forwarded_host_is_a_host_too(host: str) -> None:
    with pytest.raises(falcon.HTTPBadRequest, match="400"):
        request_base_url(request_with("localhost", x_forwarded_host=host), read_settings(BEHIND_PROXY))


@pytest.mark.parametrize("scheme", ["ftp", "javascript", "https:", "http s", "x" * 400_000], ids=in_short)
def test_a_forwarded_scheme_is_http_or_https(scheme: str) -> None:
    with pytest.raises(falcon.HTTPBadRequest, match="400"):
        request_base_url(request_with("localhost", x_forwarded_proto=scheme), read_settings(BEHIND_PROXY))
    forwarded = request_with("localhost", x_forwarded_proto="HTTPS")
    assert request_base_url(forwarded, read_settings(BEHIND_PROXY)) == "https://localhost"


def test_of_several_forwarded_values_the_last_is_used_because_the_proxy_wrote_it() -> None:
    headers = {"x_forwarded_host": "evil.example, quotes.example.org", "x_forwarded_proto": "ftp,https"}
    req = request_with("localhost", **headers, forwarded="host=evil.example;proto=ftp")
    assert request_base_url(req, read_settings(BEHIND_PROXY)) == "https://quotes.example.org"


@pytest.mark.parametrize("proxies", ["", "192.0.2.1"])
def test_forwarded_headers_of_other_peers_are_ignored(proxies: str) -> None:
    req = request_with("localhost", x_forwarded_host="evil.example", x_forwarded_proto="https", forwarded="host=evil")
    assert request_base_url(req, read_settings({"TRUSTED_PROXIES": proxies})) == "http://localhost"


def test_a_long_stage_is_no_base_url() -> None:
    with pytest.raises(falcon.HTTPBadRequest, match="400"):
        request_base_url(falcon.Request(create_environ(root_path="/" + "x" * 400_000)), Settings())


# ---- over HTTP

PATHS_WITH_HOST = (
    *("/docs", "/feed.xml", "/feed.json", "/quotes", "/authors", "/categories"),
    f"/subscribe?mobile={MIRA.removeprefix('+')}",
)
PAGES_WITH_HOST = ("/", "/days/2026-11-22", "/quotes/1")
PATHS_WITHOUT_HOST = (
    *("/", "/daily", "/random", "/quote", "/daily.svg", "/quotes/1", "/quotes/1.svg", "/another", "/health"),
    *("/openapi.json", "/assets/style.css"),
)


@sqlite_only
@pytest.mark.parametrize("host", ["", "x" * 60_000, '"><script>', "a&b"], ids=in_short)
def test_where_the_host_is_used_an_invalid_one_is_a_bad_request(serve: Serve, host: str) -> None:
    base = serve()
    for path in PATHS_WITH_HOST:
        assert_problem(get(f"{base}{path}", Host=host), 400, "Invalid Host", "Host: quotes.example.org")
    for path in PAGES_WITH_HOST:
        page = get(f"{base}{path}", Host=host, Accept="text/html")
        assert (page.status_code, page.headers["Content-Type"]) == (400, "text/html; charset=utf-8")
        assert not host or host not in page.text
    assert ConsoleSms.select().count() == 0, "the host is checked before anything is sent"
    for path in PATHS_WITHOUT_HOST:
        assert get(f"{base}{path}", Host=host).status_code == 200, path


@sqlite_only
def test_with_a_public_url_the_host_is_not_used(serve: Serve) -> None:
    base = serve(**PUBLIC)
    for path in PATHS_WITH_HOST:
        response = get(f"{base}{path}", Host="a&b")
        assert (response.status_code, "a&amp;b" in response.text) == (200, False), path


@sqlite_only
def test_behind_a_proxy_an_invalid_forwarded_host_is_a_bad_request(serve: Serve) -> None:
    base = serve(**BEHIND_PROXY)
    for name, path in product(("X_Forwarded_Host", "X_Forwarded_Proto"), ("/feed.xml", "/feed.json")):
        assert_problem(get(f"{base}{path}", **{name: "a&b"}), 400, "Invalid Host", "X-Forwarded-Host")


@sqlite_only
def test_the_api_reference_is_rendered_once_for_all_hosts(settings: Settings) -> None:
    client = TestClient(create_app(read_settings(environment(settings))))

    def page(host: str, root_path: str = "") -> str:
        return client.simulate_get("/docs", headers={"Host": host}, root_path=root_path).text

    first = page("a.example")
    assert first.count("http://a.example/") == page("b.example").count("http://b.example/") > 20
    assert first == page("b.example").replace("b.example", "a.example")
    assert 'href="/&quot;dev/feed.xml"' in page("a.example", '/"dev'), "it is escaped"
