"""HTTP byte by byte, without a socket: pages, errors, keep-alive, and clients that never come to the point."""

import weakref
from itertools import pairwise

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock import Clock
from lines import ADDRESS, Line
from sigbridge import Instant, Settings
from sigbridge.errors import internal_error
from sigbridge.pending import Pending
from sigbridge_http.wire import KEPT_SECONDS, MAX_HEADER_BYTES, HttpWire, http_wires
from sigbridge_net.pages import Page, Site
from sigbridge_net.unfinished import TotalUnfinished, Unfinished
from sigbridge_net.wire import Client

PAGES = {
    "/metrics": lambda: Page(200, b"up 1\n", content_type="text/plain; version=1.0.0"),
    "/healthz": lambda: Page(200, b"alive\n"),
    "/readyz": lambda: Page(503, b"draining\n"),
    "/empty": lambda: Page(200, b""),
}
TIMEOUT = 10.0


def get(path: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: server", *headers, "", ""]
    return "\r\n".join(lines).encode()


class HttpLine(Line):
    """A client's HTTP/1.1, of any pages."""

    wire: HttpWire

    def __init__(self, pages=PAGES):
        super().__init__(http_wires(Site(pages), Settings(handshake_timeout_seconds=TIMEOUT)), Clock())

    def sweep(self) -> bool:
        """Does what a carrier's sweep does; returns whether the connection is dropped."""
        self.expire()
        return self.wire.aborted

    def answers(self, *methods: str) -> list[tuple[int, dict[str, str], bytes]]:
        """Status, headers and body of each answer, read by a client that sent these methods."""
        client = h11.Connection(h11.CLIENT)
        client.receive_data(self.output)
        answers = []
        for method in methods:
            client.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
            client.send(h11.EndOfMessage())
            response = client.next_event()
            assert isinstance(response, h11.Response), response
            body = b""
            while isinstance(event := client.next_event(), h11.Data):
                body += bytes(event.data)
            assert isinstance(event, h11.EndOfMessage), event
            headers = {name.decode(): value.decode() for name, value in response.headers}
            answers.append((response.status_code, headers, body))
            if client.their_state is h11.DONE and client.our_state is h11.DONE:
                client.start_next_cycle()
        assert not client.trailing_data[0], "more than was asked for"
        return answers


@pytest.fixture
def line():
    return HttpLine()


def test_a_page(line):
    line.feed(get("/metrics"))
    ((status, headers, body),) = line.answers("GET")
    assert (status, body) == (200, b"up 1\n")
    assert headers["content-type"] == "text/plain; version=1.0.0"
    assert headers["content-length"] == "5"
    assert headers["cache-control"] == "no-store"
    assert not line.wire.finished
    assert line.woken


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/healthz", 200, b"alive\n"),
        ("/readyz", 503, b"draining\n"),
        ("/empty", 200, b""),
        ("/metrics?name[]=up", 200, b"up 1\n"),
        ("/", 404, b"not found\n"),
        ("/metrics/", 404, b"not found\n"),
        ("/METRICS", 404, b"not found\n"),
        ("/../metrics", 404, b"not found\n"),
        ("/%6detrics", 404, b"not found\n"),
        ("*", 404, b"not found\n"),
    ],
)
def test_paths(line, path, status, body):
    line.feed(get(path))
    assert [(answer[0], answer[2]) for answer in line.answers("GET")] == [(status, body)]


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/nothing"])
def test_head_is_get_without_the_body(path):
    shown, bare = HttpLine().feed(get(path)), HttpLine().feed(get(path, method="HEAD"))
    ((status, headers, body),) = shown.answers("GET")
    ((bare_status, bare_headers, bare_body),) = bare.answers("HEAD")
    assert (bare_status, bare_body) == (status, b"")
    assert {**headers, "date": ""} == {**bare_headers, "date": ""}
    assert int(bare_headers["content-length"]) == len(body)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods(line, method):
    line.feed(get("/metrics", "Content-Length: 0", method=method))
    ((status, headers, _),) = line.answers(method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")
    line.feed(get("/healthz"))
    assert not line.wire.finished


def test_a_body_is_read_and_forgotten(line):
    line.feed(get("/metrics", "Content-Length: 20", method="POST"), b"GET /healthz HTTP/1.")
    line.feed(get("/healthz", "Transfer-Encoding: chunked"), b"5\r\nhello\r\n", b"0\r\n\r\n")
    assert [(answer[0], answer[2]) for answer in line.answers("POST", "GET")] == [
        (405, b"method not allowed\n"),
        (200, b"alive\n"),
    ]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\r\n\r\n\x00", 400),
        (b"garbage\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\nHost: a\n\n", 400),
        (b"GET /metrics HTTP/1.1\nHost: a\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\n\n", 400),
        (b"\nGET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\r\n\r\n", 400),
        (get("/metrics", "Content-Length: 5", "Transfer-Encoding: chunked", method="POST") + b"0\r\n\r\n", 400),
        (get("/metrics", "Transfer-Encoding: chunked", "Content-Length: 0", method="POST") + b"0\r\n\r\n", 400),
        (get("/metrics", "Content-Length: 5", "Transfer-Encoding: identity", method="POST"), 501),
        (get("/metrics", "Content-Length: x", method="POST"), 400),
        (get("/metrics", "Content-Length: -1", method="POST"), 400),
        (get("/metrics", "Content-Length: 1", "Content-Length: 2", method="POST"), 400),
        (get("/metrics", "Transfer-Encoding: gzip", method="POST"), 501),
        (get("/metrics", "Transfer-Encoding: chunked", method="POST") + b"nonsense\r\n", 400),
        (get("/" + "x" * 2 * MAX_HEADER_BYTES), 431),
        (get("/metrics", *(f"X-{number}: {'y' * 100}" for number in range(300))), 431),
        (b"x" * 2 * MAX_HEADER_BYTES, 431),
    ],
)
@pytest.mark.parametrize("before", [b"", get("/healthz"), get("/healthz", method="HEAD")])
def test_bad_requests_get_one_answer_and_the_end(line, data, status, before):
    methods = [before.split(b" ")[0].decode()] if before else []
    line.feed(before + data)
    answer = line.answers(*methods, "GET")[-1]
    assert (answer[0], answer[1]["connection"], answer[2]) == (status, "close", b"bad request\n")
    assert line.wire.finished
    written = line.output
    line.feed(b"more", get("/healthz"))
    line.end_input()
    assert line.output == written


def test_pipelined_requests_are_answered_in_order(line):
    line.feed(get("/healthz") + get("/nothing") + get("/metrics", method="HEAD") + get("/readyz") + get("/metrics"))
    answers = line.answers("GET", "GET", "HEAD", "GET", "GET")
    assert [(answer[0], answer[2]) for answer in answers] == [
        (200, b"alive\n"),
        (404, b"not found\n"),
        (200, b""),
        (503, b"draining\n"),
        (200, b"up 1\n"),
    ]


def test_no_more_is_read_while_an_answer_waits(line):
    line.wire.receive(get("/healthz") * 100, line.clock.now)
    assert not line.wire.reading()
    assert len(b"".join(line.wire.take_output(65536, line.clock.now))) < 300, "one answer at a time"
    line.pump()
    assert line.wire.reading()


@pytest.mark.parametrize(
    ("request_bytes", "stays"),
    [
        (get("/healthz"), True),
        (get("/healthz", "Connection: close"), False),
        (get("/healthz", "Connection: Close, x"), False),
        (get("/healthz", version="1.0"), False),
        (get("/nothing", "Connection: close"), False),
        (get("/healthz", "Connection: Upgrade", "Upgrade: websocket"), True),
        (get("/healthz", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"), True),
    ],
)
def test_keep_alive_and_close(line, request_bytes, stays):
    line.feed(request_bytes)
    assert len(line.answers("GET")) == 1
    assert line.wire.finished is not stays
    line.feed(get("/healthz"))
    assert len(line.answers("GET", *["GET"] * stays)) == 1 + stays


CONTINUE = b"HTTP/1.1 100 \r\n\r\n"


def test_a_client_that_waits_to_be_told_to_go_on_is_told(line):
    line.feed(get("/metrics", "Content-Length: 5", "Expect: 100-continue", method="POST"))
    assert line.output == CONTINUE
    assert line.wire.reading()
    line.output = b""
    line.feed(b"hello")
    assert line.answers("POST")[0][0] == 405
    assert not line.wire.finished


@pytest.mark.parametrize(
    ("request_bytes", "told"),
    [
        (get("/metrics", "Content-Length: 5", "Expect: 100-Continue", method="POST") + b"hello", True),
        (get("/metrics", "Transfer-Encoding: chunked", "Expect: 100-continue", method="POST") + b"0\r\n\r\n", True),
        (get("/metrics", "Content-Length: 5", "Expect: 100-continue", method="POST", version="1.0") + b"hello", False),
        (get("/metrics", "Content-Length: 5", "Expect: something", method="POST") + b"hello", False),
        (get("/metrics", "Expect: 100-continue", method="POST"), False),
    ],
)
def test_who_is_told_to_go_on(line, request_bytes, told):
    head, end, body = request_bytes.partition(b"\r\n\r\n")
    line.feed(head + end)
    assert line.output.startswith(CONTINUE) is told
    line.output = line.output.removeprefix(CONTINUE)
    line.feed(*[body] if body else [])
    assert [answer[0] for answer in line.answers("POST")] == [405]


def test_a_body_that_is_too_long_is_refused_before_it_comes():
    line = BodyLine(TotalUnfinished(Settings()), Clock())
    line.feed(get("/echo", "Content-Length: 500001", "Expect: 100-continue", method="POST"))
    assert [(answer[0], answer[1]["connection"]) for answer in line.answers("POST")] == [(413, "close")]
    assert line.wire.finished
    line = BodyLine(TotalUnfinished(Settings()), Clock())
    line.feed(get("/echo", "Transfer-Encoding: chunked", method="POST"), b"7a121\r\n" + bytes(500_001))
    assert [(answer[0], answer[1]["connection"]) for answer in line.answers("POST")] == [(413, "close")]


def test_the_end_of_the_input_ends_the_output(line):
    line.feed(get("/healthz")).end_input()
    assert line.wire.finished
    assert len(line.answers("GET")) == 1


def test_pipelined_requests_are_answered_although_the_input_has_ended(line):
    line.wire.receive(get("/healthz") + get("/metrics"), line.clock.now)
    line.end_input()
    assert [answer[0] for answer in line.answers("GET", "GET")] == [200, 200]
    assert line.wire.finished


def test_an_end_within_a_request_is_no_request(line):
    line.feed(b"GET /heal").end_input()
    assert line.wire.finished
    assert b"200" not in line.output


def test_an_end_at_once_says_nothing(line):
    line.end_input()
    assert (line.wire.finished, line.output) == (True, b"")
    line.wire.connection_lost(line.clock.now)


STREAM = (
    get("/healthz")
    + get("/metrics", "Content-Length: 5", method="POST")
    + b"hello"
    + get("/nothing", method="HEAD")
    + get("/metrics", "Connection: close")
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_split_gives_the_same_answers(cuts):
    places = [0, *sorted(cuts), len(STREAM)]
    # An empty piece would be the end of the input, which a carrier tells otherwise.
    pieces = [STREAM[a:b] for a, b in pairwise(places) if a != b]
    line = HttpLine().feed(*pieces)
    assert [answer[0] for answer in line.answers("GET", "POST", "HEAD", "GET")] == [200, 405, 404, 200]
    assert line.wire.finished


def test_byte_by_byte():
    line = HttpLine().feed(*(STREAM[i : i + 1] for i in range(len(STREAM))))
    assert [answer[2] for answer in line.answers("GET", "POST", "HEAD", "GET")] == [
        b"alive\n",
        b"method not allowed\n",
        b"",
        b"up 1\n",
    ]


@given(st.binary(max_size=200), st.booleans())
def test_whatever_comes_is_answered_or_waited_for_and_never_fails(data, proper):
    line = HttpLine().feed(*([get("/healthz")] if proper else []), *([data] if data else [])).end_input()
    assert line.wire.finished


# Time.


def test_a_silent_connection_is_dropped(line):
    line.clock.advance(TIMEOUT - 0.1)
    assert not line.sweep()
    line.clock.advance(0.1)
    assert line.sweep()


def test_a_request_that_comes_byte_by_byte_must_be_whole_in_time(line):
    for byte in get("/healthz", "X: " + "y" * 1000):
        line.feed(bytes([byte]))
        line.clock.advance(1.0)
        if line.sweep():
            break
    assert line.clock.now.monotonic <= 1000.0 + TIMEOUT
    assert not line.output


def test_so_must_a_body(line):
    line.feed(get("/metrics", "Content-Length: 1000000", method="POST"))
    for _ in range(100):
        line.feed(b"x")
        line.clock.advance(1.0)
        if line.sweep():
            break
    assert line.clock.now.monotonic <= 1000.0 + TIMEOUT


def test_between_requests_a_connection_is_kept_for_longer_than_proxies_keep_theirs(line):
    line.feed(get("/healthz"))
    for _ in range(5):
        line.clock.advance(KEPT_SECONDS - 1)
        assert not line.sweep()
        line.feed(get("/healthz"))
    assert len(line.answers(*["GET"] * 6)) == 6
    line.clock.advance(KEPT_SECONDS - 1)
    line.sweep()
    assert not line.wire.finished
    line.clock.advance(1)
    # It is closed, not dropped, and then its client has its time to close too.
    assert not line.sweep()
    assert line.wire.finished
    line.feed(get("/healthz"))
    assert len(line.answers(*["GET"] * 6)) == 6
    line.clock.advance(TIMEOUT)
    assert line.sweep()


def test_each_request_has_the_whole_time_from_its_first_byte_on(line):
    line.feed(get("/healthz"))
    for _ in range(3):
        line.clock.advance(KEPT_SECONDS - 1)
        line.feed(b"GET")
        line.clock.advance(TIMEOUT - 1)
        assert not line.sweep()
        line.feed(get("/healthz").removeprefix(b"GET"))
    assert len(line.answers(*["GET"] * 4)) == 4
    line.clock.advance(1)
    line.feed(b"G")
    for byte in b"ET /he":
        line.clock.advance(TIMEOUT / 6)
        dropped = line.sweep()
        line.feed(bytes([byte]))
    assert dropped


# The end of a server.


def test_a_shutdown_ends_connections_that_ask_for_nothing():
    fresh, kept = HttpLine(), HttpLine().feed(get("/healthz"))
    for line in (fresh, kept):
        line.wire.drain(line.clock.now)
        assert line.wire.finished


@pytest.mark.parametrize("cut", [1, 20, len(get("/metrics", "Content-Length: 5", method="POST")), -1])
def test_what_has_begun_to_come_is_answered_and_the_answer_says_that_it_is_the_last(line, cut):
    whole = get("/metrics", "Content-Length: 5", method="POST") + b"hello"
    line.feed(whole[:cut])
    line.wire.drain(line.clock.now)
    assert not line.wire.finished
    line.feed(whole[cut:])
    assert [(answer[0], answer[1]["connection"]) for answer in line.answers("POST")] == [(405, "close")]
    assert line.wire.finished


def test_an_answer_that_is_being_taken_at_a_shutdown_is_the_last():
    line = HttpLine({"/large": lambda: Page(200, b"x" * 150_000)})
    line.push(get("/large"))
    (first,) = line.wire.take_output(60_000, line.clock.now)
    line.wire.drain(line.clock.now)
    assert not line.wire.finished
    line.output = first
    line.pump()
    assert [len(answer[2]) for answer in line.answers("GET")] == [150_000]
    assert line.wire.finished


# Requests that are another wire's.


def is_strange(head):
    return head.startswith(b"GET /strange ")


def strange_line(pages=PAGES):
    line = HttpLine(pages)
    line.wire = http_wires(Site(pages), Settings(), is_foreign=is_strange)(Client(""), line._wake, line.clock.now)
    return line


@pytest.mark.parametrize(
    "before", [b"", get("/healthz"), get("/metrics", "Content-Length: 5", method="POST") + b"hello"]
)
@pytest.mark.parametrize("piece", [0, 1, 7])
def test_a_request_that_is_another_wires_is_left_to_it_with_all_that_has_come(before, piece):
    line = strange_line()
    line.piece = piece
    request = get("/strange", "Content-Length: 3", method="GET") + b"abc"
    line.push(before + request)
    line.pump()
    assert line.wire.foreign is not None
    # What comes later, a front hands on by itself.
    assert request.startswith(line.wire.foreign)
    assert line.wire.foreign.startswith(get("/strange", "Content-Length: 3"))
    assert not line.wire.finished
    assert not line.wire.reading()
    assert len(line.answers(*(["GET"] if before.startswith(b"GET") else ["POST"] if before else []))) == bool(before)


def test_a_request_without_a_head_that_is_any_good_is_nobody_elses():
    for bad in (
        b"GET /strange HTTP/1.1\n\r\n\r\n",
        b"GET /strange HTTP/1.1\r\nX: " + b"x" * MAX_HEADER_BYTES + b"\r\n\r\n",
    ):
        line = strange_line().feed(bad)
        assert (line.wire.foreign, line.wire.finished) == (None, True)
        assert line.output.startswith(b"HTTP/1.1 4")


def test_a_client_that_does_not_close_after_the_last_answer_is_dropped(line):
    line.feed(get("/healthz", "Connection: close"))
    # Where it closes, that is seen.
    assert (line.wire.finished, line.wire.reading()) == (True, True)
    line.clock.advance(TIMEOUT)
    assert line.sweep()


def test_a_page_is_made_when_it_is_asked_for():
    made = []

    def page():
        made.append(None)
        return Page(200, str(len(made)).encode())

    line = HttpLine({"/count": page})
    assert not made
    line.feed(get("/count"), get("/count"), get("/other"))
    assert [answer[2] for answer in line.answers("GET", "GET", "GET")] == [b"1", b"2", b"not found\n"]


def test_a_page_that_cannot_be_made_is_the_carrier_s_to_see():
    def page():
        raise RuntimeError("secret")

    line = HttpLine({"/broken": page})
    with pytest.raises(RuntimeError):
        line.feed(get("/broken"))
    assert line.output == b""


def test_a_wire_by_itself():
    wire = HttpWire(
        Site(PAGES), Settings(), wake=lambda: None, now=Instant(0.0, 0.0), unfinished=TotalUnfinished(Settings())
    )
    assert wire.reading()
    assert wire.take_output(1, Instant(0.0, 0.0)) == []
    assert (wire.finished, wire.aborted) == (False, False)


# Clients that ask and do not read.


def test_a_large_answer_leaves_in_pieces_and_what_comes_behind_it_waits():
    made = []
    line = HttpLine({"/large": lambda: made.append(1) or Page(200, b"x" * 150_000)})
    line.push(get("/large") * 10)
    # A carrier takes no more than it asks for, and while it may not write it asks for nothing.
    for number in range(3):
        assert len(made) == 1
        assert not line.wire.reading()
        (piece,) = line.wire.take_output(60_000, line.clock.now)
        assert len(piece) <= 60_000, number
        line.output += piece
    woken = line.woken
    assert line.wire.take_output(60_000, line.clock.now) == []
    # The next one is answered in the next turn, for which the wire asks.
    assert (len(made), line.woken, line.wire.reading()) == (1, woken + 1, False)
    assert line.wire.take_output(60_000, line.clock.now) != []
    assert len(made) == 2


def test_pipelined_requests_are_answered_one_in_a_turn():
    made = []
    line = HttpLine({"/page": lambda: made.append(1) or Page(200, b"page\n")})
    line.push(get("/page") * 50)
    for turn in range(1, 51):
        while output := line.wire.take_output(65536, line.clock.now):
            line.output += b"".join(output)
        assert len(made) == turn
    assert [body for _, _, body in line.answers(*["GET"] * 50)] == [b"page\n"] * 50
    assert line.wire.reading()
    assert not line.pull()


def test_a_client_that_takes_nothing_of_its_answer_is_dropped_and_one_that_does_is_not():
    line = HttpLine({"/large": lambda: Page(200, b"x" * 150_000)})
    line.push(get("/large"))
    for _ in range(3):
        assert line.wire.take_output(60_000, line.clock.now)
        line.clock.advance(TIMEOUT - 1)
        assert not line.sweep()
    line.clock.advance(1)
    assert line.sweep()


def test_the_last_request_of_a_client_that_sends_no_more_is_answered():
    line = HttpLine()
    line.push(get("/metrics") * 3)
    line.end_input()
    assert [body for _, _, body in line.answers(*["GET"] * 3)] == [b"up 1\n"] * 3
    assert line.wire.finished


# Bodies that are not whole.


class Echo:
    """A service that says how long a body was."""

    paths = frozenset({"/echo"})
    max_body_bytes = 500_000

    def answer(self, request, now):
        return Page(200, b"%d" % len(request.body))


class BodyLine(HttpLine):
    """A client of that service, one of several that have a bound together."""

    def __init__(self, total, clock):
        Line.__init__(self, http_wires(Site({}, Echo()), Settings(), unfinished=total), clock)

    def send(self, size, *, whole=400_000):
        self.feed(get("/echo", f"Content-Length: {whole}", method="POST"), b"x" * size)
        return self


@pytest.fixture
def bodies():
    """The unfinished bodies of a server, and a function that begins a connection."""
    total, clock = TotalUnfinished(Settings(max_unfinished_bytes=500_000)), Clock()
    return total, clock, lambda: BodyLine(total, clock)


def test_what_is_kept_of_a_body_counts(bodies):
    total, clock, connect = bodies
    whole = connect().send(1000, whole=1000)
    assert [answer[2] for answer in whole.answers("POST")] == [b"1000"]
    lines = [connect().send(1000) for _ in range(4)]
    assert total.kept == 4000
    lines[0].wire.connection_lost(clock.now)
    lines[1].end_input()
    lines[2].feed(b"x" * 399_000)
    assert [answer[2] for answer in lines[2].answers("POST")] == [b"400000"]
    assert total.kept == 1000
    clock.advance(TIMEOUT)
    assert lines[3].sweep()
    lines[3].wire.connection_lost(clock.now)
    assert total.kept == 0


def test_above_the_bound_nothing_more_is_read_of_the_largest_body(bodies):
    total, clock, connect = bodies
    large = connect().send(300_000)
    other = connect().send(250_000)
    large.pump()
    assert (large.wire.reading(), other.wire.reading()) == (False, True)
    clock.advance(9)
    assert not large.sweep()
    other.feed(b"x" * 150_000)
    assert [answer[2] for answer in other.answers("POST")] == [b"400000"]
    large.pump()
    assert large.wire.reading()
    # Its time begins anew.
    clock.advance(9)
    assert not large.sweep()
    large.feed(b"x" * 100_000)
    assert [answer[2] for answer in large.answers("POST")] == [b"400000"]
    assert total.kept == 0


def test_what_goes_on_at_the_end_of_another_ones_bytes_has_lost_no_time(bodies):
    total, clock, connect = bodies
    body = connect().send(300_000)
    clock.advance(10)
    message = Unfinished(total, lambda: None, lambda reason, now: None, clock.now)
    whole_time = message.due - clock.now.monotonic
    message.grow(0, 350_000, clock.now)
    more_for_its_size = message.due - clock.now.monotonic - whole_time
    message.grow(350_000, 350_000, clock.now)
    assert message.is_stopped
    clock.advance(5)
    body.end_input()
    assert not message.is_stopped
    assert message.due == clock.now.monotonic + whole_time + more_for_its_size


def test_without_room_the_largest_body_is_refused(bodies):
    total, clock, connect = bodies
    large = connect().send(350_000)
    other = connect().send(300_000)
    large.pump()
    clock.advance(29)
    assert not large.sweep()
    clock.advance(1)
    assert not large.sweep()
    large.pump()
    assert [(answer[0], answer[2]) for answer in large.answers("POST")] == [(503, b"try again later\n")]
    assert large.wire.finished
    assert total.kept == 300_000
    assert other.wire.reading()


# Answers that come later.


class Slow:
    """A service that answers when a test says so."""

    paths = frozenset({"/later", "/other"})
    max_body_bytes = 1000

    def __init__(self):
        self.waiting = []
        self.turned = []

    def turned_away(self, client):
        self.turned.append(client.address)

    def answer(self, request, now):
        if request.path != "/later":
            return Page(200, b"at once")
        self.waiting.append(Pending())
        return self.waiting[-1]


class SlowLine(HttpLine):
    """A client of that service."""

    def __init__(self):
        self.service = Slow()
        settings = Settings(handshake_timeout_seconds=TIMEOUT)
        Line.__init__(self, http_wires(Site({}, self.service), settings), Clock())

    def answer_with(self, outcome):
        woken = self.woken
        self.service.waiting.pop(0).resolve(outcome, self.clock.now)
        assert self.woken > woken
        self.pump()


def test_an_answer_may_come_later_and_nothing_is_read_meanwhile():
    line = SlowLine().feed(get("/later") + get("/other"))
    assert (line.output, line.wire.reading()) == (b"", False)
    line.answer_with(Page(200, b"later"))
    assert [answer[2] for answer in line.answers("GET", "GET")] == [b"later", b"at once"]
    assert line.wire.reading()


def test_an_answer_that_never_comes_is_not_waited_for():
    line = SlowLine()
    line.clock.advance(TIMEOUT - 1)
    line.feed(get("/later"))
    line.clock.advance(TIMEOUT - 1)
    assert not line.sweep()
    line.clock.advance(1)
    assert line.sweep()


def test_a_client_that_has_ended_its_input_gets_its_answer():
    line = SlowLine().feed(get("/later")).end_input()
    line.answer_with(Page(200, b"later"))
    assert [answer[2] for answer in line.answers("GET")] == [b"later"]
    assert line.wire.finished


def test_nothing_is_said_to_a_client_that_has_gone():
    line = SlowLine().feed(get("/later"))
    line.wire.connection_lost(line.clock.now)
    kept = weakref.ref(line.wire)
    (waiting,) = line.service.waiting
    # The line and its wire hold each other, as a carrier and a wire do until the connection is lost.
    del line.wire
    assert kept() is None
    waiting.resolve(Page(200, b"later"), Instant(1.0, 1.0))


def test_who_waits_when_the_server_shuts_down_is_refused():
    line = SlowLine().feed(get("/later"))
    line.wire.drain(line.clock.now)
    line.pump()
    assert [answer[0] for answer in line.answers("GET")] == [503]
    assert line.service.turned == [ADDRESS]
    line.service.waiting[0].resolve(Page(200, b"later"), line.clock.now)
    line.pump()
    assert line.output.count(b"HTTP/1.1") == 1
    assert line.wire.finished


def test_an_answer_that_fails_is_one():
    line = SlowLine().feed(get("/later"))
    line.answer_with(internal_error())
    assert [answer[0] for answer in line.answers("GET")] == [503]
