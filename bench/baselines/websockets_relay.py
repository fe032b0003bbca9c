"""The least that a JSON-RPC signaling relay on websockets can do: announce, offer, answer, ICE candidate, acknowledged.

No rooms, limits, metrics or checks; one read, one relay, one acknowledgement. Prints its port.
"""

import asyncio
import contextlib
import time

import uvloop
from msgspec import UNSET, Struct, UnsetType, json
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


class AnnounceParams(Struct):
    """The peer that comes."""

    peer_id: str


class DescriptionParams(Struct):
    """An SDP, and for whom."""

    to_peer_id: str
    sdp: str


class CandidateParams(Struct):
    """An ICE candidate, and for whom."""

    to_peer_id: str
    candidate: str = ""
    sdp_mid: str | UnsetType = UNSET
    sdp_mline_index: int | UnsetType = UNSET
    username_fragment: str | UnsetType = UNSET


class Announce(Struct, tag_field="method", tag="announce"):
    """A whole `announce` call."""

    params: AnnounceParams
    id: int | str


class Offer(Struct, tag_field="method", tag="offer"):
    """A whole `offer` call."""

    params: DescriptionParams
    id: int | str


class Answer(Struct, tag_field="method", tag="answer"):
    """A whole `answer` call."""

    params: DescriptionParams
    id: int | str


class IceCandidate(Struct, tag_field="method", tag="ice_candidate"):
    """A whole `ice_candidate` call."""

    params: CandidateParams
    id: int | str


class Announced(Struct):
    """The result of `announce`."""

    peer_id: str
    peers_count: int
    other_peers: list[str]


class OfferRelayed(Struct):
    """The result of `offer`."""

    offer_id: str
    to_peer_id: str


class Relayed(Struct):
    """The result of `answer` and `ice_candidate`."""

    to_peer_id: str


class OfferReceived(Struct):
    """Params of `offer`, as its target is told it."""

    from_peer_id: str
    offer_id: str
    sdp: str
    type: str


class AnswerReceived(Struct):
    """Params of `answer`, as its target is told it."""

    from_peer_id: str
    sdp: str
    type: str


class CandidateReceived(Struct):
    """Params of `ice_candidate`, as its target is told it."""

    from_peer_id: str
    candidate: str
    sdp_mid: str | UnsetType
    sdp_mline_index: int | UnsetType
    username_fragment: str | UnsetType


class Response(Struct):
    """A JSON-RPC response."""

    result: Announced | OfferRelayed | Relayed
    id: int | str
    jsonrpc: str = "2.0"


class Notification(Struct):
    """A JSON-RPC notification."""

    method: str
    params: OfferReceived | AnswerReceived | CandidateReceived
    jsonrpc: str = "2.0"


decode = json.Decoder(Announce | Offer | Answer | IceCandidate).decode
encode = json.Encoder().encode
peers: dict[str, ServerConnection] = {}


async def session(connection: ServerConnection) -> None:
    """Serves one connection: relays its calls to other peers, and responds to each."""
    me = ""
    result: Announced | OfferRelayed | Relayed
    with contextlib.suppress(ConnectionClosed):
        while True:
            call = decode(await connection.recv(decode=False))
            params = call.params
            if isinstance(params, AnnounceParams):
                me = params.peer_id
                peers[me] = connection
                result = Announced(me, len(peers) - 1, [])
            else:
                to_peer_id = params.to_peer_id
                if isinstance(params, CandidateParams):
                    result = Relayed(to_peer_id)
                    told = Notification(
                        "ice_candidate",
                        CandidateReceived(
                            me, params.candidate, params.sdp_mid, params.sdp_mline_index, params.username_fragment
                        ),
                    )
                elif isinstance(call, Offer):
                    offer_id = f"{me}_{to_peer_id}_{time.time_ns() // 1_000_000}"
                    result = OfferRelayed(offer_id, to_peer_id)
                    told = Notification("offer", OfferReceived(me, offer_id, params.sdp, "offer"))
                else:
                    result = Relayed(to_peer_id)
                    told = Notification("answer", AnswerReceived(me, params.sdp, "answer"))
                if (target := peers.get(to_peer_id)) is not None:
                    with contextlib.suppress(ConnectionClosed):
                        await target.send(encode(told), text=True)
            await connection.send(encode(Response(result, call.id)), text=True)
    peers.pop(me, None)


async def main() -> None:
    """Serves until a signal ends the process."""
    # No pings: the other baselines send none.
    async with serve(session, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.Loop) as runner:
        runner.run(main())
