"""HTTP responses that come later."""

import weakref

from clock import Clock
from http_lines import TIMEOUT, HttpLine, get
from lines import ADDRESS, Line
from sigbridge import Instant, Settings
from sigbridge.errors import internal_error
from sigbridge.pending import Pending
from sigbridge_http.wire import http_wires
from sigbridge_net.pages import Page, Site


class Slow:
    """A service that answers when a test says so."""

    paths = frozenset({"/later", "/other"})
    max_body_bytes = 1000

    def __init__(self):
        self.waiting = []
        self.turned = []

    def turned_away(self, client):
        self.turned.append(client.address)

    def respond(self, request, now):
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


def test_a_response_may_come_later_and_nothing_is_read_meanwhile():
    line = SlowLine().feed(get("/later") + get("/other"))
    assert (line.output, line.wire.reading()) == (b"", False)
    line.answer_with(Page(200, b"later"))
    assert [response[2] for response in line.responses("GET", "GET")] == [b"later", b"at once"]
    assert line.wire.reading()


def test_a_response_that_never_comes_is_not_waited_for():
    line = SlowLine()
    line.clock.advance(TIMEOUT - 1)
    line.feed(get("/later"))
    line.clock.advance(TIMEOUT - 1)
    assert not line.sweep()
    line.clock.advance(1)
    assert line.sweep()


def test_a_client_that_has_ended_its_input_gets_its_response():
    line = SlowLine().feed(get("/later")).end_input()
    line.answer_with(Page(200, b"later"))
    assert [response[2] for response in line.responses("GET")] == [b"later"]
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
    assert [response[0] for response in line.responses("GET")] == [503]
    assert line.service.turned == [ADDRESS]
    line.service.waiting[0].resolve(Page(200, b"later"), line.clock.now)
    line.pump()
    assert line.output.count(b"HTTP/1.1") == 1
    assert line.wire.finished


def test_a_response_that_fails_is_one():
    line = SlowLine().feed(get("/later"))
    line.answer_with(internal_error())
    assert [response[0] for response in line.responses("GET")] == [503]
