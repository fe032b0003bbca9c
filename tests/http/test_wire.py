"""HTTP byte by byte, without a socket: pages, errors, keep-alive, and the time that clients have."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clock import Clock
from http_lines import PAGES, TIMEOUT, BodyLine, HttpLine, get
from sigbridge import Instant, Settings
from sigbridge_http.wire import KEPT_SECONDS, MAX_HEADER_BYTES, HttpWire, http_wires
from sigbridge_net.forwarding import Forwarding
from sigbridge_net.pages import Page, Site
from sigbridge_net.unfinished import TotalUnfinished
from sigbridge_net.wire import Client


def test_a_page(line):
    line.feed(get("/metrics"))
    ((status, headers, body),) = line.responses("GET")
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
    assert [(response[0], response[2]) for response in line.responses("GET")] == [(status, body)]


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/nothing"])
def test_head_is_get_without_the_body(path):
    shown, bare = HttpLine().feed(get(path)), HttpLine().feed(get(path, method="HEAD"))
    ((status, headers, body),) = shown.responses("GET")
    ((bare_status, bare_headers, bare_body),) = bare.responses("HEAD")
    assert (bare_status, bare_body) == (status, b"")
    assert {**headers, "date": ""} == {**bare_headers, "date": ""}
    assert int(bare_headers["content-length"]) == len(body)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods(line, method):
    line.feed(get("/metrics", "Content-Length: 0", method=method))
    ((status, headers, _),) = line.responses(method)
    assert (status, headers["allow"]) == (405, "GET, HEAD")
    line.feed(get("/healthz"))
    assert not line.wire.finished


def test_a_body_is_read_and_forgotten(line):
    line.feed(get("/metrics", "Content-Length: 20", method="POST"), b"GET /healthz HTTP/1.")
    line.feed(get("/healthz", "Transfer-Encoding: chunked"), b"5\r\nhello\r\n", b"0\r\n\r\n")
    assert [(response[0], response[2]) for response in line.responses("POST", "GET")] == [
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
def test_bad_requests_get_one_response_and_the_end(line, data, status, before):
    methods = [before.split(b" ")[0].decode()] if before else []
    line.feed(before + data)
    response = line.responses(*methods, "GET")[-1]
    assert (response[0], response[1]["connection"], response[2]) == (status, "close", b"bad request\n")
    assert line.wire.finished
    written = line.output
    line.feed(b"more", get("/healthz"))
    line.end_input()
    assert line.output == written


def test_pipelined_requests_are_answered_in_order(line):
    line.feed(get("/healthz") + get("/nothing") + get("/metrics", method="HEAD") + get("/readyz") + get("/metrics"))
    responses = line.responses("GET", "GET", "HEAD", "GET", "GET")
    assert [(response[0], response[2]) for response in responses] == [
        (200, b"alive\n"),
        (404, b"not found\n"),
        (200, b""),
        (503, b"draining\n"),
        (200, b"up 1\n"),
    ]


def test_no_more_is_read_while_a_response_waits(line):
    line.wire.receive(get("/healthz") * 100, line.clock.now)
    assert not line.wire.reading()
    assert len(b"".join(line.wire.take_output(65536, line.clock.now))) < 300, "one response at a time"
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
    assert len(line.responses("GET")) == 1
    assert line.wire.finished is not stays
    line.feed(get("/healthz"))
    assert len(line.responses("GET", *["GET"] * stays)) == 1 + stays


CONTINUE = b"HTTP/1.1 100 \r\n\r\n"


def test_a_client_that_waits_to_be_told_to_go_on_is_told(line):
    line.feed(get("/metrics", "Content-Length: 5", "Expect: 100-continue", method="POST"))
    assert line.output == CONTINUE
    assert line.wire.reading()
    line.output = b""
    line.feed(b"hello")
    assert line.responses("POST")[0][0] == 405
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
    assert [response[0] for response in line.responses("POST")] == [405]


def test_a_body_that_is_too_long_is_refused_before_it_comes():
    line = BodyLine(TotalUnfinished(Settings()), Clock())
    line.feed(get("/echo", "Content-Length: 500001", "Expect: 100-continue", method="POST"))
    assert [(response[0], response[1]["connection"]) for response in line.responses("POST")] == [(413, "close")]
    assert line.wire.finished
    line = BodyLine(TotalUnfinished(Settings()), Clock())
    line.feed(get("/echo", "Transfer-Encoding: chunked", method="POST"), b"7a121\r\n" + bytes(500_001))
    assert [(response[0], response[1]["connection"]) for response in line.responses("POST")] == [(413, "close")]


def test_the_end_of_the_input_ends_the_output(line):
    line.feed(get("/healthz")).end_input()
    assert line.wire.finished
    assert len(line.responses("GET")) == 1


def test_pipelined_requests_are_answered_although_the_input_has_ended(line):
    line.wire.receive(get("/healthz") + get("/metrics"), line.clock.now)
    line.end_input()
    assert [response[0] for response in line.responses("GET", "GET")] == [200, 200]
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
def test_any_split_gives_the_same_response(cuts):
    places = [0, *sorted(cuts), len(STREAM)]
    # An empty piece would be the end of the input, which a carrier tells otherwise.
    pieces = [STREAM[a:b] for a, b in pairwise(places) if a != b]
    line = HttpLine().feed(*pieces)
    assert [response[0] for response in line.responses("GET", "POST", "HEAD", "GET")] == [200, 405, 404, 200]
    assert line.wire.finished


def test_byte_by_byte():
    line = HttpLine().feed(*(STREAM[i : i + 1] for i in range(len(STREAM))))
    assert [response[2] for response in line.responses("GET", "POST", "HEAD", "GET")] == [
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
    assert len(line.responses(*["GET"] * 6)) == 6
    line.clock.advance(KEPT_SECONDS - 1)
    line.sweep()
    assert not line.wire.finished
    line.clock.advance(1)
    # It is closed, not dropped, and then its client has its time to close too.
    assert not line.sweep()
    assert line.wire.finished
    line.feed(get("/healthz"))
    assert len(line.responses(*["GET"] * 6)) == 6
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
    assert len(line.responses(*["GET"] * 4)) == 4
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
def test_what_has_begun_to_come_is_answered_and_the_response_says_that_it_is_the_last(line, cut):
    whole = get("/metrics", "Content-Length: 5", method="POST") + b"hello"
    line.feed(whole[:cut])
    line.wire.drain(line.clock.now)
    assert not line.wire.finished
    line.feed(whole[cut:])
    assert [(response[0], response[1]["connection"]) for response in line.responses("POST")] == [(405, "close")]
    assert line.wire.finished


def test_a_response_that_is_being_taken_at_a_shutdown_is_the_last():
    line = HttpLine({"/large": lambda: Page(200, b"x" * 150_000)})
    line.push(get("/large"))
    (first,) = line.wire.take_output(60_000, line.clock.now)
    line.wire.drain(line.clock.now)
    assert not line.wire.finished
    line.output = first
    line.pump()
    assert [len(response[2]) for response in line.responses("GET")] == [150_000]
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
    assert len(line.responses(*(["GET"] if before.startswith(b"GET") else ["POST"] if before else []))) == bool(before)


def test_a_request_without_a_head_that_is_any_good_is_nobody_elses():
    for bad in (
        b"GET /strange HTTP/1.1\n\r\n\r\n",
        b"GET /strange HTTP/1.1\r\nX: " + b"x" * MAX_HEADER_BYTES + b"\r\n\r\n",
    ):
        line = strange_line().feed(bad)
        assert (line.wire.foreign, line.wire.finished) == (None, True)
        assert line.output.startswith(b"HTTP/1.1 4")


def test_a_client_that_does_not_close_after_the_last_response_is_dropped(line):
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
    assert [response[2] for response in line.responses("GET", "GET", "GET")] == [b"1", b"2", b"not found\n"]


def test_a_page_that_cannot_be_made_is_the_carrier_s_to_see():
    def page():
        raise RuntimeError("secret")

    line = HttpLine({"/broken": page})
    with pytest.raises(RuntimeError):
        line.feed(get("/broken"))
    assert line.output == b""


def test_a_wire_by_itself():
    wire = HttpWire(
        Site(PAGES),
        Settings(),
        wake=lambda: None,
        now=Instant(0.0, 0.0),
        forwarding=Forwarding(),
        unfinished=TotalUnfinished(Settings()),
    )
    assert wire.reading()
    assert wire.take_output(1, Instant(0.0, 0.0)) == []
    assert (wire.finished, wire.aborted) == (False, False)
