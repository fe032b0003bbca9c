"""The ordinary handshake: what is read and answered without the library is what the library makes of it."""

import base64
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clock import NOW
from sigbridge import Hub, Settings
from sigbridge.auth import Identity, StaticTokens
from sigbridge_net.wire import Client
from sigbridge_websocket import handshake as handshakes
from sigbridge_websocket.upgrade import MAX_ORDINARY_BYTES, fast_upgrade, upgrade_response
from sigbridge_websocket.wire import websocket_wires

TOKEN = "s3cret"
ENCODED = base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("=")
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ORDINARY = {
    "Host": "server:8080",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}
BROWSER = {
    "Host": "server:8080",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept": "*/*",
    "Accept-Language": "de,en-US;q=0.7,en;q=0.3",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Sec-WebSocket-Version": "13",
    "Origin": "https://example.org",
    "Sec-WebSocket-Protocol": f"jsonrpc, bearer.{ENCODED}",
    "Sec-WebSocket-Extensions": "permessage-deflate",
    "Sec-WebSocket-Key": KEY,
    "Connection": "keep-alive, Upgrade",
    "Sec-Fetch-Mode": "websocket",
    "Pragma": "no-cache",
    "Upgrade": "websocket",
}


def written(fields: dict[str, str], path: str = "/ws?x=1") -> bytes:
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@pytest.mark.fast_paths
@pytest.mark.parametrize("fields", [ORDINARY, BROWSER, {name.lower(): value for name, value in ORDINARY.items()}])
def test_ordinary_requests_are_read(fields):
    upgrade = fast_upgrade(written(fields), Settings())
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
        written(ORDINARY | {"X": "x" * MAX_ORDINARY_BYTES}),
        written(ORDINARY | {f"X-{number}": "" for number in range(100)}),
    ],
)
def test_all_others_are_the_librarys(head):
    assert fast_upgrade(head, Settings()) is None


# Against the library.

REPLACEMENTS = {
    "Host": ["", "x: y", "x" * 5000, "ü", "a\0b", "a\rb", "a\nb", "\tx\t", "  x  "],
    "Upgrade": ["WebSocket", "websocket, h2c", "h2c", "", "websocket/13", "websocket,", "web socket"],
    "Connection": ["keep-alive, Upgrade", "UPGRADE", "close", "", "upgrade,close", "upgrade close", ",", "keep-alive,upgrade"],
    "Sec-WebSocket-Key": [
        KEY[:-1], KEY[1:], "A" * 24, "A" * 21 + "B==", "=" * 24, "*" * 22 + "==", KEY + "=", "", "A" * 23 + "=", f" {KEY} "
    ],
    "Sec-WebSocket-Version": ["8", "13, 8", "", "013", "1 3", " 13 "],
    "Origin": ["https://example.org", "https://evil.example", "null", "", "HTTPS://example.org"],
    "Authorization": [f"Bearer {TOKEN}", f"bearer  {TOKEN}", "Bearer wrong", "Basic x", TOKEN, "", "Bearer t\xc3\xb6k"],
    "Sec-WebSocket-Protocol": [
        "jsonrpc", f"jsonrpc, bearer.{ENCODED}", f"Bearer.{ENCODED},x", f"bearer.{ENCODED}", "bearer.a, bearer.b",
        ",a", "a b", "a,,b", "a ,b", "a,  b", "bearer.=", "bearer", "", "\xe9", "a" * 300,
    ],
    "Sec-WebSocket-Extensions": ["permessage-deflate", "permessage-deflate; x", "foo", "", ";", "\xe9"],
    "Content-Length": ["0", "5", "", "00"],
    "Transfer-Encoding": ["chunked", "identity"],
    "Cookie": ["a=b", ""],
}  # fmt: skip
LINES = ["GET / HTTP/1.1", "GET /a b HTTP/1.1", "get / HTTP/1.1", "POST / HTTP/1.1", "GET / HTTP/1.0", "GET  HTTP/1.1"]


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
    first = draw(st.sampled_from(LINES[:1] * 10 + LINES))
    head = "\r\n".join([first, *lines, "", ""]).encode("latin-1")
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(head) - 1))
        head = (
            head[:at]
            + draw(st.sampled_from([b"", b"\r", b"\n", b"\0", b" ", b"\t", b"\xff", b":", b"\r\n"]))
            + head[at + 1 :]
        )
    return head


class Witness:
    """Lets in who shows the token, and remembers what was shown."""

    def __init__(self):
        self.shown = []
        self._tokens = StaticTokens([TOKEN])

    def authenticate(self, credentials, now):
        self.shown.append(credentials)
        return self._tokens.authenticate(credentials, now)


class Anybody(Witness):
    def authenticate(self, credentials, now):
        self.shown.append(credentials)
        return Identity(subject=credentials.token or "")


def handshake(data: bytes, cut: int, settings: Settings, door: Witness, draining: bool = False, *, ours: bool):
    """What comes of it: what was said and shown, and whether the library read nothing of it."""
    hub = Hub(settings, NOW)
    read_by_library = []
    take = handshakes.Handshake._take

    def counted(self, protocol, head):
        read_by_library.append(head)
        take(self, protocol, head)

    if draining:
        hub.leave()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handshakes.Handshake, "_take", counted)
        if not ours:
            patch.setattr(handshakes, "fast_upgrade", lambda head, settings: None)
        wire = websocket_wires(hub, authenticator=door)(Client("192.0.2.1", "device"), lambda: None, NOW)
        output = b""
        for part in (data[:cut], data[cut:]):
            if part:
                wire.receive(part, NOW)
            while chunk := wire.take_output(65536, NOW):
                output += b"".join(chunk)
    said = re.sub(rb"Date: .*?\r\n", b"", output)
    counted = hub.counters
    state = (wire.finished, wire.aborted, hub.session_count, counted.refusals, counted.requests, counted.disconnects)
    return (said, door.shown, state), not read_by_library


PING = b"\x89\x82\0\0\0\0hi"
CALL = b"\x81\xae\0\0\0\0" + b'{"jsonrpc":"2.0","method":"list_peers","id":1}'


@given(
    requests(),
    st.sampled_from([b"", b"", PING, CALL, b"garbage", b"\x88\x80\0\0\0\0"]),
    st.sampled_from([0, 0, 0, 1, 30, 100, 190]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([Witness, Anybody]),
    st.sampled_from([False, False, True]),
)
@example(written(ORDINARY), PING + CALL, 0, False, False, Anybody, False)
@example(written(BROWSER), b"", 0, False, True, Witness, False)
@example(written(BROWSER), b"", 0, True, True, Witness, False)
def test_it_is_as_the_library_does_it(head, rest, cut, compression, origins, door, draining):
    settings = Settings(websocket_compression=compression, allowed_origins=("https://example.org",) if origins else ())
    ours, _ = handshake(head + rest, cut, settings, door(), draining, ours=True)
    librarys, without = handshake(head + rest, cut, settings, door(), draining, ours=False)
    assert not without
    assert ours == librarys


@pytest.mark.fast_paths
@pytest.mark.parametrize("fields", [ORDINARY, BROWSER])
def test_the_ordinary_never_sees_the_library(fields):
    (said, shown, _), without = handshake(written(fields) + PING, 0, Settings(), Anybody(), ours=True)
    assert without
    assert said.startswith(b"HTTP/1.1 101 ")
    assert said.endswith(b"\r\n\r\n\x8a\x02hi")
    assert ENCODED.encode() not in said
    assert [one.token for one in shown] == [TOKEN if fields is BROWSER else None]
