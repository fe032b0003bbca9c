"""The WebSocket wire: whatever comes, in whatever order, it stays sound."""

from hypothesis import given
from hypothesis import strategies as st

from clock import NOW
from sigbridge import Hub, Instant, Settings
from sigbridge.disconnects import DisconnectReason
from sigbridge_net.wire import Client
from sigbridge_websocket.closing import OPEN
from sigbridge_websocket.wire import websocket_wires
from websocket_lines import HANDSHAKE, LIST, OFFER

TEXT, BINARY, CONT, CLOSE = 1, 2, 0, 8


MESSAGES = st.sampled_from(
    [
        LIST % 1,
        b'{"jsonrpc":"2.0","method":"announce","params":{"peer_id":"a"},"id":1}',
        b'{"jsonrpc":"2.0","method":"disconnect","params":{"peer_id":"a"}}',
        OFFER % (1, 1),
        b"[" + LIST % 1 + b"," + LIST % 2 + b"]",
        b"[",
        b"\xff",
        b"",
        b"{}",
    ]
)


@st.composite
def frames(draw):
    opcode = draw(st.sampled_from([TEXT, TEXT, BINARY, CONT, 9, 10, CLOSE, 3]))
    payload = draw(st.one_of(MESSAGES, st.binary(max_size=130)))
    fin = draw(st.sampled_from([True, True, True, False]))
    rsv = draw(st.sampled_from([0, 0, 0, 0, 0, 4, 1]))
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([(0x80 if fin else 0) | rsv << 4 | opcode]) + length + bytes(4) + payload


ACTIONS = st.lists(
    st.one_of(
        frames(),
        frames(),
        st.binary(max_size=20),
        st.sampled_from(["take", "take", "expire", "later", "drain", "end", "end_of_input", "split"]),
    ),
    max_size=25,
)


class Storm:
    """A wire to which anything may happen, and what it said."""

    def __init__(self, *, compressed: bool):
        self.hub = Hub(Settings(websocket_compression=compressed, max_message_bytes=1000), NOW)
        self.wire = websocket_wires(self.hub)(Client("192.0.2.1"), lambda: None, NOW)
        self.now = NOW
        self.written: list[bytes] = []
        self.eof = False
        self.one_by_one = False

    def feed(self, data: bytes) -> None:
        for part in [data[i : i + 1] for i in range(len(data))] if self.one_by_one else [data]:
            if part and not self.eof:
                self.wire.receive(part, self.now)

    def take(self) -> None:
        for _ in range(1000):
            output = self.wire.take_output(65536, self.now)
            if not output:
                return
            assert all(output)
            self.written.extend(output)
        raise AssertionError("there is no end to what it says")

    def split(self) -> None:
        self.one_by_one = True

    def expire(self) -> None:
        self.wire.expire(self.now)

    def later(self) -> None:
        self.now = Instant(self.now.monotonic + 11, self.now.unix + 11)
        self.hub.expire(self.now)

    def drain(self) -> None:
        self.hub.drain(self.now)

    def end(self) -> None:
        if self.wire._session is not None:
            self.hub.end(self.wire._session, DisconnectReason.SLOW_CONSUMER, self.now)

    def end_of_input(self) -> None:
        self.wire.receive_eof(self.now)
        self.eof = True

    def check(self) -> None:
        wire = self.wire
        session = wire._session
        state = wire._closing.state
        assert not (state == OPEN and wire.reading() and not wire._frames.exhausted)
        assert (state == OPEN) is (session is not None and session.end_reason is None)
        if session is None or session.end_reason is not None or wire.finished:
            assert self.hub.session_count == 0
        if session is not None and wire._closing.is_silent:
            count = len(self.written)
            self.feed(b"\x89\x80\0\0\0\0")
            self.take()
            assert len(self.written) == count


@given(first=st.sampled_from([HANDSHAKE, HANDSHAKE, HANDSHAKE, b"", b"GET"]), actions=ACTIONS, compressed=st.booleans())
def test_whatever_comes_the_wire_stays_sound(first, actions, compressed):
    if compressed:
        first = first.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
    storm = Storm(compressed=compressed)
    for action in [first, *actions]:
        if isinstance(action, bytes):
            storm.feed(action)
        else:
            getattr(storm, action)()
        storm.check()
    storm.take()
    storm.check()
    storm.wire.connection_lost(storm.now)
    assert storm.hub.session_count == 0
    assert storm.hub.peer_count == 0
    assert not storm.hub.counters.sessions["websocket"]
