"""The PROXY protocol, versions 1 and 2: a header before everything else, in which a proxy says whose connection it is.

Rule 1: who is trusted must send one, and nobody else may: nothing is guessed. Rule 2: the header is taken from the
socket to its last byte, and nothing behind it is, before there is a transport: TLS and what else looks at first bytes
find them where they always are. Rule 3: a header that says no address of IPv4 or IPv6 (LOCAL, UNKNOWN, UNSPEC, unix
sockets) leaves the connection its own. A datagram's address, as HTTP/3 at a proxy has it, is one. Rule 4: what stands
behind the addresses is skipped, and bounded. Rule 5: what cannot become a header is refused at its first wrong byte.
Source: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

import re
import socket
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from sigbridge.addresses import AddressSet, plain_text
from sigbridge_net.first_bytes import readable

LINE: Final = b"PROXY "
"""The beginning of a header of version 1."""
MAX_LINE_BYTES: Final = 107
SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
"""The beginning of a header of version 2."""
HEAD_BYTES: Final = 16
"""The bytes of a header of version 2 that say how long it is."""
MAX_BODY_BYTES: Final = 4096
"""The bytes behind these: addresses, and what a proxy has to say besides."""

_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_MAX_FAMILY: Final = 3
_MAX_TRANSPORT: Final = 2
# By family: the bytes of both addresses and ports (of unix sockets: of both paths), and the class of an address.
_SIZES: Final = {1: 12, 2: 36, 3: 216}
_ADDRESSES: Final[dict[int, type[IPv4Address | IPv6Address]]] = {1: IPv4Address, 2: IPv6Address}

_port: Final = rb"(0|[1-9][0-9]{0,4})"
_unknown: Final = re.compile(rb"PROXY UNKNOWN(?: .*)?", re.DOTALL).fullmatch
_line: Final = re.compile(rb"PROXY TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) " + _port + b" " + _port).fullmatch


class BadProxyHeader(Exception):
    """A header is missing, malformed or not expected; the text says so in words of ours."""


def header_size(seen: bytes) -> int | None:
    """Returns the bytes of the header that begins with `seen`; None if more must come to know.

    :raises BadProxyHeader: as soon as it cannot become one.
    """
    if not (LINE.startswith(seen[: len(LINE)]) or SIGNATURE.startswith(seen[: len(SIGNATURE)])):
        raise BadProxyHeader("a trusted proxy sent no header of the PROXY protocol")
    if seen.startswith(SIGNATURE[:1]):
        return _binary_size(seen)
    end = seen.find(b"\r\n", 0, MAX_LINE_BYTES)
    if end >= 0:
        return end + 2
    if len(seen) >= MAX_LINE_BYTES:
        raise BadProxyHeader("a header of version 1 is too long")
    return None


def _binary_size(seen: bytes) -> int | None:
    """Returns the bytes of a header of version 2, or None if its length has not come.

    :raises BadProxyHeader: if its version or command is unknown, or it is too long.
    """
    if len(seen) > len(SIGNATURE) and seen[len(SIGNATURE)] not in (_LOCAL, _PROXY):
        raise BadProxyHeader("a header of version 2 has an unknown version or command")
    if len(seen) < HEAD_BYTES:
        return None
    size = int.from_bytes(seen[14:HEAD_BYTES])
    if size > MAX_BODY_BYTES:
        raise BadProxyHeader("a header of version 2 is too long")
    return HEAD_BYTES + size


def address_in(header: bytes) -> str | None:
    """Returns the client's address in a whole header, None where the connection is its own.

    :raises BadProxyHeader: if it is malformed.
    """
    return _address_in_binary(header) if header.startswith(SIGNATURE) else _address_in_line(header[:-2])


def _address_in_line(line: bytes) -> str | None:
    """Returns the client's address in a header of version 1; None if it says none.

    :raises BadProxyHeader: if it is malformed.
    """
    if _unknown(line):
        return None
    found = _line(line)
    if found is None or max(int(found[4]), int(found[5])) > 0xFFFF:
        raise BadProxyHeader("a header of version 1 is malformed")
    kind = IPv4Address if found[1] == b"4" else IPv6Address
    try:
        source, _ = (kind(text.decode("ascii")) for text in found.group(2, 3))
    except ValueError:
        raise BadProxyHeader("a header of version 1 is malformed") from None
    return plain_text(source)


def _address_in_binary(header: bytes) -> str | None:
    """Returns the client's address in a header of version 2; None if it says none.

    :raises BadProxyHeader: if it is malformed.
    """
    if header[12] == _LOCAL:
        return None
    family, transport = divmod(header[13], 16)
    if family > _MAX_FAMILY or transport > _MAX_TRANSPORT:
        raise BadProxyHeader("a header of version 2 has an unknown family or transport")
    if len(header) - HEAD_BYTES < _SIZES.get(family, 0):
        raise BadProxyHeader("a header of version 2 is too short for its addresses")
    kind = _ADDRESSES.get(family)
    if kind is None or not transport:
        return None
    size = 4 if kind is IPv4Address else 16
    return plain_text(kind(header[HEAD_BYTES : HEAD_BYTES + size]))


async def client_address(sock: socket.socket, address: str, trusted: AddressSet) -> str:
    """Takes the PROXY header from a connection that was accepted; returns the address of its client.

    That is `address`, the connection's own, if the header says nothing else.

    :raises BadProxyHeader: if the header is malformed, missing, or comes from an untrusted address.
    :raises OSError: if the connection is lost.
    """
    sock.setblocking(False)
    if address in trusted:
        return await _taken_address(sock) or address
    first = await _peek(sock)
    if first.startswith((LINE, SIGNATURE[:1])):
        # What came in pieces is no request either, and is refused as such.
        raise BadProxyHeader("somebody who is not trusted sent a header of the PROXY protocol")
    return address


async def _taken_address(sock: socket.socket) -> str | None:
    """Takes the header of a trusted proxy from the socket, and no byte behind it; returns the address in it.

    :raises BadProxyHeader: if there is no valid header.
    """
    seen = b""
    while True:
        came = await _peek(sock)
        if not came:
            if seen:
                raise BadProxyHeader("a connection ended within its header of the PROXY protocol")
            # As probes of balancers do.
            raise ConnectionAbortedError
        size = header_size(seen + came)
        seen += sock.recv(len(came) if size is None else min(len(came), size - len(seen)))
        if len(seen) == size:
            return address_in(seen)


async def _peek(sock: socket.socket) -> bytes:
    """Waits for bytes, which stay where they are; returns none where no more will come."""
    while True:
        try:
            return sock.recv(HEAD_BYTES + MAX_BODY_BYTES, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            await readable(sock)
