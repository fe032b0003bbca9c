"""Log lines: one object a line where JSON is asked for, one line a line on a terminal, and no token anywhere."""

import io
import json
import logging
import re
from datetime import UTC, datetime
from enum import StrEnum

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from clock import NOW
from sigbridge import Announce, DisconnectReason, Hub, Instant, ListPeers, Settings
from sigbridge.auth import Credentials, StaticTokens
from sigbridge.session import Caller
from sigbridge_server.logs import MAX_LEARNED, Timestamp, configure_logging, line_formatter
from sigbridge_websocket.conversation import Conversation
from sigbridge_websocket.encoding import BARE_JSON

LATER = Instant(1012.5, 1_700_000_012.5)
BREAKS = "a\nb\r\x1b[31m\u2028\u0085\x0b\x0c\x1c"
"""What might begin a new line, or colour the rest of it."""


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
        "client": "Mozilla/5.0",
    }
    assert ended == {
        "event": "session ended",
        "level": "info",
        "logger": "sigbridge.session",
        "session": session.id,
        "protocol": "websocket",
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
    line = json.loads(lines()[0])
    assert line["number"] == 1.5


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


# Lines that are learned.

NAMES = st.one_of(
    st.sampled_from(["session", "peer", "room", "seconds", "zebra", "%s", "<blank 0>", "message", "a b"]),
    st.sampled_from(["event", "level", "logger", "logger_name", "timestamp", "stack", "exception"]),
    st.text(min_size=1, max_size=4),
).filter(lambda name: name not in logging.makeLogRecord({}).__dict__)
VALUES = st.one_of(
    st.text(max_size=8),
    st.sampled_from([BREAKS, "<blank 1>", "%s %(x)s", "'\"\\", "\ud800", True, False, None, 0, -1, 10**30, 0.1, 1e300]),
    st.integers(),
    st.floats(),
    st.lists(st.integers(), max_size=2),
    st.sampled_from([b"\xff", {"a": 1}, (1,), Color.RED, object]),
)
MESSAGES = st.one_of(
    st.sampled_from(["session started", "100 %", "%s", "<blank 0>", "", "x" * 50, BREAKS, " end  "]),
    st.text(max_size=10),
)


@st.composite
def same_lines(draw):
    """Records that differ in their values only: level, logger, message, and several sets of values."""
    level = draw(st.sampled_from([10, 20, 30, 40, 50, 25]))
    names = draw(st.lists(NAMES, max_size=4, unique=True))
    sets = draw(st.lists(st.tuples(*([VALUES] * len(names))), min_size=1, max_size=3))
    return level, draw(st.sampled_from(["x", "a.b", "100%", "<blank 0>"])), draw(MESSAGES), names, sets


def said(formatter, record):
    """What a formatter makes of a record, or how it fails."""
    try:
        return formatter.format(record)
    except Exception as error:  # noqa: BLE001 - structlog has several ways to fail
        return type(error)


@given(same_lines(), st.booleans(), st.booleans())
@example((20, "x", "m", ["a", "b"], [("1", 2), (None, BREAKS)]), False, True)
def test_what_was_learned_is_what_structlog_says(lines, as_json, colours):
    learning = line_formatter(as_json=as_json, colours=colours)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Timestamp, "now", lambda self: "2026-01-31T12:00:00.000001Z")
        level, name, message, names, sets = lines
        for values in [*sets, *sets]:
            record = logging.LogRecord(name, level, "file", 1, message, (), None)
            record.__dict__.update(zip(names, values, strict=True))
            assert said(learning, record) == said(learning._whole, record)


@pytest.mark.fast_paths
@pytest.mark.parametrize("as_json", [True, False])
def test_the_lines_of_sessions_are_learned(log, as_json, monkeypatch):
    lines = log(json_logging=as_json)
    one_session(peer_id="alice")
    monkeypatch.setattr(logging.getLogger().handlers[0].formatter, "_whole", None)
    one_session(peer_id="bob")
    assert len(lines()) == 4
    assert "bob" in lines()[-1]


def test_a_record_is_as_it_was(log):
    log()
    record = logging.LogRecord("x", 20, "file", 1, "message", (), None)
    record.session = "s"
    before = dict(record.__dict__)
    for _ in range(2):
        logging.getLogger().handlers[0].format(record)
        assert record.__dict__ == before


def test_not_every_kind_of_line_is_kept_for_ever(log):
    lines = log()
    for number in range(3 * MAX_LEARNED):
        logging.getLogger("x").info(f"line {number}")  # noqa: G004 - what a careless logger does
    assert len(logging.getLogger().handlers[0].formatter._lines) <= MAX_LEARNED
    assert [re.search(r"line (\d+)", line)[1] for line in lines()] == [str(i) for i in range(3 * MAX_LEARNED)]


def test_long_messages_are_not_kept(log):
    lines = log(json_logging=True)
    for number in range(10):
        logging.getLogger("x").info(f"{number}" + "x" * 100_000)  # noqa: G003 - what a careless logger does
    assert logging.getLogger().handlers[0].formatter._lines == {}
    assert [json.loads(line)["event"][0] for line in lines()] == [str(number) for number in range(10)]


@pytest.mark.parametrize("nanoseconds", [0, 999, 1000, 1_700_000_000_123_456_789, 1_700_000_000_999_999_999])
def test_the_timestamp_is_utc_to_the_microsecond(nanoseconds, monkeypatch):
    stamp = Timestamp()
    for shift in (0, 1, 10**9):
        monkeypatch.setattr("time.time_ns", lambda: nanoseconds + shift)  # noqa: B023 - asked at once
        moment = datetime.fromtimestamp((nanoseconds + shift) // 1000 / 1e6, UTC)
        assert datetime.fromisoformat(stamp.now()) == moment
        assert stamp.now() == moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
