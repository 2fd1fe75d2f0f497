import falcon
import pytest
from falcon.testing import create_environ

from quoteapi.http.client_ip import client_ip, is_from_trusted_proxy
from quoteapi.settings import read_settings

BEHIND_PROXIES = read_settings({"TRUSTED_PROXIES": "10.0.0.0/8, 2001:db8:ffff::/48"})


def request_from(remote_addr: str, forwarded_for: str = "") -> falcon.Request:
    headers = {"X-Forwarded-For": forwarded_for} if forwarded_for else {}
    return falcon.Request(create_environ(headers=headers, remote_addr=remote_addr))


@pytest.mark.parametrize(
    ("remote_addr", "forwarded_for", "expected"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "203.0.113.9, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "192.0.2.1, 10.0.0.2", "192.0.2.1"),
        ("10.0.0.1", "192.0.2.1:4711", "192.0.2.1"),
        ("2001:db8:ffff::1", "[2001:db8:1:2::3]:4711", "2001:db8:1:2::/64"),
        ("10.0.0.1", "::ffff:192.0.2.1", "192.0.2.1"),
        ("10.0.0.1", "nonsense", "unknown"),
        ("", "", "unknown"),
    ],
)
def test_the_client_ip_is_the_last_address_that_is_not_a_trusted_proxy(
    remote_addr: str, forwarded_for: str, expected: str
) -> None:
    assert client_ip(request_from(remote_addr, forwarded_for).env, BEHIND_PROXIES) == expected


def test_only_the_peer_of_the_connection_can_be_the_trusted_proxy() -> None:
    assert is_from_trusted_proxy(request_from("10.0.0.1"), BEHIND_PROXIES)
    assert not is_from_trusted_proxy(request_from("192.0.2.1", "10.0.0.1"), BEHIND_PROXIES)
    assert not is_from_trusted_proxy(request_from(""), BEHIND_PROXIES)
