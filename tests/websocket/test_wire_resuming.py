"""WebSocket: what a session says and hears that asks to be resumable, or to be told beforehand, in both dialects."""

import pytest

from dotted_lines import ask, request, told, wrong_field
from sigbridge.disconnects import DisconnectReason
from sigbridge.messages import ServerNotice
from sigbridge_websocket.error_codes import CLOSE_CODES
from sigbridge_websocket.frames import CLOSE, close_payload
from websocket_lines import ended, masked

LIST = b'{"jsonrpc":"2.0","method":"list_peers","id":1}'


@pytest.fixture(params=["plain", "dotted"])
def dialect(request):
    return request.param


@pytest.fixture
def announce(dialect):
    return "announce" if dialect == "plain" else "peer.announce"


def numbers(events):
    """The numbers of events, as `told` has them."""
    return [params["seq"] for _, params in events]


def test_who_asks_is_told_by_what_to_come_back(enter, announce):
    line = enter()
    result = ask(line, announce, peer_id="alice", resumable=True)
    assert result.pop("success", True)
    assert result.pop("peers_count") in (0, 1)
    token = result.pop("resume_token")
    assert len(token) == 36
    assert result == {"peer_id": "alice", "other_peers": [], "resumable": True, "resume_window_seconds": 30.0}


def test_a_server_that_holds_nobody_says_so(enter, announce):
    line = enter(settings={"resume_window_seconds": 0.0})
    result = ask(line, announce, peer_id="alice", resumable=True)
    assert set(result) - {"success"} == {"peer_id", "peers_count", "other_peers", "resumable"}
    assert result["resumable"] is False


@pytest.mark.parametrize("asked", [{}, {"resumable": False}, {"resumable": None, "resume_token": None, "notices": None},
                                   {"resume_token": "", "last_seq": 0}, {"notices": True}, {"last_seq": 7}])  # fmt: skip
def test_who_does_not_ask_is_told_nothing_of_it(enter, announce, asked):
    line = enter()
    enter("bob", plain=True)
    response, roster = line.say(request(announce, {"peer_id": "alice", **asked}, id=1))
    assert set(response["result"]) - {"success"} == {"peer_id", "peers_count", "other_peers"}
    enter("carol", plain=True)
    events = [roster["params"], *(params for _, params in told(line))]
    assert [set(params) for params in events] == [{"peer_id", "capabilities", "metadata"}] * 2


@pytest.mark.parametrize(("field", "wrong", "why"), [
    ("resumable", 1, "must be true or false"),
    ("resumable", "true", "must be true or false"),
    ("notices", {}, "must be true or false"),
    ("resume_token", 5, "must be a string"),
    ("resume_token", "x" * 257, "is longer than 256 letters"),
    ("last_seq", "1", "must be a whole number from 0 to 18446744073709551615"),
    ("last_seq", 1.5, "must be a whole number from 0 to 18446744073709551615"),
    ("last_seq", True, "must be a whole number from 0 to 18446744073709551615"),
    ("last_seq", -1, "must be a whole number from 0 to 18446744073709551615"),
    ("last_seq", 2**64, "must be a whole number from 0 to 18446744073709551615"),
    ("last_seq", 2**70, "must be a whole number from 0 to 18446744073709551615"),
])  # fmt: skip
def test_a_wrong_field_is_named(enter, announce, field, wrong, why):
    assert ask(enter(), announce, **{"peer_id": "alice", field: wrong}) == wrong_field(field, why)


def test_events_are_numbered_and_come_again_on_another_connection(enter, announce, dialect):
    bob = enter("bob", plain=True)
    line = enter()
    response, roster = line.say(request(announce, {"peer_id": "alice", "resumable": True}, id=1))
    token = response["result"]["resume_token"]
    assert roster["params"]["seq"] == 1
    ask(bob, "offer", to_peer_id="alice", sdp="v=0")
    ((method, params),) = told(line)
    assert (method.removeprefix("peer."), params["seq"], params["sdp"]) == ("offer", 2, "v=0")
    told(bob)
    line.end_input()
    ask(bob, "ice_candidate", to_peer_id="alice", candidate="c")
    ask(bob, "disconnect", peer_id="alice")
    assert [one["state"] for one in ask(bob, "list_peers")["peers"]] == ["available", "away"]
    again = enter()
    response, *missed = again.say(request(announce, {"peer_id": "alice", "resume_token": token, "last_seq": 1}, id=1))
    result = response["result"]
    assert (result["resumed"], result["resume_token"], result["other_peers"]) == (True, token, ["bob"])
    assert [one["params"]["seq"] for one in missed] == [2, 3, 4]
    names = ["offer", "ice_candidate", "disconnected" if dialect == "dotted" else "peer_disconnected"]
    assert [one["method"].removeprefix("peer.") for one in missed] == names
    assert told(bob) == []


def test_control_messages_are_not_numbered(enter):
    caller = enter()
    ask(caller, "peer.announce", peer_id="caller", resumable=True)
    server = enter("remotemedia-server")
    assert numbers(told(caller)) == [1]
    caller.say(request("peer.offer", {"to": "remotemedia-server", "sdp": "v=0"}))
    assert ask(server, "control.event", to="caller", x=1) == {"success": True}
    assert [method for method, _ in told(caller)] == ["control.event"]
    ask(server, "peer.answer", to="caller", sdp="v=0")
    assert numbers(told(caller)) == [2]


def test_a_newer_session_replaces_this_one(enter, announce):
    line, again = enter(), enter()
    token = ask(line, announce, peer_id="alice", resumable=True)["resume_token"]
    assert ask(again, announce, peer_id="alice", resume_token=token)["resumed"]
    line.pump()
    assert line.closed == (4500, "replaced")
    assert ask(again, "list_peers")["count"] == 1


# What the client's own end means.


@pytest.mark.parametrize(("payload", "held"), [
    (b"", False),
    (close_payload(1000, "bye"), False),
    (close_payload(1001, ""), False),
    (close_payload(1002, ""), True),
    (close_payload(1011, "keepalive ping timeout"), True),
    (close_payload(3000, ""), True),
    (close_payload(4000, "slow_consumer"), True),
])  # fmt: skip
def test_a_client_that_leaves_is_not_held(connect, hub, payload, held):
    line = connect()
    line.call("announce", peer_id="alice", resumable=True)
    line.feed(masked(CLOSE, payload))
    assert hub.peer_count == held
    assert ended(hub, "connection_lost" if held else "client_left") == 1


@pytest.mark.parametrize("broken", [b"\x81\x00", masked(CLOSE, b"\x03"), masked(1, b"\xff"), masked(8, b"\x03\xee")],
                         ids=["unmasked", "half a code", "no UTF-8", "a code that is never sent"])  # fmt: skip
def test_who_breaks_the_rules_is_not_held(connect, hub, broken):
    line = connect()
    line.call("announce", peer_id="alice", resumable=True)
    line.feed(broken)
    assert hub.peer_count == 0


# What is said at the end.


@pytest.mark.parametrize("reason", list(CLOSE_CODES))
@pytest.mark.parametrize("asked", [{"resumable": True}, {"notices": True}, {}], ids=["resumable", "notices", "nothing"])
def test_who_asked_is_told_when_to_come_back(connect, hub, clock, reason, asked):
    line = connect()
    line.call("announce", peer_id="alice", **asked)
    hub.end(line.session, reason, clock.now)
    line.pump()
    code, said = line.closed
    assert code == CLOSE_CODES[reason]
    word, _, retry = said.partition(" retry-after-ms=")
    assert word == reason.word
    told_when = bool(asked) and reason in (DisconnectReason.DRAINING, DisconnectReason.FLOODING)
    assert bool(retry) == told_when
    if reason is DisconnectReason.FLOODING and asked:
        assert retry == "5000"
    elif told_when:
        assert 1 <= int(retry) <= 1000


def test_who_floods_is_told_how_long_it_is_kept_out(make_hub, connect, clock):
    line = connect(hub=make_hub(rate_per_second=1.0, rate_burst=10, flood_hold_seconds=7.5))
    line.call("announce", peer_id="alice", notices=True)
    while line.closed is None:
        line.say(LIST)
        clock.advance(0.025)
    assert line.closed == (4003, "flooding retry-after-ms=7500")


# Notices.


def test_a_notice_is_an_event_without_a_number(enter, announce):
    line = enter()
    ask(line, announce, peer_id="alice", resumable=True)
    hub, session = line.hub, line.session
    hub._delivery.notify(session, ServerNotice("draining", "bye", 250, 1700000000000, {"x": 1}), line.clock.now)
    hub._delivery.notify(session, ServerNotice("text", "hello"), line.clock.now)
    assert told(line) == [
        ("server_notice", {"kind": "draining", "message": "bye", "reconnect_after_ms": 250,
                           "deadline_unix_ms": 1700000000000, "data": {"x": 1}}),
        ("server_notice", {"kind": "text", "message": "hello"}),
    ]  # fmt: skip
    enter("bob")
    assert numbers(told(line)) == [1]
    assert hub.counters.events["websocket", "server_notice"] == 2
