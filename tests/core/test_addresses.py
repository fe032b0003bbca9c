"""Forms of addresses, their groups, and sets of them."""

import pytest

from sigbridge.addresses import AddressSet, address_group, plain_address


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("somewhere", "somewhere"),
    ],
)
def test_group(address, group):
    assert address_group(address) == group


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("::ffff:0:1:2", "::ffff:0:1:2"),
        ("::ffff:nonsense", "::ffff:nonsense"),
        ("", ""),
    ],
)
def test_what_ipv6_has_mapped_is_ipv4(address, plain):
    assert plain_address(address) == plain


@pytest.mark.parametrize(
    ("entries", "inside", "outside"),
    [
        (["192.0.2.1"], ["192.0.2.1", "::ffff:192.0.2.1"], ["192.0.2.2", "", "2001:db8::1"]),
        (["10.0.0.0/8"], ["10.0.0.0", "10.255.255.255"], ["11.0.0.0", "9.255.255.255"]),
        (["2001:db8::/32"], ["2001:db8::1", "2001:db8:ffff::"], ["2001:db9::", "192.0.2.1"]),
        (["::ffff:192.0.2.1"], ["192.0.2.1"], ["192.0.2.2"]),
        (["::ffff:10.0.0.0/104"], ["10.1.2.3", "::ffff:10.1.2.3"], ["11.0.0.0"]),
        (["::/0"], ["::1", "fe80::1%eth0"], ["192.0.2.1", ""]),
        (["fe80::/10"], ["fe80::1%eth0"], ["2001:db8::1"]),
        (["unix"], [""], ["192.0.2.1", "unix"]),
        (["192.0.2.1", "unix", "2001:db8::1"], ["192.0.2.1", "", "2001:db8::1"], ["2001:db8::2"]),
        ([], [], ["", "192.0.2.1", "somewhere"]),
    ],
)
def test_a_set_of_addresses_and_networks(entries, inside, outside):
    found = AddressSet(entries)
    assert [address for address in [*inside, *outside] if address in found] == inside


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("10.0.0.1/8", "'10.0.0.1/8' (10.0.0.1/8 has host bits set)"),
        ("proxy.example.org", "'proxy.example.org' "),
        ("192.0.2.1:80", "'192.0.2.1:80' "),
        ("010.0.0.1", "'010.0.0.1' "),
        ("192.0.2.0/33", "'192.0.2.0/33' "),
        ("unix:/run/ws.sock", "'unix:/run/ws.sock' "),
        ("UNIX", "'UNIX' "),
    ],
)
def test_what_is_neither_address_nor_network_is_named(entry, why):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the text is what matters, and it is looked at
        AddressSet(["192.0.2.1", entry])
    assert str(refused.value).startswith(why)
