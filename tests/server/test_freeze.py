"""A server that is stopped for longer than every time limit, and goes on: nobody is judged before what came is read."""

import contextlib
import signal
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Self

import msgspec
import pytest

from http2_bytes import (
    ACK,
    DATA,
    END_HEADERS,
    HEADERS,
    MAX_WINDOW,
    PING,
    PREFACE,
    WINDOW_UPDATE,
    block,
    frame,
    frames_of,
    number,
    window_of,
)
from processes import NOT_MEASURED
from server_process import ServerProcess
from sigbridge_grpc.framing import framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.service import SERVICE_NAME
from sigbridge_websocket.frames import PONG, TEXT
from time_limits import allow
from waiting import TIME_LIMIT_SECONDS, wait_until
from websocket_lines import HANDSHAKE, masked

CLIENTS = 40
"""Clients of each protocol in each plight."""
NOTIFICATIONS = 20_000
"""Requests without an answer that keep a server at work for some seconds; what has come of them waits in its socket."""
LIMIT_SECONDS = 20
"""Enough for a busy machine to bring all clients into their plights."""
FREEZE_SECONDS = LIMIT_SECONDS + 1
BIG_SDP = "x" * 60_000
LIMITS = (
    {
        "GRPC_JSON_LOGGING": "true",
        "SIGNALING_LOG_LEVEL": "debug",  # lines are not gathered
        "SIGNALING_PING_INTERVAL_SEC": "1",
        "SIGNALING_RATE_PER_SEC": "0",
    }
    | NOT_MEASURED
    | dict.fromkeys(
        (
            "SIGNALING_PING_TIMEOUT_SEC",
            "SIGNALING_ANNOUNCE_TIMEOUT_SEC",
            "SIGNALING_HANDSHAKE_TIMEOUT_SEC",
            "SIGNALING_SEND_DEADLINE_SEC",
            "SIGNALING_MESSAGE_TIMEOUT_SEC",
        ),
        str(LIMIT_SECONDS),
    )
)


class Client(ABC):
    """A client on a socket, which reads when it is told to."""

    greeting: ClassVar[bytes]
    """All that it says before it knows of the server."""

    def __init__(self, port: int) -> None:
        self.sock = socket.socket()
        self.sock.settimeout(TIME_LIMIT_SECONDS)
        # Little room, so that a client that does not read is noticed.
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.sock.connect(("127.0.0.1", port))
        self.heard = b""

    def say(self, data: bytes) -> Self:
        self.sock.sendall(data)
        return self

    def hear(self, condition: Callable[[], object]) -> Self:
        """Reads until a condition holds."""
        while not condition():
            data = self.sock.recv(1 << 20)
            assert data, f"the server has ended the connection behind {self.heard[-100:]!r}"
            self.heard += data
        return self

    def drain(self) -> Self:
        """Reads what there is, without waiting."""
        self.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while data := self.sock.recv(1 << 20):
                self.heard += data
        self.sock.settimeout(TIME_LIMIT_SECONDS)
        return self

    @abstractmethod
    def open(self) -> Self:
        """Reads until its session has begun."""

    @abstractmethod
    def request(self, request_id: str, method: str, **params: str) -> bytes:
        """The bytes of a request."""

    @abstractmethod
    def answers(self) -> bytes:
        """The bytes that were said to it."""

    @abstractmethod
    def pinged(self) -> Self:
        """Reads until it was pinged."""

    @abstractmethod
    def pong(self) -> bytes:
        """The answer to a ping."""

    def answered(self, request_id: str) -> Self:
        """Reads until a request is answered."""
        return self.hear(lambda: request_id.encode() in self.answers())

    def announce(self, peer_id: str, **room: str) -> Self:
        return self.say(self.request("announced", "announce", peer_id=peer_id, **room))

    def live(self) -> Self:
        """Asks for what is answered as long as it is not ended."""
        return self.say(self.request("alive", "list_peers"))


class WebSocketClient(Client):
    greeting = HANDSHAKE

    def open(self) -> Self:
        return self.hear(lambda: b"\r\n\r\n" in self.heard)

    def request(self, request_id: str, method: str, **params: str) -> bytes:
        request = {"jsonrpc": "2.0", "method": method, "params": params, "id": request_id}
        return masked(TEXT, msgspec.json.encode(request))

    def answers(self) -> bytes:
        return self.heard

    def pinged(self) -> Self:
        return self.hear(lambda: b"\x89\x00" in self.heard)

    def pong(self) -> bytes:
        return masked(PONG, b"")


class GrpcClient(Client):
    greeting = (
        PREFACE
        # Windows as wide as may be: nobody opens them.
        + window_of(MAX_WINDOW)
        + frame(WINDOW_UPDATE, 0, 0, number(MAX_WINDOW - 65535))
        + frame(
            HEADERS,
            END_HEADERS,
            1,
            block(
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":path", f"/{SERVICE_NAME}/Signal".encode()),
                (b":authority", b"a"),
                (b"te", b"trailers"),
                (b"content-type", b"application/grpc"),
            ),
        )
    )

    def _frames(self, kind: int, flag: int = 0) -> list[bytes]:
        """The payloads of the frames of a kind that came whole, of those with a flag where one is given."""
        whole, data = 0, self.heard
        while len(data) >= whole + 9 and len(data) >= whole + 9 + int.from_bytes(data[whole : whole + 3], "big"):
            whole += 9 + int.from_bytes(data[whole : whole + 3], "big")
        return [one[3] for one in frames_of(data[:whole]) if one[0] == kind and one[1] & flag == flag]

    def open(self) -> Self:
        return self.hear(lambda: self._frames(HEADERS))

    def request(self, request_id: str, method: str, **params: str) -> bytes:
        kinds: dict[str, Any] = {
            "announce": pb.AnnounceRequest,
            "offer": pb.OfferRequest,
            "list_peers": pb.ListPeersRequest,
        }
        request = pb.SignalingRequest(request_id=request_id, **{method: kinds[method](**params)})
        message = framed(request.SerializeToString())
        pieces = [message[at : at + 16384] for at in range(0, len(message), 16384)]
        return b"".join(frame(DATA, 0, 1, piece) for piece in pieces)

    def answers(self) -> bytes:
        return b"".join(self._frames(DATA))

    def pinged(self) -> Self:
        return self.hear(lambda: self._frames(PING))

    def pong(self) -> bytes:
        return b"".join(frame(PING, ACK, 0, payload) for payload in self._frames(PING))


class Crowd:
    """The clients of one server, some of each protocol."""

    def __init__(self, server: ServerProcess) -> None:
        self.kinds: list[tuple[type[Client], int]] = [(WebSocketClient, server.ws), (GrpcClient, server.grpc)]
        self.clients: list[Client] = []

    def connect(self, count: int, *, whole: bool = True) -> list[Client]:
        """So many clients of each protocol that have said their greeting, or the beginning of one."""
        came: list[Client] = []
        for kind, port in self.kinds:
            for _ in range(count):
                client = kind(port)
                self.clients.append(client)
                came.append(client.say(client.greeting if whole else client.greeting[:10]))
        return came

    def announced(self, count: int, name: str) -> list[Client]:
        """So many of each that are there, as `NAME-0` and so on."""
        came = self.connect(count)
        for at, client in enumerate(came):
            client.open().announce(f"{name}-{at}").answered("announced")
        return came

    def fill_outboxes(self) -> list[Client]:
        """Fills the outbox of one of each, which does not read; returns these, and those who sent that."""
        stalled, senders = self.announced(1, "stalled"), self.announced(1, "sender")
        for at, sender in enumerate(senders):
            count = 0
            while b"Peer unavailable" not in sender.answers():
                # One after the other: what is unanswered stays within the windows of HTTP/2.
                count += 1
                offer = sender.request(f"offered-{count}", "offer", to_peer_id=f"stalled-{at}", sdp=BIG_SDP)
                sender.say(offer).answered(f"offered-{count}")
        return stalled + senders


@pytest.fixture
def serve() -> Iterator[Callable[..., ServerProcess]]:
    """Starts a server whose limits are short, but for those that are given."""
    processes: list[ServerProcess] = []

    def start(**settings: str) -> ServerProcess:
        process = ServerProcess(**LIMITS | settings)
        processes.append(process)
        return process.ready()

    yield start
    for process in processes:
        process.signal(signal.SIGCONT)
        process.stop()


@pytest.fixture
def gather() -> Iterator[Callable[[ServerProcess], Crowd]]:
    crowds: list[Crowd] = []

    def begin(server: ServerProcess) -> Crowd:
        crowds.append(Crowd(server))
        return crowds[-1]

    yield begin
    for crowd in crowds:
        for client in crowd.clients:
            client.sock.close()


@contextlib.contextmanager
def stopped(server: ServerProcess, busy: Client) -> Iterator[None]:
    """Stops a server that is at work for longer than its limits; what the block does, its clients do meanwhile.

    One that is stopped while it waits for its sockets reads these first by itself.
    """
    busy.say(masked(TEXT, b'{"jsonrpc":"2.0","method":"list_peers"}') * NOTIFICATIONS)
    server.signal(signal.SIGSTOP)
    goes_on_at = time.monotonic() + FREEZE_SECONDS
    yield
    time.sleep(max(0.0, goes_on_at - time.monotonic()))
    server.signal(signal.SIGCONT)


def ended(server: ServerProcess) -> int:
    """The number of sessions that have ended; reading each line of the log again and again would take long."""
    return len(server.said('"session ended"'))


def ends(server: ServerProcess) -> list[tuple[str, str]]:
    """The reason and the peer of every session that has ended."""
    return [(line["reason"], line["peer"] or "") for line in server.log() if line["event"] == "session ended"]


def test_nobody_is_ended_whose_words_lay_unread_while_the_server_was_stopped(
    serve: Callable[..., ServerProcess], gather: Callable[[ServerProcess], Crowd]
) -> None:
    allow(240)
    server = serve()
    crowd = gather(server)
    pinged, mute = crowd.announced(CLIENTS, "pinged"), crowd.announced(2, "mute")
    for client in pinged + mute:
        client.pinged()
    busy = crowd.announced(1, "busy")[0]
    writing = crowd.announced(1, "writing")
    opened, greeting = crowd.connect(CLIENTS), crowd.connect(CLIENTS, whole=False)
    for client in opened:
        client.open()
    listing = {client: client.request("listed", "list_peers") for client in writing}
    for client, request in listing.items():
        client.say(request[:-4])
    filled = crowd.fill_outboxes()
    with stopped(server, busy):
        for client in pinged + opened:
            client.say(client.pong())
        for client in pinged:
            client.live()
        for client, request in listing.items():
            client.say(request[-4:])
        for client in filled:
            client.drain().say(client.pong()).live()
        for client in greeting:
            client.say(client.greeting[10:])
        newcomers = opened + greeting + crowd.connect(CLIENTS)
        for at, client in enumerate(newcomers):
            # In rooms of their own: that each is told of all others would be most of the server's work.
            client.announce(f"newcomer-{at}", room=f"room-{at}")
    # All is said: what a busy machine takes to look at the answers is nobody's fault.
    for client in filled + pinged:
        client.answered("alive")
    for client in writing:
        client.answered("listed")
    for client in newcomers:
        client.answered("announced")
    # Who is silent is ended all the same: some were before the stop, from here on everybody is.
    wait_until(lambda: ended(server) == len(crowd.clients), "everybody's end")
    assert [end for end in ends(server) if end[0] != "keepalive_timeout"] == []


def test_with_grpcio_what_the_library_has_not_judged_is_read_first(
    serve: Callable[..., ServerProcess], gather: Callable[[ServerProcess], Crowd]
) -> None:
    """Its own time limits, of pings and of its handshake, the library judges by itself: they are long here."""
    allow(240)
    server = serve(
        GRPC_ENGINE="grpcio",
        SIGNALING_PING_INTERVAL_SEC="1000",
        SIGNALING_PING_TIMEOUT_SEC="1000",
        SIGNALING_HANDSHAKE_TIMEOUT_SEC="1000",
    )
    crowd = gather(server)
    busy = crowd.announced(1, "busy")[0]
    opened, mute = crowd.connect(CLIENTS), crowd.connect(2)
    greeting = crowd.connect(CLIENTS, whole=False)
    for client in opened + mute:
        client.open()
    filled = crowd.fill_outboxes()
    with stopped(server, busy):
        for client in filled:
            client.drain().live()
        for client in greeting:
            client.say(client.greeting[10:])
        newcomers = opened + greeting + crowd.connect(CLIENTS)
        for at, client in enumerate(newcomers):
            # In rooms of their own: that each is told of all others would be most of the server's work.
            client.announce(f"newcomer-{at}", room=f"room-{at}")
    for client in filled:
        client.answered("alive")
    for client in newcomers:
        client.answered("announced")
    wait_until(lambda: ended(server) == len(mute), "the end of those that never announce themselves")
    assert {reason for reason, _ in ends(server)} == {"announce_timeout"}
