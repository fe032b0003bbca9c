"""How log lines look: readable on a terminal, or one JSON object a line.

The code logs with the standard library and puts what it knows into `extra`; structlog makes the line, whoever wrote it.
Rule 1: ids are shown so that a line break in them breaks no line. Rule 2: no token is logged at any level: nothing that
logs is ever given one. Rule 3: lines that differ in their values only are learned from structlog once and filled in
from then on, in a tenth of the time; the text is structlog's either way. Rule 4: each line is one write, and is written
before the program goes on.
"""

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TextIO

import structlog
from structlog.types import EventDict, Processor

from sigbridge.fast_paths import is_on
from sigbridge.settings import Settings

_FAST_LINE: Final = is_on("fast_line")

MAX_LEARNED: Final = 256
"""So many kinds of lines are kept; then all are forgotten, since some logger seems to write new ones without end."""
MAX_LEARNED_CHARACTERS: Final = 256
"""Of a message; longer ones are hardly the same twice, and would be kept meanwhile."""

_NOT_LEARNED: Final = frozenset(
    {"event", "level", "logger", "logger_name", "timestamp", "exc_info", "stack_info", "stack", "exception"}
    | {"_record", "_from_structlog", "_logger", "_name"}
)
"""Members that structlog knows by name, and treats in their own ways."""
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
"""The types whose values look the same wherever they stand in a line."""


def configure_logging(settings: Settings, *, stream: TextIO | None = None) -> None:
    """Make the root logger write to `stream` (stderr where it is not given) as the settings say."""
    out = stream if stream is not None else sys.stderr
    handler = logging.StreamHandler(out)
    handler.setFormatter(line_formatter(as_json=settings.json_logging, colours=out.isatty()))
    # No line tells of threads and processes, and to find them out takes as long as half a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())


def line_formatter(*, as_json: bool, colours: bool) -> "LearningFormatter":
    """What makes a line of a record: a JSON object, or text for people."""
    stamp = Timestamp()
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        stamp,
    ]
    last: list[Processor]
    if as_json:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        last = [
            _on_one_line,
            structlog.dev.ConsoleRenderer(
                colors=colours, repr_native_str=True, exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    whole = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    )
    return LearningFormatter(whole, stamp, as_json=as_json)


def _on_one_line(_: object, __: str, event: EventDict) -> EventDict:
    """Escape in the text itself what could begin another line or steer a terminal; values are escaped as they are."""
    event["event"] = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(event["event"])
    )
    return event


class Timestamp:
    """The present in UTC, as `2026-01-31T12:00:00.000000Z`; as a processor of structlog it stamps an event with it."""

    def __init__(self) -> None:
        self.blank = ""
        """What is written in its stead while a line is being learned."""
        self._second = -1
        self._prefix = ""

    def __call__(self, _: object, __: str, event: EventDict) -> EventDict:
        """Stamp an event."""
        event["timestamp"] = self.blank or self.now()
        return event

    def now(self) -> str:
        """The present; the date is worked out once a second."""
        second, rest = divmod(time.time_ns(), 10**9)
        if second != self._second:
            self._prefix = datetime.fromtimestamp(second, UTC).isoformat().removesuffix("+00:00")
            self._second = second
        return f"{self._prefix}.{rest // 1000:06d}Z"


class _Blank:
    """Stands for a value while a line is being learned."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


class Line(NamedTuple):
    """What lines have in common that differ in the values of the same members only."""

    template: str
    names: tuple[str, ...]
    """The members that are filled in, in their order; without the timestamp."""
    stamped_at: int
    """Where the timestamp stands among them."""


class LearningFormatter(logging.Formatter):
    """Formats as another formatter does, having learned from it how ordinary lines look."""

    def __init__(self, whole: logging.Formatter, stamp: Timestamp, *, as_json: bool) -> None:
        super().__init__()
        self._whole = whole
        self._stamp = stamp
        self._written: Callable[[Any], str] = _json if as_json else repr
        self._as_json = as_json
        self._lines: dict[tuple[str, ...], Line | None] = {}

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = self.fast_line(record)
        return self._whole.format(record) if line is None else line

    def fast_line(self, record: logging.LogRecord) -> str | None:
        """Returns an ordinary line, as it was learned; None where the other formatter must make it."""
        members = record.__dict__
        message = record.msg
        if not _FAST_LINE or record.args or record.exc_info or record.stack_info or type(message) is not str:
            return None
        if len(message) > MAX_LEARNED_CHARACTERS:
            return None
        key = (message, record.levelname, record.name, *members)
        try:
            line = self._lines[key]
        except KeyError:
            line = self._learn(key, record)
        if line is None:
            return None
        values = [members[name] for name in line.names]
        if not _PLAIN.issuperset(map(type, values)):
            return None
        texts = list(map(self._written, values))
        texts.insert(line.stamped_at, self._stamp.now())
        return line.template % tuple(texts)

    def _learn(self, key: tuple[str, ...], record: logging.LogRecord) -> Line | None:
        """Learn how such lines look, `None` where their values cannot just be filled in."""
        if len(self._lines) >= MAX_LEARNED:
            self._lines.clear()
        line = self._lines[key] = self._line(record)
        return line

    def _line(self, record: logging.LogRecord) -> Line | None:
        names = [name for name in record.__dict__ if name not in _STANDARD]
        if not _NOT_LEARNED.isdisjoint(names):
            return None
        blanks = {name: f"<blank {number}>" for number, name in enumerate([*names, "timestamp"])}
        empty = logging.makeLogRecord(record.__dict__ | {name: _Blank(blanks[name]) for name in names})
        self._stamp.blank = blanks["timestamp"]
        try:
            text = self._whole.format(empty)
        finally:
            self._stamp.blank = ""
        found = [(text.find(self._shown(name, blank)), name) for name, blank in blanks.items()]
        if any(text.count(blank) != 1 for blank in blanks.values()):
            return None
        template = text.replace("%", "%%")
        for name, blank in blanks.items():
            template = template.replace(self._shown(name, blank), "%s")
        order = [name for _, name in sorted(found)]
        stamped_at = order.index("timestamp")
        order.remove("timestamp")
        return Line(template, tuple(order), stamped_at)

    def _shown(self, name: str, blank: str) -> str:
        """How a blank is written: in JSON as a string, of which the quotes around the timestamp stay in the line."""
        return f'"{blank}"' if self._as_json and name != "timestamp" else blank


_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__)

_json_string = json.encoder.encode_basestring_ascii


def _json(value: object) -> str:
    return _json_string(value) if type(value) is str else json.dumps(value)
