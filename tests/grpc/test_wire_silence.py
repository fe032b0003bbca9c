"""The gRPC wire: what counts as sent by a client of which SIGNALING_SILENT_CLIENT_SEC asks something."""

from collections.abc import Callable

import pytest

from clock import Clock
from directories import Elsewhere
from grpc_lines import GrpcLine, WiredServer, ended, make_server
from sigbridge_grpc.framing import framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb

SECONDS = 80.0


@pytest.fixture
def silent_server(clock: Clock) -> WiredServer:
    return make_server(clock, silent_client_seconds=SECONDS)


def pass_by(line: GrpcLine, seconds: float, act: Callable[[], object] = lambda: None) -> None:
    for _ in range(int(seconds)):
        line.clock.advance(1)
        act()
        line.pump()
        line.expire()
        line.pump()


def test_pings_are_not_the_clients_own_word_and_its_connection_lives_on(silent_server: WiredServer) -> None:
    """They are answered, and sent, by a proxy between, too."""
    line = silent_server.line()
    silent, speaking = line.session("silent"), line.session("speaking")

    def act() -> None:
        line.http2.ping(b"12345678")
        speaking.send("1", list_peers=pb.ListPeersRequest(page_size=1))

    pass_by(line, SECONDS - 1, act)
    assert line.pinged or line.pings_answered
    assert silent.outcome.status is None
    pass_by(line, SECONDS / 4 + 1, act)
    assert (silent.outcome.status, silent.outcome.message) == (14, "Session ended: keepalive_timeout")
    assert silent.outcome.trailers["signaling-disconnect"] == "keepalive_timeout"
    assert silent.outcome.trailers["signaling-reconnect"] == "yes"
    assert ended(silent_server) == {"keepalive_timeout": 1}
    assert (speaking.outcome.status, line.goaways) == (None, [])


def test_a_long_message_that_makes_progress_counts(clock: Clock) -> None:
    server = make_server(clock, silent_client_seconds=SECONDS, message_timeout_seconds=1e6)
    line = server.line()
    call = line.session("a")
    message = framed(pb.SignalingRequest(request_id="x" * 400).SerializeToString())
    left = [message[at : at + 1] for at in range(len(message))]
    pass_by(line, 4 * SECONDS, lambda: call.send_bytes(left.pop(0)))
    assert call.outcome.status is None
    pass_by(line, SECONDS + SECONDS / 4 + 1)
    assert call.outcome.trailers["signaling-disconnect"] == "keepalive_timeout"


def test_who_waits_for_a_response_of_ours_is_not_silent(clock: Clock) -> None:
    directory = Elsewhere()
    server = make_server(clock, directory=directory, silent_client_seconds=SECONDS, announce_timeout_seconds=1e6)
    line = server.line()
    call = line.session("a")
    pass_by(line, 3 * SECONDS)
    assert call.outcome.status is None
    directory.asked[0].resolve(None, clock.now)
    pass_by(line, SECONDS + SECONDS / 4 + 1)
    assert call.outcome.trailers["signaling-disconnect"] == "keepalive_timeout"


def test_who_is_held_back_for_not_reading_is_not_silent(clock: Clock) -> None:
    server = make_server(clock, silent_client_seconds=SECONDS, send_deadline_seconds=1e6)
    line = server.line(window=0)
    call = line.session("a")
    for _ in range(400):
        call.send_bytes(framed(b""))
    (held,) = line.wire._calls.values()
    assert held.held_back
    pass_by(line, 3 * SECONDS)
    assert server.hub.session_count == 1
