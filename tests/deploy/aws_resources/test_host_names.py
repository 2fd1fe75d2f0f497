import pytest

from quoteapi.deploy.aws_resources.host_names import contains, covers, is_registered, parse_host_name


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("quotes.example.org", "quotes.example.org"),
        ("Quotes.Example.ORG", "quotes.example.org"),
        ("quotes.example.org.", "quotes.example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        (f"{'a' * 52}.example.org", f"{'a' * 52}.example.org"),
    ],
)
def test_a_host_name_is_written_as_aws_wants_it(typed: str, expected: str) -> None:
    assert parse_host_name(typed) == expected


@pytest.mark.parametrize(
    "typed",
    [
        *(
            "https://quotes.example.org",
            "quotes.example.org:443",
            "quotes.example.org/daily",
            "192.0.2.1",
            "",
            "quotes",
        ),
        *("*.example.org", "a_b.example.org", "-a.example.org", "a-.example.org", "a..b", "a b.example", ""),
        f"{'a' * 64}.example.org",
    ],
)
def test_what_is_no_host_name_is_rejected_with_an_example(typed: str) -> None:
    with pytest.raises(ValueError, match=r"a host name without https://, for example quotes\.example\.org"):
        parse_host_name(typed)


def test_a_host_name_too_long_for_a_certificate_is_rejected() -> None:
    with pytest.raises(ValueError, match="at most 64 characters"):
        parse_host_name(f"{'a' * 53}.example.org")


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("quotes.example.org", "quotes.example.org", True),
        ("*.example.org", "quotes.example.org", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "a.quotes.example.org", False),
        ("example.org", "quotes.example.org", False),
    ],
)
def test_a_wildcard_of_a_certificate_stands_for_one_label(pattern: str, name: str, expected: bool) -> None:
    assert covers(pattern, name) == expected


def test_a_zone_contains_its_name_and_the_names_below_it() -> None:
    assert contains("example.org", "example.org")
    assert contains("example.org", "a.quotes.example.org")
    assert not contains("example.org", "an-example.org")
    assert not contains("quotes.example.org", "example.org")


def test_a_name_below_a_registry_is_registered() -> None:
    assert all(map(is_registered, ("example.org", "example.co.in", "example.com.au", "example.museum")))
    assert not any(map(is_registered, ("quotes.example.org", "quotes.example.co.in", "a.example.museum")))
