"""The one file that knows ngh2: what it promises about streams that are gone, and what the wire relies on."""

import pytest

pytest.importorskip("ngh2", reason="the wire needs ngh2, which has no wheel for this platform")
import ngh2

from sigbridge_grpc.http2 import ErrorCode, Http2, RequestReceived, SettingsReceived

HEADERS = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/x"), (b":authority", b"a")]


class Pair:
    def __init__(self) -> None:
        self.server = Http2(max_streams=10, max_header_bytes=1000, most_header_bytes=2000)
        self.client = ngh2.Connection(ngh2.Role.CLIENT, ngh2.Configuration())
        self.client.initiate_connection({})
        self.events: list[object] = []
        self.pump()

    def pump(self) -> list[object]:
        """Move everything; what the client learns."""
        while True:
            sent = self.client.data_to_send()
            if sent:
                self.events += self.server.receive(sent)
            received = self.server.output(65536)
            if received:
                self.client.receive_data(received)
            if not sent and not received:
                return list(self.client.events())

    def request(self) -> int:
        stream_id = self.client.send_request(HEADERS)
        self.pump()
        return stream_id


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_settings_come_first(pair: Pair) -> None:
    assert isinstance(pair.events[0], SettingsReceived)
    assert pair.client.remote_settings[ngh2.Setting.MAX_CONCURRENT_STREAMS] == 10
    assert pair.client.remote_settings[ngh2.Setting.MAX_HEADER_LIST_SIZE] == 1000


@pytest.mark.parametrize("gone", ["reset", "never"])
def test_a_stream_that_is_gone_takes_anything(pair: Pair, gone: str) -> None:
    stream_id = pair.request() if gone == "reset" else 7
    if gone == "reset":
        pair.client.reset_stream(stream_id)
        pair.pump()
    pair.server.send_headers(stream_id, [(b":status", b"200")])
    pair.server.send_data(stream_id, b"x")
    pair.server.send_trailers(stream_id, [(b"grpc-status", b"0")])
    pair.server.reset(stream_id, ErrorCode.NO_ERROR)
    assert pair.server.unsent(stream_id) == 0
    assert not pair.server.broken
    assert pair.request() > 0


def test_a_broken_connection_takes_anything(pair: Pair) -> None:
    stream_id = pair.request()
    assert pair.server.receive(b"\xff" * 100) == []
    pair.server.send_headers(stream_id, [(b":status", b"200")])
    pair.server.ping()
    pair.server.announce_shutdown()
    pair.server.goaway()
    pair.server.acknowledge(stream_id, 0)
    while pair.server.output(100):
        pass
    assert (pair.server.over, pair.server.wants_write) == (True, False)
    pair.server.receive(b"more")
    assert pair.server.output(100) == b""


def test_what_came_before_the_fault_counts(pair: Pair) -> None:
    pair.client.send_request(HEADERS)
    events = pair.server.receive(pair.client.data_to_send() + b"\xff" * 100)
    assert [type(event) for event in events] == [RequestReceived]


def test_headers_beyond_all_measure_break_the_connection(pair: Pair) -> None:
    pair.client.send_request([*HEADERS, (b"x", b"y" * 3000)])
    pair.server.receive(pair.client.data_to_send())
    assert (pair.server.broken, pair.server.over, pair.server.output(100), pair.server.wants_write) == (
        True,
        True,
        b"",
        False,
    )


def test_a_reset_overtakes_what_waits(pair: Pair) -> None:
    """Why the wire resets a stream only when all is out. Where this fails one day, it need not wait any more."""
    stream_id = pair.request()
    pair.server.send_headers(stream_id, [(b":status", b"200"), (b"grpc-status", b"0")], end=True)
    pair.server.reset(stream_id, ErrorCode.NO_ERROR)
    assert not [event for event in pair.pump() if isinstance(event, ngh2.ResponseReceived)]


def test_unsent_is_not_the_same_as_sent(pair: Pair) -> None:
    """A body that the library has cut into a frame is counted no more, though the frame is not out."""
    stream_id = pair.request()
    pair.server.send_headers(stream_id, [(b":status", b"200")])
    pair.server.send_data(stream_id, b"z" * 3000)
    pair.server.send_trailers(stream_id, [(b"grpc-status", b"0")])
    taken = b""
    while pair.server.unsent(stream_id):
        taken += pair.server.output(7)
    assert len(taken) < 3000
    assert pair.server.wants_write


def test_a_goodbye_without_calls_is_the_end(pair: Pair) -> None:
    assert not pair.server.over
    pair.server.goaway()
    assert pair.server.output(100)
    assert pair.server.over
