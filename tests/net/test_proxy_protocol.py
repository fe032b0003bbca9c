"""Headers of the PROXY protocol, byte by byte: what they say, where they end, and which are none."""

import re
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy_headers import LOCAL, SIGNATURE, binary, binary_of, line_of
from sigbridge_net.proxy_protocol import (
    HEAD_BYTES,
    MAX_BODY_BYTES,
    MAX_LINE_BYTES,
    BadProxyHeader,
    address_in,
    header_size,
)

CLIENT = "203.0.113.9"
BEHIND = b"\x16\x03\x01 and so on \r\n"


def read(data: bytes) -> tuple[str | None, bytes]:
    """The address that a header says, and what stands behind it."""
    size = header_size(data)
    assert size is not None
    assert size <= len(data)
    return address_in(data[:size]), data[size:]


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


IPV4 = IPv4Address(CLIENT).packed + bytes([10, 0, 0, 1]) + struct.pack("!HH", 4711, 443)
IPV6 = IPv6Address("2001:db8::9").packed + IPv6Address("2001:db8::1").packed + struct.pack("!HH", 4711, 443)
MAPPED = IPv6Address(f"::ffff:{CLIENT}").packed + IPv6Address("::1").packed + struct.pack("!HH", 4711, 443)
PATHS = b"/run/client.sock".ljust(108, b"\0") + b"/run/server.sock".ljust(108, b"\0")


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r\n", CLIENT),
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
        (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0"),
        (b"PROXY TCP6 2001:db8::9 2001:DB8:0:0:0:0:0:1 4711 443\r\n", "2001:db8::9"),
        (b"PROXY TCP6 ::ffff:203.0.113.9 ::1 4711 443\r\n", CLIENT),
        (b"PROXY TCP6 " + b" ".join([b":".join([b"ffff"] * 8)] * 2) + b" 65535 65535\r\n", ":".join(["ffff"] * 8)),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN 203.0.113.9 10.0.0.1 4711 443\r\n", None),
        (b"PROXY UNKNOWN \r \n \0 \xff\r\n", None),
        (b"PROXY UNKNOWN ".ljust(MAX_LINE_BYTES - 2, b"f") + b"\r\n", None),
        (binary(0x21, 0x11, IPV4), CLIENT),
        (binary(0x21, 0x21, IPV6), "2001:db8::9"),
        (binary(0x21, 0x21, MAPPED), CLIENT),
        # A client of HTTP/3 has an address as any other.
        (binary(0x21, 0x12, IPV4), CLIENT),
        (binary(0x21, 0x22, IPV6), "2001:db8::9"),
        # Without one it is the connection's own, whatever else stands there.
        (binary(0x21, 0x31, PATHS), None),
        (binary(0x21, 0x32, PATHS), None),
        (binary(0x21, 0x00), None),
        (binary(0x21, 0x00, b"anything"), None),
        (binary(0x21, 0x01, IPV4), None),
        (binary(0x21, 0x10, IPV4), None),
        (binary(0x20, 0x00), None),
        (binary(0x20, 0x11, IPV4), None),
        (binary(0x20, 0xFF, b"anything"), None),
        # What a proxy has to say besides is skipped, also where it is malformed.
        (binary(0x21, 0x11, IPV4 + tlv(0x02, b"example.org") + tlv(0x03, bytes(4))), CLIENT),
        (binary(0x21, 0x11, IPV4 + b"\x20\xff\xff\0"), CLIENT),
        (binary(0x21, 0x11, IPV4.ljust(MAX_BODY_BYTES, b"\xff")), CLIENT),
        (binary(0x20, 0x00, bytes(MAX_BODY_BYTES)), None),
    ],
)
def test_what_a_header_says_and_where_it_ends(header: bytes, address: str | None) -> None:
    assert read(header) == (address, b"")
    assert read(header + BEHIND) == (address, BEHIND)
    # Of each part of it that comes, all belongs to it, and it is not known before its end where that is.
    for end in range(len(header)):
        size = header_size(header[:end])
        assert size is None or size == len(header)
        if header.startswith(b"P"):
            assert size is None


@pytest.mark.parametrize(
    "said",
    [
        # Other protocols, and nothing of ours in front of them.
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01",
        b"\r\n\r\n\r\n",
        b"proxy TCP4 203.0.113.9 10.0.0.1 4711 443\r\n",
        b" PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r\n",
        b"PROXY\tTCP4 203.0.113.9 10.0.0.1 4711 443\r\n",
        # Lines.
        b"PROXY \r\n",
        b"PROXY TCP4\r\n",
        b"PROXY TCP5 203.0.113.9 10.0.0.1 4711 443\r\n",
        b"PROXY UDP4 203.0.113.9 10.0.0.1 4711 443\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY TCP4  203.0.113.9 10.0.0.1 4711 443\r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 443 \r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 4711\r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 65536\r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 99999\r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 04711 443\r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 +4711 443\r\n",
        b"PROXY TCP4 203.0.113.09 10.0.0.1 4711 443\r\n",
        b"PROXY TCP4 203.0.113.256 10.0.0.1 4711 443\r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0 4711 443\r\n",
        b"PROXY TCP4 2001:db8::9 2001:db8::1 4711 443\r\n",
        b"PROXY TCP6 203.0.113.9 10.0.0.1 4711 443\r\n",
        b"PROXY TCP6 fe80::1%lo ::1 4711 443\r\n",
        b"PROXY TCP6 1:2:3 ::1 4711 443\r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\n".ljust(MAX_LINE_BYTES),
        b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r".ljust(MAX_LINE_BYTES),
        b"PROXY UNKNOWN ".ljust(MAX_LINE_BYTES - 1, b"f") + b"\r\n",
        # Binary ones.
        binary(0x11, 0x11, IPV4),
        binary(0x31, 0x11, IPV4),
        binary(0x22, 0x11, IPV4),
        binary(0x2F, 0x11, IPV4),
        binary(0x21, 0x41, IPV4),
        binary(0x21, 0xF1, IPV4),
        binary(0x21, 0x13, IPV4),
        binary(0x21, 0x03, IPV4),
        binary(0x21, 0x11, IPV4[:-1]),
        binary(0x21, 0x21, IPV4),
        binary(0x21, 0x21, IPV6[:-1]),
        binary(0x21, 0x31, PATHS[:-1]),
        binary(0x21, 0x11),
        binary(0x21, 0x11, bytes(MAX_BODY_BYTES + 1)),
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
def test_what_is_no_header(said: bytes) -> None:
    with pytest.raises(BadProxyHeader):
        read(said)


@pytest.mark.parametrize(
    ("said", "wrong_at"),
    [
        (b"GET /", 1),
        (b"POST /", 2),
        (b"PROXI", 5),
        (b"\x16", 1),
        (b"\r\n\r\n\r", 5),
        (SIGNATURE + b"\x31", 13),
        (SIGNATURE + b"\x21\x11\x10\x01", 16),
        (b"PROXY " + b"x" * 200, MAX_LINE_BYTES),
    ],
)
def test_what_cannot_become_one_is_refused_at_its_first_wrong_byte(said: bytes, wrong_at: int) -> None:
    for size in range(wrong_at):
        assert header_size(said[:size]) is None
    with pytest.raises(BadProxyHeader):
        header_size(said[:wrong_at])


# Differential tests.

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
PORTS = st.integers(0, 65535)


def plain(address: IPv4Address | IPv6Address) -> str:
    return str((address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address)


@given(ADDRESSES, PORTS, st.sampled_from([line_of, binary_of]), st.binary(max_size=40))
def test_what_is_written_is_read(address, port, write, behind) -> None:  # type: ignore[no-untyped-def]
    assert read(write(str(address), port) + behind) == (plain(address), behind)


def read_simply(data: bytes) -> tuple[str | None, int] | None:
    """The same by a reader that has the whole of it: the address, and the header's size; None where it is none."""
    if data[:12] == SIGNATURE:
        if len(data) < HEAD_BYTES:
            return None
        version, family, size = struct.unpack("!BBH", data[12:16])
        body = data[16 : 16 + size]
        if size > MAX_BODY_BYTES or len(body) < size:
            return None
        if version == LOCAL:
            return None, 16 + size
        least = {0: 0, 1: 12, 2: 36, 3: 216}.get(family >> 4)
        if version != 0x21 or least is None or size < least or family & 15 > 2:
            return None
        if family & 15 == 0 or family >> 4 not in (1, 2):
            return None, 16 + size
        return plain(ip_address(body[: 4 if family >> 4 == 1 else 16])), 16 + size
    line, end, _ = data[:107].partition(b"\r\n")
    words = line.decode("latin-1").split(" ")
    if not end or words[0] != "PROXY" or len(words) < 2:
        return None
    if words[1] == "UNKNOWN":
        return None, len(line) + 2
    try:
        _, family_word, source, target, *ports = words
        kind = {"TCP4": IPv4Address, "TCP6": IPv6Address}[family_word]
        found = kind(source), kind(target)
    except (KeyError, ValueError):
        return None
    if len(ports) != 2 or not all(re.fullmatch("0|[1-9][0-9]*", port) and int(port) < 65536 for port in ports):
        return None
    return (None if "%" in source + target else plain(found[0])), len(line) + 2


@st.composite
def nearly_headers(draw: st.DrawFn) -> bytes:
    """Headers of which some bytes are others."""
    write = draw(st.sampled_from([line_of, binary_of]))
    made = draw(
        st.one_of(
            st.builds(write, ADDRESSES.map(str), PORTS),
            st.builds(binary, st.integers(0, 255), st.integers(0, 255), st.binary(max_size=250)),
            st.builds(binary, st.sampled_from([0x20, 0x21]), st.integers(0, 0x40), st.binary(max_size=250)),
        )
    )
    data = bytearray(made)
    for at, byte in draw(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=2)):
        data[at] = byte
    return bytes(data) + draw(st.binary(max_size=10))


@given(nearly_headers())
def test_what_is_nearly_a_header_is_read_as_by_a_simple_reader(data: bytes) -> None:
    expected = read_simply(data)
    try:
        size = header_size(data)
        found = None if size is None or size > len(data) else (address_in(data[:size]), size)
    except BadProxyHeader:
        found = None
    if b"%" not in data[:107]:
        assert found == expected


@given(st.one_of(nearly_headers(), st.binary(max_size=200)), st.integers(0, 200))
def test_the_size_is_the_same_however_much_has_come(data: bytes, cut: int) -> None:
    try:
        whole = header_size(data)
    except BadProxyHeader:
        return
    part = header_size(data[:cut])
    assert part is None or part == whole
