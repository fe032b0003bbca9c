"""A connection that is gone leaves nothing behind, whatever it was about: no object, and no cycle that holds one.

Nobody knows when the cyclic collector comes by: what it must find counts against the memory of a server until then.
"""

import asyncio
import base64
import gzip
import zlib

import pytest

from carried import TOKEN, Carried, Place
from http2_bytes import DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, block, frame, reset, window_of
from later import ALICE, Later
from leavings import left_behind, living
from sigbridge import DisconnectReason
from sigbridge_grpc.framing import framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_net.clock import read_clock
from websocket_lines import HANDSHAKE, masked

COMPRESSED_HANDSHAKE = HANDSHAKE[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
LONG = 200_000
SERVICE = "/remotemedia.v1.webrtc.WebRtcSignaling"
SIGNAL, GET_PEERS = f"{SERVICE}/Signal", f"{SERVICE}/GetPeers"
PING_FRAME = frame(PING, 0, 0, bytes(8))
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECT = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


def text(message: str) -> bytes:
    return masked(1, message.encode())


def announce(peer_id: str) -> bytes:
    metadata = f'{{"note":"{"x" * 2000}"}}'
    return text(
        f'{{"jsonrpc":"2.0","method":"announce","params":{{"peer_id":"{peer_id}","metadata":{metadata}}},"id":0}}'
    )


def unfinished_text(size: int = LONG) -> bytes:
    return masked(1, bytes(size))[:-1]


def deflated(text: bytes) -> bytes:
    machine = zlib.compressobj(wbits=-15)
    return (machine.compress(text) + machine.flush(zlib.Z_SYNC_FLUSH))[:-4]


async def websocket(place: Place, *data: bytes, handshake: bytes = HANDSHAKE, reads: bool = True) -> Carried:
    one = place.connect(reads=reads)
    assert b" 101 " in await one.say(handshake)
    await one.say(*data)
    return one


# WebSocket.


async def an_announced_websocket(place: Place) -> None:
    await (await websocket(place, announce("a"))).lose()


async def an_unfinished_message(place: Place) -> None:
    await (await websocket(place, announce("a"), unfinished_text())).lose()


async def an_unfinished_fragment(place: Place) -> None:
    await (await websocket(place, masked(1, bytes(LONG), fin=False), unfinished_text())).lose()


async def a_compressed_websocket(place: Place) -> None:
    list_peers = deflated(b'{"jsonrpc":"2.0","method":"list_peers","id":1}')
    one = await websocket(place, announce("a"), masked(1, list_peers, rsv=4), handshake=COMPRESSED_HANDSHAKE)
    await one.say(unfinished_text())
    await one.lose()


async def refused_requests(place: Place) -> None:
    """Requests of every kind that end in an error, by the fast path and the general one."""
    one = await websocket(
        place,
        text('{"jsonrpc":"2.0","method":"offer","params":{"to_peer_id":"b","sdp":"x"},"id":1}'),
        announce("a"),
        announce("a"),
        text('{"jsonrpc":"2.0","method":"offer","params":{"to_peer_id":"b","sdp":"x"},"id":1}'),
        text('{"jsonrpc":"2.0","method":"offer","params":{"to_peer_id":1,"sdp":"x"},"id":1}'),
        text('{"jsonrpc":"2.0","method":"unheard_of","params":{},"id":1}'),
        text('{"jsonrpc":"2.0","method":"health_check","id":[1]}'),
        text("{"),
        text('[{"jsonrpc":"2.0","method":"list_peers","params":{"room":"other"},"id":1},7]'),
        text('{"jsonrpc":"2.0","method":"rpc.discover","id":1}'),
    )
    await one.lose()


async def a_relay_that_is_not_read(place: Place) -> None:
    deaf = await websocket(place, announce("deaf"), reads=False)
    one = await websocket(place, announce("a"))
    for _ in range(9):
        await one.say(
            text(f'{{"jsonrpc":"2.0","method":"offer","params":{{"to_peer_id":"deaf","sdp":"{"x" * 60000}"}},"id":1}}')
        )
    await deaf.lose()
    await one.lose()


async def a_close_from_the_client(place: Place) -> None:
    one = await websocket(place, announce("a"), masked(8, b"\x03\xe8"))
    await one.lose()


async def an_end_of_input(place: Place) -> None:
    one = await websocket(place, announce("a"), unfinished_text())
    await one.end_input()
    await one.lose()


async def an_end_from_the_hub(place: Place) -> None:
    """Lost while its close frame waits for the client's."""
    one = await websocket(place, announce("a"), unfinished_text(70_000))
    for session in list(place.hub._sessions.values()):
        place.hub.end(session, DisconnectReason.SLOW_CONSUMER, read_clock())
    await one.say(masked(1, bytes(100)))
    await one.lose()


async def an_end_that_is_not_read(place: Place) -> None:
    """Lost while what was said before the close frame waits."""
    one = await websocket(place, announce("a"), reads=False)
    for session in list(place.hub._sessions.values()):
        place.hub.end(session, DisconnectReason.MAX_AGE, read_clock())
    await asyncio.sleep(0)
    await one.lose()


async def a_broken_rule(place: Place) -> None:
    one = await websocket(place, announce("a"), b"\xff\xff" + bytes(100))
    await one.lose()


async def a_text_that_is_none(place: Place) -> None:
    for frames in ((masked(1, b"\xff" * 1000),), (masked(1, b"\xff" * 1000, fin=False),)):
        await (await websocket(place, *frames)).lose()


async def a_bad_deflate(place: Place) -> None:
    one = await websocket(place, masked(1, b"\xff" * 1000, rsv=4), handshake=COMPRESSED_HANDSHAKE)
    await one.lose()


# Before a protocol is known, and handshakes that are refused.


async def nothing_but_a_beginning(place: Place) -> None:
    one = place.connect()
    await one.say(b"GET /ws HT")
    await one.lose()


async def silence(place: Place) -> None:
    await place.connect().lose()


async def a_handshake_in_pieces(place: Place) -> None:
    one = place.connect()
    await one.say(b"GET /ws HTTP/1.1\r\n" + b"X: " + b"y" * 20_000)
    await one.lose()


async def a_handshake_that_is_none(place: Place) -> None:
    for request in (
        b"GET /ws HTTP/1.1\r\nHost: server\r\n\r\n",
        b"POST /ws HTTP/1.1\r\nHost: server\r\n\r\n",
        b"GET /ws HTTP/1.1\r\n" + b"X: y\r\n" * 300 + b"\r\n",
        b"nonsense\r\n\r\n",
    ):
        one = place.connect()
        await one.say(request)
        await one.lose()


async def a_handshake_by_the_library(place: Place) -> None:
    """Accepted by the library, in two pieces, which the carrier's front hands on as one."""
    one = place.connect()
    await one.say(COMPRESSED_HANDSHAKE[:40], COMPRESSED_HANDSHAKE[40:])
    await one.lose()


# gRPC.


def request(
    stream_id: int, path: str, body: bytes = b"", *, end: bool = False, field: tuple[bytes, bytes] | None = None
) -> bytes:
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"server"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ]
    if field is not None:
        fields.append(field)
    head = frame(HEADERS, END_HEADERS, stream_id, block(*fields))
    return head + data_of(stream_id, body, end=end)


def data_of(stream_id: int, body: bytes, *, end: bool = False) -> bytes:
    parts = [body[at : at + 16384] for at in range(0, len(body), 16384)] or [b""]
    return b"".join(
        frame(DATA, END_STREAM if end and at == len(parts) - 1 else 0, stream_id, part)
        for at, part in enumerate(parts)
        if part or end
    )


def signal_request(**fields: object) -> bytes:
    return framed(pb.SignalingRequest(request_id="1", **fields).SerializeToString())  # type: ignore[arg-type]


def announcement(peer_id: str) -> bytes:
    return signal_request(announce=pb.AnnounceRequest(peer_id=peer_id))


def unfinished(size: int) -> bytes:
    """The beginning of a message of gRPC's."""
    return framed(bytes(size))[:-1]


async def grpc(place: Place, *data: bytes, window: int = 65535, reads: bool = True) -> Carried:
    one = place.connect(reads=reads)
    await one.say(PREFACE + window_of(window))
    await one.say(*data)
    return one


async def a_session(place: Place) -> None:
    await (await grpc(place, request(1, SIGNAL, announcement("a")))).lose()


async def sessions_that_end_in_every_way(place: Place) -> None:
    """All on one connection: by a reset, a half-close, a broken rule and the hub."""
    one = await grpc(place)
    await end_sessions_in_every_way(place, one)
    await one.lose()


async def end_sessions_in_every_way(place: Place, one: Carried) -> None:
    await one.say(*(request(at, SIGNAL, announcement(f"p{at}")) for at in (1, 3, 5, 7)))
    await one.say(reset(1), data_of(3, b"", end=True), data_of(5, b"\1" + bytes(LONG)))
    for session in list(place.hub._sessions.values()):
        place.hub.end(session, DisconnectReason.SLOW_CONSUMER, read_clock())
    await one.say(PING_FRAME, PING_FRAME)


async def an_unfinished_signal_message(place: Place) -> None:
    one = await grpc(place, request(1, SIGNAL, announcement("a")), data_of(1, unfinished(40_000)))
    await one.lose()


async def long_messages_that_wait_for_each_other(place: Place) -> None:
    one = await grpc(place, *(request(at, SIGNAL, unfinished(60_000)) for at in range(1, 61, 2)))
    await one.lose()


async def unread_answers(place: Place) -> None:
    """Answers that no window lets out, and some that nobody has taken from their calls yet."""
    peer = await websocket(place, announce("peer"))
    one = await grpc(place, *(request(at, GET_PEERS, framed(b""), end=True) for at in range(1, 101, 2)), window=0)
    assert one.connection.wire._calls
    await one.lose()
    await peer.lose()


async def answers_to_a_full_transport(place: Place) -> None:
    one = await grpc(place, *(request(at, GET_PEERS, framed(b""), end=True) for at in (1, 3, 5)), reads=False)
    await one.lose()


async def unary_calls(place: Place) -> None:
    """Answered, refused, without a message, unheard of, and not whole."""
    one = await grpc(
        place,
        request(1, GET_PEERS, framed(b""), end=True),
        request(3, GET_PEERS, framed(b"\xff"), end=True),
        request(5, GET_PEERS, b"", end=True),
        request(7, f"{SERVICE}/Unheard", framed(b""), end=True),
        request(9, GET_PEERS, framed(pb.GetPeersRequest(room="x" * 1000).SerializeToString()), end=True),
        request(11, GET_PEERS, unfinished(10_000)),
        request(13, GET_PEERS, unfinished(17_000)),
    )
    await one.lose()


async def reflection_and_health(place: Place) -> None:
    asked = b"\x22" + bytes((len(SERVICE) - 1,)) + SERVICE[1:].encode()
    one = await grpc(
        place,
        request(1, REFLECT, framed(asked) + framed(b"\x3a\x00") + framed(b"\x22\x04none") + framed(b"\xff")),
        request(3, WATCH, framed(b"")),
        request(5, WATCH, framed(b"") + framed(b"")),
        request(7, CHECK, framed(b"\x0a\x04none"), end=True),
        request(9, REFLECT, framed(asked), end=True),
    )
    await one.lose()


async def a_compressed_message(place: Place) -> None:
    squeezed = gzip.compress(bytes(300_000))
    message = b"\1" + len(squeezed).to_bytes(4, "big") + squeezed
    field = (b"grpc-encoding", b"gzip")
    one = await grpc(place, request(1, SIGNAL, message * 3, field=field), request(3, SIGNAL, field=field))
    await one.say(data_of(3, b"\1\0\0\0\4none"))
    await one.lose()


async def http2_that_is_none(place: Place) -> None:
    """Rules broken: a stream from the future, headers that are none, a frame too large, a window of nothing."""
    for fault in (
        data_of(7, bytes(100)),
        frame(HEADERS, END_HEADERS, 3, b"\xff\xff\xff\xff\xff\xff"),
        b"\xff\xff\xff\0\0\0\0\0\0",
        frame(8, 0, 1, bytes(4)),
    ):
        one = await grpc(place, request(1, SIGNAL, announcement("a")), fault)
        await one.say(PING_FRAME)
        await one.lose()


async def an_unfinished_header_block(place: Place) -> None:
    one = await grpc(place, frame(HEADERS, 0, 1, bytes(10_000)))
    await one.lose()


async def a_grpc_end_of_input(place: Place) -> None:
    one = await grpc(place, request(1, SIGNAL, announcement("a") + unfinished(30_000)))
    await one.end_input()
    await one.lose()


async def a_drained_connection(place: Place) -> None:
    one = await grpc(place, request(1, WATCH, framed(b"")), request(3, SIGNAL, announcement("a")))
    one.connection.drain()
    await one.say(PING_FRAME)
    await one.lose()


# HTTP, and gRPC-Web.


def get(path: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: server", *headers, "", "")
    return "\r\n".join(lines).encode() + body


def web(body: bytes, *headers: str, content_type: str = "application/grpc-web", more: int = 0) -> bytes:
    sizes = f"Content-Length: {len(body) + more}"
    return get(GET_PEERS, f"Content-Type: {content_type}", sizes, *headers, method="POST", body=body)


async def pages(place: Place) -> None:
    for requests in (
        (get("/healthz"), get("/healthz", method="HEAD")),
        (get("/healthz") * 3,),
        (get("/healthz", method="DELETE"),),
        (get("/healthz", f"X: {'x' * 15_000}"), get("/healthz", f"X: {'x' * 17_000}")),
        (get("/healthz"), b"nonsense\r\n\r\n"),
        (get("/healthz", "Content-Length: 5", "Content-Length: 7"),),
    ):
        one = place.connect()
        await one.say(*requests)
        await one.lose()


async def web_calls(place: Place) -> None:
    for requests in (
        (web(framed(b"")), web(base64.b64encode(framed(b"")), content_type="application/grpc-web-text")),
        (web(framed(b"\xff")),),
        (web(b""), web(unfinished(100))),
        (web(bytes(100_000), more=1),),
        (web(framed(b""), content_type="text/plain"),),
        (web(b"?", content_type="application/grpc-web-text"),),
    ):
        one = place.connect()
        await one.say(*requests)
        await one.lose()


async def an_answer_to_a_web_call_that_is_not_read(place: Place) -> None:
    one = place.connect(reads=False)
    await one.say(web(framed(b"")) * 9)
    await one.end_input()
    await one.lose()


async def a_websocket_behind_pages(place: Place) -> None:
    for requests in (
        (get("/healthz"), web(framed(b"")), HANDSHAKE, announce("a")),
        (get("/healthz") + web(framed(b"")) + HANDSHAKE + announce("a"),),
        (get("/healthz") + HANDSHAKE.replace(b"Version: 13", b"Version: 12"),),
        (get("/healthz"), HANDSHAKE[:-1]),
    ):
        one = place.connect()
        await one.say(*requests)
        await one.lose()


def page_request(stream_id: int, path: str, body: bytes | None = None, *, method: bytes = b"GET") -> bytes:
    fields = [(b":method", method), (b":scheme", b"http"), (b":path", path.encode()), (b":authority", b"server")]
    if body is None:
        return frame(HEADERS, END_HEADERS | END_STREAM, stream_id, block(*fields))
    fields.append((b"content-type", b"application/grpc-web"))
    return frame(HEADERS, END_HEADERS, stream_id, block(*fields)) + data_of(stream_id, body)


async def pages_over_http2(place: Place) -> None:
    for requests in (
        (page_request(1, "/healthz"), page_request(3, "/healthz", method=b"HEAD"), page_request(5, "/nothing")),
        (b"".join(page_request(1 + 2 * number, "/healthz") for number in range(100)),),
        (page_request(1, GET_PEERS, framed(b""), method=b"POST"), frame(DATA, END_STREAM, 1)),
        (page_request(1, GET_PEERS, unfinished(50_000), method=b"POST"),),
        (page_request(1, GET_PEERS, unfinished(50_000), method=b"POST"), reset(1)),
        (page_request(1, GET_PEERS, method=b"OPTIONS"), page_request(3, "/healthz", method=b"PUT")),
    ):
        one = await grpc(place, *requests)
        await one.lose()
    one = await grpc(place, page_request(1, "/healthz"), window=0, reads=False)
    await one.lose()


# At the door.


async def without_a_token(place: Place) -> None:
    for one, said in (
        (await grpc(place), (request(1, SIGNAL, announcement("a")), request(3, GET_PEERS, framed(b""), end=True))),
        (place.connect(), (HANDSHAKE,)),
        (place.connect(), (COMPRESSED_HANDSHAKE,)),
        (place.connect(), (web(framed(b"")),)),
    ):
        await one.say(*said)
        await one.lose()


async def while_memory_is_short(place: Place) -> None:
    place.hub.degraded = True
    await without_a_token(place)
    place.hub.degraded = False


async def while_draining(place: Place) -> None:
    place.hub.leave()
    await without_a_token(place)


async def no_room_for_one_more(place: Place) -> None:
    first = place.connect()
    await place.connect().lose()
    await first.lose()


PLAYS = [
    *(an_announced_websocket, an_unfinished_message, an_unfinished_fragment, a_compressed_websocket, refused_requests),
    *(a_relay_that_is_not_read, a_close_from_the_client, an_end_of_input, an_end_from_the_hub, an_end_that_is_not_read),
    *(a_broken_rule, a_text_that_is_none, a_bad_deflate, nothing_but_a_beginning, silence, a_handshake_in_pieces),
    *(a_handshake_that_is_none, a_handshake_by_the_library, a_session, sessions_that_end_in_every_way),
    *(
        an_unfinished_signal_message,
        long_messages_that_wait_for_each_other,
        unread_answers,
        answers_to_a_full_transport,
    ),
    *(unary_calls, reflection_and_health, a_compressed_message, http2_that_is_none, an_unfinished_header_block),
    *(a_grpc_end_of_input, a_drained_connection, pages, web_calls, an_answer_to_a_web_call_that_is_not_read),
    *(a_websocket_behind_pages, pages_over_http2),
    *(without_a_token, while_memory_is_short, while_draining, no_room_for_one_more),
]
OPTIONS: dict[object, dict[str, object]] = {
    without_a_token: {"tokens": (TOKEN,)},
    while_memory_is_short: {"max_memory_mb": 1},
    no_room_for_one_more: {"max_connections": 1},
}


@pytest.mark.parametrize("play", PLAYS, ids=lambda play: play.__name__)
async def test_nothing_is_left_of_a_connection(play):
    place = Place(**OPTIONS.get(play, {}))
    # What is made once for all connections is made by the first.
    await play(place)
    with left_behind() as leavings:
        await play(place)
    assert place.carrier.connection_count == place.hub.session_count == 0
    assert not leavings.kept, leavings.kept
    assert not leavings.cycles, leavings.cycles


async def test_nothing_is_left_of_a_call_whose_connection_lives_on():
    place = Place()
    await sessions_that_end_in_every_way(place)
    one = await grpc(place)
    with left_behind() as leavings:
        await end_sessions_in_every_way(place, one)
        alive = [kind for kind in living() if kind.rpartition(".")[2] in ("StreamCall", "SignalMethod", "Session")]
    assert not alive
    assert not leavings.cycles, leavings.cycles
    await one.lose()


async def test_nothing_is_left_of_who_goes_while_it_is_looked_up_who_it_is():
    door = Later()
    place = Place(door=door)

    async def come_and_go() -> None:
        for one, said in (
            (await grpc(place), (request(1, SIGNAL, announcement("a")), request(3, GET_PEERS, framed(b""), end=True))),
            (place.connect(), (HANDSHAKE, announce("a"))),
            (place.connect(), (COMPRESSED_HANDSHAKE, announce("a"))),
            (place.connect(), (web(framed(b"")),)),
        ):
            assert b"HTTP/1.1" not in await one.say(*said)
            await one.lose()

    await come_and_go()
    with left_behind() as leavings:
        await come_and_go()
        alive = {kind.rpartition(".")[2] for kind in living()}
    assert not alive & {"GrpcWire", "StreamCall", "AwaitedMethod", "WebSocketWire", "Handshake", "HttpWire"}
    assert not leavings.cycles, leavings.cycles
    assert len(door.waiting) == 10
    door.decide(ALICE, read_clock())
    assert place.hub.session_count == 0
