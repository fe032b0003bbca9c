"""The gRPC wire: what a session says and hears that asks to be resumable, or to be told beforehand."""

from typing import Any

import msgspec
import pytest

from clock import Clock
from directories import Elsewhere
from grpc_lines import GrpcLine, SignalCall, WiredServer, ended, make_server
from sigbridge.disconnects import DisconnectReason
from sigbridge.messages import ServerNotice
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb


def announce(line: GrpcLine, peer_id: str, **asked: Any) -> tuple[SignalCall, dict[str, Any]]:
    """A session that has announced itself, and the result."""
    call = line.session()
    (response, *_) = call.send("announce", announce=pb.AnnounceRequest(peer_id=peer_id, **asked))
    return call, msgspec.json.decode(response.ack.data)


def events(call: SignalCall) -> list[tuple[int, str | None]]:
    """The numbers and kinds of all events that have come."""
    found = [one for one in call.outcome.responses if one.HasField("notification")]
    return [(one.seq, one.notification.WhichOneof("notification")) for one in found]


def offer(call: SignalCall, to_peer_id: str) -> None:
    call.send("offer", offer=pb.OfferRequest(to_peer_id=to_peer_id, sdp="v=0"))


def test_who_asks_is_told_by_what_to_come_back(server: WiredServer) -> None:
    _, result = announce(server.line(), "alice", resumable=True)
    assert len(result.pop("resume_token")) == 36
    assert result == {
        "peer_id": "alice",
        "peers_count": 0,
        "other_peers": [],
        "resumable": True,
        "resume_window_seconds": 30.0,
    }


@pytest.mark.parametrize("asked", [{}, {"notices": True}, {"last_seq": 2**64 - 1}])
def test_who_does_not_ask_is_told_nothing_of_it(server: WiredServer, asked: dict[str, Any]) -> None:
    line = server.line()
    line.session("bob")
    call, result = announce(line, "alice", **asked)
    assert set(result) == {"peer_id", "peers_count", "other_peers"}
    line.session("carol")
    assert events(call) == [(0, "peer_joined")] * 2
    assert b"\x10" not in {message[:1] for message in call.outcome.messages}


def test_a_token_that_is_too_long_is_a_wrong_field(server: WiredServer) -> None:
    call = server.line().session()
    (response,) = call.send("1", announce=pb.AnnounceRequest(peer_id="alice", resume_token="x" * 257))
    assert response.error.message == "Invalid params: resume_token is longer than 256 letters"
    assert msgspec.json.decode(response.error.details)["field"] == "resume_token"


@pytest.mark.parametrize("way", ["cancelled", "reset", "deadline"])
def test_events_are_numbered_and_come_again_on_another_connection(server: WiredServer, clock: Clock, way: str) -> None:
    bob = server.line().session("bob")
    line = server.line()
    call = SignalCall(line, *([(b"grpc-timeout", b"2S")] if way == "deadline" else []))
    (response, *_) = call.send(announce=pb.AnnounceRequest(peer_id="alice", resumable=True))
    token = msgspec.json.decode(response.ack.data)["resume_token"]
    offer(bob, "alice")
    line.pump()
    assert events(call) == [(1, "peer_joined"), (2, "offer")]
    if way == "cancelled":
        call.cancel()
    elif way == "reset":
        line.wire.connection_lost(clock.now)
    else:
        clock.advance(2)
        line.expire()
    assert ended(server) == {"connection_lost": 1}
    assert server.hub.peer_count == 2
    (*_, listed) = bob.send("list", list_peers=pb.ListPeersRequest())
    assert [one.state for one in listed.peer_list.peers] == [pb.PEER_STATE_AVAILABLE, pb.PEER_STATE_AWAY]
    bob.send("c", ice_candidate=pb.IceCandidateRequest(to_peer_id="alice", candidate="c"))
    bob.send("d", disconnect=pb.DisconnectRequest(peer_id="alice"))
    again, result = announce(server.line(), "alice", resume_token=token, last_seq=1)
    assert (result["resumed"], result["resume_token"], result["other_peers"]) == (True, token, ["bob"])
    assert events(again) == [(2, "offer"), (3, "ice_candidate"), (4, "peer_disconnected")]
    assert all(one.notification.WhichOneof("notification") != "peer_left" for one in bob.outcome.responses)


def test_half_close_means_leaving(server: WiredServer) -> None:
    call, _ = announce(server.line(), "alice", resumable=True)
    call.half_close()
    assert call.outcome.status == 0
    assert (ended(server), server.hub.peer_count) == ({"client_left": 1}, 0)


@pytest.mark.parametrize("way", ["cancelled", "reset"])
def test_who_has_said_that_it_leaves_is_not_held_for_going_at_once(clock: Clock, way: str) -> None:
    server = make_server(clock, directory=Elsewhere())
    line = server.line()
    call = line.session("alice")
    call.half_close()
    assert ended(server) == {}, "its announce is awaited"
    if way == "cancelled":
        call.cancel()
    else:
        line.wire.connection_lost(clock.now)
    assert ended(server) == {"client_left": 1}


def test_a_newer_session_replaces_this_one(server: WiredServer) -> None:
    line = server.line()
    call, result = announce(line, "alice", resumable=True)
    announce(server.line(), "alice", resume_token=result["resume_token"])
    line.pump()
    assert (call.outcome.status, call.outcome.message) == (10, "Session ended: replaced")
    assert call.outcome.trailers["signaling-disconnect"] == "replaced"
    assert call.outcome.trailers["signaling-reconnect"] == "no"


@pytest.mark.parametrize("reason", [one for one in DisconnectReason if one is not DisconnectReason.SLOW_CONSUMER])
@pytest.mark.parametrize("asked", [{"resumable": True}, {"notices": True}, {}], ids=["resumable", "notices", "nothing"])
def test_who_asked_is_told_when_to_come_back(
    server: WiredServer, clock: Clock, reason: DisconnectReason, asked: dict[str, Any]
) -> None:
    line = server.line()
    call, _ = announce(line, "alice", **asked)
    (session,) = server.hub._sessions.values()
    server.hub.end(session, reason, clock.now)
    line.pump()
    trailers = call.outcome.trailers
    assert trailers["signaling-disconnect"] == reason.word
    retry = trailers.get("signaling-retry-after-ms")
    if not asked or reason not in (DisconnectReason.DRAINING, DisconnectReason.FLOODING):
        assert retry is None
    elif reason is DisconnectReason.FLOODING:
        assert retry == "5000"
    else:
        assert 1 <= int(retry or 0) <= 1000


def test_a_notice_is_an_event_without_a_number(server: WiredServer, clock: Clock) -> None:
    line = server.line()
    call, _ = announce(line, "alice", resumable=True)
    (session,) = server.hub._sessions.values()
    server.hub._delivery.notify(session, ServerNotice("draining", "bye", 250, 1700000000000, {"x": 1}), clock.now)
    server.hub._delivery.notify(session, ServerNotice("text", "hello"), clock.now)
    line.session("bob")
    assert events(call) == [(0, "server_notice"), (0, "server_notice"), (1, "peer_joined")]
    first, second = (one.notification.server_notice for one in call.outcome.responses[1:3])
    assert first == pb.ServerNoticeNotification(
        kind="draining", message="bye", reconnect_after_ms=250, deadline_unix_ms=1700000000000, data='{"x":1}'
    )
    assert second == pb.ServerNoticeNotification(kind="text", message="hello")
