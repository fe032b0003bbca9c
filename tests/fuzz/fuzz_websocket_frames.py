"""Feeds WebSocket bytes and splits that nobody meant: its reader must cut what the library cuts, its wire stay sound.

`python tests/fuzz/fuzz_websocket_frames.py -max_total_time=60` fuzzes with atheris; `play` is one run of any input.
"""

import dataclasses
import re
import sys
from functools import reduce
from pathlib import Path
from typing import Self
from unittest.mock import patch

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1] / "shared"))
    import fuzzing

    with fuzzing.instrumenting("sigbridge", "sigbridge_websocket"):
        import sigbridge_websocket.wire  # noqa: F401

import msgspec
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from clock import Clock
from fuzzed_reader import play_reader
from instructions import instructions
from lines import Line
from logged_errors import objecting
from sigbridge import Hub, Settings, outbox, share
from sigbridge.disconnects import DisconnectReason
from sigbridge.outbox import NOTICE, Outbox
from sigbridge.share import FRESH
from sigbridge_compat.deferred import Deferral
from sigbridge_net import unfinished
from sigbridge_net.unfinished import TotalUnfinished
from sigbridge_net.wire import WireFactory
from sigbridge_websocket import waits
from sigbridge_websocket.closing import CLOSED, ENDING, OPEN, REPLYING
from sigbridge_websocket.frames import (
    CLOSE,
    CONTINUATION,
    FIN,
    MASKED_HEAD_BYTES,
    MAX_CONTROL_BYTES,
    PING,
    PONG,
    RSV1,
    TEXT,
)
from sigbridge_websocket.wire import WebSocketWire, websocket_wires
from websocket_frames import MOST_HEAD_BYTES, deflate, unread, written
from websocket_lines import HANDSHAKE, LIST, masked


def play(data: bytes) -> None:
    """Takes the bytes for instructions: for a reader alone, or for a server and its clients."""
    first = data[0] if data else 0
    with objecting():
        if first & 1:
            play_reader(data[1:], compressed=bool(first & 2))
        else:
            play_twice(data[1:], first >> 1)


# A server and its clients.

MAX_BYTES = 500
SETTINGS = Settings(
    max_message_bytes=MAX_BYTES,
    message_timeout_seconds=4,
    max_unfinished_bytes=700,
    max_batch_requests=8,
    max_batch_response_bytes=1200,
    max_sdp_bytes=250,
    outbox_max_messages=6,
    outbox_max_bytes=1500,
    send_deadline_seconds=3,
    max_sessions=5,
    rate_per_second=0,
    answer_in_result=("b",),
    answer_in_result_seconds=3,
)
COMPRESSING = dataclasses.replace(SETTINGS, websocket_compression=True)
_MOST_CLIENTS = 6
_MOST_ROUNDS = 2000
_LEAST_ARRAY_BYTES = len(b'[{"jsonrpc":"2.0","result":{},"id":1}]')
_PACKED_HANDSHAKE = HANDSHAKE.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
_HANDSHAKES = (
    HANDSHAKE,
    HANDSHAKE,
    _PACKED_HANDSHAKE,
    _PACKED_HANDSHAKE,
    HANDSHAKE.replace(b"13", b"8"),
    b"GET /\r\n\r\n",
)


class Client(Line):
    """One client's connection, and what its socket has not passed on."""

    wire: WebSocketWire

    def __init__(self, factory: WireFactory, clock: Clock, *, fast: bool) -> None:
        super().__init__(factory, clock)
        self.fast = fast
        self.unsent = b""
        """The bytes that it has sent and nobody has read, since its input was not welcome."""
        self.pushed = 0
        """Bytes that have come since all that had come was looked at."""
        self.stalled = False
        """True while nothing can be written to its socket."""
        self.to_flush = False
        self.lost = False
        self.eof = False
        self.over = False
        """True once the wire was finished: a carrier writes nothing more."""
        self.shaken = False
        """True once it was told how its handshake went."""
        self.closed = False
        """True once it was told our close frame."""
        self.rest_of_handshake = b""
        self.packer: PerMessageDeflate | None = None
        self._unpacker: PerMessageDeflate | None = None

    @property
    def wants_flush(self) -> bool:
        return (self.to_flush or self.woken > 0) and not self.stalled and not self.lost

    def push(self, data: bytes) -> bool:
        if self.wire._frames.exhausted:
            self.pushed = 0
        self.pushed += len(data)
        self.to_flush = True
        return super().push(data)

    def send(self, data: bytes, piece: int) -> None:
        """Sends bytes, which arrive in pieces where input is welcome."""
        if self.lost or self.eof:
            return
        self.piece = piece
        if self.unsent or not self.wire.reading():
            self.unsent += data[: 20_000 - len(self.unsent)]
        else:
            self.push(data)

    def flush(self) -> None:
        """Writes all that there is, and reads on where that is welcome again."""
        self.to_flush = False
        for _ in range(_MOST_ROUNDS):
            self.woken = 0
            if self.pull():
                continue
            if not self.unsent or not self.wire.reading():
                break
            data, self.unsent = self.unsent, b""
            self.push(data)
        else:
            raise AssertionError("there is no end to what it says")
        self.to_flush = False

    def take(self, most: int, times: int) -> None:
        """Writes a little, as to a socket that is full again."""
        most, self.most = self.most, most
        for _ in range(times):
            if not self.pull():
                break
        self.most = most

    def end_input(self) -> Self:
        """Ends its half of the connection, behind all that it has sent."""
        if not self.lost and not self.eof:
            self.eof = self.to_flush = True
            self._read_all()
            self.wire.receive_eof(self.clock.now)
        return self

    def lose(self) -> None:
        """Loses the connection."""
        if not self.lost:
            self._read_all()
            self.lost = True
            self.wire.connection_lost(self.clock.now)

    def _read_all(self) -> None:
        data, self.unsent = self.unsent, b""
        self.push(data)

    def expire(self) -> None:
        if self.lost or self.wire.due > self.clock.now.monotonic:
            return
        super().expire()
        if self.wire.aborted:
            self.unsent = b""
            self.lose()
        else:
            self.to_flush = True

    def hear(self, output: bytes) -> None:
        """Asserts that it is told whole frames, of which none follows our close frame."""
        assert not self.over
        if not self.shaken:
            self.shaken = True
            head, end, output = output.partition(b"\r\n\r\n")
            assert end
            if not head.startswith(b"HTTP/1.1 101 "):
                self.closed = True
                return
            if b"permessage-deflate" in head:
                self.packer, self._unpacker = deflate(), deflate()
        while output:
            assert not self.closed
            first, size, start = output[0], output[1], 2
            if size > 125:
                start += 2 if size == 126 else 8
                size = int.from_bytes(output[2:start], "big")
            payload, output = output[start : start + size], output[start + size :]
            assert len(payload) == size
            self._hear_frame(first, payload)

    def _hear_frame(self, first: int, payload: bytes) -> None:
        if first == FIN | CLOSE:
            self.closed = True
            assert len(payload) <= MAX_CONTROL_BYTES
        elif first in (FIN | PING, FIN | PONG):
            assert len(payload) <= MAX_CONTROL_BYTES
        elif self._unpacker is None:
            assert first == FIN | TEXT
            msgspec.json.decode(payload)
        else:
            assert first == FIN | RSV1 | TEXT
            msgspec.json.decode(bytes(self._unpacker.decode(Frame(Opcode.TEXT, payload, rsv1=True)).data))

    def check(self) -> None:
        """Asserts all that must hold of one connection at any time."""
        wire, session, state = self.wire, self.wire._session, self.wire._closing.state
        is_open = session is not None and session.end_reason is None
        assert (state == OPEN) is is_open
        assert not (is_open and self.lost)
        if session is not None and state == OPEN and wire.reading() and session.share.state == FRESH:
            assert wire._frames.exhausted
        if state in (REPLYING, CLOSED):
            assert unread(wire._frames) == 0
            assert wire._unfinished is None
        assert unread(wire._frames) <= MAX_BYTES + MOST_HEAD_BYTES + self.pushed
        fragments = wire._frames._fragments
        assert fragments is None or len(fragments.data) <= MAX_BYTES
        assert len(wire._ahead) <= 100 + self.pushed // MASKED_HEAD_BYTES
        assert wire.finished is (state == CLOSED)
        if session is not None:
            check_outbox(session.outbox)
        self.over = wire.finished and not self.stalled
        if self.lost:
            assert state in (REPLYING, CLOSED)
        elif not self.stalled:
            self._check_rest()

    def _check_rest(self) -> None:
        """Asserts that nothing is left to be said or read on a connection that nothing holds up."""
        wire, session = self.wire, self.wire._session
        assert not wire._ahead
        assert wire._closing.state not in (ENDING, REPLYING)
        if session is not None and not session.awaiting:
            assert not len(session.outbox)
            assert not session.open or session.share.state == FRESH
            message = wire._unfinished
            if message is None or not message.is_stopped:
                assert wire.reading()
                assert not self.unsent

    def at_end(self) -> bool:
        return self.lost or self.wire.finished


def check_outbox(outbox: Outbox) -> None:
    """Asserts that an outbox keeps its accounts, and its bounds."""
    held = outbox._held or []
    assert outbox.queued_bytes == sum(map(len, outbox._frames)) + sum(map(len, held))
    assert len(outbox._put_at) == len(outbox._frames)
    assert 0 <= outbox._roster_messages <= len(outbox)
    assert 0 <= outbox._roster_bytes <= outbox.queued_bytes
    counted = len(outbox) - outbox._roster_messages
    most_arrays = outbox._array_bytes // _LEAST_ARRAY_BYTES
    assert counted <= NOTICE * SETTINGS.outbox_max_messages + most_arrays
    size = outbox.queued_bytes - outbox._roster_bytes - outbox._array_bytes
    assert size <= NOTICE * SETTINGS.outbox_max_bytes or counted <= 1 + most_arrays


class Play:
    """A server, its clients, and what is done to them."""

    def __init__(self, flags: int, *, fast: bool) -> None:
        self.fast = fast
        self.clock = Clock()
        self.deferral = Deferral() if flags & 1 else None
        self.hub = Hub(
            COMPRESSING if flags & 2 else SETTINGS, self.clock.now, directory=self.deferral, bus=self.deferral
        )
        if self.deferral is not None:
            self.deferral.attach(self.hub)
        self.total = TotalUnfinished(self.hub.settings)
        self.factory = websocket_wires(self.hub, unfinished=self.total)
        self.clients: list[Client] = []
        for number in range(3):
            client = self.connect(_PACKED_HANDSHAKE if number < 2 else HANDSHAKE)
            if number < 2 and flags & 4:
                client.send(masked(TEXT, _message(number, 0, b"")), 0)
        self.settle()

    def connect(self, handshake: bytes) -> Client:
        client = Client(self.factory, self.clock, fast=self.fast)
        client.send(handshake, 0)
        self.clients.append(client)
        return client

    def settle(self) -> None:
        """Flushes whoever has something to be said or read, until nobody has."""
        for _ in range(_MOST_ROUNDS):
            clients = [client for client in self.clients if client.wants_flush]
            if not clients:
                return
            for client in clients:
                client.flush()
        raise AssertionError("it does not come to rest")

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.hub.expire(self.clock.now)
        for client in self.clients:
            client.expire()

    def complete(self, index: int) -> None:
        """Says another node's word, where one is awaited."""
        deferral = self.deferral
        if deferral is not None and deferral.waiting:
            deferral.complete(index % len(deferral.waiting), now=self.clock.now)

    def drain(self) -> None:
        self.hub.drain(self.clock.now)
        for client in self.clients:
            if not client.lost:
                client.wire.drain(self.clock.now)
                client.to_flush = True

    def check(self) -> None:
        """Asserts all that must hold at any time."""
        sessions = []
        for client in self.clients:
            client.check()
            session = client.wire._session
            if session is not None and session.open:
                sessions.append(session)
        hub = self.hub
        assert hub.session_count == hub.counters.sessions["websocket"] == len(sessions) <= SETTINGS.max_sessions
        peers = [session.peer for session in sessions if session.peer is not None]
        assert hub.peer_count == len(peers)
        messages = [message for client in self.clients if (message := client.wire._unfinished) is not None]
        assert self.total.kept == sum(message.kept for message in messages)
        assert self.total._count == len(messages)
        if self.deferral is not None:
            assert {(peer.room.name, peer.peer_id) for peer in peers} <= self.deferral.owned

    def end(self, *, by_itself: bool) -> None:
        """Comes to an end, when all has been said or at once; nothing is left then."""
        if by_itself:
            for client in self.clients:
                client.stalled, client.to_flush = False, True
            self.settle()
            self.check()
            self._come_to_rest()
            for _ in range(12):
                self.advance(30.0)
                self._come_to_rest()
            assert all(client.at_end() for client in self.clients)
        for client in self.clients:
            client.lose()
        while self.deferral is not None and self.deferral.waiting:
            self.complete(0)
        self.check()
        hub = self.hub
        assert hub.session_count == hub.peer_count == hub.room_count == hub.pending_offer_count == 0
        assert hub.awaited_answer_count == 0
        assert self.total.kept == self.total._count == 0
        assert not hub._parts.announcing.claiming
        assert self.deferral is None or not self.deferral.owned

    def _come_to_rest(self) -> None:
        """Lets other nodes say all that is awaited of them; asserts that nobody is held up then."""
        while self.deferral is not None and self.deferral.waiting:
            self.complete(0)
            self.settle()
            self.check()
        self.settle()
        self.check()
        for client in self.clients:
            session = client.wire._session
            assert session is None or not session.awaiting


def play_twice(data: bytes, flags: int) -> None:
    """Plays on a server with its fast paths; one without them must say the same."""
    twice = bool(flags & 0x10)
    with (
        patch.multiple(outbox, CROWDED_MESSAGES=4, CROWDED_BYTES=700),
        patch.multiple(waits, READ_AHEAD_PONGS=3),
        patch.multiple(unfinished, STEP_BYTES=64),
        # When a turn is over depends on how output is asked for.
        patch.multiple(share, EVENTS_PER_TURN=share.EVENTS_PER_TURN if twice else 24),
    ):
        said = play_server(data, flags, usual=True)
        if twice:
            assert play_server(data, flags, usual=False) == said


def play_server(data: bytes, flags: int, *, usual: bool) -> list[bytes]:  # noqa: C901 - one turn for each thing that can be done
    """Does what the instructions say, and checks after each; returns what was said to each client."""
    it = Play(flags, fast=usual)
    for kind, choice, length, payload in instructions(data):
        client = it.clients[choice % len(it.clients)]
        # The same pieces in both plays: of a client whose session has ended, a message that is not whole ends more.
        piece = 1 + length // 4 if length & 3 else 0
        text = _message(length, choice, payload)
        match kind % 20:
            case 0 | 1 | 2 | 3 | 4 | 5:
                _say(client, text, piece, packed=bool(kind & 0x80))
            case 6:
                _say_in_parts(client, text, 1 + length % 16, piece, ping=bool(kind & 0x80))
            case 7:
                client.send(written(PING + (choice >> 7), payload, True, 0, b"mask"), piece)
            case 8:
                client.send(written(PING, b"", True, 0, b"mask") * (choice // 8), piece)
            case 9:
                client.send(written(length & 15, payload, not choice & 0x80, choice >> 5, b"mask"), piece)
            case 10:
                client.send(payload, piece)
            case 11:
                client.send(
                    written(CLOSE, payload[:2] if choice & 0x80 else b"\x03\xe8" + payload, True, 0, b"mask"), piece
                )
            case 12:
                client.stalled, client.to_flush = not client.stalled, True
            case 13:
                if client.stalled and not client.lost:
                    client.take(1 + choice * 4, 1 + length % 8)
            case 14 | 15:
                it.complete(choice)
            case 16:
                it.advance(choice / 16)
            case 17:
                if client.rest_of_handshake:
                    rest, client.rest_of_handshake = client.rest_of_handshake, b""
                    client.send(rest, piece)
                elif len(it.clients) < _MOST_CLIENTS:
                    handshake = _HANDSHAKES[choice % len(_HANDSHAKES)]
                    at = len(handshake) if choice < 128 else length
                    it.connect(handshake[:at]).rest_of_handshake = handshake[at:]
            case 18:
                if choice & 0xC0 == 0:
                    client.end_input()
                elif choice & 0xC0 == 0x40:
                    client.lose()
            case _:
                _do_to_server(it, client, choice)
        it.settle()
        it.check()
    it.end(by_itself=bool(flags & 8))
    # The library has a clock of its own.
    return [re.sub(rb"Date: .*?\r\n", b"", client.output, count=1) for client in it.clients]


def _do_to_server(it: Play, client: Client, choice: int) -> None:
    session = client.wire._session
    match choice >> 3:
        case 0:
            it.drain()
        case 1:
            it.hub.leave()
        case 2:
            it.hub.degraded = not it.hub.degraded
        case 3 if session is not None:
            it.hub.end(session, list(DisconnectReason)[choice % len(DisconnectReason)], it.clock.now)
        case _:
            pass


def _say(client: Client, text: bytes, piece: int, *, packed: bool) -> None:
    """Sends a message in one frame."""
    if packed and client.packer is not None:
        packed_text = bytes(client.packer.encode(Frame(Opcode.TEXT, text)).data)
        client.send(written(TEXT, packed_text, True, 4, b"mask"), piece)
    else:
        client.send(masked(TEXT, text), piece)


def _say_in_parts(client: Client, text: bytes, part: int, piece: int, *, ping: bool) -> None:
    """Sends a message in several frames, with a ping between two."""
    for at in range(0, len(text), max(part, len(text) // 8)):
        size = max(part, len(text) // 8)
        client.send(masked(CONTINUATION if at else TEXT, text[at : at + size], fin=at + size >= len(text)), piece)
        if ping:
            client.send(masked(PING, b""), piece)


def _message(choice: int, number: int, payload: bytes) -> bytes:
    """A message of JSON-RPC in one dialect or another, or what is none."""
    plain = _plain_message(choice, number, payload)
    return plain if choice < 192 else reduce(lambda text, names: text.replace(*names), _DOTTED_NAMES, plain)


_DOTTED_NAMES = (
    (b'"announce"', b'"peer.announce"'),
    (b'"offer"', b'"peer.offer"'),
    (b'"answer"', b'"peer.answer"'),
    (b'"ice_candidate"', b'"peer.ice_candidate"'),
    (b'"disconnect"', b'"peer.disconnect"'),
    (b'"list_peers"', b'"peer.list"'),
    (b'"health_check"', b'"control.x"'),
    (b'"to_peer_id"', b'"to"'),
    (b'{"jsonrpc":"2.0",', b"{"),
)
"""Words of a plain message, and those of a dotted one."""


def _plain_message(choice: int, number: int, payload: bytes) -> bytes:
    name = b"abcd"[choice & 3 : (choice & 3) + 1]
    room = b',"room":"r"' if number & 0x80 and number & 0x40 else b""
    announce = b'{"jsonrpc":"2.0","method":"announce","params":{"peer_id":"%b"%b},"id":%d}' % (name, room, number)
    offer = b'{"jsonrpc":"2.0","method":"offer","params":{"to_peer_id":"%b","sdp":"%b"}%b}' % (
        name,
        b"s" * (1 + number),
        b',"id":%d' % number if number & 1 else b"",
    )
    match choice >> 2 & 15:
        case 0 | 1:
            return announce
        case 2 | 3 | 4:
            return offer
        case 5:
            return (
                b'{"jsonrpc":"2.0","method":"ice_candidate","params":{"to_peer_id":"%b","candidate":"c"},"id":null}'
                % name
            )
        case 6:
            return b'{"jsonrpc":"2.0","method":"answer","params":{"to_peer_id":"%b","sdp":"s"},"id":"%d"}' % (
                name,
                number,
            )
        case 7:
            return b'{"jsonrpc":"2.0","method":"disconnect","params":{"peer_id":"%b"},"id":%d}' % (name, number)
        case 8:
            return LIST % number
        case 9:
            return b"[%b,%b,%b]" % (announce, LIST % number, offer)
        case 10:
            return b"[" + b",".join([LIST % number] * (1 + number % 8)) + b"]"
        case 11:
            return b"[%b,%b]" % (offer, offer)
        case 12:
            return b'{"jsonrpc":"2.0","method":"%b","id":1}' % (b"health_check", b"rpc.discover")[number >= 250]
        case 13:
            return payload
        case 14:
            return b"[" * (number % 64)
        case _:
            return LIST % 1 + b" " * (MAX_BYTES - len(LIST % 1) - 1 + number % 3)


if __name__ == "__main__":
    fuzzing.fuzz(play)
