"""The look of log lines: readable on a terminal, or one JSON object a line.

The code logs with the standard library and puts what it knows into `extra`. Rule 1: ids are shown so that a line break
in them breaks no line; only a traceback for people has lines of its own, which begin with spaces. Rule 2: no token is
logged at any level: nothing that logs is ever given one. Rule 3: who logs makes the line, and waits for nobody to read
it: `log_writer.py` writes it. Rule 4: a client that comes back in a loop fills no disk: `log_gathering.py` counts lines
that repeat themselves. At the level `debug` each is written.
"""

import json
import logging
import sys
import time
from datetime import UTC, datetime
from itertools import islice
from typing import Final, TextIO

from sigbridge.settings import Settings
from sigbridge_server.log_gathering import STANDARD_COUNT, Gathering
from sigbridge_server.log_writer import LineWriter, QueuedStream

_TAKEN: Final = frozenset({"event", "level", "logger", "timestamp", "exception", "message", "asctime"})
"""Names that members cannot have: our own, and those that other formatters leave in a record."""

_DIM, _END = "\x1b[2m", "\x1b[0m"
_COLOURS: Final = {"debug": "\x1b[32m", "info": "\x1b[32m", "warning": "\x1b[33m"}
_RED: Final = "\x1b[31m"


def configure_logging(settings: Settings, *, stream: TextIO | None = None) -> None:
    """Makes the root logger write to `stream` as the settings say, or to stderr, on a thread, where it is not given.

    `logging.shutdown` writes what is queued, for a second at most; the interpreter calls it when it ends.
    """
    out = stream if stream is not None else sys.stderr
    colours = out is not None and out.isatty()
    formatter: LineFormatter = JsonFormatter() if settings.json_logging else TextFormatter(colours=colours)
    gathered = settings.log_level.upper() != "DEBUG"
    handler = _stderr_handler(out, formatter, gathered=gathered) if stream is None else logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    # No line tells of threads and processes, and to find them out takes as long as half a line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    before, root.handlers[:] = root.handlers[:], [handler]
    for one in before:
        if isinstance(one, LineHandler):
            one.close()
    root.setLevel(settings.log_level.upper())


def _stderr_handler(
    stderr: TextIO | QueuedStream | None, formatter: "LineFormatter", *, gathered: bool
) -> logging.Handler:
    """Returns a handler whose lines a thread writes; where stderr has no descriptor, one that writes by itself."""
    if stderr is None:
        return logging.NullHandler()
    gathering = Gathering() if gathered else None
    if isinstance(stderr, QueuedStream):
        return LineHandler(stderr.writer, formatter, gathering)
    try:
        fd = stderr.fileno()
    except OSError:
        return logging.StreamHandler(stderr)
    return LineHandler(LineWriter(fd), formatter, gathering, owner=True)


class LineHandler(logging.Handler):
    """Hands lines to a `LineWriter`, and its thread the lines that tell of others.

    Both have the writer's lock for that: `logging.shutdown` keeps the handler's while it waits for the thread.
    """

    def __init__(
        self, writer: LineWriter, formatter: "LineFormatter", gathering: Gathering | None, *, owner: bool = False
    ) -> None:
        """Begins to write; the `owner` of a writer closes it, too."""
        super().__init__()
        self.setFormatter(formatter)
        self._writer = writer
        self._gathering = gathering
        self._owner = owner
        writer.notice = self._notice
        if gathering is not None:
            writer.tick = self._tick
            writer.forked = self._begin_anew

    def emit(self, record: logging.LogRecord) -> None:
        """Queues a line, or counts it."""
        with self._writer.lock:
            if self._gathering is None or self._gathering.take(record, time.monotonic()):
                self._put(record)

    def close(self) -> None:
        """Queues the last lines about gathered ones, and writes them for a second at most."""
        with self._writer.lock:
            gathering, self._gathering = self._gathering, None
            for record in gathering.end_window() if gathering is not None else ():
                self._put(record)
        if self._owner:
            self._writer.close()
        super().close()

    def _put(self, record: logging.LogRecord) -> None:
        """Formats a record and queues the line."""
        try:
            self._writer.put(self._line(record))
        except Exception:  # noqa: BLE001 - the library's own way with a record that cannot be formatted
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> bytes:
        return (self.format(record) + "\n").encode("utf-8", "backslashreplace")

    def _tick(self) -> float | None:
        """Queues the lines that are due; returns in how many seconds others may be."""
        with self._writer.lock:
            gathering = self._gathering
            if gathering is None:
                return None
            now = time.monotonic()
            for record in gathering.due(now):
                self._put(record)
            return None if gathering.ends_at is None else max(0.0, gathering.ends_at - now)

    def _begin_anew(self) -> None:
        """Leaves what was counted to the process that has counted it."""
        if self._gathering is not None:
            self._gathering = Gathering()

    def _notice(self, dropped: int) -> bytes:
        """Returns the line that says how many lines were dropped."""
        record = logging.LogRecord("sigbridge.log", logging.WARNING, "", 0, "lines of the log were dropped", (), None)
        record.__dict__["count"] = dropped
        with self._writer.lock:
            return self._line(record)


class LineFormatter(logging.Formatter):
    """The parts that both kinds of lines have in common."""

    def __init__(self) -> None:
        super().__init__()
        self._second = -1
        self._date = ""

    def timestamp(self, record: logging.LogRecord) -> str:
        """Returns the time of a record in UTC, as `2026-01-31T12:00:00.000000Z`; the date is computed once a second."""
        second, rest = divmod(round(record.created * 1_000_000), 1_000_000)
        if second != self._second:
            self._date = datetime.fromtimestamp(second, UTC).isoformat().removesuffix("+00:00")
            self._second = second
        return f"{self._date}.{rest:06d}Z"

    def traceback(self, record: logging.LogRecord) -> str:
        """Returns the traceback and the stack that it has, or nothing."""
        if not record.exc_info and not record.stack_info:
            return ""
        parts = []
        if record.exc_info and record.exc_info[0] is not None:
            parts.append(self.formatException(record.exc_info))
        if record.stack_info:
            parts.append(self.formatStack(record.stack_info))
        return "\n".join(parts)


class JsonFormatter(LineFormatter):
    """One JSON object, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns a record as one JSON object: text, level, logger, its extra fields, time and traceback."""
        parts = [
            f'{{"event": {_json_string(record.getMessage())}',
            f'"level": {_json_string(record.levelname.lower())}',
            f'"logger": {_json_string(record.name)}',
        ]
        for name, value in islice(record.__dict__.items(), STANDARD_COUNT, None):
            if name not in _TAKEN:
                parts.append(f"{_json_string(name)}: {_json_string(value) if type(value) is str else _json(value)}")
        parts.append(f'"timestamp": "{self.timestamp(record)}"')
        traceback = self.traceback(record)
        if traceback:
            parts.append(f'"exception": {_json_string(traceback)}')
        return ", ".join(parts) + "}"


class TextFormatter(LineFormatter):
    """Text for people: one line, and the lines of a traceback below it."""

    def __init__(self, *, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """Returns a record as a line for people, with its extra fields; a traceback follows in lines of its own."""
        level = record.levelname.lower()
        members = [
            f"{name}={value!r}"
            # Their names differ, so that no values are compared.
            for name, value in sorted(islice(record.__dict__.items(), STANDARD_COUNT, None))
            if name not in _TAKEN
        ]
        text = f"{record.getMessage():<30} [{record.name}] {' '.join(members)}".rstrip()
        if not text.isprintable():
            text = _printable(text)
        if self._colours:
            head = f"{_DIM}{self.timestamp(record)}{_END} [{_COLOURS.get(level, _RED)}{level:<9}{_END}] "
        else:
            head = f"{self.timestamp(record)} [{level:<9}] "
        traceback = self.traceback(record)
        if not traceback:
            return head + text
        return "\n".join([head + text, *[f"    {_printable(line)}" for line in traceback.split("\n")]])


def _printable(text: str) -> str:
    """Returns the text, with what could begin another line or steer a terminal as escapes."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


_json_string: Final = json.encoder.encode_basestring_ascii
_encode: Final = json.JSONEncoder(default=repr, allow_nan=False).encode


def _json(value: object) -> str:
    """Returns a value as JSON.

    A part that JSON does not have becomes a string of its `repr`; the whole does, where that is not enough.
    """
    if type(value) is int:
        return int.__repr__(value)
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError):
        return _json_string(repr(value))
