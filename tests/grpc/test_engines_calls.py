"""Both engines of gRPC, by real clients over real sockets: sessions and unary calls are the same on either."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from channels import ended_grpc
from rights import FORBIDDEN, OnlyLobby
from served import ANY_PORT
from sigbridge import Settings
from sigbridge_grpc.encoding import FramedProtobufEncoding, ProtobufEncoding
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.generated import webrtc_signaling_pb2_grpc as pb_grpc
from sigbridge_grpc.service import SERVICE_NAME
from sigbridge_server.server import Server
from waiting import TIME_LIMIT_SECONDS, until

Start = Callable[..., Awaitable[Any]]


async def test_two_peers_signal_each_other(start: Start) -> None:
    served = await start()
    a, b = await served.call(), await served.call()
    await a.announce("a")
    await b.announce("b")
    assert (await a.receive()).notification.peer_joined.peer_id == "b"
    assert (await b.receive()).notification.peer_joined.peer_id == "a"
    await a.send("1", offer=pb.OfferRequest(to_peer_id="b", sdp="v=0\r\n"))
    reply = await a.receive()
    offer = (await b.receive()).notification.offer
    assert reply.request_id == "1"
    assert (offer.from_peer_id, offer.sdp, offer.type) == ("a", "v=0\r\n", "offer")
    assert json.loads(reply.ack.data) == {"offer_id": offer.offer_id, "to_peer_id": "b"}


async def test_the_documented_client_works_and_leaves(start: Start) -> None:
    served = await start()

    async def requests() -> Any:
        yield pb.SignalingRequest(
            request_id="1",
            announce=pb.AnnounceRequest(
                peer_id="python-client-1", capabilities=pb.PeerCapabilities(audio=True, video=True, data=True)
            ),
        )

    stub: Any = pb_grpc.WebRtcSignalingStub(served.channel())
    call = stub.Signal(requests())
    assert [response.request_id async for response in call] == ["1"]
    assert await call.code() is grpc.StatusCode.OK


def test_the_synchronous_client_works(engine: str) -> None:
    """grpcio's other API, on threads of its own."""

    async def serve() -> None:
        server = Server(Settings(**ANY_PORT, grpc_engine=engine))
        await server.start()
        requests = [pb.SignalingRequest(request_id="1", announce=pb.AnnounceRequest(peer_id="a"))]

        def ask() -> list[str]:
            with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
                stub: Any = pb_grpc.WebRtcSignalingStub(channel)
                assert stub.HealthCheck(pb.HealthCheckRequest(), timeout=TIME_LIMIT_SECONDS).status == "healthy"
                return [response.request_id for response in stub.Signal(iter(requests), timeout=TIME_LIMIT_SECONDS)]

        assert await asyncio.to_thread(ask) == ["1"]
        await server.stop(grace_seconds=1)

    asyncio.run(serve())


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_compressed_or_not(start: Start, compression: grpc.Compression) -> None:
    served = await start()
    call = await served.call(compression=compression)
    await call.announce("a" * 200)
    answer = await served.unary(f"/{SERVICE_NAME}/GetPeers", b"", compression=compression)
    assert pb.GetPeersResponse.FromString(answer).peers[0].peer_id == "a" * 200


async def test_bad_messages_are_answered_and_the_stream_lives(start: Start) -> None:
    served = await start()
    call = await served.call()
    for message in (b"\xff\xff", b"\x0a\x01\xff", b""):
        await call.send_bytes(message)
    await call.send("7")
    answers = [await call.receive() for _ in range(4)]
    assert [(answer.request_id, answer.error.code, answer.error.message) for answer in answers] == [
        ("", 3, "Malformed request"),
        ("", 3, "Malformed request"),
        ("", 3, "No request provided"),
        ("7", 3, "No request provided"),
    ]
    await call.announce("a")


async def test_half_close_is_leaving(start: Start) -> None:
    served = await start()
    other, call = await served.call(), await served.call()
    await other.announce("other")
    for number in range(200):
        await call.send(str(number), list_peers=pb.ListPeersRequest())
    await call.send("a", announce=pb.AnnounceRequest(peer_id="a"))
    await call.raw.done_writing()
    answers = [await call.receive() for _ in range(202)]
    assert [answer.request_id for answer in answers] == [*map(str, range(200)), "a", ""]
    code, _, trailers = await call.end()
    assert (code, trailers) == (grpc.StatusCode.OK, {"signaling-disconnect": "client_left"})
    assert (await other.receive()).notification.peer_joined.peer_id == "a"
    assert (await other.receive()).notification.peer_left.peer_id == "a"
    assert ended_grpc(served.hub) == {"client_left": 1}


@pytest.mark.parametrize("beyond", [-1, 0, 1])
async def test_the_limit_of_a_message_is_exact(start: Start, beyond: int) -> None:
    served = await start()
    limit = served.hub.settings.max_message_bytes
    call = await served.call()
    message = pb.SignalingRequest(request_id="x" * (limit + beyond - 4)).SerializeToString()
    assert len(message) == limit + beyond
    await call.send_bytes(message)
    if beyond <= 0:
        assert (await call.receive()).error.message == "No request provided"
        await call.announce("a")
        return
    code, _, trailers = await call.end()
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert trailers == {"signaling-disconnect": "message_too_big", "signaling-reconnect": "yes"}


async def test_far_above_the_limit(start: Start) -> None:
    served = await start(max_message_bytes=10_000)
    call = await served.call()
    await call.send_bytes(b"x" * 500_000)
    assert (await call.end())[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    await until(lambda: served.hub.session_count == 0)


async def test_a_full_server_says_so(start: Start) -> None:
    served = await start(max_sessions=1)
    call = await served.call()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.call()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "SIGNALING_MAX_SESSIONS" in str(refused.value.details())
    await call.announce("still here")
    answer = await served.unary(f"/{SERVICE_NAME}/HealthCheck", b"")
    assert pb.HealthCheckResponse.FromString(answer).connected_peers == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
async def test_the_session_knows_where_its_client_is(start: Start, address: str) -> None:
    served = await start(grpc_bind_address=f"{address}:0")
    served.target = f"{address}:{served.server.grpc_port}"
    await served.call()
    (session,) = served.hub._sessions.values()
    assert session.remote == address.strip("[]")


async def test_who_may_not_enter_a_room_may_not_look_into_it(start: Start) -> None:
    served = await start(authenticator=OnlyLobby())
    call = await served.call()
    await call.send("a", announce=pb.AnnounceRequest(peer_id="a", room="lobby"))
    assert (await call.receive()).WhichOneof("response") == "ack"
    stranger = await served.call()
    for room in ("secret", ""):
        await stranger.send("1", list_peers=pb.ListPeersRequest(room=room))
        error = (await stranger.receive()).error
        assert (error.code, error.message, json.loads(error.details)) == (
            7,
            FORBIDDEN,
            {"code": 7, "status": "PERMISSION_DENIED"},
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.unary(
                f"/{SERVICE_NAME}/GetPeers", pb.GetPeersRequest(room=room).SerializeToString(), served.channel()
            )
        assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.PERMISSION_DENIED, FORBIDDEN)
    await stranger.send("2", list_peers=pb.ListPeersRequest(room="lobby"))
    assert [peer.peer_id for peer in (await stranger.receive()).peer_list.peers] == ["a"]
    answer = await served.unary(f"/{SERVICE_NAME}/GetPeers", pb.GetPeersRequest(room="lobby").SerializeToString())
    assert [peer.peer_id for peer in pb.GetPeersResponse.FromString(answer).peers] == ["a"]
    # Health is no room's.
    assert await served.unary(f"/{SERVICE_NAME}/HealthCheck", b"")
    assert served.hub.counters.requests["grpc", "list_peers", "PERMISSION_DENIED"] == 4


@pytest.mark.parametrize(("metadata", "name"), [({}, ""), ({"client": "robot 3"}, "robot 3"), ({"client": ""}, "")])
async def test_the_log_names_the_client_s_software(
    start: Start, caplog: pytest.LogCaptureFixture, metadata: dict[str, str], name: str
) -> None:
    caplog.set_level(logging.INFO, logger="sigbridge.session")
    served = await start()
    call = await served.call(served.channel(("grpc.primary_user_agent", "app/1")))
    await call.send("a", announce=pb.AnnounceRequest(peer_id="a", metadata=metadata))
    assert (await call.receive()).WhichOneof("response") == "ack"
    await call.raw.done_writing()
    await call.end()
    (started,) = (record for record in caplog.records if record.message == "session started")
    (ended,) = (record for record in caplog.records if record.message == "session ended")
    assert started.client.startswith("app/1 grpc-python-asyncio/")
    assert ended.client == (name or started.client)


async def test_calls_of_one_address_share_their_rate(start: Start) -> None:
    served = await start(rate_per_second=0.001, rate_burst=2)
    first, second = await served.call(), await served.call()
    for call, code in ((first, 0), (second, 0), (first, 8), (second, 8)):
        await call.send("1", list_peers=pb.ListPeersRequest())
        assert (await call.receive()).error.code == code
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.unary(f"/{SERVICE_NAME}/GetPeers", b"")
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("method", ["encode_response", "apply"])
async def test_a_fault_of_ours_ends_the_call_and_says_no_more(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    served = await start()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("canary")

    for owner in (served.hub,) if method == "apply" else (ProtobufEncoding, FramedProtobufEncoding):
        monkeypatch.setattr(owner, method, fail)
    channel = served.channel()
    call = await served.call(channel)
    await call.send("1", list_peers=pb.ListPeersRequest())
    code, details, trailers = await call.end()
    assert (code, details) == (grpc.StatusCode.INTERNAL, "Internal error")
    assert trailers == {"signaling-disconnect": "internal_error", "signaling-reconnect": "yes"}
    assert "canary" in caplog.text
    assert ended_grpc(served.hub) == {"internal_error": 1}
    await served.unary(f"/{SERVICE_NAME}/HealthCheck", b"", channel)


@pytest.mark.parametrize("method", ["open", "query"])
async def test_a_fault_before_a_session_says_no_more(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    served = await start()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr(served.hub, method, fail)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await (served.call() if method == "open" else served.unary(f"/{SERVICE_NAME}/GetPeers", b""))
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.INTERNAL, "Internal error")
    assert "canary" in caplog.text


async def test_the_unary_calls(start: Start) -> None:
    served = await start()
    call = await served.call()
    await call.announce("a")
    page = pb.GetPeersResponse.FromString(await served.unary(f"/{SERVICE_NAME}/GetPeers", b""))
    assert [peer.peer_id for peer in page.peers] == ["a"]
    health = pb.HealthCheckResponse.FromString(await served.unary(f"/{SERVICE_NAME}/HealthCheck", b""))
    assert (health.status, health.connected_peers) == ("healthy", 1)
    for message, text in ((b"\xff", "Malformed request"), (b"\x1a\x01?", "Invalid params: page_token")):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.unary(f"/{SERVICE_NAME}/GetPeers", message)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert text in str(refused.value.details())


@pytest.mark.parametrize("method", [f"/{SERVICE_NAME}/Nothing", "/no.Such/Method"])
async def test_what_is_not_there_is_unimplemented(start: Start, method: str) -> None:
    served = await start()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.unary(method, b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("channels", [1, 50])
async def test_many_streams(start: Start, channels: int) -> None:
    served = await start()
    held = [served.channel() for _ in range(channels)]
    calls = await asyncio.gather(*(served.call(held[number % channels]) for number in range(100)))
    for number, call in enumerate(calls):
        await call.send("1", announce=pb.AnnounceRequest(peer_id=f"p{number}"))
        assert (await call.receive()).request_id == "1"
    await calls[0].send("2", offer=pb.OfferRequest(to_peer_id="p99", sdp="s"))
    while not (answer := await calls[99].receive()).notification.HasField("offer"):
        pass
    assert answer.notification.offer.from_peer_id == "p0"
    assert served.hub.peer_count == 100
