"""Sessions that ask for nothing are told the very bytes that they were told before a peer could outlive its session."""

from typing import Any

import pytest

from clock import Clock
from grpc_lines import GrpcLine, SignalCall, WiredServer, make_server
from sigbridge.disconnects import DisconnectReason
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb

CAPABILITIES = pb.PeerCapabilities(audio=True, extensions='{"screen_share":true}')
CONVERSATION: list[tuple[str, dict[str, Any], dict[str, bytes]]] = [
    ("alice", {"request_id": "1", "offer": pb.OfferRequest(to_peer_id="bob", sdp="v=0")}, {
        "alice": b'\x00\x00\x00\x00V\n\x011jQ\x08\t\x12"Not announced: call announce first\x1a){"code":9,"status":"FAILED_PRECONDITION"}',
    }),
    ("alice", {"request_id": "2", "announce": pb.AnnounceRequest(peer_id="alice", capabilities=CAPABILITIES, metadata={"name": "Al"})}, {
        "alice": b'\x00\x00\x00\x00O\n\x012RJ\n\x12Announced as alice\x124{"peer_id":"alice","peers_count":0,"other_peers":[]}',
    }),
    ("bob", {"request_id": "a", "announce": pb.AnnounceRequest(peer_id="bob")}, {
        "alice": b"\x00\x00\x00\x00\x0bb\t\n\x07\n\x03bob\x12\x00",
        "bob": b'\x00\x00\x00\x00R\n\x01aRM\n\x10Announced as bob\x129{"peer_id":"bob","peers_count":1,"other_peers":["alice"]}\x00\x00\x00\x002b0\n.\n\x05alice\x12\x19\x08\x01"\x15{"screen_share":true}\x1a\n\n\x04name\x12\x02Al',
    }),
    ("bob", {"request_id": "b", "announce": pb.AnnounceRequest(peer_id="bob")}, {
        "bob": b'\x00\x00\x00\x00Y\n\x01bjT\x08\x06\x12\x1aPeer bob already announced\x1a4{"code":6,"status":"ALREADY_EXISTS","peer_id":"bob"}',
    }),
    ("alice", {"request_id": "3", "offer": pb.OfferRequest(to_peer_id="bob", sdp="v=0\r\n")}, {
        "alice": b'\x00\x00\x00\x00V\n\x013RQ\n\x14Offer relayed to bob\x129{"offer_id":"alice_bob_1700000000000","to_peer_id":"bob"}',
        "bob": b'\x00\x00\x00\x002b0\x1a.\n\x05alice\x12\x17alice_bob_1700000000000\x1a\x05v=0\r\n"\x05offer',
    }),
    ("bob", {"request_id": "c", "answer": pb.AnswerRequest(to_peer_id="alice", sdp="v=0\r\n", type="pranswer", offer_id="alice_bob_1700000000000")}, {
        "alice": b'\x00\x00\x00\x003b1"/\n\x03bob\x12\x05v=0\r\n\x1a\x08pranswer"\x17alice_bob_1700000000000',
        "bob": b'\x00\x00\x00\x00/\n\x01cR*\n\x10Relayed to alice\x12\x16{"to_peer_id":"alice"}',
    }),
    ("bob", {"answer": pb.AnswerRequest(to_peer_id="alice", sdp="v=0\r\n")}, {
        "alice": b'\x00\x00\x00\x00\x18b\x16"\x14\n\x03bob\x12\x05v=0\r\n\x1a\x06answer',
        "bob": b'\x00\x00\x00\x00,R*\n\x10Relayed to alice\x12\x16{"to_peer_id":"alice"}',
    }),
    ("alice", {"request_id": "4", "ice_candidate": pb.IceCandidateRequest(to_peer_id="bob", candidate="c", sdp_mid="0", sdp_mline_index=65536)}, {
        "alice": b'\x00\x00\x00\x00+\n\x014R&\n\x0eRelayed to bob\x12\x14{"to_peer_id":"bob"}',
        "bob": b"\x00\x00\x00\x00\x15b\x13*\x11\n\x05alice\x12\x01c\x1a\x010 \x80\x80\x04",
    }),
    ("alice", {"request_id": "4", "ice_candidate": pb.IceCandidateRequest(to_peer_id="bob")}, {
        "alice": b'\x00\x00\x00\x00+\n\x014R&\n\x0eRelayed to bob\x12\x14{"to_peer_id":"bob"}',
        "bob": b"\x00\x00\x00\x00\x0bb\t*\x07\n\x05alice",
    }),
    ("alice", {"request_id": "5", "disconnect": pb.DisconnectRequest(peer_id="bob", offer_id="alice_bob_1700000000000")}, {
        "alice": b'\x00\x00\x00\x00/\n\x015R*\n\x15Disconnected from bob\x12\x11{"peer_id":"bob"}',
        "bob": b'\x00\x00\x00\x00$b"2 \n\x05alice\x12\x17alice_bob_1700000000000',
    }),
    ("alice", {"request_id": "6", "list_peers": pb.ListPeersRequest()}, {
        "alice": b'\x00\x00\x00\x00P\n\x016ZK\n6\n\x05alice\x12\x19\x08\x01"\x15{"screen_share":true}\x18\x01"\n\n\x04name\x12\x02Al(\x80\xe2\xcf\xaa\x06\n\x0f\n\x03bob\x12\x00\x18\x01(\x80\xe2\xcf\xaa\x06\x10\x02',
    }),
    ("alice", {"request_id": "7", "authenticate": pb.AuthenticateRequest(token="t")}, {
        "alice": b'\x00\x00\x00\x006\n\x017R1\n\rAuthenticated\x12 {"subject":"","expires_at":null}',
    }),
    ("bob", {}, {
        "bob": b'\x00\x00\x00\x00Aj?\x08\x03\x12\x13No request provided\x1a&{"code":3,"status":"INVALID_ARGUMENT"}',
    }),
    ("bob", {"request_id": "x", "offer": pb.OfferRequest(to_peer_id="nobody", sdp="v=0")}, {
        "bob": b'\x00\x00\x00\x00S\n\x01xjN\x08\x05\x12\x16Peer not found: nobody\x1a2{"code":5,"status":"NOT_FOUND","peer_id":"nobody"}',
    }),
]  # fmt: skip
"""Requests, each with its sender, and the messages that each of both is sent then, with gRPC's prefix."""

YES, NO = {"signaling-reconnect": "yes"}, {"signaling-reconnect": "no"}
ENDS: dict[str, tuple[str, str, dict[str, str]]] = {
    "client_left": ("0", "", {}),
    "draining": ("14", "Session ended: draining", YES),
    "slow_consumer": ("8", "Session ended: slow_consumer", YES),
    "token_expired": ("16", "Session ended: token_expired", YES),
    "announce_timeout": ("4", "Session ended: announce_timeout", YES),
    "flooding": ("8", "Session ended: flooding", YES),
    "message_too_big": ("8", "Session ended: message_too_big", YES),
    "message_timeout": ("4", "Session ended: message_timeout", YES),
    "overload": ("8", "Session ended: overload", YES),
    "not_utf8": ("3", "Session ended: not_utf8", NO),
    "protocol_error": ("13", "Session ended: protocol_error", NO),
    "max_age": ("14", "Session ended: max_age", YES),
    "keepalive_timeout": ("14", "Session ended: keepalive_timeout", YES),
    "connection_lost": ("14", "Session ended: connection_lost", YES),
    "revoked": ("7", "Session ended: revoked", NO),
    "internal_error": ("13", "Internal error", YES),
}
"""The status, message and advice of a call whose session the server ends, by the reason."""
TOLD = b"\x00\x00\x00\x00\tb\x07\x12\x05\n\x03bob\x00\x00\x00\x00\x0bb\t\n\x07\n\x03bob\x12\x00"
"""Bytes that Alice is sent when Bob's session ends, however, and he comes again."""
AGAIN = (
    b'\x00\x00\x00\x00V\n\x05againRM\n\x10Announced as bob\x129{"peer_id":"bob","peers_count":1,"other_peers":["alice"]}'
    b"\x00\x00\x00\x00\rb\x0b\n\t\n\x05alice\x12\x00"
)
"""Bytes that Bob is sent then."""


def two(server: WiredServer, *, announced: bool) -> tuple[dict[str, GrpcLine], dict[str, SignalCall]]:
    """The lines and sessions of Alice and Bob."""
    lines = {name: server.line() for name in ("alice", "bob")}
    calls = {name: line.session(name if announced else "") for name, line in lines.items()}
    for name, line in lines.items():
        line.pump()
        calls[name].outcome.body = b""
    return lines, calls


def test_what_a_session_is_told() -> None:
    lines, calls = two(make_server(Clock()), announced=False)
    for speaker, request, expected in CONVERSATION:
        calls[speaker].send(**request)
        for name, line in lines.items():
            line.pump()
            said, calls[name].outcome.body = calls[name].outcome.body, b""
            assert said == expected.get(name, b""), (speaker, request)


@pytest.mark.parametrize("how", ["cancelled", "half-closed", "lost", *ENDS])
def test_the_end_of_a_session_and_what_follows(server: WiredServer, how: str) -> None:
    lines, calls = two(server, announced=True)
    alice, bob = calls["alice"], calls["bob"]
    if how == "cancelled":
        bob.cancel()
    elif how == "half-closed":
        bob.half_close()
    elif how == "lost":
        lines["bob"].wire.connection_lost(server.clock.now)
    else:
        (reason,) = (one for one in DisconnectReason if one.word == how)
        (session,) = (one for one in server.hub._sessions.values() if one.peer.peer_id == "bob")
        server.hub.end(session, reason, server.clock.now)
    for line in lines.values():
        line.pump()
    word = "client_left" if how == "half-closed" else how
    if word in ENDS:
        status, message, advice = ENDS[word]
        words = {"grpc-message": message} if message else {}
        assert bob.outcome.trailers == {"grpc-status": status, **words, "signaling-disconnect": word, **advice}
    assert bob.outcome.body == b""
    again = server.line().session()
    again.send("again", announce=pb.AnnounceRequest(peer_id="bob"))
    lines["alice"].pump()
    assert (alice.outcome.body, again.outcome.body) == (TOLD, AGAIN)
