"""CSRF protection: which requests of browsers are those of the service's own pages.

Tests of the pages themselves are in `tests/http/resources/test_pages.py`.
"""

import pytest
import requests

from quoteapi.storage.models import ConsoleSms
from tests.conftest import Serve
from tests.helpers.data import MIRA, sqlite_only
from tests.helpers.http import assert_problem

pytestmark = sqlite_only
EVIL, OURS = "https://evil.example", "https://quotes.example.org"
TRUSTED = {"TRUSTED_PROXIES": "127.0.0.1", "CORS_ORIGINS": "*"}
PUBLIC = {"PUBLIC_URL": f"{OURS}/daily-quotes", "CORS_ORIGINS": "*"}


def post(base: str, headers: dict[str, str]) -> requests.Response:
    return requests.post(f"{base}/subscribe", data={"mobile": MIRA}, headers=headers, timeout=30)


def get(base: str, headers: dict[str, str]) -> requests.Response:
    return requests.get(f"{base}/subscribe", params={"mobile": MIRA}, headers=headers, timeout=30)


FORGED_HEADERS = (
    {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"},
    {"Forwarded": "host=evil.example;proto=https"},
    {"Forwarded": 'for=192.0.2.1;host="evil.example";proto=https, host=quotes.example.org'},
    {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example;proto=https", "X-Forwarded-Server": "evil"},
    {"Referer": f"{OURS}/", "X-Original-Host": "evil.example", "X-Host": "evil.example"},
)


@pytest.mark.parametrize("forged", FORGED_HEADERS, ids=str)
@pytest.mark.parametrize("more", [{}, {"TRUSTED_PROXIES": "192.0.2.1"}, PUBLIC], ids=str)
def test_nobody_but_a_trusted_proxy_says_what_the_own_origin_is(
    serve: Serve, forged: dict[str, str], more: dict[str, str]
) -> None:
    base = serve(**{"CORS_ORIGINS": "*", **more})
    assert_problem(post(base, {"Origin": EVIL, **forged}), 403, "Cross-site request")
    assert ConsoleSms.select().count() == 0


@pytest.mark.parametrize(
    "forged",
    [
        {"Forwarded": "host=evil.example;proto=https"},
        {"X-Forwarded-Host": "evil.example, quotes.example.org", "X-Forwarded-Proto": "https"},
        {"X-Forwarded-Host": "quotes.example.org", "Forwarded": "host=evil.example", "X-Forwarded-Proto": "https"},
    ],
    ids=str,
)
def test_what_a_trusted_proxy_passes_on_from_a_client_is_not_believed(serve: Serve, forged: dict[str, str]) -> None:
    base = serve(**TRUSTED)
    assert_problem(post(base, {"Origin": EVIL, **forged}), 403, "Cross-site request")
    if "X-Forwarded-Host" in forged:
        assert post(base, {"Origin": OURS, **forged}).status_code == 200


@pytest.mark.parametrize(
    "names",
    [
        "x-forwarded-host",
        "X-Forwarded-Host,X-Forwarded-Proto",
        "x-forwarded-for, forwarded",
        "x_forwarded_host",
        "sec_fetch_site",
        "content_length",
        "*",
        "",
    ],
)
@pytest.mark.parametrize("origins", ["*", EVIL])
def test_a_preflight_response_allows_no_header_of_proxies(serve: Serve, origins: str, names: str) -> None:
    base = serve(CORS_ORIGINS=origins)
    headers = {"Origin": EVIL, "Access-Control-Request-Method": "POST"}
    headers |= {"Access-Control-Request-Headers": names} if names else {}
    response = requests.options(f"{base}/subscribe", headers=headers, timeout=30)
    assert response.headers["Access-Control-Allow-Headers"] == ""
    headers["Access-Control-Request-Headers"] = f"content-type,{names}, X-Request-ID"
    response = requests.options(f"{base}/subscribe", headers=headers, timeout=30)
    allowed = {name for name in response.headers["Access-Control-Allow-Headers"].split(", ") if name}
    assert allowed == {"content-type", "X-Request-ID"}


# ---- PUBLIC_URL, and DNS rebinding


@pytest.mark.parametrize(
    "name", ["evil.example", "EVIL.example:8000", "evil.example.", "quotes.example.org.evil.example"]
)
def test_with_a_public_url_a_name_that_leads_here_is_another_site(serve: Serve, name: str) -> None:
    base = serve(**PUBLIC)
    assert_problem(post(base, {"Host": name, "Origin": f"http://{name.lower()}"}), 403, "Cross-site request")
    assert_problem(post(base, {"Host": name, "Origin": "null"}), 403, "Cross-site request")
    assert_problem(get(base, {"Host": name, "User-Agent": "chosen by a script"}), 403, "Cross-site request")
    assert ConsoleSms.select().count() == 0


@pytest.mark.parametrize(
    "host",
    ["quotes.example.org", "QUOTES.example.org.:8000", "localhost:8000", "127.0.0.1", "[::1]:8000", "quotes_app"],
)
def test_programs_may_use_the_public_name_or_an_address_that_is_no_public_name(serve: Serve, host: str) -> None:
    assert get(serve(**PUBLIC), {"Host": host}).status_code == 200


@pytest.mark.parametrize("more", [TRUSTED | PUBLIC, {"CORS_ORIGINS": "*"}], ids=str)
def test_programs_may_use_any_name_through_a_proxy_and_without_a_public_url(serve: Serve, more: dict[str, str]) -> None:
    assert get(serve(**more), {"Host": "backend.internal:8000"}).status_code == 200


@pytest.mark.parametrize(
    ("public_url", "origin"),
    [
        (f"{OURS}:443", OURS),
        (OURS, f"{OURS}:443"),
        (f"{OURS}./", OURS),
        (OURS, f"{OURS}."),
        ("https://Quotes.Example.org/x", OURS),
        ("http://quotes.example.org:80", "http://quotes.example.org"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ],
)
def test_one_origin_may_be_written_in_several_ways(serve: Serve, public_url: str, origin: str) -> None:
    assert post(serve(PUBLIC_URL=public_url), {"Origin": origin}).status_code == 200
    allowed = public_url.rstrip("/").removesuffix("/x")
    headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
    assert get(serve(CORS_ORIGINS=allowed), headers).status_code == 429, "it is the second code in a minute"


@pytest.mark.parametrize(
    "origin",
    [
        *("null", "*", "https://", "quotes.example.org", "http://quotes.example.org", f"{OURS}:80", f"{OURS}:8443"),
        *("https://quotes.example.org..", "https://sub.quotes.example.org", "https://quotes.example.org@evil.example"),
        *("file://quotes.example.org", f"{EVIL}, {OURS}", f"{EVIL} {OURS}", "https://quotes.example.orgy"),
    ],
)
def test_other_origins_are_other_sites(serve: Serve, origin: str) -> None:
    base = serve(PUBLIC_URL=OURS, CORS_ORIGINS="*")
    assert post(base, {"Origin": origin, "Host": "quotes.example.org"}).status_code == 403
