"""The address of a request's client, where a proxy that is trusted says it in a header.

Rule 1: one header is believed, the one that is set, and from the addresses of trusted proxies alone; each request is
judged by itself, since a proxy may send those of several clients on one connection. Rule 2: proxies append, so a list
is read from its right: those of trusted proxies are passed by, and the first other is the client's. What stands left
of that may be the client's own words, which nobody reads and which spoil nothing. Rule 3: where that entry is no
address, or there is none, the address stays that of the connection. Rule 4: however long a list is, no more of it is
looked at than `MAX_HOPS` entries.
Source: RFC 7239; X-Forwarded-For has none.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from sigbridge.addresses import AddressSet, address_group, plain_text
from sigbridge.floods import FloodCounts
from sigbridge.instant import Instant
from sigbridge.settings import Settings
from sigbridge.settings.proxies import FORWARDED, X_FORWARDED_FOR
from sigbridge_net.wire import Client

MAX_HOPS: Final = 16
"""The entries of a list that are looked at."""
MAX_ENTRY_LENGTH: Final = 1024
"""The characters of one entry; a longer one is no address."""

_BLANK: Final = " \t"
_node: Final = re.compile(
    r"(?:(?P<ipv4>[0-9.]{7,15})|\[(?P<ipv6>[0-9A-Fa-f:.]{2,45})\])(?::(?:[0-9]{1,5}|_[0-9A-Za-z._-]+))?"
).fullmatch
_bare_ipv6: Final = re.compile(r"[0-9A-Fa-f:.]{2,45}").fullmatch
# A parameter, or nothing, up to the semicolon behind it; a value without quotes may have the colons and brackets that
# should be in some, as others write them.
_parameter: Final = re.compile(
    r"""[ \t]*+(?:(?P<name>[-!#$%&'*+.^_`|~0-9A-Za-z]++)=(?:"(?P<quoted>(?:[^"\\]|\\.)*+)"|(?P<bare>[^\s",;\\]++)))?+"""
    r"[ \t]*+(?P<end>;|\Z)"
).match


class Forwarding:
    """Believes no proxy: a client's address is that of its connection."""

    header: str = ""
    """The name of the header that is believed, in lower case; empty: none."""

    def __init__(self) -> None:
        self._floods: Final = FloodCounts()
        """The questions that came too soon, by the addresses of clients that share connections."""

    def client_of(self, client: Client, fields: Iterable[tuple[bytes, bytes]]) -> Client:
        """Returns whose request this is by its header fields, with names in lower case; `client` is the connection."""
        return client

    def address_from(self, address: str, values: Sequence[str]) -> str:
        """Returns the address of a client by the values of the header, where the connection's is `address`."""
        return address

    def count_too_soon(self, address: str, kind: str, retry_after_ms: int, now: Instant) -> bool:
        """Counts a question that came too soon from a client behind a proxy; returns whether that client floods.

        What others ask on the same connection does not count against it.
        """
        return self._floods.count(address_group(address), kind, retry_after_ms, now.monotonic)


class HeaderForwarding(Forwarding):
    """Believes what a header says, where it comes from a proxy that is trusted."""

    def __init__(self, header: str, trusted: AddressSet) -> None:
        super().__init__()
        self.header = header
        self._name: Final = header.encode("ascii")
        self._trusted: Final = trusted

    def client_of(self, client: Client, fields: Iterable[tuple[bytes, bytes]]) -> Client:
        """Returns whose request this is."""
        values = [value.decode("latin-1") for name, value in fields if name == self._name]
        address = self.address_from(client.address, values)
        return client if address == client.address else Client(address, client.certificate)

    def address_from(self, address: str, values: Sequence[str]) -> str:
        """Returns the address of a client."""
        if not values or address not in self._trusted:
            return address
        # Several lines are one list, in their order (RFC 9110, section 5.3).
        text = ",".join(values)
        entries = forwarded_addresses(text) if self.header == FORWARDED else x_forwarded_for_addresses(text)
        for _, found in zip(range(MAX_HOPS), entries, strict=False):
            if found is None:
                break
            if found not in self._trusted:
                return found
        return address


def forwarding_of(settings: Settings) -> Forwarding:
    """Returns what is set."""
    if settings.client_address_from not in (X_FORWARDED_FOR, FORWARDED):
        return Forwarding()
    return HeaderForwarding(settings.client_address_from, AddressSet(settings.trusted_proxies))


def x_forwarded_for_addresses(text: str) -> Iterator[str | None]:
    """Yields the addresses of X-Forwarded-For from the right; None for an entry that is none."""
    end = len(text)
    while end >= 0:
        start = text.rfind(",", 0, end) + 1
        entry = text[start:end].strip(_BLANK)
        yield _ipv6(entry) if _bare_ipv6(entry) and entry.count(":") > 1 else address_of_node(entry)
        end = start - 1


def forwarded_addresses(text: str) -> Iterator[str | None]:
    """Yields the addresses in the elements of Forwarded from the right; None for an element that says none."""
    end = len(text)
    while end >= 0:
        start = _start_of_element(text, end)
        yield None if start < 0 else _address_of_element(text[start:end])
        end = start - 1


def _start_of_element(text: str, end: int) -> int:
    """Returns the index at which the element of Forwarded begins that ends at `end`; -1 if it is too long.

    Looked for from its end, so that whatever stands before an element does not change how it is read.
    """
    least = max(0, end - MAX_ENTRY_LENGTH)
    quoted = False
    at = end
    while at > least:
        at -= 1
        character = text[at]
        if character == "," and not quoted:
            return at + 1
        if character == '"':
            # Within quotes, one behind a backslash is a part of the text.
            backslashes = 0
            while quoted and at - backslashes > least and text[at - backslashes - 1] == "\\":
                backslashes += 1
            quoted = backslashes % 2 == 1 or not quoted
    return 0 if at == 0 else -1


def _address_of_element(element: str) -> str | None:
    """Returns the address in an element of Forwarded; None where it has none, or more than one, or is malformed."""
    node: str | None = None
    at = 0
    while True:
        found = _parameter(element, at)
        if found is None:
            return None
        if (found["name"] or "").lower() == "for":
            if node is not None:
                return None
            node = found["bare"] if found["quoted"] is None else re.sub(r"\\(.)", r"\1", found["quoted"])
        if found["end"] != ";":
            break
        at = found.end()
    return None if node is None else address_of_node(node)


def address_of_node(node: str) -> str | None:
    """Returns the address of a node as RFC 7239 writes it, with a port or without; None where it says none.

    One of IPv6 stands in brackets. `unknown`, names that begin with `_`, and zones are no addresses.
    """
    found = _node(node)
    if found is None:
        return None
    if found["ipv6"] is not None:
        return _ipv6(found["ipv6"])
    try:
        return str(IPv4Address(found["ipv4"]))
    except ValueError:
        return None


def _ipv6(text: str) -> str | None:
    """Returns an address of IPv6 as limits and logs have it; None where it is none."""
    try:
        return plain_text(IPv6Address(text))
    except ValueError:
        return None
