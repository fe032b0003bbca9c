"""Pages of browsers that are refused: they are let in, and told why by a close frame, since they see no refusal in HTTP."""

import pytest

from clock import Clock
from later import ALICE, AtOnce, Full, Later
from lines import ADDRESS, Line
from sigbridge import Hub, Settings, errors
from sigbridge.errors import Code, SignalingError
from sigbridge_net.origins import AllowedOrigins
from sigbridge_websocket.negotiation import negotiator
from sigbridge_websocket.wire import websocket_wires
from websocket_handshakes import BROWSER, ENCODED, ORDINARY, ORIGIN, Witness, handshake, written
from websocket_lines import LIST, masked

PAGE = ORDINARY | {"Origin": ORIGIN, "Sec-WebSocket-Protocol": "jsonrpc"}
DEFLATING = PAGE | {"Sec-WebSocket-Extensions": "permessage-deflate"}
WRONG = BROWSER | {"Sec-WebSocket-Protocol": f"jsonrpc, bearer.{ENCODED}x"}

REFUSALS = [
    (errors.unauthenticated(), 4401, "unauthenticated"),
    (errors.throttled(1500), 4429, "throttled retry-after-ms=1500"),
    (errors.held_off(0), 4429, "held_off retry-after-ms=0"),
    (errors.server_draining(), 4503, "draining"),
    (errors.too_many_sessions("SIGNALING_MAX_SESSIONS", 1), 4503, "sessions"),
    (errors.out_of_memory(1), 4503, "memory"),
    (SignalingError(Code.PERMISSION_DENIED, "of somebody else's authenticator"), 4503, ""),
]


class PageLine(Line):
    """A page whose handshake is read by our own reader, or by the library."""

    def __init__(self, door=None, *, ours=True, **settings):
        clock = Clock()
        self.door = Later() if door is None else door
        self.hub = Hub(Settings(**settings), clock.now)
        super().__init__(websocket_wires(self.hub, authenticator=self.door), clock)
        if not ours:
            self.wire._handshake._protocol = negotiator(self.hub.settings, AllowedOrigins(self.hub.settings))

    @property
    def status(self):
        return int(self.output.split(b" ", 2)[1])

    @property
    def closed(self):
        """The code and the reason of the one frame that follows the response."""
        frame = self.output.partition(b"\r\n\r\n")[2]
        assert (frame[0], frame[1]) == (0x88, len(frame) - 2)
        return int.from_bytes(frame[2:4]), frame[4:].decode()


def nothing_was_made(line):
    assert line.wire.finished
    assert (line.wire._session, line.wire._conversation, line.wire._handshake) == (None, None, None)
    assert (line.hub.session_count, +line.hub.counters.requests) == (0, {})


@pytest.mark.parametrize(("error", "code", "reason"), REFUSALS)
@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("fields", [PAGE, DEFLATING])
@pytest.mark.parametrize("known", ["at once", "resolved", "later"])
def test_a_page_is_let_in_and_told_by_a_close_frame(error, code, reason, ours, fields, known):
    class Refusing:
        def authenticate(self, credentials, now):
            raise error

    doors = {"at once": Refusing(), "resolved": AtOnce(error), "later": Later()}
    line = PageLine(doors[known], ours=ours, websocket_compression=True)
    line.feed(written(fields) + masked(1, LIST % 1))
    if known == "later":
        assert line.output == b""
        line.door.decide(error, line.clock.now)
        line.pump()
    assert line.status == 101
    assert b"Sec-WebSocket-Protocol: jsonrpc\r\n" in line.output
    assert (b"permessage-deflate" in line.output) == (fields is DEFLATING)
    assert line.closed == (code, reason)
    nothing_was_made(line)
    said = line.output
    line.feed(masked(8, b"\x11\x31unauthenticated"))
    line.end_input()
    assert line.output == said


@pytest.mark.parametrize(
    "fields",
    [
        # No page of a browser, or one that knows nothing of ours.
        {name: value for name, value in PAGE.items() if name != "Origin"},
        {name: value for name, value in PAGE.items() if name != "Sec-WebSocket-Protocol"},
        PAGE | {"Sec-WebSocket-Protocol": "jsonrpc2, x-jsonrpc"},
    ],
)
@pytest.mark.parametrize("ours", [True, False])
def test_all_others_are_refused_in_http(fields, ours):
    line = PageLine(AtOnce(errors.unauthenticated()), ours=ours).feed(written(fields))
    assert line.status == 401
    nothing_was_made(line)


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("offered", ["jsonrpc", "other, jsonrpc", f"bearer.{ENCODED},jsonrpc"])
def test_jsonrpc_may_be_one_of_several_subprotocols(offered, ours):
    line = PageLine(AtOnce(errors.unauthenticated()), ours=ours)
    line.feed(written(PAGE | {"Sec-WebSocket-Protocol": offered}))
    assert line.closed == (4401, "unauthenticated")
    assert ENCODED.encode() not in line.output


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("compression", [True, False])
def test_a_page_of_a_foreign_origin_stays_outside(ours, compression, caplog):
    caplog.set_level("INFO")
    line = PageLine(ours=ours, allowed_origins=("https://a.example",), websocket_compression=compression)
    line.feed(written(DEFLATING))
    assert line.status == 403
    nothing_was_made(line)
    assert line.hub.counters.refusals["websocket", "origin"] == 1
    (record,) = caplog.records
    assert (record.getMessage(), record.protocol, record.remote) == ("client refused", "websocket", ADDRESS)
    assert (record.reason, record.detail) == ("origin", ORIGIN)


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize(
    ("state", "reason"),
    [("full", "sessions"), ("degraded", "memory"), ("leaving", "draining"), ("drained", "draining")],
)
def test_a_server_that_takes_nobody_in_says_so(state, reason, ours, caplog):
    caplog.set_level("INFO")
    line = PageLine(ours=ours, max_sessions=1)
    line.feed(written(PAGE))
    assert line.wire._closing.state == 1
    if state == "full":
        line.hub._sessions["another"] = None
    line.hub.degraded = state == "degraded"
    if state == "leaving":
        line.hub.leave()
    if state == "drained":
        line.hub.leave()
        line.wire.drain(line.clock.now)
    line.door.decide(ALICE, line.clock.now)
    line.pump()
    assert line.closed == (4503, reason)
    assert line.wire.finished
    assert line.hub.counters.refusals["websocket", reason] == 1
    (record,) = (record for record in caplog.records if record.getMessage() == "client refused")
    assert (record.protocol, record.remote, record.reason) == ("websocket", ADDRESS, reason)


def test_a_fault_of_ours_is_told_without_a_word():
    line = PageLine()
    line.hub._sessions = Full()
    line.feed(written(PAGE))
    line.door.decide(ALICE, line.clock.now)
    line.pump()
    assert line.closed == (4503, "")


def test_a_word_of_somebody_else_fits_into_the_frame():
    error = errors.throttled(2**40)
    error.word = "ä" * 100
    line = PageLine(AtOnce(error)).feed(written(PAGE))
    code, reason = line.closed
    assert code == 4429
    assert len(reason.encode()) <= 123
    assert reason.endswith(f"ä retry-after-ms={2**40}")


@pytest.mark.parametrize("compression", [True, False])
@pytest.mark.parametrize("fields", [PAGE, DEFLATING, WRONG, BROWSER])
@pytest.mark.parametrize("draining", [True, False])
def test_both_readers_say_the_same(fields, compression, draining):
    settings = Settings(websocket_compression=compression)
    ours, librarys = (
        handshake([written(fields)], settings, Witness(), draining=draining, ours=ours)[0] for ours in (True, False)
    )
    assert ours == librarys
    assert (b"\x88" in ours[0]) == (fields is not BROWSER or draining)


def test_a_page_with_a_good_token_is_let_in():
    said, *_ = handshake([written(BROWSER)], Settings(), Witness(), ours=True)[0]
    assert said.endswith(b"\r\n\r\n")
