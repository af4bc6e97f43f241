"""Hosts and ports of the servers."""

import pytest

from tuning.errors import ArgumentError
from tuning.hosts import check_port, is_address, is_loopback, is_loopback_address, name_of


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.1.2.3", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback_is_distinguished_from_hosts_that_others_reach(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("host", ["", "no such name", "a" * 300])
def test_host_that_is_no_address_is_reported(host: str) -> None:
    with pytest.raises(
        ArgumentError, match=r"host must be a name or an address of this machine, .* received"
    ):
        is_loopback(host)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST:8000", "localhost"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]", "::1"),
        ("[FE80::1]:80", "fe80::1"),
        ("127.0.0.1.evil.example:1", "127.0.0.1.evil.example"),
        ("localhost:", "localhost"),
        ("a@localhost:80", "a@localhost"),
        ("localhost:c:d", ""),
        ("localhost:80@evil.example", ""),
        ("[::1].evil.example", ""),
        ("[::1", ""),
        ("[", ""),
        ("", ""),
    ],
)
def test_name_of_a_header_has_no_port_and_no_brackets(header: str, name: str) -> None:
    assert name_of(header) == name


@pytest.mark.parametrize(
    ("name", "is_any", "is_own"),
    [
        ("127.1.2.3", True, True),
        ("::1", True, True),
        ("192.0.2.1", True, False),
        ("localhost", False, False),
        ("127.0.0.1.evil.example", False, False),
        ("", False, False),
    ],
)
def test_names_are_not_resolved_to_addresses(name: str, is_any: bool, is_own: bool) -> None:
    assert (is_address(name), is_loopback_address(name)) == (is_any, is_own)


@pytest.mark.parametrize("port", [-1, 0, 65_536])
def test_port_outside_the_range_is_refused(port: int) -> None:
    with pytest.raises(ArgumentError, match=f"port must lie in 1..65535; received {port}"):
        check_port(port)
    check_port(1)
    check_port(65_535)
