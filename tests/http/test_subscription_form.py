import pytest
from falcon.testing import create_req

from quoteapi.http.subscription_form import preferred_regions


@pytest.mark.parametrize(
    ("accept_language", "regions"),
    [
        ("en-US,en;q=0.9", ["US"]),
        ("de-CH, de-DE;q=0.9, fr-CH;q=0.8", ["CH", "DE"]),
        ("zh-Hant-TW,zh;q=0.9", ["TW"]),
        ("en-us", ["US"]),
        ("hi", []),
        ("*", []),
        ("es-419", []),
        ("", []),
        ("en-US-posix, x-GB-y", []),
        (", ".join(f"en-{a}{a}" for a in "ABCDEFGH"), ["AA", "BB", "CC"]),
        ("en-US," * 10_000, ["US"]),
    ],
)
def test_the_preferred_regions_are_those_of_accept_language(accept_language: str, regions: list[str]) -> None:
    assert preferred_regions(create_req(headers={"Accept-Language": accept_language})) == regions
