"""The gRPC wire: what one connection's sessions tell to many is taken a share at a time, and others have a turn."""

import pytest

from clock import Clock
from grpc_lines import SIGNAL, GrpcLine, WiredServer, make_server, nothing_is_left
from sigbridge import Announce, Hub
from sigbridge.session import Caller, Session
from sigbridge.share import EVENTS_PER_TURN, FRESH
from sigbridge_grpc.encoding import FRAMED_PROTOBUF
from sigbridge_grpc.framing import Deframer, framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb

CROWD = 130
"""Others in the room: an announce is told to them and they to it, a leave is told to them."""
COMINGS = ("peer_joined", "peer_left")
MOST = EVENTS_PER_TURN // CROWD + 2
"""Events that each of them may hear in one turn, at most."""


class Hearer:
    """A session in the room that hears what is told to it."""

    def __init__(self, hub: Hub, clock: Clock, number: int) -> None:
        caller = Caller(address="198.51.100.1")
        self.session: Session = hub.open("grpc", FRAMED_PROTOBUF, lambda reason: None, clock.now, caller)
        hub.apply(self.session, Announce(f"p{number}"), "", clock.now)
        self.events: list[tuple[str, str]] = []

    def hears(self) -> int:
        """Looks at the events that have come since it last did; returns their number."""
        deframer, count = Deframer(1 << 20), 0
        deframer.feed(b"".join(self.session.outbox.take(1 << 40)))
        while (message := deframer.next_message()) is not None:
            count += 1
            notification = pb.SignalingResponse.FromString(message).notification
            kind = notification.WhichOneof("notification")
            self.events.append(
                (kind, getattr(notification, kind).peer_id if kind in COMINGS else "") if kind else ("", "")
            )
        return count


@pytest.fixture
def server(clock: Clock) -> WiredServer:
    return make_server(clock)


@pytest.fixture
def crowd(server: WiredServer, clock: Clock) -> list[Hearer]:
    hearers = [Hearer(server.hub, clock, number) for number in range(CROWD)]
    for one in hearers:
        one.hears()
        one.events.clear()
    return hearers


def each_comes_before_it_goes(one: Hearer) -> None:
    """Asserts that every peer came and went by turns, and is gone."""
    for peer_id in {peer_id for _, peer_id in one.events}:
        kinds = [kind for kind, whose in one.events if whose == peer_id]
        assert kinds == list(COMINGS) * (len(kinds) // 2)


def flush(line: GrpcLine) -> bool:
    """Lets the wire say what it has, as a carrier does in one turn; returns whether it wants another."""
    woken = line.woken
    while output := b"".join(line.wire.take_output(line.most, line.clock.now)):
        line.hear(output)
    return line.woken > woken


def request(request_id: str, **what: object) -> bytes:
    return framed(pb.SignalingRequest(request_id=request_id, **what).SerializeToString())  # type: ignore[arg-type]


def come_and_go(times: int) -> bytes:
    calls = b""
    for number in range(times):
        calls += request(str(2 * number), announce=pb.AnnounceRequest(peer_id="mallory"))
        calls += request(str(2 * number + 1), disconnect=pb.DisconnectRequest(peer_id="mallory"))
    return calls


def pair(number: int) -> bytes:
    peer_id = f"mallory-{number}"
    announce = request("0", announce=pb.AnnounceRequest(peer_id=peer_id))
    return announce + request("1", disconnect=pb.DisconnectRequest(peer_id=peer_id))


def say_all(line: GrpcLine, count: int, *, half_close: bool = False) -> list[int]:
    """Gives the wire, in one piece, calls that come and go: of one session, or once of each of many."""
    streams = [line.open(SIGNAL) for _ in range(count)]
    line.pump()
    for number, stream_id in enumerate(streams):
        line.http2.send_data(stream_id, come_and_go(20) if count == 1 else pair(number))
        if half_close:
            line.http2.end_stream(stream_id)
    line.push(line.http2.data_to_send())
    return streams


def requests(server: WiredServer) -> int:
    return sum(server.hub.counters.requests.values()) - CROWD


SESSIONS = pytest.mark.parametrize("sessions", [1, 20])


@SESSIONS
def test_what_is_told_to_many_goes_on_in_later_turns(server: WiredServer, crowd: list[Hearer], sessions: int) -> None:
    line = server.line()
    streams = say_all(line, sessions)
    assert 0 < crowd[0].hears() <= MOST
    turns = 1
    while flush(line):
        turns += 1
        assert crowd[0].hears() <= MOST
        assert turns < 100
    assert turns >= 20 * 3 * CROWD // (EVENTS_PER_TURN + 2 * CROWD)
    line.pump()
    for one in crowd:
        one.hears()
        assert len(one.events) == 40
        each_comes_before_it_goes(one)
    for stream_id in streams:
        ids = [one.request_id for one in line.outcomes[stream_id].responses if one.request_id]
        assert ids == [str(number) for number in range(40 // sessions)]


@SESSIONS
def test_others_have_their_turn_between(server: WiredServer, crowd: list[Hearer], sessions: int) -> None:
    other = server.line().session("other")
    line = server.line()
    say_all(line, sessions)
    done = requests(server)
    other.send("1", offer=pb.OfferRequest(to_peer_id="p0", sdp="v=0"))
    assert requests(server) == done + 1
    assert other.outcome.responses[-1].request_id == "1"
    crowd[0].hears()
    assert crowd[0].events[-1][0] == "offer"
    assert done < 20


@SESSIONS
def test_what_is_left_when_the_connection_is_lost_is_not_carried_out(
    server: WiredServer, crowd: list[Hearer], clock: Clock, sessions: int
) -> None:
    line = server.line()
    say_all(line, sessions)
    flush(line)
    done = requests(server)
    assert done < 40
    line.wire.connection_lost(clock.now)
    for _ in range(10):
        flush(line)
    assert requests(server) == done
    assert server.hub.peer_count == CROWD
    for one in crowd:
        one.hears()
        each_comes_before_it_goes(one)
    nothing_is_left(line)


@SESSIONS
def test_who_half_closes_behind_its_calls_is_answered_first(
    server: WiredServer, crowd: list[Hearer], sessions: int
) -> None:
    line = server.line()
    streams = say_all(line, sessions, half_close=True)
    line.pump()
    assert requests(server) == 40
    assert [line.outcomes[stream_id].status for stream_id in streams] == [0] * sessions
    nothing_is_left(line)


def test_a_call_that_is_cancelled_while_it_rests_goes_on_no_more(server: WiredServer, crowd: list[Hearer]) -> None:
    line = server.line()
    (stream_id,) = say_all(line, 1)
    line.http2.reset_stream(stream_id, 8)
    line.push(line.http2.data_to_send())
    done = requests(server)
    line.pump()
    assert requests(server) == done
    assert server.hub.peer_count == CROWD
    nothing_is_left(line)


def test_listings_are_taken_a_share_at_a_time(server: WiredServer, crowd: list[Hearer]) -> None:
    line = server.line()
    call = line.session("alice")
    line.http2.send_data(
        call.stream_id, b"".join(request(str(number), list_peers=pb.ListPeersRequest()) for number in range(20))
    )
    line.push(line.http2.data_to_send())
    done = requests(server)
    assert done <= 2 + EVENTS_PER_TURN // CROWD
    while flush(line):
        assert requests(server) - done <= 1 + EVENTS_PER_TURN // CROWD
        done = requests(server)
    line.pump()
    assert [one.request_id for one in call.outcome.responses if one.HasField("peer_list")] == list(map(str, range(20)))


def test_a_share_is_each_turns_anew(server: WiredServer, crowd: list[Hearer]) -> None:
    """A client that causes a little in each turn never rests."""
    call = server.line().session()
    for number in range(20):
        before = requests(server)
        call.send("0", announce=pb.AnnounceRequest(peer_id="alice"))
        call.send("1", disconnect=pb.DisconnectRequest(peer_id="alice"))
        assert requests(server) == before + 2, number


def test_a_share_that_one_request_has_used_up_is_fresh_in_the_next_turn(server: WiredServer, clock: Clock) -> None:
    for number in range(EVENTS_PER_TURN + 10):
        Hearer(server.hub, clock, number)
    line = server.line()
    call = line.session()
    listing = request("", list_peers=pb.ListPeersRequest())
    for number in range(1, 4):
        line.http2.send_data(call.stream_id, listing)
        line.push(line.http2.data_to_send())
        assert line.wire.share.state != FRESH
        # A carrier asks for this first.
        assert line.wire.fast_output(1 << 20, clock.now) is None
        flush(line)
        assert (len(call.outcome.responses), line.wire.share.state) == (number, FRESH)
