"""Requests over HTTP/2 that are no gRPC: the responses of HTTP/1.1, on streams between those of calls."""

from typing import Any

import h11
import pytest

from clock import Clock
from grpc_lines import CHECK, GET_PEERS, SIGNAL, CallOutcome, GrpcLine, make_server, nothing_is_left
from lines import ADDRESS, Line
from sigbridge import Hub, Instant, Settings, SignalingError
from sigbridge.errors import Code
from sigbridge.pending import Pending
from sigbridge_grpc.exchange import SEND_AHEAD_BYTES
from sigbridge_grpc.framing import framed
from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.health import HealthBoard
from sigbridge_grpc.service import SignalingService
from sigbridge_grpc.web import GrpcWeb
from sigbridge_http.wire import http_wires
from sigbridge_net.pages import HttpRequest, Page, Site
from sigbridge_net.wire import Client

WEB = b"application/grpc-web+proto"
MOST = 100_000


class Service:
    """Says what it was asked, or answers later."""

    paths = frozenset({"/echo", "/later", "/broken"})
    max_body_bytes = MOST

    def __init__(self) -> None:
        self.asked: list[HttpRequest] = []
        self.later: list[Pending[Page]] = []
        self.turned: list[Client] = []

    def turned_away(self, client: Client) -> None:
        self.turned.append(client)

    def respond(self, request: HttpRequest, now: Instant) -> Page | Pending[Page]:
        self.asked.append(request)
        if request.path == "/broken":
            raise RuntimeError("secret")
        if request.path == "/later":
            self.later.append(Pending())
            return self.later[-1]
        return Page(200, request.body, content_type="echo", headers=[("x", "y")])


class Places:
    """A line of HTTP/2, and what answers it."""

    def __init__(self, clock: Clock, **options: Any) -> None:
        self.service = Service()
        self.large = b"x" * 1_000_000
        pages = {
            "/healthz": lambda: Page(200, b"alive\n"),
            "/large": lambda: Page(200, self.large),
            "/empty": lambda: Page(204, b""),
        }
        self.site = Site(pages, self.service)
        self.server = make_server(clock, site=self.site, **options)
        self.clock = clock

    def line(self, **options: Any) -> GrpcLine:
        return self.server.line(**options)


@pytest.fixture
def places(clock: Clock) -> Places:
    return Places(clock)


def ask(line: GrpcLine, path: str, *body: bytes, method: bytes = b"GET", headers: Any = ()) -> CallOutcome:
    """A request as a browser or curl sends it."""
    stream_id = begin(line, path, method=method, headers=headers, end=not body)
    for part in body:
        line.http2.send_data(stream_id, part)
    if body:
        line.http2.end_stream(stream_id)
    line.pump()
    return line.outcomes[stream_id]


def begin(line: GrpcLine, path: str, *, method: bytes = b"POST", headers: Any = (), end: bool = False) -> int:
    return line.open(path, *headers, method=method, te=None, content_type=None, end=end)


def status(outcome: CallOutcome) -> int:
    return int(outcome.headers[":status"])


def test_a_page(places: Places) -> None:
    line = places.line()
    outcome = ask(line, "/healthz")
    assert outcome.headers == {
        ":status": "200",
        "content-type": "text/plain; charset=utf-8",
        "content-length": "6",
        "cache-control": "no-store",
    }
    assert (outcome.body, outcome.ended or outcome.order[-1] == "data", outcome.trailers) == (b"alive\n", True, {})
    nothing_is_left(line)


@pytest.mark.parametrize("end", [True, False])
def test_a_body_that_no_page_wants_is_read_and_forgotten(places: Places, end: bool) -> None:
    line = places.line()
    outcome = ask(line, "/healthz", *[] if end else [b"hello"])
    assert (status(outcome), outcome.body) == (200, b"alive\n")
    nothing_is_left(line)


@pytest.mark.parametrize(
    ("path", "method", "expected", "allow"),
    [
        ("/healthz?x=1", b"GET", 200, None),
        ("/healthz", b"DELETE", 405, "GET, HEAD"),
        ("/nothing", b"GET", 404, None),
        ("/", b"GET", 404, None),
        ("/", b"POST", 404, None),
        ("*", b"OPTIONS", 404, None),
        ("/empty", b"GET", 204, None),
        (SIGNAL, b"GET", 405, "POST"),
        (SIGNAL, b"POST", 415, None),
        (GET_PEERS, b"PUT", 405, "POST"),
    ],
)
def test_paths(places: Places, path: str, method: bytes, expected: int, allow: str | None) -> None:
    line = places.line()
    outcome = ask(line, path, method=method)
    assert (status(outcome), outcome.headers.get("allow")) == (expected, allow)
    assert outcome.ended or outcome.body
    nothing_is_left(line)


@pytest.mark.parametrize("path", ["/healthz", "/nothing", "/large"])
def test_head_is_get_without_the_body(places: Places, path: str) -> None:
    line = places.line()
    shown, bare = ask(line, path), ask(line, path, method=b"HEAD")
    assert bare.headers == shown.headers
    assert (bare.body, bare.ended, bare.order) == (b"", True, ["headers"])
    assert int(bare.headers["content-length"]) == len(shown.body)


def test_a_service_is_asked_as_over_http1(places: Places) -> None:
    line = places.line()
    outcome = ask(line, "/echo?q", b"hel", b"lo", method=b"PUT", headers=[(b"a", b"1"), (b"a", b"2"), (b"b", b"\xff")])
    assert (status(outcome), outcome.body, outcome.headers["x"]) == (200, b"hello", "y")
    (request,) = places.service.asked
    assert (request.method, request.path, request.body) == ("PUT", "/echo", b"hello")
    assert request.headers == {"a": "1, 2", "b": "\xff"}
    assert request.client == Client("192.0.2.1")


def test_a_fault_of_ours_ends_one_request(places: Places, caplog: pytest.LogCaptureFixture) -> None:
    line = places.line()
    outcome = ask(line, "/broken")
    assert (status(outcome), outcome.body) == (500, b"bad request\n")
    assert status(ask(line, "/healthz")) == 200
    assert [record.message for record in caplog.records] == ["a method failed"]
    nothing_is_left(line)


def test_pages_and_calls_share_a_connection(places: Places) -> None:
    line = places.line()
    session = line.session("a")
    assert status(ask(line, "/healthz")) == 200
    assert line.call(CHECK, b"").status == 0
    session.send("2", list_peers=pb.ListPeersRequest())
    assert session.outcome.responses[-1].request_id == "2"


def test_without_a_site_everything_else_is_refused(clock: Clock) -> None:
    line = make_server(clock).line()
    assert status(ask(line, "/healthz")) == 405
    assert status(ask(line, "/healthz", method=b"POST")) == 415


# Bodies.


def test_a_body_longer_than_a_window_is_let_in(places: Places) -> None:
    line = places.line()
    outcome = ask(line, "/echo", *[b"x" * 1000] * (MOST // 1000), method=b"POST")
    assert (status(outcome), outcome.body) == (200, b"x" * MOST)
    nothing_is_left(line)


@pytest.mark.parametrize("says", [False, True])
def test_one_that_is_too_long_is_refused(places: Places, says: bool) -> None:
    line = places.line()
    stream_id = begin(line, "/echo", headers=[(b"content-length", b"%d" % (MOST + 1))] if says else [])
    line.pump()
    if not says:
        for _ in range(MOST // 1000 + 1):
            line.http2.send_data(stream_id, b"x" * 1000)
            line.pump()
    outcome = line.outcomes[stream_id]
    assert (status(outcome), outcome.body) == (413, b"bad request\n")
    assert places.service.asked == []
    assert status(ask(line, "/healthz")) == 200
    assert outcome.reset is None
    # The client need not send the rest.
    line.outlast_dismissals()
    assert outcome.reset == 0
    nothing_is_left(line)


def test_a_head_that_is_too_large_is_refused(places: Places) -> None:
    line = places.line()
    assert status(ask(line, "/healthz", headers=[(b"x", b"y" * 17_000)])) == 431
    assert status(ask(line, "/healthz", headers=[(b"x", b"y" * 15_000)])) == 200


def test_a_client_that_waits_to_be_told_to_go_on_is_told(places: Places) -> None:
    line = places.line()
    begin(line, "/echo", headers=[(b"expect", b"100-Continue"), (b"content-length", b"5")])
    before = line.output
    line.pump()
    # A header block of one literal; the stream has not ended.
    assert line.output.removeprefix(before).endswith(b"\0\0\5\1\4\0\0\0\1\x08\x03100")


def test_who_has_no_body_is_not_told(places: Places) -> None:
    line = places.line()
    outcome = ask(line, "/healthz", headers=[(b"expect", b"100-continue")])
    assert (status(outcome), outcome.order.count("headers")) == (200, 1)


def test_a_body_that_does_not_become_whole_is_given_up(clock: Clock) -> None:
    places = Places(clock, message_timeout_seconds=2.0)
    line = places.line()
    stream_id = begin(line, "/echo")
    line.http2.send_data(stream_id, b"x")
    line.pump()
    assert places.server.factory is not None
    assert line.wire._door.unfinished.kept == 1
    clock.advance(3)
    line.expire()
    line.pump()
    outcome = line.outcomes[stream_id]
    assert (status(outcome), outcome.body) == (408, b"bad request\n")
    nothing_is_left(line)


def test_so_is_one_that_does_not_begin(clock: Clock) -> None:
    line = Places(clock).line()
    stream_id = begin(line, "/echo")
    line.pump()
    clock.advance(Settings().max_timeout_seconds)
    line.expire()
    line.pump()
    assert status(line.outcomes[stream_id]) == 408
    nothing_is_left(line)


def test_bodies_count_with_all_that_is_not_whole(clock: Clock) -> None:
    places = Places(clock, max_unfinished_bytes=65_536)
    lines = [places.line() for _ in range(2)]
    streams = [begin(line, "/echo") for line in lines]
    for line, stream_id in zip(lines, streams, strict=True):
        for _ in range(60):
            line.http2.send_data(stream_id, b"x" * 1000)
        line.pump()
    assert lines[0].wire._door.unfinished.kept == 120_000
    clock.advance(Settings().message_timeout_seconds)
    for line in lines:
        line.expire()
        line.pump()
    outcomes = [line.outcomes[stream_id] for line, stream_id in zip(lines, streams, strict=True)]
    # Without room one gives way; the other one has had its time.
    assert sorted(status(outcome) for outcome in outcomes) == [408, 503]


# Answers that come later.


def test_a_response_may_come_later(places: Places) -> None:
    line = places.line()
    outcome = ask(line, "/later")
    assert outcome.order == []
    woken = line.woken
    places.service.later[0].resolve(Page(200, b"at last"), places.clock.now)
    assert line.woken > woken
    line.pump()
    assert (status(outcome), outcome.body) == (200, b"at last")
    nothing_is_left(line)


def test_or_be_that_there_is_none(places: Places) -> None:
    line = places.line()
    outcome = ask(line, "/later")
    places.service.later[0].resolve(SignalingError(Code.UNAVAILABLE, "no"), places.clock.now)
    line.pump()
    assert (status(outcome), outcome.body) == (503, b"try again later\n")


@pytest.mark.parametrize("how", ["reset", "lost", "late", "drain"])
def test_a_request_that_ends_while_it_waits(places: Places, how: str) -> None:
    line = places.line()
    outcome = ask(line, "/later")
    if how == "reset":
        line.http2.reset_stream(1, 8)
        line.pump()
    elif how == "lost":
        line.wire.connection_lost(places.clock.now)
    elif how == "late":
        places.clock.advance(Settings().max_timeout_seconds)
        line.expire()
        line.pump()
    else:
        line.wire.drain(places.clock.now)
        line.pump()
    assert (status(outcome) if outcome.headers else 0) == {"late": 503, "drain": 503}.get(how, 0)
    assert [client.address for client in places.service.turned] == ([ADDRESS] if how == "drain" else [])
    nothing_is_left(line)
    said = line.output
    places.service.later[0].resolve(Page(200, b"too late"), places.clock.now)
    if how != "lost":
        line.pump()
    assert line.output == said


# Clients that ask and do not read.


def test_responses_that_nobody_reads_are_bounded(clock: Clock) -> None:
    places = Places(clock, max_unary_bytes=2_000_000)
    made: list[None] = []
    places.site._pages = {"/large": lambda: made.append(None) or Page(200, places.large)}  # type: ignore[func-returns-value]
    line = places.line(window=0)
    outcomes = [line.outcomes[begin(line, "/large", method=b"GET", end=True)] for _ in range(100)]
    line.pump()
    assert len(made) == 2
    # No window holds headers up, nor a response without a body.
    assert [status(outcome) for outcome in outcomes[:2]] == [200, 200]
    assert sum(line.wire._http2.unsent(stream_id) for stream_id in line.outcomes) <= 2 * (
        SEND_AHEAD_BYTES + len(places.large)
    )
    line.expire()
    for _ in range(2):
        clock.advance(Settings().close_timeout_seconds + 2_000_000 / 8000)
        line.expire()
        line.pump()
    # Who does not read is cut; what waited behind has had its time as well.
    assert [outcome.reset for outcome in outcomes[:2]] == [8, 8]
    assert {status(outcome) for outcome in outcomes[2:] if outcome.headers} <= {408}
    nothing_is_left(line)


def test_a_window_that_opens_lets_the_rest_out(places: Places) -> None:
    line = places.line(window=1000)
    stream_id = begin(line, "/large", method=b"GET", end=True)
    line.pump()
    outcome = line.outcomes[stream_id]
    assert len(outcome.body) == 1000
    acknowledged = 0
    while len(outcome.body) < len(places.large):
        read = len(outcome.body)
        line.http2.acknowledge_received_data(read - acknowledged, stream_id)
        acknowledged = read
        line.pump()
        assert len(outcome.body) > read
    assert outcome.body == places.large
    nothing_is_left(line)


@pytest.mark.parametrize("path", ["/empty", "/healthz", "/nothing"])
def test_requests_of_one_chunk_are_answered_a_few_in_each_turn(places: Places, path: str) -> None:
    line = places.line()
    for _ in range(100):
        begin(line, path, method=b"GET", end=True)
    line.push(line.http2.data_to_send())
    first = line.wire.take_output(65536, places.clock.now)
    line.hear(b"".join(first))
    answered = sum(bool(outcome.headers) for outcome in line.outcomes.values())
    assert 0 < answered < 50
    line.output += b"".join(first)
    line.pump()
    assert all(outcome.headers for outcome in line.outcomes.values())


# The same over both versions.


def http1_answer(wires: Any, clock: Clock, method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, bytes]:
    client = h11.Connection(h11.CLIENT)
    sent = client.send(h11.Request(method=method, target=path, headers=[("host", "server"), *headers]))
    sent = (sent or b"") + (client.send(h11.Data(data=body)) or b"") + (client.send(h11.EndOfMessage()) or b"")
    line = Line(wires, clock)
    line.feed(sent)
    client.receive_data(line.output)
    response, said = client.next_event(), b""
    assert isinstance(response, h11.Response)
    while isinstance(event := client.next_event(), h11.Data):
        said += bytes(event.data)
    return response.status_code, {name.decode(): value.decode() for name, value in response.headers}, said


def web_requests() -> list[tuple[str, str, list[tuple[str, str]], bytes]]:
    question, origin = framed(b""), [("origin", "https://a.example")]
    kind, text = [("content-type", WEB.decode())], [("content-type", "application/grpc-web-text")]
    peers = f"/{GET_PEERS.strip('/')}"
    return [
        ("POST", peers, kind, question),
        ("POST", peers, [*kind, *origin], question),
        ("POST", peers, [*kind, ("origin", "https://b.example")], question),
        ("POST", peers, text, b"AAAAAAA="),
        ("POST", peers, text, b"!"),
        ("POST", peers, kind, b"\0\0\0"),
        ("POST", peers, [("content-type", "application/json")], b"{}"),
        ("POST", peers, [], question),
        ("POST", CHECK, kind, question),
        ("OPTIONS", peers, [*origin, ("access-control-request-method", "POST")], b""),
        ("OPTIONS", peers, [("origin", "null"), ("access-control-request-method", "POST")], b""),
        ("GET", peers, [], b""),
        ("HEAD", peers, [], b""),
        ("PUT", CHECK, kind, question),
        ("GET", "/healthz", [], b""),
        ("HEAD", "/healthz?x", [], b""),
        ("POST", "/healthz", [], b"hello"),
        ("GET", "/nothing", [], b""),
        ("GET", "/", [("sec-websocket-key", "x")], b""),
    ]


@pytest.mark.parametrize("request_of_both", web_requests(), ids=lambda one: f"{one[0]} {one[1].rpartition('/')[2]}")
@pytest.mark.parametrize("fast", [True, False])
def test_both_versions_of_http_give_the_same_response(
    clock: Clock, request_of_both: tuple[str, str, Any, bytes], fast: bool
) -> None:
    method, path, headers, body = request_of_both
    settings = Settings(allowed_origins=("https://a.example",))
    web = GrpcWeb(SignalingService(Hub(settings, clock.now)), HealthBoard(), settings)
    site = Site({"/healthz": lambda: Page(200, b"alive\n")}, web)
    line = make_server(clock, site=site).line()
    line.fast = fast
    fields = [(name.encode(), value.encode()) for name, value in headers]
    sized = [*headers, ("content-length", str(len(body)))] if body else headers
    outcome = ask(line, path, *[body] if body else [], method=method.encode(), headers=fields)
    status_, said, page = http1_answer(http_wires(site, settings), clock, method, path, sized, body)
    assert (str(status_), page) == (outcome.headers.pop(":status"), outcome.body)
    assert said == outcome.headers
    nothing_is_left(line)


def test_refused_calls_are_counted_as_before(places: Places) -> None:
    line = places.line()
    while not line.goaways:
        for _ in range(100):
            begin(line, SIGNAL, end=True)
        line.pump()
    assert line.goaways[-1][2] == b"too_many_refused_calls"


def test_questions_of_grpc_web_that_keep_coming_over_the_rate_end_their_connection(clock: Clock) -> None:
    settings = Settings(rate_per_second=1.0, rate_burst=10)
    hub = Hub(settings, clock.now)
    line = make_server(clock, site=Site({}, GrpcWeb(SignalingService(hub), HealthBoard(), settings))).line()
    begun = clock.now.monotonic
    while not line.goaways and clock.now.monotonic < begun + 5:
        outcome = ask(line, GET_PEERS, framed(b""), method=b"POST", headers=[(b"content-type", WEB)])
        clock.advance(0.025)
    assert 2.0 <= clock.now.monotonic - begun <= 3.0
    assert b"grpc-status: 8\r\n" in outcome.body, "the last one has its response"
    assert line.goaways[0][2] == b"flooding"
