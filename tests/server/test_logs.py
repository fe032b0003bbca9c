"""Log lines: one object a line where JSON is asked for, one line a line on a terminal, and no token anywhere."""

import io
import json
import logging
import os
from datetime import UTC, datetime
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from clock import NOW
from sigbridge import Announce, DisconnectReason, Hub, Instant, ListPeers, Settings
from sigbridge.auth import Credentials, StaticTokens
from sigbridge.session import Caller
from sigbridge_server.log_gathering import Gathering
from sigbridge_server.log_writer import LineWriter
from sigbridge_server.logs import JsonFormatter, LineHandler, TextFormatter, configure_logging
from sigbridge_websocket.conversation import Conversation
from sigbridge_websocket.encoding import BARE_JSON

LATER = Instant(1012.5, 1_700_000_012.5)
BREAKS = "a\nb\r\x1b[31m\u2028\u0085\x0b\x0c\x1c"
"""Characters that might begin a new line, or colour the rest of it."""


class Color(StrEnum):
    RED = "red"


@pytest.fixture
def log():
    """Configure logging into a text; call it for its lines."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    out = io.StringIO()

    def configure(**settings):
        configure_logging(Settings(**settings), stream=out)

        def lines():
            text = out.getvalue()
            assert not text or text.endswith("\n")
            return text.splitlines()

        return lines

    yield configure
    root.handlers[:] = handlers
    root.setLevel(level)


def one_session(user_agent="", **announce):
    hub = Hub(Settings(), NOW)
    caller = Caller(address="192.0.2.1", user_agent=user_agent)
    session = hub.open(protocol="websocket", encoding=BARE_JSON, on_end=lambda reason: None, now=NOW, caller=caller)
    if announce:
        hub.apply(session, Announce(**announce), UNSET, NOW)
    hub.apply(session, ListPeers(), UNSET, NOW)
    hub.end(session, DisconnectReason.CONNECTION_LOST, LATER)
    return session


def test_a_session_in_json(log):
    lines = log(json_logging=True)
    session = one_session("Mozilla/5.0", peer_id="alice", room="lobby")
    started, ended = map(json.loads, lines())
    assert started.pop("timestamp").endswith("Z")
    assert ended.pop("timestamp").endswith("Z")
    assert started == {
        "event": "session started",
        "level": "info",
        "logger": "sigbridge.session",
        "session": session.id,
        "protocol": "websocket",
        "remote": "192.0.2.1",
        "identity": "",
        "client": "Mozilla/5.0",
    }
    assert ended == {
        "event": "session ended",
        "level": "info",
        "logger": "sigbridge.session",
        "session": session.id,
        "protocol": "websocket",
        "remote": "192.0.2.1",
        "identity": "",
        "room": "lobby",
        "peer": "alice",
        "client": "Mozilla/5.0",
        "reason": "connection_lost",
        "seconds": 12.5,
        "requests": 2,
    }


def test_a_session_that_announced_nothing(log):
    lines = log(json_logging=True)
    one_session()
    ended = json.loads(lines()[-1])
    assert (ended["room"], ended["peer"], ended["client"], ended["requests"]) == (None, None, "", 1)


def test_a_client_that_names_itself_when_it_announces(log):
    lines = log(json_logging=True)
    one_session("Mozilla/5.0", peer_id="alice", metadata={"client": "app 2", "secret": "canary"})
    started, ended = map(json.loads, lines())
    assert (started["client"], ended["client"]) == ("Mozilla/5.0", "app 2")
    assert "canary" not in "".join(lines())


@pytest.mark.parametrize("as_json", [True, False])
def test_a_client_s_name_begins_no_line(log, as_json):
    lines = log(json_logging=as_json)
    one_session(BREAKS, peer_id="alice", metadata={"client": BREAKS})
    assert len(lines()) == 2
    assert "\x1b" not in "".join(lines())
    if as_json:
        assert [json.loads(line)["client"] for line in lines()] == [BREAKS, BREAKS]


def test_refused_requests_count_too(log):
    lines = log(json_logging=True)
    hub = Hub(Settings(), NOW)
    session = hub.open(protocol="grpc", encoding=BARE_JSON, on_end=lambda reason: None, now=NOW)
    conversation = Conversation(hub, session, BARE_JSON)
    conversation.receive(b"nonsense", NOW)
    conversation.receive(b'{"jsonrpc":"2.0","id":1,"method":"offer","params":{}}', NOW)
    hub.end(session, DisconnectReason.CLIENT_LEFT, NOW)
    assert json.loads(lines()[-1])["requests"] == 2


def test_messages_write_no_lines_at_info(log):
    lines = log()
    hub = Hub(Settings(), NOW)
    session = hub.open(protocol="grpc", encoding=BARE_JSON, on_end=lambda reason: None, now=NOW)
    for _ in range(100):
        hub.apply(session, ListPeers(), UNSET, NOW)
    assert len(lines()) == 1


@pytest.mark.parametrize("as_json", [True, False])
def test_what_might_break_a_line_does_not(log, as_json):
    lines = log(json_logging=as_json)
    logging.getLogger("sigbridge.session").info("session ended", extra={"peer": BREAKS, "room": BREAKS})
    (line,) = lines()
    assert "\x1b" not in line
    if as_json:
        assert json.loads(line)["peer"] == BREAKS


@pytest.mark.parametrize("as_json", [True, False])
def test_nor_does_what_stands_in_the_message_itself(log, as_json):
    lines = log(json_logging=as_json)
    logging.getLogger("elsewhere").warning("somebody said %s", BREAKS)
    (line,) = lines()
    assert "\x1b" not in line
    assert "somebody said a" in line


def test_any_value_becomes_json(log):
    lines = log(json_logging=True)
    logging.getLogger("x").info(
        "values",
        extra={"text": "ü\ud800", "bytes": b"\xff", "number": 1.5, "set": {1}, "what": object, "nan": float("nan")},
    )
    line = json.loads(lines()[0], parse_constant=pytest.fail)
    assert (line["number"], line["text"], line["bytes"], line["nan"]) == (1.5, "ü\ud800", "b'\\xff'", "nan")


def fail():
    raise RuntimeError("a fault\nof two lines")


def test_an_exception_is_one_object_in_json(log):
    lines = log(json_logging=True)
    try:
        fail()
    except RuntimeError:
        logging.getLogger("x").exception("something failed", extra={"session": "ab12"})
    (line,) = lines()
    entry = json.loads(line)
    assert (entry["event"], entry["level"], entry["session"]) == ("something failed", "error", "ab12")
    assert "RuntimeError: a fault\nof two lines" in entry["exception"]
    assert "in fail" in entry["exception"]


def test_an_exception_is_whole_on_the_console(log):
    lines = log()
    try:
        fail()
    except RuntimeError:
        logging.getLogger("x").exception("something failed")
    text = "\n".join(lines())
    assert "something failed" in text
    assert "Traceback (most recent call last)" in text
    assert "RuntimeError: a fault" in text
    # None of its lines could be taken for another one of the log.
    assert all(line.startswith("    ") for line in lines()[1:])


@pytest.mark.parametrize("as_json", [True, False])
def test_what_a_fault_says_steers_no_terminal(log, as_json):
    lines = log(json_logging=as_json)
    try:
        raise RuntimeError(f"of {BREAKS}")
    except RuntimeError:
        logging.getLogger("x").exception("something failed")
    assert "\x1b" not in "".join(lines())
    if as_json:
        assert len(lines()) == 1


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("WARNING", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_levels(log, level, shown):
    lines = log(log_level=level, json_logging=True)
    for name in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger("x"), name)("a line")
    assert [json.loads(line)["level"] for line in lines()] == shown


def test_the_console_is_without_colours_where_it_is_no_terminal(log):
    lines = log()
    one_session(peer_id="alice")
    assert len(lines()) == 2
    assert "\x1b" not in "".join(lines())
    assert "session ended" in lines()[1]
    assert "reason='connection_lost'" in lines()[1]


def test_configuring_twice_writes_each_line_once(log):
    log()
    lines = log(json_logging=True)
    logging.getLogger("x").info("once")
    assert len(lines()) == 1


def test_a_token_is_in_no_line_of_a_refusal(log):
    lines = log(log_level="debug")
    known = StaticTokens(["canary-1"])
    for token in ("canary-2", "canary-1"):
        try:
            known.authenticate(Credentials(token=token), NOW)
        except Exception:
            logging.getLogger("x").exception("refused", extra={"door": known})
    assert "canary" not in "".join(lines()).replace('"canary-2", "canary-1"', "")


def test_a_line_that_cannot_be_made_costs_no_other(monkeypatch):
    """Nor where it is told of later, by the thread that writes."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    read_end, write_end = os.pipe()
    writer = LineWriter(write_end)
    gathering = Gathering()
    handler = LineHandler(writer, JsonFormatter(), gathering)
    for _ in range(3):
        record = logging.LogRecord("x", 20, "file", 1, "%d", ("no number",), None)
        record.__dict__["remote"] = "192.0.2.1"
        handler.handle(record)
    monkeypatch.setattr("time.monotonic", lambda: gathering.ends_at or 0.0)
    assert handler._tick() is not None
    monkeypatch.undo()
    handler.handle(logging.LogRecord("x", 20, "file", 1, "a line", (), None))
    handler.close()
    writer.close()
    assert [json.loads(line)["event"] for line in os.read(read_end, 10_000).splitlines()] == ["a line"]
    for fd in (read_end, write_end):
        os.close(fd)


# What is written of any record.

NAMES = st.one_of(
    st.sampled_from(["session", "peer", "room", "seconds", "zebra", "%s", "a b", "\n", "\x1b[31m"]),
    st.sampled_from(["event", "level", "logger", "timestamp", "stack", "exception"]),
    st.text(min_size=1, max_size=4),
).filter(lambda name: name not in logging.makeLogRecord({}).__dict__)
VALUES = st.one_of(
    st.text(max_size=8),
    st.sampled_from([BREAKS, "%s %(x)s", "'\"\\", "\ud800", True, False, None, 0, -1, 10**30, 0.1, 1e300]),
    st.integers(),
    st.floats(),
    st.lists(st.one_of(st.integers(), st.floats()), max_size=2),
    st.sampled_from([b"\xff", {"a": 1}, {(): 1}, (1,), Color.RED, object]),
)
TAKEN = {"event", "level", "logger", "timestamp", "exception"}
MESSAGES = st.one_of(
    st.sampled_from(["session started", "100 %", "%s", "", "x" * 50, BREAKS, " end  "]), st.text(max_size=10)
)


@st.composite
def records(draw):
    level = draw(st.sampled_from([10, 20, 30, 40, 50, 25]))
    record = logging.LogRecord(draw(st.sampled_from(["x", "a.b", BREAKS])), level, "file", 1, draw(MESSAGES), (), None)
    record.__dict__.update(draw(st.dictionaries(NAMES, VALUES, max_size=4)))
    return record


@given(records())
def test_in_json_every_record_is_one_line_with_its_values(record):
    before = dict(record.__dict__)
    line = JsonFormatter().format(record)
    assert record.__dict__ == before
    assert line.isascii()
    assert len(line.splitlines()) == 1
    entry = json.loads(line, parse_constant=pytest.fail)
    assert (entry["event"], entry["logger"]) == (record.msg, record.name)
    assert entry["level"] == record.levelname.lower()
    assert list(entry)[:3] == ["event", "level", "logger"]
    for name in record.__dict__.keys() - logging.makeLogRecord({}).__dict__.keys() - TAKEN:
        if type(record.__dict__[name]) in {str, int, bool, type(None)}:
            assert entry[name] == record.__dict__[name]


@given(records(), st.booleans())
def test_as_text_every_record_is_one_line(record, colours):
    before = dict(record.__dict__)
    line = TextFormatter(colours=colours).format(record)
    assert record.__dict__ == before
    assert len(line.splitlines()) == 1
    for ours in ("\x1b[2m", "\x1b[0m", "\x1b[32m", "\x1b[33m", "\x1b[31m") if colours else ():
        line = line.replace(ours, "", 2)
    assert line.isprintable()


def test_a_line_of_a_session_as_text():
    record = logging.LogRecord("sigbridge.session", 20, "file", 1, "session ended", (), None)
    record.__dict__.update(session="ab", peer="it's", seconds=0.5, room=None)
    record.created = 1_700_000_000.5
    assert TextFormatter(colours=False).format(record) == (
        "2023-11-14T22:13:20.500000Z [info     ] session ended                  [sigbridge.session] "
        "peer=\"it's\" room=None seconds=0.5 session='ab'"
    )


@pytest.mark.parametrize("microseconds", [0, 1, 1_700_000_000_123_456, 1_700_000_000_999_999])
@pytest.mark.parametrize("shift", [0, 1, 10**6])
def test_the_timestamp_is_utc_to_the_microsecond(microseconds, shift):
    formatter = JsonFormatter()
    record = logging.makeLogRecord({})
    for moment in (microseconds, microseconds + shift):
        record.created = moment / 1e6
        said = formatter.timestamp(record)
        assert said == datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace(
            "+00:00", "Z"
        )
