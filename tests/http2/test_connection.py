"""The whole machine, with libnghttp2 as its client: any HTTP request, and what its user relies on."""

import pytest

pytest.importorskip("ngh2", reason="the client is ngh2, which has no wheel for this platform")
import ngh2

from http2_bytes import REQUEST
from sigbridge_http2.connection import Connection
from sigbridge_http2.errors import ErrorCode
from sigbridge_http2.events import DataReceived, PingAcknowledged, RequestReceived, SettingsReceived, TrailersReceived


class Pair:
    def __init__(self) -> None:
        self.server = Connection(max_streams=10, max_header_bytes=1000, most_header_bytes=2000)
        self.client = ngh2.Connection(ngh2.Role.CLIENT, ngh2.Configuration())
        self.client.initiate_connection({})
        self.events: list[object] = []
        self.pump()

    def pump(self) -> list[object]:
        """Move everything; what the client learns."""
        while True:
            sent = self.client.data_to_send()
            if sent:
                self.events += self.server.receive(sent, 0)
            received = self.server.output(65536)
            if received:
                self.client.receive_data(received)
            if not sent and not received:
                return list(self.client.events())

    def request(self, *more: tuple[bytes, bytes], end: bool = False) -> int:
        stream_id = self.client.send_request([*REQUEST, *more], end_stream=end)
        self.pump()
        return stream_id


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_settings_come_first(pair: Pair) -> None:
    assert isinstance(pair.events[0], SettingsReceived)
    assert pair.client.remote_settings[ngh2.Setting.MAX_CONCURRENT_STREAMS] == 10
    assert pair.client.remote_settings[ngh2.Setting.MAX_HEADER_LIST_SIZE] == 1000


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"OPTIONS"])
def test_a_page_is_served_without_trailers(pair: Pair, method: bytes) -> None:
    stream_id = pair.client.send_request([(b":method", method), *REQUEST[1:]], end_stream=True)
    pair.pump()
    (request,) = (event for event in pair.events if isinstance(event, RequestReceived))
    assert (request.headers[0], request.end_stream) == ((b":method", method), True)
    pair.server.send_headers(stream_id, [(b":status", b"103"), (b"link", b"</style.css>")])
    pair.server.send_headers(stream_id, [(b":status", b"404"), (b"content-type", b"text/plain")])
    assert pair.server.send_data(stream_id, b"no such page", end=True) == 0
    learned = [event for event in pair.pump() if getattr(event, "stream_id", 0) == stream_id]
    kinds = [type(event).__name__ for event in learned]
    assert kinds[:3] == ["InformationalResponseReceived", "ResponseReceived", "DataReceived"]
    assert dict(learned[1].headers)[b":status"] == b"404"
    assert b"".join(event.data for event in learned if isinstance(event, ngh2.DataReceived)) == b"no such page"
    assert not pair.server._active


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 65535, 65536, 300_000])
def test_a_body_of_any_size_ends_with_its_data(pair: Pair, size: int) -> None:
    stream_id = pair.request(end=True)
    pair.server.send_headers(stream_id, [(b":status", b"200")])
    assert pair.server.send_data(stream_id, bytes(size), end=True) == max(0, size - 65535)
    learned = pair.pump()
    assert sum(len(event.data) for event in learned if isinstance(event, ngh2.DataReceived)) == size
    assert any(isinstance(event, ngh2.DataReceived) and event.end_stream for event in learned)
    assert not pair.server._active


def test_an_upload_with_trailers(pair: Pair) -> None:
    stream_id = pair.request((b"content-length", b"100000"))
    pair.client.send_data(stream_id, b"u" * 100_000)
    pair.client.send_trailers(stream_id, [(b"digest", b"x")])
    body, before = b"", 0
    while True:
        pair.pump()
        new, before = pair.events[before:], len(pair.events)
        for event in new:
            if isinstance(event, DataReceived):
                body += event.data
                pair.server.acknowledge(stream_id, len(event.data))
        if any(isinstance(event, TrailersReceived) for event in new):
            break
    assert body == b"u" * 100_000
    assert isinstance(pair.events[-1], TrailersReceived)
    assert pair.events[-1].headers == [(b"digest", b"x")]


def test_a_tunnel(pair: Pair) -> None:
    stream_id = pair.client.send_request([(b":method", b"CONNECT"), (b":authority", b"a:1")])
    pair.pump()
    pair.server.send_headers(stream_id, [(b":status", b"200")])
    pair.client.send_data(stream_id, b"ping")
    pair.pump()
    assert [event.data for event in pair.events if isinstance(event, DataReceived)] == [b"ping"]


def test_long_headers_take_several_frames(pair: Pair) -> None:
    stream_id = pair.request(end=True)
    fields = [(b":status", b"200"), *((b"x-%d" % number, b"v" * 1000) for number in range(40))]
    pair.server.send_headers(stream_id, fields, end=True)
    (response,) = (event for event in pair.pump() if isinstance(event, ngh2.ResponseReceived))
    assert [(bytes(name), bytes(value)) for name, value in response.headers] == fields


@pytest.mark.parametrize("size", [0, 100])
def test_a_client_with_a_smaller_table_is_told_that_ours_is_empty(pair: Pair, size: int) -> None:
    stream_id = pair.request()
    pair.server.send_headers(stream_id, [(b":status", b"200")])
    pair.server.send_data(stream_id, bytes(70_000))
    pair.server.send_trailers(stream_id, [(b"a", b"b")])
    pair.client.update_settings({ngh2.Setting.HEADER_TABLE_SIZE: size})
    learned = pair.pump()
    assert [event for event in learned if isinstance(event, ngh2.TrailersReceived)]
    other = pair.request(end=True)
    pair.server.send_headers(other, [(b":status", b"204")], end=True)
    assert [event for event in pair.pump() if isinstance(event, ngh2.ResponseReceived)]


def test_pings_go_both_ways(pair: Pair) -> None:
    pair.client.ping()
    pair.server.ping()
    assert any(isinstance(event, ngh2.PingAcknowledged) for event in pair.pump())
    assert any(isinstance(event, PingAcknowledged) for event in pair.events)


# Streams that are gone, and connections.


@pytest.mark.parametrize("gone", ["reset", "never", "ended"])
def test_a_stream_that_is_gone_takes_anything(pair: Pair, gone: str) -> None:
    stream_id = 7 if gone == "never" else pair.request(end=gone == "ended")
    if gone == "reset":
        pair.client.reset_stream(stream_id)
    elif gone == "ended":
        pair.server.send_headers(stream_id, [(b":status", b"200")], end=True)
    pair.pump()
    pair.server.send_headers(stream_id, [(b":status", b"200")])
    assert pair.server.send_data(stream_id, b"x") == 0
    assert pair.server.send_data(stream_id, b"x", end=True) == 0
    pair.server.send_trailers(stream_id, [(b"grpc-status", b"0")])
    pair.server.acknowledge(stream_id, 10)
    pair.server.reset(stream_id, ErrorCode.NO_ERROR)
    assert pair.server.unsent(stream_id) == 0
    assert pair.server.output(100) == b""
    assert not pair.server.broken
    assert pair.request() > 0


def test_a_response_that_has_ended_takes_no_more_of_it(pair: Pair) -> None:
    stream_id = pair.request()
    pair.server.send_headers(stream_id, [(b":status", b"200")], end=True)
    assert pair.server.output(100)
    pair.server.send_headers(stream_id, [(b":status", b"200")])
    pair.server.send_data(stream_id, b"x")
    pair.server.send_trailers(stream_id, [(b"a", b"b")])
    assert pair.server.output(100) == b""
    pair.client.send_data(stream_id, b"still", end_stream=True)
    pair.pump()
    assert [event.data for event in pair.events if isinstance(event, DataReceived)][-1] in (b"still", b"")
    assert not pair.server._active


def test_a_broken_connection_takes_anything(pair: Pair) -> None:
    stream_id = pair.request()
    assert pair.server.receive(b"\xff" * 100, 0) == []
    pair.server.send_headers(stream_id, [(b":status", b"200")])
    pair.server.ping()
    pair.server.announce_shutdown()
    pair.server.goaway()
    pair.server.acknowledge(stream_id, 0)
    while pair.server.output(100):
        pass
    assert (pair.server.over, pair.server.wants_write) == (True, False)
    pair.server.receive(b"more", 0)
    assert pair.server.output(100) == b""


def test_what_came_before_the_fault_counts(pair: Pair) -> None:
    pair.client.send_request(REQUEST)
    events = pair.server.receive(pair.client.data_to_send() + b"\xff" * 100, 0)
    assert [type(event) for event in events] == [RequestReceived]


def test_headers_beyond_all_measure_break_the_connection(pair: Pair) -> None:
    pair.client.send_request([*REQUEST, (b"x", b"y" * 3000)])
    pair.server.receive(pair.client.data_to_send(), 0)
    assert (pair.server.broken, pair.server.over, pair.server.wants_write) == (True, True, True)
    assert int.from_bytes(pair.server.output(100)[13:17], "big") == ErrorCode.ENHANCE_YOUR_CALM


def test_a_reset_stands_behind_what_was_let_out(pair: Pair) -> None:
    stream_id = pair.request()
    pair.server.send_headers(stream_id, [(b":status", b"200"), (b"grpc-status", b"0")], end=True)
    pair.server.reset(stream_id, ErrorCode.NO_ERROR)
    learned = [type(event).__name__ for event in pair.pump()]
    assert learned.index("ResponseReceived") < learned.index("StreamReset")


def test_unsent_is_not_the_same_as_sent(pair: Pair) -> None:
    """Bytes that windows let out are counted no more, though they are not out."""
    stream_id = pair.request()
    pair.server.send_headers(stream_id, [(b":status", b"200")])
    pair.server.send_data(stream_id, b"z" * 3000)
    pair.server.send_trailers(stream_id, [(b"grpc-status", b"0")])
    assert pair.server.unsent(stream_id) == 0
    assert len(pair.server.output(7)) == 7
    assert (pair.server.wants_write, pair.server.unwritten) == (True, True)


def test_a_goodbye_without_streams_is_the_end(pair: Pair) -> None:
    assert not pair.server.over
    pair.server.goaway()
    assert pair.server.output(100)
    assert pair.server.over
    pair.server.goaway()
    assert pair.server.output(100) == b""


def test_a_goodbye_in_two_steps(pair: Pair) -> None:
    first = pair.request()
    pair.server.announce_shutdown()
    pair.server.announce_shutdown()
    assert [int.from_bytes(pair.server.output(100)[9:13], "big"), pair.server.output(100)] == [0x7FFFFFFF, b""]
    second = pair.client.send_request(REQUEST)
    pair.pump()
    pair.server.goaway()
    assert int.from_bytes(pair.server.output(100)[9:13], "big") == second
    for stream_id in (first, second):
        assert not pair.server.over
        pair.server.reset(stream_id, ErrorCode.CANCEL)
    assert pair.server.over


def test_a_client_that_is_leaving_is_heard_to_its_last_stream(pair: Pair) -> None:
    stream_id = pair.request()
    pair.client.send_goaway(0)
    pair.pump()
    assert not pair.server.over
    pair.server.announce_shutdown()
    assert pair.server.output(100) == b""
    pair.server.send_headers(stream_id, [(b":status", b"200")], end=True)
    pair.server.reset(stream_id, ErrorCode.NO_ERROR)
    pair.pump()
    assert pair.server.over
