"""Sessions of the plain dialect that ask for nothing are told the very bytes that they were always told."""

import pytest

from sigbridge.disconnects import DisconnectReason
from websocket_lines import masked

CONVERSATION = [
    ("alice", b'{"jsonrpc":"2.0","id":1,"method":"offer","params":{"to_peer_id":"bob","sdp":"v=0"}}', {
        "alice": b'\x81~\x00\x90{"jsonrpc":"2.0","error":{"code":-32000,"message":"Not announced: call announce first","data":{"code":9,"status":"FAILED_PRECONDITION"}},"id":1}',
    }),
    ("alice", b'{"jsonrpc":"2.0","id":2,"method":"announce","params":{"peer_id":"alice","capabilities":{"audio":true,"screen_share":true},"metadata":{"name":"Al"}}}', {
        "alice": b'\x81V{"jsonrpc":"2.0","result":{"peer_id":"alice","peers_count":0,"other_peers":[]},"id":2}',
    }),
    ("bob", b'{"jsonrpc":"2.0","id":"a","method":"announce","params":{"peer_id":"bob"}}', {
        "alice": b'\x81~\x00\x8b{"jsonrpc":"2.0","method":"peer_joined","params":{"peer_id":"bob","capabilities":{"audio":false,"video":false,"data":false},"metadata":{}}}',
        "bob": b'\x81]{"jsonrpc":"2.0","result":{"peer_id":"bob","peers_count":1,"other_peers":["alice"]},"id":"a"}\x81~\x00\xab{"jsonrpc":"2.0","method":"peer_joined","params":{"peer_id":"alice","capabilities":{"audio":true,"video":false,"data":false,"screen_share":true},"metadata":{"name":"Al"}}}',
    }),
    ("bob", b'{"jsonrpc":"2.0","id":"b","method":"announce","params":{"peer_id":"bob"}}', {
        "bob": b'\x81~\x00\x95{"jsonrpc":"2.0","error":{"code":-32000,"message":"Peer bob already announced","data":{"code":6,"status":"ALREADY_EXISTS","peer_id":"bob"}},"id":"b"}',
    }),
    ("alice", b'{"jsonrpc":"2.0","id":3,"method":"offer","params":{"to_peer_id":"bob","sdp":"v=0\\r\\n"}}', {
        "alice": b'\x81[{"jsonrpc":"2.0","result":{"offer_id":"alice_bob_1700000000000","to_peer_id":"bob"},"id":3}',
        "bob": b'\x81~\x00\x88{"jsonrpc":"2.0","method":"offer","params":{"from_peer_id":"alice","offer_id":"alice_bob_1700000000000","sdp":"v=0\\r\\n","type":"offer"}}',
    }),
    ("bob", b'{"jsonrpc":"2.0","id":null,"method":"answer","params":{"to_peer_id":"alice","sdp":"v=0\\r\\n","type":"pranswer","offer_id":"alice_bob_1700000000000"}}', {
        "alice": b'\x81~\x00\x8a{"jsonrpc":"2.0","method":"answer","params":{"from_peer_id":"bob","sdp":"v=0\\r\\n","type":"pranswer","offer_id":"alice_bob_1700000000000"}}',
        "bob": b'\x81;{"jsonrpc":"2.0","result":{"to_peer_id":"alice"},"id":null}',
    }),
    ("bob", b'{"jsonrpc":"2.0","method":"answer","params":{"to_peer_id":"alice","sdp":"v=0\\r\\n"}}', {
        "alice": b'\x81c{"jsonrpc":"2.0","method":"answer","params":{"from_peer_id":"bob","sdp":"v=0\\r\\n","type":"answer"}}',
    }),
    ("alice", b'{"jsonrpc":"2.0","id":4,"method":"ice_candidate","params":{"to_peer_id":"bob","candidate":"c","sdpMid":"0","sdpMLineIndex":65536,"from":"x","to":"y"}}', {
        "alice": b'\x816{"jsonrpc":"2.0","result":{"to_peer_id":"bob"},"id":4}',
        "bob": b'\x81~\x00\x82{"jsonrpc":"2.0","method":"ice_candidate","params":{"from_peer_id":"alice","candidate":"c","sdp_mid":"0","sdp_mline_index":65536}}',
    }),
    ("alice", b'{"jsonrpc":"2.0","id":5,"method":"ice_candidate","params":{"to_peer_id":"bob","candidate":"c"}}', {
        "alice": b'\x816{"jsonrpc":"2.0","result":{"to_peer_id":"bob"},"id":5}',
        "bob": b'\x81p{"jsonrpc":"2.0","method":"ice_candidate","params":{"from_peer_id":"alice","candidate":"c","sdp_mline_index":0}}',
    }),
    ("alice", b'{"jsonrpc":"2.0","id":6,"method":"ice_candidate","params":{"to_peer_id":"bob","candidate":null,"sdp_m_line_index":9}}', {
        "alice": b'\x816{"jsonrpc":"2.0","result":{"to_peer_id":"bob"},"id":6}',
        "bob": b'\x81[{"jsonrpc":"2.0","method":"ice_candidate","params":{"from_peer_id":"alice","candidate":""}}',
    }),
    ("alice", b'{"jsonrpc":"2.0","id":7,"method":"offer","params":{"to":"bob","sdp":"v=0"}}', {
        "alice": b'\x81~\x00\xa5{"jsonrpc":"2.0","error":{"code":-32602,"message":"Invalid params: to_peer_id is missing","data":{"code":3,"status":"INVALID_ARGUMENT","field":"to_peer_id"}},"id":7}',
    }),
    ("alice", b'{"jsonrpc":"2.0","id":8,"method":"offer","params":{"to_peer_id":"remotemedia-server","sdp":"v=0"}}', {
        "alice": b'\x81~\x00\xa5{"jsonrpc":"2.0","error":{"code":-32000,"message":"Peer not found: remotemedia-server","data":{"code":5,"status":"NOT_FOUND","peer_id":"remotemedia-server"}},"id":8}',
    }),
    ("alice", b'{"jsonrpc":"2.0","id":9,"method":"peer.foo"}', {
        "alice": b'\x81~\x00\x83{"jsonrpc":"2.0","error":{"code":-32601,"message":"Method not found: peer.foo","data":{"code":12,"status":"UNIMPLEMENTED"}},"id":9}',
    }),
    ("alice", b'{"id":10,"method":"list_peers"}', {
        "alice": b'\x81f{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid Request: jsonrpc must be \\"2.0\\""},"id":10}',
    }),
    ("alice", b'[{"jsonrpc":"2.0","id":11,"method":"list_peers"},{"jsonrpc":"2.0","id":12,"method":"disconnect","params":{"peer_id":"bob","reason":"r"}},1]', {
        "alice": b'\x81~\x01\xfe[{"jsonrpc":"2.0","result":{"peers":[{"peer_id":"alice","capabilities":{"audio":true,"video":false,"data":false,"screen_share":true},"state":"available","metadata":{"name":"Al"},"connected_at":1700000000},{"peer_id":"bob","capabilities":{"audio":false,"video":false,"data":false},"state":"available","metadata":{},"connected_at":1700000000}],"count":2},"id":11},{"jsonrpc":"2.0","result":{"peer_id":"bob"},"id":12},{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid Request: not an object"},"id":null}]',
        "bob": b'\x81K{"jsonrpc":"2.0","method":"peer_disconnected","params":{"peer_id":"alice"}}',
    }),
    ("alice", b'{"jsonrpc":"2.0","id":13,"method":"disconnect","params":{"peer_id":"bob","offer_id":"alice_bob_1700000000000","reason":["r"]}}', {
        "alice": b'\x814{"jsonrpc":"2.0","result":{"peer_id":"bob"},"id":13}',
        "bob": b'\x81p{"jsonrpc":"2.0","method":"peer_disconnected","params":{"peer_id":"alice","offer_id":"alice_bob_1700000000000"}}',
    }),
    ("bob", b'nonsense', {
        "bob": b'\x81K{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"},"id":null}',
    }),
    ("bob", b'{"jsonrpc":"2.0","id":14,"method":"announce","params":{"peer_id":"x","capabilities":["audio"]}}', {
        "bob": b'\x81~\x00\xb1{"jsonrpc":"2.0","error":{"code":-32602,"message":"Invalid params: capabilities must be an object","data":{"code":3,"status":"INVALID_ARGUMENT","field":"capabilities"}},"id":14}',
    }),
    ("bob", b'{"jsonrpc":"2.0","id":15,"method":"health_check"}', {
        "bob": b'\x81~\x00\xa2{"jsonrpc":"2.0","result":{"status":"healthy","uptime_seconds":0,"connected_peers":2,"metrics":{"pending_offers":0,"sessions":{"websocket":2},"rooms":1}},"id":15}',
    }),
    ("bob", b'{"jsonrpc":"2.0","id":16,"method":"disconnect","params":{"peer_id":"bob"}}', {
        "alice": b'\x81A{"jsonrpc":"2.0","method":"peer_left","params":{"peer_id":"bob"}}',
        "bob": b'\x814{"jsonrpc":"2.0","result":{"peer_id":"bob"},"id":16}',
    }),
]  # fmt: skip
"""Requests, each with its sender, and the frames that each of both is sent then.

Recorded on a server that knew the plain dialect alone.
"""


def test_a_plain_session_is_told_the_same_bytes_as_ever(connect):
    lines = {"alice": connect(), "bob": connect()}
    for line in lines.values():
        line.output = b""
    for speaker, text, expected in CONVERSATION:
        lines[speaker].client.send_text(text)
        lines[speaker].flush_client()
        for name, line in lines.items():
            line.pump()
            said, line.output = line.output, b""
            assert said == expected.get(name, b""), (speaker, text)


OWN_ENDS = {
    "an empty close frame": (masked(8, b""), b"\x88\x00"),
    "1000": (masked(8, b"\x03\xe8bye"), b"\x88\x05\x03\xe8bye"),
    "1001": (masked(8, b"\x03\xe9"), b"\x88\x02\x03\xe9"),
    "1011": (masked(8, b"\x03\xf3keepalive ping timeout"), b"\x88\x18\x03\xf3keepalive ping timeout"),
    "4000": (masked(8, b"\x0f\xa0x"), b"\x88\x03\x0f\xa0x"),
    "no close frame": (b"", b""),
}
"""Frames with which a client ends, and those that it is sent.

Recorded, as all below, before a peer could outlive a session.
"""
ENDS = {
    "client_left": b"\x88\r\x03\xe8client_left",
    "draining": b"\x88\n\x03\xf4draining",
    "slow_consumer": b"\x88\x0f\x0f\xa0slow_consumer",
    "token_expired": b"\x88\x0f\x0f\xa1token_expired",
    "announce_timeout": b"\x88\x12\x0f\xa2announce_timeout",
    "flooding": b"\x88\n\x0f\xa3flooding",
    "message_too_big": b"\x88\x11\x03\xf1message_too_big",
    "message_timeout": b"\x88\x11\x0f\xa4message_timeout",
    "overload": b"\x88\n\x03\xf5overload",
    "not_utf8": b"\x88\n\x03\xefnot_utf8",
    "protocol_error": b"\x88\x10\x03\xeaprotocol_error",
    "max_age": b"\x88\t\x03\xf4max_age",
    "keepalive_timeout": b"",
    "connection_lost": b"",
    "revoked": b"\x88\t\x11\x95revoked",
    "internal_error": b"\x88\x10\x03\xf3internal_error",
}
"""Frames that a client is sent whose session the server ends, by the reason."""
TOLD = (
    b'\x81A{"jsonrpc":"2.0","method":"peer_left","params":{"peer_id":"bob"}}'
    b'\x81~\x00\x8b{"jsonrpc":"2.0","method":"peer_joined","params":{"peer_id":"bob",'
    b'"capabilities":{"audio":false,"video":false,"data":false},"metadata":{}}}'
)
"""Frames that Alice is sent when Bob's session ends, however, and he comes again."""
AGAIN = (
    b'\x81[{"jsonrpc":"2.0","result":{"peer_id":"bob","peers_count":1,"other_peers":["alice"]},"id":1}'
    b'\x81~\x00\x8d{"jsonrpc":"2.0","method":"peer_joined","params":{"peer_id":"alice",'
    b'"capabilities":{"audio":false,"video":false,"data":false},"metadata":{}}}'
)
"""Frames that Bob is sent then."""


@pytest.mark.parametrize("how", [*OWN_ENDS, *ENDS])
def test_the_end_of_a_session_and_what_follows_are_the_same_bytes_as_ever(connect, hub, clock, how):
    alice, bob = connect("alice"), connect("bob")
    alice.pump()
    alice.output = bob.output = b""
    if how in ENDS:
        (reason,) = (one for one in DisconnectReason if one.word == how)
        hub.end(bob.session, reason, clock.now)
    elif OWN_ENDS[how][0]:
        bob.feed(OWN_ENDS[how][0])
    else:
        bob.end_input()
    bob.pump()
    assert bob.output == (ENDS[how] if how in ENDS else OWN_ENDS[how][1])
    again = connect()
    again.output = b""
    again.call("announce", peer_id="bob")
    alice.pump()
    assert (alice.output, again.output) == (TOLD, AGAIN)
