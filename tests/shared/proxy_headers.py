"""Headers of the PROXY protocol, as proxies write them."""

import struct
from ipaddress import ip_address

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
LOCAL, PROXY = 0x20, 0x21


def line_of(address: str, port: int = 4711) -> bytes:
    """A header of version 1."""
    version = ip_address(address).version
    return f"PROXY TCP{version} {address} {'10.0.0.1' if version == 4 else '::1'} {port} 443\r\n".encode()


def binary(command: int, family: int, body: bytes = b"") -> bytes:
    """A header of version 2 of any content."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def binary_of(address: str, port: int = 4711) -> bytes:
    """A header of version 2, with something besides that a server need not know."""
    packed = ip_address(address).packed
    kind = 0x11 if len(packed) == 4 else 0x21
    return binary(PROXY, kind, packed + bytes(len(packed)) + struct.pack("!HH", port, 443) + b"\x02\0\x03abc")
