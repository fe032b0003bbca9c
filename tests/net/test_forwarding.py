"""Clients' addresses, as a proxy says them: headers read from the right, compared with readers that begin left."""

import re
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigbridge import Settings
from sigbridge_net.forwarding import (
    MAX_ENTRY_LENGTH,
    MAX_HOPS,
    Forwarding,
    HeaderForwarding,
    address_of_node,
    forwarded_addresses,
    forwarding_of,
    x_forwarded_for_addresses,
)
from sigbridge_net.wire import Client

PROXY, OTHER_PROXY, CLIENT = "10.0.0.1", "10.0.0.2", "203.0.113.9"
TRUSTED = {"trusted_proxies": ("10.0.0.0/24", "2001:db8:5::/48", "unix")}


def forwarding(header: str) -> Forwarding:
    return forwarding_of(Settings(client_address_from=header, **TRUSTED))


def by_x(*values: str, address: str = PROXY) -> str:
    return forwarding("x-forwarded-for").address_from(address, values)


def by_forwarded(*values: str, address: str = PROXY) -> str:
    return forwarding("forwarded").address_from(address, values)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (CLIENT, CLIENT),
        (f" \t{CLIENT} ", CLIENT),
        (f"{CLIENT}:4711", CLIENT),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0:0::0:1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        (f"::ffff:{CLIENT}", CLIENT),
        (f"[::ffff:{CLIENT}]:1", CLIENT),
        # From the right, past those that are trusted; what the client itself has said is not looked at.
        (f"192.0.2.66, {CLIENT}", CLIENT),
        (f"192.0.2.66,{CLIENT},{OTHER_PROXY}", CLIENT),
        (f"{CLIENT}, [2001:db8:5::7]:80, {OTHER_PROXY}:80", CLIENT),
        (f"{CLIENT}, ::ffff:{OTHER_PROXY}", CLIENT),
        (f'nonsense", unknown, {CLIENT}', CLIENT),
        (f",,, {CLIENT}", CLIENT),
        # Those that say nothing: the connection's own.
        ("", PROXY),
        (",", PROXY),
        (f"{CLIENT}, ", PROXY),
        (f"{CLIENT}, unknown", PROXY),
        (f"{CLIENT}, _hidden", PROXY),
        (f"{CLIENT}, unix:", PROXY),
        (f"{CLIENT}, {OTHER_PROXY}, nonsense, {OTHER_PROXY}", PROXY),
        (f'"{CLIENT}"', PROXY),
        (f"for={CLIENT}", PROXY),
        ("203.0.113.256", PROXY),
        ("203.0.113", PROXY),
        ("0203.0.113.9", PROXY),
        (f"{CLIENT}:", PROXY),
        (f"{CLIENT}:123456", PROXY),
        (f"{CLIENT} 192.0.2.1", PROXY),
        ("fe80::1%eth0", PROXY),
        ("[fe80::1%eth0]", PROXY),
        ("[2001:db8::1", PROXY),
        ("2001:db8::1]", PROXY),
        ("[203.0.113.9]", PROXY),
        ("1:2:3:4:5:6:7:8:9", PROXY),
        ("\u0662\u0660\u0663.0.113.9", PROXY),
        # All of them trusted: there is no other.
        (f"{OTHER_PROXY}, {PROXY}", PROXY),
    ],
)
def test_x_forwarded_for(value: str, found: str) -> None:
    assert by_x(value) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (f"for={CLIENT}", CLIENT),
        (f"For={CLIENT};proto=http;by={PROXY}", CLIENT),
        (f"proto=https; FOR={CLIENT} ; by=_proxy", CLIENT),
        (f'for="{CLIENT}:4711"', CLIENT),
        (f"for={CLIENT}:4711", CLIENT),
        (f'for="{CLIENT}:_port"', CLIENT),
        ('for="[2001:db8::1]"', "2001:db8::1"),
        ('for="[2001:db8::1]:4711"', "2001:db8::1"),
        ("for=[2001:db8::1]", "2001:db8::1"),
        (f'for="[::ffff:{CLIENT}]"', CLIENT),
        (r'for="\2\0\3.0.113.9"', CLIENT),
        (f'host="a,b;c\\",for=192.0.2.66";for={CLIENT}', CLIENT),
        (f'for={CLIENT};host="a\\\\"', CLIENT),
        (f";;for={CLIENT};", CLIENT),
        (f"for=192.0.2.66, for={CLIENT}", CLIENT),
        (f"for={CLIENT}, for={OTHER_PROXY};by=_x, for=10.0.0.3", CLIENT),
        # Whatever the client begins, a proxy's element is read as the proxy has written it.
        (f'for="192.0.2.66, for={CLIENT}', CLIENT),
        (f'for="192.0.2.66\\, for={CLIENT}', CLIENT),
        (f'"", , for=, for={CLIENT};proto="https"', CLIENT),
        # Those that say nothing.
        ("", PROXY),
        ("for=unknown", PROXY),
        ('for="unknown:80"', PROXY),
        ("for=_hidden", PROXY),
        ('for="_gazonk"', PROXY),
        ("proto=https", PROXY),
        (f"for={CLIENT},", PROXY),
        (f"for={CLIENT};for=192.0.2.66", PROXY),
        (f"for = {CLIENT}", PROXY),
        (f"for={CLIENT} by={PROXY}", PROXY),
        (f'for="{CLIENT}', PROXY),
        (f'for={CLIENT}"', PROXY),
        (f'for=a"{CLIENT}"', PROXY),
        ("for=2001:db8::1", PROXY),
        ('for="2001:db8::1"', PROXY),
        ('for="[fe80::1%eth0]"', PROXY),
        (CLIENT, PROXY),
        (f"for={CLIENT}, {OTHER_PROXY}", PROXY),
        (f"for={OTHER_PROXY}", PROXY),
        (f"for={CLIENT};host={'x' * MAX_ENTRY_LENGTH}", PROXY),
    ],
)
def test_forwarded(value: str, found: str) -> None:
    assert by_forwarded(value) == found


def test_several_lines_are_one_list_in_their_order() -> None:
    assert by_x("192.0.2.66", CLIENT) == CLIENT
    assert by_x(CLIENT, OTHER_PROXY) == CLIENT
    assert by_x(f"192.0.2.66, {CLIENT}", OTHER_PROXY, PROXY) == CLIENT
    assert by_forwarded('for="192.0.2.66', f"for={CLIENT};proto=https", f"for={OTHER_PROXY}") == CLIENT


@pytest.mark.parametrize("address", ["203.0.113.5", "10.0.1.1", "2001:db8:6::1"])
def test_who_is_not_trusted_is_not_believed(address: str) -> None:
    assert by_x(CLIENT, address=address) == address
    assert by_forwarded(f"for={CLIENT}", address=address) == address


def test_who_is_trusted_by_network_or_as_unix_socket_is() -> None:
    for address in ("10.0.0.255", "2001:db8:5:1::1", ""):
        assert by_x(CLIENT, address=address) == CLIENT


def test_without_the_header_the_address_is_the_connection_s() -> None:
    assert by_x() == by_forwarded() == PROXY


@pytest.mark.parametrize("way", ["none", "proxy"])
def test_without_a_header_that_is_believed_none_is(way: str) -> None:
    none = forwarding_of(Settings(client_address_from=way, **TRUSTED))
    assert type(none) is Forwarding
    assert none.header == ""
    client = Client(PROXY)
    assert none.client_of(client, [(b"x-forwarded-for", CLIENT.encode())]) is client
    assert none.address_from(PROXY, [CLIENT]) == PROXY


def test_a_request_s_client_is_a_client_with_the_connection_s_certificate() -> None:
    by_header = forwarding("x-forwarded-for")
    connection = Client(PROXY, None)
    fields = [
        (b"forwarded", b"for=192.0.2.66"),
        (b"x-real-ip", b"192.0.2.67"),
        (b"x-forwarded-for", b"192.0.2.68"),
        (b"x-forwarded-for", CLIENT.encode()),
    ]
    assert by_header.client_of(connection, fields) == Client(CLIENT)
    assert forwarding("forwarded").client_of(connection, fields) == Client("192.0.2.66")
    # Nothing is made where nothing is said.
    assert by_header.client_of(connection, fields[:2]) is connection
    assert by_header.client_of(connection, [(b"x-forwarded-for", b"\xff\xfe")]) is connection


def test_no_more_of_a_list_is_looked_at_than_so_much() -> None:
    assert by_x(CLIENT, *[OTHER_PROXY] * (MAX_HOPS - 1)) == CLIENT
    assert by_x(CLIENT, *[OTHER_PROXY] * MAX_HOPS) == PROXY
    looked_at = []

    class Noting(HeaderForwarding):
        def __init__(self) -> None:
            super().__init__("x-forwarded-for", forwarding("x-forwarded-for")._trusted)
            self._trusted = self  # type: ignore[misc,assignment]

        def __contains__(self, address: str) -> bool:
            looked_at.append(address)
            return True

    assert Noting().address_from(PROXY, [", ".join([CLIENT] * 10_000)]) == PROXY
    assert len(looked_at) == 1 + MAX_HOPS
    assert by_x(", ".join(["192.0.2.66"] * 10_000 + [CLIENT])) == CLIENT
    assert by_forwarded(", ".join(["for=192.0.2.66"] * 10_000 + [f"for={CLIENT}"])) == CLIENT
    assert by_forwarded(", ".join([f"for={OTHER_PROXY}"] * 10_000)) == PROXY
    assert by_x("9" * 1_000_000) == by_forwarded('"' * 1_000_000) == by_forwarded("\\" * 1_000_000) == PROXY
    assert by_forwarded("for=" + '"' + '\\"' * 500_000 + '"') == PROXY


# Differential tests: lists that are well-formed, by readers that read them from the left, as RFC 7239 is written.

ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
PORTS = st.one_of(st.just(""), st.integers(0, 65535).map(lambda port: f":{port}"))
OBFUSCATED = st.from_regex(r"_[0-9A-Za-z._-]{1,10}", fullmatch=True)
TOKENS = st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,10}", fullmatch=True)
TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=12)


def plain(address: IPv4Address | IPv6Address) -> str:
    return str((address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address)


@st.composite
def nodes(draw: st.DrawFn) -> tuple[str, str | None]:
    """A node of RFC 7239, and the address that it says."""
    kind = draw(st.sampled_from(["address", "address", "address", "unknown", "obfuscated"]))
    if kind == "unknown":
        return f"unknown{draw(PORTS)}", None
    if kind == "obfuscated":
        return draw(OBFUSCATED), None
    address = draw(ADDRESSES)
    text = f"[{address}]" if address.version == 6 else str(address)
    return text + draw(st.one_of(PORTS, OBFUSCATED.map(lambda name: f":{name}"))), plain(address)


def quoted(text: str, escaped: list[int]) -> str:
    inside = ["\\" + one if one in '"\\' or at in escaped else one for at, one in enumerate(text)]
    return f'"{"".join(inside)}"'


@st.composite
def elements(draw: st.DrawFn) -> tuple[str, str | None]:
    """An element of Forwarded, and the address that it says."""
    node, address = draw(nodes())
    escaped = draw(st.lists(st.integers(0, 20), max_size=3))
    said = node if re.fullmatch(r"[\w.]+", node) and draw(st.booleans()) else quoted(node, escaped)
    name = draw(st.sampled_from(["for", "For", "FOR"]))
    others = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["by", "host", "proto", "x-y"]), st.one_of(TOKENS, TEXTS.map(lambda t: quoted(t, [0])))
            ),
            max_size=3,
        )
    )
    pairs = [f"{key}={value}" for key, value in others]
    pairs.insert(draw(st.integers(0, len(pairs))), f"{name}={said}")
    return ";".join(pairs), address


def joined(draw: st.DrawFn, parts: list[str]) -> str:
    separators = draw(st.lists(st.sampled_from([",", ", ", " ,\t"]), min_size=len(parts), max_size=len(parts)))
    return "".join(
        part + (separator if at < len(parts) - 1 else "")
        for at, (part, separator) in enumerate(zip(parts, separators, strict=True))
    )


@st.composite
def forwarded_lists(draw: st.DrawFn) -> tuple[str, list[str | None]]:
    made = draw(st.lists(elements(), min_size=1, max_size=5))
    return joined(draw, [text for text, _ in made]), [address for _, address in made]


@pytest.mark.thorough
@given(forwarded_lists())
def test_a_list_of_forwarded_is_read_as_it_was_written(made: tuple[str, list[str | None]]) -> None:
    text, addresses = made
    assert list(forwarded_addresses(text)) == addresses[::-1]
    assert [address_from_the_left(element) for element in split_from_the_left(text)] == addresses


@pytest.mark.thorough
@given(forwarded_lists(), st.text(st.characters(max_codepoint=255), max_size=60))
def test_what_stands_left_of_a_proxy_s_elements_changes_nothing(made: tuple[str, list[str | None]], junk: str) -> None:
    text, addresses = made
    found = list(forwarded_addresses(f"{junk}, {text}"))
    assert found[: len(addresses)] == addresses[::-1]


@given(st.text(st.sampled_from('for=;, "\\[]:1_a2.'), max_size=60))
def test_an_address_that_is_found_is_found_from_the_left_as_well(text: str) -> None:
    # Where quotes are balanced, both ways of reading see the same elements; elsewhere the left has nothing to say.
    parts = split_from_the_left(text)
    if parts is not None:
        assert list(forwarded_addresses(text)) == [address_from_the_left(part) for part in parts][::-1]


def split_from_the_left(text: str) -> list[str] | None:
    """The elements of a list, None where a quoted text has no end or stands where none may."""
    parts, at, quoting = [""], 0, False
    while at < len(text):
        one = text[at]
        if quoting and one == "\\":
            one = text[at : at + 2]
            if len(one) < 2:
                return None
        elif one == "\\":
            return None
        elif one == '"':
            quoting = not quoting
        if one == "," and not quoting:
            parts.append("")
        else:
            parts[-1] += one
        at += len(one)
    return None if quoting else parts


def address_from_the_left(element: str) -> str | None:
    """The address that an element says, by a reader that goes character by character."""
    found: list[str] = []
    rest = element
    while True:
        rest = rest.lstrip(" \t")
        if rest and rest[0] != ";":
            name, equals, rest = rest.partition("=")
            if not equals or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
                return None
            value = ""
            if rest.startswith('"'):
                rest = rest[1:]
                while not rest.startswith('"'):
                    rest = rest.removeprefix("\\")
                    value, rest = value + rest[:1], rest[1:]
                rest = rest[1:]
            else:
                while rest and rest[0] not in ' \t",;\\':
                    value, rest = value + rest[0], rest[1:]
                if not value:
                    return None
            if name.lower() == "for":
                found.append(value)
            rest = rest.lstrip(" \t")
        if not rest:
            break
        if rest[0] != ";":
            return None
        rest = rest[1:]
    return address_of_node(found[0]) if len(found) == 1 else None


@given(st.lists(nodes(), min_size=1, max_size=6), st.data())
def test_a_list_of_x_forwarded_for_is_read_as_it_was_written(
    made: list[tuple[str, str | None]], data: st.DataObject
) -> None:
    text = data.draw(st.composite(joined)([node for node, _ in made]))
    assert list(x_forwarded_for_addresses(text)) == [address for _, address in reversed(made)]


@given(ADDRESSES, st.text(max_size=40))
def test_the_first_other_from_the_right_is_the_client(address: IPv4Address | IPv6Address, junk: str) -> None:
    trusted = forwarding("x-forwarded-for")._trusted  # type: ignore[attr-defined]
    expected = PROXY if plain(address) in trusted else plain(address)
    if expected == plain(address):
        assert by_x(junk, str(address), OTHER_PROXY) == expected
    else:
        assert by_x(str(address), OTHER_PROXY) == expected


@given(st.lists(st.text(), max_size=3))
def test_nothing_fails_and_what_is_found_is_an_address(values: list[str]) -> None:
    for found in (by_x(*values), by_forwarded(*values)):
        assert found == PROXY or plain(IPv6Address(found) if ":" in found else IPv4Address(found)) == found
