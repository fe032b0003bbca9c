"""Abuse of resuming from outside, on a real server: what is held, guessed, squatted on, taken over and repeated."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc.aio
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from served import servers
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.generated.webrtc_signaling_pb2_grpc import WebRtcSignalingStub
from sigbridge_server.server import Server
from waiting import TIME_LIMIT_SECONDS

NOBODY_KNOWS = "A" * 36
"""A token as long as those of the server."""
LIMITS: dict[str, Any] = {"open_timeout": TIME_LIMIT_SECONDS, "close_timeout": TIME_LIMIT_SECONDS, "proxy": None}

Said = dict[str, Any]
"""Outcome of a request: the result, or `{"error": data, "message": …}`."""


class Client:
    """One connection, by hand; `events` holds what it was told beside responses."""

    def __init__(self) -> None:
        self.events: list[Said] = []
        self._next_id = 0

    async def announce(self, peer_id: str, **fields: Any) -> Said:
        return await self.ask("announce", peer_id=peer_id, **fields)

    async def ask(self, method: str, request_id: str = "", **params: Any) -> Said:
        """Sends a request and returns what is said of it; its id is a new one unless it is given."""
        self._next_id += 1
        request_id = request_id or f"r{self._next_id}"
        await self._send(method, request_id, params)
        while (said := await self._hear()).get("id") != request_id:
            self.events.append(said)
        return said["said"]  # type: ignore[no-any-return]

    async def until(self, kind: str) -> list[str]:
        """Reads until an event of that kind comes; returns the kinds of all that came, in order."""
        while not any(event["kind"] == kind for event in self.events):
            self.events.append(await self._hear())
        told, self.events = [event["kind"] for event in self.events], []
        return told

    async def _send(self, method: str, request_id: str, params: Said) -> None:
        raise NotImplementedError

    async def _hear(self) -> Said:
        raise NotImplementedError

    async def lose(self) -> None:
        """Goes without a word."""
        raise NotImplementedError

    async def word(self) -> str:
        """Reads until the session ends; returns the word that says why."""
        raise NotImplementedError


class WebSocketClient(Client):
    def __init__(self, connection: ClientConnection) -> None:
        super().__init__()
        self.connection = connection

    async def _send(self, method: str, request_id: str, params: Said) -> None:
        await self.connection.send(json.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}))

    async def _hear(self) -> Said:
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            said = json.loads(await self.connection.recv())
        if "method" in said:
            return {"kind": said["method"], **said["params"]}
        error = said.get("error")
        return {
            "id": said["id"],
            "said": {"error": error["data"], "message": error["message"]} if error else said["result"],
        }

    async def lose(self) -> None:
        self.connection.transport.abort()

    async def word(self) -> str:
        try:
            while True:
                self.events.append(await self._hear())
        except ConnectionClosed:
            return (self.connection.close_reason or "").partition(" ")[0]


class GrpcClient(Client):
    def __init__(self, call: Any) -> None:
        super().__init__()
        self._call = call

    async def _send(self, method: str, request_id: str, params: Said) -> None:
        request = pb.SignalingRequest(request_id=request_id)
        field = getattr(request, method)
        field.SetInParent()
        for name, value in params.items():
            setattr(field, name, value)
        await self._call.write(request)

    async def _hear(self) -> Said:
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            said = await self._call.read()
        if said is grpc.aio.EOF:
            raise EOFError
        kind = said.WhichOneof("response")
        if kind == "notification":
            return {"kind": said.notification.WhichOneof("notification"), "seq": said.seq}
        if kind == "error":
            answer = {"error": json.loads(said.error.details), "message": said.error.message}
        elif kind == "ack":
            answer = json.loads(said.ack.data)
        else:
            states = {pb.PEER_STATE_AVAILABLE: "available", pb.PEER_STATE_AWAY: "away"}
            answer = {
                "peers": [{"peer_id": peer.peer_id, "state": states[peer.state]} for peer in said.peer_list.peers]
            }
        return {"id": said.request_id, "said": answer}

    async def lose(self) -> None:
        self._call.cancel()

    async def word(self) -> str:
        try:
            while True:
                self.events.append(await self._hear())
        except (EOFError, grpc.aio.AioRpcError):
            return str(dict(await self._call.trailing_metadata())["signaling-disconnect"])


class Served:
    """A server and its clients; all clients end with it."""

    def __init__(self, server: Server, stack: AsyncExitStack) -> None:
        self.server = server
        self._stack = stack

    async def client(self, protocol: str, token: str = "", address: str = "127.0.0.1") -> Client:
        """A client with that token, from that address (on WebSocket)."""
        if protocol != "websocket":
            channel = await self._stack.enter_async_context(
                grpc.aio.insecure_channel(f"127.0.0.1:{self.server.grpc_port}")
            )
            metadata = [("authorization", f"Bearer {token}")] if token else []
            return GrpcClient(WebRtcSignalingStub(channel).Signal(metadata=metadata))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url, options = f"ws://127.0.0.1:{self.server.websocket_port}/", LIMITS | {"local_addr": (address, 0)}
        connection = connect(url, additional_headers=headers, ping_interval=None, max_queue=None, **options)
        return WebSocketClient(await self._stack.enter_async_context(connection))

    async def held(self, protocol: str, peer_id: str, token: str = "", address: str = "127.0.0.1") -> str:
        """Announces a peer and loses it; returns its resume token."""
        client = await self.client(protocol, token, address)
        said = await client.announce(peer_id, resumable=True)
        await client.lose()
        return str(said["resume_token"])


StartServed = Callable[..., Any]


@pytest.fixture
def serve(request: pytest.FixtureRequest, tmp_path: Any) -> StartServed:
    """Starts a server on which each token is of the subject with the same name, where subjects are given."""
    engine = (
        "grpcio" if "protocol" in request.fixturenames and request.getfixturevalue("protocol") == "grpcio" else "native"
    )

    @asynccontextmanager
    async def start(subjects: tuple[str, ...] = (), **settings: Any) -> AsyncIterator[Served]:
        if subjects:
            tokens = tmp_path / "tokens.jsonl"
            tokens.write_text("".join(f"{json.dumps({'token': name, 'subject': name})}\n" for name in subjects))
            settings["tokens_file"] = str(tokens)
        # Longer than a test may take, where it is not what the test is about.
        settings = {"resume_window_seconds": 1000.0} | settings
        async with servers() as start_server:
            server = await start_server(grpc_engine=engine, **settings)
            async with AsyncExitStack() as stack:
                yield Served(server, stack)

    return start


@pytest.fixture(params=["websocket", "grpc", "grpcio"])
def protocol(request: pytest.FixtureRequest) -> str:
    """A protocol; `grpcio` is gRPC by that engine."""
    return str(request.param)


async def away(watcher: Client, count: int) -> list[str]:
    """Waits until so many peers are away; returns their ids, in the order in which they joined."""
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        while True:
            listed = (await watcher.ask("list_peers"))["peers"]
            ids = [peer["peer_id"] for peer in listed if peer["state"] == "away"]
            if len(ids) == count and len(listed) == count:
                return ids


# What is held.


async def test_who_holds_most_loses_its_own_first(protocol: str, serve: StartServed) -> None:
    async with serve(("bob", "mallory", "watcher"), max_held_peers=12) as served:
        watcher = await served.client(protocol, "watcher")
        tokens = [await served.held(protocol, f"bob-{number}", "bob") for number in range(3)]
        for number in range(40):
            await served.held(protocol, f"mallory-{number}", "mallory")
        left = await away(watcher, 12)
        assert left[:3] == ["bob-0", "bob-1", "bob-2"]
        for number, token in enumerate(tokens):
            client = await served.client(protocol, "bob")
            assert (await client.announce(f"bob-{number}", resume_token=token))["resumed"] is True


async def test_nobody_in_particular_counts_by_its_address(serve: StartServed) -> None:
    async with serve(max_held_peers=12) as served:
        watcher = await served.client("websocket")
        tokens = [await served.held("websocket", f"bob-{number}", address="127.0.0.2") for number in range(3)]
        for number in range(40):
            await served.held("websocket", f"mallory-{number}", address="127.0.0.3")
        assert (await away(watcher, 12))[:3] == ["bob-0", "bob-1", "bob-2"]
        client = await served.client("websocket")
        assert (await client.announce("bob-0", resume_token=tokens[0]))["resumed"] is True


async def test_many_identities_with_several_each_leave_the_one_of_another_alone(
    protocol: str, serve: StartServed
) -> None:
    many = tuple(f"mallory-{number}" for number in range(10))
    async with serve(("bob", "watcher", *many), max_held_peers=12) as served:
        watcher = await served.client(protocol, "watcher")
        token = await served.held(protocol, "bob", "bob")
        for number in range(4):
            for name in many:
                await served.held(protocol, f"{name}-{number}", name)
        left = await away(watcher, 12)
        assert left[0] == "bob"
        # Nobody is without one, since others had more.
        assert {peer_id.rpartition("-")[0] for peer_id in left[1:]} == set(many)
        client = await served.client(protocol, "bob")
        assert (await client.announce("bob", resume_token=token))["resumed"] is True


async def test_what_is_kept_for_the_held_is_taken_from_who_has_most(serve: StartServed) -> None:
    settings = {"max_held_bytes": 300_000, "resume_max_bytes": 200_000}
    async with serve(("bob", "mallory", "watcher"), **settings) as served:
        sender = await served.client("websocket", "watcher")
        await sender.announce("sender")
        token = await served.held("websocket", "bob", "bob")
        assert "error" not in await sender.ask("offer", to_peer_id="bob", sdp="of bob")
        await away_of(sender, "bob")
        for number in range(3):
            await served.held("grpc", f"mallory-{number}", "mallory")
            await away_of(sender, f"mallory-{number}")
        refused = 0
        for number in range(3):
            for _ in range(4):
                refused += "error" in await sender.ask("offer", to_peer_id=f"mallory-{number}", sdp="x" * 50_000)
        # Three fit for each peer, and no fourth; but not those of two peers, of which the older one leaves.
        assert refused == 3
        left = [peer["peer_id"] for peer in (await sender.ask("list_peers"))["peers"]]
        assert (left[:2], left[-1]) == (["sender", "bob"], "mallory-2")
        assert len(left) < 5
        client = await served.client("grpc", "bob")
        assert (await client.announce("bob", resume_token=token))["resumed"] is True
        assert (await client.until("offer"))[-1] == "offer"


# Tokens.


async def test_a_guess_is_an_announce_like_any_other_and_counts_against_the_rate(
    protocol: str, serve: StartServed
) -> None:
    settings = {"rate_per_second": 0.001, "rate_burst": 20}
    async with serve(("bob", "mallory"), **settings) as served:
        token = await served.held(protocol, "bob", "bob")
        mallory = await served.client(protocol, "mallory")
        guesses = [NOBODY_KNOWS, token[:12] + "A" * 24, token, token[:-1], f"{token}A", "é" * 36]
        said = [await mallory.announce("bob", resume_token=guess) for guess in guesses]
        # A wrong secret behind the right beginning, a token of somebody else, and nonsense are told apart by nobody.
        assert all(one == said[0] for one in said)
        assert said[0]["error"]["status"] == "ALREADY_EXISTS"
        for _ in range(20 - len(guesses)):
            await mallory.announce("bob", resume_token=NOBODY_KNOWS)
        over = await mallory.announce("bob", resume_token=token)
        assert over["error"]["status"] == "RESOURCE_EXHAUSTED"
        assert over["error"]["retry_after_ms"] > 0
        bob = await served.client(protocol, "bob")
        assert (await bob.announce("bob", resume_token=token))["resumed"] is True


async def test_a_token_is_for_its_own_id_and_room(protocol: str, serve: StartServed) -> None:
    async with serve() as served:
        token = await served.held(protocol, "bob")
        for fields in ({"peer_id": "bob", "room": "another"}, {"peer_id": "bob-2"}):
            client = await served.client(protocol)
            said = await client.ask("announce", resume_token=token, **fields)
            assert said["resumed"] is False
            assert said["resume_token"] != token
        bob = await served.client(protocol)
        assert (await bob.announce("bob", resume_token=token))["resumed"] is True


async def test_oversized_tokens_numbers_and_ids_are_wrong_fields_and_end_nothing(
    protocol: str, serve: StartServed
) -> None:
    async with serve() as served:
        bob = await served.client(protocol)
        for wrong in ({"resume_token": "A" * 257}, {"resume_token": "A" * 500_000}):
            said = await bob.announce("bob", **wrong)
            assert (said["error"]["status"], said["error"]["field"]) == ("INVALID_ARGUMENT", "resume_token")
        if protocol == "websocket":
            for number in (-1, 1 << 64, 1.5, "1"):
                said = await bob.announce("bob", resume_token=NOBODY_KNOWS, last_seq=number)
                assert (said["error"]["status"], said["error"]["field"]) == ("INVALID_ARGUMENT", "last_seq")
        said = await bob.announce("bob", resume_token=NOBODY_KNOWS, last_seq=(1 << 64) - 1)
        assert said["resumed"] is False
        for length, status in ((128, "NOT_FOUND"), (129, "INVALID_ARGUMENT"), (100_000, "INVALID_ARGUMENT")):
            said = await bob.ask("offer", "x" * length, to_peer_id="nobody", sdp="v=0")
            assert said["error"]["status"] == status


# Whose id it is.


async def test_nobody_squats_on_an_id_without_a_connection(protocol: str, serve: StartServed) -> None:
    async with serve() as served:
        watcher = await served.client(protocol)
        await watcher.announce("watcher")
        token = await served.held(protocol, "bob")
        await watcher.until("peer_joined")
        bob = await served.client(protocol)
        await away_of(watcher, "bob")
        assert "error" not in await bob.announce("bob")
        assert await watcher.until("peer_joined") == ["peer_left", "peer_joined"]
        squatter = await served.client(protocol)
        assert (await squatter.announce("bob", resume_token=token))["error"]["status"] == "ALREADY_EXISTS"


async def away_of(watcher: Client, peer_id: str) -> None:
    """Waits until a peer is away."""
    async with asyncio.timeout(TIME_LIMIT_SECONDS):
        while {"peer_id": peer_id, "state": "away"} not in [
            {name: peer[name] for name in ("peer_id", "state")} for peer in (await watcher.ask("list_peers"))["peers"]
        ]:
            pass


async def test_an_identity_is_defended_against_others_alone(protocol: str, serve: StartServed) -> None:
    async with serve(("bob", "mallory", "watcher")) as served:
        watcher = await served.client(protocol, "watcher")
        await watcher.announce("watcher")
        await served.held(protocol, "bob", "bob")
        await watcher.until("peer_joined")
        mallory = await served.client(protocol, "mallory")
        await away_of(watcher, "bob")
        assert (await mallory.announce("bob"))["error"]["status"] == "ALREADY_EXISTS"
        bob = await served.client(protocol, "bob")
        assert "error" not in await bob.announce("bob")
        assert await watcher.until("peer_joined") == ["peer_left", "peer_joined"]


async def test_nor_is_it_defended_for_longer_than_its_window(protocol: str, serve: StartServed) -> None:
    async with serve(("bob", "mallory", "watcher"), resume_window_seconds=0.5) as served:
        watcher = await served.client(protocol, "watcher")
        await watcher.announce("watcher")
        token = await served.held(protocol, "bob", "bob")
        assert await watcher.until("peer_left") == ["peer_joined", "peer_left"]
        mallory, bob = await served.client(protocol, "mallory"), await served.client(protocol, "bob")
        assert "error" not in await mallory.announce("bob")
        assert (await bob.announce("bob", resume_token=token))["error"]["status"] == "ALREADY_EXISTS"


async def test_two_that_take_an_id_from_each_other_are_stopped_and_both_told(protocol: str, serve: StartServed) -> None:
    async with serve(("bob", "watcher"), takeover_per_minute=4) as served:
        watcher = await served.client(protocol, "watcher")
        await watcher.announce("watcher")
        holder = await served.client(protocol, "bob")
        await holder.announce("bob", resumable=True)
        told = []
        for _ in range(4):
            # Each comes back at once, though it was told not to.
            taker = await served.client(protocol, "bob")
            assert "error" not in await taker.announce("bob", resumable=True)
            told.append(await holder.word())
            holder = taker
        assert told == ["replaced"] * 4
        fifth = await served.client(protocol, "bob")
        said = await fifth.announce("bob", resumable=True)
        assert said["error"]["status"] == "RESOURCE_EXHAUSTED"
        assert 0 < said["error"]["retry_after_ms"] <= 60_001
        assert "error" not in await holder.ask("list_peers")
        await fifth.lose()
        assert "error" not in await watcher.ask("offer", to_peer_id="bob", sdp="v=0")
        kinds = [event["kind"] for event in watcher.events]
        assert kinds == ["peer_joined", *["peer_left", "peer_joined"] * 4]


# Much at once.


async def test_a_thousand_resumes_leave_others_served(serve: StartServed) -> None:
    peers, times, offers = 50, 20, 100
    async with serve() as served:
        alice, bob = [await served.client(protocol) for protocol in ("websocket", "grpc")]
        for name, client in (("alice", alice), ("bob", bob)):
            await client.announce(name, room="others")

        async def come_and_go(number: int) -> int:
            token, resumed = NOBODY_KNOWS, 0
            for turn in range(times + 1):
                client = await served.client("grpc" if number % 10 == 0 else "websocket")
                said = await client.announce(f"peer-{number}", resume_token=token, room=f"room-{number}")
                token, resumed = said["resume_token"], resumed + said["resumed"]
                if turn % 2:
                    # Else its former session still stands, and is replaced.
                    await client.lose()
            return resumed

        async def talk() -> int:
            for _ in range(offers):
                assert "error" not in await alice.ask("offer", to_peer_id="bob", sdp="v=0")
                await bob.until("offer")
            return offers

        counts = await asyncio.gather(talk(), *(come_and_go(number) for number in range(peers)))
        assert counts == [offers, *[times] * peers]


async def test_a_request_that_comes_again_has_one_effect_however_often(protocol: str, serve: StartServed) -> None:
    async with serve(rate_per_second=0.001, rate_burst=1500) as served:
        alice, bob = await served.client(protocol), await served.client("websocket")
        await bob.announce("bob")
        await alice.announce("alice", resumable=True)
        first = await alice.ask("offer", "7", to_peer_id="bob", sdp="v=0")
        assert "error" not in first
        for _ in range(300):
            assert await alice.ask("offer", "7", to_peer_id="bob", sdp="v=0") == first
        other = await alice.ask("offer", "7", to_peer_id="bob", sdp="another")
        assert (other["error"]["status"], other["error"]["field"]) == ("INVALID_ARGUMENT", "id")
        # Those that are remembered are bounded: 1,024 and at most 8 more. So the first one is forgotten.
        for number in range(1024 + 8):
            await alice.ask("ice_candidate", f"c{number}", to_peer_id="bob", candidate="candidate:1")
        again = await alice.ask("offer", "7", to_peer_id="bob", sdp="v=0")
        assert again["offer_id"] != first["offer_id"]
        await bob.ask("list_peers")
        kinds = [event["kind"] for event in bob.events]
        assert (kinds.count("offer"), kinds.count("ice_candidate")) == (2, 1024 + 8)


async def test_a_batch_of_one_request_again_and_again_has_one_effect(serve: StartServed) -> None:
    async with serve() as served:
        alice, bob = await served.client("websocket"), await served.client("grpc")
        await bob.announce("bob")
        await alice.announce("alice", resumable=True)
        assert isinstance(alice, WebSocketClient)
        offer = {"jsonrpc": "2.0", "id": 7, "method": "offer", "params": {"to_peer_id": "bob", "sdp": "v=0"}}
        await alice.connection.send(json.dumps([offer] * 1000))
        responses: Any = []
        while not isinstance(responses, list) or not responses:
            responses = json.loads(await alice.connection.recv())
        assert len(responses) == 1000
        assert all(response == responses[0] for response in responses)
        await bob.ask("list_peers")
        assert [event["kind"] for event in bob.events].count("offer") == 1
