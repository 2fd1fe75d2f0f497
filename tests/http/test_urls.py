import falcon
import pytest
from falcon.testing import create_environ

from quoteapi.http.urls import link_prefix, public_base_url, request_base_url
from quoteapi.settings import read_settings

FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "quotes.example.org"}
PUBLIC, BEHIND_PROXY = {"PUBLIC_URL": "https://example.org/quotes"}, {"TRUSTED_PROXIES": "127.0.0.1"}


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
