"""A third dialect needs nothing but a class and its registration: here is a tiny one, which only these tests register.

`docs/dialects.md` says how to add a real one.
"""

import msgspec
import pytest

from dotted_lines import ask, error, told
from sigbridge import OfferReceived, PeerJoined
from sigbridge_websocket.dialects import PLAIN, Dialect
from sigbridge_websocket.dotted import DOTTED
from sigbridge_websocket.encoding import BARE_JSON, FRAMED_JSON
from sigbridge_websocket.shapes import encode_json


@pytest.fixture
def terse(monkeypatch):
    """The terse dialect: two methods with short names and two events, arrays for results and another code."""
    # First, since a compiled class has no descendants that are not.
    monkeypatch.setattr(PLAIN, "successors", PLAIN.successors)

    class Terse(Dialect):
        name = "terse"

        def __init__(self):
            super().__init__()
            self.kinds |= {"t/join": "announce", "t/call": "offer"}

        def owns(self, method):
            return method.startswith("t/")

        def fast_call(self, text):
            return None

        def request(self, method, params, *, has_id=True, in_batch=False):
            if method == "t/join":
                return super().request("announce", {"peer_id": params.get("me", "")})
            if method == "t/call":
                return super().request("offer", {"to_peer_id": params.get("you", ""), "sdp": params.get("sdp", "")})
            return super().request(method, params)

        def response(self, outcome, request_id):
            if isinstance(outcome, Exception | dict):
                return super().response(outcome, request_id)
            fields = list(msgspec.to_builtins(outcome).values())
            return encode_json({"jsonrpc": "2.0", "result": fields, "id": request_id})

        def error(self, error):
            known = super().error(error)
            known.code = -1
            return known

        def event(self, event):
            if isinstance(event, PeerJoined):
                return encode_json({"jsonrpc": "2.0", "method": "t/joined", "params": {"who": event.peer_id}})
            return super().event(event)

        def relay(self, event, to_peer_id):
            if isinstance(event, OfferReceived):
                params = {"who": event.from_peer_id, "you": to_peer_id, "sdp": event.sdp}
                return encode_json({"jsonrpc": "2.0", "method": "t/call", "params": params})
            return super().relay(event, to_peer_id)

    dialect = Terse()
    monkeypatch.setattr(PLAIN, "successors", (*PLAIN.successors, dialect))
    return dialect


def test_sessions_of_three_dialects_understand_each_other(terse, enter):
    alice, bob, carol = enter(), enter("bob"), enter("carol", plain=True)
    told(bob)
    assert ask(alice, "t/join", me="alice") == ["alice", 2, ["bob", "carol"]]
    assert told(bob) == [("peer.joined", {"peer_id": "alice", "capabilities": [], "metadata": {}})]
    assert [method for method, _ in told(carol)] == ["peer_joined"]
    assert set(ask(bob, "peer.offer", to="alice", sdp="v=0")) == {"success", "offer_id", "to_peer_id"}
    assert told(alice) == [("t/call", {"who": "bob", "you": "alice", "sdp": "v=0"})]
    assert ask(alice, "t/call", you="carol", sdp="v=0")[1] == "carol"
    assert ask(alice, "offer", to_peer_id="bob", sdp="v=0")[1] == "bob"
    assert [method for method, _ in told(carol)] == ["offer"]
    assert [method for method, _ in told(bob)] == ["peer.offer"]
    enter("dora")
    assert told(alice) == [("t/joined", {"who": "dora"})]
    assert ask(alice, "t/call", you="nobody", sdp="v")["code"] == -1
    assert "openrpc" in ask(alice, "rpc.discover")


def test_what_it_owns_changes_a_session_and_unknown_names_of_it_are_no_methods(terse, enter):
    line = enter()
    unknown = {"code": 12, "status": "UNIMPLEMENTED"}
    assert ask(line, "t/none") == error(-1, "Method not found: t/none", unknown)
    assert dict(enter.hub.counters.dialects) == {"dotted": 0, "terse": 1}
    # It is not a dotted dialect, and no session goes from one to the other.
    assert ask(line, "peer.list")["message"] == "Method not found: peer.list"


def test_a_session_changes_its_dialect_once(terse):
    assert PLAIN.successor("t/x") is terse
    assert DOTTED.successor("t/x") is None
    assert terse.successor("peer.list") is None


def test_its_encodings_are_one_for_each_way_of_framing(terse):
    for encoding in (FRAMED_JSON, BARE_JSON):
        assert encoding.speaking(terse) is encoding.speaking(terse)
        assert type(encoding.speaking(terse)) is type(encoding)
        assert encoding.speaking(terse).dialect is terse
    assert FRAMED_JSON.speaking(terse) is not BARE_JSON.speaking(terse)
