"""The benchmark's load: it speaks like clients, and looks at what arrives."""

import asyncio
import contextlib
import os
import shutil
import signal
import socketserver
import struct
import threading

import pytest

from http2_bytes import HEADERS, PREFACE
from sigbridge_bench.header_blocks import CLIENTS, header_block
from sigbridge_bench.load import Endpoint, Load, LoadError
from sigbridge_bench.measurements import Crowd, Pairs
from sigbridge_bench.payloads import OFFER, Encoded, hello, relay
from sigbridge_bench.servers import AttachedServer, StartedServer, startable

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="the load needs a C compiler: gcc and libc6-dev"
)

TIME_LIMIT_SECONDS = 100


class FakeRelay(socketserver.BaseRequestHandler):
    """A relay of the kind tcp that does wrong what its class says."""

    peers: dict[str, "FakeRelay"]

    def handle(self):
        stream = self.request.makefile("rb")
        while size := stream.read(4):
            kind, _, rest = (payload := stream.read(struct.unpack(">I", size)[0]))[:1], b"", payload[1:]
            name, _, body = rest.partition(b"\n")
            if kind == b"H":
                self.peers[name.decode()] = self
                self.say(b"A")
            else:
                self.relay(self.peers[name.decode()], body)

    def say(self, payload):
        self.request.sendall(struct.pack(">I", len(payload)) + payload)

    def relay(self, target, body):
        target.say(b"E" + body)
        self.say(b"A")


class Truncates(FakeRelay):
    def relay(self, target, body):
        super().relay(target, body[:-2])


class TellsTwice(FakeRelay):
    def relay(self, target, body):
        target.say(b"E" + body)
        super().relay(target, body)


class TellsTheSender(FakeRelay):
    def relay(self, target, body):
        super().relay(self, body)


class SaysNothing(FakeRelay):
    def relay(self, target, body):
        self.say(b"")


class Leaves(FakeRelay):
    def relay(self, target, body):
        self.request.shutdown(2)


@pytest.fixture
def fake():
    """Serve by such a class; a server as the measurements see it."""
    with contextlib.ExitStack() as stack:

        def start(kind):
            class Server(socketserver.ThreadingTCPServer):
                daemon_threads = True
                block_on_close = False

                def handle_error(self, request, client_address):
                    """A load that has found a fault is gone, and the handler's connection with it."""

            kind.peers = {}
            server = stack.enter_context(Server(("127.0.0.1", 0), kind))
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            stack.callback(server.shutdown)
            return AttachedServer("fake", {"tcp": Endpoint("tcp", *server.server_address)}, None)

        yield start


def relayed(server, message="offer"):
    with Load() as load:
        pairs = Pairs(load, server, "tcp-tcp", 1)
        pairs.connect()
        return pairs.run(message, 1, 5)


def test_a_relay_that_does_right_is_believed(fake):
    answer = relayed(fake(FakeRelay))
    assert answer.messages == 5
    assert answer.bytes_from_server == 5 * (5 + len(OFFER) + 5)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Truncates, f"got a relayed message of {len(OFFER) - 1} bytes only"),
        (TellsTwice, "got a message that nobody sent"),
        (TellsTheSender, "got a message that nobody sent"),
        (SaysNothing, "got something that is neither reply nor event"),
        (Leaves, "was lost: the server closed it"),
    ],
)
def test_a_relay_that_does_wrong_is_caught(kind, said, fake):
    with pytest.raises(LoadError, match=said):
        relayed(fake(kind))


@pytest.fixture(scope="module")
def ours():
    (subject,), _ = startable(["sigbridge"])
    with StartedServer(subject, None) as server:
        yield server


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
def test_an_error_is_no_acknowledgement(protocol, ours):
    endpoint = ours.endpoints[protocol]
    with Load() as load:
        ends = tuple(load.open(endpoint, hello(endpoint.kind, f"{name}-{protocol}", "errors")) for name in ("a", "b"))
        load.setup(ends[0], 2)
        lane = load.lane(ends, (endpoint.kind,) * 2, [(0, relay(endpoint.kind, "offer", "nobody"))])
        with pytest.raises(LoadError, match="the server refused what connection 0 asked for, with code 5;"):
            load.run(lane, 1, 1, 1)


@pytest.mark.parametrize(
    ("protocol", "said"),
    [("grpc", "the server ended the call"), ("websocket", "the WebSocket was refused: HTTP/1.1 401")],
)
def test_the_load_says_who_is_not_let_in(protocol, said, ours):
    endpoint = ours.endpoints[protocol]._replace(tokens=("crow",))
    with Load() as load:
        load.open(endpoint, hello(endpoint.kind, "crow", ""))
        with pytest.raises(LoadError, match=said):
            load.setup(0, 1)


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
def test_resumable_sessions_come_back_as_who_they_were(protocol, ours):
    endpoint = ours.endpoints[protocol]._replace(resumable=True)
    with Load() as load:
        pairs = Pairs(load, AttachedServer("ours", {protocol: endpoint}, None), f"{protocol}-{protocol}", 2)
        pairs.connect()
        load.close(0, 4)
        pairs.connect()
        # Were ids the same twice, the second message would not be relayed.
        assert pairs.run("candidate", 8, 64).messages == 64


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
def test_who_does_not_come_back_as_who_it_was_is_caught(protocol, ours):
    endpoint = ours.endpoints[protocol]
    with Load() as load:
        said = hello(endpoint.kind, f"other-{protocol}", "others", resumable=True)
        load.open(endpoint, said)
        load.open(endpoint, hello(endpoint.kind, f"other-{protocol}", "others"))
        load.setup(0, 1)
        load.close(0, 1)
        load.setup(1, 1)
        load.close(1, 1)
        load.quiet()
        with pytest.raises(LoadError, match="connection 0 came back as somebody new"):
            load.setup(0, 1)


@pytest.mark.parametrize("client", CLIENTS)
def test_every_clients_headers_and_every_token_are_let_in(client, ours):
    endpoint = ours.endpoints["grpc"]._replace(client=client)
    assert len(set(endpoint.tokens)) == len(endpoint.tokens) > 100
    with Load() as load:
        for number in range(len(endpoint.tokens)):
            load.open(endpoint, hello("grpc", f"{client}-{number}", f"{client}-{number}"))
        load.setup(0, len(endpoint.tokens))


def test_a_server_that_ends_is_told_from_one_that_refuses():
    (subject,), _ = startable(["sigbridge"])
    with StartedServer(subject, None) as server, Load() as load:
        pairs = Pairs(load, server, "grpc-websocket", 2)
        pairs.connect()
        assert server.ended() == ""
        os.kill(server.pid, signal.SIGKILL)
        assert server.ended().startswith("it ended with exit code -9")
        with pytest.raises(LoadError, match=r"connection . was lost"):
            pairs.run("offer", 1, 10)


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
def test_everybody_hears_of_each_that_joins(protocol, ours):
    with Load() as load:
        crowd = Crowd(load, ours, protocol, 10)
        for number in range(3):
            joined = crowd.join({"run": "", "server": "sigbridge", "round": number})
            assert joined.sessions == 10
            assert joined.seconds > 0


@pytest.fixture
def heard(fake):
    """An endpoint of a gRPC server that hears a connection's first words and leaves; and the header blocks it heard."""
    blocks = []

    class Listens(socketserver.BaseRequestHandler):
        def handle(self):
            stream = self.request.makefile("rb")
            assert stream.read(len(PREFACE)) == PREFACE
            while True:
                size, kind = int.from_bytes(stream.read(3), "big"), stream.read(6)[0]
                payload = stream.read(size)
                if kind == HEADERS:
                    blocks.append(payload)
                    return

    return fake(Listens).endpoints["tcp"]._replace(kind="grpc"), blocks


@pytest.mark.parametrize("client", [None, *CLIENTS])
def test_calls_begin_with_the_headers_of_a_client_and_show_tokens_in_turn(client, heard):
    endpoint, blocks = heard
    endpoint = endpoint._replace(tokens=("a", "b"), **({"client": client} if client else {}))
    for number in range(3):
        with Load() as load:
            for _ in range(3):
                load.open(endpoint, b"hello")
            with pytest.raises(LoadError, match="the server closed it"):
                load.setup(number, 1)
    expected = [header_block(client or "grpcio", f"127.0.0.1:{endpoint.port}", token) for token in ("a", "b", "a")]
    assert blocks == expected


def test_what_a_server_says_cannot_break_the_loads_answer(fake):
    class SpeaksNonsense(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(4096)
            self.request.sendall(b'\xff"\\\n{}\x00abcdef\r\n\r\n')

    endpoint = fake(SpeaksNonsense).endpoints["tcp"]._replace(kind="ws")
    with Load() as load:
        load.open(endpoint, b"{}")
        with pytest.raises(LoadError, match="the WebSocket was refused: "):
            load.setup(0, 1)


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
async def test_a_call_waits_for_its_ids_until_those_before_it_are_gone(protocol, serve):
    server = await serve(rate_per_second=0)
    port = {"grpc": server.grpc_port, "websocket": server.websocket_port}[protocol]
    endpoint = Endpoint({"grpc": "grpc", "websocket": "ws"}[protocol], "127.0.0.1", port)
    with Load() as before, Load() as load:
        before.open(endpoint, hello(endpoint.kind, "a", "r"), "a")
        await asyncio.to_thread(before.setup, 0, 1)
        ends = tuple(load.open(endpoint, hello(endpoint.kind, name, "r"), name) for name in ("a", "b"))
        lane = load.lane(ends, (endpoint.kind,) * 2, [(0, relay(endpoint.kind, "offer", "b"))])
        calling = asyncio.create_task(asyncio.to_thread(load.calls, lane, 1, 3, [1]))
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            while not server.hub.counters.requests[protocol, "announce", "ALREADY_EXISTS"]:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(before.close, 0, 1)
            assert (await calling).p50 > 0


def test_a_message_is_at_least_as_long_as_what_it_relays():
    for kind in ("grpc", "ws", "tcp", "peerjs"):
        made = relay(kind, "offer", "bob")
        assert isinstance(made, Encoded)
        assert made.least == len(OFFER) < len(made.data)
