"""The service with bare bytes and a real hub: every message has its answer, in order, and none ends the session."""

import json

import pytest

from directories import Elsewhere
from sigbridge import (
    Announced,
    Capabilities,
    Code,
    DisconnectReason,
    Hub,
    Instant,
    PeerJoined,
    Settings,
    SignalingError,
    errors,
)
from sigbridge.auth import Identity
from sigbridge.session import ANYWHERE, Caller, Session
from sigbridge_grpc.encoding import PROTOBUF
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.service import SignalingService

NOW = Instant(100.0, 1_700_000_000.0)


class Stream:
    """A session, and what it would have written."""

    def __init__(self, service: SignalingService) -> None:
        self.service = service
        self.ended: list[DisconnectReason] = []
        self.session: Session = service.open(Caller(address="test"), self.ended.append, NOW)

    def send(self, request_id: str = "", **request: object) -> None:
        message = pb.SignalingRequest(request_id=request_id, **request)  # type: ignore[arg-type]
        self.service.signal(self.session, message.SerializeToString(), NOW)

    def received(self) -> list[pb.SignalingResponse]:
        return [pb.SignalingResponse.FromString(frame) for frame in self.session.outbox.take(1 << 30)]

    def announce(self, peer_id: str) -> None:
        self.send("a", announce=pb.AnnounceRequest(peer_id=peer_id))
        assert self.received()[0].ack.data


@pytest.fixture
def service() -> SignalingService:
    return SignalingService(Hub(Settings(), NOW))


def _error(response: pb.SignalingResponse) -> tuple[str, int, str]:
    assert response.WhichOneof("response") == "error"
    assert json.loads(response.error.details)["code"] == response.error.code
    return response.request_id, response.error.code, response.error.message


def test_the_reply_comes_first_and_then_what_it_caused(service: SignalingService) -> None:
    old, new = Stream(service), Stream(service)
    old.announce("old")
    new.send("7", announce=pb.AnnounceRequest(peer_id="new"))
    assert not new.session.awaiting
    reply, joined = new.received()
    assert (reply.request_id, json.loads(reply.ack.data)["other_peers"]) == ("7", ["old"])
    assert (joined.request_id, joined.notification.peer_joined.peer_id) == ("", "old")
    assert [message.notification.peer_joined.peer_id for message in old.received()] == ["new"]


@pytest.mark.parametrize(
    "message",
    [
        b"\xff",
        b"\x0a\x05ab",  # shorter than it says
        b"\x0a\x01\xff",  # a request_id that is no UTF-8
        b"\x5a\x04\x12\x02\xc3\x28",  # an SDP that is none
        b"\x0b" * 200,  # groups in groups in groups
    ],
)
def test_bytes_that_are_no_message_are_answered(service: SignalingService, message: bytes) -> None:
    stream = Stream(service)
    service.signal(stream.session, message, NOW)
    assert not stream.session.awaiting
    assert [_error(response) for response in stream.received()] == [("", 3, "Malformed request")]
    assert service.hub.counters.requests["grpc", "unknown", "INVALID_ARGUMENT"] == 1
    stream.announce("still here")


def test_a_message_that_asks_for_nothing_is_answered_with_its_id(service: SignalingService) -> None:
    stream = Stream(service)
    stream.send("7")
    stream.send("")
    # An empty message is a message, and a field that we do not know is no request.
    service.signal(stream.session, b"\xa2\x06\x01x", NOW)
    assert [_error(response) for response in stream.received()] == [
        ("7", 3, "No request provided"),
        ("", 3, "No request provided"),
        ("", 3, "No request provided"),
    ]


def test_unknown_fields_never_travel_on(service: SignalingService) -> None:
    a, b = Stream(service), Stream(service)
    a.announce("a")
    b.announce("b")
    a.received()
    offer = pb.OfferRequest(to_peer_id="b", sdp="s").SerializeToString() + b"\xa2\x06\x06secret"
    service.signal(a.session, b"\x5a" + bytes([len(offer)]) + offer, NOW)
    frame = b.session.outbox.take(1 << 30)[-1]
    assert pb.SignalingResponse.FromString(frame).notification.offer.sdp == "s"
    assert b"secret" not in frame


def test_a_refusal_keeps_its_kind_and_its_id(service: SignalingService) -> None:
    stream = Stream(service)
    stream.send("1", offer=pb.OfferRequest(to_peer_id="b", sdp="s"))
    bad = pb.PeerCapabilities(extensions="[]")
    stream.send("2", announce=pb.AnnounceRequest(peer_id="a", capabilities=bad))
    taken = pb.PeerCapabilities(extensions='{"audio":1}')
    stream.send("3", announce=pb.AnnounceRequest(peer_id="a", capabilities=taken))
    assert [_error(response)[:2] for response in stream.received()] == [("1", 9), ("2", 3), ("3", 3)]
    assert service.hub.counters.requests["grpc", "announce", "INVALID_ARGUMENT"] == 2
    assert service.hub.counters.requests["grpc", "offer", "FAILED_PRECONDITION"] == 1


def test_a_list_is_a_peer_list(service: SignalingService) -> None:
    stream = Stream(service)
    stream.announce("a")
    stream.send("7", list_peers=pb.ListPeersRequest())
    (reply,) = stream.received()
    assert [peer.peer_id for peer in reply.peer_list.peers] == ["a"]
    assert reply.peer_list.peers[0].state == pb.PEER_STATE_AVAILABLE
    assert (reply.request_id, reply.peer_list.count) == ("7", 1)


def test_an_answer_that_comes_later_is_put_when_it_comes() -> None:
    elsewhere = Elsewhere()
    service = SignalingService(Hub(Settings(), NOW, directory=elsewhere, bus=elsewhere))
    stream = Stream(service)
    answered = []
    stream.session.on_ready = lambda _: answered.append(len(stream.session.outbox))
    stream.send("7", announce=pb.AnnounceRequest(peer_id="a"))
    assert stream.session.awaiting
    assert (answered, stream.received()) == ([], [])
    elsewhere.asked[0].resolve(None, NOW)
    assert answered == [1]
    (reply,) = stream.received()
    assert (reply.request_id, json.loads(reply.ack.data)["peer_id"]) == ("7", "a")

    stream.send("8", offer=pb.OfferRequest(to_peer_id="b", sdp="s"))
    assert stream.session.awaiting
    elsewhere.asked[1].resolve(SignalingError(Code.NOT_FOUND, "Peer not found: b"), NOW)
    assert answered == [1, 1]
    assert not stream.session.awaiting
    assert _error(stream.received()[0]) == ("8", 5, "Peer not found: b")


def test_an_answer_after_the_end_goes_nowhere() -> None:
    elsewhere = Elsewhere()
    service = SignalingService(Hub(Settings(), NOW, directory=elsewhere))
    stream = Stream(service)
    stream.send("7", announce=pb.AnnounceRequest(peer_id="a"))
    service.hub.end(stream.session, DisconnectReason.CONNECTION_LOST, NOW)
    elsewhere.asked[0].resolve(None, NOW)
    assert stream.received() == []
    assert service.hub.peer_count == 0


@pytest.mark.parametrize(("beyond", "ends"), [(-1, False), (0, False), (1, True)])
def test_the_limit_of_a_message_is_exact(beyond: int, ends: bool) -> None:
    service = SignalingService(Hub(Settings(max_message_bytes=1000), NOW))
    stream = Stream(service)
    # A request id of n bytes makes a message of n + 3, where n is 128 or more.
    message = pb.SignalingRequest(request_id="x" * (1000 + beyond - 3)).SerializeToString()
    assert len(message) == 1000 + beyond
    service.signal(stream.session, message, NOW)
    assert stream.ended == ([DisconnectReason.MESSAGE_TOO_BIG] if ends else [])
    assert len(stream.received()) == (0 if ends else 1)


def test_a_fault_of_ours_is_an_internal_error_and_no_more(
    service: SignalingService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("canary")

    monkeypatch.setattr("sigbridge.rules.list.page_of", fail)
    stream = Stream(service)
    stream.send("7", list_peers=pb.ListPeersRequest())
    (reply,) = stream.received()
    assert _error(reply) == ("7", 13, "Internal error")
    assert b"canary" not in reply.SerializeToString()
    assert "canary" in caplog.text


def test_peers_without_a_session(service: SignalingService) -> None:
    Stream(service).announce("a")
    page = pb.GetPeersResponse.FromString(service.get_peers(b"", ANYWHERE, NOW))
    assert ([peer.peer_id for peer in page.peers], page.count) == (["a"], 1)
    other = pb.GetPeersResponse.FromString(
        service.get_peers(pb.GetPeersRequest(room="other").SerializeToString(), ANYWHERE, NOW)
    )
    assert other.count == 0


def test_a_right_to_rooms_is_asked_without_a_session_too(service: SignalingService) -> None:
    caller = Caller(Identity("device", rooms=frozenset({"lobby"})), "192.0.2.1")
    for question in (b"", pb.GetPeersRequest(room="secret").SerializeToString()):
        with pytest.raises(SignalingError) as refused:
            service.get_peers(question, caller, NOW)
        assert refused.value == errors.room_forbidden()
    assert service.get_peers(pb.GetPeersRequest(room="lobby").SerializeToString(), caller, NOW) == b""
    assert service.hub.counters.requests["grpc", "list_peers", "PERMISSION_DENIED"] == 2


def test_what_cannot_be_read_counts_against_its_caller() -> None:
    service = SignalingService(Hub(Settings(rate_per_second=1, rate_burst=1), NOW))
    alice, bob = Caller(Identity("alice"), "192.0.2.1"), Caller(Identity("bob"), "192.0.2.1")
    codes = []
    for caller in (alice, alice, bob):
        with pytest.raises(SignalingError) as refused:
            service.get_peers(b"\xff", caller, NOW)
        codes.append(refused.value.code)
    assert codes == [Code.INVALID_ARGUMENT, Code.RESOURCE_EXHAUSTED, Code.INVALID_ARGUMENT]


def test_a_service_makes_its_protocol_known(service: SignalingService) -> None:
    assert service.hub.counters.sessions == {"grpc": 0}


@pytest.mark.parametrize("question", [b"\xff", pb.GetPeersRequest(page_token="?").SerializeToString()])
def test_a_bad_question_is_refused_and_counted(service: SignalingService, question: bytes) -> None:
    with pytest.raises(SignalingError) as refused:
        service.get_peers(question, ANYWHERE, NOW)
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert service.hub.counters.requests["grpc", "list_peers", "INVALID_ARGUMENT"] == 1


def test_health(service: SignalingService) -> None:
    health = pb.HealthCheckResponse.FromString(service.health_check(b"", ANYWHERE, NOW))
    assert health.status == "healthy"
    assert {"pending_offers", "sessions", "rooms"} <= set(json.loads(health.metrics))
    with pytest.raises(SignalingError, match="Malformed"):
        service.health_check(b"\xff", ANYWHERE, NOW)


def test_an_event_is_encoded_once_for_all(service: SignalingService, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [Stream(service) for _ in range(5)]
    for number, stream in enumerate(streams[:4]):
        stream.announce(str(number))
    encoded = []
    encode = type(PROTOBUF).encode_event
    monkeypatch.setattr(
        type(PROTOBUF), "encode_event", lambda self, event: encoded.append(event) or encode(self, event)
    )
    streams[4].announce("4")
    assert encoded == [PeerJoined("4", Capabilities(), {})]
    assert Announced("4", 4, ("0", "1", "2", "3")).peers_count == len(streams[3].session.outbox) + 3
