"""The client against a real server, and against one that is not there, ends it, or speaks nonsense."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

from http2_bytes import DATA, END_HEADERS, HEADERS, PREFACE, block, frame, reset, settings
from lossy_proxy import LossyProxy
from sigbridge import (
    Announced,
    AnswerReceived,
    Capabilities,
    Code,
    ConnectionClosed,
    IceCandidateReceived,
    OfferReceived,
    PeerDisconnected,
    PeerJoined,
    PeerLeft,
    SignalingError,
)
from sigbridge_grpc import client as client_module
from sigbridge_grpc.client import GrpcSignalingClient, get_peers
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.service import SERVICE_NAME
from sigbridge_net.clock import read_clock
from stream_server import serving
from waiting import TIME_LIMIT_SECONDS, until

Serve = Callable[..., Awaitable[Any]]

RESPONSE_HEADERS = block((b":status", b"200"), (b"content-type", b"application/grpc"))
INTERNAL_ERROR = 2


async def test_everything_that_peers_say_to_each_other(serve: Serve) -> None:
    served = await serve()
    capabilities = Capabilities(audio=True, extensions={"screen_share": True})
    async with (
        await GrpcSignalingClient.connect(served.target) as a,
        await GrpcSignalingClient.connect(served.target) as b,
    ):
        assert await a.announce("a", capabilities=capabilities, metadata={"name": "A"}) == Announced("a", 0, ())
        assert await b.announce("b") == Announced("b", 1, ("a",))
        offered = await b.offer("a", "offer")
        assert (await a.answer("b", "maybe", type="pranswer")).to_peer_id == "b"
        assert (await a.answer("b", "answer")).to_peer_id == "b"
        await a.ice_candidate("b", "", sdp_mid="", sdp_mline_index=0)
        assert (await b.disconnect("a")).peer_id == "a"
        page = await a.list_peers(page_size=1)
        assert ([peer.peer_id for peer in page.peers], page.count) == (["a"], 2)
        assert page.peers[0].capabilities == capabilities
        rest = await a.list_peers(page_token=page.next_page_token)
        assert [peer.peer_id for peer in rest.peers] == ["b"]
        assert (await a.health()).connected_peers == 2
        await b.disconnect("b")
        seen_by_a = [event async for event in _some(a, 4)]
        assert seen_by_a == [
            PeerJoined("b", Capabilities(), {}),
            OfferReceived("b", offered.offer_id, "offer", "offer"),
            PeerDisconnected("b", offered.offer_id),
            PeerLeft("b"),
        ]
        assert [event async for event in _some(b, 4)] == [
            PeerJoined("a", capabilities, {"name": "A"}),
            AnswerReceived("a", "maybe", "pranswer"),
            AnswerReceived("a", "answer", "answer"),
            IceCandidateReceived("a", "", "", 0, None),
        ]
    assert a.closed is not None
    assert a.closed.reason == "client_left"
    assert served.hub.counters.disconnects["grpc", "client_left"] == 2


async def _some(client: GrpcSignalingClient, count: int) -> Any:
    events = client.events()
    for _ in range(count):
        yield await anext(events)
    await events.aclose()  # type: ignore[attr-defined]


async def test_a_refusal_is_the_hubs_own(serve: Serve) -> None:
    served = await serve()
    async with await GrpcSignalingClient.connect(served.target) as client:
        with pytest.raises(SignalingError) as refused:
            await client.offer("b", "s")
        assert refused.value.code is Code.FAILED_PRECONDITION
        await client.announce("a")
        with pytest.raises(SignalingError) as refused:
            await client.offer("b", "s")
        assert refused.value == SignalingError(Code.NOT_FOUND, "Peer not found: b", peer_id="b")


async def test_requests_may_overlap_and_callers_may_give_up(serve: Serve) -> None:
    served = await serve()
    async with await GrpcSignalingClient.connect(served.target) as client:
        given_up = [asyncio.create_task(client.list_peers()) for _ in range(20)]
        await asyncio.sleep(0)
        for task in given_up:
            task.cancel()
        await asyncio.gather(*given_up, return_exceptions=True)
        pages = await asyncio.gather(*(client.list_peers() for _ in range(100)))
        assert {page.count for page in pages} == {0}


async def test_the_servers_word_reaches_every_caller(serve: Serve) -> None:
    served = await serve()
    client = await GrpcSignalingClient.connect(served.target)
    await client.announce("a")
    served.hub.drain(read_clock())
    assert [event async for event in client.events()] == []
    assert client.closed is not None
    assert (client.closed.reason, client.closed.reconnect) == ("draining", True)
    for call in (client.list_peers, client.health):
        with pytest.raises(ConnectionClosed, match="draining"):
            await call()
    await client.close()
    await client.close()
    with pytest.raises(ConnectionClosed, match="draining"):
        await GrpcSignalingClient.connect(served.target)


async def test_nobody_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    # Longer than the test may take: it is told at once, and does not wait for it to pass.
    monkeypatch.setattr(client_module, "CONNECT_TIMEOUT_SECONDS", 1000.0)
    with pytest.raises(ConnectionClosed, match=r"cannot connect to 127\.0\.0\.1:1: .*refused") as lost:
        await GrpcSignalingClient.connect("127.0.0.1:1")
    assert lost.value.reconnect is True
    with pytest.raises(ConnectionClosed, match="connection_lost"):
        await get_peers("127.0.0.1:1")


async def test_somebody_is_there_and_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "CONNECT_TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ConnectionClosed, match="cannot connect to"):
        await GrpcSignalingClient.connect(f"127.0.0.1:{silent.getsockname()[1]}")


async def test_a_full_server(serve: Serve) -> None:
    served = await serve(max_sessions=1)
    async with await GrpcSignalingClient.connect(served.target):
        for _ in range(20):
            with pytest.raises(ConnectionClosed) as refused:
                await GrpcSignalingClient.connect(served.target)
            assert (refused.value.reason, refused.value.reconnect) == ("sessions", True)


async def test_peers_without_a_session(serve: Serve) -> None:
    served = await serve()
    async with await GrpcSignalingClient.connect(served.target) as client:
        await client.announce("a", room="r")
        assert [peer.peer_id for peer in (await get_peers(served.target, room="r")).peers] == ["a"]
        assert (await get_peers(served.target)).count == 0
        with pytest.raises(SignalingError) as refused:
            await get_peers(served.target, page_token="?")
        assert refused.value.code is Code.INVALID_ARGUMENT


async def test_a_server_that_vanishes(serve: Serve) -> None:
    served = await serve()
    client = await GrpcSignalingClient.connect(served.target)
    await served.server.stop(0)
    await until(lambda: client.closed is not None)
    assert client.closed is not None
    assert client.closed.reason == "connection_lost"
    with pytest.raises(ConnectionClosed):
        await client.list_peers()
    await client.close()


async def test_a_proxy_that_resets_what_its_server_did_not_end() -> None:
    async def reset_calls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(PREFACE))
        writer.write(settings())
        while True:
            head = await reader.readexactly(9)
            await reader.readexactly(int.from_bytes(head[:3], "big"))
            kind, stream_id = head[3], int.from_bytes(head[5:9], "big")
            if kind == HEADERS:
                writer.write(frame(HEADERS, END_HEADERS, stream_id, RESPONSE_HEADERS))
            elif kind == DATA:
                writer.write(reset(stream_id, INTERNAL_ERROR))

    async with serving(reset_calls) as port:
        target = f"127.0.0.1:{port}"
        client = await GrpcSignalingClient.connect(target)
        for call in (client.announce("a"), get_peers(target)):
            with pytest.raises(ConnectionClosed) as lost:
                await call
            assert (lost.value.reason, lost.value.reconnect) == ("connection_lost", True)
        await client.close()


async def test_closing_in_the_midst_of_a_request(serve: Serve) -> None:
    served = await serve()
    client = await GrpcSignalingClient.connect(served.target)
    request = asyncio.create_task(client.list_peers())
    await asyncio.sleep(0)
    await client.close()
    assert (await request).count == 0


@pytest.mark.parametrize("nonsense", [b"\xff", pb.SignalingResponse(request_id="1").SerializeToString()])
async def test_a_server_that_speaks_nonsense(nonsense: bytes) -> None:
    async def signal(_: object, context: Any) -> None:
        await context.send_initial_metadata(())
        await context.read()
        await context.write(nonsense)
        await context.read()

    server = grpc.aio.server()
    methods: Any = {"Signal": grpc.stream_stream_rpc_method_handler(signal)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        client = await GrpcSignalingClient.connect(f"127.0.0.1:{port}")
        with pytest.raises(ConnectionClosed, match="protocol_error"):
            await client.announce("a")
        await client.close()
    finally:
        await server.stop(0)


async def test_a_server_that_never_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "CLOSE_TIMEOUT_SECONDS", 0.1)

    async def signal(_: object, context: Any) -> None:
        await context.send_initial_metadata(())
        await asyncio.Event().wait()

    server = grpc.aio.server()
    methods: Any = {"Signal": grpc.stream_stream_rpc_method_handler(signal)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        client = await GrpcSignalingClient.connect(f"127.0.0.1:{port}")
        await client.close()
        assert client.closed is not None
        assert client.closed.reason == "client_left"
    finally:
        await server.stop(0)


# What a client leaves behind: a channel lives, and holds or seeks its connection, as long as there is a call of it.


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Lets objects in circles live, as those do for long that a program holds on to."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def calls_of_the_library() -> int:
    return sum(type(one).__name__ == "_AioCall" for one in gc.get_objects())


@contextlib.asynccontextmanager
async def shut_door() -> AsyncIterator[str]:
    """A target at which whoever connects is reset."""
    async with LossyProxy({"grpc": 1}) as proxy:
        proxy.open.clear()
        yield f"127.0.0.1:{proxy.ports['grpc']}"


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("own_connection", [False, True])
async def test_who_could_not_connect_does_not_go_on_trying(own_connection: bool) -> None:
    async with shut_door() as target:
        with pytest.raises(ConnectionClosed) as closed:
            await GrpcSignalingClient.connect(target, own_connection=own_connection)
        await until(lambda: not calls_of_the_library())
        assert closed.value.reconnect is True
        with pytest.raises(ConnectionClosed):
            await get_peers(target)
        await until(lambda: not calls_of_the_library())


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("gives_up", [False, True])
async def test_who_is_not_answered_does_not_go_on_trying(
    gives_up: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client_module, "CONNECT_TIMEOUT_SECONDS", 1000.0 if gives_up else 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connecting = asyncio.create_task(GrpcSignalingClient.connect(f"127.0.0.1:{silent.getsockname()[1]}"))
        if gives_up:
            await until(calls_of_the_library)
            connecting.cancel()
        with pytest.raises((ConnectionClosed, asyncio.CancelledError)):
            await connecting
        await until(lambda: not calls_of_the_library())
    gc.collect()
    # No task of the library's has failed.
    assert caplog.messages == []


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("own_connection", [False, True])
async def test_a_client_that_is_closed_keeps_no_connection(serve: Serve, own_connection: bool) -> None:
    served = await serve()
    async with LossyProxy({"grpc": int(served.target.rpartition(":")[2])}) as proxy:
        target = f"127.0.0.1:{proxy.ports['grpc']}"
        client = await GrpcSignalingClient.connect(target, own_connection=own_connection)
        await client.health()
        await client.close()
        assert proxy.link is not None
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            await proxy.link.over.wait()
        await client.close()
    assert client.closed is not None


@pytest.mark.parametrize("name", ["_initializer", "_call_response"])
async def test_a_call_is_forgotten_at_the_end_of_the_librarys_task(name):
    class Call:
        """A call of the library, as far as its letting go is concerned."""

    async def ask() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            states.append(call._cython_call)

    states: list[str] = []
    call: Any = Call()
    call._cython_call = "state"
    task = asyncio.create_task(ask())
    setattr(call, name, task)
    await asyncio.sleep(0)
    client_module._let_go(call)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(lambda: not hasattr(call, "_cython_call"))
    assert states == ["state"]
    # Once it is over, nothing is waited for.
    call._cython_call = "state"
    client_module._let_go(call)
    assert not hasattr(call, "_cython_call")
