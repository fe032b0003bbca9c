"""The ordinary handshake: what is read and answered without the library is what the library makes of it."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from page_origins import LISTS
from sigbridge import Settings
from sigbridge_net.origins import AllowedOrigins
from sigbridge_websocket.upgrade import MAX_FAST_BYTES, fast_upgrade, upgrade_response
from websocket_handshakes import (
    BROWSER,
    ENCODED,
    KEY,
    ORDINARY,
    REPLACEMENTS,
    REQUEST_LINES,
    TOKEN,
    Anybody,
    Witness,
    handshake,
    pieces,
    written,
)

ANY_ORIGIN = AllowedOrigins(Settings())


@pytest.mark.fast_paths
@pytest.mark.parametrize("fields", [ORDINARY, BROWSER, {name.lower(): value for name, value in ORDINARY.items()}])
def test_ordinary_requests_are_read(fields):
    upgrade = fast_upgrade(written(fields), Settings(), ANY_ORIGIN)
    assert upgrade is not None
    assert upgrade.key == KEY
    assert upgrade.subprotocols == (["jsonrpc", f"bearer.{ENCODED}"] if fields is BROWSER else [])


def test_the_response_has_the_example_of_the_rfc():
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in upgrade_response(KEY, None, 0.0)


@pytest.mark.parametrize(
    ("unix", "date"), [(0.0, b"Thu, 01 Jan 1970 00:00:00 GMT"), (1e9, b"Sun, 09 Sep 2001 01:46:40 GMT")]
)
def test_the_response_has_a_date(unix, date):
    assert b"\r\nDate: " + date + b"\r\n" in upgrade_response(KEY, None, unix)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\r\n\r\n",
        written(ORDINARY).replace(b"GET", b"get"),
        written(ORDINARY).replace(b"GET ", b"GET  "),
        written(ORDINARY).replace(b"HTTP/1.1", b"HTTP/1.0"),
        written(ORDINARY).replace(b"\r\n", b"\n"),
        written(ORDINARY).replace(b"Host: ", b"Host : "),
        written(ORDINARY).replace(b"Host: ", b" Host: "),
        written(ORDINARY).replace(b"Host: ", b"\tHost: "),
        written(ORDINARY).replace(b"Host: server", b"Host: server\r\n folded"),
        written(ORDINARY).replace(b"Host: server", b"Host: \xc3\xa9"),
        written(ORDINARY, path="/\x7f"),
        written(ORDINARY, path="/\xe9"),
        written(ORDINARY | {"X": "x" * MAX_FAST_BYTES}),
        written(ORDINARY | {f"X-{number}": "" for number in range(100)}),
    ],
)
def test_all_others_are_the_librarys(head):
    assert fast_upgrade(head, Settings(), ANY_ORIGIN) is None


# Against the library.


@st.composite
def requests(draw):
    """Requests in any order and case, most of them ordinary, some with doubled, missing, odd or damaged lines."""
    fields = list(ORDINARY.items())
    for name in draw(st.lists(st.sampled_from(list(REPLACEMENTS)), max_size=3)):
        if draw(st.integers(0, 3)):
            fields = [one for one in fields if one[0] != name]
        if draw(st.integers(0, 5)):
            fields.append((name, draw(st.sampled_from(REPLACEMENTS[name]))))
    lines = []
    for name, value in draw(st.permutations(fields)):
        cased = draw(st.sampled_from([name, name, name.lower(), name.upper()]))
        lines.append(cased + draw(st.sampled_from([": "] * 8 + [":", ":  ", ":\t", " : "])) + value)
    first = draw(st.sampled_from(REQUEST_LINES[:1] * 10 + REQUEST_LINES))
    head = "\r\n".join([first, *lines, "", ""]).encode("latin-1")
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(head) - 1))
        head = (
            head[:at]
            + draw(st.sampled_from([b"", b"\r", b"\n", b"\0", b" ", b"\t", b"\xff", b":", b"\r\n"]))
            + head[at + 1 :]
        )
    return head


PING = b"\x89\x82\0\0\0\0hi"
CALL = b"\x81\xae\0\0\0\0" + b'{"jsonrpc":"2.0","method":"list_peers","id":1}'


@given(
    requests(),
    st.sampled_from([b"", b"", PING, CALL, b"garbage", b"\x88\x80\0\0\0\0"]),
    st.sampled_from([0, 0, 0, 1, 30, 100, 190]),
    st.booleans(),
    st.sampled_from(list(LISTS)),
    st.sampled_from([Witness, Anybody]),
    st.sampled_from([False, False, True]),
)
@example(written(ORDINARY), PING + CALL, 0, False, "none", Anybody, False)
@example(written(BROWSER), b"", 0, False, "exact", Witness, False)
@example(written(BROWSER), b"", 0, True, "exact", Witness, False)
@example(written(BROWSER), b"", 0, False, "below", Witness, False)
@example(written(BROWSER | {"Authorization": "Bearer wrong"}), PING, 0, False, "exact", Witness, False)
@example(written(BROWSER | {"Authorization": "Bearer wrong"}), PING, 0, True, "none", Witness, True)
def test_it_is_as_the_library_does_it(head, rest, cut, compression, origins, door, draining):
    settings = Settings(websocket_compression=compression, allowed_origins=LISTS[origins])
    parts = pieces(head + rest, [cut])
    ours, _ = handshake(parts, settings, door(), draining=draining, ours=True)
    librarys, without = handshake(parts, settings, door(), draining=draining, ours=False)
    assert not without
    assert ours == librarys


@pytest.mark.fast_paths
@pytest.mark.parametrize("fields", [ORDINARY, BROWSER])
def test_the_ordinary_never_sees_the_library(fields):
    (said, shown, *_), without = handshake([written(fields) + PING], Settings(), Anybody(), ours=True)
    assert without
    assert said.startswith(b"HTTP/1.1 101 ")
    assert said.endswith(b"\r\n\r\n\x8a\x02hi")
    assert ENCODED.encode() not in said
    assert [one.token for one in shown] == [TOKEN if fields is BROWSER else None]
