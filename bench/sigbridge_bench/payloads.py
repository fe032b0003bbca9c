"""Messages of the benchmark's peers: a browser's descriptions and candidates, encoded once for each kind of server."""

import json
from collections.abc import Iterable
from typing import Literal, NamedTuple

from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb

Kind = Literal["grpc", "ws", "peerjs", "tcp"]
Message = Literal["offer", "candidate", "call"]

CANDIDATES_PER_SIDE = 8

_FINGERPRINT = ":".join(f"{(index * 37 + 11) % 256:02X}" for index in range(32))
_AUDIO = ((111, "opus/48000/2", "minptime=10;useinbandfec=1"), (63, "red/48000/2", "111/111"), (9, "G722/8000", ""))
_VIDEO = (
    (96, "VP8/90000", ""),
    (97, "rtx/90000", "apt=96"),
    (102, "H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"),
    (103, "rtx/90000", "apt=102"),
    (45, "AV1/90000", "level-idx=5;profile=0;tier=0"),
)


def _media(kind: str, mid: int, codecs: tuple[tuple[int, str, str], ...], setup: str) -> list[str]:
    """Returns the lines of one media section of an SDP."""
    lines = [
        f"m={kind} 9 UDP/TLS/RTP/SAVPF {' '.join(str(number) for number, _, _ in codecs)}",
        "c=IN IP4 0.0.0.0",
        "a=rtcp:9 IN IP4 0.0.0.0",
        *_transport(mid, setup),
        "a=sendrecv",
        "a=rtcp-mux",
        "a=rtcp-rsize",
    ]
    for number, name, parameters in codecs:
        lines.append(f"a=rtpmap:{number} {name}")
        if parameters:
            lines.append(f"a=fmtp:{number} {parameters}")
    if kind == "video":
        lines += ["a=rtcp-fb:96 transport-cc", "a=rtcp-fb:96 ccm fir", "a=rtcp-fb:96 nack", "a=rtcp-fb:96 nack pli"]
    return [*lines, f"a=ssrc:{1748236591 + mid} cname:pX8wSbQ2nA4vK1dL"]


def _transport(mid: int, setup: str) -> list[str]:
    """Returns the lines of an SDP's media section that are about its transport."""
    return [
        "a=ice-ufrag:4Zc9",
        "a=ice-pwd:mB3vT0yqLsW8hRk2Jd6XgPnE",
        "a=ice-options:trickle",
        f"a=fingerprint:sha-256 {_FINGERPRINT}",
        f"a=setup:{setup}",
        f"a=mid:{mid}",
    ]


def _description(setup: str) -> str:
    """Returns an SDP (RFC 8829) with audio, video and data, as browsers make them: about 2 kB."""
    lines = [
        "v=0",
        "o=- 7614219274584779017 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0 1 2",
        "a=extmap-allow-mixed",
        "a=msid-semantic: WMS 6c1f9a52",
        *_media("audio", 0, _AUDIO, setup),
        *_media("video", 1, _VIDEO, setup),
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        *_transport(2, setup),
        "a=sctp-port:5000",
        "a=max-message-size:262144",
    ]
    return "\r\n".join(lines) + "\r\n"


OFFER = _description("actpass")
ANSWER = _description("active")
CANDIDATE = (
    "candidate:842163049 1 udp 1677729535 203.0.113.141 46154 typ srflx raddr 192.168.178.24 rport 46154 "
    "generation 0 ufrag 4Zc9 network-id 1 network-cost 10"
)


class Encoded(NamedTuple):
    """One message of a lane."""

    data: bytes
    least: int
    """Least number of bytes of what it relays: a server that passes on less is caught."""
    id_at: int = 0
    """The place of an id of eight digits, which is another one each time; 0: its id is always the same."""


NO_TOKEN = "-" * 36
"""Stands for the resume token of a peer that has none yet; a server knows no such token, and gives another one."""


# Five parameters: who speaks, and what it says of itself.
def hello(kind: Kind, peer_id: str, room: str, about: str = "", *, resumable: bool = False) -> bytes:
    """Returns the first message of a peer, with metadata if it says something `about` itself.

    A client of `peerjs` says it in its path instead.
    """
    token = NO_TOKEN if resumable else ""
    if kind == "grpc":
        capabilities = pb.PeerCapabilities(audio=True, video=True, data=True)
        announce = pb.AnnounceRequest(
            peer_id=peer_id,
            room=room,
            capabilities=capabilities,
            metadata={"about": about} if about else {},
            resume_token=token,
        )
        return pb.SignalingRequest(request_id="1", announce=announce).SerializeToString()
    if kind == "ws":
        given = {"audio": True, "video": True, "data": True}
        said: dict[str, object] = {"metadata": {"about": about}} if about else {}
        if token:
            said["resume_token"] = token
        return _jsonrpc("announce", {"peer_id": peer_id, "room": room, "capabilities": given, **said})
    return b"" if kind == "peerjs" else f"H{peer_id}\n{room}".encode()


def come_and_go(peer_id: str, room: str, times: int) -> bytes:
    """Returns a batch of JSON-RPC in which a peer announces itself and leaves, so many times."""
    announce: dict[str, object] = {"method": "announce", "params": {"peer_id": peer_id, "room": room}}
    leave: dict[str, object] = {"method": "disconnect", "params": {"peer_id": peer_id}}
    calls = [{"jsonrpc": "2.0", **call, "id": 42} for call in (announce, leave)]
    return _json(calls * times)


def talk(peer_id: str, room: str, targets: Iterable[str], sdp_bytes: int) -> bytes:
    """Returns a batch of JSON-RPC in which a peer announces itself and offers each target an SDP of such a length."""
    announce: dict[str, object] = {"method": "announce", "params": {"peer_id": peer_id, "room": room}}
    sdp = (OFFER * (sdp_bytes // len(OFFER) + 1))[:sdp_bytes]
    offers: list[dict[str, object]] = [
        {"method": "offer", "params": {"to_peer_id": target, "sdp": sdp}} for target in targets
    ]
    return _json([{"jsonrpc": "2.0", **call, "id": 42} for call in (announce, *offers)])


def listing(room: str) -> bytes:
    """Returns a question of JSON-RPC for the peers of a room."""
    return _jsonrpc("list_peers", {"room": room})


def relay(kind: Kind, what: Literal["offer", "answer", "candidate"], to: str, *, resumable: bool = False) -> Encoded:
    """Returns a message to another peer, encoded for one kind of server.

    A resumable peer's requests all have IDs of their own.
    """
    text = {"offer": OFFER, "answer": ANSWER, "candidate": CANDIDATE}[what]
    if not resumable:
        return Encoded(_relay(kind, what, to, text), len(text))
    data = _relay(kind, what, to, text, _FIRST_ID)
    return Encoded(data, len(text), data.rfind(str(_FIRST_ID).encode()) if kind == "ws" else 2)


def steps(
    message: Message, kinds: tuple[Kind, Kind], ids: tuple[str, str], *, resumable: bool = False
) -> list[tuple[int, Encoded]]:
    """Returns the messages that a lane sends over and over, each with its side; a call's first side is the caller's."""
    if message != "call":
        return [(0, relay(kinds[0], message, ids[1], resumable=resumable))]
    flow: list[tuple[int, Literal["offer", "answer", "candidate"]]] = [(0, "offer"), (1, "answer")]
    flow += [(0, "candidate"), (1, "candidate")] * CANDIDATES_PER_SIDE
    return [(side, relay(kinds[side], what, ids[1 - side], resumable=resumable)) for side, what in flow]


_ID, _FIRST_ID = 42, 10_000_000
"""The id of every request, and where they differ the first one."""


def _relay(kind: Kind, what: str, to: str, text: str, request_id: int = _ID) -> bytes:
    """Returns an encoded request that relays an offer, an answer or a candidate, in the form of one kind of server."""
    if kind == "tcp":
        return f"R{to}\n{text}".encode()
    if kind == "peerjs":
        payload = {"sdp": {"type": what, "sdp": text}, "type": "data", "connectionId": "dc_x8wsbq2na4v"}
        return _json({"type": "OFFER", "dst": to, "payload": payload})
    candidate = {"candidate": CANDIDATE, "sdp_mid": "0", "sdp_mline_index": 0, "username_fragment": "4Zc9"}
    if kind == "ws":
        method = "ice_candidate" if what == "candidate" else what
        return _jsonrpc(method, {"to_peer_id": to, **(candidate if what == "candidate" else {"sdp": text})}, request_id)
    request = pb.SignalingRequest(request_id=str(request_id))
    if what == "offer":
        request.offer.CopyFrom(pb.OfferRequest(to_peer_id=to, sdp=text, type="offer"))
    elif what == "answer":
        request.answer.CopyFrom(pb.AnswerRequest(to_peer_id=to, sdp=text, type="answer"))
    else:
        request.ice_candidate.CopyFrom(
            pb.IceCandidateRequest(
                to_peer_id=to, candidate=CANDIDATE, sdp_mid="0", sdp_mline_index=0, username_fragment="4Zc9"
            )
        )
    return request.SerializeToString()


def _jsonrpc(method: str, params: dict[str, object], request_id: int = _ID) -> bytes:
    return _json({"jsonrpc": "2.0", "method": method, "params": params, "id": request_id})


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
