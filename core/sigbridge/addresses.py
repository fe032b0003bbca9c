"""Addresses of clients: how they are written everywhere, and which count as one client's."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

UNIX = "unix"
"""The word of logs for a client behind a unix socket, whose address is empty."""
_MAPPED = "::ffff:"


def plain_address(address: str) -> str:
    """Returns an address as limits, logs and all others have it: one of IPv4 that IPv6 has mapped as IPv4.

    Source: RFC 4291, section 2.5.5.2.
    """
    if not address.startswith(_MAPPED):
        return address
    try:
        mapped = IPv6Address(address).ipv4_mapped
    except ValueError:
        return address
    return address if mapped is None else str(mapped)


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
