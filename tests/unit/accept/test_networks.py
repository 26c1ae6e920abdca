"""Addresses and networks as people write them."""

import pytest

from postroom.accept.networks import holds, is_inside, is_loopback, network_of, parse_networks


@pytest.mark.parametrize(
    "address",
    ["10.2.3.77", "172.31.0.1", "192.168.1.1", "127.0.0.1", "169.254.1.1", "::1", "fd00::1", "fe80::1%eth0"],
)
def test_addresses_that_the_internet_does_not_route(address: str) -> None:
    assert is_inside(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "172.32.0.1", "100.64.0.1", "2a00::1", "::ffff:8.8.8.8", "x", ""])
def test_addresses_that_it_does(address: str) -> None:
    assert not is_inside(address)


def test_loopback_in_every_form() -> None:
    assert all(map(is_loopback, ("127.9.9.9", "::1", "::ffff:127.0.0.1")))
    assert not any(map(is_loopback, ("10.0.0.1", "localhost", "")))


def test_networks_are_read_with_blanks_or_commas_between_them() -> None:
    networks = parse_networks(" 10.2.3.4, fd00::/64 ")
    assert [str(network) for network in networks] == ["10.2.3.4/32", "fd00::/64"]
    assert holds(networks, "::ffff:10.2.3.4")
    assert holds(networks, "fd00::ffff%eth1")
    assert not holds(networks, "10.2.3.5")
    with pytest.raises(ValueError, match="“printer” is no address or network; write"):
        parse_networks("10.2.3.4 printer")


def test_a_client_is_an_ipv4_address_or_a_64_of_ipv6() -> None:
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("") == ""
