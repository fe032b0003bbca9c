"""Addresses of clients: how they are written everywhere, which count as one client's, and sets of them."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

UNIX = "unix"
"""The word of logs for a client behind a unix socket, whose address is empty."""
_MAPPED = "::ffff:"
_MAPPED_BITS = 96
"""The bits of an address of IPv6 that say that IPv4 is mapped."""


def plain_address(address: str) -> str:
    """Returns an address as limits and logs have it: an IPv4 address that is mapped into IPv6 as IPv4.

    Source: RFC 4291, section 2.5.5.2.
    """
    if not address.startswith(_MAPPED):
        return address
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return address
    return address if parsed.ipv4_mapped is None else plain_text(parsed)


def plain_text(address: IPv4Address | IPv6Address) -> str:
    """Returns the text of an address, of a mapped IPv4 address as IPv4."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


@lru_cache(maxsize=4096)
def address_group(address: str) -> str:
    """Returns the group of an address: itself for IPv4, mapped ones included, and its /64 for IPv6.

    A household or a host has a whole /64. What is no address is a group by itself.
    """
    try:
        parsed: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, 64), strict=False))


class AddressSet:
    """A set of IP addresses and networks, and `unix` for clients behind unix sockets, whose address is empty.

    An IPv4 address or network that is mapped into IPv6 is IPv4's; no other network of IPv6 holds an address of IPv4.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        """Reads texts such as `192.0.2.1`, `2001:db8::/32` or `unix`.

        :raises ValueError: naming the first that is none of these, and why.
        """
        self._has_unix = False
        networks: list[IPv4Network | IPv6Network] = []
        for entry in entries:
            if entry == UNIX:
                self._has_unix = True
            else:
                networks.append(_network(entry))
        self._networks = tuple(networks)
        self._is_in = lru_cache(maxsize=1024)(self._is_in_any_network)

    def __contains__(self, address: str) -> bool:
        return self._is_in(address)

    def _is_in_any_network(self, address: str) -> bool:
        """Returns whether an address is in one of the networks, without the cache."""
        if not address:
            return self._has_unix
        try:
            parsed = ip_address(plain_address(address.partition("%")[0]))
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)


def _network(entry: str) -> IPv4Network | IPv6Network:
    """Returns the network of an entry such as `10.0.0.0/8`, a mapped IPv4 network as IPv4's.

    :raises ValueError: naming the entry if it is none.
    """
    try:
        network = ip_network(entry)
    except ValueError as error:
        raise ValueError(f"{entry!r} ({error})") from None
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


NO_ADDRESSES: Final = AddressSet(())
