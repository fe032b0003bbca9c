"""Both clients with servers that leave out what the protocol has gained since, or that say what is none of it."""

import asyncio
import contextlib

import pytest
from websockets.protocol import State

from older_servers import answering_grpc, answering_websocket, scripted_grpc, scripted_websocket
from sigbridge import (
    Announced,
    AnswerReceived,
    Authenticated,
    Capabilities,
    Code,
    ConnectionClosed,
    Disconnected,
    IceCandidateReceived,
    OfferReceived,
    OfferRelayed,
    PeerDisconnected,
    PeerInfo,
    PeerJoined,
    PeerLeft,
    PeerList,
    Relayed,
    SignalingError,
)
from sigbridge.messages import NO_CAPABILITIES, Health
from sigbridge_client import connect
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from waiting import TIME_LIMIT_SECONDS, until

WORDS = {
    "announce": [
        {"result": {}},
        {"method": "peer_joined", "params": {"peer_id": "a"}},
        {"method": "peer_joined", "params": {"peer_id": "b", "capabilities": None, "metadata": None}},
        {"method": "peer_joined", "params": {"peer_id": "c", "capabilities": {"audio": 1, "x": 1}, "metadata": "m"}},
        {"method": "peer_joined", "params": {"peer_id": "d", "capabilities": ["video", "y", 1], "metadata": {}}},
        {"method": "offer", "params": {"from_peer_id": "a", "sdp": "v=0"}},
        {"method": "answer", "params": {"from_peer_id": "a", "sdp": "v=0", "type": None, "offer_id": None}},
        {"method": "ice_candidate", "params": {"from_peer_id": "a", "candidate": None, "sdp_mid": None}},
        {"method": "peer_disconnected", "params": {"peer_id": "a", "offer_id": None}},
    ],
    "offer": [{"result": {"success": True}}],
    "answer": [{"result": {}, "error": None}],
    "ice_candidate": [{"result": {}}],
    "disconnect": [{"result": {"peer_id": None}}],
    "list_peers": [
        {
            "result": {
                "peers": [
                    {"peer_id": "a"},
                    {"peer_id": "b", "capabilities": None, "state": None, "metadata": None, "connected_at": None},
                    {"peer_id": "c", "capabilities": {"data": True}, "state": "busy", "metadata": {"k": 1}},
                ],
                "next_page_token": None,
            }
        }
    ],
    "authenticate": [{"result": {"expires_at": None}}],
    "health_check": [{"result": {"status": "healthy"}}],
}


def ack(data=""):
    return [pb.SignalingResponse(ack=pb.AckResponse(data=data))]


def told(**notification):
    return pb.SignalingResponse(notification=pb.SignalingNotification(**notification))


MESSAGES = {
    "announce": [
        *ack('{"other_peers": null}'),
        told(peer_joined=pb.PeerJoinedNotification(peer_id="a")),
        told(
            peer_joined=pb.PeerJoinedNotification(
                peer_id="c", capabilities=pb.PeerCapabilities(audio=True, extensions="screen")
            )
        ),
        told(offer=pb.OfferNotification(from_peer_id="a", sdp="v=0")),
        told(answer=pb.AnswerNotification(from_peer_id="a", sdp="v=0")),
    ],
    "offer": ack('{"answer_sent": true}'),
    "answer": ack(),
    "ice_candidate": ack("{}"),
    "disconnect": ack(),
    "list_peers": [
        pb.SignalingResponse(
            peer_list=pb.PeerListResponse(
                peers=[
                    pb.PeerInfo(peer_id="a"),
                    pb.PeerInfo(peer_id="b", state=pb.PEER_STATE_BUSY, capabilities={"extensions": "[]"}),
                ]
            )
        )
    ],
    "authenticate": ack('{"subject": ""}'),
}


async def heard(client, count):
    return [event async for _, event in _numbered(client, count)]


async def _numbered(client, count):
    events = client.events()
    for number in range(count):
        yield number, await anext(events)
    await events.aclose()


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
async def test_what_an_older_server_leaves_out_is_empty(protocol):
    serving = (
        scripted_grpc(answering_grpc(MESSAGES))
        if protocol == "grpc"
        else scripted_websocket(answering_websocket(WORDS))
    )
    async with asyncio.timeout(TIME_LIMIT_SECONDS), serving as url, await connect(url) as client:
        assert await client.announce("watcher") == Announced("watcher", 0, ())
        if protocol == "websocket":
            assert await heard(client, 8) == [
                PeerJoined("a", NO_CAPABILITIES, {}),
                PeerJoined("b", NO_CAPABILITIES, {}),
                PeerJoined("c", Capabilities(extensions={"x": 1}), {}),
                PeerJoined("d", Capabilities(video=True, extensions={"y": True}), {}),
                OfferReceived("a", "", "v=0", "offer"),
                AnswerReceived("a", "v=0", "answer"),
                IceCandidateReceived("a", ""),
                PeerDisconnected("a"),
            ]
        else:
            assert await heard(client, 4) == [
                PeerJoined("a", NO_CAPABILITIES, {}),
                PeerJoined("c", Capabilities(audio=True), {}),
                OfferReceived("a", "", "v=0", "offer"),
                AnswerReceived("a", "v=0", "answer"),
            ]
        assert await client.offer("b", "v=0") == OfferRelayed("", "b")
        assert await client.answer("b", "v=0") == Relayed("b")
        assert await client.ice_candidate("b", "c") == Relayed("b")
        assert await client.disconnect("b") == Disconnected("b")
        assert await client.authenticate("token") == Authenticated("", None)
        page = await client.list_peers()
        if protocol == "websocket":
            assert page == PeerList(
                (
                    PeerInfo("a", NO_CAPABILITIES, "unspecified", {}, 0),
                    PeerInfo("b", NO_CAPABILITIES, "unspecified", {}, 0),
                    PeerInfo("c", Capabilities(data=True), "busy", {"k": 1}, 0),
                ),
                3,
            )
            assert await client.health() == Health("healthy", 0, 0, {})
        else:
            assert page == PeerList(
                (
                    PeerInfo("a", NO_CAPABILITIES, "unspecified", {}, 0),
                    PeerInfo("b", NO_CAPABILITIES, "busy", {}, 0),
                ),
                2,
            )


@pytest.mark.parametrize("other_peers", [["a", "b"], []])
async def test_a_count_that_is_not_said_is_that_of_the_ids(other_peers):
    script = answering_websocket({"announce": [{"result": {"other_peers": other_peers}}]})
    async with scripted_websocket(script) as url, await connect(url) as client:
        assert (await client.announce("c")).peers_count == len(other_peers)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": -32602, "message": "no"}, SignalingError(Code.INVALID_ARGUMENT, "no")),
        ({"code": -32601, "message": "no"}, SignalingError(Code.UNIMPLEMENTED, "no")),
        ({"code": -32603, "message": "no", "data": "text"}, SignalingError(Code.INTERNAL, "no")),
        ({"code": -32000, "message": "no"}, SignalingError(Code.INVALID_ARGUMENT, "no")),
        (
            {"code": -32000, "message": "no", "data": {"code": 5, "message": "x", "self": 1, "peer_id": "b"}},
            SignalingError(Code.NOT_FOUND, "no", peer_id="b"),
        ),
        ({"code": -32602, "message": "no", "data": {"code": 99}}, SignalingError(Code.INVALID_ARGUMENT, "no")),
        ({"code": -32603, "message": "no", "data": {"code": 0}}, SignalingError(Code.INTERNAL, "no")),
        ({"code": [], "message": None, "data": {"code": {}}}, SignalingError(Code.INVALID_ARGUMENT, "None")),
        ("no object", SignalingError(Code.INVALID_ARGUMENT, "")),
    ],
)
async def test_a_refusal_is_one_whatever_it_says(error, expected):
    script = answering_websocket({"offer": [{"error": error}], "answer": [{"result": {}}]})
    async with scripted_websocket(script) as url, await connect(url) as client:
        with pytest.raises(SignalingError) as refused:
            await client.offer("b", "v=0")
        assert refused.value == expected
        assert await client.answer("b", "v=0") == Relayed("b")


@pytest.mark.parametrize("result", [None, [], "x", {"to_peer_id": 1}])
async def test_a_result_that_is_none_is_a_refusal_and_the_session_goes_on(result):
    script = answering_websocket({"answer": [{"result": result}], "disconnect": [{"result": {}}]})
    async with scripted_websocket(script) as url, await connect(url) as client:
        with pytest.raises(SignalingError, match="the server's result is invalid") as refused:
            await client.answer("b", "v=0")
        assert refused.value.code is Code.INTERNAL
        assert await client.disconnect("b") == Disconnected("b")


@pytest.mark.parametrize("data", ["no json", "[]", '{"to_peer_id": 1}'])
async def test_an_acknowledgement_that_says_none_is_a_refusal_and_the_session_goes_on(data):
    signal = answering_grpc({"answer": ack(data), "disconnect": ack()})
    async with scripted_grpc(signal) as url, await connect(url) as client:
        with pytest.raises(SignalingError, match="the server's result is invalid") as refused:
            await client.answer("b", "v=0")
        assert refused.value.code is Code.INTERNAL
        assert await client.disconnect("b") == Disconnected("b")


# How a connection ends.


@contextlib.contextmanager
def no_complaints():
    """Fails where the loop has been told of an exception that nobody has asked for."""
    said = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: said.append(context["message"]))
    yield
    assert said == []


async def ended_for(client, requests):
    """The reasons that callers are told who ask at once and go on asking, until the connection has ended."""
    reasons = []
    while client.closed is None or not reasons:
        outcomes = await asyncio.gather(*(one() for one in requests), return_exceptions=True)
        reasons += [outcome.reason for outcome in outcomes if isinstance(outcome, ConnectionClosed)]
        assert all(isinstance(outcome, ConnectionClosed | Relayed) for outcome in outcomes), outcomes
    return set(reasons)


async def test_who_sends_while_the_connection_ends_learns_why_on_websocket():
    async def script(connection):
        await connection.recv()
        # What is sent meanwhile fills every buffer on the way.
        connection.transport.pause_reading()
        await until(client._connection.transport.get_write_buffer_size)
        connection.protocol.send_close(1012, "draining")
        connection.send_data()
        connection.transport.close()

    async with asyncio.timeout(TIME_LIMIT_SECONDS), scripted_websocket(script) as url:
        client = await connect(url, resume=False)
        with no_complaints():
            requests = [lambda: client.answer("b", "v=0" + 1_000_000 * "x")] * 20
            assert await ended_for(client, requests) == {"draining"}
            assert client.closed.reason == "draining"
            await client.close()


async def test_who_sends_while_a_server_is_left_that_talks_nonsense_learns_why():
    told, leaving = asyncio.Event(), asyncio.Event()

    async def script(connection):
        await connection.recv()
        # From now on it does not read, so that the client's close has no end of its own.
        connection.transport.pause_reading()
        await connection.send('{"method": "peer_left", "params": {}}')
        told.set()
        await leaving.wait()
        connection.transport.abort()

    async with asyncio.timeout(TIME_LIMIT_SECONDS), scripted_websocket(script) as url:
        client = await connect(url, resume=False)
        with no_complaints():
            first = asyncio.create_task(client.answer("b", "v=0"))
            await told.wait()
            await until(lambda: client._connection.state is not State.OPEN)
            second = asyncio.create_task(client.answer("b", "v=0"))
            await asyncio.sleep(0)
            leaving.set()
            outcomes = await asyncio.gather(first, second, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {ConnectionClosed}
            assert {outcome.reason for outcome in outcomes} == {client.closed.reason}
            assert client.closed.reason.startswith("the server sent an invalid message: ")
            await client.close()


async def test_who_gives_up_while_the_connection_ends_leaves_nothing_behind():
    async def script(connection):
        await connection.recv()
        await connection.close(1012, "draining")

    async with asyncio.timeout(TIME_LIMIT_SECONDS), scripted_websocket(script) as url:
        client = await connect(url, resume=False)
        with no_complaints():
            asking = asyncio.create_task(client.answer("b", "v=0"))
            async for _ in client.events():
                pass
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            await client.close()


async def test_who_sends_while_the_stream_ends_learns_why_on_grpc():
    async def signal(_, context):
        await context.send_initial_metadata(())
        await context.read()
        context.set_trailing_metadata((("signaling-disconnect", "draining"), ("signaling-reconnect", "yes")))

    async with asyncio.timeout(TIME_LIMIT_SECONDS), scripted_grpc(signal) as url:
        # Which of the two comes first, the end of a write or that of the stream, is a matter of chance.
        for _ in range(10):
            client = await connect(url, resume=False)
            with no_complaints():
                requests = [lambda client=client: client.answer("b", "v=0" + 100_000 * "x")] * 20
                assert await ended_for(client, requests) == {"draining"}
                for call in (client.list_peers, client.health):
                    with pytest.raises(ConnectionClosed) as closed:
                        await call()
                    assert (closed.value.reason, closed.value.reconnect) == ("draining", True)
                await client.close()


@pytest.mark.parametrize("seq", [2**64, True, 1.5, "7", None])
async def test_a_number_that_counts_nothing_is_none(seq):
    left = [{"method": "peer_left", "params": {"peer_id": str(one), "seq": one}} for one in (seq, 1)]
    script = answering_websocket({"announce": [{"result": {}}, *left]})
    async with scripted_websocket(script) as url, await connect(url) as client:
        await client.announce("a")
        events = client.events()
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            assert [await anext(events), await anext(events)] == [PeerLeft(str(seq)), PeerLeft("1")]
